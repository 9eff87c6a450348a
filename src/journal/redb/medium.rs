//! Where the bytes of a store are: in a file, or in what the application gives in its place.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, StorageBackend};
use parking_lot::RwLock;

use super::overlay::{Change, Overlay};
use super::watch::FileWatch;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;
use crate::journal::store::callback::{Callback, new_number, run};
use crate::journal::store::seal::{TableId, start};

/// Bytes for a store that is not in a file: encrypted ones, some in memory for tests, or some that
/// fail on purpose. [`Durable::open_on`](crate::store::Durable::open_on) takes them.
///
/// While an engine uses it nobody else may write to it. A read gives what was written last, synced
/// or not. A crash leaves everything that was written before the last successful
/// [`sync`](Self::sync); of what was written since it may leave anything: all, nothing or parts, in
/// any order. All methods may be called from several threads at a time, and may block.
///
/// They must not use the engine whose store they are: they run where its locks are held, or on the
/// thread that writes. Calls of theirs that would need the store, or wait for it, are
/// [`StoreError::WithinItself`](crate::errors::StoreError::WithinItself). A panic fails the store
/// as an error does.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Returns how many bytes there are.
    ///
    /// # Errors
    /// Those of the medium. After an error of any method the store takes nothing until it is opened
    /// again.
    fn len(&self) -> io::Result<u64>;

    /// Returns whether there is no byte: a new store is made then.
    ///
    /// # Errors
    /// As for [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    /// As for [`len`](Self::len), and where there are not so many bytes one of the kind
    /// `UnexpectedEof`.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes bytes from `offset` on. The engine never writes behind the end: it calls
    /// [`set_len`](Self::set_len) first.
    ///
    /// # Errors
    /// As for [`len`](Self::len).
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Changes how many bytes there are: cuts some off at the end, or adds zeros there.
    ///
    /// # Errors
    /// As for [`len`](Self::len).
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when the length, and everything that was written, would survive a crash.
    ///
    /// # Errors
    /// As for [`len`](Self::len). What was written since the last success may or may not survive
    /// then.
    fn sync(&self) -> io::Result<()>;
}

/// A file or a storage of the application's, as redb uses it.
#[derive(Clone)]
pub(super) struct Backend {
    medium: Arc<Medium>,
    /// Whether what is written is held back.
    holds: bool,
    /// What is held back, from the first look on until it is let through.
    held: Arc<RwLock<Option<Overlay>>>,
    /// Whether it was looked at for the first time.
    looked: Arc<AtomicBool>,
    /// The random number of the store that is here, once it is known.
    store: Arc<AtomicU64>,
    /// The number of the opened store in this process.
    number: u64,
}

enum Medium {
    /// A file; one that others may know of is watched.
    File(FileBackend, Option<FileWatch>),
    /// A file that is only read: what is written is never let through.
    Kept(FileBackend),
    Storage(Box<dyn Storage>),
}

/// What a file of redb's begins with.
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
/// No creation was interrupted in a file that is larger; redb makes 1 MiB and a little.
const CREATED_BYTES: u64 = 16 * 1_024 * 1_024;
const PAGE: usize = 4_096;
/// Where the note of the newest batch is: in the first page, of which redb needs 320 bytes.
const MARK_OFFSET: u64 = 2_048;
const MARK_BYTES: usize = 16;
const MARK: &str = "mark";

impl Backend {
    pub(super) fn file(file: FileBackend, watch: Option<FileWatch>) -> Self {
        Self::on(Medium::File(file, watch))
    }

    /// A file that is opened for reading, and stays as it is.
    pub(super) fn kept(file: FileBackend) -> Self {
        Self::on(Medium::Kept(file))
    }

