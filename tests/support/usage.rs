//! Between the plain events of the fold and the crate: drawing events, writing them down as the
//! crate's, and reading its answers.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::NaiveDate;
use chrono_tz::Tz;
use limitry::usage::{Coverage, Interval, MeterQuery, UsageBreakdown, UsageQuery, UsageTotals};
use limitry::{Amount, Event, Meter, Timestamp};
use serde_json::json;

use super::fold::{ALWAYS, Aggregate, BucketLength, Selection, Sums, UsageEvent};
use super::oracle::{Nanos, Prop, SECOND};
use super::{Dice, date};

/// The dimensions that drawn events have, and one that none has.
pub const DIMENSIONS: [&str; 7] =
    ["customer_id", "event_type", "model", "provider", "team_id", "tier", "nobody"];
/// The values that drawn events have, and one that none has.
pub const VALUES: [&str; 10] = [
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cost_cents",
    "latency_ms",
    "images",
    "gpu_seconds",
    "balance",
    "agents",
    "nothing",
];

/// Draws what an event says, of one of so many customers; some are much busier than others.
pub fn draw_fact(dice: &mut Dice, customers: u64) -> UsageEvent {
    let customer = dice.below(customers).min(dice.below(customers));
    let mut usage_event = UsageEvent {
        customer: format!("cust_{customer}"),
        event_type: dice.pick(&["model_call", "embedding", "tool_call"]).to_owned(),
        ..UsageEvent::default()
    };
    let mut maybe = |percent, dimension: &str| {
        let value = draw_value(dice, dimension, customers);
        dice.chance(percent).then_some(value)
    };
    usage_event.model = maybe(85, "model");
    usage_event.provider = maybe(60, "provider");
    let texts = [("team_id", maybe(50, "team_id")), ("tier", maybe(30, "tier"))];
    let texts = texts.into_iter().filter_map(|(key, value)| Some((key, Prop::Text(value?))));
    let mut props: BTreeMap<&str, Prop> = texts.collect();
    // What is not a text is no dimension, and a built-in one wins over a property of its name.
    match dice.below(12) {
        0 => drop(props.insert("team_id", Prop::Number(7))),
        1 => drop(props.insert("tier", Prop::Flag(true))),
        2 => drop(props.insert("model", Prop::Text("model_0".into()))),
        3 => drop(props.insert("customer_id", Prop::Text("cust_0".into()))),
        _ => {}
    }
    usage_event.props = props.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    draw_values(dice, &mut usage_event);
    usage_event
}

fn draw_values(dice: &mut Dice, usage_event: &mut UsageEvent) {
    let mut maybe = |percent, most| dice.chance(percent).then(|| dice.range(0, most));
    usage_event.input = maybe(60, 2_000);
    usage_event.output = maybe(50, 500);
    usage_event.total = maybe(20, 3_000);
    let cost = maybe(50, 40);
    usage_event.latency = maybe(40, 9_000);
    // Most are whole cents; some parts of one, some given back, and a few that wrap 64 bits.
    usage_event.cost = cost.map(|cents| {
        let cents = i128::from(cents) * 1_000_000;
        match dice.below(20) {
            0..5 => cents / 40 + i128::from(dice.below(1_000_000)),
            5..8 => -cents - i128::from(dice.below(3)),
            8 => 1_000_000_000_000_000 * 1_000_000 - cents,
            9 => cents - 1_000_000_000_000_000 * 1_000_000,
            _ => cents,
        }
    });
    if dice.chance(2) {
        usage_event.total = Some(1_000_000_000_000_000);
    }
    for (name, percent, least, most) in [
        ("images", 30, 0, 5_000_000),
        ("gpu_seconds", 20, 0, 99_999_999),
        ("balance", 15, -3_000_000, 1_000_000),
        ("agents", 15, 1_000_000, 20_000_000),
    ] {
        if dice.chance(percent) {
            let span: i128 = most - least;
            let drawn = dice.below(u64::try_from(span).expect("a span") + 1);
            usage_event.named.insert(name.to_owned(), least + i128::from(drawn));
        }
    }
}

/// Draws a value that events have of a dimension.
pub fn draw_value(dice: &mut Dice, dimension: &str, customers: u64) -> String {
    let (name, count) = match dimension {
        "customer_id" => ("cust", customers),
        "event_type" => return dice.pick(&["model_call", "embedding", "tool_call"]).to_owned(),
        "model" => ("model", 5),
        "provider" => ("provider", 2),
        "team_id" => ("team", 6),
        other => (other, 3),
    };
    format!("{name}_{}", dice.below(count))
}

/// Draws up to three pairs, some of which no event has and some of which contradict each other.
pub fn draw_pairs(dice: &mut Dice, customers: u64) -> Vec<(String, String)> {
    let count = dice.below(4);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for _ in 0..count {
        let dimension = dice.pick(&DIMENSIONS);
        let value = match dice.below(20) {
            0 => "unheard_of".to_owned(),
            _ => draw_value(dice, dimension, customers),
        };
        // A question has one place for a pair, and a second one for some of the built-in.
        let taken = pairs.iter().filter(|(name, _)| name == dimension).count();
        if taken == 0 || (taken == 1 && dimension == "customer_id") {
            pairs.push((dimension.to_owned(), value));
        }
    }
    pairs
}

