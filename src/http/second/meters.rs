//! Meters: those of the engine, and the global ones that every project has.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{body, fresh_id, given, need, not_found, parse};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::{Failure, Reason};
use crate::http::pages::{Asked, Place};
use crate::rules::{Aggregation, EventFilter, MeterField, MeterUpdate};
use crate::usage::{Coverage, MeterQuery, UsageQuery, UsageTotals};
use crate::{Amount, Engine, Meter, Metric, Timestamp};

/// The metrics with a global meter, whose id is `mtr_` and the metric's name.
const GLOBAL: [&str; 6] = [
    "total_events",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "total_cost_cents",
    "latency_ms",
];
const PREFIX: &str = "mtr_";

/// The meter that a metric is the figure of. One of any other value is named as the metric is:
/// `values.images`.
pub(super) fn id_of(metric: &Metric) -> Option<String> {
    let name = metric.to_string();
    match metric {
        Metric::Meter(id) => Some(id.clone()),
        Metric::Unique(_) => None,
        _ if GLOBAL.contains(&&*name) => Some(format!("{PREFIX}{name}")),
        _ => Some(name),
    }
}

/// The metric that is a meter's figure. A meter of the engine comes before a global one.
pub(super) fn metric_of(engine: &Engine, id: &str) -> Result<Metric, Failure> {
    if engine.meters().get(id).is_some() {
        return Ok(Metric::meter(id));
    }
    global(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Failure {
    not_found("meter", "meter_not_found", id)
}

/// The metric of a global meter.
fn global(id: &str) -> Option<Metric> {
    let name = id.strip_prefix(PREFIX).filter(|name| GLOBAL.contains(name));
    let name = name.or_else(|| id.starts_with("values.").then_some(id))?;
    name.parse().ok().filter(|metric| id_of(metric).as_deref() == Some(id))
}

/// The meter that counts what a metric does.
fn meter_of(metric: &Metric) -> Option<Meter> {
    let name = metric.to_string();
    let meter = match metric {
        Metric::TotalEvents => Meter::count(&*name),
        Metric::Meter(_) | Metric::Unique(_) => return None,
        metric => Meter::sum(&*name, metric.value_name()?),
    };
    Some(meter.id(id_of(metric)?))
}

/// A meter as it is shown: of the project, unless it is a global one.
#[derive(Serialize, ToSchema)]
#[schema(as = Meter)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    #[schema(required)]
    id: Option<String>,
    #[schema(required)]
    project_id: Option<String>,
    name: String,
    #[schema(required)]
    description: Option<String>,
    aggregation: Aggregation,
    field: MeterField,
    event_filter: EventFilter,
    #[schema(required)]
    created_at: Option<Timestamp>,
    #[schema(required)]
    updated_at: Option<Timestamp>,
}

impl Shown {
    fn of(project: Option<&str>, meter: Meter) -> Self {
        let Meter { id, name, description, aggregation, field, event_filter, .. } = meter;
        let (created_at, updated_at) = (meter.created_at, meter.updated_at);
        let project_id = project.map(str::to_owned);
        let id_and_name = (id, project_id, name, description);
        let (id, project_id, name, description) = id_and_name;
        Self {
            id,
            project_id,
            name,
            description,
            aggregation,
            field,
            event_filter,
            created_at,
            updated_at,
        }
    }
}

/// What a body says of a meter.
#[derive(Deserialize, ToSchema)]
#[schema(as = MeterChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Given {
    name: Option<String>,
    #[serde(default, deserialize_with = "one_of_four")]
    aggregation: Option<Aggregation>,
    field: Option<MeterField>,
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    #[expect(clippy::option_option, reason = "not given, given as null, given")]
    description: Option<Option<String>>,
    event_filter: Option<EventFilter>,
}

/// Reads an aggregation that the product has.
fn one_of_four<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Aggregation>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Known {
        Sum,
        Count,
        Max,
        Latest,
    }
    Ok(Option::deserialize(from)?.map(|known| match known {
        Known::Sum => Aggregation::Sum,
        Known::Count => Aggregation::Count,
        Known::Max => Aggregation::Max,
        Known::Latest => Aggregation::Latest,
    }))
}

/// `POST /meters`
pub(super) async fn add(call: Call) -> Answer {
    let (project, given) = body::<Given>(call, Need::Manage).await?;
    let name = need(given.name, "name")?;
    let aggregation = need(given.aggregation, "aggregation")?;
    let mut meter = Meter::count(name).id(fresh_id(PREFIX)?);
    meter.aggregation = aggregation;
    meter.field = need(given.field, "field")?;
    meter.description = given.description.flatten();
    meter.event_filter = given.event_filter.unwrap_or_default();
    meter.project_id = Some(project.id.to_string());
    let id = project.id.clone();
    let add = move |engine: &Engine| {
        json(StatusCode::CREATED, &Shown::of(Some(&id), engine.meters().add(meter)?))
    };
    project.ask(add).await
}

