//! What the engine keeps of the events that it let in, under one lock.
//!
//! `append` runs under the locks of the decision that let the event in, so that an event, its
//! counts and everything kept here are one step. All work that can be done before is: an event is
//! packed and signed before the ledger is locked. Who asks holds the lock to take what it needs,
//! full segments by reference, and looks through it afterwards.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::log::{EventId, MemoryLog, Packed, Segment};

mod scan;

pub(crate) use self::scan::{Scan, Wanted};

#[derive(Debug)]
pub(crate) struct Ledger {
    /// Random, and part of every event's id.
    name: u64,
    /// What the events' signatures are made with.
    hasher: ahash::RandomState,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: MemoryLog,
}

impl Ledger {
    /// A ledger that keeps the newest `keep` events, and those no longer than the retention where
    /// there is one.
    pub(crate) fn new(keep: usize, retention: Option<Duration>) -> Self {
        let hasher = ahash::RandomState::new();
        let inner = Mutex::new(Inner { log: MemoryLog::new(keep, retention) });
        Self { name: ahash::RandomState::new().hash_one("log"), hasher, inner }
    }

    /// Adds an event that happened at `timestamp`, and names it; `now` is the engine's time.
    pub(crate) fn append(
        &self,
        event: &Event<'_>,
        timestamp: Timestamp,
        now: Timestamp,
    ) -> EventId {
        let packed = Packed::new(event, timestamp, &self.hasher);
        let place = self.inner.lock().log.append(&packed, now);
        self.id(place)
    }

    /// The name of the event at a place.
    pub(crate) fn id(&self, place: u64) -> EventId {
        EventId::new(self.name, place)
    }

    /// The place of an event by its name; `None` of a name that was given to no event here.
    pub(crate) fn place(&self, id: EventId) -> Option<u64> {
        id.place_in(self.name).filter(|place| *place < self.recorded())
    }

    /// What filters of this ledger's events are compiled with.
    pub(crate) fn hasher(&self) -> &ahash::RandomState {
        &self.hasher
    }

    /// How many events are kept.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().log.len()
    }

    /// How many events there ever were: the place of the next one.
    pub(crate) fn recorded(&self) -> u64 {
        self.inner.lock().log.recorded()
    }

    /// As [`MemoryLog::newest_before`].
    fn newest_before(
        &self,
        place: u64,
        start: Timestamp,
        end: Option<Timestamp>,
        most: usize,
    ) -> Option<Arc<Segment>> {
        self.inner.lock().log.newest_before(place, start, end, most)
    }
}
