//! What is stored, read back and checked.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use ::redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableError};

use super::{RedbStore, SPACE_ROWS, SPACES, read_meta, table};
use crate::base::codec::{Codec, Reader};
use crate::journal::store::chunk::{Chunk, OwnedChunk, visit_keys};
use crate::journal::store::error::{Named, StoreError};
use crate::journal::store::meta::{Checkpoint, Meta, StoredGeneration};
use crate::journal::store::seal::key_hash;
use crate::journal::store::{Contents, FoundKey, StateTable, StoredPiece};

/// Whether a visit of values goes on.
type VisitResult = Result<ControlFlow<()>, StoreError>;
type Opened = ReadOnlyTable<u64, &'static [u8]>;

/// The store as one transaction left it: whatever is committed later does not show.
pub(super) struct View<'v> {
    named: &'v Named,
    txn: ReadTransaction,
    pub(super) meta: Arc<Meta>,
}

impl<'v> View<'v> {
    pub(super) fn new(named: &'v Named, db: &Database) -> Result<Self, StoreError> {
        let txn = db.begin_read().map_err(|error| named.redb("beginning to read", error))?;
        let meta = Arc::new(read_meta(named, &txn)?);
        Ok(Self { named, txn, meta })
    }

    /// A table; `None` where nothing was ever put into it.
    pub(super) fn table(&self, name: &str) -> Result<Option<Opened>, StoreError> {
        match self.txn.open_table(table(name)) {
            Ok(opened) => Ok(Some(opened)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.named.redb("opening a table", error)),
        }
    }

    /// Visits values by ascending key, from a key on.
    pub(super) fn values(
        &self,
        name: &str,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> VisitResult,
    ) -> Result<(), StoreError> {
        let failed = |error| self.named.redb("reading", error);
        let Some(opened) = self.table(name)? else { return Ok(()) };
        for entry in opened.range(from..).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The highest key that is not above `most`.
    fn key_at(&self, name: &str, most: u64) -> Result<Option<u64>, StoreError> {
        let failed = |error| self.named.redb("reading", error);
        let Some(opened) = self.table(name)? else { return Ok(None) };
        let newest = opened.range(..=most).map_err(failed)?.next_back();
        Ok(newest.transpose().map_err(failed)?.map(|(key, _)| key.value()))
    }

    fn chunks_of(
        &self,
        of: &StoredGeneration,
        from: u64,
        visit: &mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>,
    ) -> VisitResult {
        let name = of.events();
        let mut next = of.first;
        if from > next {
            next = self.key_at(&name, from)?.ok_or_else(|| self.missing(&name, next))?;
        }
        let mut goes_on = ControlFlow::Continue(());
        self.values(&name, next, &mut |first, value| {
            if first != next {
                return Err(self.missing(&name, next));
            }
            let chunk = Chunk::open(of.table_id(&self.meta, &name), first, value);
            let chunk = chunk.ok_or_else(|| self.wrong_checksum(&name, first))?;
            if chunk.end() == first || chunk.end() > of.end {
                return Err(self.wrong_checksum(&name, first));
            }
            next = chunk.end();
            if chunk.end() > from {
                goes_on = visit(&chunk);
            }
            Ok(goes_on)
        })?;
        if goes_on.is_continue() && next != of.end {
            return Err(self.missing(&name, next));
        }
        Ok(goes_on)
    }

    pub(super) fn pieces_of(
        &self,
        of: Checkpoint,
        visit: &mut dyn FnMut(StoredPiece<'_>),
    ) -> Result<(), StoreError> {
        let name = of.table();
        let mut found = 0_u64;
        self.values(&name, 0, &mut |key, value| {
            let read = || {
                let content = of.table_id(&self.meta, &name).unseal(key, value)?;
                StoredPiece::decode_all(Reader::new(of.version, content)).ok()
            };
            visit(read().ok_or_else(|| self.wrong_checksum(&name, key))?);
            found = found.saturating_add(1);
            Ok(ControlFlow::Continue(()))
        })?;
        self.all(&name, found, of.pieces)
    }

    /// Visits the rows of all spaces as they are stored, from a key on.
    pub(super) fn sealed_space_rows(
        &self,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> VisitResult,
    ) -> Result<(), StoreError> {
        let failed = |error| self.named.redb("reading", error);
        let opened = match self.txn.open_table(SPACE_ROWS) {
            Ok(opened) => opened,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.named.redb("opening a table", error)),
        };
        for row in opened.range::<&[u8]>((from, Bound::Unbounded)).map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn all(&self, name: &str, found: u64, count: u64) -> Result<(), StoreError> {
        if found == count {
            return Ok(());
        }
        let detail = format!("it has {found} entries in place of {count}");
        Err(self.named.damaged(format!("table {name}"), detail))
    }

    pub(super) fn wrong_checksum(&self, name: &str, key: u64) -> StoreError {
        self.named.damaged(format!("table {name}"), format!("the checksum of value {key} is wrong"))
    }

    fn missing(&self, name: &str, seq: u64) -> StoreError {
        self.named.damaged(format!("table {name}"), format!("record {seq} is missing"))
    }
}

impl Contents for View<'_> {
    fn meta(&self) -> Arc<Meta> {
        Arc::clone(&self.meta)
    }

    fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut goes_on = ControlFlow::Continue(());
        for generation in self.meta.generations.iter().filter(|one| one.end > from.max(one.first)) {
            if goes_on.is_break() {
                break;
            }
            goes_on = self.chunks_of(generation, from, visit)?;
        }
        Ok(())
    }

