//! Goal: an event's number is its own, wherever its record stands.
//!
//! Method: records that are no events come between events, in any mix; a twin without them is asked
//! the same, over restarts of every kind.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::events::{EventQuery, RecordedEvent, Recording};
use crate::rules::Algorithm;
use crate::store::{BadLines, Durable, MemoryStore};
use crate::time::ManualClock;
use crate::usage::{RollupOptions, UsageQuery};
use crate::{Engine, Event, Meter, Metric, Outcome, Period, Quota, RateLimit, Timestamp, Window};

fn engine(store: Durable, clock: &ManualClock, newest: usize) -> Engine {
    let day = Duration::from_secs(24 * 3_600);
    Engine::builder()
        .clock(clock.clone())
        .recording(Recording::Newest(newest))
        .rollups(RollupOptions::new().dimensions(["customer_id"]))
        .idempotency_retention(day)
        .meter(Meter::sum("gb", "gb").id("gb"))
        .rate_limit(RateLimit::new("bucket", 50, Window::Hour).id("bucket").per("customer_id"))
        .rate_limit(
            RateLimit::new("sliding", 60, Window::Hour)
                .id("sliding")
                .algorithm(Algorithm::SlidingWindow),
        )
        .quota(Quota::new("gb", Metric::meter("gb"), 10_000, Period::Day).id("gb"))
        .durable(store.retention(day))
        .build()
        .expect("an engine")
}

fn event(number: u64) -> Event<'static> {
    let customer = ["acme", "bolt"][usize::from(number.is_multiple_of(3))];
    let event = Event::new(customer, "call").value("gb", number % 7).input_tokens(number);
    if number.is_multiple_of(4) { event.idempotency_key(format!("key-{number}")) } else { event }
}

/// What events say beside their names, which are a log's own.
fn said(events: &[RecordedEvent]) -> Vec<(Timestamp, Timestamp, Event<'static>)> {
    events.iter().map(|it| (it.timestamp, it.decided_at, it.event.clone())).collect()
}

fn compare_answers(mixed: &Engine, plain: &Engine, sent: u64) {
    for customer in ["acme", "bolt"] {
        let probe = Event::new(customer, "call");
        let both = [mixed, plain].map(|engine| {
            let standing = engine.standing(&probe).expect("an answer");
            serde_json::to_value(&standing).expect("data")
        });
        assert_eq!(both[0], both[1]);
    }
    let all = UsageQuery::all_time();
    let both = [mixed, plain].map(|engine| engine.usage().summary(&all).expect("sums").totals);
    assert_eq!(both[0], both[1]);
    let [here, there] = [mixed, plain].map(|engine| engine.events().newest(40));
    assert_eq!(said(&here), said(&there));
    // Numbers count events alone.
    let ledger = mixed.core.ledger.as_ref().expect("it records");
    let newest: Vec<_> = here.iter().map(|it| ledger.ordinal(it.id).expect("its own")).collect();
    let recorded = ledger.recorded();
    assert!(newest.iter().copied().eq((0..recorded).rev().take(newest.len())), "{newest:?}");
    for (it, ordinal) in here.iter().zip(&newest) {
        let is_another = |of: &dyn Fn(Timestamp) -> bool| {
            mixed.core.has_other(*ordinal, |stored| of(stored.timestamp()))
        };
        assert!(is_another(&|_| true), "the record of event {ordinal} is found");
        assert!(!is_another(&|timestamp| timestamp != it.timestamp), "and it is its own");
    }
    assert_eq!(recorded, plain.core.ledger.as_ref().expect("it records").recorded());
    for number in (0..sent).rev().filter(|number| number.is_multiple_of(4)).take(5) {
        let both = [mixed, plain].map(|engine| engine.check(&event(number)).expect("an answer"));
        assert_eq!(both[0].outcome(), both[1].outcome());
        if both[0].outcome() == Outcome::Replayed {
            let names = [mixed, plain].into_iter().zip(&both).map(|(engine, answer)| {
                let ledger = engine.core.ledger.as_ref().expect("it records");
                ledger.ordinal(answer.event_id().expect("it is recorded"))
            });
            let names: Vec<_> = names.collect();
            assert_eq!(names[0], names[1], "event {number}");
        }
    }
}

fn compare(mixed: &Engine, plain: &Engine, sent: u64) {
    let health = [mixed, plain].map(|engine| engine.store().health().recorded);
    assert_eq!(health[0], health[1]);
    compare_answers(mixed, plain, sent);
}

#[test]
fn events_have_their_numbers_wherever_their_records_stand() {
    for seed in 0..6 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let stores = [MemoryStore::new(), MemoryStore::new()];
        let clock = ManualClock::new(Timestamp::new(1_700_000_000, 0));
        let newest = [10, 100_000][usize::from(dice.random::<bool>())];
        let open =
            |store: &MemoryStore| engine(store.open().expect("nobody has it"), &clock, newest);
        let mut engines = [open(&stores[0]), open(&stores[1])];
        let mut sent = 0;
        for _ in 0..12 {
            for _ in 0..dice.random_range(0..40) {
                clock.advance(Duration::from_secs(dice.random_range(0..400)));
                let others = if dice.random_bool(0.4) { dice.random_range(0..6) } else { 0 };
                let pipeline = engines[0].core.pipeline.as_ref().expect("a store");
                (0..others).for_each(|_| pipeline.put_no_op(&engines[0].core.table.timeline()));
                let late = dice.random_bool(0.2);
                let answers = engines.each_ref().map(|engine| {
                    let mut event = event(sent);
                    if late {
                        event = event.timestamp(engine.now() - Duration::from_secs(60));
                    }
                    engine.track(&event).expect("an answer").outcome()
                });
                assert_eq!(answers[0], answers[1]);
                sent += 1;
            }
            if dice.random() {
                // What waits is read as what is committed.
                compare_answers(&engines[0], &engines[1], sent);
            }
            engines.iter().for_each(|engine| engine.store().flush().expect("it is committed"));
            compare(&engines[0], &engines[1], sent);
            engines.iter().for_each(|engine| {
                engine.store().verify(|_| {}).expect("it is whole");
            });
            if dice.random() {
                engines.iter().for_each(|engine| engine.store().close().expect("it closes"));
            }
            drop(engines);
            engines = [open(&stores[0]), open(&stores[1])];
            compare(&engines[0], &engines[1], sent);
        }
        let exported = engines.each_ref().map(|engine| {
            let mut lines = Vec::new();
            engine.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("exported");
            lines
        });
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines(&exported[0]), lines(&exported[1]));
        // An event that is told by its name is found in the log: none is counted once more.
        let report = engines[0].store().import(&exported[0][..], BadLines::Skip, |_| {});
        let report = report.expect("it is read");
        assert_eq!(report.count, 0, "{report:?}");
    }
}
