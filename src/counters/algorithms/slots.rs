//! Slots: how many reservations are open at once.
//!
//! The state is a number. A reservation takes one and gives it back when it ends; an event that is
//! not held is told whether one is free, and takes none. There is no time in it.

use serde::{Deserialize, Serialize};

use super::stored::{self, ChargeBytes};
use super::{Algorithm, GivenBack, KeyCalendar, Refusal};
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, count};
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, NO_LIMIT, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slots {
    limit: Units,
}

impl Slots {
    pub(crate) fn new(limit: Units) -> Self {
        Self { limit }
    }
}

impl Algorithm for Slots {
    /// How many are taken.
    type State = Units;

    const LAYOUT: Layout = Layout::Count;

    fn read(&self, cell: Cell<'_>, _at: &At) -> Units {
        count(cell.words)
    }

    fn fresh(&self, _calendar: KeyCalendar<'_>, _at: &At) -> Units {
        0
    }

    fn fits(&self, taken: &Units, cost: Cost, _at: &At) -> bool {
        cost.units <= 0 || taken.saturating_add(cost.units) <= self.limit
    }

    fn charge(&self, taken: &mut Units, cost: Cost, _at: &At) {
        *taken = taken.saturating_add(cost.units);
    }

    fn is_idle(&self, cell: Cell<'_>, _at: &At) -> bool {
        count(cell.words) == 0
    }

    fn limit(&self) -> Units {
        self.limit
    }

    fn used(&self, taken: &Units, _at: &At) -> Units {
        *taken
    }

    fn reset(&self, _taken: &Units, _at: &At, _timeline: Timeline) -> Option<i64> {
        None
    }

    /// What takes no slot is refused where none is free.
    fn can_refuse(&self, cost: Cost) -> bool {
        cost.units > 0 && self.limit != NO_LIMIT
    }

    fn passes_at(&self, taken: &Units, refusal: &Refusal<'_>) -> Option<Moment> {
        self.fits(taken, refusal.cost, refusal.at).then_some(refusal.from)
    }

    fn give_back(&self, taken: &mut Units, back: &GivenBack, _at: &At) {
        *taken = taken.saturating_sub(back.units).max(0);
    }

    fn counts_like(&self, _other: &Self) -> bool {
        true
    }

    /// Slots are those of reservations: no other use carries over.
    fn to_carry(&self, _taken: &Units, _at: &At) -> CarriedUse {
        CarriedUse::of(0)
    }

    fn adopt(&self, _carried: CarriedUse, _calendar: KeyCalendar<'_>, _at: &At) -> CellState {
        CellState::empty(Self::LAYOUT)
    }

    fn pack(taken: &Units) -> StateWords {
        StateWords::count(0, 0, *taken)
    }

    fn unpack(StateWords { words, .. }: &StateWords) -> Units {
        count(words)
    }

    fn encode(taken: &Units, _at: &At, out: &mut ChargeBytes) {
        out.wide(*taken);
    }

    fn decode(from: &mut Reader<'_>, _at: &At) -> Result<Units, Malformed> {
        stored::units(from)
    }
}
