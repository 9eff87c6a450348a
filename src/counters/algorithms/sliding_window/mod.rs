//! The sliding window: never more than the limit in any span of its length.
//!
//! It keeps uses with their own times, so that each leaves when it is a whole length old. There
//! are at most 62 of them, and as many again of amounts below zero, which only quotas have. One
//! more makes room by a merger: of two in the same cell of a fixed grid, whose cells are a
//! sixtieth of the length, one use is made. A window touches at most 61 cells, so that of 62 uses
//! two are in one cell, and what is made of them is in that cell too: however many mergers come,
//! a use is never late by a whole cell. Amounts above zero merge at the later of their times,
//! those below at the earlier, so that what is used is never said too low.

mod giving_back;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::entries::{self, Entries, EntriesMut, Entry};
use super::periods::UseAhead;
use super::{Algorithm, Expiring, GivenBack, KeyCalendar, Refusal, stored};
use crate::base::calendar::Calendar;
use crate::base::clock::NANOS_PER_SECOND;
use crate::base::codec::{Malformed, Reader};
use crate::counters::MAX_AHEAD_SECONDS;
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, join, split};
use crate::counters::stored::StoredCharge;
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

/// The grid's cells in a length.
const CELLS: u64 = 60;
/// The most uses of a sign. Those within a length touch one cell more than it has.
const MOST: usize = 62;
const _: () = assert!(MOST as u64 == CELLS + 2);
/// For how many uses a list has room: one more than there may be, while two are merged, and twice
/// that where some are below zero.
const ROOMS: [usize; 8] = [1, 2, 4, 8, 16, 32, MOST + 1, 2 * (MOST + 1)];
/// The largest amount in a list that keeps each in one word: two of them together still fit.
const LARGEST_NARROW: u128 = 1 << 62;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlidingWindow {
    limit: Units,
    length: u64,
    /// The length of a cell.
    slot: u64,
    /// It is a quota's: events count at their own times, and amounts below zero as what they are.
    #[serde(default)]
    rolling: bool,
}

/// What a sliding window said at the moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct SlidingUse {
    used: Units,
    /// When the oldest use leaves; [`Moment::MAX`] without use.
    oldest_leaves: Moment,
    /// When the cost of the decision fits; [`Moment::MAX`] for never. Of a cost that was counted,
    /// when it counts.
    passes_at: Moment,
}

/// What is used of a window from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    from: Moment,
    used: Units,
}

/// What a list holds that still counts.
#[derive(Default)]
struct EntryCounts {
    above: usize,
    below: usize,
    /// The largest amount, either way.
    largest: u128,
}

impl SlidingWindow {
    /// A rate limit's window of `length` nanoseconds, more than 0.
    pub(crate) fn new(limit: Units, length: u64) -> Self {
        let slot = length.div_ceil(CELLS).max(1);
        Self { limit, length: length.max(1), slot, rolling: false }
    }

    /// The same of a quota.
    pub(crate) fn rolling(limit: Units, length: u64) -> Self {
        Self { rolling: true, ..Self::new(limit, length) }
    }

    /// Whether the event counts at its own time: always of a quota, of a rate limit where it is
    /// recorded and not asked for.
    fn is_dated(&self, at: &At) -> bool {
        at.explicit && (self.rolling || at.recorded)
    }

    /// The time at which the event counts.
    fn time(&self, at: &At) -> Moment {
        match (self.is_dated(at), self.rolling) {
            (false, _) => at.now,
            (true, true) => at.event,
            (true, false) => at.event.min(at.now),
        }
    }

    /// The time at which a cost counts. A refund of a rate limit takes back the newest uses,
    /// however late it comes.
    fn time_of(&self, cost: Cost, at: &At) -> Moment {
        let time = self.time(at);
        let is_refund = cost.units < 0 && !self.rolling && !at.corrects;
        if is_refund && self.counts(time, at.now) { at.now } else { time }
    }

    /// The first moment at which a use does not count any more.
    fn leaves(&self, time: Moment) -> Moment {
        Moment(time.0.saturating_add(self.length))
    }

    pub(super) fn counts(&self, time: Moment, now: Moment) -> bool {
        self.leaves(time) > now
    }

    /// The cell of the grid that a time is in.
    fn slot_of(&self, time: Moment) -> u64 {
        time.0.checked_div(self.slot).unwrap_or(0)
    }

