//! The product's HTTP API as an [`axum::Router`]: the feature `http`.
//!
//! [`router`] gives an engine the product's paths, below `/v1`. A request's key says which project
//! it is for, which of the product's generations it speaks, and what it may do.
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
//! `GET /healthz` and `/readyz` need no key: whether it runs, and whether its stores take what
//! comes. Nor do `GET /openapi/1.json`, `/openapi/2.json`, `/openapi/3.json` and
//! `/openapi/engine.json`: the generations, and the engine's own API, as `OpenAPI` 3.1 documents
//! with examples that were answered. `/openapi.json` is that of the key's generation, and without a
//! key of the first. Paths in them are below where the router is.
//!
//! A question about events to an engine that records none is a 409, in each generation. A 401 says
//! `WWW-Authenticate: Bearer`, and a 405 in `Allow` which methods the path has.
//!
//! # What the first generation answers
//!
//! | path | does |
//! |---|---|
//! | `POST /v1/track` | [`Engine::track`]: 201, or 429, with [headers](crate::Decision::headers) |
//! | `POST /v1/events`, `/v1/events/batch` | [`Engine::record`], [`Engine::record_batch`] |
//! | `GET /v1/events` | [`Events::list`](crate::handles::Events::list) |
//! | `POST`, `GET /v1/quotas`, `/v1/rate-limits` | adds a rule, lists them, the newest first |
//! | `GET`, `PUT`, `DELETE /v1/quotas/{id}`, `/v1/rate-limits/{id}` | one rule |
//! | `POST /v1/quotas/check`, `/v1/rate-limits/check` | [`Engine::standing`] of dimensions |
//! | `POST`, `GET /v1/quotas/{quotaId}/alerts` | adds an alert of a quota, lists them |
//! | `GET`, `PUT`, `DELETE /v1/quota-alerts/{alertId}` | one alert |
//! | `GET /v1/quota-alerts/{alertId}/history` | when it has fired, and its webhooks |
//! | `GET /v1/usage/summary`, `/breakdown`, `/timeseries` | [`Usage`](crate::handles::Usage) |
//! | `GET /v1/customers/{customerId}/usage` | the summary of a customer |
//! | `GET /v1/project` | the key's project |
//!
//! Bodies are those of [`wire`](crate::wire) and of [`rules`](crate::rules); a rule's own fields
//! beyond the product's are taken, too. A rate limit without an `algorithm` is a fixed window here,
//! as the product's are. What is wrong is answered as `{"error": ..., "details": ...}`: the
//! product's words, and the field, the value and the rule. An idempotency key that was used for
//! another event is a 409.
//!
//! An alert is a [threshold](crate::Quota::alert_at) of its quota, in whole percent, whoever has
//! set it; two at the same one are a 409. Its history is of the threshold that it has, since it was
//! made. Of several webhooks that are sent an alert `webhookStatus` is the worst: `failed`,
//! `pending`, `success`; null where there is none.
//!
//! # What the second generation answers
//!
//! | path | does |
//! |---|---|
//! | `POST /v1/events/record`, `/v1/events/batch` | [`Engine::record`], [`Engine::record_batch`] |
//! | `GET /v1/events`, `/v1/events/summary`, `/breakdown` | recorded events, and their sums |
//! | `POST`, `GET /v1/meters`; `GET`, `PUT`, `DELETE /v1/meters/{id}` | [`Meter`](crate::Meter)s |
//! | `POST /v1/meters/{id}/query` | [`Meters::query`](crate::handles::Meters::query) |
//! | `POST`, `GET /v1/limits`; `GET`, `PUT`, `DELETE /v1/limits/{id}` | quotas on meters |
//! | `POST /v1/limits/check` | where a customer stands on them; nothing is taken |
//! | `POST`, `GET /v1/balances`, `GET /v1/balances/{id}` | [balances](crate::balances) |
//! | `POST /v1/balances/check`, `/credit`, `/debit` | the same of [`Balances`] |
//! | `GET /v1/balances/{id}/transactions` | [`Balances::ledger`]: the newest 256 are kept |
//! | `POST`, `GET /v1/customers` | makes or changes a [customer](crate::Customer), lists them |
//! | `GET`, `PUT`, `DELETE /v1/customers/{id}` | one of them, by its id or its `externalId` |
//! | `GET /v1/customers/{id}/usage`, `/balances` | what it used, what it has |
//! | `POST /v1/client-tokens`, `DELETE /v1/client-tokens/{id}` | makes a token, ends it |
//! | `GET /client/token` | the project, and the `publicMetadata` of the token |
//! | `POST /client/limits/check`, `/client/events/record` | the same for the token's customer |
//! | `GET /client/events/summary` | the sums of its events |
//! | `GET /v1/project` | the key's project |
//!
//! What is wrong is answered as `{"error": {"code", "message", "status"}}`. One engine is behind
//! all generations:
//!
//! - The `dimensions` of an event are its model, its provider and properties that are strings; its
//!   `properties` are [attached](crate::Event::attach), and are no dimensions.
//! - A limit is a quota whose metric is the meter, per customer, hard for who tracks. One of a
//!   customer filters it; a check without a customer asks about all customers together.
//!   Of limits with the same meter, period and filters a customer's own stands in the place of the
//!   one for all: they are rules of one [policy](crate::Quota::policy). A second one for the same
//!   is of none, and judges beside them.
//! - Other quotas of the calendar and for all time are limits here, too. Each built-in metric is a
//!   global meter with a null `projectId`, `mtr_total_tokens` and the like, and any other value the
//!   meter `values.<name>`; where the engine has a meter of such an id, that one is meant. Quotas
//!   that this generation has no words for are not among its limits: rolling ones, those of several
//!   periods or from the first use, of different values or of balances, without a limit, or turned
//!   off.
//! - A check asks no one for what the meter asks of events. It is O(limits).
//! - A customer is known by its `externalId`, which is the `customerId` everywhere else; its `id`
//!   is another writing of that. The first event that this generation records of a customer who is
//!   not known makes it: its months run from that day. One whose events came in another way has no
//!   `billingCycleStart` and no `createdAt`. The date of `billingCycleStart` in the customer's zone
//!   is the [billing anchor](crate::Customer::billing_anchor). The email and that instant lie in
//!   the metadata, as `email` and `billing_date`. A customer that is deleted is forgotten; its
//!   events and its use are not.
//! - A balance is for all events: `dimensionFilters` are empty, anything else is a 400. What has
//!   expired, and what events took by a [rule](crate::Quota::balance), is a debit in the ledger.
//! - A client token opens the paths below `/client`, which no other key does, and nothing else: for
//!   its customer alone, for an hour or up to a day. It is shown once; kept is its hash, with at
//!   most 4 096 bytes each of `publicMetadata` and of `serverContext`, which no client is shown: in
//!   the store, or where there is none in memory, up to 100 000 of them and 64 MiB.
//! - A personal access token (`limitry_pat_`) needs the header `X-Project`.
//! - The product's own bound of 1 000 requests a minute is not applied.
//! - Filters and limits may be what the engine takes beyond the product: other
//!   [conditions](crate::Condition), 0, and fractions.
//!
//! [`Balances`]: crate::handles::Balances
//! [`Balances::ledger`]: crate::handles::Balances::ledger
//!
//! # What the third generation answers
//!
//! | path | does |
//! |---|---|
//! | `POST /v1/checks` | [`Engine::track`], [`Engine::check`] or [`Engine::reserve`], by its mode |
//! | `POST /v1/reservations/{id}/commit`, `/extend`, `/release` | the same of [`Engine`] |
//! | `POST`, `GET /v1/limits`, `GET`, `PATCH /v1/limits/{id}` | limits on subjects |
//! | `POST /v1/limits/{id}/archive`, `/restore` | stops a limit, brings it back |
//! | `POST /v1/limits/sync` | limits made to match a list, in one step |
//! | `POST`, `GET /v1/limits/{id}/credits` | [`Rules::adjust`](crate::handles::Rules::adjust) |
//! | `GET /v1/usage/standing` | [`Engine::standing`] of a subject on the limits of every action |
//! | `GET /v1/usage/subjects` | [`Rules::keys`](crate::handles::Rules::keys) of a limit |
//! | `GET /v1/usage` | [`Usage::timeseries`](crate::handles::Usage::timeseries) of a limit |
//! | `GET`, `PATCH /v1/subjects/{kind}/{id}` | the billing date, of [customers](crate::Customer) |
//! | `POST /v1/subjects/{kind}/{id}/reset` | [`Rules::reset`](crate::handles::Rules::reset) |
//! | `GET /v1/user/me`, `/v1/workspace`, `/v1/workspace/usage` | the key's project |
//! | `GET`, `POST /v1/workspace/webhook-endpoints`, and below | [webhooks](crate::webhooks) |
//!
//! Members, teams, invitations, approvals and audit events are not served.
//! Errors are `{"error": {code, message, requestId, details}}`; `details` has all that is wrong
//! with a body, each with its path.
//!
//! A check is an [event](crate::Event) of the type `action` that brings `cost` as the value
//! `units`. The kind of a subject is a dimension: `customer` is `customer_id`, `team` is the
//! property `team`, and a kind that is no name of a property is written as one (`api-key` as
//! `kind_api_2dkey`). The event's `customer_id` is the customer among the subjects, and else
//! `kind:id` of the one that acts; then the property `subject_kind` says that it is no customer's.
//! So a check may name one subject of each kind.
//!
//! A limit is a rule on `units` [per](crate::Quota::per) the dimension of its kind, filtered by the
//! id of its subject and by its action, where it has them. What the other generations or the
//! application make in this form is a limit here.
//!
//! | window | rule |
//! |---|---|
//! | `minute` | a [rate limit](crate::RateLimit) with a fixed window |
//! | `hour`, `day`, `week`, `month`, `year` | a [quota](crate::Quota) by the calendar of UTC |
//! | the same from the `billing_date` | one with the anchor of a [customer](crate::Customer) |
//! | hours, days, weeks from the `first_use` | one from the [first use](crate::Quota::first_use) |
//! | `rolling` | a quota with a [rolling period](crate::Period::rolling) |
//! | `total` | a quota for all time; credits are adjustments of it |
//! | `concurrent` | a [concurrent](crate::Quota::concurrent) quota |
//!
//! A limit of one subject replaces that of its kind where both count the same: action, unit,
//! window, `every`, `start`, `rolling`; they are one [policy](crate::Quota::policy). Two limits of
//! the same subject that count the same are a 409. `unit` and `failMode` are the rule's
//! [metadata](crate::Quota::metadata). Rules that are no limits decide here, too, and are told of
//! in words that come near.
//!
//! What differs from the product:
//!
//! - The start `first_use` is a 400 for minutes, months and years, and so is `billing_date` for
//!   minutes and hours. Periods from a billing date begin at midnight in UTC. Those from the first
//!   use follow each other without a gap, whether something is used of them or not.
//! - Refused checks are counted by hours of UTC, for 31 days. Who uses a limit whose window is
//!   shorter, rolling or another one for each subject is told no such number: `refused` is null.
//! - `lastCheckedAt` is that of checks that were let in and are kept, and of those that the limit
//!   refused; a reservation is one when it is committed.
//! - A series is of the events that are kept, and longer only of kinds that are
//!   [declared](crate::usage::RollupOptions::dimension) dimensions.
//! - Credits and resets count in `used` and not in the series.
//! - A check of the cost 0 is let in wherever a balance stands.
//! - An extension never shortens. A commit counts in the window of its check, however long ago.
//! - Of a limit from the billing date or the first use `windowStart` is null: it is another one for
//!   each subject.
//!
//! # The engine's own API
//!
//! A key of any generation opens what is below `/engine/v1`, for pages, commands and operators:
//!
//! | path | does |
//! |---|---|
//! | `POST /rules` | [`Rules::add`](crate::handles::Rules::add) of a rule of any kind |
//! | `GET /rules` | the rules, the newest first; with `archived=true` those that are archived |
//! | `GET`, `PATCH`, `DELETE /rules/{id}` | one rule; `POST /rules/{id}/archive`, `/restore` |
//! | `GET /rules/{id}/keys` | [`Rules::keys`](crate::handles::Rules::keys) |
//! | `POST /sync` | [`Rules::sync`](crate::handles::Rules::sync): `rules`, `preview`, `missing` |
//! | `POST /explain`, `/standing` | [`Engine::explain`], [`Engine::standing`] of an event |
//! | `GET /unseen-dimensions` | [`Engine::unseen_dimensions`] |
//! | `POST /simulate` | [`Engine::simulate`]: `rules`, `missing`, `keys`, `calls` |
//! | `POST /usage` | [`Usage`](crate::handles::Usage): `query`, `groupBy`, `interval`, `most` |
//! | `GET /refusals`, `/refusals/hours` | [`Engine::refusals`] by key and by hour |
//! | `GET /reservations`, `/reservations/{id}` | the reservations, the oldest first |
//! | `POST /reservations/{id}/release` | [`Engine::release`] |
//! | `POST /events/{id}/void`, `/amend` | [`Engine::void`], [`amend`](Engine::amend) |
//! | `GET /corrections` | [`Events::corrections`](crate::handles::Events::corrections) |
//! | `GET /alerts` | [`Alerts::list`](crate::handles::Alerts::list) |
//! | `GET /changes` | who changed which rule, when and why |
//! | `GET /me` | what the key may do |
//! | `GET /stream` | figures once a second, as server-sent events |
//! | `GET`, `POST /webhook-endpoints` | [endpoints](crate::webhooks::Endpoint) |
//! | `GET`, `DELETE /webhook-endpoints/{id}` | one endpoint |
//! | `POST /webhook-endpoints/{id}/enable`, `/test`, `/rotate` | changes one, tries it |
//! | `GET /webhook-endpoints/{id}/deliveries` | [deliveries](crate::webhooks::Delivery) |
//! | `POST /webhook-endpoints/{id}/deliveries/{deliveryId}/redeliver` | sends one again |
//! | `GET /webhook-event-types` | what endpoints of the key's generation are sent |
//! | `GET /health` | the engine's figures, and its [store's](crate::store::Health) |
//! | `POST /verify`, `/backup` | the same of [`Store`](crate::handles::Store) |
//! | `GET /metrics`, at the root | figures of the key's project for Prometheus |
//!
//! Changing rules and webhooks, corrections, `verify` and `backup` need the scope `all`, a preview
//! does not. A correction has a `reason`, and an amendment the whole `event`; what is there no more
//! to be corrected is a 409. Lists have pages of 1 to 100 items, 50 where no `limit` says it, with
//! a `nextCursor`, and `GET /corrections` takes `eventId`. `missing` says what becomes
//! of rules that the list of a `sync` does not name: `keep` (the default), `archive`, `remove`. Of
//! a simulation, an audit and a backup one is under way for each project; a second is a 409. A copy
//! of the store is put in the folder of [`Options::backups`], under a name that the answer says;
//! what is damaged in a store is the answer of `verify`, `good` and `problem`. What is wrong with a
//! request is an `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)),
//! with all `problems` of a set of rules, each with its rule, its field and the reason.
//!
//! The `calls` of a simulation are an [`EventQuery`]; with `missing` as `keep` its `rules` stand in
//! the place of those with their ids, and the others stay as they are.
//!
//! The newest 1 000 changes of rules by this API are kept, in the store where there is one: who
//! (the [name](ApiKey::name) of the key), when, which fields, and the `note` that the request has
//! as a parameter. One by another generation's paths says its request.
//!
//! The stream has an event `history` (the last ten minutes, by seconds, as far as somebody has
//! listened), the tables `rules` (and who is nearest to them), `top` (who used the most in 24
//! hours) and `recent` (reservations, alerts, refusals) when they change, and `figures` each
//! second. They are made once for all who listen, and by nobody where none does; tables as often as
//! they take a hundredth of the time. 256 may listen to a project; one that is slow skips figures.
//! A stream ends after 15 minutes, and is asked for again. It needs the timer of tokio's runtime.
//!
//! `GET /metrics` has the answers by API, what the events add up to that
//! [usage](crate::handles::Usage) is kept of, how the store is, and for 100 rules their limit and
//! what the five keys that have used the most of each have used, hold and have left, at most 15
//! seconds old; and what [`Options::figures`] adds.
//!
//! [`EventQuery`]: crate::events::EventQuery
//!
//! # Idempotency
//!
//! A request with the header `Idempotency-Key` that changes something is answered once: for 24
//! hours the same request with the same key is given the same answer again, a refusal too, with
//! `Idempotent-Replayed: true`; another request with it is a 409, and so is one that comes while
//! the first is being answered, which is done to its end also where who asked has gone away.
//! Answers of a fault of the server are not kept. Kept are the newest 100 000 answers, up to 64 MiB
//! of them, and with a store all of the 24 hours. The header is the idempotency key of an event
//! whose body has none.
//!
//! # Threads
//!
//! Decisions are made where the request is handled: they take a microsecond. What waits for a disk
//! (every event of an engine whose [`Durability`](crate::store::Durability) is `Synced`) or may
//! take longer (lists, usage, changes of rules) is done on tokio's threads for that, so that no
//! other request waits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::access::bearer;
use self::call::{Call, Caller, Project, json};
use self::changes::RuleRequest;
use self::failure::{Failure, Reason};
use self::figures::ProjectFigures;
use self::replay::{Answers, Step};
use self::routes::{Answering, Paths};
use self::second::client;
use self::second::tokens::{self, Client};
use crate::Engine;

