//! Customers: what is known of them beside their events.
//!
//! A customer's id of its own is its caller's id in other letters, so that nothing has to be kept
//! to find one by the other. What the engine's customers have no field for is in their metadata:
//! the email, and the instant of which the billing anchor is the date.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::balances::Brief;
use super::{body, given, hex, need, not_found, unhex};
use crate::balances::BalanceQuery;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, json};
use crate::http::failure::{Failure, Reason};
use crate::http::pages::{Asked, Page};
use crate::time::{TimeZone, Tz};
use crate::usage::UsageQuery;
use crate::{Customer, Engine, Timestamp};

const PREFIX: &str = "cust_";
/// Keys of the metadata that stand for fields.
const EMAIL: &str = "email";
const BILLING_DATE: &str = "billing_date";
/// The longest address that mail takes.
const MAX_EMAIL_BYTES: usize = 254;

/// A customer as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Customer)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    project_id: String,
    external_id: String,
    #[schema(required)]
    name: Option<String>,
    #[schema(required, value_type = Option<String>)]
    email: Option<Value>,
    #[schema(required, format = DateTime)]
    billing_cycle_start: Option<String>,
    #[schema(required)]
    timezone: Option<TimeZone>,
    metadata: BTreeMap<String, Value>,
    #[schema(required)]
    created_at: Option<Timestamp>,
    #[schema(required)]
    updated_at: Option<Timestamp>,
}

impl Shown {
    fn of(project: &str, engine: &Engine, mut known: Customer) -> Self {
        let billing_cycle_start = billing_date(engine, &known);
        known.metadata.remove(BILLING_DATE);
        Self {
            id: hex(PREFIX, &known.id),
            project_id: project.to_owned(),
            external_id: known.id,
            name: known.name,
            email: known.metadata.remove(EMAIL),
            billing_cycle_start,
            timezone: known.time_zone,
            metadata: known.metadata,
            created_at: known.created_at,
            updated_at: known.updated_at,
        }
    }
}

/// The instant that was given as the start of billing cycles, where it still says the anchor.
fn billing_instant(engine: &Engine, known: &Customer) -> Option<DateTime<Utc>> {
    let at: DateTime<Utc> = known.metadata.get(BILLING_DATE)?.as_str()?.parse().ok()?;
    // An anchor that was set in another way since holds.
    (known.billing_anchor == Some(date_in(zone_of(engine, known), at))).then_some(at)
}

fn billing_date(engine: &Engine, known: &Customer) -> Option<String> {
    let anchor = known.billing_anchor?;
    let at = billing_instant(engine, known).map(|at| Timestamp::from(at).to_string());
    Some(at.unwrap_or_else(|| format!("{anchor}T00:00:00Z")))
}

/// By whose midnights a customer's days begin.
fn zone_of(engine: &Engine, known: &Customer) -> TimeZone {
    known.time_zone.unwrap_or_else(|| engine.time_zone())
}

fn date_in(zone: TimeZone, at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&Tz::from(zone)).date_naive()
}

/// Lets the billing cycles of a customer run from an instant.
fn bill_from(engine: &Engine, known: &mut Customer, at: DateTime<Utc>) {
    known.billing_anchor = Some(date_in(zone_of(engine, known), at));
    let text = Timestamp::from(at).to_string();
    known.metadata.insert(BILLING_DATE.to_owned(), text.into());
}

/// The same of now, as for every customer that is new.
fn new_customer(engine: &Engine, id: &str) -> Customer {
    let mut customer = Customer::new(id);
    if let Ok(now) = DateTime::<Utc>::try_from(engine.now()) {
        bill_from(engine, &mut customer, now);
    }
    customer
}

/// Whether the first event of a customer makes it.
pub(super) fn is_new(engine: &Engine, id: &str) -> bool {
    engine.customers().get(id).is_none()
}

