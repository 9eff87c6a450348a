//! Where a customer stands on the limits: nothing is taken.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::{self, CUSTOMER, Limit};
use super::{body, meters};
use crate::decision::Standing;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, json};
use crate::http::failure::Failure;
use crate::rules::Enforcement;
use crate::usage::{MeterQuery, UsageQuery};
use crate::{Amount, Condition, Engine, Event, Metric, Timestamp};

/// What stands for the customer and the type where none is given.
const NOBODY: &str = "-";

/// What is asked about.
#[derive(Deserialize, ToSchema)]
#[schema(as = LimitQuestion)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    pub(super) customer_id: Option<String>,
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
}

/// Where a customer stands.
#[derive(Serialize, ToSchema)]
#[schema(as = LimitsCheck)]
pub(super) struct Checked {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    limits: Vec<Status>,
}

/// Where it stands on a limit.
#[derive(Serialize, ToSchema)]
#[schema(as = LimitStatus)]
#[serde(rename_all = "camelCase")]
struct Status {
    id: String,
    name: String,
    meter_id: String,
    period: &'static str,
    limit: Amount,
    used: Amount,
    remaining: Amount,
    exceeded: bool,
    /// A Unix second.
    #[schema(required)]
    reset: Option<i64>,
}

/// `POST /limits/check`
pub(super) async fn check(call: Call) -> Answer {
    let (project, question) = body::<Question>(call, Need::Check).await?;
    answer(project, question).await
}

/// Answers a question about limits.
pub(super) async fn answer(project: Project, question: Question) -> Answer {
    let check = move |engine: &Engine| {
        let asked = Asked::of(engine, question)?;
        let (mut allowed, mut standing) = (true, Vec::new());
        for limit in limits::all(engine).filter(|limit| asked.is_about(limit)) {
            let refuses = limit.quota.enforcement == Enforcement::Hard;
            if let Some(status) = asked.status(limit)? {
                allowed &= !(status.exceeded && refuses);
                standing.push(status);
            }
        }
        let reason = (!allowed).then_some("limit_exceeded");
        json(StatusCode::OK, &Checked { allowed, reason, limits: standing })
    };
    project.decide(check).await
}

/// A question, and the standing of an event that says no more than it does.
struct Asked<'e> {
    engine: &'e Engine,
    customer: Option<String>,
    dimensions: BTreeMap<String, String>,
    plain: Standing,
}

impl<'e> Asked<'e> {
    fn of(engine: &'e Engine, question: Question) -> Result<Self, Failure> {
        let Question { customer_id: customer, dimensions } = question;
        let plain = engine.standing(&event(customer.as_deref(), &texts(&dimensions)))?;
        Ok(Self { engine, customer, dimensions, plain })
    }

    /// Whether a limit is one for the customer and the dimensions.
    fn is_about(&self, limit: &Limit) -> bool {
        let value = |key: &str| self.dimensions.get(key).map(String::as_str);
        let is_met = |(key, condition): (&String, &Condition)| condition.is_met_by(value(key));
        (limit.customer.is_none() || limit.customer == self.customer)
            && limit.filters.iter().all(is_met)
            && limit.quota.per.iter().all(|key| key == CUSTOMER || value(key).is_some())
    }

    /// Where the customer stands on a limit; `None` where another limit is in its place.
    fn status(&self, limit: Limit) -> Result<Option<Status>, Failure> {
        let is_each = limit.quota.per.iter().any(|key| key == CUSTOMER);
        if is_each && self.customer.is_none() {
            return self.of_all_customers(limit);
        }
        // What a meter asks of events is not asked of who checks.
        let mut dimensions = texts(&self.dimensions);
        let mut is_plain = true;
        if let Metric::Meter(id) = &limit.quota.metric
            && let Some(meter) = self.engine.meters().get(id)
        {
            for (key, condition) in meter.event_filter.conditions() {
                let known = dimensions.get(key).map(|value| &**value);
                if key != CUSTOMER && !condition.is_met_by(known) {
                    is_plain = false;
                    fulfil(&mut dimensions, key, condition);
                }
            }
        }
        let own;
        let standing = if is_plain {
            &self.plain
        } else {
            own = self.engine.standing(&event(self.customer.as_deref(), &dimensions))?;
            &own
        };
        let Some(known) = standing.quotas().find(|known| known.id == limit.id()) else {
            return Ok(None);
        };
        let (used, reset, exceeded) = (known.used, known.reset, known.exceeded);
        let remaining = known.remaining.max(Amount::ZERO);
        Ok(Some(Status { used, remaining, exceeded, ..unused(limit, reset) }))
    }