mod access;
mod call;
mod changes;
mod engine;
mod failure;
mod figures;
mod first;
mod keys;
mod live;
mod openapi;
mod operators;
mod options;
mod pages;
mod replay;
mod routes;
mod second;
mod third;
mod webhooks;

pub use self::access::{Access, Authenticate, Authenticated, Generation, Scope};
#[cfg(feature = "metrics")]
pub use self::figures::Figures;
pub use self::keys::{ApiKey, ApiKeys};
pub use self::options::Options;

/// How many bytes of a caller's own id of a request are taken.
const MAX_REQUEST_ID: usize = 128;

/// What personal access tokens begin with.
const PERSONAL: &str = "limitry_pat_";

/// Headers that name what a key opens. One that names something else is refused.
static NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-project"),
    HeaderName::from_static("x-workspace"),
    HeaderName::from_static("x-environment"),
];

/// The caller's own id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is behind the door.
struct Api {
    /// Whose time keys go by.
    engine: Engine,
    projects: HashMap<String, Project>,
    authenticate: Arc<dyn Authenticate>,
    max_body_bytes: usize,
    answers: Arc<Answers>,
    first: Paths,
    second: Paths,
    /// The second one's paths of client tokens.
    client: Paths,
    third: Paths,
    /// The engine's own.
    own: Paths,
}

