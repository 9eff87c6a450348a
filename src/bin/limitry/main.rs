//! The program: an engine behind the product's HTTP API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use limitry::http::{ApiKey, Generation, Scope};

use crate::config_file::SECONDS;

mod bar;
mod client;
mod config_file;
mod demo;
mod ended;
mod keys;
mod plan;
mod report;
mod rules_file;
mod serve;
mod signals;
mod simulate;
mod store;
mod top;
mod until_stop;
mod webhooks;

/// Rate limits, quotas and usage metering behind the product's HTTP API.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed for another reason than these; 2 the arguments are wrong (of `plan`: \
something would change); 3 the store is damaged; 4 another engine has it open; 5 a newer version \
wrote it; 6 there is no such file; 7 the file is no store; 8 lines or rules that were given are \
bad.";

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
    /// is nothing, with 2 where it is something, and with another code where that cannot be said.
    Plan(Plan),
    /// The upkeep of a store that no engine has open.
    Store(store::Store),
    /// Says what rules of a file would have done with events that were exported.
    Simulate(simulate::Simulate),
    /// Reports who used what, by a store that no engine has open or by a running server.
    Report(report::Report),
    /// Shows what a running server does, in a terminal.
    Top(top::Top),
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
    /// Serves an engine in memory with rules, a month's history and calls that are made up, to look
    /// at the page.
    #[arg(long, conflicts_with_all = ["rules", "store"])]
    demo: bool,
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
    #[command(flatten)]
    server: client::Server,
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
    let command = Cli::parse().command;
    let is_json = match &command {
        Command::Store(asked) => asked.json,
        Command::Simulate(asked) => asked.json,
        Command::Report(asked) => asked.json,
        _ => false,
    };
    let done = match command {
        Command::Plan(options) => match plan::run(&options) {
            Ok(true) => return ExitCode::from(2),
            done => done.map(drop),
        },
        Command::Serve(options) => serve::run(options),
        Command::Check { rules } => check(&rules),
        Command::Store(asked) => ended::quietly(|| store::run(asked)),
        Command::Simulate(asked) => simulate::run(&asked),
        Command::Report(asked) => ended::quietly(|| report::run(&asked)),
        Command::Top(asked) => top::run(&asked),
        Command::Key { command: KeyCommand::New { project, scope, generation, name } } => {
            new_key(project, scope, generation, name)
        }
    };
    done.map_or_else(|why| ended::with(&why, is_json), |()| ExitCode::SUCCESS)
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
