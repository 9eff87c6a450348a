//! Goal: the stream says once a second what happened, to all the same; who has just come is told
//! what was before; it costs nothing where nobody listens, and a listener that does not read has no
//! queue.
//!
//! Method: bodies are read frame by frame, by a clock of tokio that goes on when all wait.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::Request;
use limitry::{Engine, Event, RateLimit, Window};
use serde_json::{Value, json};
use tower_service::Service;

use crate::app::{App, ENDED, KEY, READ, RECORD};

/// What a listener has been sent, and not looked at yet.
struct Listener {
    body: Body,
    text: String,
}

impl Listener {
    async fn open(app: &App, key: &str) -> Result<Self, u16> {
        let request = Request::builder().uri("/engine/v1/stream");
        let request = request.header("authorization", format!("Bearer {key}"));
        let request = request.body(Body::empty()).expect("a request");
        let response = app.router.clone().call(request).await.expect("it never fails");
        let status = response.status().as_u16();
        if status != 200 {
            return Err(status);
        }
        let kind = response.headers()["content-type"].to_str().expect("ASCII");
        assert_eq!(kind, "text/event-stream");
        Ok(Self { body: response.into_body(), text: String::new() })
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                let (name, data) = event.split_once('\n').expect("two lines");
                let name = name.strip_prefix("event: ").expect("a name");
                let data = data.strip_prefix("data: ").expect("data");
                return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
            }
            let frame = std::future::poll_fn(|context| {
                std::pin::Pin::new(&mut self.body).poll_frame(context)
            });
            let bytes = frame.await?.expect("it never fails").into_data().expect("no trailers");
            self.text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }

    /// The names of so many events to come.
    async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < count {
            names.push(self.next().await.expect("it goes on").0);
        }
        names
    }

    /// The next event of a name.
    async fn named(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().await.expect("it goes on");
            if found == name {
                return data;
            }
        }
    }
}

fn app() -> App {
    let calls = RateLimit::new("Calls", 2, Window::Hour).per("customer_id");
    App::with(Engine::builder().rate_limit(calls))
}

fn call(app: &App, customer: &str) {
    let event = Event::new(customer, "call").model("m").input_tokens(5).cost_cents(3);
    let event = event.property("team_id", "eng");
    let _ = app.engine.track(&event).expect("a good event");
}

/// What who has just come is sent at once.
const FIRST: [&str; 5] = ["history", "rules", "top", "recent", "figures"];

/// Runs by a clock that stands while anything is to be done.
fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(test);
}

#[test]
fn a_second_says_what_came_in_it_and_the_tables_who_it_was() {
    run(async {
        let app = app();
        let mut one = Listener::open(&app, READ).await.expect("it may");
        assert_eq!(one.names(5).await, FIRST);
        for _ in 0..3 {
            call(&app, "ann");
        }
        let point = one.named("figures").await["point"].clone();
        let expected =
            json!({"at": "2024-01-15T10:30:00Z", "admitted": 2, "refused": 1, "tokens": 10});
        assert_eq!(point, expected);
        let mut two = Listener::open(&app, KEY).await.expect("it may");
        assert_eq!(two.named("history").await, json!([]));
        let rules = two.named("rules").await;
        let rule = &rules["rules"][0];
        assert_eq!(rule["rule"]["rateLimit"]["id"], "rl_calls");
        assert_eq!(
            (&rule["keys"][0]["used"], &rule["keys"][0]["remaining"]),
            (&json!(2), &json!(0))
        );
        let top = two.named("top").await;
        let used = json!({"value": "ann", "events": 2, "tokens": 10, "costCents": 6});
        assert_eq!(top["customers"], json!([used]));
        assert_eq!(
            (&top["models"][0]["value"], &top["teams"][0]["value"]),
            (&json!("m"), &json!("eng"))
        );
        let recent = two.named("recent").await;
        assert_eq!(recent["refused"]["items"][0]["refused"], 1);
        // Both get the same from here on.
        let (a, b) = (one.named("figures").await, two.named("figures").await);
        assert_eq!((&a["point"]["admitted"], a["liveKeys"].as_u64()), (&json!(0), Some(1)));
        assert!(b["point"].is_object());
        let mut late = Listener::open(&app, KEY).await.expect("it may");
        let history = late.named("history").await;
        assert_eq!(history[0], expected, "{history}");
    });
}

#[test]
fn who_calls_the_most_is_told_of_however_little_it_uses() {
    run(async {
        let app = app();
        for number in 0..25 {
            call(&app, &format!("cust_{number}"));
        }
        for _ in 0..2 {
            let event = Event::new("busy", "call").input_tokens(1);
            assert!(app.engine.track(&event).expect("a good event").is_allowed());
        }
        let mut one = Listener::open(&app, READ).await.expect("it may");
        let top = one.named("top").await;
        let used = json!({"value": "busy", "events": 2, "tokens": 2, "costCents": 0});
        assert_eq!(top["customers"][0], used);
    });
}

#[test]
fn a_stream_ends_and_is_bounded_and_needs_a_key_that_reads() {
    run(async {
        let app = app();
        for (key, status) in [(RECORD, 403), (ENDED, 401), ("", 401)] {
            assert_eq!(Listener::open(&app, key).await.err(), Some(status));
        }
        let mut all = Vec::new();
        for _ in 0..256 {
            all.push(Listener::open(&app, READ).await.expect("there is room"));
        }
        assert_eq!(Listener::open(&app, READ).await.err(), Some(503));
        all.pop();
        let mut last = Listener::open(&app, READ).await.expect("there is room again");
        // None of them reads, and one that does is sent all.
        let mut seconds = 0;
        while let Some((name, _)) = last.next().await {
            seconds += usize::from(name == "figures");
        }
        assert_eq!(seconds, 900, "it ends after a quarter of an hour");
        // One that has not read has what was sent first, and the newest alone.
        let mut slow = all.remove(0);
        drop(all);
        assert_eq!(slow.names(5).await, FIRST);
        assert_eq!(slow.names(1).await, ["figures"]);
    });
}

#[test]
fn nothing_is_made_where_nobody_listens() {
    run(async {
        let app = app();
        let mut one = Listener::open(&app, READ).await.expect("it may");
        one.named("figures").await;
        drop(one);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let handle = tokio::runtime::Handle::current();
        assert_eq!(handle.metrics().num_alive_tasks(), 0, "the task has ended");
        // Who comes then is shown what is from now on.
        let mut one = Listener::open(&app, READ).await.expect("it may");
        assert_eq!(one.named("history").await, json!([]));
        assert!(one.named("figures").await["point"].is_null());
    });
}

/// A runtime that ends takes its task with it; another one begins anew.
#[test]
fn a_task_that_is_gone_is_begun_again() {
    let app = app();
    for _ in 0..2 {
        run(async {
            let mut one = Listener::open(&app, READ).await.expect("it may");
            one.named("figures").await;
        });
    }
}
