//! The engine's side of its store: what calls do with the queue, the keys and the writer's thread.
//!
//! What waits here waits for the writer, and holds no lock that the writer takes: it waits before a
//! decision locks anything ([`admit`](Pipeline::admit)), or when all of that is free again. On the
//! writer's own thread, in a method of the store's `Storage`, it would wait for itself, and is an
//! error there ([`may_wait`](Pipeline::may_wait)).
//!
//! `revisions` is locked by who changes the rules, under the compiler's lock, with the queue's in
//! it, and by who reads an answer, under a key's; under it nothing but the queue's is taken. The
//! writer does not know of it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::checkpoint::Sources;
use super::options::{Durability, Durable, OnFailure};
use super::queue::{Appended, Entry, Queue};
use super::record::{Head, Kind, Record, RecordedDecision, Unreadable};
use super::recovery::{ACKNOWLEDGED, Settings};
use super::writer::{Requests, State, Writer, put_refusals};
use crate::adjustments::Adjustments;
use crate::alerts::Outbox;
use crate::base::clock::Timestamp;
use crate::base::codec::Malformed;
use crate::base::progress::Progress;
use crate::compiled::snapshot::stored::{Revisions, RowChange};
use crate::compiled::{CompiledRule, Compiler, Snapshot};
use crate::counters::{At, GivenBackLog, Table};
use crate::idempotency::stored::StoredKeys;
use crate::journal::store::{Callback, SpaceChange, StateChange, StateTable, Store, StoreError};
use crate::log::Packed;
use crate::recording::Ledger;
use crate::refusals::RefusalLog;
use crate::reservations::ReservationMap;

/// How long dropping an engine waits for its writer.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

const WAITING: &str = "waiting for a commit";
const RECORDING: &str = "what may record something";

/// The store of an engine, the queue and the thread that write to it, and its idempotency keys.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(super) queue: Arc<Queue>,
    pub(crate) store: Arc<dyn Store>,
    requests: Arc<Requests>,
    pub(crate) keys: StoredKeys,
    level: Durability,
    on_failure: OnFailure,
    /// How it was opened, to open it once more beside the engine.
    pub(super) settings: Settings,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The revisions of rules that records name, those of removed rules with them.
    revisions: Mutex<Revisions>,
    refusals: Option<Arc<RefusalLog>>,
}

/// What an engine shares with its writer: the counters, the ledger and the refusals, the
/// reservations and the adjustments, the rules and the alerts.
type Shared = (
    Arc<Table>,
    (Option<Arc<Ledger>>, Option<Arc<RefusalLog>>),
    (Arc<ReservationMap>, Arc<Adjustments>),
    Arc<ArcSwap<Snapshot>>,
    Arc<Outbox>,
);

/// Keeps what is given back of holds that have expired: as records, in the order in which that is
/// done.
#[derive(Debug)]
struct GivenBackRecords {
    queue: Arc<Queue>,
}

impl GivenBackLog for GivenBackRecords {
    fn given_back(&self, at: &At, rows: &[u8]) {
        let head = Head::of_given_back(at, rows);
        let (kind, head) = (Kind::Reservation, head.bytes());
        let (key, timestamp, now) = (None, Timestamp::UNIX_EPOCH, at.now.0);
        // Whoever comes next gives it back again, where this is kept nowhere.
        self.queue.push(&Entry { kind, head, event: &[], key, timestamp, now });
    }
}

