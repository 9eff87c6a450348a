//! Webhook endpoints and their deliveries, in the product's shapes: those that are sent events of
//! this generation.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::{Page, page_size};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::http::pages::bad_cursor;
use crate::http::webhooks::{self, EventType, NewEndpoint, Outcome, failed};
use crate::webhooks::{Delivery, DeliveryStatus, Endpoint, EndpointError, Shape, Webhooks};
use crate::{Engine, Timestamp};

/// An endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    url: String,
    #[schema(required)]
    description: Option<String>,
    /// False after 20 failed attempts in a row.
    enabled: bool,
    /// Null: all.
    #[schema(required)]
    event_types: Option<Vec<String>>,
    environment: String,
    consecutive_failures: u32,
    #[schema(required)]
    last_status: Option<u16>,
    #[schema(required)]
    last_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl Shown {
    fn of(endpoint: Endpoint, environment: &str) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url,
            description: endpoint.description,
            enabled: endpoint.enabled,
            event_types: endpoint.event_types,
            environment: environment.to_owned(),
            consecutive_failures: endpoint.consecutive_failures,
            last_status: endpoint.last_status,
            last_attempt_at: endpoint.last_attempt_at,
            created_at: endpoint.created_at,
        }
    }
}

/// An endpoint that was made, with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpointCreated)]
pub(super) struct Made {
    endpoint: Shown,
    secret: String,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownDelivery {
    id: String,
    event_id: String,
    event_type: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(value_type = String)]
    status: DeliveryStatus,
    attempts: u32,
    #[schema(required)]
    last_status: Option<u16>,
    #[schema(required)]
    last_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl From<Delivery> for ShownDelivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            status: delivery.status,
            attempts: delivery.attempts,
            last_status: delivery.last_status,
            last_attempt_at: delivery.last_attempt_at,
            created_at: delivery.created_at,
        }
    }
}

/// `GET /workspace/event-types`
pub(super) async fn event_types(call: Call) -> Answer {
    call.needs(Need::Read)?;
    let items: Vec<EventType> = webhooks::event_types(Shape::Third);
    json(StatusCode::OK, &Page { items, next_cursor: None })
}

/// `GET /workspace/webhook-endpoints`
pub(super) async fn list(call: Call) -> Answer {
    let call = call.needs(Need::Read)?;
    let hooks = webhooks::of(&call.project)?;
    let own = hooks.list().into_iter().filter(|it| it.shape == Shape::Third);
    let items = own.map(|it| Shown::of(it, &call.project.id)).collect();
    json(StatusCode::OK, &Page { items, next_cursor: None })
}

/// `POST /workspace/webhook-endpoints`
pub(super) async fn create(call: Call) -> Answer {
    let (project, new) = call.needs(Need::Manage)?.read::<NewEndpoint>().await?;
    let (hooks, id) = (webhooks::of(&project)?, project.id.to_string());
    let create = move |_: &Engine| {
        let made = hooks.create(new.into_new(Shape::Third)).map_err(failed)?;
        let secret = made.secret.expose().to_owned();
        json(StatusCode::OK, &Made { endpoint: Shown::of(made.endpoint, &id), secret })
    };
    project.ask(create).await
}

/// An endpoint of this generation, to be asked about or changed on a thread that may wait.
async fn with(
    call: Call,
    need: Need,
    work: impl FnOnce(&Webhooks, Endpoint, &str) -> Answer + Send + 'static,
) -> Answer {
    let (id, call) = (call.id(), call.needs(need)?);
    let (hooks, environment) = (webhooks::of(&call.project)?, call.project.id.to_string());
    let work = move |_: &Engine| {
        let endpoint = hooks.get(&id).map_err(failed)?;
        if endpoint.shape != Shape::Third {
            return Err(failed(EndpointError::NoEndpoint { id }));
        }
        work(&hooks, endpoint, &environment)
    };
    call.project.ask(work).await
}

/// `GET /workspace/webhook-endpoints/{id}`
pub(super) async fn get(call: Call) -> Answer {
    with(call, Need::Read, |_, endpoint, environment| {
        json(StatusCode::OK, &Shown::of(endpoint, environment))
    })
    .await
}

/// `DELETE /workspace/webhook-endpoints/{id}`
pub(super) async fn delete(call: Call) -> Answer {
    with(call, Need::Manage, |hooks, endpoint, _| {
        hooks.delete(&endpoint.id).map_err(failed)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `POST /workspace/webhook-endpoints/{id}/enable`
pub(super) async fn enable(call: Call) -> Answer {
    with(call, Need::Manage, |hooks, endpoint, environment| {
        let endpoint = hooks.enable(&endpoint.id).map_err(failed)?;
        json(StatusCode::OK, &Shown::of(endpoint, environment))
    })
    .await
}

/// `POST /workspace/webhook-endpoints/{id}/test`
pub(super) async fn test(call: Call) -> Answer {
    with(call, Need::Manage, |hooks, endpoint, _| {
        let delivery = hooks.test(&endpoint.id).map_err(failed)?;
        json(StatusCode::OK, &Outcome { delivery_id: delivery.id, queued: true })
    })
    .await
}

/// `GET /workspace/webhook-endpoints/{id}/deliveries`
pub(super) async fn deliveries(mut call: Call) -> Answer {
    let mut params = call.params();
    let limit = page_size(&mut params)?;
    let before = before(params.take("cursor"))?;
    params.end()?;
    with(call, Need::Read, move |hooks, endpoint, _| {
        let page = hooks.deliveries(&endpoint.id, before, limit).map_err(failed)?;
        let items: Vec<ShownDelivery> = page.deliveries.into_iter().map(Into::into).collect();
        json(StatusCode::OK, &Page { items, next_cursor: page.next.map(|it| it.to_string()) })
    })
    .await
}

fn before(cursor: Option<String>) -> Result<Option<u64>, Failure> {
    let read = |cursor: String| cursor.parse().map_err(|_| bad_cursor(&cursor));
    cursor.map(read).transpose()
}

/// `POST /workspace/webhook-endpoints/{id}/deliveries/{deliveryId}/redeliver`
pub(super) async fn redeliver(call: Call) -> Answer {
    let delivery = call.part(1);
    with(call, Need::Manage, move |hooks, endpoint, _| {
        let delivery = hooks.redeliver(&endpoint.id, &delivery).map_err(failed)?;
        json(StatusCode::OK, &Outcome { delivery_id: delivery.id, queued: true })
    })
    .await
}
