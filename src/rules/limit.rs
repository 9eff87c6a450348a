//! Limits as callers give them.

use crate::amount::{Amount, AmountError, IntoAmount};

/// What was given as a limit and is none: setters never fail, so it waits for the check of the
/// rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitProblem {
    pub(super) field: &'static str,
    pub(super) why: AmountError,
}

/// Reads a limit; of several problems the first is kept.
pub(super) fn read_limit(
    field: &'static str,
    limit: impl IntoAmount,
    problem: &mut Option<LimitProblem>,
) -> Amount {
    limit.into_amount().unwrap_or_else(|why| {
        problem.get_or_insert(LimitProblem { field, why });
        Amount::ZERO
    })
}
