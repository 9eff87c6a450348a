//! Goal: what the log drops costs only what was dropped. A question about any other time is
//! answered in full, whatever the order in which events came; memory is bounded by number, by bytes
//! and by age; and who asks on from where events are gone is told so. All of it also after a
//! restart.
//!
//! Method: worked cases, first that of an event dated ahead; then random events, some far ahead or
//! behind, questions about random ranges, and the naive fold over all of them: whatever an answer
//! says it covers is what the fold has there, and it covers all where nothing of the range was
//! dropped. `LIMITRY_SEED` and `LIMITRY_CASES` vary it.

use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, SECOND};
use crate::support::{Dice, START, cases, date, engine_at, seed};
use limitry::errors::QueryError;
use limitry::events::{EventQuery, Recording};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::{Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, Timestamp};

/// Midnight.
const DAY_START: i128 = START.div_euclid(DAY) * DAY;

fn at(hour: u64, minute: u64) -> Timestamp {
    date(DAY_START) + seconds((hour * 60 + minute) * 60)
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn record(engine: &Engine, event: &Event<'_>) {
    assert!(engine.record(event).expect("a good event").is_allowed());
}

/// One event of 23:00 recorded at 01:00, then 8 000 of team `a` or `b`, a second apart.
fn fill(engine: &Engine, clock: &ManualClock) {
    let ahead = Event::new("ahead", "call").timestamp(at(23, 0));
    record(engine, &ahead);
    for number in 0..8_000_u64 {
        clock.set(at(1, 0) + seconds(number));
        let team = if number % 4 == 0 { "b" } else { "a" };
        let event = Event::new("cust_1", "call").property("team", team).value("load", number);
        record(engine, &event);
    }
}

fn keeping(builder: EngineBuilder) -> EngineBuilder {
    builder.recording(Recording::Newest(5_000))
}

/// What an engine that was [filled](fill) answers.
fn assert_only_what_was_dropped_is_missing(engine: &Engine) {
    let ask = |start, end, team: &str| {
        let query = UsageQuery::new(start, end).filter("team", team);
        let summary = engine.usage().summary(&query).expect("a good question");
        (summary.totals.total_events, summary.covers.is_complete)
    };
    assert_eq!(ask(at(2, 0), at(2, 10), "a"), (450, true));
    assert_eq!(ask(at(2, 0), at(2, 10), "b"), (150, true));
    // What was dropped is missing, and it is said: at 01:00, and at 23:00.
    assert!(!ask(at(1, 0), at(1, 10), "a").1);
    assert_eq!(ask(at(22, 59), at(23, 1), "a"), (0, false));
    assert_eq!(ask(at(22, 0), at(23, 0), "a"), (0, true));
    // Of the whole day the longest part that is there: from the oldest event on to 23:00.
    let day = UsageQuery::new(at(0, 0), at(24, 0)).filter("team", "b");
    let summary = engine.usage().summary(&day).expect("a good question");
    let kept = engine.events().len() as u64;
    assert!((kept / 4..=kept / 4 + 1).contains(&summary.totals.total_events), "{kept}");
    assert_eq!(summary.covers.end, Some(at(23, 0)));
    assert!(!summary.covers.is_complete);
}

#[test]
fn an_event_dated_ahead_costs_only_its_own_time() {
    let (engine, clock) = engine_at(DAY_START + HOUR, keeping);
    fill(&engine, &clock);
    assert_only_what_was_dropped_is_missing(&engine);
    // All 600, as of one customer.
    let ten_minutes = UsageQuery::new(at(2, 0), at(2, 10)).filter("nobody", "x");
    let none = engine.usage().summary(&ten_minutes).expect("a good question");
    assert_eq!((none.totals.total_events, none.covers.is_complete), (0, true));
}

/// A new quota counts what is recorded of its period, and the event that it judges.
#[test]
fn a_new_quota_counts_all_that_the_log_has() {
    let (engine, clock) = engine_at(DAY_START + HOUR, keeping);
    let ahead = Event::new("ahead", "call").timestamp(at(23, 0));
    record(&engine, &ahead);
    for number in 0..8_000_u64 {
        clock.set(at(1, 0) + seconds(number));
        let event = Event::new("cust_1", "call").property("team", "a");
        record(&engine, &event);
    }
    let two = UsageQuery::new(at(2, 0), at(2, 10)).filter("team", "a");
    let summary = engine.usage().summary(&two).expect("a good question");
    assert_eq!((summary.totals.total_events, summary.covers.is_complete), (600, true));
    let quota = Quota::new("A team", Metric::TotalEvents, 10_000, Period::Hour).per("team");
    engine.rules().add(quota).expect("a good rule");
    let decision = engine.track(&Event::new("cust_1", "call").property("team", "a"));
    let decision = decision.expect("a good event");
    assert_eq!(decision.quotas().next().expect("it matches").used, 801);
}

/// A fold that a meter asks for late knows all that the log has, too.
#[test]
fn a_new_meter_lacks_only_what_was_dropped() {
    let (engine, clock) = engine_at(DAY_START + HOUR, keeping);
    fill(&engine, &clock);
    engine.meters().add(Meter::max("Peak", "load").id("mtr_peak")).expect("a good meter");
    let ask = |start, end| {
        let query = MeterQuery::new().between(start, end);
        let value = engine.meters().query("mtr_peak", &query).expect("a good question");
        (value.value, value.covers.is_complete)
    };
    assert_eq!(ask(at(2, 0), at(3, 0)), (7_199_u64.into(), true));
    assert_eq!(ask(at(3, 0), at(4, 0)), (7_999_u64.into(), true));
    assert!(!ask(at(1, 0), at(2, 0)).1 && !ask(at(22, 30), at(23, 30)).1);
    let query = MeterQuery::new();
    let all = engine.meters().query("mtr_peak", &query).expect("a good question");
    assert_eq!((all.value, all.covers.is_complete), (7_999_u64.into(), false));
}

#[test]
fn a_cursor_to_events_that_are_gone_says_so() {
    let (engine, _) = engine_at(START, |builder| builder.recording(Recording::Newest(1_024)));
    let calls = |count: usize, customer: &'static str| {
        (0..count).for_each(|_| record(&engine, &Event::new(customer, "call")));
    };
    calls(30, "cust_1");
    calls(1_000, "cust_2");
    calls(10, "cust_1");
    let query = EventQuery::new().customer("cust_1").limit(10);
    let page = engine.events().list(&query).expect("a good question");
    let next = query.cursor(page.next_cursor.expect("there are more"));
    assert_eq!(engine.events().list(&next).expect("they are there").data.len(), 10);
    // The events of the second page are dropped; others before the first page are there yet.
    calls(1_100, "cust_3");
    let gone = engine.events().list(&next).expect_err("it is gone");
    assert!(matches!(gone, QueryError::CursorExpired { .. }), "{gone}");
    assert!(gone.to_string().contains("are not kept any more"), "{gone}");
    assert_eq!(engine.events().iter(next).err(), Some(gone));
    assert_eq!(engine.events().list(&EventQuery::new()).expect("a good question").data.len(), 50);
}

