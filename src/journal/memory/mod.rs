//! A store in memory: for tests of an application's restarts, and for this crate's own.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::Durable;
use super::store::callback::{self, Callback};
use super::store::chunk::cut;
use super::store::error::{Named, StoreError};
use super::store::meta::{Checkpoint, Complete, Meta, StoredGeneration};
use super::store::seal::{TableId, wide};
use super::store::{
    Batch, CheckpointStep, Chunk, Contents, FoundKey, OwnedChunk, Piece, ProgressSink, Rewrite,
    SpaceChange, StateChange, StateTable, Store, StoreReport, StoredPiece, Visit, check,
};
use crate::base::format::Version;
use crate::base::progress::Progress;

/// What errors call it.
const NAME: &str = "memory";
/// A store in memory seals its chunks as a file does, because both cut them by the same code.
const TABLE_ID: TableId<'_> = TableId { name: "memory", store: 0 };

/// A store in memory, which outlives the engines that use it: to test what an application does
/// after a restart, without a file and without the feature `durable`.
///
/// It is a handle: clones are the same store. One engine uses it at a time, from
/// [`open`](Self::open) on until the engine is closed or dropped. Its promises are those of a file:
/// what was committed is there for the next engine, and what was not is lost where a crash comes
/// in between, which [`after_crash`](Self::after_crash) shows. It grows with what is recorded, and
/// shrinks as the [retention](Durable::retention) says.
///
/// ```
/// use limitry::store::MemoryStore;
/// use limitry::{Engine, Event};
///
/// let memory = MemoryStore::new();
/// let engine = Engine::builder().durable(memory.open()?).build()?;
/// let _ = engine.record(&Event::new("cust_123", "model_call"))?;
/// engine.store().flush()?;
/// let _ = engine.record(&Event::new("cust_123", "model_call"))?;
///
/// // The power fails, maybe before the second event is committed.
/// let after = memory.after_crash();
/// let again = Engine::builder().durable(after.open()?).build()?;
/// assert!((1..=2).contains(&again.events().len()));
///
/// // A clean end loses nothing.
/// engine.store().close()?;
/// let again = Engine::builder().durable(memory.open()?).build()?;
/// assert_eq!(again.events().len(), 2);
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What was committed. Whoever reads holds on to it as it was: the next commit copies what it
    /// changes then, of lists only their pointers.
    data: RwLock<Arc<Data>>,
    /// Whether an engine has it open.
    is_open: Mutex<bool>,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the store for an engine.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another engine has it open.
    pub fn open(&self) -> Result<Durable, StoreError> {
        self.open_store().map(Durable::in_store)
    }

    pub(super) fn open_store(&self) -> Result<OpenStore, StoreError> {
        let mut is_open = self.shared.is_open.lock();
        if std::mem::replace(&mut *is_open, true) {
            return Err(StoreError::Locked { file: NAME.into() });
        }
        drop(is_open);
        let (shared, is_closed) = (Arc::clone(&self.shared), Mutex::new(false));
        Ok(OpenStore { shared, is_closed, number: callback::new_number() })
    }

    /// Returns what a crash at this moment would leave, as a store of its own: everything that was
    /// committed, and nothing that waits for its commit. The engine that has this store open goes
    /// on with it.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let data = RwLock::new(Arc::clone(&self.shared.data.read()));
        Self { shared: Arc::new(Shared { data, is_open: Mutex::new(false) }) }
    }
}

/// Everything that is stored, as of one commit.
#[derive(Clone, Debug)]
struct Data {
    /// How much there is of everything, as the meta row of a file says it.
    meta: Arc<Meta>,
    /// By the sequence number of the first record.
    chunks: BTreeMap<u64, Arc<OwnedChunk>>,
    /// In the order of their records.
    keys: Vec<FoundKey>,
    rules: BTreeMap<u64, Arc<[u8]>>,
    rows: BTreeMap<u64, Arc<[u8]>>,
    spaces: BTreeMap<Arc<[u8]>, Arc<[u8]>>,
    complete: Vec<Arc<Piece>>,
    under_way: Vec<Arc<Piece>>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            meta: Arc::new(Meta::new()),
            chunks: BTreeMap::new(),
            keys: Vec::new(),
            rules: BTreeMap::new(),
            rows: BTreeMap::new(),
            spaces: BTreeMap::new(),
            complete: Vec::new(),
            under_way: Vec::new(),
        }
    }
}

impl Data {
    fn table(&mut self, table: StateTable) -> &mut BTreeMap<u64, Arc<[u8]>> {
        match table {
            StateTable::Rules => &mut self.rules,
            StateTable::Meta => &mut self.rows,
        }
    }

