//! `GET /metrics`: what a project's engine does, and where its rules stand, in Prometheus' text
//! format.
//!
//! Labels are bounded: of rules at most [`MAX_RULES`] are told of, and of each the [`MAX_KEYS`]
//! keys that have used the most of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use self::text::{Kind, Text};
use super::access::Need;
use super::call::{Answer, Call};
use super::options::Page;
use crate::keys::{KeyQuery, KeyUse};
use crate::usage::UsageQuery;
use crate::{Amount, Engine, Metric, Rule, Timestamp};

#[cfg(feature = "metrics")]
mod recorder;
pub(super) mod text;

#[cfg(feature = "metrics")]
pub use self::recorder::Figures;

/// How many rules are told of: those that are the oldest.
const MAX_RULES: usize = 100;
/// How many keys of each.
const MAX_KEYS: u32 = 5;
/// The figures of rules are a pass over all keys for each of them, so they are this old at the most
/// and not made for every question.
const RULES_KEPT: Duration = Duration::from_secs(15);

const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The names by which answers are counted: the APIs, and the classes of statuses.
const APIS: [&str; 4] = ["first", "second", "third", "engine"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Figures of a project that are not its engine's.
#[derive(Default)]
pub(super) struct ProjectFigures {
    answers: [[AtomicU64; CLASSES.len()]; APIS.len()],
    /// The figures of the rules, and when they were made.
    rules: Mutex<Option<(Timestamp, Arc<str>)>>,
    /// What the application says beside them.
    more: Vec<Page>,
}

impl fmt::Debug for ProjectFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectFigures").finish_non_exhaustive()
    }
}

impl ProjectFigures {
    pub(super) fn with(more: Vec<Page>) -> Self {
        Self { more, ..Self::default() }
    }

    /// Counts an answer of an API, by its place among them.
    pub(super) fn answered(&self, api: usize, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answers.get(api).and_then(|classes| classes.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn page(&self, engine: &Engine) -> String {
        let mut text = Text::default();
        self.put_answers(&mut text);
        put_engine(&mut text, engine);
        put_usage(&mut text, engine);
        text.page(&self.rules(engine));
        for more in &self.more {
            text.page(&more());
        }
        text.into_text()
    }

    fn put_answers(&self, text: &mut Text) {
        let name = "limitry_http_answers_total";
        text.family(name, Kind::Counter, "Answers by API and class of status");
        for (api, counts) in APIS.iter().zip(&self.answers) {
            for (class, count) in CLASSES.iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    text.figure(name, &[("api", api), ("status", class)], count);
                }
            }
        }
    }

    /// The figures of the rules: those of before, where they are new enough.
    fn rules(&self, engine: &Engine) -> Arc<str> {
        // Who comes meanwhile waits for these.
        let mut kept = self.rules.lock();
        let now = engine.now();
        if let Some((at, page)) = &*kept
            && now.saturating_since(*at) < RULES_KEPT
        {
            return Arc::clone(page);
        }
        let page: Arc<str> = rules_page(engine).into();
        *kept = Some((now, Arc::clone(&page)));
        page
    }
}

/// `GET /metrics`
pub(super) async fn page(call: Call) -> Answer {
    let project = call.needs(Need::Read)?.project;
    let own = project.clone();
    let text = project.ask(move |engine| Ok(own.figures().page(engine))).await?;
    let mut response: Response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    Ok(response)
}

fn put_engine(text: &mut Text, engine: &Engine) {
    let health = engine.store().health();
    let gauge = |name| (name, Kind::Gauge);
    let is_good = u8::from(health.is_good());
    text.only(gauge("limitry_up"), "Whether the engine takes what comes", is_good);
    let rules = engine.rules().list().len();
    text.only(gauge("limitry_rules"), "Rules that are not archived", rules);
    let keys = engine.live_keys();
    text.only(gauge("limitry_keys"), "Keys that have counters", keys);
    let alerts = engine.alerts().waiting();
    text.only(gauge("limitry_alerts_waiting"), "Alerts that nobody has taken", alerts);
    if health.durability.is_some() {
        let bytes = health.stored_bytes;
        text.only(gauge("limitry_store_bytes"), "Bytes of the store's file", bytes);
        let waiting = health.waiting_bytes;
        text.only(gauge("limitry_store_waiting_bytes"), "Bytes that wait for a commit", waiting);
        let recorded = ("limitry_store_events_total", Kind::Counter);
        text.only(recorded, "Events that the store has made durable", health.recorded);
    }
}

