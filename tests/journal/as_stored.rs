//! Goal: who knows a store and not its application opens it as its engine left it, and changes
//! nothing of it but what it means to change; with copy-on-write not a byte.
//!
//! Method: a store of an engine whose settings are all others than the defaults is opened with
//! `as_stored`, used and closed, and opened by its application again. The bytes of files are
//! compared: of this store, and of stores of every format, closed, crashed or killed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono_tz::Tz;
use limitry::errors::StoreError;
use limitry::events::{EventQuery, Recording};
use limitry::rules::RateLimitUpdate;
use limitry::store::{BadLines, Durable};
use limitry::usage::{RollupOptions, UsageQuery};
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, Window};

use crate::support::files::Folder;

const DAY: Duration = Duration::from_secs(86_400);

/// The application, whose code says all of this each time.
fn application(path: &Path) -> Engine {
    let store = Durable::open(path).expect("a store").retention(DAY * 3);
    let engine = Engine::builder()
        .rate_limit(RateLimit::new("Calls", 1_000, Window::Hour).per("team_id"))
        .quota(Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id"))
        .rollups(RollupOptions::new().dimensions(["team_id", "customer_id"]))
        .recording(Recording::Newest(7).refusals(3))
        .time_zone(Tz::Asia__Kolkata)
        .late_events(DAY)
        .max_keys(5_000)
        .idempotency_retention(DAY * 2);
    engine.durable(store).build().expect("an engine")
}

fn call(key: &str) -> Event<'static> {
    let event = Event::new("ann", "call").input_tokens(10).property("team_id", "red");
    event.idempotency_key(key.to_owned())
}

/// A store of the application, with events, and a rule that was changed while it ran.
fn stored(path: &Path) {
    let engine = application(path);
    for key in ["1", "2", "3"] {
        assert!(engine.track(&call(key)).expect("recorded").is_allowed());
    }
    let update = RateLimitUpdate::new().limit(77_u64);
    engine.rules().update("rl_calls", update).expect("changed");
    engine.store().close().expect("closed");
}

fn kept(path: &Path) -> Durable {
    Durable::options().copy_on_write(true).open(path).expect("a store")
}

fn tool(store: Durable) -> Engine {
    Engine::builder().durable(store).as_stored().build().expect("an engine")
}

/// What an engine has, as text: its rules with their ids, usage by its own dimension, a standing.
fn said(engine: &Engine) -> Vec<String> {
    let rules = engine.rules();
    let by_team = engine.usage().breakdown(&UsageQuery::all_time(), "team_id").expect("declared");
    let standing = engine.standing(&call("9")).expect("a good event");
    let quota = standing.quotas().next().expect("a quota");
    vec![
        serde_json::to_string(&rules.set()).expect("data"),
        format!("{:?}", by_team.rows.iter().map(|row| row.totals.total_events).collect::<Vec<_>>()),
        format!("{:?} {:?}", quota.used, quota.reset),
    ]
}

#[test]
fn a_tool_finds_and_leaves_what_the_application_has() {
    let folder = Folder::new("as-stored");
    let path = folder.file("limitry.redb");
    stored(&path);
    let before = said(&application(&path));
    // It writes, as an import does: one more event, and nothing else.
    let engine = tool(Durable::open(&path).expect("a store"));
    assert_eq!(said(&engine), before);
    let line = br#"{"id":"4","customerId":"ann","eventType":"call","inputTokens":5,
        "properties":{"team_id":"red"},"createdAt":"2024-06-03T08:00:00Z"}"#;
    let line: Vec<u8> = line.iter().copied().filter(|byte| *byte != b'\n').collect();
    let imported = engine.store().import(&line[..], BadLines::Stop, |_| {}).expect("a good line");
    assert_eq!(imported.count, 1);
    let events = engine.events().list(&EventQuery::new()).expect("a question").data;
    assert_eq!(events.len(), 4, "as many are kept as the application keeps");
    engine.store().close().expect("closed");
    drop(engine);
    let engine = application(&path);
    let after = said(&engine);
    assert_eq!((&after[0], &*after[1], &after[2]), (&before[0], "[4]", &before[2]));
    drop(engine);
    // A builder that says nothing would have taken the rules out of it.
    let bare = Engine::builder().durable(Durable::open(&path).expect("a store")).build();
    assert!(bare.expect("an engine").rules().list().is_empty());
}

