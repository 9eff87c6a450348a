//! `limitry store`: the upkeep of a store that no engine has open.
//!
//! What only looks at a store opens it copy-on-write, so that not a byte of the file changes; all
//! of it goes by the rules and settings that are in the store.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use axum::http::Uri;
use clap::{Args, Subcommand};
use limitry::events::Recording;
use limitry::store::{Durability, Durable};
use limitry::{Engine, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::bar::Bar;
use crate::client::Server;
use crate::{Failure, report};

mod info;
mod lines;
mod remote;

pub(crate) use self::lines::lines_of;

#[derive(Debug, Args)]
pub(crate) struct Store {
    /// Writes one object of JSON to stdout in place of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is in a store: its format, rules, counters and events. Changes nothing.
    Info {
        /// The file of the store.
        file: PathBuf,
    },
    /// Checks every page, checksum, counter and sum of a store. Changes nothing.
    Verify(Checked),
    /// Makes the file of a store as small as it can be.
    Compact {
        /// The file of the store.
        file: PathBuf,
    },
    /// Copies a store to a new file, in the newest format. Changes nothing.
    Backup(Copied),
    /// Writes the events of a store as lines of JSON. Changes nothing.
    Export(Exported),
    /// Records the events of lines of JSON, whatever the rules say.
    Import(Imported),
    /// Reports who used what, by what is in a store. Changes nothing.
    Report {
        /// The file of the store.
        file: PathBuf,
        #[command(flatten)]
        of: report::Options,
    },
}

/// A store's file, or the server that has it open.
#[derive(Debug, Args)]
struct Checked {
    /// The file of the store.
    #[arg(required_unless_present = "url", conflicts_with = "url")]
    file: Option<PathBuf>,
    #[command(flatten)]
    server: Remote,
}

#[derive(Debug, Args)]
struct Copied {
    /// The file of the store.
    #[arg(required_unless_present = "url", conflicts_with = "url")]
    file: Option<PathBuf>,
    /// The new file; with `--url` the server names it, in its folder of backups.
    #[arg(required_unless_present = "url", conflicts_with = "url")]
    to: Option<PathBuf>,
    #[command(flatten)]
    server: Remote,
}

/// A running server, in place of a file.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    /// A running server, as http://127.0.0.1:8700, in place of a file.
    #[arg(long)]
    pub(crate) url: Option<Uri>,
    /// A key that may; the environment's LIMITRY_KEY where it is left out.
    #[arg(long, requires = "url")]
    pub(crate) key: Option<String>,
}

impl Remote {
    pub(crate) fn server(&self) -> Option<Server> {
        self.url.clone().map(|url| Server { url, key: self.key.clone() })
    }
}

#[derive(Debug, Args)]
struct Exported {
    /// The file of the store.
    file: PathBuf,
    /// The new file of lines; stdout where it is left out.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Only events of a customer.
    #[arg(long)]
    customer: Option<String>,
    /// Only events from an instant on, as 2026-01-31T00:00:00Z.
    #[arg(long)]
    start: Option<Timestamp>,
    /// Only events before an instant.
    #[arg(long)]
    end: Option<Timestamp>,
}

#[derive(Debug, Args)]
struct Imported {
    /// The file of the store.
    file: PathBuf,
    /// The file of lines; `-` is stdin.
    lines: PathBuf,
    /// Leaves bad lines out and says which; otherwise the first ends the import.
    #[arg(long)]
    skip_bad: bool,
    /// Makes the store where there is none.
    #[arg(long)]
    create: bool,
}

/// Does what is asked for.
pub(crate) fn run(asked: Store) -> Result<(), Failure> {
    let is_json = asked.json;
    match asked.command {
        Command::Info { file } => info::run(&file, is_json),
        Command::Verify(Checked { file: Some(file), .. }) => verify(&file, is_json),
        Command::Verify(Checked { server, .. }) => remote::verify(&server, is_json),
        Command::Compact { file } => compact(&file, is_json),
        Command::Backup(Copied { file: Some(file), to: Some(to), .. }) => {
            backup(&file, &to, is_json)
        }
        Command::Backup(Copied { server, .. }) => remote::backup(&server, is_json),
        Command::Export(asked) => lines::export(&asked, is_json),
        Command::Import(asked) => lines::import(&asked, is_json),
        Command::Report { file, of } => report::of_store(&file, &of, is_json),
    }
}

/// Opens a store to look at it: the file stays as it is.
pub(crate) fn look_at(file: &Path) -> Result<(Durable, Bar), Failure> {
    let bar = Bar::new("checking pages");
    let store = Durable::options().copy_on_write(true).open(file)?;
    Ok((store, bar))
}

/// The engine of a store, as it was left.
pub(crate) fn engine_of(store: Durable) -> Result<Engine, Failure> {
    Ok(Engine::builder().durable(store).as_stored().build()?)
}

/// The same for what reads no event from memory.
fn engine_without_events(store: Durable) -> Result<Engine, Failure> {
    Ok(Engine::builder().durable(store).as_stored().recording(Recording::Newest(1)).build()?)
}

/// Opens a store to write to it.
fn write_to(file: &Path, create: bool) -> Result<(Engine, Bar), Failure> {
    if !create || file.exists() {
        // Whoever opens it to write has redb repair it, and only then reads what is in it.
        let (looked_at, _bar) = look_at(file)?;
        engine_of(looked_at)?;
    }
    let bar = Bar::new("checking pages");
    let store = Durable::options().create(create).open(file)?;
    Ok((engine_of(store.durability(Durability::Buffered))?, bar))
}

/// Says what was done: one object of JSON, or a line of text.
pub(crate) fn say(is_json: bool, body: &impl Serialize, text: &str) -> Result<(), Failure> {
    let said = if is_json { &serde_json::to_string(body)? } else { text };
    match writeln!(io::stdout(), "{said}") {
        // A reader that has seen enough, as `head`, is no error.
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(why.into()),
        _ => Ok(()),
    }
}

fn verify(file: &Path, is_json: bool) -> Result<(), Failure> {
    let (store, mut bar) = look_at(file)?;
    let engine = engine_without_events(store)?;
    let report = engine.store().verify(|progress| bar.tell(progress))?;
    drop(bar);
    let body = json!({"file": file, "good": true, "report": report});
    say(is_json, &body, &format!("{}: {}", file.display(), remote::verified(&body)))
}

fn compact(file: &Path, is_json: bool) -> Result<(), Failure> {
    let size = || Ok::<_, Failure>(std::fs::metadata(file)?.len());
    let (engine, mut bar) = write_to(file, false)?;
    let before = size()?;
    engine.store().compact(|progress| bar.tell(progress))?;
    // A checkpoint would need room again, and nothing was recorded.
    engine.store().flush()?;
    drop(engine);
    drop(bar);
    let after = size()?;
    let body = json!({"file": file, "bytesBefore": before, "bytesAfter": after});
    say(is_json, &body, &format!("{}: {before} bytes before, {after} now", file.display()))
}

fn backup(file: &Path, to: &Path, is_json: bool) -> Result<(), Failure> {
    let (store, mut bar) = look_at(file)?;
    let engine = engine_without_events(store)?;
    engine.store().backup(to, |progress| bar.tell(progress))?;
    drop(bar);
    let bytes = std::fs::metadata(to)?.len();
    let body = json!({"file": file, "to": to, "bytes": bytes});
    say(is_json, &body, &format!("{}: {bytes} bytes copied to {}", file.display(), to.display()))
}
