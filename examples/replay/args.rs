//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
Replays LLM traffic through a limitry engine, in the traffic's own time, and reports who got in.

Usage: replay [--seed N] [TRACE.csv ...]

  TRACE.csv   files with the columns TIMESTAMP,ContextTokens,GeneratedTokens, such as the Azure
              LLM inference traces; several are merged in time. Without any, a day of traffic
              is made up.
  --seed N    the draw of customers, teams and models, and of the made-up day (default 42)
  -h, --help  this text

Lines that cannot be read are named on stderr and left out. Exit codes: 0 the report is printed,
1 a file cannot be read or holds no call, 2 the command line is wrong.
";

const SEED_DEFAULT: u64 = 42;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Replay { seed: u64, paths: Vec<PathBuf> },
}

impl Command {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut seed = SEED_DEFAULT;
        let mut paths = Vec::new();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("-h" | "--help") => return Ok(Self::Help),
                Some("--") => paths.extend(args.by_ref().map(PathBuf::from)),
                Some("--seed") => seed = parse_seed(args.next().as_ref().and_then(|s| s.to_str()))?,
                Some(text) if text.starts_with("--seed=") => {
                    seed = parse_seed(text.strip_prefix("--seed="))?;
                }
                Some(text) if text.starts_with('-') => {
                    return Err(format!("unknown option {text}"));
                }
                _ => paths.push(PathBuf::from(arg)),
            }
        }
        Ok(Self::Replay { seed, paths })
    }
}

fn parse_seed(text: Option<&str>) -> Result<u64, String> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| "--seed wants a whole number from 0 to 2^64 - 1".to_owned())
}
