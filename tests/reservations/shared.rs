//! Goal: a hold stays with the counter that took it: the one that keys without room share, one of a
//! rule that only counts, one of another time; and it is given back there.

use crate::lives::{daily, reserve, secs};
use crate::support::engine;
use limitry::rules::{Algorithm, Enforcement, Overflow, QuotaUpdate};
use limitry::{
    Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, Timestamp, Window,
};

fn call(customer: &'static str, tokens: u64) -> Event<'static> {
    Event::new(customer, "call").total_tokens(tokens)
}

/// What is used, held and left of all quotas, and left of all rate limits.
fn stands(engine: &Engine, event: &Event<'_>) -> Vec<u64> {
    let standing = engine.standing(event).expect("good");
    let quotas = standing.quotas().flat_map(|it| [it.used, it.held, it.remaining]);
    let limits = standing.rate_limits().map(|it| it.remaining);
    quotas.chain(limits).map(Amount::to_u64_floor).collect()
}

#[test]
fn keys_that_share_a_counter_share_what_is_held() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let limit = RateLimit::new("Tokens", 100, Window::Hour).metric(Metric::TotalTokens);
        let limit = limit.per("customer_id").algorithm(algorithm);
        let (engine, clock) = engine(|builder| {
            let quota = daily(100).max_keys(1).overflow(Overflow::Share);
            builder.quota(quota).rate_limit(limit.max_keys(1).overflow(Overflow::Share))
        });
        assert!(engine.track(&call("ann", 1)).expect("good").is_allowed());
        let bob = reserve(&engine, &call("bob", 40), 60);
        let mut carl = reserve(&engine, &call("carl", 30), 90);
        assert_eq!(stands(&engine, &call("dora", 0)), [0, 70, 30, 30], "{algorithm:?}");
        let Ok(Reserved::Refused(_)) = engine.reserve(&call("dora", 31), Hold::default()) else {
            panic!("there is no room: {algorithm:?}")
        };
        let _ = bob.commit(&call("bob", 10)).expect("good");
        assert_eq!(stands(&engine, &call("dora", 0)), [10, 30, 60, 60], "{algorithm:?}");
        assert!(carl.grow(&call("carl", 20)).expect("good").is_allowed());
        assert_eq!(stands(&engine, &call("dora", 0)), [10, 50, 40, 40], "{algorithm:?}");
        let _ = carl.commit(&call("carl", 60)).expect("good");
        assert_eq!(stands(&engine, &call("dora", 0)), [70, 0, 30, 30], "{algorithm:?}");
        std::mem::forget(reserve(&engine, &call("bob", 30), 60));
        clock.advance(secs(60));
        assert_eq!(stands(&engine, &call("dora", 0))[..3], [70, 0, 30], "{algorithm:?}");
    }
}

#[test]
fn a_rule_that_only_counts_holds_too() {
    let (engine, _) = engine(|builder| {
        let own = daily(1_000).policy("tokens").filter("customer_id", "ann").id("own");
        builder.quota(daily(100).policy("tokens").id("all")).quota(own)
    });
    let hold = reserve(&engine, &call("ann", 200), 60);
    engine.rules().remove("own").expect("it is there");
    assert_eq!(stands(&engine, &call("ann", 0)), [0, 200, 0]);
    let _ = hold.commit(&call("ann", 30)).expect("good");
    assert_eq!(stands(&engine, &call("ann", 0)), [30, 0, 70]);
}

#[test]
fn what_is_on_trial_or_soft_holds_what_it_counts() {
    for (enforcement, expected) in
        [(Enforcement::Soft, [0, 150, 0]), (Enforcement::Shadow, [0, 0, 100])]
    {
        let (engine, _) = engine(|builder| builder.quota(daily(100).enforcement(enforcement)));
        let hold = reserve(&engine, &call("ann", 150), 60);
        assert_eq!(stands(&engine, &call("ann", 0)), expected, "{enforcement:?}");
        let _ = hold.commit(&call("ann", 60)).expect("good");
        assert_eq!(stands(&engine, &call("ann", 0)), [60, 0, 40], "{enforcement:?}");
    }
}

#[test]
fn a_limit_on_trial_counts_nothing_beyond_a_hold_that_does_not_fit() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, _) = engine(|builder| {
            let limit = RateLimit::new("Trial", 3, Window::Hour).metric(Metric::TotalTokens);
            builder.rate_limit(limit.enforcement(Enforcement::Shadow).algorithm(algorithm))
        });
        for (actual, left) in [(4, 2_u64), (2, 0)] {
            let hold = reserve(&engine, &call("ann", 1), 60);
            let decision = hold.commit(&call("ann", actual)).expect("good");
            let limit = decision.rate_limits().next().expect("it matches");
            assert_eq!(limit.remaining, Amount::from(left), "{algorithm:?} {actual}");
            assert_eq!(stands(&engine, &call("ann", 0)), [left], "{algorithm:?} {actual}");
        }
    }
}