    fn apply(&mut self, batch: &Batch<'_>) {
        let meta = Arc::make_mut(&mut self.meta);
        let is_empty = meta.generations.last().is_some_and(|it| it.first == it.end);
        if batch.new_generation && !is_empty {
            let (number, events) = (meta.number(), meta.events);
            meta.generations.push(StoredGeneration::starting(number, batch.first, events));
        }
        meta.now = meta.now.max(batch.now);
        meta.batches = meta.batches.saturating_add(1);
        self.append(batch);
        for change in batch.state {
            match change {
                StateChange::Put { table, key, bytes } => {
                    self.table(*table).insert(*key, bytes.as_slice().into());
                }
                StateChange::Remove { table, key } => drop(self.table(*table).remove(key)),
            }
        }
        for SpaceChange { key, value } in batch.spaces {
            match value {
                Some(value) => drop(self.spaces.insert((&**key).into(), value.as_slice().into())),
                None => drop(self.spaces.remove(&**key)),
            }
        }
        self.checkpoint(batch);
        let meta = Arc::make_mut(&mut self.meta);
        meta.drop_before(batch.keep_from);
        meta.doomed.clear();
        let first = self.meta.generations.first().map_or(0, |oldest| oldest.first);
        if self.chunks.first_key_value().is_some_and(|(oldest, _)| *oldest < first) {
            self.chunks = self.chunks.split_off(&first);
            self.keys.retain(|key| key.seq >= first);
        }
    }

