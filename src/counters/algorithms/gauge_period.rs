//! The figure of a calendar period that an event replaces instead of adding to it: the highest
//! amount so far, or the amount of the latest event.
//!
//! The state is the period, the figure, and the instant of the event that the figure is of. An
//! event that comes late and is older than that one leaves the latest amount as it is; of two at
//! one instant the one that came last counts.

use serde::{Deserialize, Serialize};

use super::periods::{Bounds, Periods, Span};
use super::{Algorithm, GivenBack, KeyCalendar, Refusal, stored};
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, count};
use crate::counters::history::Used;
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, NO_LIMIT, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GaugePeriod {
    limit: Units,
    gauge: Gauge,
    periods: Periods,
}

/// Which amount the figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gauge {
    Highest,
    Latest,
}

/// A period and its figure. The instant is that of the latest event that it knows; the earliest
/// there is, which no event has here, without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct GaugeUse {
    period: Bounds,
    figure: Used,
}

/// The earliest instant of an event.
pub(crate) const FIRST: Moment = Moment(1);

impl GaugePeriod {
    pub(crate) fn new(limit: Units, gauge: Gauge, periods: Periods) -> Self {
        Self { limit, gauge, periods }
    }

    pub(in crate::counters) fn gauge(&self) -> Gauge {
        self.gauge
    }

    /// The figure after an event of this instant.
    fn after(&self, figure: Used, cost: Cost, event: Moment) -> Used {
        let Used { units, latest } = figure;
        let event = event.max(FIRST);
        match self.gauge {
            _ if !cost.counts => figure,
            _ if is_none(figure) => Used { units: cost.units, latest: event },
            Gauge::Highest => Used { units: units.max(cost.units), latest: latest.max(event) },
            Gauge::Latest if event >= latest => Used { units: cost.units, latest: event },
            Gauge::Latest => figure,
        }
    }

    /// Whether the figure after the event is within the limit, or no higher than it was.
    fn fits_figure(&self, figure: Used, cost: Cost, event: Moment) -> bool {
        self.after(figure, cost, event).units <= self.limit.max(figure.units)
    }
}

impl Algorithm for GaugePeriod {
    type State = GaugeUse;

    const LAYOUT: Layout = Layout::Tall;

    // Out of line, as `charge` is: most counters add up, and decide without them.
    #[inline(never)]
    fn read(&self, cell: Cell<'_>, _at: &At) -> GaugeUse {
        GaugeUse { period: Bounds::of_cell(cell), figure: figure(cell.words) }
    }

    fn fresh(&self, calendar: KeyCalendar<'_>, at: &At) -> GaugeUse {
        GaugeUse { period: self.periods.of(calendar, at.second), figure: Used::NOTHING }
    }

    fn fits(&self, state: &GaugeUse, cost: Cost, at: &At) -> bool {
        self.fits_figure(state.figure, cost, at.dated())
    }

    #[inline(never)]
    fn charge(&self, state: &mut GaugeUse, cost: Cost, at: &At) {
        state.figure = self.after(state.figure, cost, at.dated());
    }

    /// A figure of nothing makes a difference: an older event may come, or one of less.
    fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool {
        is_none(figure(cell.words)) || self.periods.is_past(cell, at)
    }

    fn limit(&self) -> Units {
        self.limit
    }

    fn used(&self, state: &GaugeUse, _at: &At) -> Units {
        state.figure.units
    }

    fn reset(&self, state: &GaugeUse, _at: &At, _timeline: Timeline) -> Option<i64> {
        state.period.resets()
    }

    /// An amount of any size may be above the figure before it.
    fn can_refuse(&self, cost: Cost) -> bool {
        cost.counts && self.limit != NO_LIMIT
    }

    fn passes_at(&self, state: &GaugeUse, refusal: &Refusal<'_>) -> Option<Moment> {
        let current = Span::new(state.period, state.figure);
        let fits = |figure, event| self.fits_figure(figure, refusal.cost, event);
        self.periods.passes_at(current, refusal, fits)
    }

    #[inline]
    fn periods(&self) -> Option<&Periods> {
        Some(&self.periods)
    }

    fn period(state: &GaugeUse) -> Option<Bounds> {
        Some(state.period)
    }

    fn latest(state: &GaugeUse) -> Moment {
        state.figure.latest
    }

    fn used_of(state: &GaugeUse) -> Option<Used> {
        Some(state.figure)
    }

    fn with_use(state: GaugeUse, figure: Used) -> GaugeUse {
        GaugeUse { figure, ..state }
    }

    const HOLDS: bool = false;

    fn give_back(&self, _state: &mut GaugeUse, _back: &GivenBack, _at: &At) {}

    fn counts_like(&self, other: &Self) -> bool {
        self.gauge == other.gauge && self.periods.cut_like(&other.periods)
    }

    fn adopt(&self, carried: CarriedUse, calendar: KeyCalendar<'_>, at: &At) -> CellState {
        let period = self.periods.of(calendar, at.now_second);
        let figure = Used { units: carried.rounded_up(), latest: carried.latest };
        Self::cell_of(&GaugeUse { period, figure })
    }

    fn pack(GaugeUse { period, figure }: &GaugeUse) -> StateWords {
        let mut state =
            StateWords::count(period.length, period.start.cast_unsigned(), figure.units);
        let [.., latest] = &mut state.words;
        *latest = figure.latest.0;
        state
    }

    fn unpack(StateWords { words: words @ [start, ..], extra }: &StateWords) -> GaugeUse {
        let period = Bounds { length: *extra, start: start.cast_signed() };
        GaugeUse { period, figure: figure(words) }
    }

    fn encode(GaugeUse { period, figure }: &GaugeUse, at: &At, out: &mut stored::ChargeBytes) {
        stored::put_bounds(*period, at, out);
        out.wide(figure.units);
        out.signed(figure.latest.0.wrapping_sub(at.dated().0).cast_signed());
    }

    fn decode(from: &mut Reader<'_>, at: &At) -> Result<GaugeUse, Malformed> {
        let (period, units) = (stored::bounds(from, at)?, stored::units(from)?);
        let latest = Moment(at.dated().0.wrapping_add(from.signed()?.cast_unsigned()));
        Ok(GaugeUse { period, figure: Used { units, latest } })
    }
}

/// No event has made it.
fn is_none(figure: Used) -> bool {
    figure.latest == Used::NOTHING.latest
}

fn figure(words: &[u64]) -> Used {
    match words {
        [_, _, _, latest] => Used { units: count(words), latest: Moment(*latest) },
        _ => Used::NOTHING,
    }
}
