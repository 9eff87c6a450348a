//! The engine's own API, below `/engine/v1`: what a page, commands and operators need. A key of
//! any generation opens it.

use axum::Router;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;

use super::call::{Answer, json};
use super::failure::{Detail, Failure, Reason};
use crate::Error;
use crate::errors::{RulesError, SimulateError};

mod ask;
mod lists;
mod rules;
mod simulate;
mod store;

/// What its paths begin with.
pub(super) const BASE: &str = "/engine/v1";

/// Where the figures are.
pub(super) const FIGURES: &str = "/metrics";

/// Its paths.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/rules", post(rules::add).get(rules::list))
        .route("/rules/{id}", get(rules::get).patch(rules::update).delete(rules::remove))
        .route("/rules/{id}/archive", post(rules::archive))
        .route("/rules/{id}/restore", post(rules::restore))
        .route("/rules/{id}/keys", get(rules::keys))
        .route("/sync", post(rules::sync))
        .route("/explain", post(ask::explain))
        .route("/standing", post(ask::standing))
        .route("/unseen-dimensions", get(ask::unseen_dimensions))
        .route("/simulate", post(simulate::simulate))
        .route("/reservations", get(lists::reservations))
        .route("/reservations/{id}", get(lists::reservation))
        .route("/reservations/{id}/release", post(lists::release))
        .route("/alerts", get(lists::alerts))
        .route("/health", get(store::health))
        .route("/verify", post(store::verify))
        .route("/backup", post(store::back_up))
}

/// Whether a path is one of this API, known or not.
pub(super) fn is_below(path: &str) -> bool {
    let rest = path.strip_prefix("/engine");
    path == FIGURES || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why there is no answer, as a problem (RFC 9457).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    request_id: &'p str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'p [Detail],
}

/// Says why there is no answer.
pub(super) fn said(why: &Failure, request_id: &str) -> Answer {
    let status = why.reason.status();
    let problem = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: why.said(),
        code: why.code,
        request_id,
        problems: &why.details,
    };
    let mut response: Response = json(status, &problem)?;
    let problem = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, problem);
    Ok(response)
}

/// Why rules were not taken: all that is wrong with them, each with its rule and its field.
fn refused(why: impl Into<Error>) -> Failure {
    let why = why.into();
    let details = match &why {
        Error::Rules(RulesError::Invalid(set)) | Error::Simulate(SimulateError::Invalid(set)) => {
            let problems = set.problems().iter().map(|problem| Detail {
                path: format!("{}: {}", problem.rule, problem.field),
                message: problem.reason.clone(),
            });
            problems.collect()
        }
        _ => Vec::new(),
    };
    Failure { details, ..why.into() }
}

/// What is said where only one may be under way.
fn busy(what: &str) -> Failure {
    let message = format_args!("{what} of this project is under way; ask again when it is done");
    Failure::new(Reason::Conflict, &message).code("under_way")
}
