//! Limits, and checks of them.

use std::time::Duration;

use limitry::time::Tz;
use limitry::{Engine, Event, Metric, Period, Quota};
use serde_json::{Value, json};

use super::{delete, get, ids, pages, post, put};
use crate::app::App;

/// A meter of the sum of `values.n`, by its id.
fn meter(app: &App, filter: Value) -> String {
    let body =
        json!({"name": "n", "aggregation": "sum", "field": "values.n", "eventFilter": filter});
    post(app, "/meters", body).ok(201)["id"].as_str().expect("a text").to_owned()
}

fn limit(app: &App, meter: &str, value: u64, more: Value) -> Value {
    let mut body = json!({"name": "L", "meterId": meter, "limitValue": value, "period": "day"});
    body.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
    post(app, "/limits", body).ok(201)
}

fn record(app: &App, customer: &str, n: u64, dimensions: Value) {
    let body = json!({"customerId": customer, "eventType": "llm.completion", "values": {"n": n},
        "dimensions": dimensions});
    post(app, "/events/record", body).ok(201);
}

fn check(app: &App, body: Value) -> Value {
    post(app, "/limits/check", body).ok(200)
}

/// The name, what is used and what is left of each limit of a check.
fn figures(checked: &Value) -> Vec<(String, Value, Value)> {
    let limits = checked["limits"].as_array().expect("a list").iter();
    let text = |it: &Value| it["name"].as_str().expect("a text").to_owned();
    limits.map(|it| (text(it), it["used"].clone(), it["remaining"].clone())).collect()
}

#[test]
fn a_limit_is_made_changed_and_removed() {
    let app = App::new();
    let meter = meter(&app, json!({}));
    let made = limit(&app, &meter, 100_000, json!({"alertThresholds": [50, 80, 100]}));
    let id = made["id"].as_str().expect("a text").to_owned();
    assert!(id.starts_with("lmt_"), "{id}");
    let at = "2024-01-15T10:30:00Z";
    let expected = json!({
        "id": id, "projectId": "proj_xyz", "customerId": null, "name": "L", "meterId": meter,
        "limitValue": 100_000, "period": "day", "dimensionFilters": {},
        "alertThresholds": [50, 80, 100], "createdAt": at, "updatedAt": at,
    });
    assert_eq!(made, expected);
    let path = format!("/limits/{id}");
    get(&app, &path).is(200, expected.clone());
    let change = json!({
        "name": "M", "limitValue": 5, "period": "annual", "customerId": "cust_1",
        "dimensionFilters": {"model": "gpt-4"}, "alertThresholds": null,
        "meterId": "mtr_total_tokens",
    });
    let mut due = expected;
    due.as_object_mut().expect("one").extend(change.as_object().expect("one").clone());
    put(&app, &path, change).is(200, due.clone());
    let quota = app.engine.rules().get::<Quota>(&id).expect("it is one");
    assert_eq!((quota.metric, quota.period), (Metric::TotalTokens, Period::Year));
    assert_eq!((quota.per.len(), quota.dimension_filters.len()), (1, 2));
    due["customerId"] = Value::Null;
    put(&app, &path, json!({"customerId": null})).is(200, due.clone());
    put(&app, &path, json!({})).is(200, due);
    assert_eq!(app.engine.rules().get::<Quota>(&id).expect("it is one").per, ["customer_id"]);
    assert_eq!(delete(&app, &path).status, 204);
    for answer in [get(&app, &path), delete(&app, &path), put(&app, &path, json!({}))] {
        answer.fails(404, "limit_not_found", &id);
    }
}

