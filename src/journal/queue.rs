//! The way of a record to the writer: a bounded queue of batches.
//!
//! Records are put in under the locks of the decision that let their events in, so the queue only
//! copies bytes there and never waits. Who wants to put one in asks for room before anything is
//! locked. A batch is sealed when it is full, or when the writer comes for it.
//!
//! What holds, and why:
//!
//! - *Order.* A record gets its sequence number, and an event its ordinal, under the lock of
//!   `pending`, which every append takes under all locks of its decision (shards, then the ledger).
//!   So two records that touch the same counter or the ledger are numbered in the order in which
//!   they were counted, and replaying by number repeats what memory did.
//! - *Prefix.* Batches are committed in the order in which they were sealed, by one writer: what is
//!   durable is always a prefix of what was appended, and `durable` and `serial` only grow.
//! - *No deadlock.* `pending` and `waiters` are the last locks of all, never held together: nobody
//!   takes another lock, waits for a commit, or runs a caller's code under either. The one who
//!   waits for room or for a commit holds no lock of a decision; who changes the rules holds the
//!   compiler's while he waits for room, which the writer never takes. On the writer's own thread,
//!   in a method of a `Storage`, nobody waits (`Pipeline::may_wait`).
//! - *No lost wake-up.* Whoever waits looks at what he waits for under the lock of his condition
//!   variable. The writer publishes first (`durable` and `serial`, the counts of what waits,
//!   `failure`), then takes that lock, then notifies. If the waiter had the lock before the writer,
//!   it was waiting when it was notified; if after, the lock makes it see what was published. That
//!   holds whatever the ordering of the atomics: their `Acquire` and `Release` are for those who
//!   look without the lock.
//! - *What is durable can be read.* `durable` is stored with `Release` after the commit has
//!   returned. Whoever loads it with `Acquire` and finds a record before it sees what the commit
//!   made visible, and `durable_events` at least as far, which is stored before it.
//! - *No record is between.* A batch leaves `in_flight` when its commit has returned, both under
//!   the lock of `pending`: who looks in the queue first and then in the store finds every record.
//! - *The end.* `failure` is set once, after the last batch that is committed, and before everybody
//!   is woken. What is put in from then on, or when the queue is closed, is not kept, and who
//!   waits for it is told why.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::batch::QueuedBatch;
use super::erase::Erasure;
use super::pending::{Pending, Phase};
use super::record::{Kind, put_prefix};
use super::wake::TaskWaker;
use crate::base::clock::Timestamp;
use crate::journal::store::{FORKED, SpaceChange, StateChange, StoreError, StoredKey};

/// A batch with so many bytes is full, however few its records are.
const BATCH_BYTES: usize = 8 * 1_024 * 1_024;
/// For how long rows that are expected are waited for, where nothing else is to be done.
const EXPECTED_AFTER: Duration = Duration::from_secs(1);

/// A record on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'e> {
    pub(super) kind: Kind,
    /// What follows the ordinal, in two parts, one behind the other.
    pub(super) head: &'e [u8],
    pub(super) event: &'e [u8],
    /// The hash of its idempotency key.
    pub(super) key: Option<u64>,
    pub(super) timestamp: Timestamp,
    pub(super) now: u64,
}

/// What a record got in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Its sequence number.
    pub(crate) seq: u64,
    /// The number of its event, or of the next one where it is none.
    pub(crate) ordinal: u64,
}

/// The tasks that wait for a commit, each with the sequence number before which all must be
/// durable.
#[derive(Debug, Default)]
struct Waiters {
    wakers: Vec<(u64, Waker)>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    /// The writer waits here for something to do.
    work: Condvar,
    /// Callers wait here for room.
    room: Condvar,
    /// How many records are in the queue or being committed, and how many bytes they have.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    waiters: Mutex<Waiters>,
    task_waker: Arc<TaskWaker>,
    /// Callers wait here for a commit, or for the end of the writer.
    committed: Condvar,
    /// The sequence number behind that of the last record that is durable, and the ordinal behind
    /// that of the last event.
    durable: AtomicU64,
    durable_events: AtomicU64,
    /// The serial number of the last entry that is durable.
    serial: AtomicU64,
    /// Why the writer has ended.
    failure: OnceLock<StoreError>,
    /// No more calls are let in: a copy of the phase, to be read without the lock.
    closing: AtomicBool,
    limits: Limits,
    /// The process that has the writer, and the error in one that was forked off it.
    process: u32,
    forked: StoreError,
}

