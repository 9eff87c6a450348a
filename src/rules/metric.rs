//! What a rule counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::Amount;
use crate::error::EventError;
use crate::event::{Event, ValueName, key_rule};

/// What a rule counts of an event.
///
/// Reads and prints `total_events`, `total_tokens`, `total_cost_cents`, the built-in values
/// `input_tokens`, `output_tokens` and `latency_ms`, and `values.` with a name for any other
/// value. An event that lacks the value counts 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Each event counts 1.
    TotalEvents,
    /// The event's total of tokens.
    TotalTokens,
    /// The event's cost in cents.
    TotalCostCents,
    /// The event's value of a name, made by [`Metric::value`].
    Value(MetricValue),
}

/// The name of the value that a [`Metric`] counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricValue(ValueName);

impl Metric {
    /// Counts the value of a name: a built-in one or any other. Values of other names count
    /// exactly to six fractional digits.
    #[must_use]
    pub fn value(name: &str) -> Self {
        match ValueName::parse(name) {
            ValueName::TotalTokens => Self::TotalTokens,
            ValueName::CostCents => Self::TotalCostCents,
            name => Self::Value(MetricValue(name)),
        }
    }

    /// How many counted units one whole is: 1 for whole numbers, a million for named values.
    pub(crate) fn units_per_whole(&self) -> u64 {
        match self {
            Self::Value(MetricValue(ValueName::Other(_))) => 1_000_000,
            _ => 1,
        }
    }

    /// What a valid `event` counts, in units; `None` for a negative amount. One above the range
    /// of `u64` counts `u64::MAX`, which no limit reaches.
    #[inline]
    pub(crate) fn measure(&self, event: &Event<'_>) -> Option<u64> {
        match self {
            Self::TotalEvents => Some(1),
            Self::TotalTokens => Some(ValueName::TotalTokens.whole(event).unwrap_or(0)),
            Self::TotalCostCents => Some(ValueName::CostCents.whole(event).unwrap_or(0)),
            Self::Value(MetricValue(ValueName::Other(name))) => {
                let amount = event.named_value(name).unwrap_or(Amount::ZERO);
                let units = u64::try_from(amount.millionths()).unwrap_or(u64::MAX);
                (!amount.is_negative()).then_some(units)
            }
            Self::Value(MetricValue(built_in)) => Some(built_in.whole(event).unwrap_or(0)),
        }
    }

    /// Why an event cannot be measured.
    #[cold]
    pub(crate) fn negative(&self, event: &Event<'_>, rule: &str) -> EventError {
        let name = match self {
            Self::Value(MetricValue(name)) => name.as_str(),
            _ => "",
        };
        let value = event.named_value(name).unwrap_or(Amount::ZERO).to_string();
        EventError::Negative { field: name.into(), value: value.into(), rule: rule.into() }
    }

    /// The rule that the metric's name breaks, if any.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Value(MetricValue(ValueName::Other(name))) => key_rule(name),
            _ => None,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalEvents => f.write_str("total_events"),
            Self::TotalTokens => f.write_str("total_tokens"),
            Self::TotalCostCents => f.write_str("total_cost_cents"),
            Self::Value(MetricValue(ValueName::Other(name))) => write!(f, "values.{name}"),
            Self::Value(MetricValue(built_in)) => f.write_str(built_in.as_str()),
        }
    }
}

/// A text that is no [`Metric`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "metric {text:?} must be `total_events`, `total_tokens`, `total_cost_cents`, \
     `input_tokens`, `output_tokens`, `latency_ms`, or `values.` with a name of 1 to 64 ASCII \
     letters, digits or `_`"
)]
pub struct MetricParseError {
    text: String,
}

impl FromStr for Metric {
    type Err = MetricParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "total_events" => return Ok(Self::TotalEvents),
            "total_tokens" => return Ok(Self::TotalTokens),
            "total_cost_cents" => return Ok(Self::TotalCostCents),
            "input_tokens" | "output_tokens" | "latency_ms" => return Ok(Self::value(text)),
            _ => {}
        }
        let name = text.strip_prefix("values.").filter(|name| key_rule(name).is_none());
        name.map(Self::value).ok_or_else(|| MetricParseError { text: text.to_owned() })
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
