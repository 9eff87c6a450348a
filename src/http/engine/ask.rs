//! What the rules say of an event, and of what they have never seen.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::rules::read;
use crate::explain::{RuleExplanation, RuleOutcome};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::pages::{Asked, Page, first_of};
use crate::{Decision, Engine, Event};

/// How many rules an explanation tells of; where there are more, those that apply are among them.
const MAX_EXPLAINED: usize = 1_000;
/// How many rules are named that ask for a dimension.
const MAX_NAMED: usize = 100;

/// What an event would be answered, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explained {
    #[schema(value_type = Object)]
    decision: Decision,
    #[schema(value_type = Vec<Object>)]
    rules: Vec<RuleExplanation>,
    /// How many rules are not told of.
    left_out: usize,
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
        json(StatusCode::OK, &Explained { decision: explanation.decision, rules, left_out })
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
