//! The product's API, and a handler that does no more than read such a request and answer it.

use std::collections::HashMap;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::post;
use limitry::events::Recording;
use limitry::http::{ApiKey, ApiKeys, Options, router};
use limitry::{Engine, EngineBuilder, Metric, Period, Quota, RateLimit, Window};
use serde::Deserialize;
use tower::ServiceExt;

use crate::load::{Case, Failure};

pub(crate) const CUSTOMERS: usize = 1_000;
const KEY: &str = "lm_0123456789abcdef0123456789abcdef";
const LISTEN: &str = "GET /engine/v1/stream HTTP/1.1\r\nhost: localhost\r\n\
    authorization: Bearer lm_0123456789abcdef0123456789abcdef\r\n\r\n";
/// A limit that nobody reaches: what is refused costs less.
pub(crate) const LIMIT: u64 = 1_000_000_000_000;

pub(crate) fn cases() -> Result<Vec<Case>, Failure> {
    let answer = answer_of(api()?)?;
    let bare = move |body: Bytes| {
        let answer = answer.clone();
        async move { bare(&body, answer) }
    };
    let case = |name, app| Case { name, app, status: 201, request, listeners: (0, "") };
    Ok(vec![
        case("bare handler", Router::new().route("/v1/track", post(bare))),
        case("limitry", api()?),
    ])
}

/// The API while nobody listens to its stream, while one does, and while a hundred do.
pub(crate) fn listened_to() -> Result<Vec<Case>, Failure> {
    let cases = [("nobody listens", 0), ("one listens", 1), ("100 listen", 100)];
    let case = |(name, count)| {
        Ok(Case { name, app: api()?, status: 201, request, listeners: (count, LISTEN) })
    };
    cases.into_iter().map(case).collect()
}

/// The API as it is, and where it counts alone, as others do.
pub(crate) fn beside_others() -> Result<Vec<Case>, Failure> {
    let case = |name, app| Case { name, app, status: 201, request, listeners: (0, "") };
    Ok(vec![
        case("limitry, events recorded", api()?),
        case("limitry, nothing recorded", api_of(Engine::builder().recording(Recording::Off))?),
    ])
}

/// An engine with four rules behind the product's API.
fn api() -> Result<Router, Failure> {
    api_of(Engine::builder())
}

fn api_of(builder: EngineBuilder) -> Result<Router, Failure> {
    let engine = builder
        .rate_limit(RateLimit::new("Calls", LIMIT, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls an hour", LIMIT, Window::Hour).per("customer_id"))
        .quota(Quota::new("Tokens", Metric::TotalTokens, LIMIT, Period::Day).per("customer_id"))
        .quota(Quota::new("Cost", Metric::TotalCostCents, LIMIT, Period::Month).per("customer_id"))
        .build()?;
    let key = ApiKey::new(KEY, "proj_bench").ok_or("a key of a generation")?;
    Ok(router(engine, Options::new("proj_bench", ApiKeys::new().with(key))))
}

/// What the first call of such an API is answered: of the size that the bare handler's have.
fn answer_of(api: Router) -> Result<Bytes, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let request = Request::post("/v1/track")
        .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
        .body(Body::from(body(0)))?;
    runtime.block_on(async {
        let answer = api.oneshot(request).await?;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await?;
        if status != StatusCode::CREATED {
            return Err(String::from_utf8_lossy(&body).into());
        }
        Ok(body)
    })
}

/// The fields of the body that a request has, as a program without limitry reads them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    customer_id: String,
    event_type: String,
    model: Option<String>,
    provider: Option<String>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    latency_ms: Option<u64>,
    cost_cents: Option<u64>,
    #[serde(default)]
    properties: HashMap<String, serde_json::Value>,
}

fn bare(body: &Bytes, answer: Bytes) -> Response<Body> {
    let mut response = match serde_json::from_slice::<Call>(body) {
        Ok(call) => {
            // So that no field is read for nothing.
            std::hint::black_box((call.customer_id, call.event_type, call.model, call.provider));
            std::hint::black_box((call.input_tokens, call.output_tokens, call.total_tokens));
            std::hint::black_box((call.latency_ms, call.cost_cents, call.properties));
            Response::new(Body::from(answer))
        }
        Err(_) => Response::new(Body::empty()),
    };
    *response.status_mut() = StatusCode::CREATED;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn body(number: usize) -> String {
    let customer = number % CUSTOMERS;
    let model = r#""model":"gpt-4","provider":"openai""#;
    let tokens = r#""inputTokens":150,"outputTokens":50,"totalTokens":200"#;
    let cost = r#""latencyMs":1200,"costCents":25"#;
    let properties = r#"{"user_id":"user_456","team_id":"team_789","feature":"chat"}"#;
    format!(
        r#"{{"customerId":"cust_{customer:06}","eventType":"model_call",{model},{tokens},{cost},"#
    ) + &format!(r#""properties":{properties}}}"#)
}

fn request(number: usize) -> String {
    let body = body(number);
    format!(
        "POST /v1/track HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
