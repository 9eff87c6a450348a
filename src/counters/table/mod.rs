//! The table of counters, and the locks that a decision is made under.
//!
//! Rows lie in shards by their hash, each shard behind one lock. A decision locks the shards of
//! all rows that it touches, in ascending order and all at once, judges every rule, and then
//! writes every counter or none. That makes it linearizable: between the locks nobody else sees
//! or changes what it looks at, nothing is taken that has to be given back, and the one order of
//! locking leaves no cycle for a deadlock. Locks are held for arithmetic and for the engine's own
//! log, never over a caller's code.
//!
//! Time inside a shard never runs back: a decision's instant is the latest that any of its shards
//! has seen, if that is later than its own reading.
//!
//! A decision sees exactly one rule set: the version is checked once the locks are held, and a
//! decision that came with another one starts again. Whoever changes the rules closes the table
//! first, so that every decision by the old rules has ended, and opens it with the new ones.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::algorithms::periods::Ahead;
use super::algorithms::{Judged, Reading};
use super::counter::{Counter, CounterSet};
use super::history::History;
use super::row::{Row, RowKey};
use super::time::{At, Moment, Timeline};
use crate::base::clock::Timestamp;
use crate::rules::Overflow;
use crate::telemetry::Tally;

mod charge;
mod check;
mod room;
mod saved;
mod shared;
mod upkeep;
mod work;

pub(crate) use self::charge::{Charge, Charges, Match, Part};
use self::charge::{Counts, Told};
#[cfg(test)]
pub(crate) use self::check::Astray;
pub(crate) use self::check::{Checked, Checking};
pub(crate) use self::saved::{Restoring, Retake};
pub(crate) use self::shared::Start;
use self::work::Work;

/// What a call wants of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Judge and change nothing.
    Check,
    /// Say where the rules stand, whatever an event brings.
    Standing,
    /// Charge every rule, or none.
    Track,
    /// Charge every rule, whatever it says.
    Record,
}

impl Intent {
    /// Whether it changes nothing.
    #[inline]
    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Self::Check | Self::Standing)
    }
}

/// A row that a decision needs: that of a group's partition by the event's values.
#[derive(Debug)]
pub(crate) struct RowAddress<'e> {
    pub(crate) hash: u64,
    pub(crate) group: u32,
    pub(crate) values: SmallVec<[&'e str; 2]>,
}

/// One decision's worth of work.
#[derive(Debug)]
pub(crate) struct Request<'r, 'e> {
    pub(crate) counters: &'r CounterSet,
    pub(crate) intent: Intent,
    /// The clock's reading.
    pub(crate) now: Moment,
    /// The timestamp of the event, where it brought one.
    pub(crate) happened: Option<Timestamp>,
    pub(crate) rows: &'r [RowAddress<'e>],
    /// What is recorded, where something is.
    pub(crate) history: Option<&'r dyn History>,
}

impl Request<'_, '_> {
    /// The time of the decision, where the engine's is `now`.
    #[inline]
    fn at(&self, timeline: Timeline, now: Moment) -> At {
        timeline.at(now, self.happened).recorded(self.intent == Intent::Record)
    }
}

/// How a request was settled.
#[derive(Debug)]
pub(crate) struct Verdict<R> {
    pub(crate) at: At,
    pub(crate) allowed: bool,
    /// Of an event that was refused, the later periods in which rules have seen use; only rules
    /// that have.
    pub(crate) ahead: Vec<(u32, Ahead)>,
    /// What the caller's step returned that ran with the taking; `None` where nothing was taken.
    pub(crate) committed: Option<R>,
}

/// Why a request was not settled. Nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsettled {
    /// The rule set is not the current one any more.
    Stale,
    /// The event falls in a closed period of this rule.
    TooLate { rule: u32, now: Moment },
}

/// The version while no decision may be made.
const CLOSED: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[Padded]>,
    version: AtomicU64,
    /// Rows of keys of their own, over all shards.
    rows: AtomicU64,
    max_rows: u64,
    /// Rows that were dropped since somebody asked.
    evicted: Tally,
    timeline: Timeline,
}

/// A shard on cache lines of its own, so that neighbours do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

#[derive(Debug, Default)]
struct Shard {
    rows: HashTable<Row>,
    /// The latest time that a decision here went by.
    now: Option<Moment>,
    /// The bucket that upkeep looks at next.
    cursor: usize,
    passes: u8,
}