    /// Where all customers together stand on a limit that is for each of them: in the period of
    /// the project.
    fn of_all_customers(&self, limit: Limit) -> Result<Option<Status>, Failure> {
        let period = limit.quota.period_at(self.engine.now(), self.engine.time_zone());
        // A filter of another kind cannot be asked for.
        let mut filters = Vec::new();
        for (key, condition) in &limit.filters {
            let Condition::Is(value) = condition else { return Ok(None) };
            filters.push((key.clone(), value.clone()));
        }
        let per = limit.quota.per.iter();
        filters
            .extend(per.filter_map(|key| Some((key.clone(), self.dimensions.get(key)?.clone()))));
        let all_time = Timestamp::MIN..Timestamp::MAX;
        let (reset, range) = (period.as_ref().map(|it| it.end), period.unwrap_or(all_time));
        let used = match &limit.quota.metric {
            Metric::Meter(id) => {
                let query = MeterQuery::new().between(range.start, range.end);
                let query = filters.into_iter().fold(query, |query, (k, v)| query.dimension(k, v));
                self.engine.meters().query(id, &query)?.value
            }
            metric => {
                let query = UsageQuery::new(range.start, range.end);
                let query = filters.into_iter().fold(query, |query, (k, v)| query.filter(k, v));
                meters::figure(metric, &self.engine.usage().summary(&query)?.totals)
            }
        };
        let remaining = limit.most.saturating_sub(used).max(Amount::ZERO);
        let exceeded = used >= limit.most;
        Ok(Some(Status { used, remaining, exceeded, ..unused(limit, reset) }))
    }
}

/// The status of a limit of which nothing is used.
fn unused(limit: Limit, reset: Option<Timestamp>) -> Status {
    Status {
        id: limit.id().to_owned(),
        name: limit.quota.name,
        meter_id: limit.meter_id,
        period: limit.period,
        limit: limit.most,
        used: Amount::ZERO,
        remaining: limit.most,
        exceeded: false,
        reset: reset.map(Timestamp::unix_seconds),
    }
}

type Texts<'t> = BTreeMap<Cow<'t, str>, Cow<'t, str>>;

fn texts(dimensions: &BTreeMap<String, String>) -> Texts<'_> {
    dimensions.iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// An event with these dimensions.
fn event<'t>(customer: Option<&'t str>, dimensions: &Texts<'t>) -> Event<'t> {
    let event_type = dimensions.get("event_type").cloned().unwrap_or(NOBODY.into());
    let mut event = Event::new(customer.unwrap_or(NOBODY), event_type);
    for (key, value) in dimensions {
        event = match &**key {
            CUSTOMER | "event_type" => event,
            "model" => event.model(value.clone()),
            "provider" => event.provider(value.clone()),
            _ => event.property(key.clone(), value.clone()),
        };
    }
    event
}

/// Lets a condition be met.
fn fulfil(dimensions: &mut Texts<'_>, key: &str, condition: &Condition) {
    let value = match condition {
        Condition::Is(value) | Condition::Prefix(value) => value.clone(),
        Condition::OneOf(values) => values.first().cloned().unwrap_or_default(),
        Condition::NoneOf(values) => {
            // One more than there are: one of them is another.
            let mut others =
                (0..=values.len()).map(|length| NOBODY.repeat(length.saturating_add(1)));
            others.find(|other| !values.contains(other)).unwrap_or_default()
        }
        Condition::Present => NOBODY.to_owned(),
        Condition::Absent => return drop(dimensions.remove(key)),
    };
    dimensions.insert(key.to_owned().into(), value.into());
}
