//! Goal: a quota's figure is its meter's however large it gets. A count that outgrows its word in
//! a row goes on in two, and its neighbours stay what they are.
//!
//! Method: sums are driven over the ends of 63 and 64 bits of millionths and back, by amounts as
//! large as they may be and by millionths, among other counters of the same key; after each event
//! all figures are compared with sums that are kept beside. With a store the same after restarts,
//! from a checkpoint and from the log alone.

use crate::support::engine;
#[cfg(feature = "durable")]
use crate::support::{Dice, clock};
use limitry::rules::Algorithm;
use limitry::usage::MeterQuery;
use limitry::{
    Amount, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RateLimit, Window,
};

/// The largest amount of an event, in millionths.
const MOST: i128 = 1_000_000_000_000_000 * 1_000_000;

fn call(customer: &'static str, bytes: i128) -> Event<'static> {
    Event::new(customer, "upload").total_tokens(3).value("bytes", Amount::from_millionths(bytes))
}

/// Rules of one row: narrow counters before, between and after those that outgrow their words.
fn rules(builder: EngineBuilder) -> EngineBuilder {
    let bytes = || Metric::value("bytes");
    let quota = |id: &str, metric, period| {
        Quota::new(id, metric, 1_u64 << 62, period).per("customer_id").id(id)
    };
    let soft = limitry::rules::Enforcement::Soft;
    let window = RateLimit::new("window", 1_000, Window::Hour).metric(bytes());
    builder
        .meter(Meter::sum("bytes", "bytes").id("sum"))
        .meter(Meter::max("largest", "bytes").id("max"))
        .rate_limit(RateLimit::new("bucket", 1_u64 << 40, Window::Hour).per("customer_id"))
        .rate_limit(window.algorithm(Algorithm::FixedWindow).per("customer_id").enforcement(soft))
        .quota(quota("events", Metric::TotalEvents, Period::Day))
        .quota(quota("day", Metric::meter("sum"), Period::Day))
        .quota(quota("tokens", Metric::TotalTokens, Period::Month))
        .quota(quota("ever", bytes(), Period::AllTime))
        .quota(quota("largest", Metric::meter("max"), Period::Year))
        .quota(quota("month", Metric::TotalTokens, Period::Month))
}

/// What should stand in the counters of a customer.
#[derive(Clone, Copy, Default)]
struct Sums {
    events: i128,
    bytes: i128,
    largest: Option<i128>,
}

impl Sums {
    fn add(&mut self, bytes: i128) {
        self.events += 1;
        self.bytes += bytes;
        self.largest = self.largest.max(Some(bytes));
    }
}

fn compare(engine: &Engine, customer: &'static str, sums: Sums) {
    let standing = engine.standing(&Event::new(customer, "upload")).expect("valid");
    let body = serde_json::to_value(&standing).expect("plain data");
    let whole = |count: i128| Amount::from_millionths(count * 1_000_000);
    let bytes = Amount::from_millionths(sums.bytes);
    let largest = Amount::from_millionths(sums.largest.unwrap_or(0));
    let expected = [
        ("events", whole(sums.events)),
        ("day", bytes),
        ("tokens", whole(3 * sums.events)),
        ("ever", bytes),
        ("largest", largest),
        ("month", whole(3 * sums.events)),
    ];
    let quotas = body["quotas"].as_array().expect("a list");
    assert_eq!(quotas.len(), expected.len());
    for (quota, (id, used)) in quotas.iter().zip(expected) {
        let found: Amount = serde_json::from_value(quota["used"].clone()).expect("an amount");
        assert_eq!((quota["id"].as_str(), found), (Some(id), used), "{customer}");
    }
    let query = MeterQuery::new().customer(customer);
    for (meter, figure) in [("sum", bytes), ("max", largest)] {
        assert_eq!(engine.meters().query(meter, &query).expect("a figure").value, figure);
    }
}

#[test]
fn a_figure_goes_on_where_64_bits_of_millionths_end() {
    let (engine, _) = engine(rules);
    let mut sums = Sums::default();
    // 18 446 744 073 709.551615 is the end of 64 bits, half of it that of 63.
    let ends = [i128::from(i64::MAX), i128::from(u64::MAX)];
    for end in ends.iter().flat_map(|end| [-3, -1, 0, 1, 2].map(|beside| end + beside)) {
        let step = end - sums.bytes;
        sums.add(step);
        assert!(engine.track(&call("ann", step)).expect("valid").is_allowed());
        compare(&engine, "ann", sums);
    }
    for _ in 0..30 {
        sums.add(MOST);
        assert!(engine.track(&call("ann", MOST)).expect("valid").is_allowed());
    }
    compare(&engine, "ann", sums);
    // And back, as far below nothing.
    for _ in 0..60 {
        sums.add(-MOST);
        assert!(engine.track(&call("ann", -MOST)).expect("valid").is_allowed());
        compare(&engine, "ann", sums);
    }
    compare(&engine, "bob", Sums::default());
}

#[test]
fn a_quota_that_comes_later_starts_from_the_same_figure() {
    let (engine, _) = engine(|builder| builder.meter(Meter::sum("bytes", "bytes").id("sum")));
    let mut bytes = 0;
    for amount in [MOST, MOST, 7, -1] {
        bytes += amount;
        assert!(engine.record(&call("ann", amount)).expect("valid").is_allowed());
    }
    let quota = Quota::new("day", Metric::meter("sum"), 1_u64 << 62, Period::Day);
    engine.rules().add(quota.per("customer_id")).expect("valid");
    for amount in [5, MOST] {
        bytes += amount;
        let decision = engine.track(&call("ann", amount)).expect("valid");
        let body = serde_json::to_value(&decision).expect("plain data");
        let used: Amount = serde_json::from_value(body["quotas"][0]["used"].clone()).expect("one");
        assert_eq!(used, Amount::from_millionths(bytes));
    }
}

#[test]
fn limits_reach_as_far_as_amounts() {
    let most = 1_000_000_000_000_000_u64;
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let rule = RateLimit::new("bytes", most, Window::Hour).metric(Metric::value("bytes"));
        let (engine, _) = engine(|builder| builder.rate_limit(rule.algorithm(algorithm)));
        assert!(engine.track(&call("ann", MOST - 1)).expect("valid").is_allowed());
        assert!(!engine.track(&call("ann", 2)).expect("valid").is_allowed(), "{algorithm:?}");
        assert!(engine.track(&call("ann", 1)).expect("valid").is_allowed());
        assert!(!engine.check(&call("ann", 1)).expect("valid").is_allowed());
    }
    let gauge = Quota::new("bytes", Metric::meter("m"), most, Period::Day);
    let (engine, _) =
        engine(|builder| builder.meter(Meter::latest("stored", "bytes").id("m")).quota(gauge));
    assert!(engine.track(&call("ann", MOST)).expect("valid").is_allowed());
}

