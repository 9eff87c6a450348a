//! limitry beside what users would run today: the same calls, the same answers, timed.
//!
//! `cargo run --release -p limitry-peers` prints the tables of `docs/figures.md`. See README.md
//! in this folder for how to read them, how they are measured, and the other commands.

mod bucket_peers;
mod by_hand;
mod cases;
mod counting;
mod decision_cases;
mod durable_cases;
mod floor;
mod limitador_side;
mod limitry_side;
mod measure;
mod month;
mod peers;
mod profile;
mod replay_cases;
mod report;
mod same_work;
mod sqlite_side;
mod traffic;
mod usage_cases;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const USAGE: &str = "\
usage: limitry-peers [--quick] [--only TEXT] [--json FILE]   the tables, on stdout
       limitry-peers profile CASE CALLS    run one case and nothing else, for valgrind and perf
       limitry-peers floor                 what a hash, a look-up, a lock and a clock cost here";

/// What the command line asks of a comparison run.
#[derive(Debug, Default)]
pub struct Options {
    quick: bool,
    only: Option<String>,
    json: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["profile", case, calls] => match calls.parse() {
            Ok(calls) => profile::run(case, calls),
            Err(_) => usage(),
        },
        ["floor"] => floor::run(),
        [durable_cases::CHILD, path, events, customers] => {
            durable_cases::record_until_killed(path, events, customers)
        }
        _ => match options(&words) {
            Some(options) => compare(&options),
            None => usage(),
        },
    }
}

fn options(words: &[&str]) -> Option<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--quick" => options.quick = true,
            "--only" => options.only = Some((*words.next()?).to_owned()),
            "--json" => options.json = Some((*words.next()?).to_owned()),
            _ => return None,
        }
    }
    Some(options)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}\ncases to profile: {}", profile::NAMES.join(", "));
    ExitCode::from(2)
}

fn compare(options: &Options) -> ExitCode {
    if let Some(text) = &options.only
        && !cases::has(text)
    {
        eprintln!("no case of the tables has {text:?} among its words");
        return ExitCode::from(2);
    }
    let sections = cases::run(options);
    print!("{}", report::markdown(&sections, options.quick));
    if let Some(path) = &options.json
        && let Err(error) = std::fs::write(path, report::json(&sections))
    {
        eprintln!("{path}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
