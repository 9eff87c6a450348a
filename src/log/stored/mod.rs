//! An event as the log keeps it: packed, and unpacked when it is asked for.

use std::borrow::Cow;

use super::{EventId, RecordedEvent};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_signed, put_text, put_varint, put_wide};
use crate::base::format::Version;
use crate::event::{Dimension, Event, Fields, PropertyValue, ValueName, kept_json};

/// The packed form. Strings are borrowed both ways, so packing allocates nothing, and unpacking
/// nothing for an event of at most three properties and three named values.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    timestamp: Timestamp,
    /// The engine's time at which it was decided about; of what formats 1 and 2 packed it is in the
    /// record.
    decided_at: Timestamp,
    texts: (&'a str, &'a str, Option<&'a str>, Option<&'a str>),
    /// Input, output and total tokens.
    tokens: [Option<u64>; 3],
    cost_cents: Option<Amount>,
    latency_ms: Option<u64>,
    properties: Vec3<(&'a str, StoredValue<'a>)>,
    values: Vec3<(&'a str, Amount)>,
}

type Vec3<T> = smallvec::SmallVec<[T; 3]>;

#[derive(Debug)]
enum StoredValue<'a> {
    Text(&'a str),
    Json(Cow<'a, str>),
}

/// How a cost in cents is stored: whole ones, which most are, in few bytes, and any other in
/// millionths. The first two are an optional whole number, which is what format 1 has here.
const NO_COST: u8 = 0;
const WHOLE_COST: u8 = 1;
const EXACT_COST: u8 = 2;
const TEXT: u8 = 0;
const JSON: u8 = 1;

/// The timestamp of a packed event, with which it begins.
pub(super) fn packed_timestamp(bytes: &[u8]) -> Option<Timestamp> {
    decode_timestamp(&mut Reader::new(Version::NEWEST, bytes)).ok()
}

fn decode_timestamp(from: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    let seconds = from.signed()?;
    Ok(Timestamp::new(seconds, from.varint_u32()?))
}

fn put_number(out: &mut Vec<u8>, number: Option<u64>) {
    number.is_some().encode(out);
    if let Some(number) = number {
        put_varint(out, number);
    }
}

fn decode_number(from: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    if bool::decode(from)? { from.varint().map(Some) } else { Ok(None) }
}

fn put_cost(out: &mut Vec<u8>, cents: Option<Amount>) {
    match cents.map(|cents| (cents, u64::try_from(cents))) {
        None => out.push(NO_COST),
        Some((_, Ok(whole))) => {
            out.push(WHOLE_COST);
            put_varint(out, whole);
        }
        Some((cents, Err(_))) => {
            out.push(EXACT_COST);
            put_wide(out, cents.millionths());
        }
    }
}

fn decode_cost(from: &mut Reader<'_>) -> Result<Option<Amount>, Malformed> {
    match u8::decode(from)? {
        NO_COST => Ok(None),
        WHOLE_COST => from.varint().map(|whole| Some(whole.into())),
        EXACT_COST => from.wide().map(|exact| Some(Amount::from_millionths(exact))),
        _ => Err(from.malformed("a cost")),
    }
}

impl<'a> Codec<'a> for Stored<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_signed(out, self.timestamp.unix_seconds());
        put_varint(out, self.timestamp.subsec_nanos().into());
        let nanos = |at: Timestamp| at.unix_nanos();
        put_wide(out, nanos(self.decided_at).saturating_sub(nanos(self.timestamp)));
        let (customer_id, event_type, model, provider) = self.texts;
        put_text(out, customer_id);
        put_text(out, event_type);
        model.encode(out);
        provider.encode(out);
        self.tokens.iter().for_each(|number| put_number(out, *number));
        put_cost(out, self.cost_cents);
        put_number(out, self.latency_ms);
        put_varint(out, self.properties.len() as u64);
        for (key, value) in &self.properties {
            put_text(out, key);
            let (kind, text) = match value {
                StoredValue::Text(text) => (TEXT, *text),
                StoredValue::Json(json) => (JSON, &**json),
            };
            out.push(kind);
            put_text(out, text);
        }
        put_varint(out, self.values.len() as u64);
        for (name, amount) in &self.values {
            put_text(out, name);
            put_wide(out, amount.millionths());
        }
    }

    fn decode(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let timestamp = decode_timestamp(from)?;
        let since = if from.version() < Version::Three { 0 } else { from.wide()? };
        let decided_at = match since {
            0 => timestamp,
            since => Timestamp::from_unix_nanos(timestamp.unix_nanos().saturating_add(since)),
        };
        let texts = (from.text()?, from.text()?, Option::decode(from)?, Option::decode(from)?);
        let tokens = [decode_number(from)?, decode_number(from)?, decode_number(from)?];
        let (cost_cents, latency_ms) = (decode_cost(from)?, decode_number(from)?);
        let mut properties = Vec3::new();
        for _ in 0..from.length("properties")? {
            let key = from.text()?;
            let value = match u8::decode(from)? {
                TEXT => StoredValue::Text(from.text()?),
                JSON => StoredValue::Json(Cow::Borrowed(from.text()?)),
                _ => return Err(from.malformed("a property")),
            };
            properties.push((key, value));
        }
        let mut values = Vec3::new();
        for _ in 0..from.length("values")? {
            values.push((from.text()?, Amount::from_millionths(from.wide()?)));
        }
        Ok(Self {
            timestamp,
            decided_at,
            texts,
            tokens,
            cost_cents,
            latency_ms,
            properties,
            values,
        })
    }
}

impl<'a> Stored<'a> {
    /// An event that happened at `timestamp`, in the decision at `decided_at`.
    pub(super) fn of(fields: &Fields<'a>, timestamp: Timestamp, decided_at: Timestamp) -> Self {
        let value = |value: &'a PropertyValue<'_>| match value {
            PropertyValue::Text(text) => StoredValue::Text(text),
            PropertyValue::Json(json) => StoredValue::Json(Cow::Owned(json.to_string())),
        };
        let [input, output, total, latency_ms] = fields.numbers;
        Self {
            timestamp,
            decided_at,
            texts: fields.texts,
            tokens: [input, output, total],
            cost_cents: fields.cost_cents,
            latency_ms,
            properties: fields.properties.iter().map(|(key, v)| (&**key, value(v))).collect(),
            values: fields.values.iter().map(|(name, v)| (&**name, *v)).collect(),
        }
    }

    /// Says when it was decided about: what formats 1 and 2 packed does not.
    pub(crate) fn decided(self, decided_at: Timestamp) -> Self {
        Self { decided_at, ..self }
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
        self.timestamp
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
            ValueName::CostCents => return self.cost_cents,
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
        self.values.iter().copied()
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
        let own_cost = self.cost_cents;
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
        let (timestamp, decided_at) = (self.timestamp, self.decided_at);
        let (numbers, cost_cents) = (self.numbers(), self.cost_cents);
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
        RecordedEvent { id, timestamp, decided_at, event }
    }
}

#[cfg(test)]
mod tests;
