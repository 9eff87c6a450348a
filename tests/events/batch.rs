//! Goal: a batch is recorded whole or not at all. Bad events reject it, are told all with their
//! reasons, and leave no trace; a repeated key counts once, and the report says of each event what
//! became of it.
//!
//! Method: worked cases, one for each reason; each looks at the log, at a quota and at whether the
//! batch's keys are free. Threads race batches with common keys.

use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, SECOND};
use crate::support::{START, date, duration, engine};
use limitry::errors::{BatchError, EventError, TrackError};
use limitry::events::{BatchEvent, BatchReport, Recording};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};
use serde_json::json;

/// An engine with a quota that every batch goes over, and one that counts a named value.
fn metered() -> (Engine, ManualClock) {
    engine(|builder| {
        builder
            .rate_limit(RateLimit::new("calls", 1, Window::Hour).per("customer_id"))
            .quota(Quota::new("tokens", Metric::TotalTokens, 1, Period::AllTime))
            .quota(
                Quota::new("images", Metric::value("images"), 1, Period::AllTime)
                    .filter("model", "painter"),
            )
    })
}

fn call(customer: &str) -> Event<'_> {
    Event::new(customer, "call").total_tokens(10)
}

fn used(engine: &Engine) -> u64 {
    let standing = engine.standing(&Event::new("c", "call")).expect("valid");
    standing.quotas().find(|quota| quota.name == "tokens").expect("it applies").used.to_u64_ceil()
}

fn outcome(report: BatchReport) -> (usize, usize) {
    (report.count, report.duplicates)
}