impl Pipeline {
    /// Starts the writer of a store that was recovered.
    pub(crate) fn start(
        durable: &Durable,
        settings: Settings,
        (keys, revisions): (StoredKeys, Revisions),
        (table, (ledger, refusals), (reservations, adjustments), snapshot, alerts): Shared,
        (state, retention): (State, u64),
    ) -> Result<Self, StoreError> {
        let store = Arc::clone(&durable.store);
        let queue = Queue::new((store.end(), store.events()), durable.limits, store.file());
        let (queue, requests) = (Arc::new(queue), Arc::<Requests>::default());
        let took_over = snapshot.load().rules.iter().any(|rule| rule.took_over());
        if took_over || state.is_old {
            requests.change();
        }
        table.keep_given_back(Box::new(GivenBackRecords { queue: Arc::clone(&queue) }));
        let sources = Sources {
            table,
            ledger,
            refusals: refusals.clone(),
            reservations,
            adjustments,
            alerts,
            snapshot,
            queue: Arc::clone(&queue),
        };
        let writer = Writer {
            store: Arc::clone(&store),
            sources,
            requests: Arc::clone(&requests),
            max_delay: (durable.level != Durability::Memory).then_some(durable.max_delay),
            retention,
            state,
        };
        let thread = std::thread::Builder::new().name("limitry-store".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(|why| StoreError::Io {
            file: store.file().into(),
            action: "start the thread that writes it",
            kind: why.kind(),
            message: why.to_string().into(),
        })?;
        Ok(Self {
            queue,
            store,
            requests,
            keys,
            level: durable.level,
            on_failure: durable.on_failure,
            settings,
            writer: Mutex::new(Some(thread)),
            revisions: Mutex::new(revisions),
            refusals,
        })
    }

    /// Admits a call that may record something: waits for room where the queue is full.
    ///
    /// # Errors
    /// The engine is closed, or its store has failed and it refuses to go on without.
    #[inline]
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        if self.level == Durability::Synced {
            self.may_wait(RECORDING)?;
        }
        if self.queue.failure().is_none() {
            self.wait_for_room()?;
        }
        match self.queue.failure() {
            None if self.queue.is_closing() => Err(self.store.closed()),
            None => Ok(()),
            Some(why) => self.without_store(why),
        }
    }

    #[cold]
    fn without_store(&self, why: &StoreError) -> Result<(), StoreError> {
        match (self.on_failure, why) {
            (OnFailure::MemoryOnly, why) if !matches!(why, StoreError::Closed { .. }) => Ok(()),
            _ => Err(self.queue.refusal(why)),
        }
    }

    /// Whether a call may wait for a commit on this thread: in a method of the store's `Storage` it
    /// would wait for itself.
    pub(crate) fn may_wait(&self, call: &'static str) -> Result<(), StoreError> {
        may_wait(&*self.store, call)
    }

    /// Whether a call may have the store to itself on this thread.
    pub(crate) fn may_be_alone(&self, call: &'static str) -> Result<(), StoreError> {
        let running = self.store.running();
        running.map_or(Ok(()), |callback| Err(self.store.within_itself(call, callback)))
    }

    /// Does work that tells the caller of its progress; a panic there goes on to the caller.
    pub(crate) fn with_progress<R>(
        &self,
        tell: &mut dyn FnMut(Progress),
        work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let (mut work, mut done) = (Some(work), None);
        self.store.with_progress(tell, &mut |tell| done = work.take().map(|work| work(tell)));
        done.unwrap_or_else(|| Err(self.store.closed()))
    }

    /// Puts the record of an event into the queue and returns its numbers; `None` where the engine
    /// is being closed.
    #[inline]
    pub(crate) fn put(
        &self,
        head: &Head,
        event: &Packed,
        key: Option<u64>,
        now: u64,
    ) -> Option<Appended> {
        self.queue.push(&Entry {
            kind: Kind::Event,
            head: head.bytes(),
            event: event.bytes(),
            key,
            timestamp: event.timestamp(),
            now,
        })
    }

    /// Puts the record of what happened to a reservation into the queue, as [`put`](Self::put)
    /// does; `reserved` is what is reserved, where it says that.
    pub(crate) fn put_reservation(
        &self,
        head: &Head,
        reserved: Option<&Packed>,
        key: Option<u64>,
        now: u64,
    ) -> Option<u64> {
        let (kind, head) = (Kind::Reservation, head.bytes());
        let event = reserved.map_or(&[][..], Packed::bytes);
        let timestamp = Timestamp::UNIX_EPOCH;
        Some(self.queue.push(&Entry { kind, head, event, key, timestamp, now })?.seq)
    }

    /// Puts the record of what happened to a balance into the queue; `None` where the engine is
    /// being closed.
    pub(crate) fn put_balance(&self, at: &At, rows: &[u8]) -> Option<u64> {
        let head = Head::of_balance(at, rows);
        let (kind, head) = (Kind::Balance, head.bytes());
        let (key, timestamp, now) = (None, Timestamp::UNIX_EPOCH, at.now.0);
        Some(self.queue.push(&Entry { kind, head, event: &[], key, timestamp, now })?.seq)
    }

    /// Puts the record of an adjustment into the queue, as [`put`](Self::put) does.
    pub(crate) fn put_adjustment(&self, head: &Head, now: u64) -> Option<u64> {
        let (kind, head) = (Kind::Adjustment, head.bytes());
        let (key, timestamp) = (None, Timestamp::UNIX_EPOCH);
        Some(self.queue.push(&Entry { kind, head, event: &[], key, timestamp, now })?.seq)
    }