    fn rewrite(&mut self, rewrite: &dyn Rewrite) -> Result<(), StoreError> {
        for chunk in self.chunks.values_mut() {
            if let Some(rewritten) = chunk.rewritten(TABLE_ID, rewrite)? {
                *chunk = Arc::new(rewritten);
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: &Batch<'_>) {
        let meta = Arc::make_mut(&mut self.meta);
        let (Some(newest), false) = (meta.generations.last_mut(), batch.ends.is_empty()) else {
            return;
        };
        newest.end = batch.first.saturating_add(wide(batch.ends.len()));
        newest.now = newest.now.max(batch.now);
        newest.keys = newest.keys.saturating_add(wide(batch.keys.len()));
        if let Some(times) = batch.times {
            newest.times.merge(times);
        }
        meta.events = meta.events.saturating_add(batch.events);
        let chunks = &mut self.chunks;
        let cut = cut(batch, TABLE_ID, &mut Vec::new(), |first, value| {
            let chunk = OwnedChunk::open(TABLE_ID, first, value);
            debug_assert!(chunk.is_some(), "what was cut is a chunk");
            chunks.extend(chunk.map(|chunk| (first, Arc::new(chunk))));
            Ok::<(), std::convert::Infallible>(())
        });
        debug_assert!(cut.is_ok());
        self.keys.extend(batch.keys.iter().map(|key| FoundKey {
            version: Version::NEWEST,
            hash: key.hash,
            seq: batch.first.saturating_add(key.index.into()),
            now: batch.now,
        }));
    }

    fn checkpoint(&mut self, batch: &Batch<'_>) {
        let meta = Arc::make_mut(&mut self.meta);
        let is_whole = matches!(batch.checkpoint, CheckpointStep::Whole { .. });
        if batch.checkpoint == CheckpointStep::Begin || is_whole {
            let number = meta.number();
            meta.under_way = Some(Checkpoint::starting(number));
            self.under_way.clear();
        }
        self.under_way.extend(batch.pieces.iter().cloned().map(Arc::new));
        if let CheckpointStep::Complete { from } | CheckpointStep::Whole { from } = batch.checkpoint
            && let Some(checkpoint) = meta.under_way.take()
        {
            meta.complete = Some(Complete { checkpoint, from });
            self.complete = std::mem::take(&mut self.under_way);
        }
    }
}

/// A store in memory that an engine has open.
#[derive(Debug)]
pub(super) struct OpenStore {
    shared: Arc<Shared>,
    is_closed: Mutex<bool>,
    /// Of the opened store in this process.
    number: u64,
}

impl OpenStore {
    fn data(&self) -> Arc<Data> {
        Arc::clone(&self.shared.data.read())
    }

    /// What there is, for whoever reads it: an error once it is closed.
    fn open_data(&self) -> Result<Arc<Data>, StoreError> {
        if *self.is_closed.lock() { Err(self.closed()) } else { Ok(self.data()) }
    }

    fn shut(&self) -> Result<(), StoreError> {
        if std::mem::replace(&mut *self.is_closed.lock(), true) {
            return Err(self.closed());
        }
        *self.shared.is_open.lock() = false;
        Ok(())
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        let _ = self.shut();
    }
}

impl Contents for Data {
    fn meta(&self) -> Arc<Meta> {
        Arc::clone(&self.meta)
    }

    fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = self.chunks.range(..=from).next_back().map_or(0, |(first, _)| *first);
        let chunks = self.chunks.range(start..).map(|(_, chunk)| chunk.chunk());
        let _ = chunks.filter(|chunk| chunk.end() > from).try_for_each(|chunk| visit(&chunk));
        Ok(())
    }

    fn read_before(&self, seq: u64) -> Result<Option<OwnedChunk>, StoreError> {
        let newest = self.chunks.range(..seq).next_back();
        Ok(newest.map(|(_, chunk)| OwnedChunk::clone(chunk)))
    }

    fn keys(&self, from: u64, visit: &mut dyn FnMut(FoundKey)) -> Result<(), StoreError> {
        self.keys.iter().filter(|key| key.seq >= from).for_each(|key| visit(*key));
        Ok(())
    }

    fn state(
        &self,
        table: StateTable,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        let rows = match table {
            StateTable::Rules => &self.rules,
            StateTable::Meta => &self.rows,
        };
        for (key, bytes) in rows {
            visit(*key, bytes);
        }
        Ok(())
    }

    fn space_rows(
        &self,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let rows = self.spaces.range::<[u8], _>((from, Bound::Unbounded));
        let _ = rows.into_iter().try_for_each(|(key, value)| visit(key, value));
        Ok(())
    }

    fn pieces(&self, visit: &mut dyn FnMut(StoredPiece<'_>)) -> Result<Option<u64>, StoreError> {
        for piece in &self.complete {
            visit(piece.as_stored());
        }
        Ok(self.meta.complete.map(|complete| complete.from))
    }

    fn file(&self) -> &str {
        NAME
    }
}

/// Each call reads what is there then, so that two of them may see different commits.
impl Contents for OpenStore {
    fn meta(&self) -> Arc<Meta> {
        Arc::clone(&self.data().meta)
    }

    fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.open_data()?.read(from, visit)
    }

    fn read_before(&self, seq: u64) -> Result<Option<OwnedChunk>, StoreError> {
        self.open_data()?.read_before(seq)
    }

    fn keys(&self, from: u64, visit: &mut dyn FnMut(FoundKey)) -> Result<(), StoreError> {
        self.open_data()?.keys(from, visit)
    }

    fn state(
        &self,
        table: StateTable,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        self.open_data()?.state(table, visit)
    }

    fn space_rows(
        &self,
        from: Bound<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.open_data()?.space_rows(from, visit)
    }

    fn pieces(&self, visit: &mut dyn FnMut(StoredPiece<'_>)) -> Result<Option<u64>, StoreError> {
        self.open_data()?.pieces(visit)
    }

    fn file(&self) -> &str {
        NAME
    }
}

impl Store for OpenStore {
    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        // Held to the end: a store that is being closed takes a batch as a whole or not at all.
        let is_closed = self.is_closed.lock();
        if *is_closed {
            return Err(self.closed());
        }
        let mut data = self.shared.data.write();
        check(&Named { file: NAME.into() }, batch, &data.meta)?;
        let Some(rewrite) = batch.rewrite else {
            Arc::make_mut(&mut data).apply(batch);
            return Ok(());
        };
        let mut next = Data::clone(&data);
        next.apply(batch);
        next.rewrite(rewrite)?;
        *data = Arc::new(next);
        Ok(())
    }

    fn at_once(&self, visit: Visit<'_>) -> Result<(), StoreError> {
        visit(&*self.open_data()?)
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<StoreReport, StoreError> {
        let data = self.open_data()?;
        let end = data.end();
        progress(Progress::new("checking values", 0, end));
        let rows = data.rules.values().chain(data.rows.values()).chain(data.spaces.values());
        let pieces = data.complete.iter().chain(&data.under_way);
        let bytes = rows.map(|row| wide(row.len())).chain(pieces.map(|it| wide(it.bytes.len())));
        let chunks = data.chunks.values().map(|chunk| chunk.chunk().size());
        let report = StoreReport {
            records: end.saturating_sub(data.first()),
            keys: wide(data.keys.len()),
            bytes: bytes.chain(chunks).fold(0, u64::saturating_add),
        };
        progress(Progress::new("checking values", end, end));
        Ok(report)
    }

    fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, StoreError> {
        self.open_data()?;
        progress(Progress::new("compacting", 0, 0));
        Ok(false)
    }

    fn backup(&self, to: &Path, _: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        self.open_data()?;
        Err(StoreError::Io {
            file: to.display().to_string().into(),
            action: "making a backup",
            kind: std::io::ErrorKind::Unsupported,
            message: "a store in memory is copied by `MemoryStore::after_crash`".into(),
        })
    }

    fn size(&self) -> u64 {
        let chunks = &self.data().chunks;
        chunks.values().map(|chunk| chunk.chunk().size()).fold(0, u64::saturating_add)
    }

    fn running(&self) -> Option<Callback> {
        callback::running(self.number)
    }

    fn with_progress(&self, tell: ProgressSink<'_>, work: &mut dyn FnMut(ProgressSink<'_>)) {
        callback::with_progress(self.number, tell, work);
    }

    fn run_caller(&self, code: &mut dyn FnMut()) {
        callback::run_caller(self.number, code);
    }

    fn close(&self) -> Result<(), StoreError> {
        self.shut()
    }
}
