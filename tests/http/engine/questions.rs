//! Questions of the engine's own API: each is answered as the Rust API answers it, and changes
//! nothing.

use limitry::events::{EventQuery, Recording};
use limitry::simulation::Traffic;
use limitry::store::MemoryStore;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Window};
use serde_json::{Value, json};

use super::{ask, data, event, get, pages, post, problem};
use crate::app::App;

fn app() -> App {
    let calls = RateLimit::new("Calls", 2, Window::Minute).per("customer_id");
    let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id");
    let other = Quota::new("Others", Metric::TotalEvents, 5, Period::Day).filter("model", "o3");
    App::with(Engine::builder().rate_limit(calls).quota(tokens).quota(other))
}

fn of(customer: &str) -> Event<'_> {
    Event::new(customer, "call").input_tokens(3).model("gpt-4")
}

#[test]
fn explain_and_standing_say_what_the_engine_says_and_take_nothing() {
    let app = app();
    for _ in 0..3 {
        let explained = post(&app, "/explain", event("ann"));
        let explanation = app.engine.explain(&of("ann")).expect("a good event");
        assert_eq!(explained["decision"], data(&explanation.decision));
        assert_eq!(explained["rules"], data(&explanation.rules));
        assert_eq!(explained["leftOut"], 0);
        assert_eq!(explained["rules"][2]["outcome"], "missed");
        let standing = post(&app, "/standing", event("ann"));
        assert_eq!(standing, data(&app.engine.standing(&of("ann")).expect("a good event")));
        let _ = app.engine.track(&of("ann")).expect("a good event");
    }
    let refused = post(&app, "/explain", event("ann"));
    assert_eq!(
        (&refused["decision"]["allowed"], &refused["rules"][0]["exceeded"]),
        (&json!(false), &json!(true))
    );
    for path in ["/explain", "/standing"] {
        for (body, said) in [
            (json!({"eventType": "e"}), "customerId"),
            (json!({"customerId": "c", "eventType": "e", "inputTokens": -1}), "inputTokens"),
        ] {
            let answer = ask(&app, "POST", path, body);
            let (status, detail, _) = problem(&answer);
            assert!(status == 400 && detail.contains(said), "{detail}");
        }
    }
}

#[test]
fn every_outcome_is_explained_and_what_is_known_of_the_customer() {
    let day = |name: &str| Quota::new(name, Metric::TotalEvents, 9, Period::Day);
    let later: limitry::Timestamp = "2024-02-01T00:00:00Z".parse().expect("a time");
    let builder = Engine::builder()
        .quota(day("applies").per("customer_id"))
        .quota(day("plan").per("customer_plan").policy("p").priority(1))
        .quota(day("replaced").policy("p"))
        .quota(day("later").starts_at(later))
        .quota(day("off").enabled(false))
        .quota(day("missed").filter("model", "o3"))
        .rate_limit(RateLimit::new("Calls", 2, Window::Minute));
    let app = App::with(builder);
    let ann = limitry::Customer::new("ann").metadata("plan", "pro");
    app.engine.customers().upsert(ann).expect("good");
    let explained = post(&app, "/explain", event("ann"));
    let rules = explained["rules"].as_array().expect("a list").iter();
    let mut outcomes: Vec<_> = rules.map(|rule| rule["outcome"].as_str().expect("one")).collect();
    outcomes.sort_unstable();
    outcomes.dedup();
    assert_eq!(outcomes, ["applies", "disabled", "missed", "outOfTime", "replaced"]);
    assert_eq!(explained["attributes"], json!({"customer_plan": "pro"}));
    let of_rust = app.engine.explain(&of("ann")).expect("a good event");
    assert_eq!(explained["rules"], data(&of_rust.rules));
    assert_eq!(explained["attributes"], data(&of_rust.attributes));
    // Of who nothing is known.
    assert_eq!(post(&app, "/explain", event("bob")).get("attributes"), None);
}

#[test]
fn what_no_event_has_had_is_listed_by_name() {
    let mut builder = Engine::builder();
    for name in ["team_d", "team_a", "team_c", "team_b"] {
        builder = builder.rate_limit(RateLimit::new(name, 9, Window::Minute).per(name));
    }
    let app = App::with(builder);
    let names = |size| -> Vec<String> {
        let all = pages(&app, "/unseen-dimensions", size);
        all.iter().map(|one| one["dimension"].as_str().expect("a name").to_owned()).collect()
    };
    for size in [1, 3, 4, 5] {
        assert_eq!(names(size), ["team_a", "team_b", "team_c", "team_d"]);
    }
    let _ = app.engine.track(&of("c").property("team_b", "x")).expect("a good event");
    assert_eq!(names(2), ["team_a", "team_c", "team_d"]);
}

