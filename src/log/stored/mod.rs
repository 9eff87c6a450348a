//! An event as the log keeps it: packed, and unpacked when it is asked for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{EventId, RecordedEvent};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::format::Version;
use crate::event::{Dimension, Event, Fields, PropertyValue, ValueName, kept_json};

/// The packed form. Strings are borrowed both ways, so packing allocates nothing, and unpacking
/// nothing for an event of at most three properties and three named values.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored<'a> {
    /// First, so that it can be read alone.
    timestamp: (i64, u32),
    #[serde(borrow)]
    texts: (&'a str, &'a str, Option<&'a str>, Option<&'a str>),
    /// Input, output and total tokens.
    tokens: [Option<u64>; 3],
    cost_cents: StoredCost,
    latency_ms: Option<u64>,
    #[serde(borrow)]
    properties: Vec3<(&'a str, StoredValue<'a>)>,
    #[serde(borrow)]
    values: Vec3<(&'a str, i128)>,
}

/// A cost in cents: whole ones, which most are, in few bytes, and any other in millionths.
///
/// The first two are bytes for bytes an `Option<u64>`, which is what format 1 had here.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum StoredCost {
    None,
    Whole(u64),
    Exact(i128),
}

impl StoredCost {
    fn of(cents: Option<Amount>) -> Self {
        match cents.map(|cents| (cents, u64::try_from(cents))) {
            None => Self::None,
            Some((_, Ok(whole))) => Self::Whole(whole),
            Some((cents, Err(_))) => Self::Exact(cents.millionths()),
        }
    }

    fn cents(self) -> Option<Amount> {
        match self {
            Self::None => None,
            Self::Whole(cents) => Some(cents.into()),
            Self::Exact(millionths) => Some(Amount::from_millionths(millionths)),
        }
    }
}

type Vec3<T> = smallvec::SmallVec<[T; 3]>;

