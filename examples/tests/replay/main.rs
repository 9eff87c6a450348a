//! The replay example on real traffic: its reader gives every call of the published traces, and
//! the engine admits by every rule exactly what a naive oracle admits.
//!
//! The example's own modules are compiled in here; `tests/data` holds the traces.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "modules of the example, of which a test needs a part; an oracle may panic"
)]

#[path = "../../replay/args.rs"]
mod args;
mod oracle;
#[path = "../../replay/rules.rs"]
mod rules;
#[path = "../../replay/tally.rs"]
mod tally;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use limitry::RetryAfter;
use limitry::time::ManualClock;

use args::Command;
use example_support::cast::{self, Cast, MODELS, Request};
use example_support::trace::Call;
use example_support::{day, intake, text};
use oracle::{Opinion, Oracle, Seen, Totals};
use tally::{RuleTally, Span, Tally};

/// What a test gives back.
type Outcome = Result<(), Box<dyn Error>>;

fn trace_path(service: &str) -> PathBuf {
    let file = format!("AzureLLMInferenceTrace_{service}.csv");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(file)
}

fn sums(calls: &[Call]) -> (usize, u64, u64) {
    let input = calls.iter().map(|call| u64::from(call.input_tokens)).sum();
    let output = calls.iter().map(|call| u64::from(call.output_tokens)).sum();
    (calls.len(), input, output)
}

// The sums of conv are those that the publisher of the data set is quoted with.
#[test]
fn traces_are_read_whole() -> Outcome {
    let conv = intake::read_files(&[trace_path("conv")])?;
    let code = intake::read_files(&[trace_path("code")])?;
    assert_eq!((sums(&conv.calls), conv.bad_lines), ((19_366, 22_361_870, 4_088_665), 0));
    assert_eq!((sums(&code.calls), code.bad_lines), ((8_819, 18_059_974, 245_896), 0));
    let first: DateTime<Utc> = "2023-11-16T18:15:46.6805900Z".parse()?;
    let last =
        Call { at: "2023-11-16T19:14:08.402527Z".parse()?, input_tokens: 197, output_tokens: 183 };
    assert_eq!(conv.calls.first().map(|call| call.at), Some(first));
    assert_eq!(conv.calls.last(), Some(&last), "the line without an end");
    Ok(())
}

#[test]
fn several_traces_are_merged_in_time() -> Outcome {
    let both = intake::read_files(&[trace_path("conv"), trace_path("code")])?;
    assert_eq!(sums(&both.calls), (28_185, 40_421_844, 4_334_561));
    assert!(both.calls.is_sorted_by_key(|call| call.at));
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = intake::read_files(&[trace_path("none")]).unwrap_err().to_string();
    assert!(missing.contains("AzureLLMInferenceTrace_none.csv"), "{missing}");
    let no_trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/README.md");
    let no_trace = intake::read_files(&[no_trace]).unwrap_err().to_string();
    assert!(no_trace.contains("README.md: line 1 is not the header TIMESTAMP"), "{no_trace}");
}

#[test]
fn the_same_seed_makes_the_same_day() -> Outcome {
    let day = |seed| day::requests(&mut Cast::new(seed)?, seed, 10_000);
    let (one, same, other) = (day(1)?, day(1)?, day(2)?);
    assert!(one.is_sorted_by_key(|request| request.at));
    assert_eq!(one, same);
    assert_ne!(one, other);
    Ok(())
}