/// Makes the API of an engine: see the [module](self). It may be nested under any path.
pub fn router(engine: Engine, options: Options) -> Router {
    let Options { project, others, authenticate, max_body_bytes, backups, .. } = options;
    let Options { figures, has_page, webhooks, .. } = options;
    let engines = std::iter::once((project, engine.clone())).chain(others);
    let projects = engines.map(|(id, engine)| {
        let own = figures.iter().filter(|(project, _)| *project == id);
        let own = ProjectFigures::with(own.map(|(_, page)| Arc::clone(page)).collect());
        let hooks = webhooks.iter().find(|(project, _)| *project == id);
        let hooks = hooks.map(|(_, hooks)| hooks.clone());
        let project = Project::new(&id, engine, own, backups.clone(), hooks);
        (id, project)
    });
    let projects = projects.collect();
    let api = Api {
        engine,
        projects,
        authenticate,
        max_body_bytes,
        answers: Arc::default(),
        first: first::routes().paths(nothing),
        second: second::routes().paths(client::closed),
        client: client::routes().paths(client::other),
        third: third::routes().paths(nothing),
        own: engine::routes()
            .paths(nothing)
            .and_get(engine::FIGURES, figures::page)
            .and_get(engine::STREAM, live::stream),
    };
    let page =
        if has_page { Router::new().route("/", get(operators::page)) } else { Router::new() };
    page.route("/healthz", get(StatusCode::OK))
        .route("/readyz", get(readiness))
        .route("/openapi.json", get(async |headers| openapi::document(spoken(&headers))))
        .route("/openapi/1.json", get(async || openapi::document(Generation::First)))
        .route("/openapi/2.json", get(async || openapi::document(Generation::Second)))
        .route("/openapi/3.json", get(async || openapi::document(Generation::Third)))
        .route("/openapi/engine.json", get(async || openapi::of_engine()))
        .fallback(enter)
        .with_state(Arc::new(api))
}

