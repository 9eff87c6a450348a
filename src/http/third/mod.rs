//! The third generation: checks, reservations, limits on subjects, credits, usage.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Serialize;

use super::call::{Answer, Call, json};
use super::failure::{Failure, Reason};

/// Its paths.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/workspace", get(workspace))
        .route("/workspace/{*left_out}", get(left_out).post(left_out).delete(left_out))
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
}

impl<'p> Problem<'p> {
    pub(super) fn of(why: &'p Failure, request_id: &'p str) -> Self {
        let (code, usual) = match why.reason {
            Reason::BadInput | Reason::EmptyRange => ("invalid_request", "The request is invalid"),
            Reason::Unauthorized => ("unauthorized", "Invalid or missing API key"),
            Reason::Forbidden => ("forbidden", "This key may not be used for this"),
            Reason::NotFound => ("not_found", "There is nothing at this path"),
            Reason::NotAllowed => ("method_not_allowed", "The path has no such method"),
            Reason::Conflict => ("conflict", "It is in conflict with what is there"),
            Reason::TooLarge => ("request_too_large", "The request is too large"),
            Reason::Unavailable => ("busy", "Nothing is taken at this time"),
            Reason::Internal => ("internal_error", "The server has failed"),
        };
        // What has failed stays with the server.
        let says_more = why.reason != Reason::Internal && !why.message.is_empty();
        let message = if says_more { &*why.message } else { usual };
        Self { error: Said { code: why.code.unwrap_or(code), message, request_id } }
    }
}

/// `GET /workspace`: the key's project.
async fn workspace(call: Call) -> Answer {
    #[derive(Serialize)]
    struct Body<'p> {
        id: &'p str,
        name: &'p str,
    }
    let id = &*call.project.id;
    json(StatusCode::OK, &Body { id, name: id })
}

/// What is a matter of a service with people in it.
async fn left_out() -> Failure {
    let message = "members, teams, invitations, approvals, audit events and webhook endpoints are \
                   not served here";
    Failure::new(Reason::NotFound, message)
}