/// A row of the decision at work: whose lock holds it and where it lies.
struct Seat<'e> {
    hash: u64,
    key: RowKey<'e>,
    shard: usize,
    guard: usize,
    bucket: Option<usize>,
}

type Guards<'t> = SmallVec<[MutexGuard<'t, Shard>; 4]>;
type Seats<'e> = SmallVec<[Seat<'e>; 4]>;

/// The rules of a request whose shared counters are looked at.
#[derive(Default)]
struct Shared {
    /// Their keys find no room for a counter of their own.
    crowded: SmallVec<[u32; 4]>,
    /// Their keys are about to get one, and may have used the shared one before.
    leaving: SmallVec<[u32; 4]>,
}

impl Shared {
    fn len(&self) -> usize {
        self.crowded.len().saturating_add(self.leaving.len())
    }
}

impl Table {
    pub(crate) fn new(max_rows: u64, timeline: Timeline, shards: usize) -> Self {
        let shards = shards.next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Padded::default()).collect(),
            version: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            max_rows,
            evicted: Tally::default(),
            timeline,
        }
    }

    pub(crate) fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// How many keys have counters now.
    pub(crate) fn live_keys(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// How many keys have lost their counters.
    pub(crate) fn evicted(&self) -> &Tally {
        &self.evicted
    }

    /// Lets decisions be made by the rule set of this version and by no other.
    pub(crate) fn open(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }

    /// Lets no decision be made until the next [`open`](Self::open), waits for those under way,
    /// and returns an instant that is not before any of theirs.
    pub(crate) fn close(&self, now: Moment) -> At {
        self.version.store(CLOSED, Ordering::Release);
        let seen = self.shards.iter().filter_map(|shard| shard.0.lock().now);
        self.timeline.at(seen.fold(now, Moment::max), None)
    }

    /// Settles a request: fills in what every take says. `commit` runs exactly when something is
    /// taken, under the same locks, and is told what was.
    pub(crate) fn settle<R>(
        &self,
        request: &Request<'_, '_>,
        charges: &mut [Charge],
        commit: impl Fn(At, &[Charge], &[Start]) -> R,
    ) -> Result<Verdict<R>, Unsettled> {
        if let [place] = request.rows
            && let Some(settled) = self.settle_in_row(place, request, charges, &commit)
        {
            return settled;
        }
        // Each turn of the loop that does not end finds one more rule whose shared row is needed.
        let mut shared = Shared::default();
        loop {
            let mut seats = Seats::new();
            self.seat(&mut seats, request, &shared);
            let mut guards = Guards::new();
            self.lock(&mut guards, &mut seats);
            if self.version.load(Ordering::Acquire) != request.counters.version {
                return Err(Unsettled::Stale);
            }
            let at = self.instant(&mut guards, request);
            let lists = RefCell::default();
            let work = Work { request, at, seats: &seats, starts: &[], lists };
            if !self.judge(&work, charges, &guards, &mut shared) {
                continue;
            }
            let starts = work.find_starts(charges, &guards, &shared.leaving);
            let work = Work { starts: &starts, ..work };
            if let Some(rule) = work.too_late(charges) {
                return Err(Unsettled::TooLate { rule, now: at.now });
            }
            let allowed = request.intent == Intent::Record || work.passes(charges);
            let mut committed = None;
            // Where a row is made or finds no room, more of the others are looked at.
            let mut pressed = !shared.crowded.is_empty();
            if allowed && request.intent.is_read_only() {
                work.foretell(charges);
            } else if allowed {
                let grows = charges.iter().any(|charge| charge.cell.is_none());
                if grows && let Err(rule) = self.reserve(&work, charges, &guards) {
                    shared.crowded.push(rule);
                    continue;
                }
                pressed |= grows;
                work.write(charges, &mut guards);
                work.foretell_closed(charges);
                committed = Some(commit(at, charges, &starts));
            } else if request.intent == Intent::Track {
                self.keep_told(&work, charges, &mut guards);
            }
            let row = |place| work.row(&guards, place);
            let ahead = if allowed { Vec::new() } else { work.ahead(charges, row) };
            if !request.intent.is_read_only() {
                for shard in &mut guards {
                    self.tidy_in_passing(shard, request.counters, at, pressed);
                }
            }
            return Ok(Verdict { at, allowed, ahead, committed });
        }
    }

    /// Settles the everyday request, of one row that holds a cell of each rule, in the same
    /// steps and without the lists that several rows need. Returns `None`, with nothing changed,
    /// where the request is not so.
    #[inline]
    fn settle_in_row<R>(
        &self,
        place: &RowAddress<'_>,
        request: &Request<'_, '_>,
        charges: &mut [Charge],
        commit: &impl Fn(At, &[Charge], &[Start]) -> R,
    ) -> Option<Result<Verdict<R>, Unsettled>> {
        let RowAddress { hash, group, ref values } = *place;
        let key = RowKey::Partition { group, values };
        let mut shard = self.shards.get(self.shard_of(hash))?.0.lock();
        if self.version.load(Ordering::Acquire) != request.counters.version {
            return Some(Err(Unsettled::Stale));
        }
        let now = request.counters.not_before(request.now);
        let now = shard.now.map_or(now, |seen| seen.max(now));
        shard.now = Some(now);
        let at = request.at(self.timeline, now);
        let work = Work { request, at, seats: &[], starts: &[], lists: RefCell::default() };
        let row = shard.rows.find_mut(hash, |row| row.has_key(hash, key))?;
        if !work.judge_row(row, charges) {
            return None;
        }
        if request.history.is_some() && work.is_any_closed(charges) {
            return None;
        }
        if let Some(rule) = work.too_late(charges) {
            return Some(Err(Unsettled::TooLate { rule, now }));
        }
        let allowed = request.intent == Intent::Record || work.passes(charges);
        let mut verdict = Verdict { at, allowed, ahead: Vec::new(), committed: None };
        if !allowed {
            verdict.ahead = work.ahead(charges, |_| Some(row));
        } else if request.intent.is_read_only() {
            work.foretell(charges);
        } else {
            work.write_cells(charges, row);
            verdict.committed = Some(commit(at, charges, &[]));
        }
        if !request.intent.is_read_only() {
            self.tidy_in_passing(&mut shard, request.counters, at, false);
        }
        Some(Ok(verdict))
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        // Bits that the hash tables do not use: they take the lowest and the highest seven.
        let last = self.shards.len().saturating_sub(1);
        usize::try_from(hash >> 40).unwrap_or(0) & last
    }

    /// The rows of a request, and after them the shared rows that are looked at.
    #[inline]
    fn seat<'r>(&self, seats: &mut Seats<'r>, request: &Request<'r, '_>, needed: &Shared) {
        let seat = |hash, key| {
            let shard = self.shard_of(hash);
            Seat { hash, key, shard, guard: 0, bucket: None }
        };
        for RowAddress { hash, group, values } in request.rows {
            seats.push(seat(*hash, RowKey::Partition { group: *group, values }));
        }
        let Shared { crowded, leaving } = needed;
        let crowded = crowded.iter().filter_map(|rule| request.counters.counter(*rule));
        let crowded = crowded.filter(|counter| counter.overflow == Overflow::Share);
        let leaving = leaving.iter().filter(|rule| !needed.crowded.contains(rule));
        let leaving = leaving.filter_map(|rule| request.counters.counter(*rule));
        for counter in crowded.chain(leaving) {
            let counter = counter.lineage();
            seats.push(seat(overflow_hash(counter), RowKey::Overflow { counter }));
        }
    }

    /// Locks the shards of all seats in ascending order, and finds the rows.
    #[inline]
    fn lock<'t>(&'t self, guards: &mut Guards<'t>, seats: &mut Seats<'_>) {
        if let [only] = seats.as_slice() {
            if let Some(shard) = self.shards.get(only.shard) {
                guards.push(shard.0.lock());
            }
        } else {
            let mut shards: SmallVec<[usize; 4]> = seats.iter().map(|seat| seat.shard).collect();
            shards.sort_unstable();
            shards.dedup();
            for shard in shards.iter().filter_map(|shard| self.shards.get(*shard)) {
                guards.push(shard.0.lock());
            }
            for seat in &mut *seats {
                seat.guard = shards.binary_search(&seat.shard).unwrap_or(0);
            }
        }
        for seat in seats {
            let (hash, key) = (seat.hash, seat.key);
            seat.bucket = guards
                .get(seat.guard)
                .and_then(|shard| shard.rows.find_bucket_index(hash, |row| row.has_key(hash, key)));
        }
    }

    /// The instant of the decision: not before any that its shards have seen.
    #[inline]
    fn instant(&self, guards: &mut Guards<'_>, request: &Request<'_, '_>) -> At {
        let mut now = request.counters.not_before(request.now);
        for shard in &*guards {
            now = shard.now.map_or(now, |seen| seen.max(now));
        }
        for shard in guards {
            shard.now = Some(now);
        }
        request.at(self.timeline, now)
    }

    /// Judges every take. Returns `false` where one needs a shared row: its key found no room for
    /// its counter, or gets one and may have shared one before. Its rule is then added to
    /// `shared`.
    #[inline]
    fn judge(
        &self,
        work: &Work<'_, '_>,
        charges: &mut [Charge],
        guards: &Guards<'_>,
        shared: &mut Shared,
    ) -> bool {
        let known = shared.len();
        // The row at hand, and where the next rule's cell lies if it lies in the rules' order.
        let (mut place, mut row, mut hint) = (0, work.row(guards, 0), 0);
        for charge in charges {
            let Some(counter) = work.request.counters.counter(charge.rule) else { continue };
            let is_crowded = known > 0 && shared.crowded.contains(&charge.rule);
            charge.part = match charge.part {
                Part::Loses | Part::Misses => Part::Loses,
                _ if is_crowded => Part::Crowded,
                _ => Part::Judges,
            };
            if is_crowded {
                counter.misses(work.at.second);
                charge.row = work.overflow_seat(counter);
            }
            if charge.row != place {
                (place, row, hint) = (charge.row, work.row(guards, charge.row), 0);
            }
            let judged = if is_crowded && counter.overflow == Overflow::Deny {
                Judged { reading: Reading::NONE, fits: false, cell: None, spare: None }
            } else {
                let own = counter.judge(row, hint, &work.at, charge.cost());
                let is_leaving = known > 0 && !is_crowded && shared.leaving.contains(&charge.rule);
                if is_leaving { work.judge_leaving(charge, counter, row, guards, own) } else { own }
            };
            charge.reading = judged.reading;
            let passes =
                || counter.overflow == Overflow::Allow || !counter.policy.can_refuse(charge.cost());
            charge.fits = judged.fits || (is_crowded && passes());
            let cell = judged.cell.or(judged.spare);
            charge.cell = cell.and_then(|cell| NonZeroU32::new(u32::try_from(cell).ok()?));
            charge.told = Told::No;
            // A key without a counter needs room for one, and may have used the shared one before.
            let is_new = cell.is_none() && !is_crowded;
            let has_room = !is_new || self.has_room(counter, row);
            if is_new && has_room && work.leaves(charge, counter, row, shared) {
                shared.leaving.push(charge.rule);
                continue;
            }
            let unsure = |cell| row.is_some_and(|row| Work::is_unsure(counter, row, cell));
            let known = judged.cell.is_some_and(|cell| !unsure(cell));
            let may_be_told = !known || work.at.explicit;
            if may_be_told && !is_crowded && work.request.history.is_some() {
                // What a shared counter is asked for is not the key's own.
                work.recount(charge, counter, known || !has_room);
            }
            if let (Some(cell), Some(row)) = (cell, row) {
                hint = row.after(cell);
            } else if !has_room && charge.told != Told::Closed {
                if charge.judges() {
                    shared.crowded.push(charge.rule);
                } else {
                    work.miss(charge, counter);
                }
            }
        }
        shared.len() == known
    }

    /// Writes what was told of rules that refuse an event, so that the next one need not ask again.
    fn keep_told(&self, work: &Work<'_, '_>, charges: &[Charge], guards: &mut Guards<'_>) {
        let is_used = |charge: &&Charge| {
            let counter = work.request.counters.counter(charge.rule);
            counter.is_some_and(|counter| counter.policy.is_used(&charge.reading, &work.at))
        };
        let told = charges.iter().filter(|charge| charge.told == Told::Open).filter(is_used);
        let mut kept: Charges = told.map(Charge::kept).collect();
        // Where there is no room for them they are told again.
        if !kept.is_empty() && self.reserve(work, &mut kept, guards).is_ok() {
            work.write(&mut kept, guards);
        }
    }
}

/// The shard of a shared row may be any, as long as it is always the same.
fn overflow_hash(counter: u32) -> u64 {
    u64::from(counter).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
