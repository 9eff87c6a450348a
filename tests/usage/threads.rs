//! Goal: while threads record, every answer about usage is of one instant between two events:
//! never more than was sent, never less than was there when it was asked, each event whole or not
//! at all. When all is quiet, every answer is the fold of the accepted events.
//!
//! Method: every event has one token in, two out and three cents, so that a torn answer shows.
//! Writers track, record and repeat events of their own and of each other, some of them late;
//! readers put each breakdown and each series between two summaries. A thread moves the clock, and
//! one adds and removes meters. Nothing sleeps and nothing waits for a wall clock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::support::fold::{
    ALWAYS, Aggregate, BucketLength, Selection, Sums, UsageEvent, breakdown, figure, series,
    summary,
};
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::usage::{
    draw_fact, draw_pairs, event, interval, meter, meter_query, sums, sums_of_rows, usage_query,
};
use crate::support::{Dice, START, date, duration, engine, long, seed};
use chrono_tz::Tz;
use limitry::events::{EventId, Recording};
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions, UsageTotals};
use limitry::{Engine, Event, Meter, RateLimit, Window};

const WRITERS: usize = 3;
const READERS: usize = 2;
const CUSTOMERS: u64 = 5;
const GROUPINGS: [&str; 5] = ["customer_id", "event_type", "model", "team_id", "nobody"];

/// What the threads share.
struct Scene {
    engine: Engine,
    clock: ManualClock,
    accepted: Mutex<BTreeMap<EventId, UsageEvent>>,
    /// Those of batches, which give no ids.
    in_batches: Mutex<Vec<UsageEvent>>,
    /// Sent before, with their keys.
    sent: Mutex<Vec<(UsageEvent, String)>>,
    writing: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    fn new(recording: Recording, rollups: RollupOptions) -> Self {
        let (engine, clock) = engine(|builder| {
            builder
                .recording(recording)
                .rollups(rollups)
                .meter(Meter::count("all").id("mtr_count"))
                .meter(Meter::max("the largest", "images").id("mtr_max"))
                .rate_limit(RateLimit::new("burst", 300, Window::Minute).per("customer_id"))
        });
        Self {
            engine,
            clock,
            accepted: Mutex::default(),
            in_batches: Mutex::default(),
            sent: Mutex::default(),
            writing: AtomicUsize::new(WRITERS),
        }
    }

