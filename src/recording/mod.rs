//! What the engine keeps of the events that it let in, under one lock: the log and the roll-ups.
//!
//! **What is one step.** An event gets its ordinal, stands in the log, is in all of its sums and
//! is handed to the journal while the ledger is locked, and [`append`](Ledger::append) runs under
//! the locks of the decision that let the event in. So there is no moment at which an event is
//! counted and not recorded, or in the log and not in the sums; ordinals, places in the log and
//! the order of the journal are one order. Who [asks](Ledger::ask) takes sums and segments under
//! the same lock: an answer is of one moment, though most of it is read when the lock is free.
//!
//! **Why it cannot deadlock.** Locks are taken in one order: the entry of an idempotency key, the
//! shards in ascending order, the ledger, the journal's queue. Under the ledger's lock nothing is
//! taken but the queue's (by `put` and `end`), and under that one nothing at all. Who asks, scans
//! or saves holds only locks that come before it (a decision that asks for history has its shards,
//! a change of the rules the compiler's), and waits for nobody while it holds it. Nothing of the
//! caller's runs under it: an event is packed before, and no reader of the log keeps the lock from
//! one segment to the next.
//!
//! **What it holds without the lock.** Full segments and [`Columns`](crate::usage) are shared by
//! reference and never change: whoever holds one goes on reading what was there. The open segment
//! is copied for readers, so that only the ledger ever writes to it.
//!
//! **How long it is held.** What one event does is bounded, whatever its sender chose: its bytes
//! are copied, 64 KiB at the most; it adds to a row for each of at most 18 series, or to three
//! where it is late, and in each row at most 64 values are looked up among 1 000 names and those of
//! rules, meters and options; of a minute that is over three rows for each series are folded into
//! its part of an hour and its day, fewer where they have many values; a segment that goes leaves
//! at most 32 spans of time; of what is old four rows for each series are dropped, folded first
//! where they were not yet. Beside that a table that grows is copied now and then, so that it costs
//! as little on average. A question holds it for the rows of its ranges and groups, and where these
//! are parts or days for those of minutes that are not folded yet; saving for a few rows a step.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader};
use crate::base::format::Version;
use crate::counters::HowCounted;
use crate::event::{Dimension, DimensionHashes};
use crate::log::{Bounds, EventId, MemoryLog, Packed, Segment};
use crate::log::{Dropped, Erased};
use crate::log::{signature_of_built_in, signature_of_properties};
use crate::usage::RowCursor;
use crate::usage::{Answer, PartialAnswer, Question, RollupOptions, Rollups, ValueFold};

mod correct;
mod scan;

pub(crate) use self::correct::{Current, NoCurrent};
pub(crate) use self::scan::Scan;

#[derive(Debug)]
pub(crate) struct Ledger {
    /// Random, and part of every event's id.
    name: u64,
    /// The engine's: what values, tuples and the events' signatures are hashed by.
    hasher: ahash::RandomState,
    inner: Mutex<Inner>,
    /// Held by whoever corrects an event, and taken before all others.
    correcting: Mutex<()>,
}

/// What an event's built-in dimensions set in its signature, which may be kept with the series of
/// its values.
#[inline]
fn signature_by(kept: Option<&mut u64>, hashes: &DimensionHashes<'_, '_>) -> u64 {
    match kept {
        Some(known) if *known != 0 => *known,
        Some(new) => {
            *new = signature_of_built_in(hashes);
            *new
        }
        None => signature_of_built_in(hashes),
    }
}

#[derive(Debug)]
struct Inner {
    log: MemoryLog,
    rollups: Rollups,
}

impl Ledger {
    /// A ledger that keeps the events within bounds; their hashes are by this hasher.
    pub(crate) fn new(keep: Bounds, rollups: &RollupOptions, hasher: ahash::RandomState) -> Self {
        let (log, rollups) = (MemoryLog::new(keep), Rollups::new(rollups, &hasher));
        let inner = Mutex::new(Inner { log, rollups });
        let name = ahash::RandomState::new().hash_one("log");
        Self { name, hasher, inner, correcting: Mutex::default() }
    }

    /// A ledger that goes on where another one was.
    pub(crate) fn restored(
        name: u64,
        hasher: ahash::RandomState,
        log: MemoryLog,
        rollups: Rollups,
    ) -> Self {
        let inner = Mutex::new(Inner { log, rollups });
        Self { name, hasher, inner, correcting: Mutex::default() }
    }

    /// The same without its events: what it answers is in its roll-ups.
    pub(crate) fn without_events(self) -> Self {
        let Inner { log, rollups } = self.inner.into_inner();
        let log = MemoryLog::starting(Bounds::newest(1), log.recorded(), Dropped::all());
        Self { inner: Mutex::new(Inner { log, rollups }), ..self }
    }

