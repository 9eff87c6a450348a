//! Goal: an amount below zero counts as what it is, and what adds nothing is never refused. A
//! quota's figure is its meter's for every order of events and rules; a rate limit gives back what
//! was used of its window, and no more.
//!
//! Method: worked cases for every algorithm, at the limit, above a limit that was lowered, and at
//! the cap on keys. The random forms are in `model.rs` and `usage/quota_meters.rs`, whose oracles
//! draw such amounts too.

use crate::support::oracle::{HOUR, SECOND};
use crate::support::{duration, engine};
use limitry::events::Recording;
use limitry::rules::{Algorithm, Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::time::ManualClock;
use limitry::usage::MeterQuery;
use limitry::{
    Amount, Decision, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RateLimit,
    RetryAfter, Window,
};
use serde::Serialize;

const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];

fn call(amount: i64) -> Event<'static> {
    Event::new("ann", "call").value("images", amount)
}

/// A field of the first status of a kind.
fn field(answer: &impl Serialize, kind: &str, field: &str) -> String {
    let body = serde_json::to_value(answer).expect("plain data");
    let amount: Amount = serde_json::from_value(body[kind][0][field].clone()).expect("an amount");
    amount.to_string()
}

fn used(answer: &impl Serialize) -> String {
    field(answer, "quotas", "used")
}

fn left(answer: &impl Serialize) -> String {
    field(answer, "quotas", "remaining")
}

fn left_of_window(answer: &impl Serialize) -> String {
    field(answer, "rateLimits", "remaining")
}

fn track(engine: &Engine, event: &Event<'_>) -> Decision {
    engine.track(event).expect("a good event")
}

/// Tracks what must be let in.
fn admitted(engine: &Engine, event: &Event<'_>) -> Decision {
    let decision = track(engine, event);
    assert!(decision.is_allowed(), "{decision:?}");
    decision
}

fn admit(engine: &Engine, event: &Event<'_>) {
    assert!(track(engine, event).is_allowed(), "{event:?}");
}

fn images() -> Metric {
    Metric::value("images")
}

fn of_window(algorithm: Algorithm) -> (Engine, ManualClock) {
    let rule = RateLimit::new("images", 10, Window::Minute).metric(images());
    engine(|builder| builder.rate_limit(rule.algorithm(algorithm).per("customer_id")))
}

fn of_quota(period: Period) -> (Engine, ManualClock) {
    let quota = Quota::new("images", images(), 100, period).per("customer_id").id("q");
    engine(|builder| builder.quota(quota))
}

#[test]
fn a_quota_counts_refunds_before_it_and_with_it() {
    for quota_first in [true, false] {
        let meter = Meter::sum("images", "images").id("m");
        let (engine, _) = engine(|builder| builder.meter(meter));
        let quota = || Quota::new("images", images(), 100, Period::Day).per("customer_id");
        if quota_first {
            engine.rules().add(quota()).expect("valid");
        }
        admit(&engine, &call(80));
        admit(&engine, &call(-50));
        if !quota_first {
            engine.rules().add(quota()).expect("valid");
        }
        let standing = engine.standing(&call(0)).expect("valid");
        assert_eq!((used(&standing), left(&standing)), ("30".into(), "70".into()));
        let meter = engine.meters().query("m", &MeterQuery::new()).expect("a figure");
        assert_eq!(meter.value.to_string(), used(&standing));
    }
}

#[test]
fn less_than_nothing_may_be_used_and_no_more_than_the_limit_is_left() {
    let (engine, clock) = of_quota(Period::Hour);
    let refunded = admitted(&engine, &call(-30));
    assert_eq!((used(&refunded), left(&refunded)), ("-30".into(), "100".into()));
    let refunded = admitted(&engine, &Event::new("ann", "call").value("images", "-0.000001"));
    assert_eq!(used(&refunded), "-30.000001");
    // What was given back may be used: 130 and no more.
    assert!(!track(&engine, &call(131)).is_allowed());
    let all = admitted(&engine, &call(130));
    assert_eq!(used(&all), "99.999999");
    clock.advance(duration(HOUR));
    assert!(!track(&engine, &call(101)).is_allowed());
    let next = admitted(&engine, &call(100));
    assert_eq!((used(&next), left(&next)), ("100".into(), "0".into()));
}

#[test]
fn costs_may_be_refunded_and_tokens_not() {
    let quota = Quota::new("cost", Metric::TotalCostCents, 100, Period::Day);
    let (engine, _) = engine(|builder| builder.quota(quota));
    admit(&engine, &Event::new("ann", "call").cost_cents(80));
    let refund = Event::new("ann", "call").cost_cents(-50);
    assert_eq!(used(&admitted(&engine, &refund)), "30");
    let tokens = Event::new("ann", "call").value("input_tokens", -1);
    engine.track(&tokens).expect_err("tokens are whole numbers");
}

#[test]
fn a_window_gives_back_what_was_used_of_it_and_no_more() {
    for algorithm in ALGORITHMS {
        let (engine, clock) = of_window(algorithm);
        assert_eq!(left_of_window(&admitted(&engine, &call(8))), "2");
        assert!(!track(&engine, &call(3)).is_allowed());
        assert_eq!(left_of_window(&admitted(&engine, &call(-5))), "7");
        assert_eq!(left_of_window(&admitted(&engine, &call(-50))), "10");
        assert!(!track(&engine, &call(11)).is_allowed(), "{algorithm:?}");
        admit(&engine, &call(10));
        // A refund of nothing used brings nothing later either.
        clock.advance(duration(60 * SECOND));
        admit(&engine, &call(-10));
        clock.advance(duration(60 * SECOND));
        let refused = track(&engine, &call(11));
        assert_eq!(refused.retry_after(), Some(RetryAfter::Never), "{algorithm:?}");
        admit(&engine, &call(10));
    }
}

