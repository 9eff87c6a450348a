//! What holds do to a counter.
//!
//! A cell says what is committed and what is held together, so that whoever judges need not know of
//! holds. What of it is held stands beside (`table/shard/held.rs`). Giving back takes a cell to
//! where it would be without the hold, and never further:
//!
//! - A bucket is no fuller than committed use alone would have left it, less the holds that are
//!   still open, and never emptier than it was. For that it has a second state, which sees all
//!   takes but the holds, and each commit at its own instant. While all is below the capacity both
//!   states refill alike, and a hold comes back whole; what the bucket has refilled meanwhile
//!   because of the hold comes back no second time.
//! - A window gives back only in the window of the take, or while the use is in it.
//! - A period's count, and slots, give back what was held.

use std::borrow::Cow;

use super::periods::{Bounds, UseAhead};
use super::policy::with_policy;
use super::sliding_window::Step;
use super::{Algorithm, FirstUse, KeyCalendar, Policy, Reading, Refusal};
use crate::counters::cell::{Cell, CellState, Layout, StateWords};
use crate::counters::time::{At, Moment};
use crate::rules::{Cost, Units};

/// What a hold gives back to one counter.
#[derive(Clone, Copy, Debug)]
pub(in crate::counters) struct GivenBack {
    pub(in crate::counters) units: Units,
    /// When it was taken: see [`Algorithm::taken_at`].
    pub(in crate::counters) taken: Moment,
    /// What the other holds still have.
    pub(in crate::counters) left: Units,
    /// The second state, where there is one.
    pub(in crate::counters) committed: Option<StateWords>,
}

/// What is noted of a hold that was taken of a counter.
#[derive(Debug)]
pub(in crate::counters) struct HoldFacts {
    /// What the counter says without holds, where it takes a second state to tell.
    pub(in crate::counters) committed: Option<Reading>,
    /// When it counts.
    pub(in crate::counters) since: Moment,
    /// The first second of the period; 0 of what has none.
    pub(in crate::counters) period: i64,
}

/// What a commit does to a counter of which a part is held: the cost beyond the part is charged,
/// and what is not used of it given back.
#[derive(Debug)]
pub(in crate::counters) struct Settlement<'p> {
    /// Of the hold: the first second, or 0 of what has none.
    pub(in crate::counters) period: i64,
    /// The second state, where there is one.
    pub(in crate::counters) committed: Option<&'p Reading>,
    pub(in crate::counters) beyond: Cost,
    pub(in crate::counters) used: Cost,
    pub(in crate::counters) back: Units,
    /// Those of the part, the oldest first.
    pub(in crate::counters) takes: &'p [Take],
    /// What the other holds have.
    pub(in crate::counters) left: Units,
}

impl Settlement<'_> {
    /// What it gives back take by take, the newest first.
    pub(in crate::counters) fn takes_back(&self) -> impl Iterator<Item = Take> {
        let mut rest = self.back;
        self.takes.iter().rev().map_while(move |take| {
            let units = take.units.min(rest);
            rest = rest.saturating_sub(units);
            (units > 0).then_some(Take { units, ..*take })
        })
    }
}

/// Units that count from one instant on.
#[derive(Clone, Copy, Debug)]
pub(in crate::counters) struct Take {
    pub(in crate::counters) taken: Moment,
    pub(in crate::counters) units: Units,
}

/// A hold that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct Expiring {
    pub(in crate::counters) at: Moment,
    pub(in crate::counters) units: Units,
    pub(in crate::counters) taken: Moment,
    /// Of which later period it is held, where it is not the event's.
    pub(in crate::counters) later: Option<Bounds>,
}

/// What is held of a counter, and what of it expires that a refused event may wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeldAhead {
    pub(in crate::counters) held: Units,
    pub(in crate::counters) committed: Option<StateWords>,
    /// In the order in which they expire, as many as make room, or all where some are of later
    /// periods; none of a list, whose steps have them.
    pub(in crate::counters) expiring: Vec<Expiring>,
}

impl HeldAhead {
    /// The first moment at which a cost fits that can be refused, where holds expire meanwhile: the
    /// algorithm tells it between two of them. What has expired is told to `used`.
    pub(super) fn passes_at<A: Algorithm>(
        &self,
        algorithm: &A,
        mut state: A::State,
        refusal: &Refusal<'_>,
        mut expiring: impl Iterator<Item = Expiring>,
        mut used: impl FnMut(Expiring),
    ) -> Option<Moment> {
        let (mut from, mut left) = (refusal.from, self.held);
        let mut ahead = Cow::Borrowed(refusal.ahead);
        let mut next = expiring.next();
        loop {
            let refusal = Refusal { from, ahead: &ahead, ..*refusal };
            let passes = algorithm.passes_at(&state, &refusal);
            let Some(expiry) = next else { return passes };
            if let Some(moment) = passes.filter(|moment| *moment < expiry.at) {
                return Some(moment);
            }
            used(expiry);
            let Expiring { at: now, units, taken, later } = expiry;
            let at = At { now, ..*refusal.at };
            if let Some(period) = later {
                ahead.to_mut().add(period, units.saturating_neg());
            } else {
                left = left.saturating_sub(units);
                let back = GivenBack { units, taken, left, committed: self.committed };
                algorithm.give_back(&mut state, &back, &at);
            }
            from = from.max(expiry.at);
            next = expiring.next();
        }
    }
}

