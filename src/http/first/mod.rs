//! The first generation: `track`, events, quotas, rate limits, usage.

use axum::Router;
use axum::routing::{get, post};
use serde::Serialize;

use super::call;
use super::failure::{Failure, Reason};

mod checks;
mod events;
mod rules;
mod usage;

/// Its paths.
pub(super) fn routes() -> Router {
    Router::new()
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
        .route("/project", get(call::project))
}

/// Why there is no answer, as this generation says it.
#[derive(Serialize)]
pub(super) struct Problem<'p> {
    error: &'p str,
    /// The field, the value and the rule; what the product does not say.
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'p str,
}

impl<'p> Problem<'p> {
    pub(super) fn of(why: &'p Failure) -> Self {
        let (error, details) = match why.reason {
            Reason::BadInput => ("Invalid request", &*why.message),
            Reason::EmptyRange => ("Invalid date range: startDate must be before endDate", ""),
            Reason::Unauthorized => ("Invalid or missing API key", ""),
            Reason::NotFound => ("Resource not found", &*why.message),
            Reason::NotAllowed => ("Method not allowed", ""),
            Reason::Forbidden => ("Forbidden", &*why.message),
            Reason::Conflict => ("Conflict", &*why.message),
            Reason::TooLarge => ("Request too large", &*why.message),
            Reason::Unavailable => ("Service unavailable", &*why.message),
            // What it is stays with the server.
            Reason::Internal => ("Internal server error", ""),
        };
        Self { error, details }
    }
}
