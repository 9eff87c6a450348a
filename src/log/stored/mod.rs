//! An event as the log keeps it: packed, and unpacked when it is asked for.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{EventId, RecordedEvent};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::{
    Codec, Malformed, Numbers, Reader, put_list, put_text, put_varint, put_wide,
};
use crate::base::format::Version;
use crate::counters::HowCounted;
use crate::event::{
    Dimension, Event, PropertyValue, ValueName, attached_json, stored_json, stored_object,
    total_tokens,
};

/// The packed form. Unpacking allocates nothing for an event of at most three properties and three
/// named values.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    facts: Facts<'a>,
    properties: Vec3<(&'a str, StoredValue<'a>)>,
    values: Vec3<(&'a str, Amount)>,
    /// What is attached, as JSON.
    attached: Option<&'a str>,
}

/// What an event has but for properties and named values.
#[derive(Clone, Copy, Debug)]
struct Facts<'a> {
    timestamp: Timestamp,
    /// The engine's time at which it was decided about; of what formats 1 and 2 packed it is in the
    /// record.
    decided_at: Timestamp,
    /// How it was counted; said where it was decided about at another instant than it happened.
    counted: HowCounted,
    customer_id: &'a str,
    event_type: &'a str,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    cost_cents: Option<Amount>,
    /// The cost was not given with the event.
    is_priced: bool,
    latency_ms: Option<u64>,
}

/// What the ways in which events are counted are stored as: never another number.
const COUNTED: [(HowCounted, u8); 3] =
    [(HowCounted::Asked, 0), (HowCounted::Recorded, 1), (HowCounted::Between, 2)];

/// Whose events are erased: those with a value of a dimension.
///
/// What stays of such an event is when it happened and was decided, its type, model, provider and
/// numbers, and of its properties the texts that are kept. It lacks the dimension from then on, so
/// that all sums stay that are not by it. An event without a customer is shown to nobody.
#[derive(Clone, Debug)]
pub(crate) struct Erased {
    pub(crate) dimension: Dimension,
    pub(crate) value: Box<str>,
    /// The properties that are dimensions of rules, meters or roll-ups; not the erased one.
    pub(crate) keeps: HashSet<Box<str>>,
}

impl Erased {
    /// Whether an event is one of those.
    pub(crate) fn has(&self, event: &Stored<'_>) -> bool {
        event.dimension(&self.dimension) == Some(&*self.value)
    }
}

type Vec3<T> = smallvec::SmallVec<[T; 3]>;

#[derive(Clone, Copy, Debug)]
enum StoredValue<'a> {
    Text(&'a str),
    Json(&'a str),
    /// An attribute of the customer: it was not given with the event.
    Attribute(&'a str),
}

impl<'a> StoredValue<'a> {
    /// The value as a dimension, if it is one.
    fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) | Self::Attribute(text) => Some(text),
            Self::Json(_) => None,
        }
    }
}

/// How a cost in cents is stored: whole ones, which most are, in few bytes, and any other in
/// millionths; and one that prices say, in millionths. The first two are an optional whole number,
/// which is what format 1 has here.
const NO_COST: u8 = 0;
const WHOLE_COST: u8 = 1;
const EXACT_COST: u8 = 2;
const PRICED: u8 = 3;
const TEXT: u8 = 0;
const JSON: u8 = 1;
/// Not a property, but all that is attached to the event: the last of them, under no key. Events
/// without it cost nothing for it.
const ATTACHED: u8 = 2;
const ATTRIBUTE: u8 = 3;

/// The timestamp of a packed event, with which it begins.
pub(crate) fn timestamp_of(event: Reader<'_>) -> Result<Timestamp, Malformed> {
    let mut from = event;
    decode_timestamp(&mut from).map(|(timestamp, _)| timestamp)
}

/// The same of one in the newest format.
pub(super) fn packed_timestamp(bytes: &[u8]) -> Option<Timestamp> {
    timestamp_of(Reader::new(Version::NEWEST, bytes)).ok()
}

/// The timestamp of a packed event, and when it was decided about.
pub(super) fn packed_times(bytes: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let times = decode_times(&mut Reader::new(Version::NEWEST, bytes)).ok();
    times.map(|(timestamp, decided_at, _)| (timestamp, decided_at))
}

