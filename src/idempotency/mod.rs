//! Retries that count once.
//!
//! A key is claimed, the event decided and the answer stored while the key's entry in the map is
//! held, so of two calls at the same time one decides and the other gets its answer.
//!
//! A key is its customer's: the same key of another customer is another key.
//!
//! Locks are taken in one order. The entry of a key comes before all that deciding locks (shards of
//! counters, the ledger), and whoever decides takes no other entry. The list of keys in their
//! `order` comes before an entry, because forgetting removes entries under it: so nobody locks the
//! list who holds an entry, and a key is put into it when its entry is free again. In between it is
//! found and not yet to be forgotten.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::counters::Moment;
use crate::decision::Decision;
use crate::event::Event;

mod marks;
pub(crate) mod stored;

/// How many keys a call looks at that stores one: more than one, so that the store empties.
const LOOKS: usize = 2;

/// An idempotency key of a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CustomerKey<'k> {
    pub(crate) customer: &'k str,
    pub(crate) key: &'k str,
}

/// A customer and a key in one, on the stack where they are not very long.
type Name = SmallVec<[u8; 128]>;

impl<'k> CustomerKey<'k> {
    /// The key that an event has, if it has one.
    pub(crate) fn of(event: &'k Event<'_>) -> Option<Self> {
        event.key().map(|key| Self { customer: event.customer_id(), key })
    }

    /// The same bytes for the same customer and key alone: what is between them is in no text.
    fn name(self) -> Name {
        let mut name = Name::from_slice(self.customer.as_bytes());
        name.push(u8::MAX);
        name.extend_from_slice(self.key.as_bytes());
        name
    }

    /// The error of a key that was used for another event.
    #[cold]
    pub(crate) fn conflict(self) -> KeyConflict {
        KeyConflict { customer: self.customer.into(), key: self.key.into() }
    }
}

/// The key of a customer was used for another event.
#[derive(Debug)]
pub(crate) struct KeyConflict {
    pub(crate) customer: Box<str>,
    pub(crate) key: Box<str>,
}

#[derive(Debug)]
pub(crate) struct IdempotencyKeys {
    kept: DashMap<Arc<[u8]>, StoredAnswer, ahash::RandomState>,
    /// The keys in the order in which they were stored.
    order: Mutex<VecDeque<(Moment, Arc<[u8]>)>>,
    hasher: ahash::RandomState,
    retention: u64,
    max_keys: usize,
}

/// What two events with one key must have in common to be the same request, as halves of hashes:
/// each kept key has one, and of two thousand million uses of a key for something else one is
/// taken for a retry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fingerprint {
    /// Of the event as it is.
    whole: u32,
    /// Of what was given: what prices say, and the attributes of the customer, may have changed
    /// since.
    given: u32,
}

impl Fingerprint {
    pub(crate) fn is_same(self, other: Self) -> bool {
        self.whole == other.whole || self.given == other.given
    }
}

#[derive(Debug)]
struct StoredAnswer {
    fingerprint: Fingerprint,
    at: Moment,
    decision: Decision,
}

impl IdempotencyKeys {
    pub(crate) fn new(retention: u64, max_keys: usize, hasher: ahash::RandomState) -> Self {
        let kept = DashMap::with_hasher(hasher.clone());
        Self { kept, order: Mutex::default(), hasher, retention, max_keys: max_keys.max(1) }
    }

    /// How long a key is kept.
    pub(crate) fn retention(&self) -> Duration {
        Duration::from_nanos(self.retention)
    }

    /// The answer that a key has, if it has one.
    pub(crate) fn find(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
    ) -> Result<Option<Decision>, KeyConflict> {
        self.find_name(&key.name(), key, event, now)
    }

    fn find_name(
        &self,
        name: &[u8],
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
    ) -> Result<Option<Decision>, KeyConflict> {
        let kept = self.kept.get(name);
        match kept.filter(|kept| self.is_alive(kept, now)) {
            Some(kept) => self.answer(&kept, key, event).map(Some),
            None => Ok(None),
        }
    }

