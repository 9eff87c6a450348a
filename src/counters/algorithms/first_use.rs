//! Periods that begin with the first use of a key, and follow each other from there.
//!
//! The start of a period is in the state: it is that of the first one and some whole lengths, so
//! that no later period moves. A counter that has begun is never like a fresh one again, and stays.

use serde::{Deserialize, Serialize};

use super::calendar_period::{CalendarPeriod, PeriodUse};
use super::periods::Bounds;
use super::{Algorithm, GivenBack, KeyCalendar, Refusal, stored};
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, count};
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstUse {
    limit: Units,
    /// How long a period is, in seconds; more than 0.
    seconds: u32,
}

impl FirstUse {
    /// Periods of so many seconds: 100 years at the most.
    pub(crate) fn new(limit: Units, seconds: u64) -> Self {
        Self { limit, seconds: u32::try_from(seconds).unwrap_or(u32::MAX).max(1) }
    }

    /// The period that holds a second, where one began at `first`.
    #[inline]
    fn period(&self, first: i64, second: i64) -> Bounds {
        let into = second.saturating_sub(first).max(0).checked_rem(self.seconds.into());
        let start = second.max(first).saturating_sub(into.unwrap_or(0));
        Bounds { length: self.seconds, start }
    }

    /// Whether the period that begins then has a second in it.
    pub(in crate::counters) fn has(&self, start: i64, second: i64) -> bool {
        (start..start.saturating_add(self.seconds.into())).contains(&second)
    }

    /// Whether an event is dated before a period: usage alone has it.
    #[inline]
    fn is_before(state: &PeriodUse, at: &At) -> bool {
        at.second < state.period.start
    }
}

impl Algorithm for FirstUse {
    type State = PeriodUse;

    const LAYOUT: Layout = Layout::Count;

    #[inline]
    fn read(&self, cell: Cell<'_>, at: &At) -> PeriodUse {
        let known = Bounds::of_cell(cell);
        let period = self.period(known.start, at.now_second);
        let is_it = period.start == known.start;
        PeriodUse { period, used: if is_it { count(cell.words) } else { 0 } }
    }

    /// What would begin with the event: at its own timestamp, where that is earlier.
    fn fresh(&self, _calendar: KeyCalendar<'_>, at: &At) -> PeriodUse {
        let first = at.second.min(at.now_second);
        PeriodUse { period: self.period(first, at.now_second), used: 0 }
    }

    #[inline]
    fn fits(&self, state: &PeriodUse, cost: Cost, at: &At) -> bool {
        cost.units <= 0
            || state.used.saturating_add(cost.units) <= self.limit
            || Self::is_before(state, at)
    }

    #[inline]
    fn charge(&self, state: &mut PeriodUse, cost: Cost, at: &At) {
        if !Self::is_before(state, at) {
            state.used = state.used.saturating_add(cost.units);
        }
    }

    fn is_idle(&self, _cell: Cell<'_>, _at: &At) -> bool {
        false
    }

    #[inline]
    fn limit(&self) -> Units {
        self.limit
    }

    fn used(&self, state: &PeriodUse, _at: &At) -> Units {
        state.used
    }

    fn reset(&self, state: &PeriodUse, _at: &At, _timeline: Timeline) -> Option<i64> {
        state.period.resets()
    }

    /// In the period of now where there is room, in the next one where the cost is no more than
    /// the limit, and at last, with a timestamp of its own, before the period of then.
    fn passes_at(&self, state: &PeriodUse, refusal: &Refusal<'_>) -> Option<Moment> {
        let Refusal { cost, at, from, timeline, .. } = *refusal;
        let (second, period) = (timeline.second(from), state.period);
        // What no event has begun is begun by this one, when it comes to its date.
        let first = if refusal.ahead.begins_with_event { at.second } else { period.start };
        let is_before = at.explicit && at.second < self.period(first, second).start;
        let is_now = second < period.end();
        if is_before || cost.units <= 0 || is_now && self.fits(state, cost, at) {
            return Some(from);
        }
        let after = |end| from.max(timeline.start_of_second(end));
        if cost.units <= self.limit {
            return Some(after(period.end()));
        }
        let last = || self.period(first, at.second.max(first));
        at.explicit.then(|| after(last().end()))
    }

    fn leaves_out(&self, state: &PeriodUse, at: &At) -> bool {
        Self::is_before(state, at)
    }

    fn period(state: &PeriodUse) -> Option<Bounds> {
        Some(state.period)
    }

    /// The second, in the order of numbers without a sign.
    fn taken_at(&self, at: &At) -> Moment {
        Moment(at.now_second.cast_unsigned() ^ (1 << 63))
    }

    fn give_back(&self, state: &mut PeriodUse, back: &GivenBack, _at: &At) {
        if (back.taken.0 ^ (1 << 63)).cast_signed() >= state.period.start {
            state.used = state.used.saturating_sub(back.units);
        }
    }

    fn counts_like(&self, other: &Self) -> bool {
        self.seconds == other.seconds
    }

    /// It begins with the change.
    fn adopt(&self, carried: CarriedUse, _calendar: KeyCalendar<'_>, at: &At) -> CellState {
        let period = self.period(at.now_second, at.now_second);
        Self::cell_of(&PeriodUse { period, used: carried.rounded_up() })
    }

    #[inline]
    fn pack(state: &PeriodUse) -> StateWords {
        CalendarPeriod::pack(state)
    }

    #[inline]
    fn unpack(words: &StateWords) -> PeriodUse {
        CalendarPeriod::unpack(words)
    }

    fn encode(state: &PeriodUse, at: &At, out: &mut stored::ChargeBytes) {
        CalendarPeriod::encode(state, at, out);
    }

    fn decode(from: &mut Reader<'_>, at: &At) -> Result<PeriodUse, Malformed> {
        CalendarPeriod::decode(from, at)
    }
}