    /// Adds an event that happened at `timestamp`, and names it; `now` is the engine's time, at
    /// which it was counted.
    /// `put` hands it on in the order of the log, under the ledger's lock: it must take no lock
    /// that somebody holds who waits for the ledger.
    pub(crate) fn append<R>(
        &self,
        hashes: &DimensionHashes<'_, '_>,
        timestamp: Timestamp,
        (now, counted): (Timestamp, HowCounted),
        put: impl FnOnce(&Packed) -> R,
    ) -> (EventId, R) {
        let mut packed = Packed::counted(hashes.event(), timestamp, (now, counted));
        let properties = signature_of_properties(hashes);
        let mut inner = self.inner.lock();
        let Inner { log, rollups } = &mut *inner;
        let ordinal = log.recorded();
        let kept = rollups.add(hashes, timestamp, now, ordinal);
        packed.sign(properties | signature_by(kept, hashes));
        log.append(&packed, now);
        // Before the lock is free: the next event is behind this one in the journal too, and what
        // is saved of the rows has exactly the events that the journal has by then.
        let put = put(&packed);
        drop(inner);
        (self.id(ordinal), put)
    }

    /// Answers a question. The ledger is locked for the part of the roll-ups, whose cost is that
    /// of the rows in the question's ranges and groups, and free while events are looked at.
    pub(crate) fn ask(&self, question: &Question<'_>) -> Answer {
        let inner = self.inner.lock();
        // Sums and segments of one moment: an event that comes in between would be in both, or in
        // neither.
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
        // One step: an event that came while older ones are filled in would be in the new columns
        // twice or not at all.
        let new = rollups.track(folds, log.dropped());
        if new.is_empty() {
            return;
        }
        let segments = log.overlapping(Timestamp::MIN, Timestamp::MAX);
        let counting = segments.iter().flat_map(|segment| segment.events());
        for event in counting.filter(|event| !log.corrections().hides(event.ordinal)) {
            if let Some(stored) = event.read() {
                rollups.fill_in(&stored, stored.timestamp(), event.ordinal, &new);
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

    /// What [`save_log`](Self::save_log) saved: the first ordinal, and when the events before it
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

    /// The id of the event of an ordinal.
    pub(crate) fn id(&self, ordinal: u64) -> EventId {
        EventId::new(self.name, ordinal)
    }

    /// The ordinal of an event by its id; `None` of an id that was given to no event here.
    pub(crate) fn ordinal(&self, id: EventId) -> Option<u64> {
        id.ordinal_in(self.name).filter(|ordinal| *ordinal < self.recorded())
    }

    /// What filters of this ledger's events are compiled with.
    pub(crate) fn hasher(&self) -> &ahash::RandomState {
        &self.hasher
    }

    /// The events that are kept, the oldest first, and when those happened that are not any more.
    /// Whoever holds the segments keeps what is in them. O(segments).
    pub(crate) fn kept(&self) -> (Vec<Arc<Segment>>, Dropped) {
        let inner = self.inner.lock();
        let segments = inner.log.overlapping(Timestamp::MIN, Timestamp::MAX);
        (segments, inner.log.dropped().clone())
    }

    /// Erases whom events are about, in the log and in the sums, and returns of how many. O(events
    /// and rows that are kept).
    pub(crate) fn erase(&self, erased: &Erased) -> u64 {
        let Inner { log, rollups } = &mut *self.inner.lock();
        rollups.erase(&erased.dimension, &erased.value);
        log.erase(erased, &self.hasher)
    }

    /// The dimensions that have roll-ups.
    pub(crate) fn dimensions(&self) -> Vec<Dimension> {
        self.inner.lock().rollups.dimensions()
    }

    /// Whether roll-ups know a value of a dimension.
    pub(crate) fn knows(&self, dimension: &Dimension, value: &str) -> bool {
        self.inner.lock().rollups.knows(dimension, value)
    }

    /// The first so many values of a dimension that roll-ups know, behind one.
    pub(crate) fn values_after(
        &self,
        dimension: &Dimension,
        after: Option<&str>,
        most: usize,
    ) -> Vec<String> {
        self.inner.lock().rollups.values_after(dimension, after, most)
    }

    /// How many events are kept.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().log.len()
    }

    /// How many events there ever were: the ordinal of the next one.
    pub(crate) fn recorded(&self) -> u64 {
        self.inner.lock().log.recorded()
    }

    /// The ordinal of the oldest event that is there, or of the next one.
    pub(crate) fn first(&self) -> u64 {
        self.inner.lock().log.first()
    }

    /// As [`MemoryLog::newest_before`].
    fn newest_before(
        &self,
        ordinal: u64,
        start: Timestamp,
        end: Option<Timestamp>,
        most: usize,
    ) -> Option<Arc<Segment>> {
        self.inner.lock().log.newest_before(ordinal, start, end, most)
    }

    /// As [`MemoryLog::oldest_from`].
    fn oldest_from(
        &self,
        ordinal: u64,
        start: Timestamp,
        end: Option<Timestamp>,
    ) -> Option<Arc<Segment>> {
        self.inner.lock().log.oldest_from(ordinal, start, end)
    }
}
