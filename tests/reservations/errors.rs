//! Goal: what is wrong with a call about a reservation is an error that names the field, the value
//! and the rule, and changes nothing.

use std::time::Duration;

use crate::lives::{daily, of_quota, reserve, secs, tokens};
use crate::support::engine;
use limitry::reservations::{ReservationId, ReservationState};
use limitry::{Error, Event, Hold, Reserved};

fn messages() -> Vec<(String, String)> {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let mut found = Vec::new();
    let mut note = |what: &str, why: Error| found.push((what.to_owned(), why.to_string()));
    let reserve_bad =
        |event: Event<'_>, hold| engine.reserve(&event, hold).expect_err("bad").into();
    note("customer", reserve_bad(Event::new("", "call"), Hold::default()));
    note("cost", reserve_bad(tokens(1).cost_cents(-5), Hold::default()));
    note("value", reserve_bad(tokens(1).value("images", -1), Hold::default()));
    note("none", reserve_bad(tokens(1), Hold::lasting(Duration::ZERO)));
    note("long", reserve_bad(tokens(1), Hold::lasting(secs(24 * 3_600 + 1))));

    let mut hold = reserve(&engine, &tokens(40).model("large").idempotency_key("k"), 60);
    let id = hold.id();
    let commit = |event: Event<'_>| engine.commit(id, &event).expect_err("bad").into();
    note("other", commit(Event::new("bob", "call")));
    note(
        "time",
        commit(
            tokens(1)
                .timestamp("2024-01-15T10:30:01Z".parse::<limitry::Timestamp>().expect("a time")),
        ),
    );
    note("key", commit(tokens(1).idempotency_key("other")));
    let mut grow = |event: Event<'_>| hold.grow(&event).expect_err("bad").into();
    note("grown customer", grow(Event::new("bob", "call")));
    note("grown type", grow(Event::new("ann", "embedding")));
    note("grown model", grow(tokens(1).model("small")));
    note("grown property", grow(tokens(1).property("team_id", "red")));
    note("grown below", grow(tokens(1).cost_cents(-1)));
    note("grown key", grow(tokens(1).idempotency_key("k")));
    note("extended", hold.extend(Duration::ZERO).expect_err("bad").into());
    let unknown: ReservationId = "res_00000000000000000000000001".parse().expect("an id");
    note("unknown", engine.commit(unknown, &tokens(1)).expect_err("unknown").into());
    // Nothing of that has changed anything.
    assert_eq!(of_quota(&engine), (0, 40, 60));
    assert_eq!(engine.reservation(id).expect("known").state, ReservationState::Held);

    let _ = hold.commit(&tokens(30)).expect("good");
    note("twice", engine.commit(id, &tokens(31)).expect_err("another").into());
    note("released", engine.release(id).expect_err("committed").into());
    note("grown after", engine.grow(id, &tokens(1)).expect_err("committed").into());
    let over = reserve(&engine, &tokens(1), 60);
    let id = over.id();
    let _ = over.release().expect("open");
    note("commit after", engine.commit(id, &tokens(1)).expect_err("released").into());
    note("extend after", engine.extend(id, secs(1)).expect_err("released").into());
    found
}

#[test]
fn every_error_names_the_field_the_value_and_the_rule() {
    let expected = [
        ("customer", "customer_id: \"\" must be 1 to 256 bytes long"),
        ("cost", "cost_cents: \"-5\" must not be below 0 in a reservation"),
        ("value", "images: \"-1\" must not be below 0 in a reservation"),
        ("none", "hold: 0ns must be at least 1ns and at most 24 hours"),
        ("long", "hold: 86401s must be at least 1ns and at most 24 hours"),
        ("other", "customer_id: \"bob\" must be the customer of the reservation"),
        (
            "time",
            "timestamp: \"2024-01-15T10:30:01Z\" must be the timestamp of the reserve, or not be \
             set",
        ),
        ("key", "idempotency_key: \"other\" must be the key of the reserve, or not be set"),
        ("grown customer", "customer_id: \"bob\" must be the customer of the reservation"),
        ("grown type", "event_type: \"embedding\" must be the type of the reservation"),
        ("grown model", "model: \"small\" must be as in the reserve, or not be set"),
        ("grown property", "team_id: \"red\" must be as in the reserve, or not be set"),
        ("grown below", "cost_cents: \"-1\" must not be below 0 in a reservation"),
        ("grown key", "idempotency_key: \"k\" must be as in the reserve, or not be set"),
        ("extended", "hold: 0ns must be at least 1ns and at most 24 hours"),
        (
            "unknown",
            "reservation: res_00000000000000000000000001 must be the id of a reservation that this \
             engine knows",
        ),
        ("twice", "was committed with another event, evt_"),
        ("released", "is committed, and cannot be released any more"),
        ("grown after", "is committed, and cannot be grown any more"),
        ("commit after", "is released, and cannot be committed any more"),
        ("extend after", "is released, and cannot be extended any more"),
    ];
    let found = messages();
    assert_eq!(found.len(), expected.len());
    for ((what, message), (name, part)) in found.iter().zip(expected) {
        assert!(what == name && message.contains(part), "{what}: {message}\nnot {part}");
    }
}

#[test]
fn errors_are_in_their_classes() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let hold = reserve(&engine, &tokens(1), 60);
    let id = hold.id();
    let bad = Error::from(engine.extend(id, Duration::ZERO).expect_err("bad"));
    assert!(bad.is_bad_input());
    let _ = hold.release().expect("open");
    assert!(Error::from(engine.extend(id, secs(1)).expect_err("over")).is_conflict());
    let unknown: ReservationId = "res_00000000000000000000000001".parse().expect("an id");
    assert!(Error::from(engine.release(unknown).expect_err("unknown")).is_not_found());
    assert!("res_0".parse::<ReservationId>().is_err());
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[test]
fn a_commit_that_fails_leaves_the_hold_to_its_expiry() {
    let (engine, clock) = engine(|builder| builder.quota(daily(100)));
    let hold = reserve(&engine, &tokens(40), 60);
    let id = hold.id();
    assert!(hold.commit(&Event::new("bob", "call")).is_err());
    assert_eq!(of_quota(&engine), (0, 40, 60));
    clock.advance(secs(60));
    assert_eq!(of_quota(&engine), (0, 0, 100));
    assert!(engine.commit(id, &tokens(3)).expect("good").is_allowed());
    assert_eq!(of_quota(&engine), (3, 0, 97));
}

#[test]
fn a_status_is_the_same_as_data() {
    let (engine, _) = engine(|builder| builder.quota(daily(100)));
    let held = reserve(&engine, &tokens(40).model("large"), 60);
    let ids = [held.id(), reserve(&engine, &tokens(2), 60).id()];
    let _ = held.commit(&tokens(3)).expect("good");
    for id in ids {
        let status = engine.reservation(id).expect("known");
        let data = serde_json::to_value(&status).expect("data");
        assert_eq!(data["id"], id.to_string());
        assert_eq!(data["state"], status.state.to_string());
        assert_eq!(serde_json::from_value(data).ok(), Some(status));
    }
    let Reserved::Held(open) = engine.reserve(&tokens(5), Hold::default()).expect("good") else {
        panic!("it fits")
    };
    let body = serde_json::to_value(open.decision()).expect("data");
    assert_eq!(body["quotas"][0]["held"], 5);
    let tracked = engine.track(&Event::new("bob", "call")).expect("good");
    let body = serde_json::to_value(tracked).expect("data");
    assert_eq!(body["quotas"][0].get("held"), None);
}
