//! The table of counters: the only room with locks and atomics.
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
//! decision that came with an older one starts again. Whoever changes the rules publishes first
//! and raises the version after, so a decision that passed the check is ordered before the change.

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::cell::Image;
use super::counter::{Counter, Roster};
use super::policy::{Judged, Reading};
use super::row::{Row, RowKey};
use super::time::{At, Moment, Timeline};
use crate::rules::{Enforcement, Overflow};

mod upkeep;

/// What a call wants of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Look and change nothing.
    Look,
    /// Take from every rule, or from none.
    Take,
    /// Take from every rule whatever it says.
    Record,
}

/// A row that a decision needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'e> {
    pub(crate) hash: u64,
    pub(crate) key: RowKey<'e>,
}

/// What one rule is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take<'r> {
    pub(crate) counter: &'r Counter,
    pub(crate) cost: u64,
    /// The index of the rule's row among the places.
    pub(crate) place: usize,
}

/// One decision's worth of work.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    pub(crate) roster: &'r Roster,
    pub(crate) intent: Intent,
    /// The clock's reading.
    pub(crate) now: Moment,
    /// The Unix second of the event, where it brought one.
    pub(crate) second: Option<i64>,
    pub(crate) places: &'r [Place<'r>],
    pub(crate) takes: &'r [Take<'r>],
}

/// What one rule said.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) fits: bool,
    /// Its state after the event where it counted the event, else without it.
    pub(crate) reading: Reading,
}

/// How a request was settled.
#[derive(Debug)]
pub(crate) struct Verdict<R> {
    pub(crate) at: At,
    pub(crate) allowed: bool,
    /// One for each take, in order.
    pub(crate) judgements: SmallVec<[Judgement; 4]>,
    /// What the caller's step returned that ran with the taking; `None` where nothing was taken.
    pub(crate) committed: Option<R>,
}

/// Why a request was not settled. Nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsettled {
    /// The rule set is not the current one any more.
    Stale,
    /// The event falls in a closed period of the take of this index.
    TooLate { take: usize, now: Moment },
}

#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[Padded]>,
    version: AtomicU64,
    /// Rows of keys of their own, over all shards.
    rows: AtomicU64,
    max_rows: u64,
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
    place: Place<'e>,
    guard: usize,
    bucket: Option<usize>,
}

type Guards<'t> = SmallVec<[MutexGuard<'t, Shard>; 4]>;
type Seats<'e> = SmallVec<[Seat<'e>; 4]>;
type JudgedTakes = SmallVec<[(Judged, Option<usize>); 4]>;

impl Table {
    pub(crate) fn new(max_rows: u64, timeline: Timeline, shards: usize) -> Self {
        let shards = shards.next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Padded::default()).collect(),
            version: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            max_rows,
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

    /// Makes decisions that come with an older rule set start again.
    pub(crate) fn raise_version(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }

    /// Settles a request. `commit` runs exactly when something is taken, under the same locks.
    pub(crate) fn settle<R>(
        &self,
        request: &Request<'_>,
        commit: impl FnOnce(At) -> R,
    ) -> Result<Verdict<R>, Unsettled> {
        // The takes whose keys find no room. Each turn of the loop that does not end adds one.
        let mut crowded: SmallVec<[usize; 4]> = SmallVec::new();
        loop {
            let mut seats = seats(request, &crowded);
            let mut guards = self.lock(&mut seats);
            if self.version.load(Ordering::Acquire) != request.roster.version {
                return Err(Unsettled::Stale);
            }
            let at = self.instant(&mut guards, request);
            let known = crowded.len();
            let judged = self.judge(request, at, &guards, &seats, &mut crowded);
            if crowded.len() > known {
                continue;
            }
            if request.intent != Intent::Record
                && let Some(take) = too_late(request, &judged, at)
            {
                return Err(Unsettled::TooLate { take, now: at.now });
            }
            let allowed = request.intent == Intent::Record || passes(request, &judged);
            let mut committed = None;
            if allowed && request.intent != Intent::Look {
                if let Err(take) = self.reserve(request, at, &guards, &seats, &judged) {
                    crowded.push(take);
                    continue;
                }
                let grew = write(request, at, &mut guards, &seats, &judged);
                committed = Some(commit(at));
                if let Some(shard) = guards.first_mut() {
                    self.tidy_in_passing(shard, request.roster, at, grew);
                }
            }
            let judgements = judgements(request, judged, at, allowed);
            return Ok(Verdict { at, allowed, judgements, committed });
        }
    }

    fn shard_of(&self, hash: u64) -> usize {
        // Bits that the hash tables do not use: they take the lowest and the highest seven.
        let last = self.shards.len().saturating_sub(1);
        usize::try_from(hash >> 40).unwrap_or(0) & last
    }

