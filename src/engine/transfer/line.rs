//! A line of JSON, read field by field, so that an error names the field.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::amount::Amount;
use crate::clock::Timestamp;
use crate::event::{Dimension, Event};
use crate::log::Stored;

const FIELDS: &[&str] = &[
    "id",
    "customerId",
    "eventType",
    "model",
    "provider",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "latencyMs",
    "costCents",
    "properties",
    "dimensions",
    "values",
    "createdAt",
    "timestamp",
    "idempotencyKey",
];

type Setter = fn(Event<'static>, u64) -> Event<'static>;

/// What a line says of an event.
#[derive(Debug, Default)]
pub(super) struct Line {
    id: Option<String>,
    customer_id: Option<String>,
    event_type: Option<String>,
    model: Option<String>,
    provider: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    latency_ms: Option<u64>,
    cost_cents: Option<Amount>,
    properties: BTreeMap<String, Value>,
    dimensions: BTreeMap<String, String>,
    values: BTreeMap<String, Amount>,
    timestamp: Option<DateTime<Utc>>,
    idempotency_key: Option<String>,
}

impl Line {
    /// The name that the event has where the line comes from.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether a stored event is not the line's, by what all lines say.
    pub(super) fn is_other(&self, event: &Stored<'_>) -> bool {
        let differs = |text: &Option<String>, key| {
            text.as_deref().is_some_and(|text| event.dimension(key) != Some(text))
        };
        differs(&self.customer_id, &Dimension::CustomerId)
            || differs(&self.event_type, &Dimension::EventType)
            || self.timestamp.is_some_and(|at| Timestamp::from(at) != event.timestamp())
    }

    /// The event, with an idempotency key and a timestamp; or what is missing.
    pub(super) fn into_event(self) -> Result<Event<'static>, String> {
        let needed =
            |text: Option<String>, field| text.ok_or_else(|| format!("{field}: must be there"));
        let customer = needed(self.customer_id, "customerId")?;
        let mut event = Event::new(customer, needed(self.event_type, "eventType")?);
        if let Some(model) = self.model {
            event = event.model(model);
        }
        if let Some(provider) = self.provider {
            event = event.provider(provider);
        }
        let numbers: [(_, Setter); 4] = [
            (self.input_tokens, Event::input_tokens),
            (self.output_tokens, Event::output_tokens),
            (self.total_tokens, Event::total_tokens),
            (self.latency_ms, Event::latency_ms),
        ];
        for (number, set) in numbers {
            if let Some(number) = number {
                event = set(event, number);
            }
        }
        if let Some(cents) = self.cost_cents {
            event = event.cost_cents(cents);
        }
        for (key, value) in self.properties {
            event = event.property(key, value);
        }
        let dimensions = self.dimensions.into_iter();
        event = event.with_dimensions(dimensions.map(|(key, of)| (key.into(), of.into())));
        for (name, amount) in self.values {
            event = event.value(name, amount);
        }
        let timestamp = self.timestamp.ok_or("createdAt: must be there")?;
        let key = self.idempotency_key.or(self.id);
        let key = key.ok_or("idempotencyKey: must be there where no id is")?;
        Ok(event.timestamp(timestamp).idempotency_key(key))
    }

    fn set<'de, A: MapAccess<'de>>(&mut self, field: &str, map: &mut A) -> Result<(), A::Error> {
        match field {
            "id" => self.id = value(field, map)?,
            "customerId" => self.customer_id = value(field, map)?,
            "eventType" => self.event_type = value(field, map)?,
            "model" => self.model = value(field, map)?,
            "provider" => self.provider = value(field, map)?,
            "inputTokens" => self.input_tokens = value(field, map)?,
            "outputTokens" => self.output_tokens = value(field, map)?,
            "totalTokens" => self.total_tokens = value(field, map)?,
            "latencyMs" => self.latency_ms = value(field, map)?,
            "costCents" => self.cost_cents = value(field, map)?,
            "properties" => self.properties = value(field, map)?.unwrap_or_default(),
            "dimensions" => self.dimensions = entries(field, map)?,
            "values" => self.values = entries(field, map)?,
            "idempotencyKey" => self.idempotency_key = value(field, map)?,
            _ => self.timestamp = value(field, map)?,
        }
        Ok(())
    }
}

/// The value of a field; an error names the field.
fn value<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &str,
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    let value = map.next_value::<Option<T>>();
    value.map_err(|why| A::Error::custom(format_args!("{field}: {why}")))
}

/// The entries of a field that is a map; an error names the entry.
fn entries<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &str,
    map: &mut A,
) -> Result<BTreeMap<String, T>, A::Error> {
    let entries: BTreeMap<String, Value> = value(field, map)?.unwrap_or_default();
    let read = |(name, value): (String, Value)| match T::deserialize(value) {
        Ok(value) => Ok((name, value)),
        Err(why) => Err(A::Error::custom(format_args!("{field}.{name}: {why}"))),
    };
    entries.into_iter().map(read).collect()
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
        let mut line = Line::default();
        let mut seen = Vec::with_capacity(FIELDS.len());
        while let Some(name) = map.next_key::<String>()? {
            let Some(field) = FIELDS.iter().find(|known| **known == name) else {
                return Err(A::Error::unknown_field(&name, FIELDS));
            };
            // They are two names of one field.
            let field = if *field == "timestamp" { "createdAt" } else { field };
            if seen.contains(&field) {
                return Err(A::Error::duplicate_field(field));
            }
            seen.push(field);
            line.set(field, &mut map)?;
        }
        Ok(line)
    }
}
