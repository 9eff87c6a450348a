//! `limitry simulate`: what other rules would have done.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::Args;
use limitry::Engine;
use limitry::events::Recording;
use limitry::simulation::{Attempt, Traffic};

use crate::bar::Bar;
use crate::ended::{Ended, Told};
use crate::store::{lines_of, say};
use crate::{Failure, config_file};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// A file of rules, as TOML.
    rules: PathBuf,
    /// A file of events, as `limitry store export` writes them; `-` is stdin.
    #[arg(long)]
    events: PathBuf,
    /// How many keys are told of each rule, those that were refused the most.
    #[arg(long, default_value_t = 10)]
    keys: usize,
    /// Writes one object of JSON to stdout in place of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints what the rules would have made of the events.
pub(crate) fn run(asked: &Simulate) -> Result<(), Failure> {
    let rules = config_file::read(&asked.rules)?.set;
    let attempts = read(&asked.events)?;
    let engine = Engine::builder().recording(Recording::Off).build()?;
    let mut bar = Bar::new("replaying calls");
    let traffic = Traffic::given(&attempts).keys(asked.keys).progress(|told| bar.tell(told));
    let report = engine.simulate(rules, traffic)?;
    drop(bar);
    say(asked.json, &report, report.to_string().trim_end())
}

/// The calls of a file, in the order of their time.
fn read(path: &Path) -> Result<Vec<Attempt<'static>>, Failure> {
    let (name, lines) = (path.display(), lines_of(path)?);
    let mut attempts = Vec::new();
    for (number, line) in (1_u64..).zip(lines.lines()) {
        let line = line.map_err(|why| format!("{name}: line {number}: {why}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let attempt: Result<Attempt<'_>, _> = line.parse();
        attempts.push(
            attempt.map_err(|why| {
                Told::new(Ended::BadInput, format!("{name}: line {number}: {why}"))
            })?,
        );
    }
    attempts.sort_by_key(Attempt::at);
    Ok(attempts)
}
