//! Going through the log, the newest first or the oldest first, while it grows.

use std::sync::Arc;

use super::Ledger;
use crate::log::{PackedEvent, RecordedEvent, Segment, Wanted};

/// The events before a place that are wanted, the newest first.
///
/// The ledger is locked to step from segment to segment, not to look through one. Events that
/// come in stand behind the place at which the scan began, so it finds each event that was there
/// then exactly once, but for those that retention drops before it gets to them.
#[derive(Debug)]
pub(crate) struct Scan<'l> {
    ledger: &'l Ledger,
    wanted: Wanted,
    /// Places from here on have been looked at.
    before: u64,
    /// How many events the scan is meant to find.
    most: usize,
    segment: Option<Arc<Segment>>,
}

impl<'l> Scan<'l> {
    /// Looks at the events before a place. Whoever wants no more than `most` saves copying by
    /// saying so.
    pub(crate) fn new(ledger: &'l Ledger, wanted: Wanted, before: u64, most: usize) -> Self {
        Self { ledger, wanted, before, most, segment: None }
    }

    fn next_segment(&self) -> Option<Arc<Segment>> {
        let Wanted { start, end, .. } = self.wanted;
        let most = if self.wanted.is_everything() { self.most } else { usize::MAX };
        self.ledger.newest_before(self.before, start, end, most.max(1))
    }
}

/// The event, where it is wanted.
fn unpack(ledger: &Ledger, wanted: &Wanted, event: PackedEvent<'_>) -> Option<RecordedEvent> {
    if !wanted.needle.may_match(event.signature) || !wanted.has(event.timestamp()?) {
        return None;
    }
    let stored = event.read().filter(|stored| wanted.needle.matches(stored))?;
    Some(stored.unpack(ledger.id(event.place)))
}

impl Iterator for Scan<'_> {
    type Item = RecordedEvent;

    fn next(&mut self) -> Option<RecordedEvent> {
        loop {
            let segment = match self.segment.take() {
                Some(segment) => segment,
                None => self.next_segment()?,
            };
            self.before = self.before.min(segment.end());
            while self.before > segment.first() {
                self.before = self.before.saturating_sub(1);
                let event = segment.event(self.before);
                let found = event.and_then(|event| unpack(self.ledger, &self.wanted, event));
                if found.is_some() {
                    self.segment = Some(segment);
                    return found;
                }
            }
        }
    }
}

/// The events that are wanted, the oldest first, up to those that come in later.
///
/// The ledger is locked to step from segment to segment, not to look through one. Events that
/// retention drops before the walk gets to them are left out.
#[derive(Debug)]
pub(crate) struct Walk<'l> {
    ledger: &'l Ledger,
    wanted: Wanted,
    /// Places before this one have been looked at.
    next: u64,
    /// The place at which the walk ends.
    end: u64,
    segment: Option<Arc<Segment>>,
}

impl<'l> Walk<'l> {
    pub(crate) fn new(ledger: &'l Ledger, wanted: Wanted) -> Self {
        Self { ledger, wanted, next: 0, end: ledger.recorded(), segment: None }
    }

    fn next_segment(&self) -> Option<Arc<Segment>> {
        let Wanted { start, end, .. } = self.wanted;
        self.ledger.oldest_from(self.next, start, end)
    }
}

impl Iterator for Walk<'_> {
    type Item = RecordedEvent;

    fn next(&mut self) -> Option<RecordedEvent> {
        loop {
            let segment = match self.segment.take() {
                Some(segment) => segment,
                None => self.next_segment()?,
            };
            self.next = self.next.max(segment.first());
            while self.next < segment.end() {
                if self.next >= self.end {
                    return None;
                }
                let event = segment.event(self.next);
                self.next = self.next.saturating_add(1);
                let found = event.and_then(|event| unpack(self.ledger, &self.wanted, event));
                if found.is_some() {
                    self.segment = Some(segment);
                    return found;
                }
            }
        }
    }
}
