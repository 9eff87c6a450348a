//! What does a change of rules cost, and what does it cost the decisions meanwhile?
//!
//! `decide`: one decision of four rules among 1 000 definitions, with the rules at rest, changed
//! every 10 ms, and changed without a pause, by another thread. Decisions read a snapshot without
//! a lock, so the three are to be near each other; a machine with one free core shows the change's
//! own work too. `change`: one update of one limit by the number of definitions.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bench_support::{Customers, built, four, model_call, smoke, track};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::events::Recording;
use limitry::rules::RateLimitUpdate;
use limitry::{Engine, RateLimit, Window};

fn engine(definitions: usize) -> Engine {
    let mut builder = four(Engine::builder().recording(Recording::Off));
    for number in 4..definitions {
        let rule = RateLimit::new(format!("Other {number}"), 1_000, Window::Minute);
        let rule = rule.filter("model", format!("model-{number}")).id(format!("rl_{number}"));
        builder = builder.rate_limit(rule.per("customer_id"));
    }
    built(builder)
}

/// Sets a new limit on one rule that no call matches.
fn change(engine: &Engine, limit: u64) {
    let update = RateLimitUpdate::new().limit(limit);
    let changed = engine.rules().update("rl_4", update);
    assert!(changed.is_ok(), "the rule exists: {:?}", changed.err());
}

/// Runs `work` while another thread changes rules, with `pause` between two changes.
fn while_changing(engine: &Engine, pause: Duration, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut limit = 1_000;
            while !done.load(Ordering::Relaxed) {
                limit += 1;
                change(engine, limit);
                thread::park_timeout(pause);
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
    });
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rule_change_under_load/decide");
    let cases = [
        ("rules at rest", None),
        ("a change every 10 ms", Some(Duration::from_millis(10))),
        ("changes without a pause", Some(Duration::ZERO)),
    ];
    for (name, pause) in cases {
        let engine = engine(if smoke() { 10 } else { 1_000 });
        let mut customers = Customers::new(1_000, 6);
        customers.introduce(&engine);
        group.bench_function(name, |bencher| {
            let mut bench =
                || bencher.iter(|| black_box(track(&engine, &model_call(customers.draw()))));
            match pause {
                None => bench(),
                Some(pause) => while_changing(&engine, pause, bench),
            }
        });
    }
    group.finish();
}

fn change_by_definitions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rule_change_under_load/change");
    group.sample_size(10);
    let sizes: &[usize] = if smoke() { &[10] } else { &[10, 100, 1_000, 10_000] };
    for &definitions in sizes {
        let engine = engine(definitions);
        let mut limit = 1_000;
        group.bench_function(BenchmarkId::from_parameter(definitions), |bencher| {
            bencher.iter(|| {
                limit += 1;
                change(&engine, limit);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide, change_by_definitions);
criterion_main!(benches);
