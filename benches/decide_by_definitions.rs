//! Does a decision's cost follow the rules that match, or the rules that exist?
//!
//! Four rules match in every case; the others name other models, other customers, and other teams
//! under the call's own model. Read it as one flat line: 100 000 definitions may cost what 10 do,
//! but for the processor's caches. `decide_by_conditions` asks the same of each kind of condition
//! that a filter can have: all the rules have the kind, and `alone` are the four.

use std::hint::black_box;

use bench_support::{Customers, GENEROUS, built, four, model_call, smoke, track};
use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use limitry::events::Recording;
use limitry::{Condition, Engine, EngineBuilder, RateLimit, Window};

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

/// Calls of the team that the rules which match are about.
fn tracks(bencher: &mut Bencher<'_>, engine: &Engine) {
    let mut customers = Customers::new(1_000, 2);
    customers.introduce(engine);
    bencher.iter(|| {
        let event = model_call(customers.draw()).property("team_id", "team_eng");
        black_box(track(engine, &event))
    });
}

fn decide_by_definitions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_by_definitions");
    let sizes: &[usize] = if smoke() { &[10, 1_000] } else { &[10, 100, 1_000, 10_000, 100_000] };
    for &definitions in sizes {
        group.bench_function(BenchmarkId::from_parameter(definitions), |bencher| {
            tracks(bencher, &engine(definitions));
        });
    }
    group.finish();
}

/// What the rules of a kind of condition ask of an event: the one that matches, and the others.
type Asked = fn(RateLimit, Option<usize>) -> RateLimit;

/// Every kind of condition.
const CONDITIONS: [(&str, Asked); 6] = [
    ("value", |rule, other| match other {
        None => rule.filter("model", "gpt-4"),
        Some(number) => rule.filter("model", format!("model-{number}")),
    }),
    ("one_of", |rule, other| match other {
        None => rule.filter("model", ["gpt-3", "gpt-4"]),
        Some(number) => rule.filter("model", [format!("a-{number}"), format!("b-{number}")]),
    }),
    ("prefix", |rule, other| match other {
        None => rule.filter("model", Condition::prefix("gpt")),
        Some(number) => rule.filter("model", Condition::prefix(format!("model-{number}"))),
    }),
    ("not", |rule, other| {
        let rule = rule.filter("model", Condition::not("o3"));
        match other {
            None => rule.filter("team_id", "team_eng"),
            Some(number) => rule.filter("team_id", format!("team_{number}")),
        }
    }),
    ("present", |rule, other| {
        let rule = rule.filter("model", Condition::Present);
        match other {
            None => rule.filter("team_id", "team_eng"),
            Some(number) => rule.filter("team_id", format!("team_{number}")),
        }
    }),
    ("absent", |rule, other| {
        let rule = rule.filter("trace", Condition::Absent);
        match other {
            None => rule.filter("team_id", "team_eng"),
            Some(number) => rule.filter("team_id", format!("team_{number}")),
        }
    }),
];

/// Four rules that match among `definitions`.
fn conditional(definitions: usize, asked: Asked) -> Engine {
    let rule = |number: usize| {
        let rule = RateLimit::new(format!("Rule {number}"), GENEROUS, Window::Minute);
        asked(rule, (number >= 4).then_some(number)).per("customer_id")
    };
    let builder = Engine::builder().recording(Recording::Off);
    built((0..definitions).map(rule).fold(builder, EngineBuilder::rate_limit))
}

fn decide_by_conditions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_by_conditions");
    let many = if smoke() { 1_000 } else { 100_000 };
    for (kind, asked) in CONDITIONS {
        for (name, definitions) in [("alone", 4), ("of many", many)] {
            group.bench_function(BenchmarkId::new(kind, name), |bencher| {
                tracks(bencher, &conditional(definitions, asked));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decide_by_definitions, decide_by_conditions);
criterion_main!(benches);
