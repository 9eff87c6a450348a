//! Customers.

use limitry::store::MemoryStore;
use limitry::time::Tz;
use limitry::{Customer, Engine, Event};
use serde_json::{Value, json};

use super::{delete, get, pages, post, put};
use crate::app::{App, THIRD};

fn reset(app: &App, customer: &str) -> Value {
    let checked = post(app, "/limits/check", json!({"customerId": customer})).ok(200);
    checked["limits"][0]["reset"].clone()
}

fn unix(text: &str) -> Value {
    json!(text.parse::<limitry::Timestamp>().expect("a time").unix_seconds())
}

fn limit(app: &App, period: &str) {
    let body = json!({"name": "l", "meterId": "mtr_total_events", "limitValue": 9,
        "period": period});
    post(app, "/limits", body).ok(201);
}

#[test]
fn a_customer_is_made_changed_and_removed() {
    let app = App::new();
    let body = json!({
        "externalId": "acme", "name": "Acme", "email": "ops@acme.example",
        "billingCycleStart": "2024-01-10T08:00:00Z", "timezone": "America/New_York",
        "metadata": {"plan": "pro", "seats": 7},
    });
    let made = post(&app, "/customers", body.clone()).ok(201);
    let id = made["id"].as_str().expect("a text").to_owned();
    assert!(id.starts_with("cust_"), "{id}");
    let mut due = body;
    (due["id"], due["projectId"]) = (json!(id), json!("proj_xyz"));
    (due["createdAt"], due["updatedAt"]) =
        (json!("2024-01-15T10:30:00Z"), json!("2024-01-15T10:30:00Z"));
    assert_eq!(made, due);
    // By either of its ids.
    for id in ["acme", &id] {
        get(&app, &format!("/customers/{id}")).is(200, due.clone());
    }
    // Again: what is given is changed.
    due["name"] = json!("Acme Inc");
    post(&app, "/customers", json!({"externalId": "acme", "name": "Acme Inc"}))
        .is(200, due.clone());
    due["metadata"] = json!({"plan": "free"});
    put(&app, "/customers/acme", json!({"metadata": {"plan": "free"}})).is(200, due.clone());
    let none = json!({"name": null, "email": null, "timezone": null});
    due.as_object_mut().expect("one").extend(none.as_object().expect("one").clone());
    put(&app, &format!("/customers/{id}"), none).is(200, due.clone());
    put(&app, "/customers/acme", json!({"externalId": "acme"})).is(200, due);
    put(&app, "/customers/acme", json!({"externalId": "b"})).fails(
        400,
        "invalid_field_value",
        "externalId",
    );
    assert_eq!(delete(&app, "/customers/acme").status, 204);
    for path in ["/customers/acme", &format!("/customers/{id}")] {
        for answer in [get(&app, path), put(&app, path, json!({})), delete(&app, path)] {
            answer.fails(404, "customer_not_found", "");
        }
        for more in ["usage", "balances"] {
            get(&app, &format!("{path}/{more}")).fails(404, "customer_not_found", "");
        }
    }
}

#[test]
fn the_first_event_makes_its_customer() {
    let app = App::new();
    limit(&app, "month");
    let record = |customer: &str| {
        post(&app, "/events/record", json!({"customerId": customer, "eventType": "e"})).ok(201);
    };
    record("a");
    let batch = json!([{"customerId": "b", "eventType": "e"}, {"customerId": "b", "eventType": "e"},
        {"customerId": "a", "eventType": "e"}]);
    post(&app, "/events/batch", batch).ok(201);
    for customer in ["a", "b"] {
        let known = get(&app, &format!("/customers/{customer}")).ok(200);
        let at = json!("2024-01-15T10:30:00Z");
        assert_eq!((&known["billingCycleStart"], &known["createdAt"]), (&at, &at));
        // Its months run from that day.
        assert_eq!(reset(&app, customer), unix("2024-02-15T00:00:00Z"));
    }
    // What was given before stays.
    post(&app, "/customers", json!({"externalId": "c", "billingCycleStart": "2024-01-31"})).ok(201);
    record("c");
    assert_eq!(reset(&app, "c"), unix("2024-01-31T00:00:00Z"));
    // An event that is refused makes nobody, and neither does one of the first generation.
    post(&app, "/events/record", json!({"customerId": "d", "eventType": ""})).ok(400);
    assert!(app.engine.customers().get("d").is_none());
    let _ = app.engine.record(&Event::new("e", "e")).expect("good");
    let known = get(&app, "/customers/e").ok(200);
    assert_eq!((&known["billingCycleStart"], &known["createdAt"]), (&Value::Null, &Value::Null));
    record("e");
    assert_eq!(get(&app, "/customers/e").ok(200), known);
}

