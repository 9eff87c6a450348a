//! Goal: what has fired stays so when rules change: with other limits, off and on, with other
//! thresholds. What is new fires with the next use.
//!
//! Method: worked cases.

use limitry::events::Recording;
use limitry::rules::{QuotaUpdate, Threshold};
use limitry::{Engine, Event, Metric, Period, Quota};

use crate::support::{engine, track};
use crate::{fired, percent};

const NONE: [&str; 0] = [];

fn calls(engine: &Engine, count: u32) -> Vec<String> {
    for _ in 0..count {
        assert!(track(engine, &Event::new("ann", "call").cost_cents(3)).is_allowed());
    }
    fired(engine)
}

fn daily(thresholds: impl IntoIterator<Item = u32>) -> Quota {
    let quota = Quota::new("Calls", Metric::TotalEvents, 10, Period::Day).id("calls");
    percent(thresholds).into_iter().fold(quota.per("customer_id"), Quota::alert_at)
}

fn each(check: impl Fn(&Engine)) {
    for recording in [Recording::Off, Recording::Newest(1_000)] {
        let (engine, _) = engine(|builder| builder.quota(daily([50])).recording(recording));
        check(&engine);
    }
}

fn update(engine: &Engine, update: QuotaUpdate) {
    engine.rules().update("calls", update).expect("a valid change");
}

#[test]
fn another_limit_fires_no_threshold_again() {
    each(|engine| {
        assert_eq!(calls(engine, 5), ["calls ann 50%"]);
        update(engine, QuotaUpdate::new().limit(100));
        assert_eq!(calls(engine, 46), NONE, "it has, and is the same threshold");
        update(engine, QuotaUpdate::new().limit(60));
        assert_eq!(calls(engine, 1), NONE);
    });
}

#[test]
fn a_limit_that_is_lowered_fires_with_the_next_use() {
    each(|engine| {
        assert_eq!(calls(engine, 3), NONE);
        update(engine, QuotaUpdate::new().limit(5));
        assert_eq!(fired(engine), NONE, "nothing is used by a change");
        assert_eq!(calls(engine, 1), ["calls ann 50%"]);
    });
}

#[test]
fn new_thresholds_fire_with_the_next_use_and_old_ones_no_more() {
    each(|engine| {
        assert_eq!(calls(engine, 6), ["calls ann 50%"]);
        let more = QuotaUpdate::new().alert_thresholds(percent([30, 50, 60, 80]));
        update(engine, more);
        assert_eq!(calls(engine, 1), ["calls ann 30%", "calls ann 60%"]);
        update(engine, QuotaUpdate::new().alert_thresholds(Vec::new()));
        assert_eq!(calls(engine, 1), NONE);
        update(engine, QuotaUpdate::new().alert_thresholds(percent([60, 80])));
        assert_eq!(calls(engine, 1), ["calls ann 80%"]);
    });
}

#[test]
fn off_and_on_again_fires_no_more() {
    each(|engine| {
        assert_eq!(calls(engine, 5), ["calls ann 50%"]);
        update(engine, QuotaUpdate::new().enabled(false));
        assert_eq!(calls(engine, 2), NONE);
        update(engine, QuotaUpdate::new().enabled(true));
        assert_eq!(calls(engine, 2), NONE);
    });
}

#[test]
fn what_is_adjusted_fires_with_the_next_use_and_what_begins_anew_no_more() {
    each(|engine| {
        let adjust = |amount: i64| {
            let key = [("customer_id", "ann")];
            engine.rules().adjust("calls", key, amount, "a note").expect("it is adjusted");
            fired(engine)
        };
        assert_eq!(adjust(6), NONE, "it is no use");
        assert_eq!(calls(engine, 1), ["calls ann 50%"]);
        for amount in [-6, 6] {
            assert_eq!(adjust(amount), NONE);
        }
        assert_eq!(calls(engine, 1), NONE);
        engine.rules().reset("calls", [("customer_id", "ann")]).expect("it begins anew");
        assert_eq!(calls(engine, 7), NONE, "it has fired in this period");
    });
}

/// Counters of another metric begin anew; where it is the same period the threshold is the same.
#[test]
fn another_period_is_another_alert() {
    each(|engine| {
        assert_eq!(calls(engine, 5), ["calls ann 50%"]);
        update(engine, QuotaUpdate::new().period(Period::Week));
        assert_eq!(calls(engine, 1), ["calls ann 50%"], "of the week");
        update(engine, QuotaUpdate::new().period(Period::Day));
        assert_eq!(calls(engine, 1), NONE, "the day has fired");
    });
}