/// Makes the customers of events that are not known.
pub(super) fn appear<'c>(
    project: &Project,
    engine: &Engine,
    ids: impl Iterator<Item = &'c str>,
) -> Result<(), Failure> {
    let mut new: Vec<_> = ids.filter(|id| is_new(engine, id)).collect();
    if new.is_empty() {
        return Ok(());
    }
    new.sort_unstable();
    new.dedup();
    let _held = project.changes();
    let new = new.into_iter().filter(|id| is_new(engine, id));
    engine.customers().upsert_all(new.map(|id| new_customer(engine, id)))?;
    Ok(())
}

/// What a body says of a customer.
#[derive(Deserialize, ToSchema)]
#[schema(as = CustomerChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "not given, given as null, given")]
pub(super) struct Given {
    external_id: Option<String>,
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    name: Option<Option<String>>,
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "given")]
    email: Option<Option<String>>,
    /// A date, or a date and time.
    billing_cycle_start: Option<String>,
    #[schema(value_type = Option<TimeZone>)]
    #[serde(default, deserialize_with = "given")]
    timezone: Option<Option<TimeZone>>,
    metadata: Option<Map<String, Value>>,
}

impl Given {
    /// Changes what is known.
    fn apply(self, engine: &Engine, known: &mut Customer) -> Result<(), Failure> {
        let billed_from = billing_instant(engine, known);
        if let Some(name) = self.name {
            known.name = name;
        }
        if let Some(metadata) = self.metadata {
            let kept = [EMAIL, BILLING_DATE].into_iter();
            let kept: Vec<_> = kept.filter_map(|key| known.metadata.remove_entry(key)).collect();
            for (key, field) in [(EMAIL, "email"), (BILLING_DATE, "billingCycleStart")] {
                if metadata.contains_key(key) {
                    let message = format_args!("metadata.{key}: must not be set: {field} says it");
                    return Err(Failure::bad_input(&message));
                }
            }
            known.metadata = metadata.into_iter().chain(kept).collect();
        }
        match self.email {
            Some(Some(email)) => {
                known.metadata.insert(EMAIL.to_owned(), checked_email(email)?.into());
            }
            Some(None) => drop(known.metadata.remove(EMAIL)),
            None => {}
        }
        if let Some(zone) = self.timezone {
            known.time_zone = zone;
        }
        match self.billing_cycle_start {
            Some(text) => match parse_start(&text)? {
                Start::Date(date) => {
                    known.billing_anchor = Some(date);
                    known.metadata.remove(BILLING_DATE);
                }
                Start::Instant(at) => bill_from(engine, known, at),
            },
            // In another zone the same instant may be on another day.
            None => billed_from.into_iter().for_each(|at| bill_from(engine, known, at)),
        }
        Ok(())
    }
}

enum Start {
    Date(NaiveDate),
    Instant(DateTime<Utc>),
}

fn parse_start(text: &str) -> Result<Start, Failure> {
    let date = text.parse().ok().map(Start::Date);
    let start = date.or_else(|| text.parse().ok().map(Start::Instant));
    start.ok_or_else(|| {
        let rule = "must be a date or an instant, such as 2024-03-15 or 2024-03-15T00:00:00Z";
        Failure::bad_input(&format_args!("billingCycleStart: {text:?} {rule}"))
    })
}

fn checked_email(email: String) -> Result<String, Failure> {
    let is_good = email.len() <= MAX_EMAIL_BYTES
        && !email.chars().any(|letter| letter.is_whitespace() || letter.is_control())
        && email.rsplit_once('@').is_some_and(|(who, at)| !who.is_empty() && !at.is_empty());
    if is_good {
        return Ok(email);
    }
    Err(Failure::bad_input(&format_args!("email: {email:?} must be an address of mail")))
}

/// `POST /customers`: 201 with a new one; what is given of one that is known is changed.
pub(super) async fn add(call: Call) -> Answer {
    let (project, mut given) = body::<Given>(call, Need::Manage).await?;
    let id = need(given.external_id.take(), "externalId")?;
    let of = project.clone();
    let add = move |engine: &Engine| {
        let _held = of.changes();
        let known = engine.customers().get(&id).filter(|known| known.created_at.is_some());
        let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        let mut customer = known.unwrap_or_else(|| new_customer(engine, &id));
        given.apply(engine, &mut customer)?;
        let customer = engine.customers().upsert(customer)?;
        json(status, &Shown::of(&of.id, engine, customer))
    };
    project.ask(add).await
}

