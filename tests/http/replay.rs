//! The header `Idempotency-Key`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use limitry::store::MemoryStore;
use limitry::{Engine, RateLimit, Window};
use serde_json::json;
use tower_service::Service;

use crate::app::{Answer, App, KEY, OTHER, READ, SECOND, keyed};

const TRACK: &str = r#"{"customerId": "c", "eventType": "e"}"#;
const QUOTA: &str = r#"{"name": "q", "metric": "total_events", "limitValue": 9, "period": "day"}"#;
const START: &str = "2024-01-15T10:30:00Z";

fn one_an_hour() -> RateLimit {
    RateLimit::new("Calls", 1, Window::Hour)
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

#[test]
fn an_answer_is_given_again_refusals_too() {
    let app = App::with(Engine::builder().rate_limit(one_an_hour()));
    let first = app.keyed("k1", "POST", "/v1/track", TRACK);
    assert_eq!((first.status.as_u16(), is_replay(&first)), (201, false));
    let refused = app.keyed("k2", "POST", "/v1/track", TRACK);
    assert_eq!((refused.status.as_u16(), is_replay(&refused)), (429, false));
    // An hour later there would be room.
    app.clock.advance(Duration::from_secs(3_600));
    for (key, before) in [("k1", &first), ("k2", &refused)] {
        let again = app.keyed(key, "POST", "/v1/track", TRACK);
        assert!(is_replay(&again));
        again.is(before.status.as_u16(), before.body.clone());
        for name in ["retry-after", "x-ratelimit-limit", "x-ratelimit-reset", "content-type"] {
            assert_eq!(again.header(name), before.header(name), "{name}");
        }
    }
    assert_eq!(app.engine.events().len(), 1);
    assert_eq!(app.keyed("k3", "POST", "/v1/track", TRACK).status, 201);
}

#[test]
fn a_change_is_made_once() {
    let app = App::new();
    let made = app.keyed("k", "POST", "/v1/quotas", QUOTA);
    let again = app.keyed("k", "POST", "/v1/quotas", QUOTA);
    assert!(is_replay(&again));
    again.is(201, made.body);
    assert_eq!(app.engine.rules().list().len(), 1);
    let gone = app.keyed("d", "DELETE", "/v1/quotas/qta_q", "");
    assert_eq!(gone.status, 204);
    assert_eq!(app.keyed("d", "DELETE", "/v1/quotas/qta_q", "").status, 204);
    assert_eq!(app.keyed("e", "DELETE", "/v1/quotas/qta_q", "").status, 404);
    // A question has no key.
    assert!(!is_replay(&app.keyed("k", "GET", "/v1/quotas", "")));
}

#[test]
fn a_key_is_of_one_request_and_one_project() {
    let app = App::new();
    app.keyed("k", "POST", "/v1/track", TRACK).ok(201);
    let others = [
        ("/v1/track", r#"{"customerId": "d", "eventType": "e"}"#),
        ("/v1/events", TRACK),
        ("/v1/track?a=b", TRACK),
    ];
    for (path, body) in others {
        let answer = app.keyed("k", "POST", path, body);
        assert!(answer.body["details"].as_str().expect("a text").contains("\"k\""));
        assert_eq!(answer.status, 409, "{path} {body}");
    }
    let other = app.answer(keyed(OTHER, "k", "POST", "/v1/track", TRACK));
    assert_eq!((other.status.as_u16(), is_replay(&other)), (201, false));
    // Who may not do it is not shown what was answered to who may.
    let reader = app.answer(keyed(READ, "k", "POST", "/v1/track", TRACK));
    assert_eq!(reader.status, 403);
}

#[test]
fn answers_are_kept_for_a_day() {
    let app = App::with(Engine::builder().rate_limit(one_an_hour()));
    app.post("/v1/track", TRACK).ok(201);
    app.keyed("k", "POST", "/v1/track", TRACK).ok(429);
    app.clock.advance(Duration::from_secs(24 * 3_600 - 1));
    app.keyed("k", "POST", "/v1/track", TRACK).ok(429);
    app.clock.advance(Duration::from_secs(1));
    app.keyed("k", "POST", "/v1/track", TRACK).ok(201);
}

#[test]
fn bad_keys_are_refused() {
    let app = App::new();
    for bad in ["", &"k".repeat(257)] {
        let answer = app.keyed(bad, "POST", "/v1/track", TRACK);
        assert!(answer.ok(400)["details"].as_str().expect("a text").starts_with("Idempotency-Key"));
    }
    assert!(app.engine.events().is_empty());
}

#[test]
fn an_answer_survives_with_the_store() {
    let memory = MemoryStore::new();
    let open = |now| {
        let rule = one_an_hour().id("rl_calls");
        App::at(now, Engine::builder().rate_limit(rule).durable(memory.open().expect("opens")))
    };
    let app = open(START);
    let first = app.keyed("k1", "POST", "/v1/track", TRACK).ok(201);
    let refused = app.keyed("k2", "POST", "/v1/track", TRACK).ok(429);
    drop(app);
    let app = open("2024-01-15T12:30:00Z");
    for (key, status, before) in [("k1", 201, first), ("k2", 429, refused)] {
        let again = app.keyed(key, "POST", "/v1/track", TRACK);
        assert!(is_replay(&again), "{key}");
        again.is(status, before);
    }
    assert_eq!(app.engine.usage().summary(&all()).expect("recorded").totals.total_events, 1);
    drop(app);
    // A day later what is kept goes, a few rows for each that comes.
    let app = open("2024-01-16T13:30:00Z");
    assert_eq!(app.keyed("k2", "POST", "/v1/track", TRACK).status, 201);
    for number in 0..40 {
        let body = format!(r#"{{"customerId": "c", "eventType": "e{number}"}}"#);
        app.keyed(&format!("new{number}"), "POST", "/v1/events", &body).ok(201);
    }
    let rows = app.engine.store().space("http-answers").expect("a store").list(b"", None, 1_000);
    assert_eq!(rows.expect("it is read").rows.len(), 41);
}

fn all() -> limitry::usage::UsageQuery {
    limitry::usage::UsageQuery::all_time()
}

#[test]
fn an_event_counts_once_also_where_its_answer_was_lost() {
    let app = App::new();
    app.keyed("k", "POST", "/v1/track", TRACK).ok(201);
    // What a server that was started again knows: the engine's own key.
    let event = limitry::Event::new("c", "e").idempotency_key("k");
    let again = app.engine.track(&event).expect("a good event");
    assert!(again.is_replay());
    // A key in the body goes before.
    let own = r#"{"customerId": "c", "eventType": "e", "idempotencyKey": "own"}"#;
    app.keyed("k2", "POST", "/v1/track", own).ok(201);
    let event = limitry::Event::new("c", "e").idempotency_key("own");
    assert!(app.engine.track(&event).expect("a good event").is_replay());
}

/// Polls a future once.
async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|task| Poll::Ready(future.as_mut().poll(task).is_pending())).await
}

/// A runtime whose one thread for what takes long is taken until the sender is dropped.
fn busy_runtime() -> (tokio::runtime::Runtime, mpsc::Sender<()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).build().expect("a runtime");
    let (free, taken) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || taken.recv());
    (runtime, free)
}

