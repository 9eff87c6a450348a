//! What can be wrong with a store.

use std::io;

use ::redb::Error as RedbError;

/// Why a durable log could not be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another engine, in this process or in another one, has the file open.
    #[error("{file}: is open in another engine; a log has one engine at a time")]
    Locked {
        /// The file.
        file: Box<str>,
    },
    /// The file was written by a newer version of this crate.
    #[error("{file}: format {found} is newer than {known}, the newest that this version reads")]
    Newer {
        /// The file.
        file: Box<str>,
        /// The format of the file.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The file is something else; nothing was changed in it.
    #[error("{file}: is no log of limitry: {detail}")]
    Foreign {
        /// The file.
        file: Box<str>,
        /// What tells.
        detail: Box<str>,
    },
    /// A part of the file is not what was written.
    #[error("{file}: {what} is damaged: {detail}")]
    Damaged {
        /// The file.
        file: Box<str>,
        /// The part of it.
        what: Box<str>,
        /// What tells.
        detail: Box<str>,
    },
    /// The system refused to read or write.
    #[error("{file}: {action}: {message}")]
    Io {
        /// The file.
        file: Box<str>,
        /// What was being done.
        action: &'static str,
        /// The kind of the system's error.
        kind: io::ErrorKind,
        /// The system's message.
        message: Box<str>,
    },
    /// An earlier error left the store useless until it is opened again.
    #[error("{file}: failed before and takes nothing until it is opened again: {cause}")]
    Failed {
        /// The file.
        file: Box<str>,
        /// The first error.
        cause: Box<str>,
    },
    /// A batch that does not go on where the store ends.
    #[error("{file}: a batch {rule}: {detail}")]
    Batch {
        /// The file.
        file: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
        /// What it has in place of that.
        detail: Box<str>,
    },
    /// The store was closed.
    #[error("{file}: is closed")]
    Closed {
        /// The file.
        file: Box<str>,
    },
}

/// A file, to make errors about it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) file: Box<str>,
}

impl Named {
    pub(super) fn damaged(
        &self,
        what: impl Into<Box<str>>,
        detail: impl Into<Box<str>>,
    ) -> StoreError {
        StoreError::Damaged { file: self.file.clone(), what: what.into(), detail: detail.into() }
    }

    pub(super) fn foreign(&self, detail: impl Into<Box<str>>) -> StoreError {
        StoreError::Foreign { file: self.file.clone(), detail: detail.into() }
    }

    pub(super) fn io(&self, action: &'static str, error: &io::Error) -> StoreError {
        StoreError::Io {
            file: self.file.clone(),
            action,
            kind: error.kind(),
            message: error.to_string().into(),
        }
    }

    pub(super) fn batch(&self, rule: &'static str, detail: impl Into<Box<str>>) -> StoreError {
        StoreError::Batch { file: self.file.clone(), rule, detail: detail.into() }
    }

    pub(super) fn failed(&self, cause: impl Into<Box<str>>) -> StoreError {
        StoreError::Failed { file: self.file.clone(), cause: cause.into() }
    }

    pub(super) fn closed(&self) -> StoreError {
        StoreError::Closed { file: self.file.clone() }
    }

    /// An error of redb's, which came up during `action`.
    pub(super) fn redb(&self, action: &'static str, error: impl Into<RedbError>) -> StoreError {
        match error.into() {
            RedbError::DatabaseAlreadyOpen | RedbError::LockProtocolMismatch => {
                StoreError::Locked { file: self.file.clone() }
            }
            RedbError::UpgradeRequired(version) => {
                self.foreign(format!("its pages are of version {version}"))
            }
            RedbError::Io(error) => self.io(action, &error),
            RedbError::PreviousIo => self.failed("an error of the system"),
            RedbError::DatabaseClosed => self.closed(),
            error @ RedbError::LockPoisoned(_) => self.failed(error.to_string()),
            error => self.damaged("the file", format!("{action}: {error}")),
        }
    }
}
