//! What is answered where the service is not asked.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::grpc;
use crate::Decision;
use crate::wire::HeaderDialect;

/// Where the problem types of limits are registered (draft-ietf-httpapi-ratelimit-headers-10).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const BLANK: &str = "about:blank";

/// The longest text that an answer gives as its reason.
const MAX_DETAIL: usize = 512;

/// A problem as a body says it (RFC 9457).
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem<'p> {
    r#type: &'p str,
    title: &'p str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<Cow<'p, str>>,
}

/// Answers that something is wrong with a request or with the engine.
pub(super) fn failure(request: &Parts, status: StatusCode, detail: &str) -> Response<Bytes> {
    let title = status.canonical_reason().unwrap_or("Error");
    problem(request, status, (BLANK, title), detail, None)
}

/// Answers that a rule refuses. The headers are still to be set.
pub(super) fn refusal(request: &Parts, decision: &Decision) -> Response<Bytes> {
    let title = "Request cannot be satisfied as assigned quota has been exceeded";
    let kind = (QUOTA_EXCEEDED, title);
    problem(request, StatusCode::TOO_MANY_REQUESTS, kind, &decision.to_string(), Some(decision))
}

fn problem(
    request: &Parts,
    status: StatusCode,
    (r#type, title): (&str, &str),
    detail: &str,
    refusal: Option<&Decision>,
) -> Response<Bytes> {
    let detail = shortened(detail);
    let wait = refusal.and_then(Decision::retry_after);
    if let Some(content_type) = grpc::content_type(&request.headers) {
        return grpc::answer(content_type, grpc::code_of(status), detail, wait);
    }
    let violated_policies = refusal.map(violated).unwrap_or_default();
    let problem = Problem { r#type, title, status: status.as_u16(), detail, violated_policies };
    // Texts and numbers always have a form.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The names of the rules that refused.
fn violated(decision: &Decision) -> Vec<Cow<'_, str>> {
    let limits = decision.rate_limits().filter(|limit| limit.exceeded).map(|limit| limit.name);
    let quotas = decision.quotas().filter(|quota| quota.exceeded).map(|quota| quota.name);
    limits.chain(quotas).collect()
}

fn shortened(text: &str) -> &str {
    let mut ends = (0..=MAX_DETAIL.min(text.len())).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

/// Sets the headers of a decision, unless the response has one of them already: it is an inner
/// layer's, or the service's, which knows better.
pub(super) fn set_limits(headers: &mut HeaderMap, decision: &Decision, dialect: HeaderDialect) {
    let is_there = match dialect {
        HeaderDialect::Draft10 => headers.contains_key("ratelimit"),
        _ => headers.contains_key("x-ratelimit-limit") || headers.contains_key("x-quota-metric"),
    };
    if is_there || headers.contains_key(http::header::RETRY_AFTER) {
        return;
    }
    for (name, value) in decision.headers_in(dialect) {
        // Both are ASCII.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}
