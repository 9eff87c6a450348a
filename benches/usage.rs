//! What do questions about usage cost, and does that go by buckets and groups and not by events?
//!
//! The same month with ten times the events has the same rows, so `summary`, `by model` and `day
//! by hours` must cost the same; `edges` adds the events of two minutes that the range cuts.
//! `last day by team` groups by a dimension that is not declared, which goes through the log.

use std::hint::black_box;
use std::time::Duration;

use bench_support::{Customers, built, smoke};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::time::ManualClock;
use limitry::usage::{Interval, UsageQuery};
use limitry::{Engine, Event, Timestamp};

const MONTH_SECONDS: u64 = 31 * 86_400;

/// An engine that has recorded a month of `events` by 1 000 customers.
fn month(events: u64) -> Engine {
    let clock = ManualClock::new(at("2024-01-01T00:00:00Z"));
    let engine = built(Engine::builder().clock(clock.clone()));
    let mut customers = Customers::new(1_000, 7);
    let models = ["gpt-4", "gpt-4o", "opus", "sonnet", "haiku"];
    let step = Duration::from_secs(MONTH_SECONDS) / u32::try_from(events).unwrap_or(u32::MAX);
    for (number, model) in (0..events).zip(models.iter().cycle()) {
        clock.advance(step);
        let customer = customers.draw();
        let event = Event::new(customer, "model_call").model(*model).total_tokens(number % 4_000);
        record(&engine, &event.property("team_id", "team_eng"));
    }
    engine
}

fn record(engine: &Engine, event: &Event<'_>) {
    if let Err(error) = engine.record(event) {
        unreachable!("the events of a bench are valid: {error:?}");
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

fn questions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("usage");
    let sizes: &[u64] = if smoke() { &[2_000] } else { &[100_000, 1_000_000] };
    let month_of = UsageQuery::new(at("2024-01-01T00:00:00Z"), at("2024-02-01T00:00:00Z"));
    let edges = UsageQuery::new(at("2024-01-03T03:17:31Z"), at("2024-01-31T22:59:31.5Z"));
    let day = UsageQuery::new(at("2024-01-15T00:00:00Z"), at("2024-01-16T00:00:00Z"));
    let last_day = UsageQuery::new(at("2024-01-31T00:00:00Z"), at("2024-02-01T00:00:00Z"));
    for events in sizes {
        let engine = month(*events);
        let usage = engine.usage();
        let mut question = |name: &str, ask: &dyn Fn() -> bool| {
            group.bench_function(BenchmarkId::new(name, events), |bencher| {
                bencher.iter(|| assert!(black_box(ask())));
            });
        };
        question("summary", &|| usage.summary(&month_of).is_ok());
        question("edges", &|| usage.summary(&edges).is_ok());
        question("by model", &|| usage.breakdown(&month_of, "model").is_ok());
        question("by customer", &|| usage.breakdown(&month_of, "customer_id").is_ok());
        question("day by hours", &|| usage.timeseries(&day, Interval::Hour).is_ok());
        question("last day by team", &|| usage.breakdown(&last_day, "team_id").is_ok());
    }
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    let mut customers = Customers::new(10_000, 7);
    let names: Vec<String> = (0..1_000).map(|_| customers.draw().to_owned()).collect();
    let batch: Vec<Event<'_>> = names.iter().map(|name| bench_support::model_call(name)).collect();
    let engine = built(Engine::builder());
    criterion.bench_function("record_batch of 1 000", |bencher| {
        bencher.iter(|| assert!(black_box(engine.record_batch(&batch)).is_ok()));
    });
}

criterion_group!(benches, questions, batches);
criterion_main!(benches);
