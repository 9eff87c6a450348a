//! An API in memory, and calls of it.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use limitry::http::{ApiKey, ApiKeys, Options, Scope, router};
use limitry::time::{Clock, ManualClock};
use limitry::webhooks::{WebhookOptions, Webhooks};
use limitry::{Engine, EngineBuilder};
use serde_json::Value;
use tower_service::Service;

use crate::conform;

pub(crate) const KEY: &str = "lm_0123456789abcdef0123456789abcdef";
pub(crate) const READ: &str = "lmtry_sk_read";
pub(crate) const RECORD: &str = "lm_record";
pub(crate) const ENDED: &str = "lm_ended";
/// Ends after an hour.
pub(crate) const ENDS: &str = "lm_ends";
pub(crate) const OTHER: &str = "lm_other_project";
pub(crate) const SECOND: &str = "limitry_sk_0123";
pub(crate) const SECOND_READ: &str = "limitry_sk_read";
pub(crate) const SECOND_RECORD: &str = "limitry_sk_record";
pub(crate) const SECOND_ENDED: &str = "limitry_sk_ended";
pub(crate) const SECOND_OTHER: &str = "limitry_sk_other_project";
pub(crate) const PERSONAL: &str = "limitry_pat_0123";
pub(crate) const THIRD: &str = "lim_test_0123";
pub(crate) const THIRD_READ: &str = "lim_test_read";
pub(crate) const THIRD_RECORD: &str = "lim_live_record";

/// An API of two projects, by a clock that stands.
pub(crate) struct App {
    pub(crate) router: Router,
    pub(crate) engine: Engine,
    pub(crate) clock: ManualClock,
    /// Of the first project.
    pub(crate) hooks: Webhooks,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl App {
    pub(crate) fn new() -> Self {
        Self::with(Engine::builder())
    }

    pub(crate) fn with(builder: EngineBuilder) -> Self {
        Self::at("2024-01-15T10:30:00Z", builder)
    }

    pub(crate) fn at(now: &str, builder: EngineBuilder) -> Self {
        Self::served(now, builder, |options| options)
    }

    /// The same, served in another way.
    pub(crate) fn served(
        now: &str,
        builder: EngineBuilder,
        served: impl FnOnce(Options) -> Options,
    ) -> Self {
        let clock = ManualClock::new(now.parse().expect("a time"));
        let engine = builder.clock(clock.clone()).build().expect("good rules");
        let other = Engine::builder().clock(clock.clone()).build().expect("no rules");
        let key = |key, project| ApiKey::new(key, project).expect("a key");
        let keys = ApiKeys::new()
            .with(key(KEY, "proj_xyz").name("Ann"))
            .with(key(READ, "proj_xyz").scope(Scope::Read))
            .with(key(RECORD, "proj_xyz").scope(Scope::Record))
            .with(key(ENDED, "proj_xyz").ends_at(clock.now()))
            .with(key(ENDS, "proj_xyz").ends_at(clock.now() + Duration::from_secs(3_600)))
            .with(key(OTHER, "proj_other"))
            .with(key(SECOND, "proj_xyz"))
            .with(key(SECOND_READ, "proj_xyz").scope(Scope::Read))
            .with(key(SECOND_RECORD, "proj_xyz").scope(Scope::Record))
            .with(key(SECOND_ENDED, "proj_xyz").ends_at(clock.now()))
            .with(key(SECOND_OTHER, "proj_other"))
            .with(key(PERSONAL, "proj_xyz"))
            .with(key(THIRD, "proj_xyz"))
            .with(key(THIRD_READ, "proj_xyz").scope(Scope::Read))
            .with(key(THIRD_RECORD, "proj_xyz").scope(Scope::Record))
            .with(key("lim_test_other", "proj_other"));
        let hooks = Webhooks::open(&engine, WebhookOptions::new()).expect("the store is good");
        let options = Options::new("proj_xyz", keys).project("proj_other", other);
        let options = options.webhooks("proj_xyz", hooks.clone());
        let router = router(engine.clone(), served(options.max_body_bytes(100_000)));
        Self { router, engine, clock, hooks }
    }

    /// Sends a request with a key, and a body where it is not empty. The answer is one that the
    /// API says of itself that it gives.
    pub(crate) fn send(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: impl Into<String>,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {key}"));
        let answer = self.answer(request.body(Body::from(body.into())).expect("a request"));
        conform::check(key, method, path, &answer);
        answer
    }

    /// Asks without a key.
    pub(crate) fn open(&self, path: &str) -> Answer {
        self.answer(Request::builder().uri(path).body(Body::empty()).expect("a request"))
    }

    /// The same with a header `Idempotency-Key`.
    pub(crate) fn keyed(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        self.answer(keyed(KEY, key, method, path, body))
    }

    /// Asks for what is no JSON: the status, the type and the text.
    pub(crate) fn text(&self, key: &str, path: &str) -> (u16, String, String) {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {key}"));
        let request = request.body(Body::empty()).expect("a request");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let response = self.router.clone().call(request).await.expect("it never fails");
            let (parts, body) = response.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.expect("it is whole");
            let kind = parts.headers["content-type"].to_str().expect("ASCII").to_owned();
            (parts.status.as_u16(), kind, String::from_utf8(bytes.to_vec()).expect("text"))
        })
    }

    /// The headers of an answer.
    pub(crate) fn head(&self, request: Request<Body>) -> HeaderMap {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let response = runtime.block_on(self.router.clone().call(request));
        response.expect("it never fails").into_parts().0.headers
    }

    pub(crate) fn answer(&self, request: Request<Body>) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let response = self.router.clone().call(request).await;
            Answer::read(response.expect("it never fails")).await
        })
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.send(KEY, "POST", path, body)
    }

    /// The same by the third generation.
    pub(crate) fn third(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(THIRD, method, path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(KEY, "GET", path, "")
    }
}

/// A request with two keys: one to come in, one that names it among its repetitions.
pub(crate) fn keyed(api: &str, key: &str, method: &str, path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("idempotency-key", key);
    let request = request.header("authorization", format!("Bearer {api}"));
    request.body(Body::from(body.to_owned())).expect("a request")
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("it is whole");
        let body = match &*bytes {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes).expect("JSON"),
        };
        Self { status: parts.status, headers: parts.headers, body }
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: Value) {
        assert_eq!((self.status.as_u16(), &self.body), (status, &body));
    }

    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }
}