    fn read_before(&self, seq: u64) -> Result<Option<OwnedChunk>, StoreError> {
        let failed = |error| self.named.redb("reading", error);
        let mut found = self.meta.generations.iter().rev();
        let Some(of) = found.find(|one| one.first < seq.min(one.end)) else { return Ok(None) };
        let (name, end) = (of.events(), of.end.min(seq));
        let opened = self.table(&name)?.ok_or_else(|| self.missing(&name, of.first))?;
        let newest = opened.range(..seq).map_err(failed)?.next_back();
        let newest = newest.transpose().map_err(failed)?;
        let (first, value) = newest.ok_or_else(|| self.missing(&name, of.first))?;
        let first = first.value();
        let chunk = OwnedChunk::open(of.table_id(&self.meta, &name), first, value.value());
        let chunk = chunk.ok_or_else(|| self.wrong_checksum(&name, first))?;
        if chunk.chunk().end() < end {
            return Err(self.missing(&name, chunk.chunk().end()));
        }
        Ok(Some(chunk))
    }

    fn keys(&self, from: u64, visit: &mut dyn FnMut(FoundKey)) -> Result<(), StoreError> {
        let generations = self.meta.generations.iter();
        for of in generations.filter(|one| one.end > from && one.keys > 0) {
            let name = of.key_runs();
            let mut found = 0_u64;
            self.values(&name, 0, &mut |key, value| {
                let table_id = (of.table_id(&self.meta, &name), of.version);
                let count = visit_keys(table_id, key, value, |found| {
                    if found.seq >= from {
                        visit(found);
                    }
                });
                found = found.saturating_add(count.ok_or_else(|| self.wrong_checksum(&name, key))?);
                Ok(ControlFlow::Continue(()))
            })?;
            self.all(&name, found, of.keys)?;
        }
        Ok(())
    }

    fn state(&self, of: StateTable, visit: &mut dyn FnMut(u64, &[u8])) -> Result<(), StoreError> {
        let name = of.table();
        let mut found = 0_u64;
        self.values(name, 0, &mut |key, value| {
            let row = self.meta.rows_table_id(name).unseal(key, value);
            visit(key, row.ok_or_else(|| self.wrong_checksum(name, key))?);
            found = found.saturating_add(1);
            Ok(ControlFlow::Continue(()))
        })?;
        let count = match of {
            StateTable::Rules => self.meta.rules,
            StateTable::Meta => self.meta.state,
        };
        self.all(name, found, count)
    }

    fn space_rows(
        &self,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.sealed_space_rows(from, &mut |key, sealed| {
            let value = self.meta.rows_table_id(SPACES).unseal(key_hash(key), sealed);
            let wrong = || {
                let detail = format!("the checksum of row {} is wrong", key.escape_ascii());
                self.named.damaged(format!("table {SPACES}"), detail)
            };
            Ok(visit(key, value.ok_or_else(wrong)?))
        })
    }

    fn pieces(&self, visit: &mut dyn FnMut(StoredPiece<'_>)) -> Result<Option<u64>, StoreError> {
        let Some(complete) = self.meta.complete else { return Ok(None) };
        self.pieces_of(complete.checkpoint, visit)?;
        Ok(Some(complete.from))
    }

    fn file(&self) -> &str {
        &self.named.file
    }
}

/// Each call reads in a transaction of its own, so that two of them may see different commits.
impl Contents for RedbStore {
    fn meta(&self) -> Arc<Meta> {
        Arc::clone(&self.meta.read())
    }

    fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.with("the records", |db| View::new(&self.named, db)?.read(from, visit))
    }

    fn read_before(&self, seq: u64) -> Result<Option<OwnedChunk>, StoreError> {
        self.with("the records", |db| View::new(&self.named, db)?.read_before(seq))
    }

    fn keys(&self, from: u64, visit: &mut dyn FnMut(FoundKey)) -> Result<(), StoreError> {
        self.with("the keys", |db| View::new(&self.named, db)?.keys(from, visit))
    }

    fn state(
        &self,
        table: StateTable,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        self.with("the named rows", |db| View::new(&self.named, db)?.state(table, visit))
    }

    fn space_rows(
        &self,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.with("the spaces", |db| View::new(&self.named, db)?.space_rows(from, visit))
    }

    fn pieces(&self, visit: &mut dyn FnMut(StoredPiece<'_>)) -> Result<Option<u64>, StoreError> {
        self.with("the checkpoint", |db| View::new(&self.named, db)?.pieces(visit))
    }

    fn file(&self) -> &str {
        &self.named.file
    }
}
