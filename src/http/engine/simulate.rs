//! What other rules would have done with the calls that were made.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::rules::read;
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
    /// `rateLimits`, `quotas` and `meters`.
    #[schema(value_type = Object)]
    rules: RuleSet,
    /// Which recorded events are replayed: all, where it is left out.
    #[schema(value_type = Object)]
    #[serde(default)]
    calls: EventQuery,
    keys: Option<usize>,
}

/// `POST /simulate`: one at a time, for it takes half a microsecond a call.
pub(super) async fn simulate(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Read)?.body().await?;
    let long = project.long();
    let simulate = move |engine: &Engine| {
        let WhatIf { rules, calls, keys } = read(&body)?;
        let keys = keys.unwrap_or(DEFAULT_KEYS);
        if keys > MAX_KEYS {
            let message = format_args!("keys: {keys} must be 0 to {MAX_KEYS}");
            return Err(Failure::bad_input(&message));
        }
        let _alone = alone(&long)?;
        let report = engine.simulate(rules, Traffic::from(calls).keys(keys)).map_err(refused)?;
        json(StatusCode::OK, &report)
    };
    project.ask(simulate).await
}
