//! Goal: what a request may cost is held before the service is called; what its response says is
//! committed, once; and however a request ends without a response nothing stays held.
//!
//! Method: a quota of tokens, services whose bodies a test feeds piece by piece, and what the quota
//! says of used and held after each step. Clients that go away drop what they wait for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use limitry::tower::{Commit, Ended, LimitLayer, StreamReader};
use limitry::{Engine, Event, Hold, Metric, Period, Quota};
use proptest::prelude::*;
use tokio_test::{assert_pending, assert_ready, task};
use tower::ServiceExt;

use crate::{answer, engine, request, run, send, status, support};

type Piece = Result<Frame<Bytes>, &'static str>;

/// A body that a test feeds: pending where there is nothing left, over at `None`.
#[derive(Clone, Default)]
struct Fed {
    pieces: Arc<Mutex<VecDeque<Option<Piece>>>>,
}

impl Fed {
    fn of(pieces: impl IntoIterator<Item = Option<Piece>>) -> Self {
        Self { pieces: Arc::new(Mutex::new(pieces.into_iter().collect())) }
    }

    fn response(&self) -> Response<Body> {
        Response::new(Body::new(self.clone()))
    }
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.pieces.lock().expect("no panic").pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

fn data(text: &'static str) -> Option<Piece> {
    Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
}

/// 1 000 tokens a day, of which each request reserves 100.
fn tokens() -> Engine {
    engine(|it| it.quota(Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day))).0
}

fn layer(engine: &Engine, hold: Hold, commit: Commit) -> LimitLayer {
    LimitLayer::by(engine, |_| Event::new("ann", "model_call").total_tokens(100).into())
        .reserve(hold, commit)
}

/// What is used and what is held.
fn stands(engine: &Engine) -> (u64, u64) {
    let standing = engine.standing(&Event::new("ann", "model_call")).expect("a good event");
    let quota = standing.quotas().next().expect("it matches");
    (quota.used.to_u64_floor(), quota.held.to_u64_floor())
}