    /// Locks the shards of all seats in ascending order, and finds the rows.
    fn lock<'t>(&'t self, seats: &mut Seats<'_>) -> Guards<'t> {
        let mut shards: SmallVec<[usize; 4]> =
            seats.iter().map(|seat| self.shard_of(seat.place.hash)).collect();
        shards.sort_unstable();
        shards.dedup();
        let in_order = shards.iter().filter_map(|shard| self.shards.get(*shard));
        let guards: Guards<'t> = in_order.map(|shard| shard.0.lock()).collect();
        for seat in seats {
            let Place { hash, key } = seat.place;
            seat.guard = shards.binary_search(&self.shard_of(hash)).unwrap_or(0);
            seat.bucket = guards
                .get(seat.guard)
                .and_then(|shard| shard.rows.find_bucket_index(hash, |row| row.has_key(hash, key)));
        }
        guards
    }

    /// The instant of the decision: not before any that its shards have seen.
    fn instant(&self, guards: &mut Guards<'_>, request: &Request<'_>) -> At {
        let seen = guards.iter().filter_map(|shard| shard.now).max();
        let now = seen.map_or(request.now, |seen| seen.max(request.now));
        for shard in guards {
            shard.now = Some(now);
        }
        self.timeline.at(now, request.second)
    }

    /// Judges every take. Those that find no room for a counter are added to `crowded`, and the
    /// judgement is then of no use.
    fn judge(
        &self,
        request: &Request<'_>,
        at: At,
        guards: &Guards<'_>,
        seats: &Seats<'_>,
        crowded: &mut SmallVec<[usize; 4]>,
    ) -> JudgedTakes {
        let mut judged = JudgedTakes::new();
        for (index, take) in request.takes.iter().enumerate() {
            let Take { counter, cost, place } = *take;
            if crowded.contains(&index) {
                let seat = overflow_seat(seats, counter);
                judged
                    .push((judge_crowded(counter, seat_row(guards, seats, seat), at, cost), seat));
                continue;
            }
            let row = seat_row(guards, seats, Some(place));
            let verdict = counter.judge(row, at, cost);
            if verdict.cell.is_none() && !self.has_room(counter, row) {
                crowded.push(index);
            }
            judged.push((verdict, Some(place)));
        }
        judged
    }

    fn has_room(&self, counter: &Counter, row: Option<&Row>) -> bool {
        match row {
            Some(row) => counter.is_in(row) || counter.has_room(),
            None => self.rows.load(Ordering::Acquire) < self.max_rows && counter.has_room(),
        }
    }

    /// Counts the rows and cells that are about to be made; on failure counts nothing and names
    /// a take that found no room.
    fn reserve(
        &self,
        request: &Request<'_>,
        at: At,
        guards: &Guards<'_>,
        seats: &Seats<'_>,
        judged: &JudgedTakes,
    ) -> Result<(), usize> {
        if judged.iter().all(|(verdict, _)| verdict.cell.is_some()) {
            return Ok(());
        }
        let mut reserved: SmallVec<[&Counter; 4]> = SmallVec::new();
        let mut new_rows: SmallVec<[usize; 4]> = SmallVec::new();
        let mut failed = None;
        for (index, (take, (verdict, seat))) in request.takes.iter().zip(judged).enumerate() {
            let (counter, Some(seat)) = (take.counter, *seat) else { continue };
            if verdict.cell.is_some() || !counts(request, take, verdict, at) {
                continue;
            }
            let row = seat_row(guards, seats, Some(seat));
            if seat >= request.places.len() {
                if row.is_none() {
                    counter.entered(true);
                }
                continue;
            }
            if row.is_none() && !new_rows.contains(&seat) {
                if !self.reserve_row() {
                    failed = Some(index);
                    break;
                }
                new_rows.push(seat);
            }
            match row {
                Some(row) if row.cells_of(counter.number()).next().is_some() => {}
                Some(row) if counter.is_in(row) => counter.entered(false),
                _ if counter.reserve() => reserved.push(counter),
                _ => {
                    failed = Some(index);
                    break;
                }
            }
        }
        let Some(failed) = failed else { return Ok(()) };
        reserved.iter().for_each(|counter| counter.left(counter.number(), false));
        self.rows.fetch_sub(new_rows.len() as u64, Ordering::AcqRel);
        Err(failed)
    }

    fn reserve_row(&self) -> bool {
        let more = |rows: u64| (rows < self.max_rows).then(|| rows.saturating_add(1));
        self.rows.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

/// The rows of a request, and after them the shared rows of the takes that found no room.
fn seats<'r>(request: &Request<'r>, crowded: &[usize]) -> Seats<'r> {
    let seat = |place| Seat { place, guard: 0, bucket: None };
    let mut seats: Seats<'r> = request.places.iter().copied().map(seat).collect();
    for take in crowded.iter().filter_map(|index| request.takes.get(*index)) {
        if take.counter.overflow == Overflow::Share {
            let counter = take.counter.lineage();
            // The shard of a shared row may be any, as long as it is always the same.
            let hash = u64::from(counter).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            seats.push(seat(Place { hash, key: RowKey::Overflow { counter } }));
        }
    }
    seats
}

