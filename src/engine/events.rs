//! The recorded events, as the engine shows them.

use crate::ledger::{Ledger, Scan, Wanted};
use crate::log::RecordedEvent;

/// The events that an engine has recorded; empty where recording is off.
#[derive(Clone, Copy, Debug)]
pub struct Events<'e> {
    ledger: Option<&'e Ledger>,
}

impl<'e> Events<'e> {
    pub(super) fn new(ledger: Option<&'e Ledger>) -> Self {
        Self { ledger }
    }

    /// Returns how many events are kept now. With [`Recording::Newest(n)`](crate::Recording) at
    /// most 1 024 more than `n`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ledger.map_or(0, Ledger::len)
    }

    /// Returns whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the newest events, the newest first. O(`count`).
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<RecordedEvent> {
        let Some(ledger) = self.ledger else { return Vec::new() };
        Scan::new(ledger, Wanted::everything(), u64::MAX, count).take(count).collect()
    }
}
