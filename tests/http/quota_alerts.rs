//! Goal: alerts of quotas are thresholds under a name: they are made, listed, changed and taken
//! away, whoever has set them, and say when they have fired and what became of that.

use std::time::Duration;

use limitry::rules::{QuotaUpdate, Threshold};
use limitry::store::MemoryStore;
use limitry::webhooks::{NewEndpoint, Reply};
use limitry::{Engine, Event, Metric, Period, Quota};
use serde_json::{Value, json};

use super::app::App;

const ALERTS: &str = "/v1/quotas/qta_tokens/alerts";

fn tokens() -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, 100, Period::Day).per("customer_id")
}

fn app() -> App {
    App::with(Engine::builder().quota(tokens()))
}

fn make(app: &App, threshold: u32) -> Value {
    app.post(ALERTS, json!({"threshold": threshold}).to_string()).ok(201)
}

fn id(alert: &Value) -> &str {
    alert["id"].as_str().expect("an id")
}

fn use_up(app: &App, customer: &'static str, tokens: u64) {
    let event = Event::new(customer, "call").input_tokens(tokens);
    let _ = app.engine.record(&event).expect("a good event");
}

fn thresholds(app: &App) -> Vec<Threshold> {
    let quota: Quota = app.engine.rules().get("qta_tokens").expect("it is there");
    quota.alert_thresholds
}

/// The numbers of the product's own example, a thousandth of them.
#[test]
fn an_alert_fires_once_a_period_and_says_with_which_figures() {
    let app = app();
    let made = make(&app, 80);
    assert!(id(&made).starts_with("qa_"), "{made}");
    let now = json!("2024-01-15T10:30:00Z");
    let expected = json!({"id": made["id"], "quotaId": "qta_tokens", "threshold": 80,
        "lastTriggeredAt": null, "createdAt": now, "updatedAt": now});
    assert_eq!(made, expected);
    let history = format!("/v1/quota-alerts/{}/history", id(&made));
    let nothing = json!({"data": [], "nextCursor": null, "hasMore": false});
    assert_eq!(app.get(&history).ok(200), nothing);

    use_up(&app, "ann", 79);
    assert_eq!(app.get(&history).ok(200), nothing);
    use_up(&app, "ann", 6);
    use_up(&app, "ann", 6);
    let page = app.get(&history).ok(200);
    let fired = &page["data"][0];
    assert!(fired["id"].as_str().is_some_and(|id| id.starts_with("qal_")), "{fired}");
    let expected = json!({"id": fired["id"], "quotaAlertId": made["id"],
        "quotaId": "qta_tokens", "threshold": 80, "currentUsage": 85, "limitValue": 100,
        "percentage": 85, "webhookStatus": null, "webhookResponseCode": null,
        "triggeredAt": now});
    assert_eq!((fired, page["data"].as_array().map(Vec::len)), (&expected, Some(1)));
    let one = app.get(&format!("/v1/quota-alerts/{}", id(&made))).ok(200);
    assert_eq!(one["lastTriggeredAt"], now);

    // Another customer, and the next day: by pages, the newest first.
    use_up(&app, "bob", 90);
    app.clock.advance(Duration::from_secs(86_400));
    use_up(&app, "ann", 100);
    let mut usages = Vec::new();
    let mut path = format!("{history}?limit=1");
    loop {
        let page = app.get(&path).ok(200);
        usages.push(page["data"][0]["currentUsage"].clone());
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("{history}?limit=1&cursor={cursor}");
    }
    assert_eq!(usages, [100, 90, 85]);
    let all = app.get(ALERTS).ok(200);
    assert_eq!(all["data"][0]["lastTriggeredAt"], "2024-01-16T10:30:00Z");
}