#[test]
fn a_refund_shortens_the_wait_of_a_bucket_exactly() {
    let (engine, clock) = of_window(Algorithm::TokenBucket);
    admit(&engine, &call(10));
    admit(&engine, &Event::new("ann", "call").value("images", "-0.5"));
    // One image in six seconds, and half of one is there.
    let refused = track(&engine, &call(1));
    let wait = duration(3 * SECOND);
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(wait)));
    clock.advance(wait - std::time::Duration::from_nanos(1));
    assert!(!track(&engine, &call(1)).is_allowed());
    clock.advance(std::time::Duration::from_nanos(1));
    admit(&engine, &call(1));
}

/// What adds nothing to a rule that counts images.
fn nothings() -> [Event<'static>; 3] {
    [Event::new("ann", "call"), call(0), call(-1)]
}

/// Fails unless the engine, all of whose rules are used up, lets pass what adds nothing to them
/// and nothing else, and `check` says the same.
fn only_nothing_passes(engine: &Engine) {
    for event in nothings() {
        let checked = engine.check(&event).expect("a good event");
        assert!(checked.is_allowed(), "{checked:?}");
        assert_eq!(checked.retry_after(), None);
    }
    let least = Event::new("ann", "call").value("images", "0.000001");
    let refused = track(engine, &least);
    assert!(!refused.is_allowed(), "{refused:?}");
    assert!(!engine.check(&least).expect("a good event").is_allowed());
    // Whether anything is left is another question.
    let standing = engine.standing(&nothings()[0]).expect("a good event");
    assert!(!standing.is_allowed(), "{standing:?}");
    let exceeded = standing.rate_limits().all(|status| status.exceeded);
    assert!(exceeded && standing.quotas().all(|status| status.exceeded), "{standing:?}");
    for event in nothings() {
        admit(engine, &event);
    }
}

#[test]
fn what_adds_nothing_passes_at_the_limit() {
    for algorithm in ALGORITHMS {
        let (engine, _) = of_window(algorithm);
        admit(&engine, &call(10));
        only_nothing_passes(&engine);
    }
    let rolling = Period::rolling(duration(HOUR));
    for period in [Period::Hour, Period::Month, Period::AllTime, rolling] {
        let (engine, _) = of_quota(period);
        admit(&engine, &call(100));
        only_nothing_passes(&engine);
    }
}

#[test]
fn what_adds_nothing_passes_above_the_limit() {
    for algorithm in ALGORITHMS {
        let (engine, _) = of_window(algorithm);
        admit(&engine, &call(10));
        let id = engine.rules().set().rate_limits[0].id.clone().expect("made");
        engine.rules().update(&id, RateLimitUpdate::new().limit(5)).expect("valid");
        only_nothing_passes(&engine);
    }
    let rolling = Period::rolling(duration(HOUR));
    for period in [Period::Day, rolling] {
        let (engine, _) = of_quota(period);
        let over = engine.record(&call(500)).expect("valid");
        assert!(over.is_allowed());
        only_nothing_passes(&engine);
        engine.rules().update("q", QuotaUpdate::new().limit(50)).expect("valid");
        only_nothing_passes(&engine);
    }
}

#[test]
fn what_adds_nothing_needs_no_room() {
    let rule = RateLimit::new("images", 10, Window::Minute).metric(images()).per("customer_id");
    let denying = rule.max_keys(1).overflow(Overflow::Deny);
    let (engine, _) = engine(|builder| builder.rate_limit(denying));
    admit(&engine, &call(1));
    for amount in [0, -3] {
        admit(&engine, &Event::new("bob", "call").value("images", amount));
    }
    admit(&engine, &Event::new("bob", "call"));
    let refused = track(&engine, &Event::new("bob", "call").value("images", 1));
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
}

/// Each leaves the window in its own time, so that what they sum to is not nothing later.
#[test]
fn uses_that_sum_to_nothing_now_are_kept() {
    for records in [true, false] {
        let period = Period::rolling(duration(HOUR));
        let quota = Quota::new("images", images(), 10, period).per("customer_id");
        let (engine, clock) = engine(|builder| {
            let builder = builder.quota(quota);
            if records { builder } else { builder.recording(Recording::Off) }
        });
        let is_used = |figure: &str| {
            assert_eq!(used(&engine.standing(&call(0)).expect("valid")), figure, "{records}");
        };
        admit(&engine, &call(5));
        clock.advance(duration(HOUR / 2));
        admit(&engine, &call(-5));
        is_used("0");
        // Rows are looked at with each that is made.
        for number in 0..2_000 {
            admit(&engine, &Event::new(format!("c{number}"), "call").value("images", 1));
        }
        is_used("0");
        clock.advance(duration(HOUR / 2));
        is_used("-5");
        admit(&engine, &call(15));
        clock.advance(duration(HOUR / 2));
        is_used("15");
    }
}

#[test]
fn without_a_record_an_event_that_adds_nothing_is_never_too_late() {
    let build = |builder: EngineBuilder| {
        builder
            .recording(Recording::Off)
            .quota(Quota::new("images", images(), 100, Period::Hour).per("customer_id"))
    };
    let (engine, _) = engine(build);
    let old = crate::support::date(crate::support::START - 48 * HOUR);
    for event in nothings() {
        admit(&engine, &event.timestamp(old));
    }
    engine.track(&call(1).timestamp(old)).expect_err("the period is closed");
    engine.standing(&call(1).timestamp(old)).expect_err("nobody knows");
    assert_eq!(used(&engine.standing(&call(0)).expect("valid")), "0");
}
