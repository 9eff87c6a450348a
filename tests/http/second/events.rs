//! Events.

use limitry::events::Recording;
use limitry::{Engine, Event};
use serde_json::{Value, json};

use super::{get, ids, pages, post};
use crate::app::{App, KEY, SECOND, keyed};

const JANUARY: &str = "startDate=2024-01-01T00:00:00Z&endDate=2024-02-01T00:00:00Z";

fn completion() -> Value {
    json!({
        "customerId": "cust_123", "eventType": "llm.completion",
        "values": {"tokens": 500, "cost_cents": 25, "latency_ms": 1200},
        "dimensions": {"model": "gpt-4", "provider": "openai", "feature": "chat"},
        "properties": {"trace": ["a", 1.5], "prompt": "two\nlines", "feature": "not the dimension"},
    })
}

#[test]
fn the_documented_event_is_recorded_and_listed_as_it_came() {
    let app = App::new();
    let recorded = post(&app, "/events/record", completion()).ok(201);
    let id = recorded["id"].clone();
    assert!(id.as_str().is_some_and(|id| id.starts_with("evt_")), "{id}");
    assert_eq!(recorded, json!({"id": id, "recorded": true}));
    let mut event = completion();
    event["id"] = id;
    event["timestamp"] = json!("2024-01-15T10:30:00Z");
    let page = json!({"data": [event], "nextCursor": null, "hasMore": false});
    get(&app, "/events").is(200, page);
    // Its properties are no dimensions.
    let by = |key: &str| get(&app, &format!("/events/breakdown?{JANUARY}&groupBy={key}")).ok(200);
    assert_eq!(by("feature")["data"][0]["dimension"], "chat");
    assert_eq!(by("prompt")["data"][0]["dimension"], Value::Null);
    // The first generation reads it.
    let first = &app.get("/v1/events").ok(200)["data"][0];
    assert_eq!((&first["model"], &first["costCents"]), (&json!("gpt-4"), &json!(25)));
    assert_eq!(first["attached"], completion()["properties"]);
}

#[test]
fn a_repetition_counts_once() {
    let app = App::new();
    let mut event = completion();
    event["idempotencyKey"] = json!("k1");
    let first = post(&app, "/events/record", event.clone());
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = post(&app, "/events/record", event.clone());
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    again.is(201, first.ok(201));
    event["properties"] = json!({"trace": []});
    post(&app, "/events/record", event).fails(409, "conflict", "k1");
    let ask =
        || app.answer(keyed(SECOND, "h", "POST", "/v1/events/record", &completion().to_string()));
    let (one, two) = (ask(), ask());
    assert_eq!(two.header("idempotent-replayed"), Some("true"));
    two.is(201, one.ok(201));
    assert_eq!(app.engine.events().len(), 2);
    // Another generation's answer under the same key is another one.
    let track = r#"{"customerId": "c", "eventType": "e"}"#;
    app.answer(keyed(KEY, "h", "POST", "/v1/track", track)).ok(201);
}

#[test]
fn a_batch_is_recorded_whole_or_not() {
    let app = App::new();
    let event = |n: u64| {
        let key = format!("k{n}");
        json!({"customerId": "c", "eventType": "e", "values": {"n": n}, "idempotencyKey": key})
    };
    // The fields of both generations, in an object and in a list.
    let old = json!({"customerId": "c", "eventType": "e", "model": "m", "inputTokens": 150,
        "outputTokens": 50, "costCents": 0.4, "latencyMs": 7, "provider": "p"});
    let batch = json!({"events": [event(1), event(2), event(1), old]});
    post(&app, "/events/batch", batch).is(201, json!({"count": 3}));
    post(&app, "/events/batch", json!([event(2), event(3)])).is(201, json!({"count": 1}));
    let listed = get(&app, "/events").ok(200);
    let old = &listed["data"][1];
    assert_eq!(old["dimensions"], json!({"model": "m", "provider": "p"}));
    let values = json!({"input_tokens": 150, "output_tokens": 50, "total_tokens": 200,
        "cost_cents": 0.4, "latency_ms": 7});
    assert_eq!(old["values"], values);
    // The first generation takes the fields of the second.
    app.post(
        "/v1/events/batch",
        json!([{"customerId": "c", "eventType": "e", "values": {"n": 1},
        "dimensions": {"team": "a"}}])
        .to_string(),
    )
    .ok(201);
    let many: Vec<_> = (10..1_010).map(event).collect();
    let with = |bad: Value| {
        let mut events = many[1..].to_vec();
        events.push(bad);
        json!({"events": events})
    };
    let before = app.engine.events().len();
    for (bad, code, named) in [
        (json!({"customerId": "c"}), "missing_required_field", "events[999].eventType"),
        (json!({"customerId": "", "eventType": "e"}), "invalid_field_value", "customer_id"),
        (
            json!({"customerId": 7, "eventType": "e"}),
            "invalid_field_value",
            "events[999].customerId",
        ),
    ] {
        post(&app, "/events/batch", with(bad)).fails(400, code, named);
    }
    assert_eq!(app.engine.events().len(), before);
    post(&app, "/events/batch", json!({"events": many})).is(201, json!({"count": 1000}));
    let more = json!({"events": vec![event(1); 1_001]});
    post(&app, "/events/batch", more).fails(400, "invalid_field_value", "1000");
    post(&app, "/events/batch", json!([["c", "e"]])).fails(400, "invalid_field_value", "an event");
    post(&app, "/events/batch", json!([])).fails(400, "invalid_field_value", "batch");
    post(&app, "/events/batch", json!({})).fails(400, "missing_required_field", "events");
}

