//! What is wrong with what comes is said, each with its path, and nothing is changed.

use serde_json::{Value, json};

use super::{check, error, id, limit, user};
use crate::app::{App, THIRD};

/// Sends a good body with one field set to something else, or taken out where that is null.
fn spoiled(app: &App, method: &str, path: &str, good: &Value, field: &str, value: Value) -> Value {
    let mut body = good.clone();
    if value == json!("(none)") {
        body.as_object_mut().expect("fields").remove(field);
    } else {
        body[field] = value;
    }
    let answer = app.third(method, path, body);
    assert_eq!(answer.status, 400, "{method} {path} {field}: {}", answer.body);
    assert_eq!(answer.body["error"]["code"], "invalid_request");
    answer.body["error"].clone()
}

#[test]
fn a_bad_check_is_refused() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let good = json!({
        "subject": user("u"), "action": "use", "cost": 1, "mode": "reserve", "ttlSeconds": 9,
    });
    let long = "x".repeat(257);
    let pools = |number: usize| -> Value {
        (0..number).map(|n| json!({"kind": format!("k{n}"), "id": "i"})).collect()
    };
    for (field, value, path) in [
        ("subject", json!("(none)"), "subject"),
        ("subject", Value::Null, "subject"),
        ("subject", json!("user:u"), "subject"),
        ("subject", json!({"kind": "user"}), "subject.id"),
        ("subject", json!({"id": "u"}), "subject.kind"),
        ("subject", json!({"kind": "user", "id": ""}), "subject.id"),
        ("subject", json!({"kind": "us:er", "id": "u"}), "subject.kind"),
        ("subject", json!({"kind": "-".repeat(30), "id": "u"}), "subject.kind"),
        ("subject", json!({"kind": "user", "id": long}), "subject.id"),
        ("subject", json!({"kind": "user", "id": "x".repeat(252)}), "subject.id"),
        ("subject", json!({"kind": "user", "id": "u", "name": "n"}), "subject.name"),
        ("action", json!("(none)"), "action"),
        ("action", json!(""), "action"),
        ("action", json!("a\n"), "action"),
        ("action", json!(7), "action"),
        ("shared", json!({}), "shared"),
        ("shared", pools(5), "shared"),
        ("shared", json!([user("v")]), "shared"),
        ("shared", json!([{"kind": "team"}]), "shared[0].id"),
        ("cost", json!(-1), "cost"),
        ("cost", json!(1.5), "cost"),
        ("cost", json!("1"), "cost"),
        ("cost", json!(true), "cost"),
        ("cost", json!(1_000_000_001), "cost"),
        ("mode", json!("use"), "mode"),
        ("mode", json!("consume"), "ttlSeconds"),
        ("ttlSeconds", json!(0), "ttlSeconds"),
        ("ttlSeconds", json!(3_601), "ttlSeconds"),
        ("color", json!("red"), "color"),
    ] {
        let error = spoiled(&app, "POST", "/v1/checks", &good, field, value.clone());
        assert_eq!(error["details"][0]["path"], path, "{field}: {value}: {error}");
    }
    for body in ["{", "[]", "7", "\"\""] {
        let answer = app.send(THIRD, "POST", "/v1/checks", body);
        assert_eq!(error(&answer).0, 400, "{body}");
    }
    // Nothing was used, and what is at the bounds is taken.
    let mut good = good;
    (good["shared"], good["ttlSeconds"]) = (pools(4), json!(3_600));
    let decision = app.third("POST", "/v1/checks", good).ok(200);
    assert_eq!(decision["limits"][0]["remaining"], 9);
    let most =
        json!({"subject": user("v"), "action": "use", "cost": 1_000_000_000, "mode": "preview"});
    assert_eq!(app.third("POST", "/v1/checks", most).ok(200)["allowed"], false);
}

#[test]
fn a_bad_limit_is_refused() {
    let app = App::new();
    let good = json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"});
    for (field, value, path) in [
        ("subject", json!("(none)"), "subject"),
        ("subject", json!({}), "subject.kind"),
        ("subject", json!({"kind": "user", "id": ""}), "subject.id"),
        ("amount", json!("(none)"), "amount"),
        ("amount", json!(-1), "amount"),
        ("amount", json!(0.5), "amount"),
        ("amount", json!(1_000_000_000_000_001_i64), "amount"),
        ("window", json!("(none)"), "window"),
        ("window", json!("second"), "window"),
        ("name", json!(""), "name"),
        ("action", json!(""), "action"),
        ("unit", json!(5), "unit"),
        ("every", json!(0), "every"),
        ("every", json!(36_526), "every"),
        ("start", json!("anchor"), "start"),
        ("rolling", json!("yes"), "rolling"),
        ("enabled", json!(1), "enabled"),
        ("failMode", json!("ajar"), "failMode"),
        ("subjectKind", json!("user"), "subjectKind"),
    ] {
        let error = spoiled(&app, "POST", "/v1/limits", &good, field, value.clone());
        assert_eq!(error["details"][0]["path"], path, "{field}: {value}: {error}");
    }
    // What does not go together.
    for (window, every, start, rolling, path) in [
        ("week", 1, "calendar", true, "rolling"),
        ("total", 1, "calendar", true, "rolling"),
        ("day", 1, "billing_date", true, "start"),
        ("total", 1, "billing_date", false, "start"),
        ("concurrent", 1, "billing_date", false, "start"),
        ("minute", 1, "billing_date", false, "start"),
        ("hour", 1, "billing_date", false, "start"),
        ("minute", 1, "first_use", false, "start"),
        ("month", 1, "first_use", false, "start"),
        ("hour", 1, "first_use", true, "start"),
        ("concurrent", 1, "first_use", false, "start"),
        ("total", 2, "calendar", false, "every"),
        ("concurrent", 2, "calendar", false, "every"),
    ] {
        let mut body = good.clone();
        (body["window"], body["every"]) = (json!(window), json!(every));
        (body["start"], body["rolling"]) = (json!(start), json!(rolling));
        let answer = app.third("POST", "/v1/limits", body);
        assert_eq!(error(&answer), (400, "invalid_request", vec![path]), "{window} {start}");
    }
    assert_eq!(app.third("GET", "/v1/limits", Value::Null).ok(200)["items"], json!([]));
}

