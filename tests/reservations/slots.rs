//! Goal: a concurrent quota lets so many reservations be open at once, in the same decision as all
//! other rules, and a slot is taken exactly while its reservation is open.

use crate::lives::{daily, of_quota, refused, reserve, secs, tokens};
use crate::support::engine;
use limitry::{Amount, Event, Metric, Period, Quota, RetryAfter};

fn at_once(slots: u64) -> Quota {
    Quota::concurrent("At once", slots).per("customer_id")
}

#[test]
fn a_slot_is_taken_while_its_reservation_is_open() {
    let (engine, clock) = engine(|builder| builder.quota(at_once(2)));
    let first = reserve(&engine, &tokens(100), 60);
    let second = reserve(&engine, &tokens(0), 90);
    assert_eq!(of_quota(&engine), (0, 2, 0));
    let decision = refused(&engine, &tokens(1));
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(secs(60))));
    let quota = decision.quotas().next().expect("it matches");
    assert_eq!((quota.limit, quota.reset), (Some(Amount::from(2)), None));
    let _ = first.release().expect("open");
    let third = reserve(&engine, &tokens(1), 30);
    assert!(!engine.check(&tokens(1)).expect("good").is_allowed());
    clock.advance(secs(30));
    assert!(engine.check(&tokens(1)).expect("good").is_allowed());
    let _ = second.commit(&tokens(7)).expect("good");
    let _ = third.commit(&tokens(7)).expect("it has expired, and is recorded");
    assert_eq!(of_quota(&engine), (0, 0, 2));
    drop(reserve(&engine, &Event::new("bob", "call"), 60));
}

#[test]
fn what_is_not_held_is_a_momentary_test() {
    let (engine, _) = engine(|builder| builder.quota(at_once(1)).quota(daily(100)));
    for _ in 0..3 {
        assert!(engine.track(&tokens(1)).expect("good").is_allowed());
    }
    assert_eq!(engine.standing(&tokens(0)).expect("good").quotas().next().expect("one").held, 0);
    let hold = reserve(&engine, &tokens(1), 60);
    assert!(!engine.track(&tokens(1)).expect("good").is_allowed());
    // A refusal takes nothing of the other rules, and metering asks nobody.
    assert!(engine.record(&tokens(1)).expect("good").is_allowed());
    let _ = hold.commit(&tokens(2)).expect("good");
    assert!(engine.track(&tokens(1)).expect("good").is_allowed());
    let standing = engine.standing(&tokens(0)).expect("good");
    let used: Vec<_> = standing.quotas().map(|quota| quota.used).collect();
    assert_eq!(used, [Amount::from(0), Amount::from(7)]);
}

#[test]
fn a_stream_that_grows_takes_no_further_slot() {
    let (engine, _) = engine(|builder| builder.quota(at_once(2)));
    let mut hold = reserve(&engine, &tokens(1), 60);
    for _ in 0..5 {
        assert!(hold.grow(&tokens(1)).expect("good").is_allowed());
    }
    assert_eq!(of_quota(&engine), (0, 1, 1));
}

#[test]
fn the_limit_changes_while_slots_are_taken() {
    let (engine, _) = engine(|builder| builder.quota(at_once(2).id("slots")));
    let holds = [0, 1].map(|_| reserve(&engine, &tokens(1), 60));
    let limit = |limit: u64| limitry::rules::QuotaUpdate::new().limit(limit);
    engine.rules().update("slots", limit(1)).expect("good");
    assert_eq!(of_quota(&engine), (0, 2, 0));
    engine.rules().update("slots", limit(3)).expect("good");
    assert_eq!(of_quota(&engine), (0, 2, 1));
    drop(holds);
    assert_eq!(of_quota(&engine), (0, 0, 3));
}

#[test]
fn a_concurrent_quota_as_data() {
    let text = serde_json::to_value(at_once(5)).expect("data");
    assert_eq!(text["period"], "concurrent");
    assert_eq!(serde_json::from_value::<Quota>(text).expect("data"), at_once(5));
    assert_eq!("concurrent".parse(), Ok(Period::Concurrent));
    let tokens = Quota::new("Tokens", Metric::TotalTokens, 5, Period::Concurrent);
    let why = limitry::Engine::builder().quota(tokens).build().expect_err("not of tokens");
    assert!(why.to_string().contains("must be `total_events`"), "{why}");
}
