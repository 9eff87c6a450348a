//! Limits: made, changed, listed, archived.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::fields::Fields;
use super::limit::{Described, Limit, MAX_AMOUNT, read_subject};
use super::window::{FAIL_MODES, FailMode, LimitWindow, STARTS, Start, WINDOWS};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Params, json};
use crate::http::failure::{Failure, Reason};
use crate::http::{fresh, openapi, pages};
use crate::{Engine, Rule, Timestamp};

const DEFAULT_PAGE: usize = 25;
const MAX_PAGE: usize = 100;

/// A page of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_cursor: Option<String>,
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        RefOr::T(openapi::page_of("items", T::name()).into())
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// How many a page has: a number that is out of bounds is taken as the nearest that is not.
pub(super) fn page_size(params: &mut Params) -> Result<usize, Failure> {
    let Some(text) = params.take("limit") else { return Ok(DEFAULT_PAGE) };
    let limit: i64 = text
        .parse()
        .map_err(|_| Failure::bad_input(&format_args!("limit: {text:?} must be a whole number")))?;
    Ok(usize::try_from(limit).unwrap_or(1).clamp(1, MAX_PAGE))
}

/// Every limit that is not archived, the oldest first.
pub(super) fn active(engine: &Engine) -> Vec<Limit> {
    let mut limits: Vec<Limit> = engine.rules().list().iter().filter_map(Limit::of).collect();
    limits.sort_by_key(|limit| limit.created_at);
    limits
}

/// The limit of an id, archived or not.
pub(super) fn find(engine: &Engine, id: &str) -> Result<Limit, Failure> {
    let rule: Option<Rule> = engine.rules().get(id);
    rule.as_ref().and_then(Limit::of).ok_or_else(|| Failure::not_found("limit", id))
}

/// Refuses a limit whose name, or what it counts, is that of another one that is active.
pub(super) fn check_free(
    engine: &Engine,
    limit: &Described,
    own: Option<&str>,
) -> Result<(), Failure> {
    for rule in engine.rules().list().iter().filter(|rule| rule.id() != own) {
        let id = rule.id().unwrap_or_default();
        if rule.name() == limit.name {
            let name = &limit.name;
            let message = format_args!("name: {name:?} is that of {id}: names are unique");
            return Err(Failure::new(Reason::Conflict, &message).code("name_taken"));
        }
        if Limit::of(rule).is_some_and(|other| other.says.counts == limit.counts) {
            let rule = "counts the same of the same subject: change its amount, or archive it";
            let message = format_args!("the limit {id} {rule}");
            return Err(Failure::new(Reason::Conflict, &message).code("limit_exists"));
        }
    }
    Ok(())
}

/// `POST /limits`
pub(super) async fn create(call: Call) -> Answer {
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let own = project.clone();
    let create = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let described = Described::read(&mut fields);
        let described = fields.end(described)?;
        let _one_at_a_time = own.changes();
        check_free(engine, &described, None)?;
        let rule = engine.rules().add(described.rule(&fresh("lmt_")))?;
        shown(engine, &rule)
    };
    project.ask(create).await
}

fn shown(engine: &Engine, rule: &Rule) -> Answer {
    let limit = Limit::of(rule);
    let limit = limit.ok_or_else(|| Failure::new(Reason::Internal, "a limit is one as a rule"))?;
    json(StatusCode::OK, &limit.shown(last_checked(engine, &limit.id)))
}

/// The hour in which a check last reached a limit, where the engine records.
fn last_checked(engine: &Engine, id: &str) -> Option<Timestamp> {
    let at = engine.rules().last_judged(id).ok()?.at?;
    LimitWindow::Hour.period_start(1, at)
}

/// `GET /limits/{id}`
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let get = move |engine: &Engine| {
        let limit = find(engine, &id)?;
        json(StatusCode::OK, &limit.shown(last_checked(engine, &id)))
    };
    call.project.ask(get).await
}

/// `GET /limits`: the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let size = page_size(&mut params)?;
    let cursor = params.take("cursor");
    let (kind, action) = (params.take("subjectKind"), params.take("action"));
    let archived = params.flag("archived")?;
    params.end()?;
    let list = move |engine: &Engine| {
        let rules = engine.rules();
        let mut rules = if archived { rules.archived() } else { rules.list() };
        rules.retain(|rule| {
            Limit::of(rule).is_some_and(|Limit { says, .. }| {
                kind.as_ref().is_none_or(|kind| *kind == says.counts.kind)
                    && action.as_ref().is_none_or(|action| *action == says.counts.action)
            })
        });
        // Rate limits come before quotas: limits go by their age.
        rules.sort_by_key(|rule| Limit::of(rule).map(|limit| limit.created_at));
        rules.reverse();
        let next_cursor = pages::cut(&mut rules, size, cursor.as_deref(), pages::Place::of)?;
        let limits: Vec<Limit> = rules.iter().filter_map(Limit::of).collect();
        let shown = limits.iter().map(|limit| limit.shown(last_checked(engine, &limit.id)));
        json(StatusCode::OK, &Page { items: shown.collect(), next_cursor })
    };
    call.project.ask(list).await
}

