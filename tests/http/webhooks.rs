//! Goal: endpoints of webhooks are made, listed, tested, rotated, enabled and deleted in the
//! product's shapes, by keys that may, and each generation has its own.
//!
//! Method: worked cases by both APIs of one project, and what is sent is taken from the webhooks.

use limitry::alerts::StandardWebhook;
use limitry::rules::Threshold;
use limitry::webhooks::Reply;
use limitry::{Engine, Event, Metric, Period, Quota};
use serde_json::{Value, json};

use crate::app::{Answer, App, KEY, READ, RECORD, SECOND, THIRD, THIRD_READ, THIRD_RECORD};

const THEIRS: &str = "/v1/workspace/webhook-endpoints";
const OWN: &str = "/engine/v1/webhook-endpoints";

fn app() -> App {
    let quota = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Month).per("customer_id");
    App::with(Engine::builder().quota(quota.alert_at(Threshold::percent(80))))
}

fn send(app: &App, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.send(key, method, path, body)
}

fn fire(app: &App, customer: &str) {
    let event = Event::new(customer, "call").total_tokens(900);
    assert!(app.engine.track(&event).expect("a good event").is_allowed());
    app.hooks.take_alerts().expect("no store");
}

#[test]
fn an_endpoint_lives_in_the_products_shapes() {
    let app = app();
    let new = json!({"url": "https://example.com/hooks", "description": "pager"});
    let made = app.third("POST", THEIRS, new).ok(200);
    let (id, secret) = (made["endpoint"]["id"].clone(), made["secret"].as_str().expect("a text"));
    let endpoint = json!({
        "id": id, "url": "https://example.com/hooks", "description": "pager", "enabled": true,
        "eventTypes": null, "environment": "proj_xyz", "consecutiveFailures": 0,
        "lastStatus": null, "lastAttemptAt": null, "createdAt": "2024-01-15T10:30:00Z",
    });
    assert_eq!(made["endpoint"], endpoint);
    let path = format!("{THEIRS}/{}", id.as_str().expect("a text"));
    assert_eq!(app.third("GET", &path, Value::Null).ok(200), endpoint);
    let list = json!({"items": [endpoint], "nextCursor": null});
    assert_eq!(app.third("GET", THEIRS, Value::Null).ok(200), list);
    fire(&app, "ann");
    let attempt = app.hooks.due().remove(0);
    let request = attempt.request();
    let [name, stamp, signed] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| request.header(name).expect("it is there"));
    let by = StandardWebhook::new(secret).expect("a secret");
    let verified = by.verify(name, stamp, signed, request.body.as_bytes(), app.engine.now());
    verified.expect("it is signed");
    attempt.done(&Ok(Reply::new(200))).expect("no store");
    let page = app.third("GET", &format!("{path}/deliveries?limit=1000"), Value::Null).ok(200);
    let delivery = &page["items"][0];
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
    assert_eq!(delivery["eventType"], "limit.threshold_reached");
    assert_eq!((&delivery["lastStatus"], &page["nextCursor"]), (&json!(200), &Value::Null));
    let again = format!("{path}/deliveries/{}/redeliver", delivery["id"].as_str().expect("text"));
    let outcome = app.third("POST", &again, Value::Null).ok(200);
    assert_eq!(outcome["queued"], true);
    let page = app.third("GET", &format!("{path}/deliveries?limit=1"), Value::Null).ok(200);
    let newest = &page["items"][0];
    assert_eq!((&newest["id"], &newest["eventId"]), (&outcome["deliveryId"], &delivery["eventId"]));
    let cursor = page["nextCursor"].as_str().expect("another page");
    let next = format!("{path}/deliveries?limit=1&cursor={cursor}");
    assert_eq!(app.third("GET", &next, Value::Null).ok(200)["items"][0], *delivery);
    assert_eq!(app.third("GET", &format!("{path}/deliveries?cursor=x"), Value::Null).status, 400);
    // Gone, it is disabled; it cannot be sent anything again until it is enabled.
    app.hooks.due().remove(0).done(&Ok(Reply::new(410))).expect("no store");
    let refused = app.third("POST", &again, Value::Null);
    assert_eq!(refused.status, 409);
    assert_eq!(refused.body["error"]["code"], "webhook_endpoint_disabled");
    let enabled = app.third("POST", &format!("{path}/enable"), Value::Null).ok(200);
    assert_eq!((&enabled["enabled"], &enabled["consecutiveFailures"]), (&json!(true), &json!(0)));
    assert_eq!(app.third("DELETE", &path, Value::Null).status, 204);
    assert_eq!(app.third("GET", &path, Value::Null).status, 404);
}

