//! How does a decision's cost grow with the rules that match it?
//!
//! Each rule is per customer, and half are rate limits, half quotas. Rules of one partition share
//! one entry of the table, so the step from 1 to 8 is to show arithmetic alone: read the slope,
//! (time of 8 - time of 1) / 7, as the price of one more rule.

use std::hint::black_box;

use bench_support::{Customers, GENEROUS, built, model_call, track};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::events::Recording;
use limitry::{Engine, Metric, Period, Quota, RateLimit, Window};

/// An engine with `count` rules that match every model call.
fn engine(count: usize) -> Engine {
    let windows = [Window::Second, Window::Minute, Window::Hour];
    let periods = [Period::Day, Period::Week, Period::Month, Period::Year];
    let mut builder = Engine::builder().recording(Recording::Off);
    let pairs = windows.iter().cycle().zip(periods.iter().cycle());
    for (number, (window, period)) in (0..count).zip(pairs) {
        let name = format!("Rule {number}");
        builder = if number % 2 == 0 {
            builder.rate_limit(RateLimit::new(name, GENEROUS, *window).per("customer_id"))
        } else {
            let quota = Quota::new(name, Metric::TotalTokens, GENEROUS, *period);
            builder.quota(quota.per("customer_id"))
        };
    }
    built(builder)
}

fn decide_by_rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_by_rules");
    for rules in [0, 1, 4, 8] {
        group.bench_function(BenchmarkId::from_parameter(rules), |bencher| {
            let engine = engine(rules);
            let mut customers = Customers::new(1_000, 1);
            customers.introduce(&engine);
            bencher.iter(|| black_box(track(&engine, &model_call(customers.draw()))));
        });
    }
    group.finish();
}

criterion_group!(benches, decide_by_rules);
criterion_main!(benches);
