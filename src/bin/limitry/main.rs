//! The program: an engine behind the product's HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::Uri;
use clap::{Args, Parser, Subcommand};
use limitry::http::{ApiKey, Generation, Scope};

use crate::config_file::SECONDS;

mod config_file;
mod demo;
mod keys;
mod plan;
mod rules_file;
mod serve;
mod signals;

/// Rate limits, quotas and usage metering behind the product's HTTP API.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves an engine. Without arguments it is one in memory, with rules to try and fresh keys.
    Serve(Serve),
    /// Says what is wrong with a file of rules, or that nothing is.
    Check {
        /// A file of rules, as TOML.
        rules: PathBuf,
    },
    /// Says what a running server would change to have the rules of a file: ends with 0 where that
    /// is nothing, with 2 where it is something, and with 1 where that cannot be said.
    Plan(Plan),
    /// Keys of the API.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// A file of rules, as TOML, with what the server and the engine are beside them; rules are
    /// read again when it changes, and on SIGHUP. Arguments win over it.
    #[arg(long, visible_alias = "config")]
    rules: Option<PathBuf>,
    /// The file in which the engine survives; made where it is not there.
    #[arg(long)]
    store: Option<PathBuf>,
    /// A file of keys, as `limitry key new` prints them. Fresh keys are printed without one.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// The project that the engine is, where there is no file of keys [default: proj_default].
    #[arg(long)]
    project: Option<String>,
    /// Where it listens [default: 127.0.0.1:8700].
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// The folder for copies of the store that are asked for over HTTP; none are made without one.
    #[arg(long)]
    backups: Option<PathBuf>,
    /// How many connections are open at once; others wait [default: 4096].
    #[arg(long)]
    max_connections: Option<usize>,
    /// How many bytes a body has at most [default: 4194304].
    #[arg(long)]
    max_body_bytes: Option<usize>,
    /// How long a request's head may take to come, and a connection be idle, in seconds
    /// [default: 30].
    #[arg(long, value_parser = seconds)]
    head_timeout: Option<Duration>,
    /// How long a request may take, its body with it, in seconds [default: 60].
    #[arg(long, value_parser = seconds)]
    request_timeout: Option<Duration>,
    /// How long requests under way may take when the server stops, in seconds [default: 20].
    #[arg(long, value_parser = seconds)]
    stop_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
struct Plan {
    /// A file of rules, as TOML.
    rules: PathBuf,
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8700")]
    url: Uri,
    /// A key that reads; the environment's LIMITRY_KEY where it is left out.
    #[arg(long)]
    key: Option<String>,
    /// What would become of rules that the file does not name.
    #[arg(long, default_value = "keep", value_parser = ["keep", "archive", "remove"])]
    missing: String,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes a key: prints it once, and its lines for the file of keys.
    New {
        /// The project that it opens.
        #[arg(long)]
        project: String,
        /// What it may be used for: all, read or record.
        #[arg(long, default_value = "all", value_parser = scope)]
        scope: Scope,
        /// The API that it speaks: 1, 2 or 3.
        #[arg(long, default_value = "1", value_parser = generation)]
        generation: Generation,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
    },
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| SECONDS.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "must be 1 to 86400 seconds".to_owned())
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "all" => Ok(Scope::All),
        "read" => Ok(Scope::Read),
        "record" => Ok(Scope::Record),
        _ => Err("must be all, read or record".to_owned()),
    }
}

fn generation(text: &str) -> Result<Generation, String> {
    let number: u8 = text.parse().map_err(|_| "must be 1, 2 or 3".to_owned())?;
    Generation::try_from(number)
}

/// Why the program ends; said to who started it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Plan(options) => match plan::run(&options) {
            Ok(true) => return ExitCode::from(2),
            done => done.map(drop),
        },
        Command::Serve(options) => serve::run(options),
        Command::Check { rules } => check(&rules),
        Command::Key { command: KeyCommand::New { project, scope, generation, name } } => {
            new_key(project, scope, generation, name)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("limitry: {why}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &std::path::Path) -> Result<(), Failure> {
    let rules = config_file::read(path)?;
    let (limits, quotas) = (rules.set.rate_limits.len(), rules.set.quotas.len());
    println!("{}: {limits} rate limits and {quotas} quotas, all good", path.display());
    Ok(())
}

fn new_key(
    project: String,
    scope: Scope,
    generation: Generation,
    name: Option<String>,
) -> Result<(), Failure> {
    let key = keys::fresh(generation)?;
    let mut kept = ApiKey::new(&key, project).ok_or("a fresh key is one of its generation")?;
    kept = kept.scope(scope);
    if let Some(name) = name {
        kept = kept.name(name);
    }
    println!("key {key}\n\n# For the file of keys; the key itself is in no file.\n[[keys]]");
    print!("{}", toml::to_string(&kept)?);
    Ok(())
}
