//! Usage, billing dates, and limits begun anew.

use std::time::Duration;

use limitry::Engine;
use serde_json::{Value, json};

use super::{check, id, left, limit, user};
use crate::app::{App, THIRD, keyed};

#[test]
fn a_subject_is_told_where_it_stands() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let own = json!({"subject": user("u1"), "amount": 20, "window": "day"});
    let own = limit(&app, own);
    app.clock.advance(Duration::from_secs(1));
    let chat =
        json!({"subject": {"kind": "user"}, "amount": 4, "window": "minute", "action": "chat"});
    let chat = limit(&app, chat);
    let off = json!({"subject": {"kind": "user"}, "amount": 4, "window": "year", "enabled": false});
    limit(&app, off);
    let team = json!({"subject": {"kind": "team"}, "amount": 3, "window": "concurrent"});
    limit(&app, team);
    let body = json!({
        "subject": user("u1"), "shared": [{"kind": "team", "id": "t"}], "action": "chat", "cost": 3,
        "mode": "reserve",
    });
    app.third("POST", "/v1/checks", body).ok(200);
    let path = "/v1/usage/standing?subject=user:u1&shared=team:t";
    let standing = app.third("GET", path, Value::Null).ok(200);
    assert_eq!((&standing["subject"], &standing["environment"]), (&user("u1"), &json!("proj_xyz")));
    let limits = standing["limits"].as_array().expect("a list");
    let told = |one: &Value| (one["window"].clone(), one["used"].clone(), one["remaining"].clone());
    let told: Vec<_> = limits.iter().map(told).collect();
    let expected =
        |window: &str, used: i64, remaining: i64| (json!(window), json!(used), json!(remaining));
    assert_eq!(
        told,
        [expected("day", 3, 17), expected("minute", 3, 1), expected("concurrent", 1, 2)]
    );
    let expected = json!({
        "limitId": own["id"], "name": own["name"], "unit": "units", "window": "day",
        "rolling": false, "failMode": "open", "remaining": 17, "resetsAt": "2024-01-16T00:00:00Z",
        "subject": user("u1"), "action": "*", "amount": 20, "used": 3,
    });
    assert_eq!(limits[0], expected);
    assert_eq!(
        (&limits[1]["limitId"], &limits[1]["resetsAt"]),
        (&chat["id"], &json!("2024-01-15T10:31:00Z"))
    );
    let nobody = app.third("GET", "/v1/usage/standing?subject=agent:a", Value::Null).ok(200);
    assert_eq!(nobody["limits"], json!([]));
}

#[test]
fn who_uses_a_limit_now_is_told_the_most_first() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    limit(&app, json!({"subject": user("vip"), "amount": 99, "window": "day"}));
    for (who, cost) in [("a", 2), ("vip", 50), ("b", 7), ("c", 1)] {
        check(&app, who, json!({"cost": cost}));
    }
    for mode in ["consume", "reserve", "preview"] {
        assert_eq!(check(&app, "b", json!({"cost": 4, "mode": mode}))["allowed"], false);
    }
    let path = format!("/v1/usage/subjects?limitId={}", id(&made));
    let mut expected = json!({
        "limitId": made["id"], "windowStart": "2024-01-15T00:00:00Z", "items": [
            {"subject": user("b"), "used": 7, "remaining": 3, "refused": 2},
            {"subject": user("a"), "used": 2, "remaining": 8, "refused": 0},
            {"subject": user("c"), "used": 1, "remaining": 9, "refused": 0},
        ],
    });
    app.third("GET", &path, Value::Null).is(200, expected.clone());
    expected["items"].as_array_mut().expect("a list").truncate(2);
    app.third("GET", &format!("{path}&limit=2"), Value::Null).is(200, expected.clone());
    app.clock.advance(Duration::from_secs(86_400));
    expected["items"] = json!([]);
    expected["windowStart"] = json!("2024-01-16T00:00:00Z");
    app.third("GET", &path, Value::Null).is(200, expected);
}

#[test]
fn what_is_held_of_a_minute_is_told_once() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "minute"}));
    check(&app, "a", json!({"cost": 2}));
    check(&app, "a", json!({"cost": 3, "mode": "reserve"}));
    let path = format!("/v1/usage/subjects?limitId={}", id(&made));
    let uses = app.third("GET", &path, Value::Null).ok(200);
    let one = &uses["items"][0];
    assert_eq!((&one["used"], &one["remaining"]), (&json!(5), &json!(5)), "{one}");
    let keys = crate::engine::get(&app, &format!("/rules/{}/keys", id(&made)));
    let one = &keys["items"][0];
    assert_eq!((&one["used"], &one["held"], &one["remaining"]), (&json!(5), &json!(3), &json!(5)));
}

