//! Goal: a rule is written as the product's object and read in every form that is promised; a field
//! that nobody knows is an error that names it, so that a typing error never switches a rule off in
//! silence.
//!
//! Method: whole bodies as text, and tables of forms.

use super::bodies::{engine, read, refused, text};
use limitry::rules::{Algorithm, Enforcement, Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::{
    Condition, Event, Meter, Metric, Period, Quota, RateLimit, Rule, RuleSet, Timestamp, Window,
};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_rule_as_the_engine_lists_it_is_the_products_object() {
    let engine = engine(|builder| {
        let limit = RateLimit::new("API", 1_000, Window::Hour).id("rl_1").filter("model", "gpt-4");
        let quota = Quota::new("Daily", Metric::TotalTokens, 5, Period::Day).id("qta_1");
        builder.rate_limit(limit).quota(quota)
    });
    assert_eq!(
        text(&engine.rules().rate_limits()),
        "[{\"id\":\"rl_1\",\"name\":\"API\",\"dimensionFilters\":{\"model\":\"gpt-4\"},\
         \"limitValue\":1000,\"window\":\"hour\",\"enabled\":true,\
         \"createdAt\":\"2024-01-15T09:30:00Z\",\"updatedAt\":\"2024-01-15T09:30:00Z\"}]"
    );
    assert_eq!(
        text(&engine.rules().quotas()),
        "[{\"id\":\"qta_1\",\"name\":\"Daily\",\"dimensionFilters\":{},\
         \"metric\":\"total_tokens\",\"limitValue\":5,\"period\":\"day\",\
         \"createdAt\":\"2024-01-15T09:30:00Z\",\"updatedAt\":\"2024-01-15T09:30:00Z\"}]"
    );
    assert_eq!(
        text(&engine.rules().set()),
        format!(
            "{{\"rateLimits\":{},\"quotas\":{}}}",
            text(&engine.rules().rate_limits()),
            text(&engine.rules().quotas())
        )
    );
}

#[test]
fn a_rule_of_any_kind_says_which_it_is() {
    let limit = r#"{"name": "API", "limitValue": 10, "window": "minute"}"#;
    let rule: Rule = read(&format!(r#"{{"rateLimit": {limit}}}"#));
    assert_eq!(rule, Rule::from(read::<RateLimit>(limit)));
    assert_eq!(read::<Rule>(&text(&rule)), rule);
    let quota: Rule = Quota::unlimited("Q", Metric::TotalEvents, Period::Day).into();
    assert_eq!(read::<Rule>(&text(&quota)), quota);
    let why = refused::<Rule>(r#"{"quota": {"name": 7}}"#);
    assert!(why.contains("name: 7 must be a string"), "{why}");
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
    assert_eq!(quota.dimension_filters.get("team_id"), Some(&Condition::from("eng")));
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
        .priority(-3)
        .starts_at("2024-01-15T10:30:00Z".parse::<Timestamp>().expect("an instant"))
        .ends_at("2024-01-15T10:30:00.000000001Z".parse::<Timestamp>().expect("an instant"))
        .max_keys(7)
        .overflow(Overflow::Deny)
        .enabled(false);
    let body = "{\"id\":\"rl_1\",\"name\":\"n\",\"dimensionFilters\":{\"model\":\"gpt-4\"},\
                \"limitValue\":5,\"window\":\"90s\",\"enabled\":false,\"metric\":\"values.images\",\
                \"per\":[\"customer_id\",\"team\"],\"burst\":9,\"enforcement\":\"shadow\",\
                \"policy\":\"plan\",\"priority\":-3,\
                \"startsAt\":\"2024-01-15T10:30:00Z\",\
                \"endsAt\":\"2024-01-15T10:30:00.000000001Z\",\"maxKeys\":7,\"overflow\":\"deny\"}";
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
        let rule = "must be `hour`, `day`, `week`, `month`, `year`, `all_time`, `concurrent`, or \
                    of a rolling period the length such as `30d`";
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

/// A value is the product's own form, and prints as it.
#[test]
fn what_a_filter_asks_has_a_form_each() {
    let reads = |condition: Condition, forms: &[&str]| {
        for form in forms {
            let read: Condition = serde_json::from_str(form).expect("a condition");
            assert_eq!(read, condition, "{form}");
        }
        let printed = serde_json::to_string(&condition).expect("plain data");
        assert_eq!(printed, forms[0]);
    };
    reads("a".into(), &["\"a\""]);
    reads("a*".into(), &["\"a*\""]);
    reads(["b", "a"].into(), &["[\"a\",\"b\"]", "[\"b\",\"a\",\"b\"]"]);
    reads(Condition::prefix("a"), &["{\"prefix\":\"a\"}"]);
    reads(Condition::not("a"), &["{\"not\":\"a\"}", "{\"not\":[\"a\"]}"]);
    reads(Condition::none_of(["b", "a"]), &["{\"not\":[\"a\",\"b\"]}", "{\"not\":[\"b\",\"a\"]}"]);
    reads(Condition::Present, &["{\"present\":true}"]);
    reads(Condition::Absent, &["{\"present\":false}"]);

    let set: RuleSet = toml::from_str(
        r#"
        [[meters]]
        name = "gpt-4o"
        id = "m"
        aggregation = "count"
        eventFilter = { eventType = ["call", "embed"], dimensions = { model.prefix = "gpt-4o" } }

        [[rateLimits]]
        name = "r"
        limitValue = 1
        window = "hour"
        dimensionFilters = { team_id = { not = ["a", "b"] }, trace = { present = false } }
        "#,
    )
    .expect("a rule set");
    let meter = Meter::count("gpt-4o").id("m").filter("event_type", ["call", "embed"]);
    assert_eq!(set.meters, [meter.filter("model", Condition::prefix("gpt-4o"))]);
    let rule = RateLimit::new("r", 1, Window::Hour).filter("trace", Condition::Absent);
    assert_eq!(set.rate_limits, [rule.filter("team_id", Condition::none_of(["a", "b"]))]);
    let printed = toml::to_string(&set).expect("plain data");
    assert_eq!(toml::from_str::<RuleSet>(&printed).expect("a rule set"), set);

    let update: RateLimitUpdate = read(r#"{"dimensionFilters": {"model": {"prefix": "o"}}}"#);
    assert_eq!(update, RateLimitUpdate::new().filter("model", Condition::prefix("o")));
}