    /// Answers with what the key has, or decides and stores the answer if it lets the event in.
    pub(crate) fn once<E: From<KeyConflict>>(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
        decide: impl FnOnce() -> Result<Decision, E>,
    ) -> Result<Decision, E> {
        // Most calls bring a new key or repeat one: a repeat need not wait for other repeats.
        let name = key.name();
        if let Some(answer) = self.find_name(&name, key, event, now)? {
            return Ok(answer);
        }
        let name: Arc<[u8]> = name.as_slice().into();
        // Held until the answer is in it. Who comes meanwhile with the same key waits here, and
        // then finds the answer, or decides where there was none to store.
        let decision = match self.kept.entry(Arc::clone(&name)) {
            Entry::Occupied(kept) if self.is_alive(kept.get(), now) => {
                return Ok(self.answer(kept.get(), key, event)?);
            }
            entry => {
                let decision = decide()?;
                if decision.is_allowed() {
                    let fingerprint = self.fingerprint(event);
                    let replay = decision.to_replay();
                    entry.insert(StoredAnswer { fingerprint, at: now, decision: replay });
                }
                decision
            }
        };
        if decision.is_allowed() {
            self.stored(name, now);
        }
        Ok(decision)
    }

    /// Stores an answer that lets an event in and was decided elsewhere.
    pub(crate) fn keep(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
        decision: &Decision,
    ) {
        let (fingerprint, decision) = (self.fingerprint(event), decision.to_replay());
        let name: Arc<[u8]> = key.name().as_slice().into();
        self.kept.insert(Arc::clone(&name), StoredAnswer { fingerprint, at: now, decision });
        self.stored(name, now);
    }

    fn is_alive(&self, kept: &StoredAnswer, now: Moment) -> bool {
        now < Moment(kept.at.0.saturating_add(self.retention))
    }

    fn answer(
        &self,
        kept: &StoredAnswer,
        key: CustomerKey<'_>,
        event: &Event<'_>,
    ) -> Result<Decision, KeyConflict> {
        if kept.fingerprint.is_same(self.fingerprint(event)) {
            return Ok(kept.decision.clone());
        }
        Err(key.conflict())
    }

    pub(crate) fn fingerprint(&self, event: &Event<'_>) -> Fingerprint {
        let hash = |as_given| {
            let mut hasher = self.hasher.build_hasher();
            event.hash_payload(as_given, &mut hasher);
            u32::try_from(hasher.finish() >> u32::BITS).unwrap_or(u32::MAX)
        };
        let whole = hash(false);
        let given = if event.is_completed() { hash(true) } else { whole };
        Fingerprint { whole, given }
    }

    /// Forgets the keys of a customer that were stored up to an instant, and returns how many.
    pub(crate) fn erase(&self, customer: &str, at: Moment) -> u64 {
        let own = CustomerKey { customer, key: "" }.name();
        let mut order = self.order.lock();
        let before = order.len();
        order.retain(|(stored, name)| *stored > at || !name.starts_with(&own));
        // Those that are not in the list yet, too. The list comes before an entry.
        self.kept.retain(|name, kept| kept.at > at || !name.starts_with(&own));
        u64::try_from(before.saturating_sub(order.len())).unwrap_or(u64::MAX)
    }

    /// Notes a key as the newest, and forgets the oldest where their time is over or their number
    /// too high.
    fn stored(&self, name: Arc<[u8]>, now: Moment) {
        let mut order = self.order.lock();
        order.push_back((now, name));
        for _ in 0..LOOKS {
            let crowded = order.len() > self.max_keys;
            let over = |(at, _): &(Moment, Arc<[u8]>)| {
                crowded || now >= Moment(at.0.saturating_add(self.retention))
            };
            if !order.front().is_some_and(over) {
                break;
            }
            let Some((at, name)) = order.pop_front() else { break };
            // A key that was stored again since is in the list again, with another time. The entry
            // may be held by a call that decides, which does not wait for the list.
            self.kept.remove_if(&name, |_, kept| kept.at == at);
        }
    }
}
