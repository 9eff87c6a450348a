//! Answers that are kept for a day, and given again: the header `Idempotency-Key`.
//!
//! What is kept lies in memory, and with a store in a space of it, too. An event is no second time
//! counted also where its answer was lost with the process: the header's key is its idempotency
//! key, where its body has none, and the engine keeps those as it keeps events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::call::{Caller, Project};
use super::failure::{Failure, Reason};
use crate::Timestamp;
use crate::store::{Space, SpaceError};

/// The header.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
pub(super) const REPLAYED: &str = "idempotent-replayed";

/// How long an answer is kept.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// How many answers are in memory at the most, and how many bytes they have.
const MAX_ANSWERS: usize = 100_000;
const MAX_BYTES: usize = 64 * 1_024 * 1_024;
/// A longer answer is not kept: no change has one.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;
/// How many rows of the store are looked at for each that is added, to drop those of yesterday.
const ROWS_LOOKED_AT: usize = 4;
pub(super) const MAX_KEY_BYTES: usize = 256;
/// About what an answer takes beside its bytes.
const ENTRY_BYTES: usize = 256;

/// Headers of an answer that belong to it.
const HEADERS: [&str; 9] = [
    "content-type",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-quota-reset",
    "x-quota-period",
    "x-quota-metric",
    "location",
];

/// Which request it was, whoever sends it.
type Name = [u8; 32];

/// The answers of all projects.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_name: HashMap<Name, Entry>,
    /// Those that are done, the oldest first.
    order: VecDeque<(Name, Timestamp)>,
    bytes: usize,
}

#[derive(Debug)]
enum Entry {
    /// The first request is being answered.
    UnderWay,
    Done(Arc<KeptAnswer>),
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptAnswer {
    /// The hash of the request's method, path, query and body.
    request: [u8; 32],
    at: Timestamp,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// A request with a key: who answers it [keeps](Self::keep) the answer. Dropped without one, the
/// next request with the key is answered as if this had not been.
pub(super) struct Turn {
    /// The header's key.
    pub(super) key: String,
    answers: Arc<Answers>,
    name: Name,
    request: [u8; 32],
    space: Option<Space>,
}

/// What is to be done with a request.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Step {
    /// It has no key, or one for the first time.
    Answer(Request, Option<Turn>),
    /// It was answered before.
    Replay(Response),
}

impl Answers {
    /// Looks for the answer of a request, and reads its body for that.
    pub(super) async fn step(
        self: &Arc<Self>,
        request: Request,
        caller: &Caller,
        max_body_bytes: usize,
    ) -> Result<Step, Failure> {
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let Some(key) = key_of(request.headers())?.filter(|_| changes) else {
            return Ok(Step::Answer(request, None));
        };
        let (name, project) = (name_of(caller, &key), &caller.project);
        let (parts, body) = request.into_parts();
        let too_large = |_| {
            let message = "the body must come whole, and be no longer than it may be";
            Failure::new(Reason::TooLarge, message)
        };
        let body = to_bytes(body, max_body_bytes).await.map_err(too_large)?;
        let fingerprint = fingerprint(&parts.method, &parts.uri, &body);
        let now = project.engine.now();
        let of_key = |known: &KeptAnswer| {
            if known.request != fingerprint {
                let rule = "was used for another request within the last 24 hours";
                let message = format_args!("Idempotency-Key: {key:?} {rule}");
                let conflict = Failure::new(Reason::Conflict, &message);
                return Err(conflict.code("idempotency_conflict"));
            }
            Ok(Step::Replay(known.response()))
        };
        if let Some(known) = self.claim(name, now)? {
            return of_key(&known);
        }
        let space = space_of(project);
        let (key, answers) = (key.clone(), Arc::clone(self));
        let turn = Turn { key, answers, name, request: fingerprint, space };
        if let Some(known) = turn.stored(now).await {
            return of_key(&known);
        }
        let request = Request::from_parts(parts, Body::from(body));
        Ok(Step::Answer(request, Some(turn)))
    }

