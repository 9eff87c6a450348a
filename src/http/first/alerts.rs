//! Alerts of quotas: thresholds in percent, each under a name of its own, and what has fired.
//!
//! The thresholds are the quota's, whoever has set them. Kept beside them is what the quota does
//! not know: the name of an alert, which stays when its threshold is changed, and since when it is
//! there. One that nobody made here gets its name when it is first looked at, and is as old as its
//! quota.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alerts::{Alert, AlertQuery};
use crate::http::access::{Generation, Need};
use crate::http::call::{Answer, Call, Project, fields_from_json, json};
use crate::http::failure::{Failure, Reason};
use crate::http::fresh;
use crate::http::pages::{Asked, Page, Place, cursor_number};
use crate::rules::{QuotaUpdate, Threshold};
use crate::store::{Space, SpaceError};
use crate::webhooks::DeliveryStatus;
use crate::{Amount, Engine, Quota, Timestamp};

/// What may be asked of a threshold here, in percent; others of a quota are not told of.
const PERCENT: std::ops::RangeInclusive<u32> = 1..=100;

/// The names of a project's alerts.
#[derive(Debug, Default)]
pub(in crate::http) struct QuotaAlerts(Mutex<Option<Names>>);

#[derive(Debug, Default)]
struct Names {
    by_id: HashMap<String, Named>,
    /// The names of a quota's alerts.
    by_quota: HashMap<String, Vec<String>>,
    space: Option<Space>,
}

/// An alert under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    quota_id: String,
    threshold: u32,
    created_at: Timestamp,
    /// Since when it has its threshold, which is all that can be changed.
    updated_at: Timestamp,
}

/// What an alert is to be.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewQuotaAlert)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Given {
    /// At how many percent of the limit it fires.
    #[schema(minimum = 1, maximum = 100)]
    threshold: u32,
}

/// An alert of a quota.
#[derive(Serialize, ToSchema)]
#[schema(as = QuotaAlert)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    quota_id: String,
    /// At how many percent of the limit it fires: once a period.
    threshold: u32,
    /// Null until it has fired.
    #[schema(required)]
    last_triggered_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// That an alert has fired, with the figures right after the event that it fired at.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertLog)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fired {
    id: String,
    quota_alert_id: String,
    quota_id: String,
    threshold: u32,
    current_usage: Amount,
    #[schema(required)]
    limit_value: Option<Amount>,
    #[schema(required)]
    percentage: Option<u64>,
    /// `success`, `failed` or `pending`; null where nobody is sent it.
    #[schema(required)]
    webhook_status: Option<&'static str>,
    /// What the webhook answered last.
    #[schema(required)]
    webhook_response_code: Option<u16>,
    triggered_at: Timestamp,
}

impl QuotaAlerts {
    /// Works with the names, which are read from the store where nobody has yet. May wait for a
    /// disk.
    fn with<T>(&self, engine: &Engine, work: impl FnOnce(&mut Names) -> T) -> T {
        let mut names = self.0.lock();
        work(names.get_or_insert_with(|| Names::load(engine)))
    }
}

impl Names {
    fn load(engine: &Engine) -> Self {
        let space = engine.store().space("quota-alerts").ok();
        let mut names = Self::default();
        let rows = space.iter().flat_map(|space| space.rows(b"")).map_while(Result::ok);
        for (key, value) in rows {
            if let Ok(named) = serde_json::from_slice::<Named>(&value) {
                names.keep(String::from_utf8_lossy(&key).into_owned(), named);
            }
        }
        Self { space, ..names }
    }

    fn keep(&mut self, id: String, named: Named) {
        let of_quota = self.by_quota.entry(named.quota_id.clone()).or_default();
        if !of_quota.contains(&id) {
            of_quota.push(id.clone());
        }
        self.by_id.insert(id, named);
    }

    /// Keeps an alert under a name, in the store too. A store that takes nothing says so by its
    /// health.
    fn put(&mut self, id: &str, named: Named) {
        let bytes = serde_json::to_vec(&named).unwrap_or_default();
        let _stored: Option<Result<(), SpaceError>> =
            self.space.as_ref().map(|space| space.put(id.as_bytes(), &bytes));
        self.keep(id.to_owned(), named);
    }

    fn forget(&mut self, id: &str) {
        let Some(named) = self.by_id.remove(id) else { return };
        if let Some(of_quota) = self.by_quota.get_mut(&named.quota_id) {
            of_quota.retain(|known| known != id);
        }
        if self.by_quota.get(&named.quota_id).is_some_and(Vec::is_empty) {
            self.by_quota.remove(&named.quota_id);
        }
        let _removed: Option<Result<(), SpaceError>> =
            self.space.as_ref().map(|space| space.remove(id.as_bytes()));
    }

