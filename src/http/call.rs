//! A request that was let in: what it may do, its body and its query, and the engine that answers.

use std::future::poll_fn;
use std::ops::Deref;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use super::access::{Access, Generation, Need};
use super::changes::ChangeLog;
use super::failure::{Failure, Reason};
use super::figures::ProjectFigures;
use super::first::alerts::QuotaAlerts;
use super::live::Live;
use super::second::tokens::{Client, Tokens};
use crate::store::Durability;
use crate::webhooks::Webhooks;
use crate::wire;
use crate::{Decision, Engine};

/// Most answers are no longer: that of a decision by four rules is not.
const ANSWER_BYTES: usize = 1_024;

/// An answer, or why there is none.
pub(super) type Answer = Result<Response, Failure>;

/// One engine, under its name. A clone is another handle to it.
#[derive(Clone, Debug)]
pub(super) struct Project(Arc<Parts>);

/// What belongs to a project.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) id: Box<str>,
    pub(super) engine: Engine,
    /// Its verbs wait for a disk.
    waits: bool,
    /// Held by who looks at rules before it changes them.
    changes: Mutex<()>,
    /// Held by the one question that takes long.
    long: Mutex<()>,
    tokens: Tokens,
    figures: ProjectFigures,
    log: ChangeLog,
    quota_alerts: QuotaAlerts,
    live: Live,
    /// Where copies of the store are put.
    backups: Option<Arc<Path>>,
    webhooks: Option<Webhooks>,
}

impl Deref for Project {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Project {
    pub(super) fn new(
        id: &str,
        engine: Engine,
        figures: ProjectFigures,
        backups: Option<Arc<Path>>,
        webhooks: Option<Webhooks>,
    ) -> Self {
        let waits = engine.store().health().durability == Some(Durability::Synced);
        let tokens = Tokens::new(&engine);
        let (changes, alone, log, quota_alerts, live) = Default::default();
        Self(Arc::new(Parts {
            id: id.into(),
            engine,
            waits,
            changes,
            long: alone,
            tokens,
            figures,
            log,
            quota_alerts,
            live,
            backups,
            webhooks,
        }))
    }

    /// The client tokens.
    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What to hold while rules are looked at and then changed. Waits for who holds it.
    pub(super) fn changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock()
    }

    /// What to try to hold while a question is answered that takes long.
    pub(super) fn long(&self) -> &Mutex<()> {
        &self.long
    }

    /// What is counted of it.
    pub(super) fn figures(&self) -> &ProjectFigures {
        &self.figures
    }

    /// Who changed which rule.
    pub(super) fn log(&self) -> &ChangeLog {
        &self.log
    }

    /// The names of alerts of quotas.
    pub(super) fn quota_alerts(&self) -> &QuotaAlerts {
        &self.quota_alerts
    }

    /// Its figures as a stream.
    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// The folder for copies of the store.
    pub(super) fn backups(&self) -> Option<Arc<Path>> {
        self.backups.clone()
    }

    /// Its webhooks, where they are sent.
    pub(super) fn webhooks(&self) -> Option<Webhooks> {
        self.webhooks.clone()
    }

    /// Lets the engine decide: at once, or on a thread that may wait, where it waits for a disk.
    pub(super) async fn decide<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Engine) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.waits { self.ask(verb).await } else { verb(&self.engine) }
    }

    /// Asks the engine what may take a while, on a thread that may wait.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let engine = self.engine.clone();
        let answer = tokio::task::spawn_blocking(move || question(&engine)).await;
        answer.unwrap_or_else(|_| Err(Failure::new(Reason::Internal, "the call did not end")))
    }
}

/// Where a request has come from, as the door knows it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) project: Project,
    pub(super) access: Access,
    /// Who has come with a client token.
    pub(super) client: Option<Arc<Client>>,
    pub(super) max_body_bytes: usize,
}

/// A request that was let in.
pub(super) struct Call {
    pub(super) project: Project,
    access: Access,
    client: Option<Arc<Client>>,
    query: Params,
    path: Vec<String>,
    key: Option<String>,
    body: Body,
    max_body_bytes: usize,
}

impl Call {
    /// Takes the query, the parts of the path that name something, the header that names the
    /// request among its repetitions, and the body.
    pub(super) fn of(
        caller: Caller,
        query: Option<&str>,
        path: Vec<String>,
        key: Option<String>,
        body: Body,
    ) -> Self {
        let Caller { project, access, client, max_body_bytes } = caller;
        let query = query.map(Params::of).unwrap_or_default();
        Self { project, access, client, query, path, key, body, max_body_bytes }
    }

    /// Checks that the key may be used for this.
    pub(super) fn needs(self, need: Need) -> Result<Self, Failure> {
        self.may(need)?;
        Ok(self)
    }

    /// The same where what it is for stands in the body.
    pub(super) fn may(&self, need: Need) -> Result<(), Failure> {
        if self.access.scope.covers(need) {
            return Ok(());
        }
        let scope = self.access.scope;
        let message = format_args!("a key of scope `{scope}` may not be used for this");
        Err(Failure::new(Reason::Forbidden, &message))
    }