/// A change of a limit, as a body has it: what is not given stays.
#[derive(ToSchema)]
#[schema(as = LimitChange, rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct ChangeShape {
    #[schema(min_length = 1, max_length = 256)]
    name: Option<String>,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_u64)]
    amount: Option<u64>,
    enabled: Option<bool>,
    fail_mode: Option<FailMode>,
}

/// A change of what may be changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) name: Option<String>,
    pub(super) amount: Option<u64>,
    pub(super) enabled: Option<bool>,
    pub(super) fail_mode: Option<FailMode>,
}

impl Change {
    /// Reads a change of a limit: what a limit counts is fixed, and may only be said as it is.
    fn read(fields: &mut Fields, of: &Described) -> Self {
        let counts = &of.counts;
        let change = Self {
            name: fields.text("name"),
            amount: fields.count("amount", 0..=MAX_AMOUNT),
            enabled: fields.word("enabled", "true or false"),
            fail_mode: fields.word("failMode", FAIL_MODES),
        };
        let window: Option<LimitWindow> = fields.word("window", WINDOWS);
        let start: Option<Start> = fields.word("start", STARTS);
        let rolling: Option<bool> = fields.word("rolling", "true or false");
        let every = fields.count("every", 1..=i64::from(u32::MAX));
        let (action, unit) = (fields.text("action"), fields.text("unit"));
        let subject = fields.any("subject").map(|value| {
            let mut whole = Fields::of(String::new(), serde_json::json!({ "subject": value }));
            let subject = read_subject(&mut whole);
            fields.join(whole);
            subject.is_none_or(|(kind, id)| kind == counts.kind && id == counts.id)
        });
        for (name, is_same) in [
            ("subject", subject),
            ("action", action.map(|it| it == counts.action)),
            ("unit", unit.map(|it| it == counts.unit)),
            ("window", window.map(|it| it == counts.window)),
            ("every", every.map(|it| it == u64::from(counts.every))),
            ("start", start.map(|it| it == counts.start)),
            ("rolling", rolling.map(|it| it == counts.rolling)),
        ] {
            if is_same == Some(false) {
                fields.wrong(name, "is fixed: make a new limit, and archive this one");
            }
        }
        change
    }

    /// The limit as it would be.
    fn apply(&self, limit: &Described) -> Described {
        Described {
            name: self.name.clone().unwrap_or_else(|| limit.name.clone()),
            counts: limit.counts.clone(),
            amount: self.amount.unwrap_or(limit.amount),
            enabled: self.enabled.unwrap_or(limit.enabled),
            fail_mode: self.fail_mode.unwrap_or(limit.fail_mode),
        }
    }
}

/// `PATCH /limits/{id}`
pub(super) async fn update(call: Call) -> Answer {
    let id = call.id();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let own = project.clone();
    let update = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let _one_at_a_time = own.changes();
        let limit = find(engine, &id)?;
        let change = Change::read(&mut fields, &limit.says);
        let wanted = fields.end(Some(change))?.apply(&limit.says);
        if limit.is_active() {
            check_free(engine, &wanted, Some(&id))?;
        }
        shown(engine, &set(engine, &id, &wanted)?)
    };
    project.ask(update).await
}

/// Sets what may be changed of a limit.
fn set(engine: &Engine, id: &str, limit: &Described) -> Result<Rule, Failure> {
    let rules = engine.rules();
    let known: Option<Rule> = rules.get(id);
    let known = known.ok_or_else(|| Failure::not_found("limit", id))?;
    Ok(match known {
        Rule::Quota(known) => rules.update(id, limit.quota_update(&known))?.into(),
        Rule::RateLimit(known) => rules.update(id, limit.rate_limit_update(&known))?.into(),
    })
}

/// `POST /limits/{id}/archive`
pub(super) async fn archive(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let archive = move |engine: &Engine| {
        find(engine, &id)?;
        engine.rules().archive(&id)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(archive).await
}

/// `POST /limits/{id}/restore`: refused while an active limit has its name.
pub(super) async fn restore(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let own = call.project.clone();
    let restore = move |engine: &Engine| {
        let _one_at_a_time = own.changes();
        let limit = find(engine, &id)?;
        if !limit.is_active() {
            check_free(engine, &limit.says, None)?;
        }
        shown(engine, &engine.rules().restore(&id)?)
    };
    call.project.ask(restore).await
}
