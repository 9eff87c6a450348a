//! Goal: a store that was written while the clock was ahead goes on when the clock is right again:
//! rate limits are where they were, and pay back at the clock's pace, so that nothing is minted and
//! nobody waits longer than before; quotas stay their meters' figures; events that were dated ahead
//! stay where they are, and whoever watches is told.
//!
//! Method: an engine in memory whose clock is never set back is the twin of one that is opened with
//! a clock that is behind, by an hour or by eleven years, in all ways in which a store is left. The
//! calendar's side is compared with the meters of the same engine, and with worked cases.

use std::time::Duration;

use crate::support::files::StoreFile;
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{START, date, duration};
use limitry::events::EventQuery;
use limitry::rules::Algorithm;
use limitry::store::BadLines;
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::{
    Decision, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RateLimit, RetryAfter,
    Window,
};
use serde_json::Value;

/// How far the clock is ahead while the store is written.
const AHEAD: [Nanos; 3] = [HOUR, 3 * DAY, 11 * 365 * DAY];

type Build = fn(EngineBuilder) -> EngineBuilder;

fn open(file: &StoreFile, now: Nanos, build: Build) -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(now));
    let store = file.store();
    let builder = build(Engine::builder().clock(clock.clone())).durable(store);
    (builder.build().expect("an engine that goes on"), clock)
}

fn in_memory(now: Nanos, build: Build) -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(now));
    let engine = build(Engine::builder().clock(clock.clone())).build().expect("an engine");
    (engine, clock)
}

/// Rules that go by the time that passes.
fn passing(builder: EngineBuilder) -> EngineBuilder {
    let of = |name: &str, algorithm| {
        RateLimit::new(name, 20, Window::Hour).id(name).per("customer_id").algorithm(algorithm)
    };
    builder
        .rate_limit(of("bucket", Algorithm::TokenBucket).metric(Metric::TotalTokens))
        .rate_limit(of("fixed", Algorithm::FixedWindow))
        .rate_limit(of("sliding", Algorithm::SlidingWindow))
        .quota(
            Quota::new(
                "rolling",
                Metric::TotalTokens,
                200,
                Period::Rolling(Duration::from_secs(24 * 3_600)),
            )
            .id("rolling")
            .per("customer_id"),
        )
}

/// What an answer says that does not hang on dates.
fn said(decision: &Decision) -> (bool, Vec<(String, String)>, Option<RetryAfter>) {
    let rates = decision.rate_limits();
    let rates = rates.map(|status| (status.name.into_owned(), status.remaining.to_string()));
    let quotas = decision.quotas();
    let quotas = quotas.map(|status| (status.name.into_owned(), status.remaining.to_string()));
    (decision.is_allowed(), rates.chain(quotas).collect(), decision.retry_after())
}

fn call(number: i128) -> Event<'static> {
    let tokens = u64::try_from(number % 7).expect("it is small");
    Event::new(format!("c{}", number % 3), "call").total_tokens(tokens)
}

/// Spends, with more than there is, so that there are waits and what is owed.
fn spend(engine: &Engine, clock: &ManualClock, step: Nanos) {
    for number in 0..90 {
        clock.advance(duration(step));
        let _ = engine.track(&call(number)).expect("a good event");
        if number % 30 == 29 {
            let _ = engine.record(&call(number).total_tokens(25)).expect("a good event");
        }
    }
}

#[test]
fn limits_go_on_as_if_the_clock_had_never_been_ahead() {
    for ahead in AHEAD {
        for way in ["closed", "dropped", "crashed"] {
            let file = StoreFile::new(&format!("limits-{way}"));
            let (twin, twins_clock) = in_memory(START + ahead, passing);
            let (engine, clock) = open(&file, START + ahead, passing);
            spend(&engine, &clock, MINUTE);
            spend(&twin, &twins_clock, MINUTE);
            engine.store().flush().expect("it is on disk");
            let crashed = StoreFile::copy_of(&file.path, "limits-crash");
            if way == "closed" {
                engine.store().close().expect("it closes");
            }
            drop(engine);
            let file = if way == "crashed" { &crashed } else { &file };
            // The clock is right again, and once more after another hour.
            let (mut engine, mut clock) = open(file, START, passing);
            for number in 0..240 {
                if number == 60 {
                    drop(engine);
                    (engine, clock) = open(file, START + 60 * 3 * MINUTE, passing);
                }
                clock.advance(duration(3 * MINUTE));
                twins_clock.advance(duration(3 * MINUTE));
                let event = call(number);
                let [found, wanted] = [&engine, &twin]
                    .map(|engine| said(&engine.track(&event).expect("a good event")));
                assert_eq!(found, wanted, "{way}, {ahead} ns ahead, call {number}");
            }
            engine.store().verify(|_| ()).expect("it is whole");
        }
    }
}

