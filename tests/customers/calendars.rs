//! Goal: a customer's zone and anchor cut the periods of its quotas, as far as those leave it open;
//! a change of them holds at the next decision, and goes on from what was used.
//!
//! Method: worked cases, with recording and without. What any history comes to is the model's.

use std::time::Duration;

use chrono::NaiveDate;
use limitry::customer::Customer;
use limitry::events::Recording;
use limitry::keys::KeyQuery;
use limitry::time::{ManualClock, Tz};
use limitry::{
    Amount, Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, Reserved, Timestamp,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn date(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

fn calls(name: &str, period: Period) -> Quota {
    Quota::new(name, Metric::TotalEvents, 1_000, period)
}

fn build(now: &str, builder: EngineBuilder) -> (Engine, ManualClock) {
    let clock = ManualClock::new(at(now));
    (builder.clock(clock.clone()).build().expect("good rules"), clock)
}

/// Lets an event in; returns what is used of each quota and when it resets.
fn track(engine: &Engine, event: &Event<'_>) -> Vec<(Amount, Option<Timestamp>)> {
    let decision = engine.track(event).expect("a good event");
    decision.quotas().map(|quota| (quota.used, quota.reset)).collect()
}

fn used(used: u64, reset: &str) -> (Amount, Option<Timestamp>) {
    (used.into(), Some(at(reset)))
}

#[test]
fn the_zone_is_the_rules_or_the_customers_or_the_engines() {
    let own = calls("own", Period::Day).time_zone(Tz::Asia__Kathmandu);
    let builder = Engine::builder().time_zone(Tz::Europe__Berlin);
    let builder = builder.quota(calls("day", Period::Day).per("customer_id"));
    let builder = builder.quota(own.per("customer_id")).quota(calls("all", Period::Day));
    let (engine, _) = build("2024-07-15T12:00:00Z", builder);
    let acme = Customer::new("acme").time_zone(Tz::America__New_York);
    engine.customers().upsert(acme).expect("good");
    let berlin = used(1, "2024-07-15T22:00:00Z");
    let nepal = used(1, "2024-07-15T18:15:00Z");
    assert_eq!(track(&engine, &Event::new("other", "call")), [berlin, nepal, berlin]);
    let new_york = used(1, "2024-07-16T04:00:00Z");
    // What is shared is no customer's.
    let shared = used(2, "2024-07-15T22:00:00Z");
    assert_eq!(track(&engine, &Event::new("acme", "call")), [new_york, nepal, shared]);
}

#[test]
fn the_worked_numbers_of_the_product() {
    let new_york = Customer::new("c").time_zone(Tz::America__New_York);
    let cases = [
        (new_york.clone(), Period::Day, "2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z"),
        (new_york.clone(), Period::Day, "2024-11-04T04:59:59Z", "2024-11-04T05:00:00Z"),
        (
            new_york.billing_anchor(date("2023-12-15")),
            Period::Month,
            "2024-03-01T00:00:00Z",
            "2024-03-15T04:00:00Z",
        ),
        (
            Customer::new("c").billing_anchor(date("2024-01-31")),
            Period::Month,
            "2024-02-28T12:00:00Z",
            "2024-02-29T00:00:00Z",
        ),
        (
            Customer::new("c").billing_anchor(date("2024-01-31")),
            Period::Month,
            "2024-02-29T00:00:00Z",
            "2024-03-31T00:00:00Z",
        ),
        (
            Customer::new("c").billing_anchor(date("2024-01-31")),
            Period::Month,
            "2024-03-31T00:00:00Z",
            "2024-04-30T00:00:00Z",
        ),
    ];
    for (customer, period, now, reset) in cases {
        let (engine, _) =
            build(now, Engine::builder().quota(calls("q", period).per("customer_id")));
        engine.customers().upsert(customer).expect("good");
        assert_eq!(track(&engine, &Event::new("c", "call")), [used(1, reset)], "{now}");
    }
}

#[test]
fn a_change_goes_on_from_what_is_recorded_or_else_from_what_was_used() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let records = recording != Recording::Off;
        let quota = calls("q", Period::Day).per("customer_id");
        let builder = Engine::builder().recording(recording).quota(quota);
        let (engine, clock) = build("2024-05-15T02:00:00Z", builder);
        let (event, other) = (Event::new("c", "call"), Event::new("d", "call"));
        assert_eq!(track(&engine, &event), [used(1, "2024-05-16T00:00:00Z")]);
        assert_eq!(track(&engine, &other), [used(1, "2024-05-16T00:00:00Z")]);
        clock.advance(3 * HOUR);
        assert_eq!(track(&engine, &event), [used(2, "2024-05-16T00:00:00Z")]);
        // The day of New York began at 04:00, after the first event.
        let customer = Customer::new("c").time_zone(Tz::America__New_York);
        engine.customers().upsert(customer.clone()).expect("good");
        let second = if records { 2 } else { 3 };
        assert_eq!(track(&engine, &event), [used(second, "2024-05-16T04:00:00Z")]);
        // Nothing changes where nothing is changed.
        engine.customers().upsert(customer.name("C")).expect("good");
        assert_eq!(track(&engine, &event), [used(second + 1, "2024-05-16T04:00:00Z")]);
        assert_eq!(track(&engine, &other), [used(2, "2024-05-16T00:00:00Z")]);
        engine.customers().remove("c").expect("good");
        let third = if records { 5 } else { second + 2 };
        assert_eq!(track(&engine, &event), [used(third, "2024-05-16T00:00:00Z")]);
    }
}