/// What is said of a path that is none.
fn nothing(_: &str) -> Failure {
    Reason::NotFound.into()
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
    let id = RequestId::of(request.headers());
    match api.caller(request.headers()).await {
        Ok(caller) => {
            let face = Face::of(request.uri().path(), caller.access.generation);
            let project = caller.project.clone();
            let answer = api.answer_of(caller, request, face, &id).await;
            project.figures().answered(face.place(), answer.status());
            answer
        }
        Err(why) => {
            let spoken = spoken(request.headers());
            Face::of(request.uri().path(), spoken).said(&why, &id)
        }
    }
}

/// The generation that a key speaks by its first letters, whether it opens anything or not.
fn spoken(headers: &HeaderMap) -> Generation {
    let spoken = bearer(headers).and_then(|key| {
        let is_token = key.starts_with(tokens::TOKEN);
        if is_token { Some(Generation::Second) } else { Generation::of_key(key) }
    });
    spoken.unwrap_or(Generation::First)
}

/// Which of the APIs a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Face {
    /// One of the product's, as the key says.
    Product(Generation),
    /// The engine's own, as the path says.
    Own,
}

impl Face {
    fn of(path: &str, generation: Generation) -> Self {
        if engine::is_below(path) { Self::Own } else { Self::Product(generation) }
    }

