//! Is a refusal as cheap as an admission?
//!
//! A limiter earns its keep under attack, when nearly every call is refused. Each case has four
//! rules a customer; `allowed` passes all, the others are refused by one of them, or by all four
//! at once (the longest way: every rule's exact wait is computed). `rendered` also asks for the
//! wait and the HTTP headers, as a gateway does with a refusal.

use std::hint::black_box;

use bench_support::{Customers, GENEROUS, built, model_call, track};
use criterion::{Criterion, criterion_group, criterion_main};
use limitry::events::Recording;
use limitry::{Engine, Metric, Period, Quota, RateLimit, Window};

/// Four rules of a customer with these limits: two rate limits, then two quotas. A limit of 1
/// refuses from the second call on; the quotas' amounts are above it from the first.
fn engine([hour, ten_hours, year, all_time]: [u64; 4]) -> Engine {
    let long = Window::every(std::time::Duration::from_secs(36_000));
    let tokens = Quota::new("Tokens a year", Metric::TotalTokens, year, Period::Year);
    let cents = Quota::new("Cents ever", Metric::TotalCostCents, all_time, Period::AllTime);
    let builder = Engine::builder()
        .recording(Recording::Off)
        .rate_limit(RateLimit::new("Calls an hour", hour, Window::Hour).per("customer_id"))
        .rate_limit(RateLimit::new("Calls in ten hours", ten_hours, long).per("customer_id"))
        .quota(tokens.per("customer_id"))
        .quota(cents.per("customer_id"));
    built(builder)
}

fn refused_against_allowed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refused_against_allowed");
    let cases = [
        ("allowed", [GENEROUS; 4]),
        ("refused by a rate limit", [GENEROUS, 1, GENEROUS, GENEROUS]),
        ("refused by a quota", [GENEROUS, GENEROUS, 1, GENEROUS]),
        ("refused by all four", [1, 1, 1, 1]),
    ];
    for (name, limits) in cases {
        group.bench_function(name, |bencher| {
            let engine = engine(limits);
            let mut customers = Customers::new(1_000, 5);
            customers.introduce(&engine);
            bencher.iter(|| black_box(track(&engine, &model_call(customers.draw()))));
        });
    }
    group.bench_function("refused by a rate limit, rendered", |bencher| {
        let engine = engine([GENEROUS, 1, GENEROUS, GENEROUS]);
        let mut customers = Customers::new(1_000, 5);
        customers.introduce(&engine);
        bencher.iter(|| {
            let decision = track(&engine, &model_call(customers.draw()));
            black_box((decision.retry_after(), decision.headers().count()))
        });
    });
    group.finish();
}

criterion_group!(benches, refused_against_allowed);
criterion_main!(benches);
