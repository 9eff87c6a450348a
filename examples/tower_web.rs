//! Limits by IP address for an ordinary web application: two requests a second, five at once.
//!
//! `cargo run --features tower --example tower_web` sends itself some requests;
//! `... -- 127.0.0.1:3000` listens there.

use std::error::Error;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::{Router, routing::get};
use limitry::tower::{LimitLayer, Source};
use limitry::{Engine, RateLimit, Window};
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let requests = RateLimit::new("Requests", 2, Window::Second).burst(5).per("customer_id");
    let engine = Engine::builder().rate_limit(requests).build()?;
    // Behind one proxy of ours it is `Source::x_forwarded_for(1)`.
    let address = Source::peer(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
    let app = Router::new()
        .route("/", get(|| async { "Hello, world!\n" }))
        .layer(LimitLayer::new(&engine, address));

    if let Some(listen) = std::env::args().nth(1) {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
        return Ok(());
    }
    for peer in ["203.0.113.7:50000"; 6].into_iter().chain(["[2001:db8::9]:50000"]) {
        let mut request = Request::get("/").body(Body::empty())?;
        request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>()?));
        let response = app.clone().oneshot(request).await?;
        let says = |name| response.headers().get(name).and_then(|it| it.to_str().ok());
        let (left, wait) = (says("x-ratelimit-remaining"), says("retry-after"));
        println!("{peer}: {}, {left:?} left, wait {wait:?}", response.status());
    }
    Ok(())
}
