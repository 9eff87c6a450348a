//! Events: decided about, recorded, listed.

use axum::http::StatusCode;
use axum::response::Response;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::events::{EventId, EventQuery};
use crate::http::access::Need;
use crate::http::call::{self, Answer, Call, from_json, json};
use crate::http::failure::Failure;
use crate::tower::set_headers;
use crate::wire::{EventBatch, HeaderDialect, event_from_json};
use crate::{Decision, Engine, Event};

/// `POST /track`: 201, or 429 with what refused and how long to wait.
pub(super) async fn track(call: Call) -> Answer {
    let mut call = call.needs(Need::Record)?;
    let key = call.key();
    let (project, body) = call.body().await?;
    let decide = move |engine: &Engine| {
        let event = read(&body, key)?;
        Ok(decided(&engine.track(&event)?))
    };
    project.decide(decide).await
}

/// Reads an event. The header's key is its own, where it has none.
fn read(body: &[u8], key: Option<String>) -> Result<Event<'_>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Keyed {
        idempotency_key: Option<IgnoredAny>,
    }
    let event = event_from_json(body).map_err(|why| Failure::bad_input(&why))?;
    Ok(match key {
        Some(key) if from_json::<Keyed>(body)?.idempotency_key.is_none() => {
            event.idempotency_key(key)
        }
        _ => event,
    })
}

/// A decision with its headers.
fn decided(decision: &Decision) -> Response {
    let status = StatusCode::from_u16(decision.status_code());
    let mut response = call::decision(status.unwrap_or(StatusCode::CREATED), decision);
    set_headers(response.headers_mut(), decision, HeaderDialect::XRateLimit);
    response
}

/// An event that was recorded.
#[derive(Serialize, ToSchema)]
pub(super) struct Ingested {
    id: Option<EventId>,
}

/// `POST /events`: recorded, whatever the rules say.
pub(super) async fn record(call: Call) -> Answer {
    let mut call = call.needs(Need::Record)?;
    let key = call.key();
    let (project, body) = call.body().await?;
    let record = move |engine: &Engine| {
        let event = read(&body, key)?;
        let id = engine.record(&event)?.event_id();
        json(StatusCode::CREATED, &Ingested { id })
    };
    project.decide(record).await
}

/// `POST /events/batch`: all of up to 1 000 events, or none.
pub(super) async fn record_batch(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Record)?.body().await?;
    let record = move |engine: &Engine| {
        let batch: EventBatch = from_json(&body)?;
        json(StatusCode::CREATED, &engine.record_batch(&batch.events)?)
    };
    project.ask(record).await
}

/// `GET /events`: the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let query: EventQuery = call.params().read()?;
    let list = move |engine: &Engine| json(StatusCode::OK, &engine.events().list(&query)?);
    call.project.ask(list).await
}
