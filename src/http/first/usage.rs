//! Who used what.

use axum::http::StatusCode;
use serde::Serialize;

use super::Answer;
use crate::Engine;
use crate::http::access::Need;
use crate::http::call::{Call, json};
use crate::http::failure::Failure;
use crate::usage::{Interval, UsageQuery, UsageSummary};

/// The range of a query must be given here.
fn bounded(query: UsageQuery, has_range: bool) -> Result<UsageQuery, Failure> {
    let missing = || Failure::bad_input("startDate and endDate must be given");
    has_range.then_some(query).ok_or_else(missing)
}

/// `GET /usage/summary`
pub(super) async fn summary(call: Call) -> Answer {
    let (call, query) = asked(call)?;
    let sum = move |engine: &Engine| json(StatusCode::OK, &engine.usage().summary(&query)?);
    Ok(call.project.ask(sum).await?)
}

/// `GET /usage/breakdown`
pub(super) async fn breakdown(mut call: Call) -> Answer {
    let mut params = call.params();
    let group_by = params.need("groupBy")?;
    let (call, query) = read(call, params)?;
    let sum =
        move |engine: &Engine| json(StatusCode::OK, &engine.usage().breakdown(&query, &group_by)?);
    Ok(call.project.ask(sum).await?)
}

/// `GET /usage/timeseries`
pub(super) async fn timeseries(mut call: Call) -> Answer {
    let mut params = call.params();
    let interval: Interval =
        params.need("interval")?.parse().map_err(|why| Failure::bad_input(&why))?;
    let (call, query) = read(call, params)?;
    let sum =
        move |engine: &Engine| json(StatusCode::OK, &engine.usage().timeseries(&query, interval)?);
    Ok(call.project.ask(sum).await?)
}

/// `GET /customers/{customerId}/usage`
pub(super) async fn of_customer(call: Call) -> Answer {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'c> {
        customer_id: &'c str,
        #[serde(flatten)]
        summary: &'c UsageSummary,
    }
    let customer = call.id();
    let (call, query) = asked(call)?;
    let sum = move |engine: &Engine| {
        let summary = engine.usage().summary(&query.customer(&*customer))?;
        json(StatusCode::OK, &Body { customer_id: &customer, summary: &summary })
    };
    Ok(call.project.ask(sum).await?)
}

fn asked(mut call: Call) -> Result<(Call, UsageQuery), Failure> {
    let params = call.params();
    read(call, params)
}

fn read(call: Call, params: crate::http::call::Params) -> Result<(Call, UsageQuery), Failure> {
    let has_range = params.has("startDate") && params.has("endDate");
    Ok((call.needs(Need::Read)?, bounded(params.read()?, has_range)?))
}
