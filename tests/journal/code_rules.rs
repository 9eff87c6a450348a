//! Goal: what the code says of the rules, and what was changed at run time, are brought together at
//! each start: what changed last holds.
//!
//! Method: engines on a medium in memory that are opened by code that says something else.

use super::levels::{builder, call, idle, keys, used};
use crate::support::clock;
use crate::support::medium::Medium;
use chrono::NaiveDate;
use limitry::errors::BuildError;
use limitry::events::Recording;
use limitry::rules::RateLimitUpdate;
use limitry::time::{ManualClock, Tz};
use limitry::{Amount, Engine, Event, Meter, Metric, Period, Quota, RateLimit, Timestamp, Window};
use std::time::Duration;

#[test]
fn what_changed_last_holds_in_the_code_or_at_run_time() {
    let medium = Medium::new();
    let rules = |limits: &[(&str, u64)]| {
        let mut builder = Engine::builder().clock(clock()).meter(Meter::sum("gpu", "gpu").id("m"));
        for (name, limit) in limits {
            builder = builder.rate_limit(RateLimit::new(*name, *limit, Window::Hour));
        }
        builder.durable(idle(&medium)).build()
    };
    let limits = |engine: &Engine| {
        let rules = engine.rules().rate_limits();
        rules.into_iter().map(|rule| (rule.name, rule.limit_value)).collect::<Vec<_>>()
    };
    let named = |engine: &Engine, name: &str| {
        let mut rules = engine.rules().rate_limits().into_iter();
        rules.find(|rule| rule.name == name).and_then(|rule| rule.id).expect("the rule's id")
    };
    let text = |pairs: &[(&str, u64)]| {
        pairs
            .iter()
            .map(|(name, limit)| ((*name).to_owned(), Some((*limit).into())))
            .collect::<Vec<_>>()
    };
    let engine = rules(&[("a", 1), ("b", 2), ("c", 3)]).expect("new");
    let a = named(&engine, "a");
    engine.rules().update(&a, RateLimitUpdate::new().limit(100)).expect("raised");
    engine.rules().remove(&named(&engine, "b")).expect("removed");
    engine.rules().add(RateLimit::new("d", 4, Window::Hour)).expect("added");
    drop(engine);
    // The same code: what was changed at run time stays.
    let engine = rules(&[("a", 1), ("b", 2), ("c", 3)]).expect("opens");
    assert_eq!(limits(&engine), text(&[("a", 100), ("c", 3), ("d", 4)]));
    assert_eq!((named(&engine, "a"), engine.meters().list().len()), (a.clone(), 1));
    drop(engine);
    // The code says otherwise of one and drops another.
    let engine = rules(&[("a", 7), ("b", 2), ("e", 5)]).expect("opens");
    assert_eq!(limits(&engine), text(&[("a", 7), ("d", 4), ("e", 5)]));
    assert_eq!(named(&engine, "a"), a);
    drop(engine);
    let why = rules(&[("a", u64::MAX)]).expect_err("a limit beyond all");
    assert!(matches!(why, BuildError::Invalid(_)), "{why:?}");
}

/// A minute that the code says by its seconds is read again as a minute, and is no change of it.
#[test]
fn what_the_code_says_in_another_way_is_no_change() {
    let medium = Medium::new();
    let open = |others: u64| {
        let minute = Window::Every(Duration::from_secs(60));
        let limits = RateLimit::new("a", 1, minute).id("a");
        let builder = Engine::builder().clock(clock()).rate_limit(limits);
        let other = RateLimit::new("b", others, Window::Hour);
        builder.rate_limit(other).durable(idle(&medium)).build().expect("a store that opens")
    };
    let raised = RateLimitUpdate::new().limit(100);
    open(1).rules().update("a", raised).expect("raised at run time");
    let engine = open(2);
    let limits: Vec<_> =
        engine.rules().rate_limits().iter().filter_map(|rule| rule.limit_value).collect();
    assert_eq!(limits, [100, 2]);
}

#[test]
fn a_limiter_that_records_nothing_survives_too() {
    let medium = Medium::new();
    let open = || {
        let builder = builder().recording(Recording::Off).durable(idle(&medium));
        builder.build().expect("a store that opens")
    };
    let engine = open();
    let first = engine.track(&call("a")).expect("allowed");
    let _ = engine.track(&call("b")).expect("allowed");
    assert!(first.event_id().is_none() && first.is_allowed());
    engine.store().close().expect("a working store");
    drop(engine);
    for number in 0..3 {
        let engine = open();
        assert_eq!((keys(&engine), used(&engine)), (0, 20 + number * 10));
        let again = engine.track(&call("a")).expect("known");
        assert!(again.is_replay());
        let texts = [&again, &first].map(|it| serde_json::to_string(it).expect("plain data"));
        assert_eq!(texts[0], texts[1]);
        let _ = engine.track(&call(&format!("c{number}"))).expect("allowed");
    }
}

#[test]
fn a_zone_an_anchor_and_a_length_outlive_a_restart() {
    let medium = Medium::new();
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let open = |now: &str| {
        let quota = Quota::new("Calls", Metric::TotalEvents, 100, Period::Week);
        let anchor = NaiveDate::from_ymd_opt(2024, 1, 4).expect("a date");
        let quota = quota.time_zone(Tz::Asia__Kolkata).anchor(anchor).every(2);
        let builder = Engine::builder().clock(ManualClock::new(at(now))).quota(quota);
        builder.durable(idle(&medium)).build().expect("opens")
    };
    let track = |engine: &Engine| {
        let decision = engine.track(&Event::new("c", "call")).expect("a good event");
        let quota = decision.quotas().next().expect("it matches");
        (quota.used, quota.reset)
    };
    // Two weeks from a Thursday, by the midnights of Kolkata.
    let end = Some(at("2024-05-22T18:30:00Z"));
    assert_eq!(track(&open("2024-05-09T12:00:00Z")), (Amount::from(1), end));
    let engine = open("2024-05-22T18:29:59Z");
    assert_eq!(track(&engine), (Amount::from(2), end));
    let kept = engine.rules().quotas().remove(0);
    assert_eq!(kept.time_zone, Some(Tz::Asia__Kolkata.into()));
    assert_eq!((kept.anchor, kept.every), (NaiveDate::from_ymd_opt(2024, 1, 4), Some(2)));
    drop(engine);
    assert_eq!(track(&open("2024-05-22T18:30:00Z")).0, Amount::from(1));
}
