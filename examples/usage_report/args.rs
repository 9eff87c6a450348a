//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
Replays LLM traffic into a limitry engine, in the traffic's own time, and reports who used what.

Usage: usage_report [--html FILE] [--seed N] [TRACE.csv ...]

  TRACE.csv    files with the columns TIMESTAMP,ContextTokens,GeneratedTokens, such as the Azure
               LLM inference traces; each is a service, and several are merged in time. Without
               any, a day of traffic is made up.
  --html FILE  writes the report as a page too, with its charts, that needs no network
  --seed N     the draw of customers and models, and of the made-up day (default 42)
  -h, --help   this text

Lines that cannot be read are named on stderr and left out. Exit codes: 0 the report is printed,
1 a file cannot be read or written or holds no call, 2 the command line is wrong.
";

const SEED_DEFAULT: u64 = 42;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Report(Options),
}

/// What to report about, and where to.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub html: Option<PathBuf>,
    pub paths: Vec<PathBuf>,
}

impl Command {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut options = Options { seed: SEED_DEFAULT, html: None, paths: Vec::new() };
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.to_str().and_then(|text| text.split_once('=')) {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.into())),
                _ => (arg.to_str().unwrap_or_default(), None),
            };
            let is_bare = inline.is_none();
            let value = || inline.or_else(|| args.next());
            match name {
                "-h" | "--help" if is_bare => return Ok(Self::Help),
                "--" if is_bare => options.paths.extend(args.by_ref().map(PathBuf::from)),
                "--seed" => options.seed = parse_seed(value())?,
                "--html" => options.html = Some(parse_file(value())?),
                _ if name.starts_with('-') => return Err(format!("unknown option {name}")),
                _ => options.paths.push(PathBuf::from(arg)),
            }
        }
        Ok(Self::Report(options))
    }
}

fn parse_seed(value: Option<OsString>) -> Result<u64, String> {
    let number = value.and_then(|value| value.to_str()?.parse().ok());
    number.ok_or_else(|| "--seed wants a whole number from 0 to 2^64 - 1".to_owned())
}

fn parse_file(value: Option<OsString>) -> Result<PathBuf, String> {
    let named = value.filter(|value| !value.is_empty());
    named.map(PathBuf::from).ok_or_else(|| "--html wants the name of a file".to_owned())
}
