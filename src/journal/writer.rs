//! The one thread that writes to the store.
//!
//! It is the only one that commits, so a checkpoint's pieces and the records around them are in the
//! order in which it took them. To copy a piece it takes the lock of a shard or of the ledger, and
//! under it that of the queue for the sequence number: the same order as a decision's, which is why
//! the two cannot wait for each other. It holds none of them while it commits, and it never waits
//! for a caller: a queue without work is waited for with its own lock alone.
//!
//! `Requests::changes` is counted up before and after a change of the rules (`AcqRel`), and read
//! (`Acquire`) when a checkpoint begins and before each of its steps. A counter that was converted
//! is copied under the lock that it was converted under, which makes the count from before the
//! change visible; and a checkpoint is complete one step after its last copy at the soonest. So the
//! writer sees the change in between and begins again: no complete checkpoint has counters from
//! both sides. One that began while the change was under way is begun again for the second count.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::batch::QueuedBatch;
use super::checkpoint::{Checkpoint, Sources, Step};
use super::erase::Rewriter;
use super::queue::{Queue, Work};
use crate::counters::Moment;
use crate::journal::store::{
    Batch, CheckpointStep, Generation, Piece, SpaceChange, Store, StoreError,
};
use crate::refusals::RefusalLog;

/// A checkpoint is due when the log has grown by so many bytes, or by as many as the last
/// checkpoint has where those are more: so checkpoints never write more than the log does.
const CHECKPOINT_BYTES: u64 = 32 * 1_024 * 1_024;
/// A generation with so many records is followed by the next.
const GENERATION_RECORDS: u64 = 1_000_000;
/// How many generations the time of retention has at the least.
const GENERATIONS: u64 = 16;
/// After so long, in nanoseconds of the engine's time, rows about refusals are put in beside
/// records.
const REFUSALS_EVERY: u64 = 1_000_000_000;

/// What others ask of the writer.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Counts the beginnings and the ends of changes of rules that convert counters or fill in
    /// roll-ups. After each a checkpoint under way is of no use, and a new one is due.
    changes: AtomicU64,
    /// What `changes` was when the newest complete checkpoint was begun.
    known: AtomicU64,
    /// Whether to close without a last checkpoint.
    pub(super) in_a_hurry: AtomicBool,
}

impl Requests {
    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the newest whole checkpoint was begun before a change.
    pub(super) fn is_outdated(&self) -> bool {
        // `known` first. It is stored (`Release`) by the writer, which had loaded that value of
        // `changes`: who loads it (`Acquire`) sees `changes` at least as high. Of two values that
        // do not belong together this says outdated, which is no harm.
        self.known.load(Ordering::Acquire) < self.changes.load(Ordering::Acquire)
    }
}

/// Puts the rows about refusals into the queue that have changed.
pub(super) fn put_refusals(log: &RefusalLog, queue: &Queue) {
    log.put(|rows| {
        let rows = rows.into_iter().map(|(key, value)| SpaceChange { key, value });
        queue.push_spaces(rows);
    });
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    pub(super) sources: Sources,
    pub(super) requests: Arc<Requests>,
    /// How long a record waits for others; none for records that wait until somebody asks.
    pub(super) max_delay: Option<Duration>,
    /// How long records are kept.
    pub(super) retention: u64,
    pub(super) state: State,
}

/// What the writer knows between two commits.
#[derive(Debug)]
pub(crate) struct State {
    /// A checkpoint under way, and what `Requests::changes` was when it was begun.
    pub(super) checkpoint: Option<(Checkpoint, u64)>,
    /// The sequence number from which on opening redoes the log, by the newest complete checkpoint.
    pub(super) from: u64,
    /// The bytes of the newest complete checkpoint.
    pub(super) checkpoint_bytes: u64,
    /// The bytes of the log since the newest checkpoint was begun.
    pub(super) log_bytes: u64,
    /// The engine's time of the newest record.
    pub(super) now: u64,
    /// The serial number of the queue's last entry that is durable.
    pub(super) serial: u64,
    /// Whether the newest complete checkpoint is in an older format, and a new one is due.
    pub(super) is_old: bool,
    /// The engine's time when rows about refusals were put in beside records the last time.
    refusals: u64,
}

impl State {
    /// Of a store whose checkpoint and log since it have so many bytes.
    pub(super) fn starting(
        from: u64,
        (checkpoint_bytes, log_bytes): (u64, u64),
        now: Moment,
    ) -> Self {
        let (now, is_old) = (now.0, false);
        let (checkpoint, serial, refusals) = (None, 0, now);
        Self { checkpoint, from, checkpoint_bytes, log_bytes, now, serial, is_old, refusals }
    }
}

