//! Goal: a store that an older version of this crate wrote opens, answers as it did then, and is
//! one of the newest format from there on.
//!
//! Method: `data/format1` has stores as the last version before format 2 left them, with what its
//! engine said of each: `closed` cleanly in several generations, with a checkpoint; `crashed`, with
//! a checkpoint and records since; `killed`, with records alone; one with `amounts` that add up to
//! more than a sum can hold; one with events of unusual `shapes`. Copies are opened, asked the
//! same, closed, or copied as a crash would leave them, and opened again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::files::StoreFile;
use chrono_tz::Tz;
use limitry::errors::TrackError;
use limitry::events::EventQuery;
use limitry::store::BadLines;
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions, UsageQuery};
use limitry::{Amount, Engine, Event, Metric, Outcome, RuleSet, Timestamp};
use redb::ReadableDatabase;
use serde_json::{Map, Value, json};

/// When the first event of each store came.
const START: &str = "2024-06-03T08:00:00Z";

/// A copy of a store of the old format.
fn old(name: &str) -> StoreFile {
    StoreFile::copy_of(&data(&format!("{name}.redb")), name)
}

/// The format that the store says it has.
pub(crate) fn format_of(file: &StoreFile) -> u32 {
    let db = redb::Database::open(&file.path).expect("a file of redb");
    let table: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("limitry");
    let row = db.begin_read().expect("reads").open_table(table).expect("a table");
    let row = row.get(0).expect("reads").expect("the row that names it");
    u32::from_le_bytes(row.value()[8..12].try_into().expect("four bytes"))
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format1").join(name)
}

/// What the engine that wrote a store said of it.
fn said(name: &str) -> Value {
    let text = fs::read(data(&format!("{name}.json"))).expect("a file");
    serde_json::from_slice(&text).expect("data")
}

/// The rules that the stores were written with; `killed` had no meters.
fn rules(name: &str) -> RuleSet {
    let text = fs::read(data("rules.json")).expect("a file");
    let mut rules: RuleSet = serde_json::from_slice(&text).expect("rules");
    if name == "killed" {
        rules.meters.clear();
        rules.quotas.retain(|quota| !matches!(quota.metric, Metric::Meter(_)));
    }
    rules
}

fn open(file: &StoreFile, name: &str, now: Timestamp) -> Engine {
    let store = file.store();
    Engine::builder()
        .clock(ManualClock::new(now))
        .rule_set(rules(name))
        .rollups(RollupOptions::new().dimensions(["customer_id", "model", "team"]))
        .durable(store.retention(Duration::from_secs(24 * 3_600)))
        .build()
        .expect("it goes on")
}

/// The event of a number: as the old engine was told it.
fn event(number: u64) -> Event<'static> {
    let customer = ["acme", "bolt", "cora"][(number % 3) as usize];
    let kind = if number.is_multiple_of(5) { "agent.run" } else { "llm.call" };
    let mut event =
        Event::new(customer, kind).input_tokens(10 + number % 7).output_tokens(number % 11);
    if number.is_multiple_of(2) {
        event = event.model("gpt-4").provider("openai").cost_cents(number % 13);
    }
    if number % 4 != 3 {
        event = event.property("team", if number % 4 < 2 { "red" } else { "blue" });
    }
    if number % 3 == 1 {
        event = event.property("user", format!("u{}", number % 7));
    }
    if number % 6 == 2 {
        event = event.property("region", format!("r{}", number % 4));
    }
    if number % 9 == 4 {
        event = event.property("trace", json!({"span": number, "tags": ["a", null, 1.5]}));
    }
    if number % 2 == 1 {
        let seconds = format!("{}.25", number % 17);
        event = event.value("gpu_seconds", seconds.parse::<Amount>().expect("an amount"));
    }
    if number % 5 == 1 {
        event = event.value("memory", number * 3);
    }
    if number % 5 == 2 {
        event = event.value("agents", 1 + number % 9);
    }
    if number % 8 == 5 {
        event = event.latency_ms(100 + number);
    }
    if number % 10 == 7 {
        event = event.idempotency_key(format!("key-{number}"));
    }
    event
}

/// What is asked for where it stands, by the names that the old engine's answers have.
fn probes() -> Vec<(&'static str, Event<'static>)> {
    let customers = ["acme", "bolt", "cora"].map(|customer| {
        let event = Event::new(customer, "llm.call").model("gpt-4").property("team", "red");
        (customer, event)
    });
    let users = ["u0", "u1", "u2", "u3", "u4", "u5", "u6"]
        .map(|user| (user, Event::new("nobody", "llm.call").property("user", user)));
    let regions = ["r0", "r2", "r9"]
        .map(|region| (region, Event::new("nobody", "llm.call").property("region", region)));
    customers.into_iter().chain(users).chain(regions).collect()
}

