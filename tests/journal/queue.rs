//! Goal: a full queue makes calls wait and does not grow, and one that is smaller than a batch is
//! written when it is full.
//!
//! Method: a medium that holds syncs back until it is told to go on, and threads that put in more
//! than there is room for.

use super::levels::{after_crash, call, idle, keys, open};
use crate::support::held::Held;
use crate::support::medium::Medium;
use limitry::store::{Durability, Durable};
use limitry::{Engine, Event};
use std::time::Duration;

/// The most that waited of what `figure` says, while threads put in more than there is room for.
fn most_waiting(
    limit: impl FnOnce(Durable) -> Durable,
    room: usize,
    figure: impl Fn(&Engine) -> usize,
) -> usize {
    let held = Held::default();
    let store = Durable::open_on(held.clone()).expect("a store");
    let engine = open(limit(store).max_batch(8).max_delay(Duration::ZERO));
    engine.store().flush().expect("a working store");
    held.hold(true);
    let high = std::thread::scope(|scope| {
        for thread in 0..CALLERS {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0..50 {
                    let event = Event::new("cust_1", "model_call").total_tokens(1);
                    let key = format!("{thread} {number}");
                    let _ = engine.track(&event.idempotency_key(key.as_str())).expect("allowed");
                }
            });
        }
        // All threads come to wait: the queue holds what it is for, and a record for each.
        let mut high = 0;
        while high < room {
            high = figure(&engine);
            std::thread::yield_now();
        }
        for _ in 0..1_000 {
            high = high.max(figure(&engine));
            std::thread::yield_now();
        }
        held.hold(false);
        high
    });
    engine.store().flush().expect("a working store");
    assert_eq!((keys(&engine), engine.store().health().waiting), (4 * 50, 0));
    assert_eq!(engine.store().health().waiting_bytes, 0);
    assert_eq!(keys(&after_crash(&held.medium)), 200);
    high
}

const CALLERS: usize = 4;

#[test]
fn a_full_queue_makes_calls_wait_and_does_not_grow() {
    let high = most_waiting(|it| it.max_waiting(16), 16, |engine| engine.store().health().waiting);
    assert!(high <= 16 + CALLERS, "{high} waited");
    let bytes = |engine: &Engine| engine.store().health().waiting_bytes;
    let high = most_waiting(|it| it.max_waiting_bytes(2_000), 2_000, bytes);
    // A record of these has some 60 bytes.
    assert!(high < 2_000 + CALLERS * 200, "{high} bytes waited");
}

#[test]
fn a_queue_that_is_smaller_than_a_batch_is_written_when_it_is_full() {
    for level in [Durability::Buffered, Durability::Memory] {
        let medium = Medium::new();
        let engine = open(idle(&medium).durability(level).max_waiting(3));
        for number in 0..20 {
            let _ = engine.track(&call(&format!("k{number}"))).expect("allowed");
        }
        assert!(engine.store().health().waiting <= 3, "{level:?}");
        assert!(keys(&after_crash(&medium)) >= 17, "{level:?}");
    }
}
