//! What the rules say of an event, and of what they have never seen.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::read;
use super::schema::RuleKind;
use crate::explain::{RuleExplanation, RuleOutcome};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::first::schema::{QuotaStatus, RateLimitStatus};
use crate::http::pages::{Asked, Page, first_of};
use crate::{Amount, Condition, Decision, Engine, Event, Timestamp};

/// How many rules an explanation tells of; where there are more, those that apply are among them.
const MAX_EXPLAINED: usize = 1_000;
/// How many rules are named that ask for a dimension.
const MAX_NAMED: usize = 100;

/// What an event would be answered, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explained {
    #[schema(value_type = Decided)]
    decision: Decision,
    #[schema(value_type = Vec<ExplainedRule>)]
    rules: Vec<RuleExplanation>,
    /// How many rules are not told of.
    left_out: usize,
    /// The dimensions that are attributes of the customer, and that the event does not say itself.
    #[schema(required = false)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

/// Where an event's dimensions stand on the rules that match.
#[derive(ToSchema)]
#[schema(as = Decision, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct Decided {
    allowed: bool,
    /// Which kind of rule refuses it.
    #[schema(required = false)]
    error: String,
    rate_limits: Vec<RateLimitStatus>,
    quotas: Vec<QuotaStatus>,
}

/// How a rule looks at an event. It has the fields that its outcome is about.
#[derive(ToSchema)]
#[schema(as = RuleExplanation, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
struct ExplainedRule {
    id: String,
    kind: RuleKind,
    name: String,
    outcome: Outcome,
    /// Of one that applies; null where it has none.
    limit: Option<Amount>,
    remaining: Option<Amount>,
    /// What open reservations hold of it.
    held: Option<Amount>,
    /// What operators have added to the use.
    adjusted: Option<Amount>,
    /// The Unix second at which the figures start over.
    reset: Option<i64>,
    exceeded: Option<bool>,
    /// Of one that another rule of its policy replaces.
    policy: Option<String>,
    /// The id of that rule.
    by: Option<String>,
    /// In what the two differ that decided.
    because: Option<Because>,
    /// Of one that is out of time.
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    /// Of one that missed: the dimension by which it does.
    dimension: Option<String>,
    /// Null where any value would do.
    wanted: Option<Condition>,
    found: Option<String>,
    /// What the event has there that is no text.
    instead: Option<String>,
}

/// How a rule looks at an event.
#[derive(ToSchema)]
#[schema(as = RuleOutcome, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
enum Outcome {
    Applies,
    Replaced,
    OutOfTime,
    Disabled,
    Missed,
}

/// What decides which of two rules of a policy judges.
#[derive(ToSchema)]
#[schema(as = Precedence, rename_all = "snake_case")]
#[expect(dead_code, reason = "it is a shape alone")]
enum Because {
    Priority,
    OwnKey,
    Conditions,
    Newest,
}

/// A dimension that rules ask for and no event has had.
#[derive(ToSchema)]
#[schema(as = UnseenDimension)]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct Unseen {
    dimension: String,
    /// The names of the rules, of at most 100.
    rules: Vec<String>,
}

/// `POST /explain`: what an event would be answered, and what each rule has to do with it.
pub(super) async fn explain(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Read)?.body().await?;
    let explain = move |engine: &Engine| {
        let explanation = engine.explain(&read::<Event<'static>>(&body)?)?;
        let mut rules = explanation.rules;
        let left_out = rules.len().saturating_sub(MAX_EXPLAINED);
        if left_out > 0 {
            rules.sort_by_key(|rule| !matches!(rule.outcome, RuleOutcome::Applies { .. }));
            rules.truncate(MAX_EXPLAINED);
        }
        let (decision, attributes) = (explanation.decision, explanation.attributes);
        json(StatusCode::OK, &Explained { decision, rules, left_out, attributes })
    };
    project.ask(explain).await
}

/// `POST /standing`: where an event's dimensions stand on every rule; nothing is taken.
pub(super) async fn standing(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Check)?.body().await?;
    let stand = move |engine: &Engine| {
        json(StatusCode::OK, &engine.standing(&read::<Event<'static>>(&body)?)?)
    };
    project.ask(stand).await
}

/// `GET /unseen-dimensions`: which dimensions rules ask for that no event has had, by name.
pub(super) async fn unseen_dimensions(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let Asked { limit, cursor } = Asked::of(call.params())?;
    let list = move |engine: &Engine| {
        let mut unseen = engine.unseen_dimensions();
        unseen.sort_by(|a, b| a.dimension.cmp(&b.dimension));
        if let Some(cursor) = cursor {
            unseen.retain(|one| one.dimension > cursor);
        }
        let next = first_of(&mut unseen, limit).map(|last| last.dimension.clone());
        for one in &mut unseen {
            one.rules.truncate(MAX_NAMED);
        }
        Page::new(unseen, next).answer()
    };
    call.project.ask(list).await
}