#[test]
fn one_request_is_answered_at_a_time() {
    let app = App::new();
    let (runtime, free) = busy_runtime();
    let call = || app.router.clone().call(keyed(KEY, "k", "POST", "/v1/quotas", QUOTA));
    runtime.block_on(async {
        let mut first = Box::pin(call());
        assert!(is_pending(&mut first).await, "it waits for the thread");
        let second = call().await;
        drop(free);
        let first = first.await;
        let first = Answer::read(first.expect("it never fails")).await;
        let second = Answer::read(second.expect("it never fails")).await;
        assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 409));
        second.is(
            409,
            json!({
                "error": "Conflict",
                "details": "Idempotency-Key: the first request with it is being answered",
            }),
        );
        let third = Answer::read(call().await.expect("it never fails")).await;
        assert!(is_replay(&third));
        third.is(201, first.body);
    });
}

#[test]
fn a_caller_who_goes_away_leaves_the_key_free() {
    let app = App::new();
    let (runtime, free) = busy_runtime();
    runtime.block_on(async {
        let mut router = app.router.clone();
        let mut call = Box::pin(router.call(keyed(KEY, "k", "POST", "/v1/quotas", QUOTA)));
        assert!(is_pending(&mut call).await, "it waits for the thread");
    });
    // What was begun for nobody is ended, or is not: the key is free in both cases.
    drop(free);
    drop(runtime);
    assert_eq!(app.keyed("k", "POST", "/v1/quotas", QUOTA).status, 201);
}

/// The other side of it: what was begun counts, and asking again with the key does it no second
/// time. With a store a caller may go away before that, while the answers that are kept are read.
#[test]
fn what_a_caller_has_begun_who_goes_away_is_done_once() {
    const CREDIT: &str =
        r#"{"customerId": "c", "name": "credits", "amount": 5, "description": "a gift"}"#;
    let memory = MemoryStore::new();
    let with_store = Engine::builder().durable(memory.open().expect("opens"));
    for builder in [Engine::builder(), with_store] {
        let app = App::with(builder);
        let balance = json!({"customerId": "c", "name": "credits"}).to_string();
        app.send(SECOND, "POST", "/v1/balances", balance).ok(201);
        let (runtime, free) = busy_runtime();
        let call = || {
            let request = keyed(SECOND, "k", "POST", "/v1/balances/credit", CREDIT);
            app.router.clone().call(request)
        };
        let again = runtime.block_on(async {
            let mut first = Box::pin(call());
            assert!(is_pending(&mut first).await, "it waits for the thread");
            tokio::task::yield_now().await;
            drop(first);
            drop(free);
            loop {
                let again = Answer::read(call().await.expect("it never fails")).await;
                if again.status != 409 {
                    break again;
                }
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(again.ok(200)["success"], true);
        let balances = app.send(SECOND, "GET", "/v1/balances", "").ok(200);
        assert_eq!(balances["data"][0]["currentBalance"], 5);
    }
}