/// How far the decision is from the timestamp is never 0 where it is said: a 0 says that the next
/// byte is how the event was counted, where rules were not asked.
fn decode_times(from: &mut Reader<'_>) -> Result<(Timestamp, Timestamp, HowCounted), Malformed> {
    let (timestamp, is_apart) = decode_timestamp(from)?;
    if !is_apart {
        let is_old = from.version() < Version::Three;
        let counted = if is_old { HowCounted::Between } else { HowCounted::Asked };
        return Ok((timestamp, timestamp, counted));
    }
    let (mut since, mut counted) = (from.wide()?, HowCounted::Asked);
    if since == 0 {
        let number = u8::decode(from)?;
        let known = COUNTED.iter().find(|(_, of)| *of == number);
        counted = known.ok_or_else(|| from.malformed("how an event was counted"))?.0;
        since = from.wide()?;
    }
    let decided_at = Timestamp::from_unix_nanos(timestamp.unix_nanos().saturating_add(since));
    Ok((timestamp, decided_at, counted))
}

/// The timestamp, and whether the decision was at another instant: from format 3 on the lowest bit
/// of the nanoseconds says so, which costs most events no byte.
fn decode_timestamp(from: &mut Reader<'_>) -> Result<(Timestamp, bool), Malformed> {
    let (seconds, nanos) = (from.signed()?, from.varint_u32()?);
    if from.version() < Version::Three {
        return Ok((Timestamp::new(seconds, nanos), false));
    }
    Ok((Timestamp::new(seconds, nanos >> 1), nanos & 1 == 1))
}

/// What an event has beside texts: the times take 15 bytes at the most, the figures 11 each.
type TimesOut = Numbers<24>;
type FiguresOut = Numbers<64>;

#[inline]
fn put_number(out: &mut FiguresOut, number: Option<u64>) {
    out.byte(u8::from(number.is_some()));
    if let Some(number) = number {
        out.varint(number);
    }
}

/// As an `Option<&str>` is encoded.
#[inline]
fn put_name(out: &mut Vec<u8>, name: Option<&str>) {
    let Some(name) = name else { return out.push(0) };
    if let Ok(length @ 0..0x80) = u8::try_from(name.len()) {
        out.extend_from_slice(&[1, length]);
    } else {
        out.push(1);
        put_varint(out, name.len() as u64);
    }
    out.extend_from_slice(name.as_bytes());
}

fn put_property(out: &mut Vec<u8>, key: &str, value: StoredValue<'_>) {
    put_text(out, key);
    let (kind, text) = match value {
        StoredValue::Text(text) => (TEXT, text),
        StoredValue::Json(json) => (JSON, json),
        StoredValue::Attribute(text) => (ATTRIBUTE, text),
    };
    out.push(kind);
    put_text(out, text);
}

fn put_attached(out: &mut Vec<u8>, json: &str) {
    put_text(out, "");
    out.push(ATTACHED);
    put_text(out, json);
}

fn put_value(out: &mut Vec<u8>, name: &str, amount: Amount) {
    put_text(out, name);
    put_wide(out, amount.millionths());
}

/// Packs an event that happened at `timestamp`, in the decision that is told. Strings are
/// borrowed: packing allocates nothing, but for properties that are no text.
pub(super) fn pack(
    event: &Event<'_>,
    timestamp: Timestamp,
    decided: (Timestamp, HowCounted),
    out: &mut Vec<u8>,
) {
    Facts::of(event, timestamp, decided).encode(out);
    let attached = event.attached();
    let more = u64::from(attached.is_some());
    put_varint(out, (event.properties.len() as u64).saturating_add(more));
    for (key, value) in &event.properties {
        match value {
            PropertyValue::Text(text) => put_property(out, key, StoredValue::Text(text)),
            PropertyValue::Json(json) => {
                put_property(out, key, StoredValue::Json(&json.to_string()));
            }
            PropertyValue::Attribute(text) => {
                put_property(out, key, StoredValue::Attribute(text));
            }
        }
    }
    if let Some(attached) = attached {
        put_attached(out, &attached_json(attached));
    }
    put_varint(out, event.values.len() as u64);
    event.values.iter().for_each(|(name, amount)| put_value(out, name, *amount));
}

