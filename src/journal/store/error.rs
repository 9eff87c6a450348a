//! What can be wrong with a store.

use std::io;

/// Why a store could not be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another engine, in this process or in another one, has the file open.
    #[error("{file}: is open in another engine; a store has one engine at a time")]
    Locked {
        /// The file.
        file: Box<str>,
    },
    /// The file was written by a newer version of this crate, in a format that this one does not
    /// read.
    #[error("{file}: format {found} is newer than {known}, the newest that this version reads")]
    Newer {
        /// The file.
        file: Box<str>,
        /// The format of the file.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The file is something else than a store of this crate. None of its contents was changed.
    #[error("{file}: is not a store of limitry: {detail}")]
    Foreign {
        /// The file.
        file: Box<str>,
        /// How that was found out.
        detail: Box<str>,
    },
    /// A part of the file is missing, or is not what was written.
    ///
    /// What redb makes of damaged pages may be a panic. It is caught and becomes this error, after
    /// the program's panic hook was called; a program built with `panic = "abort"` ends there.
    #[error("{file}: {what} is damaged: {detail}")]
    Damaged {
        /// The file.
        file: Box<str>,
        /// The part of it.
        what: Box<str>,
        /// What is wrong with it.
        detail: Box<str>,
    },
    /// A record is of a kind that this version does not know: a newer one wrote it. What comes
    /// after it may depend on it, so nothing is read.
    #[error("{file}: record {record} is of kind {kind}, which this version does not read")]
    UnknownKind {
        /// The file.
        file: Box<str>,
        /// The number of the record.
        record: u64,
        /// The number of the kind, with its name where that is known.
        kind: Box<str>,
    },
    /// The operating system, or the application's `Storage`, failed to open, read
    /// or write.
    #[error("{file}: {action}: {message}")]
    Io {
        /// The file.
        file: Box<str>,
        /// What was being done.
        action: &'static str,
        /// The kind of its error.
        kind: io::ErrorKind,
        /// Its message.
        message: Box<str>,
    },
    /// An earlier error, or a panic of the thread that writes, stopped the store: it takes nothing
    /// until it is opened again.
    #[error("{file}: failed before and takes nothing until it is opened again: {cause}")]
    Failed {
        /// The file.
        file: Box<str>,
        /// The first error.
        cause: Box<str>,
    },
    /// The engine asked the store for a transaction that makes no sense: a bug in this crate.
    #[error("{file}: a batch {rule}: {detail}")]
    Batch {
        /// The file.
        file: Box<str>,
        /// The rule that the transaction breaks.
        rule: &'static str,
        /// What it has in place of that.
        detail: Box<str>,
    },
    /// A call came out of the caller's own code in the middle of the store's work, and would wait
    /// for itself: out of a method of a `Storage` what needs the store or waits
    /// for a commit, out of a function that is told of progress what needs the store to itself.
    #[error("{file}: {call} would wait for itself: it was called by {callback}")]
    WithinItself {
        /// The file.
        file: Box<str>,
        /// What was called.
        call: &'static str,
        /// What called it.
        callback: &'static str,
    },
    /// There is nothing to back up: the engine has no store.
    #[error("{file}: is not made: the engine has no store")]
    NoStore {
        /// The file that was to be made.
        file: Box<str>,
    },
    /// The store was closed with [`Store::close`](crate::handles::Store::close).
    #[error("{file}: is closed")]
    Closed {
        /// The file.
        file: Box<str>,
    },
}

impl StoreError {
    /// Returns the file that it is about.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            Self::Locked { file }
            | Self::Newer { file, .. }
            | Self::Foreign { file, .. }
            | Self::Damaged { file, .. }
            | Self::UnknownKind { file, .. }
            | Self::Io { file, .. }
            | Self::Failed { file, .. }
            | Self::Batch { file, .. }
            | Self::WithinItself { file, .. }
            | Self::NoStore { file }
            | Self::Closed { file } => file,
        }
    }

    /// What it says, without the file: to be quoted in another error of that file's.
    pub(crate) fn cause(&self) -> Box<str> {
        let text = self.to_string();
        let cause = text.strip_prefix(self.file()).and_then(|text| text.strip_prefix(": "));
        cause.unwrap_or(&text).into()
    }
}

/// A file, to make errors about it.
#[derive(Clone, Debug)]
pub(in crate::journal) struct Named {
    pub(in crate::journal) file: Box<str>,
}

impl Named {
    pub(in crate::journal) fn damaged(
        &self,
        what: impl Into<Box<str>>,
        detail: impl Into<Box<str>>,
    ) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), what: what.into(), detail: detail.into() }
    }

    pub(in crate::journal) fn foreign(&self, detail: impl Into<Box<str>>) -> StoreError {
        StoreError::Foreign { file: self.file.clone(), detail: detail.into() }
    }

    pub(in crate::journal) fn io(&self, action: &'static str, error: &io::Error) -> StoreError {
        StoreError::Io {
            file: self.file.clone(),
            action,
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }

    pub(in crate::journal) fn batch(
        &self,
        rule: &'static str,
        detail: impl Into<Box<str>>,
    ) -> StoreError {
        StoreError::Batch { file: self.file.clone(), rule, detail: detail.into() }
    }

    pub(in crate::journal) fn failed(&self, cause: impl Into<Box<str>>) -> StoreError {
        StoreError::Failed { file: self.file.clone(), cause: cause.into() }
    }

    pub(in crate::journal) fn closed(&self) -> StoreError {
        StoreError::Closed { file: self.file.clone() }
    }
}
