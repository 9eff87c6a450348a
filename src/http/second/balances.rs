//! Balances, and their ledgers.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{body, hex, missing, need, not_found, unhex};
use crate::balances::{
    Balance, BalanceEntry, BalanceQuery, Credit, Debit, Debited, EntryKind, LedgerQuery,
    NewBalance, Posting,
};
use crate::errors::BalanceError;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::Failure;
use crate::http::pages::{Asked, Page, bad_cursor};
use crate::{Amount, Engine, Timestamp};

const PREFIX: &str = "bal_";
/// What stands between owner and name in an id: neither has it.
const BETWEEN: char = '\0';

/// The id of a balance says whose it is, and its name.
fn id_of(owner: &str, name: &str) -> String {
    hex(PREFIX, &format!("{owner}{BETWEEN}{name}"))
}

/// The owner and the name of an id.
fn named(id: &str) -> Option<(String, String)> {
    let text = unhex(PREFIX, id)?;
    let (owner, name) = text.split_once(BETWEEN)?;
    Some((owner.to_owned(), name.to_owned()))
}

fn unknown(id: &str) -> Failure {
    not_found("balance", "balance_not_found", id)
}

/// What an engine says of a balance that is not there.
fn failed(why: BalanceError) -> Failure {
    let is_missing = matches!(why, BalanceError::NotFound { .. });
    let failure = Failure::from(why);
    if is_missing { failure.code("balance_not_found") } else { failure }
}

/// A balance as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = Balance)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    project_id: String,
    customer_id: String,
    name: String,
    unit: String,
    current_balance: Amount,
    minimum_balance: Amount,
    available_balance: Amount,
    /// There are none: the product has them, and no balance here is for some events alone.
    dimension_filters: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Shown {
    fn of(project: &str, balance: Balance) -> Self {
        Self {
            id: id_of(&balance.owner, &balance.name),
            project_id: project.to_owned(),
            customer_id: balance.owner,
            name: balance.name,
            unit: balance.unit,
            current_balance: balance.current_balance,
            minimum_balance: balance.minimum_balance,
            available_balance: balance.available_balance,
            dimension_filters: BTreeMap::new(),
            created_at: balance.created_at,
            updated_at: balance.updated_at,
        }
    }
}

/// The same as it is shown with its customer.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerBalance)]
#[serde(rename_all = "camelCase")]
pub(super) struct Brief {
    id: String,
    name: String,
    unit: String,
    current_balance: Amount,
    minimum_balance: Amount,
    available_balance: Amount,
}

impl Brief {
    pub(super) fn of(balance: Balance) -> Self {
        Self {
            id: id_of(&balance.owner, &balance.name),
            name: balance.name,
            unit: balance.unit,
            current_balance: balance.current_balance,
            minimum_balance: balance.minimum_balance,
            available_balance: balance.available_balance,
        }
    }
}

/// An entry of a ledger.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transaction {
    id: String,
    balance_id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    amount: Amount,
    description: String,
    #[schema(required)]
    reference: Option<String>,
    created_at: Timestamp,
}

impl Transaction {
    fn of(balance_id: &str, entry: BalanceEntry) -> Self {
        let (kind, usual) = match entry.kind {
            EntryKind::Credit => ("credit", "Credit"),
            EntryKind::Debit => ("debit", "Debit"),
            EntryKind::Expiry => ("debit", "Expired"),
        };
        // What was not said by a call of this API has no description of its own.
        let usual = || entry.event_id.map_or_else(|| usual.to_owned(), |id| format!("Event {id}"));
        Self {
            id: entry.id.to_string(),
            balance_id: balance_id.to_owned(),
            kind,
            amount: entry.amount,
            description: entry.description.unwrap_or_else(usual),
            reference: entry.reference,
            created_at: entry.created_at,
        }
    }
}

/// A balance to make.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    customer_id: Option<String>,
    name: Option<String>,
    unit: Option<String>,
    initial_balance: Option<Amount>,
    minimum_balance: Option<Amount>,
    dimension_filters: Option<BTreeMap<String, String>>,
}

