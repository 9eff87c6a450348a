//! What counters compute: one file an algorithm, one trait, and one list of them all.
//!
//! An algorithm is pure arithmetic on the words of a cell. It reads them into a *state*, tells
//! whether a cost fits, moves the state on, and writes it back; everything else that is asked of a
//! counter (figures, waits, what it carries into a counter of another kind, how it is stored) is
//! answered from such a state. Nobody else knows what the words mean.
//!
//! To add an algorithm: its file here, its name in `rules`, and a line in the list of [`policy`].

use std::time::Duration;

use super::cell::{CarriedUse, Cell, CellState, Layout, StateWords};
use super::history::Used;
use super::stored::StoredCharge;
use super::time::{At, Moment, Timeline};
use crate::base::codec::{Malformed, Reader};
use crate::rules::{Cost, NO_LIMIT, Units};

mod balance;
mod calendar_period;
mod cut;
pub(super) mod entries;
mod first_use;
mod fixed_window;
mod gauge_period;
mod held;
pub(super) mod periods;
mod policy;
mod reading;
mod sliding_window;
mod slots;
pub(super) mod stored;
mod token_bucket;

#[cfg(test)]
mod tests;

pub(crate) use self::balance::{Balance, BalanceState};
pub(crate) use self::calendar_period::CalendarPeriod;
pub(crate) use self::first_use::FirstUse;
pub(crate) use self::fixed_window::FixedWindow;
pub(crate) use self::gauge_period::{FIRST, Gauge, GaugePeriod};
pub(in crate::counters) use self::held::{
    Expiring, GivenBack, HeldAhead, HoldFacts, Settlement, Take,
};
use self::periods::{Bounds, KeyCalendar, Periods, Span, UseAhead};
pub(crate) use self::policy::{Figures, Policy};
pub(super) use self::policy::{Judged, KeyRow, Part, Passed};
pub(crate) use self::reading::Reading;
pub(crate) use self::sliding_window::SlidingWindow;
use self::sliding_window::Step;
pub(crate) use self::slots::Slots;
pub(crate) use self::token_bucket::TokenBucket;

/// An event that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) cost: Cost,
    /// The time of the decision that read the state.
    pub(crate) at: &'a At,
    /// From when on it may be let in.
    pub(crate) from: Moment,
    /// How the use goes on where the state does not say it.
    pub(crate) ahead: &'a UseAhead,
    pub(crate) timeline: Timeline,
}

/// A way to count.
///
/// An everyday decision over a cell that is known is `holds`, `read`, `fits`, `charge` and `store`,
/// each of them a few instructions on plain values: whoever has the words of a cell at hand calls
/// them directly.
pub(super) trait Algorithm: Sized {
    /// What a counter says at an instant.
    type State: Copy;

    // A decision.

    /// Whether an event counts in this cell: a quota has one for each period in use.
    #[inline]
    fn holds(&self, cell: Cell<'_>, at: &At) -> bool {
        self.periods().is_none_or(|_| periods::holds(cell, at))
    }

    /// Whether a cell that does not hold the event may be used for another period.
    #[inline]
    fn is_spare(&self, cell: Cell<'_>, at: &At) -> bool {
        self.periods().is_some_and(|periods| periods.is_past(cell, at))
    }

