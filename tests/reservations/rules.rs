//! Goal: open holds live through changes of the rules: a new rule sees one from its commit on, a
//! rule that is removed or turned off forgets it, a changed quota keeps it, and a changed rate
//! limit keeps it as use that is not given back.

use crate::lives::{bucket, daily, left, of_quota, reserve, secs, tokens};
use crate::support::engine;
use limitry::events::Recording;
use limitry::rules::{Algorithm, QuotaUpdate, RateLimitUpdate};
use limitry::{Amount, Event, Metric, Period, Quota, Timestamp, Window};

#[test]
fn another_limit_leaves_holds_as_they_are() {
    let (engine, _) =
        engine(|builder| builder.quota(daily(100).id("q")).rate_limit(bucket(100, 100).id("r")));
    let hold = reserve(&engine, &tokens(40), 60);
    engine.rules().update("q", QuotaUpdate::new().limit(200)).expect("good");
    assert_eq!(of_quota(&engine), (0, 40, 160));
    let _ = hold.commit(&tokens(10)).expect("good");
    assert_eq!(of_quota(&engine), (10, 0, 190));
    assert_eq!(left(&engine), 90);
}

#[test]
fn a_changed_quota_keeps_its_holds() {
    let rolling = Period::rolling(secs(7_200));
    let both = [Recording::Newest(100), Recording::Off];
    for (recording, period) in both.iter().flat_map(|it| [(*it, Period::Month), (*it, rolling)]) {
        let (engine, _) = engine(|builder| builder.quota(daily(100).id("q")).recording(recording));
        assert!(engine.track(&tokens(5)).expect("good").is_allowed());
        let [first, second] = [40, 20].map(|of| reserve(&engine, &tokens(of), 60));
        engine.rules().update("q", QuotaUpdate::new().period(period)).expect("good");
        assert_eq!(of_quota(&engine).2, 35, "{recording:?}");
        let _ = first.commit(&tokens(10)).expect("good");
        assert_eq!(of_quota(&engine).2, 65, "{recording:?}");
        drop(second);
        assert_eq!(of_quota(&engine), (15, 0, 85), "{recording:?}");
    }
}

#[test]
fn a_changed_rate_limit_keeps_what_was_held_as_use() {
    let (engine, clock) = engine(|builder| builder.rate_limit(bucket(100, 100).id("r")));
    let hold = reserve(&engine, &tokens(40), 300);
    let sliding = RateLimitUpdate::new().algorithm(Algorithm::SlidingWindow);
    engine.rules().update("r", sliding).expect("good");
    assert_eq!(left(&engine), 60);
    let decision = hold.commit(&tokens(50)).expect("good");
    assert!(decision.is_overrun());
    assert_eq!(left(&engine), 50);
    let given = reserve(&engine, &tokens(30), 300);
    let hour = RateLimitUpdate::new().window(Window::Hour);
    engine.rules().update("r", hour).expect("good");
    drop(given);
    assert_eq!(left(&engine), 20);
    clock.advance(secs(3_600));
    assert_eq!(left(&engine), 100);
}

#[test]
fn a_new_rule_sees_a_hold_from_its_commit_on_and_a_removed_one_never() {
    let (engine, _) = engine(|builder| builder.quota(daily(100).id("q")));
    let hold = reserve(&engine, &tokens(40), 60);
    engine.rules().remove("q").expect("it is there");
    let monthly = Quota::new("Monthly", Metric::TotalTokens, 30, Period::Month).per("customer_id");
    engine.rules().add(monthly).expect("good");
    assert_eq!(of_quota(&engine), (0, 0, 30));
    let decision = hold.commit(&tokens(35)).expect("good");
    assert_eq!(decision.quotas().map(|quota| quota.used).collect::<Vec<_>>(), [Amount::from(35)]);
    assert_eq!(of_quota(&engine), (35, 0, 0));
}

#[test]
fn a_rule_that_is_turned_off_forgets_its_holds() {
    let (engine, _) = engine(|builder| builder.quota(daily(100).id("q")));
    let hold = reserve(&engine, &tokens(40), 60);
    engine.rules().update("q", QuotaUpdate::new().enabled(false)).expect("good");
    let _ = hold.commit(&tokens(10)).expect("good");
    engine.rules().update("q", QuotaUpdate::new().enabled(true)).expect("good");
    assert_eq!(of_quota(&engine), (10, 0, 90));
}

#[test]
fn what_expired_before_a_change_is_not_carried_over() {
    let call = |number: u32| Event::new(format!("cust_{number}"), "call").total_tokens(10);
    let (engine, clock) = engine(|builder| {
        let builder = builder.quota(daily(100).id("q")).recording(Recording::Off);
        builder.rate_limit(bucket(100, 100_000).id("r"))
    });
    for number in 0..200 {
        std::mem::forget(reserve(&engine, &call(number), 60));
    }
    clock.advance(secs(61));
    engine.rules().update("q", QuotaUpdate::new().period(Period::Month)).expect("good");
    let window = RateLimitUpdate::new().algorithm(Algorithm::FixedWindow);
    engine.rules().update("r", window).expect("good");
    for number in 0..200 {
        let standing = engine.standing(&call(number)).expect("good");
        let limit = standing.rate_limits().next().expect("it matches").remaining;
        let quota = standing.quotas().next().expect("it matches").remaining;
        assert_eq!((limit, quota), (100.into(), 100.into()), "{number}");
    }
}

#[test]
fn a_hold_whose_period_is_not_carried_over_is_charged_in_full() {
    let (engine, _) = engine(|builder| {
        let hourly = Quota::new("Hourly", Metric::TotalTokens, 100, Period::Hour).id("q");
        builder.quota(hourly.per("customer_id")).recording(Recording::Off)
    });
    let before = "2024-01-15T09:50:00Z".parse::<Timestamp>().expect("a time");
    let hold = reserve(&engine, &tokens(40).timestamp(before), 60);
    engine.rules().update("q", QuotaUpdate::new().period(Period::Day)).expect("good");
    assert_eq!(of_quota(&engine), (0, 0, 100));
    let _ = hold.commit(&tokens(30)).expect("good");
    assert_eq!(of_quota(&engine), (30, 0, 70));
}