impl Writer {
    /// Writes until the queue is closed, and then a last checkpoint; says so when it fails.
    pub(super) fn run(mut self) {
        let queue = Arc::clone(&self.sources.queue);
        let file: Box<str> = self.store.file().into();
        // A bug in here must not leave callers waiting for commits that never come: whatever
        // happens, `failed` is called last. The locks that it takes are free: a panic lets them go.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.write()));
        // Before anybody is woken: from then on this thread holds no part of the engine.
        drop(self);
        queue.failed(match outcome {
            Ok(Ok(())) => StoreError::Closed { file },
            Ok(Err(why)) => why,
            Err(_) => {
                let cause = "the thread that writes it panicked".into();
                StoreError::Failed { file, cause }
            }
        });
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let queue = Arc::clone(&self.sources.queue);
        let mut is_last = false;
        loop {
            // Once the last one is whole there is none to begin, only one under way to begin again.
            if self.is_due() && (!is_last || self.state.checkpoint.is_some()) {
                self.begin_checkpoint();
            }
            match queue.next(self.max_delay, self.state.checkpoint.is_some()) {
                Work::Batch(batch) if batch.erasure.is_some() => self.erase(batch)?,
                Work::Batch(batch) => {
                    self.commit(Some(&batch))?;
                    queue.committed(batch);
                    if self.state.now >= self.state.refusals.saturating_add(REFUSALS_EVERY) {
                        self.put_refusals();
                    }
                }
                Work::Expected => self.put_refusals(),
                // Opening again has nothing to redo then.
                Work::Closed if !is_last => {
                    is_last = true;
                    self.put_refusals();
                    let is_new = self.state.log_bytes > 0 || self.requests.is_outdated();
                    if self.requests.in_a_hurry.load(Ordering::Acquire) {
                        self.state.checkpoint = None;
                    } else if is_new {
                        self.begin_checkpoint();
                    }
                }
                _ if self.state.checkpoint.is_some() => self.commit(None)?,
                Work::Closed if queue.end_if_empty() => break,
                Work::Closed | Work::Nothing => {}
            }
        }
        self.store.close()
    }

    /// Puts what was refused since the last time into the queue.
    fn put_refusals(&mut self) {
        self.state.refusals = self.state.now;
        if let Some(log) = &self.sources.refusals {
            put_refusals(log, &self.sources.queue);
        }
    }

    fn is_due(&self) -> bool {
        if let Some((_, changes)) = self.state.checkpoint {
            // What is copied of it is of before.
            return self.requests.changes.load(Ordering::Acquire) != changes;
        }
        let enough = self.state.checkpoint_bytes.max(CHECKPOINT_BYTES);
        self.state.log_bytes >= enough || self.requests.is_outdated() || self.holds_up_retention()
    }

    /// Whether records whose retention is over are kept only because opening would redo them: a
    /// new checkpoint lets them go.
    fn holds_up_retention(&self) -> bool {
        match self.store.generations().as_slice() {
            [oldest, _, ..] => self.is_over(oldest.now) && oldest.end > self.state.from,
            _ => false,
        }
    }

    fn is_over(&self, now: u64) -> bool {
        now.saturating_add(self.retention) < self.state.now
    }

    fn begin_checkpoint(&mut self) {
        let changes = self.requests.changes.load(Ordering::Acquire);
        self.state.checkpoint = Some((Checkpoint::new(), changes));
        self.state.log_bytes = 0;
    }

    /// One transaction: records where some wait, and a step of a checkpoint where one is under way.
    fn commit(&mut self, waiting: Option<&Arc<QueuedBatch>>) -> Result<(), StoreError> {
        let records = waiting.map_or(0, |waiting| waiting.records.len());
        self.state.now = self.state.now.max(waiting.map_or(0, |waiting| waiting.now));
        let serial = waiting.map_or(self.state.serial, |waiting| waiting.serial);
        let bytes = records.saturating_mul(2);
        let Step { pieces, now, mark, whole } = match &mut self.state.checkpoint {
            Some((checkpoint, _)) => {
                checkpoint.step(&self.sources, Moment(self.state.now), bytes, serial)
            }
            None => Step::nothing(),
        };
        self.state.now = self.state.now.max(now.0);
        let generations = self.store.generations();
        let batch = Batch {
            first: waiting.map_or_else(|| self.store.end(), |waiting| waiting.first),
            records: waiting.map_or(&[], |waiting| &waiting.records),
            ends: waiting.map_or(&[], |waiting| &waiting.ends),
            events: waiting.map_or(0, |waiting| waiting.events()),
            times: waiting.map(|waiting| &waiting.times),
            now: self.state.now,
            keys: waiting.map_or(&[], |waiting| &waiting.keys),
            state: waiting.map_or(&[], |waiting| &waiting.state),
            spaces: waiting.map_or(&[], |waiting| &waiting.spaces),
            pieces: &pieces,
            checkpoint: mark,
            new_generation: self.is_generation_over(&generations),
            keep_from: self.keep_from(&generations),
            ..Batch::empty(0)
        };
        self.store.commit(&batch)?;
        self.state.serial = serial;
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.state.log_bytes = self.state.log_bytes.saturating_add(records);
        if let Some((from, bytes)) = whole {
            (self.state.from, self.state.checkpoint_bytes) = (from, bytes);
            // What the count was when it began: a change that came since has another.
            if let Some((_, changes)) = self.state.checkpoint.take() {
                self.requests.known.store(changes, Ordering::Release);
            }
        }
        Ok(())
    }

