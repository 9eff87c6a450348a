//! Limits: quotas on meters.
//!
//! A limit is a quota per customer, so that its periods are the customer's; one of a customer
//! filters it. Limits that differ in their customer alone are of one policy, so that a customer's
//! own stands in the place of the one for all.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{body, fresh_id, given, meters, need, not_found};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::http::pages::{Asked, Place};
use crate::rules::{QuotaUpdate, Threshold};
use crate::{Amount, Condition, Engine, Metric, Period, Quota, Timestamp};

const PREFIX: &str = "lmt_";
pub(super) const CUSTOMER: &str = "customer_id";
/// What the names of policies begin with that are made here.
const POLICY: &str = "limits of ";

const PERIODS: [(Period, &str); 6] = [
    (Period::Hour, "hour"),
    (Period::Day, "day"),
    (Period::Week, "week"),
    (Period::Month, "month"),
    (Period::Year, "annual"),
    (Period::AllTime, "all_time"),
];

/// What a filter asks of dimensions other than the customer's.
type Filters = BTreeMap<String, Condition>;

/// A quota that can be said as a limit.
pub(super) struct Limit {
    pub(super) quota: Quota,
    pub(super) meter_id: String,
    pub(super) period: &'static str,
    pub(super) most: Amount,
    /// Whose it is; everybody's where it is not one customer's.
    pub(super) customer: Option<String>,
    /// What it asks of other dimensions.
    pub(super) filters: Filters,
}

impl Limit {
    /// `None` of a quota that this generation has no words for: one that is off, has no limit, is a
    /// balance, has several periods as one, one of another kind or one from the first use, counts
    /// different values, or asks more of the customer than to be one.
    pub(super) fn of(quota: Quota) -> Option<Self> {
        let meter_id = meters::id_of(&quota.metric)?;
        let (_, period) = PERIODS.into_iter().find(|(period, _)| *period == quota.period)?;
        let most = quota.limit_value?;
        let is_plain = quota.every.unwrap_or(1) == 1 && quota.first_use != Some(true);
        if !quota.enabled || quota.balance.is_some() || !is_plain {
            return None;
        }
        let mut filters = quota.dimension_filters.clone();
        let customer = match filters.remove(CUSTOMER) {
            None => None,
            Some(Condition::Is(customer)) => Some(customer),
            Some(_) => return None,
        };
        Some(Self { quota, meter_id, period, most, customer, filters })
    }

    pub(super) fn id(&self) -> &str {
        self.quota.id.as_deref().unwrap_or_default()
    }

    /// The limit of an id.
    fn find(engine: &Engine, id: &str) -> Result<Self, Failure> {
        let known = engine.rules().get::<Quota>(id).filter(|quota| quota.archived_at.is_none());
        known.and_then(Self::of).ok_or_else(|| not_found("limit", "limit_not_found", id))
    }

    fn shown(&self, project: &str) -> Shown {
        let quota = &self.quota;
        let thresholds = Some(&quota.alert_thresholds).filter(|thresholds| !thresholds.is_empty());
        Shown {
            id: self.id().to_owned(),
            project_id: project.to_owned(),
            customer_id: self.customer.clone(),
            name: quota.name.clone(),
            meter_id: self.meter_id.clone(),
            limit_value: self.most,
            period: self.period,
            dimension_filters: self.filters.clone(),
            alert_thresholds: thresholds.cloned(),
            created_at: quota.created_at,
            updated_at: quota.updated_at,
        }
    }
}

/// All limits of an engine, the oldest first.
pub(super) fn all(engine: &Engine) -> impl Iterator<Item = Limit> {
    engine.rules().quotas().into_iter().filter_map(Limit::of)
}

/// A limit as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Limit)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    project_id: String,
    #[schema(required)]
    customer_id: Option<String>,
    name: String,
    meter_id: String,
    limit_value: Amount,
    period: &'static str,
    #[schema(value_type = BTreeMap<String, Condition>)]
    dimension_filters: Filters,
    #[schema(required)]
    alert_thresholds: Option<Vec<Threshold>>,
    #[schema(required)]
    created_at: Option<Timestamp>,
    #[schema(required)]
    updated_at: Option<Timestamp>,
}