    /// Its place among the APIs, as figures have them.
    fn place(self) -> usize {
        match self {
            Self::Product(Generation::First) => 0,
            Self::Product(Generation::Second) => 1,
            Self::Product(Generation::Third) => 2,
            Self::Own => 3,
        }
    }

    /// Why there is no answer, as this API says it.
    fn said(self, why: &Failure, id: &RequestId) -> Response {
        let status = why.reason.status();
        let body = match self {
            Self::Product(Generation::First) => json(status, &first::Problem::of(why)),
            Self::Product(Generation::Second) => json(status, &second::Problem::of(why)),
            Self::Product(Generation::Third) => json(status, &third::Problem::of(why, &id.shown())),
            Self::Own => engine::said(why, &id.shown()),
        };
        let mut said = body.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
        why.put_headers(said.headers_mut());
        said
    }
}

/// The id that a request brings. One that brings none gets one where it is shown: when it fails.
#[derive(Clone)]
struct RequestId(Option<HeaderValue>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID);
        Self(given.filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len())).cloned())
    }

    fn shown(&self) -> Cow<'_, str> {
        let given = self.0.as_ref().and_then(|id| id.to_str().ok());
        given.map_or_else(|| fresh("req_").into(), Cow::Borrowed)
    }
}

/// A name that nothing else has.
fn fresh(prefix: &str) -> String {
    format!("{prefix}{:016x}", RandomState::new().hash_one(()))
}