/// A service that answers each request so.
fn answering(
    layer: LimitLayer,
    response: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> Router {
    Router::new().route("/", get(move || std::future::ready(response()))).layer(layer)
}

/// Tokens as the last number of the body says them.
fn last_number() -> Commit {
    Commit::by_body(64, |event, _, body| {
        let text = str::from_utf8(body).ok()?;
        Some(event.total_tokens(text.split_whitespace().next_back()?.parse().ok()?))
    })
}

/// Counts the bytes that go by as tokens.
#[derive(Default)]
struct Bytewise {
    seen: u64,
    trailers: u64,
}

impl StreamReader for Bytewise {
    fn read(&mut self, data: &Bytes) {
        self.seen += data.len() as u64;
    }

    fn read_trailers(&mut self, trailers: &HeaderMap) {
        self.trailers += trailers.len() as u64 * 1_000;
    }

    fn end(self: Box<Self>, event: Event<'static>, ended: Ended) -> Option<Event<'static>> {
        let cut_off = if ended == Ended::CutOff { 500 } else { 0 };
        Some(event.total_tokens(self.seen + self.trailers + cut_off))
    }
}

#[test]
fn what_the_body_says_is_committed() {
    let engine = tokens();
    let layer = layer(&engine, Hold::default(), last_number());
    let app = answering(layer, || Response::new(Body::from("it took 42")));
    run(async {
        let (status, headers, body) = answer(&app, request("/", &[])).await;
        assert_eq!((status.as_u16(), body.as_str()), (200, "it took 42"));
        assert!(headers.contains_key("content-length"));
    });
    assert_eq!(stands(&engine), (42, 0));
    assert_eq!(
        engine.events().list(&limitry::events::EventQuery::new()).expect("kept").data.len(),
        1
    );
}

#[test]
fn what_the_head_says_is_committed_when_it_comes() {
    let engine = tokens();
    let commit = Commit::by_response(|event, response| {
        let tokens = response.headers.get("x-tokens")?.to_str().ok()?;
        Some(event.total_tokens(tokens.parse().ok()?))
    });
    let fed = Fed::default();
    let app = answering(layer(&engine, Hold::default(), commit), move || {
        let mut response = fed.response();
        response.headers_mut().insert("x-tokens", 7.into());
        response
    });
    run(async {
        let response = send(&app, request("/", &[])).await;
        assert_eq!(stands(&engine), (7, 0));
        drop(response);
    });
    assert_eq!(stands(&engine), (7, 0));
}

#[test]
fn what_is_held_counts_for_others_and_what_is_left_comes_back() {
    let engine = tokens();
    let fed = Fed::of([data("some "), data("words 30")]);
    let app = answering(layer(&engine, Hold::default(), last_number()), {
        let fed = fed.clone();
        move || fed.response()
    });
    run(async {
        let mut first = send(&app, request("/", &[])).await.into_body();
        assert_eq!(stands(&engine), (0, 100));
        for expected in ["some ", "words 30"] {
            let frame = first.frame().await.expect("a frame").expect("no error");
            assert_eq!(frame.data_ref().expect("data"), expected);
            assert_eq!(stands(&engine), (0, 100));
        }
        fed.pieces.lock().expect("no panic").push_back(None);
        assert!(first.frame().await.is_none());
        assert_eq!(stands(&engine), (30, 0));
    });
    // Nine more at once, and one is too many.
    run(async {
        let mut open = Vec::new();
        for _ in 0..9 {
            open.push(send(&app, request("/", &[])).await);
        }
        assert_eq!(stands(&engine), (30, 900));
        assert_eq!(status(&app, request("/", &[])).await, 429);
    });
    assert_eq!(stands(&engine), (30, 0));
}

#[test]
fn a_client_that_goes_away_before_the_answer_holds_nothing() {
    for waits in [false, true] {
        let engine = tokens();
        let layer = layer(&engine, Hold::default(), last_number());
        let layer = if waits { layer.wait(Duration::from_secs(1)) } else { layer };
        let never = get(std::future::pending::<&str>);
        let app = Router::new().route("/", never).layer(layer);
        let mut gone = task::spawn(app.oneshot(request("/", &[])));
        assert_pending!(gone.poll());
        assert_eq!(stands(&engine), (0, 100));
        drop(gone);
        assert_eq!(stands(&engine), (0, 0));
    }
}

/// A client that reads the first piece of a body and goes away.
fn hang_up(engine: &Engine, hold: Hold, commit: Commit) {
    let app = answering(layer(engine, hold, commit), || Fed::of([data("12345")]).response());
    run(async {
        let mut body = send(&app, request("/", &[])).await.into_body();
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.data_ref().expect("data"), "12345");
        assert_eq!(stands(engine).1, 100);
    });
}

#[test]
fn a_client_that_goes_away_in_mid_stream_leaves_nothing_held() {
    let engine = tokens();
    hang_up(&engine, Hold::default(), last_number());
    assert_eq!(stands(&engine), (0, 0));
    hang_up(&engine, Hold::default().charge_on_drop(), last_number());
    assert_eq!(stands(&engine), (100, 0));
    // A reader charges what it has seen.
    hang_up(&engine, Hold::default(), Commit::by_stream(|_| Bytewise::default()));
    assert_eq!(stands(&engine), (605, 0));
}

#[test]
fn a_body_that_breaks_off_leaves_nothing_held() {
    let engine = tokens();
    let app = answering(layer(&engine, Hold::default(), last_number()), || {
        Fed::of([data("12 34"), Some(Err("broken")), data("never")]).response()
    });
    run(async {
        let body = send(&app, request("/", &[])).await.into_body();
        body.collect().await.expect_err("it broke off");
    });
    assert_eq!(stands(&engine), (0, 0));
}

#[test]
fn a_handler_that_panics_gives_the_hold_back() {
    for waits in [false, true] {
        let engine = tokens();
        let layer = layer(&engine, Hold::default(), last_number());
        let layer = if waits { layer.wait(Duration::from_secs(1)) } else { layer };
        let inside = engine.clone();
        let handler = get(move || async move {
            assert_eq!(stands(&inside), (0, 100));
            if stands(&inside).1 == 100 {
                panic!("a handler that panics");
            }
            "never"
        });
        let app = Router::new().route("/", handler).layer(layer);
        let panicked = catch_unwind(AssertUnwindSafe(|| run(send(&app, request("/", &[])))));
        assert!(panicked.is_err());
        assert_eq!(stands(&engine), (0, 0));
    }
}

/// A body that panics.
struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        panic!("a body that panics")
    }
}

