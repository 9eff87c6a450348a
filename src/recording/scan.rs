//! Going through the log, the newest first or the oldest first, while it grows.

use std::ops::Range;
use std::sync::Arc;

use super::Ledger;
use crate::log::{Corrections, PackedEvent, RecordedEvent, ScanFilter, Segment};

/// The events of a range of ordinals that are wanted.
///
/// The ledger is locked to step from segment to segment, not to look through one. Events that
/// come in get ordinals behind the range, so a scan finds each event that was there when it began
/// exactly once, but for those that retention drops before it gets to them. The segment that it is
/// in is shared and does not change, also when the ledger drops it or, of the open one, goes on
/// writing: a reader has a copy of that as it was.
#[derive(Debug)]
pub(crate) struct Scan {
    ledger: Arc<Ledger>,
    wanted: ScanFilter,
    /// The ordinals that are still to be looked at.
    ordinals: Range<u64>,
    order: Order,
    /// The segment that is being looked through.
    segment: Option<Arc<Segment>>,
    /// As they were when the segment was taken.
    corrections: Arc<Corrections>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// Whoever wants no more than `most` events saves copying by saying so.
    NewestFirst {
        most: usize,
    },
    OldestFirst,
}

impl Scan {
    /// The events before an ordinal, the newest first; `most` of them are wanted at the most.
    pub(crate) fn newest_first(
        ledger: &Arc<Ledger>,
        wanted: ScanFilter,
        before: u64,
        most: usize,
    ) -> Self {
        Self::of(ledger, wanted, 0..before, Order::NewestFirst { most })
    }

    /// All events that are recorded by now, the oldest first.
    pub(crate) fn oldest_first(ledger: &Arc<Ledger>, wanted: ScanFilter) -> Self {
        Self::in_order(ledger, wanted, 0..ledger.recorded())
    }

    /// The events of a range of ordinals, the oldest first.
    pub(crate) fn in_order(ledger: &Arc<Ledger>, wanted: ScanFilter, ordinals: Range<u64>) -> Self {
        Self::of(ledger, wanted, ordinals, Order::OldestFirst)
    }

    fn of(ledger: &Arc<Ledger>, wanted: ScanFilter, ordinals: Range<u64>, order: Order) -> Self {
        let (ledger, corrections) = (Arc::clone(ledger), Arc::default());
        Self { ledger, wanted, ordinals, order, segment: None, corrections }
    }

    /// The first ordinal that is still to be looked at, of a scan that goes forward.
    pub(crate) fn position(&self) -> u64 {
        self.ordinals.start
    }

    fn next_segment(&self) -> Option<Arc<Segment>> {
        if self.ordinals.is_empty() {
            return None;
        }
        let ScanFilter { start, end, .. } = self.wanted;
        match self.order {
            Order::NewestFirst { most } => {
                let most = if self.wanted.is_everything() { most.max(1) } else { usize::MAX };
                self.ledger.newest_before(self.ordinals.end, start, end, most)
            }
            Order::OldestFirst => self.ledger.oldest_from(self.ordinals.start, start, end),
        }
    }

    /// Takes the next ordinal of a segment out of those to be looked at; `None` where there is
    /// none.
    fn next_place(&mut self, segment: &Segment) -> Option<u64> {
        let Range { start, end } = &mut self.ordinals;
        match self.order {
            Order::NewestFirst { .. } => {
                *end = segment.end().min(*end);
                let first = segment.first().max(*start);
                let ordinal = end.checked_sub(1).filter(|ordinal| *ordinal >= first)?;
                *end = ordinal;
                Some(ordinal)
            }
            Order::OldestFirst => {
                *start = segment.first().max(*start);
                let ordinal = Some(*start).filter(|ordinal| *ordinal < segment.end().min(*end))?;
                *start = ordinal.saturating_add(1);
                Some(ordinal)
            }
        }
    }
}

impl Iterator for Scan {
    type Item = RecordedEvent;

    fn next(&mut self) -> Option<RecordedEvent> {
        loop {
            let segment = if let Some(segment) = self.segment.take() {
                segment
            } else {
                let next = self.next_segment()?;
                self.corrections = self.ledger.corrections();
                next
            };
            while let Some(ordinal) = self.next_place(&segment) {
                if self.corrections.is_entry(ordinal) {
                    continue;
                }
                let event = segment.event(ordinal);
                let found = event.and_then(|event| unpack(&self.ledger, &self.wanted, event));
                let found = found.map(|event| self.with_correction(ordinal, event));
                if found.is_some() {
                    self.segment = Some(segment);
                    return found;
                }
            }
        }
    }
}

impl Scan {
    fn with_correction(&self, ordinal: u64, event: RecordedEvent) -> RecordedEvent {
        let Some((entry, corrected)) = self.corrections.of(ordinal) else { return event };
        let correction = self.ledger.correction(entry, corrected).map(Box::new);
        RecordedEvent { correction, ..event }
    }
}

/// The event, where it is wanted.
fn unpack(ledger: &Ledger, wanted: &ScanFilter, event: PackedEvent<'_>) -> Option<RecordedEvent> {
    if !wanted.filter.may_match(event.signature) || !wanted.has(event.timestamp()?) {
        return None;
    }
    let stored = event.read().filter(|stored| wanted.filter.matches(stored))?;
    if stored.is_anonymous() {
        return None;
    }
    Some(stored.unpack(ledger.id(event.ordinal)))
}