    fn run(&self, seed: u64, events: u32) {
        thread::scope(|scope| {
            for number in 0..WRITERS {
                let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(number as u64));
                scope.spawn(move || {
                    let _done = Done(&self.writing);
                    (0..events).for_each(|_| self.write(&mut dice));
                });
            }
            for number in 0..READERS {
                let mut dice = Dice::new(seed.wrapping_mul(37).wrapping_add(number as u64));
                scope.spawn(move || self.while_writing(|| self.read(&mut dice)));
            }
            scope.spawn(|| self.while_writing(|| self.clock.advance(duration(SECOND / 50))));
            scope.spawn(|| {
                let mut number = 0;
                self.while_writing(|| {
                    number += 1;
                    self.change_meters(number);
                });
            });
        });
    }

    fn while_writing(&self, mut act: impl FnMut()) {
        while self.writing.load(Ordering::Acquire) > 0 {
            act();
            thread::yield_now();
        }
    }

    fn write(&self, dice: &mut Dice) {
        match dice.below(30) {
            0..=3 => {
                let sent = locked(&self.sent).clone();
                if !sent.is_empty() {
                    let (usage_event, key) = dice.pick(&sent);
                    self.send(dice, usage_event, Some(key));
                }
            }
            4 => {
                let usage_events: Vec<UsageEvent> =
                    (0..dice.range(1, 40)).map(|_| self.draw(dice)).collect();
                let events: Vec<Event<'_>> =
                    usage_events.iter().map(|usage_event| stamped(usage_event, None)).collect();
                let report = self.engine.record_batch(&events).expect("good events");
                assert_eq!(report.count, usage_events.len());
                locked(&self.in_batches).extend(usage_events);
            }
            number => {
                let usage_event = self.draw(dice);
                let key = (number < 12).then(|| format!("key_{}", dice.next()));
                if let Some(key) = &key {
                    locked(&self.sent).push((usage_event.clone(), key.clone()));
                }
                self.send(dice, usage_event, key);
            }
        }
    }

    fn draw(&self, dice: &mut Dice) -> UsageEvent {
        let mut usage_event = draw_fact(dice, CUSTOMERS);
        (usage_event.input, usage_event.output, usage_event.total, usage_event.cost) =
            (Some(1), Some(2), None, Some(3_000_000));
        // So that a sum never falls.
        usage_event.named.remove("balance");
        let back = match dice.below(10) {
            0 => 3 * DAY,
            1..=3 => 2 * HOUR,
            _ => MINUTE,
        };
        let back = dice.below(u64::try_from(back).expect("some days"));
        usage_event.at = crate::support::usage::instant(self.engine.now()) - Nanos::from(back);
        usage_event
    }

    fn send(&self, dice: &mut Dice, usage_event: UsageEvent, key: Option<String>) {
        let event = stamped(&usage_event, key);
        let answer =
            if dice.chance(60) { self.engine.track(&event) } else { self.engine.record(&event) };
        let answer = answer.expect("a good event");
        let Some(id) = answer.event_id() else { return };
        let before = locked(&self.accepted).insert(id, usage_event.clone());
        assert!(before.is_none_or(|before| before == usage_event), "an id names one event");
    }

    fn change_meters(&self, number: u32) {
        let aggregate = Aggregate::ALL[number as usize % Aggregate::ALL.len()];
        let of = if aggregate == Aggregate::Unique { "model" } else { "agents" };
        let new = self.engine.meters().add(meter(aggregate, of, &[])).expect("a good meter");
        let id = new.id.expect("an id");
        self.engine.meters().query(&id, &MeterQuery::new()).expect("it is there");
        self.engine.meters().remove(&id).expect("nobody counts it");
    }

    fn summary(&self, selection: &Selection) -> Sums {
        let query = usage_query(selection, Tz::UTC, None);
        let answer = self.engine.usage().summary(&query).expect("a good question");
        whole(&answer.totals);
        sums(&answer.totals)
    }

    /// Every answer lies between the summary before it and the one after it.
    fn read(&self, dice: &mut Dice) {
        let mut selection =
            Selection { pairs: draw_pairs(dice, CUSTOMERS), range: draw_range(dice) };
        if dice.chance(30) {
            selection.pairs.clear();
        }
        let query = usage_query(&selection, Tz::UTC, None);
        let usage = self.engine.usage();
        let mut before = self.summary(&selection);
        for _ in 0..3 {
            let by = dice.pick(&GROUPINGS);
            let rows = usage.breakdown(&query, by).expect("a good question");
            rows.rows.iter().map(|row| &row.totals).chain(&rows.other).for_each(whole);
            let found = sums_of_rows(&rows);
            let after = self.summary(&selection);
            assert_between(&before, &found, &after, &selection);
            before = after;
            if selection.range == ALWAYS {
                continue;
            }
            let cut = dice.pick(&[BucketLength::Minute, BucketLength::Hour, BucketLength::Day]);
            let points = usage.timeseries(&query, interval(cut)).expect("not too many").points;
            points.iter().for_each(|point| whole(&point.totals));
            let found: Vec<Sums> = points.iter().map(|point| sums(&point.totals)).collect();
            let found = Sums::of_all(&found);
            let after = self.summary(&selection);
            assert_between(&before, &found, &after, &selection);
            before = after;
        }
        let count = self.engine.meters().query("mtr_count", &meter_query(&selection));
        let counted = count.expect("it is there").value;
        let after = self.summary(&selection);
        assert!(counted >= before.events && counted <= after.events);
    }

    fn usage_events(&self) -> Vec<UsageEvent> {
        let accepted = locked(&self.accepted);
        accepted.values().chain(locked(&self.in_batches).iter()).cloned().collect()
    }

    /// Now that all is quiet.
    fn settle(&self, seed: u64) {
        let (mut dice, usage_events) = (Dice::new(seed), self.usage_events());
        let usage = self.engine.usage();
        for _ in 0..60 {
            let selection =
                Selection { pairs: draw_pairs(&mut dice, CUSTOMERS), range: draw_range(&mut dice) };
            let query = usage_query(&selection, Tz::UTC, None);
            assert_eq!(
                self.summary(&selection),
                summary(&usage_events, &selection),
                "{selection:?}"
            );
            for by in GROUPINGS {
                let answer = usage.breakdown(&query, by).expect("a good question");
                let expected = breakdown(&usage_events, &selection, by);
                assert_eq!(sums_of_rows(&answer), Sums::of_all(expected.values()), "{selection:?}");
                for row in &answer.rows {
                    assert_eq!(
                        sums(&row.totals),
                        expected[&row.dimension],
                        "{selection:?} by {by}"
                    );
                }
                assert!(answer.other.is_some() || answer.rows.len() == expected.len());
            }
            if selection.range != ALWAYS {
                let answer = usage.timeseries(&query, Interval::Hour).expect("not too many");
                let found = answer.points.iter().map(|point| sums(&point.totals));
                let buckets = BucketLength::Hour.buckets(Tz::UTC, None, &selection.range);
                assert!(found.eq(series(&usage_events, &selection, &buckets)), "{selection:?}");
            }
            for (id, aggregate, of) in
                [("mtr_count", Aggregate::Count, "*"), ("mtr_max", Aggregate::Max, "images")]
            {
                let answer =
                    self.engine.meters().query(id, &meter_query(&selection)).expect("is there");
                let expected = figure(&usage_events, &selection, aggregate, of);
                assert_eq!(answer.value.millionths(), expected, "{id} {selection:?}");
            }
        }
    }
}

