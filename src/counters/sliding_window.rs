//! The sliding window: never more than the limit in any span of its length.
//!
//! It keeps uses with their own times, so that each leaves when it is a whole length old. There
//! are at most 62 of them, and as many again of amounts below zero, which only quotas have. One
//! more makes room by a merger: of two in the same cell of a fixed grid, whose cells are a
//! sixtieth of the length, one use is made. A window touches at most 61 cells, so that of 62 uses
//! two are in one cell, and what is made of them is in that cell too: however many mergers come,
//! a use is never late by a whole cell. Amounts above zero merge at the later of their times,
//! those below at the earlier, so that what is used is never said too low.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump, Wide};
use super::entries::{self, Entries, EntriesMut, Entry};
use super::policy::Reading;
use super::saved::StoredCharge;
use super::time::{At, Moment};
use crate::base::clock::NANOS_PER_SECOND;
use crate::rules::Units;

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
    pub(super) limit: Units,
    length: u64,
    /// The length of a cell.
    slot: u64,
    /// It is a quota's: events count at their own times, and amounts below zero as what they are.
    #[serde(default)]
    rolling: bool,
}

/// What a sliding window said at the moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingUse {
    pub(super) used: Wide,
    /// When the oldest use leaves; [`Moment::MAX`] without use.
    pub(super) oldest_leaves: Moment,
    /// When the cost of the decision fits; [`Moment::MAX`] for never. Of a cost that was counted,
    /// when it counts.
    pub(super) passes_at: Moment,
}

/// What is used of a window from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    from: Moment,
    used: Units,
}

/// What a list holds that still counts.
#[derive(Default)]
struct Census {
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

    /// A list without uses.
    pub(super) fn fresh() -> Image {
        entries::image(std::iter::empty(), 0, false)
    }

    /// Whether the event counts at its own time: always of a quota, of a rate limit where it is
    /// recorded and not asked for.
    pub(super) fn is_dated(&self, at: At) -> bool {
        at.explicit && (self.rolling || at.recorded)
    }

    /// The time at which the event counts.
    fn time(&self, at: At) -> Moment {
        match (self.is_dated(at), self.rolling) {
            (false, _) => at.now,
            (true, true) => at.event,
            (true, false) => at.event.min(at.now),
        }
    }

    /// The first moment at which a use does not count any more.
    fn leaves(&self, time: Moment) -> Moment {
        Moment(time.0.saturating_add(self.length))
    }

    fn counts(&self, time: Moment, now: Moment) -> bool {
        self.leaves(time) > now
    }

