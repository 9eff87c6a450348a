//! Goal: who came first to a counter is let in first, a large event is not starved by small ones,
//! and nobody is held up on a counter that the one before it is not short of.
//!
//! Method: a manual clock, and an executor that polls what is woken and nothing else.

use std::time::Duration;

use limitry::{Event, Metric, Period, Quota, RateLimit, Window};

use crate::executor::Executor;
use crate::support::engine;

fn second() -> Duration {
    Duration::from_secs(1)
}

/// A call of a customer.
fn call(customer: &'static str) -> Event<'static> {
    Event::new(customer, "call")
}

/// Tokens of a customer.
fn tokens(customer: &'static str, tokens: u64) -> Event<'static> {
    call(customer).total_tokens(tokens)
}

#[test]
fn waiters_are_let_in_in_the_order_in_which_they_came() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Second)));
    let mut tasks = Executor::default();
    let numbers: Vec<_> = (0..6).map(|_| tasks.wait(&engine, call("a"))).collect();
    assert_eq!(tasks.admitted(), [numbers[0]]);
    for number in &numbers[1..] {
        clock.advance(Duration::from_nanos(999_999_999));
        assert_eq!(tasks.admitted(), [0; 0], "a nanosecond too early");
        clock.advance(Duration::from_nanos(1));
        assert_eq!(tasks.admitted(), [*number]);
    }
    assert_eq!(engine.waiting().len(), 0);
}

#[test]
fn what_has_come_together_is_let_in_together_and_in_order() {
    let (engine, clock) = engine(|it| it.rate_limit(RateLimit::new("calls", 3, Window::Second)));
    let mut tasks = Executor::default();
    for _ in 0..8 {
        tasks.wait(&engine, call("a"));
    }
    assert_eq!(tasks.admitted(), [0, 1, 2]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [3, 4, 5]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [6, 7]);
}

#[test]
fn small_events_do_not_starve_a_large_one() {
    let (engine, clock) = engine(|it| {
        let rule = RateLimit::new("tokens", 10, Window::Second).metric(Metric::TotalTokens);
        it.rate_limit(rule.per("customer_id"))
    });
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens("a", 10)).expect("a good event");
    let large = tasks.wait(&engine, tokens("a", 10));
    let mut small = Vec::new();
    // Each would fit when it comes.
    for _ in 0..9 {
        small.push(tasks.wait(&engine, tokens("a", 1)));
        clock.advance(Duration::from_millis(100));
        assert_eq!(tasks.admitted(), [0; 0], "the large one came first");
    }
    clock.advance(Duration::from_millis(100));
    assert_eq!(tasks.admitted(), [large]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), small);
    // `track` may overtake.
    let _ = tasks.wait(&engine, tokens("a", 10));
    assert_eq!(tasks.run().len(), 0);
    assert!(engine.track(&tokens("a", 1)).expect("a good event").is_allowed());
}

#[test]
fn a_waiter_holds_up_nobody_on_other_counters() {
    let (engine, clock) = engine(|it| {
        it.rate_limit(RateLimit::new("all", 100, Window::Second))
            .quota(Quota::new("own", Metric::TotalEvents, 1, Period::Hour).per("customer_id"))
    });
    let mut tasks = Executor::default();
    assert!(engine.track(&call("a")).expect("a good event").is_allowed());
    let short = tasks.wait(&engine, call("a"));
    assert_eq!(tasks.admitted(), [0; 0]);
    // They share the rate limit with it, which has room.
    let others = [tasks.wait(&engine, call("b")), tasks.wait(&engine, call("c"))];
    assert_eq!(tasks.admitted(), others);
    let behind = tasks.wait(&engine, call("a"));
    assert_eq!(tasks.admitted(), [0; 0]);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(tasks.admitted(), [short]);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(tasks.admitted(), [behind]);
}

/// It leaves a line when that counter has room for it, whatever it is short of beside it.
#[test]
fn a_waiter_that_one_of_its_counters_has_room_for_holds_up_nobody_there_any_more() {
    let (engine, clock) = engine(|it| {
        it.rate_limit(RateLimit::new("all", 1, Window::Second))
            .rate_limit(RateLimit::new("own", 1, Window::every(second() * 10)).per("customer_id"))
    });
    let mut tasks = Executor::default();
    assert_eq!(tasks.wait(&engine, call("a")), 0);
    let both = tasks.wait(&engine, call("a"));
    let one = tasks.wait(&engine, call("b"));
    assert_eq!(tasks.admitted(), [0]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [one], "`a` waits for its own limit alone");
    clock.advance(second() * 9);
    assert_eq!(tasks.admitted(), [both]);
}

/// What a waiter is held up by is no counter that it is short of: who comes later passes there.
#[test]
fn one_that_is_held_up_holds_up_nobody_on_a_counter_that_has_room() {
    let (engine, _clock) = engine(|it| {
        it.rate_limit(RateLimit::new("tokens", 10, Window::Second).metric(Metric::TotalTokens))
            .rate_limit(RateLimit::new("calls", 10, Window::Second).filter("model", "x"))
    });
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens("a", 5)).expect("a good event");
    tasks.wait(&engine, tokens("large", 10));
    tasks.wait(&engine, tokens("held", 1).model("x"));
    assert_eq!(tasks.admitted(), [0; 0]);
    let passes = tasks.wait(&engine, call("other").model("x"));
    assert_eq!(tasks.admitted(), [passes], "it has no tokens");
}

