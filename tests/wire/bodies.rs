//! Goal: what goes over the wire is the product's shape, byte for byte, and what comes in is read
//! in every form that is promised; a field that nobody knows is an error that names it, so that a
//! typing error never switches a rule off in silence.
//!
//! Method: whole bodies as text, tables of forms, and properties that print and read back.

use std::time::Duration;

use limitry::{
    Algorithm, Amount, Enforcement, Engine, EngineBuilder, Event, ManualClock, Metric, Overflow,
    Period, Quota, QuotaUpdate, RateLimit, RateLimitUpdate, Recording, RuleSet, SyncOptions,
    Timestamp, Window,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// So many cases, or `LIMITRY_CASES`; the seeds of failures are kept beside this file.
fn config(cases: u32) -> ProptestConfig {
    let given = std::env::var("LIMITRY_CASES").ok().and_then(|text| text.parse().ok());
    let seeds = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        cases: given.unwrap_or(cases),
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

/// An engine at 2024-01-15T09:30:00Z.
fn engine(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    let clock = ManualClock::new("2024-01-15T09:30:00Z".parse().expect("an instant"));
    build(Engine::builder().clock(clock)).build().expect("the rules of this test are valid")
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

fn read<T: DeserializeOwned>(body: &str) -> T {
    serde_json::from_str(body).unwrap_or_else(|why| unreachable!("{body}: {why}"))
}

fn refused<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> String {
    serde_json::from_str::<T>(body).expect_err(body).to_string()
}

/// The two rules of the product's example.
fn example() -> Engine {
    engine(|builder| {
        let limit = RateLimit::new("API Rate Limit", 1_000, Window::Hour).id("rl_xyz789");
        let quota = Quota::new("Daily Token Limit", Metric::TotalTokens, 100_000, Period::Day);
        builder.rate_limit(limit.algorithm(Algorithm::FixedWindow)).quota(quota.id("qta_def456"))
    })
}

#[test]
fn the_body_of_an_allowed_event_is_the_products() {
    let engine = example();
    let tokens = |tokens| Event::new("cust_123", "model_call").total_tokens(tokens);
    for _ in 0..152 {
        let _ = engine.track(&tokens(0)).expect("a valid event");
    }
    let decision = engine.track(&tokens(45_230)).expect("a valid event");
    let id = decision.event_id().expect("it was recorded");
    assert_eq!(
        text(&decision),
        format!(
            "{{\"id\":\"{id}\",\"allowed\":true,\
             \"rateLimits\":[{{\"id\":\"rl_xyz789\",\"name\":\"API Rate Limit\",\"window\":\"1h\",\
             \"limit\":1000,\"remaining\":847,\"reset\":1705312800,\"exceeded\":false}}],\
             \"quotas\":[{{\"id\":\"qta_def456\",\"name\":\"Daily Token Limit\",\
             \"metric\":\"total_tokens\",\"period\":\"day\",\"limit\":100000,\"used\":45230,\
             \"remaining\":54770,\"exceeded\":false}}]}}"
        )
    );
    assert!(id.to_string().starts_with("evt_"));
    assert_eq!(read::<limitry::EventId>(&format!("\"{id}\"")), id);
}

#[test]
fn the_body_of_an_event_that_a_rate_limit_refuses_is_the_products() {
    let engine = example();
    let event = Event::new("cust_123", "model_call").total_tokens(10);
    for _ in 0..1_000 {
        assert!(engine.track(&event).expect("a valid event").is_allowed());
    }
    let decision = engine.track(&event).expect("a valid event");
    assert_eq!(decision.status_code(), 429);
    assert_eq!(
        text(&decision),
        "{\"allowed\":false,\"error\":\"Rate limit exceeded\",\
         \"rateLimits\":[{\"id\":\"rl_xyz789\",\"name\":\"API Rate Limit\",\"window\":\"1h\",\
         \"limit\":1000,\"remaining\":0,\"reset\":1705312800,\"exceeded\":true}],\
         \"quotas\":[{\"id\":\"qta_def456\",\"name\":\"Daily Token Limit\",\
         \"metric\":\"total_tokens\",\"period\":\"day\",\"limit\":100000,\"used\":10000,\
         \"remaining\":90000,\"exceeded\":false}]}"
    );
}

#[test]
fn the_body_of_an_event_that_a_quota_refuses_says_so() {
    let engine = example();
    let event = |tokens| Event::new("cust_123", "model_call").total_tokens(tokens);
    let _ = engine.track(&event(99_999)).expect("a valid event");
    let decision = engine.track(&event(2)).expect("a valid event");
    assert_eq!(
        text(&decision),
        "{\"allowed\":false,\"error\":\"Quota exceeded\",\
         \"rateLimits\":[{\"id\":\"rl_xyz789\",\"name\":\"API Rate Limit\",\"window\":\"1h\",\
         \"limit\":1000,\"remaining\":999,\"reset\":1705312800,\"exceeded\":false}],\
         \"quotas\":[{\"id\":\"qta_def456\",\"name\":\"Daily Token Limit\",\
         \"metric\":\"total_tokens\",\"period\":\"day\",\"limit\":100000,\"used\":99999,\
         \"remaining\":1,\"exceeded\":true}]}"
    );
    let standing = engine.standing(&event(0)).expect("a valid event");
    assert_eq!(
        text(&standing),
        "{\"allowed\":true,\
         \"rateLimits\":[{\"id\":\"rl_xyz789\",\"name\":\"API Rate Limit\",\"window\":\"1h\",\
         \"limit\":1000,\"remaining\":999,\"reset\":1705312800,\"exceeded\":false}],\
         \"quotas\":[{\"id\":\"qta_def456\",\"name\":\"Daily Token Limit\",\
         \"metric\":\"total_tokens\",\"period\":\"day\",\"limit\":100000,\"used\":99999,\
         \"remaining\":1,\"exceeded\":false}]}"
    );
}

#[test]
fn an_event_that_is_not_recorded_has_no_id_and_fractions_are_exact() {
    let engine = engine(|builder| {
        let quota = Quota::new("GPU", Metric::value("gpu_seconds"), 10, Period::rolling(HOUR));
        builder.recording(Recording::Off).quota(quota.id("q"))
    });
    let event = Event::new("c", "call").value("gpu_seconds", "0.25");
    assert_eq!(
        text(&engine.track(&event).expect("a valid event")),
        "{\"allowed\":true,\"rateLimits\":[],\"quotas\":[{\"id\":\"q\",\"name\":\"GPU\",\
         \"metric\":\"values.gpu_seconds\",\"period\":\"rolling:1h\",\"limit\":10,\"used\":0.25,\
         \"remaining\":9.75,\"exceeded\":false}]}"
    );
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_rule_as_the_engine_lists_it_is_the_products_object() {
    let engine = engine(|builder| {
        let limit = RateLimit::new("API", 1_000, Window::Hour).id("rl_1").filter("model", "gpt-4");
        let quota = Quota::new("Daily", Metric::TotalTokens, 5, Period::Day).id("qta_1");
        builder.rate_limit(limit).quota(quota)
    });
    assert_eq!(
        text(&engine.rate_limits()),
        "[{\"id\":\"rl_1\",\"name\":\"API\",\"dimensionFilters\":{\"model\":\"gpt-4\"},\
         \"limitValue\":1000,\"window\":\"hour\",\"enabled\":true,\
         \"createdAt\":\"2024-01-15T09:30:00Z\",\"updatedAt\":\"2024-01-15T09:30:00Z\"}]"
    );
    assert_eq!(
        text(&engine.quotas()),
        "[{\"id\":\"qta_1\",\"name\":\"Daily\",\"dimensionFilters\":{},\
         \"metric\":\"total_tokens\",\"limitValue\":5,\"period\":\"day\",\
         \"createdAt\":\"2024-01-15T09:30:00Z\",\"updatedAt\":\"2024-01-15T09:30:00Z\"}]"
    );
    assert_eq!(
        text(&engine.rule_set()),
        format!(
            "{{\"rateLimits\":{},\"quotas\":{}}}",
            text(&engine.rate_limits()),
            text(&engine.quotas())
        )
    );
}

#[test]
fn the_product_s_objects_read_as_they_are_listed() {
    let limit: RateLimit = read(
        r#"{"id": "rl_xyz789", "projectId": "proj_xyz", "name": "API", "dimensionFilters": {},
            "limitValue": 1000, "window": "hour", "enabled": false,
            "createdAt": "2024-01-15T10:30:00Z", "updatedAt": "2024-01-15T12:30:00+02:00"}"#,
    );
    assert_eq!((limit.id.as_deref(), limit.enabled), (Some("rl_xyz789"), false));
    assert_eq!(limit.project_id.as_deref(), Some("proj_xyz"));
    assert_eq!(limit.created_at, limit.updated_at);
    let quota: Quota = read(
        r#"{"id": "qta_1", "projectId": "proj_xyz", "name": "Q",
            "dimensionFilters": {"team_id": "eng"}, "metric": "total_cost_cents",
            "limitValue": 5, "period": "month", "createdAt": "2024-01-15T10:30:00Z",
            "updatedAt": "2024-01-15T10:30:00Z"}"#,
    );
    assert_eq!(quota.dimension_filters.get("team_id").map(String::as_str), Some("eng"));
    assert!(quota.enabled);
}

#[test]
fn a_create_body_needs_only_what_the_product_needs() {
    let limit: RateLimit = read(r#"{"name": "API", "limitValue": 10, "window": "minute"}"#);
    assert_eq!(limit, RateLimit::new("API", 10, Window::Minute));
    let quota: Quota =
        read(r#"{"name": "Daily", "metric": "total_tokens", "limitValue": 10, "period": "day"}"#);
    assert_eq!(quota, Quota::new("Daily", Metric::TotalTokens, 10, Period::Day));
    for missing in ["name", "limitValue", "window"] {
        let mut body = json!({"name": "API", "limitValue": 10, "window": "minute"});
        body.as_object_mut().expect("an object").remove(missing);
        let why = refused::<RateLimit>(&body.to_string());
        assert!(why.contains(&format!("missing field `{missing}`")), "{why}");
    }
    for missing in ["name", "metric", "limitValue", "period"] {
        let mut body =
            json!({"name": "D", "metric": "total_tokens", "limitValue": 1, "period": "day"});
        body.as_object_mut().expect("an object").remove(missing);
        let why = refused::<Quota>(&body.to_string());
        assert!(why.contains(&format!("missing field `{missing}`")), "{why}");
    }
}

#[test]
fn everything_a_rule_can_say_has_a_name_on_the_wire() {
    let limit = RateLimit::new("n", 5, Window::every(Duration::from_secs(90)))
        .id("rl_1")
        .metric(Metric::value("images"))
        .filter("model", "gpt-4")
        .per("customer_id")
        .per("team")
        .burst(9)
        .enforcement(Enforcement::Shadow)
        .policy("plan")
        .max_keys(7)
        .overflow(Overflow::Deny)
        .enabled(false);
    let body = "{\"id\":\"rl_1\",\"name\":\"n\",\"dimensionFilters\":{\"model\":\"gpt-4\"},\
                \"limitValue\":5,\"window\":\"90s\",\"enabled\":false,\"metric\":\"values.images\",\
                \"per\":[\"customer_id\",\"team\"],\"burst\":9,\"enforcement\":\"shadow\",\
                \"policy\":\"plan\",\"maxKeys\":7,\"overflow\":\"deny\"}";
    assert_eq!(text(&limit), body);
    assert_eq!(read::<RateLimit>(body), limit);
    let quota = Quota::new("n", Metric::value("input_tokens"), 5, Period::Year)
        .per("team")
        .enforcement(Enforcement::Soft)
        .policy("plan")
        .max_keys(7)
        .overflow(Overflow::Allow)
        .enabled(false);
    let body = "{\"name\":\"n\",\"dimensionFilters\":{},\"metric\":\"input_tokens\",\
                \"limitValue\":5,\"period\":\"year\",\"enabled\":false,\"per\":[\"team\"],\
                \"enforcement\":\"soft\",\"policy\":\"plan\",\"maxKeys\":7,\"overflow\":\"allow\"}";
    assert_eq!(text(&quota), body);
    assert_eq!(read::<Quota>(body), quota);
}

#[test]
fn windows_are_read_in_every_form() {
    for (form, seconds) in [
        ("second", 1),
        ("1s", 1),
        ("minute", 60),
        ("1m", 60),
        ("60s", 60),
        ("hour", 3_600),
        ("1h", 3_600),
        ("60m", 3_600),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7_200),
        ("1d", 86_400),
        ("day", 86_400),
        ("7d", 604_800),
        ("week", 604_800),
        ("30 days", 2_592_000),
        ("10 minutes", 600),
    ] {
        let window: Window = read(&format!("\"{form}\""));
        assert_eq!(window, Window::every(Duration::from_secs(seconds)), "{form}");
        assert_eq!(form.parse(), Ok(window));
    }
    assert_eq!(read::<Window>("\"250ms\""), Window::every(Duration::from_millis(250)));
    for (window, own, shown) in [
        (Window::Second, "second", "1s"),
        (Window::Minute, "minute", "1m"),
        (Window::Hour, "hour", "1h"),
        (Window::every(Duration::from_secs(7_200)), "2h", "2h"),
        (Window::Day, "day", "1d"),
        (Window::every(Duration::from_secs(604_800)), "7d", "7d"),
        (Window::every(Duration::from_millis(1_500)), "1500ms", "1500ms"),
        (Window::every(Duration::from_nanos(1)), "1ns", "1ns"),
    ] {
        assert_eq!((text(&window), window.to_string()), (format!("\"{own}\""), shown.to_owned()));
    }
    for (form, hint) in [
        ("", ""),
        ("fortnight", ""),
        ("5", ""),
        ("-5m", ""),
        ("1.5h", ""),
        ("5  m", ""),
        ("Hour", "; did you mean `hour`?"),
        ("hourly", "; did you mean `hour`?"),
        ("secnod", "; did you mean `second`?"),
        ("daily", "; did you mean `day`?"),
        ("month", "; a quota has months and years, a window a length such as 30d"),
    ] {
        let why = refused::<Window>(&format!("\"{form}\""));
        let rule = "must be `second`, `minute`, `hour`, `day`, or a whole number with a unit such \
                    as 30s, 5m, 2h or 7d";
        assert!(why.contains(&format!("window {form:?} {rule}{hint}")), "{why}");
    }
    refused::<Window>("3600");
}

#[test]
fn periods_are_read_in_every_form() {
    for (form, period) in [
        ("hour", Period::Hour),
        ("day", Period::Day),
        ("week", Period::Week),
        ("month", Period::Month),
        ("year", Period::Year),
        ("annual", Period::Year),
        ("all_time", Period::AllTime),
        ("rolling:30d", Period::rolling(Duration::from_secs(2_592_000))),
        ("rolling:90m", Period::rolling(Duration::from_secs(5_400))),
        ("30d", Period::rolling(Duration::from_secs(2_592_000))),
        ("30 days", Period::rolling(Duration::from_secs(2_592_000))),
        ("rolling 30d", Period::rolling(Duration::from_secs(2_592_000))),
        ("rolling_30d", Period::rolling(Duration::from_secs(2_592_000))),
        ("allTime", Period::AllTime),
    ] {
        assert_eq!(read::<Period>(&format!("\"{form}\"")), period, "{form}");
        let expected = match form {
            "annual" => "year",
            "allTime" => "all_time",
            "30d" | "30 days" | "rolling 30d" | "rolling_30d" => "rolling:30d",
            form => form,
        };
        assert_eq!(period.to_string(), expected);
    }
    for (form, hint) in [
        ("", ""),
        ("rolling:", ""),
        ("rolling:5", ""),
        ("fortnight", ""),
        ("rolling", "; a rolling period has a length: `rolling:30d`"),
        ("monthly", "; did you mean `month`?"),
        ("daily", "; did you mean `day`?"),
        ("Month", "; did you mean `month`?"),
        ("lifetime", "; did you mean `all_time`?"),
        ("minute", "; a rolling minute is written `1m`"),
    ] {
        let why = refused::<Period>(&format!("\"{form}\""));
        let rule = "must be `hour`, `day`, `week`, `month`, `year`, `all_time`, or of a rolling \
                    period the length such as `30d`";
        assert!(why.contains(&format!("period {form:?} {rule}{hint}")), "{why}");
    }
}

#[test]
fn metrics_are_read_in_every_form() {
    for (form, metric) in [
        ("total_events", Metric::TotalEvents),
        ("total_tokens", Metric::TotalTokens),
        ("total_cost_cents", Metric::TotalCostCents),
        ("input_tokens", Metric::value("input_tokens")),
        ("output_tokens", Metric::value("output_tokens")),
        ("latency_ms", Metric::value("latency_ms")),
        ("values.images", Metric::value("images")),
    ] {
        assert_eq!(read::<Metric>(&format!("\"{form}\"")), metric, "{form}");
        assert_eq!(text(&metric), format!("\"{form}\""));
    }
    // A built-in value by its long name is the built-in one.
    assert_eq!(read::<Metric>("\"values.total_tokens\""), Metric::TotalTokens);
    assert_eq!(Metric::value("cost_cents"), Metric::TotalCostCents);
    for (form, hint) in [
        ("", "or `_`"),
        ("tokens", "; did you mean `total_tokens`?"),
        ("Total_Tokens", "; did you mean `total_tokens`?"),
        ("requests", "; did you mean `total_events`?"),
        ("images", "; a value of that name is written `values.images`"),
        ("values.", "or `_`"),
        ("values.a b", "or `_`"),
    ] {
        let why = refused::<Metric>(&format!("\"{form}\""));
        assert!(why.starts_with(&format!("metric {form:?} must be `total_events`")), "{why}");
        assert!(why.contains(&format!("or `_`{}", hint.trim_start_matches("or `_`"))), "{why}");
    }
}

#[test]
fn the_modes_are_read_by_their_names() {
    let rule = |field: &str, value: &str| {
        format!(r#"{{"name": "n", "limitValue": 1, "window": "1s", "{field}": "{value}"}}"#)
    };
    for (name, algorithm) in [
        ("token_bucket", Algorithm::TokenBucket),
        ("fixed_window", Algorithm::FixedWindow),
        ("sliding_window", Algorithm::SlidingWindow),
    ] {
        assert_eq!(read::<RateLimit>(&rule("algorithm", name)).algorithm, algorithm);
    }
    for (name, enforcement) in
        [("hard", Enforcement::Hard), ("soft", Enforcement::Soft), ("shadow", Enforcement::Shadow)]
    {
        assert_eq!(read::<RateLimit>(&rule("enforcement", name)).enforcement, enforcement);
    }
    for (name, overflow) in
        [("share", Overflow::Share), ("deny", Overflow::Deny), ("allow", Overflow::Allow)]
    {
        assert_eq!(read::<RateLimit>(&rule("overflow", name)).overflow, overflow);
    }
    for field in ["algorithm", "enforcement", "overflow"] {
        let why = refused::<RateLimit>(&rule(field, "none"));
        assert!(why.contains("unknown variant `none`"), "{why}");
    }
}

/// What is written by hand may say its fields as the crate's own names say them.
#[test]
fn rules_are_read_in_snake_case_too() {
    let camel: RuleSet = read(
        r#"{"meters": [{"id": "m", "name": "m", "aggregation": "count",
                        "eventFilter": {"eventType": "call"}}],
            "rateLimits": [{"name": "r", "limitValue": 5, "window": "1m", "maxKeys": 9,
                            "dimensionFilters": {"model": "gpt-4"}, "algorithm": "fixed_window"}],
            "quotas": [{"name": "q", "metric": "total_tokens", "limitValue": 5,
                        "period": "all_time", "dimensionFilters": {"model": "gpt-4"}}]}"#,
    );
    let snake: RuleSet = read(
        r#"{"meters": [{"id": "m", "name": "m", "aggregation": "count",
                        "event_filter": {"event_type": "call"}}],
            "rate_limits": [{"name": "r", "limit_value": 5, "window": "1m", "max_keys": 9,
                             "dimension_filters": {"model": "gpt-4"}, "algorithm": "fixedWindow"}],
            "quotas": [{"name": "q", "metric": "total_tokens", "limit_value": 5,
                        "period": "allTime", "dimension_filters": {"model": "gpt-4"}}]}"#,
    );
    assert_eq!(snake, camel);
    let update = r#"{"limit_value": 5, "max_keys": null, "dimension_filters": {}}"#;
    let camel = r#"{"limitValue": 5, "maxKeys": null, "dimensionFilters": {}}"#;
    assert_eq!(read::<QuotaUpdate>(update), read::<QuotaUpdate>(camel));
    // One field said twice is an error, and not the last of both.
    let twice = r#"{"name": "r", "limitValue": 5, "limit_value": 6, "window": "1m"}"#;
    assert!(refused::<RateLimit>(twice).contains("duplicate field `limitValue`"));
}

