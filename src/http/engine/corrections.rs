//! Corrections of recorded events: voided, and amended.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::rules::read;
use crate::events::{CorrectionQuery, EventId};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::http::first::schema::EventBody;
use crate::http::pages::{Asked, Page};
use crate::{Engine, Event};

/// Why an event is voided.
#[derive(Deserialize, ToSchema)]
#[schema(as = Void)]
#[serde(deny_unknown_fields)]
pub(super) struct Voided {
    /// Who does it, and why: at most 1 024 bytes.
    reason: String,
}

/// What an event is from now on, and why.
#[derive(Deserialize, ToSchema)]
#[schema(as = Amend)]
#[serde(deny_unknown_fields)]
pub(super) struct Amended {
    /// The whole event, of the same customer.
    #[schema(value_type = EventBody)]
    event: Event<'static>,
    /// Who does it, and why: at most 1 024 bytes.
    reason: String,
}

fn id_of(text: &str) -> Result<EventId, Failure> {
    text.parse().map_err(|_| Failure::not_found("event", text))
}

/// `POST /events/{id}/void`: once more is the same answer.
pub(super) async fn void(call: Call) -> Answer {
    let id = call.id();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let void = move |engine: &Engine| {
        let id = id_of(&id)?;
        let Voided { reason } = read(&body)?;
        json(StatusCode::OK, &engine.void(id, &reason)?)
    };
    project.ask(void).await
}

/// `POST /events/{id}/amend`: once more is the same answer.
pub(super) async fn amend(call: Call) -> Answer {
    let id = call.id();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let amend = move |engine: &Engine| {
        let id = id_of(&id)?;
        let Amended { event, reason } = read(&body)?;
        json(StatusCode::OK, &engine.amend(id, &event, &reason)?)
    };
    project.ask(amend).await
}

/// `GET /corrections`: the newest first, of one event where that is asked.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let mut query = CorrectionQuery::new();
    if let Some(event) = params.take("eventId") {
        let id: Result<EventId, _> = event.parse();
        query = query.event(id.map_err(|why| Failure::bad_input(&format_args!("eventId: {why}")))?);
    }
    let Asked { limit, cursor } = Asked::of(params)?;
    query = query.limit(u32::try_from(limit).unwrap_or(u32::MAX));
    if let Some(cursor) = cursor {
        query = query.cursor(cursor);
    }
    let list = move |engine: &Engine| {
        let page = engine.events().corrections(&query)?;
        Page::new(page.data, page.next_cursor).answer()
    };
    call.project.ask(list).await
}