    /// Puts the record of a correction into the queue, as [`put`](Self::put) does.
    pub(crate) fn put_correction(&self, head: &Head, entry: &Packed, now: u64) -> Option<u64> {
        let (kind, head, event) = (Kind::Correction, head.bytes(), entry.bytes());
        let (key, timestamp) = (None, entry.timestamp());
        Some(self.queue.push(&Entry { kind, head, event, key, timestamp, now })?.seq)
    }

    /// Puts a record into the queue that says nothing.
    #[cfg(test)]
    pub(crate) fn put_no_op(&self, timeline: &crate::counters::Timeline) {
        let mut head = Vec::new();
        let at = timeline.at(crate::counters::Moment(self.store.now()), None);
        super::record::put_times(&at, &mut head);
        let (key, timestamp, now) = (None, Timestamp::UNIX_EPOCH, at.now.0);
        self.queue.push(&Entry { kind: Kind::NoOp, head: &head, event: &[], key, timestamp, now });
    }

    /// Waits for the commit of a record, where calls do that.
    ///
    /// # Errors
    /// The commit failed: whether the record is there shows when the store is opened again.
    #[inline]
    pub(crate) fn acknowledge(&self, seq: Option<u64>) -> Result<(), StoreError> {
        match (self.level, seq) {
            (Durability::Synced, Some(seq)) => self.wait(seq).or_else(|why| {
                // An engine that goes on in memory answers; its health says how.
                self.without_store(&why)
            }),
            _ => Ok(()),
        }
    }

    /// The commit that [`acknowledge`](Self::acknowledge) would wait for, for tasks.
    pub(crate) fn awaited(&self, seq: Option<u64>) -> Option<Commit> {
        let seq = seq.filter(|_| self.level == Durability::Synced)?;
        Some(self.commit(seq))
    }

    /// What `acknowledge` says where that ended so.
    pub(crate) fn acknowledged(&self, committed: Result<(), StoreError>) -> Result<(), StoreError> {
        committed.or_else(|why| self.without_store(&why))
    }

    /// Waits for the commit of a record.
    pub(crate) fn wait(&self, seq: u64) -> Result<(), StoreError> {
        self.may_wait(WAITING)?;
        wait(&self.queue, seq)
    }

    /// The commit of a record, to be waited for.
    pub(crate) fn commit(&self, seq: u64) -> Commit {
        Commit { queue: Arc::clone(&self.queue), store: Arc::downgrade(&self.store), seq }
    }

