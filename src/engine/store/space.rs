//! Small rows of an application's own, kept in the engine's store.

use std::iter;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use super::Store;
use crate::engine::Core;
use crate::journal::Pipeline;
use crate::journal::store::{SpaceChange, StoreError};

const MAX_NAME_BYTES: usize = 64;
const MAX_KEY_BYTES: usize = 512;
const MAX_VALUE_BYTES: usize = 64 * 1_024;
const MAX_PAGE: usize = 1_000;

/// Rows that an application keeps beside its engine, in the same store: tokens of its clients,
/// addresses that it calls, answers that it gave. [`Store::space`] makes one.
///
/// A row has a key of 1 to 512 bytes and a value of at most 64 KiB. A change is durable when its
/// call returns, whatever the [durability](crate::store::Durability) of events is, and shares its
/// commit with the events that wait; it survives what they survive, is checked by
/// [`verify`](Store::verify) and is part of a [`backup`](Store::backup). Spaces are kept for as
/// long as the store: nothing drops their rows but [`remove`](Self::remove).
///
/// ```
/// use limitry::Engine;
/// use limitry::store::MemoryStore;
///
/// let memory = MemoryStore::new();
/// let engine = Engine::builder().durable(memory.open()?).build()?;
/// let hooks = engine.store().space("webhooks")?;
/// hooks.put(b"cust_123/1", b"https://example.com/hook")?;
/// assert_eq!(hooks.get(b"cust_123/1")?.as_deref(), Some(&b"https://example.com/hook"[..]));
/// let page = hooks.list(b"cust_123/", None, 100)?;
/// assert_eq!((page.rows.len(), page.has_more), (1, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Space {
    core: Arc<Core>,
    /// What the keys of its rows begin with in the store: the length of its name, and the name.
    prefix: Box<[u8]>,
}

/// A page of a space's rows, by ascending key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpacePage {
    /// Keys and values.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there is another page: it is asked for with the last key of this one.
    pub has_more: bool,
}

/// Why a space could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// A name, a key, a value or a limit is beyond its bounds.
    #[error("{field} {rule}, and has {found}")]
    OutOfBounds {
        /// What it is.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
        /// Its bytes, or the limit.
        found: usize,
    },
    /// The engine has no store.
    #[error("space {space:?}: the engine has no store")]
    NoStore {
        /// The name of the space.
        space: Box<str>,
    },
    /// The store has failed or is closed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Returns the space of this name; what is not there yet is made with its first row.
    ///
    /// # Errors
    /// The name is not 1 to 64 letters, digits, `_` and `-`; the engine has no store.
    pub fn space(&self, name: &str) -> Result<Space, SpaceError> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let length = u8::try_from(name.len()).unwrap_or(0);
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_letter) {
            let (field, rule) = ("the name of a space", "must be 1 to 64 letters, digits, _ and -");
            return Err(SpaceError::OutOfBounds { field, rule, found: name.len() });
        }
        if self.core.pipeline.is_none() {
            return Err(SpaceError::NoStore { space: name.into() });
        }
        let prefix = [&[length], name.as_bytes()].concat().into();
        Ok(Space { core: Arc::clone(&self.core), prefix })
    }
}

impl Space {
    /// Stores a row, in place of one of this key, and returns when it is durable.
    ///
    /// # Errors
    /// The key or the value is beyond its bounds; the store has failed or is closed.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), SpaceError> {
        if value.len() > MAX_VALUE_BYTES {
            let (field, rule) = ("a value", "must have at most 65536 bytes");
            return Err(SpaceError::OutOfBounds { field, rule, found: value.len() });
        }
        self.change(key, Some(value.to_vec()))
    }

    /// Removes a row, where there is one, and returns when that is durable.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn remove(&self, key: &[u8]) -> Result<(), SpaceError> {
        self.change(key, None)
    }

    /// Returns the value of a key: what the last durable change left.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpaceError> {
        let (whole, mut found) = (self.key(key)?, None);
        self.pipeline()?.store.space_rows(Bound::Included(&whole), &mut |key, value| {
            found = (key == &*whole).then(|| value.to_vec());
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Returns the first `limit` rows whose keys begin with a prefix, which may be empty, by
    /// ascending key; those behind a key where one is given. A page is of one moment.
    ///
    /// # Errors
    /// The limit is not 1 to 1 000; else as [`put`](Self::put).
    pub fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<SpacePage, SpaceError> {
        if !(1..=MAX_PAGE).contains(&limit) {
            let (field, rule) = ("the limit of a page", "must be 1 to 1000");
            return Err(SpaceError::OutOfBounds { field, rule, found: limit });
        }
        let whole = [&*self.prefix, prefix].concat();
        let behind = after.map(|after| [&*self.prefix, after].concat());
        let from = match &behind {
            Some(behind) if *behind >= whole => Bound::Excluded(&**behind),
            _ => Bound::Included(&*whole),
        };
        let mut page = SpacePage::default();
        self.pipeline()?.store.space_rows(from, &mut |key, value| {
            let own = key.starts_with(&whole).then(|| key.get(self.prefix.len()..)).flatten();
            let Some(own) = own else { return ControlFlow::Break(()) };
            if page.rows.len() >= limit {
                page.has_more = true;
                return ControlFlow::Break(());
            }
            page.rows.push((own.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }

    /// Returns all rows whose keys begin with a prefix, which may be empty, by ascending key.
    ///
    /// They are read as pages of 1 000, each of one moment: what is changed meanwhile behind the
    /// page is seen as it is when its page is read.
    ///
    /// # Errors
    /// As [`put`](Self::put); an error is the last item.
    pub fn rows<'s>(
        &'s self,
        prefix: &'s [u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), SpaceError>> + 's {
        let (mut page, mut has_more) = (Vec::new().into_iter(), true);
        let mut last: Option<Vec<u8>> = None;
        iter::from_fn(move || {
            if page.as_slice().is_empty() && has_more {
                match self.list(prefix, last.as_deref(), MAX_PAGE) {
                    Ok(next) => (page, has_more) = (next.rows.into_iter(), next.has_more),
                    Err(why) => {
                        has_more = false;
                        return Some(Err(why));
                    }
                }
            }
            let row = page.next()?;
            if page.as_slice().is_empty() {
                last = Some(row.0.clone());
            }
            Some(Ok(row))
        })
    }

    fn change(&self, key: &[u8], value: Option<Vec<u8>>) -> Result<(), SpaceError> {
        let change = SpaceChange { key: self.key(key)?, value };
        Ok(self.pipeline()?.change_space(change)?)
    }

    fn key(&self, key: &[u8]) -> Result<Box<[u8]>, SpaceError> {
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            let (field, rule) = ("a key", "must have 1 to 512 bytes");
            return Err(SpaceError::OutOfBounds { field, rule, found: key.len() });
        }
        Ok([&*self.prefix, key].concat().into())
    }

    fn pipeline(&self) -> Result<&Pipeline, SpaceError> {
        let name = || String::from_utf8_lossy(self.prefix.get(1..).unwrap_or_default()).into();
        let pipeline = self.core.pipeline.as_ref();
        pipeline.ok_or_else(|| SpaceError::NoStore { space: name() })
    }
}
