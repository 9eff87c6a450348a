//! Goal: a limit of 0 blocks: it refuses whatever adds something, for ever, and nothing else. A
//! rule without a limit counts and never refuses.
//!
//! Method: worked cases for every algorithm and kind of quota: decisions, waits, standings,
//! statuses, headers, rules as data, and changes from one to the other, which keep what was used.

use crate::support::oracle::{DAY, HOUR};
use crate::support::{duration, engine};
use limitry::rules::{Algorithm, Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::wire::HeaderDialect;
use limitry::{
    Amount, Engine, Event, Meter, Metric, Period, Quota, RateLimit, RetryAfter, RuleSet, Window,
};
use serde_json::{Value, json};

const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];

fn periods() -> [Period; 4] {
    [Period::Hour, Period::Month, Period::AllTime, Period::rolling(duration(HOUR))]
}

fn call() -> Event<'static> {
    Event::new("ann", "call").total_tokens(7)
}

/// Fails unless the rule of the engine, which counts tokens, blocks.
fn blocks(engine: &Engine) {
    let refused = engine.track(&call()).expect("valid");
    assert!(!refused.is_allowed(), "{refused:?}");
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
    assert!(!engine.check(&call()).expect("valid").is_allowed());
    for nothing in [Event::new("ann", "call"), call().total_tokens(0)] {
        assert!(engine.track(&nothing).expect("valid").is_allowed());
    }
    let standing = engine.standing(&call()).expect("valid");
    assert!(!standing.is_allowed());
    let mut exceeded = standing.rate_limits().map(|status| status.exceeded);
    assert!(exceeded.all(|it| it) && standing.quotas().all(|status| status.exceeded));
    // It counts what is recorded all the same.
    assert!(engine.record(&call()).expect("valid").is_allowed());
    assert!(!engine.track(&call()).expect("valid").is_allowed());
}

#[test]
fn a_limit_of_nothing_blocks_for_ever() {
    for algorithm in ALGORITHMS {
        let rule = RateLimit::new("off", 0, Window::Minute).metric(Metric::TotalTokens);
        let (engine, clock) = engine(|builder| builder.rate_limit(rule.algorithm(algorithm)));
        blocks(&engine);
        clock.advance(duration(400 * DAY));
        blocks(&engine);
        let headers: Vec<_> = engine.track(&call()).expect("valid").headers().collect();
        assert!(headers.contains(&("X-RateLimit-Limit", "0".to_owned())), "{headers:?}");
        assert!(headers.contains(&("X-RateLimit-Remaining", "0".to_owned())), "{headers:?}");
    }
    for period in periods() {
        let quota = Quota::new("off", Metric::TotalTokens, 0, period);
        let (engine, clock) = engine(|builder| builder.quota(quota));
        blocks(&engine);
        clock.advance(duration(400 * DAY));
        blocks(&engine);
    }
}

#[test]
fn a_model_is_turned_off_and_on() {
    let rule = RateLimit::new("gpt-4", 0, Window::Minute).filter("model", "gpt-4").id("rl");
    let (engine, _) = engine(|builder| builder.rate_limit(rule));
    assert!(!engine.track(&call().model("gpt-4")).expect("valid").is_allowed());
    assert!(engine.track(&call().model("gpt-5")).expect("valid").is_allowed());
    engine.rules().update("rl", RateLimitUpdate::new().limit(1)).expect("valid");
    assert!(engine.track(&call().model("gpt-4")).expect("valid").is_allowed());
    engine.rules().update("rl", RateLimitUpdate::new().limit(0)).expect("valid");
    assert!(!engine.track(&call().model("gpt-4")).expect("valid").is_allowed());
}

#[test]
fn a_gauge_with_a_limit_of_nothing_may_go_down() {
    let quota = Quota::new("agents", Metric::meter("m"), 0, Period::Day);
    let (engine, _) =
        engine(|builder| builder.meter(Meter::latest("agents", "agents").id("m")).quota(quota));
    let agents = |number: i64| call().value("agents", number);
    assert!(!engine.track(&agents(1)).expect("valid").is_allowed());
    assert!(engine.record(&agents(5)).expect("valid").is_allowed());
    for (number, passes) in [(6, false), (4, true), (5, false), (0, true), (1, false)] {
        assert_eq!(engine.track(&agents(number)).expect("valid").is_allowed(), passes, "{number}");
    }
}

/// Fails unless the rule of the engine has no limit, whatever happens.
fn never_refuses(engine: &Engine) {
    for tokens in [1, 1_000_000_000_000_000, 0] {
        let decision = engine.track(&call().total_tokens(tokens)).expect("valid");
        assert!(decision.is_allowed() && decision.retry_after().is_none(), "{decision:?}");
        for dialect in [HeaderDialect::XRateLimit, HeaderDialect::Draft10] {
            assert_eq!(decision.headers_in(dialect).count(), 0);
        }
        for status in decision.rate_limits() {
            assert_eq!((status.limit, status.exceeded), (None, false));
        }
        for status in decision.quotas() {
            assert_eq!((status.limit, status.exceeded), (None, false));
        }
        let body = serde_json::to_value(&decision).expect("plain data");
        let of_kind = |kind: &str| body[kind][0].clone();
        let status = [of_kind("rateLimits"), of_kind("quotas")];
        let status = status.iter().find(|status| status.is_object()).expect("a status");
        assert_eq!((&status["limit"], &status["remaining"]), (&Value::Null, &Value::Null));
    }
    assert!(engine.standing(&call()).expect("valid").is_allowed());
}

