//! Goal: with the feature `tokio` tasks are woken by the timer of their runtime.
//!
//! Method: tokio's own clock, which stands still while tasks have something to do and goes on to
//! the next timer otherwise; the engine goes by it, and nobody sleeps.

use std::time::Duration;

use limitry::time::{Clock, TokioTimer};
use limitry::{Engine, Event, RateLimit, Timestamp, Window};
use tokio::time::Instant;

use crate::support::{START, date};

/// Tokio's clock.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        date(START) + self.0.elapsed()
    }
}

#[test]
fn tasks_of_a_runtime_are_woken_by_its_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let engine = Engine::builder()
            .rate_limit(RateLimit::new("calls", 1, Window::Second))
            .clock(Paused(Instant::now()))
            .timer(TokioTimer)
            .build()
            .expect("a good rule");
        let tasks: Vec<_> = (0..5_u64)
            .map(|number| {
                let engine = engine.clone();
                let task = tokio::spawn(async move {
                    let decision = engine.wait(&Event::new("a", "call")).await;
                    (decision.expect("a good event").is_allowed(), engine.now())
                });
                (number, task)
            })
            .collect();
        for (number, task) in tasks {
            let (allowed, at) = task.await.expect("no panic");
            let expected = date(START) + Duration::from_secs(number);
            assert!(allowed && at >= expected, "{number} at {at}");
            assert!(at - expected < Duration::from_millis(10), "{number} at {at}");
        }
    });
}
