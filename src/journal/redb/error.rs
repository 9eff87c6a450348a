//! What errors of redb's are to a store.

use ::redb::Error as RedbError;

use crate::journal::store::StoreError;
use crate::journal::store::error::Named;

impl Named {
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
