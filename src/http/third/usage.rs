//! Who uses a limit, and how much was used of it over time.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::credits::key_of;
use super::fields::units;
use super::limit::{ANY, Limit};
use super::limits::{self, page_size};
use super::subject::{ACTING_KIND, Subject, UNITS, dimension_of};
use super::window::{LimitWindow, Start};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Params, json};
use crate::http::failure::Failure;
use crate::keys::{KeyQuery, KeyUse};
use crate::refusals::RefusalQuery;
use crate::usage::{Interval, UsageQuery};
use crate::{Condition, Engine, Timestamp};

const DEFAULT_RANGE: Duration = Duration::from_secs(30 * 86_400);

/// Who uses a limit.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageBySubject)]
#[serde(rename_all = "camelCase")]
pub(super) struct BySubject {
    limit_id: String,
    /// None where it is another one for each subject.
    #[schema(required)]
    window_start: Option<Timestamp>,
    items: Vec<Uses>,
}

/// `GET /usage/subjects`: those that have used the most of the current window first.
pub(super) async fn by_subject(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let id = params.need("limitId")?;
    let size = page_size(&mut params)?;
    params.end()?;
    let ask = move |engine: &Engine| {
        let limit = limits::find(engine, &id)?;
        let replaced = replaced(engine, &limit);
        let (mut items, mut query) = (Vec::new(), KeyQuery::new());
        loop {
            let page = engine.rules().keys(&id, &query)?;
            let uses = page.items.iter().filter_map(|one| Uses::of(&limit, one));
            items.extend(uses.filter(|one| !replaced.contains(&one.subject.id)));
            match page.next_cursor {
                Some(cursor) if items.len() < size => query = KeyQuery::new().cursor(cursor),
                _ => break,
            }
        }
        items.truncate(size);
        let now = engine.now();
        let window_start = window_start(&limit, now);
        for one in &mut items {
            let refused = |start| refused(engine, &limit, &one.subject, start..now);
            one.refused = window_start.and_then(refused);
        }
        json(StatusCode::OK, &BySubject { limit_id: id, window_start, items })
    };
    call.project.ask(ask).await
}

/// What a subject uses.
#[derive(Serialize, ToSchema)]
#[schema(as = SubjectUsage)]
struct Uses {
    subject: Subject,
    used: i64,
    remaining: i64,
    /// How many checks the limit refused in the window; none where that is not known.
    #[schema(required)]
    refused: Option<u64>,
}

/// How many checks of a subject a limit refused in its current window: of the hours that are in it,
/// and so not known of one that begins within an hour, or at another time for each subject.
fn refused(
    engine: &Engine,
    limit: &Limit,
    subject: &Subject,
    window: Range<Timestamp>,
) -> Option<u64> {
    let counts = &limit.says.counts;
    let is_whole =
        !counts.rolling && !matches!(counts.window, LimitWindow::Minute | LimitWindow::Concurrent);
    if !is_whole {
        return None;
    }
    // The hour that a limit was made in is one of its hours.
    let start = LimitWindow::Hour.period_start(1, window.start)?;
    let query = RefusalQuery::new().rule(&*limit.id).key(key_of(subject));
    let query = query.between(start, window.end.saturating_add(Duration::from_nanos(1)));
    // An engine that does not record counts none.
    Some(engine.refusals().counts(&query).ok()?.total)
}

impl Uses {
    fn of(limit: &Limit, one: &KeyUse) -> Option<Self> {
        let (_, id) = one.key.iter().next()?;
        let counts = &limit.says.counts;
        let used = match counts.window {
            // What reservations took of a rate limit is used of it.
            LimitWindow::Minute if !counts.rolling => one.used,
            _ => one.used.saturating_add(one.held),
        };
        let remaining = match counts.window {
            LimitWindow::Total => one.limit?.saturating_sub(used),
            _ => one.remaining?,
        };
        let subject = Subject { kind: counts.kind.clone(), id: id.to_owned() };
        Some(Self { subject, used: units(used), remaining: units(remaining), refused: None })
    }
}

/// The subjects whose own limits judge in place of one for their kind, which goes on counting.
fn replaced(engine: &Engine, limit: &Limit) -> HashSet<String> {
    let counts = &limit.says.counts;
    if counts.id.is_some() || limit.policy.is_none() {
        return HashSet::new();
    }
    let others = limits::active(engine).into_iter();
    let others = others.filter(|other| other.says.enabled && other.policy == limit.policy);
    others.filter_map(|other| other.says.counts.id).collect()
}