#[test]
fn alerts_are_the_thresholds_of_their_quota() {
    let app = app();
    let (eighty, full) = (make(&app, 80), make(&app, 100));
    assert_eq!(thresholds(&app), [Threshold::percent(80), Threshold::percent(100)]);
    let all = app.get(ALERTS).ok(200);
    assert_eq!(all, json!({"data": [full, eighty], "nextCursor": null, "hasMore": false}));
    let first = app.get(&format!("{ALERTS}?limit=1")).ok(200);
    let cursor = first["nextCursor"].as_str().expect("there is another page");
    let second = app.get(&format!("{ALERTS}?limit=1&cursor={cursor}")).ok(200);
    assert_eq!(
        (&first["data"], &second["data"], &second["hasMore"]),
        (&json!([full]), &json!([eighty]), &json!(false))
    );

    // Changed, it keeps its name.
    app.clock.advance(Duration::from_secs(60));
    let path = format!("/v1/quota-alerts/{}", id(&eighty));
    let put = |body: &str| app.send(super::app::KEY, "PUT", &path, body);
    let changed = put(r#"{"threshold": 90}"#).ok(200);
    assert_eq!(
        (&changed["id"], &changed["threshold"], &changed["createdAt"], &changed["updatedAt"]),
        (&eighty["id"], &json!(90), &eighty["createdAt"], &json!("2024-01-15T10:31:00Z"))
    );
    assert_eq!(thresholds(&app), [Threshold::percent(90), Threshold::percent(100)]);
    assert_eq!(put(r#"{"threshold": 100}"#).status, 409);
    assert_eq!(put(r#"{"threshold": 90}"#).ok(200), changed);

    // What others set has a name, too, and is as old as its quota; what has no words here has none.
    let more = vec![Threshold::percent(50), Threshold::percent(150), Threshold::amount(7)];
    app.engine.rules().update("qta_tokens", QuotaUpdate::new().alert_thresholds(more)).expect("ok");
    let all = app.get(ALERTS).ok(200);
    let [other] = all["data"].as_array().expect("a list").as_slice() else { panic!("{all}") };
    assert_eq!((&other["threshold"], &other["createdAt"]), (&json!(50), &eighty["createdAt"]));
    assert_eq!(app.get(&format!("/v1/quota-alerts/{}", id(other))).ok(200), *other);
    assert_eq!(app.get(&path).status, 404, "its threshold was taken away");

    app.send(super::app::KEY, "DELETE", &format!("/v1/quota-alerts/{}", id(other)), "").ok(204);
    assert_eq!(thresholds(&app), [Threshold::percent(150), Threshold::amount(7)]);
    assert_eq!(app.get(ALERTS).ok(200)["data"], json!([]));
}

#[test]
fn what_cannot_be_an_alert_says_why_and_changes_nothing() {
    let app = app();
    let made = make(&app, 80);
    for (body, said) in [
        (r#"{"threshold": 0}"#, "threshold: 0 must be a whole percentage from 1 to 100"),
        (r#"{"threshold": 101}"#, "threshold: 101 must be"),
        (r#"{"threshold": 8.5}"#, "threshold: 8.5 must be a whole number"),
        (r#"{"threshold": -1}"#, "threshold: -1 must be a whole number"),
        (r#"{"threshold": "8"}"#, "threshold: \"8\" must be a whole number"),
        ("[8]", "a list must be an object"),
        (r#"{"percent": 80}"#, "percent"),
        ("{}", "threshold"),
        ("", "EOF"),
    ] {
        for (method, path) in
            [("POST", ALERTS.to_owned()), ("PUT", format!("/v1/quota-alerts/{}", id(&made)))]
        {
            let answer = app.send(super::app::KEY, method, &path, body).ok(400);
            assert_eq!(answer["error"], "Invalid request");
            assert!(answer["details"].as_str().is_some_and(|it| it.contains(said)), "{answer}");
        }
    }
    let twice = app.post(ALERTS, r#"{"threshold": 80}"#).ok(409);
    assert!(twice["details"].as_str().is_some_and(|it| it.contains("80")), "{twice}");
    assert_eq!(thresholds(&app), [Threshold::percent(80)]);
    for (method, path) in [
        ("POST", "/v1/quotas/qta_none/alerts"),
        ("GET", "/v1/quotas/qta_none/alerts"),
        ("GET", "/v1/quota-alerts/qa_none"),
        ("PUT", "/v1/quota-alerts/qa_none"),
        ("DELETE", "/v1/quota-alerts/qa_none"),
        ("GET", "/v1/quota-alerts/qa_none/history"),
    ] {
        let answer = app.send(super::app::KEY, method, path, r#"{"threshold": 8}"#).ok(404);
        assert!(answer["details"].as_str().is_some_and(|it| it.contains("_none")), "{answer}");
    }
    // With its quota an alert is gone.
    app.engine.rules().remove("qta_tokens").expect("it is there");
    assert_eq!(app.get(&format!("/v1/quota-alerts/{}", id(&made))).status, 404);
}

/// What has fired at a threshold is the alert's that had it then.
#[test]
fn an_alert_that_takes_over_a_threshold_has_not_fired() {
    let app = app();
    let (ninety, eighty) = (make(&app, 90), make(&app, 80));
    use_up(&app, "ann", 85);
    app.clock.advance(Duration::from_secs(60));
    app.send(super::app::KEY, "DELETE", &format!("/v1/quota-alerts/{}", id(&eighty)), "").ok(204);
    let path = format!("/v1/quota-alerts/{}", id(&ninety));
    let changed = app.send(super::app::KEY, "PUT", &path, r#"{"threshold": 80}"#).ok(200);
    assert_eq!(changed["lastTriggeredAt"], Value::Null);
    assert_eq!(app.get(&format!("{path}/history")).ok(200)["data"], json!([]));
    use_up(&app, "bob", 80);
    let page = app.get(&format!("{path}/history")).ok(200);
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(app.get(&path).ok(200)["lastTriggeredAt"], "2024-01-15T10:31:00Z");
}

#[test]
fn what_became_of_the_webhooks_is_told() {
    let app = app();
    let made = make(&app, 80);
    let url = "https://example.com/hooks";
    let first = limitry::webhooks::Generation::First;
    let _ = app.hooks.create(NewEndpoint::new(url, first)).expect("a good endpoint");
    let history = format!("/v1/quota-alerts/{}/history", id(&made));
    let outcome = || {
        let page = app.get(&history).ok(200);
        let fired = &page["data"][0];
        (fired["webhookStatus"].clone(), fired["webhookResponseCode"].clone())
    };
    use_up(&app, "ann", 80);
    app.hooks.take_alerts().expect("they are taken");
    assert_eq!(outcome(), (json!("pending"), Value::Null));
    let mut due = app.hooks.due();
    let attempt = due.pop().expect("it is due");
    attempt.done(&Ok(Reply::new(200))).expect("it is kept");
    assert_eq!(outcome(), (json!("success"), json!(200)));
    // The next one is another event, and of two endpoints the one that refuses it is told.
    let _ = app.hooks.create(NewEndpoint::new(url, first)).expect("another one");
    use_up(&app, "bob", 80);
    app.hooks.take_alerts().expect("they are taken");
    assert_eq!(outcome(), (json!("pending"), Value::Null));
    for (attempt, status) in app.hooks.due().into_iter().zip([410, 200]) {
        attempt.done(&Ok(Reply::new(status))).expect("it is kept");
    }
    assert_eq!(outcome(), (json!("failed"), json!(410)));
    let page = app.get(&history).ok(200);
    assert_eq!(page["data"][1]["webhookStatus"], "success", "{page}");
}

#[test]
fn names_survive_with_the_store() {
    let memory = MemoryStore::new();
    let builder = || Engine::builder().durable(memory.open().expect("opens"));
    let app = App::with(builder().quota(tokens()));
    let made = make(&app, 80);
    app.engine.store().close().expect("it closes");
    let app = App::with(builder().quota(tokens()));
    assert_eq!(app.get(&format!("/v1/quota-alerts/{}", id(&made))).ok(200), made);
}
