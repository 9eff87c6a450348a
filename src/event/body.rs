//! Reading an event, field by field, each bound kept while it is read.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::bounds::{self, MAX_PROPERTIES, Room};
use super::json::PropertySeed;
use super::whole::Whole;
use super::{Event, EventError, check_amount};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::base::text::excerpt;

/// The fields of a body.
const BODY: &[&str] = &[
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
    "idempotencyKey",
    "timestamp",
];

/// The fields of a line: those of a body, and what a recorded event has besides.
const LINE: &[&str] = &[
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

/// How many events a batch has at most.
pub(crate) const MAX_BATCH: usize = 1_000;

/// What was read of an event.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// All but what stands beside it here. Its strings are owned.
    event: Event<'a>,
    pub(crate) id: Option<String>,
    pub(crate) customer_id: Option<String>,
    pub(crate) event_type: Option<String>,
    dimensions: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Given<'a> {
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        self.event.timestamp
    }

    pub(crate) fn idempotency_key(&self) -> Option<&str> {
        self.event.key()
    }

    /// The event, or what it lacks or has too much of.
    pub(crate) fn into_event(self) -> Result<Event<'a>, Lack> {
        let mut event = self.event;
        event.customer_id = self.customer_id.ok_or(Lack::Field("customerId"))?.into();
        event.event_type = self.event_type.ok_or(Lack::Field("eventType"))?.into();
        let mut event = event.with_dimensions(self.dimensions);
        event.problem.take().map_or(Ok(event), |problem| Err(Lack::Broken(*problem)))
    }
}

/// Why what was read is no event.
#[derive(Debug)]
pub(crate) enum Lack {
    Field(&'static str),
    Broken(EventError),
}

impl<'de, 'a> Deserialize<'de> for Event<'a> {
    /// Reads the body of a `track` request; `dimensions` are properties that are strings.
    ///
    /// What is not known, of another type, negative, or beyond one of the [`bounds`], is an error
    /// that names the field, the value and the rule: a body is not read on from there. The rules of
    /// ids and keys are checked by the call that gets the event. A refund is a negative amount
    /// among the `values`, its cost under `cost_cents`. Linear in the length of the body.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        reading::read::<Body<'a>, D>(deserializer).map(|body| body.0)
    }
}

/// An event as it stands in a body.
struct Body<'a>(Event<'a>);

impl<'de, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form: Form<'a> = Form { fields: BODY, is_line: false, event: PhantomData };
        deserializer.deserialize_struct("Event", BODY, BodyVisitor(form)).map(Self)
    }
}

struct BodyVisitor<'a>(Form<'a>);

impl<'de, 'a> Visitor<'de> for BodyVisitor<'a> {
    type Value = Event<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event<'a>, A::Error> {
        self.0.visit_map(map)?.into_event().map_err(|lack| match lack {
            Lack::Field(field) => Error::missing_field(field),
            Lack::Broken(problem) => Error::custom(problem),
        })
    }
}

/// An event as it stands in a line of an export.
#[derive(Debug)]
pub(crate) struct Line(pub(crate) Given<'static>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        reading::read::<LineBody, D>(deserializer).map(|line| Self(line.0))
    }
}

struct LineBody(Given<'static>);

impl<'de> Deserialize<'de> for LineBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = Form { fields: LINE, is_line: true, event: PhantomData };
        deserializer.deserialize_struct("Event", LINE, form).map(Self)
    }
}

/// The body of a request to record many events: `{"events": [...]}`, or the list alone.
///
/// It is read as each [`Event`] is, at most 1 000 of them, and an error says which event it is
/// about: `events[3].inputTokens: -1 must be a whole number from 0 to 1000000000000000`.
///
/// ```
/// use limitry::{Engine, EventBatch};
///
/// let engine = Engine::builder().build()?;
/// let body = r#"{"events": [{"customerId": "cust_123", "eventType": "model_call"}]}"#;
/// let batch: EventBatch = serde_json::from_str(body)?;
/// assert_eq!(engine.record_batch(&batch.events)?.count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EventBatch {
    /// The events, in the order of the body.
    pub events: Vec<Event<'static>>,
}

