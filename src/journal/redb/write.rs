//! A batch as a transaction.

use ::redb::{
    Database, Durability, Error as RedbError, ReadableTable, ReadableTableMetadata,
    WriteTransaction,
};

use super::{RedbStore, SPACE_ROWS, SPACES, table};
use crate::base::codec::Codec;
use crate::base::format::Version;
use crate::journal::store::chunk::{cut, cut_keys, rewrite_chunk};
use crate::journal::store::error::{Named, StoreError};
use crate::journal::store::meta::{Checkpoint, Complete, META_TABLE, Meta, StoredGeneration};
use crate::journal::store::seal::{TableId, key_hash, start, wide};
use crate::journal::store::{Batch, CheckpointStep, Rewrite, SpaceChange, StateChange, check};

/// How much of the dropped tables a commit removes: twice as many bytes as it writes and
/// `SWEPT_BYTES` at the least, but no more than `SWEPT_VALUES` values.
const SWEPT_BYTES: u64 = 1_024 * 1_024;
const SWEPT_VALUES: u64 = 256;

impl RedbStore {
    /// Stores a batch. After an error nothing is stored any more.
    pub(super) fn store(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut value = self.writer.lock();
        if let Some(cause) = self.failure.get() {
            return Err(self.named.failed(cause.clone()));
        }
        let mut meta = Meta::clone(&self.meta.read());
        check(&self.named, batch, &meta)?;
        let done = self.with("the file", |db| {
            let txn = begin(&self.named, db, self.quick_open)?;
            let mut writer =
                Writer { txn: &txn, named: &self.named, value: &mut value, written: 0 };
            writer.store(batch, &mut meta)?;
            meta.batches = meta.batches.saturating_add(1);
            writer.sweep(&mut meta, batch.rewrite.is_some())?;
            put_meta(&self.named, &txn, &meta)?;
            txn.commit().map_err(|error| self.named.redb("committing", error))
        });
        match &done {
            Ok(()) => {
                // The batch is durable without its note; a medium that fails here fails the next
                // batch.
                let _ = self.backend.mark(meta.batches);
                *self.meta.write() = meta.into();
            }
            Err(StoreError::Closed { .. }) => {}
            Err(error) => {
                let _ = self.failure.set(error.cause());
            }
        }
        done
    }
}

/// Makes an empty file a store.
pub(super) fn first(named: &Named, db: &Database) -> Result<Meta, StoreError> {
    let meta = Meta::new();
    let txn = begin(named, db, false)?;
    put_meta(named, &txn, &meta)?;
    txn.commit().map_err(|error| named.redb("making the file", error))?;
    Ok(meta)
}

pub(super) fn begin(
    named: &Named,
    db: &Database,
    quick_open: bool,
) -> Result<WriteTransaction, StoreError> {
    let mut txn = db.begin_write().map_err(|error| named.redb("beginning a commit", error))?;
    txn.set_quick_repair(quick_open);
    let durable = txn.set_durability(Durability::Immediate);
    durable.map_err(|error| named.damaged("the file", error.to_string()))?;
    Ok(txn)
}

pub(super) fn put_meta(
    named: &Named,
    txn: &WriteTransaction,
    meta: &Meta,
) -> Result<(), StoreError> {
    let rows = txn.open_table(table(META_TABLE));
    let mut rows = rows.map_err(|error| named.redb("writing the meta row", error))?;
    let put = rows.insert(Meta::KEY, meta.write().as_slice());
    put.map_err(|error| named.redb("writing the meta row", error))?;
    Ok(())
}

/// Writes the parts of a batch in one transaction.
struct Writer<'w> {
    txn: &'w WriteTransaction,
    named: &'w Named,
    value: &'w mut Vec<u8>,
    /// How many bytes were written so far.
    written: u64,
}

