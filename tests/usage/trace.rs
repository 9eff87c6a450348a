//! Goal: what the engine says of an hour of real traffic is what the trace's lines add up to, by
//! the minute, by the service, and in all.
//!
//! Method: the two traces of `tests/data` are recorded, merged in time or one after the other (so
//! that the whole of the second is late), with every event in the log or next to none. What is
//! expected comes from the text of the lines: the first 16 characters are the minute, and the two
//! numbers after the commas are added up.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use limitry::events::Recording;
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions, UsageQuery, UsageTotals};
use limitry::{Engine, Event, Meter};

const SERVICES: [(&str, &str); 2] = [
    ("code", include_str!("../data/AzureLLMInferenceTrace_code.csv")),
    ("conv", include_str!("../data/AzureLLMInferenceTrace_conv.csv")),
];

/// Calls, tokens in and tokens out.
type Sums = (u64, u128, u128);

/// A line of a trace.
#[derive(Clone, Copy)]
struct Line {
    service: &'static str,
    text: &'static str,
}

impl Line {
    fn fields(self) -> [&'static str; 3] {
        let fields: Vec<_> = self.text.split(',').collect();
        fields.try_into().expect("three fields")
    }

    /// As in the file: `2023-11-16 18:17`.
    fn minute(self) -> &'static str {
        &self.text[..16]
    }

    fn at(self) -> DateTime<Utc> {
        let [at, ..] = self.fields();
        format!("{}Z", at.replace(' ', "T")).parse().expect("a time")
    }

    fn tokens(self) -> (u64, u64) {
        let [_, input, output] = self.fields();
        (input.parse().expect("a number"), output.parse().expect("a number"))
    }
}

fn lines() -> Vec<Line> {
    let lines = SERVICES.iter().flat_map(|(service, text)| {
        text.lines().skip(1).map(|text| Line { service, text: text.trim_end() })
    });
    lines.collect()
}

/// What lines add up to, by any of their fields.
fn fold<K: Ord>(lines: &[Line], key: impl Fn(&Line) -> K) -> BTreeMap<K, Sums> {
    let mut sums: BTreeMap<K, Sums> = BTreeMap::new();
    for line in lines {
        let (calls, input, output) = sums.entry(key(line)).or_default();
        let tokens = line.tokens();
        *calls += 1;
        *input += u128::from(tokens.0);
        *output += u128::from(tokens.1);
    }
    sums
}

fn sums(totals: &UsageTotals) -> Sums {
    assert_eq!(totals.total_tokens, totals.total_input_tokens + totals.total_output_tokens);
    (totals.total_events, totals.total_input_tokens, totals.total_output_tokens)
}

/// An engine that has seen the lines in their order, at the time of the latest so far.
fn replay(lines: &[Line], recording: Recording) -> Engine {
    let clock = ManualClock::new(lines[0].at().into());
    let engine = Engine::builder()
        .clock(clock.clone())
        .recording(recording)
        .rollups(RollupOptions::new().dimension("service"))
        .meter(Meter::max("the longest question", "input_tokens").id("mtr_longest"))
        .build()
        .expect("a good meter");
    for (place, line) in lines.iter().enumerate() {
        clock.set(line.at().into());
        let (input, output) = line.tokens();
        let customer = format!("cust_{}", place % 50);
        let event = Event::new(customer, "model_call")
            .property("service", line.service)
            .input_tokens(input)
            .output_tokens(output)
            .timestamp(line.at());
        let _ = engine.record(&event).expect("a good event");
    }
    engine
}

/// The hours that both traces lie in.
fn hours() -> UsageQuery {
    let start = "2023-11-16T18:00:00Z".parse::<DateTime<Utc>>().expect("a time");
    UsageQuery::new(start, start + TimeDelta::hours(2))
}

fn compare(engine: &Engine, lines: &[Line]) {
    let usage = engine.usage();
    // By the minute, for each service and for both.
    for service in [None, Some("code"), Some("conv")] {
        let mut query = hours();
        let mut own = lines.to_vec();
        if let Some(service) = service {
            query = query.filter("service", service);
            own.retain(|line| line.service == service);
        }
        let expected = fold(&own, |line| line.minute());
        let series = usage.timeseries(&query, Interval::Minute).expect("two hours of minutes");
        assert!(series.covers.is_complete && series.points.len() == 120);
        for point in &series.points {
            // `2023-11-16T18:17:00Z` is `2023-11-16 18:17`.
            let minute = point.timestamp.to_string()[..16].replace('T', " ");
            let expected = expected.get(minute.as_str()).copied().unwrap_or_default();
            assert_eq!(sums(&point.totals), expected, "{service:?} {minute}");
        }
        let calls: u64 = expected.values().map(|(calls, ..)| calls).sum();
        let found = series.points.iter().map(|point| point.totals.total_events).sum::<u64>();
        assert_eq!(found, calls, "no minute is outside of the series");
    }
    // By the service.
    let by_service = usage.breakdown(&hours(), "service").expect("a declared dimension");
    let expected = fold(lines, |line| line.service);
    let found: BTreeMap<_, _> = by_service
        .rows
        .iter()
        .map(|row| (row.dimension.as_deref().expect("each has a service"), sums(&row.totals)))
        .collect();
    assert_eq!(found, expected);
    assert!(by_service.other.is_none() && by_service.covers.is_complete);
    // What is said of the data set: conv is much the busier.
    assert_eq!(found["conv"], (19_366, 22_361_870, 4_088_665));
    assert_eq!(found["code"], (8_819, 18_059_974, 245_896));
    assert_eq!(by_service.rows[0].dimension.as_deref(), Some("conv"));
    // In all.
    let summary = usage.summary(&UsageQuery::all_time()).expect("a summary");
    assert_eq!(sums(&summary.totals), (28_185, 40_421_844, 4_334_561));
    let longest = engine.meters().query("mtr_longest", &MeterQuery::new()).expect("a meter");
    let expected = lines.iter().map(|line| line.tokens().0).max().expect("lines");
    assert_eq!(longest.value, expected);
}

#[test]
fn a_merged_trace_adds_up() {
    let mut lines = lines();
    lines.sort_by_key(|line| line.at());
    compare(&replay(&lines, Recording::default()), &lines);
}

#[test]
fn a_trace_after_the_other_adds_up() {
    let lines = lines();
    compare(&replay(&lines, Recording::default()), &lines);
}

#[test]
fn the_roll_ups_alone_add_up() {
    let mut lines = lines();
    compare(&replay(&lines, Recording::Newest(1)), &lines);
    lines.sort_by_key(|line| line.at());
    compare(&replay(&lines, Recording::Newest(1)), &lines);
}

#[test]
fn ranges_between_the_minutes_add_up_too() {
    let mut lines = lines();
    lines.sort_by_key(|line| line.at());
    let engine = replay(&lines, Recording::default());
    // From the instant of every 997th call to that of another.
    let picked: Vec<_> = lines.iter().step_by(997).collect();
    for (first, last) in picked.iter().zip(picked.iter().skip(3)) {
        let (start, end) = (first.at(), last.at());
        let own: Vec<Line> =
            lines.iter().filter(|line| (start..end).contains(&line.at())).copied().collect();
        let query = UsageQuery::new(start, end);
        let by_service = engine.usage().breakdown(&query, "service").expect("rows");
        let found = by_service.rows.iter();
        let found: BTreeMap<_, _> = found
            .map(|row| (row.dimension.as_deref().expect("each has one"), sums(&row.totals)))
            .collect();
        assert_eq!(found, fold(&own, |line| line.service), "{start} to {end}");
    }
}