fn decode_number(from: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    if bool::decode(from)? { from.varint().map(Some) } else { Ok(None) }
}

/// Puts a cost behind what is put together, or behind it in the bytes where it needs many.
#[inline]
fn put_cost(figures: &mut FiguresOut, out: &mut Vec<u8>, cents: Option<Amount>, is_priced: bool) {
    let Some(cents) = cents else { return figures.byte(NO_COST) };
    if let Some(whole) = cents.whole_units().filter(|_| !is_priced) {
        figures.byte(WHOLE_COST);
        figures.varint(whole);
    } else {
        figures.byte(if is_priced { PRICED } else { EXACT_COST });
        figures.append_to(out);
        put_wide(out, cents.millionths());
    }
}

/// The cost, and whether it is what prices say.
fn decode_cost(from: &mut Reader<'_>) -> Result<(Option<Amount>, bool), Malformed> {
    let kind = u8::decode(from)?;
    let cost = match kind {
        NO_COST => None,
        WHOLE_COST => Some(from.varint()?.into()),
        EXACT_COST | PRICED => Some(Amount::from_millionths(from.wide()?)),
        _ => return Err(from.malformed("a cost")),
    };
    Ok((cost, kind == PRICED))
}

impl<'a> Codec<'a> for Facts<'a> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        let is_apart = self.decided_at != self.timestamp;
        let mut times = TimesOut::new();
        let (seconds, nanos) = self.timestamp.split();
        times.signed(seconds);
        times.varint((u64::from(nanos) << 1) | u64::from(is_apart));
        times.append_to(out);
        if is_apart {
            let (decided_at, timestamp) =
                (self.decided_at.unix_nanos(), self.timestamp.unix_nanos());
            if self.counted != HowCounted::Asked {
                put_wide(out, 0);
                let known = COUNTED.iter().find(|(counted, _)| *counted == self.counted);
                out.push(known.map_or(0, |(_, number)| *number));
            }
            put_wide(out, decided_at.saturating_sub(timestamp));
        }
        put_text(out, self.customer_id);
        put_text(out, self.event_type);
        put_name(out, self.model);
        put_name(out, self.provider);
        let mut figures = FiguresOut::new();
        put_number(&mut figures, self.input_tokens);
        put_number(&mut figures, self.output_tokens);
        put_number(&mut figures, self.total_tokens);
        put_cost(&mut figures, out, self.cost_cents, self.is_priced);
        put_number(&mut figures, self.latency_ms);
        figures.append_to(out);
    }

    fn decode(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (timestamp, decided_at, counted) = decode_times(from)?;
        let mut facts = Self {
            timestamp,
            decided_at,
            counted,
            customer_id: from.text()?,
            event_type: from.text()?,
            model: Option::decode(from)?,
            provider: Option::decode(from)?,
            input_tokens: decode_number(from)?,
            output_tokens: decode_number(from)?,
            total_tokens: decode_number(from)?,
            cost_cents: None,
            is_priced: false,
            latency_ms: None,
        };
        (facts.cost_cents, facts.is_priced) = decode_cost(from)?;
        facts.latency_ms = decode_number(from)?;
        Ok(facts)
    }
}

impl<'a> Codec<'a> for Stored<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.facts.encode(out);
        let more = u64::from(self.attached.is_some());
        put_varint(out, (self.properties.len() as u64).saturating_add(more));
        self.properties.iter().for_each(|(key, value)| put_property(out, key, *value));
        if let Some(json) = self.attached {
            put_attached(out, json);
        }
        put_list(out, self.values.iter(), |(name, amount), out| put_value(out, name, *amount));
    }

    fn decode(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let facts = Facts::decode(from)?;
        let (properties, values) = (Vec3::new(), Vec3::new());
        let mut stored = Self { facts, properties, values, attached: None };
        for _ in 0..from.length("properties")? {
            let key = from.text()?;
            let value = match u8::decode(from)? {
                TEXT => StoredValue::Text(from.text()?),
                JSON => StoredValue::Json(from.text()?),
                ATTRIBUTE if from.version() >= Version::Three => {
                    StoredValue::Attribute(from.text()?)
                }
                ATTACHED if from.version() >= Version::Three => {
                    stored.attached = Some(from.text()?);
                    continue;
                }
                _ => return Err(from.malformed("a property")),
            };
            stored.properties.push((key, value));
        }
        for _ in 0..from.length("values")? {
            stored.values.push((from.text()?, Amount::from_millionths(from.wide()?)));
        }
        Ok(stored)
    }
}

