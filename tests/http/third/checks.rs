//! Checks: what is taken, what refuses, and for how long.

use std::time::Duration;

use limitry::Engine;
use serde_json::{Value, json};

use super::{check, error, id, left, limit, user};
use crate::app::{App, THIRD, keyed};

#[test]
fn a_decision_says_where_each_limit_stands() {
    let app = App::new();
    let daily = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let minute = json!({
        "subject": {"kind": "user"}, "amount": 4, "window": "minute", "every": 5, "unit": "calls",
        "action": "use", "failMode": "closed", "name": "Calls",
    });
    let minute = limit(&app, minute);
    let decision = check(&app, "u1", json!({"cost": 3}));
    assert!(decision["id"].as_str().is_some_and(|id| id.starts_with("chk_")));
    let expected = json!({
        "id": decision["id"],
        "allowed": true,
        "reason": null,
        "limits": [
            {
                "limitId": id(&minute), "name": "Calls", "unit": "calls", "window": "minute",
                "rolling": false, "failMode": "closed", "remaining": 1,
                "resetsAt": "2024-01-15T10:35:00Z",
            },
            {
                "limitId": id(&daily), "name": "10 units per day for every user", "unit": "units",
                "window": "day", "rolling": false, "failMode": "open", "remaining": 7,
                "resetsAt": "2024-01-16T00:00:00Z",
            },
        ],
        "retryAfterSeconds": null,
    });
    assert_eq!(decision, expected);
    // Refused: nothing is taken of either.
    let refused = check(&app, "u1", json!({"cost": 2}));
    assert_eq!(left(&refused), (false, Some(1)));
    assert_eq!(refused["reason"]["code"], "limit_reached");
    assert_eq!(refused["reason"]["limitId"], minute["id"]);
    assert_eq!(refused["retryAfterSeconds"], 300);
    assert_eq!(refused["limits"][1]["remaining"], 7);
    // Whole numbers may be written with a point.
    assert_eq!(left(&check(&app, "u1", json!({"cost": 1.0}))), (true, Some(0)));
    // Another action is none of the second limit, and no more than the amount is ever let in.
    let other = json!({"subject": user("u1"), "action": "other", "cost": 11});
    let refused = app.third("POST", "/v1/checks", other).ok(200);
    assert_eq!(refused["limits"].as_array().map(Vec::len), Some(1));
    assert_eq!((&refused["allowed"], &refused["retryAfterSeconds"]), (&json!(false), &Value::Null));
    // A preview takes nothing.
    for _ in 0..3 {
        assert_eq!(
            left(&check(&app, "u2", json!({"mode": "preview", "cost": 4}))),
            (true, Some(0))
        );
    }
    assert_eq!(left(&check(&app, "u2", json!({"cost": 0}))), (true, Some(4)));
    // Who has no limit may do anything.
    let app_key = json!({"subject": {"kind": "apikey", "id": "k"}, "action": "use"});
    assert_eq!(app.third("POST", "/v1/checks", app_key).ok(200)["limits"], json!([]));
}

#[test]
fn a_window_ends_and_begins_anew() {
    let app = App::at("2024-01-15T12:00:10Z", Engine::builder());
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 2, "window": "minute"}));
    let after = |seconds| {
        app.clock.advance(Duration::from_secs(seconds));
        let decision = check(&app, "u1", json!({}));
        (left(&decision), decision["retryAfterSeconds"].clone())
    };
    assert_eq!(after(0), ((true, Some(1)), Value::Null));
    assert_eq!(after(10), ((true, Some(0)), Value::Null));
    assert_eq!(after(10), ((false, Some(0)), json!(30)));
    assert_eq!(after(30), ((true, Some(1)), Value::Null));
}

#[test]
fn rolling_windows_forget_each_use_on_its_own() {
    let app = App::new();
    let rolling =
        json!({"subject": {"kind": "user"}, "amount": 3, "window": "hour", "rolling": true});
    let made = limit(&app, rolling);
    assert_eq!(made["name"], "3 units per hour, rolling, for every user");
    let unused = check(&app, "u1", json!({"mode": "preview", "cost": 0}));
    assert_eq!(unused["limits"][0]["resetsAt"], Value::Null);
    check(&app, "u1", json!({"cost": 2}));
    app.clock.advance(Duration::from_secs(1_800));
    check(&app, "u1", json!({"cost": 1}));
    let refused = check(&app, "u1", json!({"cost": 2}));
    assert_eq!(
        (&refused["allowed"], &refused["retryAfterSeconds"]),
        (&json!(false), &json!(1_800))
    );
    assert_eq!(refused["limits"][0]["resetsAt"], "2024-01-15T11:30:00Z");
    app.clock.advance(Duration::from_secs(1_800));
    assert_eq!(left(&check(&app, "u1", json!({"cost": 2}))), (true, Some(0)));
}

