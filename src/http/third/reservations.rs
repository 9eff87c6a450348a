//! Reservations: committed, extended, released by their ids.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{COST, DEFAULT_TTL, Fields, TTL, units};
use super::subject::UNITS;
use crate::errors::ReservationError;
use crate::events::{EventId, EventQuery};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::reservations::{ReservationId, ReservationState, ReservationStatus};
use crate::{Engine, Timestamp};

/// A reservation as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: ReservationId,
    /// `held`, `committed`, `released` or `expired`.
    #[schema(value_type = String)]
    status: ReservationState,
    reserved: i64,
    cost: i64,
    expires_at: Timestamp,
}

impl Shown {
    /// One that was just made.
    pub(super) fn held(id: ReservationId, reserved: u64, expires_at: Timestamp) -> Self {
        let reserved = i64::try_from(reserved).unwrap_or(i64::MAX);
        Self { id, status: ReservationState::Held, reserved, cost: 0, expires_at }
    }

    pub(super) fn of(status: &ReservationStatus, cost: i64) -> Self {
        let reserved = status.estimate.amount(UNITS).map_or(0, units);
        let (id, expires_at) = (status.id, status.expires_at);
        Self { id, status: status.state, reserved, cost, expires_at }
    }
}

/// What was used, as a body has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct Commit {
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    cost: u64,
}

/// How long from now, as a body has it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct Extension {
    /// 300 where it is not given.
    #[schema(minimum = 1, maximum = 3_600)]
    ttl_seconds: Option<u32>,
}

fn id_of(text: &str) -> Result<ReservationId, Failure> {
    text.parse().map_err(|_| Failure::not_found("reservation", text))
}

fn find(engine: &Engine, id: ReservationId) -> Result<ReservationStatus, Failure> {
    let status = engine.reservation(id);
    status.ok_or_else(|| Failure::not_found("reservation", &id.to_string()))
}

/// `POST /reservations/{id}/commit`: charges what was used, in full. Committed again, it says what
/// it was committed with.
pub(super) async fn commit(call: Call) -> Answer {
    let id = id_of(&call.id())?;
    let (project, body) = call.needs(Need::Record)?.body().await?;
    let commit = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let cost = fields.whole("cost", COST);
        let cost = fields.need("cost", cost);
        let cost = fields.end(cost)?;
        let actual = find(engine, id)?.estimate.value(UNITS, cost);
        let cost = match engine.commit(id, &actual) {
            Ok(_) => cost,
            Err(ReservationError::Conflict { first: Some(first), .. }) => cost_of(engine, first)?,
            Err(why) => return Err(ended(why)),
        };
        json(StatusCode::OK, &Shown::of(&find(engine, id)?, cost))
    };
    project.decide(commit).await
}

/// What a recorded event used.
fn cost_of(engine: &Engine, id: EventId) -> Result<i64, Failure> {
    // A page begins with the event that its cursor names.
    let page = engine.events().list(&EventQuery::new().cursor(id.to_string()).limit(1))?;
    let event = page.data.into_iter().find(|event| event.id == id);
    let event = event.ok_or_else(|| Failure::not_found("event", &id.to_string()))?;
    Ok(event.event.amount(UNITS).map_or(0, units))
}

fn ended(why: ReservationError) -> Failure {
    let is_ended = matches!(why, ReservationError::Ended { .. });
    let failure = Failure::from(why);
    if is_ended { failure.code("reservation_ended") } else { failure }
}

/// `POST /reservations/{id}/extend`
pub(super) async fn extend(call: Call) -> Answer {
    let id = id_of(&call.id())?;
    let (project, body) = call.needs(Need::Record)?.body().await?;
    let extend = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let ttl = fields.count("ttlSeconds", TTL);
        let ttl = fields.end(Some(ttl))?.unwrap_or(DEFAULT_TTL);
        engine.extend(id, Duration::from_secs(ttl)).map_err(ended)?;
        json(StatusCode::OK, &Shown::of(&find(engine, id)?, 0))
    };
    project.decide(extend).await
}

/// `POST /reservations/{id}/release`: of one that is released or has expired it does nothing.
pub(super) async fn release(call: Call) -> Answer {
    let (id, call) = (id_of(&call.id())?, call.needs(Need::Record)?);
    let release = move |engine: &Engine| {
        json(StatusCode::OK, &Shown::of(&engine.release(id).map_err(ended)?, 0))
    };
    call.project.decide(release).await
}
