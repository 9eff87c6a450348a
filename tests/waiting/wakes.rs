//! Goal: whoever can be let in is woken: when its time has come, when another one gives up, when
//! something is given back, and when the rules change.
//!
//! Method: a manual clock, and an executor that polls what is woken and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use limitry::rules::{QuotaUpdate, RateLimitUpdate};
use limitry::time::{Clock, ManualClock, Sleep, Timer};
use limitry::{Engine, Event, Meter, Metric, Period, Quota, RateLimit, Timestamp, Window};

use crate::executor::Executor;
use crate::support::{START, date, engine};

const HOUR: Duration = Duration::from_secs(3_600);

fn cost(customer: &'static str, cents: i64) -> Event<'static> {
    Event::new(customer, "call").cost_cents(cents)
}

/// An engine with a budget of 10 cents a customer in all, which is used up.
fn spent() -> (Engine, ManualClock) {
    let (engine, clock) = engine(|it| {
        let budget = Quota::new("budget", Metric::TotalCostCents, 10, Period::Day);
        it.quota(budget.per("customer_id"))
    });
    let _ = engine.track(&cost("a", 10)).expect("a good event");
    (engine, clock)
}

#[test]
fn a_refund_wakes_who_waits_for_it() {
    let (engine, _clock) = spent();
    let mut tasks = Executor::default();
    let [two, one] = [2, 1].map(|cents| tasks.wait(&engine, cost("a", cents)));
    assert_eq!(tasks.admitted(), [0; 0]);
    let before = tasks.polls();
    assert!(engine.track(&cost("b", -1)).expect("a good event").is_allowed());
    assert_eq!(tasks.admitted(), [0; 0]);
    assert_eq!(tasks.polls(), before, "another customer's refund is nothing to them");
    assert!(engine.track(&cost("a", -1)).expect("a good event").is_allowed());
    assert_eq!(tasks.admitted(), [0; 0], "the second would fit, and came second");
    assert!(engine.record(&cost("a", -1)).expect("a good event").is_allowed());
    assert_eq!(tasks.admitted(), [two]);
    let batch = [cost("a", -1)];
    let _ = engine.record_batch(&batch).expect("good events");
    assert_eq!(tasks.admitted(), [one]);
}

#[test]
fn a_lower_gauge_wakes_who_waits_for_it() {
    let (engine, _clock) = engine(|it| {
        it.meter(Meter::latest("Seats", "seats").id("seats")).quota(Quota::new(
            "seats",
            Metric::meter("seats"),
            5,
            Period::Day,
        ))
    });
    let seats = |seats: u64| Event::new("a", "call").value("seats", seats);
    let mut tasks = Executor::default();
    let _ = engine.record(&seats(9)).expect("a good event");
    let waits = tasks.wait(&engine, seats(5));
    let admitted = tasks.admitted();
    if admitted.is_empty() {
        let _ = engine.track(&seats(1)).expect("a good event");
        assert_eq!(tasks.admitted(), [waits]);
    } else {
        // A gauge that fits is let in, whatever it was.
        assert_eq!(admitted, [waits]);
    }
}

#[test]
fn a_raised_limit_wakes_all() {
    let (engine, _clock) = spent();
    let mut tasks = Executor::default();
    let waiting = [1, 1, 2].map(|cents| tasks.wait(&engine, cost("a", cents)));
    assert_eq!(tasks.admitted(), [0; 0]);
    let id = engine.rules().quotas()[0].id.clone().expect("an id");
    engine.rules().update(&id, QuotaUpdate::new().limit(12)).expect("a good rule");
    assert_eq!(tasks.admitted(), waiting[..2]);
    engine.rules().remove(&id).expect("it is there");
    assert_eq!(tasks.admitted(), waiting[2..]);
}

#[test]
fn a_faster_bucket_wakes_who_waits_and_keeps_their_order() {
    let (engine, clock) =
        engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Hour).burst(1)));
    let mut tasks = Executor::default();
    let waiting: Vec<_> = (0..4).map(|_| tasks.wait(&engine, Event::new("a", "call"))).collect();
    assert_eq!(tasks.admitted(), waiting[..1]);
    let id = engine.rules().rate_limits()[0].id.clone().expect("an id");
    engine.rules().update(&id, RateLimitUpdate::new().limit(60)).expect("a good rule");
    let late = tasks.wait(&engine, Event::new("a", "call"));
    for number in waiting[1..].iter().chain([&late]) {
        clock.advance(Duration::from_secs(60));
        assert_eq!(tasks.admitted(), [*number]);
    }
}

