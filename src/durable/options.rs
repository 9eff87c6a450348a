//! What a user says about durability.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::log::store::{RedbStore, Storage, Store, StoreError, StoreOptions};
use crate::progress::Progress;

/// What has happened to a call's event when the call returns.
///
/// | level | a panic, `kill -9` | power fails | disk full, a write fails | a bit flips |
/// |---|---|---|---|---|
/// | `Memory` | lost: what waits, at most `max_batch` | the same | lost: what waits | detected |
/// | `Buffered` | lost: the last `max_delay` and one commit | the same | the same | detected |
/// | `Synced` | kept: all that was answered | kept | the call is an error | detected |
///
/// A record is whole or not there: the event, its idempotency key and what each rule counted of it
/// are one transaction, and records are lost from the end only. Power is survived as far as the
/// disk keeps its word about `fdatasync`. What is detected is an error that names the damaged part,
/// never a wrong count; after a full disk or a failed write [`OnFailure`] says how it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The call returns at once; what it recorded is written when a batch is full, when somebody
    /// asks ([`Engine::flush`](crate::Engine::flush), a commit that is waited for) or at the end.
    Memory,
    /// The call returns at once; what it recorded is written within `max_delay`.
    #[default]
    Buffered,
    /// The call returns when what it recorded is on disk. Calls at the same time share a commit.
    Synced,
}

/// What an engine does when its store fails: when a write or a sync fails, or the disk is full.
///
/// The store takes nothing more then, because nobody knows what a failed sync has left on disk.
/// Opening again finds everything up to the last whole commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFailure {
    /// Calls that would count are errors and take nothing, and so are changes of the rules.
    #[default]
    Refuse,
    /// The engine goes on in memory. [`Engine::health`](crate::Engine::health) says so, and with
    /// the feature `metrics` the gauge `limitry_store_failed`.
    MemoryOnly,
}

/// A store for [`EngineBuilder::durable`](crate::EngineBuilder::durable), and how it is used.
///
/// ```no_run
/// use limitry::{Durability, Durable, Engine};
///
/// let store = Durable::open("limitry.redb")?.durability(Durability::Synced);
/// let engine = Engine::builder().durable(store).build()?;
/// # Ok::<(), limitry::Error>(())
/// ```
#[must_use]
pub struct Durable {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) level: Durability,
    pub(crate) on_failure: OnFailure,
    pub(crate) max_batch: usize,
    pub(crate) max_delay: Duration,
    pub(crate) max_waiting: usize,
    pub(crate) retention: Duration,
    /// Who is told how far opening has come.
    progress: Option<Box<dyn Fn(Progress) + Send + Sync>>,
}

/// How the file of a store is opened: [`Durable::options`].
///
/// ```no_run
/// use limitry::Durable;
///
/// let store = Durable::options().quick(true).open("limitry.redb")?;
/// # Ok::<(), limitry::StoreError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct OpenOptions(StoreOptions);

impl OpenOptions {
    /// Sets whether a new store is made where there is none; the default is that one is.
    pub fn create(mut self, create: bool) -> Self {
        self.0.create = create;
        self
    }

    /// Sets how many bytes of the file's pages are kept in memory; the default is 64 MiB.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.0.cache_bytes = bytes;
        self
    }

    /// Sets whether the file is opened without a check of every page. The check, which is the
    /// default, takes about half a second a gigabyte, and after a crash it cannot be left out
    /// unless the commits before it were made for quick opening: they sync twice then, and write
    /// 0.3 MB more for each gigabyte of the file. Without it damage shows where it is met, as an
    /// error; in the pages that redb keeps for itself it can abort the process.
    pub fn quick(mut self, quick: bool) -> Self {
        self.0.quick_open = quick;
        self
    }

    /// Opens the store in a file.
    ///
    /// # Errors
    /// As [`Durable::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Durable, StoreError> {
        RedbStore::open(path.as_ref(), &self.0).map(Durable::in_store)
    }

    /// Opens the store on a medium that the application brings.
    ///
    /// # Errors
    /// As [`Durable::open_on`].
    pub fn open_on(self, storage: impl Storage) -> Result<Durable, StoreError> {
        RedbStore::open_storage(Box::new(storage), &self.0).map(Durable::in_store)
    }
}

const MAX_BATCH: usize = 4_096;
const MAX_DELAY: Duration = Duration::from_millis(2);
const RETENTION: Duration = Duration::from_secs(35 * 24 * 60 * 60);

impl Durable {
    /// Starts to say how the file is opened.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    /// Opens the store in a file, or makes one.
    ///
    /// # Errors
    /// Another process has the file open, the file is of a newer limitry or of something else, it
    /// is damaged, or it cannot be read or made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::options().open(path)
    }

    /// Opens the store on a medium that the application brings, or makes one there.
    ///
    /// # Errors
    /// As [`open`](Self::open); nobody but the application sees to it that one engine uses it.
    pub fn open_on(storage: impl Storage) -> Result<Self, StoreError> {
        Self::options().open_on(storage)
    }

    fn in_store(store: RedbStore) -> Self {
        Self {
            store: Arc::new(store),
            level: Durability::default(),
            on_failure: OnFailure::default(),
            max_batch: MAX_BATCH,
            max_delay: MAX_DELAY,
            max_waiting: MAX_BATCH.saturating_mul(16),
            retention: RETENTION,
            progress: None,
        }
    }

    /// Sets what has happened to an event when a call returns; the default is
    /// [`Durability::Buffered`].
    pub fn durability(mut self, level: Durability) -> Self {
        self.level = level;
        self
    }

    /// Sets what the engine does when the store fails; the default is [`OnFailure::Refuse`].
    pub fn on_failure(mut self, choice: OnFailure) -> Self {
        self.on_failure = choice;
        self
    }

    /// Sets the most records of one commit, at least 1; the default is 4 096.
    pub fn max_batch(mut self, records: usize) -> Self {
        self.max_batch = records.max(1);
        self
    }

    /// Sets how long a record waits for others to share its commit, where nobody waits for it; the
    /// default is 2 ms.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets how many records may wait for their commit, at least 1; the default is 65 536. Calls
    /// that come when so many wait wait themselves.
    pub fn max_waiting(mut self, records: usize) -> Self {
        self.max_waiting = records.max(1);
        self
    }

    /// Sets how long records are kept at the least, and with them the events and what answers
    /// retries; the default is 35 days, and never less than the engine keeps idempotency keys.
    /// They go by whole tables, each of a sixteenth of this time or of a million records.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets who is told how far opening has come.
    pub fn on_progress(mut self, tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Box::new(tell));
        self
    }

    pub(crate) fn tell(&self, progress: Progress) {
        if let Some(tell) = &self.progress {
            tell(progress);
        }
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("store", &self.store)
            .field("durability", &self.level)
            .field("on_failure", &self.on_failure)
            .field("max_batch", &self.max_batch)
            .field("max_delay", &self.max_delay)
            .field("max_waiting", &self.max_waiting)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
