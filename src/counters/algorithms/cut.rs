//! How the periods of a counter are cut, and its cells where that changes.

use super::periods::{Bounds, KeyCalendar, Periods};
use super::policy::with_policy;
use super::{Algorithm, Policy};
use crate::counters::cell::CellState;
use crate::counters::time::At;
use crate::rules::Units;

impl Policy {
    /// Whether periods are cut as those of another, where there are any.
    pub(crate) fn periods_are_those_of(&self, other: impl FnOnce() -> Self) -> bool {
        let Some(periods) = self.periods() else { return true };
        other().periods().is_some_and(|others| periods.cut_like(others))
    }

    /// Whether the calendar of a key says how periods are cut.
    pub(crate) fn is_of_key(&self) -> bool {
        self.periods().is_some_and(Periods::are_of_key)
    }

    /// The cell of a period of the key's calendar with what another cell says of a period that may
    /// be cut otherwise: as it is, or of that of now where the other was it; else none.
    pub(in crate::counters) fn recut(
        &self,
        cell: &CellState,
        calendar: KeyCalendar<'_>,
        at: &At,
    ) -> Option<CellState> {
        let Some(periods) = self.periods().filter(|periods| periods.are_of_key()) else {
            return Some(cell.clone());
        };
        let period = Bounds::of_cell(cell.as_cell());
        if periods.of(calendar, period.start) == period {
            return Some(cell.clone());
        }
        let now = At { second: at.now_second, ..*at };
        with_policy!(self, A(algorithm) => {
            let is_of_now = algorithm.holds(cell.as_cell(), &now);
            is_of_now.then(|| {
                let carried = algorithm.to_carry(&algorithm.read(cell.as_cell(), &now), &now);
                algorithm.adopt(carried, calendar, &now)
            })
        })
    }

    /// How much a cell says is used.
    pub(in crate::counters) fn used_of(&self, cell: &CellState, at: &At) -> Units {
        with_policy!(self, A(algorithm) => {
            algorithm.used(&algorithm.read(cell.as_cell(), at), at)
        })
    }
}