#[test]
fn a_key_without_a_counter_starts_from_what_is_recorded_of_its_new_period() {
    let quota = calls("q", Period::Month).per("customer_id");
    let (engine, clock) = build("2024-02-20T00:00:00Z", Engine::builder().quota(quota));
    let event = Event::new("c", "call");
    assert_eq!(track(&engine, &event), [used(1, "2024-03-01T00:00:00Z")]);
    // February is over, and its counter with it.
    clock.advance(20 * 24 * HOUR);
    for number in 0..200 {
        let other = format!("d{number}");
        let _ = track(&engine, &Event::new(&other, "call"));
    }
    let anchored = Customer::new("c").billing_anchor(date("2024-01-15"));
    engine.customers().upsert(anchored).expect("good");
    assert_eq!(track(&engine, &event), [used(2, "2024-03-15T00:00:00Z")]);
}

#[test]
fn values_of_any_dimension_that_a_rule_fixes_have_a_calendar() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let per_both = calls("both", Period::Day).per("customer_id").per("team_id");
        let filtered = calls("filtered", Period::Day).filter("team_id", "red");
        let per_team = calls("team", Period::Day).per("team_id");
        let builder = Engine::builder().recording(recording).quota(per_both);
        let builder = builder.quota(filtered).quota(per_team);
        let (engine, _) = build("2024-07-15T12:00:00Z", builder);
        let event = |team: &'static str| Event::new("c", "call").property("team_id", team);
        let utc = |count| used(count, "2024-07-16T00:00:00Z");
        assert_eq!(track(&engine, &event("red")), [utc(1); 3]);
        assert_eq!(track(&engine, &event("blue")), [utc(1); 2]);
        let teams = engine.customers().of("team_id").expect("a good name");
        teams.upsert(Customer::new("red").time_zone(Tz::Europe__Berlin)).expect("good");
        let berlin = |count| used(count, "2024-07-15T22:00:00Z");
        assert_eq!(track(&engine, &event("red")), [berlin(2); 3]);
        assert_eq!(track(&engine, &event("blue")), [utc(2); 2]);
        // The customer's own comes first among the dimensions of a key.
        let customer = Customer::new("c").time_zone(Tz::Asia__Kathmandu);
        engine.customers().upsert(customer).expect("good");
        let nepal = |count| used(count, "2024-07-15T18:15:00Z");
        assert_eq!(track(&engine, &event("red")), [nepal(3), berlin(3), berlin(3)]);
        assert_eq!(track(&engine, &event("blue")), [nepal(3), utc(3)]);
        teams.remove("red").expect("good");
        assert_eq!(track(&engine, &event("red")), [nepal(4), utc(4), utc(4)]);
    }
}

fn figures(used: u64, held: u64, remaining: u64) -> (Amount, Amount, Amount) {
    (used.into(), held.into(), remaining.into())
}

#[test]
fn what_is_held_moves_with_its_period() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let quota = calls("q", Period::Day).per("customer_id");
        let builder = Engine::builder().recording(recording).quota(quota);
        let (engine, clock) = build("2024-05-15T02:00:00Z", builder);
        let hold = Hold::lasting(HOUR);
        let event = Event::new("c", "call");
        let reserve = || match engine.reserve(&event, hold).expect("good") {
            Reserved::Held(reservation) => reservation,
            other => panic!("{other:?}"),
        };
        let (first, second, third) = (reserve(), reserve(), reserve());
        let customer = Customer::new("c").time_zone(Tz::Asia__Tokyo);
        engine.customers().upsert(customer).expect("good");
        let standing = || {
            let standing = engine.standing(&event).expect("good");
            let quota = standing.quotas().next().expect("it matches");
            assert_eq!(quota.reset, Some(at("2024-05-15T15:00:00Z")));
            (quota.used, quota.held, quota.remaining)
        };
        assert_eq!(standing(), figures(0, 3, 997));
        assert_eq!(track(&engine, &event).len(), 1);
        assert_eq!(standing(), figures(1, 3, 996));
        first.release().expect("good");
        assert_eq!(standing(), figures(1, 2, 997));
        assert!(second.commit(&event).expect("good").is_allowed());
        assert_eq!(standing(), figures(2, 1, 997));
        std::mem::forget(third);
        clock.advance(2 * HOUR);
        assert_eq!(standing(), figures(2, 0, 998));
    }
}

