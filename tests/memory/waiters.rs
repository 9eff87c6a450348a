//! What one that waits takes: its future and its place.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use limitry::events::Recording;
use limitry::handles::Wait;
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Timestamp, Window};

const WAITERS: usize = 10_000;

/// Bytes a waiter of `keys` keys, all that waits for each of them, its box with it.
fn bytes(keys: usize) -> u64 {
    let clock = ManualClock::new(Timestamp::new(1_705_314_600, 0));
    let engine = Engine::builder()
        .rate_limit(RateLimit::new("Calls", 1, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls a day", 100_000, Window::every(DAY)).per("customer_id"))
        .quota(Quota::new("Tokens", Metric::TotalTokens, 1_000_000, Period::Day).per("customer_id"))
        .quota(Quota::new("All", Metric::TotalTokens, 1_000_000_000, Period::Month))
        .recording(Recording::Off)
        .clock(clock)
        .build()
        .expect("good rules");
    let names: Vec<String> = (0..keys).map(|number| format!("cust_{number:08}")).collect();
    let call = |number: usize| Event::new(&names[number % keys], "call").total_tokens(9);
    let events: Vec<_> = (0..WAITERS).map(call).collect();
    for event in events.iter().take(keys) {
        assert!(engine.track(event).expect("a good event").is_allowed());
    }
    let mut waits: Vec<Pin<Box<Wait<'_, '_>>>> = Vec::with_capacity(WAITERS);
    let taken = measure(|| {
        for event in &events {
            let mut wait = Box::pin(engine.wait(event));
            let mut task = Context::from_waker(Waker::noop());
            assert!(matches!(wait.as_mut().poll(&mut task), Poll::Pending));
            waits.push(wait);
        }
    });
    let left = measure(|| drop(waits));
    assert_eq!(engine.waiting().len(), 0);
    let kept = taken.bytes_current + left.bytes_current;
    assert!(kept < 100_000, "{kept} bytes are kept when all are gone");
    u64::try_from(taken.bytes_current).expect("more is taken than given") / WAITERS as u64
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

#[test]
fn a_waiter_takes_what_is_stated() {
    for (keys, most) in [(1, 310), (100, 320), (WAITERS, 500)] {
        let bytes = bytes(keys);
        println!("{bytes} bytes a waiter, on {keys} keys");
        assert!(bytes <= most, "{bytes} bytes a waiter, on {keys} keys");
    }
}
