//! The first generation: `track`, events, quotas, rate limits, usage.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use super::call::{Call, json};
use super::failure::{Failure, Reason};

mod checks;
mod events;
mod rules;
mod usage;

/// Every path of it, below its base.
pub(super) fn routes() -> Router {
    let paths = Router::new()
        .route("/track", post(events::track))
        .route("/events", post(events::record).get(events::list))
        .route("/events/batch", post(events::record_batch))
        .route("/quotas", post(rules::add_quota).get(rules::quotas))
        .route("/quotas/check", post(checks::quotas))
        .route(
            "/quotas/{id}",
            get(rules::quota).put(rules::update_quota).delete(rules::remove_quota),
        )
        .route("/rate-limits", post(rules::add_rate_limit).get(rules::rate_limits))
        .route("/rate-limits/check", post(checks::rate_limits))
        .route(
            "/rate-limits/{id}",
            get(rules::rate_limit).put(rules::update_rate_limit).delete(rules::remove_rate_limit),
        )
        .route("/usage/summary", get(usage::summary))
        .route("/usage/breakdown", get(usage::breakdown))
        .route("/usage/timeseries", get(usage::timeseries))
        .route("/customers/{customerId}/usage", get(usage::of_customer))
        .route("/project", get(project))
        .method_not_allowed_fallback(|| async {
            refusal(Failure::new(Reason::MethodNotAllowed, ""))
        });
    Router::new()
        .nest("/v1", paths)
        .fallback(|| async { refusal(Failure::new(Reason::NotFound, "")) })
}

/// The answer to a request that comes to no engine.
pub(super) fn refusal(why: Failure) -> Response {
    Problem(why).into_response()
}

/// An answer, or why there is none.
type Answer = Result<Response, Problem>;

/// Why there is none, as this generation says it.
struct Problem(Failure);

impl<E: Into<Failure>> From<E> for Problem {
    fn from(why: E) -> Self {
        Self(why.into())
    }
}

#[derive(Serialize)]
struct ProblemBody<'p> {
    error: &'p str,
    /// The field, the value and the rule; what the product does not say.
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'p str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Failure { reason, message } = &self.0;
        let (error, details) = match reason {
            Reason::BadInput => ("Invalid request", &**message),
            Reason::EmptyRange => ("Invalid date range: startDate must be before endDate", ""),
            Reason::Unauthorized => ("Invalid or missing API key", ""),
            Reason::NotFound => ("Resource not found", &**message),
            Reason::MethodNotAllowed => ("Method not allowed", ""),
            Reason::Forbidden => ("Forbidden", &**message),
            Reason::Conflict => ("Conflict", &**message),
            Reason::TooLarge => ("Request too large", &**message),
            Reason::Unavailable => ("Service unavailable", &**message),
            // What it is stays with the server.
            Reason::Internal => ("Internal server error", ""),
        };
        let body = json(reason.status(), &ProblemBody { error, details });
        body.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// `GET /project`
async fn project(call: Call) -> Answer {
    #[derive(Serialize)]
    struct Body<'p> {
        id: &'p str,
        name: &'p str,
    }
    let id = &*call.project.id;
    Ok(json(StatusCode::OK, &Body { id, name: id })?)
}
