//! The second generation, by its documented examples and worked numbers.

use serde_json::{Value, json};

use crate::app::{Answer, App, SECOND};

mod balances;
mod customers;
mod events;
mod limits;
mod meters;
mod tokens;

pub(crate) fn post(app: &App, path: &str, body: Value) -> Answer {
    app.send(SECOND, "POST", &format!("/v1{path}"), body.to_string())
}

pub(crate) fn get(app: &App, path: &str) -> Answer {
    app.send(SECOND, "GET", &format!("/v1{path}"), "")
}

pub(crate) fn put(app: &App, path: &str, body: Value) -> Answer {
    app.send(SECOND, "PUT", &format!("/v1{path}"), body.to_string())
}

pub(crate) fn delete(app: &App, path: &str) -> Answer {
    app.send(SECOND, "DELETE", &format!("/v1{path}"), "")
}

/// Asks for the pages of a list and returns all items.
pub(crate) fn pages(app: &App, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    let join = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = get(app, &format!("{path}{join}limit={limit}{cursor}")).ok(200);
        let data = page["data"].as_array().expect("a list");
        let has_more = page["hasMore"] == true;
        assert!(data.len() == limit || !has_more, "{page}");
        assert_eq!(page["nextCursor"].is_string(), has_more);
        items.extend(data.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

impl Answer {
    /// Checks an error of this generation.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str, named: &str) {
        let error = &self.body["error"];
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(named), "{named}: {message}");
        let expected = json!({"error": {"code": code, "message": message, "status": status}});
        self.is(status, expected);
    }
}

/// The ids of items.
pub(crate) fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["id"].as_str().expect("a text")).collect()
}

#[test]
fn errors_have_their_body() {
    let app = App::new();
    app.send("limitry_sk_wrong", "GET", "/v1/events", "").fails(401, "invalid_api_key", "API key");
    get(&app, "/nothing").fails(404, "not_found", "path");
    get(&app, "/track").fails(404, "not_found", "path");
    app.send(SECOND, "PATCH", "/v1/limits/lmt_1", "{}").fails(405, "method_not_allowed", "method");
    for body in ["", "{", "[1", "{} {}"] {
        let code = if body.is_empty() { "missing_required_field" } else { "invalid_request" };
        app.send(SECOND, "POST", "/v1/limits", body).fails(400, code, "");
    }
    let long = json!({"name": "x".repeat(100_000)});
    post(&app, "/limits", long).fails(413, "request_too_large", "100000");
    get(&app, "/project").is(200, json!({"id": "proj_xyz", "name": "proj_xyz"}));
}
