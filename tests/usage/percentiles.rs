//! Goal: a percentile is within 1 % of the exact one, for any range and dimension, and stays so
//! over a store that is closed, an import, an erasure and rows that are retired; a meter that comes
//! later has the events of before; no rule counts one.
//!
//! Method: events drawn over nine powers of two and of both signs, beside a sorted list; the same
//! questions to each engine that has the same events.

use std::time::Duration;

use crate::support::{START, date};
use limitry::events::EventQuery;
use limitry::rules::{Aggregation, Percentile};
use limitry::store::{BadLines, Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions};
use limitry::{Amount, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, Timestamp};

const PERCENTILES: [&str; 6] = ["p0", "p50", "p90", "p95", "p99.9", "p100"];
const EVENTS: u64 = 3_000;

fn percentile(text: &str) -> Percentile {
    text.parse().expect("a percentage")
}

fn meters(builder: EngineBuilder) -> EngineBuilder {
    PERCENTILES.iter().fold(builder, |builder, text| {
        let id = text.replace('.', "_");
        builder.meter(Meter::percentile(*text, "saved", percentile(text)).id(id))
    })
}

/// The customer and the amount of an event.
fn drawn(number: u64) -> (&'static str, Amount) {
    let bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let size = i128::from((64 + (bits >> 58)) << (bits >> 40 & 7));
    let sign = [1, 1, 1, -1, 0][usize::try_from(bits >> 20 & 0xff).expect("a byte") % 5];
    let customer = ["a", "b", "c"][usize::try_from(bits >> 10 & 0xff).expect("a byte") % 3];
    (customer, Amount::from_millionths(size * sign * 12_345))
}

fn record(engine: &Engine, clock: &ManualClock, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let (customer, amount) = drawn(number);
        let _ = engine.record(&Event::new(customer, "e").value("saved", amount)).expect("good");
        clock.advance(Duration::from_secs(7));
    }
}

fn exact(mut amounts: Vec<Amount>, text: &str) -> Amount {
    amounts.sort_unstable();
    let parts: u64 = match text {
        "p99.9" => 999,
        whole => 10 * whole[1..].parse::<u64>().expect("a number"),
    };
    let rank = (amounts.len() as u64 * parts).div_ceil(1_000).max(1);
    amounts[usize::try_from(rank).expect("a few") - 1]
}

fn assert_near(found: Amount, exact: Amount, what: &str) {
    let off = (found.millionths() - exact.millionths()).abs();
    assert!(off * 100 <= exact.millionths().abs(), "{what}: {found} and {exact}");
}

fn assert_tells(engine: &Engine, query: &MeterQuery, amounts: &[Amount]) {
    for text in PERCENTILES {
        let id = text.replace('.', "_");
        let found = engine.meters().query(&id, query).expect("a value");
        assert_eq!(found.aggregation, Aggregation::Percentile(percentile(text)));
        assert!(found.covers.is_complete);
        assert_near(found.value, exact(amounts.to_vec(), text), text);
    }
}

fn amounts(numbers: std::ops::Range<u64>, customer: Option<&str>) -> Vec<Amount> {
    let drawn = numbers.map(drawn).filter(|(of, _)| customer.is_none_or(|wanted| wanted == *of));
    drawn.map(|(_, amount)| amount).collect()
}

fn at(number: u64) -> Timestamp {
    date(START) + Duration::from_secs(7 * number)
}

/// Everything, one customer, and a range whose ends are in no bucket's ends.
fn assert_tells_all(engine: &Engine) {
    assert_tells(engine, &MeterQuery::new(), &amounts(0..EVENTS, None));
    assert_tells(engine, &MeterQuery::new().customer("b"), &amounts(0..EVENTS, Some("b")));
    let range = MeterQuery::new().between(at(101), at(2_803));
    assert_tells(engine, &range, &amounts(101..2_803, None));
    assert_tells(engine, &range.customer("a"), &amounts(101..2_803, Some("a")));
}

fn fresh() -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(START));
    let engine = meters(Engine::builder().clock(clock.clone())).build().expect("no rules");
    (engine, clock)
}

#[test]
fn percentiles_are_within_their_error_and_come_back() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
    let open = || {
        let store = store.open().expect("nobody has it").durability(Durability::Synced);
        let builder = Engine::builder().clock(clock.clone()).durable(store);
        meters(builder).build().expect("opens")
    };
    let engine = open();
    record(&engine, &clock, 0..1_900);
    engine.store().close().expect("closes");
    drop(engine);
    let engine = open();
    record(&engine, &clock, 1_900..EVENTS);
    assert_tells_all(&engine);
    engine.store().close().expect("closes");
    drop(engine);
    let engine = open();
    assert_tells_all(&engine);

    let mut lines = Vec::new();
    engine.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("written");
    let (other, _) = fresh();
    let _report = other.store().import(&*lines, BadLines::Stop, |_| {}).expect("good lines");
    assert_tells_all(&other);
}

