//! Meters.

use limitry::{Event, Meter};
use serde_json::{Value, json};

use super::{delete, get, ids, pages, post, put};
use crate::app::App;

fn tokens() -> Value {
    json!({"name": "Tokens", "aggregation": "sum", "field": "values.tokens"})
}

fn add(app: &App, body: Value) -> Value {
    post(app, "/meters", body).ok(201)
}

fn value(app: &App, meter: &Value, query: Value) -> Value {
    let path = format!("/meters/{}/query", meter["id"].as_str().expect("a text"));
    post(app, &path, query).ok(200)["value"].clone()
}

#[test]
fn a_meter_is_made_changed_and_removed() {
    let app = App::new();
    let made = add(&app, tokens());
    let id = made["id"].as_str().expect("a text").to_owned();
    assert!(id.starts_with("mtr_"), "{id}");
    let at = "2024-01-15T10:30:00Z";
    let expected = json!({
        "id": id, "projectId": "proj_xyz", "name": "Tokens", "description": null,
        "aggregation": "sum", "field": "values.tokens", "eventFilter": {},
        "createdAt": at, "updatedAt": at,
    });
    assert_eq!(made, expected);
    let path = format!("/meters/{id}");
    get(&app, &path).is(200, expected.clone());
    let filter = json!({"eventType": "llm.completion", "dimensions": {"model": "gpt-4"}});
    let change = json!({"name": "All", "description": "of all", "eventFilter": filter});
    let changed = put(&app, &path, change).ok(200);
    let mut due = expected;
    due["name"] = json!("All");
    due["description"] = json!("of all");
    due["eventFilter"] = filter;
    assert_eq!(changed, due);
    let cleared = put(&app, &path, json!({"description": null, "eventFilter": {}})).ok(200);
    assert_eq!((&cleared["description"], &cleared["eventFilter"]), (&Value::Null, &json!({})));
    assert_eq!(delete(&app, &path).status, 204);
    for answer in [get(&app, &path), delete(&app, &path), put(&app, &path, json!({}))] {
        answer.fails(404, "meter_not_found", &id);
    }
    post(&app, &format!("{path}/query"), json!({})).fails(404, "meter_not_found", &id);
}

#[test]
fn a_meter_answers_by_its_aggregation() {
    let app = App::new();
    let meter = |aggregation: &str, field: &str| {
        add(&app, json!({"name": aggregation, "aggregation": aggregation, "field": field}))
    };
    let meters = [
        meter("sum", "values.n"),
        meter("count", "*"),
        meter("max", "values.n"),
        meter("latest", "values.n"),
    ];
    assert!(meters.iter().all(|meter| value(&app, meter, json!({})) == 0));
    for (n, team) in [(5.0, "a"), (0.25, "b"), (3.0, "a")] {
        let event = json!({"customerId": "c", "eventType": "e", "values": {"n": n},
            "dimensions": {"team": team}});
        post(&app, "/events/record", event).ok(201);
    }
    post(&app, "/events/record", json!({"customerId": "d", "eventType": "e"})).ok(201);
    let values = |query: Value| meters.each_ref().map(|meter| value(&app, meter, query.clone()));
    assert_eq!(values(json!({})), [json!(8.25), json!(4), json!(5), json!(3)]);
    let of_b = values(json!({"customerId": "c", "dimensions": {"team": "b"}}));
    assert_eq!(of_b, [json!(0.25), json!(1), json!(0.25), json!(0.25)]);
    let tomorrow = json!({"startDate": "2024-01-16T00:00:00Z"});
    assert_eq!(values(tomorrow), [0, 0, 0, 0].map(|zero| json!(zero)));
    let id = &meters[0]["id"];
    let path = format!("/meters/{}/query", id.as_str().expect("a text"));
    let whole = json!({"meterId": id, "meterName": "sum", "value": 8.25, "aggregation": "sum"});
    // Without a body, too.
    app.send(crate::app::SECOND, "POST", &format!("/v1{path}"), "").is(200, whole);
    let back = json!({"startDate": "2024-01-16T00:00:00Z", "endDate": "2024-01-15T00:00:00Z"});
    for (bad, named) in [(back, "before"), (json!({"customer": "c"}), "customer")] {
        post(&app, &path, bad).fails(400, "invalid_field_value", named);
    }
    post(&app, &path, json!([])).fails(400, "invalid_request", "object");
}