#[test]
fn periods_are_cut_by_the_customers_zone_and_billing_cycle() {
    let day = |now: &str, period: &str, body: Value, start: Option<&str>, end: &str| {
        let app = App::at(now, Engine::builder());
        limit(&app, period);
        let mut customer = json!({"externalId": "c"});
        customer.as_object_mut().expect("one").extend(body.as_object().expect("one").clone());
        post(&app, "/customers", customer).ok(201);
        assert_eq!(reset(&app, "c"), unix(end), "{now} {period} {body}");
        if let Some(start) = start {
            // One second before the start is another period's.
            for (ago, used) in [(1, 0), (0, 1)] {
                let at = start.parse::<limitry::Timestamp>().expect("a time");
                let at = at - std::time::Duration::from_secs(ago);
                let event =
                    json!({"customerId": "c", "eventType": "e", "timestamp": at.to_string()});
                post(&app, "/events/record", event).ok(201);
                let checked = post(&app, "/limits/check", json!({"customerId": "c"})).ok(200);
                assert_eq!(checked["limits"][0]["used"], used, "{now} {period}");
            }
        }
    };
    let new_york = json!({"timezone": "America/New_York"});
    let (march, november) = ("2024-03-10T12:00:00Z", "2024-11-03T12:00:00Z");
    day(march, "day", new_york.clone(), Some("2024-03-10T05:00:00Z"), "2024-03-11T04:00:00Z");
    day(november, "day", new_york, Some("2024-11-03T04:00:00Z"), "2024-11-04T05:00:00Z");
    let of_15th = json!({"timezone": "America/New_York", "billingCycleStart": "2023-03-15"});
    day(
        "2024-03-01T00:00:00Z",
        "month",
        of_15th,
        Some("2024-02-15T05:00:00Z"),
        "2024-03-15T04:00:00Z",
    );
    for (now, end) in [
        ("2024-02-10T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2024-03-01T00:00:00Z", "2024-03-31T00:00:00Z"),
        ("2024-04-01T00:00:00Z", "2024-04-30T00:00:00Z"),
    ] {
        day(now, "month", json!({"billingCycleStart": "2024-01-31"}), None, end);
    }
    // An instant is a date in the customer's zone.
    let late = json!({"timezone": "America/New_York", "billingCycleStart": "2024-01-15T02:00:00Z"});
    day("2024-01-20T00:00:00Z", "month", late.clone(), None, "2024-02-14T05:00:00Z");
    day("2024-01-20T00:00:00Z", "annual", late, None, "2025-01-14T05:00:00Z");
    // In half of an hour's zone hours are those of UTC.
    let kolkata = json!({"timezone": "Asia/Kolkata"});
    day(
        "2024-01-20T10:10:00Z",
        "hour",
        kolkata,
        Some("2024-01-20T10:00:00Z"),
        "2024-01-20T11:00:00Z",
    );
}

#[test]
fn a_customers_own_limit_goes_by_its_billing_cycle_too() {
    let app = App::new();
    let limit = |customer: Value| {
        let body = json!({"name": "l", "meterId": "mtr_total_events", "limitValue": 9,
            "period": "month", "customerId": customer});
        post(&app, "/limits", body).ok(201)
    };
    let all = limit(Value::Null);
    post(&app, "/customers", json!({"externalId": "c", "billingCycleStart": "2024-01-20"})).ok(201);
    assert_eq!(reset(&app, "c"), unix("2024-01-20T00:00:00Z"));
    let own = limit(json!("c"));
    assert_eq!(reset(&app, "c"), unix("2024-01-20T00:00:00Z"));
    delete(&app, &format!("/limits/{}", own["id"].as_str().expect("a text")));
    let path = format!("/limits/{}", all["id"].as_str().expect("a text"));
    put(&app, &path, json!({"customerId": "c"})).ok(200);
    assert_eq!(reset(&app, "c"), unix("2024-01-20T00:00:00Z"));
}

#[test]
fn another_zone_moves_the_day_of_an_instant() {
    let app = App::new();
    limit(&app, "month");
    let at = "2024-01-15T02:00:00Z";
    post(&app, "/customers", json!({"externalId": "c", "billingCycleStart": at})).ok(201);
    assert_eq!(reset(&app, "c"), unix("2024-02-15T00:00:00Z"));
    let moved = put(&app, "/customers/c", json!({"timezone": "America/New_York"})).ok(200);
    assert_eq!(moved["billingCycleStart"], at);
    assert_eq!(reset(&app, "c"), unix("2024-02-14T05:00:00Z"));
    // A date stays what it is.
    put(&app, "/customers/c", json!({"billingCycleStart": "2024-01-20"})).ok(200);
    let back = put(&app, "/customers/c", json!({"timezone": null})).ok(200);
    assert_eq!(back["billingCycleStart"], "2024-01-20T00:00:00Z");
}

