//! Goal: what was refused comes back: all of it where the engine was closed, dropped or flushed,
//! and after a crash what was put into the store, each number whole.
//!
//! Method: worked cases on a store in memory; a random life with all of these beside a naive count.

use std::time::Duration;

use limitry::events::Recording;
use limitry::refusals::RefusalQuery;
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};

use crate::support::{Dice, START, cases, date, seed};

fn open(store: &MemoryStore, clock: &ManualClock, recording: Recording) -> Engine {
    let store = store.open().expect("nobody has it").durability(Durability::Buffered);
    let calls = Quota::new("Calls", Metric::TotalEvents, 2, Period::Day).per("customer_id");
    let burst = RateLimit::new("Burst", 3, Window::Minute);
    let builder = Engine::builder().clock(clock.clone()).durable(store).recording(recording);
    builder.quota(calls).rate_limit(burst).build().expect("an engine")
}

/// All that is shown of refusals.
fn portrait(engine: &Engine) -> String {
    let (refusals, all) = (engine.refusals(), RefusalQuery::new().limit(1_000));
    let counts = refusals.counts(&all).expect("a page");
    let hours = refusals.hours(&all).expect("hours");
    let last = |id| engine.rules().last_judged(id).ok();
    let last = [last("qta_calls"), last("rl_burst")];
    format!("{counts:?} {hours:?} {last:?} {:?}", refusals.list(&all).expect("a page"))
}

fn track(engine: &Engine, customer: &str, number: u64) -> bool {
    let event = Event::new(customer, "call").input_tokens(number);
    engine.track(&event).expect("valid").is_allowed()
}

#[test]
fn refusals_come_back() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
    let three = Recording::default().refusals(3);
    let mut engine = open(&store, &clock, three);
    for number in 0..7 {
        track(&engine, "ann", number);
    }
    clock.advance(Duration::from_secs(3_600));
    track(&engine, "ann", 7);
    let before = portrait(&engine);
    assert!(before.contains("refused: 6") && before.contains("input_tokens: Some(7)"), "{before}");
    // Closed, dropped, and flushed before a crash.
    for how in 0..3 {
        let (was, mut now) = (portrait(&engine), store.clone());
        match how {
            0 => engine.store().close().expect("it closes"),
            1 => {}
            _ => {
                engine.store().flush().expect("it is there");
                now = store.after_crash();
            }
        }
        drop(engine);
        engine = open(&now, &clock, three);
        assert_eq!(portrait(&engine), was, "{how}");
        engine.store().verify(|_| {}).expect("it is whole");
        if how < 2 {
            track(&engine, "bob", 8);
            track(&engine, "ann", 9);
        } else {
            engine.store().close().expect("it closes");
            // With fewer: the newest of them, and the others are gone from the store.
            engine = open(&now, &clock, Recording::default().refusals(1));
            let listed = engine.refusals().list(&RefusalQuery::new()).expect("a page").items;
            assert_eq!(listed.len(), 1);
            engine.store().close().expect("it closes");
            engine = open(&now, &clock, three);
            assert_eq!(engine.refusals().list(&RefusalQuery::new()).expect("a page").items, listed);
            engine.store().close().expect("it closes");
            // Without recording nothing is asked, and nothing is lost.
            engine = open(&now, &clock, Recording::Off);
            assert!(engine.refusals().hours(&RefusalQuery::new()).is_err());
            engine.store().close().expect("it closes");
            engine = open(&now, &clock, Recording::default());
            assert!(engine.refusals().counts(&RefusalQuery::new()).expect("a page").total > 6);
        }
    }
}

#[test]
fn a_backup_has_what_was_refused_before_it() {
    let directory = crate::support::files::Folder::new("refusals_backup");
    let clock = ManualClock::new(date(START));
    let store = limitry::store::Durable::open(directory.file("one")).expect("a store");
    let quota = Quota::new("Calls", Metric::TotalEvents, 0, Period::Day);
    let build = |store| Engine::builder().clock(clock.clone()).durable(store).quota(quota.clone());
    let engine = build(store).build().expect("an engine");
    assert!(!track(&engine, "ann", 1));
    engine.store().backup(directory.file("two"), |_| {}).expect("a copy");
    let copy = limitry::store::Durable::open(directory.file("two")).expect("a store");
    let copy = build(copy).build().expect("an engine");
    assert_eq!(portrait(&copy), portrait(&engine));
    assert!(portrait(&copy).contains("refused: 1"));
}

#[test]
fn any_life_ends_with_what_was_refused() {
    let seed = seed("any_life_ends_with_what_was_refused", 3);
    for case in 0..u64::from(cases(20)) {
        let mut dice = Dice::new(seed + case);
        let (mut store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
        let recording = Recording::default().refusals(5);
        let mut engine = open(&store, &clock, recording);
        let naive = open(&MemoryStore::new(), &clock, recording);
        let mut naive_day = 0_u64;
        for number in 0..60 {
            let customer = ["ann", "bob", "cid"][dice.below(3) as usize];
            assert_eq!(track(&engine, customer, number), track(&naive, customer, number));
            naive_day += 1;
            if dice.below(6) == 0 {
                clock.advance(Duration::from_secs(dice.below(4_000)));
            }
            if dice.below(8) == 0 {
                match dice.below(3) {
                    0 => engine.store().close().expect("it closes"),
                    1 => {}
                    _ => {
                        engine.store().flush().expect("it is there");
                        store = store.after_crash();
                    }
                }
                drop(engine);
                engine = open(&store, &clock, recording);
                engine.store().verify(|_| {}).expect("it is whole");
            }
            assert_eq!(portrait(&engine), portrait(&naive), "case {case}, {naive_day} calls");
        }
    }
}
