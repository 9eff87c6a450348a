//! The first generation, by its documented examples and worked numbers.

use std::time::Duration;

use limitry::{Engine, Metric, Period, Quota, RateLimit, Window};
use serde_json::{Value, json};

use crate::app::App;

fn add_quota(app: &App, limit: u64) -> Value {
    let body = json!({
        "name": "Daily Token Limit", "metric": "total_tokens", "limitValue": limit, "period": "day",
    });
    app.post("/v1/quotas", body.to_string()).ok(201)
}

fn add_rate_limit(app: &App, limit: u64, window: &str) -> Value {
    let body = json!({"name": "API Rate Limit", "limitValue": limit, "window": window});
    app.post("/v1/rate-limits", body.to_string()).ok(201)
}

fn event(tokens: u64) -> String {
    json!({"customerId": "cust_123", "eventType": "model_call", "totalTokens": tokens}).to_string()
}

/// The request with all twelve fields at their example values.
const WHOLE: &str = r#"{
    "customerId": "cust_123", "eventType": "model_call", "model": "gpt-4", "provider": "openai",
    "inputTokens": 150, "outputTokens": 50, "totalTokens": 200, "latencyMs": 1200, "costCents": 25,
    "properties": {"user_id": "user_789", "team_id": "team_eng", "feature": "chat"},
    "idempotencyKey": "req_abc123", "timestamp": "2024-01-15T10:30:00Z"
}"#;

