//! The product's HTTP API as an [`axum::Router`]: the feature `http`.
//!
//! [`router`] gives an engine the paths of the product's first generation, below `/v1`. A
//! request's key says which project it is for, which generation it speaks, and what it may do.
//!
//! ```
//! use limitry::http::{ApiKey, ApiKeys, Options, router};
//! use limitry::{Engine, RateLimit, Window};
//!
//! let calls = RateLimit::new("Calls", 20, Window::Second).per("customer_id");
//! let engine = Engine::builder().rate_limit(calls).build()?;
//! let key = ApiKey::new("lm_5Jx0hZ0b6Yd1", "proj_eng").ok_or("no generation")?;
//! let app = router(engine, Options::new("proj_eng", ApiKeys::new().with(key)));
//! # let _: axum::Router = app;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it answers
//!
//! | path | does |
//! |---|---|
//! | `POST /v1/track` | [`Engine::track`]: 201, or 429, with [headers](crate::Decision::headers) |
//! | `POST /v1/events`, `/v1/events/batch` | [`Engine::record`], [`Engine::record_batch`] |
//! | `GET /v1/events` | [`Events::list`](crate::handles::Events::list) |
//! | `POST`, `GET /v1/quotas`, `/v1/rate-limits` | adds a rule, lists them, the newest first |
//! | `GET`, `PUT`, `DELETE /v1/quotas/{id}`, `/v1/rate-limits/{id}` | one rule |
//! | `POST /v1/quotas/check`, `/v1/rate-limits/check` | [`Engine::standing`] of dimensions |
//! | `GET /v1/usage/summary`, `/breakdown`, `/timeseries` | [`Usage`](crate::handles::Usage) |
//! | `GET /v1/customers/{customerId}/usage` | the summary of a customer |
//! | `GET /v1/project` | the key's project |
//! | `GET /healthz`, `/readyz` | whether it runs, whether its stores take what comes; no key |
//!
//! Bodies are those of [`wire`](crate::wire) and of [`rules`](crate::rules); a rule's own fields
//! beyond the product's are taken, too. A rate limit without an `algorithm` is a fixed window here,
//! as the product's are. What is wrong is answered as `{"error": ..., "details": ...}`: the
//! product's words, and the field, the value and the rule. An idempotency key that was used for
//! another event is a 409.
//!
//! A request with the header `Idempotency-Key` that changes something is answered once: for 24
//! hours the same request with the same key is given the same answer again, a refusal too, with
//! `Idempotent-Replayed: true`; another request with it is a 409, and so is one that comes while
//! the first is being answered. Answers of a fault of the server are not kept. Kept are the newest
//! 100 000 answers, up to 64 MiB of them, and with a store all of the 24 hours. The header is the
//! idempotency key of an event whose body has none.
//!
//! # Threads
//!
//! Decisions are made where the request is handled: they take a microsecond. What waits for a disk
//! (every event of an engine whose [`Durability`](crate::store::Durability) is `Synced`) or may
//! take longer (lists, usage, changes of rules) is done on tokio's threads for that, so that no
//! other request waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tower_service::Service;

use self::call::{Caller, Project};
use self::failure::{Failure, Reason};
use self::replay::{Answers, Step};
use crate::Engine;

mod access;
mod call;
mod failure;
mod first;
mod keys;
mod replay;

pub use self::access::{Access, Authenticate, Authenticated, Generation, Scope};
pub use self::keys::{ApiKey, ApiKeys};

/// How many bytes a body has at most, where nothing else is said: more than 1 000 events of usual
/// size need.
const MAX_BODY_BYTES: usize = 4 * 1_024 * 1_024;

/// Headers that name what a key opens. One that names something else is refused.
const NAMES: [&str; 3] = ["x-project", "x-workspace", "x-environment"];

/// How an API is served.
#[derive(Clone)]
#[must_use]
pub struct Options {
    project: String,
    others: Vec<(String, Engine)>,
    authenticate: Arc<dyn Authenticate>,
    max_body_bytes: usize,
}