impl Writer<'_> {
    fn store(&mut self, batch: &Batch<'_>, meta: &mut Meta) -> Result<(), StoreError> {
        if batch.converts {
            meta.version = Version::NEWEST;
        }
        let newest = meta.generations.last();
        let is_empty = newest.is_some_and(|newest| newest.first == newest.end);
        let is_old = newest.is_some_and(|newest| newest.version < Version::NEWEST);
        if is_old || (batch.new_generation && !is_empty) {
            if is_empty {
                meta.generations.pop();
            }
            let number = meta.number();
            meta.generations.push(StoredGeneration::starting(number, batch.first, meta.events));
        }
        if let Some(mut newest) = meta.generations.pop() {
            let [events, keys] = [newest.events(), newest.key_runs()];
            let [events, keys] = [&events, &keys].map(|name| newest.table_id(meta, name));
            self.records(batch, &mut newest, events)?;
            self.keys(batch, &mut newest, keys)?;
            meta.generations.push(newest);
        }
        meta.now = meta.now.max(batch.now);
        meta.events = meta.events.saturating_add(batch.events);
        batch.state.iter().try_for_each(|change| self.state(change, meta))?;
        self.spaces(batch.spaces, meta)?;
        self.checkpoint(batch, meta)?;
        meta.drop_before(batch.keep_from);
        batch.rewrite.map_or(Ok(()), |rewrite| self.rewrite(rewrite, meta))
    }

    /// Rewrites the records of all generations, one chunk at a time.
    fn rewrite(&mut self, rewrite: &dyn Rewrite, meta: &Meta) -> Result<(), StoreError> {
        let failed = |error: RedbError| self.named.redb("rewriting records", error);
        for generation in &meta.generations {
            let name = generation.events();
            let table_id = generation.table_id(meta, &name);
            let mut chunks = self.txn.open_table(table(&name)).map_err(|e| failed(e.into()))?;
            let mut next = Some(0);
            while let Some(from) = next.take() {
                let found = chunks.range(from..).map_err(|e| failed(e.into()))?.next();
                let Some(found) = found.transpose().map_err(|e| failed(e.into()))? else { break };
                let (key, content) = (found.0.value(), found.1.value());
                let rewritten = table_id
                    .unseal(key, content)
                    .and_then(|content| rewrite_chunk(key, content, rewrite, self.value));
                drop(found);
                let is_changed = rewritten.ok_or_else(|| {
                    let detail = format!("the checksum of value {key} is wrong");
                    self.named.damaged(format!("table {name}"), detail)
                })??;
                if is_changed {
                    table_id.seal(key, self.value);
                    let put = chunks.insert(key, self.value.as_slice());
                    put.map_err(|e| failed(e.into()))?;
                }
                next = key.checked_add(1);
            }
        }
        self.spaces_anew()
    }

    /// Puts the rows of all spaces into new pages: of a row that is removed beside another one in a
    /// commit the bytes may stay where the page ends.
    fn spaces_anew(&mut self) -> Result<(), StoreError> {
        let failed = |error: RedbError| self.named.redb("rewriting rows of a space", error);
        let old = self.txn.open_table(SPACE_ROWS).map_err(|e| failed(e.into()))?;
        let mut rows = Vec::new();
        for row in old.iter().map_err(|e| failed(e.into()))? {
            let (key, value) = row.map_err(|e| failed(e.into()))?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        self.txn.delete_table(old).map_err(|e| failed(e.into()))?;
        let mut new = self.txn.open_table(SPACE_ROWS).map_err(|e| failed(e.into()))?;
        for (key, value) in &rows {
            new.insert(key.as_slice(), value.as_slice()).map_err(|e| failed(e.into()))?;
        }
        Ok(())
    }

    fn records(
        &mut self,
        batch: &Batch<'_>,
        newest: &mut StoredGeneration,
        table_id: TableId<'_>,
    ) -> Result<(), StoreError> {
        if batch.ends.is_empty() {
            return Ok(());
        }
        let failed = |error: RedbError| self.named.redb("writing records", error);
        let mut chunks = self.txn.open_table(table(table_id.name)).map_err(|e| failed(e.into()))?;
        cut(batch, table_id, self.value, |first, value| {
            self.written = self.written.saturating_add(wide(value.len()));
            chunks.insert(first, value).map(drop).map_err(|error| failed(error.into()))
        })?;
        newest.end = batch.first.saturating_add(wide(batch.ends.len()));
        newest.now = newest.now.max(batch.now);
        if let Some(times) = batch.times {
            newest.times.merge(times);
        }
        Ok(())
    }

    fn keys(
        &mut self,
        batch: &Batch<'_>,
        newest: &mut StoredGeneration,
        table_id: TableId<'_>,
    ) -> Result<(), StoreError> {
        if batch.keys.is_empty() {
            return Ok(());
        }
        let failed = |error: RedbError| self.named.redb("writing keys", error);
        let mut runs = self.txn.open_table(table(table_id.name)).map_err(|e| failed(e.into()))?;
        cut_keys(batch, table_id, self.value, |key, value| {
            self.written = self.written.saturating_add(wide(value.len()));
            runs.insert(key, value).map(drop).map_err(|error| failed(error.into()))
        })?;
        newest.keys = newest.keys.saturating_add(wide(batch.keys.len()));
        Ok(())
    }

    fn state(&mut self, change: &StateChange, meta: &mut Meta) -> Result<(), StoreError> {
        let failed = |error: RedbError| self.named.redb("writing named rows", error);
        let (StateChange::Put { table: of, key, .. } | StateChange::Remove { table: of, key }) =
            change;
        let name = of.table();
        let mut rows = self.txn.open_table(table(name)).map_err(|e| failed(e.into()))?;
        let before = match change {
            StateChange::Put { bytes, .. } => {
                start(self.value);
                self.value.extend_from_slice(bytes);
                meta.rows_table_id(name).seal(*key, self.value);
                self.written = self.written.saturating_add(wide(self.value.len()));
                rows.insert(key, self.value.as_slice()).map_err(|e| failed(e.into()))?.is_some()
            }
            StateChange::Remove { .. } => rows.remove(key).map_err(|e| failed(e.into()))?.is_some(),
        };
        let count = meta.rows(*of);
        *count = match (change, before) {
            (StateChange::Put { .. }, false) => count.saturating_add(1),
            (StateChange::Remove { .. }, true) => count.saturating_sub(1),
            _ => *count,
        };
        Ok(())
    }

    fn spaces(&mut self, changes: &[SpaceChange], meta: &mut Meta) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let failed = |error: RedbError| self.named.redb("writing rows of a space", error);
        let table_id = meta.rows_table_id(SPACES);
        let mut rows = self.txn.open_table(SPACE_ROWS).map_err(|e| failed(e.into()))?;
        let (mut new, mut gone) = (0_u64, 0_u64);
        for SpaceChange { key, value } in changes {
            let Some(value) = value else {
                let removed = rows.remove(&**key).map_err(|e| failed(e.into()))?;
                gone = gone.saturating_add(removed.is_some().into());
                continue;
            };
            start(self.value);
            self.value.extend_from_slice(value);
            table_id.seal(key_hash(key), self.value);
            self.written = self.written.saturating_add(wide(self.value.len()));
            let before = rows.insert(&**key, self.value.as_slice());
            new = new.saturating_add(before.map_err(|e| failed(e.into()))?.is_none().into());
        }
        meta.spaces = meta.spaces.saturating_add(new).saturating_sub(gone);
        Ok(())
    }

    fn checkpoint(&mut self, batch: &Batch<'_>, meta: &mut Meta) -> Result<(), StoreError> {
        let is_whole = matches!(batch.checkpoint, CheckpointStep::Whole { .. });
        if batch.checkpoint == CheckpointStep::Begin || is_whole {
            let number = meta.number();
            let left = meta.under_way.replace(Checkpoint::starting(number));
            meta.doomed.extend(left.map(|left| left.table()));
        }
        let Some(mut under_way) = meta.under_way else { return Ok(()) };
        self.pieces(batch, &mut under_way, meta)?;
        meta.under_way = Some(under_way);
        if let CheckpointStep::Complete { from } | CheckpointStep::Whole { from } = batch.checkpoint
        {
            let whole = Complete { checkpoint: under_way, from };
            let old = meta.complete.replace(whole);
            meta.doomed.extend(old.map(|old| old.checkpoint.table()));
            meta.under_way = None;
        }
        Ok(())
    }

    fn pieces(
        &mut self,
        batch: &Batch<'_>,
        of: &mut Checkpoint,
        meta: &Meta,
    ) -> Result<(), StoreError> {
        if batch.pieces.is_empty() {
            return Ok(());
        }
        let name = of.table();
        let table_id = of.table_id(meta, &name);
        let failed = |error: RedbError| self.named.redb("writing a checkpoint", error);
        let mut pieces = self.txn.open_table(table(&name)).map_err(|e| failed(e.into()))?;
        for piece in batch.pieces {
            start(self.value);
            piece.as_stored().encode(self.value);
            table_id.seal(of.pieces, self.value);
            self.written = self.written.saturating_add(wide(self.value.len()));
            pieces.insert(of.pieces, self.value.as_slice()).map_err(|e| failed(e.into()))?;
            of.pieces = of.pieces.saturating_add(1);
        }
        Ok(())
    }

    /// Removes a little of the dropped tables, so that no commit pays for all of one; or all of
    /// them.
    fn sweep(&mut self, meta: &mut Meta, all: bool) -> Result<(), StoreError> {
        let failed = |error: RedbError| self.named.redb("dropping what is old", error);
        let mut bytes = self.written.saturating_mul(2).max(SWEPT_BYTES);
        let mut values = SWEPT_VALUES;
        if all {
            (bytes, values) = (u64::MAX, u64::MAX);
        }
        while let Some(name) = meta.doomed.first() {
            let mut old = self.txn.open_table(table(name)).map_err(|e| failed(e.into()))?;
            while bytes > 0 && values > 0 {
                let Some((_, value)) = old.pop_first().map_err(|e| failed(e.into()))? else {
                    break;
                };
                bytes = bytes.saturating_sub(wide(value.value().len()));
                values = values.saturating_sub(1);
            }
            if !old.is_empty().map_err(|e| failed(e.into()))? {
                return Ok(());
            }
            self.txn.delete_table(old).map_err(|e| failed(e.into()))?;
            meta.doomed.remove(0);
        }
        Ok(())
    }
}
