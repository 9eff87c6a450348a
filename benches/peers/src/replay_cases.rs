//! The replay's own traffic and rules, and how many decisions a second that makes: eight rules with
//! filters, policies and a shadow, of which a call meets some, with events and roll-ups on.

use std::path::PathBuf;

use example_support::cast::{Cast, Request};
use example_support::{day, intake};
use limitry::time::ManualClock;
use limitry::{Engine, Timestamp};

use crate::measure::{Round, Series, cpu_time};
use crate::report::{Row, Target, figure};

#[path = "../../../examples/replay/rules.rs"]
#[allow(dead_code, reason = "the example prints each rule by its name")]
mod rules;

pub struct Size {
    /// Calls of the made-up day.
    calls: u32,
    rounds: usize,
}

pub const FULL: Size = Size { calls: 200_000, rounds: 11 };
pub const QUICK: Size = Size { calls: 5_000, rounds: 2 };

const SEED: u64 = 42;
const TRACES: [&str; 2] = ["AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv"];

pub fn cases(size: &Size) -> Vec<Row> {
    let (cast, requests) = trace();
    let mut rows = of("the Azure trace", size.rounds, &cast, &requests);
    let mut cast = Cast::new(SEED).expect("weights above zero");
    let requests = day::requests(&mut cast, SEED, size.calls).expect("weights above zero");
    rows.extend(of("a made-up day", size.rounds, &cast, &requests));
    rows
}

fn trace() -> (Cast, Vec<Request>) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data"));
    let calls = intake::read_files(&TRACES.map(|file| folder.join(file))).expect("the traces");
    let mut cast = Cast::new(SEED).expect("weights above zero");
    let requests = calls.calls.into_iter().map(|call| cast.assign(call)).collect();
    (cast, requests)
}

/// Each round replays all requests through an engine of its own, after one that warms up.
fn of(what: &str, rounds: usize, cast: &Cast, requests: &[Request]) -> Vec<Row> {
    let replays = (0..=rounds).map(|_| replay(cast, requests));
    let replays: Vec<(Round, Option<f64>)> = replays.skip(1).collect();
    let straight = replays.last().and_then(|replay| replay.1);
    let series: Series = replays.into_iter().map(|(round, _)| round).collect();
    eprintln!("timed     | replay of {what}: admitted {} of {}", series.admitted, series.calls);
    let words = format!("replay of {what}: decisions a second");
    let mut rows = vec![figure(&words, "a second", 1e9 / series.median(), None)];
    if let Some(share) = straight {
        let words = format!("replay of {what}: calls on the straight path");
        rows.push(figure(&words, "%", share * 100.0, Some(Target::AtLeast(95.0))));
    }
    rows
}

fn replay(cast: &Cast, requests: &[Request]) -> (Round, Option<f64>) {
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let engine = rules::engine(clock.clone()).expect("valid rules");
    let start = cpu_time();
    let mut admitted = 0;
    for request in requests {
        clock.set(request.at.into());
        let decision = engine.track(&cast.event(request)).expect("a valid event");
        admitted += usize::from(decision.is_allowed());
    }
    let spent = cpu_time().saturating_sub(start);
    (Round { calls: requests.len(), admitted, spent }, straight_share(&engine))
}

/// The share of the engine's calls that took the straight path; `None` where no rule was asked.
fn straight_share(engine: &Engine) -> Option<f64> {
    let (straight, step_by_step) = engine.paths();
    let all = straight + step_by_step;
    (all > 0).then(|| straight as f64 / all as f64)
}
