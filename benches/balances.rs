//! What do prepaid credits cost?
//!
//! A debit from a balance with a thousand grants beside one with a single grant, and `track` with a
//! balance beside one with a quota in its place: alone, and with three other rules.

use std::hint::black_box;

use bench_support::{Customers, GENEROUS, built, model_call, track};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::balances::{Credit, Debit, NewBalance};
use limitry::events::Recording;
use limitry::{Engine, Metric, Period, Quota, RateLimit, Timestamp, Window};

const CREDITS: u64 = 1_000_000_000_000_000;

fn with_grants(grants: u32) -> Engine {
    let engine = built(Engine::builder().recording(Recording::Off));
    let balances = engine.balances();
    let made = balances.create(&NewBalance::new("cust_1", "credits"));
    assert!(made.is_ok(), "a bench makes what is not there");
    for number in 0..grants {
        let expires = Timestamp::new(4_000_000_000, number);
        let credit = Credit::new(CREDITS / 1_000).expires_at(expires);
        assert!(balances.credit("cust_1", "credits", &credit).is_ok(), "a good credit");
    }
    engine
}

fn debit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("debit_by_grants");
    for grants in [1, 1_000] {
        group.bench_function(BenchmarkId::from_parameter(grants), |bencher| {
            let balances = with_grants(grants).balances();
            let debit = Debit::new("0.000001");
            bencher.iter(|| black_box(balances.debit("cust_1", "credits", &debit)));
        });
    }
    group.finish();
}

fn engine(has_balance: bool, others: bool) -> Engine {
    let quota = if has_balance {
        Quota::balance("credits", Metric::TotalTokens).opening(CREDITS)
    } else {
        Quota::new("Tokens", Metric::TotalTokens, GENEROUS, Period::AllTime)
    };
    let mut builder = Engine::builder().quota(quota.per("customer_id"));
    if others {
        for window in [Window::Second, Window::Minute, Window::Hour] {
            let limit = RateLimit::new(window.to_string(), GENEROUS, window);
            builder = builder.rate_limit(limit.per("customer_id"));
        }
    }
    built(builder)
}

fn track_with_a_balance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("track_with_a_balance");
    for (name, others) in [("alone", false), ("of four", true)] {
        for (kind, has_balance) in [("quota", false), ("balance", true)] {
            group.bench_function(BenchmarkId::new(kind, name), |bencher| {
                let engine = engine(has_balance, others);
                let mut customers = Customers::new(1_000, 1);
                customers.introduce(&engine);
                bencher.iter(|| black_box(track(&engine, &model_call(customers.draw()))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, debit, track_with_a_balance);
criterion_main!(benches);
