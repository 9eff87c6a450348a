//! Rules: made, changed, compared with a list; who uses them.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::refused;
use super::schema::RuleList;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, fields_from_json, json};
use crate::http::changes::By;
use crate::http::failure::Failure;
use crate::http::pages::{Asked, Place};
use crate::keys::KeyQuery;
use crate::rules::{QuotaUpdate, RateLimitUpdate, RuleUpdate, SyncOptions};
use crate::{Amount, Engine, Rule, RuleSet};

/// Reads a body that is an object; what is wrong with it is named by its path.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Failure::bad_input("the body must be a JSON object"));
    }
    fields_from_json(body)
}

/// Who changes something, and why.
fn by(call: &mut Call) -> Result<By, Failure> {
    let note = call.params().take("note");
    By::of(call.access(), note)
}

/// `POST /rules`: a rule of any kind, as `{"rateLimit": ...}` or `{"quota": ...}`.
pub(super) async fn add(call: Call) -> Answer {
    let mut call = call.needs(Need::Manage)?;
    let by = by(&mut call)?;
    let (project, body) = call.body().await?;
    let own = project.clone();
    let add = move |engine: &Engine| {
        let rule: Rule = read(&body)?;
        let rule = engine.rules().add(rule).map_err(refused)?;
        own.log().note(engine, by, "added", (None, Some(&rule)));
        json(StatusCode::CREATED, &rule)
    };
    project.ask(add).await
}

/// `GET /rules`: the newest first; those that are archived with `archived=true`.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let archived = params.flag("archived")?;
    let asked = Asked::of(params)?;
    let list = move |engine: &Engine| {
        let rules = engine.rules();
        let mut rules = if archived { rules.archived() } else { rules.list() };
        rules.reverse();
        asked.page(rules, Place::of)?.answer()
    };
    call.project.ask(list).await
}

fn find(engine: &Engine, id: &str) -> Result<Rule, Failure> {
    engine.rules().get(id).ok_or_else(|| Failure::not_found("rule", id))
}

/// `GET /rules/{id}`: an archived one, too.
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    json(StatusCode::OK, &find(&call.project.engine, &id)?)
}

/// `PATCH /rules/{id}`: the fields of the rule's kind that are given.
pub(super) async fn update(call: Call) -> Answer {
    let id = call.id();
    let mut call = call.needs(Need::Manage)?;
    let by = by(&mut call)?;
    let (project, body) = call.body().await?;
    let own = project.clone();
    let update = move |engine: &Engine| {
        let _one_at_a_time = own.changes();
        let before = find(engine, &id)?;
        let rule = match before {
            Rule::RateLimit(_) => updated::<RateLimitUpdate>(engine, &id, &body)?,
            Rule::Quota(_) => updated::<QuotaUpdate>(engine, &id, &body)?,
        };
        own.log().note(engine, by, "updated", (Some(&before), Some(&rule)));
        json(StatusCode::OK, &rule)
    };
    project.ask(update).await
}

fn updated<U>(engine: &Engine, id: &str, body: &Bytes) -> Result<Rule, Failure>
where
    U: RuleUpdate + DeserializeOwned,
{
    let update: U = read(body)?;
    Ok(engine.rules().update(id, update).map_err(refused)?.into())
}

