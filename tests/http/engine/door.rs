//! Who is let in to which path of the engine's own API.
//!
//! Method: every path is asked with no key, wrong ones, and one of each scope and generation.

use axum::body::Body;
use axum::http::Request;
use limitry::{Engine, Quota};
use limitry::{Metric, Period};
use serde_json::{Value, json};

use super::{event, problem};
use crate::app::{
    App, ENDED, KEY, OTHER, PERSONAL, READ, RECORD, SECOND, SECOND_READ, SECOND_RECORD, THIRD,
    THIRD_READ, THIRD_RECORD,
};

/// Every path, with what a key must be good for, and a body that is.
fn paths() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let rule = json!({"rateLimit": {"name": "New", "limitValue": 9, "window": "hour"}});
    let nothing = Value::Null;
    vec![
        ("POST", "/rules", "all", rule),
        ("GET", "/rules", "read", nothing.clone()),
        ("GET", "/rules/qta_day", "read", nothing.clone()),
        ("PATCH", "/rules/qta_day", "all", json!({"limitValue": 8})),
        ("POST", "/rules/qta_day/archive", "all", nothing.clone()),
        ("POST", "/rules/qta_day/restore", "all", nothing.clone()),
        ("GET", "/rules/qta_day/keys", "read", nothing.clone()),
        ("DELETE", "/rules/qta_day", "all", nothing.clone()),
        ("POST", "/sync", "all", json!({"rules": {}})),
        ("POST", "/sync", "read", json!({"rules": {}, "preview": true})),
        ("POST", "/explain", "read", event("c")),
        ("POST", "/standing", "check", event("c")),
        ("GET", "/unseen-dimensions", "read", nothing.clone()),
        ("POST", "/simulate", "read", json!({"rules": {}})),
        ("GET", "/reservations", "read", nothing.clone()),
        ("GET", "/reservations/res_none", "read", nothing.clone()),
        ("POST", "/reservations/res_none/release", "record", nothing.clone()),
        ("GET", "/alerts", "read", nothing.clone()),
        ("POST", "/usage", "read", json!({})),
        ("GET", "/refusals", "read", nothing.clone()),
        ("GET", "/refusals/hours", "read", nothing.clone()),
        ("GET", "/me", "check", nothing.clone()),
        ("GET", "/changes", "read", nothing.clone()),
        ("POST", "/events/res_none/void", "all", json!({"reason": "twice"})),
        ("POST", "/events/res_none/amend", "all", json!({"reason": "r", "event": event("c")})),
        ("GET", "/corrections", "read", nothing.clone()),
        ("GET", "/webhook-endpoints", "read", nothing.clone()),
        ("POST", "/webhook-endpoints", "all", json!({"url": "https://example.com/hooks"})),
        ("GET", "/webhook-endpoints/res_none", "read", nothing.clone()),
        ("DELETE", "/webhook-endpoints/res_none", "all", nothing.clone()),
        ("POST", "/webhook-endpoints/res_none/enable", "all", nothing.clone()),
        ("POST", "/webhook-endpoints/res_none/test", "all", nothing.clone()),
        ("POST", "/webhook-endpoints/res_none/rotate", "all", nothing.clone()),
        ("GET", "/webhook-endpoints/res_none/deliveries", "read", nothing.clone()),
        ("POST", "/webhook-endpoints/res_none/deliveries/d/redeliver", "all", nothing.clone()),
        ("GET", "/webhook-event-types", "read", nothing.clone()),
        ("GET", "/health", "read", nothing.clone()),
        ("POST", "/verify", "all", nothing.clone()),
        ("POST", "/backup", "all", nothing),
    ]
}

fn app() -> App {
    let day = Quota::new("Day", Metric::TotalTokens, 9, Period::Day).id("qta_day");
    App::with(Engine::builder().quota(day))
}