    /// The alerts of a quota, each under its name, the newest first.
    fn of(&mut self, quota_id: &str, quota: &Quota, now: Timestamp) -> Vec<(String, Named)> {
        let thresholds: Vec<u32> = quota.alert_thresholds.iter().filter_map(percent).collect();
        let known = self.by_quota.get(quota_id).cloned().unwrap_or_default();
        let mut found: Vec<(String, Named)> = Vec::new();
        for id in known {
            match self.by_id.get(&id) {
                Some(named) if thresholds.contains(&named.threshold) => {
                    found.push((id, named.clone()));
                }
                // Somebody has taken the threshold away.
                _ => self.forget(&id),
            }
        }
        for threshold in thresholds {
            if found.iter().all(|(_, named)| named.threshold != threshold) {
                let made = quota.created_at.unwrap_or(now);
                let (created_at, updated_at) = (made, made);
                let quota_id = quota_id.to_owned();
                let named = Named { quota_id, threshold, created_at, updated_at };
                let id = fresh("qa_");
                self.put(&id, named.clone());
                found.push((id, named));
            }
        }
        found.sort_by(|(_, a), (_, b)| {
            let newest_first = b.created_at.cmp(&a.created_at);
            newest_first.then_with(|| b.threshold.cmp(&a.threshold))
        });
        found
    }
}

/// A threshold in the words that there are here.
fn percent(threshold: &Threshold) -> Option<u32> {
    match threshold {
        Threshold::Percent(percent) if PERCENT.contains(percent) => Some(*percent),
        _ => None,
    }
}

fn quota_of(engine: &Engine, id: &str) -> Result<Quota, Failure> {
    engine.rules().get::<Quota>(id).ok_or_else(|| Failure::not_found("quota", id))
}

/// What has fired at the threshold of an alert, the newest first. Its own is what has fired since
/// it has that threshold: another alert may have had it before.
fn fired(named: &Named) -> AlertQuery {
    AlertQuery::new().rule(&*named.quota_id).threshold(Threshold::Percent(named.threshold))
}

fn shown(engine: &Engine, id: String, named: Named) -> Shown {
    let page = engine.alerts().list(&fired(&named).limit(1));
    let last = page.alerts.first().map(|alert| alert.at).filter(|at| *at >= named.updated_at);
    let Named { quota_id, threshold, created_at, updated_at } = named;
    Shown { id, quota_id, threshold, last_triggered_at: last, created_at, updated_at }
}

/// Finds an alert by its name, with its quota.
fn find(project: &Project, engine: &Engine, id: &str) -> Result<(Named, Quota), Failure> {
    let not_found = || Failure::not_found("quota alert", id);
    project.quota_alerts().with(engine, |names| {
        let quota_id = names.by_id.get(id).ok_or_else(not_found)?.quota_id.clone();
        let Ok(quota) = quota_of(engine, &quota_id) else {
            names.forget(id);
            return Err(not_found());
        };
        let alerts = names.of(&quota_id, &quota, engine.now());
        let found = alerts.into_iter().find(|(known, _)| known == id);
        found.map(|(_, named)| (named, quota)).ok_or_else(not_found)
    })
}

/// Sets the thresholds of a quota.
fn set(engine: &Engine, id: &str, thresholds: Vec<Threshold>) -> Result<(), Failure> {
    engine.rules().update(id, QuotaUpdate::new().alert_thresholds(thresholds))?;
    Ok(())
}

/// Reads what an alert is to be.
fn read(body: &[u8]) -> Result<u32, Failure> {
    let Given { threshold } = fields_from_json(body)?;
    if PERCENT.contains(&threshold) {
        return Ok(threshold);
    }
    let rule = "must be a whole percentage from 1 to 100";
    Err(Failure::bad_input(&format_args!("threshold: {threshold} {rule}")))
}

/// Says of a threshold that another alert of the quota has it.
fn free(quota: &Quota, id: &str, threshold: u32) -> Result<(), Failure> {
    if !quota.alert_thresholds.contains(&Threshold::Percent(threshold)) {
        return Ok(());
    }
    let message = format_args!("threshold: the quota {id:?} has an alert at {threshold} already");
    Err(Failure::new(Reason::Conflict, &message))
}

/// `POST /quotas/{id}/alerts`
pub(super) async fn create(call: Call) -> Answer {
    let id = call.id();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let own = project.clone();
    let create = move |engine: &Engine| {
        let _one_at_a_time = own.changes();
        let quota = quota_of(engine, &id)?;
        let threshold = read(&body)?;
        free(&quota, &id, threshold)?;
        let mut thresholds = quota.alert_thresholds;
        thresholds.push(Threshold::Percent(threshold));
        set(engine, &id, thresholds)?;
        let (now, name) = (engine.now(), fresh("qa_"));
        let named = Named { quota_id: id, threshold, created_at: now, updated_at: now };
        own.quota_alerts().with(engine, |names| names.put(&name, named.clone()));
        json(StatusCode::CREATED, &shown(engine, name, named))
    };
    project.ask(create).await
}

/// `GET /quotas/{id}/alerts`: the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let (id, mut call) = (call.id(), call.needs(Need::Read)?);
    let asked = Asked::of(call.params())?;
    let own = call.project.clone();
    let list = move |engine: &Engine| {
        let quota = quota_of(engine, &id)?;
        let alerts = own.quota_alerts().with(engine, |it| it.of(&id, &quota, engine.now()));
        let alerts = alerts.into_iter().map(|(id, named)| shown(engine, id, named));
        let place = |alert: &Shown| Place::new(Some(alert.created_at), Some(&alert.id));
        asked.page(alerts.collect(), place)?.answer()
    };
    call.project.ask(list).await
}

