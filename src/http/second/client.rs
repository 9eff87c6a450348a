//! The paths of client tokens: for the customer of the token, whatever else is said.

use axum::http::StatusCode;

use super::{check, events, parse, schema, tokens};
use crate::http::call::{Answer, Call};
use crate::http::failure::{Failure, Reason};
use crate::http::first;
use crate::http::openapi::{Param, text};
use crate::http::routes::{Routes, get, post};

/// The paths, below `/client`.
pub(in crate::http) fn routes() -> Routes {
    Routes::below("/client")
        .about("Clients")
        .with(
            get("/token", "getClientToken", tokens::shown)
                .says("Returns what the client of a token may know of it")
                .answers::<tokens::Told<'_>>(StatusCode::OK, "Its project and public metadata"),
        )
        .with(
            get("/context", "getClientContext", tokens::shown)
                .says("The older name of the same")
                .answers::<tokens::Told<'_>>(StatusCode::OK, "Its project and public metadata"),
        )
        .with(
            post("/limits/check", "checkClientLimits", check_limits)
                .says("Says where the customer of the token stands on the limits")
                .may_take::<check::Question>()
                .answers::<check::Checked>(StatusCode::OK, "Where it stands"),
        )
        .with(
            post("/events/record", "recordClientEvent", record)
                .says("Records an event of the customer of the token")
                .takes_all::<events::Recorded>("NewClientEvent", &["eventType"])
                .answers::<events::Done>(StatusCode::CREATED, "It is recorded"),
        )
        .with(
            get("/events/summary", "getClientEventSummary", summary)
                .says("Sums up the events of the customer of the token")
                .asks(first::range().map(Param::needed))
                .asks([text("customerId", "None but the customer of the token")])
                .asks([text("eventType", "Only those of a type")])
                .answers::<schema::EventSummary>(StatusCode::OK, "The sums")
                .fails([Reason::Conflict]),
        )
}

/// What is answered to a token at any other path.
pub(in crate::http) fn other(_: &str) -> Failure {
    Failure::new(Reason::Forbidden, "a client token opens the paths below /client alone")
}

/// What is answered to any other key at a path that is none of its own.
pub(in crate::http) fn closed(path: &str) -> Failure {
    let rest = path.strip_prefix("/client");
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        let message = "the paths below /client are for client tokens alone";
        return Failure::new(Reason::Forbidden, message);
    }
    Reason::NotFound.into()
}

/// The customer of the token; where one is given it must be that.
fn customer(call: &Call, given: Option<String>) -> Result<String, Failure> {
    let own = &call.client()?.customer;
    match given {
        Some(given) if given != *own => {
            let message = format_args!("customerId: {given:?} is not the customer of the token");
            Err(Failure::new(Reason::Forbidden, &message))
        }
        _ => Ok(own.clone()),
    }
}

/// `POST /client/limits/check`
async fn check_limits(call: Call) -> Answer {
    let (call, bytes) = call.with_body().await?;
    let mut question: check::Question = parse(&bytes)?;
    question.customer_id = Some(customer(&call, question.customer_id)?);
    check::answer(call.project, question).await
}

/// `POST /client/events/record`
async fn record(call: Call) -> Answer {
    let (mut call, bytes) = call.with_body().await?;
    let mut event: events::Recorded = parse(&bytes)?;
    event.customer_id = Some(customer(&call, event.customer_id)?);
    let key = call.key();
    events::record_one(call.project, event.event(key)?).await
}

/// `GET /client/events/summary`
async fn summary(mut call: Call) -> Answer {
    let mut params = call.params();
    let customer = customer(&call, params.take("customerId"))?;
    let query = events::ranged(params)?.customer(customer);
    events::summed(&call.project, query).await
}
