//! Checks: whether a subject may act, and what it uses.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{COST, DEFAULT_TTL, Fields, TTL};
use super::reservations::Shown;
use super::standing::CheckLimit;
use super::subject::{Subject, event_of, read_all};
use super::subjects;
use super::window::Start;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, json};
use crate::http::failure::Failure;
use crate::http::fresh;
use crate::reservations::KeyStatus;
use crate::{Decision, Engine, Event, Hold, Outcome, Reserved};

/// What a check does beside deciding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Consume,
    Preview,
    Reserve,
}

/// What is asked.
#[derive(Debug)]
struct Asked {
    subjects: Vec<Subject>,
    action: String,
    cost: u64,
    mode: Mode,
    ttl: Duration,
}

/// A check, as a body has it.
#[derive(ToSchema)]
#[schema(as = Check, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct AskedShape {
    subject: Subject,
    /// What is to be done.
    #[schema(min_length = 1, max_length = 256)]
    action: String,
    /// Pools that it draws from, too: of each kind one.
    #[schema(max_items = 4)]
    shared: Option<Vec<Subject>>,
    /// 1 where it is not given.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    cost: Option<u64>,
    mode: Option<Mode>,
    /// How long a reservation lasts; 300 where it is not given. For `reserve` alone.
    #[schema(minimum = 1, maximum = 3_600)]
    ttl_seconds: Option<u32>,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        let mut fields = Fields::of_body(body)?;
        let subjects = read_all(&mut fields);
        let action = fields.text("action");
        let action = fields.need("action", action);
        let cost = fields.count("cost", COST).unwrap_or(1);
        let words = "one of `consume`, `preview`, `reserve`";
        let mode = fields.word("mode", words).unwrap_or_default();
        let ttl = fields.count("ttlSeconds", TTL);
        if ttl.is_some() && mode != Mode::Reserve {
            fields.wrong("ttlSeconds", "is for the mode `reserve`");
        }
        let ttl = Duration::from_secs(ttl.unwrap_or(DEFAULT_TTL));
        let asked = subjects.zip(action);
        fields.end(asked.map(|(subjects, action)| Self { subjects, action, cost, mode, ttl }))
    }
}

/// The answer.
#[derive(Serialize, ToSchema)]
#[schema(as = CheckDecision)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decided {
    id: String,
    allowed: bool,
    #[schema(required)]
    reason: Option<Refusal>,
    limits: Vec<CheckLimit>,
    #[schema(required)]
    retry_after_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<Shown>,
}

/// Why not.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    /// `limit_reached` or `too_many_reservations`.
    code: &'static str,
    #[schema(required)]
    limit_id: Option<String>,
    message: String,
}

impl Decided {
    fn allowed(limits: Vec<CheckLimit>) -> Self {
        let (id, reason) = (fresh("chk_"), None);
        Self { id, allowed: true, reason, limits, retry_after_seconds: None, reservation: None }
    }

    fn of(engine: &Engine, decision: &Decision) -> Self {
        let limits = CheckLimit::all(engine, decision.rate_limits(), decision.quotas());
        if decision.outcome() != Outcome::Refused {
            return Self::allowed(limits);
        }
        let reason = if decision.has_too_many_reservations() {
            let message = "as many reservations are open as may be".to_owned();
            Refusal { code: "too_many_reservations", limit_id: None, message }
        } else {
            let refusing = limits.iter().find(|limit| limit.refused);
            let message = refusing.map_or_else(
                || "a limit is reached".to_owned(),
                |limit| format!("{:?} is reached: {} left", limit.name, limit.remaining.max(0)),
            );
            let limit_id = refusing.map(|limit| limit.limit_id.clone());
            Refusal { code: "limit_reached", limit_id, message }
        };
        let wait = decision.retry_after().and_then(crate::RetryAfter::whole_seconds);
        let decided = Self::allowed(limits);
        Self { allowed: false, reason: Some(reason), retry_after_seconds: wait, ..decided }
    }
}

/// `POST /checks`: 200, allowed or refused.
pub(super) async fn create(mut call: Call) -> Answer {
    let (may_use, key) = (call.may(Need::Record), call.key());
    let (project, body) = call.needs(Need::Check)?.body().await?;
    let of = project.clone();
    let decide = move |engine: &Engine| {
        let asked = Asked::read(&body)?;
        let mut event = event_of(&asked.subjects, &asked.action, asked.cost);
        if asked.mode == Mode::Preview {
            let decided = Decided::of(engine, &engine.check(&event)?);
            return json(StatusCode::OK, &decided);
        }
        may_use?;
        if let Some(key) = key {
            event = event.idempotency_key(key);
        }
        counted(&of, engine, &asked, &event)
    };
    project.decide(decide).await
}

fn counted(
    project: &Project,
    engine: &Engine,
    asked: &Asked,
    event: &Event<'_>,
) -> Result<Response, Failure> {
    let decided = match asked.mode {
        Mode::Reserve => reserve(engine, asked, event)?,
        Mode::Consume | Mode::Preview => Decided::of(engine, &engine.track(event)?),
    };
    if decided.allowed {
        begin_periods(project, engine, asked, &decided.limits)?;
    }
    json(StatusCode::OK, &decided)
}

fn reserve(engine: &Engine, asked: &Asked, event: &Event<'_>) -> Result<Decided, Failure> {
    match engine.reserve(event, Hold::lasting(asked.ttl))? {
        Reserved::Refused(decision) | Reserved::Replayed(KeyStatus::Decided(decision)) => {
            Ok(Decided::of(engine, &decision))
        }
        Reserved::Held(reservation) => {
            let mut decided = Decided::of(engine, reservation.decision());
            let expires_at = reservation.expires_at();
            // It is open until it is ended by its id, or expires.
            let id = reservation.into_id();
            decided.reservation = Some(Shown::held(id, asked.cost, expires_at));
            Ok(decided)
        }
        // The key was here before, and its first answer was not heard.
        Reserved::Replayed(KeyStatus::Reserved(status)) => {
            let standing = engine.standing(event)?;
            let limits = CheckLimit::all(engine, standing.rate_limits(), standing.quotas());
            let reservation = Some(Shown::of(&status, 0));
            Ok(Decided { reservation, ..Decided::allowed(limits) })
        }
    }
}

/// The billing date of a subject that has none is that of its first counted check.
fn begin_periods(
    project: &Project,
    engine: &Engine,
    asked: &Asked,
    limits: &[CheckLimit],
) -> Result<(), Failure> {
    for limit in limits.iter().filter_map(|limit| limit.limit.as_ref()) {
        let counts = &limit.says.counts;
        let subject = asked.subjects.iter().find(|subject| counts.is_for(subject));
        if let Some(subject) = subject.filter(|_| counts.start == Start::BillingDate) {
            subjects::begin(project, engine, subject)?;
        }
    }
    Ok(())
}
