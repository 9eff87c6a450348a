//! Who used what.

use axum::http::StatusCode;
use serde::Serialize;

use crate::Engine;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Params, json};
use crate::http::failure::Failure;
use crate::usage::{Interval, UsageQuery, UsageSummary};

/// `GET /usage/summary`
pub(super) async fn summary(call: Call) -> Answer {
    let (call, query) = asked(call)?;
    let sum = move |engine: &Engine| json(StatusCode::OK, &engine.usage().summary(&query)?);
    call.project.ask(sum).await
}

/// `GET /usage/breakdown`
pub(super) async fn breakdown(mut call: Call) -> Answer {
    let mut params = call.params();
    let group_by = params.need("groupBy")?;
    let (call, query) = read(call, params)?;
    let sum =
        move |engine: &Engine| json(StatusCode::OK, &engine.usage().breakdown(&query, &group_by)?);
    call.project.ask(sum).await
}

/// `GET /usage/timeseries`
pub(super) async fn timeseries(mut call: Call) -> Answer {
    let mut params = call.params();
    let interval: Interval =
        params.need("interval")?.parse().map_err(|why| Failure::bad_input(&why))?;
    let (call, query) = read(call, params)?;
    let sum =
        move |engine: &Engine| json(StatusCode::OK, &engine.usage().timeseries(&query, interval)?);
    call.project.ask(sum).await
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
    call.project.ask(sum).await
}

fn asked(mut call: Call) -> Result<(Call, UsageQuery), Failure> {
    let params = call.params();
    read(call, params)
}

/// Reads a query, whose range must be given here.
fn read(call: Call, params: Params) -> Result<(Call, UsageQuery), Failure> {
    let call = call.needs(Need::Read)?;
    let has_range = params.has("startDate") && params.has("endDate");
    let query = params.read()?;
    if !has_range {
        return Err(Failure::bad_input("startDate and endDate must be given"));
    }
    Ok((call, query))
}
