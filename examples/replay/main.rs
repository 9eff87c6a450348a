//! Replays LLM traffic through an engine in the traffic's own time, and prints what an operator
//! wants to see: who got in, which rule kept whom out, for how long, and what deciding cost.
//!
//! ```text
//! cargo run --profile quick --example replay              # a made-up day of traffic, built sooner
//! cargo run --release --example replay -- TRACE.csv ...   # Azure LLM inference traces
//! ```
//!
//! The way of the data: of `examples/support`, `intake` reads files with `trace`, or `day` makes
//! requests up, and `cast` says who calls; `drive` sends each request through the engine that
//! `rules` built and has `tally` count the decision; `report` puts the tally into words.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a program: sums of what memory holds, places its own draw gave, nothing exported"
)]

mod args;
mod drive;
mod report;
mod rules;
mod tally;

use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use limitry::Timestamp;
use limitry::time::ManualClock;

use args::Command;
use example_support::cast::{Cast, Request};
use example_support::{day, intake, text};

/// How many calls a made-up day has.
const DAY_CALLS: u32 = 200_000;

fn main() -> ExitCode {
    let outcome = match Command::parse(env::args_os().skip(1)) {
        Ok(Command::Help) => print(args::USAGE),
        Ok(Command::Replay { seed, paths }) => replay(seed, &paths),
        Err(problem) => {
            eprintln!("replay: {problem}; --help tells more");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64, paths: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let mut cast = Cast::new(seed)?;
    let (requests, source) = requests(&mut cast, seed, paths)?;
    // The first request sets the clock, so where it starts is all the same.
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let engine = rules::engine(clock.clone())?;
    let Some((tally, pace)) = drive::replay(&engine, &clock, &cast, &requests)? else {
        return Err("the trace holds no call".into());
    };
    print(&report::render(&source, &cast, &tally, &pace))
}

/// The requests to replay, and a line that says where they come from.
fn requests(
    cast: &mut Cast,
    seed: u64,
    paths: &[PathBuf],
) -> Result<(Vec<Request>, String), Box<dyn Error>> {
    if paths.is_empty() {
        let requests = day::requests(cast, seed, DAY_CALLS)?;
        return Ok((requests, format!("a made-up day of traffic, seed {seed}")));
    }
    let intake = intake::read_files(paths)?;
    let requests = intake.calls.into_iter().map(|call| cast.assign(call)).collect();
    let files = match paths {
        [path] => path.display().to_string(),
        _ => format!("{} files merged in time", paths.len()),
    };
    let left_out = match intake.bad_lines {
        0 => String::new(),
        lines => format!(", lines left out: {}", text::grouped(lines)),
    };
    Ok((requests, format!("{files}{left_out}, seed {seed}")))
}

/// Writes to stdout. A reader that has seen enough (`replay | head`) is no error.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write the report: {error}").into())
        }
        _ => Ok(()),
    }
}