#[test]
fn a_soft_bucket_that_holds_more_than_it_has_mints_nothing() {
    let (engine, clock) = engine(|builder| {
        let limit = RateLimit::new("Tokens", 60, Window::Minute).metric(Metric::TotalTokens);
        builder.rate_limit(limit.enforcement(Enforcement::Soft))
    });
    let holds = [50, 100, 30].map(|of| reserve(&engine, &call("ann", of), 300));
    assert_eq!(stands(&engine, &call("ann", 0)), [0]);
    clock.advance(secs(10));
    drop(holds);
    assert_eq!(stands(&engine, &call("ann", 0)), [60]);
}

#[test]
fn a_dated_reserve_is_held_in_its_own_period() {
    let (engine, clock) = engine(|builder| {
        let hourly = Quota::new("Hourly", Metric::TotalTokens, 100, Period::Hour);
        builder.quota(hourly.per("customer_id")).quota(daily(100))
    });
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let (before, ahead) = (at("2024-01-15T09:50:00Z"), at("2024-01-15T12:30:00Z"));
    let late = reserve(&engine, &call("ann", 40).timestamp(before), 300);
    let early = reserve(&engine, &call("ann", 20).timestamp(ahead), 300);
    assert_eq!(stands(&engine, &call("ann", 0)), [0, 0, 100, 0, 60, 40]);
    assert_eq!(stands(&engine, &call("ann", 0).timestamp(before))[..3], [0, 40, 60]);
    assert_eq!(stands(&engine, &call("ann", 0).timestamp(ahead))[..3], [0, 20, 80]);
    clock.advance(secs(200));
    let _ = late.commit(&call("ann", 50)).expect("good");
    let _ = early.commit(&call("ann", 5)).expect("good");
    assert_eq!(stands(&engine, &call("ann", 0).timestamp(before)), [50, 0, 50, 55, 0, 45]);
    assert_eq!(stands(&engine, &call("ann", 0).timestamp(ahead))[..3], [5, 0, 95]);
    assert_eq!(engine.events().newest(2)[1].timestamp, before);
}

#[test]
fn a_wait_knows_when_holds_of_later_periods_expire() {
    let (engine, clock) = engine(|builder| {
        let hourly = Quota::new("Hourly", Metric::TotalTokens, 100, Period::Day);
        builder.quota(hourly.per("customer_id").id("q"))
    });
    let ahead = "2024-01-15T11:30:00Z".parse::<Timestamp>().expect("a time");
    let now = reserve(&engine, &call("ann", 50), 24 * 3_600);
    let later = reserve(&engine, &call("ann", 40).timestamp(ahead), 40 * 60);
    let wait = |tokens| match engine.check(&call("ann", tokens)).expect("good").retry_after() {
        Some(limitry::RetryAfter::After(wait)) => wait,
        other => panic!("{other:?}"),
    };
    // What is held stays where it is: now, and in the hour that begins in half an hour.
    engine.rules().update("q", QuotaUpdate::new().period(Period::Hour)).expect("good");
    assert_eq!(wait(55), secs(30 * 60));
    assert_eq!(wait(61), secs(40 * 60));
    clock.advance(secs(30 * 60));
    assert!(engine.check(&call("ann", 60)).expect("good").is_allowed());
    assert_eq!(wait(61), secs(10 * 60));
    clock.advance(secs(10 * 60));
    assert!(engine.check(&call("ann", 100)).expect("good").is_allowed());
    drop((now, later));
}

#[test]
fn a_rolling_quota_holds_at_the_instant_of_the_reserve() {
    let (engine, clock) = engine(|builder| {
        let rolling = Quota::new("Rolling", Metric::TotalTokens, 100, Period::rolling(secs(600)));
        builder.quota(rolling.per("customer_id"))
    });
    let first = reserve(&engine, &call("ann", 60), 300);
    clock.advance(secs(200));
    let second = reserve(&engine, &call("ann", 40), 100);
    let refused = engine.check(&call("ann", 30)).expect("good");
    assert_eq!(refused.retry_after(), Some(limitry::RetryAfter::After(secs(100))));
    let _ = first.commit(&call("ann", 70)).expect("it is charged in full");
    assert_eq!(stands(&engine, &call("ann", 0)), [70, 40, 0]);
    drop(second);
    assert_eq!(stands(&engine, &call("ann", 0)), [70, 0, 30]);
    clock.advance(secs(400) - std::time::Duration::from_nanos(1));
    assert_eq!(stands(&engine, &call("ann", 0)), [70, 0, 30]);
    clock.advance(std::time::Duration::from_nanos(1));
    assert_eq!(stands(&engine, &call("ann", 0)), [0, 0, 100]);
}

