//! A gateway in front of a streaming model: limits by key and by team, a monthly budget, tokens
//! that are reserved before a call and committed by what was streamed, retries that are not paid
//! for twice, and a page that shows who used what.
//!
//! `cargo run --features tower --example axum_gateway` sends itself some requests;
//! `... -- 127.0.0.1:3000` listens there:
//!
//! ```console
//! curl -N 127.0.0.1:3000/v1/chat -H 'authorization: Bearer sk-ann' -H 'idempotency-key: 1' \
//!     -d '{"prompt": "hello", "max_tokens": 50}'
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, response};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body};
use http_body_util::BodyExt;
use limitry::reservations::{ReservationQuery, ReservationState};
use limitry::tower::{Commit, Ended, Extracted, LimitLayer, Source, StreamReader};
use limitry::usage::{RollupOptions, UsageQuery};
use limitry::{Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Window};
use serde::Deserialize;
use tokio_stream::StreamExt;
use tower::ServiceExt;

/// Who has which key: a user and its team.
const KEYS: [(&str, &str, &str); 2] =
    [("sk-ann", "ann", "research"), ("sk-bob", "bob", "research")];

/// What a token costs, in millionths of a cent.
const PRICE: u64 = 3_000;

#[derive(Clone, Deserialize)]
struct Ask {
    prompt: String,
    max_tokens: u64,
}

/// A call whose key is known.
#[derive(Clone)]
struct Call {
    user: &'static str,
    team: &'static str,
    ask: Ask,
    /// Under which its answer is kept for a retry.
    answer_id: Option<AnswerId>,
}

type AnswerId = (&'static str, String);
type Answers = Arc<Mutex<HashMap<AnswerId, Bytes>>>;

fn priced(event: Event<'_>, tokens: u64) -> Event<'_> {
    let cost = i128::from(tokens.saturating_mul(PRICE));
    event.total_tokens(tokens).cost_cents(Amount::from_millionths(cost))
}

/// Looks the key up and reads what is asked: an estimate of what the call will cost.
async fn read_call(request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let key = Source::bearer_token().find(&head).map(|key| key.into_owned());
    let Some((_, user, team)) = KEYS.iter().find(|(known, ..)| key.as_deref() == Some(known))
    else {
        return (StatusCode::UNAUTHORIZED, "no such key\n").into_response();
    };
    let Ok(body) = body::to_bytes(body, 64 * 1_024).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let Ok(ask) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "a prompt and max_tokens, please\n").into_response();
    };
    let retry = Source::header("idempotency-key").find(&head).map(|key| (*user, key.into_owned()));
    head.extensions.insert(Call { user, team, ask, answer_id: retry });
    next.run(Request::from_parts(head, body.into())).await
}

/// The model: it says one word after the other.
async fn chat(Extension(call): Extension<Call>) -> impl IntoResponse {
    let words = call.ask.prompt.split_whitespace().rev().map(|word| format!("{word} "));
    let words: Vec<_> = words.take(usize::try_from(call.ask.max_tokens).unwrap_or(0)).collect();
    let stream = tokio_stream::iter(words).then(|word| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, Infallible>(word)
    });
    // The meter of its stream wants to know whose it is.
    (Extension(call), Body::from_stream(stream))
}

/// Counts the tokens that are streamed, and keeps the answer.
struct Streamed {
    call: Option<Call>,
    tokens: u64,
    text: Vec<u8>,
    answers: Answers,
}

impl StreamReader for Streamed {
    fn read(&mut self, data: &Bytes) {
        self.tokens = self.tokens.saturating_add(1);
        self.text.extend_from_slice(data);
    }

