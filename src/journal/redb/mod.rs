//! The store in one file of redb.
//!
//! Every generation has a table of chunks and one of key runs, every checkpoint a table of pieces.
//! What is dropped is first left out of the [meta row](crate::journal::store::meta) and then taken
//! apart a little with each commit, so that no commit pays for much.
//!
//! Measured on 2 cores and a virtual disk (a sync takes 0.15 ms), 5 million records of 200 bytes
//! with random keys (1.06 GB): 2.4 million a second in commits of 4 096 (p50 1.5 ms, p99 4.1 ms),
//! the fifth million as fast as the first; 115 000 in commits of 64 (p50 0.55 ms), 3 000 one by one
//! (0.31 ms, 43 KB written each). Opening checks every page: 0.5 to 0.6 s while the system still
//! has them, 1 to 3 s from disk, after a crash or not. With `quick_open` it takes 1 to 3 ms, and
//! one by one a commit 1.1 ms; commits of 4 096 are as fast. All keys are read in 0.04 to 0.1 s,
//! all records in 0.2 to 0.3 s, one chunk in 50 microseconds.
//!
//! redb may panic where pages are not what it wrote. Panics are caught around all work and become
//! errors; a program built with `panic = "abort"` aborts instead.

mod error;
mod medium;
#[cfg(test)]
#[path = "../../../tests/support/medium.rs"]
pub(in crate::journal) mod medium_of_tests;
mod options;
mod overlay;
mod read;
#[cfg(test)]
mod tests;
mod upkeep;
mod watch;
mod write;

use std::any::Any;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ::redb::backends::FileBackend;
use ::redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition};
use parking_lot::{Mutex, RwLock};

use self::medium::Backend;
pub use self::medium::Storage;
pub use self::options::OpenOptions;
use self::watch::FileWatch;
use crate::journal::store::FORKED;
use crate::journal::store::callback::{Callback, CallerPanic, running};
use crate::journal::store::error::{Named, StoreError};
use crate::journal::store::meta::{META_TABLE, Meta};

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreOptions {
    /// Make a new one where there is none.
    pub(crate) create: bool,
    /// Bytes of the file's pages that are kept in memory.
    pub(crate) cache_bytes: usize,
    /// Open in milliseconds, however large the file is: without a check of every page, and after
    /// a crash by what each commit says of free pages. Each commit then syncs twice and writes
    /// 0.3 MB more a GB of the file, and damage shows when it is met; in redb's own tables it can
    /// abort the process then.
    pub(crate) quick_open: bool,
    /// Leave the file as it is: what is written stays in memory.
    pub(crate) copy_on_write: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let cache_bytes = 64 * 1_024 * 1_024;
        Self { create: true, cache_bytes, quick_open: false, copy_on_write: false }
    }
}

/// A store in one file.
pub(crate) struct RedbStore {
    named: Named,
    backend: Backend,
    quick_open: bool,
    /// Shared by reading and committing, exclusive for what needs the file to itself. `None` once
    /// it is closed.
    db: RwLock<Option<Database>>,
    /// As the newest durable batch left it.
    meta: RwLock<Arc<Meta>>,
    /// Held over a commit: the memory in which values are made.
    writer: Mutex<Vec<u8>>,
    /// Held during long work, of which there is one at a time: else what needs the file to itself
    /// would make everybody wait for the other work's end.
    upkeep: Mutex<()>,
    /// Why nothing is taken any more.
    failure: OnceLock<Box<str>>,
    /// The process that opened it: a fork of it has no writer, and shares the file with one that
    /// does not know of it.
    process: u32,
}

type Values<'n> = TableDefinition<'n, u64, &'static [u8]>;

/// The rows of all spaces, by the name of the space and the key.
const SPACES: &str = "spaces";
const SPACE_ROWS: TableDefinition<'_, &'static [u8], &'static [u8]> = TableDefinition::new(SPACES);

/// The definition of a table; all the others are alike.
fn table(name: &str) -> Values<'_> {
    TableDefinition::new(name)
}

