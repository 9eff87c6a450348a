//! What would other limits have done? LLM traffic meets the rules of today, each call is then
//! replayed against other rules, and a limit is looked for that refuses few.
//!
//! ```text
//! cargo run --profile quick --example what_if              # a made-up day of traffic
//! cargo run --release --example what_if -- TRACE.csv ...   # Azure LLM inference traces
//! ```

#![allow(clippy::arithmetic_side_effects, reason = "a program: counts of what memory holds")]

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use limitry::events::Recording;
use limitry::simulation::{Attempt, Share, Traffic};
use limitry::time::ManualClock;
use limitry::{Engine, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window};

use example_support::cast::{Cast, ENTERPRISE, Request};
use example_support::{day, intake, text};

const SEED: u64 = 42;
/// How many calls a made-up day has.
const DAY_CALLS: u32 = 200_000;
/// How many keys are shown of each rule.
const KEYS: usize = 5;

fn main() -> ExitCode {
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    match what_if(&paths).and_then(|report| print(&report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("what_if: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The rules with these limits: calls a minute, tokens an hour.
fn rules(calls: u64, tokens: u64) -> RuleSet {
    let per_minute = RateLimit::new("Requests per minute", calls, Window::Minute);
    let enterprise = RateLimit::new("Requests per minute, enterprise", 50, Window::Minute);
    let a_call = RateLimit::new("gpt-4 burst", 1, Window::every(Duration::from_secs(5)));
    RuleSet::new()
        .rate_limit(per_minute.per("customer_id").policy("rpm"))
        .rate_limit(enterprise.filter("plan", ENTERPRISE).per("customer_id").policy("rpm"))
        .rate_limit(a_call.filter("model", "gpt-4").per("customer_id").burst(8))
        .quota(hourly_tokens(tokens))
}

fn hourly_tokens(tokens: u64) -> Quota {
    Quota::new("Hourly tokens", Metric::TotalTokens, tokens, Period::Hour).per("customer_id")
}

#[expect(clippy::disallowed_methods, reason = "times the simulation")]
fn what_if(paths: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let mut cast = Cast::new(SEED)?;
    let requests: Vec<Request> = if paths.is_empty() {
        day::requests(&mut cast, SEED, DAY_CALLS)?
    } else {
        let calls = intake::read_files(paths)?.calls.into_iter();
        calls.map(|call| cast.assign(call)).collect()
    };

    // What happened: the rules of today decide about each call at its time.
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let engine = Engine::builder()
        .clock(clock.clone())
        .recording(Recording::Off)
        .rule_set(rules(20, 250_000))
        .build()?;
    let mut attempts = Vec::with_capacity(requests.len());
    for request in &requests {
        clock.set(request.at.into());
        let event = cast.event(request);
        let is_let_in = engine.track(&event)?.is_allowed();
        attempts.push(Attempt::new(request.at, event).was_let_in(is_let_in));
    }

    // What would have happened.
    let begun = Instant::now();
    let traffic = || Traffic::given(&attempts).keys(KEYS);
    let report = engine.simulate(rules(30, 200_000), traffic())?;
    let took = begun.elapsed();
    let nanos = took.as_nanos().max(1);
    let a_second = u128::from(report.calls.calls) * 1_000_000_000 / nanos;
    let a_second = text::grouped(u64::try_from(a_second).unwrap_or(u64::MAX));

    // Which limit would refuse few.
    let few = Share::of_customers(2);
    let suggestion = engine.suggest_over(hourly_tokens(0), few, traffic())?;
    Ok(format!(
        "30 requests a minute for 20, and 200,000 tokens an hour for 250,000:\n\n{report}\n\
         {} calls replayed in {}, {a_second} a second\n\n\
         tokens an hour, so that at most 2 % of the customers are refused: {suggestion}\n",
        text::grouped(report.calls.calls),
        text::duration(took),
    ))
}

/// Writes to stdout. A reader that has seen enough (`what_if | head`) is no error.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write the report: {error}").into())
        }
        _ => Ok(()),
    }
}