#[test]
fn each_generation_has_its_own_and_the_engines_api_has_all() {
    let app = app();
    let new = json!({"url": "https://example.com/hooks"});
    for key in [KEY, SECOND, THIRD] {
        send(&app, key, "POST", OWN, new.clone()).ok(201);
    }
    let list = send(&app, KEY, "GET", OWN, Value::Null).ok(200);
    let of = |one: &Value| one["generation"].as_u64().expect("a number");
    let generations: Vec<u64> = list["data"].as_array().expect("a list").iter().map(of).collect();
    assert_eq!(generations, [3, 2, 1]);
    let theirs = app.third("GET", THEIRS, Value::Null).ok(200);
    assert_eq!(theirs["items"].as_array().map(Vec::len), Some(1));
    let first = list["data"][2]["id"].as_str().expect("a text");
    assert_eq!(app.third("GET", &format!("{THEIRS}/{first}"), Value::Null).status, 404);
    // An operator may make one in another's words.
    let other = json!({"url": "https://example.com/hooks", "generation": 2});
    let made = send(&app, KEY, "POST", OWN, other).ok(201);
    assert_eq!(made["endpoint"]["generation"], 2);
    fire(&app, "ann");
    let bodies: Vec<Value> = app
        .hooks
        .due()
        .iter()
        .map(|it| serde_json::from_str(&it.request().body).expect("JSON"))
        .collect();
    let events: Vec<&Value> =
        bodies.iter().map(|it| it.get("event").unwrap_or(&it["type"])).collect();
    let reached = "limit.threshold_reached";
    assert_eq!(events, ["quota.threshold_exceeded", reached, reached, reached]);
}

#[test]
fn a_secret_is_rotated() {
    let app = app();
    let new = json!({"url": "https://example.com/hooks"});
    let made = send(&app, KEY, "POST", OWN, new).ok(201);
    let path = format!("{OWN}/{}", made["endpoint"]["id"].as_str().expect("a text"));
    let signatures = |app: &App| {
        send(app, KEY, "POST", &format!("{path}/test"), Value::Null).ok(200);
        let due = app.hooks.due();
        let signed = due[0].request().header("webhook-signature").expect("it is there");
        signed.split(' ').count()
    };
    assert_eq!(signatures(&app), 1);
    let rotate = |body| send(&app, KEY, "POST", &format!("{path}/rotate"), body);
    let rotated = rotate(Value::Null).ok(200);
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(signatures(&app), 2);
    app.clock.advance(std::time::Duration::from_secs(86_400));
    assert_eq!(signatures(&app), 1);
    rotate(json!({"overlapSeconds": 60})).ok(200);
    assert_eq!(signatures(&app), 2);
    rotate(json!({"overlapSeconds": 0})).ok(200);
    assert_eq!(signatures(&app), 1);
    assert_eq!(rotate(json!({"overlapSeconds": 604_801})).status, 400);
    // Only who may change things is shown a secret, and only then.
    let shown = send(&app, KEY, "GET", &path, Value::Null).ok(200).to_string();
    assert!(!shown.contains("whsec_"));
}

#[test]
fn what_may_not_be_is_said() {
    let app = app();
    for (body, said) in [
        (json!({}), "url"),
        (json!({"url": "http://example.com"}), "must begin with https://"),
        (json!({"url": "https://192.168.0.1/"}), "must be of a public host"),
        (json!({"url": "https://localhost:8080/"}), "must be of a public host"),
        (json!({"url": "https://example.com", "eventTypes": []}), "eventTypes"),
        (json!({"url": "https://example.com", "eventTypes": ["x"]}), "limit.exceeded"),
        (json!({"url": "https://example.com", "secret": "x"}), "secret"),
        (json!({"url": "https://example.com", "description": "x".repeat(1_025)}), "1024"),
    ] {
        let refused = app.third("POST", THEIRS, body.clone());
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.body.to_string().contains(said), "{said}: {}", refused.body);
    }
    let generation = json!({"url": "https://example.com", "generation": 4});
    assert_eq!(send(&app, KEY, "POST", OWN, generation).status, 400);
    for _ in 0..10 {
        app.third("POST", THEIRS, json!({"url": "https://example.com"})).ok(200);
    }
    let more = app.third("POST", THEIRS, json!({"url": "https://example.com"}));
    assert_eq!(more.status, 409);
    assert_eq!(more.body["error"]["code"], "too_many_webhook_endpoints");
    // Who only reads, reads; who only records does not.
    for (read, record, path) in [(THIRD_READ, THIRD_RECORD, THEIRS), (READ, RECORD, OWN)] {
        assert_eq!(send(&app, read, "GET", path, Value::Null).status, 200);
        let new = json!({"url": "https://example.com"});
        assert_eq!(send(&app, read, "POST", path, new).status, 403);
        assert_eq!(send(&app, record, "GET", path, Value::Null).status, 403);
    }
    // A project whose webhooks nobody sends.
    let refused = send(&app, "lim_test_other", "GET", THEIRS, Value::Null);
    assert_eq!(
        (refused.status.as_u16(), &refused.body["error"]["code"]),
        (409, &json!("no_webhooks"))
    );
}
