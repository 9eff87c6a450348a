//! Client tokens: what lets a browser in, for one customer and a few paths.
//!
//! A token is `limitry_ct_`, the letters of its id and a secret. It is found by its id, and then
//! told by the hash of all of it, of which nobody learns anything by how long it takes. Tokens are
//! rows of the store where there is one, and otherwise in memory.

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{body, chance, missing, need, not_found};
use crate::http::access::Need;
use crate::http::call::{Answer, Call, json};
use crate::http::failure::{Failure, Reason};
use crate::http::keys::KeyHash;
use crate::store::{Space, SpaceError};
use crate::{Engine, Event, Timestamp};

/// What every token begins with.
pub(in crate::http) const TOKEN: &str = "limitry_ct_";
const PREFIX: &str = "ct_";
/// How many letters an id and a secret have.
const LETTERS: usize = 32;

const DEFAULT_TTL_SECONDS: u64 = 3_600;
const MAX_TTL_SECONDS: u64 = 86_400;
/// How many bytes of JSON each of the two things has that are kept with a token.
const MAX_KEPT_BYTES: usize = 4_096;
/// How many tokens are in memory at the most, and how many bytes are kept with them.
const MAX_TOKENS: usize = 100_000;
const MAX_BYTES: usize = 64 * 1_024 * 1_024;
/// How many rows of the store are looked at for each that is added, to drop those that have ended.
const ROWS_LOOKED_AT: usize = 4;

/// Who a token lets in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::http) struct Client {
    hash: KeyHash,
    pub(in crate::http) customer: String,
    public_metadata: Map<String, Value>,
    /// For the application's own handlers: no client is shown it.
    server_context: Value,
    expires_at: Timestamp,
}

/// The tokens of a project.
#[derive(Debug)]
pub(in crate::http) struct Tokens {
    space: Option<Space>,
    /// Where there is no store.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<String, (Client, usize)>,
    bytes: usize,
}

impl Known {
    fn forget(&mut self, is_over: impl Fn(&Client) -> bool) {
        self.by_id.retain(|_, (client, _)| !is_over(client));
        self.bytes = self.by_id.values().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes));
    }
}

impl Tokens {
    pub(in crate::http) fn new(engine: &Engine) -> Self {
        Self { space: engine.store().space("client-tokens").ok(), known: Mutex::default() }
    }

    /// Whether to look for one is to wait for a disk.
    pub(in crate::http) fn wait(&self) -> bool {
        self.space.is_some()
    }

    /// Who a token lets in at an instant.
    pub(in crate::http) fn open(&self, token: &str, now: Timestamp) -> Option<Client> {
        let letters = token.strip_prefix(TOKEN)?;
        let (id, secret) = letters.split_at_checked(LETTERS)?;
        if secret.len() != LETTERS {
            return None;
        }
        let client = match &self.space {
            Some(space) => serde_json::from_slice(&space.get(id.as_bytes()).ok()??).ok()?,
            None => self.known.lock().by_id.get(id)?.0.clone(),
        };
        let hash = KeyHash::of(token)?;
        Some(client).filter(|client: &Client| client.hash.is(&hash) && now < client.expires_at)
    }

    fn add(&self, id: &str, client: Client, now: Timestamp) -> Result<(), Failure> {
        let failed = |why| Failure::new(Reason::Internal, &why);
        let row = serde_json::to_vec(&client).map_err(failed)?;
        let Some(space) = &self.space else {
            let mut known = self.known.lock();
            let is_full = |known: &Known| {
                let bytes = known.bytes.saturating_add(row.len());
                known.by_id.len() >= MAX_TOKENS || bytes > MAX_BYTES
            };
            if is_full(&known) {
                known.forget(|client| client.expires_at <= now);
            }
            if is_full(&known) {
                let message = "there are too many client tokens that have not ended";
                return Err(Failure::new(Reason::Unavailable, message));
            }
            known.bytes = known.bytes.saturating_add(row.len());
            known.by_id.insert(id.to_owned(), (client, row.len()));
            return Ok(());
        };
        let add = || -> Result<(), SpaceError> {
            space.put(id.as_bytes(), &row)?;
            // Ids are random: the rows behind one are any.
            for (id, row) in space.list(b"", Some(id.as_bytes()), ROWS_LOOKED_AT)?.rows {
                let known = serde_json::from_slice::<Client>(&row);
                if known.map_or(true, |known| known.expires_at <= now) {
                    space.remove(&id)?;
                }
            }
            Ok(())
        };
        add().map_err(unavailable)
    }