#[test]
fn a_series_has_every_bucket() {
    let app = App::new();
    let made =
        json!({"subject": {"kind": "user"}, "amount": 100, "window": "month", "action": "use"});
    let made = limit(&app, made);
    check(&app, "a", json!({"cost": 2}));
    check(&app, "b", json!({"cost": 3}));
    app.clock.advance(Duration::from_secs(2 * 3_600));
    check(&app, "a", json!({"cost": 5}));
    let other = json!({"subject": user("a"), "action": "other", "cost": 9});
    app.third("POST", "/v1/checks", other).ok(200);
    // What has no user is none of its business, whatever it brings.
    let agent = json!({"subject": {"kind": "agent", "id": "x"}, "action": "use", "cost": 9});
    app.third("POST", "/v1/checks", agent).ok(200);
    for who in ["a", "b", "b"] {
        assert_eq!(check(&app, who, json!({"cost": 99}))["allowed"], false);
    }
    let ask = |rest: &str| {
        app.third("GET", &format!("/v1/usage?limitId={}{rest}", id(&made)), Value::Null).ok(200)
    };
    let range = "&from=2024-01-15T10:00:00Z&to=2024-01-15T13:00:00Z&granularity=hour";
    let point = |hour: u32, used: i64, allowed: u64, refused: u64| {
        json!({
            "start": format!("2024-01-15T{hour}:00:00Z"), "used": used, "allowed": allowed,
            "refused": refused,
        })
    };
    let hours = ask(range);
    assert_eq!(hours["granularity"], "hour");
    assert_eq!(
        hours["points"],
        json!([point(10, 5, 2, 0), point(11, 0, 0, 0), point(12, 5, 1, 3)])
    );
    let of_a = ask(&format!("{range}&subject=user:a"));
    assert_eq!(of_a["points"], json!([point(10, 2, 1, 0), point(11, 0, 0, 0), point(12, 5, 1, 1)]));
    // The last 30 days by day.
    let days = ask("");
    let points = days["points"].as_array().expect("a list");
    assert_eq!((points.len(), &points[30]["used"]), (31, &json!(10)));
    assert_eq!(points[30]["refused"], 3);
    assert_eq!(
        (&points[0]["start"], &points[0]["used"]),
        (&json!("2023-12-16T00:00:00Z"), &json!(0))
    );
    // Of customers those events alone that are of one.
    let customers = json!({"subject": {"kind": "customer"}, "amount": 9, "window": "month"});
    let customers = limit(&app, customers);
    let customer = json!({"subject": {"kind": "customer", "id": "c"}, "action": "use", "cost": 4});
    app.third("POST", "/v1/checks", customer).ok(200);
    let path = format!("/v1/usage?limitId={}", id(&customers));
    let points = app.third("GET", &path, Value::Null).ok(200)["points"].clone();
    assert_eq!((&points[30]["used"], &points[30]["allowed"]), (&json!(4), &json!(1)));
    for bad in [
        "&granularity=week",
        "&from=yesterday",
        "&subject=a",
        "&subject=team:a",
        "&from=2024-02-01T00:00:00Z",
    ] {
        let path = format!("/v1/usage?limitId={}{bad}", id(&made));
        assert_eq!(app.third("GET", &path, Value::Null).status, 400, "{bad}");
    }
}

#[test]
fn periods_run_from_the_billing_date() {
    let app = App::at("2024-03-10T12:00:00Z", Engine::builder());
    let monthly = json!({
        "subject": {"kind": "user"}, "amount": 10, "window": "month", "start": "billing_date",
    });
    limit(&app, monthly);
    // One that goes by the calendar is not touched by it.
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 50, "window": "month"}));
    let subject = "/v1/subjects/user/u1";
    let shown = |date: Value| json!({"subject": user("u1"), "billingDate": date});
    app.third("GET", subject, Value::Null).is(200, shown(Value::Null));
    app.third("PATCH", subject, json!({"billingDate": "2024-01-31T08:15:00+01:00"}))
        .is(200, shown(json!("2024-01-31T07:15:00Z")));
    app.third("GET", subject, Value::Null).is(200, shown(json!("2024-01-31T07:15:00Z")));
    let decision = check(&app, "u1", json!({"cost": 4}));
    assert_eq!(decision["limits"][0]["resetsAt"], "2024-03-31T00:00:00Z");
    assert_eq!(decision["limits"][1]["resetsAt"], "2024-04-01T00:00:00Z");
    // Another date cuts what was used anew.
    app.third("PATCH", subject, json!({"billingDate": "2024-01-11T00:00:00Z"})).ok(200);
    let decision = check(&app, "u1", json!({"mode": "preview", "cost": 0}));
    assert_eq!(
        (left(&decision), &decision["limits"][0]["resetsAt"]),
        ((true, Some(6)), &json!("2024-03-11T00:00:00Z"))
    );
    // Who has none has that of the first counted check.
    check(&app, "u2", json!({"mode": "preview"}));
    assert_eq!(
        app.third("GET", "/v1/subjects/user/u2", Value::Null).ok(200)["billingDate"],
        Value::Null
    );
    check(&app, "u2", json!({"cost": 3}));
    let known = app.third("GET", "/v1/subjects/user/u2", Value::Null).ok(200);
    assert_eq!(known["billingDate"], "2024-03-10T12:00:00Z");
    let decision = check(&app, "u2", json!({"cost": 1}));
    assert_eq!(
        (left(&decision), &decision["limits"][0]["resetsAt"]),
        ((true, Some(6)), &json!("2024-04-10T00:00:00Z"))
    );
}

