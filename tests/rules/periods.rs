//! Goal: a quota's periods are those of its zone, run from its anchor and are as long as it says;
//! a quota that is cut otherwise goes on from what was used.
//!
//! Method: worked cases. What any rule and any event come to is the model's matter, which draws
//! such periods, and what any calendar comes to that of the calendar's own tests.

use chrono::NaiveDate;
use limitry::events::Recording;
use limitry::rules::QuotaUpdate;
use limitry::time::{ManualClock, TimeZone, Tz};
use limitry::{Engine, Event, Metric, Period, Quota, Timestamp};
use std::time::Duration;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).expect("a date")
}

fn calls(period: Period) -> Quota {
    Quota::new("Calls", Metric::TotalEvents, 100, period).id("q").per("customer_id")
}

/// Lets an event in; returns what is used of the quota and when it resets.
fn track(engine: &Engine) -> (u64, Option<Timestamp>) {
    let decision = engine.track(&Event::new("c", "call")).expect("a good event");
    let quota = decision.quotas().next().expect("it matches");
    let used = (1..=100).find(|used| quota.used == limitry::Amount::from(*used)).expect("a few");
    (used, quota.reset)
}

#[test]
fn resets_are_the_worked_numbers_of_the_product() {
    let new_york = |quota: Quota| quota.time_zone(Tz::America__New_York);
    let from = |quota: Quota, day| quota.anchor(day);
    let cases = [
        (new_york(calls(Period::Day)), "2024-03-10T12:00:00Z", "2024-03-11T04:00:00Z"),
        (new_york(calls(Period::Day)), "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z"),
        (
            from(new_york(calls(Period::Month)), date(2023, 12, 15)),
            "2024-03-01T00:00:00Z",
            "2024-03-15T04:00:00Z",
        ),
        (
            from(calls(Period::Month), date(2024, 1, 31)),
            "2024-02-29T00:00:00Z",
            "2024-03-31T00:00:00Z",
        ),
        (
            from(calls(Period::Week), date(2024, 5, 16)),
            "2024-05-15T23:59:59Z",
            "2024-05-16T00:00:00Z",
        ),
        (calls(Period::Month).every(3), "2024-05-15T00:00:00Z", "2024-07-01T00:00:00Z"),
        (calls(Period::Hour).every(6), "2024-05-15T13:00:00Z", "2024-05-15T18:00:00Z"),
    ];
    for (quota, now, reset) in cases {
        let clock = ManualClock::new(at(now));
        let builder = Engine::builder().recording(Recording::Off).clock(clock.clone());
        let engine = builder.quota(quota).build().expect("a good rule");
        assert_eq!(track(&engine), (1, Some(at(reset))), "{now}");
        assert_eq!(track(&engine), (2, Some(at(reset))), "{now}");
        clock.advance(Duration::from_nanos(1) + until(now, reset));
        assert_eq!(track(&engine).0, 1, "a new period after {reset}");
    }
}

fn until(from: &str, to: &str) -> Duration {
    Duration::from_secs((at(to).unix_seconds() - at(from).unix_seconds()).unsigned_abs())
}

#[test]
fn a_quota_that_is_cut_otherwise_goes_on_from_what_was_used() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let clock = ManualClock::new(at("2024-05-15T02:00:00Z"));
        let builder = Engine::builder().recording(recording).clock(clock.clone());
        let engine = builder.quota(calls(Period::Day)).build().expect("a good rule");
        let records = recording != Recording::Off;
        assert_eq!(track(&engine), (1, Some(at("2024-05-16T00:00:00Z"))));
        clock.advance(Duration::from_secs(3 * 3_600));
        assert_eq!(track(&engine), (2, Some(at("2024-05-16T00:00:00Z"))));
        // The day of New York began at 04:00, after the first event.
        let zone = TimeZone::from(Tz::America__New_York);
        engine.rules().update("q", QuotaUpdate::new().time_zone(zone)).expect("a good change");
        let used = if records { 2 } else { 3 };
        assert_eq!(track(&engine), (used, Some(at("2024-05-16T04:00:00Z"))));
        // Every two days from the anchor, the first of which is over.
        let update = QuotaUpdate::new().time_zone(None).anchor(date(2024, 5, 14)).every(2);
        engine.rules().update("q", update).expect("a good change");
        let used = if records { 4 } else { used + 1 };
        assert_eq!(track(&engine), (used, Some(at("2024-05-16T00:00:00Z"))));
    }
}
