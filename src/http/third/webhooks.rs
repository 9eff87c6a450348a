//! Webhook endpoints and their deliveries, in the product's shapes: those that are sent events of
//! this generation.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::limits::{Page, page_size};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, fields_from_json, json};
use crate::http::pages::cursor_number;
use crate::http::webhooks::{self, EventType, Face, NewEndpoint, failed, with};
use crate::webhooks::{Delivery, DeliveryStatus, Endpoint, Generation};
use crate::{Engine, Timestamp};

/// Shows the endpoints of this generation.
pub(super) enum Third {}

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

impl Face for Third {
    const ONLY: Option<Generation> = Some(Generation::Third);
    type Shown = Shown;

    fn shown(endpoint: Endpoint, project: &Project) -> Shown {
        Shown {
            id: endpoint.id,
            url: endpoint.url,
            description: endpoint.description,
            enabled: endpoint.enabled,
            event_types: endpoint.event_types,
            environment: project.id.to_string(),
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
    let items: Vec<EventType> = webhooks::event_types(Generation::Third);
    json(StatusCode::OK, &Page { items, next_cursor: None })
}

/// `GET /workspace/webhook-endpoints`
pub(super) async fn list(call: Call) -> Answer {
    let call = call.needs(Need::Read)?;
    let items = Third::list(&webhooks::of(&call.project)?, &call.project);
    json(StatusCode::OK, &Page { items, next_cursor: None })
}

/// `POST /workspace/webhook-endpoints`
pub(super) async fn create(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let new: NewEndpoint = fields_from_json(&body)?;
    let (hooks, own) = (webhooks::of(&project)?, project.clone());
    let create = move |_: &Engine| {
        let made = hooks.create(new.into_new(Generation::Third)).map_err(failed)?;
        let secret = made.secret.expose().to_owned();
        json(StatusCode::OK, &Made { endpoint: Third::shown(made.endpoint, &own), secret })
    };
    project.ask(create).await
}

/// `GET /workspace/webhook-endpoints/{id}/deliveries`
pub(super) async fn deliveries(mut call: Call) -> Answer {
    let mut params = call.params();
    let limit = page_size(&mut params)?;
    let before = cursor_number(params.take("cursor"))?;
    params.end()?;
    with::<Third>(call, Need::Read, move |hooks, endpoint, _| {
        let page = hooks.deliveries(&endpoint.id, before, limit).map_err(failed)?;
        let items: Vec<ShownDelivery> = page.deliveries.into_iter().map(Into::into).collect();
        json(StatusCode::OK, &Page { items, next_cursor: page.next.map(|it| it.to_string()) })
    })
    .await
}