#[test]
fn a_check_says_where_a_customer_stands() {
    let app = App::at("2024-01-01T10:00:00Z", Engine::builder());
    let meter = meter(&app, json!({}));
    let made = limit(&app, &meter, 100_000, json!({}));
    record(&app, "cust_123", 45_230, json!({}));
    let status = |used: u64, exceeded: bool| {
        json!({
            "id": made["id"], "name": "L", "meterId": meter, "period": "day", "limit": 100_000,
            "used": used, "remaining": 100_000_u64.saturating_sub(used), "exceeded": exceeded,
            "reset": 1_704_153_600,
        })
    };
    let ask = |customer: &str| check(&app, json!({"customerId": customer}));
    assert_eq!(ask("cust_123"), json!({"allowed": true, "limits": [status(45_230, false)]}));
    // Nobody is made by a question.
    assert_eq!(ask("unknown"), json!({"allowed": true, "limits": [status(0, false)]}));
    assert!(app.engine.customers().get("unknown").is_none());
    record(&app, "cust_123", 54_770, json!({}));
    let denied = json!({"allowed": false, "reason": "limit_exceeded",
        "limits": [status(100_000, true)]});
    assert_eq!(ask("cust_123"), denied);
    // Recording never denies.
    record(&app, "cust_123", 10, json!({}));
    assert_eq!(ask("cust_123")["limits"][0], status(100_010, true));
    // The project as a whole, and the next day.
    record(&app, "cust_9", 5, json!({}));
    assert_eq!(check(&app, json!({}))["limits"][0], status(100_015, true));
    app.clock.advance(Duration::from_secs(14 * 3_600));
    assert_eq!(ask("cust_123")["limits"][0]["used"], 0);
    assert_eq!(check(&app, json!({}))["limits"][0]["used"], 0);
}

#[test]
fn each_period_resets_at_its_end() {
    let app = App::with(Engine::builder().time_zone(Tz::America__New_York));
    let ends = [
        ("hour", Some("2024-01-15T11:00:00Z")),
        ("day", Some("2024-01-16T05:00:00Z")),
        ("week", Some("2024-01-22T05:00:00Z")),
        ("month", Some("2024-02-01T05:00:00Z")),
        ("annual", Some("2025-01-01T05:00:00Z")),
        ("all_time", None),
    ];
    for (period, _) in ends {
        limit(&app, "mtr_total_events", 7, json!({"name": period, "period": period}));
    }
    // Before all the periods but that of all time.
    let event = json!({"customerId": "c", "eventType": "e", "timestamp": "2023-12-31T23:00:00Z"});
    let _ = app.engine.record(&serde_json::from_value(event).expect("an event")).expect("good");
    let _ = app.engine.record(&Event::new("c", "e")).expect("good");
    for question in [json!({"customerId": "c"}), json!({})] {
        let checked = check(&app, question);
        for ((period, end), found) in ends.iter().zip(checked["limits"].as_array().expect("a")) {
            let end =
                end.map(|end| end.parse::<limitry::Timestamp>().expect("a time").unix_seconds());
            assert_eq!((&found["period"], &found["reset"]), (&json!(period), &json!(end)));
            assert_eq!(found["used"], if *period == "all_time" { 2 } else { 1 }, "{period}");
        }
    }
}

#[test]
fn a_customers_own_limit_stands_in_the_place_of_the_one_for_all() {
    let app = App::new();
    let meter = meter(&app, json!({}));
    limit(&app, &meter, 10, json!({"name": "all"}));
    limit(&app, &meter, 50, json!({"name": "all a month", "period": "month"}));
    let own = limit(&app, &meter, 100, json!({"name": "own", "customerId": "big"}));
    for customer in ["big", "small"] {
        record(&app, customer, 10, json!({}));
    }
    let of = |customer: &str| check(&app, json!({"customerId": customer}));
    let due =
        |it: [(&str, i64); 2]| it.map(|(name, left)| (name.to_owned(), json!(10), json!(left)));
    assert_eq!(figures(&of("big")), due([("all a month", 40), ("own", 90)]));
    assert_eq!(figures(&of("small")), due([("all", 0), ("all a month", 40)]));
    assert_eq!((&of("big")["allowed"], &of("small")["allowed"]), (&json!(true), &json!(false)));
    // One more that differs in its name alone judges beside them.
    limit(&app, &meter, 70, json!({"name": "own too", "customerId": "big"}));
    assert_eq!(figures(&of("big")).len(), 3);
    let listed = pages(&app, "/limits?customerId=big", 1);
    assert_eq!(listed.len(), 2);
    // Given to another, and made one for all.
    let path = format!("/limits/{}", own["id"].as_str().expect("a text"));
    put(&app, &path, json!({"customerId": "small"})).ok(200);
    assert_eq!(figures(&of("small")), due([("all a month", 40), ("own", 90)]));
    put(&app, &path, json!({"customerId": null})).ok(200);
    assert_eq!(figures(&of("small")).len(), 3);
}