    /// The uses that count, the oldest first.
    fn alive<'c>(
        &self,
        words: &'c [u64],
        now: Moment,
    ) -> impl Iterator<Item = Entry> + Clone + use<'_, 'c> {
        Entries::of(words).iter().skip_while(move |entry| !self.counts(entry.time, now))
    }

    /// Whether a cost fits at `now`. An event that is older than the window adds nothing.
    fn fits_at(&self, used: Units, cost: Units, at: &At, now: Moment) -> bool {
        cost <= 0
            || used.saturating_add(cost) <= self.limit
            || (self.is_dated(at) && !self.counts(self.time(at), now))
    }

    /// What is used when one use after the other has left.
    fn steps<'c>(
        &self,
        words: &'c [u64],
        used: Units,
        now: Moment,
    ) -> impl Iterator<Item = Step> + use<'_, 'c> {
        self.alive(words, now).scan(used, |used, Entry { time, amount }| {
            *used = used.saturating_sub(amount);
            Some(Step { from: self.leaves(time), used: *used })
        })
    }

    /// The first moment after `now` at which a cost fits that does not fit then.
    fn first_fit(
        &self,
        mut steps: impl Iterator<Item = Step>,
        cost: Units,
        at: &At,
        now: Moment,
    ) -> Moment {
        let fits = |step: &Step| step.from > now && self.fits_at(step.used, cost, at, step.from);
        let found = steps.find(fits).map_or(Moment::MAX, |step| step.from);
        // The event itself is older than the window from then on.
        let own = if self.is_dated(at) { self.leaves(self.time(at)) } else { Moment::MAX };
        found.min(own)
    }

    /// The list of these words with a use more, in the room that it takes.
    fn list_with(&self, words: &[u64], now: Moment, new: Entry) -> CellState {
        let mut list = match self.room(words, now, new.amount) {
            Some((room, wide)) => entries::list(self.alive(words, now), room, wide),
            None => entries::list_of_words(words),
        };
        self.put(&mut list.words, now, new);
        list
    }

    /// For how many uses the list should have room, and whether for wide ones, to add a cost: where
    /// it has no room, or much more than it needs. `None` where it is as it should be.
    fn room(&self, words: &[u64], now: Moment, cost: Units) -> Option<(usize, bool)> {
        let mut counts = EntryCounts { largest: cost.unsigned_abs(), ..EntryCounts::default() };
        let more = usize::from(cost != 0);
        if cost < 0 && self.rolling {
            counts.below = more;
        } else {
            counts.above = more;
        }
        for entry in self.alive(words, now) {
            let of_sign = if entry.amount < 0 { &mut counts.below } else { &mut counts.above };
            *of_sign = of_sign.saturating_add(1);
            counts.largest = counts.largest.max(entry.amount.unsigned_abs());
        }
        let [above, below] = [counts.above, counts.below].map(|count| count.min(MOST + 1));
        let needed = above.saturating_add(below);
        let wide = counts.largest >= LARGEST_NARROW;
        let room = ROOMS.into_iter().find(|room| *room >= needed).unwrap_or(needed);
        let entries = Entries::of(words);
        // Room is given back where a quarter would do.
        let suits = (needed..room.saturating_mul(4)).contains(&entries.room());
        let suits = suits && (entries.is_wide() || !wide);
        (!suits).then_some((room, wide))
    }

    /// Adds a use to a list that has room for it.
    fn put(&self, words: &mut [u64], now: Moment, new: Entry) {
        let mut entries = EntriesMut::of(words);
        let gone = entries.iter().take_while(|entry| !self.counts(entry.time, now)).count();
        entries.remove(0, gone);
        let Entry { time, amount } = new;
        if amount == 0 || !self.counts(time, now) {
            return;
        }
        if amount < 0 && !self.rolling {
            return self.refund(&mut entries, time, amount.saturating_neg());
        }
        let later = entries.iter().rev().take_while(|entry| entry.time > time).count();
        let place = entries.len().saturating_sub(later);
        let before = place.checked_sub(1);
        if let Some((before, same)) = before.and_then(|at| Some((at, entries.get(at)?)))
            && same.time == time
        {
            let sum = same.amount.saturating_add(amount);
            if sum == 0 {
                // Nothing is used then, as if neither had been.
                return entries.remove(before, place);
            }
            entries.set(before, Entry { amount: sum, ..same });
            return self.merge(&mut entries, amount < 0, now);
        }
        entries.insert(place, new);
        self.merge(&mut entries, amount < 0, now);
    }

    /// Merges two uses of a sign where there are more than may be.
    fn merge(&self, entries: &mut EntriesMut<'_>, below: bool, now: Moment) {
        let same = |entry: &Entry| (entry.amount < 0) == below;
        if entries.len() <= MOST || entries.iter().filter(same).count() <= MOST {
            return;
        }
        // Those of the sign, each with its place.
        let of_sign = entries.iter().enumerate().filter(|(_, entry)| same(entry));
        let pairs = of_sign.clone().zip(of_sign.skip(1));
        let mut nearest: [Option<(u64, usize, usize)>; 2] = [None, None];
        let [in_cell, ahead] = &mut nearest;
        for ((earlier, first), (later, second)) in pairs {
            let apart = second.time.0.saturating_sub(first.time.0);
            let is_nearer =
                |found: &Option<(u64, usize, usize)>| found.is_none_or(|(least, ..)| apart < least);
            if is_nearer(in_cell) && self.slot_of(first.time) == self.slot_of(second.time) {
                *in_cell = Some((apart, earlier, later));
            }
            if is_nearer(ahead) && first.time > now {
                *ahead = Some((apart, earlier, later));
            }
        }
        // Only what is dated ahead is in more cells than a window touches.
        let [in_cell, ahead] = nearest;
        let Some((_, earlier, later)) = in_cell.or(ahead) else { return };
        let (Some(first), Some(second)) = (entries.get(earlier), entries.get(later)) else {
            return;
        };
        let amount = first.amount.saturating_add(second.amount);
        if below {
            entries.set(earlier, Entry { amount, ..first });
            entries.remove(later, later.saturating_add(1));
        } else {
            entries.set(later, Entry { amount, ..second });
            entries.remove(earlier, earlier.saturating_add(1));
        }
    }

    /// The list that says what a ring of format 1 said: the newest slot, and what is used of 61
    /// slots, each at its place. Uses counted as if they were of their slot's last nanosecond.
    fn of_ring(&self, words: &[u64]) -> CellState {
        let Some((newest, ring)) = words.split_first() else {
            return CellState::empty(Layout::List);
        };
        let slots = ring.len() as u64;
        let oldest = newest.saturating_sub(slots.saturating_sub(1));
        Self::of_uses((oldest..=*newest).map(|slot| {
            let place = usize::try_from(slot.checked_rem(slots).unwrap_or(0)).unwrap_or(0);
            let amount = ring.get(place).copied().unwrap_or(0);
            Entry { time: self.end_of_slot(slot), amount: amount.into() }
        }))
    }

    /// The last nanosecond of a cell of the grid.
    fn end_of_slot(&self, slot: u64) -> Moment {
        Moment(slot.saturating_add(1).saturating_mul(self.slot).saturating_sub(1))
    }

    /// Its length in seconds, rounded up.
    pub(in crate::counters) fn seconds(&self) -> u64 {
        self.length.div_ceil(NANOS_PER_SECOND)
    }

    /// The first moment that counts at `now`, and the length of a cell of the grid.
    pub(in crate::counters) fn reach(&self, now: Moment) -> (Moment, u64) {
        (Moment(now.0.saturating_sub(self.length).saturating_add(1)), self.slot)
    }

    /// A list of what is recorded, the oldest first.
    pub(in crate::counters) fn recorded(&self, now: Moment, uses: &[(Moment, Units)]) -> CellState {
        uses.iter().fold(CellState::empty(Layout::List), |list, &(time, amount)| {
            self.list_with(&list.words, now, Entry { time, amount })
        })
    }

    /// A list of uses of different instants, the oldest first; as many as may be.
    fn of_uses(uses: impl Iterator<Item = Entry> + Clone) -> CellState {
        let uses = uses.filter(|entry| entry.amount != 0).take(MOST);
        let largest = uses.clone().map(|entry| entry.amount.unsigned_abs()).max();
        let count = uses.clone().count();
        let room = ROOMS.into_iter().find(|room| *room >= count).unwrap_or(count);
        entries::list(uses, room, largest >= Some(LARGEST_NARROW))
    }
}