#[test]
fn a_partition_is_one_key_or_a_list_of_them() {
    let rule =
        |per: &str| format!(r#"{{"name": "n", "limitValue": 1, "window": "1s", "per": {per}}}"#);
    assert_eq!(read::<RateLimit>(&rule("\"customer_id\"")).per, ["customer_id"]);
    assert_eq!(
        read::<RateLimit>(&rule("[\"customer_id\", \"model\"]")).per,
        ["customer_id", "model"]
    );
    assert_eq!(read::<RateLimit>(&rule("[]")).per, [""; 0]);
    assert!(refused::<RateLimit>(&rule("[\"a\", 7]")).starts_with("per[1]: 7 must be a string"));
    for per in ["7", "null", "{}"] {
        let why = refused::<RateLimit>(&rule(per));
        assert!(why.contains("a dimension's key or a list of them"), "{per}: {why}");
    }
}

#[test]
fn toml_reads_as_json_does() {
    let set: RuleSet = toml::from_str(
        r#"
        [[rateLimits]]
        name = "API"
        limitValue = 20
        window = "1s"
        burst = 40
        per = "customer_id"
        dimensionFilters = { model = "gpt-4" }

        [[quotas]]
        name = "Budget"
        metric = "total_cost_cents"
        limitValue = 50000
        period = "month"
        enforcement = "soft"
        "#,
    )
    .expect("a good file");
    let limit = RateLimit::new("API", 20, Window::Second).burst(40).per("customer_id");
    let quota = Quota::new("Budget", Metric::TotalCostCents, 50_000, Period::Month);
    let expected = RuleSet::new()
        .rate_limit(limit.filter("model", "gpt-4"))
        .quota(quota.enforcement(Enforcement::Soft));
    assert_eq!(set, expected);
    let why = toml::from_str::<RuleSet>("[[rateLimits]]\nname = \"n\"\nlimit = 5\n");
    let why = why.expect_err("no such field").to_string();
    assert!(why.contains("unknown field `limit`"), "{why}");
}

#[test]
fn a_field_that_nobody_knows_is_named() {
    let limit = json!({"name": "n", "limitValue": 1, "window": "1s"});
    let quota = json!({"name": "n", "limitValue": 1, "metric": "total_tokens", "period": "day"});
    let event = json!({"customerId": "c", "eventType": "e"});
    let typos = ["limit", "limit_valeu", "dimensionFilter", "maxkeys", "Name", ""];
    for typo in typos {
        let with = |body: &Value| {
            let mut body = body.clone();
            body.as_object_mut().expect("an object").insert(typo.to_owned(), json!(1));
            body.to_string()
        };
        let named = format!("unknown field `{typo}`");
        for why in [
            refused::<RateLimit>(&with(&limit)),
            refused::<Quota>(&with(&quota)),
            refused::<Event<'static>>(&with(&event)),
            refused::<RateLimitUpdate>(&with(&json!({}))),
            refused::<QuotaUpdate>(&with(&json!({}))),
            refused::<RuleSet>(&with(&json!({}))),
            refused::<RuleSet>(&format!("{{\"rateLimits\":[{}]}}", with(&limit))),
        ] {
            assert!(why.contains(&named), "{why}");
        }
    }
    // A field of the other kind of rule is as unknown as any.
    let mut body = quota;
    body.as_object_mut().expect("an object").insert("burst".to_owned(), json!(1));
    assert!(refused::<Quota>(&body.to_string()).contains("unknown field `burst`"));
    let why = refused::<RateLimit>(r#"{"name": "n", "name": "m"}"#);
    assert!(why.contains("duplicate field `name`"), "{why}");
}

#[test]
fn an_event_is_the_body_of_track() {
    let event = Event::new("cust_123", "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(150)
        .output_tokens(50)
        .total_tokens(200)
        .latency_ms(1_200)
        .cost_cents(25)
        .property("user_id", "u_1")
        .property("retries", 2)
        .value("images", 4)
        .idempotency_key("req_abc123")
        .timestamp("2024-01-15T10:30:00Z".parse::<Timestamp>().expect("an instant"));
    let body = "{\"customerId\":\"cust_123\",\"eventType\":\"model_call\",\"model\":\"gpt-4\",\
                \"provider\":\"openai\",\"inputTokens\":150,\"outputTokens\":50,\
                \"totalTokens\":200,\"latencyMs\":1200,\"costCents\":25,\
                \"properties\":{\"retries\":2,\"user_id\":\"u_1\"},\"values\":{\"images\":4},\
                \"idempotencyKey\":\"req_abc123\",\"timestamp\":\"2024-01-15T10:30:00Z\"}";
    assert_eq!(text(&event), body);
    assert_eq!(text(&read::<Event<'static>>(body)), body);
    let least = "{\"customerId\":\"c\",\"eventType\":\"e\"}";
    assert_eq!(text(&Event::new("c", "e")), least);
    assert_eq!(read::<Event<'static>>(least), Event::new("c", "e"));
    // Fields that are null are fields that are not set.
    let nulls = r#"{"customerId": "c", "eventType": "e", "model": null, "provider": null,
        "inputTokens": null, "outputTokens": null, "totalTokens": null, "latencyMs": null,
        "costCents": null, "idempotencyKey": null, "timestamp": null}"#;
    assert_eq!(read::<Event<'static>>(nulls), Event::new("c", "e"));
}

#[test]
fn an_event_that_the_product_refuses_is_refused_here() {
    let with = |field: &str, value: &str| {
        format!(r#"{{"customerId": "c", "eventType": "e", "{field}": {value}}}"#)
    };
    for (field, value) in [
        ("inputTokens", "-1"),
        ("outputTokens", "1.5"),
        ("totalTokens", "\"7\""),
        ("latencyMs", "1e3"),
        ("costCents", "-1"),
        ("costCents", "0.0000001"),
        ("costCents", "true"),
        ("model", "7"),
        ("properties", "[]"),
        ("properties", "null"),
        ("dimensions", r#"{"a": 7}"#),
        ("values", r#"{"a": "much"}"#),
        ("values", r#"{"a": 0.0000001}"#),
        ("values", r#"{"a": true}"#),
        ("timestamp", "\"yesterday\""),
        ("timestamp", "1705314600"),
        ("idempotencyKey", "7"),
    ] {
        refused::<Event<'static>>(&with(field, value));
    }
    for (field, value) in [
        ("inputTokens", "1000000000000000"),
        ("costCents", "0.000001"),
        ("costCents", "\"0.4\""),
        ("timestamp", "\"2024-01-15T12:30:00.123456789+02:00\""),
        ("values", r#"{"a": "0.000001", "b": -3, "c": 1e6}"#),
        ("dimensions", r#"{"team": "eng"}"#),
    ] {
        read::<Event<'static>>(&with(field, value));
    }
}

#[test]
fn updates_tell_what_is_absent_from_what_is_null() {
    let update: RateLimitUpdate = read(r#"{"limitValue": 5, "burst": null, "window": "5m"}"#);
    let expected =
        RateLimitUpdate::new().limit(5).burst(None).window(Window::every(Duration::from_secs(300)));
    assert_eq!(update, expected);
    assert_eq!(text(&update), r#"{"limitValue":5,"window":"5m","burst":null}"#);
    assert_eq!(text(&RateLimitUpdate::new()), "{}");
    let update: QuotaUpdate = read(r#"{"dimensionFilters": {}, "per": [], "policy": "p"}"#);
    assert_eq!(text(&update), r#"{"dimensionFilters":{},"per":[],"policy":"p"}"#);
}

#[test]
fn a_sync_report_says_what_changed_field_by_field() {
    let engine = example();
    let wanted = RuleSet::new()
        .rate_limit(RateLimit::new("API Rate Limit", 2_000, Window::Hour).burst(5))
        .quota(Quota::new("New", Metric::TotalEvents, 1, Period::Day));
    let report = engine.sync(wanted, SyncOptions::preview()).expect("valid");
    assert_eq!(
        text(&report),
        "{\"preview\":true,\"created\":[\"New\"],\"updated\":[{\"name\":\"API Rate Limit\",\
         \"fields\":{\"algorithm\":{\"from\":\"fixed_window\",\"to\":null},\
         \"burst\":{\"from\":null,\"to\":5},\"limitValue\":{\"from\":1000,\"to\":2000}}}],\
         \"removed\":[\"Daily Token Limit\"],\"unchanged\":[]}"
    );
}

#[test]
fn instants_and_amounts_have_plain_forms() {
    let instant = Timestamp::new(1_705_314_600, 5_000_000);
    assert_eq!(text(&instant), "\"2024-01-15T10:30:00.005Z\"");
    assert_eq!(read::<Timestamp>("\"2024-01-15T11:30:00.005+01:00\""), instant);
    assert!(serde_json::to_string(&Timestamp::MAX).is_err(), "no calendar has that year");
    for (amount, form) in [
        ("0", "0"),
        ("-3", "-3"),
        ("18446744073709551615", "18446744073709551615"),
        ("0.25", "0.25"),
        ("18446744073709551616", "\"18446744073709551616\""),
        ("12345678901.123456", "\"12345678901.123456\""),
    ] {
        let amount: Amount = amount.parse().expect("an amount");
        assert_eq!(text(&amount), form);
        assert_eq!(read::<Amount>(form), amount);
    }
}

/// The largest amount of an event, whole and in millionths.
const LARGEST: u64 = 1_000_000_000_000_000;
const MOST: i128 = 1_000_000_000_000_000_000_000;

fn key() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_]{1,64}"
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,40}", "\\PC{1,40}"]
}

fn length() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..=u64::MAX, 0_u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n)),
        (0_u64..100_000).prop_map(Duration::from_secs),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    prop_oneof![
        Just(Metric::TotalEvents),
        Just(Metric::TotalTokens),
        Just(Metric::TotalCostCents),
        key().prop_map(|name| Metric::value(&name)),
    ]
}

/// An instant of the years 1 to 9999.
fn instant() -> impl Strategy<Value = Timestamp> {
    (-62_135_596_800_i64..253_402_300_800, 0_u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos))
}

prop_compose! {
    /// Any rate limit, valid or not, whose numbers are below a bound.
    fn rate_limit(most: u64)(
        name in name(),
        texts in prop::array::uniform3(prop::option::of(name())),
        filters in prop::collection::btree_map(name(), name(), 0..4),
        per in prop::collection::vec(name(), 0..3),
        numbers in (0..=most, prop::option::of(0..=most), prop::option::of(0..=most)),
        window in length().prop_map(Window::every),
        metric in metric(),
        modes in (
            prop::sample::select(vec![
                Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow,
            ]),
            prop::sample::select(vec![Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow]),
            prop::sample::select(vec![Overflow::Share, Overflow::Deny, Overflow::Allow]),
        ),
        enabled: bool,
        limited in prop::bool::weighted(0.8),
        times in (prop::option::of(instant()), prop::option::of(instant())),
    ) -> RateLimit {
        let mut rule = RateLimit::new(name, numbers.0, window).enabled(enabled);
        rule.limit_value = rule.limit_value.filter(|_| limited);
        [rule.id, rule.project_id, rule.policy] = texts;
        (rule.dimension_filters, rule.per, rule.metric) = (filters, per, metric);
        (rule.burst, rule.max_keys) = (numbers.1.map(Amount::from), numbers.2);
        (rule.algorithm, rule.enforcement, rule.overflow) = modes;
        (rule.created_at, rule.updated_at) = times;
        rule
    }
}

prop_compose! {
    /// Any quota, valid or not, whose numbers are below a bound.
    fn quota(most: u64)(
        limit in rate_limit(most),
        period in prop_oneof![
            prop::sample::select(vec![
                Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year,
                Period::AllTime,
            ]),
            length().prop_map(Period::rolling),
        ],
    ) -> Quota {
        let mut rule = Quota::unlimited(limit.name, limit.metric, period);
        rule.limit_value = limit.limit_value;
        (rule.id, rule.project_id, rule.policy) = (limit.id, limit.project_id, limit.policy);
        (rule.dimension_filters, rule.per) = (limit.dimension_filters, limit.per);
        (rule.max_keys, rule.enabled) = (limit.max_keys, limit.enabled);
        (rule.enforcement, rule.overflow) = (limit.enforcement, limit.overflow);
        (rule.created_at, rule.updated_at) = (limit.created_at, limit.updated_at);
        rule
    }
}

fn rule_set(most: u64) -> impl Strategy<Value = RuleSet> {
    let limits = prop::collection::vec(rate_limit(most), 0..4);
    (limits, prop::collection::vec(quota(most), 0..4)).prop_map(|(limits, quotas)| {
        let set = limits.into_iter().fold(RuleSet::new(), RuleSet::rate_limit);
        quotas.into_iter().fold(set, RuleSet::quota)
    })
}

/// JSON without floats, which a reader may round.
fn exact_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn event()(
        ids in (name(), name(), prop::option::of(name()), prop::option::of(name())),
        numbers in prop::array::uniform5(prop::option::of(0..=LARGEST)),
        properties in prop::collection::btree_map(name(), exact_json(), 0..5),
        values in prop::collection::btree_map(key(), -MOST..=MOST, 0..4),
        idempotency_key in prop::option::of(name()),
        timestamp in prop::option::of(instant()),
    ) -> Event<'static> {
        let mut event = Event::new(ids.0, ids.1);
        if let Some(model) = ids.2 {
            event = event.model(model);
        }
        if let Some(provider) = ids.3 {
            event = event.provider(provider);
        }
        let setters = [
            Event::input_tokens, Event::output_tokens, Event::total_tokens, Event::cost_cents,
            Event::latency_ms,
        ];
        for (set, number) in setters.into_iter().zip(numbers) {
            if let Some(number) = number {
                event = set(event, number);
            }
        }
        for (key, value) in properties {
            event = event.property(key, value);
        }
        for (name, millionths) in values {
            event = event.value(format!("v{name}"), Amount::from_millionths(millionths));
        }
        if let Some(key) = idempotency_key {
            event = event.idempotency_key(key);
        }
        if let Some(timestamp) = timestamp {
            event = event.timestamp(timestamp);
        }
        event
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn a_rule_set_reads_as_it_was_printed(set in rule_set(u64::MAX)) {
        prop_assert_eq!(&read::<RuleSet>(&text(&set)), &set);
        let value = serde_json::to_value(&set).expect("plain data");
        prop_assert_eq!(&serde_json::from_value::<RuleSet>(value).expect("as printed"), &set);
    }

    /// TOML's integers end at 63 bits, and it has no null.
    #[test]
    fn a_rule_set_reads_as_it_was_printed_in_toml(mut set in rule_set(i64::MAX.unsigned_abs())) {
        let limits = set.rate_limits.iter_mut().map(|rule| &mut rule.limit_value);
        for limit in limits.chain(set.quotas.iter_mut().map(|rule| &mut rule.limit_value)) {
            let _: &mut Amount = limit.get_or_insert(Amount::ZERO);
        }
        let printed = toml::to_string(&set).expect("plain data");
        prop_assert_eq!(toml::from_str::<RuleSet>(&printed).expect("as printed"), set);
    }

    #[test]
    fn an_event_reads_as_it_was_printed(event in event()) {
        let printed = text(&event);
        let read: Event<'static> = read(&printed);
        prop_assert_eq!(&read, &event);
        let value = serde_json::to_value(&event).expect("plain data");
        let read: Event<'static> = serde_json::from_value(value).expect("as printed");
        prop_assert_eq!(read, event);
    }

    #[test]
    fn an_update_that_names_every_field_makes_the_rule_of_its_body(
        old in rate_limit(100),
        new in rate_limit(u64::MAX),
    ) {
        let mut body = serde_json::to_value(&new).expect("plain data");
        let fields = body.as_object_mut().expect("an object");
        for own in ["id", "projectId", "createdAt", "updatedAt"] {
            fields.remove(own);
        }
        // What a rule leaves out is a default, which an update has to name.
        for (field, default) in [
            ("per", json!([])), ("metric", json!("total_events")), ("burst", Value::Null),
            ("policy", Value::Null), ("maxKeys", Value::Null), ("overflow", json!("share")),
            ("enforcement", json!("hard")), ("algorithm", json!("token_bucket")),
        ] {
            fields.entry(field).or_insert(default);
        }
        let update: RateLimitUpdate = serde_json::from_value(body.clone()).expect("a good body");
        prop_assert_eq!(serde_json::to_value(&update).expect("plain data"), body);
        let mut expected = new;
        (expected.id, expected.project_id) = (old.id.clone(), old.project_id.clone());
        (expected.created_at, expected.updated_at) = (old.created_at, old.updated_at);
        prop_assert_eq!(update.apply(&old), expected);
    }

    /// Whatever the engine says can be read as JSON, with the fields that it promises.
    #[test]
    fn decisions_are_json(tokens in 0_u64..200_000, calls in 1_usize..4) {
        let engine = example();
        for _ in 0..calls {
            let event = Event::new("c", "e").total_tokens(tokens);
            let decision = engine.track(&event).expect("a valid event");
            let body: Value = read(&text(&decision));
            let fields: Vec<&str> =
                body.as_object().expect("an object").keys().map(String::as_str).collect();
            if decision.is_allowed() {
                prop_assert_eq!(fields, ["allowed", "id", "quotas", "rateLimits"]);
            } else {
                prop_assert_eq!(fields, ["allowed", "error", "quotas", "rateLimits"]);
            }
            prop_assert_eq!(body, serde_json::to_value(&decision).expect("plain data"));
        }
    }
}
