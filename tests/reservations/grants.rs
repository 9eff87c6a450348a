//! Goal: where less is left of a metric than a call asks for, it is granted what is left, whatever
//! others take at the same time, and other rules judge the call as it stands.

use crate::lives::{bucket, daily, of_quota, tokens};
use crate::support::engine;
use limitry::reservations::KeyStatus;
use limitry::{
    Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reservation, Reserved,
    RetryAfter, Window,
};

fn up_to(engine: &Engine, event: &Event<'_>, at_least: u64) -> Reserved {
    let tokens = Metric::TotalTokens;
    engine.reserve_up_to(event, &tokens, at_least, Hold::default()).expect("good")
}

fn held(reserved: Reserved) -> Reservation {
    match reserved {
        Reserved::Held(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_is_granted_and_no_less_than_asked() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)).rate_limit(bucket(80, 80)));
    let all = held(up_to(&engine, &tokens(50), 10));
    assert_eq!(all.granted(), Some(Amount::from(50)));
    let some = held(up_to(&engine, &tokens(90), 10));
    assert_eq!(some.granted(), Some(Amount::from(30)));
    assert_eq!(of_quota(&engine), (0, 80, 20));
    let Reserved::Refused(decision) = up_to(&engine, &tokens(90), 10) else { panic!("no room") };
    // Ten come back in ten seconds: the wait is that of the least.
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(crate::lives::secs(10))));
    drop((all, some));
    assert_eq!(of_quota(&engine), (0, 0, 100));
}

#[test]
fn the_output_is_lowered_and_the_input_stays() {
    let (engine, _) = engine(|builder| builder.quota(daily(1_000)));
    let call = Event::new("ann", "call").input_tokens(150).output_tokens(4_096);
    let reservation = held(up_to(&engine, &call, 200));
    let estimate = engine.reservation(reservation.id()).expect("known").estimate;
    assert_eq!(estimate, Event::new("ann", "call").input_tokens(150).output_tokens(850));
}

#[test]
fn what_is_granted_in_full_stays_as_it_is() {
    let (engine, _) = engine(|builder| builder.quota(daily(1_000)));
    // Some of the total is neither.
    let call = Event::new("ann", "call").input_tokens(10).output_tokens(20).total_tokens(100);
    let reservation = held(up_to(&engine, &call, 50));
    assert_eq!(engine.reservation(reservation.id()).expect("known").estimate, call);
}

#[test]
fn other_rules_judge_the_call_as_it_stands() {
    let (engine, _) = engine(|builder| {
        let cost = Quota::new("Cost", Metric::TotalCostCents, 5, Period::Day);
        builder.quota(daily(100)).quota(cost)
    });
    let Reserved::Refused(decision) = up_to(&engine, &tokens(200).cost_cents(6), 10) else {
        panic!("the cost is too much")
    };
    let exceeded: Vec<_> = decision.quotas().map(|quota| quota.exceeded).collect();
    assert_eq!(exceeded, [true, true]);
    let _ = held(up_to(&engine, &tokens(200).cost_cents(5), 10));
}

#[test]
fn the_wait_for_another_rule_is_that_of_the_least() {
    let (engine, clock) = engine(|builder| {
        let calls = RateLimit::new("Calls", 1, Window::Minute).per("customer_id");
        builder.quota(daily(100)).rate_limit(calls)
    });
    assert!(engine.track(&tokens(50)).expect("good").is_allowed());
    // Of 80 there are 50 left, and a call is let in once a minute.
    let Reserved::Refused(decision) = up_to(&engine, &tokens(80), 10) else {
        panic!("one a minute")
    };
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(crate::lives::secs(60))));
    clock.advance(crate::lives::secs(60));
    assert_eq!(held(up_to(&engine, &tokens(80), 10)).granted(), Some(Amount::from(50)));
}

#[test]
fn a_retry_with_its_key_is_a_replay_of_what_was_granted() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let call = tokens(150).idempotency_key("k");
    let reservation = held(up_to(&engine, &call, 1));
    let again = up_to(&engine, &call, 1);
    let Reserved::Replayed(KeyStatus::Reserved(status)) = again else { panic!("{again:?}") };
    assert_eq!(
        (status.id, status.estimate.amount("total_tokens")),
        (reservation.id(), Some(100.into()))
    );
}

#[test]
fn what_cannot_be_lowered_is_an_error() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let why = |metric: Metric, at_least: i64| {
        let tried = engine.reserve_up_to(&tokens(5), &metric, at_least, Hold::default());
        tried.expect_err("bad").to_string()
    };
    let not_a_value = "must be a metric of a value, which can be lowered";
    assert_eq!(why(Metric::TotalEvents, 1), format!("metric: \"total_events\" {not_a_value}"));
    assert_eq!(why(Metric::meter("m"), 1), format!("metric: \"meter.m\" {not_a_value}"));
    for (metric, at_least) in
        [(Metric::TotalTokens, 6), (Metric::TotalTokens, -1), (Metric::TotalCostCents, 0)]
    {
        let why = why(metric, at_least);
        assert!(why.starts_with(&format!("at_least: \"{at_least}\" must be from 0 to")), "{why}");
    }
}

#[test]
fn an_amount_is_held_in_place_of_what_the_event_brings() {
    let (engine, _) = engine(|builder| builder.quota(daily(1_000)));
    let output = Metric::value("output_tokens");
    let hold = |event: &Event<'_>, amount: u64| {
        engine.reserve_amount(event, &output, amount, Hold::default())
    };
    let call = Event::new("ann", "call").input_tokens(100).output_tokens(4_000);
    let first = held(hold(&call, 300).expect("good"));
    assert_eq!((first.granted(), of_quota(&engine)), (Some(300.into()), (0, 400, 600)));
    // A total that is given is lowered as well, and an event without an output gets one.
    let stated = held(hold(&call.clone().total_tokens(4_150), 50).expect("good"));
    assert_eq!(of_quota(&engine), (0, 600, 400));
    let open = Event::new("ann", "call").input_tokens(100);
    let without = held(hold(&open, 200).expect("good"));
    assert_eq!(of_quota(&engine), (0, 900, 100));
    assert!(matches!(hold(&call, 1), Ok(Reserved::Refused(_))));
    drop((first, stated, without));
    // By its key the event that was asked for is a retry, whatever is held this time.
    let keyed = call.clone().idempotency_key("k");
    let one = held(hold(&keyed, 300).expect("good"));
    let again = hold(&keyed, 200).expect("good");
    let Reserved::Replayed(KeyStatus::Reserved(status)) = again else { panic!("{again:?}") };
    assert_eq!((status.id, of_quota(&engine)), (one.id(), (0, 400, 600)));
    assert!(hold(&keyed.output_tokens(3_999), 300).is_err());
    for (metric, amount) in [
        (output.clone(), Amount::from(-1)),
        (output.clone(), 4_001.into()),
        (output, Amount::from_millionths(1)),
        (Metric::TotalEvents, 1.into()),
    ] {
        let tried = engine.reserve_amount(&call, &metric, amount, Hold::default());
        assert!(tried.is_err(), "{metric} {amount}");
    }
    assert_eq!(of_quota(&engine), (0, 400, 600));
}
