//! Goal: each generation's endpoints are sent its events, to the field, and those alone that they
//! asked for; a test is sent as the product's verifier knows it.
//!
//! Method: one alert goes to endpoints of all three, and the requests are compared with the
//! product's examples.

use limitry::alerts::StandardWebhook;
use limitry::balances::NewBalance;
use limitry::rules::Threshold;
use limitry::webhooks::{EndpointError, Generation, NewEndpoint, event_types};
use limitry::{Amount, Event, Metric, Quota, Rule, Timestamp};
use serde_json::{Value, json};

use super::{START, URL, World, body, fire, header};

#[test]
fn an_alert_is_said_in_the_words_of_each_generation() {
    let world = World::new();
    let generations = [Generation::First, Generation::Second, Generation::Third];
    let ids = generations.map(|generation| world.endpoint(generation));
    world.fire("ann");
    let due = world.due();
    let sent: Vec<(Value, String)> =
        due.iter().map(|it| (body(it.request()), header(it.request(), "webhook-id"))).collect();
    let alert = world.engine.alerts().list(&limitry::alerts::AlertQuery::new()).alerts.remove(0);
    let alert_id = alert.id.to_string();
    let first = json!({
        "event": "quota.threshold_exceeded",
        "quota": {"id": "qta_tokens", "customerId": "ann", "limit": 1000, "usage": 820},
        "customerId": "ann",
        "usage": {"current": 820, "limit": 1000, "percentage": 82},
    });
    assert_eq!(sent[0], (first, alert_id.clone()));
    let data = json!({
        "customerId": "ann", "limitId": "qta_tokens", "limitName": "Tokens",
        "metric": "total_tokens", "key": {"customer_id": "ann"}, "threshold": 80, "limit": 1000,
        "currentUsage": 820, "percentage": 82, "remaining": 180, "period": "month",
        "windowStart": "2023-11-01T00:00:00Z", "windowEnd": "2023-12-01T00:00:00Z",
    });
    let at = "2023-11-14T22:13:20Z";
    let second = json!({
        "id": alert_id, "event": "limit.threshold_reached", "timestamp": at, "data": data,
    });
    assert_eq!(sent[1], (second, alert_id.clone()));
    let event_id = alert_id.replace("alt_", "evt_");
    let third = json!({
        "id": event_id, "type": "limit.threshold_reached", "createdAt": at, "data": data,
    });
    let delivery = &world.deliveries(&ids[2])[0];
    assert_eq!(sent[2], (third, delivery.id.clone()));
    assert_eq!(delivery.event_id, event_id);
    assert_eq!(delivery.event_type, "limit.threshold_reached");
}

#[test]
fn an_endpoint_is_sent_the_types_that_it_asked_for() {
    let world = World::new();
    let make = |generation, types: &[&str]| {
        let new = NewEndpoint::new(URL, generation).event_types(types.iter().copied());
        world.hooks.create(new).map(|created| created.endpoint.id)
    };
    let reached = make(Generation::Third, &["limit.threshold_reached"]).expect("known");
    let exceeded = make(Generation::Second, &["limit.exceeded"]).expect("known");
    world.fire("ann");
    let rest = Event::new("ann", "call").total_tokens(180);
    assert!(world.engine.track(&rest).expect("a good event").is_allowed());
    world.hooks.take_alerts().expect("no store");
    let types = |id: &str| -> Vec<String> {
        world.deliveries(id).into_iter().map(|delivery| delivery.event_type).collect()
    };
    assert_eq!(types(&reached), ["limit.threshold_reached"]);
    assert_eq!(types(&exceeded), ["limit.exceeded"]);
    let unknown = make(Generation::First, &["limit.exceeded"]);
    assert!(matches!(unknown, Err(EndpointError::EventType { .. })), "{unknown:?}");
    assert_eq!(make(Generation::Third, &[]), Err(EndpointError::NoEventTypes));
    assert_eq!(event_types(Generation::First)[0].0, "quota.threshold_exceeded");
}

/// The product's first generation has no balances, and no words for one.
#[test]
fn a_balance_that_is_low_is_told_in_the_later_generations() {
    let world = World::new();
    let ids = [Generation::First, Generation::Second, Generation::Third]
        .map(|generation| world.endpoint(generation));
    let credits = Quota::balance("credits", Metric::TotalCostCents).per("customer_id");
    let low = credits.alert_at(Threshold::Amount(Amount::from(100)));
    world.engine.rules().add(Rule::from(low)).expect("a good rule");
    let credit = NewBalance::new("ann", "credits").initial(150);
    world.engine.balances().create(&credit).expect("a new one");
    let spent = Event::new("ann", "call").cost_cents(60);
    assert!(world.engine.track(&spent).expect("a good event").is_allowed());
    world.hooks.take_alerts().expect("no store");
    let counts = ids.map(|id| world.deliveries(&id).len());
    assert_eq!(counts, [0, 1, 1]);
    assert_eq!(body(world.due()[0].request())["event"], "balance.low");
}

/// The vector of the product: who has its secret is sent what its verifier takes.
#[test]
fn a_test_is_a_signed_ping() {
    let world = World::new();
    for generation in [Generation::First, Generation::Second, Generation::Third] {
        let created =
            world.hooks.create(NewEndpoint::new(URL, generation)).expect("a good endpoint");
        let delivery = world.hooks.test(&created.endpoint.id).expect("it is there");
        assert_eq!((&*delivery.event_type, &delivery.event_id[..4]), ("ping", "evt_"));
        let attempt = world.due().remove(0);
        let request = attempt.request();
        assert_eq!(request.url, URL);
        let expected = match generation {
            Generation::First => json!({"event": "ping"}),
            Generation::Second => json!({
                "id": delivery.event_id, "event": "ping", "timestamp": "2023-11-14T22:13:20Z",
                "data": {},
            }),
            _ => json!({
                "id": delivery.event_id, "type": "ping", "createdAt": "2023-11-14T22:13:20Z",
                "data": {},
            }),
        };
        assert_eq!(body(request), expected);
        let by = StandardWebhook::new(created.secret.expose()).expect("a secret");
        let (id, stamp) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
        let signed = header(request, "webhook-signature");
        let body = request.body.as_bytes();
        by.verify(&id, &stamp, &signed, body, START).expect("it is signed");
        let late = Timestamp::new(START.unix_seconds() + 301, 0);
        assert!(by.verify(&id, &stamp, &signed, body, late).is_err());
        assert_eq!(header(request, "content-type"), "application/json");
        assert!(header(request, "user-agent").starts_with("limitry/"));
        drop(attempt);
        world.answer(200);
    }
    // What nobody is told of is acknowledged, and kept nowhere.
    let quiet = World::new();
    fire(&quiet.engine, "ann");
    assert_eq!(quiet.hooks.take_alerts().expect("no store"), 1);
    assert_eq!(quiet.hooks.figures().waiting, 0);
}
