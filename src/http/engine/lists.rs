//! Reservations and alerts.

use axum::http::StatusCode;

use crate::Engine;
use crate::alerts::AlertQuery;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::http::pages::{Asked, Page, bad_cursor, first_of};
use crate::reservations::{ReservationId, ReservationQuery, ReservationState};

/// `GET /reservations`: the oldest first, of one customer and in one state where that is asked.
pub(super) async fn reservations(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let mut query = ReservationQuery::new();
    if let Some(customer) = params.take("customerId") {
        query = query.customer(customer);
    }
    if let Some(state) = params.take("state") {
        let state: Result<ReservationState, _> = state.parse();
        query = query.state(state.map_err(|why| Failure::bad_input(&why))?);
    }
    let Asked { limit, cursor } = Asked::of(params)?;
    if let Some(cursor) = cursor {
        let id: Result<ReservationId, _> = cursor.parse();
        query = query.after(id.map_err(|_| bad_cursor(&cursor))?);
    }
    let list = move |engine: &Engine| {
        let mut found = engine.reservations().list(&query.limit(limit.saturating_add(1)));
        let next = first_of(&mut found, limit).map(|last| last.id.to_string());
        Page::new(found, next).answer()
    };
    call.project.ask(list).await
}

fn id_of(text: &str) -> Result<ReservationId, Failure> {
    text.parse().map_err(|_| Failure::not_found("reservation", text))
}

/// `GET /reservations/{id}`
pub(super) async fn reservation(call: Call) -> Answer {
    let id = id_of(&call.id())?;
    let call = call.needs(Need::Read)?;
    let get = move |engine: &Engine| {
        let found = engine.reservation(id);
        let found = found.ok_or_else(|| Failure::not_found("reservation", &id.to_string()))?;
        json(StatusCode::OK, &found)
    };
    call.project.ask(get).await
}

/// `POST /reservations/{id}/release`: gives back what one holds whose owner is gone.
pub(super) async fn release(call: Call) -> Answer {
    let id = id_of(&call.id())?;
    let call = call.needs(Need::Record)?;
    let release = move |engine: &Engine| json(StatusCode::OK, &engine.release(id)?);
    call.project.ask(release).await
}

/// `GET /alerts`: the newest first, of one rule and one customer where that is asked.
pub(super) async fn alerts(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let mut query = AlertQuery::new();
    if let Some(rule) = params.take("ruleId") {
        query = query.rule(rule);
    }
    if let Some(customer) = params.take("customerId") {
        query = query.customer(customer);
    }
    let Asked { limit, cursor } = Asked::of(params)?;
    query = query.limit(limit);
    if let Some(cursor) = cursor {
        query = query.before(cursor.parse().map_err(|_| bad_cursor(&cursor))?);
    }
    let list = move |engine: &Engine| {
        let page = engine.alerts().list(&query);
        let alerts: Vec<_> = page.alerts.iter().map(|alert| &**alert).collect();
        Page::new(alerts, page.next.map(|next| next.to_string())).answer()
    };
    call.project.ask(list).await
}
