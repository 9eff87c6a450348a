//! A balance: what is left of prepaid credits.
//!
//! The account lies with its owner, beside the rows (`table/accounts.rs`), and has no cell: the
//! state is what the account said when it was asked, in millionths.

use serde::{Deserialize, Serialize};

use super::policy::with_policy;
use super::stored::{self, ChargeBytes};
use super::{Algorithm, GivenBack, KeyCalendar, Policy, Refusal};
use crate::base::calendar::Calendar;
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, Wide};
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, NO_LIMIT, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Balance {
    /// What an owner without an account begins with; without it such an owner is refused.
    opening: Option<Units>,
}

/// What an account said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BalanceState {
    /// What was taken of it, and is held.
    pub(in crate::counters) used: Units,
    /// What can be spent, which may be less than nothing.
    pub(in crate::counters) available: Units,
}

impl Balance {
    pub(crate) fn new(opening: Option<Units>) -> Self {
        Self { opening }
    }

    pub(in crate::counters) fn opening(&self) -> Option<Units> {
        self.opening
    }
}

impl Policy {
    /// The balance, where it is one.
    #[inline]
    pub(in crate::counters) fn balance(&self) -> Option<&Balance> {
        match self {
            Self::Balance(balance) => Some(balance),
            _ => None,
        }
    }

    /// A cell of format 1.
    pub(in crate::counters) fn of_format_1(&self, cell: CellState) -> CellState {
        with_policy!(self, A(algorithm) => algorithm.of_format_1(cell))
    }
}

impl Algorithm for Balance {
    type State = BalanceState;

    /// There is no cell; whoever wants one goes another way.
    const LAYOUT: Layout = Layout::List;
    /// What is held lies with the account.
    const HOLDS: bool = false;

    fn read(&self, _cell: Cell<'_>, at: &At) -> BalanceState {
        self.fresh(&|| Calendar::UTC, at)
    }

    fn fresh(&self, _calendar: KeyCalendar<'_>, _at: &At) -> BalanceState {
        BalanceState { used: 0, available: self.opening.unwrap_or(0) }
    }

    fn fits(&self, state: &BalanceState, cost: Cost, _at: &At) -> bool {
        !cost.counts || cost.units <= 0 || cost.units <= state.available
    }

    fn charge(&self, state: &mut BalanceState, cost: Cost, _at: &At) {
        state.used = state.used.saturating_add(cost.units);
        state.available = state.available.saturating_sub(cost.units);
    }

    fn is_idle(&self, _cell: Cell<'_>, _at: &At) -> bool {
        true
    }

    fn limit(&self) -> Units {
        NO_LIMIT
    }

    fn used(&self, state: &BalanceState, _at: &At) -> Units {
        state.used
    }

    fn remaining(&self, state: &BalanceState, _at: &At) -> Units {
        state.available.max(0)
    }

    fn reset(&self, _state: &BalanceState, _at: &At, _timeline: Timeline) -> Option<i64> {
        None
    }

    fn can_refuse(&self, cost: Cost) -> bool {
        cost.counts && cost.units > 0
    }

    /// As far as the state tells. What the account says of the time to come, beside what other
    /// rules take of it, is asked by who knows these.
    fn passes_at(&self, state: &BalanceState, refusal: &Refusal<'_>) -> Option<Moment> {
        self.fits(state, refusal.cost, refusal.at).then_some(refusal.from)
    }

    fn give_back(&self, _state: &mut BalanceState, _back: &GivenBack, _at: &At) {}

    fn counts_like(&self, _other: &Self) -> bool {
        true
    }

    /// What is in an account stays there.
    fn to_carry(&self, _state: &BalanceState, _at: &At) -> CarriedUse {
        CarriedUse::of(0)
    }

    fn adopt(&self, _carried: CarriedUse, _calendar: KeyCalendar<'_>, _at: &At) -> CellState {
        CellState::empty(Self::LAYOUT)
    }

    fn cell_of(_state: &BalanceState) -> CellState {
        CellState::empty(Self::LAYOUT)
    }

    fn pack(state: &BalanceState) -> StateWords {
        let ([used_high, used_low], [high, low]) =
            (Wide::new(state.used).0, Wide::new(state.available).0);
        StateWords { words: [used_high, used_low, high, low], extra: 0 }
    }

    fn unpack(StateWords { words, .. }: &StateWords) -> BalanceState {
        let [used_high, used_low, high, low] = *words;
        let (used, available) = (Wide([used_high, used_low]).get(), Wide([high, low]).get());
        BalanceState { used, available }
    }

    fn encode(state: &BalanceState, _at: &At, out: &mut ChargeBytes) {
        out.wide(state.used);
        out.wide(state.available);
    }

    fn decode(from: &mut Reader<'_>, _at: &At) -> Result<BalanceState, Malformed> {
        Ok(BalanceState { used: stored::units(from)?, available: stored::units(from)? })
    }
}