    /// Whether the file stays as it is, whatever is written.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.medium.as_ref(), Medium::Kept(_))
    }

    pub(super) fn storage(storage: Box<dyn Storage>) -> Self {
        Self::on(Medium::Storage(storage))
    }

    fn on(medium: Medium) -> Self {
        let (medium, number) = (Arc::new(medium), new_number());
        let (held, looked, store) = (Arc::default(), Arc::default(), Arc::default());
        Self { medium, holds: false, held, looked, store, number }
    }

    /// Holds back in memory what is written, until it is [let through](Self::let_through): redb
    /// writes when it opens a file, and what turns out to be no store of ours is to stay as it is.
    pub(super) fn holding_back(self) -> Self {
        Self { holds: true, ..self }
    }

    /// Does to the medium what was held back, in the order in which redb did it, its syncs with
    /// it: a crash leaves what it would have left. After an error nothing reaches the medium any
    /// more.
    pub(super) fn let_through(&self) -> io::Result<()> {
        if self.is_kept() {
            return Ok(());
        }
        let changes = self.held.read().as_ref().map(Overlay::take_changes).unwrap_or_default();
        for change in changes {
            match change {
                Change::Length(len) => self.set_medium_len(len)?,
                Change::Write(offset, data) => self.write_medium(offset, &data)?,
                Change::Sync => self.sync_medium()?,
            }
        }
        *self.held.write() = None;
        Ok(())
    }

    /// The number of the opened store in this process.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Calls the application's storage.
    fn theirs<R>(&self, call: impl FnOnce() -> R) -> R {
        run(self.number, Callback::Storage, call)
    }

    /// Says which store is here, by its random number.
    pub(super) fn belongs_to(&self, store: u64) {
        self.store.store(store, Ordering::Release);
    }

    /// Notes that so many batches are durable, without waiting until the note is.
    pub(super) fn mark(&self, batches: u64) -> io::Result<()> {
        let mut note = Vec::new();
        start(&mut note);
        note.extend_from_slice(&batches.to_le_bytes());
        self.mark_table_id().seal(MARK_OFFSET, &mut note);
        let write = || self.write(MARK_OFFSET, &note);
        self.watch().map_or_else(write, |watch| watch.note(batches, write))
    }

    /// The newest note; `None` where there is none.
    pub(super) fn marked(&self) -> Option<u64> {
        let mut note = [0; MARK_BYTES];
        self.read(MARK_OFFSET, &mut note).ok()?;
        // Stores of format 1 left notes that are not bound to them.
        let table_ids = [self.mark_table_id(), TableId::of_any_store(MARK)];
        let content =
            table_ids.into_iter().find_map(|table_id| table_id.unseal(MARK_OFFSET, &note));
        u64::decode(&mut Reader::new(Version::NEWEST, content?)).ok()
    }

    fn mark_table_id(&self) -> TableId<'static> {
        TableId { name: MARK, store: self.store.load(Ordering::Acquire) }
    }

    fn watch(&self) -> Option<&FileWatch> {
        match self.medium.as_ref() {
            Medium::File(_, watch) => watch.as_ref(),
            Medium::Kept(_) | Medium::Storage(_) => None,
        }
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        if let Some(held) = &*self.held.read() {
            return Ok(held.len());
        }
        match self.medium.as_ref() {
            Medium::File(file, _) | Medium::Kept(file) => StorageBackend::len(file),
            Medium::Storage(storage) => self.theirs(|| storage.len()),
        }
    }

    fn read_medium(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.medium.as_ref() {
            Medium::File(file, _) | Medium::Kept(file) => file.read(offset, out),
            Medium::Storage(storage) => self.theirs(|| storage.read(offset, out)),
        }
    }

    fn write_medium(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.medium.as_ref() {
            Medium::File(file, _) | Medium::Kept(file) => file.write(offset, data),
            Medium::Storage(storage) => self.theirs(|| storage.write(offset, data)),
        }
    }

    fn set_medium_len(&self, len: u64) -> io::Result<()> {
        match self.medium.as_ref() {
            Medium::File(file, watch) => {
                file.set_len(len)?;
                if let Some(watch) = watch {
                    watch.has_length(len);
                }
                Ok(())
            }
            Medium::Kept(file) => file.set_len(len),
            Medium::Storage(storage) => self.theirs(|| storage.set_len(len)),
        }
    }

    fn sync_medium(&self) -> io::Result<()> {
        match self.medium.as_ref() {
            Medium::File(file, watch) => {
                file.sync_data()?;
                watch.as_ref().map_or(Ok(()), |watch| watch.look(|| self.marked()))
            }
            Medium::Kept(_) => Ok(()),
            Medium::Storage(storage) => self.theirs(|| storage.sync()),
        }
    }

    /// Only files are locked: a medium is given to one engine.
    fn locks(&self) -> Result<&FileBackend, BackendError> {
        match self.medium.as_ref() {
            Medium::File(file, _) | Medium::Kept(file) => Ok(file),
            Medium::Storage(_) => Err(BackendError::Unsupported),
        }
    }

    /// Whether a new store would be made here, because there is none yet.
    pub(super) fn is_nothing(&self) -> io::Result<bool> {
        let len = self.bytes()?;
        Ok(len == 0 || self.is_unborn(len)?)
    }

    /// Whether a crash during the creation left this: the first page without its whole name, and
    /// nothing behind it. redb writes nothing more before the name lasts.
    fn is_unborn(&self, len: u64) -> io::Result<bool> {
        if len == 0 || len > CREATED_BYTES {
            return Ok(false);
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.read(0, &mut bytes)?;
        let (page, rest) = bytes.split_at_checked(PAGE).unwrap_or((&bytes, &[]));
        let mut name = page.iter().zip(MAGIC);
        let is_cut = name.all(|(byte, letter)| *byte == 0 || *byte == letter);
        Ok(is_cut && !page.starts_with(&MAGIC) && rest.iter().all(|byte| *byte == 0))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.medium.as_ref() {
            Medium::File(file, _) | Medium::Kept(file) => file.fmt(f),
            Medium::Storage(storage) => storage.fmt(f),
        }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let len = self.bytes()?;
        // The first question comes when the lock is held and before anything is read.
        if !self.looked.swap(true, Ordering::Relaxed) {
            if self.holds {
                *self.held.write() = Some(Overlay::over(len, !self.is_kept()));
            }
            if self.is_unborn(len)? {
                self.set_len(0)?;
                return Ok(0);
            }
        }
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.held.read() {
            Some(held) => held.read(&|at, out| self.read_medium(at, out), offset, out),
            None => self.read_medium(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &*self.held.read() {
            Some(held) => {
                held.set_len(len);
                Ok(())
            }
            None => self.set_medium_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(held) = &*self.held.read() {
            held.sync();
            return Ok(());
        }
        self.sync_medium()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &*self.held.read() {
            Some(held) => held.write(&|at, out| self.read_medium(at, out), offset, data),
            None => self.write_medium(offset, data),
        }
    }

    fn close(&self) -> io::Result<()> {
        match self.medium.as_ref() {
            Medium::File(file, _) | Medium::Kept(file) => file.close(),
            Medium::Storage(_) => Ok(()),
        }
    }

    /// Whoever only reads shares the file with others that do, and with nobody that writes.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.is_kept() {
            return self.locks()?.try_lock_shared_range(start, end);
        }
        self.locks()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.locks()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.is_kept() {
            return self.locks()?.lock_shared_range(start, end);
        }
        self.locks()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks()?.query_lock_range(start, end)
    }
}
