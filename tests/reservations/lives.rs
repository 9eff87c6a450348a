//! Goal: a reservation holds, grows, is committed, released, expires, and gives back what it should
//! and no more.
//!
//! Method: worked cases, each an application that could be one.

use std::time::Duration;

use crate::support::engine;
use limitry::reservations::{KeyStatus, ReservationQuery, ReservationState};
use limitry::rules::Algorithm;
use limitry::{
    Amount, Decision, Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit, Reservation,
    Reserved, RetryAfter, Window,
};

pub(crate) fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").total_tokens(tokens)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn reserve(engine: &Engine, event: &Event<'_>, seconds: u64) -> Reservation {
    match engine.reserve(event, Hold::lasting(secs(seconds))).expect("a good event") {
        Reserved::Held(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused(engine: &Engine, event: &Event<'_>) -> Decision {
    match engine.reserve(event, Hold::default()).expect("a good event") {
        Reserved::Refused(decision) => decision,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn bucket(limit: u64, seconds: u64) -> RateLimit {
    let window = Window::every(secs(seconds));
    RateLimit::new("Tokens", limit, window).metric(Metric::TotalTokens).per("customer_id")
}

pub(crate) fn daily(limit: u64) -> Quota {
    Quota::new("Daily", Metric::TotalTokens, limit, Period::Day).per("customer_id")
}

pub(crate) fn left(engine: &Engine) -> Amount {
    let standing = engine.standing(&tokens(0)).expect("good");
    standing.rate_limits().next().expect("a rate limit").remaining
}

/// What is used, held and left of the quota.
pub(crate) fn of_quota(engine: &Engine) -> (u64, u64, u64) {
    let standing = engine.standing(&tokens(0)).expect("good");
    let quota = standing.quotas().next().expect("a quota");
    let [used, held, left] = [quota.used, quota.held, quota.remaining].map(Amount::to_u64_floor);
    (used, held, left)
}

fn held(engine: &Engine) -> usize {
    let held = ReservationQuery::new().state(ReservationState::Held);
    engine.reservations().count(&held)
}

#[test]
fn a_commit_gives_a_bucket_no_more_than_committed_use_leaves() {
    let (engine, clock) = engine(|builder| builder.rate_limit(bucket(100, 100)));
    let hold = reserve(&engine, &tokens(50), 300);
    clock.advance(secs(30));
    assert!(engine.track(&tokens(70)).expect("good").is_allowed());
    clock.advance(secs(30));
    assert_eq!(left(&engine), 40);
    let decision = hold.commit(&tokens(10)).expect("good");
    assert_eq!(decision.rate_limits().next().expect("one").remaining, 50);
    assert_eq!(left(&engine), 50);
}

#[test]
fn many_estimates_above_the_use_leave_what_was_not_used() {
    let (engine, clock) = engine(|builder| builder.rate_limit(bucket(90_000, 60)));
    let holds: Vec<_> = (0..20).map(|_| reserve(&engine, &tokens(4_096), 300)).collect();
    assert_eq!(left(&engine), 90_000 - 20 * 4_096);
    clock.advance(secs(10));
    for hold in holds {
        assert!(!hold.commit(&tokens(500)).expect("good").is_overrun());
    }
    assert_eq!(left(&engine), 80_000);
}

#[test]
fn what_is_held_stands_beside_what_is_used() {
    let (engine, _) = engine(|builder| builder.quota(daily(10)));
    assert!(engine.track(&tokens(3)).expect("good").is_allowed());
    let hold = reserve(&engine, &tokens(5), 60);
    assert_eq!(hold.decision().quotas().next().expect("one").held, 5);
    assert_eq!(of_quota(&engine), (3, 5, 2));
    let _ = refused(&engine, &tokens(3));
    let explained = engine.explain(&tokens(1)).expect("good").to_string();
    assert!(explained.contains("5 held"), "{explained}");
    let decision = hold.commit(&tokens(2)).expect("good");
    assert!(decision.is_allowed() && !decision.is_overrun());
    assert_eq!(of_quota(&engine), (5, 0, 5));
    assert_eq!(engine.events().len(), 2);
}

#[test]
fn a_commit_above_its_hold_counts_in_full() {
    let (engine, clock) = engine(|builder| builder.quota(daily(10)).rate_limit(bucket(10, 10)));
    let hold = reserve(&engine, &tokens(5), 60);
    let id = hold.id();
    let decision = hold.commit(&tokens(12)).expect("good");
    assert!(decision.is_overrun() && decision.is_allowed());
    assert_eq!(of_quota(&engine), (12, 0, 0));
    assert!(!engine.check(&tokens(1)).expect("good").is_allowed());
    // The debt of 2 is paid back, one a second, and then there is one more.
    clock.advance(secs(3));
    assert_eq!(left(&engine), 1);
    assert_eq!(engine.reservation(id).expect("known").state, ReservationState::Committed);
}

#[test]
fn an_expired_hold_is_given_back_at_its_instant_and_still_commits() {
    let (engine, clock) = engine(|builder| builder.quota(daily(10)));
    let hold = reserve(&engine, &tokens(8), 60);
    let decision = engine.check(&tokens(3)).expect("good");
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(secs(60))));
    clock.advance(secs(60) - Duration::from_nanos(1));
    assert!(!engine.check(&tokens(3)).expect("good").is_allowed());
    clock.advance(Duration::from_nanos(1));
    assert!(engine.check(&tokens(3)).expect("good").is_allowed());
    assert_eq!(of_quota(&engine), (0, 0, 10));
    assert_eq!(engine.reservation(hold.id()).expect("known").state, ReservationState::Expired);
    assert!(hold.commit(&tokens(4)).expect("good").is_allowed());
    assert_eq!(of_quota(&engine), (4, 0, 6));
}

#[test]
fn a_wait_may_be_for_some_of_several_expiries() {
    let (engine, clock) = engine(|builder| builder.rate_limit(bucket(100, 1_000)));
    // Full of holds: 30 until 10 s, 30 until 20 s, 40 until 40 s; a tenth a second comes back.
    let holds =
        [(30, 10), (30, 20), (40, 40)].map(|(of, until)| reserve(&engine, &tokens(of), until));
    for (cost, wait) in [(1, 10), (29, 10), (31, 20), (60, 20), (63, 40)] {
        let decision = engine.check(&tokens(cost)).expect("good");
        assert_eq!(decision.retry_after(), Some(RetryAfter::After(secs(wait))), "{cost}");
    }
    clock.advance(secs(40));
    assert_eq!(left(&engine), 100);
    drop(holds);
    assert_eq!(left(&engine), 100);
}

#[test]
fn what_a_guard_does_when_it_is_dropped() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    drop(reserve(&engine, &tokens(10), 60));
    assert_eq!(of_quota(&engine), (0, 0, 100));
    let charging = engine.reserve(&tokens(20), Hold::lasting(secs(60)).charge_on_drop());
    let Reserved::Held(mut charging) = charging.expect("good") else { panic!("it fits") };
    assert!(charging.grow(&tokens(7)).expect("good").is_allowed());
    drop(charging);
    assert_eq!(of_quota(&engine), (27, 0, 73));
    std::mem::forget(reserve(&engine, &tokens(30), 60));
    assert_eq!(of_quota(&engine), (27, 30, 43));
    let panics = || {
        let _hold = reserve(&engine, &tokens(40), 60);
        panic!("the call fails")
    };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
    assert!(caught.is_err());
    assert_eq!(of_quota(&engine), (27, 30, 43));
    assert_eq!(held(&engine), 1);
}

#[test]
fn growth_is_held_and_refused_where_there_is_no_room() {
    let (engine, clock) = engine(|builder| {
        let calls = Quota::new("Calls", Metric::TotalEvents, 1, Period::Day).per("customer_id");
        builder.quota(daily(100)).rate_limit(bucket(60, 60)).quota(calls)
    });
    let mut hold = reserve(&engine, &tokens(40), 300);
    clock.advance(secs(10));
    assert!(hold.grow(&tokens(30)).expect("good").is_allowed());
    assert_eq!(left(&engine), 0);
    let no_room = hold.grow(&tokens(1)).expect("good");
    assert_eq!(no_room.retry_after(), Some(RetryAfter::After(secs(1))));
    assert_eq!(of_quota(&engine), (0, 70, 30));
    assert_eq!(engine.reservation(hold.id()).expect("known").estimate, tokens(70));
    let decision = hold.commit(&tokens(70)).expect("good");
    assert!(!decision.is_overrun());
    assert_eq!(of_quota(&engine), (70, 0, 30));
}

#[test]
fn growth_waits_for_holds_that_expire() {
    let (engine, clock) = engine(|builder| builder.quota(daily(100)));
    let mut first = reserve(&engine, &tokens(40), 300);
    let _second = reserve(&engine, &tokens(60), 60);
    clock.advance(secs(10));
    let decision = first.grow(&tokens(30)).expect("good");
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(secs(50))));
    clock.advance(secs(50));
    assert!(first.grow(&tokens(30)).expect("good").is_allowed());
}

