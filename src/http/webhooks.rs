//! What faces of webhooks have in common: whose they are, and why something cannot be done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Generation;
use super::call::Project;
use super::failure::{Failure, Reason};
use crate::webhooks::{EndpointError, Shape, Webhooks};

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

/// The shape of events that a generation is sent.
pub(super) fn shape_of(generation: Generation) -> Shape {
    match generation {
        Generation::First => Shape::First,
        Generation::Second => Shape::Second,
        Generation::Third => Shape::Third,
    }
}

/// A type of events, and what it means.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookEventType)]
pub(super) struct EventType {
    r#type: &'static str,
    description: &'static str,
}

pub(super) fn event_types(shape: Shape) -> Vec<EventType> {
    let types = crate::webhooks::event_types(shape).iter();
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
    pub(super) fn into_new(self, shape: Shape) -> crate::webhooks::NewEndpoint {
        let mut new = crate::webhooks::NewEndpoint::new(self.url, shape);
        if let Some(description) = self.description {
            new = new.description(description);
        }
        if let Some(types) = self.event_types {
            new = new.event_types(types);
        }
        new
    }
}

/// A delivery that was asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeliveryOutcome)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub(super) delivery_id: String,
    /// It is sent at once, and what came of it is in the list of deliveries.
    pub(super) queued: bool,
}
