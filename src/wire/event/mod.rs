//! Events as they come in, each bound kept while they are read, and as they are printed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::base::reading;
use crate::event::{Event, EventError};

mod entries;
mod fields;
mod number;
mod print;
mod property;

use self::fields::{Fields, Form, OneOf};
pub(in crate::wire) use self::print::{Property, properties, values};

/// How many events a batch has at most.
pub(crate) const MAX_BATCH: usize = 1_000;

/// What was read of an event.
#[cfg_attr(test, derive(PartialEq))]
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// All but what stands beside it here.
    event: Event<'a>,
    pub(crate) id: Option<Cow<'a, str>>,
    customer_id: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    dimensions: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Draft<'a> {
    fn new() -> Self {
        Self {
            event: Event::new("", ""),
            id: None,
            customer_id: None,
            event_type: None,
            dimensions: Vec::new(),
        }
    }

    /// The event, or what it lacks or has too much of.
    pub(crate) fn into_event(mut self) -> Result<Event<'a>, DraftProblem> {
        self.finish().map(|()| self.event)
    }

    /// Puts all into the event. It is large, and stays where it lies.
    fn finish(&mut self) -> Result<(), DraftProblem> {
        let Self { event, customer_id, event_type, dimensions, .. } = self;
        event.customer_id = customer_id.take().ok_or(DraftProblem::Missing("customerId"))?;
        event.event_type = event_type.take().ok_or(DraftProblem::Missing("eventType"))?;
        if !dimensions.is_empty() {
            let bare = std::mem::replace(event, Event::new("", ""));
            *event = with_dimensions(bare, dimensions.drain(..));
        }
        event.take_problem().map_or(Ok(()), |problem| Err(DraftProblem::Broken(problem)))
    }
}

/// Sets the `dimensions` of a body: the model and the provider where it has none of its own,
/// properties that are strings otherwise.
fn with_dimensions<'a>(
    mut event: Event<'a>,
    dimensions: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Event<'a> {
    for (key, value) in dimensions {
        event = match &*key {
            "model" if event.model.is_none() => event.model(value),
            "provider" if event.provider.is_none() => event.provider(value),
            _ => event.property(key, value),
        };
    }
    event
}

/// Why what was read is no event.
#[derive(Debug)]
pub(crate) enum DraftProblem {
    Missing(&'static str),
    Broken(EventError),
}

impl<'de, 'a> Deserialize<'de> for Event<'a> {
    /// Reads the body of a `track` request; `dimensions` are properties that are strings.
    ///
    /// What is not known, of another type, negative, or beyond one of the
    /// [`bounds`](crate::bounds), is an error that names the field, the value and the rule: a body
    /// is not read on from there. The rules of ids and keys are checked by the call that gets the
    /// event. A refund is a negative amount among the `values`, its cost under `cost_cents`. Linear
    /// in the length of the body.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        reading::read::<Body<'a>, D>(deserializer).map(|body| body.0)
    }
}

/// Reads an event from the body of a `track` request in JSON, as its [`Deserialize`] does and with
/// the same errors, faster: it borrows the texts that stand in the body as they are.
///
/// ```
/// use limitry::wire::event_from_json;
///
/// let body = br#"{"customerId": "cust_123", "eventType": "model_call", "inputTokens": 150}"#;
/// let event = event_from_json(body)?;
/// assert_eq!(event.customer_id(), "cust_123");
///
/// let why = event_from_json(br#"{"customerId": 7}"#).unwrap_err();
/// assert!(why.to_string().starts_with("customerId: 7 must be a string"));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// It is not JSON, or no event: the error names the field, the value and the rule.
pub fn event_from_json(json: &[u8]) -> Result<Event<'_>, serde_json::Error> {
    // Nearly all are good: they are read without the path to each value.
    let mut draft = Draft::new();
    let is_read = plain(json, Form::PlainBody, &mut draft).is_some() && draft.finish().is_ok();
    if is_read { Ok(draft.event) } else { serde_json::from_slice(json) }
}

/// Reads an event in a plain form; `None` of one that is not, whatever it is.
fn plain<'a>(json: &'a [u8], form: Form, draft: &mut Draft<'a>) -> Option<()> {
    // Looked through once, and not text by text.
    let mut reader = serde_json::Deserializer::from_str(str::from_utf8(json).ok()?);
    Fields { draft, form }.deserialize(&mut reader).ok()?;
    reader.end().ok()
}

/// An event as it stands in a body.
struct Body<'a>(Event<'a>);

impl<'de> Deserialize<'de> for Body<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_struct("Event", Form::Body.names(), BodyVisitor(PhantomData))
            .map(Self)
    }
}

struct BodyVisitor<'a>(PhantomData<fn() -> Event<'a>>);

impl<'de, 'a> Visitor<'de> for BodyVisitor<'a> {
    type Value = Event<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    /// What is missing is told in here, where a reader says the place.
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event<'a>, A::Error> {
        let mut draft = Draft::new();
        Fields { draft: &mut draft, form: Form::Body }.visit_map(map)?;
        let event = draft.into_event().map_err(|problem| match problem {
            DraftProblem::Missing(field) => Error::missing_field(field),
            DraftProblem::Broken(broken) => Error::custom(broken),
        })?;
        Ok(event.owned())
    }
}

/// An event as it stands in a line of an export; it borrows the texts of the line that stand there
/// as they are.
#[cfg_attr(test, derive(PartialEq))]
#[derive(Debug)]
pub(crate) struct Line<'a>(pub(crate) Draft<'a>);

impl<'a> Line<'a> {
    /// Reads one from JSON.
    ///
    /// A good line is read without the path to each value, and nearly all are good. One that is not
    /// read so is read once more, to say where it is bad.
    pub(crate) fn of(json: &'a [u8]) -> serde_json::Result<Self> {
        Self::plain(json).map_or_else(|| Self::of_any(json), Ok)
    }

    fn plain(json: &'a [u8]) -> Option<Self> {
        let mut draft = Draft::new();
        plain(json, Form::PlainLine, &mut draft).map(|()| Self(draft))
    }

    fn of_any(json: &'a [u8]) -> serde_json::Result<Self> {
        let mut draft = Draft::new();
        let mut reader = serde_json::Deserializer::from_slice(json);
        reading::read_by(Fields { draft: &mut draft, form: Form::Line }, &mut reader)?;
        reader.end()?;
        Ok(Self(draft))
    }
}

/// The body of a request to record many events: `{"events": [...]}`, or the list alone.
///
/// It is read as each [`Event`] is, at most 1 000 of them, and an error says which event it is
/// about: `events[3].inputTokens: -1 must be a whole number from 0 to 1000000000000000`.
///
/// ```
/// use limitry::wire::EventBatch;
/// use limitry::Engine;
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

#[cfg(test)]
mod tests;
