//! What is sent: the figures of a second, and three tables.

use std::cmp::Reverse;
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;

use super::sampler::hour_of;
use crate::alerts::{Alert, AlertQuery};
use crate::keys::{KeyQuery, KeyUse};
use crate::refusals::{RefusalPage, RefusalQuery};
use crate::reservations::{ReservationQuery, ReservationState, ReservationStatus};
use crate::usage::{BreakdownRow, UsageQuery};
use crate::{Amount, Engine, Rule, Timestamp};

/// How many rules are told of, and how many keys of each.
const MAX_RULES: usize = 100;
const MAX_KEYS: u32 = 5;
/// How many values of a dimension are told of: those with the most events, of the others those with
/// the most tokens, and of the rest those with the highest cost.
const MAX_VALUES: usize = 10;
/// How many reservations and alerts, and how many keys that were refused.
const MAX_ITEMS: usize = 20;
const MAX_REFUSED: u32 = 20;
/// Dimensions by which teams are told apart, the first that events have.
const TEAMS: [&str; 2] = ["team_id", "team"];
/// How far back the most used values are summed.
const HOURS: u32 = 24;
const HOUR: Duration = Duration::from_secs(3_600);

/// What came within a second.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    /// Events that were recorded.
    pub(super) admitted: u64,
    /// Calls that were refused.
    pub(super) refused: u64,
    pub(super) tokens: u128,
}

/// How an engine is now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    at: Timestamp,
    good: bool,
    /// Whether anything is recorded: without that there are no points.
    records: bool,
    live_keys: u64,
    /// How many events are in memory.
    events: usize,
    alerts_waiting: usize,
    /// None in the first second.
    point: Option<Point>,
}

impl Figures {
    pub(super) fn of(engine: &Engine, at: Timestamp, records: bool, point: Option<Point>) -> Self {
        Self {
            at,
            good: engine.store().health().is_good(),
            records,
            live_keys: engine.live_keys(),
            events: engine.events().len(),
            alerts_waiting: engine.alerts().waiting(),
            point,
        }
    }
}

/// Who is near to which limit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rules {
    rules: Vec<RuleTable>,
    rules_left_out: usize,
}

/// Who used the most.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Top {
    /// Since when values are summed.
    since: Timestamp,
    customers: Vec<Used>,
    models: Vec<Used>,
    teams: Vec<Used>,
    team_dimension: &'static str,
}

/// What happened last.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recent {
    /// How many reservations are open, and the oldest.
    open_reservations: usize,
    reservations: Vec<ReservationStatus>,
    alerts: Vec<Alert>,
    /// Which keys were refused the most in this hour and the one before.
    refused: Option<RefusalPage>,
}

/// A rule, and the keys that have used the most of it.
#[derive(Serialize)]
struct RuleTable {
    rule: Rule,
    keys: Vec<KeyUse>,
    shared: Option<KeyUse>,
}

/// What one value of a dimension used.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    /// None of events that lack the dimension.
    value: Option<String>,
    events: u64,
    tokens: u128,
    cost_cents: Amount,
}

impl Rules {
    pub(super) fn of(engine: &Engine, _: Timestamp) -> Self {
        let mut rules = engine.rules().list();
        let rules_left_out = rules.len().saturating_sub(MAX_RULES);
        rules.truncate(MAX_RULES);
        Self {
            rules: rules.into_iter().map(|rule| RuleTable::of(engine, rule)).collect(),
            rules_left_out,
        }
    }
}

impl Top {
    pub(super) fn of(engine: &Engine, now: Timestamp) -> Self {
        let since = hour_of(now).saturating_sub(HOUR.saturating_mul(HOURS - 1));
        // Whole hours: the sums lie ready.
        let range = UsageQuery::new(since, hour_of(now).saturating_add(HOUR));
        let [first, second] = TEAMS;
        let (mut teams, mut team_dimension) = (most_used(engine, &range, first), first);
        if teams.iter().all(|team| team.value.is_none()) {
            (teams, team_dimension) = (most_used(engine, &range, second), second);
        }
        teams.retain(|team| team.value.is_some());
        Self {
            since,
            customers: most_used(engine, &range, "customer_id"),
            models: most_used(engine, &range, "model"),
            teams,
            team_dimension,
        }
    }
}

impl Recent {
    pub(super) fn of(engine: &Engine, now: Timestamp) -> Self {
        let open = ReservationQuery::new().state(ReservationState::Held);
        let alerts = engine.alerts().list(&AlertQuery::new().limit(MAX_ITEMS)).alerts;
        let (since, until) = (hour_of(now).saturating_sub(HOUR), hour_of(now).saturating_add(HOUR));
        let refusals = RefusalQuery::new().limit(MAX_REFUSED).between(since, until);
        Self {
            open_reservations: engine.reservations().count(&open),
            reservations: engine.reservations().list(&open.limit(MAX_ITEMS)),
            alerts: alerts.iter().map(|alert| Alert::clone(alert)).collect(),
            refused: engine.refusals().counts(&refusals).ok(),
        }
    }
}

impl RuleTable {
    fn of(engine: &Engine, rule: Rule) -> Self {
        let query = KeyQuery::new().limit(MAX_KEYS);
        // One that was removed meanwhile has none.
        let page = rule.id().and_then(|id| engine.rules().keys(id, &query).ok());
        let (keys, shared) = page.map_or_else(Default::default, |page| (page.items, page.shared));
        Self { rule, keys, shared }
    }
}

/// The most used values of a dimension, by each figure; none of an engine that records nothing.
fn most_used(engine: &Engine, range: &UsageQuery, dimension: &str) -> Vec<Used> {
    let Ok(by) = engine.usage().breakdown(range, dimension) else { return Vec::new() };
    let mut rows = by.rows;
    // Those with the most events stand first.
    let mut found: Vec<BreakdownRow> = rows.drain(..rows.len().min(MAX_VALUES)).collect();
    rows.sort_by_key(|row| Reverse(row.totals.total_tokens));
    found.extend(rows.drain(..rows.len().min(MAX_VALUES)));
    rows.sort_by_key(|row| Reverse(row.totals.total_cost_cents));
    found.extend(rows.drain(..rows.len().min(MAX_VALUES)));
    let used = found.into_iter().map(|row| Used {
        value: row.dimension,
        events: row.totals.total_events,
        tokens: row.totals.total_tokens,
        cost_cents: row.totals.total_cost_cents,
    });
    used.collect()
}

/// An event of a stream (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). JSON
/// has no line ends.
pub(super) fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    format!("event: {name}\ndata: {data}\n\n").into()
}
