//! Goal: an import of corrected events whose process is killed in its middle has left whole events,
//! those of the first lines; and once it is made again, every event counts once, as it was
//! corrected where it came from.
//!
//! Method: events are recorded, voided and amended in an engine in memory, and exported. This
//! program runs itself as a child, which imports the lines into a store and says how far it is; it
//! is killed (SIGKILL) at a piece that the seed chooses, several times. What its store has is
//! compared with the lines each time, and at last with what the first engine answers.

use std::fs;
use std::path::{Path, PathBuf};

use limitry::events::EventQuery;
use limitry::store::{BadLines, Durability, Durable};
use limitry::time::ManualClock;
use limitry::usage::UsageQuery;
use limitry::{Engine, EngineBuilder, Event};
use serde_json::Value;

use crate::killed::{await_death, run_until_killed, say};
use crate::support::files::StoreFile;
use crate::support::{Dice, START, date, long, seed};

const CHILD: &str = "LIMITRY_IMPORT_KILL_CHILD";
const LIVES: u64 = 2;
const EVENTS: u64 = 2_600;

fn lines_of(store: &Path) -> PathBuf {
    store.with_extension("jsonl")
}

fn builder() -> EngineBuilder {
    Engine::builder().clock(ManualClock::new(date(START)))
}

fn open(path: &Path) -> Engine {
    let store = Durable::open(path).expect("a store that opens").durability(Durability::Buffered);
    builder().durable(store.max_waiting(64).max_batch(8)).build().expect("an engine that goes on")
}

fn import(engine: &Engine, lines: &[u8], progress: impl FnMut(u64)) -> u64 {
    let mut progress = progress;
    let done = engine.store().import(lines, BadLines::Stop, |it| progress(it.done));
    done.expect("good lines").count
}

/// Not a test of its own: what the test below runs, and kills.
#[test]
fn child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let engine = open(Path::new(&path));
    let lines = fs::read(lines_of(Path::new(&path))).expect("lines");
    let _ = import(&engine, &lines, |done| say(&format!("AT {done}")));
    await_death();
}

/// Events of which some are voided and some amended.
fn corrected(dice: &mut Dice) -> Engine {
    let engine = builder().build().expect("an engine");
    for number in 0..EVENTS {
        let key = format!("key_{number}");
        let event = Event::new(dice.pick(&["ann", "bob"]), "call").input_tokens(dice.below(90));
        let event = event.cost_cents(dice.below(50));
        let event = if dice.chance(50) { event.idempotency_key(&*key) } else { event };
        let decision = engine.record(&event).expect("a good event");
        let id = decision.event_id().expect("it is recorded");
        match dice.below(8) {
            0 => drop(engine.void(id, "void").expect("it is voided")),
            1 => {
                let amended = event.input_tokens(dice.below(9_000));
                drop(engine.amend(id, &amended, "amended").expect("it is amended"));
            }
            _ => {}
        }
    }
    engine
}

/// How many events of customers there are, and what they brought.
fn totals(engine: &Engine) -> Vec<(u64, u128, String)> {
    let of = |customer: Option<&str>| {
        let query = UsageQuery::all_time();
        let query = customer.into_iter().fold(query, UsageQuery::customer);
        let totals = engine.usage().summary(&query).expect("an answer").totals;
        (totals.total_events, totals.total_tokens, totals.total_cost_cents.to_string())
    };
    [None, Some("ann"), Some("bob")].map(of).into()
}

/// What a line brings.
fn brought(line: &Value) -> Value {
    ["customerId", "inputTokens", "costCents", "createdAt"]
        .map(|key| line[key].clone())
        .to_vec()
        .into()
}

/// The lines of which a store has the events: the first ones, and what they brought.
fn assert_has_first(engine: &Engine, lines: &[Value], context: &str) -> usize {
    let events = engine.events().iter(EventQuery::new()).expect("a good query");
    let mut found: Vec<Value> =
        events.map(|event| brought(&serde_json::to_value(event).expect("JSON"))).collect();
    found.reverse();
    let due: Vec<Value> = lines.iter().take(found.len()).map(brought).collect();
    assert!(found == due, "{context}: {} events are not those of the first lines", found.len());
    let tokens = lines.iter().take(found.len()).map(|it| it["inputTokens"].as_u64().unwrap_or(0));
    let (events, sum, _) = totals(engine).swap_remove(0);
    assert_eq!((events, sum), (found.len() as u64, u128::from(tokens.sum::<u64>())), "{context}");
    found.len()
}

#[test]
fn a_killed_import_of_corrected_events_is_made_again_and_counts_once() {
    let first = seed("import_kill", 90);
    let mut between = 0;
    for seed in first..first + if long() { 20 } else { 1 } {
        let mut dice = Dice::new(seed);
        let source = corrected(&mut dice);
        let mut lines = Vec::new();
        source.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("they are written");
        let file = StoreFile::new("import-kill");
        fs::write(lines_of(&file.path), &lines).expect("a file");
        let text = std::str::from_utf8(&lines).expect("text");
        let parsed: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let mut known = 0;
        for life in 0..LIVES {
            let context = format!("seed {seed}, life {life}");
            let (pieces, mut heard) = (dice.below(3), 0);
            let told = (CHILD, file.path.display().to_string());
            run_until_killed("import_kill::child", told, |line| {
                let line = line.unwrap_or_default();
                heard += u64::from(line.contains("@AT"));
                heard > pieces || line.contains("@DONE")
            });
            let engine = open(&file.path);
            engine.store().verify(|_| ()).expect("it is whole");
            let found = assert_has_first(&engine, &parsed, &context);
            assert!(found >= known, "{context}: {known} were there, now {found}");
            between += u64::from(found > 0 && found < parsed.len());
            known = found;
            engine.store().close().expect("it closes");
        }
        let engine = open(&file.path);
        assert_eq!(import(&engine, &lines, |_| {}), (parsed.len() - known) as u64, "seed {seed}");
        assert_has_first(&engine, &parsed, "at last");
        assert_eq!(totals(&engine), totals(&source), "seed {seed}");
        assert_eq!(import(&engine, &lines, |_| {}), 0, "seed {seed}");
        assert_eq!(totals(&engine), totals(&source), "seed {seed}");
    }
    println!("{between} imports were killed in their middle");
}
