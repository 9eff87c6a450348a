//! How many recorded events does a simulation replay a second, against tracking them?
//!
//! The figure is the time of a whole replay, with the throughput beside it. `track` decides about
//! as many calls of the same customers by the same four rules, recording off: what a replay does
//! beside reading events and counting what becomes of them. `refusing` replays against limits that
//! refuse nine calls in ten, and `one rule` against one of the four.

use std::hint::black_box;

use bench_support::{Customers, GENEROUS, built, four, model_call, smoke, track};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use limitry::events::{EventQuery, Recording};
use limitry::{Engine, Metric, Period, Quota, RateLimit, RuleSet, Window};

/// The four rules of the other benches, with these limits.
fn rules(limit: u64) -> RuleSet {
    let quota = |name, metric, period| Quota::new(name, metric, limit, period).per("customer_id");
    RuleSet::new()
        .rate_limit(RateLimit::new("Calls a second", limit, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls a minute", limit, Window::Minute).per("customer_id"))
        .quota(quota("Tokens a day", Metric::TotalTokens, Period::Day))
        .quota(quota("Cents a month", Metric::TotalCostCents, Period::Month))
}

fn simulate(criterion: &mut Criterion) {
    let events: u32 = if smoke() { 1_000 } else { 200_000 };
    let mut group = criterion.benchmark_group("simulate");
    group.throughput(Throughput::Elements(events.into()));
    group.sample_size(10);
    let kept = usize::try_from(events).unwrap_or(usize::MAX);
    let engine = built(four(Engine::builder().recording(Recording::Newest(kept))));
    let mut customers = Customers::new(1_000, 7);
    for _ in 0..events {
        let _ = track(&engine, &model_call(customers.draw()));
    }
    group.bench_function("track", |bencher| {
        bencher.iter(|| {
            let other = built(four(Engine::builder().recording(Recording::Off)));
            let mut customers = Customers::new(1_000, 7);
            for _ in 0..events {
                let _ = black_box(track(&other, &model_call(customers.draw())));
            }
        });
    });
    let one = RuleSet::new()
        .rate_limit(RateLimit::new("Calls", GENEROUS, Window::Second).per("customer_id"));
    let cases = [("four rules", rules(GENEROUS)), ("refusing", rules(20)), ("one rule", one)];
    for (name, rules) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter(|| match engine.simulate(rules.clone(), EventQuery::new()) {
                Ok(report) => black_box(report.calls.refused),
                Err(why) => unreachable!("the rules of a bench are valid: {why}"),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, simulate);
criterion_main!(benches);
