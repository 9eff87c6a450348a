//! The third generation: checks, reservations, limits on subjects, credits, usage.

use axum::Router;
use axum::routing::{delete, get, post};
use serde::Serialize;

use super::failure::{Detail, Failure, Reason};

mod checks;
mod credits;
mod fields;
mod limit;
mod limits;
mod reservations;
mod standing;
mod subject;
mod subjects;
mod sync;
mod usage;
mod window;
mod workspace;

/// Its paths.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/checks", post(checks::create))
        .route("/reservations/{id}/commit", post(reservations::commit))
        .route("/reservations/{id}/extend", post(reservations::extend))
        .route("/reservations/{id}/release", post(reservations::release))
        .route("/limits", post(limits::create).get(limits::list))
        .route("/limits/sync", post(sync::sync))
        .route("/limits/{id}", get(limits::get).patch(limits::update))
        .route("/limits/{id}/archive", post(limits::archive))
        .route("/limits/{id}/restore", post(limits::restore))
        .route("/limits/{id}/credits", post(credits::create).get(credits::list))
        .route("/usage", get(usage::series))
        .route("/usage/standing", get(standing::standing))
        .route("/usage/subjects", get(usage::by_subject))
        .route("/subjects/{kind}/{id}", get(subjects::get).patch(subjects::update))
        .route("/subjects/{kind}/{id}/reset", post(subjects::reset))
        .route("/user/me", get(workspace::user))
        .route("/user/token", delete(workspace::revoke))
        .route("/workspace", get(workspace::workspace))
        .route("/workspace/usage", get(workspace::usage))
        .route(
            "/workspace/{*left_out}",
            get(workspace::left_out).post(workspace::left_out).delete(workspace::left_out),
        )
}

/// Why there is no answer, as this generation says it.
#[derive(Serialize)]
pub(super) struct Problem<'p> {
    error: Said<'p>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'p> {
    code: &'p str,
    message: &'p str,
    request_id: &'p str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'p [Detail],
}

impl<'p> Problem<'p> {
    pub(super) fn of(why: &'p Failure, request_id: &'p str) -> Self {
        let code = match why.reason {
            Reason::BadInput | Reason::EmptyRange => "invalid_request",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::NotFound => "not_found",
            Reason::NotAllowed => "method_not_allowed",
            Reason::Conflict => "conflict",
            Reason::TooLarge => "request_too_large",
            Reason::Unavailable => "unavailable",
            Reason::Internal => "internal_error",
        };
        let (code, details) = (why.code.unwrap_or(code), &*why.details);
        Self { error: Said { code, message: why.said(), request_id, details } }
    }
}