#[test]
fn the_log_is_bounded_by_bytes() {
    let large = "x".repeat(10_000);
    let small = |builder: EngineBuilder| builder.event_bytes(1_000_000);
    let (engine, _) = engine_at(START, small);
    for number in 0..1_000_u64 {
        let event = Event::new("cust_1", "call").input_tokens(number);
        let event = event.property("text", serde_json::json!([large]));
        record(&engine, &event);
        assert!(engine.events().len() <= 100, "of 10 KB each, and one MB in all");
    }
    assert!(!engine.events().is_empty(), "the newest is there");
    let newest = engine.events().newest(1).pop().expect("it is there");
    assert_eq!(
        newest.event,
        Event::new("cust_1", "call").input_tokens(999).property("text", serde_json::json!([large]))
    );
    // By default a KiB each: 2 000 of 10 KB are not kept where 2 000 of 100 bytes are.
    let (engine, _) = engine_at(START, |it| it.recording(Recording::Newest(2_000)));
    for _ in 0..2_500 {
        let event = Event::new("cust_1", "call").property("text", serde_json::json!([large]));
        record(&engine, &event);
    }
    assert!((1..=205).contains(&engine.events().len()), "{}", engine.events().len());
    let (engine, _) = engine_at(START, |it| it.recording(Recording::Newest(2_000)));
    (0..2_500).for_each(|_| record(&engine, &Event::new("cust_1", "call")));
    assert!(engine.events().len() >= 2_000);
    let none = Engine::builder().event_bytes(0).build().expect_err("nothing fits");
    assert_eq!(none.to_string(), "engine: eventBytes: 0 must be at least 1");
}

/// Draws when an event happens that is recorded now: mostly now, some late, some ahead.
fn draw_time(dice: &mut Dice, now: i128) -> i128 {
    let (kind, drawn) = (dice.below(40), i128::from(dice.below(23 * 3_600)) * SECOND);
    now + match kind {
        0 => drawn,
        1..4 => -drawn / 4,
        4..10 => -drawn / 700,
        _ => 0,
    }
}

