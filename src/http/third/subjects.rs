//! Subjects: their billing date, and their limits begun anew.
//!
//! A subject's billing date is what is [known of a customer](crate::Customer), or of the value of
//! the dimension of its kind: the anchor of its periods, and the instant in the metadata.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::credits::key_of;
use super::fields::Fields;
use super::limit::Limit;
use super::limits;
use super::subject::Subject;
use super::window::LimitWindow;
use crate::handles::Customers;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, json};
use crate::http::failure::Failure;
use crate::keys::Adjust;
use crate::{Customer, Engine, Timestamp};

/// The key of the metadata under which the whole instant stands.
const BILLING_DATE: &str = "billing_date";

/// What is known of a subject.
#[derive(Serialize, ToSchema)]
#[schema(as = KnownSubject)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'s> {
    subject: &'s Subject,
    #[schema(required, format = DateTime)]
    billing_date: Option<String>,
}

/// A change of a subject, as a body has it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct SubjectChange {
    billing_date: Timestamp,
}

/// What to begin anew, as a body has it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is a shape alone")]
pub(super) struct WhatToReset {
    /// All limits that judge the subject where it is not given.
    #[schema(min_length = 1, max_length = 256)]
    limit_id: Option<String>,
}

/// What has begun anew.
#[derive(Serialize, ToSchema)]
#[schema(as = SubjectReset)]
pub(super) struct Reset<'s> {
    subject: &'s Subject,
    /// The ids of the limits.
    reset: Vec<&'s str>,
}

/// What is known of a subject's kind.
fn customers(engine: &Engine, subject: &Subject) -> Result<Customers, Failure> {
    Ok(engine.customers().of(&subject.dimension())?)
}

fn billing_date(known: Option<&Customer>) -> Option<String> {
    let known = known?;
    let anchor = known.billing_anchor?;
    let at = known.metadata.get(BILLING_DATE).and_then(|at| at.as_str());
    // An anchor that was set in another way since holds.
    let at = at.filter(|at| at.starts_with(&anchor.to_string()));
    Some(at.map_or_else(|| format!("{anchor}T00:00:00Z"), str::to_owned))
}

fn shown(engine: &Engine, subject: &Subject) -> Answer {
    let known = customers(engine, subject)?.get(&subject.id);
    json(StatusCode::OK, &Shown { subject, billing_date: billing_date(known.as_ref()) })
}

/// `GET /subjects/{kind}/{id}`: every subject that can be named is there.
pub(super) async fn get(call: Call) -> Answer {
    let subject = Subject::of_path(&call.part(0), &call.part(1))?;
    let call = call.needs(Need::Read)?;
    call.project.ask(move |engine| shown(engine, &subject)).await
}

/// `PATCH /subjects/{kind}/{id}`
pub(super) async fn update(call: Call) -> Answer {
    let subject = Subject::of_path(&call.part(0), &call.part(1))?;
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let of = project.clone();
    let update = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let words = "a date and time such as 2024-01-31T00:00:00Z";
        let date: Option<DateTime<Utc>> = fields.word("billingDate", words);
        let date = fields.need("billingDate", date);
        let date = fields.end(date)?;
        set(&of, engine, &subject, date.into(), false)?;
        shown(engine, &subject)
    };
    project.ask(update).await
}

/// Gives a subject the billing date of now, where it has none.
pub(super) fn begin(project: &Project, engine: &Engine, subject: &Subject) -> Result<(), Failure> {
    let known = customers(engine, subject)?.get(&subject.id);
    if known.is_some_and(|known| known.billing_anchor.is_some()) {
        return Ok(());
    }
    set(project, engine, subject, engine.now(), true)
}

fn set(
    project: &Project,
    engine: &Engine,
    subject: &Subject,
    date: Timestamp,
    only_where_none: bool,
) -> Result<(), Failure> {
    let too_far = || Failure::bad_input("billingDate: is beyond all dates");
    let anchor = super::limit::date_of(date).ok_or_else(too_far)?;
    let _one_at_a_time = project.changes();
    let customers = customers(engine, subject)?;
    let known = customers.get(&subject.id).unwrap_or_else(|| Customer::new(&*subject.id));
    if only_where_none && known.billing_anchor.is_some() {
        return Ok(());
    }
    let known = known.billing_anchor(anchor).metadata(BILLING_DATE, date.to_string());
    customers.upsert(known)?;
    Ok(())
}

/// The limits that judge a subject: its own, and those of its kind that none of its own replaces.
pub(super) fn judging<'l>(limits: &'l [Limit], subject: &Subject) -> Vec<&'l Limit> {
    let fits = |limit: &&Limit| limit.says.enabled && limit.says.counts.is_for(subject);
    let own: Vec<&str> = limits
        .iter()
        .filter(fits)
        .filter(|limit| limit.says.counts.id.is_some())
        .filter_map(|limit| limit.policy.as_deref())
        .collect();
    let is_replaced = |limit: &Limit| limit.policy.as_deref().is_some_and(|it| own.contains(&it));
    let judges = |limit: &&Limit| limit.says.counts.id.is_some() || !is_replaced(limit);
    limits.iter().filter(fits).filter(judges).collect()
}

/// `POST /subjects/{kind}/{id}/reset`: one limit or all begin anew; open reservations stay so.
pub(super) async fn reset(mut call: Call) -> Answer {
    let subject = Subject::of_path(&call.part(0), &call.part(1))?;
    let key = call.key();
    let (project, body) = call.needs(Need::Manage)?.body().await?;
    let reset = move |engine: &Engine| {
        let mut fields = Fields::of_body(&body)?;
        let id = fields.text("limitId");
        let id = fields.end(Some(id))?;
        let mut limits = limits::active(engine);
        if let Some(id) = id {
            let limit = limits::find(engine, &id)?;
            if !limit.says.counts.is_for(&subject) {
                let message = format_args!("limitId: {id:?} is not a limit of the subject");
                return Err(Failure::bad_input(&message));
            }
            limits = vec![limit];
        } else {
            let judging: Vec<String> =
                judging(&limits, &subject).iter().map(|limit| limit.id.clone()).collect();
            limits.retain(|limit| judging.contains(&limit.id));
        }
        limits.retain(|limit| limit.says.counts.window != LimitWindow::Concurrent);
        for limit in &limits {
            let mut adjust = Adjust::reset(&*limit.id, key_of(&subject)).note("reset");
            if let Some(key) = &key {
                let own = format!("{key} {}", limit.id);
                adjust = adjust.idempotency_key(own.get(..256).unwrap_or(&own));
            }
            engine.rules().apply(&adjust)?;
        }
        let reset = limits.iter().map(|limit| &*limit.id).collect();
        json(StatusCode::OK, &Reset { subject: &subject, reset })
    };
    project.ask(reset).await
}
