//! Pages of keys, reservations and alerts: together they are the list of the Rust API, each item
//! once.

use limitry::keys::KeyQuery;
use limitry::reservations::{ReservationQuery, ReservationState};
use limitry::rules::Threshold;
use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reserved};
use serde_json::{Value, json};

use super::{ask, data, get, pages, post, problem};
use crate::app::App;

fn tokens() -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id")
}

fn record(app: &App, customer: &str, tokens: u64) {
    let event = Event::new(customer, "call").input_tokens(tokens);
    assert!(app.engine.record(&event).expect("a good event").is_allowed());
}

#[test]
fn a_rules_keys_come_the_most_used_first() {
    let app = App::with(Engine::builder().quota(tokens()));
    for number in 0..11_u64 {
        record(&app, &format!("c{number}"), number * number + 1);
    }
    let all = app.engine.rules().keys("qta_tokens", &KeyQuery::new()).expect("it is there");
    let mut found = Vec::new();
    let mut path = "/rules/qta_tokens/keys?limit=4".to_owned();
    loop {
        let page = get(&app, &path);
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 4);
        found.extend(items.iter().cloned());
        let Some(next) = page["nextCursor"].as_str() else { break };
        let cursor = next.replace('[', "%5B").replace(']', "%5D").replace('"', "%22");
        path = format!("/rules/qta_tokens/keys?limit=4&cursor={cursor}");
    }
    assert_eq!(found, all.items.iter().map(data).collect::<Vec<_>>());
    assert_eq!((&found[0]["used"], &found[0]["remaining"]), (&json!(101), &json!(899)));
    let answer = ask(&app, "GET", "/rules/qta_tokens/keys?cursor=x", Value::Null);
    let (status, detail, _) = problem(&answer);
    assert!(status == 400 && detail.starts_with("cursor: \"x\""), "{detail}");
}

/// Holds a call of a customer, and leaves it so.
fn hold(app: &App, customer: &str) -> String {
    let call = Event::new(customer, "call").input_tokens(1);
    match app.engine.reserve(&call, Hold::default()).expect("a good event") {
        Reserved::Held(open) => open.into_id().to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reservations_come_the_oldest_first_and_are_released() {
    let app = App::with(Engine::builder().quota(tokens()));
    let ids: Vec<String> = (0..9).map(|it| hold(&app, ["a", "b", "c"][it % 3])).collect();
    let all = app.engine.reservations().list(&ReservationQuery::new());
    let all: Vec<Value> = all.iter().map(data).collect();
    for size in [1, 2, 4, 8, 9, 10] {
        assert_eq!(pages(&app, "/reservations", size), all, "pages of {size}");
    }
    let released = post(&app, &format!("/reservations/{}/release", ids[4]), Value::Null);
    assert_eq!((&released["id"], &released["state"]), (&json!(ids[4]), &json!("released")));
    assert_eq!(get(&app, &format!("/reservations/{}", ids[4])), released);
    assert_eq!(pages(&app, "/reservations?state=released", 3), [released]);
    let of_b = ReservationQuery::new().customer("b").state(ReservationState::Held);
    let of_b: Vec<Value> = app.engine.reservations().list(&of_b).iter().map(data).collect();
    assert_eq!(of_b.len(), 2);
    assert_eq!(pages(&app, "/reservations?customerId=b&state=held", 1), of_b);
    // Which was released is another question with another answer.
    let again = ask(&app, "POST", &format!("/reservations/{}/release", ids[4]), Value::Null);
    assert!(again.status == 200 || problem(&again).0 == 409, "{}", again.body);
    for (query, said) in [
        ("state=open", "state: \"open\" must be one of `held`"),
        ("cursor=res_1", "cursor: \"res_1\""),
        ("customer=a", "customer"),
    ] {
        let answer = ask(&app, "GET", &format!("/reservations?{query}"), Value::Null);
        let (status, detail, _) = problem(&answer);
        assert!(status == 400 && detail.contains(said), "{detail}");
    }
    let answer = ask(&app, "GET", "/reservations/res_none", Value::Null);
    assert_eq!(problem(&answer).0, 404);
}

/// A page goes on behind a reservation that is forgotten meanwhile.
#[test]
fn a_page_goes_on_behind_what_is_gone() {
    let app = App::with(Engine::builder().quota(tokens()));
    let ids: Vec<String> = (0..4).map(|_| hold(&app, "a")).collect();
    let query = ReservationQuery::new().after(ids[1].parse().expect("an id"));
    let after: Vec<String> =
        app.engine.reservations().list(&query).iter().map(|it| it.id.to_string()).collect();
    assert_eq!(after, ids[2..]);
    let query = ReservationQuery::new().after(ids[3].parse().expect("an id"));
    assert_eq!(app.engine.reservations().count(&query), 0);
}

#[test]
fn alerts_come_the_newest_first() {
    let rule = tokens().alert_at(Threshold::percent(10)).alert_at(Threshold::percent(100));
    let app = App::with(Engine::builder().quota(rule));
    for customer in ["a", "b", "c"] {
        record(&app, customer, 100);
        record(&app, customer, 900);
    }
    let all = app.engine.alerts().list(&limitry::alerts::AlertQuery::new());
    let all: Vec<Value> = all.alerts.iter().map(|it| data(&**it)).collect();
    assert_eq!(all.len(), 6);
    for size in [1, 2, 5, 6, 7] {
        assert_eq!(pages(&app, "/alerts", size), all, "pages of {size}");
    }
    let of_b = pages(&app, "/alerts?customerId=b&ruleId=qta_tokens", 1);
    let events: Vec<&Value> = of_b.iter().map(|it| &it["event"]).collect();
    assert_eq!(events, ["limit.exceeded", "limit.threshold_reached"]);
    assert_eq!(pages(&app, "/alerts?ruleId=other", 9).len(), 0);
    let answer = ask(&app, "GET", "/alerts?cursor=-1", Value::Null);
    assert_eq!(problem(&answer).0, 400);
}
