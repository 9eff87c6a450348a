//! Recorded events, and pages of them, as they are printed.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::{Dimension, Event, ValueName};
use crate::log::{Correction, EventId, EventPage, RecordedEvent};
use crate::wire::event::{Property, properties, values};

impl RecordedEvent {
    /// Returns the event in the shape of generic events: `id`, `customerId`, `eventType`,
    /// `values` (all numbers, by their snake case names), `dimensions` (all but the customer and
    /// the type), `properties` (what is [attached](crate::Event::attach), and properties that are
    /// no dimensions) and `timestamp`.
    #[must_use]
    pub fn generic(&self) -> impl Serialize {
        Generic::of(self)
    }
}

impl Serialize for RecordedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Listed::of(self).serialize(serializer)
    }
}

impl EventPage {
    /// Returns the page with its events in the shape of generic events, as
    /// [`RecordedEvent::generic`] says.
    #[must_use]
    pub fn generic(&self) -> impl Serialize {
        Page {
            data: self.data.iter().map(Generic::of).collect::<Vec<_>>(),
            next_cursor: self.next_cursor.as_deref(),
            has_more: self.has_more,
        }
    }
}

impl Serialize for EventPage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Page { data: &self.data, next_cursor: self.next_cursor.as_deref(), has_more: self.has_more }
            .serialize(serializer)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a, D> {
    data: D,
    next_cursor: Option<&'a str>,
    has_more: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: EventId,
    customer_id: &'a str,
    event_type: &'a str,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    latency_ms: Option<u64>,
    cost_cents: Option<Amount>,
    properties: BTreeMap<&'a str, Property<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<&'a str, Amount>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    correction: Option<&'a Correction>,
}

impl Serialize for Correction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Shown<'a> {
            event_id: EventId,
            reason: &'a str,
            at: Timestamp,
            amended: Option<&'a Event<'static>>,
        }
        let amended = self.amended.as_deref();
        let Self { event_id, at, .. } = *self;
        Shown { event_id, reason: &self.reason, at, amended }.serialize(serializer)
    }
}

impl<'a> Listed<'a> {
    fn of(recorded: &'a RecordedEvent) -> Self {
        let event = &recorded.event;
        Self {
            id: recorded.id,
            customer_id: &event.customer_id,
            event_type: &event.event_type,
            model: event.model.as_deref(),
            provider: event.provider.as_deref(),
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            total_tokens: event.tokens().flatten(),
            latency_ms: event.latency_ms,
            cost_cents: event.cost_cents,
            properties: properties(event),
            attached: event.attached(),
            values: values(event),
            created_at: recorded.timestamp,
            correction: recorded.correction.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generic<'a> {
    id: EventId,
    customer_id: &'a str,
    event_type: &'a str,
    values: BTreeMap<&'a str, Amount>,
    dimensions: BTreeMap<&'a str, &'a str>,
    properties: BTreeMap<&'a str, Shown<'a>>,
    timestamp: Timestamp,
}

/// What is no dimension.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Property(Property<'a>),
    Attached(&'a Value),
}

impl<'a> Generic<'a> {
    fn of(recorded: &'a RecordedEvent) -> Self {
        let event = &recorded.event;
        let mut values = values(event);
        let built_in = ValueName::BUILT_IN.iter();
        values.extend(built_in.filter_map(|name| Some((name.as_str(), name.amount(event)?))));
        let mut dimensions = BTreeMap::new();
        dimensions.extend(event.model.as_deref().map(|model| ("model", model)));
        dimensions.extend(event.provider.as_deref().map(|provider| ("provider", provider)));
        let mut properties = BTreeMap::new();
        for (key, value) in &event.properties {
            match value.text() {
                Some(text) if !Dimension::is_built_in(key) => {
                    dimensions.insert(key, text);
                }
                _ => {
                    properties.insert(&**key, Shown::Property(Property(value)));
                }
            }
        }
        let attached = event.attached().into_iter().flatten();
        properties.extend(attached.map(|(key, value)| (key.as_str(), Shown::Attached(value))));
        Self {
            id: recorded.id,
            customer_id: &event.customer_id,
            event_type: &event.event_type,
            values,
            dimensions,
            properties,
            timestamp: recorded.timestamp,
        }
    }
}