fn overflow_seat(seats: &Seats<'_>, counter: &Counter) -> Option<usize> {
    let key = RowKey::Overflow { counter: counter.lineage() };
    seats.iter().position(|seat| seat.place.key == key)
}

fn seat_row<'g>(guards: &'g Guards<'_>, seats: &Seats<'_>, seat: Option<usize>) -> Option<&'g Row> {
    let seat = seats.get(seat?)?;
    guards.get(seat.guard)?.rows.get_bucket(seat.bucket?)
}

fn judge_crowded(counter: &Counter, shared: Option<&Row>, at: At, cost: u64) -> Judged {
    match counter.overflow {
        Overflow::Share => counter.judge(shared, at, cost),
        Overflow::Allow => Judged { fits: true, ..counter.judge(None, at, cost) },
        Overflow::Deny => {
            Judged { fits: false, before: Reading::NoRoom, after: Reading::NoRoom, cell: None }
        }
    }
}

fn passes(request: &Request<'_>, judged: &JudgedTakes) -> bool {
    request
        .takes
        .iter()
        .zip(judged)
        .all(|(take, (verdict, _))| verdict.fits || take.counter.enforcement != Enforcement::Hard)
}

fn too_late(request: &Request<'_>, judged: &JudgedTakes, at: At) -> Option<usize> {
    request.second?;
    let mut takes = request.takes.iter().zip(judged);
    takes.position(|(take, (verdict, _))| take.counter.policy.is_too_late(&verdict.before, at))
}

/// Whether a take of an event that is let in changes its counter.
fn counts(request: &Request<'_>, take: &Take<'_>, verdict: &Judged, at: At) -> bool {
    take.cost > 0
        && verdict.before != Reading::NoRoom
        && (verdict.fits || take.counter.enforcement != Enforcement::Shadow)
        && !(request.intent == Intent::Record
            && take.counter.policy.is_too_late(&verdict.before, at))
}

/// Writes all counters; returns whether a row was made.
fn write(
    request: &Request<'_>,
    at: At,
    guards: &mut Guards<'_>,
    seats: &Seats<'_>,
    judged: &JudgedTakes,
) -> bool {
    let takes = || request.takes.iter().zip(judged);
    let of_seat = |index: usize| {
        takes().filter(move |(take, (verdict, seat))| {
            *seat == Some(index) && counts(request, take, verdict, at)
        })
    };
    let mut grew = false;
    // Rows that exist come first: making one may move the others of its shard.
    for (index, seat) in seats.iter().enumerate() {
        let Some(bucket) = seat.bucket else { continue };
        let shard = guards.get_mut(seat.guard);
        let Some(row) = shard.and_then(|shard| shard.rows.get_bucket_mut(bucket)) else { continue };
        for (take, (verdict, _)) in of_seat(index) {
            match verdict.cell {
                Some(offset) => row.write(offset, |words| {
                    take.counter.policy.write(words, &verdict.after, at, take.cost)
                }),
                None => row.push(take.counter.number(), &image(take, verdict, Some(row), at)),
            }
        }
        for (take, _) in of_seat(index).filter(|(take, _)| take.counter.took_over()) {
            upkeep::drop_predecessors(row, take.counter);
        }
    }
    for (index, seat) in seats.iter().enumerate().filter(|(_, seat)| seat.bucket.is_none()) {
        let cells: SmallVec<[(u32, Image); 4]> = of_seat(index)
            .map(|(take, (verdict, _))| (take.counter.number(), image(take, verdict, None, at)))
            .collect();
        let Some(shard) = guards.get_mut(seat.guard).filter(|_| !cells.is_empty()) else {
            continue;
        };
        let Place { hash, key } = seat.place;
        shard.rows.insert_unique(hash, Row::new(hash, key, &cells), Row::hash);
        grew = true;
    }
    grew
}

/// The first state of a new cell: what it takes over, if anything, and this event.
fn image(take: &Take<'_>, verdict: &Judged, row: Option<&Row>, at: At) -> Image {
    let policy = &take.counter.policy;
    let carried = row.filter(|row| row.cells_of(take.counter.number()).next().is_none());
    let mut image = carried
        .and_then(|row| take.counter.carried(row))
        .unwrap_or_else(|| Image::zero(policy.words()));
    image.extra = policy.write(&mut image.words, &verdict.after, at, take.cost);
    image
}

/// What each rule shows: its state after the event where it counted it, else before.
fn judgements(
    request: &Request<'_>,
    judged: JudgedTakes,
    at: At,
    allowed: bool,
) -> SmallVec<[Judgement; 4]> {
    let shown = |(take, (verdict, seat)): (&Take<'_>, (Judged, Option<usize>))| {
        let counted = allowed && seat.is_some() && counts(request, take, &verdict, at);
        let reading = if counted { verdict.after } else { verdict.before };
        Judgement { fits: verdict.fits, reading }
    };
    request.takes.iter().zip(judged).map(shown).collect()
}
