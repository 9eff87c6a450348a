//! Goal: what goes over the wire of decisions, events and reports is the product's shape, byte for
//! byte.
//!
//! Method: whole bodies as text.

use limitry::events::Recording;
use limitry::rules::{Algorithm, SyncOptions};
use limitry::time::ManualClock;
use limitry::{
    Amount, Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp,
    Window,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// An engine at 2024-01-15T09:30:00Z.
pub(crate) fn engine(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
    let clock = ManualClock::new("2024-01-15T09:30:00Z".parse().expect("an instant"));
    build(Engine::builder().clock(clock)).build().expect("the rules of this test are valid")
}

pub(crate) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

pub(crate) fn read<T: DeserializeOwned>(body: &str) -> T {
    serde_json::from_str(body).unwrap_or_else(|why| unreachable!("{body}: {why}"))
}

pub(crate) fn refused<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> String {
    serde_json::from_str::<T>(body).expect_err(body).to_string()
}

/// The two rules of the product's example.
pub(crate) fn example() -> Engine {
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
    assert_eq!(read::<limitry::events::EventId>(&format!("\"{id}\"")), id);
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
fn a_sync_report_says_what_changed_field_by_field() {
    let engine = example();
    let wanted = RuleSet::new()
        .rate_limit(RateLimit::new("API Rate Limit", 2_000, Window::Hour).burst(5))
        .quota(Quota::new("New", Metric::TotalEvents, 1, Period::Day));
    let report = engine.rules().sync(wanted, SyncOptions::preview()).expect("valid");
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
