//! Webhook endpoints and their deliveries, of all generations.

use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::access::{Generation, Need};
use crate::http::call::{Answer, Call, Project, fields_from_json, json};
use crate::http::failure::{Failure, Reason};
use crate::http::first;
use crate::http::pages::{Asked, Page, cursor_number};
use crate::http::routes::{Routes, delete as deletes, get as gets, post as posts};
use crate::http::webhooks::{
    self, EventType, Face, Outcome, delete, enable, failed, get, redeliver, test, with,
};
use crate::webhooks::Endpoint;
use crate::{Engine, Timestamp};

/// How long the older secret signs beside a new one, where nothing is said: a day.
const OVERLAP_SECONDS: u64 = 86_400;

/// Adds the paths of webhooks.
pub(super) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .about("Webhooks")
        .with(
            gets("/webhook-event-types", "listWebhookEventTypes", event_types)
                .says("Lists the types of events that endpoints of the key's generation are sent")
                .answers::<Page<EventType>>(StatusCode::OK, "All of them"),
        )
        .with(
            posts("/webhook-endpoints", "createWebhookEndpoint", create)
                .says("Makes an endpoint; its secret is shown this once")
                .takes::<NewEndpoint>()
                .answers::<Made>(StatusCode::CREATED, "It is sent events from now on"),
        )
        .with(
            gets("/webhook-endpoints", "listWebhookEndpoints", list)
                .says("Lists the endpoints of all generations, the newest first")
                .answers::<Page<Shown>>(StatusCode::OK, "All of them")
                .fails([Reason::Conflict]),
        )
        .with(
            gets("/webhook-endpoints/{id}", "getWebhookEndpoint", get::<All>)
                .says("Returns an endpoint")
                .answers::<Shown>(StatusCode::OK, "The endpoint")
                .fails([Reason::Conflict]),
        )
        .with(
            deletes("/webhook-endpoints/{id}", "deleteWebhookEndpoint", delete::<All>)
                .says("Deletes an endpoint, its secrets and its deliveries")
                .answers_nothing("It is deleted"),
        );
    delivery_routes(routes)
}

fn delivery_routes(routes: Routes) -> Routes {
    const REDELIVER: &str = "/webhook-endpoints/{id}/deliveries/{deliveryId}/redeliver";
    routes
        .with(
            posts("/webhook-endpoints/{id}/enable", "enableWebhookEndpoint", enable::<All>)
                .says("Enables an endpoint that was disabled after failures")
                .answers::<Shown>(StatusCode::OK, "It is enabled"),
        )
        .with(
            posts("/webhook-endpoints/{id}/test", "testWebhookEndpoint", test::<All>)
                .says("Sends an endpoint the event `ping`")
                .answers::<Outcome>(StatusCode::OK, "It is on its way"),
        )
        .with(
            posts("/webhook-endpoints/{id}/rotate", "rotateWebhookSecret", rotate)
                .says("Gives an endpoint another secret; for a while both sign")
                .may_take::<Rotation>()
                .answers::<Rotated>(StatusCode::OK, "The new secret, which is shown this once"),
        )
        .with(
            gets("/webhook-endpoints/{id}/deliveries", "listWebhookDeliveries", deliveries)
                .says("Lists an endpoint's deliveries of the last 30 days, the newest first")
                .asks(first::page())
                .answers::<Page<ShownDelivery>>(StatusCode::OK, "A page of deliveries")
                .fails([Reason::Conflict]),
        )
        .with(
            posts(REDELIVER, "redeliverWebhook", redeliver::<All>)
                .says("Sends the event of a delivery again, under the same event id")
                .answers::<Outcome>(StatusCode::OK, "It is on its way"),
        )
}

/// An endpoint to make.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewWebhookEndpoint)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewEndpoint {
    /// It begins with `https://`, and its host is a public one.
    url: String,
    description: Option<String>,
    /// Which events it is sent; all where it is not given.
    event_types: Option<Vec<String>>,
    /// In whose words: 1, 2 or 3; those of the key where it is not given.
    generation: Option<u8>,
}