#[test]
fn command_lines_are_understood() {
    let parse = |line: &str| Command::parse(line.split_whitespace().map(OsString::from));
    let replay = |seed, paths: &[&str]| {
        let paths = paths.iter().map(PathBuf::from).collect();
        Ok(Command::Replay { seed, paths })
    };
    assert_eq!(parse(""), replay(42, &[]));
    assert_eq!(parse("a.csv --seed 7 b.csv"), replay(7, &["a.csv", "b.csv"]));
    assert_eq!(parse("--seed=0 -- --seed -h"), replay(0, &["--seed", "-h"]));
    assert_eq!(parse("a.csv --help"), Ok(Command::Help));
    for wrong in ["--sed 1", "--seed", "--seed x", "--seed=-1", "-v"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn numbers_are_put_into_words() {
    assert_eq!([0, 999, 1_000, 1_234_567].map(text::grouped), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!(
        [(1, 3), (2, 2), (0, 0)].map(|(a, b)| text::percent(a, b)),
        ["33.3%", "100.0%", "-"]
    );
    let nanos = [999, 1_500, 2_000_000, 59_999_999_999, 60_000_000_000, 3_725_000_000_000];
    let words = nanos.map(|nanos| text::duration(Duration::from_nanos(nanos)));
    assert_eq!(words, ["999 ns", "1.5 us", "2 ms", "59.9 s", "1 min", "1 h 2 min"]);
    assert_eq!(text::sparkline(&[0, 1, 4, 8, 1_000]), "\u{b7}\u{2581}\u{2581}\u{2581}\u{2588}");
    assert_eq!(text::sparkline(&[0, u64::MAX]), "\u{b7}\u{2588}");
}

#[test]
fn the_traces_are_decided_as_by_the_oracle() -> Outcome {
    let both = intake::read_files(&[trace_path("conv"), trace_path("code")])?;
    let mut cast = Cast::new(42)?;
    let requests: Vec<Request> = both.calls.iter().map(|&call| cast.assign(call)).collect();
    let tally = decide_beside_oracle(&cast, &requests)?;
    for name in [rules::MODEL_TOKENS, rules::GPT_4_BURST, rules::TRIAL, rules::HOURLY_TOKENS] {
        let rule = tally.rules.iter().find(|rule| rule.name == name);
        assert!(rule.is_some_and(|rule| rule.refused.calls > 0), "{name} was put to no test");
    }
    Ok(())
}

#[test]
fn a_made_up_day_is_decided_as_by_the_oracle() -> Outcome {
    let mut cast = Cast::new(42)?;
    let requests = day::requests(&mut cast, 42, 200_000)?;
    let tally = decide_beside_oracle(&cast, &requests)?;
    for rule in tally.rules {
        assert!(rule.refused.calls > 0, "{} was put to no test", rule.name);
    }
    Ok(())
}

/// Gives each request to the engine and to the oracle, and compares every figure of every answer,
/// then what each rule admitted in all.
fn decide_beside_oracle(cast: &Cast, requests: &[Request]) -> Result<Tally, Box<dyn Error>> {
    let span = Span::of(requests).ok_or("no requests")?;
    let clock = ManualClock::new(span.first.into());
    let engine = rules::engine(clock.clone())?;
    let mut oracle = Oracle::new();
    let mut tally = Tally::new(cast.customers.len(), span)?;
    for (place, request) in requests.iter().enumerate() {
        clock.set(request.at.into());
        let decision = engine.track(&cast.event(request))?;
        tally.add(request, &decision);
        let verdict = oracle.decide(&see(cast, request));
        let limits = decision.rate_limits().map(|s| (s.name, s.exceeded, s.remaining));
        let quotas = decision.quotas().map(|s| (s.name, s.exceeded, s.remaining));
        let opinions = verdict.opinions.iter();
        let opinions = opinions.map(|&Opinion { rule, exceeded, remaining }| {
            (rule.into(), exceeded, remaining.into())
        });
        assert!(limits.chain(quotas).eq(opinions), "request {place}: {decision:?}, {verdict:?}");
        assert_eq!(decision.is_allowed(), verdict.is_allowed, "request {place}");
        let wait = match verdict.wait {
            Some(0) => None,
            Some(nanos) => Some(RetryAfter::After(Duration::from_nanos(nanos.try_into()?))),
            None => Some(RetryAfter::Never),
        };
        assert_eq!(decision.retry_after(), wait, "request {place}");
    }
    assert!(tally.rules.iter().map(totals).eq(oracle.totals()), "{tally:?}");
    Ok(tally)
}

fn see<'a>(cast: &'a Cast, request: &Request) -> Seen<'a> {
    let customer = &cast.customers[request.customer];
    let past = request.at - DateTime::UNIX_EPOCH;
    Seen {
        now: i128::from(past.num_seconds()) * 1_000_000_000 + i128::from(past.subsec_nanos()),
        customer: &customer.id,
        is_enterprise: customer.plan == cast::ENTERPRISE,
        team: &customer.team,
        model: MODELS[request.model].name,
        tokens: u64::from(request.input_tokens) + u64::from(request.output_tokens),
        cost_cents: request.cost_cents(),
    }
}

fn totals(rule: &RuleTally) -> (&'static str, Totals) {
    let totals = Totals {
        matched_calls: rule.matched.calls,
        refused_calls: rule.refused.calls,
        admitted_calls: rule.admitted.calls,
        admitted_tokens: rule.admitted.tokens(),
    };
    (rule.name, totals)
}