#[test]
fn a_body_or_a_reader_that_panics_gives_the_hold_back() {
    struct Reads(bool);
    impl StreamReader for Reads {
        fn read(&mut self, _: &Bytes) {
            assert!(self.0, "a reader that panics as it reads");
        }
        fn end(self: Box<Self>, _: Event<'static>, _: Ended) -> Option<Event<'static>> {
            panic!("a reader that panics at the end")
        }
    }
    let engine = tokens();
    for (service, at_end) in [("body", false), ("reader", false), ("reader", true)] {
        let commit = Commit::by_stream(move |_| Reads(at_end));
        let app = answering(layer(&engine, Hold::default(), commit), move || match service {
            "body" => Response::new(Body::new(Panics)),
            _ => Fed::of([data("x"), None]).response(),
        });
        let read =
            || run(async { send(&app, request("/", &[])).await.into_body().collect().await });
        catch_unwind(AssertUnwindSafe(read)).expect_err("it panics");
        assert_eq!(stands(&engine), (0, 0), "{service} {at_end}");
    }
}

#[test]
fn a_service_that_fails_gives_the_hold_back() {
    let engine = tokens();
    let service =
        tower::service_fn(|_: http::Request<()>| async { Err::<Response<Body>, _>("down") });
    let layer = layer(&engine, Hold::default().charge_on_drop(), last_number());
    let limited = tower::Layer::layer(&layer, service);
    run(async { limited.oneshot(http::Request::new(())).await }).expect_err("it is down");
    // Charged as where nobody says what happened.
    assert_eq!(stands(&engine), (100, 0));
}

#[test]
fn nothing_happened_where_the_closure_says_nothing() {
    let engine = tokens();
    let layer = layer(&engine, Hold::default().charge_on_drop(), last_number());
    let app = answering(layer, || Response::new(Body::from("no number")));
    assert_eq!(run(status(&app, request("/", &[]))), 200);
    assert_eq!(stands(&engine), (0, 0));
}

#[test]
fn a_body_has_ended_with_its_last_byte_and_nobody_need_ask() {
    let engine = tokens();
    let with_length = || {
        let mut response = Fed::of([data("took "), data("17")]).response();
        response.headers_mut().insert("content-length", 7.into());
        response
    };
    let whole = || Response::new(Body::from("took 17"));
    let empty = || Response::new(Body::empty());
    let bytewise = || Commit::by_stream(|_| Bytewise::default());
    run(async {
        let app = answering(layer(&engine, Hold::default(), last_number()), with_length);
        let mut body = send(&app, request("/", &[])).await.into_body();
        for held in [100, 0] {
            body.frame().await.expect("a frame").expect("no error");
            assert_eq!(stands(&engine).1, held);
        }
        drop(body);
        assert_eq!(stands(&engine), (17, 0));
        let app = answering(layer(&engine, Hold::default(), last_number()), whole);
        let mut body = send(&app, request("/", &[])).await.into_body();
        body.frame().await.expect("a frame").expect("no error");
        drop(body);
        assert_eq!(stands(&engine), (34, 0));
        // One that has no byte has ended before anybody asks.
        let app = answering(layer(&engine, Hold::default(), bytewise()), empty);
        drop(send(&app, request("/", &[])).await);
        assert_eq!(stands(&engine), (34, 0));
    });
}

#[test]
fn trailers_are_read() {
    let engine = engine(|it| it.quota(Quota::new("T", Metric::TotalTokens, 9_999, Period::Day))).0;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    let commit = Commit::by_stream(|_| Bytewise::default());
    let app = answering(layer(&engine, Hold::default(), commit), move || {
        Fed::of([data("xyz"), Some(Ok(Frame::trailers(trailers.clone()))), None]).response()
    });
    let body = run(async { send(&app, request("/", &[])).await.into_body().collect().await });
    assert!(body.expect("no error").trailers().is_some());
    assert_eq!(stands(&engine), (1_003, 0));
}

#[test]
fn a_stream_that_flows_keeps_its_hold() {
    let (engine, clock) =
        engine(|it| it.quota(Quota::new("T", Metric::TotalTokens, 1_000, Period::Day)));
    let fed = Fed::default();
    let hold = Hold::lasting(Duration::from_secs(60));
    let app = answering(layer(&engine, hold, last_number()), {
        let fed = fed.clone();
        move || fed.response()
    });
    run(async {
        let mut body = send(&app, request("/", &[])).await.into_body();
        for _ in 0..10 {
            clock.advance(Duration::from_secs(40));
            fed.pieces.lock().expect("no panic").push_back(data("1 "));
            body.frame().await.expect("a frame").expect("no error");
            assert_eq!(stands(&engine), (0, 100));
        }
        // One that stands still does not; what it took is committed all the same.
        clock.advance(Duration::from_secs(61));
        assert_eq!(stands(&engine), (0, 0));
        fed.pieces.lock().expect("no panic").extend([data("9"), None]);
        body.collect().await.expect("no error");
    });
    assert_eq!(stands(&engine), (9, 0));
}

#[test]
fn a_commit_that_fails_is_told() {
    let engine = tokens();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let commit = Commit::by_response(|_, _| Some(Event::new("bob", "model_call")));
    let layer = layer(&engine, Hold::default(), commit)
        .on_error(move |why| tell.lock().expect("no panic").push(why.to_string()));
    let app = answering(layer, || Response::new(Body::from("fine")));
    assert_eq!(run(status(&app, request("/", &[]))), 200);
    let told = told.lock().expect("no panic");
    assert!(told.len() == 1 && told[0].contains("bob"), "{told:?}");
}

#[test]
fn a_hold_that_cannot_be_is_nobodys_fault_but_the_settings() {
    let engine = tokens();
    let app = answering(layer(&engine, Hold::lasting(Duration::ZERO), last_number()), || {
        Response::new(Body::from("1"))
    });
    assert_eq!(run(status(&app, request("/", &[]))), 503);
}

#[test]
fn a_request_waits_for_what_others_hold() {
    let engine = engine(|it| it.quota(Quota::concurrent("At once", 1))).0;
    let commit = Commit::by_response(|event, _| Some(event));
    let layer = layer(&engine, Hold::default(), commit).wait(Duration::from_secs(5));
    let (open, gate) = tokio::sync::mpsc::channel::<()>(1);
    let opened = Arc::new(tokio::sync::Mutex::new(gate));
    let app = Router::new()
        .route(
            "/",
            get(move || {
                let opened = Arc::clone(&opened);
                async move {
                    opened.lock().await.recv().await;
                    "done"
                }
            }),
        )
        .layer(layer);
    let mut first = task::spawn(app.clone().oneshot(request("/", &[])));
    let mut second = task::spawn(app.oneshot(request("/", &[])));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_eq!(engine.waiting().len(), 1);
    open.try_send(()).expect("room");
    assert_eq!(assert_ready!(first.poll()).expect("infallible").status(), 200);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    open.try_send(()).expect("room");
    assert_eq!(assert_ready!(second.poll()).expect("infallible").status(), 200);
}

proptest! {
    #![proptest_config(support::config(200))]

    #[test]
    fn of_a_body_its_end_is_kept_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12),
        most in 0_usize..60,
    ) {
        let engine = tokens();
        let read = Arc::new(Mutex::new(None));
        let note = Arc::clone(&read);
        let commit = Commit::by_body(most, move |event, response, body| {
            assert_eq!(response.status, 200);
            *note.lock().expect("no panic") = Some(body.to_vec());
            Some(event)
        });
        let frames: Vec<_> = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        let app = answering(layer(&engine, Hold::default(), commit), move || {
            let frames = frames.iter().cloned().map(|data| Some(Ok(Frame::data(data))));
            Fed::of(frames.chain([None])).response()
        });
        let body = run(async { send(&app, request("/", &[])).await.into_body().collect().await });
        let whole = pieces.concat();
        prop_assert_eq!(body.expect("no error").to_bytes(), whole.clone());
        let expected = &whole[whole.len().saturating_sub(most)..];
        let read = read.lock().expect("no panic").take();
        prop_assert_eq!(read.as_deref(), Some(expected));
        prop_assert_eq!(stands(&engine), (100, 0));
    }
}
