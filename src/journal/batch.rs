//! A batch of records on its way to the store.

use super::erase::Erasure;
use crate::journal::store::{SpaceChange, StateChange, StoredKey};
use crate::log::RunTimes;

/// Records that wait for their commit, with everything that is to be in one transaction with them.
#[derive(Debug)]
pub(super) struct QueuedBatch {
    /// The sequence number of the first record.
    pub(super) first: u64,
    /// The records, one behind the other, and the position behind each.
    pub(super) records: Vec<u8>,
    pub(super) ends: Vec<u32>,
    /// The ordinal of the first event here, and the one behind the last.
    pub(super) first_event: u64,
    pub(super) end_event: u64,
    pub(super) keys: Vec<StoredKey>,
    /// When the records' events happened.
    pub(super) times: RunTimes,
    /// The engine's time of the newest record.
    pub(super) now: u64,
    pub(super) state: Vec<StateChange>,
    pub(super) spaces: Vec<SpaceChange>,
    /// What is erased with it, where something is: as its last entry.
    pub(super) erasure: Option<Erasure>,
    /// The serial number of the last entry here.
    pub(super) serial: u64,
}

impl QueuedBatch {
    pub(super) fn new(first: u64, first_event: u64) -> Self {
        Self {
            first,
            records: Vec::new(),
            ends: Vec::new(),
            first_event,
            end_event: first_event,
            keys: Vec::new(),
            times: RunTimes::new(),
            now: 0,
            state: Vec::new(),
            spaces: Vec::new(),
            erasure: None,
            serial: 0,
        }
    }

    pub(super) fn restart(&mut self, first: u64, first_event: u64) {
        self.first = first;
        (self.first_event, self.end_event) = (first_event, first_event);
        self.records.clear();
        self.ends.clear();
        self.keys.clear();
        self.times.clear();
        self.state.clear();
        self.spaces.clear();
        self.erasure = None;
    }

    /// Adds what follows it.
    pub(super) fn append(&mut self, next: &Self) {
        let (bytes, records) = (small(self.records.len()), small(self.ends.len()));
        self.records.extend_from_slice(&next.records);
        self.ends.extend(next.ends.iter().map(|end| end.saturating_add(bytes)));
        self.end_event = next.end_event;
        self.keys.extend(
            next.keys
                .iter()
                .map(|key| StoredKey { index: key.index.saturating_add(records), ..*key }),
        );
        self.times.merge(&next.times);
        self.now = self.now.max(next.now);
        self.state.extend_from_slice(&next.state);
        self.spaces.extend_from_slice(&next.spaces);
        self.serial = next.serial;
    }

    pub(super) fn is_empty(&self) -> bool {
        let has_rows = !self.state.is_empty() || !self.spaces.is_empty();
        self.ends.is_empty() && !has_rows && self.erasure.is_none()
    }

    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.ends.len()).unwrap_or(u64::MAX))
    }

    /// How many of the records are events.
    pub(super) fn events(&self) -> u64 {
        self.end_event.saturating_sub(self.first_event)
    }

    /// The record of a sequence number.
    pub(super) fn record(&self, seq: u64) -> Option<&[u8]> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        let end = usize::try_from(*self.ends.get(at)?).ok()?;
        let before = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.map_or(Some(0), |start| usize::try_from(*start).ok())?;
        self.records.get(start..end)
    }
}

/// A size that fits: what the queue takes is bounded.
fn small(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