/// How much the queue takes at the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most records of a batch.
    pub(super) batch: usize,
    /// With so many records, or so many bytes, the queue is full.
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
}

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Commit this.
    Batch(Arc<QueuedBatch>),
    /// Nothing waits.
    Nothing,
    /// Nothing waits, and it is time for the rows that are [expected](Queue::expect_rows).
    Expected,
    /// Nothing waits, and no more calls are let in.
    Closed,
}

impl Queue {
    /// A queue for a store that has so many records, of which so many are events.
    pub(super) fn new((end, events): (u64, u64), limits: Limits, file: &str) -> Self {
        Self {
            pending: Mutex::new(Pending::new(end, events)),
            work: Condvar::new(),
            room: Condvar::new(),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            waiters: Mutex::default(),
            task_waker: Arc::default(),
            committed: Condvar::new(),
            durable: AtomicU64::new(end),
            durable_events: AtomicU64::new(events),
            serial: AtomicU64::new(0),
            failure: OnceLock::new(),
            closing: AtomicBool::new(false),
            limits,
            process: std::process::id(),
            forked: StoreError::Failed { file: file.into(), cause: FORKED.into() },
        }
    }

    /// Whether there is no room for a record. Threads that were let in at once may each put one in,
    /// so there are at most so many more than the queue is for; and what the store's own `Storage`
    /// records, which cannot wait.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        let Limits { waiting, waiting_bytes, .. } = self.limits;
        self.waiting.load(Ordering::Acquire) >= waiting
            || self.waiting_bytes.load(Ordering::Acquire) >= waiting_bytes
    }

    /// Whether this process was forked off the one with the writer. The queue fails then, without
    /// a lock: another thread may have held it, and is not here to let it go.
    fn is_forked(&self) -> bool {
        let is_forked = std::process::id() != self.process;
        if is_forked {
            let _ = self.failure.set(self.forked.clone());
        }
        is_forked
    }

    /// Waits until there is room for a record, or will never be.
    #[cold]
    pub(super) fn wait_while_full(&self) {
        if self.is_forked() {
            return;
        }
        let full = || self.is_full() && self.failure.get().is_none();
        let mut pending = self.pending.lock();
        // Looked at under the lock of the condition variable: `committed` and `failed` publish
        // before they take it, and notify after.
        while full() {
            // What fills the queue may be a batch that nobody else waits for. With nothing pending
            // all of it is in flight, and the commit under way makes room.
            if !pending.is_empty() && !pending.urgent {
                pending.urgent = true;
                self.work.notify_one();
            }
            self.room.wait(&mut pending);
        }
    }

    /// Puts a record in and returns its numbers; `None` where the queue is closed. Never waits.
    /// Where the store has failed the record gets numbers and is kept nowhere.
    pub(super) fn push(&self, entry: &Entry<'_>) -> Option<Appended> {
        let mut pending = self.pending.lock();
        if pending.phase == Phase::Closed {
            return None;
        }
        // Looked at under the lock that `failed` takes after it has set this. A record that goes in
        // before is found by reading as long as the engine lives, though it is never committed.
        if self.failure.get().is_some() {
            let ordinal = pending.open.end_event.saturating_add(pending.discarded_events);
            let appended = Appended { seq: pending.end(), ordinal };
            pending.discarded = pending.discarded.saturating_add(1);
            let events = u64::from(entry.kind.is_in_log());
            pending.discarded_events = pending.discarded_events.saturating_add(events);
            // No commit comes to this: who waits for all that was put in is told so.
            pending.serial = pending.serial.saturating_add(1);
            return Some(appended);
        }
        let open = &mut pending.open;
        let appended = Appended { seq: open.end(), ordinal: open.end_event };
        let start = open.records.len();
        put_prefix(entry.kind, appended.ordinal, &mut open.records);
        open.records.extend_from_slice(entry.head);
        open.records.extend_from_slice(entry.event);
        if let Some(hash) = entry.key {
            let index = u32::try_from(open.ends.len()).unwrap_or(u32::MAX);
            open.keys.push(StoredKey { hash, index });
        }
        // A batch is full long before its positions leave 32 bits, but for an event of gigabytes.
        open.ends.push(u32::try_from(open.records.len()).unwrap_or(u32::MAX));
        if entry.kind.is_in_log() {
            open.end_event = open.end_event.saturating_add(1);
            open.times.add(entry.timestamp);
        }
        open.now = open.now.max(entry.now);
        let full = open.ends.len() >= self.limits.batch || open.records.len() >= BATCH_BYTES;
        let bytes = open.records.len().saturating_sub(start);
        // Under the lock, so before the writer can take the batch and count it down: never below
        // zero. Who reads them without the lock may be behind: it is let in a moment too early, or
        // looks again under the lock.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        pending.serial = pending.serial.saturating_add(1);
        if full {
            pending.seal();
        }
        self.call_writer(pending, full);
        Some(appended)
    }

    /// Puts changes of the state in, which are in one transaction with the records around them.
    /// Returns their serial number.
    pub(super) fn push_state(&self, changes: Vec<StateChange>) -> u64 {
        self.push_rows(true, |open| open.state.extend(changes))
    }

    /// Puts a change of a space in, as [`push_state`](Self::push_state) does.
    pub(super) fn push_space(&self, change: SpaceChange) -> u64 {
        self.push_rows(true, |open| open.spaces.push(change))
    }

    /// Puts in what is erased, with changes of rows: as the end of a batch.
    pub(super) fn push_erasure(&self, it: Erasure, row: StateChange, of: Vec<SpaceChange>) -> u64 {
        self.push_rows(true, |open| {
            open.state.push(row);
            open.spaces.extend(of);
            open.erasure = Some(it);
        })
    }

    /// Puts changes of spaces in that nobody waits for.
    pub(super) fn push_spaces(&self, changes: impl Iterator<Item = SpaceChange>) -> u64 {
        self.push_rows(false, |open| open.spaces.extend(changes))
    }

    /// Says that there are rows to be put in after a while: the writer is told with
    /// [`Work::Expected`] where it does nothing else by then.
    pub(super) fn expect_rows(&self) {
        let mut pending = self.pending.lock();
        // A writer that waits for anything at all waits without an end.
        let call = !pending.expects;
        pending.expects = true;
        self.call_writer(pending, call);
    }

    fn push_rows(&self, is_urgent: bool, push: impl FnOnce(&mut QueuedBatch)) -> u64 {
        let mut pending = self.pending.lock();
        pending.serial = pending.serial.saturating_add(1);
        let serial = pending.serial;
        if pending.phase == Phase::Closed || self.failure.get().is_some() {
            // Nobody would commit it. Who waits for the number is told so: it is never durable.
            return serial;
        }
        push(&mut pending.open);
        pending.urgent |= is_urgent;
        if pending.open.erasure.is_some() {
            pending.seal();
        }
        self.call_writer(pending, is_urgent);
        serial
    }

    /// Lets the lock go and calls the writer, where it waits for this. Notifying after the lock
    /// loses nothing: the writer looks at what is pending under the lock before it waits. It says
    /// with `idle` that it waits for anything at all; otherwise it waits for `max_delay` or for
    /// something that is due, and one more record is no reason to wake it.
    fn call_writer(&self, mut pending: parking_lot::MutexGuard<'_, Pending>, due: bool) {
        let call = due || pending.idle;
        pending.idle = false;
        drop(pending);
        if call && !self.is_forked() {
            self.work.notify_one();
        }
    }

    /// The sequence number that the next record gets.
    pub(super) fn end(&self) -> u64 {
        self.pending.lock().end()
    }

    /// Whether a record came after the store had failed, and is kept nowhere.
    pub(super) fn is_discarded(&self, seq: u64) -> bool {
        seq >= self.pending.lock().open.end()
    }

    /// The serial number of the last entry.
    pub(super) fn serial(&self) -> u64 {
        self.pending.lock().serial
    }

    /// What the writer does next; blocks until there is something. Records are given out at once
    /// where a caller waits for them or a batch is full, and else after `delay`, or never where
    /// there is none. A writer that is `busy` with a checkpoint is told at once that nothing waits.
    pub(super) fn next(&self, delay: Option<Duration>, busy: bool) -> Work {
        let mut pending = self.pending.lock();
        if pending.is_empty() && busy && pending.phase == Phase::Open {
            return Work::Nothing;
        }
        while pending.is_empty() && !pending.is_due() {
            pending.idle = true;
            if !pending.expects {
                self.work.wait(&mut pending);
            } else if self.work.wait_for(&mut pending, EXPECTED_AFTER).timed_out() {
                (pending.expects, pending.idle) = (false, false);
                return Work::Expected;
            }
        }
        pending.idle = false;
        let early = |pending: &mut Pending| !pending.is_due();
        match delay {
            Some(delay) => drop(self.work.wait_while_for(&mut pending, early, delay)),
            None if busy => {}
            None => self.work.wait_while(&mut pending, early),
        }
        if pending.sealed.is_empty() && !pending.open.is_empty() {
            pending.seal();
        }
        let Some(batch) = pending.sealed.pop_front() else {
            // Whatever was urgent has been given out.
            pending.urgent = false;
            return if pending.phase == Phase::Open { Work::Nothing } else { Work::Closed };
        };
        // Whoever hurried may wait for what is left, too: the rest stays urgent until it is out.
        pending.urgent &= !pending.is_empty();
        // In the same locked step, so that reading finds the batch in the one or the other.
        pending.in_flight.push(Arc::clone(&batch));
        Work::Batch(batch)
    }

    /// Says that a batch is durable. The writer calls it when the commit has returned, one batch
    /// after the other, so that the numbers only grow.
    pub(super) fn committed(&self, batch: Arc<QueuedBatch>) {
        // Before `durable`: who finds its event durable finds this as far.
        self.durable_events.fetch_max(batch.end_event, Ordering::Release);
        self.durable.fetch_max(batch.end(), Ordering::Release);
        self.serial.fetch_max(batch.serial, Ordering::Release);
        // Before the lock, so that whoever looks at it under the lock and finds no room is waiting
        // by the time of the notification below.
        self.waiting.fetch_sub(batch.ends.len(), Ordering::Release);
        self.waiting_bytes.fetch_sub(batch.records.len(), Ordering::Release);
        let mut pending = self.pending.lock();
        pending.in_flight.retain(|known| !Arc::ptr_eq(known, &batch));
        if pending.spare.is_none() {
            // Whoever still reads it keeps it, and the next batch takes new memory.
            pending.spare = Arc::into_inner(batch);
        }
        drop(pending);
        self.room.notify_all();
        self.wake();
    }

    /// Says that nothing will be durable any more.
    pub(super) fn failed(&self, why: StoreError) {
        // Only the first failure is the cause. It is set before either lock is taken: who looks at
        // it under one of them sees it or is woken.
        let _ = self.failure.set(why);
        let pending = self.pending.lock();
        self.room.notify_all();
        drop(pending);
        self.wake();
    }

    fn wake(&self) {
        let durable = self.durable.load(Ordering::Acquire);
        let failed = self.failure.get().is_some();
        // Who takes this lock from here on sees what was loaded above, and does not wait for it;
        // who had it before has left a waker here, or waits for the notification.
        let mut waiters = self.waiters.lock();
        let is_done = |(seq, _): &mut (u64, Waker)| failed || *seq <= durable;
        let done: Vec<_> = waiters.wakers.extract_if(.., is_done).collect();
        drop(waiters);
        self.committed.notify_all();
        self.task_waker.wake(done.into_iter().map(|(_, waker)| waker), failed);
    }

    /// Why the store takes nothing any more, if it does not.
    #[inline]
    pub(super) fn failure(&self) -> Option<&StoreError> {
        self.failure.get()
    }

    /// What calls are told after a failure.
    pub(super) fn refusal(&self, why: &StoreError) -> StoreError {
        match why {
            StoreError::Closed { .. } | StoreError::Failed { .. } => why.clone(),
            why => {
                let file = self.forked.file().into();
                StoreError::Failed { file, cause: why.cause() }
            }
        }
    }

    /// The sequence number behind that of the last record that is durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// How many events are durable, of all that there ever were.
    pub(super) fn durable_events(&self) -> u64 {
        self.durable_events.load(Ordering::Acquire)
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Asks the writer for everything that waits now.
    pub(super) fn hurry(&self) {
        let mut pending = self.pending.lock();
        pending.urgent = !pending.is_empty();
        let due = pending.urgent;
        self.call_writer(pending, due);
    }

    /// Waits until everything before a sequence number is durable.
    pub(super) fn wait(&self, seq: u64) -> Result<(), StoreError> {
        self.wait_until(|| self.durable() >= seq)
    }

    /// Waits until an entry is durable.
    pub(super) fn wait_for_entry(&self, serial: u64) -> Result<(), StoreError> {
        self.wait_until(|| self.serial.load(Ordering::Acquire) >= serial)
    }

    fn wait_until(&self, durable: impl Fn() -> bool) -> Result<(), StoreError> {
        if durable() {
            return Ok(());
        }
        if self.is_forked() {
            return Err(self.forked.clone());
        }
        // Before the wait: the writer is called for what is pending now, and what is in flight it
        // commits anyway. The locks are taken one after the other, never together.
        self.hurry();
        let mut waiters = self.waiters.lock();
        let waits = |_: &mut Waiters| !durable() && self.failure.get().is_none();
        self.committed.wait_while(&mut waiters, waits);
        drop(waiters);
        // Looked at again: it may have become durable with the last commit before the failure.
        if durable() {
            return Ok(());
        }
        self.failure.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Whether everything before a sequence number is durable; wakes the task when that changes.
    pub(super) fn poll(&self, seq: u64, context: &Context<'_>) -> Poll<Result<(), StoreError>> {
        if let Some(outcome) = self.outcome(seq) {
            return Poll::Ready(outcome);
        }
        if self.is_forked() {
            return Poll::Ready(Err(self.forked.clone()));
        }
        if let Err(why) = self.task_waker.start() {
            return Poll::Ready(Err(StoreError::Io {
                file: self.forked.file().into(),
                action: "start the thread that wakes tasks",
                kind: why.kind(),
                message: why.to_string().into(),
            }));
        }
        self.hurry();
        // Copying and dropping it is the caller's code, too: not under the lock.
        let mut own = Some(context.waker().clone());
        let mut waiters = self.waiters.lock();
        // Looked at again: the writer takes the lock after it has said what is durable.
        if let Some(outcome) = self.outcome(seq) {
            return Poll::Ready(outcome);
        }
        let waker = context.waker();
        if !waiters.wakers.iter().any(|(known, other)| *known == seq && other.will_wake(waker)) {
            waiters.wakers.extend(own.take().map(|waker| (seq, waker)));
        }
        drop(waiters);
        drop(own);
        Poll::Pending
    }

    fn outcome(&self, seq: u64) -> Option<Result<(), StoreError>> {
        if self.durable() >= seq {
            return Some(Ok(()));
        }
        self.failure.get().map(|why| Err(why.clone()))
    }

    /// Lets no more calls in. What waits is committed, and so is what calls put in that are under
    /// way: it is counted, and a last checkpoint may hold it.
    pub(super) fn close(&self) {
        if self.is_forked() {
            return;
        }
        // A hint to calls that are still to come. What decides is the phase, under the lock: a call
        // that has missed the hint is one of those under way.
        self.closing.store(true, Ordering::Release);
        let mut pending = self.pending.lock();
        if pending.phase == Phase::Open {
            pending.phase = Phase::Closing;
        }
        drop(pending);
        self.work.notify_one();
    }

    /// Whether no more calls are let in.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Takes nothing more if nothing waits; returns whether that is so. Both in one locked step: a
    /// record is in before, and the writer goes on, or it comes after, and its call is told that
    /// the engine is closed.
    pub(super) fn end_if_empty(&self) -> bool {
        let mut pending = self.pending.lock();
        if pending.is_empty() {
            pending.phase = Phase::Closed;
        }
        pending.phase == Phase::Closed
    }

    /// Waits until the writer has ended, for so long at the most where there is a limit; returns
    /// whether it has. A process that was forked off has none.
    pub(super) fn wait_for_end(&self, most: Option<Duration>) -> bool {
        if self.is_forked() {
            return false;
        }
        let mut waiters = self.waiters.lock();
        let runs = |_: &mut Waiters| self.failure.get().is_none();
        match most {
            None => self.committed.wait_while(&mut waiters, runs),
            Some(most) => drop(self.committed.wait_while_for(&mut waiters, runs, most)),
        }
        drop(waiters);
        self.failure.get().is_some()
    }

    /// Reads a record that is in the queue or in flight; not under its lock, because
    /// who reads may take others.
    pub(super) fn read<R>(&self, seq: u64, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let pending = self.pending.lock();
        if let Some(record) = pending.open.record(seq).map(<[u8]>::to_vec) {
            drop(pending);
            return Some(read(&record));
        }
        let mut batches = pending.in_flight.iter().chain(&pending.sealed);
        let batch = batches.find(|batch| batch.record(seq).is_some()).map(Arc::clone);
        drop(pending);
        batch.as_ref().and_then(|batch| batch.record(seq)).map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { batch: 4, waiting: 4, waiting_bytes: 1 << 20 };

    #[test]
    fn a_queue_is_full_by_its_records_or_by_their_bytes() {
        let timestamp = Timestamp::UNIX_EPOCH;
        for (size, limits, most) in [
            (0, LIMITS, 4),
            (100, Limits { waiting_bytes: 1_000, waiting: 1_000, ..LIMITS }, 10),
            // One that is larger than all that may wait goes in alone.
            (5_000, Limits { waiting_bytes: 1_000, ..LIMITS }, 1),
        ] {
            let (queue, event) = (Queue::new((0, 0), limits, "f"), vec![7; size]);
            let entry =
                Entry { kind: Kind::Event, head: &[], event: &event, key: None, timestamp, now: 0 };
            for put in 0..most {
                assert!(!queue.is_full(), "{put} of {size} bytes");
                queue.push(&entry).expect("it is open");
            }
            assert!(queue.is_full(), "{most} of {size} bytes");
            // Before each stand its format, its kind and its ordinal.
            assert_eq!(queue.bytes(), most * (size + 3));
            queue.hurry();
            while queue.len() > 0 {
                let Work::Batch(batch) = queue.next(None, false) else { panic!("a batch") };
                queue.committed(batch);
            }
            assert!(!queue.is_full() && queue.bytes() == 0, "{size} bytes");
        }
    }

    #[test]
    fn who_was_forked_off_waits_for_nothing() {
        let timestamp = Timestamp::UNIX_EPOCH;
        let full = Limits { waiting: 1, ..LIMITS };
        let mut queue = Queue::new((0, 0), full, "f");
        // The writer's process is another one, as it is after a fork.
        queue.process = queue.process.wrapping_add(1);
        let queue = Arc::new(queue);
        let entry =
            Entry { kind: Kind::Event, head: &[], event: b"event", key: None, timestamp, now: 0 };
        queue.push(&entry).expect("it is open");
        let context = &Context::from_waker(Waker::noop());
        for _ in 0..2 {
            queue.wait_while_full();
            let Poll::Ready(polled) = queue.poll(1, context) else { panic!("it waits") };
            for waited in [queue.wait(1), queue.wait_for_entry(1), polled] {
                assert_eq!(waited.expect_err("no writer"), queue.forked);
            }
            assert!(!queue.wait_for_end(None));
            queue.close();
        }
        assert_eq!(queue.failure(), Some(&queue.forked));
    }

    /// An engine that goes on in memory may change its rules for as long as it lives.
    #[test]
    fn rows_that_nobody_will_commit_take_no_memory() {
        let row = || {
            let (table, key, bytes) = (crate::journal::store::StateTable::Meta, 1, vec![7; 9]);
            vec![StateChange::Put { table, key, bytes }]
        };
        let queue = Queue::new((0, 0), LIMITS, "f");
        queue.failed(StoreError::Failed { file: "f".into(), cause: "it is full".into() });
        let entry = queue.push_state(row());
        assert!(queue.wait_for_entry(entry).is_err() && queue.pending.lock().is_empty());

        let queue = Queue::new((0, 0), LIMITS, "f");
        queue.close();
        assert!(queue.end_if_empty());
        queue.push_state(row());
        assert!(queue.pending.lock().is_empty());
    }

    /// A store may fail over a checkpoint, when all records are durable: what comes later is not.
    #[test]
    fn what_comes_after_a_failure_is_never_durable() {
        let queue = Queue::new((7, 5), LIMITS, "f");
        assert!(queue.wait_for_entry(queue.serial()).is_ok());
        queue.failed(StoreError::Failed { file: "f".into(), cause: "it is full".into() });
        assert!(queue.wait_for_entry(queue.serial()).is_ok(), "nothing was put in");
        let (timestamp, key) = (Timestamp::UNIX_EPOCH, None);
        let entry =
            Entry { kind: Kind::Event, head: b"head", event: b"event", key, timestamp, now: 0 };
        assert_eq!(queue.push(&entry), Some(Appended { seq: 7, ordinal: 5 }));
        assert!(queue.is_discarded(7) && queue.wait(8).is_err());
        assert!(queue.wait_for_entry(queue.serial()).is_err());
    }
}
