//! Goal: a request whose idempotency key was here before is not done again: it gets what the
//! application stored, or 409.
//!
//! Method: requests with keys, in front of a service that counts its calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::Response;
use limitry::reservations::{KeyStatus, ReservationState};
use limitry::tower::{Commit, LimitLayer, Source};
use limitry::{Hold, RateLimit, Window};

use crate::{answer, engine, hello, json, request, run, said, status};

fn keyed(layer: LimitLayer) -> LimitLayer {
    layer.idempotency_key(Source::header("idempotency-key"))
}

fn with_key(key: &str) -> http::Request<axum::body::Body> {
    request("/", &[("x-user", "ann"), ("idempotency-key", key)])
}

#[test]
fn a_replay_is_a_conflict_and_not_done_again() {
    let (engine, _) = engine(|it| it.rate_limit(RateLimit::new("Calls", 2, Window::Minute)));
    let (app, calls) = hello(keyed(LimitLayer::new(&engine, Source::header("x-user"))));
    run(async {
        assert_eq!(status(&app, with_key("a")).await, 200);
        let (status, headers, body) = answer(&app, with_key("a")).await;
        assert_eq!((status.as_u16(), said(&headers, "idempotent-replayed")), (409, None));
        assert_eq!(
            (&json(&body)["title"], &json(&body)["status"]),
            (&"Conflict".into(), &409.into())
        );
        // Nothing was counted for it; another customer's key is another one.
        let other = request("/", &[("x-user", "bob"), ("idempotency-key", "a")]);
        assert_eq!(crate::status(&app, other).await, 200);
        assert_eq!(crate::status(&app, with_key("b")).await, 429);
    });
    assert_eq!(calls.count(), 2);
}

#[test]
fn a_refused_key_may_come_again() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("Calls", 1, Window::Second)));
    let (app, calls) = hello(keyed(LimitLayer::new(&engine, Source::header("x-user"))));
    run(async {
        for (key, expected) in [("a", 200), ("b", 429), ("b", 429)] {
            assert_eq!(status(&app, with_key(key)).await, expected);
        }
        clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(status(&app, with_key("b")).await, 200);
    });
    assert_eq!(calls.count(), 2);
}

#[test]
fn a_replay_gets_what_the_application_stored() {
    for waits in [false, true] {
        let (engine, _) = engine(|it| it);
        let stored: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let shelf = Arc::clone(&stored);
        let layer = keyed(LimitLayer::new(&engine, Source::header("x-user")));
        let layer = layer.on_replayed(move |replay| {
            assert!(matches!(replay.status, KeyStatus::Decided(_)));
            let shelf = Arc::clone(&shelf);
            async move {
                tokio::task::yield_now().await;
                let key = replay.request.headers.get("idempotency-key")?.to_str().ok()?;
                shelf.lock().expect("no panic").get(key).cloned().map(Response::new)
            }
        });
        let layer = if waits { layer.wait(std::time::Duration::from_secs(1)) } else { layer };
        let (app, calls) = hello(layer);
        run(async {
            assert_eq!(status(&app, with_key("a")).await, 200);
            // The first call is under way, or has stored nothing.
            assert_eq!(status(&app, with_key("a")).await, 409);
            stored.lock().expect("no panic").insert("a".to_owned(), "as before".to_owned());
            let (status, headers, body) = answer(&app, with_key("a")).await;
            assert_eq!((status.as_u16(), body.as_str()), (200, "as before"));
            assert_eq!(said(&headers, "idempotent-replayed"), Some("true"));
        });
        assert_eq!(calls.count(), 1);
    }
}

#[test]
fn a_key_of_another_request_is_unprocessable() {
    let (engine, _) = engine(|it| it);
    let layer = keyed(LimitLayer::new(&engine, Source::header("x-user")).fail_open());
    let (app, calls) = hello(layer.dimension("path", Source::path(["/", "/other"])));
    run(async {
        assert_eq!(status(&app, with_key("a")).await, 200);
        let other = request("/other", &[("x-user", "ann"), ("idempotency-key", "a")]);
        assert_eq!(status(&app, other).await, 422);
    });
    assert_eq!(calls.count(), 1);
}

#[test]
fn a_reserved_key_says_how_its_request_stands() {
    let (engine, _) = engine(|it| it);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let layer = keyed(LimitLayer::new(&engine, Source::header("x-user")))
        .reserve(Hold::default(), Commit::by_response(|event, _| Some(event)))
        .on_replayed(move |replay| {
            let KeyStatus::Reserved(status) = replay.status else { panic!("it was reserved") };
            note.lock().expect("no panic").push(status.state);
            async { None::<Response<&str>> }
        });
    let (app, calls) = hello(layer);
    run(async {
        assert_eq!(status(&app, with_key("a")).await, 200);
        assert_eq!(status(&app, with_key("a")).await, 409);
    });
    assert_eq!(*seen.lock().expect("no panic"), [ReservationState::Committed]);
    assert_eq!(calls.count(), 1);
}
