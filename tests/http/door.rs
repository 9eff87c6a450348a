//! Who is let in, and to what.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use limitry::events::Recording;
use limitry::{Engine, Metric, Period, Quota};
use serde_json::{Value, json};

use crate::app::{App, ENDED, ENDS, KEY, OTHER, READ, RECORD, SECOND, THIRD};

/// The range of a question about usage.
macro_rules! in_january {
    ($path:literal, $rest:literal) => {
        concat!($path, "?startDate=2024-01-01T00:00:00Z&endDate=2024-02-01T00:00:00Z", $rest)
    };
}

/// Every path of the first generation, with what a key must be good for, and a body that is.
const PATHS: [(&str, &str, &str, &str); 27] = [
    ("POST", "/v1/track", "record", r#"{"customerId": "c", "eventType": "e"}"#),
    ("POST", "/v1/events", "record", r#"{"customerId": "c", "eventType": "e"}"#),
    ("POST", "/v1/events/batch", "record", r#"[{"customerId": "c", "eventType": "e"}]"#),
    ("GET", "/v1/events", "read", ""),
    ("POST", "/v1/quotas/check", "check", "{}"),
    ("POST", "/v1/rate-limits/check", "check", "{}"),
    (
        "POST",
        "/v1/quotas",
        "all",
        r#"{"name": "a", "metric": "total_events", "limitValue": 9, "period": "day"}"#,
    ),
    ("GET", "/v1/quotas", "read", ""),
    ("GET", "/v1/quotas/qta_a", "read", ""),
    ("PUT", "/v1/quotas/qta_a", "all", r#"{"limitValue": 8}"#),
    ("DELETE", "/v1/quotas/qta_a", "all", ""),
    ("POST", "/v1/quotas/qta_a/alerts", "all", r#"{"threshold": 80}"#),
    ("GET", "/v1/quotas/qta_a/alerts", "read", ""),
    ("GET", "/v1/quota-alerts/qa_a", "read", ""),
    ("PUT", "/v1/quota-alerts/qa_a", "all", r#"{"threshold": 90}"#),
    ("DELETE", "/v1/quota-alerts/qa_a", "all", ""),
    ("GET", "/v1/quota-alerts/qa_a/history", "read", ""),
    ("POST", "/v1/rate-limits", "all", r#"{"name": "b", "limitValue": 9, "window": "hour"}"#),
    ("GET", "/v1/rate-limits", "read", ""),
    ("GET", "/v1/rate-limits/rl_b", "read", ""),
    ("PUT", "/v1/rate-limits/rl_b", "all", r#"{"limitValue": 8}"#),
    ("DELETE", "/v1/rate-limits/rl_b", "all", ""),
    ("GET", in_january!("/v1/usage/summary", ""), "read", ""),
    ("GET", in_january!("/v1/usage/breakdown", "&groupBy=model"), "read", ""),
    ("GET", in_january!("/v1/usage/timeseries", "&interval=day"), "read", ""),
    ("GET", in_january!("/v1/customers/c/usage", ""), "read", ""),
    ("GET", "/v1/project", "any", ""),
];

#[test]
fn nobody_reads_or_writes_what_is_not_theirs() {
    let table = PATHS.map(|(method, path, ..)| (method, path));
    assert_eq!(crate::conform::lacking(1, table), Default::default());
    for (method, path, need, body) in PATHS {
        let app = App::new();
        for key in ["", "lm_", "lm_wrong", "lm_0123456789abcdef0123456789abcdeg", ENDED] {
            let answer = app.send(key, method, path, body);
            answer.is(401, json!({"error": "Invalid or missing API key"}));
        }
        let long = format!("lm_{}", "x".repeat(300));
        assert_eq!(app.send(&long, method, path, body).status, 401);
        let none = Request::builder().method(method).uri(path).body(Body::empty());
        let none = app.answer(none.expect("a request"));
        none.is(401, json!({"error": "Invalid or missing API key"}));
        crate::conform::check_headers(method, &none);
        let may = |key, needs: &[&str]| {
            let status = app.send(key, method, path, body).status.as_u16();
            assert_eq!(status == 403, !needs.contains(&need), "{method} {path}: {status}");
            assert_ne!(status, 401, "{method} {path}");
        };
        may(READ, &["read", "check", "any"]);
        may(RECORD, &["record", "check", "any"]);
        may(KEY, &["read", "check", "record", "all", "any"]);
        // Paths of the other generations are not those.
        assert_eq!(app.send(THIRD, method, path, body).status, 404, "{method} {path}");
        let is_of_both = ["/v1/events", "/v1/events/batch", "/v1/project"].contains(&path);
        let status = app.send(SECOND, method, path, body).status;
        assert!(is_of_both || status == 404, "{method} {path}: {status}");
    }
}

#[test]
fn a_key_opens_its_own_project_and_no_other() {
    let app = App::new();
    app.post("/v1/events", r#"{"customerId": "c", "eventType": "e"}"#).ok(201);
    assert_eq!(app.get("/v1/events").ok(200)["data"].as_array().map(Vec::len), Some(1));
    let other = app.send(OTHER, "GET", "/v1/events", "").ok(200);
    assert_eq!(other, json!({"data": [], "nextCursor": null, "hasMore": false}));
    assert_eq!(app.send(OTHER, "GET", "/v1/project", "").ok(200)["id"], "proj_other");
    for name in ["X-Project", "X-Workspace", "X-Environment"] {
        let ask = |project: &str| {
            let request = Request::builder().uri("/v1/project").header(name, project);
            let request = request.header("authorization", format!("bearer {KEY}"));
            app.answer(request.body(Body::empty()).expect("a request")).status.as_u16()
        };
        assert_eq!((ask("proj_xyz"), ask("proj_other"), ask("")), (200, 403, 403), "{name}");
    }
}

#[test]
fn a_key_selects_the_generation_and_its_shapes() {
    let app = App::new();
    // A path that each has in its own manner, or not at all.
    app.send(KEY, "GET", "/v1/workspace", "").is(404, json!({"error": "Resource not found"}));
    let workspace = json!({"id": "proj_xyz", "name": "proj_xyz"});
    app.send(THIRD, "GET", "/v1/workspace", "").is(200, workspace);
    for (key, path, status, code) in [
        ("lim_test_wrong", "/v1/workspace", 401, "unauthorized"),
        (THIRD, "/v1/track", 404, "not_found"),
        (THIRD, "/v1/workspace/members", 404, "not_found"),
    ] {
        let request = Request::builder().uri(path).header("x-request-id", "req_7");
        let request = request.header("authorization", format!("Bearer {key}"));
        let answer = app.answer(request.body(Body::empty()).expect("a request"));
        assert_eq!(answer.status, status, "{path}");
        let error = &answer.body["error"];
        assert_eq!((&error["code"], &error["requestId"]), (&json!(code), &json!("req_7")));
    }
    let error = &app.send(THIRD, "GET", "/v1/track", "").body["error"];
    assert!(error["requestId"].as_str().is_some_and(|id| id.starts_with("req_")), "{error}");
}

#[test]
fn a_key_ends_when_it_says() {
    let app = App::new();
    let ask = || app.send(ENDS, "GET", "/v1/project", "").status.as_u16();
    app.clock.advance(Duration::from_nanos(3_600_000_000_000 - 1));
    assert_eq!(ask(), 200);
    app.clock.advance(Duration::from_nanos(1));
    assert_eq!(ask(), 401);
}

#[test]
fn what_is_open_needs_no_key() {
    let app = App::new();
    for path in ["/healthz", "/readyz"] {
        let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
        assert_eq!(app.answer(request).status, 200, "{path}");
    }
}

#[test]
fn bodies_are_bounded_and_paths_known() {
    let app = App::new();
    let long = format!(r#"{{"customerId": "{}"}}"#, "c".repeat(100_000));
    let answer = app.post("/v1/track", long);
    assert_eq!((answer.status.as_u16(), &answer.body["error"]), (413, &"Request too large".into()));
    for path in ["/", "/v1", "/v1/nothing", "/v2/track", "/v1/track/", "/v1/quotas/a/b"] {
        app.get(path).is(404, json!({"error": "Resource not found"}));
    }
    for (method, path, allowed) in [
        ("GET", "/v1/track", "POST"),
        ("HEAD", "/v1/track", "POST"),
        ("PATCH", "/v1/quotas/qta_a", "GET, PUT, DELETE, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
    ] {
        let answer = app.send(KEY, method, path, "{}");
        let found = answer.headers["allow"].to_str().expect("ASCII");
        assert_eq!((answer.status.as_u16(), found), (405, allowed), "{method} {path}");
        if method == "PATCH" {
            answer.is(405, json!({"error": "Method not allowed"}));
        }
    }
}

#[test]
fn the_head_of_an_answer_can_be_asked_for_alone() {
    let app = App::new();
    let ask = |method| {
        let request = Request::builder().method(method).uri("/v1/project");
        let request = request.header("authorization", format!("Bearer {KEY}"));
        app.answer(request.body(Body::empty()).expect("a request"))
    };
    let (whole, head) = (ask("GET"), ask("HEAD"));
    assert_eq!((whole.status, head.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(head.headers, whole.headers);
    assert_eq!((&whole.body["id"], &head.body), (&json!("proj_xyz"), &Value::Null));
}

#[test]
fn an_id_in_a_path_is_read_without_its_escapes() {
    let app = App::new();
    let quota = Quota::new("Q", Metric::TotalEvents, 5, Period::Day).id("qta_\u{e9} a");
    app.engine.rules().add(quota).expect("a good rule");
    assert_eq!(app.get("/v1/quotas/qta_%C3%A9%20a").ok(200)["id"], "qta_\u{e9} a");
    assert_eq!(app.get("/v1/quotas/qta_%FF").status, 404);
}

#[test]
fn it_may_be_nested_anywhere() {
    let App { router, engine, clock, hooks } = App::new();
    let app = App { router: axum::Router::new().nest("/limits", router), engine, clock, hooks };
    app.post("/limits/v1/events", r#"{"customerId": "c", "eventType": "e"}"#).ok(201);
    assert_eq!(app.get("/limits/v1/project").ok(200)["id"], "proj_xyz");
    app.get("/limits/v1/nothing").is(404, json!({"error": "Resource not found"}));
}

/// What is asked of events is no fault of the server where it records none.
#[test]
fn an_engine_that_records_nothing_says_so() {
    let app = App::with(Engine::builder().recording(Recording::Off));
    let limit = json!({"subject": {"kind": "user"}, "amount": 9, "window": "day"});
    let limit = app.third("POST", "/v1/limits", limit).ok(200)["id"].to_string();
    let series = format!("/v1/usage?limitId={}", limit.trim_matches('"'));
    for (key, method, path, body) in [
        (KEY, "GET", in_january!("/v1/usage/summary", ""), ""),
        (KEY, "GET", "/v1/events", ""),
        (SECOND, "GET", "/v1/events", ""),
        (SECOND, "POST", "/v1/meters/mtr_total_tokens/query", "{}"),
        (THIRD, "GET", &*series, ""),
    ] {
        let answer = app.send(key, method, path, body);
        assert_eq!(answer.status, 409, "{path}: {}", answer.body);
        assert!(answer.body.to_string().contains("recording is off"), "{path}: {}", answer.body);
    }
}
