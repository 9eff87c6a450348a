//! Replays LLM traffic into an engine, in the traffic's own time, and asks it who used what: the
//! totals, the models, the customers, five minutes by five minutes, as text and as a web page.
//!
//! ```text
//! cargo run --release --example usage_report                      # a made-up day of traffic
//! cargo run --release --example usage_report -- TRACE.csv ...     # Azure LLM inference traces
//! cargo run --release --example usage_report -- --html usage.html TRACE.csv ...
//! ```
//!
//! The way of the data: `traffic` says who calls which service; `recording` sends each call into
//! an engine; `figures` asks the engine; `terminal` puts the figures into words, `page` and
//! `charts` into a page that needs no network. What reads traces and makes days up is shared
//! with the example `replay`: `examples/support`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a program: sums of what memory holds, places its own draw gave, nothing exported"
)]

mod args;
mod charts;
mod figures;
mod page;
mod recording;
mod terminal;
mod traffic;
mod words;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use args::{Command, Options};
use figures::Figures;
use traffic::Traffic;

/// How many calls a made-up day has.
const DAY_CALLS: u32 = 200_000;

fn main() -> ExitCode {
    let outcome = match Command::parse(env::args_os().skip(1)) {
        Ok(Command::Help) => print(args::USAGE),
        Ok(Command::Report(options)) => report(&options),
        Err(problem) => {
            eprintln!("usage_report: {problem}; --help tells more");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usage_report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> Result<(), Box<dyn Error>> {
    let traffic = if options.paths.is_empty() {
        Traffic::made_up(options.seed, DAY_CALLS)?
    } else {
        Traffic::of_traces(options.seed, &options.paths)?
    };
    let span = traffic.span().ok_or("the trace holds no call")?;
    let (engine, recording) = recording::record(&traffic)?;
    let figures = Figures::ask(&engine, span)?;
    print(&terminal::render(&traffic.source, &figures, recording))?;
    match &options.html {
        Some(path) => write_page(path, &page::render(&traffic.source, &figures)?),
        None => Ok(()),
    }
}

fn write_page(path: &Path, page: &str) -> Result<(), Box<dyn Error>> {
    let name = path.display();
    fs::write(path, page).map_err(|error| format!("cannot write {name}: {error}"))?;
    print(&format!("\nthe page is in {name}\n"))
}

/// Writes to stdout. A reader that has seen enough (`usage_report | head`) is no error.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write the report: {error}").into())
        }
        _ => Ok(()),
    }
}