#[test]
fn answers_are_the_fold_of_what_they_cover() {
    let seed = seed("answers_are_the_fold_of_what_they_cover", 11);
    let (mut complete, mut in_part) = (0, 0);
    for case in 0..u64::from(cases(12)) {
        let mut dice = Dice::new(seed + case);
        let (engine, clock) =
            engine_at(START, |builder| builder.recording(Recording::Newest(1_024)));
        let (mut now, mut all) = (START, Vec::new());
        for _ in 0..6_000 {
            now += i128::from(dice.below(8)) * SECOND;
            clock.set(date(now));
            let team = format!("team_{}", dice.below(3));
            let happened = draw_time(&mut dice, now);
            let event = Event::new("cust_1", "call").property("team", team.clone());
            record(&engine, &event.timestamp(date(happened)));
            all.push((happened, team));
        }
        let dropped = all.len() - engine.events().len();
        for _ in 0..100 {
            let start = now - i128::from(dice.below(2 * 3_600)) * SECOND;
            let end = start + i128::from(dice.range(1, 1_200)) * SECOND;
            let query = UsageQuery::new(date(start), date(end)).filter("team", "team_1");
            let summary = engine.usage().summary(&query).expect("a good question");
            let covers = summary.covers;
            let (Some(first), Some(last)) = (covers.start, covers.end) else {
                panic!("a range with bounds")
            };
            let has = |(happened, team): &&(i128, String)| {
                let happened = date(*happened);
                (first..last).contains(&happened) && team == "team_1"
            };
            let expected = all.iter().filter(has).count() as u64;
            assert_eq!(summary.totals.total_events, expected, "case {case}: {query:?} {covers:?}");
            let gone = all[..dropped].iter().any(|(at, _)| (start..end).contains(at));
            assert!(!covers.is_complete || !gone, "case {case}: {query:?}");
            // Spans hold a second more to either side at the most, until they are too many.
            complete += usize::from(covers.is_complete);
            in_part += usize::from(!covers.is_complete && first < last);
        }
    }
    assert!(complete > 100 && in_part > 100, "{complete} complete, {in_part} in part");
}

#[cfg(feature = "durable")]
mod durable {

    use limitry::usage::RollupOptions;

    use super::*;
    use crate::support::files::StoreFile;

    fn open(
        file: &StoreFile,
        now: i128,
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> (Engine, ManualClock) {
        let store = file.store();
        engine_at(now, |builder| build(builder.durable(store)))
    }

    #[test]
    fn what_was_dropped_is_known_after_a_restart() {
        let file = StoreFile::new("retention");
        let (engine, clock) = open(&file, DAY_START + HOUR, keeping);
        fill(&engine, &clock);
        assert_only_what_was_dropped_is_missing(&engine);
        engine.store().close().expect("closes");
        drop(engine);
        // With a checkpoint, and then without one: it is thrown away with the dimensions.
        let later = DAY_START + 4 * HOUR;
        for _ in 0..2 {
            let (engine, _) = open(&file, later, keeping);
            assert_only_what_was_dropped_is_missing(&engine);
            engine.store().close().expect("closes");
        }
        let (engine, _) =
            open(&file, later, |it| keeping(it).rollups(RollupOptions::new().dimension("tier")));
        assert_only_what_was_dropped_is_missing(&engine);
    }

    /// Roll-ups that are made anew of what the file still has lack only what it has dropped.
    #[test]
    fn roll_ups_made_anew_lack_only_what_the_file_dropped() {
        let file = StoreFile::new("anew");
        let hour = Duration::from_secs(3_600);
        let short = || {
            let store = file.store().retention(hour);
            engine_at(DAY_START + HOUR, |it| {
                keeping(it).idempotency_retention(24 * hour).durable(store)
            })
        };
        let (engine, clock) = short();
        let ahead = Event::new("ahead", "call").timestamp(at(23, 0));
        record(&engine, &ahead);
        // A table has a sixteenth of a day's records, and is kept for a day.
        for number in 0..40 * 60 {
            clock.set(at(1, 0) + seconds(60 * number));
            record(&engine, &Event::new("cust_1", "call"));
            if number % 30 == 0 {
                engine.store().flush().expect("commits");
            }
        }
        engine.store().close().expect("closes");
        drop(engine);
        let store = file.store().retention(hour);
        let (engine, clock) = engine_at(DAY_START + HOUR, |it| {
            let rollups = RollupOptions::new().dimension("tier");
            keeping(it).rollups(rollups).recording(Recording::Newest(10)).durable(store)
        });
        clock.set(at(41, 0));
        let ask = |start, end| {
            let query = UsageQuery::new(start, end).customer("cust_1");
            let summary = engine.usage().summary(&query).expect("a good question");
            (summary.totals.total_events, summary.covers.is_complete)
        };
        assert_eq!(ask(at(30, 0), at(40, 0)), (600, true));
        assert_eq!(ask(at(20, 0), at(22, 0)), (120, true), "before the one that was dated ahead");
        assert!(!ask(at(1, 0), at(3, 0)).1 && !ask(at(22, 30), at(23, 30)).1);
        assert_eq!(ask(at(23, 30), at(24, 30)), (60, true));
    }
}
