//! What faces of webhooks have in common: whose they are, what is done with an endpoint, and why
//! something cannot be done.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::{Generation, Need};
use super::call::{Answer, Call, Project, json};
use super::failure::{Failure, Reason};
use crate::Engine;
use crate::webhooks::{Endpoint, EndpointError, Webhooks};

/// A face that shows endpoints, and those that it shows.
pub(super) trait Face: 'static {
    /// Of which generation its endpoints are; `None`: of all.
    const ONLY: Option<Generation>;
    /// An endpoint as it is shown.
    type Shown: Serialize;

    fn shown(endpoint: Endpoint, project: &Project) -> Self::Shown;

    /// Its endpoints, the newest first.
    fn list(hooks: &Webhooks, project: &Project) -> Vec<Self::Shown> {
        let own = hooks.list().into_iter().filter(|endpoint| Self::has(endpoint));
        own.map(|endpoint| Self::shown(endpoint, project)).collect()
    }

    fn has(endpoint: &Endpoint) -> bool {
        Self::ONLY.is_none_or(|only| endpoint.generation == only)
    }
}

/// The webhooks of a project.
pub(super) fn of(project: &Project) -> Result<Webhooks, Failure> {
    project.webhooks().ok_or_else(|| {
        let message = "this server sends no webhooks of this project";
        Failure::new(Reason::Conflict, message).code("no_webhooks")
    })
}

/// Why something cannot be done, in the words of this API.
#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
pub(super) fn failed(why: EndpointError) -> Failure {
    let reason = match &why {
        why if why.is_bad_input() => Reason::BadInput,
        why if why.is_conflict() => Reason::Conflict,
        why if why.is_not_found() => Reason::NotFound,
        EndpointError::Store(_) => Reason::Unavailable,
        _ => Reason::Internal,
    };
    let code = match &why {
        EndpointError::TooMany { .. } => Some("too_many_webhook_endpoints"),
        EndpointError::Disabled => Some("webhook_endpoint_disabled"),
        _ => None,
    };
    Failure { code, ..Failure::new(reason, &why) }
}

/// A type of events, and what it means.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEventType)]
pub(super) struct EventType {
    r#type: &'static str,
    description: &'static str,
}

pub(super) fn event_types(generation: Generation) -> Vec<EventType> {
    let types = crate::webhooks::event_types(generation).iter();
    types.map(|(r#type, description)| EventType { r#type, description }).collect()
}

/// An endpoint to make, as the third generation has it.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewWebhookEndpoint)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewEndpoint {
    /// It begins with `https://`, and its host is a public one.
    pub(super) url: String,
    pub(super) description: Option<String>,
    /// Which events it is sent; all where it is not given.
    pub(super) event_types: Option<Vec<String>>,
}

impl NewEndpoint {
    pub(super) fn into_new(self, generation: Generation) -> crate::webhooks::NewEndpoint {
        let mut new = crate::webhooks::NewEndpoint::new(self.url, generation);
        if let Some(description) = self.description {
            new = new.description(description);
        }
        if let Some(types) = self.event_types {
            new = new.event_types(types);
        }
        new
    }
}

/// Does something with an endpoint of a face, on a thread that may wait.
pub(super) async fn with<F: Face>(
    call: Call,
    need: Need,
    work: impl FnOnce(&Webhooks, Endpoint, &Project) -> Answer + Send + 'static,
) -> Answer {
    let (id, project) = (call.id(), call.needs(need)?.project);
    let (hooks, own) = (of(&project)?, project.clone());
    let work = move |_: &Engine| {
        let endpoint = hooks.get(&id).map_err(failed)?;
        if !F::has(&endpoint) {
            return Err(failed(EndpointError::NoEndpoint { id }));
        }
        work(&hooks, endpoint, &own)
    };
    project.ask(work).await
}

/// `GET .../webhook-endpoints/{id}`
pub(super) async fn get<F: Face>(call: Call) -> Answer {
    with::<F>(call, Need::Read, |_, endpoint, project| {
        json(StatusCode::OK, &F::shown(endpoint, project))
    })
    .await
}

/// `DELETE .../webhook-endpoints/{id}`
pub(super) async fn delete<F: Face>(call: Call) -> Answer {
    with::<F>(call, Need::Manage, |hooks, endpoint, _| {
        hooks.delete(&endpoint.id).map_err(failed)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `POST .../webhook-endpoints/{id}/enable`
pub(super) async fn enable<F: Face>(call: Call) -> Answer {
    with::<F>(call, Need::Manage, |hooks, endpoint, project| {
        let endpoint = hooks.enable(&endpoint.id).map_err(failed)?;
        json(StatusCode::OK, &F::shown(endpoint, project))
    })
    .await
}

/// `POST .../webhook-endpoints/{id}/test`
pub(super) async fn test<F: Face>(call: Call) -> Answer {
    with::<F>(call, Need::Manage, |hooks, endpoint, _| {
        let delivery = hooks.test(&endpoint.id).map_err(failed)?;
        json(StatusCode::OK, &Outcome { delivery_id: delivery.id, queued: true })
    })
    .await
}

/// `POST .../webhook-endpoints/{id}/deliveries/{deliveryId}/redeliver`
pub(super) async fn redeliver<F: Face>(call: Call) -> Answer {
    let delivery = call.part(1);
    with::<F>(call, Need::Manage, move |hooks, endpoint, _| {
        let delivery = hooks.redeliver(&endpoint.id, &delivery).map_err(failed)?;
        json(StatusCode::OK, &Outcome { delivery_id: delivery.id, queued: true })
    })
    .await
}

/// A delivery that was asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeliveryOutcome)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    delivery_id: String,
    /// It is sent at once, and what came of it is in the list of deliveries.
    queued: bool,
}