/// `GET /quota-alerts/{id}`
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let own = call.project.clone();
    let get = move |engine: &Engine| {
        let (named, _) = find(&own, engine, &id)?;
        json(StatusCode::OK, &shown(engine, id, named))
    };
    call.project.ask(get).await
}

/// `PUT /quota-alerts/{id}`: what has fired at the older threshold is not this alert's any more.
pub(super) async fn update(call: Call) -> Answer {
    let id = call.id();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let own = project.clone();
    let update = move |engine: &Engine| {
        let _one_at_a_time = own.changes();
        let (mut named, quota) = find(&own, engine, &id)?;
        let threshold = read(&body)?;
        if threshold != named.threshold {
            free(&quota, &named.quota_id, threshold)?;
            let old = Threshold::Percent(named.threshold);
            let mut thresholds = quota.alert_thresholds;
            for known in thresholds.iter_mut().filter(|known| **known == old) {
                *known = Threshold::Percent(threshold);
            }
            set(engine, &named.quota_id, thresholds)?;
            (named.threshold, named.updated_at) = (threshold, engine.now());
            own.quota_alerts().with(engine, |names| names.put(&id, named.clone()));
        }
        json(StatusCode::OK, &shown(engine, id, named))
    };
    project.ask(update).await
}

/// `DELETE /quota-alerts/{id}`
pub(super) async fn remove(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let own = call.project.clone();
    let remove = move |engine: &Engine| {
        let _one_at_a_time = own.changes();
        let (named, quota) = find(&own, engine, &id)?;
        let mut thresholds = quota.alert_thresholds;
        thresholds.retain(|known| *known != Threshold::Percent(named.threshold));
        set(engine, &named.quota_id, thresholds)?;
        own.quota_alerts().with(engine, |names| names.forget(&id));
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(remove).await
}

/// `GET /quota-alerts/{id}/history`: what has fired, the newest first.
pub(super) async fn history(call: Call) -> Answer {
    let (id, mut call) = (call.id(), call.needs(Need::Read)?);
    let Asked { limit, cursor } = Asked::of(call.params())?;
    let before = cursor_number(cursor)?;
    let own = call.project.clone();
    let list = move |engine: &Engine| {
        let (named, _) = find(&own, engine, &id)?;
        let mut query = fired(&named).limit(limit);
        if let Some(before) = before {
            query = query.before(before);
        }
        let page = engine.alerts().list(&query);
        let is_its = |alert: &&std::sync::Arc<Alert>| alert.at >= named.updated_at;
        let alerts: Vec<_> = page.alerts.iter().take_while(is_its).collect();
        let next = page.next.filter(|_| alerts.len() == page.alerts.len());
        let events = alerts.iter().map(|alert| alert.id.to_string()).collect();
        let sent = deliveries(&own, &events);
        let logs = alerts.into_iter().map(|alert| log_of(&id, &named, alert, &sent));
        Page::new(logs.collect(), next.map(|next| next.to_string())).answer()
    };
    call.project.ask(list).await
}

fn log_of(id: &str, named: &Named, alert: &Alert, sent: &HashMap<String, Sent>) -> Fired {
    let name = alert.id.to_string();
    let outcome = sent.get(&name).copied();
    Fired {
        id: format!("qal_{}", name.strip_prefix("alt_").unwrap_or(&name)),
        quota_alert_id: id.to_owned(),
        quota_id: named.quota_id.clone(),
        threshold: named.threshold,
        current_usage: alert.used,
        limit_value: alert.limit,
        percentage: alert.percentage,
        webhook_status: outcome.map(|(status, _)| word(status)),
        webhook_response_code: outcome.and_then(|(_, code)| code),
        triggered_at: alert.at,
    }
}

/// What became of an alert's deliveries, and what was answered last.
type Sent = (DeliveryStatus, Option<u16>);

fn word(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::Pending => "pending",
        DeliveryStatus::Delivered => "success",
        DeliveryStatus::Failed => "failed",
    }
}

/// The deliveries of this generation by their events: of several the one that went worst.
fn deliveries(project: &Project, events: &HashSet<String>) -> HashMap<String, Sent> {
    let rank = |status: DeliveryStatus| match status {
        DeliveryStatus::Delivered => 0,
        DeliveryStatus::Pending => 1,
        DeliveryStatus::Failed => 2,
    };
    let mut sent: HashMap<String, Sent> = HashMap::new();
    let Some(hooks) = project.webhooks().filter(|_| !events.is_empty()) else { return sent };
    let own = hooks.list().into_iter().filter(|it| it.generation == Generation::First);
    // One that is deleted meanwhile has none.
    let found = own.filter_map(|endpoint| hooks.deliveries_of(&endpoint.id, events).ok());
    for one in found.flatten() {
        let outcome = (one.status, one.last_status);
        let known = sent.entry(one.event_id).or_insert(outcome);
        if rank(outcome.0) > rank(known.0) {
            *known = outcome;
        }
    }
    sent
}