    /// Makes everything durable that was put in before.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.may_wait("flush")?;
        if let Some(log) = &self.refusals {
            put_refusals(log, &self.queue);
        }
        let waits = self.queue.wait_for_entry(self.queue.serial());
        waits.map_err(|why| self.queue.refusal(&why))
    }

    /// Waits for the commit of everything that was put in before, where calls do that.
    ///
    /// # Errors
    /// As [`acknowledge`](Self::acknowledge).
    pub(crate) fn acknowledge_all(&self) -> Result<(), StoreError> {
        match self.level {
            Durability::Synced => self.flush().or_else(|why| self.without_store(&why)),
            _ => Ok(()),
        }
    }

    /// Puts a row of the engine's own state into the queue.
    pub(crate) fn put_row(&self, key: u64, bytes: Vec<u8>) -> u64 {
        let table = StateTable::Meta;
        self.queue.push_state(vec![StateChange::Put { table, key, bytes }])
    }

    /// Keeps before which number all alerts were acknowledged. The row is durable no earlier than
    /// the records of those alerts, which are in the queue already.
    pub(crate) fn put_acknowledged(&self, number: u64) -> Result<(), StoreError> {
        match self.queue.failure() {
            Some(why) => return Err(self.queue.refusal(why)),
            None if self.queue.is_closing() => return Err(self.store.closed()),
            None => {}
        }
        self.put_row(ACKNOWLEDGED, number.to_le_bytes().to_vec());
        Ok(())
    }

    /// Puts a change of a row of a space into the queue.
    pub(crate) fn put_space(&self, change: SpaceChange) -> u64 {
        self.queue.push_space(change)
    }

    /// Says that there are rows to be put in, about what was refused: the writer does it within a
    /// second or so.
    pub(crate) fn expect_rows(&self) {
        self.queue.expect_rows();
    }

    /// The sequence number of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.queue.end()
    }

    /// Changes a row of a space, and waits until that is durable.
    pub(crate) fn change_space(&self, change: SpaceChange) -> Result<(), StoreError> {
        self.may_wait("a change of a space")?;
        match self.queue.failure() {
            Some(why) => return Err(self.queue.refusal(why)),
            None if self.queue.is_closing() => return Err(self.store.closed()),
            None => {}
        }
        let waits = self.queue.wait_for_entry(self.queue.push_space(change));
        waits.map_err(|why| self.queue.refusal(&why))
    }

    /// Puts a change of the rules into the queue, while no decision is made: the table is closed,
    /// and each of its shards was locked since. So no record comes between the end that is noted as
    /// the old revisions' last and the entry of the change.
    pub(crate) fn put_rules(&self, before: &Snapshot, now: &Snapshot, compiler: &Compiler) -> u64 {
        let oldest = self.oldest();
        let mut revisions = self.revisions.lock();
        let mut rows = revisions.change(before, now, compiler, self.queue.end());
        rows.extend(revisions.forget_before(oldest));
        self.queue.push_state(rows.into_iter().map(StateChange::from).collect())
    }

    /// Waits until a change of the state is durable.
    pub(crate) fn wait_for_state(&self, entry: u64) -> Result<(), StoreError> {
        self.may_wait("a change of the rules")?;
        let waits = self.queue.wait_for_entry(entry);
        waits.or_else(|why| self.without_store(&why))
    }

    /// Is called before and after a change of the rules that converts counters or fills in
    /// roll-ups: checkpoints begun before it are outdated.
    pub(crate) fn rules_change(&self) {
        self.requests.change();
    }

    /// Whether the newest whole checkpoint was begun before counters were converted: whether a
    /// crash may bring back what they took over from.
    pub(crate) fn is_outdated(&self) -> bool {
        self.requests.is_outdated()
    }

    /// The sequence number of the oldest record that is kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.store.first()
    }

    /// Whether a record came after the store had failed, and is kept nowhere.
    pub(crate) fn is_lost(&self, seq: u64) -> bool {
        self.has_failed() && self.queue.is_discarded(seq)
    }

    /// Reads the record of a sequence number; `None` where it is not there any more.
    pub(crate) fn read<R>(
        &self,
        seq: u64,
        read: impl FnOnce(Record<'_>) -> Result<R, Malformed>,
    ) -> Result<Option<R>, StoreError> {
        let mut read = Some(read);
        let mut parse = |bytes: &[u8]| {
            let record = Record::read(seq, bytes)?;
            Ok(read.take().map(|read| read(record)).transpose()?)
        };
        // In this order: a batch leaves the queue when its commit has returned, so what is not in
        // the queue any more is in the store. No lock is held while the record is parsed.
        let found = self.queue.read(seq, &mut parse);
        let found = match found {
            Some(found) => found,
            None => match self.store.read_before(seq.saturating_add(1))? {
                Some(chunk) => chunk.chunk().record(seq).map_or(Ok(None), parse),
                None => Ok(None),
            },
        };
        found.map_err(|why: Unreadable| why.of(&*self.store, seq))
    }

    /// Reads the record of an event; `None` where it is not there any more. Other records between
    /// events are passed over one by one.
    pub(crate) fn read_event<R>(
        &self,
        ordinal: u64,
        read: impl Fn(&RecordedDecision<'_>) -> Result<R, Malformed>,
    ) -> Result<Option<R>, StoreError> {
        let mut seq = self.store.lower_bound(ordinal);
        loop {
            let found = self.read(seq, |record| match record.event() {
                Some(event) if event.ordinal == ordinal => read(&event).map(Ok),
                _ => Ok(Err(record.ordinal)),
            })?;
            match found {
                Some(Err(before)) if before <= ordinal => {
                    // So many events are still to come, and none of them is this record.
                    let ahead = ordinal.saturating_sub(before).max(1);
                    seq = seq.saturating_add(ahead);
                }
                found => return Ok(found.and_then(Result::ok)),
            }
        }
    }

    /// A rule as it was, by its revision.
    pub(crate) fn rule(&self, revision: u32) -> Option<Arc<CompiledRule>> {
        self.revisions.lock().get(revision).map(Arc::clone)
    }

    /// The dimensions that have roll-ups.
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = &str> {
        self.settings.rollups.dimensions.iter().map(String::as_str)
    }

    /// Why the store takes nothing any more, if it does not.
    pub(crate) fn failure(&self) -> Option<&StoreError> {
        self.queue.failure()
    }

    /// Whether the store has failed; a closed one has not.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.queue.failure().is_some_and(|why| !matches!(why, StoreError::Closed { .. }))
    }

    /// Whether the engine goes on without its store.
    #[inline]
    pub(crate) fn is_memory_only(&self) -> bool {
        self.has_failed() && self.on_failure == OnFailure::MemoryOnly
    }

    pub(crate) fn level(&self) -> Durability {
        self.level
    }

    /// The latest timestamp of the events that the store has.
    pub(crate) fn latest_event(&self) -> Option<Timestamp> {
        self.store.latest()
    }

    /// How many records wait for their commit.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many bytes they have.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Waits until there is room for a record more. Room is made by the writer: on its own thread,
    /// in a method of the store's `Storage`, that would be a wait for itself.
    ///
    /// # Errors
    /// It would have to wait, and may not.
    #[inline]
    pub(crate) fn wait_for_room(&self) -> Result<(), StoreError> {
        // Looked at once: who finds room goes on, whatever others put in meanwhile.
        if !self.queue.is_full() {
            return Ok(());
        }
        self.may_wait(RECORDING)?;
        self.queue.wait_while_full();
        Ok(())
    }

    /// How many events are durable, of all that there ever were.
    pub(crate) fn durable_events(&self) -> u64 {
        self.queue.durable_events()
    }

    /// Commits what waits, writes a checkpoint and closes the store.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.may_be_alone("close")?;
        self.queue.close();
        if self.queue.wait_for_end(None)
            && let Some(thread) = self.writer.lock().take()
        {
            // It has said how it ended, also if it panicked. What it has left to do is to wake who
            // waits, which takes no lock that is held here and runs nobody's code.
            let _ = thread.join();
        }
        match self.queue.failure() {
            None | Some(StoreError::Closed { .. }) => Ok(()),
            Some(why) => Err(self.queue.refusal(why)),
        }
    }
}