/// A customer by its id, or its caller's.
fn find(engine: &Engine, id: &str) -> Result<Customer, Failure> {
    let customers = engine.customers();
    let own = unhex(PREFIX, id).and_then(|external| customers.get(&external));
    let known = own.or_else(|| customers.get(id));
    known.ok_or_else(|| not_found("customer", "customer_not_found", id))
}

/// `GET /customers/{id}`
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let engine = &call.project.engine;
    json(StatusCode::OK, &Shown::of(&call.project.id, engine, find(engine, &id)?))
}

/// `PUT /customers/{id}`: what is given is changed.
pub(super) async fn update(call: Call) -> Answer {
    let id = call.id();
    let (project, mut given) = body::<Given>(call, Need::Manage).await?;
    let of = project.clone();
    let update = move |engine: &Engine| {
        let _held = of.changes();
        let mut customer = find(engine, &id)?;
        if given.external_id.take().is_some_and(|external| external != customer.id) {
            let rule = "must be the customer's: it is what its events are recorded under";
            return Err(Failure::bad_input(&format_args!("externalId: {rule}")));
        }
        given.apply(engine, &mut customer)?;
        let customer = engine.customers().upsert(customer)?;
        json(StatusCode::OK, &Shown::of(&of.id, engine, customer))
    };
    project.ask(update).await
}

/// `DELETE /customers/{id}`: what is known of it; its events and its use stay.
pub(super) async fn remove(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let of = call.project.clone();
    let remove = move |engine: &Engine| {
        let _held = of.changes();
        engine.customers().remove(&find(engine, &id)?.id)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    call.project.ask(remove).await
}

/// `GET /customers`: by the caller's id.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let asked = Asked::of(call.params())?;
    let of = call.project.id.clone();
    let list = move |engine: &Engine| {
        let page = engine.customers().list(asked.cursor.as_deref(), asked.limit)?;
        let last = page.customers.last().map(|last| last.id.clone());
        let customers = page.customers.into_iter().map(|it| Shown::of(&of, engine, it));
        Page::new(customers.collect(), last.filter(|_| page.has_more)).answer()
    };
    call.project.ask(list).await
}

/// `GET /customers/{id}/usage`: the totals of the first generation, and all values.
pub(super) async fn usage(call: Call) -> Answer {
    let id = call.id();
    let mut call = call.needs(Need::Read)?;
    let query: UsageQuery = call.params().read()?;
    let sum = move |engine: &Engine| {
        let customer = find(engine, &id)?.id;
        let summary = engine.usage().summary(&query.customer(&*customer))?;
        let failed = |why| Failure::new(Reason::Internal, &why);
        let mut body = serde_json::to_value(&summary).map_err(failed)?;
        let generic = serde_json::to_value(summary.generic()).map_err(failed)?;
        if let (Value::Object(body), Value::Object(generic)) = (&mut body, generic) {
            body.extend(generic);
            body.insert("customerId".to_owned(), customer.into());
        }
        json(StatusCode::OK, &body)
    };
    call.project.ask(sum).await
}

/// The balances of a customer.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerBalances)]
pub(super) struct Balances {
    balances: Vec<Brief>,
}

/// `GET /customers/{id}/balances`
pub(super) async fn balances(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let list = move |engine: &Engine| {
        let customer = find(engine, &id)?.id;
        let mut balances = Vec::new();
        let mut query = BalanceQuery::new().owner(customer).limit(1_000);
        loop {
            let page = engine.balances().list(&query);
            balances.extend(page.balances.into_iter().map(Brief::of));
            match page.next {
                Some(next) => query = query.after(next),
                None => break,
            }
        }
        json(StatusCode::OK, &Balances { balances })
    };
    call.project.ask(list).await
}
