//! Quotas and rate limits.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};

use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, from_json, json};
use crate::http::failure::Failure;
use crate::http::pages::{Asked, Place};
use crate::rules::{Algorithm, QuotaUpdate, RateLimitUpdate, RuleKind, RuleUpdate};
use crate::{Engine, Quota, RateLimit, Rule};

/// `POST /quotas`
pub(super) async fn add_quota(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    add(project, move || from_json::<Quota>(&body)).await
}

/// `POST /rate-limits`: a fixed window where the body names no algorithm.
pub(super) async fn add_rate_limit(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    add(project, move || {
        let mut rule: RateLimit = from_json(&body)?;
        if !names_an_algorithm(&body)? {
            rule.algorithm = Algorithm::FixedWindow;
        }
        Ok(rule)
    })
    .await
}

fn names_an_algorithm(body: &[u8]) -> Result<bool, Failure> {
    #[derive(Deserialize)]
    struct Named {
        algorithm: Option<IgnoredAny>,
        burst: Option<IgnoredAny>,
    }
    // A burst is a bucket's alone.
    from_json(body).map(|Named { algorithm, burst }| algorithm.is_some() || burst.is_some())
}

async fn add<R: RuleKind + Serialize + Send + 'static>(
    project: Project,
    rule: impl FnOnce() -> Result<R, Failure> + Send + 'static,
) -> Answer {
    let of = project.clone();
    let add = move |engine: &Engine| {
        json(StatusCode::CREATED, &Shown::of(&of.id, engine.rules().add(rule()?)?))
    };
    project.ask(add).await
}

/// `PUT /quotas/{id}`
pub(super) async fn update_quota(call: Call) -> Answer {
    update::<QuotaUpdate>(call).await
}

/// `PUT /rate-limits/{id}`
pub(super) async fn update_rate_limit(call: Call) -> Answer {
    update::<RateLimitUpdate>(call).await
}

async fn update<U>(call: Call) -> Answer
where
    U: RuleUpdate<Rule: Serialize> + for<'de> Deserialize<'de> + Send + 'static,
{
    let id = call.id();
    let (project, change) = call.needs(Need::Manage)?.read::<U>().await?;
    let of = project.clone();
    let update = move |engine: &Engine| {
        json(StatusCode::OK, &Shown::of(&of.id, engine.rules().update(&id, change)?))
    };
    project.ask(update).await
}

/// `DELETE /quotas/{id}`
pub(super) async fn remove_quota(call: Call) -> Answer {
    remove::<Quota>(call, "quota").await
}

/// `DELETE /rate-limits/{id}`
pub(super) async fn remove_rate_limit(call: Call) -> Answer {
    remove::<RateLimit>(call, "rate limit").await
}

async fn remove<R: RuleKind>(call: Call, kind: &'static str) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let remove = move |engine: &Engine| {
        let known = engine.rules().get::<R>(&id);
        known.ok_or_else(|| Failure::not_found(kind, &id))?;
        engine.rules().remove(&id)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(remove).await
}

/// `GET /quotas/{id}`
pub(super) async fn quota(call: Call) -> Answer {
    get::<Quota>(call, "quota")
}

/// `GET /rate-limits/{id}`
pub(super) async fn rate_limit(call: Call) -> Answer {
    get::<RateLimit>(call, "rate limit")
}

fn get<R: RuleKind + Serialize>(call: Call, kind: &'static str) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let rule = call.project.engine.rules().get::<R>(&id);
    let rule = rule.ok_or_else(|| Failure::not_found(kind, &id))?;
    json(StatusCode::OK, &Shown::of(&call.project.id, rule))
}

/// `GET /quotas`
pub(super) async fn quotas(call: Call) -> Answer {
    list(call, |rule| matches!(rule, Rule::Quota(_)))
}

/// `GET /rate-limits`
pub(super) async fn rate_limits(call: Call) -> Answer {
    list(call, |rule| matches!(rule, Rule::RateLimit(_)))
}

/// A page of rules, the newest first.
fn list(call: Call, is_wanted: impl Fn(&Rule) -> bool) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let asked = Asked::of(call.params())?;
    let mut rules = call.project.engine.rules().list();
    rules.retain(is_wanted);
    let rules = rules.into_iter().rev().map(|rule| Shown::of(&call.project.id, rule));
    asked.page(rules.collect(), |shown| Place::of(&shown.0))?.answer()
}

/// A rule as it is shown: of the project, also where it was not made by this API.
struct Shown(Rule);

impl Shown {
    fn of(project: &str, rule: impl Into<Rule>) -> Self {
        let mut rule = rule.into();
        match &mut rule {
            Rule::Quota(rule) => rule.project_id = Some(project.to_owned()),
            Rule::RateLimit(rule) => rule.project_id = Some(project.to_owned()),
        }
        Self(rule)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Rule::Quota(rule) => rule.serialize(serializer),
            Rule::RateLimit(rule) => rule.serialize(serializer),
        }
    }
}
