//! What does it cost to keep the newest events, against a pure limiter that keeps none?
//!
//! The event's strings are borrowed: recording has to own them. `off` is the floor; `newest` keeps
//! the last 100 000 events in memory, full from the start of the measurement, so that each new one
//! pushes the oldest out. `newest, with properties` shows what longer events add.

use std::hint::black_box;

use bench_support::{Customers, built, four, model_call, smoke, track};
use criterion::{Criterion, criterion_group, criterion_main};
use limitry::Engine;
use limitry::events::Recording;

fn recording(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recording");
    let kept = if smoke() { 1_000 } else { 100_000 };
    let cases = [
        ("off", Recording::Off, false),
        ("newest", Recording::Newest(kept), false),
        ("newest, with properties", Recording::Newest(kept), true),
    ];
    for (name, recording, with_properties) in cases {
        group.bench_function(name, |bencher| {
            let engine = built(four(Engine::builder().recording(recording)));
            let mut customers = Customers::new(10_000, 7);
            for _ in 0..kept + 10_000 {
                let _ = track(&engine, &model_call(customers.draw()));
            }
            bencher.iter(|| {
                let mut event = model_call(customers.draw());
                if with_properties {
                    event = event.property("team_id", "team_eng").property("region", "eu-west-1");
                }
                black_box(track(&engine, &event))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, recording);
criterion_main!(benches);
