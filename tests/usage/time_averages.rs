//! Goal: the average of a gauge over time is that of a naive fold over all readings, to the digit,
//! for any range, window and key, with late, voided and amended ones, and over a restart; from the
//! roll-ups, where the log has dropped the events, it is that of the last reading of each bucket.
//!
//! Method: random readings beside a list of them, whose averages are worked out as fractions.

use std::cmp::Ordering;
use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, date, duration};
use limitry::events::{EventId, Recording};
use limitry::rules::Aggregation;
use limitry::store::MemoryStore;
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions};
use limitry::{Amount, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota};

const KEYS: [&str; 3] = ["a", "b", "c"];
const OPEN: Nanos = Nanos::MIN;

/// What a customer's gauge was at an instant; none of one that is voided, or lacks the value.
#[derive(Clone, Debug)]
struct Reading {
    id: Option<EventId>,
    key: &'static str,
    at: Nanos,
    value: Option<i128>,
    is_void: bool,
}

fn meters(builder: EngineBuilder) -> EngineBuilder {
    let filtered = Meter::time_avg("Filtered", "gb").filter("event_type", "storage");
    builder.meter(Meter::time_avg("Stored", "gb").id("avg")).meter(filtered.id("filtered"))
}

fn event(key: &'static str, value: Option<i128>, model: &'static str) -> Event<'static> {
    let event = Event::new(key, "storage").model(model);
    match value {
        Some(millionths) => event.value("gb", Amount::from_millionths(millionths)),
        None => event,
    }
}

/// The sum over keys of what they held, times nanoseconds, from one instant to another.
fn held(readings: &[Reading], keys: &[&str], start: Nanos, end: Nanos) -> i128 {
    let of_key = |key: &&str| {
        let mut own: Vec<(Nanos, usize, i128)> = (0..)
            .zip(readings)
            .filter(|(_, it)| it.key == *key && !it.is_void)
            .filter_map(|(order, it)| Some((it.at, order, it.value?)))
            .collect();
        own.sort_unstable();
        let ends = own.iter().skip(1).map(|next| next.0).chain([Nanos::MAX]);
        let parts = own.iter().zip(ends).map(|((at, _, value), next)| {
            let nanos = next.min(end) - at.max(&start).min(&next.min(end));
            value * nanos.max(0)
        });
        parts.sum::<i128>()
    };
    keys.iter().map(of_key).sum()
}

fn average(sum: i128, nanos: Nanos) -> Amount {
    if nanos <= 0 {
        return Amount::ZERO;
    }
    let (quotient, rest) = (sum / nanos, sum % nanos);
    let away = match (rest.abs() * 2).cmp(&nanos) {
        Ordering::Less => 0,
        _ => sum.signum(),
    };
    Amount::from_millionths(quotient + away)
}

/// The average of keys over a range, as far as it has come; an open one begins with the first.
fn due(readings: &[Reading], keys: &[&str], (start, end): (Nanos, Nanos), now: Nanos) -> Amount {
    let own = readings.iter().filter(|it| keys.contains(&it.key) && !it.is_void);
    let first = own.filter(|it| it.value.is_some()).map(|it| it.at).min().unwrap_or(now);
    let (start, end) = (if start == OPEN { first } else { start }, end.min(now));
    average(held(readings, keys, start, end), end - start)
}

fn query((start, end): (Nanos, Nanos)) -> MeterQuery {
    let query = MeterQuery::new().until(date(end));
    if start == OPEN { query } else { query.since(date(start)) }
}

/// Asks for all keys, each key, and windows of each.
fn check(engine: &Engine, readings: &[Reading], range: (Nanos, Nanos), now: Nanos) {
    let meters = engine.meters();
    for id in ["avg", "filtered"] {
        let of = |query: MeterQuery| {
            let found = meters.query(id, &query).expect("a value");
            assert!(found.covers.is_complete, "{id} {range:?} {:?}", found.covers);
            found.value
        };
        let all = of(query(range).sum_over("customer_id"));
        assert_eq!(all, due(readings, &KEYS, range, now), "{id} {range:?}");
        for key in KEYS {
            assert_eq!(of(query(range).customer(key)), due(readings, &[key], range, now), "{key}");
        }
        if range.0 == OPEN || range.1 - range.0 > 8 * DAY {
            continue;
        }
        let windows = query(range).interval(Interval::Hour);
        let rows = meters.rows(id, &windows.clone().group_by("customer_id")).expect("rows");
        let mut found: Vec<_> = rows.rows.iter().map(|row| (row, vec![key_of(row)])).collect();
        let all = meters.rows(id, &windows.sum_over("customer_id")).expect("rows");
        found.push((&all.rows[0], KEYS.to_vec()));
        for (row, keys) in found {
            assert_eq!(row.value, due(readings, &keys, range, now), "{keys:?}");
            for window in &row.windows {
                let start = i128::from(window.start.unix_seconds()) * SECOND;
                let part = (start.max(range.0), (start + HOUR).min(range.1));
                assert_eq!(window.value, due(readings, &keys, part, now), "{keys:?} {part:?}");
            }
        }
    }
}