/// What a body says of a limit.
#[derive(Deserialize, ToSchema)]
#[schema(as = LimitChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "not given, given as null, given")]
pub(super) struct Given {
    name: Option<String>,
    meter_id: Option<String>,
    limit_value: Option<Amount>,
    /// `hour`, `day`, `week`, `month`, `annual` or `all_time`.
    period: Option<String>,
    /// Null of a limit for each customer.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    customer_id: Option<Option<String>>,
    #[schema(value_type = Option<BTreeMap<String, Condition>>)]
    dimension_filters: Option<Filters>,
    /// Percentages of the limit.
    #[schema(value_type = Option<Vec<u32>>)]
    #[serde(default, deserialize_with = "given")]
    alert_thresholds: Option<Option<Vec<u32>>>,
}

impl Given {
    fn period(&self) -> Result<Option<(Period, &'static str)>, Failure> {
        let Some(text) = &self.period else { return Ok(None) };
        let period = PERIODS.into_iter().find(|(_, name)| name == text);
        period.map(Some).ok_or_else(|| {
            let rule = "must be hour, day, week, month, annual or all_time";
            Failure::bad_input(&format_args!("period: {text:?} {rule}"))
        })
    }

    fn thresholds(&self) -> Result<Option<Vec<Threshold>>, Failure> {
        let Some(list) = &self.alert_thresholds else { return Ok(None) };
        let list = list.iter().flatten().copied();
        let thresholds = list.map(|percent| {
            let good = (1..=100).contains(&percent).then(|| Threshold::percent(percent));
            good.ok_or_else(|| {
                let rule = "must be a whole percentage from 1 to 100";
                Failure::bad_input(&format_args!("alertThresholds: {percent} {rule}"))
            })
        });
        thresholds.collect::<Result<_, _>>().map(Some)
    }

    /// Checks what the engine would take, and the product has another field for.
    fn check(&self) -> Result<(), Failure> {
        let filters = self.dimension_filters.iter().flatten();
        if filters.into_iter().any(|(key, _)| key == CUSTOMER) {
            let message = "dimensionFilters.customer_id: must not be set: customerId says it";
            return Err(Failure::bad_input(message));
        }
        match self.limit_value {
            Some(limit) if limit.is_negative() => {
                let message = format_args!("limitValue: {limit} must not be negative");
                Err(Failure::bad_input(&message))
            }
            _ => Ok(()),
        }
    }
}

/// Which of the limits that it is like a limit is: those of one policy.
fn policy(meter_id: &str, period: &str, filters: &Filters) -> String {
    let policy = format!("{POLICY}{meter_id} by {period}");
    if filters.is_empty() {
        return policy;
    }
    let filters = serde_json::to_vec(filters).unwrap_or_default();
    let hash = <[u8; 32]>::from(Sha256::digest(filters));
    let half = u128::from_le_bytes(hash.first_chunk().copied().unwrap_or_default());
    format!("{policy} of {half:032x}")
}

/// The policy of a limit. Where there is one already that is the same but for its name, both
/// judge: a policy would let one alone.
fn policy_among(limit: &Limit, engine: &Engine) -> Option<String> {
    let policy = policy(&limit.meter_id, limit.period, &limit.filters);
    let is_same = |other: &Limit| {
        other.id() != limit.id()
            && other.customer == limit.customer
            && other.quota.policy.as_ref() == Some(&policy)
    };
    (!all(engine).any(|other| is_same(&other))).then_some(policy)
}

/// `POST /limits`
pub(super) async fn add(call: Call) -> Answer {
    let (project, given) = body::<Given>(call, Need::Manage).await?;
    given.check()?;
    let name = need(given.name.as_deref(), "name")?;
    let meter_id = need(given.meter_id.as_deref(), "meterId")?.to_owned();
    let limit = need(given.limit_value, "limitValue")?;
    let (period, _) = need(given.period()?, "period")?;
    let mut quota = Quota::new(name, Metric::TotalEvents, limit, period).id(fresh_id(PREFIX)?);
    quota.dimension_filters = given.dimension_filters.clone().unwrap_or_default();
    quota.alert_thresholds = given.thresholds()?.unwrap_or_default();
    quota.project_id = Some(project.id.to_string());
    let quota = quota.per(CUSTOMER);
    let mut quota = match given.customer_id.flatten() {
        Some(customer) => quota.filter(CUSTOMER, customer).priority(1),
        None => quota,
    };
    let of = project.clone();
    let add = move |engine: &Engine| {
        let _held = of.changes();
        let metric = meters::metric_of(engine, &meter_id)?;
        quota.metric = metric;
        let limit = unsaid(Limit::of(quota.clone()))?;
        quota.policy = policy_among(&limit, engine);
        if quota.policy.is_none() {
            quota.priority = 0;
        }
        let limit = unsaid(Limit::of(engine.rules().add(quota)?))?;
        json(StatusCode::CREATED, &limit.shown(&of.id))
    };
    project.ask(add).await
}

