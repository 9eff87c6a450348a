//! What a sliding window gives back: of a hold, of a refund, and of an event that is corrected.

use smallvec::SmallVec;

use super::SlidingWindow;
use crate::counters::algorithms::entries::{EntriesMut, Entry};
use crate::counters::time::Moment;
use crate::rules::Units;

impl SlidingWindow {
    /// Gives back what was taken at an instant, and of what is not there the newest uses: a refund
    /// is of now, and a correction asks for no more than there is.
    pub(super) fn refund(&self, entries: &mut EntriesMut<'_>, taken: Moment, units: Units) {
        let rest = self.give_back_of(entries, taken, units);
        give_back_newest(entries, rest);
    }

    /// The places of the uses that what was taken at an instant may be in: it has merged with no
    /// use but later ones of its cell of the grid.
    pub(super) fn places_of(
        &self,
        uses: impl Iterator<Item = Entry>,
        taken: Moment,
    ) -> impl Iterator<Item = (usize, Entry)> {
        let slot = self.slot_of(taken);
        let may_be_it =
            move |entry: &Entry| entry.time >= taken && self.slot_of(entry.time) == slot;
        uses.enumerate().filter(move |(_, entry)| may_be_it(entry))
    }

    /// Gives back what was taken at an instant, the earliest of the uses that it may be in first,
    /// and returns what is not there.
    fn give_back_of(&self, entries: &mut EntriesMut<'_>, taken: Moment, units: Units) -> Units {
        let mut rest = units;
        while rest > 0 {
            let found = self.places_of(entries.iter(), taken).next();
            let Some((place, entry)) = found else { break };
            let left = entry.amount.saturating_sub(rest);
            if left > 0 {
                entries.set(place, Entry { amount: left, ..entry });
                return 0;
            }
            rest = rest.saturating_sub(entry.amount);
            entries.remove(place, place.saturating_add(1));
        }
        rest
    }

    /// Gives back a use of so many units that still counts, and returns how many of them came back.
    /// Uses merge with later ones of their grid's cell. What of a rate limit's use is not there
    /// any more, because a refund took it back, comes of the oldest: none leaves too early then.
    pub(super) fn take_back(
        &self,
        entries: &mut SmallVec<[Entry; 8]>,
        taken: Moment,
        units: Units,
        now: Moment,
    ) -> Units {
        if !self.counts(taken, now) {
            return 0;
        }
        let is_in_cell = |time| self.rolling || self.slot_of(time) == self.slot_of(taken);
        let is_merged = |it: &Entry| it.amount > 0 && it.time > taken && is_in_cell(it.time);
        let place = entries.iter().position(|entry| entry.time == taken);
        let place = place.or_else(|| entries.iter().position(is_merged));
        let mut rest = units;
        if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
            let given = if self.rolling { rest } else { rest.min(entry.amount) };
            entry.amount = entry.amount.saturating_sub(given);
            rest = rest.saturating_sub(given);
        }
        if !self.rolling {
            let alive = entries.iter_mut().filter(|entry| self.counts(entry.time, now));
            for entry in alive {
                let given = rest.min(entry.amount);
                entry.amount = entry.amount.saturating_sub(given);
                rest = rest.saturating_sub(given);
            }
        }
        entries.retain(|entry| entry.amount != 0);
        units.saturating_sub(rest)
    }
}

/// Takes back the newest uses, at most all.
fn give_back_newest(entries: &mut EntriesMut<'_>, mut amount: Units) {
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
