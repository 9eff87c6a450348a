//! What the engine keeps of the events that it let in, under one lock.
//!
//! `append` runs under the locks of the decision that let the event in, so that an event, its
//! counts and everything kept here are one step. All work that can be done before is: an event is
//! packed and signed before the ledger is locked. Who asks holds the lock to take what it needs,
//! full segments by reference, and looks through it afterwards.
//!
//! What one event does under the lock is bounded, whatever its sender chose: its bytes are copied,
//! 64 KiB at the most; it adds to three rows for each of at most 18 series, and in each row at most
//! 64 values are looked up among 1 000 names and those of rules, meters and options; a segment that
//! goes leaves at most 32 spans of time; of what is old four rows for each series are taken apart.
//! Beside that a table that grows is copied now and then, so that it costs as little on average.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader};
use crate::base::format::Version;
use crate::event::Event;
use crate::log::Dropped;
use crate::log::{Bounds, EventId, MemoryLog, Packed, Segment};
use crate::usage::RowCursor;
use crate::usage::{Answer, PartialAnswer, Question, RollupOptions, Rollups, ValueFold};

mod scan;

pub(crate) use self::scan::Scan;

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
    rollups: Rollups,
}

impl Ledger {
    /// A ledger that keeps the events within bounds.
    pub(crate) fn new(keep: Bounds, rollups: &RollupOptions) -> Self {
        let hasher = ahash::RandomState::new();
        let (log, rollups) = (MemoryLog::new(keep), Rollups::new(rollups));
        let inner = Mutex::new(Inner { log, rollups });
        Self { name: ahash::RandomState::new().hash_one("log"), hasher, inner }
    }

    /// A ledger that goes on where another one was.
    pub(crate) fn restored(
        name: u64,
        hasher: ahash::RandomState,
        log: MemoryLog,
        rollups: Rollups,
    ) -> Self {
        Self { name, hasher, inner: Mutex::new(Inner { log, rollups }) }
    }

    /// The same without its events: what it answers is in its roll-ups.
    pub(crate) fn without_events(self) -> Self {
        let Inner { log, rollups } = self.inner.into_inner();
        let log = MemoryLog::starting(Bounds::newest(1), log.recorded(), Dropped::all());
        Self { inner: Mutex::new(Inner { log, rollups }), ..self }
    }

    /// Adds an event that happened at `timestamp`, and names it; `now` is the engine's time.
    /// `put` hands it on in the order of the log, under the ledger's lock.
    pub(crate) fn append<R>(
        &self,
        event: &Event<'_>,
        timestamp: Timestamp,
        now: Timestamp,
        put: impl FnOnce(&Packed) -> R,
    ) -> (EventId, R) {
        let packed = Packed::new(event, timestamp, now, &self.hasher);
        let mut inner = self.inner.lock();
        let place = inner.log.append(&packed, now);
        inner.rollups.add(event, timestamp, now, place);
        let put = put(&packed);
        drop(inner);
        (self.id(place), put)
    }

    /// Answers a question. The ledger is locked for the part of the roll-ups, whose cost is that
    /// of the rows in the question's ranges and groups, and free while events are looked at.
    pub(crate) fn ask(&self, question: &Question<'_>) -> Answer {
        let inner = self.inner.lock();
        let partial = PartialAnswer::of(&inner.rollups, &inner.log, question);
        drop(inner);
        partial.complete(question, &self.hasher)
    }

    /// Whether [`track`](Self::track) would change something.
    pub(crate) fn is_to_track(&self, folds: &[ValueFold]) -> bool {
        self.inner.lock().rollups.is_to_track(folds)
    }

    /// Keeps these folds of values, and no others, for rules and meters. Those that are new are
    /// filled in from the events that the log has.
    pub(crate) fn track(&self, folds: &[ValueFold]) {
        let Inner { log, rollups } = &mut *self.inner.lock();
        let new = rollups.track(folds, log.dropped());
        if new.is_empty() {
            return;
        }
        let segments = log.overlapping(Timestamp::MIN, Timestamp::MAX);
        for event in segments.iter().flat_map(|segment| segment.events()) {
            if let Some(stored) = event.read() {
                rollups.fill_in(&stored, stored.timestamp(), event.place, &new);
            }
        }
    }

    /// Saves some rows of the roll-ups from a cursor on: where the journal ends with what they
    /// have, which `end` says under the ledger's lock, and whether there are more.
    pub(crate) fn save_rows(
        &self,
        cursor: &mut RowCursor,
        most: usize,
        end: impl FnOnce() -> u64,
        out: &mut Vec<u8>,
    ) -> (u64, bool) {
        let Inner { log, rollups } = &mut *self.inner.lock();
        (end(), rollups.save_rows(cursor, log.recorded(), most, out))
    }

    /// Saves what the rows are about, as [`save_rows`](Self::save_rows) does.
    pub(crate) fn save_keys(&self, end: impl FnOnce() -> u64, out: &mut Vec<u8>) -> u64 {
        let Inner { log, rollups } = &mut *self.inner.lock();
        rollups.save_keys(log.recorded(), out);
        end()
    }

    /// Saves which events the log has, as [`save_rows`](Self::save_rows) does.
    pub(crate) fn save_log(&self, end: impl FnOnce() -> u64, out: &mut Vec<u8>) -> u64 {
        let Inner { log, .. } = &*self.inner.lock();
        log.first().encode(out);
        log.dropped().encode(out);
        end()
    }

    /// What [`save_log`](Self::save_log) saved: the first place, and when the events before it
    /// happened.
    pub(crate) fn read_log(mut from: Reader<'_>) -> Result<(u64, Dropped), Malformed> {
        let first = u64::decode(&mut from)?;
        let dropped = match from.version() {
            // It has the latest instant alone.
            Version::One if from.is_at_end() => Dropped::new(),
            Version::One => {
                let latest = Timestamp::from_unix_nanos(i128::decode(&mut from)?);
                Dropped::of(Timestamp::MIN, latest)
            }
            _ => Dropped::decode(&mut from)?,
        };
        from.end()?;
        Ok((first, dropped))
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

    /// The place of the oldest event that is there, or of the next one.
    pub(crate) fn first(&self) -> u64 {
        self.inner.lock().log.first()
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

    /// As [`MemoryLog::oldest_from`].
    fn oldest_from(
        &self,
        place: u64,
        start: Timestamp,
        end: Option<Timestamp>,
    ) -> Option<Arc<Segment>> {
        self.inner.lock().log.oldest_from(place, start, end)
    }
}