#[derive(Serialize, Deserialize)]
enum StoredValue<'a> {
    Text(&'a str),
    Json(#[serde(borrow)] Cow<'a, str>),
}

/// The timestamp of a packed event.
pub(super) fn packed_timestamp(bytes: &[u8]) -> Option<Timestamp> {
    let ((seconds, nanos), _) = postcard::take_from_bytes(bytes).ok()?;
    Some(Timestamp::new(seconds, nanos))
}

impl<'a> Stored<'a> {
    pub(super) fn of(fields: &Fields<'a>, timestamp: Timestamp) -> Self {
        let value = |value: &'a PropertyValue<'_>| match value {
            PropertyValue::Text(text) => StoredValue::Text(text),
            PropertyValue::Json(json) => StoredValue::Json(Cow::Owned(json.to_string())),
        };
        let [input, output, total, latency_ms] = fields.numbers;
        Self {
            timestamp: (timestamp.unix_seconds(), timestamp.subsec_nanos()),
            texts: fields.texts,
            tokens: [input, output, total],
            cost_cents: StoredCost::of(fields.cost_cents),
            latency_ms,
            properties: fields.properties.iter().map(|(key, v)| (&**key, value(v))).collect(),
            values: fields.values.iter().map(|(name, v)| (&**name, v.millionths())).collect(),
        }
    }

    /// Reads a packed event; `None` where the bytes are none.
    pub(crate) fn read(_: Version, bytes: &'a [u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// All dimensions by name; a property of a built-in's name may be among them.
    pub(super) fn dimensions(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let (customer_id, event_type, model, provider) = self.texts;
        let properties = self.properties.iter().filter_map(|(key, value)| match value {
            StoredValue::Text(text) => Some((*key, *text)),
            StoredValue::Json(_) => None,
        });
        let built_in = [
            Some(("customer_id", customer_id)),
            Some(("event_type", event_type)),
            model.map(|model| ("model", model)),
            provider.map(|provider| ("provider", provider)),
        ];
        built_in.into_iter().flatten().chain(properties)
    }

    /// When the event happened.
    pub(crate) fn timestamp(&self) -> Timestamp {
        let (seconds, nanos) = self.timestamp;
        Timestamp::new(seconds, nanos)
    }

    /// The value of a dimension, as [`Event::dimension`] says it.
    pub(crate) fn dimension(&self, dimension: &Dimension) -> Option<&'a str> {
        let (customer_id, event_type, model, provider) = self.texts;
        match dimension {
            Dimension::CustomerId => Some(customer_id),
            Dimension::EventType => Some(event_type),
            Dimension::Model => model,
            Dimension::Provider => provider,
            Dimension::Property(name) => self.properties.iter().find_map(|(key, value)| {
                let StoredValue::Text(text) = value else { return None };
                (**key == **name).then_some(*text)
            }),
        }
    }

    /// A value by name, as [`Event::amount`] says it.
    pub(crate) fn amount(&self, name: &ValueName) -> Option<Amount> {
        let [input, output, total] = self.tokens;
        let whole = match name {
            ValueName::InputTokens => input,
            ValueName::OutputTokens => output,
            ValueName::TotalTokens => total.or_else(|| match (input, output) {
                (None, None) => None,
                (input, output) => input.unwrap_or(0).checked_add(output.unwrap_or(0)),
            }),
            ValueName::CostCents => return self.cost_cents.cents(),
            ValueName::LatencyMs => self.latency_ms,
            ValueName::Other(name) => {
                return self.values().find_map(|(known, v)| (*known == **name).then_some(v));
            }
        };
        whole.map(Amount::from)
    }

    /// Input, output and total tokens, latency in milliseconds.
    fn numbers(&self) -> [Option<u64>; 4] {
        let [input, output, total] = self.tokens;
        [input, output, total, self.latency_ms]
    }

    /// The values that are not built in, by name.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'a str, Amount)> {
        self.values.iter().map(|(name, millionths)| (*name, Amount::from_millionths(*millionths)))
    }

    /// Whether another event is a retry of this one, as their hashes would say it
    /// ([`Event::hash_payload`]): for idempotency keys. No allocation where there are no JSON
    /// properties.
    pub(crate) fn is_same_request(&self, event: &Event<'_>) -> bool {
        let Fields { texts, numbers, cost_cents, properties, values } = event.fields();
        let ((_, own_type, own_model, own_provider), (_, event_type, model, provider)) =
            (self.texts, texts);
        let ([own_input, own_output, _, own_latency], [input, output, _, latency]) =
            (self.numbers(), numbers);
        let own_cost = self.cost_cents.cents();
        let own_tokens = self.amount(&ValueName::TotalTokens);
        // Keys and names are there once each, so that as many, each of which is there, are all.
        let has_property = |(key, value): &(Cow<'_, str>, PropertyValue<'_>)| {
            let own = self.properties.iter().find(|(own, _)| own == key);
            own.is_some_and(|(_, own)| match (own, value) {
                (StoredValue::Text(own), PropertyValue::Text(text)) => own == text,
                (StoredValue::Json(own), PropertyValue::Json(json)) => **own == json.to_string(),
                _ => false,
            })
        };
        let has_value = |(name, amount): &(Cow<'_, str>, Amount)| {
            self.values().any(|own| own == (&**name, *amount))
        };
        (own_type, own_model, own_provider) == (event_type, model, provider)
            && (own_input, own_output, own_cost, own_latency)
                == (input, output, cost_cents, latency)
            && own_tokens == event.tokens().flatten().map(Amount::from)
            && self.properties.len() == properties.len()
            && self.values.len() == values.len()
            && properties.iter().all(has_property)
            && values.iter().all(has_value)
    }

    pub(crate) fn unpack(self, id: EventId) -> RecordedEvent {
        let timestamp = self.timestamp();
        let (numbers, cost_cents) = (self.numbers(), self.cost_cents.cents());
        let value = |value| match value {
            StoredValue::Text(text) => PropertyValue::Text(Cow::Borrowed(text)),
            StoredValue::Json(json) => kept_json(&json),
        };
        let values: Vec<_> =
            self.values().map(|(name, amount)| (Cow::Borrowed(name), amount)).collect();
        let properties: Vec<_> =
            self.properties.into_iter().map(|(key, v)| (Cow::Borrowed(key), value(v))).collect();
        let event = Event::from_fields(&Fields {
            texts: self.texts,
            numbers,
            cost_cents,
            properties: &properties,
            values: &values,
        });
        RecordedEvent { id, timestamp, event }
    }
}

#[cfg(test)]
mod tests;