#[test]
fn the_documented_call_has_the_documented_answer() {
    let app = App::new();
    let (limit, quota) = (add_rate_limit(&app, 1_000, "hour"), add_quota(&app, 100_000));
    let answer = app.post("/v1/track", WHOLE);
    assert_eq!(answer.header("x-ratelimit-limit"), Some("1000"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("999"));
    assert_eq!(answer.header("x-ratelimit-reset"), Some("1705316400"));
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let id = answer.body["id"].clone();
    assert!(id.as_str().is_some_and(|id| id.starts_with("evt_")), "{id}");
    let expected = json!({
        "id": id,
        "allowed": true,
        "rateLimits": [{
            "id": limit["id"], "name": "API Rate Limit", "window": "1h", "limit": 1000,
            "remaining": 999, "reset": 1_705_316_400, "exceeded": false,
        }],
        "quotas": [{
            "id": quota["id"], "name": "Daily Token Limit", "metric": "total_tokens",
            "period": "day", "limit": 100_000, "used": 200, "remaining": 99_800, "exceeded": false,
        }],
    });
    answer.is(201, expected.clone());
    // Again, by its key.
    let again = app.post("/v1/track", WHOLE);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    again.is(201, expected);
    // The key for another event.
    let other = app.post("/v1/track", WHOLE.replace("1200", "1300"));
    assert_eq!((other.status.as_u16(), &other.body["error"]), (409, &json!("Conflict")));
    let listed = app.get("/v1/events").ok(200);
    let expected = json!({
        "data": [{
            "id": id, "customerId": "cust_123", "eventType": "model_call", "model": "gpt-4",
            "provider": "openai", "inputTokens": 150, "outputTokens": 50, "totalTokens": 200,
            "latencyMs": 1200, "costCents": 25,
            "properties": {"user_id": "user_789", "team_id": "team_eng", "feature": "chat"},
            "createdAt": "2024-01-15T10:30:00Z",
        }],
        "nextCursor": null, "hasMore": false,
    });
    assert_eq!(listed, expected);
}

#[test]
fn a_quota_refuses_what_would_pass_it() {
    let app = App::new();
    add_quota(&app, 100);
    assert_eq!(app.post("/v1/track", event(60)).ok(201)["quotas"][0]["remaining"], 40);
    assert_eq!(app.post("/v1/track", event(30)).ok(201)["quotas"][0]["remaining"], 10);
    let refused = app.post("/v1/track", event(20));
    assert_eq!(refused.header("x-quota-period"), Some("day"));
    assert_eq!(refused.header("x-quota-metric"), Some("total_tokens"));
    assert_eq!(refused.header("x-quota-reset"), Some("1705363200"));
    assert_eq!(refused.header("retry-after"), Some("48600"));
    let body = refused.ok(429);
    assert_eq!((&body["allowed"], &body["error"]), (&json!(false), &json!("Quota exceeded")));
    assert_eq!(
        (&body["quotas"][0]["used"], &body["quotas"][0]["remaining"]),
        (&json!(90), &json!(10))
    );
    assert_eq!(app.post("/v1/track", event(10)).ok(201)["quotas"][0]["exceeded"], false);
    let check = app.post("/v1/quotas/check", r#"{"customer_id": "cust_123"}"#).ok(200);
    assert_eq!((&check["allowed"], &check["quotas"][0]["exceeded"]), (&json!(false), &json!(true)));
    // What is recorded counts all the same.
    app.post("/v1/events", event(5)).ok(201);
    let check = app.post("/v1/quotas/check", "{}").ok(200);
    assert_eq!(
        (&check["quotas"][0]["used"], &check["quotas"][0]["remaining"]),
        (&json!(105), &json!(0))
    );
}

#[test]
fn rate_limits_are_fixed_windows_unless_they_say_otherwise() {
    let app = App::new();
    let rule = add_rate_limit(&app, 2, "minute");
    assert_eq!(rule["algorithm"], "fixed_window");
    app.clock.advance(Duration::from_secs(10));
    app.post("/v1/track", event(1)).ok(201);
    app.clock.advance(Duration::from_secs(10));
    app.post("/v1/track", event(1)).ok(201);
    app.clock.advance(Duration::from_secs(10));
    let refused = app.post("/v1/track", event(1));
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(refused.header("x-ratelimit-reset"), Some("1705314660"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let body = refused.ok(429);
    assert_eq!(body["error"], "Rate limit exceeded");
    assert_eq!(body["rateLimits"][0]["exceeded"], true);
    app.clock.advance(Duration::from_secs(30));
    app.post("/v1/track", event(1)).ok(201);
    let check = app.post("/v1/rate-limits/check", r#"{"customerId": "cust_123"}"#).ok(200);
    assert_eq!(
        (&check["allowed"], &check["rateLimits"][0]["remaining"]),
        (&json!(true), &json!(1))
    );
    assert!(check.get("quotas").is_none());
    for (field, value, algorithm) in
        [("algorithm", json!("token_bucket"), None), ("burst", json!(7), None)]
    {
        let body = json!({"name": field, "limitValue": 5, "window": "second", field: value});
        let rule = app.post("/v1/rate-limits", body.to_string()).ok(201);
        assert_eq!(rule.get("algorithm"), algorithm.as_ref(), "the bucket is the default: {rule}");
    }
}

#[test]
fn rules_are_made_changed_listed_and_removed() {
    let app = App::new();
    let quota = add_quota(&app, 100);
    let expected = json!({
        "id": "qta_daily_token_limit", "projectId": "proj_xyz", "name": "Daily Token Limit",
        "dimensionFilters": {}, "metric": "total_tokens", "limitValue": 100, "period": "day",
        "createdAt": "2024-01-15T10:30:00Z", "updatedAt": "2024-01-15T10:30:00Z",
    });
    assert_eq!(quota, expected);
    assert_eq!(app.get("/v1/quotas/qta_daily_token_limit").ok(200), expected);
    app.clock.advance(Duration::from_secs(60));
    let change = r#"{"limitValue": 50, "dimensionFilters": {"team_id": "eng"}}"#;
    let changed = app.send(crate::app::KEY, "PUT", "/v1/quotas/qta_daily_token_limit", change);
    let mut expected = expected;
    expected["limitValue"] = json!(50);
    expected["dimensionFilters"] = json!({"team_id": "eng"});
    expected["updatedAt"] = json!("2024-01-15T10:31:00Z");
    assert_eq!(changed.ok(200), expected);
    // A rate limit has no quota's path.
    let limit = add_rate_limit(&app, 5, "second");
    let id = limit["id"].as_str().expect("an id");
    for method in ["GET", "PUT", "DELETE"] {
        let answer = app.send(crate::app::KEY, method, &format!("/v1/quotas/{id}"), "{}");
        assert_eq!(answer.ok(404)["error"], "Resource not found", "{method}");
    }
    let path = format!("/v1/rate-limits/{id}");
    let gone = app.send(crate::app::KEY, "DELETE", &path, "");
    gone.is(204, Value::Null);
    assert_eq!(app.get(&path).status, 404);
    assert_eq!(app.send(crate::app::KEY, "DELETE", &path, "").status, 404);
    assert_eq!(app.engine.rules().list().len(), 1);
}

#[test]
fn rules_of_the_application_are_there_too() {
    let rule = Quota::new("Cents", Metric::TotalCostCents, 5, Period::Month).per("customer_id");
    let app = App::with(Engine::builder().quota(rule));
    let listed = app.get("/v1/quotas").ok(200);
    assert_eq!(listed["data"][0]["projectId"], "proj_xyz");
    assert_eq!(listed["data"][0]["per"], json!(["customer_id"]));
    // Without a customer it is about nobody.
    let check = app.post("/v1/quotas/check", r#"{"model": "gpt-4"}"#).ok(200);
    assert_eq!(check, json!({"allowed": true, "quotas": []}));
    let check = app.post("/v1/quotas/check", r#"{"customer_id": "new"}"#).ok(200);
    assert_eq!(check["quotas"][0]["remaining"], 5);
}

#[test]
fn lists_have_pages_that_removals_do_not_disturb() {
    let app = App::new();
    let add = |number: u64| {
        app.clock.advance(Duration::from_secs(1));
        let rule = RateLimit::new(format!("R{number}"), number, Window::Hour);
        app.engine.rules().add(rule).expect("a good rule");
    };
    (1..=5).for_each(add);
    let page = |query: &str| app.get(&format!("/v1/rate-limits?{query}"));
    let limits = |page: &Value| {
        let data = page["data"].as_array().expect("a list").iter();
        data.map(|rule| rule["limitValue"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    let first = page("limit=2").ok(200);
    assert_eq!((limits(&first), &first["hasMore"]), (vec![5, 4], &json!(true)));
    // The last of the page goes, and a new one comes.
    app.engine.rules().remove("rl_r4").expect("it is there");
    add(6);
    let cursor = first["nextCursor"].as_str().expect("a cursor");
    let second = page(&format!("limit=2&cursor={cursor}")).ok(200);
    assert_eq!((limits(&second), &second["hasMore"]), (vec![3, 2], &json!(true)));
    let cursor = second["nextCursor"].as_str().expect("a cursor");
    let third = page(&format!("limit=2&cursor={cursor}")).ok(200);
    assert_eq!((limits(&third), &third["hasMore"]), (vec![1], &json!(false)));
    assert_eq!(third["nextCursor"], Value::Null);
    for bad in ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=", "other=1"] {
        let answer = page(bad);
        assert_eq!(answer.status, 400, "{bad}");
        let field = bad.split('=').next().expect("a field");
        assert!(
            answer.body["details"].as_str().expect("a text").contains(field),
            "{}",
            answer.body
        );
    }
}

#[test]
fn a_batch_is_recorded_whole_or_not() {
    let app = App::new();
    let events = (0..1_000).map(|_| json!({"customerId": "c", "eventType": "e"}));
    let mut events: Vec<Value> = events.collect();
    app.post("/v1/events/batch", json!({"events": events}).to_string()).ok(201);
    assert_eq!(app.engine.events().len(), 1_000);
    events[700]["inputTokens"] = json!(-1);
    let bad = app.post("/v1/events/batch", json!({"events": events}).to_string());
    let details = bad.body["details"].as_str().expect("a text").to_owned();
    assert!(details.contains("events[700].inputTokens"), "{details}");
    assert_eq!(bad.ok(400)["error"], "Invalid request");
    assert_eq!(app.engine.events().len(), 1_000);
    app.post("/v1/events/batch", r#"{"events": []}"#).ok(400);
    let twice = json!({"customerId": "c", "eventType": "e", "idempotencyKey": "k"});
    let answer = app.post("/v1/events/batch", json!([twice, twice]).to_string()).ok(201);
    assert_eq!(answer["count"], 1);
}

#[test]
fn usage_is_answered_as_the_engine_answers_it() {
    let app = App::new();
    for (customer, model, tokens) in [("a", "gpt-4", 10), ("a", "small", 5), ("b", "small", 1)] {
        let event = json!({
            "customerId": customer, "eventType": "call", "model": model, "inputTokens": tokens,
        });
        app.post("/v1/events", event.to_string()).ok(201);
    }
    let range = "startDate=2024-01-15T10:00:00Z&endDate=2024-01-15T12:00:00Z";
    let sums = |events: u64, tokens: u64| {
        json!({
            "totalEvents": events, "totalTokens": tokens, "totalInputTokens": tokens,
            "totalOutputTokens": 0, "totalCostCents": 0,
        })
    };
    let with = |mut sums: Value, name: &str, value: Value| {
        sums[name] = value;
        sums
    };
    assert_eq!(app.get(&format!("/v1/usage/summary?{range}")).ok(200), sums(3, 16));
    let of_a = app.get(&format!("/v1/usage/summary?{range}&customerId=a&model=small")).ok(200);
    assert_eq!(of_a, sums(1, 5));
    let by_model = app.get(&format!("/v1/usage/breakdown?{range}&groupBy=model")).ok(200);
    let rows = json!([
        with(sums(2, 6), "dimension", json!("small")),
        with(sums(1, 10), "dimension", json!("gpt-4")),
    ]);
    assert_eq!(by_model["data"], rows);
    let series = app.get(&format!("/v1/usage/timeseries?{range}&interval=hour")).ok(200);
    let points = json!([
        with(sums(3, 16), "timestamp", json!("2024-01-15T10:00:00Z")),
        with(sums(0, 0), "timestamp", json!("2024-01-15T11:00:00Z")),
    ]);
    assert_eq!(series["data"], points);
    let customer = app.get(&format!("/v1/customers/a/usage?{range}")).ok(200);
    assert_eq!(customer, with(sums(2, 15), "customerId", json!("a")));
    let back = "startDate=2024-01-15T12:00:00Z&endDate=2024-01-15T12:00:00Z";
    let error = "Invalid date range: startDate must be before endDate";
    app.get(&format!("/v1/usage/summary?{back}")).is(400, json!({"error": error}));
    for bad in ["summary", "breakdown?groupBy=model", "timeseries?interval=day", "customers"] {
        let path = match bad {
            "customers" => "/v1/customers/a/usage".to_owned(),
            other => format!("/v1/usage/{other}"),
        };
        assert_eq!(app.get(&path).ok(400)["details"], "startDate and endDate must be given");
    }
    for bad in ["timeseries?interval=decade", "breakdown", "timeseries", "summary?zone=x"] {
        let join = if bad.contains('?') { '&' } else { '?' };
        assert_eq!(app.get(&format!("/v1/usage/{bad}{join}{range}")).status, 400, "{bad}");
    }
}

#[test]
fn a_bad_request_says_what_is_wrong_and_changes_nothing() {
    let app = App::new();
    let bad = [
        ("/v1/track", "", "EOF"),
        ("/v1/track", "[]", "a list must be an event"),
        ("/v1/track", r#"{"customerId": "c"}"#, "eventType"),
        ("/v1/track", r#"{"customerId": "", "eventType": "e"}"#, "customer_id"),
        (
            "/v1/track",
            r#"{"customerId": "c", "eventType": "e", "inputTokens": 1.5}"#,
            "inputTokens",
        ),
        ("/v1/events", r#"{"customerId": "c", "eventType": "e", "tokens": 1}"#, "tokens"),
        (
            "/v1/quotas",
            r#"{"name": "n", "metric": "m", "limitValue": 1, "period": "day"}"#,
            "metric",
        ),
        (
            "/v1/quotas",
            r#"{"name": "", "metric": "total_events", "limitValue": 1, "period": "day"}"#,
            "name",
        ),
        ("/v1/rate-limits", r#"{"name": "n", "limitValue": -1, "window": "hour"}"#, "limitValue"),
        ("/v1/rate-limits", r#"{"name": "n", "limitValue": 1, "window": "month"}"#, "window"),
        (
            "/v1/rate-limits",
            r#"{"name": "n", "limitValue": 1, "window": "hour", "dimensionFilters": {"a": 7}}"#,
            "dimensionFilters.a",
        ),
        ("/v1/quotas/check", r#"{"customer_id": 7}"#, "string"),
        ("/v1/quotas/check", r#"{"customer_id": ""}"#, "customer_id"),
    ];
    for (path, body, named) in bad {
        let answer = app.post(path, body);
        let details = answer.body["details"].as_str().unwrap_or_default().to_owned();
        assert!(details.contains(named), "{path} {body}: {}", answer.body);
        assert_eq!(answer.ok(400)["error"], "Invalid request");
    }
    assert!(app.engine.rules().list().is_empty() && app.engine.events().is_empty());
}
