//! The third generation, by worked numbers, and by all that may be wrong with what comes.

mod checks;
mod door;
mod inputs;
mod limits;
mod random;
mod reservations;
mod usage;

use serde_json::{Value, json};

pub(crate) use self::random::number;

use crate::app::App;

/// Makes a limit, and returns it.
pub(crate) fn limit(app: &App, body: Value) -> Value {
    app.third("POST", "/v1/limits", body).ok(200)
}

pub(crate) fn id(limit: &Value) -> &str {
    limit["id"].as_str().expect("a limit")
}

pub(crate) fn user(id: &str) -> Value {
    json!({"kind": "user", "id": id})
}

/// A check of `use` by a user.
pub(crate) fn check(app: &App, who: &str, rest: Value) -> Value {
    let mut body = json!({"subject": user(who), "action": "use"});
    for (name, value) in rest.as_object().expect("fields") {
        body[name] = value.clone();
    }
    app.third("POST", "/v1/checks", body).ok(200)
}

/// Whether it was allowed, and what is left of the first limit.
pub(crate) fn left(decision: &Value) -> (bool, Option<i64>) {
    let allowed = decision["allowed"].as_bool().expect("a decision");
    (allowed, decision["limits"][0]["remaining"].as_i64())
}

/// What an error says: its status and code, and the paths of its details.
pub(crate) fn error(answer: &crate::app::Answer) -> (u16, &str, Vec<&str>) {
    let error = &answer.body["error"];
    assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{}", answer.body);
    assert!(error["requestId"].as_str().is_some_and(|it| it.starts_with("req_")), "{error}");
    let details = error["details"].as_array().map_or(&[][..], Vec::as_slice);
    let paths = details.iter().map(|one| one["path"].as_str().expect("a path")).collect();
    (answer.status.as_u16(), error["code"].as_str().expect("a code"), paths)
}
