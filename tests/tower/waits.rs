//! Goal: where it is chosen a request waits for room, in its turn and up to its deadline, and a
//! client that goes away leaves the line.
//!
//! Method: an engine whose clock the test moves, which wakes those whose time has come; futures
//! polled by hand.

use std::time::Duration;

use limitry::tower::{LimitLayer, Source};
use limitry::{RateLimit, Window};
use tokio_test::{assert_pending, assert_ready, task};
use tower::ServiceExt;

use crate::{engine, hello, request};

const USER: &[(&str, &str)] = &[("x-user", "ann")];

#[test]
fn a_request_waits_for_room_and_is_answered_then() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("Calls", 1, Window::Second)));
    let layer = LimitLayer::new(&engine, Source::header("x-user")).wait(Duration::from_secs(5));
    let (app, calls) = hello(layer);
    let send = || task::spawn(app.clone().oneshot(request("/", USER)));
    assert_eq!(assert_ready!(send().poll()).expect("infallible").status(), 200);
    let (mut second, mut third) = (send(), send());
    assert_pending!(second.poll());
    assert_pending!(third.poll());
    assert_eq!((calls.count(), engine.waiting().len()), (1, 2));
    clock.advance(Duration::from_millis(999));
    assert!(!second.is_woken());
    clock.advance(Duration::from_millis(1));
    assert!(second.is_woken());
    assert_eq!(assert_ready!(second.poll()).expect("infallible").status(), 200);
    assert_pending!(third.poll());
    clock.advance(Duration::from_secs(1));
    let answer = assert_ready!(third.poll()).expect("infallible");
    assert_eq!((answer.status().as_u16(), calls.count()), (200, 3));
    assert_eq!(answer.headers()["x-ratelimit-remaining"], "0");
}

#[test]
fn at_its_deadline_a_request_is_refused() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("Calls", 1, Window::Minute)));
    let layer = LimitLayer::new(&engine, Source::header("x-user")).wait(Duration::from_secs(5));
    let (app, calls) = hello(layer);
    let send = || task::spawn(app.clone().oneshot(request("/", USER)));
    assert_eq!(assert_ready!(send().poll()).expect("infallible").status(), 200);
    let mut second = send();
    assert_pending!(second.poll());
    clock.advance(Duration::from_secs(5));
    let answer = assert_ready!(second.poll()).expect("infallible");
    assert_eq!((answer.status().as_u16(), calls.count()), (429, 1));
    assert_eq!(answer.headers()["retry-after"], "55");
}

#[test]
fn a_client_that_goes_away_leaves_the_line() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("Calls", 1, Window::Second)));
    let layer = LimitLayer::new(&engine, Source::header("x-user")).wait(Duration::from_secs(5));
    let (app, calls) = hello(layer);
    let send = || task::spawn(app.clone().oneshot(request("/", USER)));
    assert_eq!(assert_ready!(send().poll()).expect("infallible").status(), 200);
    let (mut gone, mut third) = (send(), send());
    assert_pending!(gone.poll());
    assert_pending!(third.poll());
    drop(gone);
    assert_eq!(engine.waiting().len(), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(assert_ready!(third.poll()).expect("infallible").status(), 200);
    assert_eq!(calls.count(), 2);
}

#[test]
fn too_many_who_wait_let_nobody_through() {
    let (engine, _) =
        engine(|it| it.rate_limit(RateLimit::new("Calls", 1, Window::Minute)).max_waiters(1));
    let layer = LimitLayer::new(&engine, Source::header("x-user")).fail_open();
    let (app, calls) = hello(layer.wait(Duration::from_secs(5)));
    let send = || task::spawn(app.clone().oneshot(request("/", USER)));
    assert_eq!(assert_ready!(send().poll()).expect("infallible").status(), 200);
    let mut second = send();
    assert_pending!(second.poll());
    assert_eq!(assert_ready!(send().poll()).expect("infallible").status(), 503);
    assert_eq!(calls.count(), 1);
    // Where nobody waits any more the engine is closed for them: that no client can bring about.
    engine.waiting().close();
    assert_eq!(assert_ready!(second.poll()).expect("infallible").status(), 200);
}