#[test]
fn a_rule_that_comes_while_events_are_known_fires_with_the_next_use() {
    let (engine, _) = engine(|builder| builder.recording(Recording::Newest(1_000)));
    assert_eq!(calls(&engine, 8), NONE);
    let rule = daily([50, 80, 90]);
    engine.rules().add(rule).expect("a valid rule");
    assert_eq!(calls(&engine, 1), ["calls ann 50%", "calls ann 80%", "calls ann 90%"]);
}

#[test]
fn keys_that_share_fire_together() {
    let (engine, _) = engine(|builder| builder.quota(daily([50]).max_keys(1)));
    let call = |customer| {
        assert!(track(&engine, &Event::new(customer, "call")).is_allowed());
        fired(&engine)
    };
    assert_eq!(call("ann"), NONE);
    for (customer, expected) in [("b", 0), ("c", 0), ("d", 0), ("b", 0), ("c", 1), ("d", 0)] {
        let found = call(customer);
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|it| it == "calls all 50%"), "{found:?}");
    }
}

#[test]
fn thresholds_that_mean_nothing_are_errors() {
    let wrong = |quota: Quota| {
        let built = Engine::builder().quota(quota).build();
        built.expect_err("it is wrong").to_string()
    };
    let plain = || daily([]);
    for (quota, says) in [
        (daily([0]), "0% must be 1 to 1000"),
        (daily([1_001]), "1001% must be 1 to 1000"),
        (daily([80, 80]), "80% is named twice"),
        (daily(1..=17), "17 thresholds: at most 16 a rule"),
        (plain().alert_at(Threshold::amount(0)), "0 must be more than 0"),
        (plain().alert_at(Threshold::amount(-5)), "-5 must be more than 0"),
        (
            plain().alert_at(Threshold::Amount("1.5".parse().expect("an amount"))),
            "1.5 must be whole: total_events counts in whole numbers",
        ),
        (
            Quota::unlimited("Calls", Metric::TotalEvents, Period::Day)
                .alert_at(Threshold::percent(80)),
            "80% is one of the limit, and the rule has none",
        ),
        (
            Quota::concurrent("Calls", 5).alert_at(Threshold::percent(80)),
            "a concurrent quota has none",
        ),
        (
            Quota::balance("Calls", Metric::TotalEvents)
                .per("customer_id")
                .alert_at(Threshold::percent(80)),
            "80% is one of a limit: a balance has none",
        ),
    ] {
        let found = wrong(quota);
        let names = found.contains("alertThresholds") && found.contains("\"Calls\"");
        assert!(names && found.contains(says), "{found}");
    }
    assert!(Engine::builder().quota(daily(1..=16)).build().is_ok());
    let none = Engine::builder().max_alerts(0).build().expect_err("none");
    assert!(none.to_string().contains("maxAlerts"), "{none}");
}

#[test]
fn thresholds_are_data() {
    let rule = r#"{"name": "Calls", "metric": "total_events", "limitValue": 10, "period": "day",
        "alertThresholds": [50, {"amount": 7}, {"percent": 80}]}"#;
    let quota: Quota = serde_json::from_str(rule).expect("a rule");
    let expected = [Threshold::percent(50), Threshold::amount(7), Threshold::percent(80)];
    assert_eq!(quota.alert_thresholds, expected);
    let text = serde_json::to_string(&quota).expect("a text");
    assert!(text.contains(r#""alertThresholds":[50,{"amount":7},80]"#), "{text}");
    assert_eq!(serde_json::from_str::<Quota>(&text).expect("a rule"), quota);
    let none = rule.replace(r#"[50, {"amount": 7}, {"percent": 80}]"#, "null");
    assert_eq!(serde_json::from_str::<Quota>(&none).expect("a rule").alert_thresholds, []);
    let change: QuotaUpdate = serde_json::from_str(r#"{"alertThresholds": null}"#).expect("one");
    assert_eq!(change.apply(&quota).alert_thresholds, []);
    let change: QuotaUpdate = serde_json::from_str("{}").expect("one");
    assert_eq!(change.apply(&quota), quota);
    let toml = "name = 'c'\nmetric = 'total_events'\nlimitValue = 5\nperiod = 'day'\n";
    let quota: Quota =
        toml::from_str(&format!("{toml}alertThresholds = [80, {{ amount = 3 }}]")).expect("a rule");
    assert_eq!(quota.alert_thresholds, [Threshold::percent(80), Threshold::amount(3)]);
}