/// The figures of an answer by the names of its rules.
fn figures(body: &Value) -> Map<String, Value> {
    let field = |list: &str, field: &str| -> Vec<(String, Value)> {
        let rules = body[list].as_array().expect("a list").iter();
        let name = |rule: &Value| rule["name"].as_str().expect("a name").to_owned();
        rules.map(|rule| (name(rule), json!(rule[field].to_string()))).collect()
    };
    field("rateLimits", "remaining").into_iter().chain(field("quotas", "used")).collect()
}

/// The same of what was written down.
fn written(standing: &Value) -> Map<String, Value> {
    let rules = standing.as_object().expect("rules by name").iter();
    let figure = |rule: &Value| match &rule["used"] {
        Value::String(used) => used.clone(),
        _ => rule["remaining"].to_string(),
    };
    rules.map(|(name, rule)| (name.clone(), json!(figure(rule)))).collect()
}

/// Whether everything that was said is said again; there may be more.
fn holds(said: &Value, found: &Value) -> bool {
    match (said, found) {
        (Value::Object(said), Value::Object(found)) => {
            said.iter().all(|(name, said)| found.get(name).is_some_and(|found| holds(said, found)))
        }
        (Value::Array(said), Value::Array(found)) => {
            said.len() == found.len() && said.iter().zip(found).all(|(s, f)| holds(s, f))
        }
        _ => said == found,
    }
}

#[track_caller]
fn assert_holds(what: &str, said: &Value, found: impl serde::Serialize) {
    let found = serde_json::to_value(found).expect("data");
    assert!(holds(said, &found), "{what}: {said} was said, and {found} is");
}

/// Asks an engine all that its predecessor was asked.
fn assert_answers_as(name: &str, context: &str, engine: &Engine, said: &Value) {
    let recorded = said["recorded"].as_u64().expect("a number");
    assert_eq!(engine.store().health().recorded, recorded, "{name}, {context}");
    assert_eq!(engine.events().len() as u64, recorded, "{name}, {context}");
    for (key, probe) in probes() {
        let standing = engine.standing(&probe).expect("an answer");
        let found = figures(&serde_json::to_value(&standing).expect("data"));
        let [found, said] = [found, written(&said["standing"][key])].map(|mut figures| {
            if name != "closed" {
                // Which keys are beyond the cap hangs on which idle ones were dropped by then.
                figures.retain(|rule, _| !["shared", "denied", "passed"].contains(&&**rule));
            }
            figures
        });
        assert_eq!(found, said, "{name}, {context}: {key}");
    }
    let (all, usage) = (UsageQuery::all_time(), engine.usage());
    assert_holds(context, &said["summary"], usage.summary(&all).expect("a summary"));
    for (list, by) in [("byCustomer", "customer_id"), ("byModel", "model"), ("byTeam", "team")] {
        assert_holds(context, &said[list], usage.breakdown(&all, by).expect("a breakdown"));
    }
    for (id, value) in said["meters"].as_object().expect("meters by id") {
        let found = engine.meters().query(id, &MeterQuery::new()).expect("a value");
        assert_holds(context, value, found);
    }
    for replay in said["replays"].as_array().expect("a list") {
        let key = replay["key"].as_str().expect("a key");
        let number = key.trim_start_matches("key-").parse().expect("a number");
        let answer = engine.track(&event(number)).expect("an answer");
        assert!(answer.is_replay(), "{name}, {context}: {key}");
        let body = serde_json::to_value(&answer).expect("data");
        assert_eq!(figures(&body), figures(&replay["body"]), "{name}, {context}: {key}");
        assert_eq!(body["id"], replay["body"]["id"], "{name}, {context}: {key}");
    }
    assert_eq!(
        engine.store().health().recorded,
        recorded,
        "{name}, {context}: replays count nothing"
    );
}

#[test]
fn a_store_of_format_1_goes_on_and_is_one_of_the_newest() {
    for name in ["closed", "crashed", "killed"] {
        let (said, file) = (said(name), old(name));
        let now: Timestamp = said["now"].as_str().expect("a time").parse().expect("a time");
        assert_eq!(format_of(&file), 1, "{name}");
        let engine = open(&file, name, now);
        assert_answers_as(name, "opened", &engine, &said);
        engine.store().verify(|_| {}).expect("it is whole");
        // As a crash would leave it now.
        let crashed = StoreFile::copy_of(&file.path, name);
        engine.store().close().expect("it closes");
        drop(engine);
        for (file, context) in [(&file, "closed"), (&crashed, "crashed")] {
            assert_eq!(format_of(file), 3, "{name}, {context}");
            let engine = open(file, name, now);
            assert_answers_as(name, context, &engine, &said);
            engine.store().verify(|_| {}).expect("it is whole");
            let backup = StoreFile::new(name);
            engine.store().backup(&backup.path, |_| {}).expect("a copy");
            assert_eq!(format_of(&backup), 3, "{name}, {context}");
            assert_answers_as(name, "copied", &open(&backup, name, now), &said);
        }
    }
}

