//! Who used what, by any dimension and interval, and what was refused.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::rules::read;
use super::schema::UsageFilter;
use crate::Engine;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::refusals::RefusalQuery;
use crate::usage::{Interval, UsageQuery};

/// How many values are told apart, where nothing else is asked for, and at the most.
const DEFAULT_VALUES: usize = 20;
const MAX_VALUES: usize = 1_000;

/// A question about usage.
#[derive(Deserialize, ToSchema)]
#[schema(as = UsageQuestion)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    /// Which events: all where it is left out.
    #[schema(value_type = UsageFilter)]
    #[serde(default)]
    query: UsageQuery,
    /// The dimension whose values are told apart.
    group_by: Option<String>,
    /// A point each, for which the range must have a start and an end.
    interval: Option<Interval>,
    /// How many values are told apart, those with the most events: 20 where it is left out.
    #[schema(minimum = 1, maximum = 1_000)]
    most: Option<usize>,
}

/// `POST /usage`: a summary, or by a dimension, by time, or by both.
pub(super) async fn usage(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Read)?.body().await?;
    let ask = move |engine: &Engine| {
        let Question { query, group_by, interval, most } = read(&body)?;
        let most = most.unwrap_or(DEFAULT_VALUES);
        if !(1..=MAX_VALUES).contains(&most) {
            let message = format_args!("most: {most} must be 1 to {MAX_VALUES}");
            return Err(Failure::bad_input(&message));
        }
        let usage = engine.usage();
        match (group_by, interval) {
            (None, None) => json(StatusCode::OK, &usage.summary(&query)?),
            (Some(by), None) => {
                let mut found = usage.breakdown(&query, &by)?;
                found.rows.truncate(most);
                json(StatusCode::OK, &found)
            }
            (None, Some(interval)) => json(StatusCode::OK, &usage.timeseries(&query, interval)?),
            (Some(by), Some(interval)) => {
                json(StatusCode::OK, &usage.timeseries_by(&query, interval, &by, most)?)
            }
        }
    };
    project.ask(ask).await
}

/// `GET /refusals`: which keys were refused the most.
pub(super) async fn refusals(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let limit = params.take("limit");
    let mut query: RefusalQuery = params.read()?;
    if let Some(limit) = limit {
        let rule = || Failure::bad_input(&format_args!("limit: {limit:?} must be a number"));
        query = query.limit(limit.parse().map_err(|_| rule())?);
    }
    let list = move |engine: &Engine| json(StatusCode::OK, &engine.refusals().counts(&query)?);
    call.project.ask(list).await
}

/// `GET /refusals/hours`: how much was refused in each hour.
pub(super) async fn refusal_hours(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let params = call.params();
    // Hours are not listed by pages.
    if let Some(name) = ["limit", "cursor"].into_iter().find(|name| params.has(name)) {
        return Err(Failure::bad_input(&format_args!("{name} is no parameter here")));
    }
    let query: RefusalQuery = params.read()?;
    let list = move |engine: &Engine| {
        let hours = engine.refusals().hours(&query)?;
        json(StatusCode::OK, &serde_json::json!({"data": hours}))
    };
    call.project.ask(list).await
}