impl<'de> Deserialize<'de> for EventBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        reading::read::<Batch, D>(deserializer).map(|batch| Self { events: batch.0 })
    }
}

struct Batch(Vec<Event<'static>>);

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BatchVisitor)
    }
}

struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `events`, or a list of events")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch, A::Error> {
        let mut events = None;
        while let Some(name) = map.next_key_seed(OneOf(&["events"]))? {
            if events.replace(map.next_value::<Events>()?).is_some() {
                return Err(Error::duplicate_field(name));
            }
        }
        events.map(|events| Batch(events.0)).ok_or_else(|| Error::missing_field("events"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Batch, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = items.next_element::<Body<'static>>()? {
            if events.len() >= MAX_BATCH {
                return Err(Error::custom("a batch must have at most 1000 events"));
            }
            events.push(event.0);
        }
        Ok(Batch(events))
    }
}

struct Events(Vec<Event<'static>>);

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BatchVisitor).map(|batch| Self(batch.0))
    }
}

/// Reads a name that is one of those that are known.
struct OneOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'static str, E> {
        let known = self.0.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| E::unknown_field(name, self.0))
    }
}

/// Reads the fields of an event.
struct Form<'a> {
    fields: &'static [&'static str],
    /// In a line null is as good as nothing, for every field.
    is_line: bool,
    event: PhantomData<fn() -> Event<'a>>,
}

impl<'de, 'a> Visitor<'de> for Form<'a> {
    type Value = Given<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given<'a>, A::Error> {
        let mut given = Given {
            event: Event::new("", ""),
            id: None,
            customer_id: None,
            event_type: None,
            dimensions: Vec::new(),
        };
        let mut seen = Vec::with_capacity(self.fields.len());
        while let Some(name) = map.next_key_seed(OneOf(self.fields))? {
            // They are two names of one field.
            let field = if self.is_line && name == "timestamp" { "createdAt" } else { name };
            if seen.contains(&field) {
                return Err(Error::duplicate_field(field));
            }
            seen.push(field);
            self.field(field, &mut given, &mut map)?;
        }
        Ok(given)
    }
}

impl<'a> Form<'a> {
    fn field<'de, A: MapAccess<'de>>(
        &self,
        field: &str,
        given: &mut Given<'a>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let event = &mut given.event;
        let whole = |number: Option<Whole>| number.map(|number| number.0);
        match field {
            "id" => given.id = map.next_value()?,
            "customerId" => given.customer_id = self.needed(map)?,
            "eventType" => given.event_type = self.needed(map)?,
            "model" => event.model = map.next_value::<Option<String>>()?.map(Cow::Owned),
            "provider" => event.provider = map.next_value::<Option<String>>()?.map(Cow::Owned),
            "inputTokens" => event.input_tokens = whole(map.next_value()?),
            "outputTokens" => event.output_tokens = whole(map.next_value()?),
            "totalTokens" => event.total_tokens = whole(map.next_value()?),
            "latencyMs" => event.latency_ms = whole(map.next_value()?),
            "costCents" if self.is_line => {
                event.cost_cents = map.next_value::<Option<Cost>>()?.map(|cost| cost.0);
            }
            "costCents" => {
                event.cost_cents = map.next_value::<Option<Charge>>()?.map(|charge| charge.0);
            }
            "idempotencyKey" => {
                event.idempotency_key = map.next_value::<Option<String>>()?.map(Cow::Owned);
            }
            "properties" => self.entries(map, Properties(event))?,
            "dimensions" => self.entries(map, Dimensions(&mut given.dimensions))?,
            "values" => self.entries(map, Values(event))?,
            _ => event.timestamp = map.next_value()?,
        }
        Ok(())
    }

    /// A text that a body must have.
    fn needed<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Option<String>, A::Error> {
        if self.is_line { map.next_value() } else { map.next_value().map(Some) }
    }

    /// The entries of a field that is an object.
    fn entries<'de, A: MapAccess<'de>, V: Visitor<'de, Value = ()>>(
        &self,
        map: &mut A,
        visitor: V,
    ) -> Result<(), A::Error> {
        map.next_value_seed(Entries { visitor, or_null: self.is_line })
    }
}

/// Reads an object, or null where that is as good as none.
struct Entries<V> {
    visitor: V,
    or_null: bool,
}