#[test]
fn a_heartbeat_puts_the_expiry_off() {
    let (engine, clock) = engine(|builder| builder.quota(daily(10)));
    let mut hold = reserve(&engine, &tokens(8), 60);
    for _ in 0..5 {
        clock.advance(secs(50));
        assert_eq!(hold.extend(secs(60)).expect("open"), hold.expires_at());
    }
    assert_eq!(of_quota(&engine), (0, 8, 2));
    // A shorter one leaves it as it is.
    let until = hold.expires_at();
    assert_eq!(hold.extend(secs(1)).expect("open"), until);
    clock.advance(secs(60));
    assert_eq!(of_quota(&engine), (0, 0, 10));
    assert!(hold.extend(secs(60)).is_err());
}

#[test]
fn a_commit_counts_in_the_period_of_its_reserve() {
    let (engine, clock) = engine(|builder| builder.quota(daily(100)).rate_limit(bucket(60, 60)));
    // The day ends in 13.5 hours.
    clock.advance(secs(13 * 3_600 + 1_800 - 30));
    let hold = reserve(&engine, &tokens(40), 300);
    let reserved_at = engine.now();
    clock.advance(secs(60));
    assert_eq!(of_quota(&engine), (0, 0, 100));
    let decision = hold.commit(&tokens(50)).expect("good");
    assert_eq!(decision.quotas().next().expect("one").used, 50);
    assert_eq!(of_quota(&engine), (0, 0, 100));
    assert_eq!(engine.events().newest(1)[0].timestamp, reserved_at);
    assert_eq!(left(&engine), 50);
}

