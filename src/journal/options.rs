//! What the application chooses about durability.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::queue::Limits;
use crate::base::format::Version;
use crate::base::progress::Progress;
use crate::base::words::words;
use crate::journal::store::Store;

/// What has happened to a call's event when the call returns, and so what a crash can lose of it.
///
/// | level | a panic, `kill -9` | power fails | disk full, a write fails | a bit flips |
/// |---|---|---|---|---|
/// | `Memory` | lost: at most two batches | the same | lost: what waits | detected |
/// | `Buffered` | lost: the last `max_delay` and one commit | the same | the same | detected |
/// | `Synced` | kept: all that was answered | kept | the call is an error | detected |
///
/// A batch has at most [`max_batch`](Durable::max_batch) records. While records come faster than
/// the disk takes them more of them wait, and can be lost: at most
/// [`max_waiting`](Durable::max_waiting) of them, and
/// [`max_waiting_bytes`](Durable::max_waiting_bytes), from where on calls wait for room.
///
/// A record is on disk as a whole or not at all: the event, its idempotency key and what each rule
/// counted of it are one transaction. Records are lost from the end only: where one is lost, so are
/// all that came after it. A power failure is survived as far as the disk keeps its word about
/// `fdatasync`. Detected damage is an error that names the damaged part, and never a wrong count.
/// What the engine does after a full disk or a failed write is chosen by [`OnFailure`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// The call returns at once. What it recorded is written when a batch is full, when somebody
    /// waits for it ([`Store::flush`](crate::handles::Store::flush),
    /// [`Store::committed`](crate::handles::Store::committed)), and when the engine is closed or
    /// dropped.
    Memory,
    /// The call returns at once. What it recorded is written when it has waited for
    /// [`max_delay`](Durable::max_delay), 2 ms by default, or sooner.
    #[default]
    Buffered,
    /// The call returns when what it recorded is on disk. Calls of several threads share a commit;
    /// one thread alone waits for a sync of the disk in each call.
    Synced,
}

/// What an engine does when its store fails: when a write or a sync fails, or the disk is full.
///
/// The store takes nothing more then, because nobody knows what a failed sync has left on disk.
/// Opening the store again, in a new engine, finds everything up to the last whole commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnFailure {
    /// Calls that would count something ([`track`](crate::Engine::track),
    /// [`record`](crate::Engine::record) and their batches) are errors and take nothing, and so are
    /// changes of the rules. [`check`](crate::Engine::check) and questions are still answered.
    #[default]
    Refuse,
    /// The engine goes on in memory, as if it had no store: what it records from then on is lost
    /// when it ends, and [`Synced`](Durability::Synced) calls wait for nothing.
    /// [`Store::health`](crate::handles::Store::health) tells, and with the feature `metrics` the
    /// gauge `limitry_store_failed`.
    MemoryOnly,
}

words! {
    Durability, "durability": Memory = "memory", Buffered = "buffered", Synced = "synced"
}

words! { OnFailure, "onFailure": Refuse = "refuse", MemoryOnly = "memory_only" }

/// An open store for [`EngineBuilder::durable`](crate::EngineBuilder::durable), and how the engine
/// is to use it.
///
/// The file is open, locked and checked from `open` on; its contents are read when
/// the engine is built. The engine then has one thread of its own, which writes to the store, and
/// from the first [`Committed`](crate::store::Committed) on that is awaited another one, which
/// wakes tasks.
///
/// After each sync, and before any call says that something is on disk, the engine looks whether
/// the file is still the one that it opened: with its name, of the length that it set, and with the
/// note of its newest batch, which takes a few microseconds. A file that was deleted, moved,
/// replaced or written over is a [`StoreError::Io`](crate::errors::StoreError::Io) then; what
/// somebody else writes into pages that are not read again is found by
/// [`Store::verify`](crate::handles::Store::verify), or when it is opened the next time. On other
/// systems than Unix one file is told from another by its name alone. A process that was forked off
/// the one that opened the store gets errors from what would wait for the writer, which it does not
/// have, and leaves the file alone.
///
/// ```
/// use limitry::store::{Durability, MemoryStore};
/// use limitry::Engine;
///
/// // With the feature `durable` in a file: `Durable::open("limitry.redb")?`.
/// let store = MemoryStore::new().open()?.durability(Durability::Synced);
/// let engine = Engine::builder().durable(store).build()?;
/// # Ok::<(), limitry::Error>(())
/// ```
#[must_use]
pub struct Durable {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) level: Durability,
    pub(crate) on_failure: OnFailure,
    pub(super) limits: Limits,
    pub(crate) max_delay: Duration,
    pub(crate) retention: Duration,
    /// Told how far opening has come.
    progress: Option<Box<dyn Fn(Progress) + Send + Sync>>,
}

