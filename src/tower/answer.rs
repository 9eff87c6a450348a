//! What is answered where the service is not asked.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::grpc;
use crate::Decision;
use crate::wire::HeaderDialect;

/// Where the problem types of limits are registered (draft-ietf-httpapi-ratelimit-headers-10).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const BLANK: &str = "about:blank";

/// Marks the answer of a replay.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

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

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const METRIC: HeaderName = HeaderName::from_static("x-quota-metric");
const DRAFT_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The names that a decision has, ready for a map: making one of a text takes longer than all else
/// that is done for a header.
static NAMES: [(&str, HeaderName); 10] = [
    ("X-RateLimit-Limit", LIMIT),
    ("X-RateLimit-Remaining", HeaderName::from_static("x-ratelimit-remaining")),
    ("X-RateLimit-Reset", HeaderName::from_static("x-ratelimit-reset")),
    ("Retry-After", RETRY_AFTER),
    ("X-Quota-Reset", HeaderName::from_static("x-quota-reset")),
    ("X-Quota-Period", HeaderName::from_static("x-quota-period")),
    ("X-Quota-Metric", METRIC),
    ("RateLimit-Policy", HeaderName::from_static("ratelimit-policy")),
    ("RateLimit", DRAFT_LIMIT),
    ("Idempotent-Replayed", REPLAYED),
];

/// How many headers a few are.
const FEW: usize = 6;

/// Sets the headers of a decision, for an answer that the layer does not make: in a handler that
/// asks the engine itself. The same as [`Decision::headers_in`], a few times faster. Nothing is set
/// where the answer has limits already: they are an inner layer's, or the service's, which knows
/// better.
///
/// ```
/// use http::HeaderMap;
/// use limitry::tower::set_headers;
/// use limitry::wire::HeaderDialect;
/// use limitry::{Engine, Event, RateLimit, Window};
///
/// let engine = Engine::builder().rate_limit(RateLimit::new("Calls", 60, Window::Minute)).build()?;
/// let decision = engine.track(&Event::new("cust_123", "model_call"))?;
/// let mut headers = HeaderMap::new();
/// set_headers(&mut headers, &decision, HeaderDialect::XRateLimit);
/// assert_eq!(headers["x-ratelimit-remaining"], "59");
/// # Ok::<(), limitry::Error>(())
/// ```
pub fn set_headers(headers: &mut HeaderMap, decision: &Decision, dialect: HeaderDialect) {
    let limits: &[HeaderName] = match dialect {
        HeaderDialect::Draft10 => &[DRAFT_LIMIT, RETRY_AFTER],
        _ => &[LIMIT, METRIC, RETRY_AFTER],
    };
    // Of a few headers all are looked at sooner than names are hashed.
    let is_there = if headers.keys_len() <= FEW {
        headers.keys().any(|name| limits.contains(name))
    } else {
        limits.iter().any(|name| headers.contains_key(name))
    };
    if is_there {
        return;
    }
    decision.headers_in(dialect).visit(|name, value| {
        let known = NAMES.iter().find(|(said, _)| *said == name).map(|(_, known)| known);
        debug_assert!(known.is_some(), "{name} is not among the names");
        // Values are ASCII.
        if let (Some(name), Ok(value)) = (known, HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    });
}
