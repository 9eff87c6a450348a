//! Goal: a store that an older version wrote in format 2 or 3 opens, answers as it did then, and
//! is one of the newest format from there on.
//!
//! Method: `data/format2` has stores of the last version before format 3, and `data/format3` those
//! of one that recorded in the rows of minutes, hours and days at once. Beside each stand the
//! events that it was given and what its engine said, as data: `closed` cleanly in several
//! generations, with a checkpoint; `crashed`, with a checkpoint and records since; `killed`, with
//! records alone; one whose clock was `set_back`; one that has `dropped` most of its events; of
//! format 3 also one whose roll-ups have `retired` minutes, hours and days. Copies are opened,
//! asked the same, closed, or copied as a crash would leave them, and opened again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::formats::format_of;
use crate::support::files::StoreFile;
use limitry::errors::TrackError;
use limitry::events::{EventQuery, Recording};
use limitry::reservations::ReservationQuery;
use limitry::store::BadLines;
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, RollupOptions, UsageQuery};
use limitry::{Engine, Event, Hold, Metric, Outcome, Reserved, RuleSet, Timestamp};
use serde_json::{Map, Value, json};

/// The format that is written now.
const NEWEST: u32 = 3;

/// A store that an older version wrote.
#[derive(Clone, Copy, Debug)]
struct Old {
    format: u32,
    name: &'static str,
}

fn stores() -> impl Iterator<Item = Old> {
    let names = ["closed", "crashed", "killed", "set_back", "dropped"];
    let both = [2, 3].into_iter().flat_map(move |format| names.map(|name| Old { format, name }));
    both.chain([Old { format: 3, name: "retired" }])
}

impl Old {
    fn data(self, file: &str) -> PathBuf {
        let folder = format!("tests/data/format{}", self.format);
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(file)
    }

    fn read(self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.data(file)).expect("a file")).expect("data")
    }

    fn copy(self) -> StoreFile {
        StoreFile::copy_of(&self.data(&format!("{}.redb", self.name)), self.name)
    }

    fn said(self) -> Value {
        self.read(&format!("{}.json", self.name))
    }

    /// The rules that the store was written with: `killed` had no meters, and nothing refused in
    /// the one whose clock was set back.
    fn rules(self) -> RuleSet {
        let mut rules: RuleSet = serde_json::from_value(self.read("rules.json")).expect("rules");
        if self.name == "killed" {
            rules.meters.clear();
            rules.quotas.retain(|quota| !matches!(quota.metric, Metric::Meter(_)));
        }
        rules.rate_limits.retain(|it| self.name != "set_back" || it.id.as_deref() != Some("debt"));
        rules
    }

    fn rollups(self) -> RollupOptions {
        let (options, hour) = (RollupOptions::new(), Duration::from_secs(3_600));
        let options = options.dimensions(["customer_id", "model", "team"]);
        if self.name != "retired" {
            return options;
        }
        let options = options.keep_minutes(hour * 2).keep_hours(hour * 12).keep_days(hour * 24);
        options.max_combinations(5)
    }

    fn open(self, file: &StoreFile, said: &Value) -> Engine {
        let clock: Timestamp = said["clock"].as_str().expect("a time").parse().expect("a time");
        let day = Duration::from_secs(24 * 3_600);
        Engine::builder()
            .clock(ManualClock::new(clock))
            .rule_set(self.rules())
            .recording(Recording::Newest(if self.name == "dropped" { 20 } else { 100_000 }))
            .rollups(self.rollups())
            .idempotency_retention(day)
            .durable(file.store().retention(day))
            .build()
            .expect("it goes on")
    }
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

/// The points of a series of sums that have events.
fn points(engine: &Engine, series: &Value) -> Value {
    let text = |name: &str| series[name].as_str().expect("a text");
    let time = |name: &str| text(name).parse::<Timestamp>().expect("a time");
    let mut query = UsageQuery::new(time("start"), time("end"));
    for (name, value) in series["filter"].as_object().expect("pairs") {
        query = query.filter(name.as_str(), value.as_str().expect("a text"));
    }
    let interval: Interval = text("interval").parse().expect("an interval");
    let found = engine.usage().timeseries(&query, interval).expect("sums");
    assert!(found.covers.is_complete, "{series}");
    let points = found.points.iter().filter(|point| point.totals.total_events > 0);
    points.map(|point| json!({"at": point.timestamp, "totals": body(&point.totals)})).collect()
}

