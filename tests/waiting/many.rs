//! Goal: 100 000 waiters on one key cost no scan a wake.
//!
//! Method: the polls are counted, and the time of the second half of the admissions is set beside
//! that of the first, in which more wait.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use limitry::events::Recording;
use limitry::{Event, RateLimit, Window};

use crate::support::engine;

/// The numbers of the tasks that were woken, in that order.
type Woken = Arc<Mutex<Vec<usize>>>;

struct Number(usize, Woken);

impl Wake for Number {
    fn wake(self: Arc<Self>) {
        self.1.lock().expect("not poisoned").push(self.0);
    }
}

#[test]
fn a_hundred_thousand_on_one_key_are_woken_one_by_one() {
    const WAITERS: usize = 100_000;
    let (engine, clock) = engine(|it| {
        it.rate_limit(RateLimit::new("calls", 100, Window::Second)).recording(Recording::Off)
    });
    let event = Event::new("a", "call");
    let woken = Woken::default();
    let mut waits: Vec<_> = (0..WAITERS)
        .map(|number| {
            let waker = Waker::from(Arc::new(Number(number, Arc::clone(&woken))));
            (Some(Box::pin(engine.wait(&event))), waker)
        })
        .collect();
    let mut polls = 0;
    let mut admitted = Vec::new();
    let mut queue: Vec<usize> = (0..WAITERS).collect();
    loop {
        for number in queue.drain(..) {
            let (wait, waker) = &mut waits[number];
            let Some(future) = wait else { continue };
            polls += 1;
            if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                assert!(answer.expect("a good event").is_allowed());
                *wait = None;
                admitted.push(number);
            }
        }
        if admitted.len() == WAITERS {
            break;
        }
        std::mem::swap(&mut queue, &mut woken.lock().expect("not poisoned"));
        if queue.is_empty() {
            clock.advance(Duration::from_millis(10));
            std::mem::swap(&mut queue, &mut woken.lock().expect("not poisoned"));
            assert!(!queue.is_empty(), "a wake-up was lost after {}", admitted.len());
        }
    }
    assert!(admitted.is_sorted());
    // Each once when it comes, once when it is the first, once when its time has come.
    assert!(polls <= 3 * WAITERS, "{polls}");
}
