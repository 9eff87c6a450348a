//! Goal: money is exact. A cost of any six digits counts as what it is, in limits, statuses,
//! headers, totals and stores; whole numbers look as they always did; what cannot be said exactly
//! is an error, unless rounding was asked for.
//!
//! Method: worked examples, each figure of which is worked out by hand.

use crate::support::clock;
use std::time::Duration;

use limitry::rules::{Algorithm, QuotaUpdate};
use limitry::usage::UsageQuery;
use limitry::{
    Amount, Engine, Event, Metric, Period, Quota, RateLimit, RetryAfter, RuleSet, Window,
};
use serde_json::{Value, json};

fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}

fn call(cents: &str) -> Event<'static> {
    Event::new("cust_1", "model_call").cost_cents(amount(cents))
}

fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}

#[test]
fn a_budget_of_a_cent_is_a_cent_however_small_the_calls() {
    let quota = || Quota::new("budget", Metric::TotalCostCents, 1, Period::Day);
    let limit = |algorithm| {
        let limit = RateLimit::new("budget", 1, Window::Hour).metric(Metric::TotalCostCents);
        RuleSet::new().rate_limit(limit.algorithm(algorithm))
    };
    for (rules, cents, due) in [
        (RuleSet::new().quota(quota()), "0.4", 2),
        (RuleSet::new().quota(quota()), "0.01", 100),
        (RuleSet::new().quota(quota()), "0.0003", 3_333),
        (limit(Algorithm::TokenBucket), "0.4", 2),
        (limit(Algorithm::FixedWindow), "0.4", 2),
        (limit(Algorithm::SlidingWindow), "0.4", 2),
    ] {
        let engine = Engine::builder().clock(clock()).rule_set(rules).build().expect("good rules");
        let passed = (0..5_000)
            .filter(|_| engine.track(&call(cents)).expect("a good event").is_allowed())
            .count();
        assert_eq!(passed, due, "{cents}");
    }
}

#[test]
fn statuses_and_headers_say_the_digits_and_whole_numbers_as_ever() {
    let engine = Engine::builder()
        .clock(clock())
        .rate_limit(
            RateLimit::new("hourly", "0.5", Window::Hour)
                .metric(Metric::TotalCostCents)
                .algorithm(Algorithm::FixedWindow)
                .id("rl"),
        )
        .quota(Quota::new("daily", Metric::TotalCostCents, 3, Period::Day).id("q"))
        .build()
        .expect("good rules");
    let decision = engine.track(&call("0.3")).expect("a good event");
    let status = decision.quotas().next().expect("it applies");
    assert_eq!((status.used, status.remaining), (amount("0.3"), amount("2.7")));
    assert_eq!(status.limit, Some(3.into()));
    assert!(status.used < 1 && status.remaining > 2 && status.used != 0);
    let body = json_of(&decision);
    assert_eq!(body["rateLimits"][0]["limit"], json!(0.5));
    assert_eq!(body["rateLimits"][0]["remaining"], json!(0.2));
    assert_eq!(body["quotas"][0]["limit"], json!(3));
    assert_eq!(body["quotas"][0]["used"], json!(0.3));
    let header = |name: &str| {
        let mut headers = decision.headers();
        headers.find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    assert_eq!(header("X-RateLimit-Limit").as_deref(), Some("0.5"));
    assert_eq!(header("X-RateLimit-Remaining").as_deref(), Some("0.2"));

    // What is left is room for as much and no more.
    assert!(!engine.check(&call("0.200001")).expect("a good event").is_allowed());
    assert!(engine.standing(&call("1")).expect("a good event").is_allowed());
    let full = engine.track(&call("0.2")).expect("a good event");
    assert!(full.is_allowed());
    assert_eq!(json_of(&full)["rateLimits"][0]["remaining"], json!(0));
    assert_eq!(json_of(&full)["quotas"][0]["used"], json!(0.5));
    assert!(!engine.standing(&call("1")).expect("a good event").is_allowed());
}

#[test]
fn a_bucket_of_cents_refills_to_the_digit() {
    let clock = clock();
    let limit = RateLimit::new("r", 0.3, Window::Minute).metric(Metric::TotalCostCents).burst(0.5);
    let engine = Engine::builder().clock(clock.clone()).rate_limit(limit).build().expect("good");
    assert!(engine.track(&call("0.5")).expect("a good event").is_allowed());
    let refused = engine.track(&call("0.1")).expect("a good event");
    // 0.3 cents a minute: a tenth of a cent comes in a third of it.
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(Duration::from_secs(20))));
    clock.advance(Duration::from_secs(20) - Duration::from_nanos(1));
    assert!(!engine.track(&call("0.1")).expect("a good event").is_allowed());
    clock.advance(Duration::from_nanos(1));
    assert!(engine.track(&call("0.1")).expect("a good event").is_allowed());
}

