//! Wakers and timers of those who wait.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use limitry::rules::QuotaUpdate;
use limitry::time::{ManualClock, Sleep, Timer};
use limitry::{Engine, Event, Metric, Period, Quota, Timestamp};

use super::ends;
use crate::support::clock;

/// Does this when it is woken.
struct Calls<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Calls<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// A timer that asks the engine that asks it.
struct Asking(ManualClock);

impl Timer for Asking {
    fn sleep(&self, until: Timestamp, wait: Duration) -> Sleep {
        let rules = Engine::builder().build().expect("an engine").rules().list();
        assert!(rules.is_empty());
        self.0.sleep(until, wait)
    }
}

fn spent() -> (Engine, ManualClock) {
    let hands = clock();
    let budget = Quota::new("budget", Metric::TotalCostCents, 10, Period::Day).id("q_budget");
    let engine = Engine::builder().quota(budget).clock(hands.clone()).timer(Asking(hands.clone()));
    let engine = engine.build().expect("a good rule");
    let _ = engine.track(&cents(10)).expect("a good event");
    (engine, hands)
}

fn cents(cents: i64) -> Event<'static> {
    Event::new("cust", "call").cost_cents(cents)
}

#[test]
fn wakers_may_use_the_engine_and_panic() {
    ends(|| {
        let (engine, hands) = spent();
        let (event, woken) = (cents(1), Arc::new(AtomicUsize::new(0)));
        let uses = {
            let (engine, woken) = (engine.clone(), Arc::clone(&woken));
            move || {
                assert!(!engine.waiting().is_empty());
                let _ = engine.record(&cents(-1)).expect("a good event");
                woken.fetch_add(1, Ordering::SeqCst);
                let update = QuotaUpdate::new().limit(20);
                engine.rules().update("q_budget", update).expect("a good rule");
            }
        };
        let panics = Waker::from(Arc::new(Calls(|| panic!("a waker of a test"))));
        let uses = Waker::from(Arc::new(Calls(uses)));
        let mut first = pin!(engine.wait(&event));
        let mut second = pin!(engine.wait(&event));
        assert!(first.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&uses)).is_pending());
        engine.rules().update("q_budget", QuotaUpdate::new().limit(11)).expect("a good rule");
        assert_eq!(woken.load(Ordering::SeqCst), 1, "the other one panicked before");
        for wait in [first, second] {
            let answer = wait.poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(answer) = answer else { panic!("there is room") };
            assert!(answer.expect("a good event").is_allowed());
        }
        // The clock that is moved, and the engine that goes.
        let _ = engine.record(&cents(99)).expect("a good event");
        let mut third = pin!(engine.wait(&event));
        assert!(third.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
        hands.advance(Duration::from_secs(86_400));
        assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        engine.waiting().close();
    });
}