fn key_of(row: &limitry::usage::MeterRow) -> &'static str {
    let key = row.group["customer_id"].as_deref();
    KEYS.into_iter().find(|known| Some(*known) == key).expect("a key")
}

fn record(engine: &Engine, reading: &mut Reading, model: &'static str) {
    let event = event(reading.key, reading.value, model).timestamp(date(reading.at));
    reading.id = engine.record(&event).expect("valid").event_id();
}

fn ranges(dice: &mut Dice, now: Nanos) -> Vec<(Nanos, Nanos)> {
    let span = u64::try_from(now - START + 3 * DAY).expect("later");
    let mut at = || START - 2 * DAY + i128::from(dice.below(span));
    let mut ranges: Vec<_> = (0..8).map(|_| (at(), at())).collect();
    for (start, end) in &mut ranges {
        (*start, *end) = (*start.min(end), *start.max(end) + 1);
    }
    ranges.extend([(OPEN, now + DAY), (OPEN, at()), (now, now + HOUR)]);
    ranges
}

#[test]
fn averages_are_those_of_all_readings_late_or_corrected() {
    for seed in 0..2 {
        let mut dice = Dice::new(seed);
        let clock = ManualClock::new(date(START));
        let store = MemoryStore::new();
        let open = || {
            let builder = Engine::builder().clock(clock.clone());
            meters(builder).durable(store.open().expect("opens")).build().expect("valid")
        };
        let mut engine = open();
        let (mut readings, mut now) = (Vec::<Reading>::new(), START);
        for number in 0..100_i128 {
            let pause = MINUTE * i128::from(dice.below(120)) + i128::from(dice.below(1 << 40));
            now += pause;
            clock.advance(duration(pause));
            let late = if dice.chance(30) { i128::from(dice.below(1 << 48)) } else { 0 };
            let value = i128::from(dice.below(90_000_000)) - 9_000_000;
            let mut reading = Reading {
                id: None,
                key: dice.pick(&KEYS),
                at: now - late - number,
                value: Some(value).filter(|_| !dice.chance(10)),
                is_void: false,
            };
            // Of several tuples of values.
            record(&engine, &mut reading, dice.pick(&["m", "n"]));
            readings.push(reading);
            let place = usize::try_from(dice.below(readings.len() as u64)).expect("a place");
            let corrected = &mut readings[place];
            if dice.chance(15) && !corrected.is_void {
                let id = corrected.id.expect("it is recorded");
                if dice.chance(50) {
                    engine.void(id, "void").expect("it is there");
                    corrected.is_void = true;
                } else {
                    let value = i128::from(dice.below(50_000_000));
                    let amended = event(corrected.key, Some(value), "n");
                    engine.amend(id, &amended, "amend").expect("it is there");
                    corrected.value = Some(value);
                }
            }
            if number == 50 {
                for range in ranges(&mut dice, now) {
                    check(&engine, &readings, range, now);
                }
                engine.store().close().expect("closes");
                engine = open();
            }
        }
        for range in ranges(&mut dice, now) {
            check(&engine, &readings, range, now);
        }
    }
}

/// Of readings of the same bucket the last one.
fn thinned(readings: &[Reading], bucket: impl Fn(Nanos) -> Nanos) -> Vec<Reading> {
    let is_last = |it: &&Reading| {
        !readings.iter().any(|other| {
            other.key == it.key && bucket(other.at) == bucket(it.at) && other.at > it.at
        })
    };
    readings.iter().filter(is_last).cloned().collect()
}

/// The half hour of an instant, or the quarter of the few where midnights of zones are.
fn half_hour(at: Nanos) -> Nanos {
    let (half, of_day) = (at.div_euclid(30 * MINUTE), at.rem_euclid(DAY));
    let quarters = [(3, 45), (10, 15), (11, 15), (14, 15), (15, 15), (18, 15)];
    let is_behind = quarters.into_iter().any(|(hour, minute)| {
        let quarter = hour * HOUR + minute * MINUTE;
        (quarter..quarter + 15 * MINUTE).contains(&of_day)
    });
    2 * half + Nanos::from(is_behind)
}