#[test]
fn keys_of_every_generation_open_it_as_far_as_their_scope() {
    let all = paths();
    let all: Vec<_> = all.iter().map(|it| (it.0, format!("/engine/v1{}", it.1))).collect();
    let table = all.iter().map(|(method, path)| (*method, &**path));
    assert_eq!(crate::conform::lacking(4, table), Default::default());
    for (method, path, need, body) in paths() {
        let app = app();
        let path = format!("/engine/v1{path}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        for key in ["", "lm_wrong", "limitry_sk_wrong", "lim_test_wrong", ENDED] {
            let answer = app.send(key, method, &path, &*body);
            assert_eq!(problem(&answer).0, 401, "{method} {path}");
        }
        let may = |keys: [&str; 3], needs: &[&str]| {
            for key in keys {
                let answer = app.send(key, method, &path, &*body);
                let is_closed = answer.status == 403;
                // What is not there is said to whoever may ask, and to others as well.
                let is_unknown = answer.status == 404 && path.contains("res_none");
                let expected = !needs.contains(&need) && !is_unknown;
                assert_eq!(is_closed, expected, "{method} {path}: {}", answer.body);
                if is_closed {
                    problem(&answer);
                }
            }
        };
        may([READ, SECOND_READ, THIRD_READ], &["read", "check"]);
        may([RECORD, SECOND_RECORD, THIRD_RECORD], &["record", "check"]);
        may([KEY, SECOND, THIRD], &["read", "check", "record", "all"]);
    }
}

#[test]
fn what_is_closed_to_a_key_changes_nothing() {
    let app = app();
    let before = app.engine.rules().set();
    for (method, path, need, body) in paths() {
        if need == "all" {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            app.send(READ, method, &format!("/engine/v1{path}"), body);
        }
    }
    assert_eq!(app.engine.rules().set(), before);
}

#[test]
fn another_project_is_another_engine() {
    let app = app();
    assert_eq!(app.send(KEY, "GET", "/engine/v1/health", "").ok(200)["rules"], 1);
    let other = app.send(OTHER, "GET", "/engine/v1/health", "").ok(200);
    assert_eq!((&other["rules"], &other["project"]), (&json!(0), &json!("proj_other")));
    let answer = app.send(OTHER, "GET", "/engine/v1/rules/qta_day", "");
    assert_eq!(problem(&answer).0, 404);
    let request = Request::builder().uri("/engine/v1/health").header("x-project", "proj_other");
    let request = request.header("authorization", format!("Bearer {KEY}"));
    let answer = app.answer(request.body(Body::empty()).expect("a request"));
    assert_eq!(problem(&answer).0, 403);
}

#[test]
fn client_tokens_and_unnamed_projects_do_not_come_in() {
    let app = app();
    let body = json!({"publicMetadata": {"customerId": "c"}}).to_string();
    let made = app.send(SECOND, "POST", "/v1/client-tokens", body).ok(201);
    let token = made["token"].as_str().expect("a token");
    for (method, path, _, body) in paths() {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = app.send(token, method, &format!("/engine/v1{path}"), body);
        assert_eq!(problem(&answer).0, 403, "{method} {path}");
    }
    // A personal token says which project it is used for.
    assert_eq!(problem(&app.send(PERSONAL, "GET", "/engine/v1/health", "")).0, 400);
}

#[test]
fn what_is_not_there_is_a_problem_as_well() {
    let app = app();
    for path in ["/engine", "/engine/v1", "/engine/v1/nothing", "/engine/v2/rules", "/engine/v1/"] {
        assert_eq!(problem(&app.send(THIRD, "GET", path, "")).0, 404, "{path}");
    }
    assert_eq!(problem(&app.send(KEY, "DELETE", "/engine/v1/sync", "")).0, 405);
    // The generations' own paths are not below it, and say what they say.
    app.send(KEY, "GET", "/engines", "").is(404, json!({"error": "Resource not found"}));
    let long = json!({"rules": {}, "preview": true, "x": "x".repeat(100_000)}).to_string();
    assert_eq!(problem(&app.send(KEY, "POST", "/engine/v1/sync", long)).0, 413);
}
