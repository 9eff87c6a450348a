//! What is in the queue: batches that are filled, that are full, and that are being committed. All
//! of it is behind one lock, [the queue's](super::queue).

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::QueuedBatch;

/// How far the queue is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// No more calls are let in; those under way put in what they count.
    Closing,
    Closed,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) open: QueuedBatch,
    pub(super) sealed: VecDeque<Arc<QueuedBatch>>,
    /// What the writer is committing, and what a failed commit left: reading finds both.
    pub(super) in_flight: Vec<Arc<QueuedBatch>>,
    /// The memory of a batch that is committed, for the next one.
    pub(super) spare: Option<QueuedBatch>,
    /// Somebody waits for what is in the queue.
    pub(super) urgent: bool,
    /// The writer waits until there is something to do.
    pub(super) idle: bool,
    /// There are rows elsewhere that the writer is to put in after a while.
    pub(super) expects: bool,
    pub(super) phase: Phase,
    /// How many records came after the store had failed, and were kept nowhere, and how many of
    /// them were events.
    pub(super) discarded: u64,
    pub(super) discarded_events: u64,
    /// The serial number of the last entry.
    pub(super) serial: u64,
}

impl Pending {
    /// Of a store that has so many records, of which so many are events.
    pub(super) fn new(end: u64, events: u64) -> Self {
        Self {
            open: QueuedBatch::new(end, events),
            sealed: VecDeque::new(),
            in_flight: Vec::new(),
            spare: None,
            urgent: false,
            idle: false,
            expects: false,
            phase: Phase::Open,
            discarded: 0,
            discarded_events: 0,
            serial: 0,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        !self.sealed.is_empty() || self.urgent || self.phase != Phase::Open
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.is_empty()
    }

    pub(super) fn end(&self) -> u64 {
        self.open.end().saturating_add(self.discarded)
    }

    pub(super) fn seal(&mut self) {
        let (end, end_event) = (self.open.end(), self.open.end_event);
        let next = match self.spare.take() {
            Some(mut spare) => {
                spare.restart(end, end_event);
                spare
            }
            None => QueuedBatch::new(end, end_event),
        };
        let mut full = std::mem::replace(&mut self.open, next);
        full.serial = self.serial;
        self.sealed.push_back(Arc::new(full));
    }
}