/// The issue's case: nine calls pass and then none for as long as the clock was ahead.
#[test]
fn nobody_waits_until_the_clock_has_caught_up() {
    let build: Build = |builder| builder.rate_limit(RateLimit::new("r", 10, Window::Minute));
    for ahead in AHEAD {
        let file = StoreFile::new("frozen");
        let (engine, _clock) = open(&file, START + ahead, build);
        assert!(engine.track(&Event::new("c", "call")).expect("good").is_allowed());
        engine.store().close().expect("it closes");
        drop(engine);
        let (engine, clock) = open(&file, START, build);
        assert_eq!(engine.now(), date(START));
        let mut passed = 0;
        while engine.track(&Event::new("c", "call")).expect("good").is_allowed() {
            passed += 1;
        }
        assert_eq!(passed, 9, "what was used while it was ahead is used");
        clock.advance(duration(6 * SECOND));
        assert!(engine.track(&Event::new("c", "call")).expect("good").is_allowed());
        assert!(!engine.track(&Event::new("c", "call")).expect("good").is_allowed());
        clock.advance(duration(MINUTE));
        passed = 0;
        while engine.track(&Event::new("c", "call")).expect("good").is_allowed() {
            passed += 1;
        }
        assert_eq!(passed, 10, "{ahead} ns ahead");
    }
}

fn by_calendar(builder: EngineBuilder) -> EngineBuilder {
    let meter = |meter: Meter| meter.filter("event_type", "call");
    let mut builder = builder
        .meter(meter(Meter::sum("sum", "total_tokens")).id("sum"))
        .meter(meter(Meter::max("highest", "total_tokens")).id("highest"))
        .meter(meter(Meter::latest("latest", "total_tokens")).id("latest"));
    for (id, period) in [("day", Period::Day), ("hour", Period::Hour), ("all", Period::AllTime)] {
        for meter in ["sum", "highest", "latest"] {
            let name = format!("{meter} {id}");
            let quota = Quota::new(name.clone(), Metric::meter(meter), 1_000_000, period);
            builder = builder.quota(quota.id(format!("{meter}_{id}")).per("customer_id"));
        }
    }
    builder
}

/// Compares the figures of all quotas for a customer with their meters, in the periods of `now`.
fn assert_figures_are_meters(engine: &Engine, now: Nanos, context: &str) {
    let standing = engine.standing(&Event::new("c", "call")).expect("an answer");
    let body = serde_json::to_value(&standing).expect("data");
    for status in body["quotas"].as_array().expect("a list") {
        let name = status["name"].as_str().expect("a name");
        let (meter, period) = name.split_once(' ').expect("two words");
        let (start, length) = match period {
            "day" => (now.div_euclid(DAY) * DAY, DAY),
            "hour" => (now.div_euclid(HOUR) * HOUR, HOUR),
            _ => (0, 200 * 365 * DAY),
        };
        let query = MeterQuery::new().customer("c");
        let query = query.between(date(start), date(start + length));
        let value = engine.meters().query(meter, &query).expect("a value");
        let value = serde_json::to_value(&value).expect("data")["value"].clone();
        let value = if value.is_null() { Value::from(0) } else { value };
        assert_eq!(status["used"].to_string(), value.to_string(), "{context}: {name}");
    }
}

#[test]
fn quotas_stay_their_meters_figures() {
    for ahead in [90 * MINUTE, DAY + HOUR, 11 * 365 * DAY] {
        for way in ["closed", "crashed"] {
            let context = format!("{way}, {ahead} ns ahead");
            let file = StoreFile::new(&format!("quotas-{way}"));
            let tokens = |tokens: u64| Event::new("c", "call").total_tokens(tokens);
            let (engine, clock) = open(&file, START, by_calendar);
            let _ = engine.track(&tokens(3)).expect("good");
            clock.set(date(START + ahead));
            for amount in [50, 20] {
                let _ = engine.track(&tokens(amount)).expect("good");
                clock.advance(duration(MINUTE));
            }
            engine.store().flush().expect("it is on disk");
            let crashed = StoreFile::copy_of(&file.path, "quotas-crash");
            if way == "closed" {
                engine.store().close().expect("it closes");
            }
            drop(engine);
            let file = if way == "crashed" { &crashed } else { &file };
            let mut now = START + MINUTE;
            let (mut engine, mut clock) = open(file, now, by_calendar);
            assert_figures_are_meters(&engine, now, &format!("{context}, opened"));
            for amount in [7, 4] {
                let _ = engine.track(&tokens(amount)).expect("good");
                assert_figures_are_meters(&engine, now, &format!("{context}, used"));
                now += MINUTE;
                clock.advance(duration(MINUTE));
            }
            drop(engine);
            (engine, clock) = open(file, now, by_calendar);
            assert_figures_are_meters(&engine, now, &format!("{context}, again"));
            // The time comes that the clock showed too early.
            now = START + ahead + 2 * MINUTE;
            clock.set(date(now));
            assert_figures_are_meters(&engine, now, &format!("{context}, caught up"));
            let _ = engine.track(&tokens(1)).expect("good");
            assert_figures_are_meters(&engine, now, &format!("{context}, and used"));
            engine.store().verify(|_| ()).expect("it is whole");
        }
    }
}