impl<'a> Facts<'a> {
    #[inline]
    fn of(
        event: &'a Event<'_>,
        timestamp: Timestamp,
        (decided_at, counted): (Timestamp, HowCounted),
    ) -> Self {
        Self {
            timestamp,
            decided_at,
            counted,
            customer_id: &event.customer_id,
            event_type: &event.event_type,
            model: event.model.as_deref(),
            provider: event.provider.as_deref(),
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            total_tokens: event.total_tokens,
            cost_cents: event.cost_cents,
            is_priced: event.is_priced(),
            latency_ms: event.latency_ms,
        }
    }
}

impl<'a> Stored<'a> {
    /// Says when it was decided about: what formats 1 and 2 packed does not.
    pub(crate) fn decided(self, decided_at: Timestamp) -> Self {
        Self { facts: Facts { decided_at, ..self.facts }, ..self }
    }

    /// All dimensions by name; a property of a built-in's name may be among them.
    pub(super) fn dimensions(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let properties =
            self.properties.iter().filter_map(|(key, value)| Some((*key, value.text()?)));
        let built_in = [
            self.customer_id().map(|customer| ("customer_id", customer)),
            Some(("event_type", self.facts.event_type)),
            self.facts.model.map(|model| ("model", model)),
            self.facts.provider.map(|provider| ("provider", provider)),
        ];
        built_in.into_iter().flatten().chain(properties)
    }

