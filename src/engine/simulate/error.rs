//! Why rules were not tried out.

use crate::log::QueryError;
use crate::rules::RuleSetError;

/// Why nothing was simulated or suggested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The rules are not valid.
    #[error(transparent)]
    Invalid(#[from] RuleSetError),
    /// What was asked for of the recorded events is no good question.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A line is not an event as [`Store::export`](crate::handles::Store::export) writes them.
    #[error("{reason}")]
    Line {
        /// The field, the value and the rule that it breaks.
        reason: Box<str>,
    },
    /// The share that may be refused is none.
    #[error("share: {share} must be 0 to 100 percent")]
    Share {
        /// What was given.
        share: Box<str>,
    },
}