fn is_narrow<A: Algorithm>() -> bool {
    matches!(A::LAYOUT, Layout::Pair | Layout::Count)
}

impl UseAhead {
    /// How much of what is used is held.
    pub(crate) fn held(&self) -> Units {
        self.holds.as_deref().map_or(0, |holds| holds.held)
    }
}

impl Policy {
    /// The first moment at which the event fits, going by the reading before it was refused;
    /// `None` for never.
    pub(crate) fn passes_at(&self, before: &Reading, refusal: &Refusal<'_>) -> Option<Moment> {
        if !self.can_refuse(refusal.cost) {
            return Some(refusal.from);
        }
        if before.is_none() {
            return None;
        }
        with_policy!(self, A(algorithm) => {
            let state = before.state::<A>();
            match refusal.ahead.holds.as_deref() {
                Some(holds) => {
                    let expiring = holds.expiring.iter().copied();
                    holds.passes_at(algorithm, state, refusal, expiring, |_| {})
                }
                None => algorithm.passes_at(&state, refusal),
            }
        })
    }

    /// Keeps of the holds that expire as many as a refused event may wait for: beyond them what
    /// fits stays so. A list has its steps instead.
    pub(in crate::counters) fn wait_for_holds(
        &self,
        before: &Reading,
        words: &[u64],
        refusal: &Refusal<'_>,
        holds: &mut HeldAhead,
        expiring: impl Iterator<Item = Expiring>,
    ) -> Box<[Step]> {
        if before.is_none() || !self.can_refuse(refusal.cost) {
            return Box::default();
        }
        if self.keeps_list() {
            let all: Vec<Expiring> = expiring.collect();
            return with_policy!(self, A(algorithm) => {
                algorithm.steps_with(words, &all, refusal.at)
            });
        }
        let mut used = Vec::new();
        with_policy!(self, A(algorithm) => {
            let keep = |expiry| used.push(expiry);
            holds.passes_at(algorithm, before.state::<A>(), refusal, expiring, keep)
        });
        holds.expiring = used;
        Box::default()
    }

    /// Whether a cost can be held.
    pub(in crate::counters) fn holds(&self) -> bool {
        with_policy!(self, A(_) => A::HOLDS)
    }

    /// The algorithm, where periods begin with the first use.
    pub(in crate::counters) fn first_use(&self) -> Option<&FirstUse> {
        match self {
            Self::FirstUse(first) => Some(first),
            _ => None,
        }
    }

    pub(in crate::counters) fn begins_with_use(&self) -> bool {
        self.first_use().is_some()
    }

    /// Whether the event counts in what was read at all, so that it can be held.
    pub(in crate::counters) fn counts_in(&self, reading: &Reading, at: &At) -> bool {
        with_policy!(self, A(algorithm) => !algorithm.leaves_out(&reading.state::<A>(), at))
    }

    /// Whether what was taken then is among what the counter uses now. All that is held counts as
    /// held in a rate limit, in which it was taken at its instant.
    pub(in crate::counters) fn holds_count(&self, taken: Moment, at: &At) -> bool {
        self.rolling().is_none_or(|window| window.counts(taken, at.now))
    }

    /// Whether a window has a use of this instant still, by now.
    pub(in crate::counters) fn has_use_of(&self, taken: Moment, now: Moment) -> bool {
        with_policy!(self, A(algorithm) => algorithm.has_use_of(taken, now))
    }

    /// How much of so many units, above or below none, that were taken then still counts.
    pub(in crate::counters) fn left_of(&self, units: Units, taken: Moment, now: Moment) -> Units {
        with_policy!(self, A(algorithm) => match units {
            0.. => algorithm.raise_of(units, taken, now),
            _ => algorithm.left_of(units.saturating_neg(), taken, now).saturating_neg(),
        })
    }

    /// How much of so many units more, of what was taken then, counts beside what was read.
    pub(in crate::counters) fn raise_in(
        &self,
        reading: &Reading,
        units: Units,
        taken: Moment,
        at: &At,
    ) -> Units {
        with_policy!(self, A(algorithm) => {
            algorithm.raise_in(&reading.state::<A>(), units, taken, at)
        })
    }

    /// How much of so many units below none, which were taken then, a cell of these words has.
    pub(in crate::counters) fn left_in(
        &self,
        words: &[u64],
        units: Units,
        taken: Moment,
        is_exact: bool,
    ) -> Units {
        let most = units.saturating_neg();
        let left =
            with_policy!(self, A(algorithm) => algorithm.left_in(words, most, taken, is_exact));
        left.saturating_neg()
    }

    /// The time of a decision for what was taken at another instant.
    pub(in crate::counters) fn takes_at(&self, at: &At, taken: Moment) -> At {
        with_policy!(self, A(algorithm) => algorithm.takes_at(at, taken))
    }

