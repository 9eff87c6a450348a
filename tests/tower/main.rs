//! The tower layer: how requests become events, what is answered, what is held, and who is trusted.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod answers;
mod grpc;
mod replays;
mod reserve;
mod sources;
mod trust;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use limitry::time::ManualClock;
use limitry::tower::LimitLayer;
use limitry::{Engine, EngineBuilder};
use serde_json::Value;
use tower::ServiceExt;

use crate::support::{START, date};

/// Runs a future to its end, in a runtime without a timer: nothing here waits for one.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// An engine whose clock a test moves.
fn engine(define: impl FnOnce(EngineBuilder) -> EngineBuilder) -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(START));
    let engine = define(Engine::builder().clock(clock.clone())).build().expect("good rules");
    (engine, clock)
}

/// How often a service was called.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

impl Calls {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A router that answers `hello` everywhere, behind a layer.
fn hello(layer: LimitLayer) -> (Router, Calls) {
    let calls = Calls::default();
    let seen = calls.clone();
    let handler = move || {
        let seen = seen.clone();
        async move {
            seen.0.fetch_add(1, Ordering::Relaxed);
            "hello"
        }
    };
    (Router::new().fallback(get(handler.clone()).post(handler)).layer(layer), calls)
}

/// A request with such headers.
fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a good request")
}

fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
    request(path, headers).into_parts().0
}

async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.expect("routers do not fail")
}

/// A status, the headers and the body as text.
async fn answer(app: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let (parts, body) = send(app, request).await.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).expect("text"))
}

async fn status(app: &Router, request: Request<Body>) -> u16 {
    answer(app, request).await.0.as_u16()
}

fn said<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}
