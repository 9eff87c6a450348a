//! Goal: a store that the last version before format 3 wrote opens, answers as it did then, and is
//! one of the newest format from there on.
//!
//! Method: `data/format2` has stores of that version, with the events that it was given and what
//! its engine said, as data: `closed` cleanly in several generations, with a checkpoint; `crashed`,
//! with a checkpoint and records since; `killed`, with records alone; one whose clock was
//! `set_back`; one that has `dropped` most of its events. They have what came with format 2. Copies
//! are opened, asked the same, closed, or copied as a crash would leave them, and opened again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::formats::format_of;
use crate::support::files::StoreFile;
use limitry::errors::TrackError;
use limitry::events::{EventQuery, Recording};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, RollupOptions, UsageQuery};
use limitry::{Engine, Event, Metric, Outcome, RuleSet, Timestamp};
use serde_json::{Map, Value, json};

const STORES: [&str; 5] = ["closed", "crashed", "killed", "set_back", "dropped"];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format2").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(data(name)).expect("a file")).expect("data")
}

fn old(name: &str) -> StoreFile {
    StoreFile::copy_of(&data(&format!("{name}.redb")), name)
}

fn said(name: &str) -> Value {
    read(&format!("{name}.json"))
}

/// The rules that a store was written with: `killed` had no meters, and nothing refused in the one
/// whose clock was set back.
fn rules(name: &str) -> RuleSet {
    let mut rules: RuleSet = serde_json::from_value(read("rules.json")).expect("rules");
    if name == "killed" {
        rules.meters.clear();
        rules.quotas.retain(|quota| !matches!(quota.metric, Metric::Meter(_)));
    }
    rules.rate_limits.retain(|it| name != "set_back" || it.id.as_deref() != Some("debt"));
    rules
}

fn open(file: &StoreFile, name: &str, said: &Value) -> Engine {
    let clock: Timestamp = said["clock"].as_str().expect("a time").parse().expect("a time");
    let day = Duration::from_secs(24 * 3_600);
    Engine::builder()
        .clock(ManualClock::new(clock))
        .rule_set(rules(name))
        .recording(Recording::Newest(if name == "dropped" { 20 } else { 100_000 }))
        .rollups(RollupOptions::new().dimensions(["customer_id", "model", "team"]))
        .idempotency_retention(day)
        .durable(file.store().retention(day))
        .build()
        .expect("it goes on")
}

fn event(body: &Value) -> Event<'static> {
    let text = body.to_string();
    serde_json::from_str::<Event<'_>>(&text).expect("an event").into_owned()
}

/// The figures of an answer by the names of its rules.
fn figures(body: &Value) -> Map<String, Value> {
    let rates = body["rateLimits"].as_array().expect("a list").iter().map(|rate| {
        let figures = json!({"remaining": rate["remaining"], "reset": rate["reset"]});
        (rate["name"].as_str().expect("a name").to_owned(), figures)
    });
    let quotas = body["quotas"].as_array().expect("a list").iter().map(|quota| {
        let used = quota["used"].as_str().map_or_else(|| quota["used"].to_string(), str::to_owned);
        (quota["name"].as_str().expect("a name").to_owned(), json!({"used": used}))
    });
    rates.chain(quotas).collect()
}

/// The same with resets in whole seconds, as answers have them.
fn in_seconds(mut figures: Map<String, Value>) -> Map<String, Value> {
    for figure in figures.values_mut() {
        if let Some(reset) = figure["reset"].as_str() {
            let reset: Timestamp = reset.parse().expect("a time");
            figure["reset"] = json!(reset.unix_seconds() + i64::from(reset.subsec_nanos() > 0));
        }
    }
    figures
}

/// Which keys are beyond a cap hangs on which idle ones were dropped by then.
fn without_caps(mut figures: Map<String, Value>) -> Map<String, Value> {
    figures.retain(|rule, _| !["shared", "shared fixed", "passed"].contains(&&**rule));
    figures
}

fn body(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("data")
}

/// Asks an engine all that its predecessor was asked.
fn assert_answers_as(name: &str, context: &str, engine: &Engine, said: &Value) {
    let context = format!("{name}, {context}");
    let (health, recorded) = (engine.store().health(), &said["recorded"]);
    assert_eq!(body(health.recorded), *recorded, "{context}");
    assert_eq!(body(health.set_back.as_secs()), said["setBackSeconds"], "{context}");
    assert_eq!(body(engine.now()), said["now"], "{context}");
    for standing in said["standing"].as_array().expect("a list") {
        let probe = &standing["probe"];
        let found = figures(&body(engine.standing(&event(probe)).expect("an answer")));
        let due = in_seconds(standing["figures"].as_object().expect("figures").clone());
        let [found, due] =
            [found, due].map(|it| if name == "closed" { it } else { without_caps(it) });
        assert_eq!(found, due, "{context}: {probe}");
    }
    let (all, usage) = (UsageQuery::all_time(), engine.usage());
    assert_eq!(body(usage.summary(&all).expect("a summary")), said["summary"], "{context}");
    for (list, by) in [("byCustomer", "customer_id"), ("byModel", "model"), ("byTeam", "team")] {
        assert_eq!(body(usage.breakdown(&all, by).expect("sums")), said[list], "{context}: {by}");
    }
    for (id, value) in said["meters"].as_object().expect("meters by id") {
        let found = body(engine.meters().query(id, &MeterQuery::new()).expect("a value"));
        assert_eq!(found["value"], value["value"], "{context}: {id}");
        // Opening takes as many events into memory as are asked for, and no more.
        assert!(name == "dropped" || found == *value, "{context}: {id}: {found}, {value}");
    }
    let mut lines = Vec::new();
    engine.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("it is exported");
    let lines = String::from_utf8(lines).expect("text");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("data")).collect();
    assert_eq!(body(lines.len()), said["exported"], "{context}");
    for line in said["lines"].as_array().expect("a list") {
        assert!(lines.contains(line), "{context}: {line}");
    }
    for replay in said["replays"].as_array().expect("a list") {
        let answer = engine.track(&event(&replay["event"])).expect("an answer");
        assert_eq!(answer.outcome(), Outcome::Replayed, "{context}: {replay}");
        let answer = body(&answer);
        assert_eq!(figures(&answer), figures(&replay["body"]), "{context}: {replay}");
        assert_eq!(answer["id"], replay["body"]["id"], "{context}: {replay}");
    }
    assert_eq!(
        body(engine.store().health().recorded),
        *recorded,
        "{context}: replays count nothing"
    );
}

