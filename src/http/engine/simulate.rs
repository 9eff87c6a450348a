//! What other rules would have done with the calls that were made.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::rules::{Missing, read};
use super::schema::{EventQuestion, RuleList};
use super::{alone, refused};
use crate::events::EventQuery;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::simulation::Traffic;
use crate::{Engine, RuleSet};

/// How many keys of each rule are reported.
const DEFAULT_KEYS: usize = 10;
const MAX_KEYS: usize = 100;

/// Rules, and the calls that they are tried on.
#[derive(Deserialize, ToSchema)]
#[schema(as = Simulation)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WhatIf {
    #[schema(value_type = RuleList)]
    rules: RuleSet,
    /// Which recorded events are replayed: all, where it is left out.
    #[schema(value_type = EventQuestion)]
    #[serde(default)]
    calls: EventQuery,
    /// How many keys of each rule are reported, those of the most calls that did not fit: 10 where
    /// it is left out.
    #[schema(maximum = 100)]
    keys: Option<usize>,
    /// What becomes of rules in force that `rules` does not name: `remove` where it is left out.
    missing: Option<Missing>,
}

/// The rules in force, with those that are given in the place of the ones with their ids.
fn with_those_in_force(engine: &Engine, given: RuleSet) -> RuleSet {
    let mut set = engine.rules().set();
    set.rate_limits.retain(|known| given.rate_limits.iter().all(|rule| rule.id != known.id));
    set.quotas.retain(|known| given.quotas.iter().all(|rule| rule.id != known.id));
    set.meters.retain(|known| given.meters.iter().all(|meter| meter.id != known.id));
    set.rate_limits.extend(given.rate_limits);
    set.quotas.extend(given.quotas);
    set.meters.extend(given.meters);
    set
}

/// `POST /simulate`: one at a time, for it takes half a microsecond a call.
pub(super) async fn simulate(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Read)?.body().await?;
    let own = project.clone();
    let simulate = move |engine: &Engine| {
        let WhatIf { rules, calls, keys, missing } = read(&body)?;
        let keys = keys.unwrap_or(DEFAULT_KEYS);
        if keys > MAX_KEYS {
            let message = format_args!("keys: {keys} must be 0 to {MAX_KEYS}");
            return Err(Failure::bad_input(&message));
        }
        let rules = match missing.unwrap_or(Missing::Remove) {
            Missing::Keep => with_those_in_force(engine, rules),
            Missing::Archive | Missing::Remove => rules,
        };
        let _alone = alone(&own)?;
        let report = engine.simulate(rules, Traffic::from(calls).keys(keys)).map_err(refused)?;
        json(StatusCode::OK, &report)
    };
    project.ask(simulate).await
}
