//! How the program ends: the exit codes that scripts go by.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use limitry::errors::{BatchError, BuildError, ExportError, ImportError, StoreError};
use serde_json::json;

use crate::Failure;

/// Why it ends, as a script tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// For any other reason: a disk that is full, a server that does not answer.
    Failed,
    /// The store has damage.
    Damaged,
    /// Another engine has the store open.
    Locked,
    /// The store was written by a newer version.
    Newer,
    /// There is no such file.
    Missing,
    /// The file is something else than a store.
    Foreign,
    /// Lines or rules that were given are bad.
    BadInput,
}

impl Ended {
    /// The code and the word of it; 0 is success and 2 a usage error, which clap says.
    fn code(self) -> (u8, &'static str) {
        match self {
            Self::Failed => (1, "failed"),
            Self::Damaged => (3, "damaged"),
            Self::Locked => (4, "locked"),
            Self::Newer => (5, "newer"),
            Self::Missing => (6, "missing"),
            Self::Foreign => (7, "foreign"),
            Self::BadInput => (8, "bad_input"),
        }
    }

    fn of_store(why: &StoreError) -> Self {
        match why {
            StoreError::Locked { .. } => Self::Locked,
            StoreError::Newer { .. } | StoreError::UnknownKind { .. } => Self::Newer,
            StoreError::Foreign { .. } => Self::Foreign,
            StoreError::Damaged { .. } => Self::Damaged,
            StoreError::Io { kind: io::ErrorKind::NotFound, .. } => Self::Missing,
            _ => Self::Failed,
        }
    }

    fn of(why: &Failure) -> Self {
        let store = |why| Self::of_store(why);
        if let Some(why) = why.downcast_ref::<StoreError>() {
            return store(why);
        }
        match why.downcast_ref::<BuildError>() {
            Some(BuildError::Store(why)) => return store(why),
            Some(_) => return Self::Failed,
            None => {}
        }
        match why.downcast_ref::<ExportError>() {
            Some(ExportError::Store(why)) => return store(why),
            Some(_) => return Self::Failed,
            None => {}
        }
        match why.downcast_ref::<ImportError>() {
            Some(ImportError::Line { .. } | ImportError::Event { .. }) => return Self::BadInput,
            Some(ImportError::Batch { source: BatchError::Store(why), .. }) => return store(why),
            Some(_) => return Self::Failed,
            None => {}
        }
        if why.is::<crate::config_file::BadFile>() {
            return Self::BadInput;
        }
        why.downcast_ref::<Told>().map_or(Self::Failed, |told| told.ended)
    }
}

/// A reason that the program finds itself.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(crate) struct Told {
    ended: Ended,
    said: String,
}

impl Told {
    pub(crate) fn new(ended: Ended, said: impl Into<String>) -> Self {
        Self { ended, said: said.into() }
    }
}

/// Does work with files that may be damaged: what redb panics about there is caught and becomes an
/// error, which says all that its panic would.
pub(crate) fn quietly(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    panic::set_hook(Box::new(|_| {}));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    let _silent = panic::take_hook();
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(format!("a bug of this program: {text}").into())
    })
}

/// Says why, and ends so; as JSON on stdout as well where that is asked for.
pub(crate) fn with(why: &Failure, is_json: bool) -> ExitCode {
    let (code, word) = Ended::of(why).code();
    if is_json {
        let said = json!({"error": word, "message": why.to_string()});
        // Who does not read it is told by the code.
        let _read = writeln!(io::stdout(), "{said}");
    }
    eprintln!("limitry: {why}");
    ExitCode::from(code)
}
