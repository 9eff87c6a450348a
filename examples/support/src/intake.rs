//! Opens the trace files, and tells on stderr which lines had to be left out.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::progress;
use crate::trace::{self, BadLine, Call, TraceError};

/// After so many lines the rest is only counted: a broken file must not flood the terminal.
const REPORTS_MAX: u64 = 10;

/// The calls of all files in the order of their time, and how many lines were left out.
#[derive(Debug)]
pub struct Intake {
    pub calls: Vec<Call>,
    pub bad_lines: u64,
}

/// Reads the files and merges them in time; calls of one instant stay in the order given.
///
/// # Errors
/// When a file cannot be opened, or is no trace.
pub fn read_files(paths: &[PathBuf]) -> Result<Intake, FileError> {
    let mut intake = Intake { calls: Vec::new(), bad_lines: 0 };
    for path in paths {
        let read = intake.read_file(path);
        read.map_err(|error| FileError { path: path.clone(), error })?;
    }
    if intake.bad_lines > REPORTS_MAX {
        eprintln!("and {} more such lines", intake.bad_lines - REPORTS_MAX);
    }
    intake.calls.sort_by_key(|call| call.at);
    Ok(intake)
}

impl Intake {
    fn read_file(&mut self, path: &Path) -> Result<(), TraceError> {
        let file = File::open(path)?;
        let bar = progress::reading(file.metadata()?.len());
        let calls = trace::read(BufReader::new(bar.wrap_read(file)), |BadLine { line, reason }| {
            self.bad_lines += 1;
            if self.bad_lines <= REPORTS_MAX {
                bar.suspend(|| eprintln!("{}:{line}: left out: {reason}", path.display()));
            }
        });
        bar.finish_and_clear();
        self.calls.extend(calls?);
        Ok(())
    }
}

/// A file that could not be read at all.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    error: TraceError,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}: {}", self.path.display(), self.error)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