    fn cell_of(&self, time: Moment) -> u64 {
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

    pub(super) fn read(&self, cell: Option<Cell<'_>>, at: At) -> SlidingUse {
        let (mut used, mut oldest_leaves): (Units, _) = (0, Moment::MAX);
        for Entry { time, amount } in self.alive(words(cell), at.now) {
            used = used.saturating_add(amount);
            oldest_leaves = oldest_leaves.min(self.leaves(time));
        }
        SlidingUse { used: used.into(), oldest_leaves, passes_at: at.now }
    }

    /// Whether nothing that counts makes a difference.
    pub(super) fn is_idle(&self, cell: Cell<'_>, at: At) -> bool {
        self.alive(cell.words, at.now).all(|entry| entry.amount == 0)
    }

    /// Whether a cost fits at `now`. An event that adds nothing does.
    fn fits(&self, used: Units, cost: Units, at: At, now: Moment) -> bool {
        cost <= 0
            || used.saturating_add(cost) <= self.limit
            || (self.is_dated(at) && !self.counts(self.time(at), now))
    }

    /// Returns the window, with the moment at which the cost fits, and whether it fits now.
    pub(super) fn judge(&self, cell: Option<Cell<'_>>, at: At, cost: Units) -> (SlidingUse, bool) {
        let mut read = self.read(cell, at);
        let fits = self.fits(read.used.get(), cost, at, at.now);
        if !fits {
            let steps = self.steps(words(cell), read.used.get(), at.now);
            read.passes_at = self.first_fit(steps, cost, at, at.now);
        }
        (read, fits)
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
        at: At,
        now: Moment,
    ) -> Moment {
        let fits = |step: &Step| step.from > now && self.fits(step.used, cost, at, step.from);
        let found = steps.find(fits).map_or(Moment::MAX, |step| step.from);
        // The event itself is older than the window from then on.
        let own = if self.is_dated(at) { self.leaves(self.time(at)) } else { Moment::MAX };
        found.min(own)
    }

    /// How the use goes on where it does not only fall: what is below zero leaves, too.
    pub(super) fn ahead(&self, cell: Option<Cell<'_>>, at: At) -> Box<[Step]> {
        let words = words(cell);
        if self.alive(words, at.now).all(|entry| entry.amount >= 0) {
            return Box::default();
        }
        self.steps(words, self.read(cell, at).used.get(), at.now).collect()
    }

    /// The first moment from `from` on at which the cost fits, going by what a decision read.
    pub(super) fn passes_at(
        &self,
        read: SlidingUse,
        ahead: &[Step],
        cost: Units,
        at: At,
        from: Moment,
    ) -> Option<Moment> {
        let now = ahead.iter().take_while(|step| step.from <= from).last();
        let used = now.map_or(read.used.get(), |step| step.used);
        let passes = if ahead.is_empty() {
            read.passes_at.max(from)
        } else if self.fits(used, cost, at, from) {
            from
        } else {
            self.first_fit(ahead.iter().copied(), cost, at, from)
        };
        (passes < Moment::MAX).then_some(passes)
    }

    /// The window after a cost was added.
    pub(super) fn after(&self, read: SlidingUse, at: At, cost: Units) -> SlidingUse {
        let time = self.time(at);
        let mut after = SlidingUse { passes_at: time, ..read };
        if cost == 0 || !self.counts(time, at.now) {
            return after;
        }
        let used = read.used.get().saturating_add(cost);
        after.used = used.into();
        if self.rolling || cost > 0 {
            after.oldest_leaves = read.oldest_leaves.min(self.leaves(time));
        } else if used <= 0 {
            (after.used, after.oldest_leaves) = (Wide::ZERO, Moment::MAX);
        }
        after
    }

    /// Adds a cost at its time; uses that have left make room first. Returns `false`, with nothing
    /// changed, where the list has no room, or much more than it needs.
    pub(super) fn add(&self, words: &mut [u64], at: At, cost: Units) -> bool {
        self.add_at(words, at.now, Entry { time: self.time(at), amount: cost })
    }

    /// The same of a use of some time.
    pub(super) fn add_at(&self, words: &mut [u64], now: Moment, new: Entry) -> bool {
        let fits = self.room(words, now, new.amount).is_none();
        if fits {
            self.put(words, now, new);
        }
        fits
    }

    /// The list of these words after a cost, in the room that it takes.
    pub(super) fn after_words(&self, words: &[u64], at: At, cost: Units) -> Image {
        self.list_with(words, at.now, Entry { time: self.time(at), amount: cost })
    }

    /// The same with a use of some time.
    pub(super) fn list_with(&self, words: &[u64], now: Moment, new: Entry) -> Image {
        let mut image = match self.room(words, now, new.amount) {
            Some((room, wide)) => entries::image(self.alive(words, now), room, wide),
            None => entries::as_image(words),
        };
        self.put(&mut image.words, now, new);
        image
    }

    /// For how many uses the list should have room, and whether for wide ones, to add a cost;
    /// `None` where it is as it should be.
    fn room(&self, words: &[u64], now: Moment, cost: Units) -> Option<(usize, bool)> {
        let mut census = Census { largest: cost.unsigned_abs(), ..Census::default() };
        let more = usize::from(cost != 0);
        if cost < 0 && self.rolling {
            census.below = more;
        } else {
            census.above = more;
        }
        for entry in self.alive(words, now) {
            let of_sign = if entry.amount < 0 { &mut census.below } else { &mut census.above };
            *of_sign = of_sign.saturating_add(1);
            census.largest = census.largest.max(entry.amount.unsigned_abs());
        }
        let [above, below] = [census.above, census.below].map(|count| count.min(MOST + 1));
        let needed = above.saturating_add(below);
        let wide = census.largest >= LARGEST_NARROW;
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
            return give_back(&mut entries, amount.saturating_neg());
        }
        let later = entries.iter().rev().take_while(|entry| entry.time > time).count();
        let place = entries.len().saturating_sub(later);
        let before = place.checked_sub(1);
        if let Some((before, same)) = before.and_then(|at| Some((at, entries.get(at)?)))
            && same.time == time
        {
            let amount = same.amount.saturating_add(amount);
            entries.set(before, Entry { amount, ..same });
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
            if is_nearer(in_cell) && self.cell_of(first.time) == self.cell_of(second.time) {
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

    /// Whether a use of so long ago counts no more, however it was dated.
    pub(super) fn is_within(&self, time: Duration) -> bool {
        let longest = Duration::from_nanos(self.length.saturating_add(self.slot));
        let ahead = super::counter::MAX_AHEAD_SECONDS.unsigned_abs();
        let ahead = Duration::from_secs(if self.rolling { ahead } else { 0 });
        time >= longest.saturating_add(ahead)
    }

    pub(super) fn remaining(&self, read: SlidingUse) -> Units {
        self.limit.saturating_sub(read.used.get()).clamp(0, self.limit.max(0))
    }

    /// The state means the same for both; only the limits may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        (self.length, self.rolling) == (other.length, other.rolling)
    }

    pub(super) fn adopt(lump: Lump, at: At) -> Image {
        Self::of_uses(Some(Entry { time: at.now, amount: lump.rounded_up() }).into_iter())
    }

    /// The list that says what a ring of format 1 said: the newest slot, and what is used of 61
    /// slots, each at its place. Uses counted as if they were of their slot's last nanosecond.
    pub(super) fn of_ring(&self, words: &[u64]) -> Image {
        let Some((newest, ring)) = words.split_first() else { return Self::fresh() };
        let slots = ring.len() as u64;
        let oldest = newest.saturating_sub(slots.saturating_sub(1));
        Self::of_uses((oldest..=*newest).map(|slot| {
            let place = usize::try_from(slot.checked_rem(slots).unwrap_or(0)).unwrap_or(0);
            let amount = ring.get(place).copied().unwrap_or(0);
            Entry { time: self.end_of(slot), amount: amount.into() }
        }))
    }

    /// The last nanosecond of a cell.
    fn end_of(&self, cell: u64) -> Moment {
        Moment(cell.saturating_add(1).saturating_mul(self.slot).saturating_sub(1))
    }

    /// What a decision of long ago added.
    pub(super) fn entry_of(&self, charge: &StoredCharge) -> Entry {
        let time = match charge.reading {
            Reading::SlidingWindow(read) => read.passes_at,
            _ => Moment::MAX,
        };
        let time = if charge.in_slots { self.end_of(self.cell_of(time)) } else { time };
        Entry { time, amount: charge.cost.units }
    }

    pub(super) fn is_rolling(&self) -> bool {
        self.rolling
    }

    /// Its length in seconds, rounded up.
    pub(super) fn seconds(&self) -> u64 {
        self.length.div_ceil(NANOS_PER_SECOND)
    }

    /// The first moment that counts at `now`, and the length of a cell.
    pub(super) fn reach(&self, now: Moment) -> (Moment, u64) {
        (Moment(now.0.saturating_sub(self.length).saturating_add(1)), self.slot)
    }

    /// A list of what is recorded, the oldest first.
    pub(super) fn recorded(&self, now: Moment, uses: &[(Moment, Units)]) -> Image {
        uses.iter().fold(Self::fresh(), |list, &(time, amount)| {
            self.list_with(&list.words, now, Entry { time, amount })
        })
    }

    /// A list of uses of different instants, the oldest first; as many as may be.
    pub(super) fn of_uses(uses: impl Iterator<Item = Entry> + Clone) -> Image {
        let uses = uses.filter(|entry| entry.amount != 0).take(MOST);
        let largest = uses.clone().map(|entry| entry.amount.unsigned_abs()).max();
        let count = uses.clone().count();
        let room = ROOMS.into_iter().find(|room| *room >= count).unwrap_or(count);
        entries::image(uses, room, largest >= Some(LARGEST_NARROW))
    }
}

fn words(cell: Option<Cell<'_>>) -> &[u64] {
    cell.map_or(&[], |cell| cell.words)
}

/// Takes back the newest uses, at most all.
fn give_back(entries: &mut EntriesMut<'_>, mut amount: Units) {
    while let Some(newest) = entries.len().checked_sub(1)
        && let Some(entry) = entries.get(newest)
    {
        let left = entry.amount.saturating_sub(amount);
        if left > 0 {
            return entries.set(newest, Entry { amount: left, ..entry });
        }
        amount = amount.saturating_sub(entry.amount);
        entries.remove(newest, newest.saturating_add(1));
    }
}
