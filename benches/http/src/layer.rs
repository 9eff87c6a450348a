//! The tower layer, and `tower_governor`, on an empty handler: by the peer's address, as that does.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use limitry::events::Recording;
use limitry::tower::{LimitLayer, Source};
use limitry::{Engine, RateLimit, Window};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

use crate::load::{Case, Failure};

/// A limit that nobody reaches: what is refused costs less.
const LIMIT: u32 = 1_000_000_000;

pub(crate) fn cases() -> Result<Vec<Case>, Failure> {
    let hello = || Router::new().route("/", get(|| async { "hello" }));
    let governor = GovernorConfigBuilder::default().per_nanosecond(1).burst_size(LIMIT).finish();
    let governor = Arc::new(governor.ok_or("a good configuration")?);
    let mut shown = GovernorConfigBuilder::default();
    let shown = shown.per_nanosecond(1).burst_size(LIMIT).use_headers().finish();
    let shown = Arc::new(shown.ok_or("a good configuration")?);
    let case = |name, app| Case { name, app, status: 200, request, listeners: (0, "") };
    Ok(vec![
        case("bare handler", hello()),
        case("limitry, nothing recorded", hello().layer(limits(false)?)),
        case("limitry, events recorded", hello().layer(limits(true)?)),
        case("tower_governor", hello().layer(GovernorLayer::new(governor))),
        case("tower_governor, headers", hello().layer(GovernorLayer::new(shown))),
    ])
}

fn request(_: usize) -> String {
    "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()
}

fn limits(recording: bool) -> Result<LimitLayer, limitry::Error> {
    let rule = RateLimit::new("Requests", u64::from(LIMIT), Window::Second).per("customer_id");
    let builder = Engine::builder().rate_limit(rule);
    let builder = if recording { builder } else { builder.recording(Recording::Off) };
    let peer = Source::peer(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
    Ok(LimitLayer::new(&builder.build()?, peer))
}