impl Algorithm for SlidingWindow {
    type State = SlidingUse;

    const LAYOUT: Layout = Layout::List;

    // Out of line, as `charge` and `store` are: most counters have one number, and decide without.
    #[inline(never)]
    fn read(&self, cell: Cell<'_>, at: &At) -> SlidingUse {
        let mut read = self.fresh(&|| Calendar::UTC, at);
        for Entry { time, amount } in self.alive(cell.words, at.now) {
            read.used = read.used.saturating_add(amount);
            read.oldest_leaves = read.oldest_leaves.min(self.leaves(time));
        }
        read
    }

    fn fresh(&self, _calendar: KeyCalendar<'_>, at: &At) -> SlidingUse {
        SlidingUse { used: 0, oldest_leaves: Moment::MAX, passes_at: at.now }
    }

    fn fits(&self, read: &SlidingUse, cost: Cost, at: &At) -> bool {
        self.fits_at(read.used, cost.units, at, at.now)
    }

    /// When it fits.
    #[cold]
    fn refused(&self, read: &mut SlidingUse, words: &[u64], cost: Cost, at: &At) {
        let steps = self.steps(words, read.used, at.now);
        read.passes_at = self.first_fit(steps, cost.units, at, at.now);
    }

    #[inline(never)]
    fn charge(&self, read: &mut SlidingUse, cost: Cost, at: &At) {
        let time = self.time_of(cost, at);
        read.passes_at = time;
        if cost.units == 0 || !self.counts(time, at.now) {
            return;
        }
        read.used = read.used.saturating_add(cost.units);
        if self.rolling || cost.units > 0 {
            read.oldest_leaves = read.oldest_leaves.min(self.leaves(time));
        } else if read.used <= 0 {
            (read.used, read.oldest_leaves) = (0, Moment::MAX);
        }
    }