/// A limit of this API can be said by it.
fn unsaid(limit: Option<Limit>) -> Result<Limit, Failure> {
    debug_assert!(limit.is_some(), "it was made of words of this API");
    limit.ok_or_else(|| Failure::bad_input("the limit cannot be said"))
}

/// `PUT /limits/{id}`: what is given is changed.
pub(super) async fn update(call: Call) -> Answer {
    let id = call.id();
    let (project, given) = body::<Given>(call, Need::Manage).await?;
    given.check()?;
    let of = project.clone();
    let update = move |engine: &Engine| {
        let _held = of.changes();
        let change = change(engine, Limit::find(engine, &id)?, given)?;
        let limit = unsaid(Limit::of(engine.rules().update(&id, change)?))?;
        json(StatusCode::OK, &limit.shown(&of.id))
    };
    project.ask(update).await
}

/// What a body makes of a limit.
fn change(engine: &Engine, mut limit: Limit, given: Given) -> Result<QuotaUpdate, Failure> {
    let mut update = QuotaUpdate::new();
    if let Some((period, name)) = given.period()? {
        limit.period = name;
        update = update.period(period);
    }
    if let Some(thresholds) = given.thresholds()? {
        update = update.alert_thresholds(thresholds);
    }
    if let Some(limit) = given.limit_value {
        update = update.limit(limit);
    }
    update.name = given.name;
    if let Some(id) = given.meter_id {
        update = update.metric(meters::metric_of(engine, &id)?);
        limit.meter_id = id;
    }
    if let Some(customer) = given.customer_id.filter(|customer| *customer != limit.customer) {
        let mut per = limit.quota.per.clone();
        if !per.iter().any(|key| key == CUSTOMER) {
            per.push(CUSTOMER.to_owned());
        }
        update.per = Some(per);
        limit.customer = customer;
    }
    if let Some(filters) = given.dimension_filters {
        limit.filters = filters;
    }
    let mut filters = limit.filters.clone();
    let customer = limit.customer.as_deref();
    filters.extend(customer.map(|it| (CUSTOMER.to_owned(), Condition::from(it))));
    update.dimension_filters = Some(filters);
    // A rule of another's making keeps the policy that it has.
    let policy = limit.quota.policy.as_deref();
    let is_ours = limit.id().starts_with(PREFIX) && policy.is_none_or(|it| it.starts_with(POLICY));
    if is_ours {
        let policy = policy_among(&limit, engine);
        let is_own = policy.is_some() && limit.customer.is_some();
        update = update.priority(is_own.into()).policy(policy);
    }
    Ok(update)
}

/// `DELETE /limits/{id}`
pub(super) async fn remove(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let remove = move |engine: &Engine| {
        Limit::find(engine, &id)?;
        engine.rules().remove(&id)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(remove).await
}

/// `GET /limits/{id}`
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let limit = Limit::find(&call.project.engine, &id)?;
    json(StatusCode::OK, &limit.shown(&call.project.id))
}

/// `GET /limits`: the newest first; those of a customer where one is given.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let customer = params.take("customerId");
    let asked = Asked::of(params)?;
    let wanted = |limit: &Limit| customer.is_none() || limit.customer == customer;
    let limits = all(&call.project.engine).filter(wanted);
    let mut limits: Vec<_> = limits.map(|limit| limit.shown(&call.project.id)).collect();
    limits.reverse();
    asked.page(limits, |limit| Place::new(limit.created_at, Some(&limit.id)))?.answer()
}