#[test]
fn records_of_both_formats_follow_each_other() {
    for name in ["closed", "crashed", "killed"] {
        let (said, file) = (said(name), old(name));
        let now: Timestamp = said["now"].as_str().expect("a time").parse().expect("a time");
        let engine = open(&file, name, now);
        for number in 0..60 {
            let event = event(number * 10 + 3);
            let _ = engine.track(&event.idempotency_key(format!("new-{number}"))).expect("answers");
        }
        engine.store().flush().expect("it is on disk");
        let crashed = StoreFile::copy_of(&file.path, name);
        let again = open(&crashed, name, now);
        for (key, probe) in probes() {
            let both = [&engine, &again].map(|engine| {
                let standing = engine.standing(&probe).expect("an answer");
                figures(&serde_json::to_value(&standing).expect("data"))
            });
            assert_eq!(both[0], both[1], "{name}: {key}");
        }
        let all = UsageQuery::all_time();
        let [here, there] = [&engine, &again].map(|it| it.usage().summary(&all).expect("sums"));
        assert_eq!(here.totals, there.totals, "{name}");
        again.store().verify(|_| {}).expect("it is whole");
    }
}

/// Format 1 finds a key by its hash alone, whoever's it is; from here on it is its customer's.
#[test]
fn keys_of_format_1_are_those_of_their_customers() {
    for name in ["closed", "crashed", "killed"] {
        let (said, file) = (said(name), old(name));
        let now: Timestamp = said["now"].as_str().expect("a time").parse().expect("a time");
        let replays = said["replays"].as_array().expect("a list");
        assert!(replays.len() > 2, "{name}");
        for life in 0..3 {
            let engine = open(&file, name, now);
            for replay in replays {
                let key = replay["key"].as_str().expect("a key");
                let number: u64 = key.trim_start_matches("key-").parse().expect("a number");
                let context = format!("{name}, life {life}: {key}");
                let again = engine.track(&event(number)).expect("an answer");
                assert_eq!(again.outcome(), Outcome::Replayed, "{context}");
                let dated = engine.check(&event(number).timestamp(now)).expect("an answer");
                assert_eq!(dated.outcome(), Outcome::Replayed, "{context}");
                match engine.track(&event(number).latency_ms(7)) {
                    Err(TrackError::IdempotencyConflict { key: of, .. }) => assert_eq!(*of, *key),
                    other => panic!("{context}: {other:?}"),
                }
                let other = Event::new("somebody else", "llm.call").idempotency_key(key);
                let first = engine.record(&other).expect("a key of its own");
                let due = if life == 0 { Outcome::Admitted } else { Outcome::Replayed };
                assert_eq!(first.outcome(), due, "{context}");
            }
            engine.store().close().expect("it closes");
        }
    }
}

#[test]
fn amounts_that_no_sum_can_hold_are_their_customers_alone() {
    let (said, file) = (said("amounts"), old("amounts"));
    let bolt = UsageQuery::all_time().filter("customer_id", "bolt");
    for life in 0..2 {
        let engine = open(&file, "amounts", START.parse().expect("a time"));
        assert_holds("bolt", &said["bolt"], engine.usage().summary(&bolt).expect("a summary"));
        // What was an error for everybody is an answer that names the value.
        let all = engine.usage().summary(&UsageQuery::all_time()).expect("a summary").totals;
        assert_eq!(
            (all.total_events, &all.out_of_range[..]),
            (4, &["big".to_owned()][..]),
            "{life}"
        );
        let rows = engine.usage().breakdown(&UsageQuery::all_time(), "customer_id");
        let rows = rows.expect("a breakdown").rows;
        let marked =
            rows.iter().map(|row| (row.dimension.as_deref(), row.totals.out_of_range.len()));
        let mut marked: Vec<_> = marked.collect();
        marked.sort_unstable();
        assert_eq!(marked, [(Some("acme"), 1), (Some("bolt"), 0)], "{life}");
        engine.store().close().expect("it closes");
        drop(engine);
        assert_eq!(format_of(&file), 3);
    }
}

