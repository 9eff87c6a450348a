//! Why a request has no answer, before it is known in which shape that is said.

use axum::http::header::{ALLOW, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::errors::{QueryError, SimulateError};

/// Why a request has no answer. The door says it, as the caller's generation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// A word for programs, where it is not that of its reason.
    pub(super) code: Option<&'static str>,
    /// The field, the value and the rule.
    pub(super) message: String,
    /// All that is wrong, where it is told apart.
    pub(super) details: Vec<Detail>,
    /// The methods that the path has, where the request's is none of them.
    pub(super) allowed: Vec<Method>,
}

/// One of the things that are wrong with what came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Detail {
    /// Where it stands, such as `limits[2].amount`.
    pub(super) path: String,
    pub(super) message: String,
}

/// What kind of reason it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    BadInput,
    /// A range of time that ends where it starts, or before.
    EmptyRange,
    Unauthorized,
    Forbidden,
    NotFound,
    /// The path is known, the method is not one of it.
    NotAllowed,
    Conflict,
    TooLarge,
    /// The engine takes nothing at this time.
    Unavailable,
    Internal,
}

impl Reason {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadInput | Self::EmptyRange => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What is said where no more is known.
    pub(super) fn usual(self) -> &'static str {
        match self {
            Self::BadInput => "The request is invalid",
            Self::EmptyRange => "startDate must be before endDate",
            Self::Unauthorized => "Invalid or missing API key",
            Self::Forbidden => "This key may not be used for this",
            Self::NotFound => "There is nothing at this path",
            Self::NotAllowed => "The path has no such method",
            Self::Conflict => "It is in conflict with what is there",
            Self::TooLarge => "The request is too large",
            Self::Unavailable => "Nothing is taken at this time",
            Self::Internal => "The server has failed",
        }
    }
}

impl Failure {
    pub(super) fn new(reason: Reason, message: &(impl ToString + ?Sized)) -> Self {
        let (message, details, allowed) = (message.to_string(), Vec::new(), Vec::new());
        Self { reason, code: None, message, details, allowed }
    }

    /// Names it for programs.
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub(super) fn bad_input(message: &(impl ToString + ?Sized)) -> Self {
        Self::new(Reason::BadInput, message)
    }

    /// Says all that is wrong.
    pub(super) fn invalid(details: Vec<Detail>) -> Self {
        let said = details.iter().map(|Detail { path, message }| match &**path {
            "" => message.clone(),
            path => format!("{path}: {message}"),
        });
        let message = said.collect::<Vec<_>>().join("; ");
        Self { details, ..Self::bad_input(&message) }
    }

    /// What is said to the caller: of a fault of the server no more than that.
    pub(super) fn said(&self) -> &str {
        let says_more = self.reason != Reason::Internal && !self.message.is_empty();
        if says_more { &self.message } else { self.reason.usual() }
    }

    /// The path has other methods.
    pub(super) fn not_allowed<'m>(methods: impl Iterator<Item = &'m Method>) -> Self {
        let mut allowed: Vec<Method> = methods.cloned().collect();
        if allowed.contains(&Method::GET) {
            allowed.push(Method::HEAD);
        }
        Self { allowed, ..Reason::NotAllowed.into() }
    }

    /// The headers that go with it, whatever the body says (RFC 9110, sections 11.6.1 and 10.2.1).
    pub(super) fn put_headers(&self, headers: &mut HeaderMap) {
        match self.reason {
            Reason::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Reason::NotAllowed => {
                let names: Vec<&str> = self.allowed.iter().map(Method::as_str).collect();
                if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
                    headers.insert(ALLOW, names);
                }
            }
            _ => {}
        }
    }

    pub(super) fn not_found(kind: &str, id: &str) -> Self {
        Self::new(Reason::NotFound, &format_args!("no {kind} has the id {id:?}"))
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::new(reason, "")
    }
}

impl<E: Into<crate::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let query = match &error {
            crate::Error::Query(why) | crate::Error::Simulate(SimulateError::Query(why)) => {
                Some(why)
            }
            _ => None,
        };
        let reason = match (query, &error) {
            (Some(QueryError::EmptyRange { .. }), _) => Reason::EmptyRange,
            // The question is good, and this engine has no answer to it.
            (Some(QueryError::RecordingOff | QueryError::Overflow { .. }), _) => Reason::Conflict,
            (_, error) if error.is_bad_input() => Reason::BadInput,
            (_, error) if error.is_conflict() => Reason::Conflict,
            (_, error) if error.is_not_found() => Reason::NotFound,
            (_, error) if error.is_store() => Reason::Unavailable,
            // The event is there no more, or a figure without it is not known.
            (_, crate::Error::Correct(_)) => Reason::Conflict,
            _ => Reason::Internal,
        };
        Self::new(reason, &error)
    }
}