    /// When what is taken now counts, as giving back is told it.
    pub(in crate::counters) fn taken_at(&self, at: &At) -> Moment {
        with_policy!(self, A(algorithm) => algorithm.taken_at(at))
    }

    /// What a counter says without its holds, that has none so far: where giving back depends on
    /// it.
    pub(in crate::counters) fn committed(&self, reading: &Reading) -> Option<Reading> {
        with_policy!(self, A(_) => {
            A::committed(&reading.state::<A>()).map(|state| Reading::of::<A>(&state))
        })
    }

    /// What a counter says once something was given back to it, by what was read of it before.
    pub(in crate::counters) fn read_after(
        &self,
        before: &Reading,
        cell: Option<Cell<'_>>,
        calendar: KeyCalendar<'_>,
        at: &At,
    ) -> Reading {
        let read = self.read(cell, calendar, at);
        if before.is_none() || read.is_none() {
            return read;
        }
        with_policy!(self, A(_) => {
            Reading::of::<A>(&A::given_back_since(&before.state::<A>(), read.state::<A>()))
        })
    }

    /// Judges a cost that is to be held by a cell of two words, and moves the reading on where it
    /// fits. Returns whether it does, and what is noted of the hold. `None` where the cell is not
    /// one that holds the event, or has no room, and of what holds nothing.
    #[inline]
    pub(in crate::counters) fn hold_narrow(
        &self,
        cell: &Cell<'_>,
        at: &At,
        cost: Cost,
        reading: &mut Reading,
    ) -> Option<(bool, HoldFacts)> {
        with_policy!(self, A(algorithm) => {
            if !A::HOLDS || !is_narrow::<A>() || !algorithm.holds(*cell, at) {
                return None;
            }
            let before = algorithm.read(*cell, at);
            if algorithm.leaves_out(&before, at) {
                return None;
            }
            let mut state = before;
            let fits = !cost.counts || algorithm.charge_if_fits(&mut state, cost, at);
            *reading = Reading::of::<A>(&state);
            let has_room =
                A::LAYOUT == Layout::Pair || A::pack(&state).fit(A::LAYOUT, cell.words);
            let facts = HoldFacts {
                committed: A::committed(&before).map(|it| Reading::of::<A>(&it)),
                since: algorithm.taken_at(at),
                period: A::period(&state).map_or(0, |period| period.start),
            };
            has_room.then_some((fits, facts))
        })
    }

    /// Whether a cell holds the event.
    pub(in crate::counters) fn is_of_event(&self, cell: &Cell<'_>, at: &At) -> bool {
        with_policy!(self, A(algorithm) => algorithm.holds(*cell, at))
    }

    /// What a cell of two words says, where it is one that holds the event and of what can be held.
    pub(in crate::counters) fn read_narrow(&self, cell: &Cell<'_>, at: &At) -> Option<Reading> {
        with_policy!(self, A(algorithm) => {
            let is_it = A::HOLDS && is_narrow::<A>() && algorithm.holds(*cell, at);
            is_it.then(|| Reading::of::<A>(&algorithm.read(*cell, at)))
        })
    }

    /// Reads what a cell of two words says after a commit, where it is one that holds the event in
    /// the period of the hold, and that takes events still. Returns whether what was charged beyond
    /// the hold fits; `None` where the cell has no room for that.
    #[inline]
    pub(in crate::counters) fn settle_narrow(
        &self,
        cell: &Cell<'_>,
        at: &At,
        settlement: &Settlement<'_>,
        reading: &mut Reading,
    ) -> Option<bool> {
        with_policy!(self, A(algorithm) => {
            let Settlement { period, committed, beyond, used, left, .. } = *settlement;
            if !A::HOLDS || !is_narrow::<A>() || !algorithm.holds(*cell, at) {
                return None;
            }
            let (mut state, mut fits) = (algorithm.read(*cell, at), true);
            if algorithm.leaves_out(&state, at) {
                return None;
            }
            if let Some((periods, of)) = algorithm.periods().zip(A::period(&state))
                && (of.start != period || (at.explicit && periods.is_closed(of, at)))
            {
                return None;
            }
            let mut second = committed.map(Reading::state::<A>);
            if beyond.counts {
                fits = algorithm.fits(&state, beyond, at);
                algorithm.charge(&mut state, beyond, at);
            }
            if let Some(second) = &mut second {
                if beyond.counts {
                    algorithm.charge(second, beyond, at);
                }
                algorithm.charge(second, used, at);
            }
            let committed = second.map(|second| A::pack(&second));
            for Take { taken, units } in settlement.takes_back() {
                let back = GivenBack { units, taken, left, committed };
                algorithm.give_back(&mut state, &back, at);
            }
            let has_room = A::LAYOUT == Layout::Pair || A::pack(&state).fit(A::LAYOUT, cell.words);
            *reading = Reading::of::<A>(&state);
            has_room.then_some(fits)
        })
    }

    /// The cell after holds gave something back.
    pub(in crate::counters) fn given_back(
        &self,
        cell: Cell<'_>,
        back: &GivenBack,
        at: &At,
    ) -> CellState {
        with_policy!(self, A(algorithm) => algorithm.given_back(cell, back, at))
    }
}
