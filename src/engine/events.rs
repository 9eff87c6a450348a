//! The recorded events, as the engine shows them.

use crate::log::{EventLog, RecordedEvent};

/// The events that an engine has recorded; empty where recording is off.
#[derive(Clone, Copy, Debug)]
pub struct Events<'e> {
    log: Option<&'e dyn EventLog>,
}

impl<'e> Events<'e> {
    pub(super) fn new(log: Option<&'e dyn EventLog>) -> Self {
        Self { log }
    }

    /// Returns how many events are kept now. With [`Recording::Newest(n)`](crate::Recording) at
    /// most 1 024 more than `n`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.map_or(0, EventLog::len)
    }

    /// Returns whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the newest events, the newest first. O(`count`) under the log's lock.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<RecordedEvent> {
        self.log.map_or_else(Vec::new, |log| log.newest(count))
    }
}