#[test]
fn a_store_of_format_2_goes_on_and_is_one_of_the_newest() {
    for name in STORES {
        let (said, file) = (said(name), old(name));
        assert_eq!(format_of(&file), 2, "{name}");
        let engine = open(&file, name, &said);
        assert_answers_as(name, "opened", &engine, &said);
        engine.store().verify(|_| {}).expect("it is whole");
        // As a crash would leave it now.
        let crashed = StoreFile::copy_of(&file.path, name);
        engine.store().close().expect("it closes");
        drop(engine);
        for (file, context) in [(&file, "closed"), (&crashed, "crashed")] {
            assert_eq!(format_of(file), 3, "{name}, {context}");
            let engine = open(file, name, &said);
            assert_answers_as(name, context, &engine, &said);
            engine.store().verify(|_| {}).expect("it is whole");
            let backup = StoreFile::new(name);
            engine.store().backup(&backup.path, |_| {}).expect("a copy");
            assert_eq!(format_of(&backup), 3, "{name}, {context}");
            assert_answers_as(name, "copied", &open(&backup, name, &said), &said);
        }
    }
}

/// What an event recorded before format 3 was decided at is known from its record.
#[test]
fn records_of_formats_2_and_3_follow_each_other() {
    for name in STORES {
        let (said, file) = (said(name), old(name));
        let engine = open(&file, name, &said);
        for replay in said["replays"].as_array().expect("a list") {
            let mut body = replay["event"].clone();
            body["idempotencyKey"] = json!(format!("new {}", body["idempotencyKey"]));
            let _ = engine.record(&event(&body)).expect("answers");
        }
        engine.store().flush().expect("it is on disk");
        let crashed = StoreFile::copy_of(&file.path, name);
        let again = open(&crashed, name, &said);
        for standing in said["standing"].as_array().expect("a list") {
            let probe = event(&standing["probe"]);
            let [here, there] = [&engine, &again].map(|engine| {
                without_caps(figures(&body(engine.standing(&probe).expect("an answer"))))
            });
            assert_eq!(here, there, "{name}: {probe:?}");
        }
        let [here, there] = [&engine, &again].map(|engine| engine.events().newest(200));
        let common = here.len().min(there.len());
        assert_eq!(here[..common], there[..common], "{name}");
        if name != "set_back" {
            let is_own = |it: &&limitry::events::RecordedEvent| it.timestamp == it.decided_at;
            assert!(here.iter().filter(is_own).count() * 10 > here.len() * 8, "{name}");
            assert!(here.iter().all(|it| it.decided_at <= engine.now()), "{name}");
        }
        again.store().verify(|_| {}).expect("it is whole");
    }
}

#[test]
fn a_key_of_format_2_is_its_customers() {
    for name in STORES {
        let (said, file) = (said(name), old(name));
        for _ in 0..2 {
            let engine = open(&file, name, &said);
            for replay in said["replays"].as_array().expect("a list") {
                let mut other = replay["event"].clone();
                other["latencyMs"] = json!(7);
                let conflict = engine.check(&event(&other));
                assert!(matches!(conflict, Err(TrackError::IdempotencyConflict { .. })), "{name}");
                let mut other = replay["event"].clone();
                other["customerId"] = json!("somebody else");
                let first = engine.check(&event(&other)).expect("a key of its own");
                assert_ne!(first.outcome(), Outcome::Replayed, "{name}");
            }
            engine.store().close().expect("it closes");
        }
    }
}

/// After a clock was set back quotas ask what is recorded of the periods to come: up to the latest
/// event, and not to the end of the calendar.
#[test]
fn a_refusal_ends_where_the_clock_was_set_back() {
    let (said, file) = (said("set_back"), old("set_back"));
    let engine = open(&file, "set_back", &said);
    let never = Event::new("acme", "llm.call").total_tokens(5_000);
    let refused = engine.track(&never).expect("an answer");
    assert_eq!(refused.outcome(), Outcome::Refused);
    assert_eq!(refused.retry_after(), Some(limitry::RetryAfter::Never));
}
