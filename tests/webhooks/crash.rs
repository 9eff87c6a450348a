//! Goal: with a store endpoints, secrets and deliveries survive, and every alert of an event that
//! is there reaches its receiver at least once, with one id, whenever the machine stops.
//!
//! Method: a short life on a disk that stops at each of its writes in turn; then the store is
//! opened, all that is due is sent, and what the receiver has had is compared with the events. It
//! stops at some of the writes; with `LIMITRY_LONG=1` at each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use limitry::Engine;
use limitry::events::EventQuery;
use limitry::store::{Durability, Durable, MemoryStore};
use limitry::time::ManualClock;
use limitry::webhooks::{DeliveryStatus, Generation, NewEndpoint, Reply, WebhookOptions, Webhooks};

use super::medium::{Medium, Unsynced};
use super::{START, URL, body, fire, header, rules};

/// What a receiver has had: the event ids by customer, and the ids of its requests.
#[derive(Default)]
struct Receiver {
    events: BTreeMap<String, BTreeSet<String>>,
    requests: BTreeMap<String, BTreeSet<String>>,
}

fn open(medium: &Medium, clock: &ManualClock) -> Result<(Engine, Webhooks), String> {
    let store = Durable::open_on(medium.clone()).map_err(|why| why.to_string())?;
    let store = store.durability(Durability::Synced);
    let engine = rules(clock).durable(store).build().map_err(|why| why.to_string())?;
    let hooks = Webhooks::open(&engine, WebhookOptions::new()).map_err(|why| why.to_string())?;
    Ok((engine, hooks))
}