#[test]
fn limits_on_costs_and_values_have_digits_and_those_on_counts_are_whole() {
    let rules = |body: Value| -> Result<Engine, String> {
        let set: RuleSet = serde_json::from_value(body).map_err(|why| why.to_string())?;
        Engine::builder().rule_set(set).build().map_err(|why| why.to_string())
    };
    let quota = |metric: &str, limit: Value| {
        let quota = json!({"name": "q", "metric": metric, "limitValue": limit, "period": "day"});
        json!({ "quotas": [quota] })
    };
    for metric in ["total_cost_cents", "values.gpu_seconds"] {
        let engine = rules(quota(metric, json!(0.5))).expect("a good rule");
        let rule = engine.rules().quotas().pop().expect("one rule");
        assert_eq!(rule.limit_value, Some(amount("0.5")));
        assert_eq!(json_of(&rule)["limitValue"], json!(0.5));
        assert!(engine.track(&call("0.5").value("gpu_seconds", "0.5")).expect("good").is_allowed());
        assert!(
            !engine.track(&call("0.1").value("gpu_seconds", "0.1")).expect("good").is_allowed()
        );
    }
    for metric in ["total_events", "total_tokens", "input_tokens", "latency_ms"] {
        let why = rules(quota(metric, json!(0.5))).expect_err("counted in wholes");
        assert!(why.contains("limitValue") && why.contains("0.5 must be whole"), "{why}");
        assert!(rules(quota(metric, json!(5))).is_ok());
    }
    let why = rules(quota("total_cost_cents", json!(-0.5))).expect_err("below zero");
    assert!(why.contains("limitValue") && why.contains("-0.5"), "{why}");
    let why = rules(quota("total_cost_cents", json!(0.1 + 0.2))).expect_err("noise");
    assert!(why.contains("from_f64_rounded_up"), "{why}");
}

#[test]
fn a_limit_that_cannot_be_said_waits_for_the_check_and_names_its_field() {
    let noise = 0.1 + 0.2;
    let cost = |limit: RateLimit| limit.metric(Metric::TotalCostCents);
    let new = cost(RateLimit::new("new", noise, Window::Hour));
    let burst = cost(RateLimit::new("burst", 1, Window::Hour).burst(f64::NAN));
    let quota = Quota::new("text", Metric::TotalCostCents, "a lot", Period::Day);
    let built = Engine::builder().rate_limit(new).rate_limit(burst).quota(quota).build();
    let why = built.expect_err("three bad limits").to_string();
    for part in [
        "limitValue: `3.0000000000000004e-1` has more than six digits",
        "`Amount::from_f64_rounded_up`",
        "burst: `NaN` is not a finite number",
        "limitValue: `a lot` is not a decimal number",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let up = Amount::from_f64_rounded_up(noise).expect("finite");
    let engine = Engine::builder()
        .quota(Quota::new("q", Metric::TotalCostCents, up, Period::Day).id("q"))
        .build()
        .expect("a good rule");
    assert_eq!(
        engine.rules().get::<Quota>("q").expect("there").limit_value,
        Some(amount("0.300001"))
    );
    let update = QuotaUpdate::new().limit(noise);
    let why = engine.rules().update("q", update).expect_err("noise").to_string();
    assert!(why.contains("limitValue: `3.0000000000000004e-1`"), "{why}");
    engine.rules().update("q", QuotaUpdate::new().limit("0.4")).expect("exact");
    assert_eq!(engine.rules().get::<Quota>("q").expect("there").limit_value, Some(amount("0.4")));
}

#[test]
fn totals_are_the_exact_sum_of_what_was_charged_and_given_back() {
    let engine = Engine::builder().clock(clock()).build().expect("no rules");
    for cents in ["0.4", "12", "0.000001", "-0.3", "999999999999999.999999"] {
        engine.record(&call(cents)).map(drop).expect("a good event");
    }
    let totals = engine.usage().summary(&UsageQuery::all_time()).expect("a summary").totals;
    assert_eq!(totals.total_cost_cents, amount("1000000000000012.1"));
    let by = engine.usage().breakdown(&UsageQuery::all_time(), "customer_id").expect("rows");
    assert_eq!(by.rows[0].totals.total_cost_cents, amount("1000000000000012.1"));
    let page = engine.events().list(&limitry::events::EventQuery::new()).expect("a page");
    let costs: Vec<Value> =
        page.data.iter().map(|event| json_of(event)["costCents"].clone()).collect();
    let due =
        [json!("999999999999999.999999"), json!(-0.3), json!(0.000001), json!(12), json!(0.4)];
    assert_eq!(costs, due);
    let few = engine.usage().summary(&UsageQuery::all_time().event_type("none"));
    let few = json_of(&few.expect("a summary"));
    assert_eq!(few["totalCostCents"], json!(0));
}

#[test]
fn a_cost_beyond_its_bounds_is_an_error_that_says_them() {
    let engine = Engine::builder().build().expect("no rules");
    for (event, part) in [
        (call("1000000000000000.000001"), "1000000000000000.000001"),
        (call("-1000000000000000.000001"), "-1000000000000000.000001"),
        (Event::new("c", "e").cost_cents(37.0 * 0.15 / 1e6), "from_f64_rounded_up"),
        (Event::new("c", "e").cost_cents(f64::INFINITY), "inf"),
    ] {
        let why = engine.track(&event).map(drop).expect_err("beyond").to_string();
        assert!(why.contains("cost_cents") || why.contains(part), "{why}");
        let text = format!("{why} {:?}", engine.track(&event).map(drop).expect_err("beyond"));
        assert!(text.contains(part) && text.contains("cost_cents"), "{text}");
    }
}
