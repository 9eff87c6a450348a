//! Goal: a store that goes by other settings than the last time, or that has dropped what was old,
//! says what it has: it answers nothing from what is gone, and calls nothing damaged that is whole.
//!
//! Method: engines on a medium in memory, closed and opened again, and a clock that is set by hand.

use std::time::Duration;

use limitry::events::Recording;
use limitry::rules::{MeterUpdate, RateLimitUpdate};
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::usage::{RollupOptions, UsageQuery};
use limitry::{Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RateLimit, Window};

use crate::support::clock;
use crate::support::medium::Medium;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = HOUR.saturating_mul(24);

fn builder(hands: &ManualClock) -> EngineBuilder {
    Engine::builder()
        .clock(hands.clone())
        .rate_limit(RateLimit::new("calls", 1_000, Window::Hour).per("customer_id"))
        .quota(Quota::new("tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id"))
}

fn store(medium: &Medium) -> Durable {
    Durable::open_on(medium.clone()).expect("a store").durability(Durability::Synced)
}

/// The newest checkpoint may be of a time at which memory had what the store dropped since.
#[test]
fn what_the_store_has_dropped_is_missed() {
    let (medium, hands) = (Medium::new(), clock());
    let open = || {
        let store = store(&medium).retention(2 * DAY);
        builder(&hands).durable(store).build().expect("a store that opens")
    };
    let event = Event::new("cust_1", "model_call").property("region", "eu");
    let asked = |engine: &Engine| {
        // The roll-ups know nothing of regions: it is the events that answer.
        let query = UsageQuery::all_time().filter("region", "eu");
        let summary = engine.usage().summary(&query).expect("a good question");
        (summary.totals.total_events, summary.covers.is_complete)
    };
    let engine = open();
    let _ = engine.track(&event).expect("allowed");
    hands.advance(4 * HOUR);
    let _ = engine.track(&event).expect("allowed");
    engine.store().close().expect("a working store");
    drop(engine);
    let engine = open();
    assert_eq!(asked(&engine), (2, true));
    hands.advance(5 * DAY);
    let _ = engine.track(&event).expect("allowed");
    assert_eq!(asked(&engine), (3, true));
    // Once without a checkpoint of after the dropping, and once with one.
    drop(engine);
    for _ in 0..2 {
        let engine = open();
        assert_eq!(asked(&engine), (1, false));
        engine.store().close().expect("a working store");
    }
}

/// How long sums are kept, and how many values have some, may have been otherwise when they came.
#[test]
fn sums_that_went_by_other_settings_are_no_damage() {
    let (medium, hands) = (Medium::new(), clock());
    let open = |values: usize, days: u32| {
        let rollups = RollupOptions::new().max_values(values);
        let rollups = rollups.keep_minutes(HOUR).keep_hours(DAY).keep_days(days * DAY);
        let builder = builder(&hands).rollups(rollups).durable(store(&medium));
        builder.build().expect("a store that opens")
    };
    let engine = open(3, 2);
    for number in 0..9 {
        let customer = format!("cust_{number}");
        let _ =
            engine.track(&Event::new(&customer, "model_call").total_tokens(1)).expect("allowed");
        hands.advance(12 * HOUR);
    }
    assert!(engine.store().verify(|_| ()).expect("a good store").is_complete);
    engine.store().close().expect("a working store");
    drop(engine);
    for (values, days) in [(3, 2), (100, 2), (2, 30), (100, 1), (3, 3)] {
        let engine = open(values, days);
        for _ in 0..2 {
            let report = engine.store().verify(|_| ());
            assert!(report.expect("a good store").is_complete, "{values} values, {days} days");
            let _ = engine
                .track(&Event::new("cust_20", "model_call").total_tokens(1))
                .expect("allowed");
        }
        engine.store().close().expect("a working store");
    }
}