#[cfg(feature = "durable")]
mod durable {
    use std::fs;
    use std::path::Path;

    use limitry::store::Durable;

    use super::*;
    use crate::support::files::Folder;

    fn open(path: &Path) -> Engine {
        let store = Durable::open(path).expect("a store");
        let clock = clock();
        rules(Engine::builder().clock(clock).durable(store)).build().expect("an engine")
    }

    #[test]
    fn wide_counts_come_back_from_a_checkpoint_and_from_the_log() {
        let folder = Folder::new("wide");
        let (path, copy) = (folder.file("own"), folder.file("copy"));
        let mut dice = Dice::new(32);
        let mut sums = [("ann", Sums::default()), ("bob", Sums::default())];
        for round in 0..6 {
            let engine = open(&path);
            for (customer, sums) in &mut sums {
                compare(&engine, customer, *sums);
                for _ in 0..20 {
                    let signs = if round < 3 { [MOST, MOST, -1] } else { [-MOST, -MOST, 1] };
                    let amount = dice.pick(&signs) / i128::from(dice.range(1, 50));
                    sums.add(amount);
                    assert!(engine.track(&call(customer, amount)).expect("valid").is_allowed());
                }
                compare(&engine, customer, *sums);
            }
            engine.store().flush().expect("durable");
            // The log alone, as a crash would leave it; then the checkpoint of a clean end.
            fs::copy(&path, &copy).expect("a copy");
            let crashed = open(&copy);
            sums.iter().for_each(|(customer, sums)| compare(&crashed, customer, *sums));
            drop(crashed);
            let _ = fs::remove_file(&copy);
            engine.store().verify(|_| ()).expect("states that follow from each other");
            engine.store().close().expect("a clean end");
        }
        let engine = open(&path);
        sums.iter().for_each(|(customer, sums)| compare(&engine, customer, *sums));
        drop(engine);
    }
}