#[test]
fn a_hold_that_outlives_a_rolling_period_is_not_taken_off_what_is_used() {
    let (engine, clock) = engine(|builder| {
        let rolling = Quota::new("Rolling", Metric::TotalTokens, 100, Period::rolling(secs(60)));
        builder.quota(rolling.per("customer_id"))
    });
    let long = reserve(&engine, &call("ann", 60), 300);
    clock.advance(secs(60));
    assert!(engine.track(&call("ann", 5)).expect("good").is_allowed());
    let short = reserve(&engine, &call("ann", 10), 300);
    assert_eq!(stands(&engine, &call("ann", 0)), [5, 10, 85]);
    drop((long, short));
    assert_eq!(stands(&engine, &call("ann", 0)), [5, 0, 95]);
}

#[test]
fn a_refund_beside_a_hold_leaves_it_as_it_is() {
    let images = |of: i64| Event::new("ann", "call").value("images", of);
    let stands = |engine: &Engine| {
        let standing = engine.standing(&images(0)).expect("good");
        let quota = standing.quotas().next().expect("it matches").into_owned();
        [quota.used, quota.held].map(|it| it.to_string())
    };
    let rolling = Period::rolling(secs(600));
    for period in [Period::Hour, rolling] {
        let (engine, clock) = engine(|builder| {
            let images = Metric::value("images");
            builder.quota(Quota::new("Images", images, 100, period).per("customer_id"))
        });
        // The refund is of the very instant of the reserve.
        let hold = reserve(&engine, &images(5), 60);
        let _ = engine.record(&images(-5)).expect("good");
        clock.advance(secs(1));
        assert!(engine.track(&images(3)).expect("good").is_allowed());
        assert_eq!(stands(&engine), ["-2", "5"], "{period:?}");
        drop(hold);
        assert_eq!(stands(&engine), ["-2", "0"], "{period:?}");
        // What happened was a refund.
        let hold = reserve(&engine, &images(5), 60);
        let decision = hold.commit(&images(-1)).expect("good");
        assert_eq!(decision.quotas().next().expect("it matches").used.to_string(), "-3");
        assert_eq!(stands(&engine), ["-3", "0"], "{period:?}");
    }
}

#[test]
fn a_refund_takes_no_hold_from_a_window() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, clock) = engine(|builder| {
            let limit = RateLimit::new("Images", 100, Window::Hour).algorithm(algorithm);
            builder.rate_limit(limit.metric(Metric::value("images")))
        });
        let images = |of: i64| Event::new("ann", "call").value("images", of);
        assert!(engine.track(&images(20)).expect("good").is_allowed());
        clock.advance(secs(1));
        let hold = reserve(&engine, &images(5), 60);
        clock.advance(secs(1));
        let _ = engine.record(&images(-3)).expect("good");
        assert_eq!(stands(&engine, &images(0)), [78], "{algorithm:?}");
        drop(hold);
        assert_eq!(stands(&engine, &images(0)), [83], "{algorithm:?}");
    }
}

#[test]
fn a_key_that_no_counter_counts_overruns_nothing() {
    let (engine, _) =
        engine(|builder| builder.quota(daily(100).max_keys(1).overflow(Overflow::Allow)));
    assert!(engine.track(&call("ann", 1)).expect("good").is_allowed());
    let bob = reserve(&engine, &call("bob", 200), 60);
    assert_eq!(stands(&engine, &call("bob", 0)), [0, 0, 100]);
    let decision = bob.commit(&call("bob", 10)).expect("good");
    assert!(!decision.is_overrun());
    assert_eq!(stands(&engine, &call("bob", 0)), [0, 0, 100]);
}

#[test]
fn a_commit_says_where_a_shared_counter_stands_after_it() {
    let (engine, _) =
        engine(|builder| builder.quota(daily(100).max_keys(1).overflow(Overflow::Share)));
    assert!(engine.track(&call("ann", 1)).expect("good").is_allowed());
    let bob = reserve(&engine, &call("bob", 40), 60);
    let decision = bob.commit(&call("bob", 10)).expect("good");
    let quota = decision.quotas().next().expect("it matches");
    assert_eq!((quota.used, quota.held, quota.remaining), (10.into(), 0.into(), 90.into()));
}

#[test]
fn a_gauge_judges_the_estimate_and_holds_nothing() {
    let (engine, _) = engine(|builder| {
        let largest = Quota::new("Largest", Metric::meter("largest"), 50, Period::Day);
        builder.meter(limitry::Meter::max("Largest", "context").id("largest")).quota(largest)
    });
    let with = |context: u64| call("ann", 1).value("context", context);
    assert!(matches!(engine.reserve(&with(51), Hold::default()), Ok(Reserved::Refused(_))));
    let hold = reserve(&engine, &with(40), 60);
    assert_eq!(stands(&engine, &with(0)), [0, 0, 50]);
    let decision = hold.commit(&with(45)).expect("good");
    assert!(!decision.is_overrun());
    assert_eq!(stands(&engine, &with(0)), [45, 0, 5]);
}
