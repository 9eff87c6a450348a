//! The names and shapes that users build on: the example of the design compiles and answers.

use std::error::Error;

use limitry::time::ManualClock;
use limitry::wire::HeaderDialect;
use limitry::{
    Decision, Engine, Event, Metric, Outcome, Period, Quota, RateLimit, RetryAfter, Window,
};
use serde_json::json;

fn engine() -> Result<Engine, Box<dyn Error>> {
    Ok(Engine::builder()
        .clock(ManualClock::new("2024-01-15T10:30:00Z".parse()?))
        .rate_limit(
            RateLimit::new("API rate limit", 1_000, Window::Hour).per("customer_id").id("rl_api"),
        )
        .rate_limit(
            RateLimit::new("gpt-4 burst", 20, Window::Second)
                .filter("model", "gpt-4")
                .per("customer_id")
                .burst(40)
                .id("rl_burst"),
        )
        .rate_limit(
            RateLimit::new("Tokens per minute", 90_000, Window::Minute)
                .metric(Metric::TotalTokens)
                .id("rl_tokens"),
        )
        .quota(
            Quota::new("Daily tokens", Metric::TotalTokens, 100_000, Period::Day)
                .per("customer_id")
                .id("qta_daily"),
        )
        .quota(
            Quota::new("Team budget", Metric::TotalCostCents, 50_000, Period::Month)
                .filter("team_id", "team_eng")
                .id("qta_team"),
        )
        .build()?)
}

fn event() -> Event<'static> {
    Event::new("cust_123", "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(150)
        .output_tokens(50)
        .cost_cents(25)
        .latency_ms(1_200)
        .property("team_id", "team_eng")
        .value("images", 4)
        .idempotency_key("req_abc123")
}

#[test]
fn an_allowed_event_has_the_products_body() -> Result<(), Box<dyn Error>> {
    let engine = engine()?;
    let decision = engine.track(&event())?;
    assert!(decision.is_allowed());
    assert_eq!(decision.status_code(), 201);
    assert_eq!(decision.retry_after(), None);
    let id = decision.event_id().expect("it was recorded").to_string();
    let body = serde_json::to_string(&decision)?;
    let expected = format!(
        "{{\"id\":\"{id}\",\"allowed\":true,\"rateLimits\":[\
         {{\"id\":\"rl_api\",\"name\":\"API rate limit\",\"window\":\"1h\",\"limit\":1000,\
         \"remaining\":999,\"reset\":1705314604,\"exceeded\":false}},\
         {{\"id\":\"rl_burst\",\"name\":\"gpt-4 burst\",\"window\":\"1s\",\"limit\":20,\
         \"remaining\":39,\"reset\":1705314601,\"exceeded\":false}},\
         {{\"id\":\"rl_tokens\",\"name\":\"Tokens per minute\",\"window\":\"1m\",\"limit\":90000,\
         \"remaining\":89800,\"reset\":1705314601,\"exceeded\":false}}],\"quotas\":[\
         {{\"id\":\"qta_daily\",\"name\":\"Daily tokens\",\"metric\":\"total_tokens\",\
         \"period\":\"day\",\"limit\":100000,\"used\":200,\"remaining\":99800,\"exceeded\":false}},\
         {{\"id\":\"qta_team\",\"name\":\"Team budget\",\"metric\":\"total_cost_cents\",\
         \"period\":\"month\",\"limit\":50000,\"used\":25,\"remaining\":49975,\"exceeded\":false}}\
         ]}}"
    );
    assert_eq!(body, expected);
    let recorded = engine.events().newest(10);
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].id.to_string(), id);
    Ok(())
}

#[test]
fn a_refused_event_has_the_products_body_and_headers() -> Result<(), Box<dyn Error>> {
    let engine = engine()?;
    let big = Event::new("cust_123", "model_call").total_tokens(90_000);
    assert!(engine.track(&big)?.is_allowed());
    let decision = engine.track(&Event::new("cust_123", "model_call").total_tokens(10_001))?;
    assert_eq!(decision.status_code(), 429);
    let body = serde_json::to_value(&decision)?;
    assert_eq!(body["allowed"], json!(false));
    assert_eq!(body["error"], json!("Rate limit exceeded"));
    assert_eq!(body["quotas"][0]["used"], json!(90_000));
    assert_eq!(body["quotas"][0]["exceeded"], json!(true));
    // The bucket has 10 001 tokens again after 6.67 s; the day's quota not before midnight.
    let midnight = std::time::Duration::from_secs(13 * 3_600 + 1_800);
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(midnight)));
    let headers: Vec<(&str, String)> = decision.headers().collect();
    let expected = [
        ("X-Quota-Reset", "1705363200"),
        ("X-Quota-Period", "day"),
        ("X-Quota-Metric", "total_tokens"),
        ("Retry-After", "48600"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    let headers: Vec<(&str, String)> = decision.headers_in(HeaderDialect::Draft10).collect();
    let expected = [
        (
            "RateLimit-Policy",
            "\"Tokens per minute\";q=90000;qu=\"total_tokens\";w=60, \
             \"Daily tokens\";q=100000;qu=\"total_tokens\";w=86400",
        ),
        ("RateLimit", "\"Tokens per minute\";r=0;t=7, \"Daily tokens\";r=10000;t=48600"),
        ("Retry-After", "48600"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    Ok(())
}

#[test]
fn the_other_verbs_answer() -> Result<(), Box<dyn Error>> {
    let engine = engine()?;
    let event = event();
    assert!(engine.check(&event)?.is_allowed());
    assert_eq!(engine.live_keys(), 0, "a check leaves nothing behind");
    let standing = engine.standing(&event)?;
    assert_eq!(standing.rate_limits().count(), 3);
    assert!(standing.quotas().all(|status| !status.exceeded && status.used == 0));
    let first = engine.record(&event)?;
    let retry = engine.track(&event)?;
    assert!(retry.is_replay() && !first.is_replay());
    assert_eq!(retry.event_id(), first.event_id());
    let answers = engine.track_batch(&[event, Event::new("", "model_call")]);
    assert_eq!(answers[0].as_ref().map(Decision::outcome), Ok(Outcome::Replayed));
    let error = answers[1].as_ref().expect_err("an empty id").to_string();
    assert_eq!(error, "customer_id: \"\" must be 1 to 256 bytes long");
    Ok(())
}

#[test]
fn an_explanation_reads_like_an_answer_on_the_telephone() -> Result<(), Box<dyn Error>> {
    let engine = engine()?;
    let event = Event::new("cust_123", "model_call").model("gpt-3.5");
    let text = engine.explain(&event)?.to_string();
    let expected = "admitted\n  \
        rate limit \"API rate limit\" (rl_api): fits, 999 of 1000 left\n  \
        rate limit \"gpt-4 burst\" (rl_burst): does not match: model is \"gpt-3.5\", \
        not \"gpt-4\"\n  \
        rate limit \"Tokens per minute\" (rl_tokens): fits, 90000 of 90000 left\n  \
        quota \"Daily tokens\" (qta_daily): fits, 100000 of 100000 left\n  \
        quota \"Team budget\" (qta_team): does not match: the event has no team_id, \
        wanted \"team_eng\"\n";
    assert_eq!(text, expected);
    Ok(())
}
