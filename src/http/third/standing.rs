//! Where a subject stands on the limits.

use std::collections::{BTreeSet, HashMap};

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::units;
use super::limit::{ANY, Limit};
use super::limits;
use super::subject::{MAX_SHARED, Subject, event_of};
use super::window::{FailMode, LimitWindow};
use crate::decision::{QuotaStatus, RateLimitStatus};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Params, json};
use crate::http::failure::Failure;
use crate::{Amount, Engine, Period, Timestamp};

/// Where one limit stands, as a decision says it. A rule that is no limit of this generation is
/// told of as nearly as these words can.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckLimit {
    pub(super) limit_id: String,
    pub(super) name: String,
    #[serde(flatten)]
    words: Words,
    pub(super) remaining: i64,
    #[schema(required)]
    resets_at: Option<Timestamp>,
    /// What is used, and held by reservations.
    #[serde(skip)]
    used: i64,
    /// In a decision: it refused.
    #[serde(skip)]
    pub(super) refused: bool,
    /// The limit that it is, where it is one.
    #[serde(skip)]
    pub(super) limit: Option<Limit>,
}

/// The words for what a limit counts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitWords)]
#[serde(rename_all = "camelCase")]
struct Words {
    unit: String,
    window: LimitWindow,
    rolling: bool,
    fail_mode: FailMode,
}

impl Words {
    fn of(limit: &Limit) -> Self {
        let (counts, fail_mode) = (&limit.says.counts, limit.says.fail_mode);
        let (window, rolling) = (counts.window, counts.rolling);
        Self { unit: counts.unit.clone(), window, rolling, fail_mode }
    }

    fn of_another(unit: String, window: LimitWindow, rolling: bool) -> Self {
        Self { unit, window, rolling, fail_mode: FailMode::Open }
    }
}

impl CheckLimit {
    /// Where rules stand, those alone that have an amount.
    pub(super) fn all<'s>(
        engine: &Engine,
        rate_limits: impl Iterator<Item = RateLimitStatus<'s>>,
        quotas: impl Iterator<Item = QuotaStatus<'s>>,
    ) -> Vec<Self> {
        let rate_limits = rate_limits.filter_map(|status| Self::of_rate_limit(engine, &status));
        rate_limits.chain(quotas.filter_map(|status| Self::of_quota(engine, &status))).collect()
    }

    fn of_rate_limit(engine: &Engine, status: &RateLimitStatus<'_>) -> Option<Self> {
        let used = status.limit?.saturating_sub(status.remaining);
        let limit = limits::find(engine, &status.id).ok();
        let length = status.window.length();
        let mut resets_at = status.reset;
        if let Some(counts) = limit.as_ref().map(|limit| &limit.says.counts)
            && used == Amount::ZERO
            && let Some(start) = counts.window.period_start(counts.every, engine.now())
        {
            // A window ends that nothing is used of, too.
            resets_at = start.saturating_add(length);
        }
        let words = limit.as_ref().map_or_else(
            || Words::of_another("events".to_owned(), word_of(length.as_secs()), true),
            Words::of,
        );
        Some(Self {
            limit_id: status.id.clone().into_owned(),
            name: status.name.clone().into_owned(),
            words,
            remaining: units(status.remaining),
            resets_at: Some(resets_at),
            used: units(used),
            refused: status.exceeded,
            limit,
        })
    }

    fn of_quota(engine: &Engine, status: &QuotaStatus<'_>) -> Option<Self> {
        let (amount, used) = (status.limit?, status.used.saturating_add(status.held));
        // Credits may have added more than the amount, and taken more than there was.
        let remaining = match status.period {
            Period::AllTime => amount.saturating_sub(used),
            _ => status.remaining,
        };
        let limit = limits::find(engine, &status.id).ok();
        let words = limit.as_ref().map_or_else(
            || {
                let (window, rolling) = match status.period {
                    Period::Hour => (LimitWindow::Hour, false),
                    Period::Day => (LimitWindow::Day, false),
                    Period::Week => (LimitWindow::Week, false),
                    Period::Month => (LimitWindow::Month, false),
                    Period::Year => (LimitWindow::Year, false),
                    Period::AllTime => (LimitWindow::Total, false),
                    Period::Concurrent => (LimitWindow::Concurrent, false),
                    Period::Rolling(length) => (word_of(length.as_secs()), true),
                };
                Words::of_another(status.metric.to_string(), window, rolling)
            },
            Words::of,
        );
        Some(Self {
            limit_id: status.id.clone().into_owned(),
            name: status.name.clone().into_owned(),
            words,
            remaining: units(remaining),
            resets_at: status.reset,
            used: units(used),
            refused: status.exceeded,
            limit,
        })
    }
}

