//! How a store in a file is opened.

use std::path::Path;

use super::{RedbStore, Storage, StoreOptions};
use crate::journal::Durable;
use crate::journal::store::StoreError;

/// How a store is opened: made by [`Durable::options`].
///
/// ```no_run
/// use limitry::store::Durable;
///
/// let store = Durable::options().quick(true).open("limitry.redb")?;
/// # Ok::<(), limitry::errors::StoreError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct OpenOptions(StoreOptions);

impl OpenOptions {
    /// Sets whether a new file is made where there is none; the default is `true`. With `false` a
    /// missing file is a [`StoreError::Io`] of the kind `NotFound`, and one that is empty, or that
    /// a crash left while it was made, is [`StoreError::Foreign`].
    pub fn create(mut self, create: bool) -> Self {
        self.0.create = create;
        self
    }

    /// Sets how many bytes of the file's pages are cached in memory at the most; the default is
    /// 64 MiB.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.0.cache_bytes = bytes;
        self
    }

    /// Sets whether opening leaves out the check of every page, so that it takes milliseconds
    /// however large the file is; the default is `false`.
    ///
    /// The check takes about half a second a gigabyte. Without it damage is found only when the
    /// damaged page is read: it is an error then, but in the pages that redb keeps for itself it
    /// can abort the process.
    ///
    /// A `quick` store also pays with each commit, so that it opens as fast after a crash: a commit
    /// syncs twice, and writes 0.3 MB more for each gigabyte of the file. After a crash of an
    /// engine whose store was not `quick` the pages are gone over whatever is said here.
    pub fn quick(mut self, quick: bool) -> Self {
        self.0.quick_open = quick;
        self
    }

    /// Sets whether the file stays as it is, and is opened for reading alone; the default is
    /// `false`. What the engine writes is kept in memory, read from there, and gone with the
    /// engine: a repair after a crash, the conversion of an older format and the engine's own
    /// bookkeeping with it, and whatever the application records. It is for tools that look at a
    /// store, copy it or try something out; with
    /// [`EngineBuilder::as_stored`](crate::EngineBuilder::as_stored) they need not know how its
    /// engine is built.
    ///
    /// A missing file is an error, as with [`create(false)`](Self::create). Any number of engines
    /// share a file in this way; one that writes to it shares it with nobody, so that each of both
    /// kinds finds it [`Locked`](crate::errors::StoreError::Locked) while the other has it open.
    /// Memory grows by what is written. It means nothing to [`open_on`](Self::open_on).
    pub fn copy_on_write(mut self, copy_on_write: bool) -> Self {
        self.0.copy_on_write = copy_on_write;
        self
    }

    /// Opens the store in a file.
    ///
    /// # Errors
    /// As [`Durable::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Durable, StoreError> {
        RedbStore::open(path.as_ref(), &self.0).map(Durable::in_store)
    }

    /// Opens the store on a [`Storage`] of the application's.
    ///
    /// # Errors
    /// As [`Durable::open_on`].
    pub fn open_on(self, storage: impl Storage) -> Result<Durable, StoreError> {
        RedbStore::open_storage(Box::new(storage), &self.0).map(Durable::in_store)
    }
}

impl Durable {
    /// Returns the options to open a store with, all at their defaults.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    /// Opens the store in a file; where there is none, or an empty one, makes a new store. Its
    /// folder must be there.
    ///
    /// Waits for the check of all pages, about half a second a gigabyte, which
    /// [`OpenOptions::quick`] leaves out.
    ///
    /// # Errors
    /// Another engine, in this process or in another one, has the file open; it was written by a
    /// newer version of this crate or is something else than a store; it is damaged; it cannot be
    /// read, written or made. What is refused stays as it is, byte for byte.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::options().open(path)
    }

    /// Opens the store on a [`Storage`] of the application's; where that is empty, makes a new
    /// store.
    ///
    /// A file is locked, a `Storage` is not: the application sees to it that one engine uses it at
    /// a time. In errors the store is called `storage`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(storage: impl Storage) -> Result<Self, StoreError> {
        Self::options().open_on(storage)
    }
}