#[test]
fn a_subjects_own_limit_replaces_that_of_its_kind() {
    let app = App::new();
    let kind = json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"});
    let kind = limit(&app, kind);
    let own = json!({"subject": user("u1"), "amount": 100, "window": "day"});
    let own = limit(&app, own);
    let another = json!({"subject": user("u1"), "amount": 60, "window": "week"});
    limit(&app, another);
    // By its own of the day, and by that of the week.
    let decision = check(&app, "u1", json!({"cost": 50}));
    assert_eq!(left(&decision), (true, Some(50)));
    assert_eq!(decision["limits"][0]["limitId"], own["id"]);
    assert_eq!(decision["limits"][1]["remaining"], 10);
    assert_eq!(left(&check(&app, "u2", json!({"cost": 11}))), (false, Some(10)));
    assert_eq!(left(&check(&app, "u2", json!({"cost": 10}))), (true, Some(0)));
    // Turned off, it is the kind's turn, which knows what was used.
    let path = format!("/v1/limits/{}", id(&own));
    app.third("PATCH", &path, json!({"enabled": false})).ok(200);
    let decision = check(&app, "u1", json!({"cost": 1}));
    assert_eq!(
        (&decision["allowed"], &decision["limits"][0]["limitId"]),
        (&json!(false), &kind["id"])
    );
}

#[test]
fn a_shared_pool_is_drawn_from_with_the_own_limit() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 100, "window": "day"}));
    let pool = limit(&app, json!({"subject": {"kind": "team"}, "amount": 5, "window": "day"}));
    let shared = json!({"cost": 3, "shared": [{"kind": "team", "id": "t1"}]});
    assert_eq!(check(&app, "u1", shared.clone())["allowed"], true);
    let refused = check(&app, "u1", shared);
    assert_eq!((&refused["allowed"], &refused["reason"]["limitId"]), (&json!(false), &pool["id"]));
    // Nothing was taken of the user's either.
    let standing = app.third("GET", "/v1/usage/standing?subject=user:u1", Value::Null).ok(200);
    assert_eq!(standing["limits"][0]["used"], 3);
}

#[test]
fn customers_are_those_of_the_other_generations() {
    let app = App::new();
    let body = json!({"subject": {"kind": "customer"}, "amount": 10, "window": "day"});
    let made = limit(&app, body);
    let event = json!({"customerId": "c1", "eventType": "call", "values": {"units": 4}});
    app.post("/v1/events", event.to_string()).ok(201);
    let customer =
        json!({"subject": {"kind": "customer", "id": "c1"}, "action": "call", "cost": 5});
    assert_eq!(left(&app.third("POST", "/v1/checks", customer).ok(200)), (true, Some(1)));
    // A user is no customer, whatever the id says.
    let user = json!({"subject": {"kind": "user", "id": "c1"}, "action": "call", "cost": 99});
    assert_eq!(app.third("POST", "/v1/checks", user).ok(200)["limits"], json!([]));
    let listed = app.get("/v1/events").ok(200);
    assert_eq!(listed["data"][0]["customerId"], "user:c1");
    assert_eq!(listed["data"][0]["properties"], json!({"user": "c1", "subject_kind": "user"}));
    assert_eq!(listed["data"][1]["customerId"], "c1");
    // The first one sees the limit as what it is, and refuses by it.
    let quota = app.get(&format!("/v1/quotas/{}", id(&made))).ok(200);
    assert_eq!((&quota["metric"], &quota["limitValue"]), (&json!("values.units"), &json!(10)));
    let event = json!({"customerId": "c1", "eventType": "call", "values": {"units": 2}});
    app.post("/v1/track", event.to_string()).ok(429);
    // And a quota of the first one refuses here.
    let quota = json!({"name": "All", "metric": "total_events", "limitValue": 3, "period": "day"});
    let quota = app.post("/v1/quotas", quota.to_string()).ok(201);
    let body = json!({"subject": {"kind": "user", "id": "c1"}, "action": "call"});
    let refused = app.third("POST", "/v1/checks", body).ok(200);
    assert_eq!(left(&refused), (false, Some(0)));
    assert_eq!(refused["reason"]["limitId"], quota["id"]);
    assert_eq!(refused["limits"][0]["unit"], "total_events");
}

#[test]
fn a_retry_has_the_same_decision() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let body =
        |cost: u64| json!({"subject": user("u1"), "action": "use", "cost": cost}).to_string();
    let send = |key: &str, body: &str| app.answer(keyed(THIRD, key, "POST", "/v1/checks", body));
    let first = send("k1", &body(6)).ok(200);
    let again = send("k1", &body(6));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.ok(200), first);
    // Of a refusal, too, also where there would be room.
    let refused = send("k2", &body(6)).ok(200);
    assert_eq!(refused["allowed"], false);
    app.clock.advance(Duration::from_secs(80_000));
    assert_eq!(send("k2", &body(6)).ok(200), refused);
    assert_eq!(error(&send("k1", &body(7))), (409, "idempotency_conflict", vec![]));
}
