//! Corrections over HTTP are those of the Rust API: events are voided and amended, twice is once,
//! they are listed by pages, and what cannot be corrected says why.

use limitry::events::{CorrectionQuery, EventId, Recording};
use limitry::usage::UsageQuery;
use limitry::{Engine, Event};
use serde_json::{Value, json};

use super::{ask, data, get, pages, post, problem};
use crate::app::App;

fn record(app: &App, tokens: u64) -> EventId {
    let event = Event::new("ann", "call").model("m").input_tokens(tokens);
    app.engine.record(&event).expect("a good event").event_id().expect("it is recorded")
}

fn totals(app: &App) -> (u64, u128) {
    let totals = app.engine.usage().summary(&UsageQuery::all_time()).expect("a range").totals;
    (totals.total_events, totals.total_tokens)
}

#[test]
fn events_are_voided_and_amended_once_and_listed() {
    let app = App::new();
    let ids: Vec<EventId> = (0..5).map(|number| record(&app, 10_u64.pow(number))).collect();
    let void = |id: EventId, reason: &str| {
        post(&app, &format!("/events/{id}/void"), json!({"reason": reason}))
    };
    let voided = void(ids[1], "counted twice");
    let said = (&voided["eventId"], &voided["reason"], &voided["amended"]);
    assert_eq!(said, (&json!(ids[1].to_string()), &json!("counted twice"), &Value::Null));
    assert_eq!(totals(&app), (4, 11_101));
    assert_eq!(void(ids[1], "once more"), voided);

    let event = json!({"customerId": "ann", "eventType": "call", "model": "m", "inputTokens": 7});
    let body = json!({"event": event, "reason": "as billed"});
    let path = format!("/events/{}/amend", ids[4]);
    let amended = post(&app, &path, body.clone());
    assert_eq!(amended["amended"]["inputTokens"], 7);
    assert_eq!(post(&app, &path, body), amended);
    assert_eq!(totals(&app), (4, 1_108));
    void(ids[4], "it failed");
    void(ids[0], "a test");
    assert_eq!(totals(&app), (2, 1_100));

    let all = app.engine.events().corrections(&CorrectionQuery::new()).expect("a page").data;
    let all: Vec<Value> = all.iter().map(data).collect();
    assert_eq!(all.len(), 4);
    for size in [1, 2, 3, 4, 5] {
        assert_eq!(pages(&app, "/corrections", size), all, "pages of {size}");
    }
    let of_one = pages(&app, &format!("/corrections?eventId={}", ids[4]), 1);
    assert_eq!(
        of_one.iter().map(|it| &it["reason"]).collect::<Vec<_>>(),
        ["it failed", "as billed"]
    );
}

#[test]
fn what_cannot_be_corrected_says_why_and_changes_nothing() {
    let app = App::with(Engine::builder().recording(Recording::Newest(100)));
    let first = record(&app, 5);
    let id = record(&app, 6);
    let event = json!({"customerId": "ann", "eventType": "call", "model": "m", "inputTokens": 7});
    let other = json!({"customerId": "bob", "eventType": "call"});
    let refused = |path: String, body: Value, status: u16, says: &str| {
        let answer = ask(&app, "POST", &path, body);
        let (found, detail, _) = problem(&answer);
        assert!(found == status && detail.contains(says), "{path}: {found} {detail}");
    };
    let reason = "r";
    refused("/events/evt_1/void".into(), json!({"reason": reason}), 404, "evt_1");
    refused(format!("/events/{id}/void"), json!({"reason": "a\nb"}), 400, "reason");
    refused(format!("/events/{id}/void"), json!({"why": reason}), 400, "why");
    refused(format!("/events/{id}/void"), json!([]), 400, "object");
    refused(format!("/events/{id}/amend"), json!({"reason": reason}), 400, "event");
    let body = json!({"reason": reason, "event": other});
    refused(format!("/events/{id}/amend"), body, 400, "customer_id");
    let body = json!({"reason": reason, "event": {"customerId": "", "eventType": "call"}});
    refused(format!("/events/{id}/amend"), body, 400, "customer");
    assert_eq!(totals(&app), (2, 11));
    assert_eq!(get(&app, "/corrections")["data"], json!([]));

    post(&app, &format!("/events/{id}/void"), json!({"reason": reason}));
    let body = json!({"reason": reason, "event": event});
    refused(format!("/events/{id}/amend"), body, 409, "voided");
    for _ in 0..300 {
        record(&app, 0);
    }
    refused(format!("/events/{first}/void"), json!({"reason": reason}), 409, "not kept any more");
    for (query, says) in [("eventId=evt", "eventId"), ("cursor=x", "cursor"), ("id=1", "id")] {
        let answer = ask(&app, "GET", &format!("/corrections?{query}"), Value::Null);
        let (status, detail, _) = problem(&answer);
        assert!(status == 400 && detail.contains(says), "{query}: {status} {detail}");
    }
    let off = App::with(Engine::builder().recording(Recording::Off));
    let answer = ask(&off, "POST", &format!("/events/{id}/void"), json!({"reason": reason}));
    assert_eq!(problem(&answer).0, 409);
}