/// A writer that is done, or that failed.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn stamped(usage_event: &UsageEvent, key: Option<String>) -> Event<'static> {
    let event = event(usage_event).timestamp(date(usage_event.at));
    match key {
        Some(key) => event.idempotency_key(key),
        None => event,
    }
}

/// Ranges around the time of the test, on the edges of buckets and beside them.
fn draw_range(dice: &mut Dice) -> Range<Nanos> {
    let nanos = |dice: &mut Dice, most: Nanos| {
        Nanos::from(dice.below(u64::try_from(most).expect("some days")))
    };
    let (start, end) = (START - nanos(dice, 3 * DAY), START + nanos(dice, 10 * MINUTE));
    match dice.below(4) {
        0 => ALWAYS,
        1 => START.div_euclid(HOUR) * HOUR..(START + DAY).div_euclid(DAY) * DAY,
        2 => start.div_euclid(MINUTE) * MINUTE..end,
        _ => start..end,
    }
}

/// No event is in an answer in part.
fn whole(totals: &UsageTotals) {
    let events = u128::from(totals.total_events);
    let found = (
        totals.total_input_tokens,
        totals.total_output_tokens,
        totals.total_tokens,
        totals.total_cost_cents.millionths().unsigned_abs() / 1_000_000,
    );
    assert_eq!(found, (events, 2 * events, 3 * events, 3 * events), "{totals:?}");
}

fn assert_between(before: &Sums, found: &Sums, after: &Sums, selection: &Selection) {
    let what = || format!("{selection:?}: {before:?} then {found:?} then {after:?}");
    assert!(before.events <= found.events && found.events <= after.events, "{}", what());
    for (name, sum) in &found.values {
        assert!(after.values.get(name).is_some_and(|after| sum <= after), "{}", what());
    }
    for (name, sum) in &before.values {
        assert!(found.values.get(name).is_some_and(|found| sum <= found), "{}", what());
    }
}

fn hold(test: &str, default: u64, recording: Recording, rollups: &RollupOptions) {
    let seed = seed(test, default);
    let (rounds, events) = if long() { (4, 2_000) } else { (2, 900) };
    for round in 0..rounds {
        let scene = Scene::new(recording, rollups.clone());
        scene.run(seed.wrapping_add(round), events);
        scene.settle(seed);
    }
}

#[test]
fn answers_are_of_one_instant_and_in_the_end_exact() {
    let test = "answers_are_of_one_instant_and_in_the_end_exact";
    hold(test, 1, Recording::default(), &RollupOptions::new());
}

#[test]
fn so_they_are_where_values_find_no_room() {
    let rollups = RollupOptions::new().max_values(3).max_combinations(10).dimension("team_id");
    let test = "so_they_are_where_values_find_no_room";
    hold(test, 2, Recording::default(), &rollups);
}

#[test]
fn so_they_are_where_only_the_log_can_tell() {
    let test = "so_they_are_where_only_the_log_can_tell";
    hold(test, 3, Recording::default(), &RollupOptions::new().dimensions([""; 0]));
}
