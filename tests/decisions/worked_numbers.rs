//! Goal: the worked numbers of the products come out, one test each.
//!
//! Method: each as it is documented. Those of alerts are in `alerts::firing` (79, 2, 19 and 5 of a
//! hundred), those of balances with a minimum in `balances::accounts`, those of zones and anchors
//! in the tests of the calendar.

use limitry::{Decision, Engine, Event, Hold, Metric, Period, Quota, Reserved, RetryAfter};

use crate::support::{engine, track};

fn user(id: &str, cost: i64) -> Event<'_> {
    Event::new(id, "call").value("cost", cost)
}

fn a_day(limit: u64) -> Quota {
    Quota::new("A day", Metric::value("cost"), limit, Period::Day).id("day").per("customer_id")
}

fn reserved(engine: &Engine, event: &Event<'_>) -> limitry::Reservation {
    match engine.reserve(event, Hold::default()).expect("valid") {
        Reserved::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

/// What is used, held and left of a quota, by its id.
fn stands(engine: &Engine, event: &Event<'_>, id: &str) -> (String, String, String) {
    let standing = engine.standing(event).expect("valid");
    let status = standing.quotas().find(|status| status.id == id).expect("it matches");
    (status.used.to_string(), status.held.to_string(), status.remaining.to_string())
}

fn as_text((used, held, left): (i64, i64, i64)) -> (String, String, String) {
    (used.to_string(), held.to_string(), left.to_string())
}

fn refused_by(decision: &Decision) -> Vec<String> {
    assert!(!decision.is_allowed());
    decision.quotas().filter(|it| it.exceeded).map(|it| it.id.to_string()).collect()
}

#[test]
fn number_16_a_commit_beyond_its_hold_is_charged_in_full() {
    let (engine, _) = engine(|it| it.quota(a_day(10)));
    let held = reserved(&engine, &user("u1", 5));
    let decision = held.commit(&user("u1", 12)).expect("it commits");
    assert!(decision.is_overrun());
    assert_eq!(stands(&engine, &user("u1", 1), "day"), as_text((12, 0, 0)));
    assert!(!engine.check(&user("u1", 1)).expect("valid").is_allowed());
}

#[test]
fn number_17_what_is_not_used_of_a_hold_is_given_back_at_once() {
    let (engine, _) = engine(|it| it.quota(a_day(10)));
    let held = reserved(&engine, &user("u1", 5));
    assert_eq!(stands(&engine, &user("u1", 1), "day"), as_text((0, 5, 5)));
    assert!(!held.commit(&user("u1", 2)).expect("it commits").is_overrun());
    assert_eq!(stands(&engine, &user("u1", 1), "day"), as_text((2, 0, 8)));
}

#[test]
fn number_18_so_many_reservations_are_open_at_once() {
    let (engine, _) = engine(|it| it.quota(Quota::concurrent("Runs", 2).per("customer_id")));
    let run = Event::new("u1", "run");
    let first = reserved(&engine, &run);
    let _second = reserved(&engine, &run);
    let third = engine.reserve(&run, Hold::default()).expect("valid");
    assert!(matches!(third, Reserved::Refused(_)));
    let _ = first.release().expect("it is open");
    let _fourth = reserved(&engine, &run);
}

#[test]
fn number_19_a_credit_lets_in_what_it_pays() {
    let total = Quota::balance("total", Metric::value("cost")).per("customer_id").opening(100);
    let (engine, _) = engine(|it| it.quota(total));
    assert!(track(&engine, &user("u1", 100)).is_allowed());
    let credit = limitry::balances::Credit::new(50);
    engine.balances().credit("u1", "total", &credit).expect("it is there");
    assert!(!track(&engine, &user("u1", 60)).is_allowed());
    assert!(track(&engine, &user("u1", 50)).is_allowed());
}

#[test]
fn number_20_what_is_taken_may_leave_less_than_nothing() {
    let total = Quota::new("Total", Metric::value("cost"), 100, Period::AllTime).id("total");
    let (engine, _) = engine(|it| it.quota(total.per("customer_id")));
    assert!(track(&engine, &user("u1", 90)).is_allowed());
    let key = ("customer_id", "u1");
    let taken = engine.rules().adjust("total", key, 30, "chargeback").expect("good");
    assert_eq!(taken.note.as_deref(), Some("chargeback"));
    // 20 beyond the limit, shown as nothing left.
    assert_eq!(stands(&engine, &user("u1", 1), "total"), as_text((120, 0, 0)));
    let refused = track(&engine, &user("u1", 1));
    assert_eq!(
        (refused_by(&refused), refused.retry_after()),
        (vec!["total".to_owned()], Some(RetryAfter::Never))
    );
    engine.rules().adjust("total", key, -21, "paid").expect("good");
    assert!(track(&engine, &user("u1", 1)).is_allowed());
}

#[test]
fn number_21_an_own_limit_takes_the_place_of_its_kind() {
    let kind = a_day(10).policy("plan");
    let own = a_day(100).id("own").policy("plan").filter("customer_id", "u1");
    let (engine, _) = engine(|it| it.quota(kind).quota(own));
    let decision = track(&engine, &user("u1", 100));
    assert!(decision.is_allowed());
    let judged: Vec<_> = decision.quotas().map(|it| it.id.to_string()).collect();
    assert_eq!(judged, ["own"]);
    assert_eq!(refused_by(&track(&engine, &user("u1", 1))), ["own"]);
    assert_eq!(refused_by(&track(&engine, &user("u2", 11))), ["day"]);
    assert!(track(&engine, &user("u2", 10)).is_allowed());
}

#[test]
fn number_22_what_a_shared_pool_refuses_is_taken_of_nobody() {
    let pool = Quota::new("Pool", Metric::value("cost"), 5, Period::Day).id("pool").per("team_id");
    let (engine, _) = engine(|it| it.quota(pool).quota(a_day(100)));
    let call = || user("u1", 3).property("team_id", "red");
    assert!(track(&engine, &call()).is_allowed());
    assert_eq!(refused_by(&track(&engine, &call())), ["pool"]);
    assert_eq!(stands(&engine, &call(), "day"), as_text((3, 0, 97)));
}
