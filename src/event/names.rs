//! The names of what an event has, resolved once.

use super::{Event, PropertyValue};
use crate::base::amount::Amount;

/// A dimension by name, resolved once so that looking it up in an event compares no built-in
/// names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Dimension {
    CustomerId,
    EventType,
    Model,
    Provider,
    Property(Box<str>),
}

impl Dimension {
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "customer_id" => Self::CustomerId,
            "event_type" => Self::EventType,
            "model" => Self::Model,
            "provider" => Self::Provider,
            _ => Self::Property(name.into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::CustomerId => "customer_id",
            Self::EventType => "event_type",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Property(key) => key,
        }
    }

    /// Whether the name is that of a built-in dimension.
    pub(crate) fn is_built_in(name: &str) -> bool {
        matches!(name, "customer_id" | "event_type" | "model" | "provider")
    }

    #[inline]
    pub(crate) fn of<'e>(&self, event: &'e Event<'_>) -> Option<&'e str> {
        match self {
            Self::CustomerId => Some(&event.customer_id),
            Self::EventType => Some(&event.event_type),
            Self::Model => event.model.as_deref(),
            Self::Provider => event.provider.as_deref(),
            Self::Property(key) => event.text_property(key),
        }
    }

    /// What an event has under the dimension's name that is no string, and so no dimension.
    pub(crate) fn instead(&self, event: &Event<'_>) -> Option<&'static str> {
        let Self::Property(key) = self else { return None };
        let mut properties = event.properties.iter();
        let (_, value) = properties.find(|(known, _)| **known == **key)?;
        let PropertyValue::Json(json) = value else { return None };
        Some(match &**json {
            serde_json::Value::Null => "null",
            serde_json::Value::Bool(_) => "a bool",
            serde_json::Value::Number(_) => "a number",
            serde_json::Value::String(_) => return None,
            serde_json::Value::Array(_) => "a list",
            serde_json::Value::Object(_) => "an object",
        })
    }
}

/// A value by name, the built-in ones resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ValueName {
    InputTokens,
    OutputTokens,
    TotalTokens,
    CostCents,
    LatencyMs,
    Other(Box<str>),
}

impl ValueName {
    pub(crate) const BUILT_IN: [Self; 5] = [
        Self::InputTokens,
        Self::OutputTokens,
        Self::TotalTokens,
        Self::CostCents,
        Self::LatencyMs,
    ];

    pub(crate) fn parse(name: &str) -> Self {
        match name {
            "input_tokens" => Self::InputTokens,
            "output_tokens" => Self::OutputTokens,
            "total_tokens" => Self::TotalTokens,
            "cost_cents" => Self::CostCents,
            "latency_ms" => Self::LatencyMs,
            _ => Self::Other(name.into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::TotalTokens => "total_tokens",
            Self::CostCents => "cost_cents",
            Self::LatencyMs => "latency_ms",
            Self::Other(name) => name,
        }
    }

    /// The event's value of a built-in name that is a whole number.
    #[inline]
    pub(crate) fn whole(&self, event: &Event<'_>) -> Option<u64> {
        match self {
            Self::InputTokens => event.input_tokens,
            Self::OutputTokens => event.output_tokens,
            Self::TotalTokens => event.tokens().flatten(),
            Self::LatencyMs => event.latency_ms,
            Self::CostCents | Self::Other(_) => None,
        }
    }

    /// The event's value.
    #[inline]
    pub(crate) fn amount(&self, event: &Event<'_>) -> Option<Amount> {
        match self {
            Self::CostCents => event.cost_cents,
            Self::Other(name) => event.named_value(name),
            built_in => built_in.whole(event).map(Amount::from),
        }
    }
}
