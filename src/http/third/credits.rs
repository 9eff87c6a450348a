//! Credits: what is added to a subject's balance of a limit for all time, and taken back.
//!
//! They are [adjustments](crate::keys::Adjust) of the rule: what is credited is less used.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::{Fields, units};
use super::limit::{Limit, MAX_AMOUNT};
use super::limits::{self, Page, page_size};
use super::subject::Subject;
use super::window::LimitWindow;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::{Failure, Reason};
use crate::keys::{Adjust, Adjustment, AdjustmentQuery, RuleKey};
use crate::{Engine, Timestamp};

/// A credit, as a body has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct NewCredit {
    subject: Subject,
    /// Not 0; below 0 it is taken back.
    #[schema(minimum = -1_000_000_000_000_000_i64, maximum = 1_000_000_000_000_000_i64)]
    amount: i64,
    /// Must be given where credits are taken back.
    note: Option<String>,
}

/// A credit as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Credit)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    limit_id: String,
    subject: Subject,
    amount: i64,
    note: String,
    /// Keys are nobody's.
    #[schema(required)]
    created_by_user_id: Option<String>,
    created_at: Timestamp,
}

impl Shown {
    fn of(limit: &Limit, made: &Adjustment) -> Option<Self> {
        let kind = &limit.says.counts.kind;
        let (_, id) = made.key.iter().next()?;
        Some(Self {
            id: format!("crd_{}", made.number),
            limit_id: made.rule_id.clone(),
            subject: Subject { kind: kind.clone(), id: id.to_owned() },
            amount: units(made.amount).checked_neg()?,
            note: made.note.clone().unwrap_or_default(),
            created_by_user_id: None,
            created_at: made.at,
        })
    }
}

fn find(engine: &Engine, id: &str) -> Result<Limit, Failure> {
    let limit = limits::find(engine, id)?;
    if limit.says.counts.window == LimitWindow::Total {
        return Ok(limit);
    }
    let message = "credits are for limits whose window is `total`";
    Err(Failure::bad_input(message).code("not_a_balance"))
}

/// The key of a limit's rule that a subject is.
pub(super) fn key_of(subject: &Subject) -> RuleKey {
    RuleKey::new().and(subject.dimension(), subject.id.as_str())
}

/// `POST /limits/{id}/credits`
pub(super) async fn create(mut call: Call) -> Answer {
    let (id, key) = (call.id(), call.key());
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let credit = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let subject = Subject::read(&mut fields, "subject");
        let amount = fields.whole("amount", MAX_AMOUNT.saturating_neg()..=MAX_AMOUNT);
        let amount = fields.need("amount", amount);
        let note = match fields.any("note") {
            None => None,
            Some(serde_json::Value::String(note)) => Some(note).filter(|note| !note.is_empty()),
            Some(other) => {
                fields.wrong("note", format_args!("{other} must be a text"));
                None
            }
        };
        if amount == Some(0) {
            fields.wrong("amount", "0 must not be 0");
        }
        if note.is_none() && amount.is_some_and(|amount| amount < 0) && !fields.is_wrong() {
            fields.wrong("note", "must be given where credits are taken back");
        }
        let (subject, amount) = fields.end(subject.zip(amount))?;
        let limit = find(engine, &id)?;
        if !limit.says.counts.is_for(&subject) {
            return Err(Failure::bad_input("subject: must be one that the limit is for"));
        }
        let mut adjust = Adjust::by(&*id, key_of(&subject), amount.saturating_neg());
        if let Some(note) = note {
            adjust = adjust.note(note);
        }
        if let Some(key) = key {
            adjust = adjust.idempotency_key(key);
        }
        let made = Shown::of(&limit, &engine.rules().apply(&adjust)?);
        let made = made.ok_or_else(|| Failure::new(Reason::Internal, "a credit is of a key"))?;
        json(StatusCode::OK, &made)
    };
    project.ask(credit).await
}

/// `GET /limits/{id}/credits`: the newest first.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let id = call.id();
    let mut params = call.params();
    let size = page_size(&mut params)?;
    let mut cursor = params.take("cursor");
    params.end()?;
    let list = move |engine: &Engine| {
        let limit = find(engine, &id)?;
        let mut items = Vec::new();
        // Where a key began anew is no credit.
        loop {
            let left = size.saturating_sub(items.len());
            let query = AdjustmentQuery::new().rule(&*id).limit(u32::try_from(left).unwrap_or(1));
            let query = cursor.into_iter().fold(query, AdjustmentQuery::cursor);
            let page = engine.rules().adjustments(&query)?;
            let credits = page.items.iter().filter(|made| !made.is_reset);
            items.extend(credits.filter_map(|made| Shown::of(&limit, made)));
            cursor = page.next_cursor;
            if cursor.is_none() || items.len() >= size {
                break;
            }
        }
        json(StatusCode::OK, &Page { items, next_cursor: cursor })
    };
    call.project.ask(list).await
}
