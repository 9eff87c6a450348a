//! What a counter said, as decisions keep it.

use super::periods::Bounds;
use super::policy::{Kind, Listed, Policy, with_type};
use super::stored::ChargeBytes;
use super::{Algorithm, Balance, BalanceState};
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CellState, StateWords};
use crate::counters::history::Used;
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// The number under which a reading of no counter is stored.
const NO_COUNTER: u8 = 5;

/// Where a counter stands: its state at the moment of a decision, rendered when asked. What the
/// words mean only their algorithm knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    words: [u64; 4],
    extra: u32,
    kind: Option<Kind>,
}

// A decision moves a few of these: keep them small.
const _: () = assert!(size_of::<Reading>() == 40);

impl Policy {
    /// The first moment that counts at `now` in a rolling period.
    pub(crate) fn rolling_start(&self, now: Moment) -> Option<Moment> {
        self.rolling().map(|rolling| rolling.reach(now).0)
    }
}

impl Reading {
    /// Of no counter: there was no room for one, and the rule denies what it cannot count.
    pub(in crate::counters) const NONE: Self = Self { words: [0; 4], extra: 0, kind: None };

    #[inline]
    pub(super) fn of<A: Listed>(state: &A::State) -> Self {
        let StateWords { words, extra } = A::pack(state);
        Self { words, extra, kind: Some(A::KIND) }
    }

    /// The state, of this algorithm.
    #[inline]
    pub(super) fn state<A: Listed>(&self) -> A::State {
        debug_assert_eq!(self.kind, Some(A::KIND), "a reading is read by its own algorithm");
        A::unpack(&StateWords { words: self.words, extra: self.extra })
    }

    pub(super) fn is_of<A: Listed>(&self) -> bool {
        self.kind == Some(A::KIND)
    }

    /// The state as it lies in a cell.
    #[inline]
    pub(in crate::counters) fn words(&self) -> StateWords {
        StateWords { words: self.words, extra: self.extra }
    }

    /// The number of the algorithm, and the state.
    pub(in crate::counters) fn parts(&self) -> (u8, StateWords) {
        (self.kind.map_or(NO_COUNTER, |kind| kind as u8), self.words())
    }

    /// Of what [`parts`](Self::parts) said.
    pub(in crate::counters) fn of_parts(code: u8, state: StateWords) -> Self {
        let StateWords { words, extra } = state;
        Self { words, extra, kind: Kind::of_code(code).map(|(kind, _)| kind) }
    }

    /// It is of no counter.
    #[inline]
    pub(in crate::counters) fn is_none(&self) -> bool {
        self.kind.is_none()
    }

    /// Of what an account said.
    pub(in crate::counters) fn of_balance(state: BalanceState) -> Self {
        Self::of::<Balance>(&state)
    }

    /// Whether it is of what an account said.
    pub(crate) fn is_balance(&self) -> bool {
        self.is_of::<Balance>()
    }

    /// Makes it another one.
    #[cfg(test)]
    pub(crate) fn flip_a_bit(&mut self) {
        self.words[1] ^= 1;
    }

    /// The period of a quota by the calendar.
    pub(in crate::counters) fn bounds(&self) -> Option<Bounds> {
        with_type!(self.kind?, A => A::period(&self.state::<A>()))
    }

    /// The second at which the period of a quota by the calendar starts, and the one at which it
    /// ends, if it does.
    pub(crate) fn period(&self) -> Option<(i64, Option<i64>)> {
        self.bounds().map(|bounds| (bounds.start, bounds.resets()))
    }

    /// What is used of its period.
    pub(in crate::counters) fn used(&self) -> Option<Used> {
        with_type!(self.kind?, A => A::used_of(&self.state::<A>()))
    }

    /// The same period with another use.
    pub(in crate::counters) fn with_use(self, used: Used) -> Self {
        let Some(kind) = self.kind else { return self };
        with_type!(kind, A => Self::of::<A>(&A::with_use(self.state::<A>(), used)))
    }

    /// The same period with so much more use.
    pub(in crate::counters) fn with_more_use(self, units: Units) -> Self {
        let more = |used: Used| Used { units: used.units.saturating_add(units), ..used };
        let Some(kind) = self.kind else { return self };
        with_type!(kind, A => {
            let state = self.state::<A>();
            A::used_of(&state).map_or(self, |used| Self::of::<A>(&A::with_use(state, more(used))))
        })
    }

    /// The state as a cell, in as many words as it needs; an empty one of what keeps a list.
    pub(in crate::counters) fn cell(&self) -> Option<CellState> {
        Some(with_type!(self.kind?, A => A::cell_of(&self.state::<A>())))
    }

    /// The number under which it is stored, of a charge that may leave less than nothing or not.
    pub(in crate::counters) fn code(&self, owes: bool) -> u8 {
        let code = |kind| {
            let owing = with_type!(kind, A => A::OWING_CODE).filter(|_| owes);
            owing.unwrap_or(kind as u8)
        };
        self.kind.map_or(NO_COUNTER, code)
    }

    /// Whether the algorithm lets a record take more than there is.
    pub(in crate::counters) fn may_owe(&self) -> bool {
        self.kind.is_some_and(|kind| with_type!(kind, A => A::OWING_CODE.is_some()))
    }

    /// The time of the decision at `at` by which a stored charge was counted.
    pub(in crate::counters) fn charged_at(&self, written: bool, at: At) -> At {
        let Some(kind) = self.kind else { return at };
        with_type!(kind, A => A::charged_at(&self.state::<A>(), written, at))
    }

    /// Appends the state, without the algorithm.
    #[inline]
    pub(in crate::counters) fn encode(&self, at: &At, out: &mut ChargeBytes) {
        if let Some(kind) = self.kind {
            with_type!(kind, A => A::encode(&self.state::<A>(), at, out));
        }
    }

    /// Takes what was stored under this number, and whether it may leave less than nothing.
    #[inline]
    pub(in crate::counters) fn decode(
        code: u8,
        from: &mut Reader<'_>,
        at: &At,
    ) -> Result<(Self, bool), Malformed> {
        if code == NO_COUNTER {
            return Ok((Self::NONE, false));
        }
        let (kind, owes) = Kind::of_code(code).ok_or_else(|| from.malformed("an algorithm"))?;
        let reading = with_type!(kind, A => Self::of::<A>(&A::decode(from, at)?));
        Ok((reading, owes))
    }
}
