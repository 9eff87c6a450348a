//! Reservations: held, committed, extended, released, expired.

use std::time::Duration;

use serde_json::{Value, json};

use super::{check, error, id, left, limit, user};
use crate::app::{App, THIRD, keyed};

fn reserve(app: &App, cost: u64) -> Value {
    check(app, "u1", json!({"mode": "reserve", "cost": cost}))
}

fn path(decision: &Value, verb: &str) -> String {
    let id = decision["reservation"]["id"].as_str().expect("it is held");
    assert!(id.starts_with("res_"), "{id}");
    format!("/v1/reservations/{id}/{verb}")
}

fn remaining(app: &App) -> i64 {
    left(&check(app, "u1", json!({"mode": "preview", "cost": 0}))).1.expect("a limit")
}

#[test]
fn a_commit_charges_what_was_used() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let held = reserve(&app, 5);
    let expected = json!({
        "id": held["reservation"]["id"], "status": "held", "reserved": 5, "cost": 0,
        "expiresAt": "2024-01-15T10:35:00Z",
    });
    assert_eq!((left(&held), &held["reservation"]), ((true, Some(5)), &expected));
    // Less: the rest is back at once.
    let committed = app.third("POST", &path(&held, "commit"), json!({"cost": 2})).ok(200);
    let expected = json!({
        "id": held["reservation"]["id"], "status": "committed", "reserved": 5, "cost": 2,
        "expiresAt": "2024-01-15T10:35:00Z",
    });
    assert_eq!((&committed, remaining(&app)), (&expected, 8));
    // Again, with another cost, too: the first one stays.
    for cost in [2, 7] {
        let again = app.third("POST", &path(&held, "commit"), json!({"cost": cost})).ok(200);
        assert_eq!((&again, remaining(&app)), (&committed, 8), "{cost}");
    }
    for (verb, body) in [("release", Value::Null), ("extend", json!({}))] {
        let answer = app.third("POST", &path(&held, verb), body);
        assert_eq!(error(&answer), (409, "reservation_ended", vec![]), "{verb}");
    }
}

#[test]
fn more_than_was_reserved_is_charged_in_full() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let held = reserve(&app, 5);
    let committed = app.third("POST", &path(&held, "commit"), json!({"cost": 12})).ok(200);
    assert_eq!(committed["cost"], 12);
    let standing = app.third("GET", "/v1/usage/standing?subject=user:u1", Value::Null).ok(200);
    let stands = &standing["limits"][0];
    assert_eq!((&stands["used"], &stands["remaining"]), (&json!(12), &json!(0)));
    assert_eq!(left(&check(&app, "u1", json!({}))), (false, Some(0)));
}

#[test]
fn a_concurrent_limit_is_taken_while_reservations_are_open() {
    let app = App::new();
    let made =
        limit(&app, json!({"subject": {"kind": "user"}, "amount": 2, "window": "concurrent"}));
    assert_eq!(made["name"], "2 units at once for every user");
    let first = reserve(&app, 1);
    // One slot each, whatever it costs.
    let second = reserve(&app, 50);
    assert_eq!((left(&first), left(&second)), ((true, Some(1)), (true, Some(0))));
    let third = reserve(&app, 1);
    assert_eq!((left(&third), &third["reason"]["limitId"]), ((false, Some(0)), &made["id"]));
    assert_eq!(third.get("reservation"), None);
    assert_eq!(third["limits"][0]["resetsAt"], Value::Null);
    // A check asks whether a slot is free, and takes none.
    assert_eq!(left(&check(&app, "u1", json!({}))), (false, Some(0)));
    app.third("POST", &path(&first, "release"), Value::Null).ok(200);
    assert_eq!(left(&check(&app, "u1", json!({}))), (true, Some(1)));
    assert_eq!(left(&reserve(&app, 1)), (true, Some(0)));
}

#[test]
fn what_is_released_or_expires_is_given_back() {
    let app = App::new();
    limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let held = reserve(&app, 4);
    for _ in 0..2 {
        let released = app.third("POST", &path(&held, "release"), Value::Null).ok(200);
        assert_eq!((&released["status"], &released["cost"]), (&json!("released"), &json!(0)));
        assert_eq!(remaining(&app), 10);
    }
    let commit = app.third("POST", &path(&held, "commit"), json!({"cost": 1}));
    assert_eq!(error(&commit), (409, "reservation_ended", vec![]));

    let held = check(&app, "u1", json!({"mode": "reserve", "cost": 4, "ttlSeconds": 60}));
    assert_eq!(held["reservation"]["expiresAt"], "2024-01-15T10:31:00Z");
    app.clock.advance(Duration::from_secs(59));
    let extended = app.third("POST", &path(&held, "extend"), json!({"ttlSeconds": 10})).ok(200);
    assert_eq!(
        (&extended["status"], &extended["expiresAt"]),
        (&json!("held"), &json!("2024-01-15T10:31:09Z"))
    );
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(remaining(&app), 10);
    let extend = app.third("POST", &path(&held, "extend"), json!({}));
    assert_eq!(error(&extend), (409, "reservation_ended", vec![]));
    let released = app.third("POST", &path(&held, "release"), Value::Null).ok(200);
    assert_eq!(released["status"], "expired");
    // What happened is charged all the same.
    let committed = app.third("POST", &path(&held, "commit"), json!({"cost": 3})).ok(200);
    assert_eq!((&committed["status"], remaining(&app)), (&json!("committed"), 7));
}

#[test]
fn a_reservation_that_was_not_heard_of_is_found_by_its_key() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    // Reserved by the engine, and the answer was lost with the server.
    let event = limitry::Event::new("user:u1", "use").value("units", 4).property("user", "u1");
    let event = event.property("subject_kind", "user").idempotency_key("k1");
    let limitry::Reserved::Held(lost) =
        app.engine.reserve(&event, limitry::Hold::default()).expect("it reserves")
    else {
        panic!("there is room")
    };
    let lost = lost.into_id();
    let body = json!({"subject": user("u1"), "action": "use", "cost": 4, "mode": "reserve"});
    let replay = app.answer(keyed(THIRD, "k1", "POST", "/v1/checks", &body.to_string())).ok(200);
    assert_eq!(replay["reservation"]["id"], lost.to_string());
    assert_eq!(
        (left(&replay), &replay["limits"][0]["limitId"]),
        ((true, Some(6)), &json!(id(&made)))
    );
}

#[test]
fn there_are_only_so_many() {
    let app = App::with(limitry::Engine::builder().max_reservations(2));
    assert_eq!(
        (reserve(&app, 1)["allowed"].clone(), reserve(&app, 1)["allowed"].clone()),
        (json!(true), json!(true))
    );
    let refused = reserve(&app, 1);
    assert_eq!(refused["reason"]["code"], "too_many_reservations");
    assert_eq!(
        (&refused["reason"]["limitId"], &refused["retryAfterSeconds"]),
        (&Value::Null, &json!(300))
    );
}
