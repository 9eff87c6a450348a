//! Client tokens, and who may do what.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use limitry::Engine;
use limitry::store::MemoryStore;
use serde_json::{Value, json};

use super::{delete, get, post};
use crate::app::{
    Answer, App, KEY, SECOND, SECOND_ENDED, SECOND_OTHER, SECOND_READ, SECOND_RECORD,
};
use crate::app::{PERSONAL, THIRD, keyed};

const JANUARY: &str = "startDate=2024-01-01T00:00:00Z&endDate=2024-02-01T00:00:00Z";

fn token(app: &App, customer: &str) -> (String, String) {
    let body = json!({"publicMetadata": {"customerId": customer, "plan": "pro"}});
    let made = post(app, "/client-tokens", body).ok(201);
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    (text("token"), text("id"))
}

fn ask(app: &App, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.send(token, method, path, body)
}

#[test]
fn a_token_lets_its_customer_in() {
    let app = App::new();
    let body = json!({"publicMetadata": {"customerId": "cust_123", "plan": "pro"},
        "serverContext": {"secret": 7}});
    let made = post(&app, "/client-tokens", body).ok(201);
    assert_eq!(made.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(made["expiresAt"], "2024-01-15T11:30:00Z");
    assert!(made["id"].as_str().is_some_and(|id| id.starts_with("ct_")), "{made}");
    let token = made["token"].as_str().expect("a text");
    assert!(token.starts_with("limitry_ct_"), "{token}");
    let metadata = json!({"customerId": "cust_123", "plan": "pro"});
    let shown = json!({"projectId": "proj_xyz", "publicMetadata": metadata});
    for path in ["/client/token", "/client/context"] {
        ask(&app, token, "GET", path, Value::Null).is(200, shown.clone());
    }
    let limit = json!({"name": "l", "meterId": "mtr_total_events", "limitValue": 2,
        "period": "day"});
    post(&app, "/limits", limit).ok(201);
    post(&app, "/events/record", json!({"customerId": "other", "eventType": "e"})).ok(201);
    for event in [
        json!({"eventType": "e", "values": {"n": 3}}),
        json!({"eventType": "e", "customerId": "cust_123"}),
    ] {
        let recorded = ask(&app, token, "POST", "/client/events/record", event).ok(201);
        assert_eq!(recorded["recorded"], true);
    }
    let checked = ask(&app, token, "POST", "/client/limits/check", Value::Null).ok(200);
    assert_eq!((&checked["allowed"], &checked["limits"][0]["used"]), (&json!(false), &json!(2)));
    let summary = format!("/client/events/summary?{JANUARY}");
    let summed = json!({"totalEvents": 2, "values": {"n": 3}});
    ask(&app, token, "GET", &summary, Value::Null).is(200, summed.clone());
    ask(&app, token, "GET", &format!("{summary}&customerId=cust_123"), Value::Null).is(200, summed);
    // Nobody else's.
    let foreign = json!({"customerId": "other"});
    let record = json!({"customerId": "other", "eventType": "e"});
    for answer in [
        ask(&app, token, "POST", "/client/limits/check", foreign),
        ask(&app, token, "POST", "/client/events/record", record),
        ask(&app, token, "GET", &format!("{summary}&customerId=other"), Value::Null),
    ] {
        answer.fails(403, "insufficient_permissions", "\"other\"");
    }
    ask(&app, token, "GET", "/client/events/summary", Value::Null).fails(
        400,
        "missing_required_field",
        "startDate",
    );
    ask(&app, token, "POST", "/client/events/record", json!({})).fails(
        400,
        "missing_required_field",
        "eventType",
    );
    ask(&app, token, "DELETE", "/client/token", Value::Null).fails(405, "method_not_allowed", "");
    assert_eq!(app.engine.events().len(), 3);
}

#[test]
fn a_token_ends() {
    let memory = MemoryStore::new();
    let open = || Engine::builder().durable(memory.open().expect("opens"));
    for stored in [false, true] {
        let app = if stored { App::with(open()) } else { App::new() };
        let short = json!({"context": {"customerId": "c"}, "ttlSeconds": 60});
        let short = post(&app, "/client-tokens", short).ok(201);
        let short = short["token"].as_str().expect("a text").to_owned();
        let (long, id) = token(&app, "c");
        let (other, _) = token(&app, "d");
        let status =
            |app: &App, token: &str| ask(app, token, "GET", "/client/token", Value::Null).status;
        app.clock.advance(Duration::from_secs(60) - Duration::from_nanos(1));
        assert_eq!(status(&app, &short), 200);
        app.clock.advance(Duration::from_nanos(1));
        ask(&app, &short, "GET", "/client/token", Value::Null).fails(401, "invalid_api_key", "");
        let app = if stored {
            drop(app);
            App::with(open())
        } else {
            app
        };
        assert_eq!(status(&app, &long), 200);
        assert_eq!(delete(&app, &format!("/client-tokens/{id}")).status, 204);
        assert_eq!(status(&app, &long), 401);
        assert_eq!(status(&app, &other), 200);
        for id in [&id, "ct_", "ct_x", "x"] {
            delete(&app, &format!("/client-tokens/{id}")).fails(404, "client_token_not_found", id);
        }
        let with = |last: &str| format!("{}{last}", &other[..other.len() - last.len()]);
        for wrong in [with("x"), with("00000000"), "limitry_ct_".into(), format!("{other}0")] {
            assert_eq!(status(&app, &wrong), 401, "{wrong}");
        }
    }
}

#[test]
fn a_bad_token_is_not_made() {
    let app = App::new();
    let metadata = json!({"customerId": "c"});
    for (body, code, named) in [
        (json!({}), "missing_required_field", "publicMetadata"),
        (json!({"publicMetadata": {}}), "missing_required_field", "publicMetadata.customerId"),
        (json!({"publicMetadata": {"customerId": 7}}), "invalid_field_value", "customerId: 7"),
        (json!({"publicMetadata": {"customerId": ""}}), "invalid_field_value", "customer_id"),
        (json!({"publicMetadata": []}), "invalid_field_value", "publicMetadata"),
        (json!({"publicMetadata": metadata, "ttlSeconds": 0}), "invalid_field_value", "ttlSeconds"),
        (
            json!({"publicMetadata": metadata, "ttlSeconds": 86_401}),
            "invalid_field_value",
            "ttlSeconds",
        ),
        (
            json!({"publicMetadata": metadata, "serverContext": "x".repeat(5_000)}),
            "invalid_field_value",
            "serverContext",
        ),
        (json!({"publicMetadata": metadata, "plan": 1}), "invalid_field_value", "plan"),
    ] {
        post(&app, "/client-tokens", body).fails(400, code, named);
    }
    let day = json!({"publicMetadata": metadata, "ttlSeconds": 86_400});
    assert_eq!(post(&app, "/client-tokens", day).ok(201)["expiresAt"], "2024-01-16T10:30:00Z");
}

#[test]
fn a_token_is_of_its_project_and_its_answers_of_its_customer() {
    let app = App::new();
    let (c, _) = token(&app, "c");
    let (d, _) = token(&app, "d");
    let named = |project: &str| {
        let request = Request::builder().uri("/client/token").header("x-project", project);
        let request = request.header("authorization", format!("Bearer {c}"));
        app.answer(request.body(Body::empty()).expect("a request")).status.as_u16()
    };
    assert_eq!((named("proj_xyz"), named("proj_other")), (200, 403));
    let record = |token: &str| {
        let body = r#"{"eventType": "e"}"#;
        app.answer(keyed(token, "k", "POST", "/client/events/record", body))
    };
    let first = record(&c).ok(201);
    assert_eq!(record(&c).header("idempotent-replayed"), Some("true"));
    let other = record(&d);
    assert_eq!(other.header("idempotent-replayed"), None);
    assert_ne!(other.ok(201), first);
}

#[test]
fn a_personal_token_says_its_project() {
    let app = App::new();
    let ask = |project: Option<&str>| {
        let mut request = Request::builder().uri("/v1/project");
        if let Some(project) = project {
            request = request.header("x-project", project);
        }
        let request = request.header("authorization", format!("Bearer {PERSONAL}"));
        app.answer(request.body(Body::empty()).expect("a request"))
    };
    ask(None).fails(400, "missing_required_field", "X-Project");
    ask(Some("proj_other")).fails(403, "insufficient_permissions", "");
    assert_eq!(ask(Some("proj_xyz")).ok(200)["id"], "proj_xyz");
}

/// Every path of the second generation, and what a key must be good for.
const PATHS: [(&str, &str, &str); 35] = [
    ("POST", "/v1/events/record", "record"),
    ("POST", "/v1/events/batch", "record"),
    ("GET", "/v1/events", "read"),
    ("GET", "/v1/events/summary", "read"),
    ("GET", "/v1/events/breakdown", "read"),
    ("POST", "/v1/meters", "all"),
    ("GET", "/v1/meters", "read"),
    ("GET", "/v1/meters/mtr_m", "read"),
    ("PUT", "/v1/meters/mtr_m", "all"),
    ("DELETE", "/v1/meters/mtr_m", "all"),
    ("POST", "/v1/meters/mtr_m/query", "read"),
    ("POST", "/v1/limits", "all"),
    ("GET", "/v1/limits", "read"),
    ("GET", "/v1/limits/lmt_l", "read"),
    ("PUT", "/v1/limits/lmt_l", "all"),
    ("DELETE", "/v1/limits/lmt_l", "all"),
    ("POST", "/v1/limits/check", "check"),
    ("POST", "/v1/balances", "all"),
    ("GET", "/v1/balances", "read"),
    ("GET", "/v1/balances/bal_610062", "read"),
    ("GET", "/v1/balances/bal_610062/transactions", "read"),
    ("POST", "/v1/balances/check", "check"),
    ("POST", "/v1/balances/credit", "all"),
    ("POST", "/v1/balances/debit", "record"),
    ("POST", "/v1/customers", "all"),
    ("GET", "/v1/customers", "read"),
    ("GET", "/v1/customers/c", "read"),
    ("PUT", "/v1/customers/c", "all"),
    ("DELETE", "/v1/customers/c", "all"),
    ("GET", "/v1/customers/c/usage", "read"),
    ("GET", "/v1/customers/c/balances", "read"),
    ("POST", "/v1/client-tokens", "all"),
    ("DELETE", "/v1/client-tokens/ct_t", "all"),
    ("GET", "/v1/project", "any"),
    ("POST", "/v1/nothing", "nobody"),
];

/// The paths of client tokens.
const CLIENT: [(&str, &str); 5] = [
    ("GET", "/client/token"),
    ("GET", "/client/context"),
    ("POST", "/client/limits/check"),
    ("POST", "/client/events/record"),
    ("GET", "/client/events/summary"),
];

#[test]
fn nobody_reads_or_writes_what_is_not_theirs() {
    let table = PATHS.iter().map(|(method, path, _)| (*method, *path)).chain(CLIENT);
    assert_eq!(crate::conform::lacking(2, table), Default::default());
    let app = App::new();
    let (good, _) = token(&app, "c");
    let (ended, id) = token(&app, "c");
    assert_eq!(delete(&app, &format!("/client-tokens/{id}")).status, 204);
    let status =
        |key: &str, method: &str, path: &str| app.send(key, method, path, "{}").status.as_u16();
    let all = PATHS.iter().map(|(method, path, _)| (*method, *path));
    for (method, path) in all.chain(CLIENT) {
        for key in
            ["limitry_sk_wrong", "limitry_pat_wrong", "limitry_ct_wrong", SECOND_ENDED, &ended]
        {
            let answer = app.send(key, method, path, "{}");
            answer.fails(401, "invalid_api_key", "Invalid or missing API key");
        }
        for key in ["", "sk_wrong"] {
            assert_eq!(status(key, method, path), 401, "{method} {path}");
        }
    }
    for (method, path, need) in PATHS {
        let may = |key: &str, needs: &[&str]| {
            let status = status(key, method, path);
            let is_open = needs.contains(&need) || need == "nobody";
            assert_eq!(status == 403, !is_open, "{key} {method} {path}: {status}");
            assert!(status != 401 && status < 500, "{key} {method} {path}: {status}");
        };
        may(SECOND_READ, &["read", "check", "any"]);
        may(SECOND_RECORD, &["record", "check", "any"]);
        may(SECOND, &["read", "record", "check", "all", "any"]);
        assert_eq!(status(&good, method, path), 403, "{method} {path}");
        // Another project knows nothing of what is here.
        assert!(![401, 403].contains(&status(SECOND_OTHER, method, path)), "{method} {path}");
    }
    for (method, path) in CLIENT {
        assert!([200, 201, 400].contains(&status(&good, method, path)), "{method} {path}");
        for key in [SECOND, SECOND_READ, SECOND_RECORD, SECOND_OTHER] {
            assert_eq!(status(key, method, path), 403, "{method} {path}");
        }
        for key in [KEY, THIRD] {
            assert_eq!(status(key, method, path), 404, "{method} {path}");
        }
    }
    assert_eq!((status(&good, "GET", "/"), status(&good, "GET", "/client/nothing")), (403, 403));
}

#[test]
fn another_project_has_its_own() {
    let app = App::new();
    let meter = json!({"name": "n", "aggregation": "sum", "field": "values.n"});
    let meter = post(&app, "/meters", meter).ok(201);
    let limit = json!({"name": "l", "meterId": meter["id"], "limitValue": 9, "period": "day"});
    let limit = post(&app, "/limits", limit).ok(201);
    let balance = post(&app, "/balances", json!({"customerId": "c", "name": "b"})).ok(201);
    post(&app, "/events/record", json!({"customerId": "c", "eventType": "e"})).ok(201);
    let (_, token) = token(&app, "c");
    let id = |of: &Value| of["id"].as_str().expect("a text").to_owned();
    for path in [
        format!("/meters/{}", id(&meter)),
        format!("/limits/{}", id(&limit)),
        format!("/balances/{}", id(&balance)),
        "/customers/c".to_owned(),
    ] {
        get(&app, &path).ok(200);
        let other = app.send(SECOND_OTHER, "GET", &format!("/v1{path}"), "");
        assert_eq!(other.status, 404, "{path}");
    }
    let ended = app.send(SECOND_OTHER, "DELETE", &format!("/v1/client-tokens/{token}"), "");
    assert_eq!(ended.status, 404);
    let events = app.send(SECOND_OTHER, "GET", "/v1/events", "").ok(200);
    assert_eq!(events["data"], json!([]));
}