/// The word for a length that has none.
fn word_of(seconds: u64) -> LimitWindow {
    match seconds {
        0..=60 => LimitWindow::Minute,
        61..=3_600 => LimitWindow::Hour,
        _ => LimitWindow::Day,
    }
}

/// Where a subject stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Standing<'s> {
    subject: &'s Subject,
    environment: &'s str,
    limits: Vec<Stands>,
}

/// `GET /usage/standing`: every enabled limit on a subject and on those that it shares.
pub(super) async fn standing(call: Call) -> Answer {
    let mut call = call.needs(Need::Check)?;
    let subjects = subjects_of(call.params())?;
    let environment = call.project.id.to_string();
    let ask = move |engine: &Engine| {
        let limits = all_of(engine, &subjects)?;
        let Some(subject) = subjects.first() else { return Err(Failure::bad_input("subject")) };
        json(StatusCode::OK, &Standing { subject, environment: &environment, limits })
    };
    call.project.ask(ask).await
}

/// Where it stands on a limit.
#[derive(Serialize, ToSchema)]
#[schema(as = LimitStanding)]
#[serde(rename_all = "camelCase")]
struct Stands {
    #[serde(flatten)]
    check: CheckLimit,
    subject: Subject,
    action: String,
    amount: u64,
    used: i64,
}

fn subjects_of(mut params: Params) -> Result<Vec<Subject>, Failure> {
    let mut subjects = vec![Subject::parse("subject", &params.need("subject")?)?];
    let shared = params.take("shared").unwrap_or_default();
    params.end()?;
    for text in shared.split(',').filter(|text| !text.is_empty()) {
        let subject = Subject::parse("shared", text)?;
        if subjects.iter().any(|other| other.kind == subject.kind) {
            let kind = &subject.kind;
            let message = format_args!("shared: one subject of the kind {kind:?} may be named");
            return Err(Failure::bad_input(&message));
        }
        subjects.push(subject);
    }
    if subjects.len() > MAX_SHARED.saturating_add(1) {
        let message = format_args!("shared: at most {MAX_SHARED} subjects may be named");
        return Err(Failure::bad_input(&message));
    }
    Ok(subjects)
}

/// Where subjects stand on the limits of every action, in the order of the limits.
fn all_of(engine: &Engine, subjects: &[Subject]) -> Result<Vec<Stands>, Failure> {
    let mut limits = limits::active(engine);
    limits.retain(|limit| subjects.iter().any(|subject| limit.says.counts.is_for(subject)));
    let mut actions: BTreeSet<&str> =
        limits.iter().map(|limit| &*limit.says.counts.action).filter(|it| *it != ANY).collect();
    if actions.is_empty() {
        // Any action stands for those of any.
        actions.insert(ANY);
    }
    let mut found: HashMap<String, CheckLimit> = HashMap::new();
    for action in actions {
        let standing = engine.standing(&event_of(subjects, action, 0))?;
        let all = CheckLimit::all(engine, standing.rate_limits(), standing.quotas());
        found.extend(all.into_iter().map(|one| (one.limit_id.clone(), one)));
    }
    let stands = limits.iter().filter_map(|limit| {
        let (counts, check) = (&limit.says.counts, found.remove(&limit.id)?);
        let subject = subjects.iter().find(|subject| counts.is_for(subject))?.clone();
        let (action, amount, used) = (counts.action.clone(), limit.says.amount, check.used);
        Some(Stands { check, subject, action, amount, used })
    });
    Ok(stands.collect())
}
