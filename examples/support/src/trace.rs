//! Reads LLM traces in the form of the Azure data set: `TIMESTAMP,ContextTokens,GeneratedTokens`.
//!
//! A trace comes from outside, so nothing in it is taken on trust. A line that cannot be read is
//! handed to the caller with its number and the reason, and reading goes on; only a failing disk
//! or a file without the three columns ends it. No input makes the reader panic or grow without
//! bound.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, Read};

use chrono::{DateTime, NaiveDateTime, Utc};

/// The most bytes that a line may have, with its end. A real one has some forty.
const LINE_BYTES_MAX: u64 = 4_096;

/// One call to a model, as the trace tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub at: DateTime<Utc>,
    pub input_tokens: u32,
    pub output_tokens: u32,
}

/// Reads every call of `input` in the order of its lines; `on_bad` hears of the lines left out.
///
/// Columns are found by name, in any order and among others. Lines may end in LF, CRLF or, the
/// last one, in nothing at all; empty lines mean nothing.
///
/// # Errors
/// When `input` fails, or when its first line does not name the three columns.
pub fn read(input: impl BufRead, mut on_bad: impl FnMut(BadLine)) -> Result<Vec<Call>, TraceError> {
    let mut lines = Lines { input, buffer: Vec::new(), number: 0 };
    let columns = match lines.next()? {
        Some(Ok(header)) => Columns::find(header)?,
        Some(Err(reason)) => return Err(TraceError::Header(reason.to_string())),
        None => return Err(TraceError::Header("the file is empty".to_owned())),
    };
    let mut calls = Vec::new();
    while let Some(line) = lines.next()? {
        match line.and_then(|text| columns.parse(text)) {
            Ok(Some(call)) => calls.push(call),
            Ok(None) => {}
            Err(reason) => on_bad(BadLine { line: lines.number, reason }),
        }
    }
    Ok(calls)
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The first line of a file is line 1, as editors count.
    pub line: u64,
    pub reason: Reason,
}

/// Why a line could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    TooLong,
    NotUtf8,
    FieldCount { found: usize, expected: usize },
    Timestamp(String),
    Tokens { column: &'static str, found: String },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {LINE_BYTES_MAX} bytes"),
            Self::NotUtf8 => write!(f, "not UTF-8 text"),
            Self::FieldCount { found, expected } => {
                write!(f, "{found} fields where the header has {expected}")
            }
            Self::Timestamp(found) => {
                write!(f, "TIMESTAMP {found:?} is not a time like 2023-11-16 18:15:46.6805900")
            }
            Self::Tokens { column, found } => {
                write!(f, "{column} {found:?} is not a whole number from 0 to {}", u32::MAX)
            }
        }
    }
}

/// Why a whole trace could not be read.
#[derive(Debug)]
pub enum TraceError {
    Io(io::Error),
    Header(String),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Header(reason) => {
                write!(f, "line 1 is not the header {}: {reason}", Columns::NAMES.join(","))
            }
        }
    }
}

impl Error for TraceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Header(_) => None,
        }
    }
}

impl From<io::Error> for TraceError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The lines of a file, one at a time in one buffer, however long they claim to be.
struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// The number of the line that `next` gave last.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end, or why its text cannot be had; `None` after the last.
    fn next(&mut self) -> io::Result<Option<Result<&str, Reason>>> {
        self.buffer.clear();
        let mut bounded = self.input.by_ref().take(LINE_BYTES_MAX);
        if bounded.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let cut_short = bounded.limit() == 0 && !self.buffer.ends_with(b"\n");
        if cut_short && self.input.skip_until(b'\n')? > 0 {
            return Ok(Some(Err(Reason::TooLong)));
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|_| Reason::NotUtf8);
        Ok(Some(text.map(|text| text.trim_end_matches(['\r', '\n']))))
    }
}

/// Where the three columns stand, counted from 0, and how many columns there are.
struct Columns {
    timestamp: usize,
    input_tokens: usize,
    output_tokens: usize,
    count: usize,
}

impl Columns {
    const TIMESTAMP: &str = "TIMESTAMP";
    const INPUT: &str = "ContextTokens";
    const OUTPUT: &str = "GeneratedTokens";
    const NAMES: [&str; 3] = [Self::TIMESTAMP, Self::INPUT, Self::OUTPUT];

    fn find(header: &str) -> Result<Self, TraceError> {
        let header = header.trim_start_matches('\u{feff}');
        let position = |name: &str| {
            let mut names = header.split(',');
            let found = names.position(|field| field.trim().eq_ignore_ascii_case(name));
            found.ok_or_else(|| TraceError::Header(format!("it has no column {name}")))
        };
        Ok(Self {
            timestamp: position(Self::TIMESTAMP)?,
            input_tokens: position(Self::INPUT)?,
            output_tokens: position(Self::OUTPUT)?,
            count: header.split(',').count(),
        })
    }

    /// The call that a line tells of; `None` for an empty line.
    fn parse(&self, line: &str) -> Result<Option<Call>, Reason> {
        if line.trim().is_empty() {
            return Ok(None);
        }
        let found = line.split(',').count();
        if found != self.count {
            return Err(Reason::FieldCount { found, expected: self.count });
        }
        let field = |index| line.split(',').nth(index).unwrap_or_default().trim();
        let tokens = |column, text: &str| {
            text.parse().map_err(|_| Reason::Tokens { column, found: excerpt(text) })
        };
        let at = field(self.timestamp);
        Ok(Some(Call {
            at: parse_timestamp(at).ok_or_else(|| Reason::Timestamp(excerpt(at)))?,
            input_tokens: tokens(Self::INPUT, field(self.input_tokens))?,
            output_tokens: tokens(Self::OUTPUT, field(self.output_tokens))?,
        }))
    }
}

/// UTC as the traces of 2023 write it, or with an offset as those of 2024 do.
fn parse_timestamp(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(utc) = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f") {
        return Some(utc.and_utc());
    }
    let with_offset = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z").ok()?;
    Some(with_offset.to_utc())
}

/// Enough of a field to know it by in a report.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