    /// Adds the cost at its time; uses that have left make room first.
    #[inline(never)]
    fn store(&self, _: &SlidingUse, words: &mut [u64], cost: Cost, at: &At) -> Option<u32> {
        if words.is_empty() {
            return Some(0);
        }
        if self.room(words, at.now, cost.units).is_some() {
            return None;
        }
        self.put(words, at.now, Entry { time: self.time_of(cost, at), amount: cost.units });
        Some(0)
    }

    fn grown(&self, _: &SlidingUse, words: &[u64], cost: Cost, at: &At) -> CellState {
        self.list_with(words, at.now, Entry { time: self.time_of(cost, at), amount: cost.units })
    }

    fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool {
        self.alive(cell.words, at.now).all(|entry| entry.amount == 0)
    }

    fn limit(&self) -> Units {
        self.limit
    }

    fn used(&self, read: &SlidingUse, _at: &At) -> Units {
        read.used
    }

    fn reset(&self, read: &SlidingUse, _at: &At, timeline: Timeline) -> Option<i64> {
        let leaves = read.oldest_leaves;
        (leaves < Moment::MAX).then(|| timeline.second_rounded_up(leaves))
    }

    fn passes_at(&self, read: &SlidingUse, refusal: &Refusal<'_>) -> Option<Moment> {
        let (Refusal { at, from, .. }, cost) = (*refusal, refusal.cost.units);
        let steps = &refusal.ahead.steps;
        let now = steps.iter().take_while(|step| step.from <= from).last();
        let used = now.map_or(read.used, |step| step.used);
        let passes = if steps.is_empty() {
            read.passes_at.max(from)
        } else if self.fits_at(used, cost, at, from) {
            from
        } else {
            self.first_fit(steps.iter().copied(), cost, at, from)
        };
        (passes < Moment::MAX).then_some(passes)
    }

