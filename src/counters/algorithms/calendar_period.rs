//! The count of a calendar period: what events have used of it together.

use serde::{Deserialize, Serialize};

use super::periods::{Bounds, Periods, Span};
use super::{Algorithm, GivenBack, KeyCalendar, Refusal, charge_where_it_fits, stored};
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, count};
use crate::counters::history::Used;
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CalendarPeriod {
    limit: Units,
    periods: Periods,
}

/// A period and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct PeriodUse {
    pub(super) period: Bounds,
    pub(super) used: Units,
}

impl CalendarPeriod {
    pub(crate) fn new(limit: Units, periods: Periods) -> Self {
        Self { limit, periods }
    }

    #[inline]
    fn fits_use(&self, used: Units, cost: Units) -> bool {
        // More than the limit fits where less than nothing is used.
        cost <= 0 || used.saturating_add(cost) <= self.limit
    }
}

impl Algorithm for CalendarPeriod {
    type State = PeriodUse;

    const LAYOUT: Layout = Layout::Count;

    #[inline]
    fn read(&self, cell: Cell<'_>, _at: &At) -> PeriodUse {
        PeriodUse { period: Bounds::of_cell(cell), used: count(cell.words) }
    }

    #[inline]
    fn fresh(&self, calendar: KeyCalendar<'_>, at: &At) -> PeriodUse {
        PeriodUse { period: self.periods.of(calendar, at.second), used: 0 }
    }

    #[inline]
    fn fits(&self, state: &PeriodUse, cost: Cost, _at: &At) -> bool {
        self.fits_use(state.used, cost.units)
    }

    #[inline]
    fn charge(&self, state: &mut PeriodUse, cost: Cost, _at: &At) {
        state.used = state.used.saturating_add(cost.units);
    }

    #[inline]
    fn charge_if_fits(&self, state: &mut PeriodUse, cost: Cost, at: &At) -> bool {
        let Some(used) = state.used.checked_add(cost.units) else {
            // No number of events adds up to that.
            return charge_where_it_fits(self, state, cost, at);
        };
        let fits = cost.units <= 0 || used <= self.limit;
        if fits {
            state.used = used;
        }
        fits
    }

    fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool {
        count(cell.words) == 0 || self.periods.is_past(cell, at)
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

    fn passes_at(&self, state: &PeriodUse, refusal: &Refusal<'_>) -> Option<Moment> {
        let current = Span::new(state.period, Used::sum(state.used));
        let fits = |Used { units, .. }, _| self.fits_use(units, refusal.cost.units);
        self.periods.passes_at(current, refusal, fits)
    }

    #[inline]
    fn periods(&self) -> Option<&Periods> {
        Some(&self.periods)
    }

    fn period(state: &PeriodUse) -> Option<Bounds> {
        Some(state.period)
    }

    fn used_of(state: &PeriodUse) -> Option<Used> {
        Some(Used::sum(state.used))
    }

    fn with_use(state: PeriodUse, Used { units: used, .. }: Used) -> PeriodUse {
        PeriodUse { used, ..state }
    }

    fn give_back(&self, state: &mut PeriodUse, back: &GivenBack, _at: &At) {
        state.used = state.used.saturating_sub(back.units);
    }

    fn counts_like(&self, other: &Self) -> bool {
        self.periods.cut_like(&other.periods)
    }

    fn adopt(&self, carried: CarriedUse, calendar: KeyCalendar<'_>, at: &At) -> CellState {
        let period = self.periods.of(calendar, at.now_second);
        Self::cell_of(&PeriodUse { period, used: carried.rounded_up() })
    }

    #[inline]
    fn pack(PeriodUse { period: Bounds { length, start }, used }: &PeriodUse) -> StateWords {
        StateWords::count(*length, start.cast_unsigned(), *used)
    }

    #[inline]
    fn unpack(StateWords { words: words @ [start, ..], extra }: &StateWords) -> PeriodUse {
        let period = Bounds { length: *extra, start: start.cast_signed() };
        PeriodUse { period, used: count(words) }
    }

    fn encode(state: &PeriodUse, at: &At, out: &mut stored::ChargeBytes) {
        stored::put_bounds(state.period, at, out);
        out.wide(state.used);
    }

    fn decode(from: &mut Reader<'_>, at: &At) -> Result<PeriodUse, Malformed> {
        Ok(PeriodUse { period: stored::bounds(from, at)?, used: stored::units(from)? })
    }
}