#[test]
fn what_is_held_of_a_rule_that_filters_the_customer_moves_with_its_period() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let quota = Quota::new("q", Metric::TotalEvents, 2, Period::Day).id("q");
        let quota = quota.filter("customer_id", "c");
        let builder = Engine::builder().recording(recording).quota(quota);
        let (engine, _) = build("2024-05-15T02:00:00Z", builder);
        let event = Event::new("c", "call");
        assert_eq!(track(&engine, &event), [used(1, "2024-05-16T00:00:00Z")]);
        let Reserved::Held(held) = engine.reserve(&event, Hold::lasting(HOUR)).expect("good")
        else {
            unreachable!("it fits")
        };
        let customer = Customer::new("c").time_zone(Tz::Asia__Tokyo);
        engine.customers().upsert(customer).expect("good");
        let figures = || {
            let standing = engine.standing(&event).expect("good");
            let status = standing.quotas().next().expect("it matches");
            assert_eq!(status.reset, Some(at("2024-05-15T15:00:00Z")));
            let keys = engine.rules().keys("q", &KeyQuery::new()).expect("a rule").items;
            let [key] = &keys[..] else { panic!("{keys:?}") };
            assert_eq!((key.used, key.held, key.reset), (status.used, status.held, status.reset));
            (status.used, status.held)
        };
        assert_eq!(figures(), (1.into(), 1.into()), "{recording:?}");
        // A refusal changes nothing, whatever it keeps for the next call.
        assert!(!engine.track(&event).expect("good").is_allowed());
        assert_eq!(figures(), (1.into(), 1.into()), "{recording:?}");
        held.release().expect("it is open");
        assert_eq!(figures(), (1.into(), 0.into()), "{recording:?}");
    }
}

#[test]
fn the_keys_of_a_rule_that_filters_the_customer_are_of_its_new_period() {
    let quota = calls("q", Period::Month).id("q").filter("customer_id", "c");
    let (engine, _) = build("2024-01-30T01:00:00Z", Engine::builder().quota(quota));
    let late = Event::new("c", "call").timestamp(at("2024-01-29T22:00:00Z"));
    let keys = || engine.rules().keys("q", &KeyQuery::new()).expect("a rule").items;
    assert_eq!(track(&engine, &late), [used(1, "2024-02-01T00:00:00Z")]);
    assert_eq!(keys()[0].reset, Some(at("2024-02-01T00:00:00Z")));
    let anchored = Customer::new("c").billing_anchor(date("2024-01-30"));
    engine.customers().upsert(anchored).expect("good");
    assert_eq!(keys(), []);
    assert_eq!(track(&engine, &Event::new("c", "call")), [used(1, "2024-02-29T00:00:00Z")]);
    assert_eq!((keys()[0].used, keys()[0].reset), (1.into(), Some(at("2024-02-29T00:00:00Z"))));
}

#[test]
fn what_is_dated_ahead_and_late_is_of_its_period() {
    let quota = calls("q", Period::Day).per("customer_id");
    let (engine, _) = build("2024-05-15T12:00:00Z", Engine::builder().quota(quota));
    let dated = |text| Event::new("c", "call").timestamp(at(text));
    let _ = track(&engine, &dated("2024-05-14T20:00:00Z"));
    let _ = track(&engine, &dated("2024-05-15T20:00:00Z"));
    let _ = track(&engine, &dated("2024-05-16T01:00:00Z"));
    // Days begin at 15:00.
    let customer = Customer::new("c").time_zone(Tz::Asia__Tokyo);
    engine.customers().upsert(customer).expect("good");
    assert_eq!(track(&engine, &Event::new("c", "call")), [used(2, "2024-05-15T15:00:00Z")]);
    let next = [used(3, "2024-05-16T15:00:00Z")];
    assert_eq!(track(&engine, &dated("2024-05-16T02:00:00Z")), next);
    assert_eq!(track(&engine, &dated("2024-05-14T16:00:00Z")), [used(3, "2024-05-15T15:00:00Z")]);
}