    /// What a cell says that holds the event.
    fn read(&self, cell: Cell<'_>, at: &At) -> Self::State;

    /// What a counter says that has no such cell.
    fn fresh(&self, calendar: KeyCalendar<'_>, at: &At) -> Self::State;

    /// Whether a cost fits. One that adds nothing always does.
    fn fits(&self, state: &Self::State, cost: Cost, at: &At) -> bool;

    /// Puts into the state what only the cell can tell of a cost that does not fit.
    #[inline]
    fn refused(&self, _state: &mut Self::State, _words: &[u64], _cost: Cost, _at: &At) {}

    /// Moves the state on by a cost, whether it fits or not.
    fn charge(&self, state: &mut Self::State, cost: Cost, at: &At);

    /// Judges a cost, and moves the state on by it if it fits: [`fits`](Self::fits) and
    /// [`charge`](Self::charge) in one, whose sums are the same.
    #[inline]
    fn charge_if_fits(&self, state: &mut Self::State, cost: Cost, at: &At) -> bool {
        charge_where_it_fits(self, state, cost, at)
    }

    /// Writes the state after a cost into the words of a cell, and returns the 32 bits for the
    /// cell's tag. `None`, and nothing written, where they have no room for it. Of no words it
    /// writes nothing.
    #[inline]
    fn store(&self, state: &Self::State, words: &mut [u64], _cost: Cost, _at: &At) -> Option<u32> {
        Self::pack(state).store(Self::LAYOUT, words)
    }

    // Cells.

    /// How the state lies in a cell. A list holds more than a state says: a charge adds to it.
    const LAYOUT: Layout;

    /// The state for a cell: what a reading keeps.
    fn pack(state: &Self::State) -> StateWords;

    /// The state that was packed.
    fn unpack(words: &StateWords) -> Self::State;

    /// A cell of this state, in as many words as it needs; an empty one of what keeps a list.
    fn cell_of(state: &Self::State) -> CellState {
        Self::pack(state).to_cell(Self::LAYOUT)
    }

    /// The cell after a charge for which its words had no room.
    fn grown(&self, state: &Self::State, _words: &[u64], _cost: Cost, _at: &At) -> CellState {
        Self::cell_of(state)
    }

    /// Whether a cell says no more than an empty one would.
    fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool;

    // Answers.

    /// The most that may be used.
    fn limit(&self) -> Units;

    /// What is used; of a bucket the tokens missing, rounded up.
    fn used(&self, state: &Self::State, at: &At) -> Units;

    /// What is left.
    fn remaining(&self, state: &Self::State, at: &At) -> Units {
        self.limit().saturating_sub(self.used(state, at)).clamp(0, self.limit().max(0))
    }

    /// The Unix second at which the figures start over, if they do.
    fn reset(&self, state: &Self::State, at: &At, timeline: Timeline) -> Option<i64>;

    /// Whether four fifths of the limit, or more, are used.
    fn is_near_limit(&self, state: &Self::State, at: &At) -> bool {
        self.used(state, at) >= self.remaining(state, at).saturating_mul(4)
    }

    /// Whether a cost can be too much: one that adds nothing cannot.
    #[inline]
    fn can_refuse(&self, cost: Cost) -> bool {
        cost.counts && cost.units > 0 && self.limit() != NO_LIMIT
    }

    /// The first moment at which a cost fits that can be refused; `None` for never.
    fn passes_at(&self, state: &Self::State, refusal: &Refusal<'_>) -> Option<Moment>;

    /// How the use goes on where the state does not say it: the later periods that events dated
    /// ahead have used.
    fn ahead<'c>(&self, cells: impl Iterator<Item = Cell<'c>>, at: &At) -> UseAhead {
        if self.periods().is_none() || at.explicit {
            return UseAhead::default();
        }
        let later = cells.filter(|cell| periods::is_later(*cell, at));
        let spans = later.filter_map(|cell| self.span(&self.read(cell, at), at));
        UseAhead::of_spans(spans.collect())
    }

    // Periods, of what counts in them, and what is recorded beside the counters.

    /// The periods of a quota by the calendar.
    #[inline]
    fn periods(&self) -> Option<&Periods> {
        None
    }

    /// The period of a state.
    fn period(_state: &Self::State) -> Option<Bounds> {
        None
    }

    /// The instant of the event that the figure is of; the earliest there is for a sum.
    fn latest(_state: &Self::State) -> Moment {
        Moment(0)
    }

    /// The use of a period's state.
    fn used_of(_state: &Self::State) -> Option<Used> {
        None
    }

    /// The same period with this use.
    fn with_use(state: Self::State, _used: Used) -> Self::State {
        state
    }

    /// The state's period with its use.
    fn span(&self, state: &Self::State, at: &At) -> Option<Span> {
        let used = Used { units: self.used(state, at), latest: Self::latest(state) };
        Some(Span::new(Self::period(state)?, used))
    }

    /// The window of a rolling quota.
    #[inline]
    fn rolling(&self) -> Option<&SlidingWindow> {
        None
    }

    // Holds: see `held`.

    /// Whether a cost can be held. Of a figure that events replace nothing can: the estimate is
    /// judged, and what happened is counted.
    const HOLDS: bool = true;

    /// Whether the event is of no period that the state is of: nothing is counted, nor held.
    fn leaves_out(&self, _state: &Self::State, _at: &At) -> bool {
        false
    }

    /// When what is taken now counts, as [`give_back`](Self::give_back) is told it: takes that
    /// count alike have the same.
    fn taken_at(&self, _at: &At) -> Moment {
        Moment(0)
    }

    /// The state of a counter with open holds without them, of one that had none, where it takes a
    /// second state to tell: what committed use alone leaves of a bucket.
    fn committed(_state: &Self::State) -> Option<Self::State> {
        None
    }

    /// Gives back what was held: never more than was taken and still counts.
    fn give_back(&self, state: &mut Self::State, back: &GivenBack, at: &At);

    /// The cell of these words after that.
    fn given_back(&self, cell: Cell<'_>, back: &GivenBack, at: &At) -> CellState {
        let mut state = self.read(cell, at);
        self.give_back(&mut state, back, at);
        Self::cell_of(&state)
    }

    /// Whether what was taken at this instant is in what a window says now; other counters have all
    /// that they took.
    fn has_use_of(&self, _taken: Moment, _now: Moment) -> bool {
        true
    }

    /// How much of so many units that were taken at an instant still counts now, at the least.
    fn left_of(&self, units: Units, taken: Moment, now: Moment) -> Units {
        if self.has_use_of(taken, now) { units } else { 0 }
    }

    /// How much of so many units more, for what was taken at an instant, is charged now, at the
    /// most.
    fn raise_of(&self, units: Units, taken: Moment, now: Moment) -> Units {
        self.left_of(units, taken, now)
    }

    /// The same, of what `raise_of` says, where the state is known.
    fn raise_in(&self, _state: &Self::State, units: Units, _taken: Moment, _at: &At) -> Units {
        units
    }

    /// How much of so many units that still count the words of a cell tell apart: of a list what
    /// lies at the instant, or may have merged with that.
    fn left_in(&self, _words: &[u64], units: Units, _taken: Moment, _is_exact: bool) -> Units {
        units
    }

    /// The time of a decision as it is for what was taken at another instant, where that is kept.
    fn takes_at(&self, at: &At, _taken: Moment) -> At {
        *at
    }

    /// The state that was read again once something was given back, of one that said this before.
    fn given_back_since(_before: &Self::State, read: Self::State) -> Self::State {
        read
    }

    /// How the use of a list goes on: as uses leave, and as holds expire before.
    fn steps_with(&self, _words: &[u64], _expiring: &[Expiring], _at: &At) -> Box<[Step]> {
        Box::default()
    }

    // Changes of the rules.

    /// Whether cells of `other` mean the same here: the limits may differ.
    fn counts_like(&self, other: &Self) -> bool;

    /// What is used, exactly, to carry it into a counter of another kind.
    fn to_carry(&self, state: &Self::State, at: &At) -> CarriedUse {
        CarriedUse { latest: Self::latest(state), ..CarriedUse::of(self.used(state, at)) }
    }

    /// The first cell of a counter that takes over so much use.
    fn adopt(&self, carried: CarriedUse, calendar: KeyCalendar<'_>, at: &At) -> CellState;

    /// What a rate limit that another rule decides for may count at the most, so that nobody waits
    /// for what it did not allow. A bucket goes no lower than empty by itself.
    fn most_unasked(&self, state: &Self::State, at: &At) -> Option<Units> {
        Some(self.remaining(state, at))
    }

    // What is kept: with decisions, in the journal, in checkpoints.

    /// The number under which a charge is stored that may leave less than nothing, where one may.
    const OWING_CODE: Option<u8> = None;

    /// Appends the state to a stored charge. Instants are stored by their distance from the
    /// decision's.
    fn encode(state: &Self::State, at: &At, out: &mut stored::ChargeBytes);

    /// Takes what [`encode`](Self::encode) appended.
    fn decode(from: &mut Reader<'_>, at: &At) -> Result<Self::State, Malformed>;

    /// The time of the decision by which a stored charge was counted.
    fn charged_at(_state: &Self::State, _written: bool, at: At) -> At {
        at
    }

    /// The cell after a stored charge, of one that held these words before: a state is written
    /// over them, and to a list it is added.
    fn redone(
        &self,
        state: &Self::State,
        _held: &[u64],
        _charge: &StoredCharge,
        _now: Moment,
    ) -> CellState {
        Self::cell_of(state)
    }

    /// Whether what was so long ago makes no difference any more, whatever the state.
    fn forgets(&self, _age: Duration) -> bool {
        false
    }

    /// The same of a cell of format 1.
    fn of_format_1(&self, cell: CellState) -> CellState {
        cell.of_format_1(Self::LAYOUT)
    }
}

/// Judges a cost, and moves the state on by it if it fits, one after the other.
#[inline]
fn charge_where_it_fits<A: Algorithm>(
    algorithm: &A,
    state: &mut A::State,
    cost: Cost,
    at: &At,
) -> bool {
    let fits = algorithm.fits(state, cost, at);
    if fits {
        algorithm.charge(state, cost, at);
    }
    fits
}