#[test]
fn customers_are_listed_and_what_they_used() {
    let app = App::new();
    for id in ["b", "a", "\u{e4}:1"] {
        post(&app, "/customers", json!({"externalId": id})).ok(201);
    }
    let event = Event::new("d", "e").input_tokens(5).cost_cents("0.4").value("images", 2);
    let _ = app.engine.record(&event).expect("good");
    let names: Vec<_> =
        pages(&app, "/customers", 1).into_iter().map(|it| it["externalId"].clone()).collect();
    assert_eq!(names, ["a", "b", "d", "\u{e4}:1"]);
    let used = get(&app, "/customers/d/usage").ok(200);
    let expected = json!({
        "customerId": "d", "totalEvents": 1, "totalTokens": 5, "totalInputTokens": 5,
        "totalOutputTokens": 0, "totalCostCents": 0.4,
        "values": {"input_tokens": 5, "total_tokens": 5, "cost_cents": 0.4, "images": 2},
    });
    assert_eq!(used, expected);
    let range = "startDate=2024-02-01T00:00:00Z&endDate=2024-03-01T00:00:00Z";
    assert_eq!(get(&app, &format!("/customers/d/usage?{range}")).ok(200)["totalEvents"], 0);
    for (path, named) in [
        ("/customers?limit=101", "limit"),
        ("/customers?plan=pro", "plan"),
        ("/customers/d/usage?startDate=x", "startDate"),
        ("/customers/d/usage?zone=x", "zone"),
    ] {
        get(&app, path).fails(400, "invalid_field_value", named);
    }
}

#[test]
fn a_bad_customer_says_what_is_wrong() {
    let app = App::new();
    post(&app, "/customers", json!({"externalId": "known"})).ok(201);
    let before = get(&app, "/customers/known").ok(200);
    post(&app, "/customers", json!({"name": "n"})).fails(
        400,
        "missing_required_field",
        "externalId",
    );
    post(&app, "/customers", json!({"externalId": ""})).fails(400, "invalid_field_value", "id");
    for (key, value, named) in [
        ("name", json!(""), "name"),
        ("name", json!(7), "name"),
        ("email", json!("nobody"), "email"),
        ("email", json!("@a"), "email"),
        ("email", json!("a b@c"), "email"),
        ("email", json!(format!("{}@c", "a".repeat(253))), "email"),
        ("billingCycleStart", json!("soon"), "billingCycleStart"),
        ("billingCycleStart", json!("2024-02-30"), "billingCycleStart"),
        ("timezone", json!("Mars/Olympus"), "timezone"),
        ("metadata", json!([]), "metadata"),
        ("metadata", json!({"email": "a@b"}), "metadata.email"),
        ("metadata", json!({"billing_date": "x"}), "billingCycleStart"),
        ("metadata", json!({"a b": 1}), "a b"),
        ("plan", json!("pro"), "plan"),
    ] {
        let body = json!({"externalId": "c", key: value});
        post(&app, "/customers", body).fails(400, "invalid_field_value", named);
        put(&app, "/customers/known", json!({key: value})).fails(400, "invalid_field_value", named);
    }
    assert!(app.engine.customers().get("c").is_none());
    get(&app, "/customers/known").is(200, before);
}

#[test]
fn one_generation_reads_what_another_knows_of_a_customer() {
    let app = App::new();
    let at = "2024-01-15T02:00:00Z";
    post(&app, "/customers", json!({"externalId": "c", "billingCycleStart": at})).ok(201);
    let subject = app.send(THIRD, "GET", "/v1/subjects/customer/c", "").ok(200);
    assert_eq!(subject["billingDate"], at);
    let body = r#"{"billingDate": "2024-01-20T03:00:00Z"}"#;
    app.send(THIRD, "PATCH", "/v1/subjects/customer/c", body).ok(200);
    let known = get(&app, "/customers/c").ok(200);
    assert_eq!(known["billingCycleStart"], "2024-01-20T03:00:00Z");
    let customer = Customer::new("r").time_zone(Tz::Europe__Berlin);
    let customer = customer.billing_anchor("2024-01-31".parse().expect("a date"));
    app.engine.customers().upsert(customer.metadata("email", "r@b.example")).expect("good");
    let known = get(&app, "/customers/r").ok(200);
    assert_eq!(known["billingCycleStart"], "2024-01-31T00:00:00Z");
    assert_eq!((&known["email"], &known["metadata"]), (&json!("r@b.example"), &json!({})));
}

#[test]
fn customers_come_back_with_the_store() {
    let memory = MemoryStore::new();
    let open = || {
        App::at("2024-01-15T10:30:00Z", Engine::builder().durable(memory.open().expect("opens")))
    };
    let app = open();
    post(&app, "/events/record", json!({"customerId": "a", "eventType": "e"})).ok(201);
    let made = post(&app, "/customers", json!({"externalId": "b", "email": "b@c.example"})).ok(201);
    let shown = get(&app, "/customers/a").ok(200);
    drop(app);
    let app = open();
    get(&app, "/customers/b").is(200, made);
    get(&app, "/customers/a").is(200, shown);
}
