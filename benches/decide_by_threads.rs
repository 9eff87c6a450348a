//! What do decisions cost each other on several threads?
//!
//! `spread`: every thread has customers of its own, 10 000 each; throughput is to rise with the
//! threads, up to the machine's cores. `hot`: all threads ask for one customer, whose counters are
//! one piece of memory behind one lock; throughput is to hold, not to collapse. The throughput
//! line counts decisions of all threads together.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bench_support::{Customers, built, four, model_call, track};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use limitry::Engine;
use limitry::events::Recording;

/// The time until all `threads` have made `calls` decisions each.
#[expect(clippy::disallowed_methods, reason = "a bench reads the machine's clock")]
fn together(threads: u64, calls: u64, decide: impl Fn(u64, u64) + Sync) -> Duration {
    let barrier = Barrier::new(usize::try_from(threads + 1).unwrap_or(usize::MAX));
    thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, decide) = (&barrier, &decide);
            scope.spawn(move || {
                barrier.wait();
                decide(thread, calls);
                barrier.wait();
            });
        }
        barrier.wait();
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

fn spread(engine: &Engine, thread: u64, calls: u64) {
    let mut customers = Customers::new(10_000, thread);
    for _ in 0..calls {
        let _ = track(engine, &model_call(customers.draw_of(thread)));
    }
}

fn hot(engine: &Engine, calls: u64) {
    for _ in 0..calls {
        let _ = track(engine, &model_call("cust_hot"));
    }
}

fn decide_by_threads(criterion: &mut Criterion) {
    let engine = built(four(Engine::builder().recording(Recording::Off)));
    let mut group = criterion.benchmark_group("decide_by_threads");
    for threads in [1, 2, 4] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(BenchmarkId::new("spread", threads), |bencher| {
            bencher.iter_custom(|calls| {
                together(threads, calls, |thread, calls| spread(&engine, thread, calls))
            });
        });
        group.bench_function(BenchmarkId::new("hot", threads), |bencher| {
            bencher.iter_custom(|calls| together(threads, calls, |_, calls| hot(&engine, calls)));
        });
    }
    group.finish();
}

criterion_group!(benches, decide_by_threads);
criterion_main!(benches);