/// An event that was let in late is right, also where it would be too late by now.
#[test]
fn late_events_that_would_be_refused_now_are_no_damage() {
    let (medium, hands) = (Medium::new(), clock());
    let open = |late: Duration| {
        let builder = builder(&hands).late_events(late).durable(store(&medium));
        builder.build().expect("a store that opens")
    };
    let event = Event::new("cust_1", "model_call").total_tokens(10);
    let engine = open(2 * DAY);
    let first = event.timestamp(engine.now());
    let event = Event::new("cust_1", "model_call").total_tokens(10);
    let _ = engine.track(&event).expect("allowed");
    hands.advance(DAY);
    let _ = engine.track(&event).expect("allowed");
    let late = engine.track(&first).expect("allowed");
    assert_eq!(late.quotas().next().map(|quota| quota.used.to_u64_ceil()), Some(20));
    engine.store().close().expect("a working store");
    drop(engine);
    for late in [HOUR, 2 * DAY] {
        let engine = open(late);
        assert!(engine.store().verify(|_| ()).expect("a good store").is_complete);
    }
}

/// Counters that were dropped when late events were taken for less are not begun again.
#[test]
fn a_period_that_was_over_stays_over_when_late_events_are_taken_for_longer() {
    for recording in [Recording::Newest(100), Recording::Off] {
        let (medium, hands) = (Medium::new(), clock());
        let open = |late: Duration| {
            let builder = builder(&hands).late_events(late).recording(recording);
            builder.durable(store(&medium)).build().expect("a store that opens")
        };
        let call = |tokens| Event::new("cust_1", "model_call").total_tokens(tokens);
        let engine = open(HOUR);
        let first = engine.now();
        // A day is used up, and most of the next, on which its counter goes.
        for tokens in [1_000, 900] {
            assert!(engine.track(&call(tokens)).expect("valid").is_allowed());
            hands.advance(DAY);
        }
        engine.store().close().expect("a working store");
        drop(engine);
        for life in 0..3 {
            let engine = open(3 * DAY);
            let late = engine.track(&call(10).timestamp(first));
            assert!(!late.is_ok_and(|late| late.is_allowed()), "{recording:?}, life {life}");
            // The one that was not over is open for as long as is said now.
            let late = engine.track(&call(30).timestamp(first + DAY)).expect("valid");
            assert_eq!(
                late.quotas().next().map(|quota| quota.used.to_u64_ceil()),
                Some(930 + life * 30)
            );
            engine.store().verify(|_| ()).expect("a good store");
            if life == 1 {
                engine.store().close().expect("a working store");
            }
        }
    }
}

/// What run time has added goes with whatever the code says next.
#[test]
fn rules_of_one_name_and_meters_in_use_do_not_keep_a_store_from_opening() {
    let (medium, hands) = (Medium::new(), clock());
    let open = |with_meter: bool, limit: u64| {
        let calls = RateLimit::new("calls", limit, Window::Hour).per("customer_id");
        let mut builder = Engine::builder().clock(hands.clone()).rate_limit(calls);
        if with_meter {
            builder = builder.meter(Meter::sum("gpu", "gpu_seconds").id("gpu"));
        }
        builder.durable(store(&medium)).build().expect("a store that opens")
    };
    let event = || Event::new("cust_1", "model_call").value("gpu_seconds", 2_u64);
    let engine = open(true, 10);
    engine.rules().add(RateLimit::new("calls", 5, Window::Hour)).expect("a second of that name");
    let gpu = Quota::new("gpu", Metric::Meter("gpu".into()), 9, Period::Day);
    engine.rules().add(gpu).expect("a quota of the meter");
    let _ = engine.track(&event()).expect("allowed");
    drop(engine);
    // The code gives the meter up and changes its own rule.
    let engine = open(false, 20);
    let limits: Vec<_> =
        engine.rules().rate_limits().iter().filter_map(|rule| rule.limit_value).collect();
    assert_eq!((limits, engine.meters().list().len()), (vec![20.into(), 5.into()], 1));
    for allowed in 2..=4 {
        let decision = engine.track(&event()).expect("valid");
        let used = decision.quotas().next().map(|quota| quota.used.to_u64_ceil());
        assert_eq!((decision.is_allowed(), used), (true, Some(allowed * 2)));
    }
    assert!(!engine.track(&event()).expect("valid").is_allowed(), "8 of 9 are used");
    drop(engine);
    assert_eq!(open(false, 20).rules().rate_limits().len(), 2);
}

