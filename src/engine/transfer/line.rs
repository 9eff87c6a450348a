//! What a line of JSON says of an event.

use super::reason;
use crate::base::clock::Timestamp;
use crate::event::{Dimension, Event};
use crate::log::Stored;
use crate::wire::{DraftProblem, Line};

/// Whether a stored event is not the line's, by what all lines say.
pub(super) fn is_other(line: &Line, event: &Stored<'_>) -> bool {
    let differs = |text: &Option<String>, key| {
        text.as_deref().is_some_and(|text| event.dimension(key) != Some(text))
    };
    differs(&line.0.customer_id, &Dimension::CustomerId)
        || differs(&line.0.event_type, &Dimension::EventType)
        || line.0.timestamp().is_some_and(|at| at != event.timestamp())
}

/// When the event of a line happened, and the event without that; or what is wrong with the line.
pub(in crate::engine) fn past_event(text: &str) -> Result<(Timestamp, Event<'static>), String> {
    let mut line: Line = serde_json::from_str(text).map_err(|why| reason(&why))?;
    // Who replays has no use for names.
    line.0.id = None;
    let (at, mut event) = dated(line)?;
    event.timestamp = None;
    Ok((at, event))
}

/// The event of a line, with an idempotency key and a timestamp; or what is wrong with it.
pub(super) fn event(mut line: Line) -> Result<Event<'static>, String> {
    let id = line.0.id.take();
    let has_key = line.0.idempotency_key().is_some();
    let (_, event) = dated(line)?;
    match id {
        _ if has_key => Ok(event),
        Some(id) => Ok(event.idempotency_key(id)),
        None => Err("idempotencyKey: must be there where no id is".to_owned()),
    }
}

fn dated(line: Line) -> Result<(Timestamp, Event<'static>), String> {
    let event = line.0.into_event().map_err(|lack| match lack {
        DraftProblem::Missing(field) => format!("{field}: must be there"),
        DraftProblem::Broken(problem) => problem.to_string(),
    })?;
    let at = event.timestamp.ok_or("createdAt: must be there")?;
    Ok((at, event))
}