/// Who asks for no event may have few of them in memory: all else is as the application left it.
#[test]
fn a_tool_that_says_what_it_records_has_so_many_events_and_all_the_rest() {
    let folder = Folder::new("as-stored-few");
    let path = folder.file("limitry.redb");
    stored(&path);
    let before = said(&application(&path));
    let few = |store| Engine::builder().durable(store).as_stored().recording(Recording::Newest(1));
    let engine = few(kept(&path)).build().expect("an engine");
    let listed = engine.events().list(&EventQuery::new()).expect("a question").data;
    assert_eq!((listed.len(), said(&engine)), (1, before.clone()));
    let report = engine.store().verify(|_| {}).expect("it is whole");
    assert_eq!((report.records, report.keys, report.is_complete), (3, 3, true));
    let mut lines = Vec::new();
    let exported = engine.store().export(&mut lines, &EventQuery::new(), |_| {});
    assert_eq!(exported.expect("all of the store's").count, 3);
    drop(engine);
    // One that writes leaves the application's settings where they are.
    few(Durable::open(&path).expect("a store"))
        .build()
        .expect("an engine")
        .store()
        .close()
        .unwrap();
    assert_eq!(said(&application(&path)), before);
    let listed = tool(kept(&path)).events().list(&EventQuery::new()).expect("a question").data;
    assert_eq!(listed.len(), 3);
}

#[test]
fn rules_beside_those_of_the_store_are_an_error() {
    let limit = RateLimit::new("Calls", 1, Window::Hour);
    let why = EngineBuilder::build(Engine::builder().rate_limit(limit).as_stored());
    let why = why.expect_err("two sets of rules").to_string();
    assert!(why.contains("asStored: the builder has rules or meters"), "{why}");
}

#[test]
fn copy_on_write_leaves_every_byte_of_every_format() {
    let folder = Folder::new("copy-on-write");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let own = folder.file("own.redb");
    stored(&own);
    let mut files = vec![own];
    for name in ["format1/closed", "format1/killed", "format2/crashed", "format3/killed"] {
        let copy = folder.file(&name.replace('/', "-"));
        fs::copy(data.join(name).with_extension("redb"), &copy).expect("copied");
        files.push(copy);
    }
    for path in files {
        let before = fs::read(&path).expect("read");
        let engine = tool(kept(&path));
        let report = engine.store().verify(|_| {}).expect("whole");
        assert!(report.records > 0, "{}", path.display());
        let mut lines = Vec::new();
        let query = EventQuery::new();
        let exported = engine.store().export(&mut lines, &query, |_| {}).expect("exported");
        assert!(exported.count > 0, "{}", path.display());
        // It may even record; all of it is gone with the engine.
        let _ = engine.record(&call("own")).expect("recorded");
        engine.store().close().expect("closed");
        drop(engine);
        assert!(fs::read(&path).expect("read") == before, "{}", path.display());
    }
}

#[test]
fn who_reads_shares_a_file_and_who_writes_does_not() {
    let folder = Folder::new("shared");
    let path = folder.file("limitry.redb");
    stored(&path);
    let (first, second) = (tool(kept(&path)), tool(kept(&path)));
    assert_eq!(said(&first), said(&second));
    assert!(matches!(Durable::open(&path), Err(StoreError::Locked { .. })));
    drop((first, second));
    let engine = application(&path);
    let reading = Durable::options().copy_on_write(true).open(&path);
    assert!(matches!(reading, Err(StoreError::Locked { .. })));
    drop(engine);
    for (name, expected) in [("none.redb", "opening to read: "), (".", "is no plain file")] {
        let path = folder.file(name);
        let why = Durable::options().copy_on_write(true).open(&path).expect_err("no store");
        assert!(why.to_string().contains(expected), "{why}");
        assert_eq!(path.exists(), name == ".");
    }
}