/// When the current window began, where it did so for all subjects alike.
fn window_start(limit: &Limit, now: Timestamp) -> Option<Timestamp> {
    let counts = &limit.says.counts;
    match (counts.window, counts.start) {
        (LimitWindow::Total, _) => limit.created_at,
        (LimitWindow::Concurrent, _) => Some(now),
        (window, _) if counts.rolling => {
            Some(now.saturating_sub(window.length()?.saturating_mul(counts.every)))
        }
        (window, Start::Calendar) => window.period_start(counts.every, now),
        (_, Start::BillingDate | Start::FirstUse) => None,
    }
}

/// How long the points of a series are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Granularity {
    Hour,
    Day,
}

/// What was used of a limit over time.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageSeries)]
#[serde(rename_all = "camelCase")]
pub(super) struct Series {
    limit_id: String,
    granularity: Granularity,
    points: Vec<Point>,
}

/// What was used in an hour or a day.
#[derive(Serialize, ToSchema)]
#[schema(as = UsagePoint)]
struct Point {
    start: Timestamp,
    used: i64,
    allowed: u64,
    /// How many checks the limit refused.
    refused: u64,
}

/// `GET /usage`
pub(super) async fn series(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let id = params.need("limitId")?;
    let granularity = match params.take("granularity").as_deref() {
        None | Some("day") => Granularity::Day,
        Some("hour") => Granularity::Hour,
        Some(other) => {
            let message = format_args!("granularity: {other:?} must be `hour` or `day`");
            return Err(Failure::bad_input(&message));
        }
    };
    let subject =
        params.take("subject").map(|text| Subject::parse("subject", &text)).transpose()?;
    let (from, to) = (instant(&mut params, "from")?, instant(&mut params, "to")?);
    params.end()?;
    let ask = move |engine: &Engine| {
        let limit = limits::find(engine, &id)?;
        let now = engine.now();
        let from = from.unwrap_or_else(|| to.unwrap_or(now).saturating_sub(DEFAULT_RANGE));
        // What happens now is in it.
        let to = to.unwrap_or_else(|| now.saturating_add(Duration::from_nanos(1)));
        let mut refusals = RefusalQuery::new().rule(&*id).between(from, to);
        if let Some(subject) = &subject {
            refusals = refusals.key(key_of(subject));
        }
        let refusals = engine.refusals().hours(&refusals)?;
        let query = query_of(&limit, subject, UsageQuery::new(from, to))?;
        let (interval, window) = match granularity {
            Granularity::Hour => (Interval::Hour, LimitWindow::Hour),
            Granularity::Day => (Interval::Day, LimitWindow::Day),
        };
        let series = engine.usage().timeseries(&query, interval)?;
        let points = series.points.iter().map(|point| Point {
            start: point.timestamp,
            used: point.totals.values.get(UNITS).map_or(0, |used| units(*used)),
            allowed: point.totals.total_events,
            refused: refusals
                .iter()
                .filter(|hour| window.period_start(1, hour.start) == Some(point.timestamp))
                .map(|hour| hour.refused)
                .fold(0, u64::saturating_add),
        });
        json(StatusCode::OK, &Series { limit_id: id, granularity, points: points.collect() })
    };
    call.project.ask(ask).await
}

fn instant(params: &mut Params, name: &str) -> Result<Option<Timestamp>, Failure> {
    let read = |text: String| {
        text.parse().map_err(|_| {
            let rule = "must be a date and time such as 2024-01-31T00:00:00Z";
            Failure::bad_input(&format_args!("{name}: {text:?} {rule}"))
        })
    };
    params.take(name).map(read).transpose()
}

/// Asks about what a limit counts, of all subjects or of one.
fn query_of(
    limit: &Limit,
    subject: Option<Subject>,
    mut query: UsageQuery,
) -> Result<UsageQuery, Failure> {
    let counts = &limit.says.counts;
    if subject.as_ref().is_some_and(|subject| !counts.is_for(subject)) {
        return Err(Failure::bad_input("subject: must be one that the limit is for"));
    }
    if counts.action != ANY {
        query = query.event_type(&*counts.action);
    }
    let dimension = dimension_of(&counts.kind).unwrap_or_default();
    if dimension == "customer_id" {
        query = query.condition(ACTING_KIND, Condition::Absent);
    }
    let id = subject.map(|subject| subject.id).or_else(|| counts.id.clone());
    let whose = id.map_or(Condition::Present, Condition::Is);
    Ok(query.condition(dimension, whose))
}