fn recorded(engine: &Engine, events: &[Event<'_>]) -> (usize, usize) {
    outcome(engine.record_batch(events).expect("a good batch"))
}

/// Fails unless the batch is rejected because of the event at `index`, and left no trace.
fn rejected(engine: &Engine, events: &[Event<'_>], index: usize) -> TrackError {
    let before = (engine.events().len(), used(engine), engine.live_keys());
    let why = engine.record_batch(events).expect_err("a bad batch");
    assert_eq!((engine.events().len(), used(engine), engine.live_keys()), before);
    let text = why.to_string();
    match why {
        BatchError::Events { mut problems } => {
            let only = problems.pop().expect("one at least");
            assert!(problems.is_empty(), "{text}");
            assert_eq!(only.index, index, "{text}");
            assert_eq!(text, format!("event {index} of the batch: {}", only.source));
            only.source
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_counts_and_records_each_event_whatever_the_rules_say() {
    let (engine, _) = metered();
    let events: Vec<_> = (0..1_000).map(|_| call("c")).collect();
    assert_eq!(recorded(&engine, &events), (1_000, 0));
    assert_eq!((engine.events().len(), used(&engine)), (1_000, 10_000));
    let report = engine.record_batch(&events).expect("a good batch");
    assert_eq!(
        serde_json::to_value(report).expect("data"),
        json!({"count": 1000, "duplicates": 0})
    );
}

/// Of each event what became of it, by the names that the log has.
#[test]
fn a_report_says_of_each_event_what_became_of_it() {
    for recording in [Recording::Newest(100), Recording::Off] {
        let (engine, _) = engine(|builder| builder.recording(recording));
        let before = engine.record(&call("a").idempotency_key("before")).expect("valid");
        let events = [
            call("a").idempotency_key("one"),
            call("a"),
            call("a").idempotency_key("before"),
            call("b").idempotency_key("one"),
            call("a").idempotency_key("one"),
            call("b").idempotency_key("before"),
            call("b").idempotency_key("before"),
        ];
        let report = engine.record_batch(&events).expect("a good batch");
        assert_eq!((report.count, report.duplicates), (4, 3));
        // The newest first.
        let mut ids: Vec<_> =
            engine.events().newest(9).iter().map(|found| Some(found.id)).collect();
        ids.resize(5, None);
        let expected = [
            BatchEvent::New { id: ids[3] },
            BatchEvent::New { id: ids[2] },
            BatchEvent::Duplicate { id: before.event_id() },
            BatchEvent::New { id: ids[1] },
            BatchEvent::Duplicate { id: ids[3] },
            BatchEvent::New { id: ids[0] },
            BatchEvent::Duplicate { id: ids[0] },
        ];
        assert_eq!(report.events, expected, "{recording:?}");
        let again = engine.record_batch(&events).expect("a good batch");
        assert_eq!((again.count, again.duplicates), (1, 6));
        for (index, (first, again)) in report.events.iter().zip(&again.events).enumerate() {
            let first = serde_json::to_value(first).expect("data");
            let again = serde_json::to_value(again).expect("data");
            let status = if index == 1 { "new" } else { "duplicate" };
            assert_eq!(again["status"], status);
            assert_eq!(again["id"] == first["id"], index != 1 || recording == Recording::Off);
        }
    }
}

/// Who puts a batch right is told of all that is wrong with it.
#[test]
fn every_bad_event_of_a_batch_is_told() {
    let (engine, _) = metered();
    let _ = engine.record(&call("a").idempotency_key("before")).expect("valid");
    let events = [
        Event::new("", "call"),
        call("c").idempotency_key("key"),
        call("a").cost_cents(1).idempotency_key("before"),
        call("c").timestamp(date(START + 2 * DAY)),
        call("c").cost_cents(1).idempotency_key("key"),
        call("a").idempotency_key("before"),
        call("c"),
        call("c").property("a b", 1),
    ];
    let why = engine.record_batch(&events).expect_err("bad events");
    let told: Vec<_> = why.problems().iter().map(|it| (it.index, it.source.to_string())).collect();
    let places: Vec<_> = told.iter().map(|(index, _)| *index).collect();
    assert_eq!(places, [0, 2, 3, 4, 7], "{told:?}");
    for (index, due) in [
        (0, "customer_id: \"\" must be"),
        (1, "idempotency_key: \"before\" of customer \"a\" was used for another event"),
        (2, "timestamp: 2024-01-17T10:30:00Z is more than 24 hours ahead"),
        (3, "idempotency_key: \"key\" of customer \"c\" was used for another event"),
        (4, "properties: \"a b\" must be"),
    ] {
        assert!(told[index].1.starts_with(due), "{told:?}");
    }
    let text = why.to_string();
    let start = "5 events of the batch cannot be recorded; event 0: customer_id: \"\" must be";
    assert!(text.starts_with(start), "{text}");
    assert!(text.contains("; event 7: properties"), "{text}");
    assert_eq!(engine.events().len(), 1, "nothing of it was recorded");
    // What is good of it can be recorded now, and a bad event has taken no key.
    let good: Vec<_> = [1, 5, 6].map(|index: usize| events[index].clone()).into();
    assert_eq!(recorded(&engine, &good), (2, 1));

    let all: Vec<_> = (0..1_000).map(|_| Event::new("", "call")).collect();
    let why = engine.record_batch(&all).expect_err("all of them are bad");
    assert_eq!(why.problems().len(), 1_000);
    let text = why.to_string();
    assert!(text.len() < 1_000 && text.ends_with("; and 992 more"), "{text}");
}

/// A bad event takes no key from a good one.
#[test]
fn a_key_of_a_bad_event_is_free_for_the_next() {
    let (engine, _) = metered();
    let ahead = call("c").cost_cents(1).timestamp(date(START + 2 * DAY)).idempotency_key("key");
    let why = rejected(&engine, &[ahead, call("c").idempotency_key("key")], 0);
    assert!(matches!(why, TrackError::Event(EventError::TimestampAhead { .. })), "{why}");
}

/// Worked number 8.
#[test]
fn a_batch_of_1000_with_one_bad_item_stores_nothing() {
    let (engine, _) = metered();
    let mut events: Vec<_> = (0..1_000).map(|_| call("c")).collect();
    for index in [0, 437, 999] {
        let good = std::mem::replace(&mut events[index], Event::new("", "call"));
        let why = rejected(&engine, &events, index);
        assert_eq!(why.to_string(), "customer_id: \"\" must be 1 to 256 bytes long");
        events[index] = good;
    }
    assert_eq!(recorded(&engine, &events), (1_000, 0));
}

#[test]
fn a_batch_has_1_to_1000_events() {
    let (engine, _) = metered();
    assert_eq!(engine.record_batch(&[]), Err(BatchError::Empty));
    let events: Vec<_> = (0..1_001).map(|_| call("c")).collect();
    let why = engine.record_batch(&events).expect_err("one too many");
    assert_eq!(why, BatchError::TooMany { events: 1_001, max: 1_000 });
    assert_eq!(why.to_string(), "a batch of 1001 events must have at most 1000");
    assert!(engine.events().is_empty());
    assert_eq!(recorded(&engine, &events[..1_000]), (1_000, 0));
    assert_eq!(recorded(&engine, &events[..1]), (1, 0));
}

#[test]
fn every_reason_rejects_the_batch() {
    let (engine, _) = metered();
    let ahead = || call("c").timestamp(date(START + DAY + 1));
    let batch = |bad| [call("c"), call("c").timestamp(date(START + DAY)), bad, call("c")];
    let why = rejected(&engine, &batch(ahead()), 2);
    assert!(matches!(why, TrackError::Event(EventError::TimestampAhead { .. })), "{why}");
    let why = rejected(&engine, &batch(call("c").value("images", "0.1234567")), 2);
    assert!(matches!(why, TrackError::Event(EventError::Amount { .. })), "{why}");
    let why = rejected(&engine, &batch(call("c").property("a-b", "x")), 2);
    assert!(matches!(why, TrackError::Event(EventError::Invalid { .. })), "{why}");
}

#[test]
fn values_below_zero_are_recorded() {
    let (engine, _) = metered();
    let events = [
        Event::new("c", "call").model("writer").value("images", "-0.5"),
        Event::new("c", "call").model("painter").value("refunds", -3),
    ];
    assert_eq!(recorded(&engine, &events), (2, 0));
}

#[test]
fn a_repeated_key_counts_once() {
    let (engine, _) = metered();
    let first = engine.record(&call("a").idempotency_key("before")).expect("valid");
    let events = [
        call("a").idempotency_key("one"),
        call("a").idempotency_key("before"),
        call("a").idempotency_key("one"),
        call("a"),
        call("a"),
        call("a").idempotency_key("two"),
        call("a").idempotency_key("one"),
    ];
    assert_eq!(recorded(&engine, &events), (4, 3));
    assert_eq!((engine.events().len(), used(&engine)), (5, 50));
    // A retry of the whole batch counts what has no key.
    assert_eq!(recorded(&engine, &events), (2, 5));
    // The other verbs know the batch's keys, and the batch knows theirs.
    assert!(engine.track(&call("a").idempotency_key("two")).expect("valid").is_replay());
    let again = engine.record(&call("a").idempotency_key("before")).expect("valid");
    assert_eq!(again.event_id(), first.event_id());
}

#[test]
fn a_key_that_was_used_for_another_event_rejects_the_batch() {
    let (engine, _) = metered();
    let _ = engine.record(&call("a").idempotency_key("before")).expect("valid");
    let conflict = |key: &str| {
        let (customer, key) = ("a".into(), key.into());
        TrackError::IdempotencyConflict { customer, key }
    };
    let other = call("a").total_tokens(11).idempotency_key("before");
    let stored = [call("a").idempotency_key("new"), other];
    assert_eq!(rejected(&engine, &stored, 1), conflict("before"));
    let inside = [
        call("a").idempotency_key("new"),
        call("a"),
        call("a").total_tokens(11).idempotency_key("new"),
    ];
    assert_eq!(rejected(&engine, &inside, 2), conflict("new"));
    // The key is still free.
    assert_eq!(recorded(&engine, &[call("a").idempotency_key("new")]), (1, 0));
}

/// What one customer uses for a key is nobody else's business, in a batch as anywhere.
#[test]
fn a_key_of_another_customer_is_another_key() {
    let (engine, _) = metered();
    let _ = engine.record(&call("a").idempotency_key("1")).expect("valid");
    let events: Vec<_> = ["a", "b", "c", "b"].map(|of| call(of).idempotency_key("1")).into();
    assert_eq!(recorded(&engine, &events), (2, 2));
    assert_eq!(engine.events().len(), 3);
    // Customers and keys that read the same when they are put together.
    let events: Vec<_> =
        [("ab", "c"), ("a", "bc")].map(|(of, key)| call(of).idempotency_key(key)).into();
    assert_eq!(recorded(&engine, &events), (2, 0));
}

#[test]
fn a_repeat_counts_once_even_where_keys_are_forgotten_at_once() {
    let (engine, _) = engine(|builder| builder.idempotency_max_keys(1));
    let keys = ["a", "b", "c", "a", "b", "c"];
    let events: Vec<_> = keys.map(|key| call("c").idempotency_key(key)).into();
    assert_eq!(recorded(&engine, &events), (3, 3));
}

#[test]
fn a_key_is_kept_for_its_retention_and_used_again_after_it() {
    let (engine, clock) = metered();
    let batch = [call("a").idempotency_key("one")];
    assert_eq!(recorded(&engine, &batch), (1, 0));
    clock.advance(duration(DAY - 1));
    assert_eq!(recorded(&engine, &batch), (0, 1));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(recorded(&engine, &batch), (1, 0));
}

#[test]
fn events_of_a_batch_count_in_their_own_times() {
    let (engine, _) =
        engine(|builder| builder.quota(Quota::new("q", Metric::TotalEvents, 10, Period::Hour)));
    let at = |instant| Event::new("c", "call").timestamp(date(instant));
    let events = [at(START), at(START - HOUR), Event::new("c", "call"), at(START - 900 * DAY)];
    assert_eq!(recorded(&engine, &events), (4, 0));
    let now = engine.standing(&Event::new("c", "call")).expect("valid");
    assert_eq!(now.quotas().next().expect("it applies").used, 2);
    let newest = engine.events().newest(10);
    let seconds: Vec<_> = newest.iter().map(|event| event.timestamp.unix_seconds()).collect();
    let due = [START - 900 * DAY, START, START - HOUR, START];
    assert_eq!(seconds, due.map(|at| i64::try_from(at / SECOND).expect("of this era")));
}

#[test]
fn a_pure_limiter_counts_a_batch_too() {
    let (engine, _) = engine(|builder| {
        let quota = Quota::new("tokens", Metric::TotalTokens, 1, Period::AllTime);
        builder.recording(Recording::Off).quota(quota)
    });
    assert_eq!(recorded(&engine, &[call("a"), call("b")]), (2, 0));
    assert_eq!((used(&engine), engine.events().len()), (20, 0));
}

/// Batches with common keys and different payloads: whoever is first has the key. The others are
/// rejected whole where that shows before they begin, and else told of each event that was late.
#[test]
fn rivals_in_batches_count_each_key_once_and_are_told() {
    let (engine, _) = engine(|builder| builder);
    let work = |thread: u64| {
        let mut told = (0, 0);
        for round in 0..60 {
            let names: Vec<_> = (0..100).map(|number| format!("{round} {number}")).collect();
            let events = names.iter().map(|name| {
                Event::new("c", "call").total_tokens(thread).idempotency_key(name.as_str())
            });
            let events: Vec<_> = events.collect();
            match engine.record_batch(&events) {
                Ok(report) => {
                    let late = report.events.iter().filter(|it| **it == BatchEvent::Conflict);
                    let late = late.count();
                    assert_eq!(report.duplicates, 0);
                    assert_eq!(report.count + late, 100);
                    told = (told.0 + report.count, told.1 + late);
                }
                Err(why) => assert!(!why.problems().is_empty(), "{why}"),
            }
        }
        told
    };
    let told: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    println!("recorded and late: {told:?}");
    assert_eq!(told.iter().map(|(count, _)| count).sum::<usize>(), 6_000);
    assert_eq!(engine.events().len(), 6_000);
}

#[test]
fn batches_that_race_with_common_keys_count_each_key_once() {
    let (engine, _) = engine(|builder| {
        builder.quota(Quota::new("tokens", Metric::TotalTokens, 1, Period::AllTime))
    });
    let names: Vec<_> = (0..5_000).map(|number| format!("key_{number}")).collect();
    let batch = |start: usize| {
        let keys = names.iter().cycle().skip(start * 37).take(1_000);
        keys.map(|key| call("c").idempotency_key(key)).collect::<Vec<_>>()
    };
    let work = |thread: usize| {
        (0..100).map(|round| recorded(&engine, &batch(round * 4 + thread)).0).sum::<usize>()
    };
    let counts: usize = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!((counts, engine.events().len(), used(&engine)), (5_000, 5_000, 50_000));
}
