//! Goal: who changed which rule, when and why, is kept and said: each change once, the newest
//! 1 000, over a restart too; what was refused, or changed nothing, is no change.

use std::time::Duration;

use limitry::store::{Durability, MemoryStore};
use limitry::{Engine, Metric, Period, Quota};
use serde_json::{Value, json};

use super::{ask, get, pages, post, problem};
use crate::app::{App, KEY, READ, RECORD, SECOND};

fn app() -> App {
    App::with(Engine::builder().quota(quota()))
}

fn quota() -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id")
}

/// What a list says was done, the oldest first.
fn done(app: &App) -> Vec<(String, Value)> {
    let mut all = pages(app, "/changes", 3);
    all.reverse();
    assert!(all.windows(2).all(|pair| pair[0]["id"].as_u64() < pair[1]["id"].as_u64()));
    let of = |one: &Value| (one["what"].as_str().expect("a word").to_owned(), one.clone());
    all.iter().map(of).collect()
}

#[test]
fn each_change_is_said_once_with_who_when_and_why() {
    let app = app();
    let limit = json!({"limitValue": 2_000});
    ask(&app, "PATCH", "/rules/qta_tokens?note=A%20trial%20of%20%3Cb%3E", limit).ok(200);
    app.clock.advance(Duration::from_secs(60));
    post(&app, "/rules/qta_tokens/archive", Value::Null);
    post(&app, "/rules/qta_tokens/restore?note=", Value::Null);
    let same = json!({"rules": {"quotas": [quota().id("qta_tokens")]}, "preview": true});
    post(&app, "/sync?note=no", same.clone());
    let mut wanted = same;
    wanted["preview"] = false.into();
    post(&app, "/sync?note=back", wanted.clone());
    // A second time it changes nothing.
    post(&app, "/sync?note=again", wanted);
    ask(&app, "DELETE", "/rules/qta_tokens", Value::Null).ok(204);
    let limit = json!({"rateLimit": {"name": "New", "limitValue": 9, "window": "hour"}});
    ask(&app, "POST", "/rules", limit).ok(201);
    let done = done(&app);
    let words: Vec<&str> = done.iter().map(|(what, _)| &**what).collect();
    assert_eq!(words, ["updated", "archived", "restored", "synced", "removed", "added"]);
    let expected = json!({
        "id": 0, "at": "2024-01-15T10:30:00Z", "who": "Ann", "what": "updated",
        "ruleId": "qta_tokens", "ruleName": "Tokens", "note": "A trial of <b>",
        "fields": {"limitValue": {"from": 1_000, "to": 2_000}},
    });
    assert_eq!(done[0].1, expected);
    assert_eq!(
        (&done[1].1["at"], &done[2].1["note"]),
        (&json!("2024-01-15T10:31:00Z"), &json!(null))
    );
    let report = &done[3].1["fields"];
    assert_eq!(report["updated"][0]["fields"]["limitValue"]["to"], 1_000, "{report}");
    assert_eq!(done[5].1["ruleId"], "rl_new");
}

#[test]
fn what_is_refused_is_no_change_and_a_note_has_bounds() {
    let app = app();
    let limit = json!({"limitValue": 2_000}).to_string();
    let path = "/engine/v1/rules/qta_tokens";
    for key in [READ, RECORD] {
        assert_eq!(app.send(key, "PATCH", path, &*limit).status, 403);
    }
    let bad = ask(&app, "PATCH", "/rules/qta_tokens", json!({"limitValue": -1}));
    assert_eq!(problem(&bad).0, 400);
    assert_eq!(problem(&ask(&app, "DELETE", "/rules/qta_none", Value::Null)).0, 404);
    for note in ["x".repeat(501), "a%0Ab".to_owned()] {
        let answer = app.send(KEY, "PATCH", &format!("{path}?note={note}"), &*limit);
        assert!(problem(&answer).1.starts_with("note: must have at most 500 bytes"));
    }
    assert_eq!(done(&app), []);
    assert_eq!(get(&app, "/rules/qta_tokens")["quota"]["limitValue"], 1_000);
    app.send(KEY, "PATCH", &format!("{path}?note={}", "x".repeat(500)), &*limit).ok(200);
    assert_eq!(done(&app).len(), 1);
    let answer = ask(&app, "GET", "/changes?cursor=x", Value::Null);
    assert!(problem(&answer).1.starts_with("cursor: \"x\""));
}

/// Of other APIs the request is said; a question there is none.
#[test]
fn changes_by_the_products_paths_are_there_too() {
    let app = app();
    app.send(KEY, "PUT", "/v1/quotas/qta_tokens", json!({"limitValue": 5}).to_string()).ok(200);
    let check = json!({"dimensions": {"customer_id": "c"}}).to_string();
    app.send(KEY, "POST", "/v1/quotas/check", check);
    app.send(KEY, "DELETE", "/v1/quotas/qta_none", "").status.is_client_error();
    app.send(SECOND, "DELETE", "/v1/limits/qta_tokens", "").ok(204);
    let done = done(&app);
    let words: Vec<&str> = done.iter().map(|(what, _)| &**what).collect();
    assert_eq!(words, ["PUT /v1/quotas/qta_tokens", "DELETE /v1/limits/qta_tokens"]);
    // Which rule it was is known as long as its id is one of the engine's.
    let rules = done.iter().map(|(_, change)| (&change["ruleId"], &change["ruleName"]));
    assert!(rules.clone().eq([(&json!("qta_tokens"), &json!("Tokens")); 2]), "{done:?}");
    let who = done[1].1["who"].as_str().expect("a hash");
    assert!(who.starts_with("sha256:") && who.len() == 15, "{who}");
}

#[test]
fn changes_survive_and_only_the_newest_are_kept() {
    let memory = MemoryStore::new();
    let open = || {
        let store = memory.open().expect("a store").durability(Durability::Synced);
        App::with(Engine::builder().durable(store))
    };
    let app = open();
    let rule = json!({"quota": quota()});
    ask(&app, "POST", "/rules", rule).ok(201);
    for limit in 1..=1_004 {
        ask(&app, "PATCH", "/rules/qta_tokens", json!({"limitValue": limit})).ok(200);
    }
    let ids = |app: &App| -> Vec<u64> {
        let all = pages(app, "/changes", 100);
        all.iter().map(|one| one["id"].as_u64().expect("a number")).collect()
    };
    let expected: Vec<u64> = (5..=1_004).rev().collect();
    assert_eq!(ids(&app), expected);
    let before = pages(&app, "/changes", 100);
    app.engine.store().close().expect("it is closed");
    drop(app);
    let app = open();
    assert_eq!(pages(&app, "/changes", 100), before);
    ask(&app, "PATCH", "/rules/qta_tokens", json!({"limitValue": 7})).ok(200);
    assert_eq!(ids(&app)[..2], [1_005, 1_004]);
}

#[test]
fn a_key_is_told_what_it_may_do() {
    let app = app();
    let me = |key: &str| app.send(key, "GET", "/engine/v1/me", "").ok(200);
    let expected = json!({"project": "proj_xyz", "who": "Ann", "scope": "all", "mayChange": true});
    assert_eq!(me(KEY), expected);
    for (key, scope) in [(READ, "read"), (RECORD, "record")] {
        let me = me(key);
        assert_eq!((&me["scope"], &me["mayChange"]), (&json!(scope), &json!(false)));
    }
}
