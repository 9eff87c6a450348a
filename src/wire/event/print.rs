//! An event as a JSON body: the product's `track` request, and its later `values` and
//! `dimensions` maps.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::{Event, PropertyValue};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    customer_id: &'a str,
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_cents: Option<Amount>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'a str, Property<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attached: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<&'a str, Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
}

impl Serialize for Event<'_> {
    /// The body of the product's `track` request, camelCase, without the fields that are not set.
    /// A cost below zero, which `costCents` does not take, is among the `values`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = values(self);
        let cost_cents = self.cost_cents.filter(|cents| !cents.is_negative());
        if let (None, Some(refund)) = (cost_cents, self.cost_cents) {
            values.insert("cost_cents", refund);
        }
        Body {
            customer_id: &self.customer_id,
            event_type: &self.event_type,
            model: self.model.as_deref(),
            provider: self.provider.as_deref(),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_tokens: self.total_tokens,
            latency_ms: self.latency_ms,
            cost_cents,
            properties: properties(self),
            attached: self.attached(),
            values,
            idempotency_key: self.idempotency_key.as_deref(),
            timestamp: self.timestamp,
        }
        .serialize(serializer)
    }
}

/// The values of an event that are not built in, by name.
pub(in crate::wire) fn values<'a>(event: &'a Event<'_>) -> BTreeMap<&'a str, Amount> {
    event.values.iter().map(|(name, amount)| (&**name, *amount)).collect()
}

/// The properties of an event by key.
pub(in crate::wire) fn properties<'a>(event: &'a Event<'_>) -> BTreeMap<&'a str, Property<'a>> {
    event.properties.iter().map(|(key, value)| (&**key, Property(value))).collect()
}

/// The value of a property as plain JSON.
pub(in crate::wire) struct Property<'a>(pub(in crate::wire) &'a PropertyValue<'a>);

impl Serialize for Property<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            PropertyValue::Text(text) => text.serialize(serializer),
            PropertyValue::Json(json) => json.serialize(serializer),
            PropertyValue::Attribute(text) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_track_body_reads_and_prints_the_same() {
        let body = json!({
            "customerId": "cust_123", "eventType": "model_call", "model": "gpt-4",
            "provider": "openai", "inputTokens": 150, "outputTokens": 50, "latencyMs": 1200,
            "costCents": 25, "properties": {"team_id": "team_eng", "turns": 7},
            "values": {"images": 4, "gpu_seconds": 0.25},
            "idempotencyKey": "req_abc123", "timestamp": "2024-01-15T10:30:00Z"
        });
        let event: Event<'_> = serde_json::from_value(body.clone()).expect("a good body");
        assert_eq!(serde_json::to_value(&event).expect("prints"), body);
        assert_eq!(event.dimension("team_id"), Some("team_eng"));
        assert_eq!(event.dimension("turns"), None, "a number is no dimension");
    }

    #[test]
    fn dimensions_of_the_generic_event_are_dimensions_here() {
        let body = json!({
            "customerId": "c", "eventType": "llm.completion", "values": {"tokens": 500},
            "dimensions": {"model": "gpt-4", "team": "eng"}
        });
        let event: Event<'_> = serde_json::from_value(body).expect("a good body");
        assert_eq!(
            (event.dimension("model"), event.dimension("team")),
            (Some("gpt-4"), Some("eng"))
        );
    }

    #[test]
    fn costs_have_six_digits_and_a_refund_is_among_the_values() {
        let read = |body: Value| serde_json::from_value::<Event<'_>>(body);
        let body = |cents: Value| json!({"customerId": "c", "eventType": "e", "costCents": cents});
        for cents in [json!(25), json!(0.4), json!(0.000_001), json!("12345678901.123456")] {
            let event = read(body(cents.clone())).expect("a good body");
            assert_eq!(serde_json::to_value(&event).expect("prints"), body(cents));
        }
        let why = read(body(json!(-1))).expect_err("no refund").to_string();
        assert!(why.contains("costCents: -1 must not be negative"), "{why}");
        let why = read(body(json!(0.1 + 0.2))).expect_err("noise").to_string();
        assert!(why.contains("0.30000000000000004"), "{why}");

        let refund = Event::new("c", "e").cost_cents("-0.4").value("images", -1);
        let text = serde_json::to_value(&refund).expect("prints");
        let values = json!({"cost_cents": -0.4, "images": -1});
        assert_eq!(text, json!({"customerId": "c", "eventType": "e", "values": values}));
        assert_eq!(read(text).expect("a good body"), refund);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let read = |body| serde_json::from_value::<Event<'_>>(body).expect_err("bad").to_string();
        let negative = read(json!({"customerId": "c", "eventType": "e", "inputTokens": -1}));
        assert!(negative.contains("-1"), "{negative}");
        let unknown = read(json!({"customerId": "c", "eventType": "e", "custmer": 1}));
        assert!(unknown.contains("custmer"), "{unknown}");
        let missing = read(json!({"customerId": "c"}));
        assert!(missing.contains("eventType"), "{missing}");
    }

    #[test]
    fn borrowed_strings_stay_borrowed_and_an_owned_event_lives_on() {
        let owned = {
            let customer = "cust".to_owned();
            Event::new(customer.as_str(), "call").property("team", "eng").into_owned()
        };
        assert_eq!(owned.customer_id(), "cust");
    }
}
