//! Does a decision's cost follow the rules that match, or the rules that exist?
//!
//! Four rules match in every case; the others name other models, other customers, and other teams
//! under the call's own model. Read it as one flat line: 100 000 definitions may cost what 10 do,
//! but for the processor's caches.

use std::hint::black_box;

use bench_support::{Customers, built, four, model_call, smoke, track};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::events::Recording;
use limitry::{Engine, RateLimit, Window};

/// An engine with four rules that match among `definitions`.
fn engine(definitions: usize) -> Engine {
    let mut builder = four(Engine::builder().recording(Recording::Off));
    for number in 4..definitions {
        let rule = RateLimit::new(format!("Other {number}"), 1_000, Window::Minute);
        builder = builder.rate_limit(match number % 3 {
            0 => rule.filter("model", format!("model-{number}")).per("customer_id"),
            1 => rule.filter("customer_id", format!("other_{number}")),
            _ => rule.filter("model", "gpt-4").filter("team_id", format!("team_{number}")),
        });
    }
    built(builder)
}

fn decide_by_definitions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_by_definitions");
    let sizes: &[usize] = if smoke() { &[10, 1_000] } else { &[10, 100, 1_000, 10_000, 100_000] };
    for &definitions in sizes {
        group.bench_function(BenchmarkId::from_parameter(definitions), |bencher| {
            let engine = engine(definitions);
            let mut customers = Customers::new(1_000, 2);
            customers.introduce(&engine);
            bencher.iter(|| {
                let event = model_call(customers.draw()).property("team_id", "team_eng");
                black_box(track(&engine, &event))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide_by_definitions);
criterion_main!(benches);