/// A rule or a meter that has another name is the one of its id, whoever has renamed it.
#[test]
fn what_is_renamed_does_not_keep_a_store_from_opening() {
    let (medium, hands) = (Medium::new(), clock());
    let open = |limit: (&str, u64), meter: &str| {
        let builder = Engine::builder()
            .clock(hands.clone())
            .rate_limit(RateLimit::new(limit.0, limit.1, Window::Hour).id("calls"))
            .meter(Meter::sum(meter, "gpu_seconds").id("gpu"))
            .quota(Quota::new("gpu", Metric::Meter("gpu".into()), 100, Period::Day));
        builder.durable(store(&medium)).build().expect("a store that opens")
    };
    let named = |engine: &Engine| {
        let limits: Vec<_> = engine
            .rules()
            .rate_limits()
            .into_iter()
            .map(|rule| (rule.name, rule.limit_value))
            .collect();
        let meters: Vec<_> = engine.meters().list().into_iter().map(|meter| meter.name).collect();
        let event = Event::new("cust_1", "model_call").value("gpu_seconds", 2_u64);
        let used = engine
            .track(&event)
            .expect("valid")
            .quotas()
            .next()
            .map(|quota| quota.used.to_u64_ceil());
        (limits, meters, used)
    };
    let text = |limit: (&str, u64), meter: &str, used: u64| {
        (vec![(limit.0.to_owned(), Some(limit.1.into()))], vec![meter.to_owned()], Some(used))
    };
    let engine = open(("calls", 10), "gpu");
    assert_eq!(named(&engine), text(("calls", 10), "gpu", 2));
    drop(engine);
    // In the code.
    let engine = open(("calls an hour", 20), "gpu seconds");
    assert_eq!(named(&engine), text(("calls an hour", 20), "gpu seconds", 4));
    // At run time; the code changes nothing of it, and then one of both.
    let update = RateLimitUpdate::new().name("calls of all");
    engine.rules().update("calls", update.limit(30)).expect("it is there");
    engine.meters().update("gpu", MeterUpdate::new().name("seconds")).expect("it is there");
    drop(engine);
    let engine = open(("calls an hour", 20), "gpu seconds");
    assert_eq!(named(&engine), text(("calls of all", 30), "seconds", 6));
    drop(engine);
    let engine = open(("calls an hour", 40), "gpu seconds");
    assert_eq!(named(&engine), text(("calls an hour", 40), "seconds", 8));
    assert!(engine.store().verify(|_| ()).expect("a good store").is_complete);
}

/// A rule without an id has the one that its name made, after any number of starts; renamed at run
/// time it is still the one that the code means, and keeps what was used.
#[test]
fn an_id_that_a_name_made_outlives_starts_and_a_rename() {
    let (medium, hands) = (Medium::new(), clock());
    let open = |limit: u64| {
        let rule = RateLimit::new("All calls", limit, Window::Hour);
        let builder = Engine::builder().clock(hands.clone()).rate_limit(rule);
        builder.durable(store(&medium)).build().expect("a store that opens")
    };
    let known = |engine: &Engine| {
        let rule = engine.rules().rate_limits().pop().expect("one");
        assert_eq!(engine.rules().rate_limits().len(), 1);
        let decision = engine.track(&Event::new("cust_1", "model_call")).expect("valid");
        let limit = rule.limit_value.expect("a limit");
        let left = limit.saturating_sub(1.into());
        assert!(decision.rate_limits().all(|status| status.remaining == left));
        (rule.id.expect("made"), rule.name, limit)
    };
    let text = |name: &str, limit: u64| ("rl_all_calls".to_owned(), name.to_owned(), limit.into());
    for _ in 0..2 {
        assert_eq!(known(&open(10)), text("All calls", 10));
        hands.advance(HOUR);
    }
    let engine = open(10);
    let update = RateLimitUpdate::new().name("calls of all");
    engine.rules().update("rl_all_calls", update).expect("it is there");
    assert_eq!(known(&engine), text("calls of all", 10));
    drop(engine);
    hands.advance(HOUR);
    assert_eq!(known(&open(10)), text("calls of all", 10));
    hands.advance(HOUR);
    // The code's word is the newer one: of the rule as the code calls it.
    assert_eq!(known(&open(20)), text("All calls", 20));
}
