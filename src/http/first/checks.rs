//! Where dimensions stand on the rules: nothing is taken.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::decision::{QuotaStatus, RateLimitStatus};
use crate::handles::Rules;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, from_json, json};
use crate::http::failure::Failure;
use crate::rules::Enforcement;
use crate::{Engine, Event, Rule};

/// Dimensions by their keys, those of an event's fields by either of their names.
type Dimensions = BTreeMap<String, String>;

/// What stands for the customer and the type where the body has none. Rules that ask for them are
/// left out then.
const NOBODY: &str = "-";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked<'s> {
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    quotas: Option<Vec<QuotaStatus<'s>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limits: Option<Vec<RateLimitStatus<'s>>>,
}

/// `POST /quotas/check`
pub(super) async fn quotas(call: Call) -> Answer {
    check(call, |asked, engine| {
        let standing = engine.standing(&asked.event)?;
        let quotas: Vec<_> = standing.quotas().filter(|it| asked.is_about(&it.id)).collect();
        let allowed = !quotas.iter().any(|it| it.exceeded && asked.refuses(&it.id));
        let body = Checked { allowed, quotas: Some(quotas), rate_limits: None };
        json(StatusCode::OK, &body)
    })
    .await
}

/// `POST /rate-limits/check`
pub(super) async fn rate_limits(call: Call) -> Answer {
    check(call, |asked, engine| {
        let standing = engine.standing(&asked.event)?;
        let limits: Vec<_> = standing.rate_limits().filter(|it| asked.is_about(&it.id)).collect();
        let allowed = !limits.iter().any(|it| it.exceeded && asked.refuses(&it.id));
        let body = Checked { allowed, quotas: None, rate_limits: Some(limits) };
        json(StatusCode::OK, &body)
    })
    .await
}

async fn check(
    call: Call,
    answer: impl FnOnce(&Asked, &Engine) -> Result<Response, Failure> + Send + 'static,
) -> Answer {
    let (project, body) = call.needs(Need::Check)?.body().await?;
    let check = move |engine: &Engine| {
        let asked = Asked::of(from_json(&body)?, engine);
        answer(&asked, engine)
    };
    project.decide(check).await
}

/// What was asked, as an event that says no more.
struct Asked {
    event: Event<'static>,
    /// The dimensions that stand for nothing.
    missing: Vec<&'static str>,
    /// Has the rules: who needs one asks for it.
    rules: Rules,
}

impl Asked {
    fn of(mut dimensions: Dimensions, engine: &Engine) -> Self {
        let mut missing = Vec::new();
        let mut named = |key: &'static str, other: &str| {
            let value = dimensions.remove(key).or_else(|| dimensions.remove(other));
            value.unwrap_or_else(|| {
                missing.push(key);
                NOBODY.to_owned()
            })
        };
        let customer = named("customer_id", "customerId");
        let event_type = named("event_type", "eventType");
        let mut event = Event::new(customer, event_type);
        for (key, value) in dimensions {
            event = match &*key {
                "model" => event.model(value),
                "provider" => event.provider(value),
                _ => event.property(key, value),
            };
        }
        Self { event, missing, rules: engine.rules() }
    }

    /// Whether a rule that matches asks for nothing that is missing.
    fn is_about(&self, id: &str) -> bool {
        if self.missing.is_empty() {
            return true;
        }
        let (filters, per) = match self.rules.get(id) {
            Some(Rule::Quota(rule)) => (rule.dimension_filters, rule.per),
            Some(Rule::RateLimit(rule)) => (rule.dimension_filters, rule.per),
            None => return true,
        };
        let asks_for = |key: &str| filters.contains_key(key) || per.iter().any(|it| it == key);
        !self.missing.iter().any(|key| asks_for(key))
    }

    /// Whether nothing being left of a rule refuses anybody.
    fn refuses(&self, id: &str) -> bool {
        let enforcement = self.rules.get(id).map(|rule| match rule {
            Rule::Quota(rule) => rule.enforcement,
            Rule::RateLimit(rule) => rule.enforcement,
        });
        enforcement.is_none_or(|enforcement| enforcement == Enforcement::Hard)
    }
}