/// What was held when the range begins is known to the nanosecond.
fn check_thinned(
    engine: &Engine,
    readings: &[Reading],
    range: (Nanos, Nanos),
    bucket: impl Fn(Nanos) -> Nanos,
    now: Nanos,
) {
    let (before, after): (Vec<_>, Vec<_>) =
        readings.iter().cloned().partition(|it| it.at < range.0);
    check(engine, &[before, thinned(&after, bucket)].concat(), range, now);
}

/// Has the log drop all that it had.
fn push_out(engine: &Engine) {
    for _ in 0..10 {
        let _ = engine.record(&Event::new("other", "call")).expect("valid");
    }
}

#[test]
fn rollups_answer_by_the_last_reading_of_each_minute_then_half_hour_then_day() {
    let mut dice = Dice::new(9);
    let clock = ManualClock::new(date(START));
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let rollups = RollupOptions::new().keep_minutes(days(2)).keep_hours(days(10));
    let builder = Engine::builder().clock(clock.clone()).rollups(rollups);
    let engine = meters(builder.recording(Recording::Newest(1))).build().expect("valid");
    let (mut readings, mut now) = (Vec::<Reading>::new(), START);
    for _ in 0..900 {
        let pause = i128::from(dice.below(u64::try_from(HOUR).expect("positive")));
        now += pause;
        clock.advance(duration(pause));
        let value = Some(i128::from(dice.below(90_000_000)));
        let mut reading =
            Reading { id: None, key: dice.pick(&KEYS), at: now, value, is_void: false };
        record(&engine, &mut reading, "m");
        readings.push(reading);
    }
    push_out(&engine);
    // Of minutes, with ends in none of the boundaries of half hours; of half hours; of days.
    let minute = now.div_euclid(MINUTE) * MINUTE;
    let day = now.div_euclid(DAY) * DAY;
    let of = |length: Nanos| move |at: Nanos| at.div_euclid(length);
    check_thinned(&engine, &readings, (minute - 47 * HOUR, minute - 3 * MINUTE), of(MINUTE), now);
    check_thinned(&engine, &readings, (day - 7 * DAY, day - 4 * DAY), half_hour, now);
    check_thinned(&engine, &readings, (day - 20 * DAY, day - 11 * DAY), of(DAY), now);
    // Over all of it, a gauge that is reported once a day is exact.
    let mut once = Vec::<Reading>::new();
    for _ in 0..40 {
        now = (now.div_euclid(DAY) + 1) * DAY;
        let at = now + i128::from(dice.below(u64::try_from(DAY).expect("positive")));
        clock.set(date(at));
        let value = Some(i128::from(dice.below(90_000_000)));
        let mut reading = Reading { id: None, key: "once", at, value, is_void: false };
        record(&engine, &mut reading, "m");
        once.push(reading);
    }
    push_out(&engine);
    let end = (now.div_euclid(DAY) + 1) * DAY;
    clock.set(date(end));
    for start in [end - 35 * DAY, end - 9 * DAY, end - 50 * DAY] {
        let found = engine.meters().query("avg", &query((start, end)).customer("once"));
        assert_eq!(found.expect("a value").value, due(&once, &["once"], (start, end), end));
    }
}

#[test]
fn a_time_average_has_a_word_and_is_for_no_rule() {
    assert_eq!("time_avg".parse(), Ok(Aggregation::TimeAvg));
    let meter = Meter::time_avg("Stored", "gb").id("stored");
    let text = serde_json::to_string(&meter).expect("prints");
    assert!(text.contains(r#""aggregation":"time_avg""#), "{text}");
    let quota = Quota::new("q", Metric::meter("stored"), 10, Period::Day);
    let builder = Engine::builder().meter(meter).quota(quota);
    let error = builder.build().expect_err("not valid").to_string();
    assert!(error.contains("an average is used up by no event"), "{error}");
}

#[test]
fn more_than_an_amount_can_say_is_an_error_and_no_time_is_nothing() {
    let clock = ManualClock::new(date(START));
    let engine = meters(Engine::builder().clock(clock.clone())).build().expect("valid");
    let ask = |query: &MeterQuery| engine.meters().query("avg", query);
    assert_eq!(ask(&MeterQuery::new()).expect("a value").value, Amount::ZERO);
    let event = Event::new("a", "storage").value("gb", 7);
    let _ = engine.record(&event).expect("valid");
    // The first reading is now: no time has passed.
    assert_eq!(ask(&MeterQuery::new()).expect("a value").value, Amount::ZERO);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(ask(&MeterQuery::new()).expect("a value").value, 7);
    let ages = MeterQuery::new().since(date(START - 400 * 366 * DAY));
    assert!(ask(&ages).is_err());
}