    fn end(self: Box<Self>, event: Event<'static>, ended: Ended) -> Option<Event<'static>> {
        let call = self.call?;
        if let (Ended::Whole, Some(id)) = (ended, call.answer_id) {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.insert(id, self.text.into());
        }
        // Who hangs up pays for what was said.
        Some(priced(event, self.tokens))
    }
}

/// Who used what today.
async fn usage(State(engine): State<Engine>) -> Result<Html<String>, String> {
    let now = engine.now();
    let day = UsageQuery::new(now.saturating_sub(Duration::from_secs(86_400)), now);
    let mut page = "<h1>Usage</h1>".to_owned();
    for by in ["team", "customer_id"] {
        let usage = engine.usage().breakdown(&day, by).map_err(|why| why.to_string())?;
        let _ = write!(page, "<table><tr><th>{by}<th>calls<th>tokens<th>cents");
        for row in usage.rows {
            let (name, totals) = (row.dimension.unwrap_or_default(), row.totals);
            let (events, tokens) = (totals.total_events, totals.total_tokens);
            let cents = totals.total_cost_cents;
            let _ = write!(page, "<tr><td>{name}<td>{events}<td>{tokens}<td>{cents}");
        }
        page.push_str("</table>");
    }
    Ok(Html(page))
}

fn gateway() -> Result<(Router, Engine), limitry::Error> {
    let tokens = RateLimit::new("Tokens of a team", 300, Window::Minute);
    let engine = Engine::builder()
        .rate_limit(RateLimit::new("Calls of a key", 5, Window::Minute).per("customer_id"))
        .rate_limit(tokens.metric(Metric::TotalTokens).per("team"))
        .quota(Quota::new("Budget", Metric::TotalCostCents, 500, Period::Month).per("team"))
        .quota(Quota::concurrent("Calls at once", 2).per("customer_id"))
        .rollups(RollupOptions::new().dimension("team"))
        .build()?;
    let answers = Answers::default();
    let (kept, shelf) = (Arc::clone(&answers), answers);
    let limits = LimitLayer::by(&engine, |request| match request.extensions.get::<Call>() {
        Some(call) => {
            let event = Event::new(call.user, "chat").property("team", call.team);
            priced(event, call.ask.max_tokens).into()
        }
        None => Extracted::Rejected(StatusCode::UNAUTHORIZED, "no call".into()),
    });
    let limits = limits
        .idempotency_key(Source::header("idempotency-key"))
        .reserve(
            Hold::lasting(Duration::from_secs(60)),
            Commit::by_stream(move |response: &response::Parts| Streamed {
                call: response.extensions.get().cloned(),
                tokens: 0,
                text: Vec::new(),
                answers: Arc::clone(&kept),
            }),
        )
        .on_replayed(move |replay| {
            let call = replay.request.extensions.get::<Call>();
            let id = call.and_then(|call| call.answer_id.clone());
            let shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            let stored = id.and_then(|id| shelf.get(&id).cloned());
            async { stored.map(Response::new) }
        });
    let app = Router::new()
        .route("/v1/chat", post(chat).layer(limits).layer(from_fn(read_call)))
        .route("/usage", get(usage))
        .with_state(engine.clone());
    Ok((app, engine))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (app, engine) = gateway()?;
    if let Some(listen) = std::env::args().nth(1) {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        return Ok(axum::serve(listener, app).await?);
    }
    let ask = |key: &str, retry: &str, prompt: &str, most: u64| {
        let body = serde_json::json!({ "prompt": prompt, "max_tokens": most }).to_string();
        let request = Request::post("/v1/chat").header("authorization", format!("Bearer {key}"));
        request.header("idempotency-key", retry).body(Body::from(body))
    };
    let calls = [
        ("a call", ask("sk-ann", "1", "three words back", 100)?),
        ("its retry", ask("sk-ann", "1", "three words back", 100)?),
        ("more than the team has left", ask("sk-bob", "2", "and so on", 299)?),
        ("a key that nobody has", ask("sk-eve", "3", "let me in", 1)?),
        (
            "that is no call",
            Request::post("/v1/chat")
                .header("authorization", "Bearer sk-ann")
                .body(Body::from("{}"))?,
        ),
    ];
    for (what, request) in calls {
        show(what, app.clone().oneshot(request).await?).await?;
    }
    // A client that hangs up after the first word.
    let mut body = app.clone().oneshot(ask("sk-ann", "4", "a long story", 100)?).await?.into_body();
    body.frame().await.transpose()?;
    let held = ReservationQuery::new().state(ReservationState::Held);
    let count = || engine.reservations().count(&held);
    println!("open while it streams: {}", count());
    drop(body);
    println!("when the client has hung up: {}", count());
    let page = Request::get("/usage").body(Body::empty())?;
    show("usage", app.oneshot(page).await?).await?;
    Ok(())
}

async fn show(what: &str, response: Response) -> Result<(), Box<dyn Error>> {
    println!("{what}: {}", response.status());
    for (name, value) in response.headers() {
        println!("  {name}: {}", value.to_str()?);
    }
    let body = response.into_body().collect().await?.to_bytes();
    println!("  {}", String::from_utf8_lossy(&body).replace("<t", "\n  <t"));
    Ok(())
}