/// The event that says so, without a time and a key.
pub fn event(usage_event: &UsageEvent) -> Event<'static> {
    let mut event = Event::new(usage_event.customer.clone(), usage_event.event_type.clone());
    for (key, value) in &usage_event.props {
        event = match value {
            Prop::Text(text) => event.property(key.clone(), text.clone()),
            Prop::Number(number) => event.property(key.clone(), *number),
            Prop::Flag(flag) => event.property(key.clone(), *flag),
        };
    }
    if let Some(model) = &usage_event.model {
        event = event.model(model.clone());
    }
    if let Some(provider) = &usage_event.provider {
        event = event.provider(provider.clone());
    }
    for (name, number) in [
        ("input_tokens", usage_event.input),
        ("output_tokens", usage_event.output),
        ("total_tokens", usage_event.total),
        ("latency_ms", usage_event.latency),
    ] {
        if let Some(number) = number {
            event = event.value(name, number);
        }
    }
    if let Some(millionths) = usage_event.cost {
        event = event.cost_cents(Amount::from_millionths(millionths));
    }
    for (name, millionths) in &usage_event.named {
        event = event.value(name.clone(), Amount::from_millionths(*millionths));
    }
    event
}

/// An instant of the crate's, in nanoseconds.
pub fn instant(timestamp: Timestamp) -> Nanos {
    Nanos::from(timestamp.unix_seconds()) * SECOND + Nanos::from(timestamp.subsec_nanos())
}

/// The sums that an answer says; every value has one here.
pub fn sums(totals: &UsageTotals) -> Sums {
    assert_eq!(totals.other_values, 0, "there are few names: {totals:?}");
    let values = totals.values.iter().map(|(name, sum)| (name.clone(), sum.millionths()));
    Sums {
        events: totals.total_events,
        tokens: totals.total_tokens,
        input: totals.total_input_tokens,
        output: totals.total_output_tokens,
        cost: totals.total_cost_cents.millionths(),
        values: values.collect(),
    }
}

/// The sums of all rows of a breakdown, and of the others.
pub fn sums_of_rows(answer: &UsageBreakdown) -> Sums {
    let rows = answer.rows.iter().map(|row| &row.totals).chain(&answer.other);
    Sums::of_all(&rows.map(sums).collect::<Vec<_>>())
}

/// The time that an answer covers.
pub fn covered(covers: &Coverage) -> Range<Nanos> {
    covers.start.map_or(ALWAYS.start, instant)..covers.end.map_or(ALWAYS.end, instant)
}

pub fn interval(bucket_length: BucketLength) -> Interval {
    match bucket_length {
        BucketLength::Minute => Interval::Minute,
        BucketLength::Hour => Interval::Hour,
        BucketLength::Day => Interval::Day,
        BucketLength::Week => Interval::Week,
        BucketLength::Month => Interval::Month,
    }
}

/// The question, which says the first pair of a name by the name's own setter where there is one.
pub fn usage_query(selection: &Selection, zone: Tz, anchor: Option<NaiveDate>) -> UsageQuery {
    let Range { start, end } = selection.range;
    let mut query = match (start > ALWAYS.start, end < ALWAYS.end) {
        (true, true) => UsageQuery::new(date(start), date(end)),
        (false, false) => UsageQuery::all_time(),
        (true, false) => read(&json!({ "startDate": date(start) })),
        (false, true) => read(&json!({ "endDate": date(end) })),
    };
    for (place, (name, value)) in selection.pairs.iter().enumerate() {
        let is_first = selection.pairs[..place].iter().all(|(known, _)| known != name);
        query = match name.as_str() {
            "customer_id" if is_first => query.customer(value),
            // Either way means the same.
            "event_type" if value.len() % 2 == 0 => query.event_type(value),
            "model" if value.ends_with(['0', '2']) => query.model(value),
            _ => query.filter(name, value),
        };
    }
    if zone != Tz::UTC {
        query = query.time_zone(zone);
    }
    anchor.into_iter().fold(query, UsageQuery::anchor)
}

fn read(question: &serde_json::Value) -> UsageQuery {
    serde_json::from_value(question.clone()).expect("a question")
}

pub fn meter_query(selection: &Selection) -> MeterQuery {
    let Range { start, end } = selection.range;
    let mut query = match (start > ALWAYS.start, end < ALWAYS.end) {
        (true, true) => MeterQuery::new().between(date(start), date(end)),
        (false, false) => MeterQuery::new(),
        (true, false) => MeterQuery::new().since(date(start)),
        (false, true) => MeterQuery::new().until(date(end)),
    };
    for (place, (name, value)) in selection.pairs.iter().enumerate() {
        let is_first = selection.pairs[..place].iter().all(|(known, _)| known != name);
        query = match name.as_str() {
            "customer_id" if is_first => query.customer(value),
            _ => query.dimension(name, value),
        };
    }
    query
}

/// The meter of a figure, without its id.
pub fn meter(aggregate: Aggregate, of: &str, pairs: &[(String, String)]) -> Meter {
    let meter = match aggregate {
        Aggregate::Count => Meter::count("a meter"),
        Aggregate::Sum => Meter::sum("a meter", of),
        Aggregate::Max => Meter::max("a meter", of),
        Aggregate::Min => Meter::min("a meter", of),
        Aggregate::Latest => Meter::latest("a meter", of),
        Aggregate::Average => Meter::avg("a meter", of),
        Aggregate::Unique => Meter::unique("a meter", of),
        Aggregate::Percentile(percent) => {
            let percentile = percent.to_string().parse().expect("a percentage");
            Meter::percentile("a meter", of, percentile)
        }
    };
    pairs.iter().fold(meter, |meter, (name, value)| meter.filter(name, value))
}
