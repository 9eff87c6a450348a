//! The engine's own API: it says what the Rust API says of the same engine, a page at a time.

mod changes;
mod corrections;
mod door;
mod lists;
mod page;
mod questions;
mod rules;
mod stream;
mod usage;

use serde_json::{Value, json};

use crate::app::{Answer, App, KEY};

/// Asks below `/engine/v1`.
fn ask(app: &App, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.send(KEY, method, &format!("/engine/v1{path}"), body)
}

pub(crate) fn get(app: &App, path: &str) -> Value {
    ask(app, "GET", path, Value::Null).ok(200)
}

fn post(app: &App, path: &str, body: Value) -> Value {
    ask(app, "POST", path, body).ok(200)
}

/// What the Rust API answers, as data.
fn data(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).expect("data")
}

fn event(customer: &str) -> Value {
    json!({"customerId": customer, "eventType": "call", "inputTokens": 3, "model": "gpt-4"})
}

/// What a problem says: its status, and the paths of all that is wrong.
fn problem(answer: &Answer) -> (u16, String, Vec<&str>) {
    let Answer { status, body, .. } = answer;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    assert_eq!((&body["type"], &body["status"]), (&json!("about:blank"), &json!(status.as_u16())));
    assert_eq!(body["title"], status.canonical_reason().expect("a known status"));
    assert!(body["requestId"].as_str().is_some_and(|id| id.starts_with("req_")), "{body}");
    let problems = body["problems"].as_array().map_or(&[][..], Vec::as_slice);
    let paths = problems.iter().map(|one| one["path"].as_str().expect("a path")).collect();
    (status.as_u16(), body["detail"].as_str().expect("a reason").to_owned(), paths)
}

/// All items of a list, by pages of so many.
fn pages(app: &App, path: &str, size: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    let and = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = get(app, &format!("{path}{and}limit={size}{cursor}"));
        let items = page["data"].as_array().expect("a list");
        let next = page["nextCursor"].as_str();
        assert!(items.len() <= size && page["hasMore"] == next.is_some(), "{page}");
        assert!(next.is_none() || items.len() == size, "a page that is not the last is full");
        all.extend(items.iter().cloned());
        let Some(next) = next else { return all };
        cursor = format!("&cursor={next}");
    }
}
