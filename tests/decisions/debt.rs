//! Goal: what is recorded without being asked for is owed by a token bucket and paid back: nothing
//! is forgiven beyond what `max_debt` says, the statuses and the wait say so, and no size of debt
//! wraps.
//!
//! Method: an application that asks for little and records much; worked cases; and, at random,
//! the oracle, which replays a bucket from its first use.

use std::time::Duration;

use crate::support::oracle::{
    Enforce, Kind, MILLISECOND, MINUTE, Measure, PlainEvent, Rule, SECOND,
};
use crate::support::{Dice, Pair, cases, engine, seed};
use limitry::rules::{Algorithm, Enforcement, RateLimitUpdate};
use limitry::time::ManualClock;
use limitry::{Amount, Engine, Event, Metric, RateLimit, RetryAfter, Window};

/// The most that an event can bring.
const MOST: u64 = 1_000_000_000_000_000;

fn per_minute(limit: u64) -> RateLimit {
    RateLimit::new("tokens", limit, Window::Minute).metric(Metric::TotalTokens).id("rl")
}

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").total_tokens(tokens)
}

fn bucket(rule: RateLimit) -> (Engine, ManualClock) {
    engine(|builder| builder.rate_limit(rule))
}

/// What is left, and the seconds from now at which the bucket is full.
fn stands(engine: &Engine) -> (u64, i64) {
    let standing = engine.standing(&tokens(0)).expect("valid");
    let status = standing.rate_limits().next().expect("it applies");
    (status.remaining.to_u64_floor(), status.reset.unix_seconds() - engine.now().unix_seconds())
}

fn wait(engine: &Engine, cost: u64) -> Option<Duration> {
    match engine.check(&tokens(cost)).expect("valid").retry_after() {
        None => None,
        Some(RetryAfter::After(wait)) => Some(wait),
        Some(RetryAfter::Never) => Some(Duration::MAX),
    }
}

#[test]
fn what_is_recorded_is_paid_back() {
    let (engine, clock) = bucket(per_minute(10_000));
    let mut recorded = 0_u64;
    let minutes = 60;
    for _ in 0..minutes * 60 * 10 {
        if engine.check(&tokens(1)).expect("valid").is_allowed() {
            let _ = engine.record(&tokens(50_000)).expect("valid");
            recorded += 50_000;
        }
        clock.advance(Duration::from_millis(100));
    }
    // The bucket as it was at first, the refill, and the one call that took it below empty.
    let due = 10_000 * (minutes + 1) + 50_000;
    assert!(recorded <= due && recorded + 100_000 > due, "{recorded} of {due}");
}

#[test]
fn the_statuses_and_the_wait_tell_of_a_debt() {
    let (engine, clock) = bucket(per_minute(60));
    let recorded = engine.record(&tokens(180)).expect("valid");
    let status = recorded.rate_limits().next().expect("it applies");
    assert!(recorded.is_allowed() && status.exceeded && status.remaining == 0);
    assert_eq!(stands(&engine), (0, 180));
    assert_eq!(wait(&engine, 1), Some(Duration::from_secs(121)));
    assert_eq!(wait(&engine, 60), Some(Duration::from_secs(180)));
    assert_eq!(wait(&engine, 61), Some(Duration::MAX));
    clock.advance(Duration::from_secs(121) - Duration::from_nanos(1));
    assert_eq!(wait(&engine, 1), Some(Duration::from_nanos(1)));
    clock.advance(Duration::from_nanos(1));
    assert!(engine.track(&tokens(1)).expect("valid").is_allowed());
    assert_eq!(stands(&engine), (0, 60));
}

#[test]
fn a_debt_goes_no_further_than_its_bound() {
    for (most, reset) in [(Some(0), 60), (Some(30), 90), (Some(119), 179), (None, 180)] {
        let mut rule = per_minute(60);
        rule.max_debt = most.map(Amount::from);
        let (engine, _) = bucket(rule);
        let _ = engine.record(&tokens(180)).expect("valid");
        assert_eq!(stands(&engine), (0, reset), "{most:?}");
    }
}