impl Api {
    async fn answer_of(
        self: &Arc<Self>,
        caller: Caller,
        request: Request,
        face: Face,
        id: &RequestId,
    ) -> Response {
        if !replay::has_key(request.headers()) {
            return self.answer_to(caller, request, None, face, id).await;
        }
        let step = self.answers.step(request, &caller, self.max_body_bytes);
        let (request, turn) = match step.await {
            Ok(Step::Answer(request, Some(turn))) => (request, turn),
            Ok(Step::Answer(request, None)) => {
                return self.answer_to(caller, request, None, face, id).await;
            }
            Ok(Step::Replay(response)) => return response,
            Err(why) => return face.said(&why, id),
        };
        // Who asks may go away, and asks again with the same key: what they asked for is done to
        // its end, and its answer kept.
        let (api, own_id, engine) = (Arc::clone(self), id.clone(), caller.project.engine.clone());
        let answered = tokio::spawn(async move {
            let key = Some(turn.key.clone());
            let answer = api.answer_to(caller, request, key, face, &own_id).await;
            turn.keep(answer, engine.now()).await
        });
        answered.await.unwrap_or_else(|_| face.said(&Reason::Internal.into(), id))
    }

    async fn answer_to(
        &self,
        caller: Caller,
        request: Request,
        key: Option<String>,
        face: Face,
        id: &RequestId,
    ) -> Response {
        let change = RuleRequest::of(&request, &caller, face == Face::Own);
        let change = change.map(|change| (change, caller.project.clone()));
        let answer = match self.answer(caller, request, key, face) {
            Ok(answer) => answer.await,
            Err(why) => Err(why),
        };
        let answer = answer.unwrap_or_else(|why| face.said(&why, id));
        if let Some((change, project)) = change.filter(|_| answer.status().is_success()) {
            change.note(&project).await;
        }
        answer
    }