/// An endpoint.
#[derive(ToSchema)]
#[schema(as = WebhookEndpoint, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone, that of an `Endpoint`")]
struct Shown {
    id: String,
    url: String,
    generation: u8,
    #[schema(required)]
    description: Option<String>,
    /// False after 20 failed attempts in a row.
    enabled: bool,
    /// Null: all.
    #[schema(required)]
    event_types: Option<Vec<String>>,
    consecutive_failures: u32,
    #[schema(required)]
    last_status: Option<u16>,
    #[schema(required)]
    last_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
}

/// Shows the endpoints of all generations.
enum All {}

impl Face for All {
    const ONLY: Option<Generation> = None;
    type Shown = Endpoint;

    fn shown(endpoint: Endpoint, _: &Project) -> Endpoint {
        endpoint
    }
}

/// An endpoint that was made, with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEndpointCreated)]
struct Made {
    #[schema(value_type = Shown)]
    endpoint: Endpoint,
    secret: String,
}

/// How a secret is rotated.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = WebhookRotation)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rotation {
    /// For how long the older secret signs, too: 0 to 604 800 seconds, and a day where it is not
    /// given. 0 ends all older ones at once.
    overlap_seconds: Option<u64>,
}

/// A new secret.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
struct Rotated {
    secret: String,
}

/// A delivery.
#[derive(ToSchema)]
#[schema(as = WebhookDelivery, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone, that of a `Delivery`")]
struct ShownDelivery {
    id: String,
    event_id: String,
    event_type: String,
    /// `pending`, `delivered` or `failed`.
    status: String,
    attempts: u32,
    #[schema(required)]
    last_status: Option<u16>,
    /// Why the last attempt has failed.
    #[schema(required)]
    last_error: Option<String>,
    #[schema(required)]
    last_attempt_at: Option<Timestamp>,
    #[schema(required)]
    next_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
}

/// `GET /webhook-event-types`
async fn event_types(call: Call) -> Answer {
    let call = call.needs(Need::Read)?;
    Page::new(webhooks::event_types(call.generation()), None).answer()
}

/// `POST /webhook-endpoints`
async fn create(call: Call) -> Answer {
    let own = call.generation();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let new: NewEndpoint = fields_from_json(&body)?;
    let hooks = webhooks::of(&project)?;
    let NewEndpoint { url, description, event_types, generation } = new;
    let generation = match generation {
        Some(number) => Generation::try_from(number).map_err(|why| Failure::bad_input(&why))?,
        None => own,
    };
    let new = webhooks::NewEndpoint { url, description, event_types };
    let create = move |_: &Engine| {
        let made = hooks.create(new.into_new(generation)).map_err(failed)?;
        let secret = made.secret.expose().to_owned();
        json(StatusCode::CREATED, &Made { endpoint: made.endpoint, secret })
    };
    project.ask(create).await
}

/// `GET /webhook-endpoints`
async fn list(call: Call) -> Answer {
    let project = call.needs(Need::Read)?.project;
    Page::new(All::list(&webhooks::of(&project)?, &project), None).answer()
}

/// `POST /webhook-endpoints/{id}/rotate`
async fn rotate(call: Call) -> Answer {
    let (call, body) = call.needs(Need::Manage)?.with_body().await?;
    let asked: Rotation =
        if body.is_empty() { Rotation::default() } else { fields_from_json(&body)? };
    let overlap = Duration::from_secs(asked.overlap_seconds.unwrap_or(OVERLAP_SECONDS));
    with::<All>(call, Need::Manage, move |hooks, endpoint, _| {
        let secret = hooks.rotate(&endpoint.id, overlap).map_err(failed)?;
        json(StatusCode::OK, &Rotated { secret: secret.expose().to_owned() })
    })
    .await
}

/// `GET /webhook-endpoints/{id}/deliveries`
async fn deliveries(mut call: Call) -> Answer {
    let Asked { limit, cursor } = Asked::of(call.params())?;
    let before = cursor_number(cursor)?;
    with::<All>(call, Need::Read, move |hooks, endpoint, _| {
        let page = hooks.deliveries(&endpoint.id, before, limit).map_err(failed)?;
        Page::new(page.deliveries, page.next.map(|next| next.to_string())).answer()
    })
    .await
}