#[test]
fn windows_give_back_only_what_still_counts() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let rule = || bucket(100, 60).algorithm(algorithm);
        let (engine, clock) = engine(|builder| builder.rate_limit(rule()));
        let in_time = reserve(&engine, &tokens(50), 300);
        clock.advance(secs(20));
        let _ = in_time.commit(&tokens(20)).expect("good");
        assert_eq!(left(&engine), 80, "{algorithm:?}");
        let late = reserve(&engine, &tokens(50), 300);
        clock.advance(secs(61));
        assert!(engine.track(&tokens(90)).expect("good").is_allowed());
        let _ = late.commit(&tokens(20)).expect("good");
        assert_eq!(left(&engine), 10, "{algorithm:?}");
    }
}

#[test]
fn rules_that_match_only_one_of_the_two_give_back_or_charge() {
    let of =
        |model| Quota::new(model, Metric::TotalTokens, 100, Period::Day).filter("model", model);
    let (engine, _) = engine(|builder| builder.quota(of("large")).quota(of("small")));
    let hold = reserve(&engine, &tokens(40).model("large"), 60);
    let decision = hold.commit(&tokens(30).model("small")).expect("good");
    assert_eq!(decision.quotas().map(|quota| quota.used).collect::<Vec<_>>(), [30]);
    for (model, used) in [("large", 0), ("small", 30)] {
        let standing = engine.standing(&tokens(0).model(model)).expect("good");
        let quota = standing.quotas().next().expect("it matches");
        assert_eq!((quota.used, quota.held), (used.into(), 0.into()), "{model}");
    }
}

#[test]
fn a_commit_that_is_made_again_counts_once() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let hold = reserve(&engine, &tokens(40), 60);
    let id = hold.id();
    let first = hold.commit(&tokens(30)).expect("good");
    let again = engine.commit(id, &tokens(30)).expect("the same");
    assert_eq!(again.outcome(), Outcome::Replayed);
    assert_eq!((again.event_id(), again.body()), (first.event_id(), first.body()));
    assert_eq!(of_quota(&engine), (30, 0, 70));
    assert_eq!(engine.events().len(), 1);
    let status = engine.reservation(id).expect("known");
    assert_eq!((status.state, status.event_id), (ReservationState::Committed, first.event_id()));
}

