//! Goal: the points of a time series begin where the days, weeks and months of people do, in
//! their time zone, across clock changes; none is missing, and none counts what is not in it.
//!
//! Method: worked numbers, each checked by hand. One event lies on each edge of the buckets in
//! question and one a nanosecond before, so that an edge that is off by anything is seen.

use std::time::Duration;

use crate::support::oracle::HOUR;
use crate::support::usage::instant;
use crate::support::{START, date, engine};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use limitry::errors::QueryError;
use limitry::events::Recording;
use limitry::usage::{Interval, MeterQuery, RollupOptions, UsageQuery, UsageTimeseries};
use limitry::{Engine, Event, Timestamp};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn day_of(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

/// An engine with an event of one token at each instant and one of a thousand a nanosecond before.
fn engine_with(edges: &[&str]) -> Engine {
    let last = edges.iter().map(|edge| at(edge)).max().expect("an edge");
    let now = last - DateTime::UNIX_EPOCH;
    let now = i128::from(now.num_seconds()) * crate::support::oracle::SECOND;
    let (engine, _) = crate::support::engine_at(now, |builder| builder);
    for edge in edges {
        let before = at(edge) - TimeDelta::nanoseconds(1);
        for (at, tokens) in [(at(edge), 1), (before, 1_000)] {
            let event = Event::new("cust_1", "model_call").total_tokens(tokens).timestamp(at);
            let _ = engine.record(&event).expect("a good event");
        }
    }
    engine
}

/// The start, the events and the tokens of each point.
fn points(series: &UsageTimeseries) -> Vec<(String, u64, u128)> {
    let point = |point: &limitry::usage::TimeseriesPoint| {
        let totals = &point.totals;
        (point.timestamp.to_string(), totals.total_events, totals.total_tokens)
    };
    series.points.iter().map(point).collect()
}

fn ask(engine: &Engine, query: &UsageQuery, interval: Interval) -> UsageTimeseries {
    let series = engine.usage().timeseries(query, interval).expect("a good question");
    assert!(series.covers.is_complete && series.points.iter().all(|point| point.is_complete));
    series
}

/// The buckets between the edges, each but the first and the last of 1 001 tokens: the event at
/// its start and the one just before its end.
fn assert_buckets(edges: &[&str], query: &UsageQuery, interval: Interval) {
    let series = ask(&engine_with(edges), query, interval);
    let expected: Vec<_> =
        edges[..edges.len() - 1].iter().map(|edge| ((*edge).to_owned(), 2, 1_001)).collect();
    assert_eq!(points(&series), expected, "{interval} {query:?}");
}

fn between(edges: &[&str]) -> UsageQuery {
    UsageQuery::new(at(edges[0]), at(edges[edges.len() - 1]))
}

#[test]
fn a_day_has_23_hours_when_clocks_go_forward() {
    let edges = [
        "2024-03-09T05:00:00Z",
        "2024-03-10T05:00:00Z",
        // 23 hours later.
        "2024-03-11T04:00:00Z",
        "2024-03-12T04:00:00Z",
    ];
    let query = between(&edges).time_zone(Tz::America__New_York);
    assert_buckets(&edges, &query, Interval::Day);
    // 23 hours of one event each are 23 points, however they are asked for.
    let (engine, _) = engine(|builder| builder);
    for hour in 0..48 {
        let stamp = at("2024-01-10T05:30:00Z") - TimeDelta::hours(hour);
        let _ = engine.record(&Event::new("c", "e").timestamp(stamp)).expect("a good event");
    }
    let whole = UsageQuery::new(at("2024-01-09T05:00:00Z"), at("2024-01-10T05:00:00Z"));
    let days = ask(&engine, &whole.clone().time_zone(Tz::America__New_York), Interval::Day);
    assert_eq!(points(&days), [("2024-01-09T05:00:00Z".to_owned(), 24, 0)]);
    assert_eq!(ask(&engine, &whole, Interval::Hour).points.len(), 24);
}

#[test]
fn a_day_has_25_hours_when_clocks_go_back() {
    let edges = [
        "2024-11-02T04:00:00Z",
        "2024-11-03T04:00:00Z",
        // 25 hours later.
        "2024-11-04T05:00:00Z",
        "2024-11-05T05:00:00Z",
    ];
    let query = between(&edges).time_zone(Tz::America__New_York);
    assert_buckets(&edges, &query, Interval::Day);
}

#[test]
fn the_hours_of_a_long_and_a_short_day_are_all_there() {
    for (start, end, hours) in [
        ("2024-03-10T05:00:00Z", "2024-03-11T04:00:00Z", 23),
        ("2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z", 25),
    ] {
        let (engine, _) = crate::support::engine_at(START + 9_000 * HOUR, |builder| builder);
        let mut hour = at(start);
        while hour < at(end) {
            let event = Event::new("c", "e").timestamp(hour + TimeDelta::minutes(59));
            let _ = engine.record(&event).expect("a good event");
            hour += TimeDelta::hours(1);
        }
        let day = UsageQuery::new(at(start), at(end)).time_zone(Tz::America__New_York);
        let by_hour = ask(&engine, &day, Interval::Hour);
        assert_eq!(by_hour.points.len(), hours);
        assert!(by_hour.points.iter().all(|point| point.totals.total_events == 1));
        let by_day = ask(&engine, &day, Interval::Day);
        assert_eq!(by_day.points.len(), 1);
        assert_eq!(by_day.points[0].totals.total_events, u64::try_from(hours).expect("few"));
    }
}

#[test]
fn months_start_on_the_anchors_day_in_the_zone() {
    let edges = [
        "2024-01-15T05:00:00Z",
        "2024-02-15T05:00:00Z",
        // Clocks went forward on the 10th.
        "2024-03-15T04:00:00Z",
        "2024-04-15T04:00:00Z",
    ];
    let query = between(&edges).time_zone(Tz::America__New_York).anchor(day_of("2023-07-15"));
    assert_buckets(&edges, &query, Interval::Month);
    // The one that holds 1 March, by its second.
    let holds = UsageQuery::new(at("2024-03-01T00:00:00Z"), at("2024-03-01T00:00:01Z"));
    let holds = holds.time_zone(Tz::America__New_York).anchor(day_of("2023-07-15"));
    let series = ask(&engine_with(&edges), &holds, Interval::Month);
    assert_eq!(points(&series), [("2024-02-15T05:00:00Z".to_owned(), 0, 0)]);
    assert_eq!(series.points[0].timestamp.unix_seconds(), 1_707_973_200);
}

#[test]
fn an_anchor_on_the_31st_is_the_last_day_of_short_months() {
    let edges = [
        "2023-10-31T00:00:00Z",
        "2023-11-30T00:00:00Z",
        "2023-12-31T00:00:00Z",
        "2024-01-31T00:00:00Z",
        "2024-02-29T00:00:00Z",
        "2024-03-31T00:00:00Z",
        "2024-04-30T00:00:00Z",
        "2024-05-31T00:00:00Z",
    ];
    assert_buckets(&edges, &between(&edges).anchor(day_of("2024-01-31")), Interval::Month);
    let edges = ["2023-01-30T00:00:00Z", "2023-02-28T00:00:00Z", "2023-03-30T00:00:00Z"];
    assert_buckets(&edges, &between(&edges).anchor(day_of("2024-06-30")), Interval::Month);
    // Nothing but months has an anchor.
    let edges = ["2024-02-05T00:00:00Z", "2024-02-12T00:00:00Z", "2024-02-19T00:00:00Z"];
    assert_buckets(&edges, &between(&edges).anchor(day_of("2024-01-31")), Interval::Week);
}

#[test]
fn months_without_an_anchor_start_on_the_first() {
    let edges = ["2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"];
    assert_buckets(&edges, &between(&edges), Interval::Month);
    let edges = ["2024-02-29T23:00:00Z", "2024-03-31T22:00:00Z", "2024-04-30T22:00:00Z"];
    let query = between(&edges).time_zone(Tz::Europe__Berlin);
    assert_buckets(&edges, &query, Interval::Month);
}

#[test]
fn weeks_start_on_monday() {
    // 2024-01-15 is a Monday.
    let edges = ["2024-01-01T00:00:00Z", "2024-01-08T00:00:00Z", "2024-01-15T00:00:00Z"];
    assert_buckets(&edges, &between(&edges), Interval::Week);
    // Over a clock change a week has 167 hours.
    let edges = ["2024-03-04T05:00:00Z", "2024-03-11T04:00:00Z", "2024-03-18T04:00:00Z"];
    let query = between(&edges).time_zone(Tz::America__New_York);
    assert_buckets(&edges, &query, Interval::Week);
    // A range that starts on a Wednesday begins with the whole week's point, and a part of it.
    let engine = engine_with(&["2024-01-10T00:00:00Z", "2024-01-15T00:00:00Z"]);
    let query = UsageQuery::new(at("2024-01-10T00:00:00Z"), at("2024-01-15T00:00:00.000000001Z"));
    let expected =
        [("2024-01-08T00:00:00Z".to_owned(), 2, 1_001), ("2024-01-15T00:00:00Z".to_owned(), 1, 1)];
    assert_eq!(points(&ask(&engine, &query, Interval::Week)), expected);
}

#[test]
fn days_of_zones_beside_the_full_hour() {
    for (zone, edges) in [
        (
            Tz::Asia__Kolkata,
            ["2024-01-14T18:30:00Z", "2024-01-15T18:30:00Z", "2024-01-16T18:30:00Z"],
        ),
        (
            Tz::Asia__Kathmandu,
            ["2024-01-14T18:15:00Z", "2024-01-15T18:15:00Z", "2024-01-16T18:15:00Z"],
        ),
        (
            Tz::America__St_Johns,
            ["2024-03-09T03:30:00Z", "2024-03-10T03:30:00Z", "2024-03-11T02:30:00Z"],
        ),
        // Half an hour forward: a day of 23 and a half hours.
        (
            Tz::Australia__Lord_Howe,
            ["2024-10-04T13:30:00Z", "2024-10-05T13:30:00Z", "2024-10-06T13:00:00Z"],
        ),
        // Clocks go from midnight to one: the day starts at one.
        (
            Tz::Africa__Cairo,
            ["2024-04-24T22:00:00Z", "2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z"],
        ),
        // A date that never was: 30 December 2011 in Samoa.
        (
            Tz::Pacific__Apia,
            ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"],
        ),
    ] {
        assert_buckets(&edges, &between(&edges).time_zone(zone), Interval::Day);
    }
}

#[test]
fn hours_and_minutes_are_those_of_utc_in_every_zone() {
    let edges = ["2024-01-15T10:00:00Z", "2024-01-15T11:00:00Z", "2024-01-15T12:00:00Z"];
    assert_buckets(&edges, &between(&edges).time_zone(Tz::Asia__Kolkata), Interval::Hour);
    let edges = ["2024-01-15T10:00:00Z", "2024-01-15T10:01:00Z", "2024-01-15T10:02:00Z"];
    assert_buckets(&edges, &between(&edges).time_zone(Tz::Asia__Kathmandu), Interval::Minute);
}

#[test]
fn every_bucket_is_there_where_nothing_happened_too() {
    let (engine, _) = engine(|builder| builder);
    let year = UsageQuery::new(at("2024-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z"));
    for (interval, count) in [
        (Interval::Hour, 366 * 24),
        (Interval::Day, 366),
        (Interval::Week, 53),
        (Interval::Month, 12),
    ] {
        for zone in [Tz::UTC, Tz::Asia__Tokyo] {
            let query = year.clone().time_zone(zone);
            let series = ask(&engine, &query, interval);
            // In Tokyo the year starts nine hours into a day, a week and a month.
            let more = usize::from(
                zone != Tz::UTC && interval != Interval::Hour && interval != Interval::Week,
            );
            assert_eq!(series.points.len(), count + more, "{interval} of {zone}");
            assert!(series.points.is_sorted_by(|a, b| a.timestamp < b.timestamp));
            assert!(series.points.iter().all(|point| point.totals.total_events == 0));
        }
    }
}

#[test]
fn the_start_is_in_the_range_and_the_end_is_not() {
    let engine = engine_with(&["2024-01-15T10:00:00.5Z"]);
    let tokens = |start: &str, end: &str| {
        let query = UsageQuery::new(at(start), at(end));
        let summary = engine.usage().summary(&query).expect("a summary").totals.total_tokens;
        let rows = engine.usage().breakdown(&query, "customer_id").expect("rows").rows;
        assert_eq!(rows.iter().map(|row| row.totals.total_tokens).sum::<u128>(), summary);
        let series = engine.usage().timeseries(&query, Interval::Minute).expect("a series");
        let points = series.points.iter().map(|point| point.totals.total_tokens);
        assert_eq!(points.sum::<u128>(), summary);
        summary
    };
    assert_eq!(tokens("2024-01-15T10:00:00.5Z", "2024-01-15T10:00:01Z"), 1);
    assert_eq!(tokens("2024-01-15T10:00:00.5Z", "2024-01-15T10:00:00.500000001Z"), 1);
    assert_eq!(tokens("2024-01-15T10:00:00.499999999Z", "2024-01-15T10:00:00.5Z"), 1_000);
    assert_eq!(tokens("2024-01-15T10:00:00.499999998Z", "2024-01-15T10:00:00.499999999Z"), 0);
    assert_eq!(tokens("2024-01-15T10:00:00.500000001Z", "2024-01-15T10:01:00Z"), 0);
    assert_eq!(tokens("2024-01-15T10:00:00Z", "2024-01-15T10:01:00Z"), 1_001);
    assert_eq!(tokens("2024-01-15T09:59:00Z", "2024-01-15T10:00:00Z"), 0);
}

#[test]
fn a_range_that_ends_where_it_starts_is_an_error() {
    let (engine, _) = engine(|builder| builder.meter(limitry::Meter::count("all").id("mtr_all")));
    let usage = engine.usage();
    let early = at("2024-01-15T10:00:00Z");
    for late in [early, early + TimeDelta::nanoseconds(1), early + TimeDelta::days(1)] {
        let query = UsageQuery::new(late, early);
        let expected = QueryError::EmptyRange { start: late.into(), end: early.into() };
        assert_eq!(usage.summary(&query), Err(expected.clone()));
        assert_eq!(usage.breakdown(&query, "model"), Err(expected.clone()));
        assert_eq!(usage.timeseries(&query, Interval::Day), Err(expected.clone()));
        let query = MeterQuery::new().between(late, early);
        assert_eq!(engine.meters().query("mtr_all", &query), Err(expected));
    }
    let why = usage.summary(&UsageQuery::new(early, early)).expect_err("empty").to_string();
    let times = "2024-01-15T10:00:00Z must be before end 2024-01-15T10:00:00Z";
    assert_eq!(why, format!("invalid date range: start {times}"));
}

#[test]
fn a_series_has_two_ends_and_at_most_a_hundred_thousand_points() {
    let (engine, _) = engine(|builder| builder);
    let usage = engine.usage();
    let all = UsageQuery::all_time();
    assert_eq!(usage.timeseries(&all, Interval::Month), Err(QueryError::Unbounded));
    for half in [r#"{"startDate":"2024-01-15T10:00:00Z"}"#, r#"{"endDate":"2024-01-15T10:00:00Z"}"#]
    {
        let half: UsageQuery = serde_json::from_str(half).expect("a question");
        assert_eq!(usage.timeseries(&half, Interval::Month), Err(QueryError::Unbounded));
        usage.summary(&half).expect("a summary needs no bounds");
    }
    let start = at("2024-01-15T10:00:00Z");
    let minutes = |count| UsageQuery::new(start, start + TimeDelta::minutes(count));
    let most = ask(&engine, &minutes(100_000), Interval::Minute);
    assert_eq!(most.points.len(), 100_000);
    let too_many = Err(QueryError::TooManyPoints { max: 100_000 });
    assert_eq!(usage.timeseries(&minutes(100_001), Interval::Minute), too_many);
    // A nanosecond more is a point more.
    let end = start + TimeDelta::minutes(100_000) + TimeDelta::nanoseconds(1);
    assert_eq!(usage.timeseries(&UsageQuery::new(start, end), Interval::Minute), too_many);
    let ever = UsageQuery::new(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    for interval in
        [Interval::Minute, Interval::Hour, Interval::Day, Interval::Week, Interval::Month]
    {
        assert_eq!(usage.timeseries(&ever, interval), too_many);
    }
    let end = DateTime::<Utc>::MAX_UTC;
    for zone in [Tz::UTC, Tz::Pacific__Kiritimati, Tz::Pacific__Pago_Pago] {
        let last = UsageQuery::new(end - TimeDelta::days(1), end).time_zone(zone);
        assert!(!ask(&engine, &last, Interval::Day).points.is_empty());
    }
}

#[test]
fn without_recording_there_is_nothing_to_ask() {
    let (engine, _) = engine(|builder| {
        builder.recording(Recording::Off).meter(limitry::Meter::count("all").id("mtr_all"))
    });
    let usage = engine.usage();
    let day = UsageQuery::new(at("2024-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"));
    assert_eq!(usage.summary(&day), Err(QueryError::RecordingOff));
    assert_eq!(usage.breakdown(&day, "model"), Err(QueryError::RecordingOff));
    assert_eq!(usage.timeseries(&day, Interval::Hour), Err(QueryError::RecordingOff));
    let value = engine.meters().query("mtr_all", &MeterQuery::new());
    assert_eq!(value, Err(QueryError::RecordingOff));
}

/// What is not in the roll-ups any more is not made up: points say how much of them is known.
#[test]
fn points_whose_minutes_are_gone_say_so() {
    let hours = |count: u64| Duration::from_secs(count * 3_600);
    let rollups = RollupOptions::new().keep_minutes(hours(1)).keep_hours(hours(2));
    let (engine, clock) =
        engine(|builder| builder.recording(Recording::Newest(1)).rollups(rollups));
    for _ in 0..10 {
        let _ = engine.record(&Event::new("c", "e")).expect("a good event");
        clock.advance(hours(1));
    }
    // From 10:30 to 19:30, asked at 20:30: hours are kept from 17:00 on. Of those before the log
    // knows whether it has dropped an event.
    let day = UsageQuery::new(at("2024-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"));
    let series = engine.usage().timeseries(&day, Interval::Hour).expect("a series");
    assert!(!series.covers.is_complete);
    let whole: Vec<bool> = series.points.iter().map(|point| point.is_complete).collect();
    let expected: Vec<bool> = (0..24).map(|hour| !(10..17).contains(&hour)).collect();
    assert_eq!(whole, expected);
    assert_eq!(
        series.covers.start.map(|start| date(instant(start))),
        Some(at("2024-01-15T00:00:00Z").into())
    );
    for (point, whole) in series.points.iter().zip(&whole) {
        let second = point.timestamp.unix_seconds() - START_SECOND;
        let happened = u64::from((0..10 * 3_600).contains(&(second + 1_800)));
        assert_eq!(point.totals.total_events, if *whole { happened } else { 0 });
    }
    // The day as a whole is kept.
    let summary = engine.usage().summary(&day).expect("a summary");
    assert!(summary.covers.is_complete);
    assert_eq!(summary.totals.total_events, 10);
}

const START_SECOND: i64 = 1_705_314_600;

/// Days are made of what is kept by the hour, in zones whose midnight is on no full hour, too: half
/// an hour (India, Iran, ...), a quarter (Nepal, Chatham, Eucla), and where clocks change by half
/// an hour (Lord Howe, on the 7th of April).
#[test]
fn days_of_every_zone_are_exact_for_as_long_as_hours_are_kept() {
    let (engine, clock) =
        crate::support::engine_at(START + 45 * 24 * HOUR, |it| it.recording(Recording::Newest(1)));
    // Each five minutes from the last day of February to the 24th of April.
    let first = at("2024-02-29T10:30:00Z");
    let events = 55 * 288;
    for number in 0..events {
        clock.set((first + TimeDelta::minutes(5 * number)).into());
        let event = Event::new("c", "e").input_tokens(u64::try_from(number).expect("a number"));
        let _ = engine.record(&event).expect("a good event");
    }
    for zone in [
        Tz::Asia__Kolkata,
        Tz::Asia__Kathmandu,
        Tz::Asia__Tehran,
        Tz::Asia__Kabul,
        Tz::Asia__Yangon,
        Tz::Australia__Adelaide,
        Tz::Australia__Lord_Howe,
        Tz::Australia__Eucla,
        Tz::Pacific__Chatham,
        Tz::Pacific__Marquesas,
        Tz::America__St_Johns,
        Tz::America__New_York,
        Tz::UTC,
    ] {
        let midnight = |day: u32| {
            let day = day_of("2024-03-02") + TimeDelta::days(day.into());
            date(crate::support::fold::beginning(day, zone))
        };
        let query = UsageQuery::new(midnight(0), midnight(44)).time_zone(zone);
        let series = ask(&engine, &query, Interval::Day);
        assert_eq!(series.points.len(), 44, "{zone}");
        for (day, point) in (0..).zip(&series.points) {
            let is_in = |number: &i64| {
                let at = Timestamp::from(first + TimeDelta::minutes(5 * number));
                midnight(day) <= at && at < midnight(day + 1)
            };
            let numbers: Vec<i64> = (0..events).filter(is_in).collect();
            let sum = numbers.iter().map(|number| u128::try_from(*number).expect("a number")).sum();
            let found = (point.totals.total_events, point.totals.total_input_tokens);
            assert_eq!(found, (numbers.len() as u64, sum), "{zone}, day {day}");
        }
        let month = UsageQuery::new(midnight(0), midnight(30));
        let summary = engine.usage().summary(&month).expect("a summary");
        assert!(summary.covers.is_complete, "{zone}");
    }
}