    /// Ends a token; whether there was one.
    fn end(&self, id: &str) -> Result<bool, Failure> {
        let Some(space) = &self.space else {
            let mut known = self.known.lock();
            let ended = known.by_id.remove(id);
            let bytes = ended.as_ref().map_or(0, |(_, bytes)| *bytes);
            known.bytes = known.bytes.saturating_sub(bytes);
            return Ok(ended.is_some());
        };
        if id.is_empty() || space.get(id.as_bytes()).map_err(unavailable)?.is_none() {
            return Ok(false);
        }
        space.remove(id.as_bytes()).map_err(unavailable)?;
        Ok(true)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn unavailable(why: SpaceError) -> Failure {
    Failure::new(Reason::Unavailable, &why)
}

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::http) struct Given {
    /// What the client may know, with the `customerId` that it is for.
    public_metadata: Option<Map<String, Value>>,
    /// Its older name.
    context: Option<Map<String, Value>>,
    /// What it may not.
    #[serde(default)]
    server_context: Value,
    /// 1 to 86 400 seconds; 3 600 where it is not given.
    ttl_seconds: Option<u64>,
}

/// A token, which is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientToken)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Made {
    token: String,
    id: String,
    expires_at: Timestamp,
}

/// `POST /client-tokens`
pub(super) async fn add(call: Call) -> Answer {
    let (project, given) = body::<Given>(call, Need::Manage).await?;
    let public_metadata = need(given.public_metadata.or(given.context), "publicMetadata")?;
    let customer = match public_metadata.get("customerId") {
        Some(Value::String(customer)) => customer.clone(),
        Some(other) => {
            let message = format_args!("publicMetadata.customerId: {other} must be a string");
            return Err(Failure::bad_input(&message));
        }
        None => return Err(missing("publicMetadata.customerId must be given")),
    };
    Event::new(&*customer, "-").validate()?;
    bounded("publicMetadata", &public_metadata)?;
    bounded("serverContext", &given.server_context)?;
    let ttl = given.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS);
    if !(1..=MAX_TTL_SECONDS).contains(&ttl) {
        let message = format_args!("ttlSeconds: {ttl} must be from 1 to {MAX_TTL_SECONDS}");
        return Err(Failure::bad_input(&message));
    }
    let id = format!("{:032x}", chance()?);
    let token = format!("{TOKEN}{id}{:032x}", chance()?);
    let hash = KeyHash::of(&token).ok_or_else(|| Failure::from(Reason::Internal))?;
    let now = project.engine.now();
    let expires_at = now.saturating_add(std::time::Duration::from_secs(ttl));
    let server_context = given.server_context;
    let client = Client { hash, customer, public_metadata, server_context, expires_at };
    let own = project.clone();
    let add = move |_: &Engine| {
        own.tokens().add(&id, client, now)?;
        json(StatusCode::CREATED, &Made { token, id: format!("{PREFIX}{id}"), expires_at })
    };
    project.ask(add).await
}

/// Checks that something is no more than may be kept.
fn bounded(field: &str, value: &impl Serialize) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(value).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_KEPT_BYTES {
        return Ok(());
    }
    let rule = format_args!("must have at most {MAX_KEPT_BYTES} bytes of JSON, and has {bytes}");
    Err(Failure::bad_input(&format_args!("{field}: {rule}")))
}

/// `DELETE /client-tokens/{id}`: it opens nothing from now on.
pub(super) async fn end(call: Call) -> Answer {
    let (id, call) = (call.id(), call.needs(Need::Manage)?);
    let own = call.project.clone();
    let end = move |_: &Engine| {
        let ended = id.strip_prefix(PREFIX).map_or(Ok(false), |id| own.tokens().end(id))?;
        if ended {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Err(not_found("client token", "client_token_not_found", &id))
    };
    call.project.ask(end).await
}

/// What the client of a token may know of it.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenContext)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Told<'c> {
    project_id: &'c str,
    public_metadata: &'c Map<String, Value>,
}

/// `GET /client/token`: what the token's own client may know of it.
pub(super) async fn shown(call: Call) -> Answer {
    let client = call.client()?;
    let body = Told { project_id: &call.project.id, public_metadata: &client.public_metadata };
    json(StatusCode::OK, &body)
}