/// The commit of a record. It keeps the queue, and neither the writer nor the store: the engine
/// closes both when it is dropped, and answers whoever waits before.
#[derive(Debug)]
pub(crate) struct Commit {
    queue: Arc<Queue>,
    store: Weak<dyn Store>,
    seq: u64,
}

impl Commit {
    /// Blocks the thread until the record is durable.
    pub(crate) fn wait(&self) -> Result<(), StoreError> {
        // Of a store that is gone nothing runs on this thread. Who waits does not hold it: it is
        // closed when the engine is dropped meanwhile, and the queue stays and says so.
        if let Some(store) = self.store.upgrade() {
            may_wait(&*store, WAITING)?;
        }
        wait(&self.queue, self.seq)
    }

    /// As `wait`, for tasks.
    pub(crate) fn poll(&self, task: &Context<'_>) -> Poll<Result<(), StoreError>> {
        let answer = self.queue.poll(self.seq.saturating_add(1), task);
        answer.map_err(|why| self.queue.refusal(&why))
    }
}

fn may_wait(store: &dyn Store, call: &'static str) -> Result<(), StoreError> {
    match store.running() {
        Some(callback @ Callback::Storage) => Err(store.within_itself(call, callback)),
        Some(Callback::Progress) | None => Ok(()),
    }
}

/// Waits for the commit of a record.
fn wait(queue: &Queue, seq: u64) -> Result<(), StoreError> {
    queue.wait(seq.saturating_add(1)).map_err(|why| queue.refusal(&why))
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Before the queue is closed: the writer looks at it when it has found that out under the
        // queue's lock, and then begins no last checkpoint.
        self.requests.in_a_hurry.store(true, Ordering::Release);
        self.queue.close();
        // A disk that hangs must not hang whoever drops an engine, and the disk's own methods must
        // not wait for themselves.
        if self.store.running().is_none()
            && self.queue.wait_for_end(Some(SHUTDOWN_TIMEOUT))
            && let Some(thread) = self.writer.lock().take()
        {
            let _ = thread.join();
        }
    }
}

impl From<RowChange> for StateChange {
    fn from(RowChange { key, bytes }: RowChange) -> Self {
        let table = StateTable::Rules;
        match bytes {
            Some(bytes) => Self::Put { table, key, bytes },
            None => Self::Remove { table, key },
        }
    }
}