impl<'de, V: Visitor<'de, Value = ()>> DeserializeSeed<'de> for Entries<V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.or_null {
            deserializer.deserialize_option(self)
        } else {
            deserializer.deserialize_map(self.visitor)
        }
    }
}

impl<'de, V: Visitor<'de, Value = ()>> Visitor<'de> for Entries<V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.visitor)
    }
}

/// What is said of an entry that breaks a rule: its key is its value.
fn broken<E: Error>(key: &str, rule: &str) -> E {
    E::custom(format_args!("{:?} {rule}", excerpt(key)))
}

struct Properties<'e, 'a>(&'e mut Event<'a>);

impl<'de> Visitor<'de> for Properties<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut room = Room::of_properties();
        let mut place = 0_usize;
        while let Some(key) = map.next_key::<String>()? {
            let known = self.0.properties.iter().position(|(known, _)| *known == key);
            let fits = known.is_some() || self.0.properties.len() < MAX_PROPERTIES;
            let taken = if fits { Ok(()) } else { Err(bounds::PROPERTIES_RULE) };
            let taken = taken.and_then(|()| room.comma(place)).and_then(|()| room.key(&key));
            taken.map_err(|rule| broken(&key, rule))?;
            let mut rule = None;
            let seed = PropertySeed::new(&mut room, &mut rule);
            let value = map.next_value_seed(seed);
            // What is told of a value deep within names a path that nobody wants to read.
            let value = value.map_err(|why| rule.map_or(why, |rule| broken(&key, rule)))?;
            match known.and_then(|known| self.0.properties.get_mut(known)) {
                Some((_, known)) => *known = value,
                None => self.0.properties.push((Cow::Owned(key), value)),
            }
            place = place.saturating_add(1);
        }
        Ok(())
    }
}

struct Dimensions<'e, 'a>(&'e mut Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Visitor<'de> for Dimensions<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // The model and the provider may be among them.
        let most = MAX_PROPERTIES.saturating_add(2);
        while let Some(key) = map.next_key::<String>()? {
            let known = self.0.iter().position(|(known, _)| *known == key);
            if known.is_none() && self.0.len() >= most {
                return Err(broken(&key, bounds::PROPERTIES_RULE));
            }
            let value = Cow::Owned(map.next_value::<String>()?);
            match known.and_then(|known| self.0.get_mut(known)) {
                Some((_, known)) => *known = value,
                None => self.0.push((Cow::Owned(key), value)),
            }
        }
        Ok(())
    }
}

struct Values<'e, 'a>(&'e mut Event<'a>);

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if !self.0.has_room_for(&name) {
                return Err(broken(&name, bounds::VALUES_RULE));
            }
            map.next_value_seed(Value { event: &mut *self.0, name })?;
        }
        Ok(())
    }
}

/// The value of a name.
struct Value<'e, 'a> {
    event: &'e mut Event<'a>,
    name: String,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let amount = Amount::deserialize(deserializer)?;
        let set = check_amount(&self.name, amount).and_then(|()| {
            self.event.set_value(Cow::Owned(self.name), amount);
            self.event.problem.take().map_or(Ok(()), |problem| Err(*problem))
        });
        set.map_err(of_value)
    }
}

/// A cost in cents, or what is given back.
struct Cost(Amount);

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cents = Amount::deserialize(deserializer)?;
        check_amount("costCents", cents).map_err(of_value)?;
        Ok(Self(cents))
    }
}

/// A cost in cents as the first generation of the product takes it.
struct Charge(Amount);

impl<'de> Deserialize<'de> for Charge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Cost(cents) = Cost::deserialize(deserializer)?;
        if cents.is_negative() {
            let rule = "must not be negative; a refund is `cost_cents` in `values`";
            return Err(Error::custom(format_args!("{cents} {rule}")));
        }
        Ok(Self(cents))
    }
}

/// What is said of a value that breaks a rule, where its field is known.
fn of_value<E: Error>(problem: EventError) -> E {
    match problem {
        EventError::Invalid { value, rule, .. } => {
            let expected = rule.trim_start_matches("must be ");
            E::invalid_value(Unexpected::Other(&value), &expected)
        }
        other => E::custom(other),
    }
}