const MAX_BATCH: usize = 4_096;
const MAX_WAITING_BYTES: usize = 64 * 1_024 * 1_024;
const MAX_DELAY: Duration = Duration::from_millis(2);
const RETENTION: Duration = Duration::from_secs(35 * 24 * 60 * 60);

impl Durable {
    pub(super) fn in_store(store: impl Store + 'static) -> Self {
        Self {
            store: Arc::new(store),
            level: Durability::default(),
            on_failure: OnFailure::default(),
            limits: Limits {
                batch: MAX_BATCH,
                waiting: MAX_BATCH.saturating_mul(16),
                waiting_bytes: MAX_WAITING_BYTES,
            },
            max_delay: MAX_DELAY,
            retention: RETENTION,
            progress: None,
        }
    }

    /// The format that this version writes.
    pub const NEWEST_FORMAT: u32 = Version::NEWEST.number();

    /// Returns the format that the store is in. An older one becomes the
    /// [newest](Self::NEWEST_FORMAT) when an engine is built on it.
    #[must_use]
    pub fn format(&self) -> u32 {
        self.store.version().number()
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

    /// Sets the most records of one commit; the default is 4 096, and 0 means 1.
    pub fn max_batch(mut self, records: usize) -> Self {
        self.limits.batch = records.max(1);
        self
    }

    /// Sets how long a record waits for others to share its commit while no caller waits for it;
    /// the default is 2 ms. It means nothing to [`Durability::Memory`], whose records wait for a
    /// full batch.
    ///
    /// A commit writes some 43 KB, however little is in it: a trickle of events at 2 ms can write
    /// 20 MB a second, and at 100 ms 0.4.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets how many records may wait for their commit, those of the commit under way with them;
    /// the default is 65 536, and 0 means 1. While so many wait, calls that may record something
    /// block until there is room.
    pub fn max_waiting(mut self, records: usize) -> Self {
        self.limits.waiting = records.max(1);
        self
    }

    /// Sets how many bytes the records may have that wait for their commit, as
    /// [`max_waiting`](Self::max_waiting) says how many they may be, whichever is reached first;
    /// the default is 64 MiB, and 0 means 1. Each thread that is in a call may add one record to
    /// that. It is about the memory that the queue takes, but for two batches of at most 8 MiB
    /// whose memory is kept for the next ones.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.limits.waiting_bytes = bytes.max(1);
        self
    }

    /// Sets for how long records are kept in the file at the least, and with them what
    /// [`Store::export`](crate::handles::Store::export) finds and what answers retries; the default
    /// is 35 days. They are never kept for less than
    /// [`idempotency_retention`](crate::EngineBuilder::idempotency_retention).
    ///
    /// Records are dropped by the table, not one by one: a table has the records of a sixteenth of
    /// this time, or a million of them where that is less. Counters and roll-ups stay when the
    /// records that they come from are dropped.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets a function that [`build`](crate::EngineBuilder::build) tells how far reading the store
    /// has come. The check of pages comes before, in `open`, and is told to nobody.
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
            .field("limits", &self.limits)
            .field("max_delay", &self.max_delay)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