impl Options {
    /// Serves the engine as a project, to whom `authenticate` lets in.
    pub fn new(project: impl Into<String>, authenticate: impl Authenticate) -> Self {
        Self {
            project: project.into(),
            others: Vec::new(),
            authenticate: Arc::new(authenticate),
            max_body_bytes: MAX_BODY_BYTES,
        }
    }

    /// Serves another engine, as a project of its own.
    pub fn project(mut self, project: impl Into<String>, engine: Engine) -> Self {
        self.others.push((project.into(), engine));
        self
    }

    /// Sets how many bytes a body has at most: 4 MiB where it is not set. A longer one is a 413.
    pub fn max_body_bytes(mut self, most: usize) -> Self {
        self.max_body_bytes = most;
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("project", &self.project)
            .field("others", &self.others.len())
            .field("authenticate", &self.authenticate)
            .field("max_body_bytes", &self.max_body_bytes)
            .finish()
    }
}

/// What is behind the door.
struct Api {
    /// Whose time keys go by.
    engine: Engine,
    projects: HashMap<String, Project>,
    authenticate: Arc<dyn Authenticate>,
    max_body_bytes: usize,
    answers: Arc<Answers>,
    first: Router,
}

/// Makes the API of an engine: see the [module](self). It may be nested under any path.
pub fn router(engine: Engine, options: Options) -> Router {
    let Options { project, others, authenticate, max_body_bytes } = options;
    let engines = std::iter::once((project, engine.clone())).chain(others);
    let projects = engines.map(|(id, engine)| {
        let project = Project::new(&id, engine);
        (id, project)
    });
    let projects = projects.collect();
    let api = Api {
        engine,
        projects,
        authenticate,
        max_body_bytes,
        answers: Arc::default(),
        first: first::routes(),
    };
    Router::new()
        .route("/healthz", get(StatusCode::OK))
        .route("/readyz", get(readiness))
        .fallback(enter)
        .with_state(Arc::new(api))
}

/// Whether all stores take what comes.
async fn readiness(State(api): State<Arc<Api>>) -> StatusCode {
    let mut projects = api.projects.values();
    if projects.all(|project| project.engine.store().health().is_good()) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The door: says who it is, and hands the request to the API of its generation.
async fn enter(State(api): State<Arc<Api>>, request: Request) -> Response {
    let caller = match api.caller(request.headers()).await {
        Ok(caller) => caller,
        Err(reason) => return first::refusal(Failure::new(reason, "")),
    };
    let generation = caller.access.generation;
    let project = caller.project.clone();
    let step = api.answers.step(request, (&project, &caller.access), api.max_body_bytes);
    let (mut request, turn) = match step.await {
        Ok(Step::Answer(request, turn)) => (request, turn),
        Ok(Step::Replay(response)) => return response,
        Err(why) => return first::refusal(why),
    };
    request.extensions_mut().insert(caller);
    let answer = api.answer(request, generation).await;
    match turn {
        Some(turn) => turn.keep(answer, project.engine.now()).await,
        None => answer,
    }
}

impl Api {
    async fn answer(&self, request: Request, generation: Generation) -> Response {
        match generation {
            Generation::First => {
                // A router is always ready.
                let answered = self.first.clone().call(request).await;
                answered.unwrap_or_else(|never| match never {})
            }
            // Their paths are not served yet.
            Generation::Second | Generation::Third => {
                first::refusal(Failure::new(Reason::NotFound, ""))
            }
        }
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Reason> {
        let access = self.authenticate.authenticate(headers, self.engine.now()).await;
        let access = access.ok_or(Reason::Unauthorized)?;
        let project = self.projects.get(&access.project).ok_or(Reason::Unauthorized)?;
        let names_another = NAMES.iter().any(|name| {
            headers.get_all(*name).iter().any(|value| value.as_bytes() != project.id.as_bytes())
        });
        if names_another {
            return Err(Reason::Forbidden);
        }
        let max_body_bytes = self.max_body_bytes;
        Ok(Caller { project: project.clone(), access, max_body_bytes })
    }
}