#[test]
fn filters_are_asked_of_who_checks_and_a_meters_of_events() {
    let app = App::new();
    let completions = json!({"eventType": "llm.completion", "dimensions": {"feature": "chat"}});
    let meter = meter(&app, completions);
    limit(&app, &meter, 10, json!({"name": "chat"}));
    limit(&app, &meter, 10, json!({"name": "gpt", "dimensionFilters": {"model": "gpt-4"}}));
    record(&app, "c", 3, json!({"feature": "chat", "model": "gpt-4"}));
    record(&app, "c", 2, json!({"feature": "chat", "model": "other"}));
    record(&app, "c", 1, json!({"feature": "search", "model": "gpt-4"}));
    let row = |name: &str, used: u64| (name.to_owned(), json!(used), json!(10 - used));
    let plain = check(&app, json!({"customerId": "c"}));
    assert_eq!(figures(&plain), [row("chat", 5)]);
    let both = [row("chat", 5), row("gpt", 3)];
    for dimensions in [json!({"model": "gpt-4"}), json!({"model": "gpt-4", "feature": "search"})] {
        let body = json!({"customerId": "c", "dimensions": dimensions});
        assert_eq!(figures(&check(&app, body)), both);
    }
    let other = json!({"customerId": "c", "dimensions": {"model": "other"}});
    assert_eq!(figures(&check(&app, other)), [row("chat", 5)]);
    let all = json!({"dimensions": {"model": "gpt-4"}});
    assert_eq!(figures(&check(&app, all)), both);
}

#[test]
fn a_meter_may_ask_anything_of_events() {
    let app = App::new();
    let conditions = [
        json!(["a", "b"]),
        json!({"prefix": "gp"}),
        json!({"not": ["-", "--"]}),
        json!({"present": true}),
        json!({"present": false}),
    ];
    for condition in conditions {
        let meter = meter(&app, json!({"dimensions": {"feature": condition}}));
        limit(&app, &meter, 10, json!({}));
    }
    for feature in ["a", "gpx", "-", "--"] {
        record(&app, "c", 1, json!({"feature": feature}));
    }
    record(&app, "c", 1, json!({}));
    let due: Vec<_> = [1, 1, 2, 4, 1].map(|used| json!(used)).into();
    for question in [
        json!({"customerId": "c"}),
        json!({"customerId": "c", "dimensions": {"feature": "zzz"}}),
        json!({}),
    ] {
        let checked = check(&app, question);
        let used: Vec<_> = figures(&checked).into_iter().map(|(_, used, _)| used).collect();
        assert_eq!(used, due);
    }
}

#[test]
fn one_generation_reads_what_another_writes() {
    let app = App::new();
    let meter = meter(&app, json!({}));
    let made = limit(&app, &meter, 10, json!({"name": "second"}));
    let body = json!({"name": "first", "metric": "total_tokens", "limitValue": 100,
        "period": "month"});
    let first = app.post("/v1/quotas", body.to_string()).ok(201);
    // The first generation's request is judged by both.
    let track = |n: u64| {
        let body =
            json!({"customerId": "c", "eventType": "e", "totalTokens": 60, "values": {"n": n}});
        app.post("/v1/track", body.to_string())
    };
    let quotas = track(8).ok(201)["quotas"].clone();
    assert_eq!((&quotas[0]["id"], &quotas[0]["remaining"]), (&made["id"], &json!(2)));
    assert_eq!(track(3).ok(429)["quotas"][0]["exceeded"], true);
    let checked = check(&app, json!({"customerId": "c"}));
    let row = |name: &str, used: u64, left: u64| (name.to_owned(), json!(used), json!(left));
    assert_eq!(figures(&checked), [row("second", 8, 2), row("first", 60, 40)]);
    // A quota of the first is a limit on a global meter here.
    let path = format!("/limits/{}", first["id"].as_str().expect("a text"));
    let shown = get(&app, &path).ok(200);
    assert_eq!(
        (&shown["meterId"], &shown["period"]),
        (&json!("mtr_total_tokens"), &json!("month"))
    );
    let changed = put(&app, &path, json!({"limitValue": 50})).ok(200);
    assert_eq!(changed["limitValue"], 50);
    assert_eq!(app.get("/v1/quotas/qta_first").ok(200)["limitValue"], 50);
    let listed = pages(&app, "/limits", 1);
    assert_eq!(ids(&listed), [ids(&[first])[0], ids(std::slice::from_ref(&made))[0]]);
    // And the other way round.
    let id = made["id"].as_str().expect("a text");
    let quota = app.get(&format!("/v1/quotas/{id}")).ok(200);
    assert_eq!(quota["metric"], format!("meter.{meter}"));
    // What this generation has no words for is not among its limits.
    let budget = Quota::new("r", Metric::TotalTokens, 9, Period::rolling(Duration::from_secs(60)));
    let trial = Quota::new("t", Metric::TotalTokens, 9, Period::Day).first_use();
    for unsaid in [budget, trial.per("customer_id")] {
        let id = app.engine.rules().add(unsaid).expect("good").id.expect("an id");
        get(&app, &format!("/limits/{id}")).fails(404, "limit_not_found", &id);
    }
    assert_eq!(pages(&app, "/limits", 10).len(), 2);
}