/// Asks an engine all that its predecessor was asked.
fn assert_answers_as(old: Old, context: &str, engine: &Engine, said: &Value) {
    let (context, name) = (format!("{old:?}, {context}"), old.name);
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
    for series in said["series"].as_array().into_iter().flatten() {
        assert_eq!(points(engine, series), series["points"], "{context}: {series}");
    }
    if let Some(space) = (old.format > 2).then(|| engine.store().space("notes")) {
        let row = space.expect("a space").get(b"first").expect("it reads");
        assert_eq!(row.as_deref(), Some(&b"of format 3"[..]), "{context}");
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
    // They wrote null for what an event has not got.
    for line in said["lines"].as_array().expect("a list") {
        let mut line = line.clone();
        let fields = line.as_object_mut().expect("an event");
        fields.retain(|_, value| !value.is_null() && *value != json!({}));
        assert!(lines.contains(&line), "{context}: {line}");
    }
    let old: String = said["lines"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| line.to_string() + "\n")
        .collect();
    let other = Engine::builder().build().expect("an engine");
    let imported = other.store().import(old.as_bytes(), BadLines::Stop, |_| {}).expect("lines");
    assert_eq!(imported.count as usize, old.lines().count(), "{context}");
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
fn a_store_goes_on_and_is_one_of_the_newest() {
    for old in stores() {
        let (said, file) = (old.said(), old.copy());
        assert_eq!(format_of(&file), old.format, "{old:?}");
        let engine = old.open(&file, &said);
        assert_answers_as(old, "opened", &engine, &said);
        engine.store().verify(|_| {}).expect("it is whole");
        // As a crash would leave it now.
        let crashed = StoreFile::copy_of(&file.path, old.name);
        engine.store().close().expect("it closes");
        drop(engine);
        for (file, context) in [(&file, "closed"), (&crashed, "crashed")] {
            assert_eq!(format_of(file), NEWEST, "{old:?}, {context}");
            let engine = old.open(file, &said);
            assert_answers_as(old, context, &engine, &said);
            engine.store().verify(|_| {}).expect("it is whole");
            let backup = StoreFile::new(old.name);
            engine.store().backup(&backup.path, |_| {}).expect("a copy");
            assert_eq!(format_of(&backup), NEWEST, "{old:?}, {context}");
            assert_answers_as(old, "copied", &old.open(&backup, &said), &said);
        }
    }
}

/// What an event recorded before format 3 was decided at is known from its record.
#[test]
fn old_and_new_records_follow_each_other() {
    for old in stores() {
        let (said, file) = (old.said(), old.copy());
        let engine = old.open(&file, &said);
        let mut held = 0;
        for replay in said["replays"].as_array().expect("a list") {
            let mut body = replay["event"].clone();
            body["idempotencyKey"] = json!(format!("new {}", body["idempotencyKey"]));
            let _ = engine.record(&event(&body)).expect("answers");
            body["idempotencyKey"] = json!(format!("held {}", body["idempotencyKey"]));
            let event = event(&body);
            // Some bring less than nothing, or find no room.
            if let Ok(Reserved::Held(open)) = engine.reserve(&event, Hold::default()) {
                held += 1;
                let used = Event::new(event.customer_id().to_owned(), "call").total_tokens(1);
                match held % 3 {
                    0 => assert!(open.commit(&used).expect("it happened").is_allowed()),
                    _ => assert!(engine.reservation(open.into_id()).is_some()),
                }
            }
        }
        assert!(held > 2, "{old:?}");
        engine.store().flush().expect("it is on disk");
        let crashed = StoreFile::copy_of(&file.path, old.name);
        let again = old.open(&crashed, &said);
        for standing in said["standing"].as_array().expect("a list") {
            let probe = event(&standing["probe"]);
            let [here, there] = [&engine, &again].map(|engine| {
                without_caps(figures(&body(engine.standing(&probe).expect("an answer"))))
            });
            assert_eq!(here, there, "{old:?}: {probe:?}");
        }
        let all = ReservationQuery::new();
        let [here, there] = [&engine, &again].map(|engine| engine.reservations().list(&all));
        assert_eq!(here, there, "{old:?}");
        let [here, there] = [&engine, &again].map(|engine| engine.events().newest(200));
        let common = here.len().min(there.len());
        assert_eq!(here[..common], there[..common], "{old:?}");
        if old.name != "set_back" {
            let is_own = |it: &&limitry::events::RecordedEvent| it.timestamp == it.decided_at;
            assert!(here.iter().filter(is_own).count() * 10 > here.len() * 8, "{old:?}");
            assert!(here.iter().all(|it| it.decided_at <= engine.now()), "{old:?}");
        }
        again.store().verify(|_| {}).expect("it is whole");
    }
}

#[test]
fn an_old_key_is_its_customers() {
    for old in stores() {
        let (said, file) = (old.said(), old.copy());
        for _ in 0..2 {
            let engine = old.open(&file, &said);
            for replay in said["replays"].as_array().expect("a list") {
                let mut other = replay["event"].clone();
                other["latencyMs"] = json!(7);
                let conflict = engine.check(&event(&other));
                assert!(matches!(conflict, Err(TrackError::IdempotencyConflict { .. })), "{old:?}");
                let mut other = replay["event"].clone();
                other["customerId"] = json!("somebody else");
                let first = engine.check(&event(&other)).expect("a key of its own");
                assert_ne!(first.outcome(), Outcome::Replayed, "{old:?}");
            }
            engine.store().close().expect("it closes");
        }
    }
}

/// After a clock was set back quotas ask what is recorded of the periods to come: up to the latest
/// event, and not to the end of the calendar.
#[test]
fn a_refusal_ends_where_the_clock_was_set_back() {
    for format in [2, 3] {
        let old = Old { format, name: "set_back" };
        let (said, file) = (old.said(), old.copy());
        let engine = old.open(&file, &said);
        let never = Event::new("acme", "llm.call").total_tokens(5_000);
        let refused = engine.track(&never).expect("an answer");
        assert_eq!(refused.outcome(), Outcome::Refused);
        assert_eq!(refused.retry_after(), Some(limitry::RetryAfter::Never));
    }
}
