//! What is sent: an alert in the words of the generation that an endpoint is of.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::generation::Generation;
use crate::alerts::{Alert, AlertKind};
use crate::{Amount, Timestamp};

/// The type of what is sent as a test.
const PING: &str = "ping";

const FIRST: [(&str, &str); 1] =
    [("quota.threshold_exceeded", "What is used of a quota has reached one of its thresholds")];
const OTHERS: [(&str, &str); 3] = [
    ("limit.threshold_reached", "What is used of a limit has reached one of its thresholds"),
    ("limit.exceeded", "What is used of a limit has reached all of it"),
    ("balance.low", "A balance has fallen to one of its thresholds"),
];

/// Returns the types of events that there are in a generation, each with what it means. Beside them
/// every endpoint is sent `ping`, when that is asked for.
#[must_use]
pub fn event_types(generation: Generation) -> &'static [(&'static str, &'static str)] {
    match generation {
        Generation::First => &FIRST,
        Generation::Second | Generation::Third => &OTHERS,
    }
}

/// An event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) body: Arc<str>,
}

/// An alert of the first generation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThresholdExceeded<'a> {
    event: &'static str,
    quota: Quota<'a>,
    customer_id: Option<&'a str>,
    usage: Usage,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Quota<'a> {
    id: &'a str,
    customer_id: Option<&'a str>,
    limit: Option<Amount>,
    usage: Amount,
}

#[derive(Serialize)]
struct Usage {
    current: Amount,
    limit: Option<Amount>,
    percentage: Option<u64>,
}

/// An event of the third generation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    id: &'a str,
    r#type: &'a str,
    created_at: Timestamp,
    data: &'a RawValue,
}

/// A test of the second generation.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    event: &'a str,
    timestamp: Timestamp,
    data: &'a RawValue,
}

impl Payload {
    /// That of an alert in a generation's words, if it is said in them.
    pub(super) fn of(
        alert: &Alert,
        generation: Generation,
    ) -> Result<Option<Self>, serde_json::Error> {
        let id = alert.id.to_string();
        let (event_id, event_type, body) = match generation {
            Generation::First if alert.kind == AlertKind::BalanceLow => return Ok(None),
            Generation::First => {
                let customer_id = alert.customer_id.as_deref();
                let Alert { limit, used, percentage, .. } = *alert;
                let quota = Quota { id: &alert.rule_id, customer_id, limit, usage: used };
                let usage = Usage { current: used, limit, percentage };
                let event = "quota.threshold_exceeded";
                let body = ThresholdExceeded { event, quota, customer_id, usage };
                (id, event.to_owned(), serde_json::to_string(&body)?)
            }
            Generation::Second => (id, alert.kind.to_string(), serde_json::to_string(alert)?),
            Generation::Third => {
                // The letters that are of this alert alone, under the name of an event.
                let id = format!("evt_{}", id.strip_prefix("alt_").unwrap_or(&id));
                let kind = alert.kind.to_string();
                let whole = serde_json::to_string(alert)?;
                let parts: std::collections::BTreeMap<String, &RawValue> =
                    serde_json::from_str(&whole)?;
                let data = parts.get("data").copied().unwrap_or(RawValue::NULL);
                let body = Event { id: &id, r#type: &kind, created_at: alert.at, data };
                let body = serde_json::to_string(&body)?;
                (id, kind, body)
            }
        };
        Ok(Some(Self { event_id, event_type, body: body.into() }))
    }

    /// That of a test.
    pub(super) fn ping(
        id: String,
        generation: Generation,
        now: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let data = serde_json::value::to_raw_value(&serde_json::Map::new())?;
        let body = match generation {
            Generation::First => serde_json::to_string(&serde_json::json!({"event": PING}))?,
            Generation::Second => {
                let body = Envelope { id: &id, event: PING, timestamp: now, data: &data };
                serde_json::to_string(&body)?
            }
            Generation::Third => {
                let body = Event { id: &id, r#type: PING, created_at: now, data: &data };
                serde_json::to_string(&body)?
            }
        };
        Ok(Self { event_id: id, event_type: PING.to_owned(), body: body.into() })
    }
}