/// What all events add up to that usage is kept of. Nothing of an engine that records none.
fn put_usage(text: &mut Text, engine: &Engine) {
    let Ok(all) = engine.usage().summary(&UsageQuery::all_time()) else { return };
    let totals = &all.totals;
    let gauge = |name| (name, Kind::Gauge);
    let help = "Events that usage is kept of";
    text.only(gauge("limitry_usage_events"), help, totals.total_events);
    let tokens = "limitry_usage_tokens";
    text.family(tokens, Kind::Gauge, "Their tokens; a total may be more than the two others");
    let kinds = [
        ("input", totals.total_input_tokens),
        ("output", totals.total_output_tokens),
        ("total", totals.total_tokens),
    ];
    for (kind, sum) in kinds {
        text.figure(tokens, &[("kind", kind)], sum);
    }
    let help = "Their cost in cents";
    text.only(gauge("limitry_usage_cost_cents"), help, totals.total_cost_cents);
}

/// What of a key is told.
type Figure = fn(&KeyUse) -> Option<Amount>;

/// A rule and the keys that have used the most of it.
struct Stands {
    id: String,
    metric: String,
    keys: Vec<(String, KeyUse)>,
}

impl Stands {
    fn of(engine: &Engine, rule: &Rule) -> Option<Self> {
        let id = rule.id()?.to_owned();
        // One that was removed meanwhile has none.
        let page = engine.rules().keys(&id, &KeyQuery::new().limit(MAX_KEYS)).ok()?;
        let keys = page.items.into_iter().map(|one| (one.key.to_string(), one)).collect();
        Some(Self { id, metric: counted_by(rule).1.to_string(), keys })
    }
}

/// The limit of a rule, and what it counts.
fn counted_by(rule: &Rule) -> (Option<Amount>, &Metric) {
    match rule {
        Rule::RateLimit(rule) => (rule.limit_value, &rule.metric),
        Rule::Quota(rule) => (rule.limit_value, &rule.metric),
    }
}

fn rules_page(engine: &Engine) -> String {
    let rules = engine.rules().list();
    let left_out = rules.len().saturating_sub(MAX_RULES);
    let stands: Vec<Stands> =
        rules.iter().take(MAX_RULES).filter_map(|rule| Stands::of(engine, rule)).collect();
    let mut text = Text::default();
    let help = "Rules beyond those that figures are given of";
    text.only(("limitry_rules_left_out", Kind::Gauge), help, left_out);
    let name = "limitry_rule_limit";
    text.family(name, Kind::Gauge, "The limit of a rule, in what it counts");
    for rule in rules.iter().take(MAX_RULES) {
        let (limit, metric) = counted_by(rule);
        if let (Some(id), Some(limit)) = (rule.id(), limit) {
            text.figure(name, &[("rule", id), ("metric", &metric.to_string())], limit);
        }
    }
    let families: [(&str, &str, Figure); 3] = [
        ("limitry_rule_used", "What the keys have used that have used the most", |one| {
            Some(one.used)
        }),
        ("limitry_rule_held", "What open reservations of theirs hold", |one| Some(one.held)),
        ("limitry_rule_remaining", "What they have left", |one| one.remaining),
    ];
    for (name, help, figure) in families {
        put_keys(&mut text, &stands, (name, help), figure);
    }
    text.into_text()
}

fn put_keys(text: &mut Text, stands: &[Stands], (name, help): (&str, &str), figure: Figure) {
    text.family(name, Kind::Gauge, help);
    for Stands { id, metric, keys } in stands {
        for (key, one) in keys {
            if let Some(value) = figure(one) {
                text.figure(name, &[("rule", id), ("metric", metric), ("key", key)], value);
            }
        }
    }
}
