//! How the engine and its store are, and what keeps the store safe.

use std::io;
use std::path::PathBuf;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{alone, schema};
use crate::errors::StoreError;
use crate::http::access::Need;
use crate::http::call::{Answer, Call, Project, json};
use crate::http::failure::{Failure, Reason};
use crate::store::{Durability, Health, VerifyReport};
use crate::{Engine, Timestamp};

/// How an engine is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EngineHealth {
    good: bool,
    project: String,
    now: Timestamp,
    rules: usize,
    live_keys: u64,
    /// How many events are in memory.
    events: usize,
    alerts_waiting: usize,
    /// Null of an engine in memory.
    #[schema(required)]
    store: Option<StoreHealth>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StoreHealth {
    #[schema(value_type = String)]
    durability: Durability,
    #[schema(required)]
    failure: Option<String>,
    waiting: usize,
    waiting_bytes: usize,
    recorded: u64,
    stored_bytes: u64,
    #[schema(required)]
    latest_ahead: Option<Timestamp>,
    set_back_seconds: u64,
}

impl StoreHealth {
    fn of(health: &Health) -> Option<Self> {
        Some(Self {
            durability: health.durability?,
            failure: health.failure.as_ref().map(ToString::to_string),
            waiting: health.waiting,
            waiting_bytes: health.waiting_bytes,
            recorded: health.recorded,
            stored_bytes: health.stored_bytes,
            latest_ahead: health.latest_ahead,
            set_back_seconds: health.set_back.as_secs(),
        })
    }
}

/// `GET /health`
pub(super) async fn health(call: Call) -> Answer {
    let project = call.needs(Need::Read)?.project;
    let id = project.id.to_string();
    let look = move |engine: &Engine| {
        let health = engine.store().health();
        let body = EngineHealth {
            good: health.is_good(),
            project: id,
            now: engine.now(),
            rules: engine.rules().list().len(),
            live_keys: engine.live_keys(),
            events: engine.events().len(),
            alerts_waiting: engine.alerts().waiting(),
            store: StoreHealth::of(&health),
        };
        json(StatusCode::OK, &body)
    };
    project.ask(look).await
}

/// What was found of a store.
#[derive(Serialize, ToSchema)]
#[schema(as = Verification)]
pub(super) struct Verified {
    good: bool,
    /// The first part that is damaged or contradicts another.
    #[schema(required)]
    problem: Option<String>,
    #[schema(required, value_type = Option<schema::VerifyReport>)]
    report: Option<VerifyReport>,
}

/// `POST /verify`: goes over the whole store while the engine goes on. That something is damaged is
/// an answer.
pub(super) async fn verify(call: Call) -> Answer {
    let project = call.needs(Need::Manage)?.project;
    let own = project.clone();
    let verify = move |engine: &Engine| {
        let _alone = alone(&own)?;
        has_store(engine)?;
        let verified = match engine.store().verify(|_| {}) {
            Ok(report) => Verified { good: true, problem: None, report: Some(report) },
            Err(why @ (StoreError::Damaged { .. } | StoreError::UnknownKind { .. })) => {
                Verified { good: false, problem: Some(why.to_string()), report: None }
            }
            Err(why) => return Err(why.into()),
        };
        json(StatusCode::OK, &verified)
    };
    project.ask(verify).await
}

fn has_store(engine: &Engine) -> Result<(), Failure> {
    match engine.store().health().durability {
        Some(_) => Ok(()),
        None => Err(Failure::new(Reason::Conflict, "the engine has no store").code("no_store")),
    }
}

/// A backup that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = Backup)]
pub(super) struct Made {
    /// Its name in the folder of backups.
    file: String,
    bytes: u64,
    at: Timestamp,
}

/// `POST /backup`: a copy of the store beside the others, in the folder of the options alone; its
/// name is made here, so that no caller names a file.
pub(super) async fn back_up(call: Call) -> Answer {
    let project = call.needs(Need::Manage)?.project;
    let own = project.clone();
    let folder = project.backups().ok_or_else(|| {
        let message = "this server has no folder for backups";
        Failure::new(Reason::Conflict, message).code("no_backups")
    })?;
    let name = safe(&project);
    let back_up = move |engine: &Engine| {
        let _alone = alone(&own)?;
        has_store(engine)?;
        let at = engine.now();
        let file = format!("{name}-{}.redb", at.to_string().replace(':', ""));
        let path: PathBuf = folder.join(&file);
        engine.store().backup(&path, |_| {}).map_err(|why| match why {
            StoreError::Io { kind: io::ErrorKind::AlreadyExists, .. } => {
                let message = format_args!("there is a backup {file:?} already");
                Failure::new(Reason::Conflict, &message).code("backup_exists")
            }
            // A store in memory has no file.
            StoreError::Io { kind: io::ErrorKind::Unsupported, .. } => {
                Failure::new(Reason::Conflict, &why).code("no_backups")
            }
            why => why.into(),
        })?;
        let bytes = std::fs::metadata(&path).map_or(0, |about| about.len());
        json(StatusCode::CREATED, &Made { file, bytes, at })
    };
    project.ask(back_up).await
}

/// The project's name as the start of a file's: what is no letter and no digit may mean something
/// to a file system.
fn safe(project: &Project) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    project.id.chars().take(64).map(|it| if is_plain(it) { it } else { '_' }).collect()
}
