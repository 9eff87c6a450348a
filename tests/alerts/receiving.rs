//! Goal: what fired is delivered once, in order, to whoever takes it: a call, a thread that waits,
//! a task. A slow receiver loses nothing up to the bound, and is told beyond it how many. All of it
//! is listed by page, and what waits ends with the engine.
//!
//! Method: worked cases; receivers beside threads that fire. Wakers that use the engine show that
//! nothing of the caller's runs under a lock.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use limitry::alerts::{Alert, AlertId, AlertQuery, Delivered};
use limitry::rules::Threshold;
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota};

use crate::support::{engine, track};

/// An engine in which each new customer fires one alert.
fn firing(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    let quota = Quota::new("Calls", Metric::TotalEvents, 10, Period::Day).id("calls");
    let quota = quota.per("customer_id").alert_at(Threshold::percent(10));
    engine(|builder| build(builder.quota(quota))).0
}

fn fire(engine: &Engine, customers: impl IntoIterator<Item = u32>) {
    for customer in customers {
        assert!(track(engine, &Event::new(format!("c{customer}"), "call")).is_allowed());
    }
}

fn customers<'a>(alerts: impl IntoIterator<Item = &'a Arc<Alert>>) -> Vec<String> {
    alerts.into_iter().filter_map(|it| it.customer_id.clone()).collect()
}

#[test]
fn a_slow_receiver_loses_nothing_up_to_the_bound_and_is_told_beyond_it() {
    let engine = firing(|builder| builder.max_alerts(5));
    let alerts = engine.alerts();
    fire(&engine, 0..5);
    assert_eq!(alerts.waiting(), 5);
    let first = alerts.poll().expect("none is lost");
    assert_eq!((first.missed, first.customer_id.as_deref()), (0, Some("c0")));
    fire(&engine, 5..8);
    let next = alerts.poll().expect("five are kept");
    assert_eq!((next.missed, next.customer_id.as_deref()), (2, Some("c3")));
    let rest: Vec<(u64, Option<String>)> = std::iter::from_fn(|| alerts.poll())
        .map(|it| (it.missed, it.customer_id.clone()))
        .collect();
    let expected = [4, 5, 6, 7].map(|customer| (0, Some(format!("c{customer}"))));
    assert_eq!(rest, expected);
    fire(&engine, 8..20);
    assert_eq!(alerts.poll().expect("some").missed, 7);
}

#[test]
fn several_receivers_share_what_fires() {
    let engine = firing(|builder| builder);
    fire(&engine, 0..4);
    let (one, other) = (engine.alerts(), engine.clone().alerts());
    let taken = [one.poll(), other.poll(), one.poll(), other.poll()];
    let taken: Vec<Arc<Alert>> = taken.into_iter().flatten().map(|it| it.alert).collect();
    assert_eq!(customers(&taken), ["c0", "c1", "c2", "c3"]);
    assert_eq!((one.poll(), other.waiting()), (None, 0));
}

#[test]
fn a_thread_that_waits_gets_each_and_ends_with_the_engine() {
    let engine = firing(|builder| builder);
    let alerts = engine.alerts().iter();
    let receiver =
        std::thread::spawn(move || customers(&alerts.map(|it| it.alert).collect::<Vec<_>>()));
    fire(&engine, 0..100);
    drop(engine);
    let expected: Vec<String> = (0..100).map(|customer| format!("c{customer}")).collect();
    assert_eq!(receiver.join().expect("no panic"), expected);
}

#[test]
fn a_thread_that_waits_for_some_time_gives_up() {
    let engine = firing(|builder| builder);
    assert_eq!(engine.alerts().wait(Duration::from_millis(1)), None);
    fire(&engine, [7]);
    assert!(engine.alerts().wait(Duration::MAX).is_some());
}

/// Uses the engine whose call wakes it.
struct Using {
    engine: Engine,
    woken: AtomicUsize,
}

impl Wake for Using {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        // Each would wait for itself under a lock of the decision, or of the list.
        assert!(self.engine.track(&Event::new("waker", "other").idempotency_key("k")).is_ok());
        let _ = (self.engine.alerts().waiting(), self.engine.alerts().list(&AlertQuery::new()));
        assert!(!self.engine.rules().list().is_empty());
    }
}