#[test]
fn a_simulation_replays_what_was_recorded() {
    let app = app();
    for minute in 0..6_u64 {
        for customer in ["ann", "bob"] {
            let _ = app.engine.track(&of(customer)).expect("a good event");
        }
        app.clock.advance(std::time::Duration::from_secs(60 * (1 + minute % 2)));
    }
    let rules = RuleSet::new()
        .quota(Quota::new("Few", Metric::TotalEvents, 4, Period::Day).per("customer_id"));
    let report = post(&app, "/simulate", json!({"rules": rules, "keys": 1}));
    let of_rust = app.engine.simulate(rules.clone(), Traffic::recorded().keys(1)).expect("good");
    assert_eq!(report, data(&of_rust));
    assert_eq!((&report["calls"]["calls"], &report["calls"]["refused"]), (&json!(12), &json!(4)));
    assert_eq!(report["rules"][0]["worst"].as_array().map(Vec::len), Some(1));
    // Of a range, and of a customer.
    let calls = json!({"customerId": "ann", "startDate": "2024-01-15T10:31:00Z"});
    let report = post(&app, "/simulate", json!({"rules": rules, "calls": calls}));
    let since: limitry::Timestamp = "2024-01-15T10:31:00Z".parse().expect("a time");
    let query = EventQuery::new().customer("ann").since(since);
    assert_eq!(report, data(&app.engine.simulate(rules.clone(), query).expect("good")));
    for (body, said) in [
        (json!({"rules": rules, "keys": 101}), "keys: 101 must be 0 to 100"),
        (json!({"rules": rules, "calls": {"customer": "x"}}), "customer"),
        (
            json!({"rules": {"rateLimits": [{"name": "", "limitValue": 1, "window": "hour"}]}}),
            "name",
        ),
        (json!({}), "rules"),
    ] {
        let answer = ask(&app, "POST", "/simulate", body);
        let (status, detail, _) = problem(&answer);
        assert!(status == 400 && detail.contains(said), "{detail}");
    }
    let app = App::with(Engine::builder().recording(Recording::Off));
    let answer = ask(&app, "POST", "/simulate", json!({"rules": rules}));
    assert_eq!(problem(&answer).0, 409);
}

#[test]
fn health_says_how_the_engine_and_its_store_are() {
    let app = app();
    let _ = app.engine.track(&of("ann")).expect("a good event");
    let health = get(&app, "/health");
    let expected = json!({"good": true, "project": "proj_xyz", "now": "2024-01-15T10:30:00Z",
        "rules": 3, "liveKeys": app.engine.live_keys(), "events": 1, "alertsWaiting": 0,
        "store": null});
    assert_eq!(health, expected);
    let memory = MemoryStore::new();
    let app = App::with(Engine::builder().durable(memory.open().expect("opens")));
    let _ = app.engine.track(&of("ann")).expect("a good event");
    app.engine.store().flush().expect("it takes it");
    let store = &get(&app, "/health")["store"];
    assert_eq!((&store["recorded"], &store["waiting"]), (&json!(1), &json!(0)));
    assert_eq!((&store["failure"], &store["durability"]), (&Value::Null, &json!("buffered")));
    app.engine.store().close().expect("it closes");
    let health = get(&app, "/health");
    assert_eq!(health["good"], false);
    assert!(
        health["store"]["failure"].as_str().is_some_and(|it| it.contains("closed")),
        "{health}"
    );
}

#[test]
fn a_store_is_verified_and_none_says_so() {
    let memory = MemoryStore::new();
    let app = App::with(Engine::builder().durable(memory.open().expect("opens")));
    for _ in 0..5 {
        let _ = app.engine.track(&of("ann")).expect("a good event");
    }
    let verified = post(&app, "/verify", Value::Null);
    assert_eq!((&verified["good"], &verified["problem"]), (&json!(true), &Value::Null));
    assert_eq!(
        (&verified["report"]["records"], &verified["report"]["isComplete"]),
        (&json!(5), &json!(true))
    );
    // There is no folder for backups here.
    let answer = ask(&app, "POST", "/backup", Value::Null);
    assert_eq!((problem(&answer).0, &answer.body["code"]), (409, &json!("no_backups")));
    app.engine.store().close().expect("it closes");
    assert_eq!(problem(&ask(&app, "POST", "/verify", Value::Null)).0, 503);
    let answer = ask(&App::new(), "POST", "/verify", Value::Null);
    assert_eq!((problem(&answer).0, &answer.body["code"]), (409, &json!("no_store")));
}