/// A new rule refuses who waits for nothing but an old one.
#[test]
fn a_new_rule_is_waited_for() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Second)));
    let mut tasks = Executor::default();
    let _ = engine.track(&Event::new("a", "call")).expect("a good event");
    let waits = tasks.wait(&engine, Event::new("a", "call"));
    assert_eq!(tasks.admitted(), [0; 0]);
    engine.rules().add(RateLimit::new("per hour", 0, Window::Hour)).expect("a good rule");
    let ended = tasks.run();
    assert_eq!(ended.len(), 1, "it never passes");
    assert!(ended[0].0 == waits && !ended[0].1.as_ref().expect("a decision").is_allowed());
    clock.advance(HOUR);
    assert_eq!(tasks.len(), 0);
}

#[test]
fn one_that_is_cancelled_lets_the_next_one_go() {
    let (engine, clock) = engine(|it| {
        let rule = RateLimit::new("tokens", 10, Window::Second).metric(Metric::TotalTokens);
        it.rate_limit(rule)
    });
    let tokens = |tokens: u64| Event::new("a", "call").total_tokens(tokens);
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens(5)).expect("a good event");
    let large = tasks.wait(&engine, tokens(10));
    let small = [tasks.wait(&engine, tokens(2)), tasks.wait(&engine, tokens(3))];
    let third = tasks.wait(&engine, tokens(1));
    assert_eq!(tasks.admitted(), [0; 0]);
    tasks.cancel(large);
    assert_eq!(tasks.admitted(), small, "nothing was taken by the one that is gone");
    assert_eq!(engine.waiting().len(), 1);
    // One from the middle of the line, and one that was woken already.
    let [woken, middle, last] = [1, 5, 1].map(|it| tasks.wait(&engine, tokens(it)));
    assert_eq!(tasks.admitted(), [0; 0]);
    tasks.cancel(middle);
    clock.advance(Duration::from_millis(200));
    tasks.cancel(third);
    assert_eq!(tasks.admitted(), [woken, last]);
    assert!(engine.waiting().is_empty());
}

/// The engine's time goes on where its clock is set back, and so do those who wait by it.
#[test]
fn a_clock_that_is_set_back_keeps_nobody() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Hour)));
    let mut tasks = Executor::default();
    let _ = engine.track(&Event::new("a", "call")).expect("a good event");
    let waits = tasks.wait(&engine, Event::new("a", "call"));
    assert_eq!(tasks.admitted(), [0; 0]);
    clock.advance(HOUR / 2);
    assert_eq!(tasks.admitted(), [0; 0]);
    let _ = engine.now();
    clock.set(date(START) - HOUR * 5);
    assert_eq!(tasks.admitted(), [0; 0]);
    clock.advance(HOUR / 2);
    assert_eq!(tasks.admitted(), [waits]);
}

/// A timer that is always over, or too early.
struct Hasty {
    clock: ManualClock,
    asked: Arc<AtomicUsize>,
}

impl Timer for Hasty {
    fn sleep(&self, until: Timestamp, wait: Duration) -> Sleep {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert_eq!(until - self.clock.now(), wait);
        self.clock.sleep(self.clock.now() + wait / 2, wait / 2)
    }
}

#[test]
fn a_timer_that_is_too_early_lets_nobody_in_too_early() {
    let clock = ManualClock::new(date(START));
    let asked = Arc::new(AtomicUsize::new(0));
    let timer = Hasty { clock: clock.clone(), asked: Arc::clone(&asked) };
    let rule = RateLimit::new("calls", 1, Window::Second);
    let engine =
        Engine::builder().rate_limit(rule).clock(clock.clone()).timer(timer).build().expect("good");
    let mut tasks = Executor::default();
    let _ = engine.track(&Event::new("a", "call")).expect("a good event");
    let waits = tasks.wait(&engine, Event::new("a", "call"));
    for millis in 0..1_000 {
        assert_eq!(tasks.admitted(), [0; 0], "after {millis} ms");
        clock.advance(Duration::from_millis(1));
    }
    assert_eq!(tasks.admitted(), [waits]);
    assert!(asked.load(Ordering::SeqCst) > 5);
}

#[test]
fn a_future_that_is_polled_for_no_reason_decides_nothing() {
    let (engine, _clock) = engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Hour)));
    let event = Event::new("a", "call");
    let _ = engine.track(&event).expect("a good event");
    let (straight, step_by_step) = engine.paths();
    let mut wait = Box::pin(engine.wait(&event));
    let mut task = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        assert!(matches!(wait.as_mut().poll(&mut task), Poll::Pending));
    }
    let after = engine.paths();
    assert!(after.0 + after.1 <= straight + step_by_step + 2, "{after:?}");
}