#[test]
fn events_dated_ahead_stay_there_and_are_told_of() {
    let build: Build = |builder| builder;
    for ahead in AHEAD {
        let file = StoreFile::new("dates");
        let (engine, clock) = open(&file, START + ahead, build);
        for number in 0..5 {
            let _ = engine.track(&call(number)).expect("good");
            clock.advance(duration(MINUTE));
        }
        assert_eq!(engine.store().health().latest_ahead, None, "they are not ahead of this clock");
        engine.store().close().expect("it closes");
        drop(engine);
        let (engine, clock) = open(&file, START, build);
        let latest = date(START + ahead + 4 * MINUTE);
        assert_eq!(engine.store().health().latest_ahead, Some(latest));
        let back = engine.store().health().set_back;
        assert!(back >= duration(ahead) && back <= duration(ahead + 5 * MINUTE), "{back:?}");
        let _ = engine.track(&call(9)).expect("good");
        let found = engine.events().iter(EventQuery::new()).expect("a good question");
        let dates: Vec<_> = found.map(|found| found.timestamp).collect();
        assert!(dates.contains(&latest) && dates.contains(&date(START)));
        let sums = |start: Nanos, end: Nanos| {
            let query = UsageQuery::new(date(start), date(end));
            let summary = engine.usage().summary(&query).expect("sums");
            (summary.totals.total_events, summary.covers.is_complete)
        };
        let minute = START.div_euclid(MINUTE) * MINUTE;
        assert_eq!(sums(minute, minute + MINUTE).0, 1, "{ahead} ns ahead");
        assert_eq!(sums(START + ahead - MINUTE, START + ahead + HOUR).0, 5, "{ahead} ns ahead");
        let mut lines = Vec::new();
        let report =
            engine.store().export(&mut lines, &EventQuery::new(), |_| ()).expect("exported");
        assert_eq!(report.count, 6);
        let (other, _clock) = in_memory(START, build);
        assert_eq!(
            other.store().import(&lines[..], BadLines::Stop, |_| ()).expect("imported").count,
            6
        );
        // It is over when the time has come.
        clock.set(date(START + ahead + 5 * MINUTE));
        assert_eq!(engine.store().health().latest_ahead, None);
    }
    let file = StoreFile::new("right");
    drop(open(&file, START, build));
    let (engine, _clock) = open(&file, START + MINUTE, build);
    let health = engine.store().health();
    assert_eq!((health.latest_ahead, health.set_back), (None, Duration::ZERO));
}

#[test]
fn keys_get_older_at_the_clock_s_pace() {
    let build: Build = |builder| {
        builder.idempotency_retention(duration(DAY)).rate_limit(RateLimit::new(
            "r",
            1_000,
            Window::Hour,
        ))
    };
    let request = Event::new("c", "call").idempotency_key("key");
    for ahead in AHEAD {
        let file = StoreFile::new("keys");
        let (engine, _clock) = open(&file, START + ahead, build);
        let first = engine.track(&request).expect("good");
        let first = serde_json::to_value(&first).expect("data");
        drop(engine);
        let (engine, clock) = open(&file, START, build);
        for wait in [0, DAY - 1] {
            clock.set(date(START + wait));
            let again = engine.track(&request).expect("good");
            assert!(again.is_replay(), "{ahead} ns ahead, after {wait}");
            assert_eq!(serde_json::to_value(&again).expect("data"), first, "{ahead} ns ahead");
        }
        clock.set(date(START + DAY));
        assert!(!engine.track(&request).expect("good").is_replay(), "{ahead} ns ahead");
    }
}
