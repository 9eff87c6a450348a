//! Events: recorded, listed, summed up.

use std::collections::BTreeMap;
use std::fmt;

use axum::http::StatusCode;
use axum::http::header::HeaderValue;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::customers;
use super::{first_of, need, need_param, parse, read};
use crate::events::{EventId, EventQuery};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Params, Project, json};
use crate::http::failure::Failure;
use crate::http::replay::REPLAYED;
use crate::usage::UsageQuery;
use crate::{Amount, Engine, Event, Timestamp};

/// How many events a batch has at most.
const MAX_BATCH: usize = 1_000;

/// An event as a body has it. What the first generation has in fields of their own is taken, too.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = EventBody)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Recorded {
    /// Whose act it is. At `/client` it is the token's customer.
    pub(super) customer_id: Option<String>,
    event_type: Option<String>,
    values: Option<BTreeMap<String, Amount>>,
    dimensions: Option<BTreeMap<String, String>>,
    properties: Option<Map<String, Value>>,
    timestamp: Option<Timestamp>,
    idempotency_key: Option<String>,
    model: Option<String>,
    provider: Option<String>,
    input_tokens: Option<Amount>,
    output_tokens: Option<Amount>,
    total_tokens: Option<Amount>,
    cost_cents: Option<Amount>,
    latency_ms: Option<Amount>,
}

impl Recorded {
    /// The event. A key is its own where it brings none.
    pub(super) fn event(self, key: Option<String>) -> Result<Event<'static>, Failure> {
        let customer = need(self.customer_id, "customerId")?;
        let mut event = Event::new(customer, need(self.event_type, "eventType")?);
        for (name, amount) in [
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
            ("total_tokens", self.total_tokens),
            ("cost_cents", self.cost_cents),
            ("latency_ms", self.latency_ms),
        ] {
            if let Some(amount) = amount {
                event = event.value(name, amount);
            }
        }
        for (name, amount) in self.values.unwrap_or_default() {
            event = event.value(name, amount);
        }
        let mut dimensions = self.dimensions.unwrap_or_default();
        if let Some(model) = self.model.or_else(|| dimensions.remove("model")) {
            event = event.model(model);
        }
        if let Some(provider) = self.provider.or_else(|| dimensions.remove("provider")) {
            event = event.provider(provider);
        }
        for (key, value) in dimensions {
            event = event.property(key, value);
        }
        for (key, value) in self.properties.unwrap_or_default() {
            event = event.attach(key, value);
        }
        if let Some(timestamp) = self.timestamp {
            event = event.timestamp(timestamp);
        }
        if let Some(key) = self.idempotency_key.or(key) {
            event = event.idempotency_key(key);
        }
        Ok(event)
    }
}

/// `POST /events/record`
pub(super) async fn record(call: Call) -> Answer {
    let mut call = call.needs(Need::Record)?;
    let key = call.key();
    let (project, body) = call.body().await?;
    record_one(project, parse::<Recorded>(&body)?.event(key)?).await
}

/// An event that was recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordedEvent)]
pub(super) struct Done {
    id: Option<EventId>,
    recorded: bool,
}

/// Records an event, whatever the limits say.
pub(super) async fn record_one(project: Project, event: Event<'static>) -> Answer {
    let is_new = customers::is_new(&project.engine, event.customer_id());
    let of = project.clone();
    let record = move |engine: &Engine| {
        if is_new {
            event.validate()?;
            customers::appear(&of, engine, std::iter::once(event.customer_id()))?;
        }
        let decision = engine.record(&event)?;
        let body = Done { id: decision.event_id(), recorded: true };
        let mut response = json(StatusCode::CREATED, &body)?;
        if decision.is_replay() {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    };
    // A new customer may wait for a disk.
    if is_new { project.ask(record).await } else { project.decide(record).await }
}

/// Up to 1 000 events, of which no more are read.
struct Events(Vec<Recorded>);

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EventsVisitor)
    }
}

struct EventsVisitor;

impl<'de> Visitor<'de> for EventsVisitor {
    type Value = Events;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Events, A::Error> {
        let mut events = Vec::new();
        while let Some(Object(event)) = items.next_element()? {
            if events.len() >= MAX_BATCH {
                return Err(A::Error::custom("a batch must have at most 1000 events"));
            }
            events.push(event);
        }
        Ok(Events(events))
    }
}

/// An event that is an object: a list of fields would do for serde.
struct Object(Recorded);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor).map(Self)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Recorded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Recorded, A::Error> {
        Recorded::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Up to 1 000 events, all of which are recorded, or none.
#[derive(Deserialize, ToSchema)]
#[schema(as = EventBatch)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    #[schema(value_type = Option<Vec<Recorded>>)]
    events: Option<Events>,
}

/// How many events were recorded.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchReport)]
pub(super) struct Counted {
    count: usize,
}

/// `POST /events/batch`: all of up to 1 000 events, or none.
pub(super) async fn record_batch(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Record)?.body().await?;
    let Events(events) = match first_of(&body) {
        Some(b'[') => read(&body)?,
        _ => need(parse::<Batch>(&body)?.events, "events")?,
    };
    let at = |index: usize, why: Failure| {
        let message = format!("events[{index}].{}", why.message);
        Failure { message, ..why }
    };
    let event = |(index, event): (usize, Recorded)| event.event(None).map_err(|why| at(index, why));
    let events: Vec<_> = events.into_iter().enumerate().map(event).collect::<Result<_, _>>()?;
    let of = project.clone();
    let record = move |engine: &Engine| {
        for (index, event) in events.iter().enumerate() {
            event.validate().map_err(|why| at(index, why.into()))?;
        }
        customers::appear(&of, engine, events.iter().map(Event::customer_id))?;
        json(StatusCode::CREATED, &Counted { count: engine.record_batch(&events)?.count })
    };
    project.ask(record).await
}

/// `GET /events`: the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let query: EventQuery = call.params().read()?;
    let list =
        move |engine: &Engine| json(StatusCode::OK, &engine.events().list(&query)?.generic());
    call.project.ask(list).await
}

/// `GET /events/summary`
pub(super) async fn summary(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let query = ranged(call.params())?;
    summed(&call.project, query).await
}

/// The sums of a range.
pub(super) async fn summed(project: &Project, query: UsageQuery) -> Answer {
    let sum =
        move |engine: &Engine| json(StatusCode::OK, &engine.usage().summary(&query)?.generic());
    project.ask(sum).await
}

/// `GET /events/breakdown`
pub(super) async fn breakdown(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let group_by = need_param(&mut params, "groupBy")?;
    let query = ranged(params)?;
    let sum = move |engine: &Engine| {
        json(StatusCode::OK, &engine.usage().breakdown(&query, &group_by)?.generic())
    };
    call.project.ask(sum).await
}

/// Reads a query, whose range must be given.
pub(super) fn ranged(params: Params) -> Result<UsageQuery, Failure> {
    let lacking = ["startDate", "endDate"].into_iter().find(|name| !params.has(name));
    need(lacking.is_none().then_some(()), lacking.unwrap_or_default())?;
    params.read()
}
