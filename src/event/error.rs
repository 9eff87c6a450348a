//! What can be wrong with an event.

use super::PriceError;
use crate::base::amount::AmountError;
use crate::base::clock::Timestamp;
use crate::base::text::excerpt;

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A field breaks a rule of its own.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field, by its snake case name.
        field: Box<str>,
        /// The value, cut short when it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A named value is not an exact amount.
    #[error("value {field}: {source}")]
    Amount {
        /// The name of the value.
        field: Box<str>,
        /// Why it is not one.
        source: AmountError,
    },
    /// The engine's [prices](crate::Pricer) have none for the event.
    #[error(transparent)]
    Unpriced(#[from] PriceError),
    /// The timestamp lies more than 24 hours ahead of the engine's clock.
    #[error("timestamp: {timestamp} is more than 24 hours ahead of the engine's clock, {now}")]
    TimestampAhead {
        /// The event's timestamp.
        timestamp: Timestamp,
        /// The engine's time.
        now: Timestamp,
    },
    /// A hard quota to which the event adds something counts it in a period that ended too long ago
    /// to be known.
    #[error(
        "timestamp: {timestamp} falls in a period of quota {quota:?} that ended more than the \
         late events' allowance before the engine's clock, {now}"
    )]
    TooLate {
        /// The name of the quota.
        quota: Box<str>,
        /// The event's timestamp.
        timestamp: Timestamp,
        /// The engine's time.
        now: Timestamp,
    },
    /// The event lacks a dimension that a rule filters or splits by, and the rule refuses such
    /// events ([`OnMissing::Refuse`](crate::rules::OnMissing::Refuse)).
    #[error(
        "{dimension}: the event has {}, and rule {rule:?} needs a string", found.unwrap_or("none")
    )]
    MissingDimension {
        /// The dimension.
        dimension: Box<str>,
        /// What the event has under its name: `a number`, `a bool`, `null`, `a list` or `an
        /// object`; `None` where it has nothing.
        found: Option<&'static str>,
        /// The name of the rule.
        rule: Box<str>,
    },
}

impl EventError {
    pub(crate) fn invalid(field: &str, value: &str, rule: &'static str) -> Self {
        Self::Invalid { field: field.into(), value: excerpt(value), rule }
    }
}