#[test]
fn other_bad_bodies_and_questions_are_refused() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "total"}));
    let held = check(&app, "u", json!({"mode": "reserve"}));
    let reservation = held["reservation"]["id"].as_str().expect("it is held").to_owned();
    let commit = format!("/v1/reservations/{reservation}/commit");
    let extend = format!("/v1/reservations/{reservation}/extend");
    let credits = format!("/v1/limits/{}/credits", id(&made));
    let path = format!("/v1/limits/{}", id(&made));
    let credit = json!({"subject": user("u"), "amount": 5, "note": "n"});
    for (method, path, good, field, value) in [
        ("POST", &*commit, json!({"cost": 1}), "cost", json!("(none)")),
        ("POST", &*commit, json!({"cost": 1}), "cost", json!(-1)),
        ("POST", &*commit, json!({"cost": 1}), "cost", json!(1_000_000_001)),
        ("POST", &*commit, json!({"cost": 1}), "note", json!("n")),
        ("POST", &*extend, json!({}), "ttlSeconds", json!(0)),
        ("POST", &*extend, json!({}), "ttlSeconds", json!(3_601)),
        ("POST", &*credits, credit.clone(), "amount", json!(0)),
        ("POST", &*credits, credit.clone(), "amount", json!(1.5)),
        ("POST", &*credits, credit.clone(), "subject", json!({"kind": "user"})),
        ("POST", &*credits, credit.clone(), "note", json!(7)),
        ("PATCH", &*path, json!({}), "amount", json!(-1)),
        ("PATCH", &*path, json!({}), "name", json!("")),
        ("PATCH", &*path, json!({}), "version", json!(2)),
        ("POST", "/v1/limits/sync", json!({"limits": []}), "limits", json!("(none)")),
        ("POST", "/v1/limits/sync", json!({"limits": []}), "limits", json!({})),
        ("POST", "/v1/limits/sync", json!({"limits": []}), "preview", json!("no")),
        ("POST", "/v1/limits/sync", json!({"limits": []}), "dryRun", json!(true)),
        (
            "PATCH",
            "/v1/subjects/user/u",
            json!({"billingDate": "2024-01-31T00:00:00Z"}),
            "billingDate",
            json!("(none)"),
        ),
        (
            "PATCH",
            "/v1/subjects/user/u",
            json!({"billingDate": "2024-01-31T00:00:00Z"}),
            "billingDate",
            json!("31 January"),
        ),
        ("POST", "/v1/subjects/user/u/reset", json!({}), "limitId", json!(7)),
        ("POST", "/v1/subjects/user/u/reset", json!({}), "all", json!(true)),
    ] {
        let error = spoiled(&app, method, path, &good, field, value.clone());
        assert_eq!(
            error["details"][0]["path"].as_str().map(|it| it.starts_with(field)),
            Some(true),
            "{error}"
        );
    }
    for (path, status) in [
        ("/v1/usage", 400),
        ("/v1/usage?limitId=lmt_none", 404),
        ("/v1/usage/subjects", 400),
        ("/v1/usage/subjects?limitId=lmt_none", 404),
        ("/v1/usage/standing", 400),
        ("/v1/usage/standing?subject=u", 400),
        ("/v1/usage/standing?subject=user:", 400),
        ("/v1/usage/standing?subject=user:u&shared=user:v", 400),
        ("/v1/usage/standing?subject=user:u&kind=x", 400),
        ("/v1/usage/standing?subject=user:u&shared=a:1,b:1,c:1,d:1,e:1", 400),
        ("/v1/limits/lmt_none", 404),
        ("/v1/limits/lmt_none/credits", 404),
        ("/v1/reservations/res_none", 404),
        ("/v1/nothing", 404),
        ("/v1/checks", 405),
        ("/v1/reservations/res_none/commit", 405),
    ] {
        assert_eq!(app.third("GET", path, Value::Null).status, status, "{path}");
    }
    for verb in ["commit", "extend", "release"] {
        let path = format!("/v1/reservations/res_none/{verb}");
        let body = if verb == "commit" { json!({"cost": 1}) } else { json!({}) };
        assert_eq!(error(&app.third("POST", &path, body)), (404, "not_found", vec![]));
    }
}