#[test]
fn windows_and_groups_have_percentiles_of_their_own() {
    let (engine, clock) = fresh();
    record(&engine, &clock, 0..EVENTS);
    let query = MeterQuery::new().between(at(0), at(EVENTS)).interval(Interval::Hour);
    let answer = engine.meters().rows("p90", &query.group_by("customer_id")).expect("rows");
    assert_eq!(answer.rows.len(), 3);
    for row in &answer.rows {
        let customer = row.group["customer_id"].as_deref();
        assert_near(row.value, exact(amounts(0..EVENTS, customer), "p90"), "p90");
        for window in &row.windows {
            let is_in = |number: &u64| (window.start..window.end).contains(&at(*number));
            let numbers = (0..EVENTS).filter(is_in).map(drawn);
            let of = numbers.filter(|(of, _)| Some(*of) == customer).map(|(_, amount)| amount);
            assert_near(window.value, exact(of.collect(), "p90"), "p90 of an hour");
        }
    }
}

#[test]
fn an_erased_customers_amounts_count_on_for_nobody() {
    let (engine, clock) = fresh();
    record(&engine, &clock, 0..EVENTS);
    engine.customers().erase("b").expect("erased");
    assert_tells(&engine, &MeterQuery::new(), &amounts(0..EVENTS, None));
    assert_tells(&engine, &MeterQuery::new().customer("a"), &amounts(0..EVENTS, Some("a")));
    let gone = engine.meters().query("p95", &MeterQuery::new().customer("b")).expect("a value");
    assert_eq!(gone.value, Amount::ZERO);
}

#[test]
fn rows_that_are_retired_take_nothing_from_coarser_ones() {
    let clock = ManualClock::new(date(START));
    let short = RollupOptions::new().keep_minutes(Duration::from_secs(600));
    let builder = Engine::builder().clock(clock.clone()).rollups(short);
    let builder = builder.recording(limitry::events::Recording::Newest(10));
    let engine = meters(builder).build().expect("no rules");
    record(&engine, &clock, 0..EVENTS);
    assert_tells(&engine, &MeterQuery::new(), &amounts(0..EVENTS, None));
    assert_tells(&engine, &MeterQuery::new().customer("c"), &amounts(0..EVENTS, Some("c")));
}

#[test]
fn what_is_voided_is_in_no_percentile() {
    let (engine, clock) = fresh();
    record(&engine, &clock, 0..900);
    // The highest and the lowest third of all, of every minute, hour and day.
    let newest = engine.events().newest(usize::MAX).into_iter();
    let amounts_of = (0..900).rev().zip(newest).map(|(number, event)| (drawn(number).1, event.id));
    let mut events: Vec<_> = amounts_of.collect();
    events.sort_by_key(|(amount, _)| *amount);
    let mut kept = Vec::new();
    for (place, (amount, id)) in events.into_iter().enumerate() {
        if (300..600).contains(&place) {
            kept.push(amount);
        } else {
            let _ = engine.void(id, "a test").expect("it is in the log");
        }
    }
    assert_tells(&engine, &MeterQuery::new(), &kept);
    record(&engine, &clock, 900..1_000);
    kept.extend(amounts(900..1_000, None));
    assert_tells(&engine, &MeterQuery::new(), &kept);
}

#[test]
fn a_meter_that_comes_later_has_the_events_of_before() {
    let clock = ManualClock::new(date(START));
    let engine = Engine::builder().clock(clock.clone()).build().expect("no rules");
    record(&engine, &clock, 0..EVENTS);
    for text in PERCENTILES {
        let meter = Meter::percentile(text, "saved", percentile(text));
        engine.meters().add(meter.id(text.replace('.', "_"))).expect("a good meter");
    }
    assert_tells_all(&engine);
}

#[test]
fn a_value_with_every_size_is_told_coarser_and_not_wrong() {
    let (engine, _) = fresh();
    let mut amounts = Vec::new();
    for power in 0..69_u32 {
        for digits in 0..64_i128 {
            let size = (1_i128 << power) + (digits << power.saturating_sub(6));
            for size in [size, -size] {
                let amount = Amount::from_millionths(size);
                let _ = engine.record(&Event::new("a", "e").value("saved", amount)).expect("good");
                amounts.push(amount);
            }
        }
    }
    for text in PERCENTILES {
        let id = text.replace('.', "_");
        let found = engine.meters().query(&id, &MeterQuery::new()).expect("a value").value;
        let exact = exact(amounts.clone(), text);
        let off = (found.millionths() - exact.millionths()).abs();
        assert!(off * 100 <= exact.millionths().abs() * 8, "{text}: {found} and {exact}");
    }
}

#[test]
fn a_percentile_has_a_word_and_is_for_no_rule() {
    let meter = Meter::percentile("Slow", "latency_ms", percentile("p99.9"));
    let text = serde_json::to_string(&meter).expect("prints");
    assert!(text.contains(r#""aggregation":"p99.9""#), "{text}");
    assert_eq!(serde_json::from_str::<Meter>(&text).expect("reads"), meter);
    for word in ["p101", "pp5", "percentile", "95", "p", ""] {
        let why = word.parse::<Aggregation>().expect_err(word).to_string();
        assert!(why.contains(&format!("{word:?}")) && why.contains("`p95`"), "{why}");
    }
    let problems = |builder: EngineBuilder| builder.build().expect_err("not valid").to_string();
    let quota = Quota::new("q", Metric::meter("slow"), 10, Period::Day);
    let error = problems(Engine::builder().meter(meter.clone().id("slow")).quota(quota));
    assert!(error.contains("a percentile is used up by no event"), "{error}");
    let mut of_events = meter;
    of_events.field = limitry::rules::MeterField::Events;
    let error = problems(Engine::builder().meter(of_events));
    assert!(error.contains("of a p99.9 must be `values.` with a name"), "{error}");
}
