//! Rules through the engine's own API: a sync reports what it does, and does what its preview says.

use limitry::rules::SyncOptions;
use limitry::{Engine, Metric, Period, Quota, RateLimit, RuleSet, Window};
use serde_json::{Value, json};

use super::{ask, data, get, pages, post, problem};
use crate::app::App;

fn calls(limit: u64) -> RateLimit {
    RateLimit::new("Calls", limit, Window::Minute).per("customer_id")
}

fn tokens(limit: u64) -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, limit, Period::Day).per("customer_id")
}

fn app() -> App {
    App::with(Engine::builder().rate_limit(calls(60)).quota(tokens(1_000)))
}

/// For each of what may become of missing rules: the preview says what the Rust API says, and
/// writes nothing; the sync says the same and writes it; once more there is nothing to do.
#[test]
fn a_sync_does_what_its_preview_says() {
    let wanted = RuleSet::new().rate_limit(calls(90)).quota(Quota::new(
        "Cents",
        Metric::TotalCostCents,
        5,
        Period::Month,
    ));
    for (missing, left) in [("keep", 3), ("archive", 2), ("remove", 2)] {
        let app = app();
        let options = |options: SyncOptions| match missing {
            "keep" => options.keep_missing(),
            "archive" => options.archive_missing(),
            _ => options,
        };
        let before = app.engine.rules().set();
        let of_rust = app.engine.rules().sync(wanted.clone(), options(SyncOptions::preview()));
        let body = |preview| json!({"rules": wanted, "missing": missing, "preview": preview});
        let preview = post(&app, "/sync", body(true));
        assert_eq!(preview, data(&of_rust.expect("good rules")));
        assert_eq!(app.engine.rules().set(), before, "{missing}");
        let mut done = post(&app, "/sync", body(false));
        assert_eq!((&done["preview"], &preview["preview"]), (&json!(false), &json!(true)));
        done["preview"] = json!(true);
        assert_eq!(done, preview);
        assert_eq!(app.engine.rules().list().len(), left, "{missing}");
        let again = post(&app, "/sync", body(false));
        let nothing = json!([]);
        assert_eq!((&again["created"], &again["updated"]), (&nothing, &nothing));
        assert_eq!(again["unchanged"].as_array().map(Vec::len), Some(left));
    }
    // Where it is not said, what the list does not name stays.
    let app = app();
    post(&app, "/sync", json!({"rules": {}}));
    assert_eq!(app.engine.rules().list().len(), 2);
    let change = post(&app, "/sync", json!({"rules": {"rateLimits": [calls(61)]}}));
    let field = json!({"name": "Calls", "fields": {"limitValue": {"from": 60, "to": 61}}});
    assert_eq!(change["updated"], json!([field]));
}

#[test]
fn a_bad_list_is_told_of_whole_and_changes_nothing() {
    let app = app();
    let before = app.engine.rules().set();
    let limits = json!([{"name": "L", "limitValue": -1, "window": "hour"}]);
    let quotas =
        json!([{"name": "Q", "metric": "total_tokens", "limitValue": 1.5, "period": "day"}]);
    let body = json!({"rules": {"rateLimits": limits, "quotas": quotas}});
    let answer = ask(&app, "POST", "/sync", body);
    let (status, detail, paths) = problem(&answer);
    assert_eq!(
        (status, paths),
        (400, vec!["rate limit \"L\": limitValue", "quota \"Q\": limitValue"])
    );
    assert!(detail.contains("1.5"), "{detail}");
    for (body, said) in [
        (json!({}), "rules"),
        (json!({"rules": {}, "missing": "drop"}), "missing"),
        (json!({"rules": {}, "preview": 1}), "preview: 1 must be"),
        (json!({"rules": {}, "dryRun": true}), "dryRun"),
        (json!({"rules": {"quotas": [{"name": 7}]}}), "rules.quotas[0].name: 7"),
        (json!([{}, true]), "must be a JSON object"),
    ] {
        let answer = ask(&app, "POST", "/sync", body);
        let (status, detail, _) = problem(&answer);
        assert_eq!(status, 400);
        assert!(detail.contains(said), "{detail}");
    }
    assert_eq!(app.engine.rules().set(), before);
}

#[test]
fn rules_are_made_changed_and_taken_away() {
    let app = App::new();
    let made = ask(&app, "POST", "/rules", json!({"quota": tokens(5).id("qta_t")})).ok(201);
    assert_eq!((&made["quota"]["id"], &made["quota"]["limitValue"]), (&json!("qta_t"), &json!(5)));
    assert_eq!(get(&app, "/rules/qta_t"), made);
    let answer = ask(&app, "PATCH", "/rules/qta_t", json!({"limitValue": 7})).ok(200);
    assert_eq!(answer["quota"]["limitValue"], 7);
    let rule: Quota = app.engine.rules().get("qta_t").expect("it is there");
    assert_eq!(rule.limit_value, Some(7.into()));
    assert!(!post(&app, "/rules/qta_t/archive", Value::Null)["quota"]["archivedAt"].is_null());
    assert_eq!(
        (pages(&app, "/rules", 9).len(), pages(&app, "/rules?archived=true", 9).len()),
        (0, 1)
    );
    post(&app, "/rules/qta_t/restore", Value::Null);
    assert_eq!(pages(&app, "/rules?archived=false", 9).len(), 1);
    assert_eq!(ask(&app, "DELETE", "/rules/qta_t", Value::Null).status, 204);
    for (method, path, body) in [
        ("GET", "/rules/qta_t", Value::Null),
        ("DELETE", "/rules/qta_t", Value::Null),
        ("PATCH", "/rules/qta_t", json!({})),
        ("POST", "/rules/qta_t/archive", Value::Null),
        ("POST", "/rules/qta_t/restore", Value::Null),
        ("GET", "/rules/qta_t/keys", Value::Null),
    ] {
        let answer = ask(&app, method, path, body);
        let (status, detail, _) = problem(&answer);
        assert!(status == 404 && detail.contains("qta_t"), "{method} {path}: {detail}");
    }
    for (body, said) in [
        (json!({"meter": {}}), "meter"),
        (json!({"quota": {"name": "x"}}), "metric"),
        (json!({"rateLimit": calls(5).burst(0)}), "burst"),
        (json!({"quota": tokens(5).max_keys(0)}), "maxKeys"),
        (Value::Null, "must be a JSON object"),
    ] {
        let answer = ask(&app, "POST", "/rules", body);
        let (status, detail, _) = problem(&answer);
        assert!(status == 400 && detail.contains(said), "{detail}");
    }
}

#[test]
fn rules_come_by_pages_the_newest_first() {
    let app = App::new();
    for number in 0..23 {
        let mut rule = calls(number + 1);
        rule.name = format!("Calls {number}");
        app.engine.rules().add(rule).expect("a good rule");
    }
    let mut all = app.engine.rules().list();
    all.reverse();
    let all: Vec<Value> = all.iter().map(data).collect();
    for size in [1, 5, 22, 23, 24, 100] {
        assert_eq!(pages(&app, "/rules", size), all, "pages of {size}");
    }
    for (query, said) in [
        ("limit=0", "limit: \"0\""),
        ("limit=101", "limit: \"101\""),
        ("limit=x", "limit: \"x\""),
        ("archived=yes", "archived: \"yes\""),
        ("cursor=%21", "cursor: \"!\""),
        ("page=2", "page"),
    ] {
        let answer = ask(&app, "GET", &format!("/rules?{query}"), Value::Null);
        let (status, detail, _) = problem(&answer);
        assert!(status == 400 && detail.contains(said), "{detail}");
    }
}