/// A key of a line is a counter and not a name: other values, another line.
#[test]
fn keys_do_not_wait_for_each_other() {
    let (engine, clock) =
        engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Second).per("customer_id")));
    let mut tasks = Executor::default();
    for customer in ["a", "b", "c"] {
        assert!(engine.track(&call(customer)).expect("a good event").is_allowed());
    }
    clock.advance(Duration::from_millis(500));
    assert!(!engine.track(&call("a")).expect("a good event").is_allowed());
    let waiting = ["a", "b", "c", "a"].map(|customer| tasks.wait(&engine, call(customer)));
    clock.advance(Duration::from_millis(500));
    assert_eq!(tasks.admitted(), waiting[..3]);
}

/// It is not short of what the others leave it: they go on there, and it comes when both have room.
#[test]
fn one_that_needs_what_two_others_wait_for_holds_up_each_for_as_long_as_it_is_short_there() {
    let (engine, clock) = engine(|it| {
        let rule = |model| {
            RateLimit::new(format!("calls of {model}"), 1, Window::Second)
                .filter(format!("uses_{model}"), "yes")
        };
        it.rate_limit(rule("x")).rate_limit(rule("y"))
    });
    let uses = |models: &[&'static str]| {
        let call = call("a");
        models.iter().fold(call, |call, model| call.property(format!("uses_{model}"), "yes"))
    };
    let mut tasks = Executor::default();
    assert!(engine.track(&uses(&["x", "y"])).expect("a good event").is_allowed());
    let x = tasks.wait(&engine, uses(&["x"]));
    let both = tasks.wait(&engine, uses(&["x", "y"]));
    let y = tasks.wait(&engine, uses(&["y"]));
    assert_eq!(tasks.admitted(), [0; 0]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [x, y], "there is room in `y`, and `both` waits for `x`");
    clock.advance(second());
    assert_eq!(tasks.admitted(), [both]);
}

/// While it waits for one of two counters, others take from the other one, and again and again.
#[test]
fn one_that_is_short_of_two_counters_in_turns_is_not_passed_by_for_ever() {
    let (engine, clock) = engine(|it| {
        let rule = |name| {
            let rule = RateLimit::new(format!("{name} a while"), 10, Window::every(second() * 10));
            rule.metric(Metric::value(name))
        };
        it.rate_limit(rule("x")).rate_limit(rule("y"))
    });
    let brings = |x: u64, y: u64| call("a").value("x", x).value("y", y);
    let mut tasks = Executor::default();
    let _ = engine.track(&brings(10, 5)).expect("a good event");
    let both = tasks.wait(&engine, brings(10, 10));
    assert_eq!(tasks.admitted(), [0; 0]);
    for seconds in 1..=60 {
        tasks.wait(&engine, brings(1, 0));
        tasks.wait(&engine, brings(0, 1));
        clock.advance(second());
        if tasks.admitted().contains(&both) {
            assert_eq!(seconds, 14, "it was passed by once");
            return;
        }
    }
    panic!("it was passed by for ever");
}

/// It is held up by one counter, and was short of another one, which has room again.
#[test]
fn one_that_is_held_up_holds_up_nobody_where_it_is_not_short_any_more() {
    let (engine, clock) = engine(|it| {
        it.rate_limit(RateLimit::new("tokens", 10, Window::Hour).metric(Metric::TotalTokens))
            .rate_limit(RateLimit::new("x", 1, Window::Second).filter("model", "x"))
            .quota(
                Quota::new("cents", Metric::TotalCostCents, 10, Period::Day).filter("model", "y"),
            )
    });
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens("a", 5).model("x")).expect("a good event");
    let _ = engine.track(&call("a").model("y").cost_cents(10)).expect("a good event");
    let large = tasks.wait(&engine, tokens("a", 10));
    let held_up = tasks.wait(&engine, tokens("a", 1).model("x"));
    let behind = tasks.wait(&engine, call("b").model("x"));
    assert_eq!(tasks.admitted(), [0; 0]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [behind], "time made room");
    let held_up_too = tasks.wait(&engine, tokens("a", 1).model("y").cost_cents(2));
    let behind = tasks.wait(&engine, call("b").model("y").cost_cents(2));
    assert_eq!(tasks.admitted(), [0; 0]);
    assert!(engine.track(&call("c").model("y").cost_cents(-2)).expect("good").is_allowed());
    assert_eq!(tasks.admitted(), [behind], "a refund made room");
    assert!(engine.track(&call("c").model("y").cost_cents(-2)).expect("good").is_allowed());
    tasks.cancel(large);
    assert_eq!(tasks.admitted(), [held_up_too]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [held_up]);
}

/// Those who stand behind it in two lines, and it is short of one.
#[test]
fn one_that_only_stood_behind_another_holds_up_nobody_when_that_has_gone() {
    let (engine, clock) = engine(|it| {
        it.rate_limit(RateLimit::new("tokens", 10, Window::Hour).metric(Metric::TotalTokens))
            .rate_limit(RateLimit::new("x", 10, Window::every(second() * 10)).filter("model", "x"))
    });
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens("a", 5).model("x")).expect("a good event");
    for _ in 0..7 {
        let _ = engine.track(&call("a").model("x")).expect("a good event");
    }
    let _ = engine.record(&call("a").model("x")).expect("a good event");
    let _ = engine.record(&call("a").model("x")).expect("a good event");
    // Short of both; those behind it fit when `x` has room.
    let large = tasks.wait(&engine, tokens("a", 10).model("x"));
    let behind: Vec<_> = (0..3).map(|_| tasks.wait(&engine, tokens("a", 1).model("x"))).collect();
    let of_x = tasks.wait(&engine, call("b").model("x"));
    assert_eq!(tasks.admitted(), [0; 0]);
    clock.advance(second());
    assert_eq!(tasks.admitted(), [of_x], "the others wait for `large`, which waits for tokens");
    clock.advance(second() * 3);
    tasks.cancel(large);
    assert_eq!(tasks.admitted(), behind);
}