impl RedbStore {
    /// Opens the store in a file.
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let named = Named { file: path.display().to_string().into() };
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(named.foreign("it is no plain file"));
        }
        if options.copy_on_write {
            return Self::open_kept(path, named, options);
        }
        let is_new = options.create && !path.exists();
        let file = fs::OpenOptions::new().read(true).write(true).create(options.create).open(path);
        let file = file.map_err(|error| named.io("opening to read and write", &error))?;
        let watch = FileWatch::new(path, &file).map_err(|error| named.io("opening", &error))?;
        let file = FileBackend::new(file).map_err(|error| named.redb("opening", error))?;
        let store = Self::start(named, Backend::file(file, Some(watch)), options)?;
        if is_new {
            sync_folder(path).map_err(|error| store.named.io("making the file last", &error))?;
        }
        Ok(store)
    }

    /// Opens the store in a file that stays as it is.
    fn open_kept(path: &Path, named: Named, options: &StoreOptions) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| named.io("opening to read", &error))?;
        let file = FileBackend::new(file).map_err(|error| named.redb("opening", error))?;
        // A new one could be made in memory alone.
        Self::start(named, Backend::kept(file), &StoreOptions { create: false, ..*options })
    }

    /// Opens the store on a medium; where that is empty, a new one.
    pub(crate) fn open_storage(
        storage: Box<dyn Storage>,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let named = Named { file: "storage".into() };
        Self::start(named, Backend::storage(storage), options)
    }

    /// Opens what is on a medium; where it is refused, the medium stays as it is.
    fn start(named: Named, backend: Backend, options: &StoreOptions) -> Result<Self, StoreError> {
        let backend = backend.holding_back();
        let (db, meta) = guarded(&named, "the file", || {
            let is_nothing = || backend.is_nothing().map_err(|error| named.io("opening", &error));
            if !options.create && is_nothing()? {
                return Err(named.foreign("it is empty"));
            }
            let db = open_database(&named, backend.clone(), options)?;
            let meta = find_meta(&named, &db)?;
            let meta = meta.map_or_else(|| write::first(&named, &db), Ok)?;
            backend.belongs_to(meta.store);
            // redb takes a newest commit whose header is damaged for one that a crash cut off.
            if let Some(marked) = backend.marked().filter(|marked| *marked > meta.batches) {
                let detail = format!("{} of {marked} batches are there", meta.batches);
                return Err(named.damaged("the header", detail));
            }
            backend.let_through().map_err(|error| named.io("opening", &error))?;
            Ok((db, meta))
        })?;
        Ok(Self {
            named,
            backend,
            quick_open: options.quick_open,
            db: RwLock::new(Some(db)),
            meta: RwLock::new(Arc::new(meta)),
            writer: Mutex::new(Vec::new()),
            upkeep: Mutex::new(()),
            failure: OnceLock::new(),
            process: std::process::id(),
        })
    }

    /// Works with the file, beside others that do.
    fn with<R>(
        &self,
        what: &str,
        work: impl FnOnce(&Database) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.check_caller()?;
        // A visitor may ask again while somebody waits for the file alone.
        let db = self.db.read_recursive();
        let db = db.as_ref().ok_or_else(|| self.named.closed())?;
        guarded(&self.named, what, || work(db)).map_err(|error| self.explained(error))
    }

    /// Works with the file while nobody else does.
    fn alone<R>(
        &self,
        what: &str,
        work: impl FnOnce(&mut Database) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.check_caller()?;
        let mut db = self.db.write();
        let db = db.as_mut().ok_or_else(|| self.named.closed())?;
        guarded(&self.named, what, || work(db)).map_err(|error| self.explained(error))
    }

    /// Gives an error the cause that is known here: after a failure redb says only that there was
    /// one.
    fn explained(&self, error: StoreError) -> StoreError {
        match (error, self.failure.get()) {
            (StoreError::Failed { .. }, Some(cause)) => self.named.failed(cause.clone()),
            (error, _) => error,
        }
    }

    fn check_process(&self) -> Result<(), StoreError> {
        if std::process::id() == self.process { Ok(()) } else { Err(self.named.failed(FORKED)) }
    }

    /// Whether the thread may use the file now.
    fn check_caller(&self) -> Result<(), StoreError> {
        self.check_process()?;
        match running(self.backend.number()) {
            Some(callback @ Callback::Storage) => {
                let call = "using the store";
                let (file, callback) = (self.named.file.clone(), callback.as_str());
                Err(StoreError::WithinItself { file, call, callback })
            }
            Some(Callback::Progress) | None => Ok(()),
        }
    }

    fn shut(&self) -> Result<(), StoreError> {
        self.check_process()?;
        let db = self.db.write().take().ok_or_else(|| self.named.closed())?;
        guarded(&self.named, "the file", || {
            db.close().map_err(|error| self.named.redb("closing", error))
        })
        .map_err(|error| self.explained(error))
    }
}

/// The file alone: applications print the store with whatever holds it.
impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("file", &self.named.file).finish_non_exhaustive()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            // Closing would write to the file, and give up the lock that both processes have.
            std::mem::forget(self.db.get_mut().take());
        }
        let _ = self.shut();
    }
}

fn open_database(
    named: &Named,
    backend: Backend,
    options: &StoreOptions,
) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.set_check_integrity_on_open(!options.quick_open);
    builder.create_with_backend(backend).map_err(|error| match named.redb("opening", error) {
        StoreError::Io { kind: io::ErrorKind::InvalidData, message, .. } => named.foreign(message),
        // The system has read all that there is: too little for redb's header.
        StoreError::Io { kind: io::ErrorKind::UnexpectedEof, .. } => {
            named.damaged("the file", "its header is cut off")
        }
        error => error,
    })
}

/// The meta row; `None` where the file is a new one.
fn find_meta(named: &Named, db: &Database) -> Result<Option<Meta>, StoreError> {
    let txn = db.begin_read().map_err(|error| named.redb("opening", error))?;
    let tables = txn.list_tables().map_err(|error| named.redb("opening", error))?;
    let found: Vec<_> =
        tables.map(|handle| ::redb::TableHandle::name(&handle).to_owned()).collect();
    if found.iter().any(|name| name == META_TABLE) {
        return read_meta(named, &txn).map(Some);
    }
    match found.first() {
        None => Ok(None),
        Some(name) => Err(named.foreign(format!("it has a table {name:?} and none that names it"))),
    }
}

/// The meta row as a transaction sees it.
fn read_meta(named: &Named, txn: &ReadTransaction) -> Result<Meta, StoreError> {
    let rows = txn.open_table(table(META_TABLE));
    let rows = rows.map_err(|error| named.redb("reading the meta row", error))?;
    let row = rows.get(Meta::KEY).map_err(|error| named.redb("reading the meta row", error))?;
    let row = row.ok_or_else(|| named.damaged("the meta row", "it is missing"))?;
    Meta::read(row.value(), named)
}

/// Does work that may panic on damaged pages; a panic becomes an error.
fn guarded<R>(
    named: &Named,
    what: &str,
    work: impl FnOnce() -> Result<R, StoreError>,
) -> Result<R, StoreError> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| {
        if panic.is::<CallerPanic>() {
            resume_unwind(panic);
        }
        Err(named.damaged(what, said(panic.as_ref())))
    })
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> Box<str> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic that says nothing").into()
}

/// Syncs the folder of a file, so that a crash does not lose the file's name.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    // Other systems cannot open a folder, and keep names without it.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