#[test]
fn sums_and_pages_of_events() {
    let app = App::new();
    for n in 0..7 {
        let (customer, model) = (["a", "b"][n % 2], ["x", "y", "z"][n % 3]);
        let event = json!({"customerId": customer, "eventType": "e",
            "values": {"n": n, "half": 0.5},
            "dimensions": {"model": model}});
        post(&app, "/events/record", event).ok(201);
    }
    // What was recorded elsewhere is in there.
    let _ = app.engine.record(&Event::new("a", "e").input_tokens(5)).expect("good");
    let all = pages(&app, "/events", 3);
    assert_eq!(all.len(), 8);
    let first = get(&app, "/events").ok(200);
    assert_eq!(first["data"].as_array(), Some(&all));
    let of_b = pages(&app, "/events?customerId=b&eventType=e", 2);
    assert_eq!(ids(&of_b).len(), 3);
    let summary = get(&app, &format!("/events/summary?{JANUARY}&customerId=a")).ok(200);
    let values = json!({"n": 12, "half": 2, "input_tokens": 5, "total_tokens": 5});
    assert_eq!(summary, json!({"totalEvents": 5, "values": values}));
    let by_model = get(&app, &format!("/events/breakdown?{JANUARY}&groupBy=model")).ok(200);
    let row = json!({"dimension": "x", "totalEvents": 3, "values": {"n": 9, "half": 1.5}});
    assert_eq!(by_model["data"][0], row);
    for (path, code, named) in [
        ("/events?limit=0", "invalid_field_value", "limit"),
        ("/events?limit=101", "invalid_field_value", "limit"),
        ("/events?cursor=x", "invalid_field_value", "cursor"),
        ("/events?startDate=x", "invalid_field_value", "startDate"),
        ("/events?colour=red", "invalid_field_value", "colour"),
        ("/events/summary", "missing_required_field", "startDate"),
        ("/events/summary?startDate=2024-01-01T00:00:00Z", "missing_required_field", "endDate"),
    ] {
        get(&app, path).fails(400, code, named);
    }
    let breakdown = format!("/events/breakdown?{JANUARY}");
    get(&app, &breakdown).fails(400, "missing_required_field", "groupBy");
    let back = "startDate=2024-02-01T00:00:00Z&endDate=2024-02-01T00:00:00Z";
    get(&app, &format!("/events/summary?{back}")).fails(400, "invalid_field_value", "before");
}

#[test]
fn a_bad_event_says_what_is_wrong_and_changes_nothing() {
    let app = App::new();
    let event = |more: Value| {
        let mut event = json!({"customerId": "c", "eventType": "e"});
        event.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        event
    };
    let long = "x".repeat(17_000);
    let ahead = json!({"timestamp": "2024-01-16T10:30:01Z"});
    for (body, code, named) in [
        (json!({"eventType": "e"}), "missing_required_field", "customerId"),
        (json!({"customerId": "c"}), "missing_required_field", "eventType"),
        (json!({"customerId": null, "eventType": "e"}), "missing_required_field", "customerId"),
        (event(json!({"customerId": ""})), "invalid_field_value", "customer_id"),
        (event(json!({"customerId": 7})), "invalid_field_value", "customerId: 7"),
        (event(json!({"values": {"n": "many"}})), "invalid_field_value", "values.n"),
        (event(json!({"values": {"a b": 1}})), "invalid_field_value", "a b"),
        (event(json!({"values": {"n": 0.000_000_1}})), "invalid_field_value", "values.n"),
        (event(json!({"values": [1]})), "invalid_field_value", "values"),
        (event(json!({"dimensions": {"team": 7}})), "invalid_field_value", "dimensions.team: 7"),
        (event(json!({"dimensions": {"team": ""}})), "invalid_field_value", "team"),
        (event(json!({"properties": {"a": long}})), "invalid_field_value", "16384"),
        (event(json!({"properties": "a"})), "invalid_field_value", "properties"),
        (event(json!({"timestamp": "yesterday"})), "invalid_field_value", "timestamp"),
        (event(ahead), "invalid_field_value", "24 hours"),
        (event(json!({"inputTokens": 1.5})), "invalid_field_value", "input_tokens"),
        (event(json!({"tokens": 1})), "invalid_field_value", "tokens"),
        (json!("text"), "invalid_request", "object"),
        (json!(["c", "e"]), "invalid_request", "object"),
    ] {
        post(&app, "/events/record", body).fails(400, code, named);
    }
    assert!(app.engine.events().is_empty());
    // Yesterday is good, and so are negative numbers and fractions.
    let body = event(json!({"timestamp": "2024-01-14T10:30:00Z", "values": {"n": -0.25}}));
    post(&app, "/events/record", body).ok(201);
}

#[test]
fn without_recorded_events_there_is_no_id() {
    let app = App::with(Engine::builder().recording(Recording::Off));
    let body = json!({"customerId": "c", "eventType": "e"});
    post(&app, "/events/record", body).is(201, json!({"id": null, "recorded": true}));
}
