//! The page for operators: one file that needs no other, made of its parts once.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

/// What a browser reads, but for what it looks like and does.
const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// One program: each part uses what is before it.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("text.js"),
    include_str!("server.js"),
    include_str!("chart.js"),
    include_str!("live.js"),
    include_str!("history.js"),
    include_str!("explain.js"),
    include_str!("change.js"),
    include_str!("main.js"),
);

/// The page, and what it may do: run and look as its own text says, and ask its own server.
static PAGE: LazyLock<(Bytes, Option<HeaderValue>)> = LazyLock::new(|| {
    let page = FRAME.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT);
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    (page.into(), HeaderValue::try_from(policy).ok())
});

/// `GET /`
pub(super) async fn page() -> Response {
    let (page, policy) = &*PAGE;
    let mut response = Response::new(Body::from(page.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    if let Some(policy) = policy {
        headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    }
    response
}