/// What is owed already stays owed when the bound is lowered, and nothing is added to it.
#[test]
fn a_lower_bound_forgives_nothing_that_is_owed() {
    let (engine, clock) = bucket(per_minute(60));
    let _ = engine.record(&tokens(180)).expect("valid");
    let update = RateLimitUpdate::new().max_debt(Amount::from(30));
    engine.rules().update("rl", update).expect("valid");
    let _ = engine.record(&tokens(100)).expect("valid");
    assert_eq!(stands(&engine), (0, 180));
    clock.advance(Duration::from_secs(100));
    let _ = engine.record(&tokens(100)).expect("valid");
    assert_eq!(stands(&engine), (0, 90));
}

#[test]
fn a_change_of_the_rule_takes_the_debt_along() {
    let (engine, _) = bucket(per_minute(60));
    let _ = engine.record(&tokens(180)).expect("valid");
    engine.rules().update("rl", RateLimitUpdate::new().limit(120)).expect("valid");
    assert_eq!(stands(&engine), (0, 90));
    let fixed = RateLimitUpdate::new().algorithm(Algorithm::FixedWindow);
    engine.rules().update("rl", fixed).expect("valid");
    let standing = engine.standing(&tokens(0)).expect("valid");
    assert!(standing.rate_limits().all(|status| status.exceeded && status.remaining == 0));
}

/// What a soft rule lets through takes its bucket to empty, what is recorded below.
#[test]
fn a_soft_rule_owes_what_is_recorded_alone() {
    let (engine, _) = bucket(per_minute(60).enforcement(Enforcement::Soft));
    assert!(engine.track(&tokens(180)).expect("valid").is_allowed());
    assert_eq!(stands(&engine), (0, 60));
    let _ = engine.record(&tokens(60)).expect("valid");
    assert_eq!(stands(&engine), (0, 120));
    assert!(engine.track(&tokens(180)).expect("valid").is_allowed());
    assert_eq!(stands(&engine), (0, 120));
}

#[test]
fn no_debt_is_too_large() {
    let century = Window::every(Duration::from_secs(3_155_760_000));
    for limit in [1_u64, 60, 1 << 40] {
        for window in [Window::every(Duration::from_nanos(1)), Window::Minute, century] {
            let rule = RateLimit::new("r", limit, window).metric(Metric::TotalTokens);
            let (engine, clock) = bucket(rule);
            for cost in [MOST, 1, MOST, MOST] {
                let decision = engine.record(&tokens(cost)).expect("valid");
                assert!(decision.is_allowed());
                assert!(decision.rate_limits().all(|status| status.remaining <= limit));
            }
            let before = wait(&engine, 1);
            assert!(before.is_some(), "{limit} in {window:?}");
            clock.advance(Duration::from_secs(1));
            let after = wait(&engine, 1);
            assert!(after <= before, "{after:?} {before:?}");
            let _ = engine.track(&tokens(1)).expect("valid");
        }
    }
}

#[test]
fn a_debt_is_paid_back_at_the_rate_of_the_rule() {
    let seed = seed("debt::a_debt_is_paid_back", 7);
    for case in 0..cases(60) {
        let mut dice = Dice::new(seed.wrapping_add(case.into()));
        let burst = dice.chance(30).then(|| dice.range(1, 50));
        let kind = Kind::Bucket { window: dice.pick(&[SECOND, MINUTE, 7 * MILLISECOND]), burst };
        let mut rule = Rule::new("rl", dice.range(1, 30), kind).measure(Measure::Tokens);
        if dice.chance(40) {
            rule = rule.max_debt(dice.range(0, 40));
        }
        if dice.chance(30) {
            rule = rule.enforce(Enforce::Soft);
        }
        let mut pair = Pair::new(&[rule]);
        for _ in 0..60 {
            let plain = PlainEvent::new("ann", "call").tokens(dice.range(0, 60));
            let told = if dice.chance(40) { pair.record(&plain) } else { pair.track(&plain) };
            let _ = told.unwrap_or_else(|why| panic!("LIMITRY_SEED={seed} case {case}\n{why}"));
            pair.advance(dice.pick(&[0, 1, MILLISECOND, SECOND, 20 * SECOND]));
        }
    }
}
