//! What a line of JSON says of an event.

use super::reason;
use crate::base::clock::Timestamp;
use crate::event::{Dimension, Event};
use crate::log::{EventId, Stored};
use crate::wire::{DraftProblem, Line};

/// The event of a line, which borrows its texts: with a timestamp and an idempotency key.
#[derive(Debug)]
pub(super) struct LineEvent<'l> {
    pub(super) event: Event<'l>,
    /// The line's id, where it is one that an engine made.
    pub(super) id: Option<EventId>,
}

impl<'l> LineEvent<'l> {
    /// Reads a line, or says what is wrong with it.
    pub(super) fn of(json: &'l [u8]) -> Result<Self, String> {
        let mut line = Line::of(json).map_err(|why| reason(&why))?;
        let given = line.0.id.take();
        let id = given.as_deref().and_then(|id| id.parse().ok());
        let (_, mut event) = dated(line)?;
        if event.idempotency_key.is_none() {
            let lacks = "idempotencyKey: must be there where no id is";
            event.idempotency_key = Some(given.ok_or(lacks)?);
        }
        Ok(Self { event, id })
    }

    /// Whether a stored event is not the line's, by what all lines say.
    pub(super) fn is_other(&self, stored: &Stored<'_>) -> bool {
        stored.dimension(&Dimension::CustomerId) != Some(self.event.customer_id())
            || stored.dimension(&Dimension::EventType) != Some(self.event.event_type())
            || self.event.timestamp != Some(stored.timestamp())
    }
}

/// When the event of a line happened, and the event without that; or what is wrong with the line.
pub(in crate::engine) fn past_event(text: &str) -> Result<(Timestamp, Event<'static>), String> {
    let (at, mut event) = dated(Line::of(text.as_bytes()).map_err(|why| reason(&why))?)?;
    event.timestamp = None;
    Ok((at, event.into_owned()))
}

fn dated(line: Line<'_>) -> Result<(Timestamp, Event<'_>), String> {
    let event = line.0.into_event().map_err(|lack| match lack {
        DraftProblem::Missing(field) => format!("{field}: must be there"),
        DraftProblem::Broken(problem) => problem.to_string(),
    })?;
    let at = event.timestamp.ok_or("createdAt: must be there")?;
    Ok((at, event))
}