/// Sends all that is due: each request fails once and is taken then.
fn send(hooks: &Webhooks, receiver: &mut Receiver) -> Result<(), String> {
    for attempt in hooks.due() {
        let sent = body(attempt.request());
        let customer = sent["data"]["customerId"].as_str().expect("a customer").to_owned();
        let event = sent["id"].as_str().expect("an id").to_owned();
        let id = header(attempt.request(), "webhook-id");
        let status = if receiver.requests.contains_key(&id) { 200 } else { 500 };
        receiver.events.entry(customer).or_default().insert(event.clone());
        receiver.requests.entry(id).or_default().insert(event);
        attempt.done(&Ok(Reply::new(status))).map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// Lives until the disk stops.
fn live(medium: &Medium, clock: &ManualClock, receiver: &mut Receiver) -> Result<(), String> {
    let (engine, hooks) = open(medium, clock)?;
    hooks.create(NewEndpoint::new(URL, Generation::Third)).map_err(|why| why.to_string())?;
    for number in 0..3 {
        let event = limitry::Event::new(format!("cust_{number}"), "call").total_tokens(820);
        let _decided = engine.track(&event).map_err(|why| why.to_string())?;
        hooks.take_alerts().map_err(|why| why.to_string())?;
        send(&hooks, receiver)?;
        clock.advance(Duration::from_secs(4));
    }
    engine.store().close().map_err(|why| why.to_string())
}

#[test]
fn whenever_the_machine_stops_an_alert_arrives_with_one_id() {
    let changes = {
        let (medium, clock) = (Medium::new(), ManualClock::new(START));
        live(&medium, &clock, &mut Receiver::default()).expect("nothing fails");
        medium.changes()
    };
    let mut with_events = 0;
    let step = if std::env::var_os("LIMITRY_LONG").is_some() { 1 } else { 13 };
    for crash in (0..changes).step_by(step) {
        let (medium, clock) = (Medium::new().crash_at(crash), ManualClock::new(START));
        let mut receiver = Receiver::default();
        let _stopped = live(&medium, &clock, &mut receiver);
        let medium = medium.after_crash(Unsynced::Seed(crash));
        let (engine, hooks) = open(&medium, &clock).expect("the store is good");
        let recorded = engine.events().list(&EventQuery::new()).expect("it records").data;
        if hooks.list().is_empty() {
            // It stopped before the endpoint was there: then nothing had happened.
            assert!(recorded.is_empty());
            continue;
        }
        for _ in 0..4 {
            hooks.take_alerts().expect("the store is good");
            send(&hooks, &mut receiver).expect("the store is good");
            clock.advance(Duration::from_secs(100));
        }
        with_events += recorded.len();
        for event in &recorded {
            let events = receiver.events.get(event.event.customer_id());
            assert!(events.is_some_and(|ids| ids.len() == 1), "crash at {crash}: {events:?}");
        }
        // A delivery has one event, and an event one delivery.
        assert!(receiver.requests.values().all(|events| events.len() == 1));
        assert_eq!(receiver.requests.len(), receiver.events.len(), "crash at {crash}");
        assert_eq!(hooks.figures().waiting, 0, "crash at {crash}");
    }
    assert!(with_events > 10, "{with_events}");
}

fn open_again(memory: &MemoryStore, clock: &ManualClock) -> (Engine, Webhooks) {
    let store = memory.open().expect("it is free").durability(Durability::Synced);
    let engine = rules(clock).durable(store).build().expect("good rules");
    let hooks = Webhooks::open(&engine, WebhookOptions::new()).expect("the store is good");
    (engine, hooks)
}

#[test]
fn all_of_it_is_there_when_a_store_is_opened_again() {
    let (memory, clock) = (MemoryStore::new(), ManualClock::new(START));
    let open = || open_again(&memory, &clock);
    let (engine, hooks) = open();
    let make = |generation| {
        hooks.create(NewEndpoint::new(URL, generation).description("a")).expect("good")
    };
    let (kept, deleted) = (make(Generation::Third), make(Generation::Second));
    let id = kept.endpoint.id.clone();
    hooks.rotate(&id, Duration::from_secs(60)).expect("it is there");
    for number in 0..3 {
        fire(&engine, &format!("cust_{number}"));
    }
    hooks.take_alerts().expect("the store is good");
    let mut due = hooks.due();
    let signature = |hooks: &Webhooks| {
        let due = hooks.due();
        let of = |it: &limitry::webhooks::Attempt| header(it.request(), "webhook-signature");
        due.iter().map(of).max().expect("something is due")
    };
    due.remove(0).done(&Ok(Reply::new(200))).expect("the store is good");
    due.clear();
    hooks.delete(&deleted.endpoint.id).expect("it is there");
    let (endpoints, deliveries) = (hooks.list(), hooks.deliveries(&id, None, 100).expect("there"));
    let signed = signature(&hooks);
    engine.store().close().expect("it closes");
    drop((engine, hooks));

    let (engine, hooks) = open();
    assert_eq!(hooks.list(), endpoints);
    assert_eq!(hooks.deliveries(&id, None, 100).expect("there"), deliveries);
    // The same secrets, both of them.
    assert_eq!(signature(&hooks), signed);
    assert_eq!(signed.split(' ').count(), 2);
    // What fired is not taken twice; what is left of the deleted one is cleaned up.
    assert_eq!(hooks.take_alerts().expect("the store is good"), 0);
    let rows = |engine: &Engine| {
        let space = engine.store().space("webhook-deliveries").expect("a store");
        space.list(b"", None, 100).expect("the store is good").rows.len()
    };
    assert_eq!(rows(&engine), 6);
    hooks.upkeep().expect("the store is good");
    assert_eq!(rows(&engine), 3);
    // What was given up when an endpoint was disabled stays so.
    let gone = hooks.due().remove(0);
    gone.done(&Ok(Reply::new(410))).expect("the store is good");
    engine.store().close().expect("it closes");
    drop((engine, hooks));
    let (_engine, hooks) = open();
    let states = hooks.deliveries(&id, None, 100).expect("there").deliveries;
    let pending = states.iter().filter(|it| it.status == DeliveryStatus::Pending).count();
    assert_eq!((hooks.get(&id).expect("there").enabled, pending), (false, 0));
    let again = hooks.enable(&id).expect("there");
    assert!(again.enabled && hooks.due().is_empty());
}

#[test]
fn what_is_made_after_an_endpoint_was_enabled_is_not_given_up() {
    let (memory, clock) = (MemoryStore::new(), ManualClock::new(START));
    let open = || open_again(&memory, &clock);
    let (engine, hooks) = open();
    let create = |url| hooks.create(NewEndpoint::new(url, Generation::Third)).expect("good");
    let (kept, deleted) = (create(URL), create("https://example.com/other"));
    let (kept, deleted) = (kept.endpoint.id, deleted.endpoint.id);
    fire(&engine, "ann");
    hooks.take_alerts().expect("the store is good");
    // The last numbers are those of an endpoint of which nothing is left.
    hooks.test(&deleted).expect("there");
    for attempt in hooks.due().into_iter().filter(|it| it.request().url == URL) {
        attempt.done(&Ok(Reply::new(410))).expect("the store is good");
    }
    assert!(!hooks.get(&kept).expect("there").enabled);
    hooks.delete(&deleted).expect("there");
    hooks.upkeep().expect("the store is good");
    engine.store().close().expect("it closes");
    drop((engine, hooks));

    let (engine, hooks) = open();
    hooks.enable(&kept).expect("there");
    fire(&engine, "bob");
    hooks.take_alerts().expect("the store is good");
    assert_eq!(hooks.figures().waiting, 1);
    engine.store().close().expect("it closes");
    drop((engine, hooks));
    let (_engine, hooks) = open();
    assert_eq!(hooks.due().len(), 1);
}