#[test]
fn periods_run_from_the_first_use() {
    let app = App::at("2024-03-10T12:00:00Z", Engine::builder());
    let body = json!({
        "subject": {"kind": "user"}, "amount": 10, "window": "hour", "every": 5,
        "start": "first_use",
    });
    let made = limit(&app, body.clone());
    assert_eq!(made["name"], "10 units per 5 hours from the first use for every user");
    // One of a subject stands in the place of that for all, as with any other start.
    let mut own = body;
    (own["subject"], own["amount"]) = (user("u2"), json!(100));
    limit(&app, own);
    app.clock.advance(Duration::from_secs(1_800));
    let told = |decision: &Value| (left(decision), decision["limits"][0]["resetsAt"].clone());
    // What is refused, or only asked, begins none.
    check(&app, "u1", json!({"cost": 11}));
    check(&app, "u1", json!({"mode": "preview"}));
    app.clock.advance(Duration::from_secs(90));
    let first = check(&app, "u1", json!({"cost": 7}));
    assert_eq!(told(&first), ((true, Some(3)), json!("2024-03-10T17:31:30Z")));
    assert_eq!(left(&check(&app, "u2", json!({"cost": 7}))), (true, Some(93)));
    app.clock.advance(Duration::from_secs(5 * 3_600 - 1));
    let refused = check(&app, "u1", json!({"cost": 4}));
    assert_eq!(left(&refused), (false, Some(3)));
    assert_eq!(refused["retryAfterSeconds"], 1);
    app.clock.advance(Duration::from_secs(1));
    let next = check(&app, "u1", json!({"cost": 4}));
    assert_eq!(told(&next), ((true, Some(6)), json!("2024-03-10T22:31:30Z")));
    // A reset gives all back, and moves no period.
    app.third("POST", "/v1/subjects/user/u1/reset", json!({})).ok(200);
    app.clock.advance(Duration::from_secs(60));
    let anew = check(&app, "u1", json!({"cost": 2}));
    assert_eq!(told(&anew), ((true, Some(8)), json!("2024-03-10T22:31:30Z")));
    let users = app.third("GET", &format!("/v1/usage/subjects?limitId={}", id(&made)), Value::Null);
    let users = users.ok(200);
    assert_eq!((&users["windowStart"], &users["items"][0]["used"]), (&Value::Null, &json!(2)));
}

#[test]
fn a_reset_begins_anew() {
    let app = App::new();
    let day = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    app.clock.advance(Duration::from_secs(1));
    let minute =
        limit(&app, json!({"subject": {"kind": "user"}, "amount": 20, "window": "minute"}));
    app.clock.advance(Duration::from_secs(1));
    let total = limit(&app, json!({"subject": user("u1"), "amount": 30, "window": "total"}));
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 2, "window": "concurrent"}));
    let credit = json!({"subject": user("u1"), "amount": 5});
    app.third("POST", &format!("/v1/limits/{}/credits", id(&total)), credit).ok(200);
    check(&app, "u1", json!({"cost": 9}));
    check(&app, "u2", json!({"cost": 9}));
    let remaining = |who: &str| {
        let decision = check(&app, who, json!({"mode": "preview", "cost": 0}));
        let limits = decision["limits"].as_array().expect("a list");
        limits.iter().map(|one| one["remaining"].as_i64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(remaining("u1"), [11, 1, 26, 2]);
    let path = "/v1/subjects/user/u1/reset";
    let one = app.third("POST", path, json!({"limitId": day["id"]})).ok(200);
    assert_eq!(one, json!({"subject": user("u1"), "reset": [day["id"]]}));
    assert_eq!(remaining("u1"), [11, 10, 26, 2]);
    check(&app, "u1", json!({"cost": 1}));
    // All of them, once however often it is sent; what credits added goes, too.
    let reset = || app.answer(keyed(THIRD, "k", "POST", path, "{}")).ok(200);
    let expected = json!({"subject": user("u1"), "reset": [day["id"], minute["id"], total["id"]]});
    assert_eq!(reset(), expected);
    assert_eq!(remaining("u1"), [20, 10, 30, 2]);
    check(&app, "u1", json!({"cost": 1}));
    assert_eq!((reset(), remaining("u1")), (expected, vec![19, 9, 29, 2]));
    assert_eq!(remaining("u2"), [11, 1, 2]);
    // The ledger tells of credits alone.
    let ledger =
        app.third("GET", &format!("/v1/limits/{}/credits", id(&total)), Value::Null).ok(200);
    assert_eq!(ledger["items"].as_array().map(Vec::len), Some(1));
}
