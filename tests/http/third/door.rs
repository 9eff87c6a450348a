//! Who is let in to which path of the third generation.

use serde_json::{Value, json};

use super::{check, id, limit};
use crate::app::{App, KEY, OTHER, THIRD, THIRD_READ, THIRD_RECORD};

const REDELIVER: &str = "/v1/workspace/webhook-endpoints/whe_none/deliveries/d/redeliver";

/// Every path, with what a key must be good for, and a body that is.
fn paths() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let check = |mode| json!({"subject": {"kind": "user", "id": "u"}, "action": "a", "mode": mode});
    let limit = json!({"subject": {"kind": "x"}, "amount": 1, "window": "day"});
    let credit = json!({"subject": {"kind": "user", "id": "u"}, "amount": 1});
    let hook = json!({"url": "https://example.com/hooks"});
    vec![
        ("POST", "/v1/checks", "record", check("consume")),
        ("POST", "/v1/checks", "record", check("reserve")),
        ("POST", "/v1/checks", "check", check("preview")),
        ("POST", "/v1/reservations/RES/commit", "record", json!({"cost": 1})),
        ("POST", "/v1/reservations/RES/extend", "record", json!({})),
        ("POST", "/v1/reservations/RES/release", "record", Value::Null),
        ("POST", "/v1/limits", "all", limit),
        ("GET", "/v1/limits", "read", Value::Null),
        ("POST", "/v1/limits/sync", "all", json!({"limits": []})),
        ("GET", "/v1/limits/LIMIT", "read", Value::Null),
        ("PATCH", "/v1/limits/LIMIT", "all", json!({"amount": 7})),
        ("POST", "/v1/limits/LIMIT/archive", "all", Value::Null),
        ("POST", "/v1/limits/LIMIT/restore", "all", Value::Null),
        ("POST", "/v1/limits/LIMIT/credits", "all", credit),
        ("GET", "/v1/limits/LIMIT/credits", "read", Value::Null),
        ("GET", "/v1/usage?limitId=LIMIT", "read", Value::Null),
        ("GET", "/v1/usage/standing?subject=user:u", "check", Value::Null),
        ("GET", "/v1/usage/subjects?limitId=LIMIT", "read", Value::Null),
        ("GET", "/v1/subjects/user/u", "read", Value::Null),
        ("PATCH", "/v1/subjects/user/u", "all", json!({"billingDate": "2024-01-31T00:00:00Z"})),
        ("POST", "/v1/subjects/user/u/reset", "all", json!({})),
        ("GET", "/v1/user/me", "any", Value::Null),
        ("GET", "/v1/workspace", "any", Value::Null),
        ("GET", "/v1/workspace/usage", "read", Value::Null),
        ("GET", "/v1/workspace/event-types", "read", Value::Null),
        ("GET", "/v1/workspace/webhook-endpoints", "read", Value::Null),
        ("POST", "/v1/workspace/webhook-endpoints", "all", hook),
        ("GET", "/v1/workspace/webhook-endpoints/whe_none", "read", Value::Null),
        ("DELETE", "/v1/workspace/webhook-endpoints/whe_none", "all", Value::Null),
        ("POST", "/v1/workspace/webhook-endpoints/whe_none/enable", "all", Value::Null),
        ("POST", "/v1/workspace/webhook-endpoints/whe_none/test", "all", Value::Null),
        ("GET", "/v1/workspace/webhook-endpoints/whe_none/deliveries", "read", Value::Null),
        ("POST", REDELIVER, "all", Value::Null),
    ]
}

#[test]
fn nobody_reads_or_writes_what_is_not_theirs() {
    let all = paths();
    let table = all.iter().map(|(method, path, ..)| (*method, *path));
    assert_eq!(crate::conform::lacking(3, table), Default::default());
    for (method, path, need, body) in paths() {
        let app = App::new();
        let made = json!({"subject": {"kind": "user"}, "amount": 9, "window": "total"});
        let made = limit(&app, made);
        let held = check(&app, "u", json!({"mode": "reserve"}));
        let reservation = held["reservation"]["id"].as_str().expect("it is held");
        let path = path.replace("LIMIT", id(&made)).replace("RES", reservation);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let send = |key: &str| app.send(key, method, &path, body.clone());
        for key in ["lim_", "lim_test_wrong", "lim_test_012", "lim_test_01234"] {
            let answer = send(key);
            assert_eq!(
                (answer.status.as_u16(), &answer.body["error"]["code"]),
                (401, &json!("unauthorized"))
            );
        }
        for key in ["", "wrong"] {
            assert_eq!(send(key).status, 401, "{method} {path}");
        }
        let may = |key, needs: &[&str]| {
            let answer = send(key);
            let status = answer.status.as_u16();
            assert_eq!(status == 403, !needs.contains(&need), "{method} {path}: {}", answer.body);
            if status != 403 {
                let is_good = [200, 204].contains(&status);
                let is_unknown = status == 404 && path.contains("whe_none");
                assert!(is_good || is_unknown, "{method} {path}: {}", answer.body);
            }
        };
        may(THIRD_READ, &["read", "check", "any"]);
        may(THIRD_RECORD, &["record", "check", "any"]);
        may(THIRD, &["read", "check", "record", "all", "any"]);
        // What is another project's is not there for it.
        if path.contains(id(&made)) || path.contains(reservation) {
            let other = send("lim_test_other");
            assert_eq!(
                (other.status.as_u16(), &other.body["error"]["code"]),
                (404, &json!("not_found"))
            );
        }
        // Paths of one generation are not those of another.
        if !path.starts_with("/v1/workspace") && !path.starts_with("/v1/u") {
            assert_eq!(send(KEY).status, 404, "{method} {path}");
            assert_eq!(send(OTHER).status, 404, "{method} {path}");
        }
    }
}

#[test]
fn what_needs_people_is_left_out_and_says_so() {
    let app = App::new();
    for path in ["members", "teams", "invitations", "audit-events", "approval-requests/apr_1"] {
        let answer = app.third("GET", &format!("/v1/workspace/{path}"), Value::Null);
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.body["error"]["message"].as_str().is_some_and(|it| it.contains("not served"))
        );
    }
    let me = app.third("GET", "/v1/user/me", Value::Null).ok(200);
    let workspaces = json!([{"id": "proj_xyz", "name": "proj_xyz"}]);
    assert_eq!((&me["id"], &me["workspaces"]), (&json!("proj_xyz"), &workspaces));
    assert_eq!(app.third("DELETE", "/v1/user/token", Value::Null).status, 404);
    check(&app, "u", json!({}));
    let usage = app.third("GET", "/v1/workspace/usage", Value::Null).ok(200);
    let expected = json!({
        "periodStart": "2024-01-01T00:00:00Z", "periodEnd": "2024-02-01T00:00:00Z",
        "meters": [{"name": "checks", "used": 1, "limit": null}],
    });
    assert_eq!(usage, expected);
}