#[test]
fn each_threshold_fires_once() {
    let app = App::new();
    let meter = meter(&app, json!({}));
    limit(&app, &meter, 100, json!({"alertThresholds": [80, 100]}));
    let mut fired = Vec::new();
    for n in [79, 2, 19, 5] {
        record(&app, "c", n, json!({}));
        fired.push(std::iter::from_fn(|| app.engine.alerts().poll()).count());
    }
    assert_eq!(fired, [0, 1, 1, 0]);
}

#[test]
fn a_bad_limit_says_what_is_wrong() {
    let app = App::new();
    let meter = meter(&app, json!({}));
    let good = json!({"name": "L", "meterId": meter, "limitValue": 9, "period": "day"});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    for lacking in ["name", "meterId", "limitValue", "period"] {
        post(&app, "/limits", with(lacking, Value::Null)).fails(
            400,
            "missing_required_field",
            lacking,
        );
    }
    post(&app, "/limits", with("meterId", json!("mtr_no"))).fails(404, "meter_not_found", "mtr_no");
    let made = post(&app, "/limits", good.clone()).ok(201);
    let path = format!("/limits/{}", made["id"].as_str().expect("a text"));
    put(&app, &path, json!({"meterId": "mtr_no"})).fails(404, "meter_not_found", "mtr_no");
    for (key, value, named) in [
        ("name", json!(""), "name"),
        ("limitValue", json!(-1), "limitValue"),
        ("limitValue", json!("many"), "limitValue"),
        ("period", json!("year"), "period"),
        ("period", json!("minute"), "period"),
        ("customerId", json!(""), "customer_id"),
        ("customerId", json!(7), "customerId"),
        ("dimensionFilters", json!({"a": 7}), "dimensionFilters.a"),
        ("dimensionFilters", json!({"a b": "x"}), "a b"),
        ("dimensionFilters", json!({"a": "x".repeat(257)}), "a"),
        ("dimensionFilters", json!({"customer_id": "x"}), "customerId"),
        ("alertThresholds", json!([0]), "alertThresholds"),
        ("alertThresholds", json!([101]), "alertThresholds"),
        ("alertThresholds", json!([1.5]), "alertThresholds"),
        ("alertThresholds", json!("80"), "alertThresholds"),
        ("metric", json!("total_tokens"), "metric"),
    ] {
        post(&app, "/limits", with(key, value.clone())).fails(400, "invalid_field_value", named);
        put(&app, &path, json!({key: value})).fails(400, "invalid_field_value", named);
    }
    get(&app, &path).is(200, made);
    for (body, named) in [
        (json!({"customer": "c"}), "customer"),
        (json!({"customerId": ""}), "customer_id"),
        (json!({"customerId": 7}), "customerId"),
        (json!({"dimensions": {"a": 7}}), "dimensions.a"),
        (json!({"dimensions": {"a b": "c"}}), "a b"),
    ] {
        post(&app, "/limits/check", body).fails(400, "invalid_field_value", named);
    }
    for bad in ["limit=0", "limit=101", "cursor=x", "meter=x"] {
        let name = bad.split('=').next().expect("a name");
        get(&app, &format!("/limits?{bad}")).fails(400, "invalid_field_value", name);
    }
    // Nothing at all, and a part, may be allowed.
    post(&app, "/limits", with("limitValue", json!(0))).ok(201);
    post(&app, "/limits", with("limitValue", json!(0.5))).ok(201);
}