#[test]
fn a_rule_without_a_limit_counts_and_never_refuses() {
    for algorithm in ALGORITHMS {
        let rule = RateLimit::unlimited("free", Window::Hour).metric(Metric::TotalTokens).id("r");
        assert_eq!(rule.worst_case(), None);
        let (engine, clock) = engine(|builder| builder.rate_limit(rule.algorithm(algorithm)));
        never_refuses(&engine);
        clock.advance(duration(DAY));
        never_refuses(&engine);
        // What was used counts when the rule gets a limit.
        clock.advance(duration(DAY));
        assert!(engine.track(&call()).expect("valid").is_allowed());
        engine.rules().update("r", RateLimitUpdate::new().limit(10)).expect("valid");
        assert!(!engine.check(&call()).expect("valid").is_allowed(), "{algorithm:?}");
        assert!(engine.check(&call().total_tokens(3)).expect("valid").is_allowed());
        engine.rules().update("r", RateLimitUpdate::new().unlimited()).expect("valid");
        assert!(engine.track(&call()).expect("valid").is_allowed());
    }
    for period in periods() {
        let quota = Quota::unlimited("free", Metric::TotalTokens, period).id("q");
        assert_eq!(quota.worst_case(), None);
        let (engine, clock) = engine(|builder| builder.quota(quota));
        never_refuses(&engine);
        clock.advance(duration(2 * HOUR));
        let before = engine.standing(&call()).expect("valid");
        let before = before.quotas().next().expect("a quota").used;
        assert!(engine.track(&call()).expect("valid").is_allowed());
        let limit = before.checked_add(Amount::from(10)).expect("small");
        engine.rules().update("q", QuotaUpdate::new().limit(limit)).expect("valid");
        assert!(!engine.check(&call()).expect("valid").is_allowed());
        assert!(engine.check(&call().total_tokens(3)).expect("valid").is_allowed());
        engine.rules().update("q", QuotaUpdate::new().unlimited()).expect("valid");
        assert!(engine.track(&call()).expect("valid").is_allowed());
    }
}

#[test]
fn a_rule_without_a_limit_refuses_no_key_without_room() {
    let quota = Quota::unlimited("free", Metric::TotalTokens, Period::Day).per("customer_id");
    let (engine, _) = engine(|builder| builder.quota(quota.max_keys(1).overflow(Overflow::Deny)));
    for customer in ["ann", "bob", "cat"] {
        let event = Event::new(customer, "call").total_tokens(7);
        assert!(engine.track(&event).expect("valid").is_allowed());
    }
}

#[test]
fn a_plan_has_an_exception() {
    let quota = |name: &str| Quota::new(name, Metric::TotalTokens, 10, Period::Day);
    let plan = quota("plan").per("customer_id").policy("tokens");
    let exception = Quota::unlimited("exception", Metric::TotalTokens, Period::Day)
        .filter("customer_id", "ann")
        .per("customer_id")
        .policy("tokens");
    let (engine, _) = engine(|builder| builder.quota(plan).quota(exception));
    let tokens = |customer| Event::new(customer, "call").total_tokens(50);
    let decision = engine.track(&tokens("ann")).expect("valid");
    let status = decision.quotas().next().expect("a quota");
    assert_eq!((&*status.name, status.used), ("exception", Amount::from(50)));
    assert!(!engine.track(&tokens("bob")).expect("valid").is_allowed());
}

#[test]
fn limits_are_written_as_null_or_as_a_word() {
    let read = |limit: Value| {
        let rule = json!({"name": "r", "limitValue": limit, "window": "1m"});
        serde_json::from_value::<RateLimit>(rule).map(|rule| rule.limit_value)
    };
    assert_eq!(read(Value::Null).expect("none"), None);
    assert_eq!(read(json!("unlimited")).expect("none"), None);
    assert_eq!(read(json!(0)).expect("blocks"), Some(Amount::ZERO));
    for half in [json!(0.5), json!("0.5")] {
        assert_eq!(read(half).expect("a limit"), "0.5".parse().ok());
    }
    for bad in [json!("none"), json!(true), json!({}), json!(0.000_000_1)] {
        read(bad).expect_err("no limit");
    }
    // One that is missing is not the same.
    let missing = json!({"name": "q", "metric": "total_tokens", "period": "day"});
    let why = serde_json::from_value::<Quota>(missing).expect_err("no limit");
    assert!(why.to_string().contains("limitValue"), "{why}");
    let printed = serde_json::to_value(RateLimit::unlimited("r", Window::Hour)).expect("data");
    assert_eq!(printed["limitValue"], Value::Null);

    let set = "[[quotas]]\nname = \"q\"\nmetric = \"total_tokens\"\nlimitValue = \"unlimited\"\n\
               period = \"day\"\n";
    let set: RuleSet = toml::from_str(set).expect("a rule set");
    assert_eq!(set.quotas[0].limit_value, None);

    let update: QuotaUpdate = serde_json::from_str(r#"{"limitValue": null}"#).expect("an update");
    assert_eq!(update.limit_value, Some(None));
    let update: QuotaUpdate = serde_json::from_str(r#"{"limitValue": 3}"#).expect("an update");
    assert_eq!(update.limit_value, Some(Some(Amount::from(3))));
    assert_eq!(serde_json::from_str::<QuotaUpdate>("{}").expect("nothing").limit_value, None);
}

#[test]
fn a_bucket_that_blocks_or_has_no_limit_has_no_burst() {
    for rule in [RateLimit::new("r", 0, Window::Hour), RateLimit::unlimited("r", Window::Hour)] {
        let why = RuleSet::new().rate_limit(rule.burst(5)).validate().expect_err("no burst");
        assert_eq!(why.problems()[0].field, "burst", "{why}");
    }
    let below = RuleSet::new().rate_limit(RateLimit::new("r", -1, Window::Hour));
    assert_eq!(below.validate().expect_err("below nothing").problems()[0].field, "limitValue");
}