    /// What the key opens.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// The API that its key speaks.
    pub(super) fn generation(&self) -> Generation {
        self.access.generation
    }

    /// The part of the path that names something.
    pub(super) fn id(&self) -> String {
        self.part(0)
    }

    /// The same of a path that names more than one thing.
    pub(super) fn part(&self, nth: usize) -> String {
        self.path.get(nth).cloned().unwrap_or_default()
    }

    /// The header that names the request among its repetitions.
    pub(super) fn key(&mut self) -> Option<String> {
        self.key.take()
    }

    /// The query, to read it.
    pub(super) fn params(&mut self) -> Params {
        std::mem::take(&mut self.query)
    }

    /// Who has come with a client token.
    pub(super) fn client(&self) -> Result<&Client, Failure> {
        self.client.as_deref().ok_or_else(|| Failure::from(Reason::Forbidden))
    }

    /// Reads the body, as far as it may be long.
    pub(super) async fn body(self) -> Result<(Project, Bytes), Failure> {
        let (call, bytes) = self.with_body().await?;
        Ok((call.project, bytes))
    }

    /// The same, and keeps the rest.
    pub(super) async fn with_body(mut self) -> Result<(Self, Bytes), Failure> {
        let (body, most) = (std::mem::take(&mut self.body), self.max_body_bytes);
        let too_large = || {
            let message = format_args!("the body must come whole, and have at most {most} bytes");
            Failure::new(Reason::TooLarge, &message)
        };
        let bytes = whole(body, most).await.ok_or_else(too_large)?;
        Ok((self, bytes))
    }

    /// Reads the body as JSON.
    pub(super) async fn read<T: DeserializeOwned>(self) -> Result<(Project, T), Failure> {
        let (project, bytes) = self.body().await?;
        Ok((project, from_json(&bytes)?))
    }
}

/// Reads a body to its end; none of one that has more bytes than it may, or that breaks off. What
/// comes in one piece, as nearly all do, is not copied.
async fn whole(mut body: Body, most: usize) -> Option<Bytes> {
    let (mut first, mut rest, mut left) = (Bytes::new(), Vec::new(), most);
    while let Some(frame) = poll_fn(|task| Pin::new(&mut body).poll_frame(task)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        left = left.checked_sub(data.len())?;
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    Some(if rest.is_empty() { first } else { [&first, rest.as_slice()].concat().into() })
}

/// A project.
#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
pub(super) struct ShownProject<'p> {
    id: &'p str,
    name: &'p str,
}

/// `GET /project` of the first two generations: the key's project.
pub(super) async fn project(call: Call) -> Answer {
    let id = &*call.project.id;
    json(StatusCode::OK, &ShownProject { id, name: id })
}

/// Reads JSON into what names its fields by itself, as rules and events do.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|why| Failure::bad_input(&why))
}

/// Reads JSON into what serde derives. An error names the field, the value and the rule.
pub(super) fn fields_from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    wire::from_json(bytes).map_err(|why| Failure::bad_input(&why))
}

/// The parameters of a query.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    fn of(query: &str) -> Self {
        // What is not UTF-8 is replaced, and nothing else can go wrong.
        Self(serde_urlencoded::from_str(query).unwrap_or_default())
    }

    /// Whether there is a parameter.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Takes out a parameter. The last one of a name counts.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let mut found = None;
        self.0.retain_mut(|(known, value)| {
            let is_it = known == name;
            if is_it {
                found = Some(std::mem::take(value));
            }
            !is_it
        });
        found
    }

    /// The same of one that is `true` or `false`: false where it is left out.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Failure> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                let message = format_args!("{name}: {other:?} must be `true` or `false`");
                Err(Failure::bad_input(&message))
            }
        }
    }

    /// The same of one that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<String, Failure> {
        self.take(name).ok_or_else(|| Failure::bad_input(&format_args!("{name} must be given")))
    }

    /// Says of what is left that nobody knows it.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.0.first() {
            Some((name, _)) => {
                Err(Failure::bad_input(&format_args!("{name} is no parameter here")))
            }
            None => Ok(()),
        }
    }

    /// Reads what is left. The last one of a name counts.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let pairs = self.0.into_iter().map(|(name, value)| (name, Value::String(value)));
        let pairs = Value::Object(pairs.collect());
        serde_json::from_value(pairs).map_err(|why| Failure::bad_input(&why))
    }
}

/// An answer as JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Failure> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    let written = serde_json::to_writer(&mut bytes, body);
    written.map_err(|why| Failure::new(Reason::Internal, &why))?;
    Ok(as_json(status, bytes))
}

/// A decision as JSON: the same as [`json`] of it, sooner.
pub(super) fn decision(status: StatusCode, decision: &Decision) -> Response {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    decision.append_json(&mut bytes);
    as_json(status, bytes)
}

/// An answer of bytes that are JSON.
fn as_json(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