    /// The answer under a name, if it is in memory, or else nothing, and the name is claimed: by
    /// the turn that begins with that.
    fn claim(&self, name: Name, now: Timestamp) -> Result<Option<Arc<KeptAnswer>>, Failure> {
        let mut kept = self.kept.lock();
        kept.drop_old(now);
        match kept.by_name.get(&name) {
            Some(Entry::Done(known)) => Ok(Some(Arc::clone(known))),
            Some(Entry::UnderWay) => {
                let message = "Idempotency-Key: the first request with it is being answered";
                let conflict = Failure::new(Reason::Conflict, message);
                Err(conflict.code("idempotency_in_progress"))
            }
            None => {
                kept.by_name.insert(name, Entry::UnderWay);
                Ok(None)
            }
        }
    }
}

impl Kept {
    fn put(&mut self, name: Name, answer: Arc<KeptAnswer>) {
        self.bytes = self.bytes.saturating_add(answer.bytes());
        self.order.push_back((name, answer.at));
        self.by_name.insert(name, Entry::Done(answer));
        while self.order.len() > MAX_ANSWERS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_old(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(_, at)| is_over(*at, now)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((name, _)) = self.order.pop_front() else { return };
        if let Some(Entry::Done(answer)) = self.by_name.remove(&name) {
            self.bytes = self.bytes.saturating_sub(answer.bytes());
        }
    }
}

impl Turn {
    /// The answer that the store has, which is in memory from then on.
    async fn stored(&self, now: Timestamp) -> Option<Arc<KeptAnswer>> {
        let (space, name) = (self.space.clone()?, self.name);
        let read = move || serde_json::from_slice(&space.get(&name).ok()??).ok();
        let stored: Option<KeptAnswer> = tokio::task::spawn_blocking(read).await.ok()?;
        let known = Arc::new(stored.filter(|known| !known.is_over(now))?);
        self.answers.kept.lock().put(self.name, Arc::clone(&known));
        Some(known)
    }

    /// Keeps an answer, unless the server is to blame for it.
    pub(super) async fn keep(self, response: Response, now: Timestamp) -> Response {
        if response.status().is_server_error() {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        if body.len() <= MAX_ANSWER_BYTES {
            let headers = parts.headers.iter().filter(|(name, _)| HEADERS.contains(&name.as_str()));
            let headers = headers.filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            });
            let answer = Arc::new(KeptAnswer {
                request: self.request,
                at: now,
                status: parts.status.as_u16(),
                headers: headers.collect(),
                body: String::from_utf8_lossy(&body).into_owned(),
            });
            self.store(&answer, now).await;
            self.answers.kept.lock().put(self.name, answer);
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Keeps it in the store, too. One that takes nothing has failed, which the engine's own calls
    /// say.
    async fn store(&self, answer: &Arc<KeptAnswer>, now: Timestamp) {
        let (Some(space), Ok(bytes)) = (self.space.clone(), serde_json::to_vec(&**answer)) else {
            return;
        };
        let name = self.name;
        let store = move || -> Result<(), SpaceError> {
            space.put(&name, &bytes)?;
            // Names are hashes: the rows behind one are any.
            for (name, bytes) in space.list(b"", Some(&name), ROWS_LOOKED_AT)?.rows {
                let known = serde_json::from_slice::<KeptAnswer>(&bytes);
                if known.map_or(true, |known| known.is_over(now)) {
                    space.remove(&name)?;
                }
            }
            Ok(())
        };
        let _stored = tokio::task::spawn_blocking(store).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut kept = self.answers.kept.lock();
        if matches!(kept.by_name.get(&self.name), Some(Entry::UnderWay)) {
            kept.by_name.remove(&self.name);
        }
    }
}

impl KeptAnswer {
    fn is_over(&self, now: Timestamp) -> bool {
        is_over(self.at, now)
    }

    fn bytes(&self) -> usize {
        self.body.len().saturating_add(ENTRY_BYTES)
    }

    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        let status = StatusCode::from_u16(self.status);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        let replayed = HeaderName::from_static(REPLAYED);
        response.headers_mut().insert(replayed, HeaderValue::from_static("true"));
        response
    }
}

fn is_over(at: Timestamp, now: Timestamp) -> bool {
    now.unix_seconds().saturating_sub(at.unix_seconds()) >= KEPT_SECONDS
}

/// Whether there is a key at all.
pub(super) fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(&KEY)
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    let key = key.ok_or_else(|| {
        Failure::bad_input("Idempotency-Key: must be 1 to 256 printable ASCII characters")
    })?;
    Ok(Some(key.to_owned()))
}

/// Who may do less is not shown what was answered to who may do more.
fn name_of(caller: &Caller, key: &str) -> Name {
    let Caller { project, access, client, .. } = caller;
    let mut hash = Sha256::new_with_prefix([u8::from(access.generation)]);
    hash.update(access.scope.to_string());
    // A project's name may hold any letters: its length says where it ends.
    hash.update(project.id.len().to_le_bytes());
    hash.update(&*project.id);
    if let Some(client) = client {
        hash.update(client.customer.len().to_le_bytes());
        hash.update(&client.customer);
    }
    hash.update(key);
    hash.finalize().into()
}

fn fingerprint(method: &Method, uri: &Uri, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(method.as_str());
    hash.update([0]);
    hash.update(uri.path_and_query().map_or("", |it| it.as_str()));
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

/// The space of a project's answers, if it has a store.
fn space_of(project: &Project) -> Option<Space> {
    project.engine.store().space("http-answers").ok()
}