/// `POST /balances`
pub(super) async fn add(call: Call) -> Answer {
    let (project, given) = body::<Wanted>(call, Need::Manage).await?;
    let customer = need(given.customer_id, "customerId")?;
    let mut balance = NewBalance::new(customer, need(given.name, "name")?);
    if let Some(unit) = given.unit {
        balance = balance.unit(unit);
    }
    if let Some(amount) = given.initial_balance {
        balance = balance.initial(amount);
    }
    if let Some(amount) = given.minimum_balance {
        balance = balance.minimum(amount);
    }
    if given.dimension_filters.is_some_and(|filters| !filters.is_empty()) {
        let rule = "must be empty: a balance is for all events here";
        return Err(Failure::bad_input(&format_args!("dimensionFilters: {rule}")));
    }
    let of = project.id.clone();
    let add = move |engine: &Engine| {
        let made = engine.balances().create(&balance).map_err(failed)?;
        json(StatusCode::CREATED, &Shown::of(&of, made))
    };
    project.ask(add).await
}

/// `GET /balances`: by customer and name; those of a customer, or of a name, where one is given.
pub(super) async fn list(call: Call) -> Answer {
    let mut call = call.needs(Need::Read)?;
    let mut params = call.params();
    let mut query = BalanceQuery::new();
    if let Some(customer) = params.take("customerId") {
        query = query.owner(customer);
    }
    if let Some(name) = params.take("name") {
        query = query.name(name);
    }
    let asked = Asked::of(params)?;
    query = query.limit(asked.limit);
    if let Some(cursor) = &asked.cursor {
        // Where a page ended is what a balance is called.
        let (owner, name) = named(cursor).ok_or_else(|| bad_cursor(cursor))?;
        let after = serde_json::from_value(json!({"owner": owner, "name": name}));
        query = query.after(after.map_err(|_| bad_cursor(cursor))?);
    }
    let of = call.project.id.clone();
    let list = move |engine: &Engine| {
        let page = engine.balances().list(&query);
        let has_more = page.next.is_some();
        let balances = page.balances.into_iter().map(|it| Shown::of(&of, it));
        let balances: Vec<_> = balances.collect();
        let next = balances.last().filter(|_| has_more).map(|last| last.id.clone());
        Page::new(balances, next).answer()
    };
    call.project.ask(list).await
}

/// `GET /balances/{id}`
pub(super) async fn get(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Read)?);
    let (owner, name) = named(&id).ok_or_else(|| unknown(&id))?;
    let balance = call.project.engine.balances().get(&owner, &name).map_err(failed)?;
    json(StatusCode::OK, &Shown::of(&call.project.id, balance))
}

/// `GET /balances/{id}/transactions`: the newest first.
pub(super) async fn transactions(call: Call) -> Answer {
    let id = call.id();
    let mut call = call.needs(Need::Read)?;
    let (owner, name) = named(&id).ok_or_else(|| unknown(&id))?;
    let asked = Asked::of(call.params())?;
    let mut query = LedgerQuery::new().limit(asked.limit);
    if let Some(cursor) = &asked.cursor {
        query = query.before(cursor.parse().map_err(|_| bad_cursor(cursor))?);
    }
    let page = call.project.engine.balances().ledger(&owner, &name, &query).map_err(failed)?;
    let entries = page.transactions.into_iter().map(|entry| Transaction::of(&id, entry));
    Page::new(entries.collect(), page.next.map(|next| next.to_string())).answer()
}

/// Whether a balance has enough.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    customer_id: Option<String>,
    name: Option<String>,
    amount: Option<Amount>,
    /// What is spent for: of every balance the same is available for all of it.
    #[serde(default, rename = "dimensions")]
    _dimensions: BTreeMap<String, String>,
}

