//! What the events of a reservation must keep to, beside what every event must.

use crate::base::amount::Amount;
use crate::event::bounds::MAX_VALUES;
use crate::event::{Event, EventError, PropertyValue, attached_json, total_tokens};
use crate::reservations::{Entry, Estimate};

/// What is reserved is not below zero.
pub(super) fn not_below_zero(event: &Event<'_>) -> Result<(), EventError> {
    let cost = event.cost_cents.iter().map(|cents| ("cost_cents", *cents));
    let values = event.values.iter().map(|(name, amount)| (&**name, *amount));
    match cost.chain(values).find(|(_, amount)| *amount < Amount::ZERO) {
        Some((name, amount)) => {
            let rule = "must not be below 0 in a reservation";
            Err(EventError::invalid(name, &amount.to_string(), rule))
        }
        None => Ok(()),
    }
}

/// An event that is committed is the customer's, and of the time and the key of the reserve.
pub(super) fn is_of(
    actual: &Event<'_>,
    entry: &Entry,
    estimate: &Estimate,
) -> Result<(), EventError> {
    is_same_customer(actual, estimate.is_of(actual.customer_id()))?;
    if let Some(timestamp) = actual.happened_at().filter(|it| *it != entry.timestamp) {
        let rule = "must be the timestamp of the reserve, or not be set";
        return Err(EventError::invalid("timestamp", &timestamp.to_string(), rule));
    }
    match actual.key().filter(|key| estimate.key() != Some(key)) {
        Some(key) => {
            let rule = "must be the key of the reserve, or not be set";
            Err(EventError::invalid("idempotency_key", key, rule))
        }
        None => Ok(()),
    }
}

fn is_same_customer(event: &Event<'_>, is_same: bool) -> Result<(), EventError> {
    if is_same {
        return Ok(());
    }
    let rule = "must be the customer of the reservation";
    Err(EventError::invalid("customer_id", event.customer_id(), rule))
}

/// What a reservation grows by has the dimensions of the reserve, as far as it has some.
pub(super) fn grows(more: &Event<'_>, estimate: &Event<'_>) -> Result<(), EventError> {
    const RULE: &str = "must be as in the reserve, or not be set";
    is_same_customer(more, more.customer_id() == estimate.customer_id())?;
    let wrong = |field: &str, value: &str| Err(EventError::invalid(field, value, RULE));
    if more.event_type() != estimate.event_type() {
        let rule = "must be the type of the reservation";
        return Err(EventError::invalid("event_type", more.event_type(), rule));
    }
    for name in ["model", "provider"] {
        if let Some(value) = more.dimension(name).filter(|it| estimate.dimension(name) != Some(it))
        {
            return wrong(name, value);
        }
    }
    for (key, value) in &more.properties {
        let is_same = |of: &PropertyValue<'_>| match (of.text(), value.text()) {
            (None, None) => of == value,
            (of, text) => of == text,
        };
        if !estimate.properties.iter().any(|(known, of)| known == key && is_same(of)) {
            let shown = match value {
                PropertyValue::Text(text) => text.to_string(),
                PropertyValue::Json(json) => json.to_string(),
                PropertyValue::Attribute(text) => text.to_string(),
            };
            return wrong(key, &shown);
        }
    }
    if let Some(attached) = more.attached() {
        let known = |key| estimate.attached().and_then(|known| known.get(key));
        if attached.iter().any(|(key, value)| known(key) != Some(value)) {
            return wrong("attached", &attached_json(attached));
        }
    }
    if let Some(key) = more.key() {
        return wrong("idempotency_key", key);
    }
    match more.happened_at() {
        Some(timestamp) => wrong("timestamp", &timestamp.to_string()),
        None => not_below_zero(more),
    }
}

/// The dimensions of the estimate with the values of `more`.
pub(super) fn with_values_of<'a>(estimate: &Event<'a>, more: &Event<'_>) -> Event<'a> {
    let values = more.values.iter();
    let mut event = Event {
        input_tokens: more.input_tokens,
        output_tokens: more.output_tokens,
        total_tokens: more.total_tokens,
        latency_ms: more.latency_ms,
        values: values.map(|(name, amount)| (name.to_string().into(), *amount)).collect(),
        ..estimate.clone()
    };
    event.set_cost(more.cost_cents, more.is_priced());
    event
}

/// The estimate with the values of `more` added to its own.
///
/// # Errors
/// A sum is beyond what an event may have.
pub(super) fn sum<'a>(estimate: &Event<'a>, more: &Event<'_>) -> Result<Event<'a>, EventError> {
    let mut sum = estimate.clone();
    let tokens = |event: &Event<'_>| {
        total_tokens(event.total_tokens, event.input_tokens, event.output_tokens).flatten()
    };
    let total = added(tokens(estimate), tokens(more));
    if estimate.total_tokens.is_some() || more.total_tokens.is_some() {
        sum.total_tokens = total;
    }
    sum.input_tokens = added(estimate.input_tokens, more.input_tokens);
    sum.output_tokens = added(estimate.output_tokens, more.output_tokens);
    sum.latency_ms = added(estimate.latency_ms, more.latency_ms);
    if let Some(cents) = more.cost_cents {
        let cents = cents.saturating_add(estimate.cost_cents.unwrap_or(Amount::ZERO));
        sum.set_cost(Some(cents), estimate.given_cost().is_none() && more.is_priced());
    }
    for (name, amount) in &more.values {
        let has_room = sum.values.len() < MAX_VALUES;
        match sum.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = known.saturating_add(*amount),
            None if has_room => {
                sum.values.push((name.to_string().into(), *amount));
            }
            None => {
                let rule = crate::event::bounds::VALUES_RULE;
                return Err(EventError::invalid("values", name, rule));
            }
        }
    }
    sum.validate()?;
    Ok(sum)
}

/// A sum of numbers that are both within the bounds of an event.
fn added(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}