#[test]
fn every_project_has_the_global_meters() {
    let app = App::new();
    let event = Event::new("c", "model_call").input_tokens(150).output_tokens(50).cost_cents("0.4");
    let event = event.latency_ms(7).value("images", 4);
    let _ = app.engine.record(&event).expect("good");
    let _ = app.engine.record(&Event::new("d", "model_call").total_tokens(9)).expect("good");
    let total = get(&app, "/meters/mtr_total_tokens").ok(200);
    let expected = json!({
        "id": "mtr_total_tokens", "projectId": null, "name": "total_tokens", "description": null,
        "aggregation": "sum", "field": "values.total_tokens", "eventFilter": {},
        "createdAt": null, "updatedAt": null,
    });
    assert_eq!(total, expected);
    let ask = |id: &str, query: Value| post(&app, &format!("/meters/{id}/query"), query).ok(200);
    let answer = ask("mtr_total_tokens", json!({}));
    let expected = json!({"meterId": "mtr_total_tokens", "meterName": "total_tokens", "value": 209,
        "aggregation": "sum"});
    assert_eq!(answer, expected);
    for (id, due) in [
        ("mtr_total_events", json!(1)),
        ("mtr_total_tokens", json!(200)),
        ("mtr_input_tokens", json!(150)),
        ("mtr_output_tokens", json!(50)),
        ("mtr_total_cost_cents", json!(0.4)),
        ("mtr_latency_ms", json!(7)),
        ("values.images", json!(4)),
        ("values.others", json!(0)),
    ] {
        assert_eq!(ask(id, json!({"customerId": "c"}))["value"], due, "{id}");
    }
    delete(&app, "/meters/mtr_total_tokens").fails(403, "insufficient_permissions", "global");
    put(&app, "/meters/mtr_total_tokens", json!({"name": "x"})).fails(
        403,
        "insufficient_permissions",
        "global",
    );
    for id in ["mtr_tokens", "values.", "values.a.b", "values.total_tokens", "meter.x", "unique.a"]
    {
        get(&app, &format!("/meters/{id}")).fails(404, "meter_not_found", id);
    }
    // One of the engine's own comes before it.
    app.engine.meters().add(Meter::max("total_tokens", "total_tokens")).expect("good");
    assert_eq!(ask("mtr_total_tokens", json!({}))["value"], 200);
}

#[test]
fn meters_are_listed_the_newest_first_and_the_global_ones_last() {
    let app = App::new();
    let made: Vec<_> = (0..3).map(|_| add(&app, tokens())).collect();
    app.engine.meters().add(Meter::count("Calls").id("mtr_calls")).expect("good");
    let listed = pages(&app, "/meters", 2);
    let mut due = vec!["mtr_calls"];
    due.extend(ids(&made).into_iter().rev());
    due.extend(["mtr_total_events", "mtr_total_tokens", "mtr_input_tokens"]);
    due.extend(["mtr_output_tokens", "mtr_total_cost_cents", "mtr_latency_ms"]);
    assert_eq!(ids(&listed), due);
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=x", "colour=red"] {
        let name = bad.split('=').next().expect("a name");
        get(&app, &format!("/meters?{bad}")).fails(400, "invalid_field_value", name);
    }
}

#[test]
fn a_bad_meter_says_what_is_wrong() {
    let app = App::new();
    let with = |key: &str, value: Value| {
        let mut body = tokens();
        body[key] = value;
        body
    };
    for lacking in ["name", "aggregation", "field"] {
        let body = with(lacking, Value::Null);
        post(&app, "/meters", body).fails(400, "missing_required_field", lacking);
    }
    for (body, named) in [
        (with("name", json!("")), "name"),
        (with("aggregation", json!("avg")), "aggregation"),
        (with("aggregation", json!("median")), "aggregation"),
        (with("field", json!("a b")), "field"),
        (with("field", json!("*")), "field"),
        (with("field", json!("dimensions.team")), "field"),
        (with("eventFilter", json!({"model": "x"})), "eventFilter"),
        (with("eventFilter", json!({"dimensions": {"a b": "x"}})), "a b"),
        (with("event_type", json!("x")), "event_type"),
    ] {
        post(&app, "/meters", body).fails(400, "invalid_field_value", named);
    }
    assert!(app.engine.meters().list().is_empty());
}

#[test]
fn a_meter_that_limits_count_stays() {
    let app = App::new();
    let meter = add(&app, tokens());
    let id = meter["id"].as_str().expect("a text");
    let limit = json!({"name": "l", "meterId": id, "limitValue": 9, "period": "day"});
    let limit = post(&app, "/limits", limit).ok(201);
    delete(&app, &format!("/meters/{id}")).fails(409, "conflict", id);
    assert_eq!(delete(&app, &format!("/limits/{}", limit["id"].as_str().expect("a"))).status, 204);
    assert_eq!(delete(&app, &format!("/meters/{id}")).status, 204);
}
