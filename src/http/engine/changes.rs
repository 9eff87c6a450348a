//! Who asks, and who has changed what.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Engine;
use crate::http::access::{Need, Scope};
use crate::http::call::{Answer, Call, json};
use crate::http::pages::{Asked, Page, cursor_number};

/// Who a key is.
#[derive(Serialize, ToSchema)]
#[schema(as = Caller)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    project: String,
    /// The name of the key, or what its hash begins with.
    #[schema(required)]
    who: Option<String>,
    /// `all`, `read` or `record`.
    #[schema(value_type = String)]
    scope: Scope,
    /// Whether the key may change rules.
    may_change: bool,
}

/// `GET /me`: what the key may do.
pub(super) async fn me(call: Call) -> Answer {
    let call = call.needs(Need::Check)?;
    let (access, may_change) = (call.access(), call.may(Need::Manage).is_ok());
    let project = call.project.id.to_string();
    let me = Me { project, who: access.who.clone(), scope: access.scope, may_change };
    json(StatusCode::OK, &me)
}

/// `GET /changes`: the newest first.
pub(super) async fn changes(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let Asked { limit, cursor } = Asked::of(call.params())?;
    let before = cursor_number(cursor)?;
    let own = call.project.clone();
    let list = move |engine: &Engine| {
        let (changes, next) = own.log().list(engine, before, limit);
        let changes: Vec<_> = changes.iter().map(|change| &**change).collect();
        Page::new(changes, next.map(|next| next.to_string())).answer()
    };
    call.project.ask(list).await
}
