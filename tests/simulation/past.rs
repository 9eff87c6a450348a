//! Goal: where the log begins in the middle of a period, a simulation goes on from what the
//! roll-ups know, and says where they do not.
//!
//! Method: many more events than the log keeps, and quotas of which it is known when they are
//! full.

use std::time::Duration;

use limitry::events::{EventQuery, Recording};
use limitry::simulation::{SimulationReport, StartsFrom};
use limitry::usage::RollupOptions;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window};

use crate::support::oracle::{DAY, HOUR, SECOND};
use crate::support::{START, date, duration, engine, track};

const EVENTS: u64 = 6_000;

/// An engine that was called every 10 seconds, by two customers in turn, and that keeps about the
/// last third of the events.
fn called(rollups: RollupOptions) -> Engine {
    let (engine, clock) = engine(|it| it.recording(Recording::Newest(2_000)).rollups(rollups));
    for number in 0..EVENTS {
        let customer = if number % 2 == 0 { "ann" } else { "bob" };
        let event = Event::new(customer, "call").total_tokens(number % 7);
        assert!(track(&engine, &event).is_allowed());
        clock.advance(duration(10 * SECOND));
    }
    assert!(engine.events().len() < 4_000);
    engine
}

fn simulate(engine: &Engine, quota: Quota) -> SimulationReport {
    let rules = RuleSet::new().quota(quota.per("customer_id")).rate_limit(RateLimit::new(
        "Rate",
        1,
        Window::Second,
    ));
    engine.simulate(rules, EventQuery::new()).expect("good rules")
}

fn quota(limit: u64, period: Period) -> Quota {
    Quota::new("Calls", Metric::TotalEvents, limit, period)
}

#[test]
fn a_quota_starts_from_the_roll_ups() {
    let engine = called(RollupOptions::new());
    let rolling = Period::rolling(Duration::from_secs(30 * 24 * 60 * 60));
    for period in [Period::Month, Period::Year, Period::AllTime, rolling] {
        // 3 000 calls of each customer, of which the last 100 are over the limit.
        let report = simulate(&engine, quota(2_900, period));
        let rules: Vec<_> = report.rules.iter().map(|rule| rule.starts_from).collect();
        assert_eq!(rules, [StartsFrom::Nothing, StartsFrom::Recorded], "{period:?}");
        let found = (report.calls.refused, report.rules[1].exceeded_keys);
        assert_eq!(found, (200, 2), "{period:?}\n{report}");
        let since = report.since.expect("the log has not all");
        assert_eq!(since.unix_seconds() % 60, 0, "roll-ups end there");
        let replayed = engine.events().iter(EventQuery::new().since(since).limit(100));
        assert_eq!(report.calls.calls, replayed.expect("recorded").count() as u64);
    }
    // Of a day that has begun since nothing was used before.
    let day = simulate(&engine, quota(2_900, Period::Day));
    assert_eq!(day.calls.refused, 0);
    let hour = simulate(&engine, quota(180, Period::Hour));
    assert_eq!(hour.calls.refused, 0, "180 in each, also in the one in which the log begins");
}

#[test]
fn tokens_are_seeded_exactly() {
    let engine = called(RollupOptions::new());
    let bob = EventQuery::new().customer("bob");
    let tokens = |events: &[u64]| events.iter().map(|number| number % 7).sum::<u64>();
    let all: Vec<u64> = (0..EVENTS).filter(|number| number % 2 == 1).collect();
    let (before, last) = all.split_at(all.len() - 50);
    let quota = Quota::new("Tokens", Metric::TotalTokens, tokens(before), Period::Month);
    let rules = RuleSet::new().quota(quota.per("customer_id"));
    let report = engine.simulate(rules, bob).expect("good rules");
    let brought = last.iter().filter(|number| *number % 7 > 0).count();
    assert_eq!(report.calls.refused, brought as u64, "what adds nothing is not refused");
    assert_eq!(report.rules[0].exceeded_amount, Some(tokens(last).into()));
}

#[test]
fn where_the_roll_ups_do_not_know_the_first_period_is_partial() {
    // Roll-ups by no dimension know nothing of a customer.
    let engine = called(RollupOptions::new().dimensions(Vec::<String>::new()));
    let report = simulate(&engine, quota(2_900, Period::Month));
    assert_eq!(report.rules[1].starts_from, StartsFrom::Partial);
    assert_eq!(report.calls.refused, 0, "it refuses too little");
    let text = report.to_string();
    assert!(text.contains("the first period of \"Calls\" is partial"), "{text}");
    // One of all customers is known.
    let rules = RuleSet::new().quota(quota(5_800, Period::Month));
    let report = engine.simulate(rules, EventQuery::new()).expect("good rules");
    assert_eq!((report.calls.refused, report.rules[0].starts_from), (200, StartsFrom::Recorded));
}

#[test]
fn a_range_starts_from_what_was_before_it() {
    let (engine, clock) = engine(|it| it);
    for _ in 0..48 {
        assert!(track(&engine, &Event::new("ann", "call")).is_allowed());
        clock.advance(duration(HOUR / 2));
    }
    let from = |start: Timestamp| {
        let rules = RuleSet::new().quota(quota(40, Period::Month).per("customer_id"));
        engine.simulate(rules, EventQuery::new().since(start)).expect("good rules")
    };
    let report = from(date(START + 10 * HOUR));
    assert_eq!((report.calls.calls, report.calls.refused), (28, 8));
    assert_eq!(report.since, Some(date(START + 10 * HOUR)));
    assert_eq!(report.rules[0].starts_from, StartsFrom::Recorded);
    // To the second: an event of 10:30:00 is before 10:30:00.5, and before a second more.
    let report = from(date(START + 10 * HOUR + SECOND / 2));
    assert_eq!((report.calls.calls, report.calls.refused), (27, 8));
    assert_eq!(from(date(START - DAY)).calls.refused, 8);
    assert_eq!(from(date(START + 100 * DAY)).calls.calls, 0);
}
