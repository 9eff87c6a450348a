//! Reservations by their names: what was asked for, what became of it, and who has how many.
//!
//! What they hold lies with the counters (`counters/table/hold`), and ends there by itself. Here it
//! is known for as long as idempotency keys are kept.
//!
//! Locks, in their order: an idempotency key's entry; a customer's, while one is made; or one
//! reservation's state, while it changes; then those of a decision. Whoever holds a customer's asks
//! for no state. Which are known is locked for itself alone, and under it a state only where that
//! is free, and a customer's. With a store, whoever makes one shares the lock of the makers, before
//! a customer's; a checkpoint takes it alone, to wait for those who are at it. Nobody waits for
//! room in the journal's queue, or for a commit, under any of these: the writer takes the makers'
//! and the states.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use self::customers::Customers;
use self::known::{Fate, Known};
use crate::base::clock::Timestamp;
use crate::counters::{Held, Moment};
use crate::decision::Kept;
use crate::idempotency::Fingerprint;

mod customers;
mod estimate;
mod grant;
mod hold;
mod known;
mod query;
mod status;
mod stored;

pub(crate) use self::customers::CustomerLock;
pub(crate) use self::estimate::Estimate;
pub(crate) use self::grant::Grant;
pub use self::hold::Hold;
pub(crate) use self::hold::MAX_HOLD;
pub use self::query::ReservationQuery;
pub use self::status::{KeyStatus, ReservationState, ReservationStatus};
pub(crate) use self::stored::{MadeAgain, RestoredReservations};
pub use crate::decision::{ReservationId, ReservationIdParseError};

/// The reservations of an engine.
#[derive(Debug)]
pub(crate) struct ReservationMap {
    known: Known,
    customers: Customers,
    /// Shared by those who make one that a store keeps, from before its record is in the queue
    /// until it is known.
    making: RwLock<()>,
    hasher: ahash::RandomState,
    /// What the names of this engine's reservations begin with.
    engine: u64,
    next: AtomicU64,
    retention: u64,
    /// The most that a customer may have open.
    pub(crate) max_open: usize,
}

/// One reservation.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ReservationId,
    pub(crate) made_at: Moment,
    /// When the act happens, which is when its event will have happened.
    pub(crate) timestamp: Timestamp,
    /// The hash of the customer.
    customer: u64,
    pub(crate) state: Mutex<State>,
}

/// How a reservation stands.
#[derive(Debug)]
pub(crate) struct State {
    /// What it was asked for, and has grown by.
    pub(crate) estimate: Estimate,
    pub(crate) until: Moment,
    pub(crate) phase: Phase,
}

/// What has become of a reservation, as far as that does not follow from the time.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It is open or has expired.
    Open(Held),
    Released,
    Committed {
        /// Of the event that was committed.
        fingerprint: Fingerprint,
        answer: Kept,
    },
    /// The same with a store, which answers by the record of the event.
    Recorded {
        /// The sequence number of the record.
        seq: u64,
        record: Box<[u8]>,
    },
}

impl Entry {
    #[inline]
    pub(crate) fn new(
        id: ReservationId,
        (made_at, timestamp): (Moment, Timestamp),
        customer: &CustomerLock<'_>,
        state: State,
    ) -> Self {
        Self { id, made_at, timestamp, customer: customer.hash(), state: state.into() }
    }
}

impl State {
    pub(crate) fn at(&self, now: Moment) -> ReservationState {
        match self.phase {
            Phase::Released => ReservationState::Released,
            Phase::Committed { .. } | Phase::Recorded { .. } => ReservationState::Committed,
            Phase::Open(_) if now < self.until => ReservationState::Held,
            Phase::Open(_) => ReservationState::Expired,
        }
    }
}

impl ReservationMap {
    pub(crate) fn new(
        retention: u64,
        max_known: usize,
        max_open: usize,
        hasher: &ahash::RandomState,
    ) -> Self {
        // Of two engines no two have the same, whatever their seeds are.
        let engine = ahash::RandomState::new().hash_one(std::process::id());
        Self {
            known: Known::new(max_known.max(1)),
            customers: Customers::new(),
            making: RwLock::default(),
            hasher: hasher.clone(),
            engine,
            next: AtomicU64::new(1),
            retention,
            max_open,
        }
    }

    /// A name that none had before.
    pub(crate) fn next_id(&self) -> ReservationId {
        ReservationId::new(self.engine, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Is held by whoever makes one that a store keeps.
    pub(crate) fn make(&self) -> RwLockReadGuard<'_, ()> {
        self.making.read()
    }

    /// Locks a customer, who makes no other reservation while this is held.
    pub(crate) fn of_customer(&self, customer: &str, now: Moment) -> CustomerLock<'_> {
        self.customers.lock(self.hasher.hash_one(customer), now)
    }

    /// Notes that a reservation is over, or expires at another time.
    pub(crate) fn moved(&self, entry: &Entry, from: Moment, to: Option<Moment>) {
        self.customers.moved(entry.customer, (from, entry.id.number()), to);
    }

    /// Keeps a new reservation, and forgets the oldest where their time is over or their number too
    /// high.
    pub(crate) fn keep(&self, entry: Arc<Entry>, until: Moment) {
        let (number, now) = (entry.id.number(), entry.made_at);
        let forget = |entry: &Entry, crowded| self.forget(entry, now, crowded);
        self.known.keep(number, self.due(until), entry, now, forget);
    }

    fn due(&self, until: Moment) -> Moment {
        Moment(until.0.saturating_add(self.retention))
    }

    /// Whether a reservation may be forgotten: one that is open may not.
    fn forget(&self, entry: &Entry, now: Moment, crowded: bool) -> Fate {
        // One whose state is held is about to change.
        let Some(state) = entry.state.try_lock() else { return Fate::Kept(now) };
        let (due, until) = (self.due(state.until), state.until);
        let is_open = state.at(now) == ReservationState::Held;
        if is_open || (!crowded && due > now) {
            return Fate::Kept(due);
        }
        let has_ended = !matches!(state.phase, Phase::Open(_));
        drop(state);
        if !has_ended {
            self.moved(entry, until, None);
        }
        Fate::Forgotten
    }

    pub(crate) fn get(&self, id: ReservationId) -> Option<Arc<Entry>> {
        self.known.get(id.number()).filter(|entry| entry.id == id)
    }

    /// All that are known, in the order in which they were made.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        let mut all = self.known.all();
        all.sort_unstable_by_key(|entry| entry.id.number());
        all
    }

    /// Whether all are known from a number on that a customer, or anybody, has open. Asked while no
    /// decision is made: it waits for nobody, and says false while somebody is making one.
    pub(crate) fn knows_all_of(&self, customer: Option<&str>, number: u64) -> bool {
        let hash = customer.map(|customer| self.hasher.hash_one(customer));
        let open = self.customers.open_from(hash, number);
        open.is_some_and(|open| open.iter().all(|number| self.known.get(*number).is_some()))
    }

    /// Forgets some that are over.
    pub(crate) fn erase(&self, numbers: &HashSet<u64>) {
        self.known.erase(|number| numbers.contains(&number));
    }

    /// The number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// The open ones of a customer, in the order in which they were made.
    pub(crate) fn open_of(&self, customer: &str) -> Vec<Arc<Entry>> {
        let mut numbers = self.customers.open_of(self.hasher.hash_one(customer));
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.known.get(number)).collect()
    }
}
