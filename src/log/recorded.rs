//! Recorded events, and pages of them, as callers get them.

use super::{Correction, EventId};
use crate::base::clock::Timestamp;
use crate::event::Event;

/// An event of the log.
///
/// It serializes as the product lists events: `id`, `customerId`, `eventType`, `model`,
/// `provider`, `inputTokens`, `outputTokens`, `totalTokens`, `latencyMs`, `costCents`,
/// `properties` and `createdAt`, with null for what the event does not have, with `values` where it
/// has values of other names, with `attached` where something is [attached](Event::attach), and
/// with `correction` where it was [voided](crate::Engine::void) or amended.
/// [`generic`](Self::generic) is the other shape.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// Its name.
    pub id: EventId,
    /// When it happened: its own timestamp, or the time at which it was recorded.
    pub timestamp: Timestamp,
    /// When it was decided about, by the engine's time: for an event with a timestamp of its own
    /// another instant than that. Not part of the serialized shapes.
    pub decided_at: Timestamp,
    /// The event as it was recorded; its idempotency key is not kept here.
    pub event: Event<'static>,
    /// The newest correction of it, where it was voided or amended.
    pub correction: Option<Box<Correction>>,
}

impl RecordedEvent {
    /// Returns the event as it is since its correction; `None` of one that is voided.
    #[must_use]
    pub fn into_corrected(mut self) -> Option<Self> {
        if let Some(correction) = self.correction.take() {
            self.event = *correction.amended?;
        }
        Some(self)
    }
}

/// A page of recorded events, the newest first.
///
/// It serializes as `data`, `nextCursor` and `hasMore`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EventPage {
    /// The events.
    pub data: Vec<RecordedEvent>,
    /// What the next page is asked with, as
    /// [`EventQuery::cursor`](crate::events::EventQuery::cursor); `None` on the last page.
    pub next_cursor: Option<String>,
    /// Whether there is another page.
    pub has_more: bool,
}
