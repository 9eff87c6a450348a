//! What a rule counts.

use std::fmt;
use std::str::FromStr;

use crate::base::suggest;
use crate::base::text::as_text;
use crate::event::{ValueName, key_rule};

/// What a rule counts of an event.
///
/// Reads and prints `total_events`, `total_tokens`, `total_cost_cents`, the built-in values
/// `input_tokens`, `output_tokens` and `latency_ms`, `values.` with a name for any other value,
/// `meter.` with an id for a [`Meter`](crate::Meter), and `unique.` with the key of a dimension.
/// An event that lacks the value, or the dimension, counts 0.
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
    /// The figure of the meter of an id: a `count` or `sum` for every rule, and for quotas by the
    /// calendar or for all time also a `max`, `latest` or `unique`. The meter's filter joins the
    /// rule's.
    Meter(String),
    /// Each different value of the dimension of a key counts 1, once a period: for quotas by the
    /// calendar or for all time. See [`Quota::max_values`](crate::Quota::max_values).
    Unique(String),
}

/// The name of the value that a [`Metric`] counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricValue(pub(super) ValueName);

impl Metric {
    /// Counts the value of a name: a built-in one or any other. The cost and values of other names
    /// count exactly to six fractional digits, tokens and latency in whole numbers.
    #[must_use]
    pub fn value(name: &str) -> Self {
        match ValueName::parse(name) {
            ValueName::TotalTokens => Self::TotalTokens,
            ValueName::CostCents => Self::TotalCostCents,
            name => Self::Value(MetricValue(name)),
        }
    }

    /// Counts the figure of the meter of an id.
    #[must_use]
    pub fn meter(id: impl Into<String>) -> Self {
        Self::Meter(id.into())
    }

    /// Counts the different values of a dimension, such as users a month.
    #[must_use]
    pub fn unique(dimension: impl Into<String>) -> Self {
        Self::Unique(dimension.into())
    }

    /// The name of the value that it counts; none of events, meters and dimensions.
    pub(crate) fn value_name(&self) -> Option<&str> {
        match self {
            Self::TotalEvents | Self::Meter(_) | Self::Unique(_) => None,
            Self::TotalTokens => Some(ValueName::TotalTokens.as_str()),
            Self::TotalCostCents => Some(ValueName::CostCents.as_str()),
            Self::Value(MetricValue(name)) => Some(name.as_str()),
        }
    }

    /// The rule that the metric's name breaks, if any.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Value(MetricValue(ValueName::Other(name))) => key_rule(name),
            Self::Meter(key) | Self::Unique(key) => key_rule(key),
            _ => None,
        }
    }

    /// The word of one that a word alone names.
    fn word(&self) -> Option<&str> {
        match self {
            Self::TotalEvents => Some("total_events"),
            Self::TotalTokens => Some("total_tokens"),
            Self::TotalCostCents => Some("total_cost_cents"),
            Self::Value(MetricValue(ValueName::Other(_))) | Self::Meter(_) | Self::Unique(_) => {
                None
            }
            Self::Value(MetricValue(built_in)) => Some(built_in.as_str()),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(MetricValue(ValueName::Other(name))) => write!(f, "values.{name}"),
            Self::Meter(id) => write!(f, "{METER}{id}"),
            Self::Unique(dimension) => write!(f, "{UNIQUE}{dimension}"),
            named => f.write_str(named.word().unwrap_or_default()),
        }
    }
}

const METER: &str = "meter.";
const UNIQUE: &str = "unique.";

/// The metrics that a word alone names, beside `values.`, `meter.` and `unique.`.
const WORDS: [&str; 6] = [
    "total_events",
    "total_tokens",
    "total_cost_cents",
    "input_tokens",
    "output_tokens",
    "latency_ms",
];

/// A text that is no [`Metric`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "metric {text:?} must be `total_events`, `total_tokens`, `total_cost_cents`, \
     `input_tokens`, `output_tokens`, `latency_ms`, or `values.` with a name, `meter.` with an id \
     or `unique.` with a key of 1 to 64 ASCII letters, digits or `_`{}",
    hint(text)
)]
pub struct MetricParseError {
    text: String,
}

/// The end of a message about a text that is no metric.
fn hint(text: &str) -> String {
    match text {
        "count" | "events" | "requests" | "calls" => "; did you mean `total_events`?".to_owned(),
        "tokens" => "; did you mean `total_tokens`?".to_owned(),
        "cost" | "cents" | "cost_cents" | "costCents" => {
            "; did you mean `total_cost_cents`?".to_owned()
        }
        name if suggest::closest(name, &WORDS).is_none() && key_rule(name).is_none() => {
            format!("; a value of that name is written `values.{name}`")
        }
        word => suggest::hint(word, &WORDS),
    }
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
        let after = |prefix| text.strip_prefix(prefix).filter(|name| key_rule(name).is_none());
        let value = after("values.").map(Self::value);
        let meter = || after(METER).map(Self::meter);
        let metric = value.or_else(meter).or_else(|| after(UNIQUE).map(Self::unique));
        metric.ok_or_else(|| MetricParseError { text: text.to_owned() })
    }
}

as_text!(Metric by words);
