//! Reservations by their names: what was asked for, what became of it, and who has how many.
//!
//! What they hold lies with the counters (`counters/table/hold`), and ends there by itself. Here it
//! is known for as long as idempotency keys are kept.
//!
//! Locks, in their order: an idempotency key's entry; a customer's open reservations, while one is
//! made; or one reservation's state, while it changes; then those of a decision. Whoever holds a
//! customer's asks for no state. The queue of what is to be forgotten is locked for itself alone,
//! and under it a state only where that is free.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::one::RefMut;
use parking_lot::Mutex;

use crate::base::clock::Timestamp;
use crate::counters::{Held, Moment};
use crate::decision::Decision;
use crate::event::Event;

mod hold;
mod query;
mod status;

pub use self::hold::Hold;
pub(crate) use self::hold::MAX_HOLD;
pub use self::query::ReservationQuery;
pub use self::status::{KeyStatus, ReservationState, ReservationStatus};
pub use crate::decision::{ReservationId, ReservationIdParseError};

/// How many reservations a call looks at that makes one, to forget them.
const LOOKS: usize = 2;

/// The reservations of an engine.
#[derive(Debug)]
pub(crate) struct ReservationMap {
    known: DashMap<u64, Arc<Entry>, ahash::RandomState>,
    customers: DashMap<Box<str>, OpenReservations, ahash::RandomState>,
    /// When they may be forgotten, in the order in which they were made.
    order: Mutex<VecDeque<(Moment, u64)>>,
    /// What the names of this engine's reservations begin with.
    engine: u64,
    next: AtomicU64,
    retention: u64,
    max_known: usize,
    /// The most that a customer may have open.
    pub(crate) max_open: usize,
}

/// The open reservations of a customer, by when they expire. Those that have expired may be among
/// them.
pub(crate) type OpenReservations = BTreeSet<(Moment, u64)>;

/// One reservation.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ReservationId,
    pub(crate) made_at: Moment,
    /// When the act happens, which is when its event will have happened.
    pub(crate) timestamp: Timestamp,
    pub(crate) state: Mutex<State>,
}

/// How a reservation stands.
#[derive(Debug)]
pub(crate) struct State {
    /// What it was asked for, and has grown by.
    pub(crate) estimate: Event<'static>,
    pub(crate) until: Moment,
    pub(crate) held: Held,
    pub(crate) end: Option<End>,
}

/// How a reservation has ended that did not expire, or was committed after that.
#[derive(Debug)]
pub(crate) enum End {
    Released,
    Committed {
        /// Of the event that was committed.
        fingerprint: u64,
        answer: Decision,
    },
}

impl State {
    pub(crate) fn at(&self, now: Moment) -> ReservationState {
        match self.end {
            Some(End::Released) => ReservationState::Released,
            Some(End::Committed { .. }) => ReservationState::Committed,
            None if now < self.until => ReservationState::Held,
            None => ReservationState::Expired,
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
            known: DashMap::with_hasher(hasher.clone()),
            customers: DashMap::with_hasher(hasher.clone()),
            order: Mutex::default(),
            engine,
            next: AtomicU64::new(1),
            retention,
            max_known: max_known.max(1),
            max_open,
        }
    }

    /// A name that none had before.
    pub(crate) fn next_id(&self) -> ReservationId {
        ReservationId::new(self.engine, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The open reservations of a customer, who makes no other while this is held.
    pub(crate) fn of_customer(
        &self,
        customer: &str,
        now: Moment,
    ) -> RefMut<'_, Box<str>, OpenReservations> {
        let mut open = match self.customers.get_mut(customer) {
            Some(open) => open,
            None => self.customers.entry(customer.into()).or_default(),
        };
        while open.first().is_some_and(|(until, _)| *until <= now) {
            open.pop_first();
        }
        open
    }

    /// Notes that a reservation is over, or expires at another time.
    pub(crate) fn moved(
        &self,
        customer: &str,
        id: ReservationId,
        from: Moment,
        to: Option<Moment>,
    ) {
        let number = id.number();
        let is_empty = self.customers.get_mut(customer).is_some_and(|mut open| {
            open.remove(&(from, number));
            open.extend(to.map(|to| (to, number)));
            open.is_empty()
        });
        if is_empty {
            self.customers.remove_if(customer, |_, open| open.is_empty());
        }
    }

    /// Keeps a new reservation, and forgets the oldest where their time is over or their number too
    /// high.
    pub(crate) fn keep(&self, entry: Entry) {
        let (number, until) = (entry.id.number(), entry.state.lock().until);
        let due = Moment(until.0.saturating_add(self.retention));
        let now = entry.made_at;
        self.known.insert(number, Arc::new(entry));
        let mut order = self.order.lock();
        order.push_back((due, number));
        for _ in 0..LOOKS {
            let crowded = order.len() > self.max_known;
            if !order.front().is_some_and(|(due, _)| crowded || *due <= now) {
                break;
            }
            let Some((_, number)) = order.pop_front() else { break };
            if let Some(due) = self.forget(number, now, crowded) {
                order.push_back((due, number));
            }
        }
    }

    /// Forgets a reservation, unless it is open: then until when it has to be kept.
    fn forget(&self, number: u64, now: Moment, crowded: bool) -> Option<Moment> {
        let entry = self.known.get(&number).map(|entry| Arc::clone(&entry))?;
        // One whose state is held is about to change.
        let Some(state) = entry.state.try_lock() else { return Some(now) };
        let due = Moment(state.until.0.saturating_add(self.retention));
        let is_open = state.at(now) == ReservationState::Held;
        if is_open || (!crowded && due > now) {
            return Some(due);
        }
        let customer = state.estimate.customer_id().to_owned();
        let until = state.until;
        drop(state);
        self.known.remove(&number);
        self.moved(&customer, entry.id, until, None);
        None
    }

    pub(crate) fn get(&self, id: ReservationId) -> Option<Arc<Entry>> {
        let entry = self.known.get(&id.number())?;
        (entry.id == id).then(|| Arc::clone(&entry))
    }

    /// Those that may be among what is asked for: all, or a customer's open ones.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.known.iter().map(|entry| Arc::clone(&entry)).collect();
        all.sort_unstable_by_key(|entry| entry.id);
        all
    }

    /// The open ones of a customer, in the order in which they were made.
    pub(crate) fn open_of(&self, customer: &str) -> Vec<Arc<Entry>> {
        let open = self.customers.get(customer);
        let mut numbers: Vec<u64> =
            open.iter().flat_map(|open| open.iter()).map(|(_, number)| *number).collect();
        drop(open);
        numbers.sort_unstable();
        let found = numbers.iter().filter_map(|number| self.known.get(number));
        found.map(|entry| Arc::clone(&entry)).collect()
    }
}