/// `DELETE /rules/{id}`
pub(super) async fn remove(call: Call) -> Answer {
    let (id, mut call) = (call.id(), call.needs(Need::Manage)?);
    let (by, own) = (by(&mut call)?, call.project.clone());
    let remove = move |engine: &Engine| {
        let before: Option<Rule> = engine.rules().get(&id);
        engine.rules().remove(&id)?;
        own.log().note(engine, by, "removed", (before.as_ref(), None));
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(remove).await
}

/// `POST /rules/{id}/archive`
pub(super) async fn archive(call: Call) -> Answer {
    let (id, mut call) = (call.id(), call.needs(Need::Manage)?);
    let (by, own) = (by(&mut call)?, call.project.clone());
    let archive = move |engine: &Engine| {
        let rule = engine.rules().archive(&id).map_err(refused)?;
        own.log().note(engine, by, "archived", (None, Some(&rule)));
        json(StatusCode::OK, &rule)
    };
    call.project.ask(archive).await
}

/// `POST /rules/{id}/restore`
pub(super) async fn restore(call: Call) -> Answer {
    let (id, mut call) = (call.id(), call.needs(Need::Manage)?);
    let (by, own) = (by(&mut call)?, call.project.clone());
    let restore = move |engine: &Engine| {
        let rule = engine.rules().restore(&id).map_err(refused)?;
        own.log().note(engine, by, "restored", (None, Some(&rule)));
        json(StatusCode::OK, &rule)
    };
    call.project.ask(restore).await
}

/// `GET /rules/{id}/keys`: those that have used the most first.
pub(super) async fn keys(call: Call) -> Answer {
    let (id, mut call) = (call.id(), call.needs(Need::Read)?);
    let Asked { limit, cursor } = Asked::of(call.params())?;
    let keys = move |engine: &Engine| {
        let mut query = KeyQuery::new().limit(u32::try_from(limit).unwrap_or(u32::MAX));
        if let Some(cursor) = cursor {
            query = query.cursor(cursor);
        }
        json(StatusCode::OK, &engine.rules().keys(&id, &query)?)
    };
    call.project.ask(keys).await
}

/// A list that the rules are compared with.
#[derive(Deserialize, ToSchema)]
#[schema(as = Sync)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    #[schema(value_type = RuleList)]
    rules: RuleSet,
    /// Whether nothing is written.
    #[serde(default)]
    preview: bool,
    #[serde(default)]
    missing: Missing,
}

/// What becomes of what the list does not name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Missing {
    #[default]
    Keep,
    Archive,
    Remove,
}

/// `POST /sync`: says what changes, and changes it unless it is a preview, for which a key to read
/// is enough.
pub(super) async fn sync(call: Call) -> Answer {
    // Nothing is read of who may not even look.
    let (mut call, body) = call.needs(Need::Read)?.with_body().await?;
    let by = by(&mut call)?;
    let wanted: Wanted = read(&body)?;
    if !wanted.preview {
        call.may(Need::Manage)?;
    }
    synced(&call.project, wanted, by).await
}

async fn synced(project: &Project, wanted: Wanted, by: By) -> Answer {
    let own = project.clone();
    let sync = move |engine: &Engine| {
        let options = if wanted.preview { SyncOptions::preview() } else { SyncOptions::apply() };
        let options = match wanted.missing {
            Missing::Keep => options.keep_missing(),
            Missing::Archive => options.archive_missing(),
            Missing::Remove => options,
        };
        let _one_at_a_time = own.changes();
        let report = engine.rules().sync(wanted.rules, options).map_err(refused)?;
        let counts = [&report.created, &report.removed, &report.archived].map(Vec::len);
        let is_other = !report.updated.is_empty() || counts.iter().any(|count| *count > 0);
        if is_other && !report.preview {
            let fields = serde_json::to_value(&report).unwrap_or_default();
            own.log().note_all(engine, by, "synced", fields);
        }
        json(StatusCode::OK, &report)
    };
    project.ask(sync).await
}

/// A page of the keys of a rule.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct KeysPage {
    rule_id: String,
    items: Vec<KeyUse>,
    /// Those together that found no room for counters of their own.
    #[schema(required)]
    shared: Option<KeyUse>,
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Where a key stands on a rule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone")]
struct KeyUse {
    /// The dimensions that the rule is split by, and their values.
    key: BTreeMap<String, String>,
    used: Amount,
    held: Amount,
    adjusted: Amount,
    #[schema(required)]
    limit: Option<Amount>,
    #[schema(required)]
    remaining: Option<Amount>,
    /// The Unix second at which the figures start over.
    #[schema(required)]
    reset: Option<i64>,
}