    /// One transaction with a batch that ends with what is erased: it, a whole checkpoint from
    /// behind it, what the checkpoint knows of beside, and all older records rewritten.
    ///
    /// Whoever changes the rules or erases something meanwhile counts `changes` up before, so that
    /// no copy is of both sides: it is begun again.
    fn erase(&mut self, first: Arc<QueuedBatch>) -> Result<(), StoreError> {
        let mut batches = vec![first];
        let (pieces, whole, changes) = loop {
            let changes = self.requests.changes.load(Ordering::Acquire);
            if let Some((pieces, whole)) = self.copy_all(&mut batches)
                && self.requests.changes.load(Ordering::Acquire) == changes
            {
                break (pieces, whole, changes);
            }
        };
        let mut all = QueuedBatch::new(
            batches.first().map_or(0, |batch| batch.first),
            batches.first().map_or(0, |batch| batch.first_event),
        );
        for batch in &batches {
            all.append(batch);
        }
        let erasures: Vec<_> = batches.iter().filter_map(|it| it.erasure.as_ref()).collect();
        let rewriter = Rewriter { erasures, store: &*self.store };
        self.state.now = self.state.now.max(all.now);
        let (from, bytes) = whole;
        let batch = Batch {
            first: all.first,
            records: &all.records,
            ends: &all.ends,
            events: all.events(),
            times: (!all.ends.is_empty()).then_some(&all.times),
            now: self.state.now,
            keys: &all.keys,
            state: &all.state,
            spaces: &all.spaces,
            pieces: &pieces,
            checkpoint: CheckpointStep::Whole { from },
            keep_from: self.keep_from(&self.store.generations()),
            rewrite: Some(&rewriter),
            ..Batch::empty(0)
        };
        self.store.commit(&batch)?;
        let log_bytes = u64::try_from(all.records.len()).unwrap_or(u64::MAX);
        (self.state.checkpoint, self.state.log_bytes) = (None, log_bytes);
        (self.state.from, self.state.checkpoint_bytes) = (from, bytes);
        self.state.serial = all.serial;
        self.requests.known.store(changes, Ordering::Release);
        for batch in batches {
            self.sources.queue.committed(batch);
        }
        Ok(())
    }

    /// Copies a whole checkpoint, and takes the batches out of the queue that it knows of.
    fn copy_all(
        &mut self,
        batches: &mut Vec<Arc<QueuedBatch>>,
    ) -> Option<(Vec<Piece>, (u64, u64))> {
        let (mut checkpoint, mut pieces) = (Checkpoint::new(), Vec::new());
        let copied = loop {
            let Step { pieces: some, now, .. } =
                checkpoint.step(&self.sources, Moment(self.state.now), 0, 0);
            pieces.extend(some);
            self.state.now = self.state.now.max(now.0);
            if let Some(copied) = checkpoint.copied() {
                break copied;
            }
        };
        let serial = |batches: &[Arc<QueuedBatch>]| batches.last().map_or(0, |last| last.serial);
        while serial(batches) < copied {
            // All of it is in the queue by now.
            match self.sources.queue.next(Some(Duration::ZERO), true) {
                Work::Batch(batch) => batches.push(batch),
                Work::Nothing | Work::Expected | Work::Closed => break,
            }
        }
        let whole = checkpoint.step(&self.sources, Moment(self.state.now), 0, serial(batches));
        whole.whole.map(|whole| (pieces, whole))
    }

    fn is_generation_over(&self, generations: &[Generation]) -> bool {
        let Some(current) = generations.last() else { return false };
        let before = generations.iter().rev().nth(1).map(|before| before.now);
        let began = before.unwrap_or_else(|| self.sources.table.timeline().birth().0);
        let records = current.end.saturating_sub(current.first);
        let age = self.state.now.saturating_sub(began);
        records >= GENERATION_RECORDS
            || (records > 0 && age > self.retention.div_euclid(GENERATIONS))
    }

    /// The sequence number from which on records are kept: opening redoes them, or their retention
    /// is not over.
    fn keep_from(&self, generations: &[Generation]) -> u64 {
        let needed = generations.iter().find(|generation| !self.is_over(generation.now));
        let needed = needed.map_or_else(|| self.store.end(), |generation| generation.first);
        needed.min(self.state.from)
    }
}