#[test]
fn a_task_is_woken_when_no_lock_is_held() {
    let engine = firing(|builder| builder);
    let using = Arc::new(Using { engine: engine.clone(), woken: AtomicUsize::new(0) });
    let waker = Waker::from(Arc::clone(&using));
    let mut task = Context::from_waker(&waker);
    let alerts = engine.alerts();
    let mut next = pin!(alerts.next());
    assert!(next.as_mut().poll(&mut task).is_pending());
    assert!(next.as_mut().poll(&mut task).is_pending());
    let keyed = Event::new("ann", "call").idempotency_key("k");
    assert!(track(&engine, &keyed).is_allowed());
    assert_eq!(using.woken.load(Ordering::SeqCst), 1);
    let Poll::Ready(Some(taken)) = next.as_mut().poll(&mut task) else { panic!("it fired") };
    assert_eq!(taken.customer_id.as_deref(), Some("ann"));
    // One that is dropped takes nothing and is not woken.
    let mut dropped = Box::pin(alerts.next());
    while let Poll::Ready(taken) = dropped.as_mut().poll(&mut task) {
        assert!(taken.is_some());
        dropped = Box::pin(alerts.next());
    }
    drop(dropped);
    let woken = using.woken.load(Ordering::SeqCst);
    fire(&engine, [1]);
    assert_eq!(using.woken.load(Ordering::SeqCst), woken);
    assert_eq!(alerts.waiting(), 1);
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

#[test]
fn a_waker_that_panics_keeps_no_other_from_being_woken() {
    let engine = firing(|builder| builder);
    let alerts = engine.alerts();
    let using = Arc::new(Using { engine: engine.clone(), woken: AtomicUsize::new(0) });
    let (first, other) = (Waker::from(Arc::new(Panicking)), Waker::from(Arc::clone(&using)));
    let (mut one, mut two) = (pin!(alerts.next()), pin!(alerts.next()));
    assert!(one.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
    assert!(two.as_mut().poll(&mut Context::from_waker(&other)).is_pending());
    let call = || engine.track(&Event::new("ann", "call"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    assert_eq!(using.woken.load(Ordering::SeqCst), 1);
    assert_eq!(alerts.list(&AlertQuery::new().customer("ann")).alerts.len(), 1);
    fire(&engine, [3]);
    assert!(two.as_mut().poll(&mut Context::from_waker(&other)).is_ready());
}

#[test]
fn the_history_is_listed_by_page_the_newest_first() {
    let engine = firing(|builder| builder.max_alerts(30));
    let other = Quota::new("Other", Metric::TotalEvents, 1_000, Period::Day).id("other");
    engine.rules().add(other.alert_at(Threshold::amount(3))).expect("a valid rule");
    fire(&engine, 0..40);
    let alerts = engine.alerts();
    let (mut query, mut seen) = (AlertQuery::new().limit(7), Vec::new());
    loop {
        let page = alerts.list(&query);
        assert!(page.alerts.len() <= 7);
        seen.extend(customers(&page.alerts));
        let Some(next) = page.next else { break };
        // What fires meanwhile moves no page.
        fire(&engine, [100 + u32::try_from(seen.len()).expect("few")]);
        query = query.before(next);
    }
    let expected: Vec<String> = (13..40).rev().map(|customer| format!("c{customer}")).collect();
    assert_eq!(seen, expected, "30 are kept, and three came meanwhile");
    let of = |query: AlertQuery| alerts.list(&query).alerts.len();
    assert_eq!(of(AlertQuery::new().customer("c30")), 1);
    assert_eq!((of(AlertQuery::new().rule("other")), of(AlertQuery::new().rule("calls"))), (0, 30));
    assert_eq!((of(AlertQuery::new().limit(0)), of(AlertQuery::new().limit(500))), (1, 30));
}

#[test]
fn an_alert_is_a_body_with_an_id_of_its_own() {
    let engine = firing(|builder| builder);
    fire(&engine, 0..2);
    let (one, other) = (engine.alerts().poll().expect("one"), engine.alerts().poll().expect("two"));
    assert_ne!(one.id, other.id);
    assert_eq!(one.id.to_string().parse::<AlertId>(), Ok(one.id));
    let body = serde_json::to_value(&*one.alert).expect("a body");
    let expected = serde_json::json!({
        "id": one.id.to_string(),
        "event": "limit.threshold_reached",
        "timestamp": "2024-01-15T10:30:00Z",
        "data": {
            "customerId": "c0",
            "limitId": "calls",
            "limitName": "Calls",
            "metric": "total_events",
            "key": {"customer_id": "c0"},
            "threshold": 10,
            "limit": 10,
            "currentUsage": 1,
            "percentage": 10,
            "remaining": 9,
            "period": "day",
            "windowStart": "2024-01-15T00:00:00Z",
            "windowEnd": "2024-01-16T00:00:00Z",
        },
    });
    assert_eq!(body, expected);
    let again: Alert = serde_json::from_value(body).expect("it reads as what it was");
    assert_eq!(again, *one.alert);
}

#[test]
fn what_is_acknowledged_without_a_store_is_no_matter() {
    let engine = firing(|builder| builder);
    fire(&engine, [1]);
    let alerts = engine.alerts();
    let taken: Delivered = alerts.poll().expect("it fired");
    assert_eq!((alerts.acknowledge(&taken), alerts.acknowledge(&taken)), (Ok(()), Ok(())));
    drop(engine);
    assert_eq!((alerts.acknowledge(&taken), alerts.poll()), (Ok(()), None));
}