/// Format 1 has the sums of whole hours: what comes in the same hours is added to them, and none is
/// counted twice.
#[test]
fn hours_of_format_1_go_on_as_they_are() {
    for name in ["closed", "crashed", "killed"] {
        let (said, file) = (said(name), old(name));
        let now: Timestamp = said["now"].as_str().expect("a time").parse().expect("a time");
        for life in 0..3 {
            let engine = open(&file, name, now);
            for number in 0..40_u64 {
                let at = now - Duration::from_secs(number * 17 * 60);
                let event = Event::new("acme", "llm.call").timestamp(at);
                assert!(engine.record(&event).expect("a good event").is_allowed());
            }
            let events = engine.events().newest(1_000);
            let (start, end) =
                (now - Duration::from_secs(30 * 3_600), now + Duration::from_secs(30 * 3_600));
            for zone in [Tz::UTC, Tz::Asia__Kolkata, Tz::Asia__Kathmandu] {
                let query = UsageQuery::new(start, end).time_zone(zone);
                for interval in [Interval::Minute, Interval::Hour, Interval::Day] {
                    let series = engine.usage().timeseries(&query, interval).expect("a series");
                    assert!(series.covers.is_complete);
                    let starts = series.points.iter().map(|point| point.timestamp);
                    let mut found = vec![0; series.points.len()];
                    let starts: Vec<_> = starts.collect();
                    for event in &events {
                        let after = starts.partition_point(|start| *start <= event.timestamp);
                        found[after - 1] += 1;
                    }
                    let sums: Vec<_> =
                        series.points.iter().map(|point| point.totals.total_events).collect();
                    assert_eq!(sums, found, "{name}, life {life}, {zone}, {interval}");
                }
            }
            engine.store().close().expect("it closes");
        }
    }
}

/// JSON that holds others, so many times.
fn deep(depth: usize) -> Value {
    let wrap = |inner, level: usize| {
        if level.is_multiple_of(2) { json!([inner]) } else { json!({"k": inner}) }
    };
    (0..depth).fold(json!("leaf"), wrap)
}

/// The customers, properties and values of the events of `shapes`, the oldest first.
fn shapes() -> Vec<(&'static str, Value, Value)> {
    let fields = (0..200).map(|n| (format!("field_{n}"), json!([n, null, {"x": "y"}])));
    let wide: Map<String, Value> = fields.collect();
    let many = (0..100).map(|number| (format!("p{number}"), json!(format!("{number}"))));
    let many: Map<String, Value> = many.collect();
    let values: Map<String, Value> = (0..100).map(|n| (format!("v{n}"), json!(n))).collect();
    vec![
        ("acme", json!({"deep": deep(40)}), Value::Null),
        ("acme", json!({"deepest": deep(126)}), Value::Null),
        ("acme", json!({"wide": wide}), Value::Null),
        ("acme", json!({"long": "x".repeat(256)}), Value::Null),
        ("bolt", Value::Object(many), Value::Object(values)),
        ("bolt", json!({}), Value::Null),
    ]
}

/// Events beyond the bounds of today are shown and exported, and an import tells them by number.
#[test]
fn events_of_any_shape_are_still_there() {
    let (said, file) = (said("shapes"), old("shapes"));
    for _ in 0..2 {
        let engine = open(&file, "shapes", START.parse().expect("a time"));
        let mut found = engine.events().newest(10);
        found.reverse();
        let wanted = shapes();
        assert_eq!(found.len(), wanted.len());
        for (found, (customer, properties, values)) in found.iter().zip(&wanted) {
            let body = serde_json::to_value(found).expect("data");
            assert_eq!(body["customerId"], *customer);
            assert_eq!(body["properties"], *properties);
            assert_eq!(body.get("values").unwrap_or(&Value::Null), values);
        }
        let all = UsageQuery::all_time();
        assert_holds("all", &said["all"], engine.usage().summary(&all).expect("a summary"));
        let mut lines = Vec::new();
        engine.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("it is exported");
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), wanted.len());
        let clock = ManualClock::new(START.parse().expect("a time"));
        let other = Engine::builder().clock(clock).build().expect("no rules");
        let report =
            other.store().import(&lines[..], BadLines::Skip, |_| {}).expect("the rest is taken");
        let skipped: Vec<_> =
            report.skipped.iter().map(|line| (line.line, line.reason.to_string())).collect();
        let deep = "must be at most 32 lists and objects deep";
        assert_eq!(skipped[0], (1, format!("properties: \"deep\" {deep}")));
        assert_eq!(skipped[1], (2, format!("properties: \"deepest\" {deep}")));
        assert_eq!(skipped[2].0, 5);
        assert!(skipped[2].1.contains("an event has at most 64 properties"), "{skipped:?}");
        assert_eq!((report.count, skipped.len()), (3, 3));
        engine.store().close().expect("it closes");
    }
    assert_eq!(format_of(&file), 3);
}