#[test]
fn keys_are_shared_with_track() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let keyed = |of, key: &'static str| tokens(of).idempotency_key(key);
    let hold = reserve(&engine, &keyed(40, "a"), 60);
    for _ in 0..2 {
        let again = engine.reserve(&keyed(40, "a"), Hold::default()).expect("good");
        let Reserved::Replayed(KeyStatus::Reserved(status)) = again else { panic!("{again:?}") };
        assert_eq!((status.id, status.state), (hold.id(), ReservationState::Held));
    }
    assert_eq!(of_quota(&engine), (0, 40, 60));
    assert!(engine.track(&keyed(40, "a")).expect("the same").is_replay());
    assert!(engine.reserve(&keyed(41, "a"), Hold::default()).is_err());
    let status = hold.release().expect("open");
    assert_eq!(status.state, ReservationState::Released);
    let bound = engine.reserve(&keyed(40, "a"), Hold::default()).expect("good");
    assert!(matches!(bound, Reserved::Replayed(KeyStatus::Reserved(_))), "{bound:?}");
    assert!(engine.track(&keyed(5, "b")).expect("good").is_allowed());
    let tracked = engine.reserve(&keyed(5, "b"), Hold::default()).expect("good");
    assert!(matches!(tracked, Reserved::Replayed(KeyStatus::Decided(_))), "{tracked:?}");
    // A refused reserve leaves its key free.
    assert!(matches!(engine.reserve(&keyed(500, "c"), Hold::default()), Ok(Reserved::Refused(_))));
    drop(reserve(&engine, &keyed(50, "c"), 60));
}

#[test]
fn a_key_that_is_used_again_tells_what_has_become_of_it() {
    let (engine, clock) = engine(|builder| builder.quota(daily(100)));
    let keyed = tokens(40).idempotency_key("a");
    let hold = reserve(&engine, &keyed, 60);
    clock.advance(secs(60));
    let again = engine.reserve(&keyed, Hold::default()).expect("good");
    let Reserved::Replayed(KeyStatus::Reserved(status)) = again else { panic!("{again:?}") };
    assert_eq!((status.id, status.state), (hold.id(), ReservationState::Expired));
}

#[test]
fn a_customer_has_so_many_and_the_wait_is_for_the_first_to_expire() {
    let (engine, clock) = engine(|builder| builder.quota(daily(1_000)).max_reservations(3));
    let mut holds: Vec<_> = (0..3).map(|of| reserve(&engine, &tokens(1), 60 + of)).collect();
    let decision = refused(&engine, &tokens(1));
    assert!(decision.has_too_many_reservations());
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(secs(60))));
    assert_eq!(decision.to_string(), "refused by too many reservations; passes in 60s");
    assert_eq!(decision.body().error.as_deref(), Some("Too many reservations"));
    drop(reserve(&engine, &Event::new("bob", "call"), 60));
    drop(holds.pop());
    holds.push(reserve(&engine, &tokens(1), 300));
    let _ = refused(&engine, &tokens(1));
    clock.advance(secs(60));
    holds.push(reserve(&engine, &tokens(1), 300));
    assert_eq!(of_quota(&engine).1, 3);
}

#[test]
fn reservations_are_listed_and_in_the_end_forgotten() {
    let (engine, clock) = engine(|builder| builder.quota(daily(100)));
    let ann = reserve(&engine, &tokens(5).property("team_id", "red"), 60);
    let bob = reserve(&engine, &Event::new("bob", "call").total_tokens(6), 60);
    let all = |query| {
        let found = engine.reservations().list(&query);
        found.into_iter().map(|status| status.id).collect::<Vec<_>>()
    };
    let query = ReservationQuery::new;
    assert_eq!(all(query()), [ann.id(), bob.id()]);
    assert_eq!(all(query().limit(1)), [ann.id()]);
    assert_eq!(all(query().filter("team_id", "red")), [ann.id()]);
    assert_eq!(all(query().customer("bob").state(ReservationState::Held)), [bob.id()]);
    let id = bob.id();
    let _ = bob.release().expect("open");
    assert_eq!(all(query().customer("bob").state(ReservationState::Held)), []);
    assert_eq!(all(query().customer("bob").state(ReservationState::Released)), [id]);
    clock.advance(secs(24 * 3_600 + 61));
    drop(reserve(&engine, &tokens(1), 60));
    drop(reserve(&engine, &tokens(1), 60));
    assert_eq!(engine.reservation(id), None);
    assert!(engine.commit(id, &Event::new("bob", "call")).is_err());
}
