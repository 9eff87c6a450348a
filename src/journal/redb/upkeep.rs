//! What a store does, above all the long work: checking, compacting, copying.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use ::redb::backends::FileBackend;
use ::redb::{Database, Error as RedbError};

use super::medium::Backend;
use super::read::View;
use super::write::{begin, put_meta};
use super::{
    RedbStore, SPACE_ROWS, SPACES, StoreOptions, guarded, open_database, sync_folder, table,
};
use crate::base::progress::Progress;
use crate::journal::store::callback::{self, Callback};
use crate::journal::store::error::{Named, StoreError};
use crate::journal::store::meta::{Checkpoint, Meta, StoredGeneration};
use crate::journal::store::seal::{TableId, key_hash, start, wide};
use crate::journal::store::{Batch, Contents, ProgressSink, StateTable, Store, StoreReport, Visit};

const VALUES: &str = "checking values";
const PAGES: &str = "checking pages";
const COMPACTING: &str = "compacting";
const COPYING: &str = "copying";
/// How many bytes are gone over between two words of progress: a store of small commits has
/// millions of chunks.
const BYTES_A_REPORT: u64 = 1_024 * 1_024;
/// About how many bytes one transaction of a backup writes: so many stay in memory until then.
const COPIED_BYTES: u64 = 16 * 1_024 * 1_024;

impl Store for RedbStore {
    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        self.store(batch)
    }

    fn at_once(&self, visit: Visit<'_>) -> Result<(), StoreError> {
        self.with("the file", |db| visit(&View::new(&self.named, db)?))
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<StoreReport, StoreError> {
        let _alone = self.upkeep.lock();
        let total = self.size();
        progress(Progress::new(VALUES, 0, total));
        let report = self
            .with("the file", |db| check_values(&View::new(&self.named, db)?, total, progress))?;
        progress(Progress::new(VALUES, total, total));
        if self.backend.is_kept() && !self.quick_open {
            // They were checked when the file was opened, and nobody has written to it since.
            return Ok(report);
        }
        progress(Progress::new(PAGES, 0, total));
        let before = self.meta();
        let whole = self.alone("the file", |db| {
            let whole = db.check_integrity();
            let whole = whole.map_err(|error| self.named.redb("checking pages", error))?;
            // A repair may go back to an older transaction.
            let now = View::new(&self.named, db)?.meta;
            Ok(whole && now.end() >= before.end())
        })?;
        if !whole {
            let error = self.named.damaged("the file", "pages were not as they should be");
            let _ = self.failure.set(error.cause());
            return Err(error);
        }
        progress(Progress::new(PAGES, total, total));
        Ok(report)
    }

    fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, StoreError> {
        let total = self.size();
        progress(Progress::new(COMPACTING, 0, total));
        let _alone = self.upkeep.lock();
        let done = self.alone("the file", |db| {
            let compact = |db: &mut Database| {
                db.compact().map_err(|error| self.named.redb("compacting", error))
            };
            let done = compact(db)?;
            // What was in pages that are free now may have been erased: it is to be gone.
            self.blank(db)?;
            compact(db)?;
            Ok(done)
        })?;
        progress(Progress::new(COMPACTING, total, total));
        Ok(done)
    }

    fn backup(&self, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        let named = Named { file: to.display().to_string().into() };
        if to.exists() {
            let error = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something of this name already",
            );
            return Err(named.io("making a backup", &error));
        }
        let _alone = self.upkeep.lock();
        let part = Part(part(to));
        self.with("the file", |db| {
            let view = View::new(&self.named, db)?;
            guarded(&named, "the backup", || {
                let total = self.size();
                Copy::new(&view, &named, &part.0, total, progress)?.finish()?;
                progress(Progress::new(COPYING, total, total));
                Ok(())
            })
        })?;
        let renamed = fs::rename(&part.0, to).and_then(|()| sync_folder(to));
        renamed.map_err(|error| named.io("naming a backup", &error))
    }

    fn size(&self) -> u64 {
        self.backend.bytes().unwrap_or(0)
    }

    fn running(&self) -> Option<Callback> {
        callback::running(self.backend.number())
    }

    fn with_progress(&self, tell: ProgressSink<'_>, work: &mut dyn FnMut(ProgressSink<'_>)) {
        callback::with_progress(self.backend.number(), tell, work);
    }

    fn run_caller(&self, code: &mut dyn FnMut()) {
        callback::run_caller(self.backend.number(), code);
    }

    fn close(&self) -> Result<(), StoreError> {
        self.shut()
    }
}

