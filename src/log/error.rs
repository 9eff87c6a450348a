//! Why a question about events or usage has no answer.

use crate::base::clock::Timestamp;
use crate::base::text::excerpt;

/// Why a question about events or usage could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The engine keeps no events and no usage.
    #[error("recording is off: the engine keeps no events and no usage")]
    RecordingOff,
    /// A field of the question breaks its rule.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field, by its name on the wire.
        field: Box<str>,
        /// The value, cut short when it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The range ends where it starts, or before.
    #[error("invalid date range: start {start} must be before end {end}")]
    EmptyRange {
        /// The start, which would be part of the range.
        start: Timestamp,
        /// The end, which would not.
        end: Timestamp,
    },
    /// A time series without a start or an end.
    #[error("a time series needs a start and an end")]
    Unbounded,
    /// A time series of more points than one answer holds.
    #[error("interval: the range has more than {max} points; ask for a shorter range")]
    TooManyPoints {
        /// The most that one answer holds.
        max: usize,
    },
    /// A sum outside what an [`Amount`](crate::Amount) can say.
    #[error("the sum of {field} does not fit an exact amount")]
    Overflow {
        /// The name of the value.
        field: Box<str>,
    },
    /// Retention has dropped the event that a page begins with, and so all that were to be shown.
    #[error("cursor {cursor:?}: its events are not kept any more; ask for a first page again")]
    CursorExpired {
        /// The cursor.
        cursor: Box<str>,
    },
    /// There is no such meter.
    #[error("no meter has the id {id:?}")]
    MeterNotFound {
        /// The id that was given.
        id: Box<str>,
    },
    /// There is no such rule.
    #[error("no rule has the id {id:?}")]
    RuleNotFound {
        /// The id that was given.
        id: Box<str>,
    },
}

impl QueryError {
    pub(crate) fn invalid(field: &str, value: &str, rule: &'static str) -> Self {
        Self::Invalid { field: field.into(), value: excerpt(value), rule }
    }
}
