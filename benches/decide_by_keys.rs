//! How does a decision's cost grow with the customers that the engine remembers?
//!
//! Four rules a customer, customers in random order. The arithmetic is the same at every size:
//! what grows is the share of look-ups that miss the processor's caches. There must be no cliff
//! where the table grows. Ten million customers take some 2 GB and a minute to introduce: they run
//! where `LIMITRY_BENCH_LARGE` is set.

use std::hint::black_box;

use bench_support::{Customers, built, four, model_call, smoke, track};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::Engine;
use limitry::events::Recording;

fn decide_by_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_by_keys");
    group.sample_size(20);
    let mut sizes = vec![1_000, 10_000];
    if !smoke() {
        sizes.extend([100_000, 1_000_000]);
    }
    if std::env::var_os("LIMITRY_BENCH_LARGE").is_some() {
        sizes.push(10_000_000);
    }
    for keys in sizes {
        let builder = Engine::builder().recording(Recording::Off).max_keys(40_000_000);
        let engine = built(four(builder));
        let mut customers = Customers::new(keys, 3);
        customers.introduce(&engine);
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| black_box(track(&engine, &model_call(customers.draw()))));
        });
    }
    group.finish();
}

criterion_group!(benches, decide_by_keys);
criterion_main!(benches);