    /// The steps of a use that does not only fall: what is below zero leaves, too.
    fn ahead<'c>(&self, mut cells: impl Iterator<Item = Cell<'c>>, at: &At) -> UseAhead {
        let falls = |words| self.alive(words, at.now).all(|entry| entry.amount >= 0);
        let cell = cells.next().filter(|cell| !falls(cell.words));
        let steps = cell.map(|cell| self.steps(cell.words, self.read(cell, at).used, at.now));
        UseAhead { steps: steps.into_iter().flatten().collect(), ..UseAhead::default() }
    }

    fn taken_at(&self, at: &At) -> Moment {
        self.time(at)
    }

    /// Of a reading the use falls; who writes goes by [`given_back`](Self::given_back).
    fn give_back(&self, read: &mut SlidingUse, back: &GivenBack, at: &At) {
        if self.counts(back.taken, at.now) {
            read.used = read.used.saturating_sub(back.units);
        }
    }

    /// The entry shrinks that the use is in.
    fn given_back(&self, cell: Cell<'_>, back: &GivenBack, at: &At) -> CellState {
        let list = Entries::of(cell.words);
        let mut entries: SmallVec<[Entry; 8]> = list.iter().collect();
        self.take_back(&mut entries, back.taken, back.units, at.now);
        entries::list(entries.into_iter(), list.room(), list.is_wide())
    }

    fn has_use_of(&self, taken: Moment, now: Moment) -> bool {
        self.counts(taken, now)
    }

    /// A quota counts at the event's own time, and says itself what has left.
    fn left_of(&self, units: Units, taken: Moment, now: Moment) -> Units {
        if self.rolling || self.counts(taken, now) { units } else { 0 }
    }

    fn left_in(&self, words: &[u64], units: Units, taken: Moment, is_exact: bool) -> Units {
        if self.rolling {
            return units;
        }
        let uses = self.places_of(Entries::of(words).iter(), taken);
        let uses = uses.filter(|(_, entry)| !is_exact || entry.time == taken);
        uses.fold(0, |sum: Units, (_, entry)| sum.saturating_add(entry.amount)).min(units)
    }

    fn takes_at(&self, at: &At, taken: Moment) -> At {
        if self.rolling {
            return *at;
        }
        At { event: taken, explicit: true, recorded: true, corrects: true, ..*at }
    }

    /// When the cost of the decision counts stays as it was.
    fn given_back_since(before: &SlidingUse, read: SlidingUse) -> SlidingUse {
        SlidingUse { passes_at: before.passes_at, ..read }
    }

    fn steps_with(&self, words: &[u64], expiring: &[Expiring], at: &At) -> Box<[Step]> {
        let mut entries: SmallVec<[Entry; 8]> = self.alive(words, at.now).collect();
        let used = entries.iter().fold(0, |used: Units, it| used.saturating_add(it.amount));
        let mut leaving: Vec<(Moment, Units)> = Vec::new();
        for Expiring { at: expires, units, taken, .. } in expiring {
            let given = self.take_back(&mut entries, *taken, *units, *expires);
            leaving.push((*expires, given));
        }
        leaving.extend(entries.iter().map(|entry| (self.leaves(entry.time), entry.amount)));
        leaving.sort_by_key(|(from, _)| *from);
        let steps = leaving.into_iter().scan(used, |used, (from, amount)| {
            *used = used.saturating_sub(amount);
            Some(Step { from, used: *used })
        });
        steps.collect()
    }

    #[inline]
    fn rolling(&self) -> Option<&SlidingWindow> {
        self.rolling.then_some(self)
    }

    fn counts_like(&self, other: &Self) -> bool {
        (self.length, self.rolling) == (other.length, other.rolling)
    }

    fn adopt(&self, carried: CarriedUse, _calendar: KeyCalendar<'_>, at: &At) -> CellState {
        Self::of_uses(std::iter::once(Entry { time: at.now, amount: carried.rounded_up() }))
    }

    fn pack(read: &SlidingUse) -> StateWords {
        let (high, low) = split(read.used.cast_unsigned());
        StateWords { words: [low, high, read.oldest_leaves.0, read.passes_at.0], extra: 0 }
    }

    fn unpack(StateWords { words, .. }: &StateWords) -> SlidingUse {
        let [low, high, oldest_leaves, passes_at] = *words;
        SlidingUse {
            used: join(high, low).cast_signed(),
            oldest_leaves: Moment(oldest_leaves),
            passes_at: Moment(passes_at),
        }
    }

    fn encode(read: &SlidingUse, at: &At, out: &mut stored::ChargeBytes) {
        out.wide(read.used);
        stored::put_moment(read.oldest_leaves, at.now, out);
        stored::put_moment(read.passes_at, at.now, out);
    }

    fn decode(from: &mut Reader<'_>, at: &At) -> Result<SlidingUse, Malformed> {
        let (used, oldest_leaves) = (stored::units(from)?, stored::moment(from, at.now)?);
        Ok(SlidingUse { used, oldest_leaves, passes_at: stored::moment(from, at.now)? })
    }

    /// The state says when the cost counted.
    fn charged_at(read: &SlidingUse, written: bool, at: At) -> At {
        if written && read.passes_at == at.now {
            At { event: at.now, explicit: false, ..at }
        } else if written {
            At { event: read.passes_at, explicit: true, recorded: true, corrects: true, ..at }
        } else {
            At { recorded: false, ..at }
        }
    }

    fn redone(
        &self,
        read: &SlidingUse,
        held: &[u64],
        charge: &StoredCharge,
        now: Moment,
    ) -> CellState {
        let counted = read.passes_at;
        let time = if charge.in_slots { self.end_of_slot(self.slot_of(counted)) } else { counted };
        self.list_with(held, now, Entry { time, amount: charge.cost.units })
    }

    /// A use of so long ago counts no more, however it was dated.
    fn forgets(&self, age: Duration) -> bool {
        let longest = Duration::from_nanos(self.length.saturating_add(self.slot));
        let ahead = if self.rolling { MAX_AHEAD_SECONDS.unsigned_abs() } else { 0 };
        age >= longest.saturating_add(Duration::from_secs(ahead))
    }

    fn of_format_1(&self, cell: CellState) -> CellState {
        self.of_ring(&cell.words)
    }
}