    /// The customer, whom an event has until it is [erased](Erased).
    fn customer_id(&self) -> Option<&'a str> {
        Some(self.facts.customer_id).filter(|customer| !customer.is_empty())
    }

    /// Whether its customer was erased: it counts, and is shown to nobody.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.facts.customer_id.is_empty()
    }

    /// Erases whom it is about: what is left counts as before, but for the erased dimension.
    pub(crate) fn erase(&mut self, erased: &Erased) {
        match &erased.dimension {
            Dimension::CustomerId => self.facts.customer_id = "",
            Dimension::Model => self.facts.model = None,
            Dimension::Provider => self.facts.provider = None,
            Dimension::EventType | Dimension::Property(_) => {}
        }
        self.properties
            .retain(|(key, value)| value.text().is_some() && erased.keeps.contains(*key));
        self.attached = None;
    }

    /// When it was decided about.
    pub(crate) fn decided_at(&self) -> Timestamp {
        self.facts.decided_at
    }

    /// How it was counted.
    pub(crate) fn counted(&self) -> HowCounted {
        self.facts.counted
    }

    /// When the event happened.
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.facts.timestamp
    }

    /// The value of a dimension, as [`Event::dimension`] says it.
    pub(crate) fn dimension(&self, dimension: &Dimension) -> Option<&'a str> {
        match dimension {
            Dimension::CustomerId => self.customer_id(),
            Dimension::EventType => Some(self.facts.event_type),
            Dimension::Model => self.facts.model,
            Dimension::Provider => self.facts.provider,
            Dimension::Property(name) => self
                .properties
                .iter()
                .find_map(|(key, value)| value.text().filter(|_| **key == **name)),
        }
    }

    /// A value by name, as [`Event::amount`] says it.
    pub(crate) fn amount(&self, name: &ValueName) -> Option<Amount> {
        let whole = match name {
            ValueName::InputTokens => self.facts.input_tokens,
            ValueName::OutputTokens => self.facts.output_tokens,
            ValueName::TotalTokens => self.tokens(),
            ValueName::CostCents => return self.facts.cost_cents,
            ValueName::LatencyMs => self.facts.latency_ms,
            ValueName::Other(name) => {
                return self.values().find_map(|(known, v)| (*known == **name).then_some(v));
            }
        };
        whole.map(Amount::from)
    }

    /// The total of tokens, given or computed.
    fn tokens(&self) -> Option<u64> {
        total_tokens(self.facts.total_tokens, self.facts.input_tokens, self.facts.output_tokens)
            .flatten()
    }

    /// The values that are not built in, by name.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'a str, Amount)> {
        self.values.iter().copied()
    }

    /// Whether another event is a retry of this one, as their hashes would say it
    /// ([`Event::hash_payload`]): for idempotency keys. No allocation where there are no JSON
    /// properties.
    pub(crate) fn is_same_request(&self, event: &Event<'_>) -> bool {
        let given = self.has_same_properties(event, true) && self.has_given_cost(event);
        let whole =
            || self.facts.cost_cents == event.cost_cents && self.has_same_properties(event, false);
        // Names are there once each, so that as many, each of which is there, are all.
        let has_value = |(name, amount): &(Cow<'_, str>, Amount)| {
            self.values().any(|own| own == (&**name, *amount))
        };
        let has_attached = match (self.attached, event.attached()) {
            (Some(json), Some(attached)) => *json == attached_json(attached),
            (known, attached) => known.is_none() && attached.is_none(),
        };
        *self.facts.event_type == *event.event_type
            && self.facts.model == event.model.as_deref()
            && self.facts.provider == event.provider.as_deref()
            && self.facts.input_tokens == event.input_tokens
            && self.facts.output_tokens == event.output_tokens
            && self.tokens() == event.tokens().flatten()
            && self.facts.latency_ms == event.latency_ms
            && self.values.len() == event.values.len()
            && event.values.iter().all(has_value)
            && has_attached
            && (given || whole())
    }

    /// Whether an event was given the same cost: prices may have changed since.
    fn has_given_cost(&self, event: &Event<'_>) -> bool {
        self.facts.cost_cents.filter(|_| !self.facts.is_priced) == event.given_cost()
    }

    /// Whether an event has the same properties, or was given the same: attributes of the customer
    /// may have changed since.
    fn has_same_properties(&self, event: &Event<'_>, as_given: bool) -> bool {
        // Keys are there once each, so that as many, each of which is there, are all.
        let is_meant = |is_attribute: bool| !as_given || !is_attribute;
        let own = self.properties.iter();
        let own = own.filter(|(_, own)| is_meant(matches!(own, StoredValue::Attribute(_))));
        let of_event = event.properties.iter().filter(|(_, it)| is_meant(it.is_attribute()));
        let has_property = |(key, value): &(Cow<'_, str>, PropertyValue<'_>)| {
            let own = own.clone().find(|(own, _)| own == key);
            own.is_some_and(|(_, own)| match (own, value) {
                (StoredValue::Json(own), PropertyValue::Json(json)) => **own == *json.to_string(),
                (own, value) => own.text().is_some() && own.text() == value.text(),
            })
        };
        own.clone().count() == of_event.clone().count() && of_event.clone().all(has_property)
    }

    /// The event, without its timestamp; it borrows its texts.
    pub(crate) fn event(self) -> Event<'a> {
        let value = |value| match value {
            StoredValue::Text(text) => PropertyValue::Text(Cow::Borrowed(text)),
            StoredValue::Json(json) => stored_json(json),
            StoredValue::Attribute(text) => PropertyValue::Attribute(text.into()),
        };
        let properties = self.properties.into_iter();
        let values = self.values.into_iter();
        let mut event = Event {
            model: self.facts.model.map(Cow::Borrowed),
            provider: self.facts.provider.map(Cow::Borrowed),
            input_tokens: self.facts.input_tokens,
            output_tokens: self.facts.output_tokens,
            total_tokens: self.facts.total_tokens,
            latency_ms: self.facts.latency_ms,
            properties: properties.map(|(key, v)| (key.into(), value(v))).collect(),
            values: values.map(|(name, amount)| (name.into(), amount)).collect(),
            ..Event::new(self.facts.customer_id, self.facts.event_type)
        };
        event.set_attached(self.attached.map(stored_object).unwrap_or_default());
        event.set_cost(self.facts.cost_cents, self.facts.is_priced);
        event
    }

    pub(crate) fn unpack(self, id: EventId) -> RecordedEvent {
        let (timestamp, decided_at) = (self.facts.timestamp, self.facts.decided_at);
        let event = self.event().into_owned();
        RecordedEvent { id, timestamp, decided_at, event, correction: None }
    }
}

#[cfg(test)]
mod tests;