impl RedbStore {
    /// Writes over the pages that are free: a table takes them, until the file has grown, and is
    /// dropped.
    fn blank(&self, db: &Database) -> Result<(), StoreError> {
        let failed = |error: RedbError| self.named.redb("compacting", error);
        let size = self.size();
        let txn = begin(&self.named, db, self.quick_open)?;
        let mut count = 0_u64;
        {
            let mut blank = txn.open_table(table(BLANK)).map_err(|e| failed(e.into()))?;
            while self.size() <= size && count.saturating_mul(BLANK_BYTES) < size {
                blank.insert(count, &BLANK_PAGE[..]).map_err(|e| failed(e.into()))?;
                count = count.saturating_add(1);
            }
        }
        txn.commit().map_err(|e| failed(e.into()))?;
        let txn = begin(&self.named, db, self.quick_open)?;
        txn.delete_table(table(BLANK)).map_err(|e| failed(e.into()))?;
        txn.commit().map_err(|e| failed(e.into()))
    }
}

/// The table that takes free pages for a moment.
const BLANK: &str = "blank";
/// About what fills a page, and no more than one.
const BLANK_BYTES: u64 = 3 * 1_024;
static BLANK_PAGE: [u8; 3 * 1_024] = [0; 3 * 1_024];

/// A backup that is being made: what is there of it when it is not whole is removed, also where the
/// caller's function panicked.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is whole it has another name.
        let _ = fs::remove_file(&self.0);
    }
}

/// The name that a backup has while it is made.
fn part(to: &Path) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(".part");
    name.into()
}

/// Reads every value.
fn check_values(
    view: &View<'_>,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<StoreReport, StoreError> {
    let (mut report, mut told) = (StoreReport::default(), 0);
    view.read(0, &mut |chunk| {
        report.records = report.records.saturating_add(chunk.end().saturating_sub(chunk.first()));
        report.bytes = report.bytes.saturating_add(chunk.size());
        if report.bytes.saturating_sub(told) >= BYTES_A_REPORT {
            told = report.bytes;
            progress(Progress::new(VALUES, told, total));
        }
        ControlFlow::Continue(())
    })?;
    view.keys(0, &mut |_| {
        report.keys = report.keys.saturating_add(1);
    })?;
    for of in [StateTable::Rules, StateTable::Meta] {
        view.state(of, &mut |_, row| {
            report.bytes = report.bytes.saturating_add(wide(row.len()));
        })?;
    }
    let mut rows = 0_u64;
    view.space_rows(Bound::Unbounded, &mut |key, value| {
        rows = rows.saturating_add(1);
        report.bytes = report.bytes.saturating_add(wide(key.len().saturating_add(value.len())));
        ControlFlow::Continue(())
    })?;
    view.all(SPACES, rows, view.meta.spaces)?;
    let (complete, under_way) = (view.meta.complete, view.meta.under_way);
    for of in complete.map(|whole| whole.checkpoint).into_iter().chain(under_way) {
        view.pieces_of(of, &mut |piece| {
            report.bytes = report.bytes.saturating_add(wide(piece.bytes.len()));
        })?;
    }
    Ok(report)
}

/// What a table is of.
enum TableOf<'m> {
    Generation(&'m StoredGeneration),
    Rows,
    Checkpoint(Checkpoint),
}

impl TableOf<'_> {
    /// Where its values are in the store that it is copied from.
    fn table_id<'h>(&self, meta: &Meta, table: &'h str) -> TableId<'h> {
        match self {
            Self::Generation(of) => of.table_id(meta, table),
            Self::Rows => meta.rows_table_id(table),
            Self::Checkpoint(of) => of.table_id(meta, table),
        }
    }
}

