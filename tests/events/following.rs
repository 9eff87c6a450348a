//! Goal: who follows the log sees each event once, in the order of recording, and is told how many
//! it missed.
//!
//! Method: a consumer that asks with the last cursor again and again, while events are recorded and
//! dropped; by several threads, with filters, and with cursors that name nothing.

use limitry::errors::QueryError;
use limitry::events::{EventQuery, Recording};
use limitry::{Engine, Event};

fn call(customer: &str, number: u64) -> Event<'static> {
    Event::new(customer.to_owned(), "call").input_tokens(number)
}

fn record(engine: &Engine, customer: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert!(engine.record(&call(customer, number)).expect("a good event").is_allowed());
    }
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let engine = Engine::builder().build().expect("valid");
    let query = EventQuery::new().limit(100);
    let nothing = engine.events().after(None, &query).expect("a good question");
    assert_eq!((nothing.data.len(), nothing.cursor, nothing.has_more), (0, None, false));
    let (mut cursor, mut seen) = (None, Vec::new());
    for round in 0..30_u64 {
        record(&engine, "c", round * 77..(round + 1) * 77);
        let new = engine.events().after(cursor, &query).expect("a good question");
        seen.extend(new.data);
        cursor = new.cursor;
    }
    while let new = engine.events().after(cursor, &query).expect("a good question")
        && !new.data.is_empty()
    {
        assert_eq!((new.dropped, new.cursor), (0, new.data.last().map(|last| last.id)));
        seen.extend(new.data);
        cursor = new.cursor;
    }
    let mut newest_first: Vec<_> =
        engine.events().iter(EventQuery::new()).expect("a good question").collect();
    newest_first.reverse();
    assert_eq!(seen.len(), 30 * 77);
    assert_eq!(seen, newest_first);
}

#[test]
fn what_was_dropped_before_it_was_asked_for_is_counted() {
    let recording = Recording::Newest(1_024);
    let engine = Engine::builder().recording(recording).build().expect("valid");
    record(&engine, "c", 0..10);
    let query = EventQuery::new().limit(10);
    let first = engine.events().after(None, &query).expect("a good question");
    assert_eq!((first.dropped, first.data.len(), first.has_more), (0, 10, false));
    record(&engine, "c", 10..5_000);
    // The cursor's own event is gone, and with it what came right after.
    let next = engine.events().after(first.cursor, &query).expect("a cursor stays good");
    let kept = engine.events().len() as u64;
    assert_eq!((next.dropped, next.has_more), (5_000 - kept - 10, true));
    let numbers = next.data.iter().map(|found| found.event.amount("input_tokens"));
    let expected = (5_000 - kept..).take(10).map(|number| Some(number.into()));
    assert!(numbers.eq(expected));
    let again = engine.events().after(next.cursor, &query).expect("a good question");
    assert_eq!(again.dropped, 0);
}

#[test]
fn a_filter_leaves_events_out_and_the_cursor_passes_them() {
    let engine = Engine::builder().build().expect("valid");
    record(&engine, "a", 0..3);
    record(&engine, "b", 0..3);
    let query = EventQuery::new().customer("a").limit(2);
    let first = engine.events().after(None, &query).expect("a good question");
    assert_eq!((first.data.len(), first.has_more), (2, true));
    let second = engine.events().after(first.cursor, &query).expect("a good question");
    assert_eq!((second.data.len(), second.has_more, second.dropped), (1, false, 0));
    let newest = engine.events().newest(1).pop().expect("there is one");
    assert_eq!(second.cursor, Some(newest.id));
}

#[test]
fn who_follows_busy_threads_misses_nothing_unsaid() {
    const EACH: u64 = 5_000;
    let recording = Recording::Newest(2_048);
    let engine = Engine::builder().recording(recording).build().expect("valid");
    let threads: Vec<_> = ["a", "b"]
        .map(|customer| {
            let engine = engine.clone();
            std::thread::spawn(move || record(&engine, customer, 0..EACH))
        })
        .into_iter()
        .collect();
    let (mut cursor, mut seen, mut dropped) = (None, 0, 0);
    loop {
        let are_done = threads.iter().all(std::thread::JoinHandle::is_finished);
        let new = engine.events().after(cursor, &EventQuery::new().limit(100)).expect("good");
        seen += new.data.len() as u64;
        dropped += new.dropped;
        cursor = new.cursor;
        if are_done && !new.has_more {
            break;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(seen + dropped, 2 * EACH);
}

#[test]
fn cursors_that_name_nothing_are_errors() {
    let (engine, other) = (Engine::builder().build(), Engine::builder().build());
    let (engine, other) = (engine.expect("valid"), other.expect("valid"));
    record(&engine, "c", 0..1);
    record(&other, "c", 0..1);
    let of_other = other.events().newest(1).pop().expect("there is one").id;
    let why = engine.events().after(Some(of_other), &EventQuery::new()).expect_err("not its own");
    assert!(why.to_string().starts_with("cursor: \"evt_"), "{why}");
    let both = EventQuery::new().cursor(of_other.to_string());
    let why = other.events().after(None, &both).expect_err("two cursors");
    assert!(matches!(why, QueryError::Invalid { .. }), "{why}");
    let off = Engine::builder().recording(Recording::Off).build().expect("valid");
    let why = off.events().after(None, &EventQuery::new()).expect_err("nothing is kept");
    assert_eq!(why, QueryError::RecordingOff);
}