/// Whether it does.
#[derive(Serialize, ToSchema)]
#[schema(as = BalanceCheck)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sufficiency {
    balance_id: String,
    name: String,
    unit: String,
    current_balance: Amount,
    minimum_balance: Amount,
    requested_amount: Amount,
    sufficient: bool,
    available_balance: Amount,
}

/// `POST /balances/check`
pub(super) async fn check(call: Call) -> Answer {
    let (project, asked) = body::<Question>(call, Need::Check).await?;
    let customer = need(asked.customer_id, "customerId")?;
    let name = need(asked.name, "name")?;
    let amount = need(asked.amount, "amount")?;
    let checked = project.engine.balances().check(&customer, &name, amount).map_err(failed)?;
    let balance = checked.balance;
    let body = Sufficiency {
        balance_id: id_of(&customer, &name),
        name: balance.name,
        unit: balance.unit,
        current_balance: balance.current_balance,
        minimum_balance: balance.minimum_balance,
        requested_amount: checked.requested_amount,
        sufficient: checked.sufficient,
        available_balance: balance.available_balance,
    };
    json(StatusCode::OK, &body)
}

/// What is credited or debited.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Given {
    customer_id: Option<String>,
    name: Option<String>,
    amount: Option<Amount>,
    description: Option<String>,
    reference: Option<String>,
}

/// The same, with all that must be there.
struct Change {
    customer: String,
    name: String,
    amount: Amount,
    description: String,
    reference: Option<String>,
}

impl Given {
    fn change(self) -> Result<Change, Failure> {
        let Self { customer_id, name, amount, description, reference } = self;
        let description = need(description, "description")?;
        if description.is_empty() {
            return Err(missing("description: \"\" must say something"));
        }
        Ok(Change {
            customer: need(customer_id, "customerId")?,
            name: need(name, "name")?,
            amount: need(amount, "amount")?,
            description,
            reference,
        })
    }
}

/// What a credit or a debit did.
#[derive(Serialize, ToSchema)]
pub(super) struct Posted {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<Transaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balance: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

impl Posted {
    fn of(project: &str, Posting { transaction, balance, .. }: Posting) -> Self {
        let balance = Shown::of(project, balance);
        let transaction = Some(Transaction::of(&balance.id, transaction));
        Self { success: true, transaction, balance: Some(balance), error: None }
    }
}

/// `POST /balances/credit`
pub(super) async fn credit(mut call: Call) -> Answer {
    let key = call.key();
    let (project, given) = body::<Given>(call, Need::Manage).await?;
    let change = given.change()?;
    let mut credit = Credit::new(change.amount).description(change.description);
    if let Some(reference) = change.reference {
        credit = credit.reference(reference);
    }
    if let Some(key) = key {
        credit = credit.idempotency_key(key);
    }
    let of = project.id.clone();
    let post = move |engine: &Engine| {
        let posted = engine.balances().credit(&change.customer, &change.name, &credit);
        json(StatusCode::OK, &Posted::of(&of, posted.map_err(failed)?))
    };
    project.ask(post).await
}

/// `POST /balances/debit`: also 200 where there is too little.
pub(super) async fn debit(mut call: Call) -> Answer {
    let key = call.key();
    let (project, given) = body::<Given>(call, Need::Record).await?;
    let change = given.change()?;
    let mut debit = Debit::new(change.amount).description(change.description);
    if let Some(reference) = change.reference {
        debit = debit.reference(reference);
    }
    if let Some(key) = key {
        debit = debit.idempotency_key(key);
    }
    let of = project.id.clone();
    let post = move |engine: &Engine| {
        let posted = engine.balances().debit(&change.customer, &change.name, &debit);
        let body = match posted.map_err(failed)? {
            Debited::Posted(posting) => Posted::of(&of, posting),
            Debited::Insufficient(_) => {
                let error = Some("Insufficient balance");
                Posted { success: false, transaction: None, balance: None, error }
            }
        };
        json(StatusCode::OK, &body)
    };
    project.decide(post).await
}