    /// The answer to come of what the path names.
    fn answer(
        &self,
        caller: Caller,
        request: Request,
        key: Option<String>,
        face: Face,
    ) -> Result<Answering, Failure> {
        let paths = match face {
            _ if caller.client.is_some() => &self.client,
            Face::Product(Generation::First) => &self.first,
            Face::Product(Generation::Second) => &self.second,
            Face::Product(Generation::Third) => &self.third,
            Face::Own => &self.own,
        };
        let (parts, body) = request.into_parts();
        let (handler, named) = paths.find(&parts.method, parts.uri.path())?;
        Ok(handler(Call::of(caller, parts.uri.query(), named, key, body)))
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        let key = bearer(headers);
        let token = key.filter(|key| key.starts_with(tokens::TOKEN));
        let (project, access, client) = if let Some(token) = token {
            self.client(token).await.ok_or(Reason::Unauthorized)?
        } else {
            let access = self.authenticate.authenticate(headers, self.engine.now()).await;
            let access = access.ok_or(Reason::Unauthorized)?;
            let project = self.projects.get(&access.project).ok_or(Reason::Unauthorized)?;
            (project.clone(), access, None)
        };
        let names_another = NAMES.iter().any(|name| {
            headers.get_all(name).iter().any(|value| value.as_bytes() != project.id.as_bytes())
        });
        if names_another {
            return Err(Reason::Forbidden.into());
        }
        if key.is_some_and(|key| key.starts_with(PERSONAL)) {
            second::needs_project(headers)?;
        }
        Ok(Caller { project, access, client, max_body_bytes: self.max_body_bytes })
    }

    /// Who has come with a client token: it says nothing of which project it is of.
    async fn client(&self, token: &str) -> Option<(Project, Access, Option<Arc<Client>>)> {
        for project in self.projects.values() {
            let found = if project.tokens().wait() {
                let (own, text) = (project.clone(), token.to_owned());
                let open = move |engine: &Engine| Ok(own.tokens().open(&text, engine.now()));
                project.ask(open).await.ok().flatten()
            } else {
                project.tokens().open(token, project.engine.now())
            };
            if let Some(client) = found {
                let access = Access::to(&*project.id, Generation::Second);
                return Some((project.clone(), access, Some(Arc::new(client))));
            }
        }
        None
    }
}