/// `PUT /meters/{id}`
pub(super) async fn update(call: Call) -> Answer {
    let id = call.id();
    let (project, given) = body::<Given>(call, Need::Manage).await?;
    let update = MeterUpdate {
        name: given.name,
        aggregation: given.aggregation,
        field: given.field,
        description: given.description,
        event_filter: given.event_filter,
        ..MeterUpdate::new()
    };
    let of = project.id.clone();
    let update = move |engine: &Engine| {
        owned(engine, &id)?;
        json(StatusCode::OK, &Shown::of(Some(&of), engine.meters().update(&id, update)?))
    };
    project.ask(update).await
}

/// `DELETE /meters/{id}`
pub(super) async fn remove(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let remove = move |engine: &Engine| {
        owned(engine, &id)?;
        engine.meters().remove(&id)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(remove).await
}

/// Checks that a meter is there to be changed.
fn owned(engine: &Engine, id: &str) -> Result<(), Failure> {
    if engine.meters().get(id).is_some() {
        return Ok(());
    }
    global(id).ok_or_else(|| unknown(id))?;
    let message = format_args!("{id:?} is a global meter, which is as it is");
    Err(Failure::new(Reason::Forbidden, &message))
}

/// `GET /meters/{id}`
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let own = call.project.engine.meters().get(&id);
    let shown = match own {
        Some(meter) => Some(Shown::of(Some(&call.project.id), meter)),
        None => global(&id).and_then(|it| meter_of(&it)).map(|meter| Shown::of(None, meter)),
    };
    json(StatusCode::OK, &shown.ok_or_else(|| unknown(&id))?)
}

/// `GET /meters`: the newest first, the global ones last.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let asked = Asked::of(call.params())?;
    let meters = call.project.engine.meters();
    let own = meters.list().into_iter().rev();
    let own = own.map(|meter| Shown::of(Some(&call.project.id), meter));
    let global = GLOBAL.into_iter().filter_map(|name| meter_of(&name.parse().ok()?));
    // One of the engine's that has the id stands in its place.
    let global = global.filter(|meter| meters.get(meter.known_id()).is_none());
    let all = own.chain(global.map(|meter| Shown::of(None, meter))).collect();
    asked.page(all, |shown| Place::new(shown.created_at, shown.id.as_deref()))?.answer()
}

/// `POST /meters/{id}/query`
pub(super) async fn query(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let (project, bytes) = call.body().await?;
    let query = move |engine: &Engine| match metric_of(engine, &id)? {
        Metric::Meter(id) => {
            json(StatusCode::OK, &engine.meters().query(&id, &parse::<MeterQuery>(&bytes)?)?)
        }
        metric => {
            let meter = meter_of(&metric).ok_or_else(|| unknown(&id))?;
            let query = parse::<Question>(&bytes)?.usage();
            let summary = engine.usage().summary(&query)?;
            let value = figure(&metric, &summary.totals);
            let covers = Some(summary.covers).filter(|covers| !covers.is_complete);
            let Meter { name, aggregation, .. } = meter;
            let (meter_id, meter_name) = (id, name);
            json(StatusCode::OK, &Figure { meter_id, meter_name, value, aggregation, covers })
        }
    };
    project.ask(query).await
}

/// What is asked of a global meter.
#[derive(Deserialize, ToSchema)]
#[schema(as = MeterQuery)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    customer_id: Option<String>,
    #[serde(default)]
    dimensions: std::collections::BTreeMap<String, String>,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
}

impl Question {
    fn usage(self) -> UsageQuery {
        let mut query = match (self.start_date, self.end_date) {
            (None, None) => UsageQuery::all_time(),
            (start, end) => {
                UsageQuery::new(start.unwrap_or(Timestamp::MIN), end.unwrap_or(Timestamp::MAX))
            }
        };
        if let Some(customer) = self.customer_id {
            query = query.customer(customer);
        }
        self.dimensions.into_iter().fold(query, |query, (key, value)| query.filter(key, value))
    }
}

/// What a meter counts, as the engine says of its own.
#[derive(Serialize, ToSchema)]
#[schema(as = MeterValue)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figure {
    meter_id: String,
    meter_name: String,
    value: Amount,
    aggregation: Aggregation,
    #[serde(skip_serializing_if = "Option::is_none")]
    covers: Option<Coverage>,
}

/// What totals say of a metric that is no meter of the engine.
pub(super) fn figure(metric: &Metric, totals: &UsageTotals) -> Amount {
    let whole = |sum: u128| Amount::from(u64::try_from(sum).unwrap_or(u64::MAX));
    match metric {
        Metric::TotalEvents => Amount::from(totals.total_events),
        Metric::TotalTokens => whole(totals.total_tokens),
        Metric::TotalCostCents => totals.total_cost_cents,
        other => match other.value_name() {
            Some("input_tokens") => whole(totals.total_input_tokens),
            Some("output_tokens") => whole(totals.total_output_tokens),
            Some(name) => totals.values.get(name).copied().unwrap_or_default(),
            None => Amount::ZERO,
        },
    }
}