/// The tables of a store that a copy has, too.
fn tables(meta: &Meta) -> Vec<(String, TableOf<'_>)> {
    let tables_of = |one| {
        let names = [StoredGeneration::events(one), one.key_runs()];
        names.map(|name| (name, TableOf::Generation(one)))
    };
    let generations = meta.generations.iter().flat_map(tables_of);
    let rows = [StateTable::Rules, StateTable::Meta].map(|of| (of.table().into(), TableOf::Rows));
    let whole = meta.complete.map(|whole| whole.checkpoint);
    let pieces = whole.map(|of| (of.table(), TableOf::Checkpoint(of)));
    generations.chain(rows).chain(pieces).collect()
}

/// A backup that is being made.
struct Copy<'c> {
    named: &'c Named,
    db: Database,
    meta: Meta,
}

impl<'c> Copy<'c> {
    /// Copies everything but the meta row, which makes a store of it.
    fn new(
        view: &View<'_>,
        named: &'c Named,
        path: &Path,
        total: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(|error| named.io("making a backup", &error))?;
        let file = FileBackend::new(file).map_err(|error| named.redb("making a backup", error))?;
        let db = open_database(named, Backend::file(file, None), &StoreOptions::default())?;
        let mut meta = Meta::clone(&view.meta);
        meta.batches = 0;
        meta.doomed.clear();
        meta.under_way = None;
        meta.bind_anew();
        let copy = Self { named, db, meta };
        let mut done = 0;
        progress(Progress::new(COPYING, 0, total));
        for (name, old) in tables(&view.meta) {
            let new = match &old {
                TableOf::Rows => copy.meta.rows_table_id(&name),
                _ => TableId { name: &name, store: copy.meta.store },
            };
            copy.table(view, [old.table_id(&view.meta, &name), new], &mut |bytes| {
                done = bytes.saturating_add(done);
                progress(Progress::new(COPYING, done, total));
            })?;
        }
        copy.spaces(view)?;
        Ok(copy)
    }

    /// Copies the rows of all spaces, which are few and small, in one transaction.
    fn spaces(&self, view: &View<'_>) -> Result<(), StoreError> {
        if view.meta.spaces == 0 {
            return Ok(());
        }
        let failed = |error: RedbError| self.named.redb("copying", error);
        let (new, txn) = (self.meta.rows_table_id(SPACES), begin(self.named, &self.db, false)?);
        {
            let mut target = txn.open_table(SPACE_ROWS).map_err(|e| failed(e.into()))?;
            let (mut sealed, mut wrong) = (Vec::new(), None);
            view.space_rows(Bound::Unbounded, &mut |key, value| {
                start(&mut sealed);
                sealed.extend_from_slice(value);
                new.seal(key_hash(key), &mut sealed);
                wrong = target.insert(key, sealed.as_slice()).err();
                if wrong.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            wrong.map_or(Ok(()), |why| Err(failed(why.into())))?;
        }
        txn.commit().map_err(|error| failed(error.into()))
    }

    /// Copies a table in transactions of some megabytes.
    fn table(
        &self,
        view: &View<'_>,
        [old, new]: [TableId<'_>; 2],
        done: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let (name, mut from) = (old.name, Some(0));
        let mut sealed = Vec::new();
        while let Some(start) = from.take() {
            let failed = |error: RedbError| self.named.redb("copying", error);
            let txn = begin(self.named, &self.db, false)?;
            let mut copied = 0_u64;
            {
                let mut target = txn.open_table(table(name)).map_err(|e| failed(e.into()))?;
                view.values(name, start, &mut |key, value| {
                    if copied >= COPIED_BYTES {
                        from = Some(key);
                        return Ok(ControlFlow::Break(()));
                    }
                    let content = old.unseal(key, value);
                    content.ok_or_else(|| view.wrong_checksum(name, key))?;
                    sealed.clear();
                    sealed.extend_from_slice(value);
                    new.seal(key, &mut sealed);
                    let put = target.insert(key, sealed.as_slice());
                    put.map_err(|e| failed(e.into()))?;
                    copied = copied.saturating_add(wide(value.len()));
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            txn.commit().map_err(|error| failed(error.into()))?;
            done(copied);
        }
        Ok(())
    }

    fn finish(self) -> Result<(), StoreError> {
        let txn = begin(self.named, &self.db, false)?;
        put_meta(self.named, &txn, &self.meta)?;
        txn.commit().map_err(|error| self.named.redb("copying", error))?;
        self.db.close().map_err(|error| self.named.redb("closing a backup", error))
    }
}
