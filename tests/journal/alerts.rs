//! Goal: what has fired stays so over restarts, crashes and kills, and every alert of an event that
//! is there is delivered at least once, with the same id. What was acknowledged is not delivered
//! again.
//!
//! Method: worked cases; one script on a disk that stops at each of its writes (`medium.rs`); and
//! children of this program that are killed while threads fire and a receiver takes. What must have
//! fired is summed up from the events that are found.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use std::{env, thread};

use limitry::alerts::{AlertId, AlertQuery, Delivered};
use limitry::events::EventQuery;
use limitry::rules::{QuotaUpdate, Threshold};
use limitry::store::{Durability, Durable, MemoryStore};
use limitry::time::ManualClock;
use limitry::{Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, Reserved};

use crate::killed::{run_until_killed, say};
use crate::restarts::open;
use crate::support::files::StoreFile;
use crate::support::medium::{Medium, Unsynced};
use crate::support::oracle::{DAY, SECOND};
use crate::support::{Dice, START, date, long, seed, track};

const PERCENT: [u32; 4] = [25, 50, 75, 100];

fn rules(builder: EngineBuilder) -> EngineBuilder {
    let quota = Quota::new("Tokens", Metric::TotalTokens, 100, Period::Month).id("tokens");
    let quota = quota.per("customer_id").per("event_type");
    builder.quota(PERCENT.into_iter().map(Threshold::percent).fold(quota, Quota::alert_at))
}

fn tokens(customer: &str, tokens: u64) -> Event<'_> {
    Event::new(customer, "call").total_tokens(tokens)
}

/// What an alert is about, as a text.
fn about(alert: &limitry::alerts::Alert) -> String {
    format!("{}:{}", alert.customer_id.as_deref().unwrap_or("all"), alert.threshold)
}

/// All that waits to be delivered.
fn poll(engine: &Engine) -> Vec<Delivered> {
    let alerts = engine.alerts();
    std::iter::from_fn(|| alerts.poll()).collect()
}

fn texts(delivered: &[Delivered]) -> Vec<String> {
    delivered.iter().map(|it| about(it)).collect()
}

/// The history, the oldest first; an alert is there once.
fn history(engine: &Engine) -> Vec<(String, AlertId)> {
    let (mut query, mut all) = (AlertQuery::new().limit(100), Vec::new());
    loop {
        let page = engine.alerts().list(&query);
        all.extend(page.alerts.iter().map(|it| (about(it), it.id)));
        let Some(next) = page.next else { break };
        query = query.before(next);
    }
    all.reverse();
    let ids: BTreeSet<AlertId> = all.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids.len(), all.len(), "each is there once: {all:?}");
    all
}

/// What the events of an engine must have fired, in their order.
fn due(engine: &Engine) -> Vec<String> {
    let (mut used, mut due) = (BTreeMap::new(), Vec::new());
    let events = engine.events().iter(EventQuery::new()).expect("a good question");
    let mut events: Vec<_> = events.collect();
    events.sort_by_key(|it| it.id);
    for recorded in &events {
        let customer = recorded.event.customer_id().to_owned();
        let before = *used.get(&customer).unwrap_or(&0);
        let body = serde_json::to_value(recorded).expect("plain data");
        let after = before + body["totalTokens"].as_u64().expect("all have some");
        let reached = |percent: &u64| before < *percent && *percent <= after;
        let percent = PERCENT.map(u64::from).into_iter().filter(|percent| reached(percent));
        due.extend(percent.map(|percent| format!("{customer}:{percent}%")));
        used.insert(customer, after);
    }
    due
}

#[test]
fn what_has_fired_and_what_was_taken_comes_back() {
    for closes in [true, false] {
        let file = StoreFile::new("alerts");
        let (engine, _clock) = open(&file, START, rules);
        for (customer, used) in [("ann", 60), ("bob", 30), ("ann", 20)] {
            assert!(track(&engine, &tokens(customer, used)).is_allowed());
        }
        let before = history(&engine);
        let taken = poll(&engine);
        assert_eq!(texts(&taken), ["ann:25%", "ann:50%", "bob:25%", "ann:75%"]);
        // The third is acknowledged before the second: a gap.
        for place in [0, 2] {
            assert_eq!(engine.alerts().acknowledge(&taken[place]), Ok(()));
        }
        if closes {
            engine.store().close().expect("it closes");
            assert!(engine.alerts().acknowledge(&taken[1]).is_err(), "it is closed");
        }
        drop(engine);
        let (engine, _clock) = open(&file, START + SECOND, rules);
        assert_eq!(history(&engine), before);
        let again = poll(&engine);
        assert_eq!(texts(&again), ["ann:50%", "bob:25%", "ann:75%"]);
        assert!(again.iter().zip(&taken[1..]).all(|(again, first)| again.alert == first.alert));
        assert!(track(&engine, &tokens("ann", 10)).is_allowed());
        assert_eq!(texts(&poll(&engine)), [""; 0], "all of it has fired");
        assert!(track(&engine, &tokens("bob", 70)).is_allowed());
        assert_eq!(texts(&poll(&engine)), ["bob:50%", "bob:75%", "bob:100%"]);
        for alert in &again {
            assert_eq!(engine.alerts().acknowledge(alert), Ok(()));
        }
        drop(engine);
        let (engine, clock) = open(&file, START + SECOND, rules);
        assert_eq!(texts(&poll(&engine)), ["bob:50%", "bob:75%", "bob:100%"]);
        clock.set(date(START + 40 * DAY));
        assert!(track(&engine, &tokens("ann", 30)).is_allowed());
        assert_eq!(texts(&poll(&engine)), ["ann:25%"], "of the next month");
        engine.store().verify(|_| ()).expect("a good store");
    }
}

#[test]
fn what_fired_stays_so_when_rules_have_changed_and_keys_are_at_rest() {
    let file = StoreFile::new("alerts-rules");
    let value = |used: i64| Event::new("ann", "call").value("units", used);
    let quota = |builder: EngineBuilder| {
        let quota = Quota::new("Units", Metric::value("units"), 100, Period::Month).id("units");
        builder.quota(quota.per("customer_id").alert_at(Threshold::percent(50)))
    };
    let (engine, _clock) = open(&file, START, quota);
    for used in [70, -70] {
        assert!(track(&engine, &value(used)).is_allowed());
    }
    assert_eq!(texts(&poll(&engine)), ["ann:50%"]);
    engine.rules().update("units", QuotaUpdate::new().limit(80)).expect("a valid change");
    engine.store().close().expect("it closes");
    drop(engine);
    for _ in 0..2 {
        let (engine, _clock) = open(&file, START + SECOND, quota);
        let _ = poll(&engine);
        for used in [75, -75] {
            assert!(track(&engine, &value(used)).is_allowed());
        }
        assert_eq!(texts(&poll(&engine)), [""; 0]);
    }
}

#[test]
fn a_commit_fires_after_a_restart_what_was_held_before() {
    let file = StoreFile::new("alerts-held");
    let (engine, _clock) = open(&file, START, rules);
    let hold = Hold::lasting(Duration::from_secs(600));
    let held = match engine.reserve(&tokens("ann", 60), hold).expect("valid") {
        Reserved::Held(held) => held.into_id(),
        other => panic!("{other:?}"),
    };
    drop(engine);
    let (engine, _clock) = open(&file, START + SECOND, rules);
    assert_eq!(texts(&poll(&engine)), [""; 0]);
    assert!(engine.commit(held, &tokens("ann", 55)).is_ok());
    assert_eq!(texts(&poll(&engine)), ["ann:25%", "ann:50%"]);
    drop(engine);
    let (engine, _clock) = open(&file, START + SECOND, rules);
    assert_eq!(texts(&poll(&engine)), ["ann:25%", "ann:50%"]);
    assert!(track(&engine, &tokens("ann", 25)).is_allowed());
    assert_eq!(texts(&poll(&engine)), ["ann:75%"]);
}

#[test]
fn a_store_in_memory_and_a_small_bound_keep_the_newest() {
    let store = MemoryStore::new();
    let build = || {
        let builder = rules(Engine::builder()).clock(ManualClock::new(date(START))).max_alerts(3);
        builder.durable(store.open().expect("it opens")).build().expect("valid")
    };
    let engine = build();
    for customer in ["ann", "bob", "cid", "dan", "eve"] {
        assert!(track(&engine, &tokens(customer, 30)).is_allowed());
    }
    engine.store().close().expect("it closes");
    drop(engine);
    let engine = build();
    let found = poll(&engine);
    assert_eq!(
        (texts(&found), found[0].missed),
        (vec!["cid:25%".to_owned(), "dan:25%".to_owned(), "eve:25%".to_owned()], 2,)
    );
}

// Crashes.

/// Tracks random events with a receiver that acknowledges some, up to the first error: how many
/// events were answered, and what was delivered.
fn live(medium: &Medium, level: Durability) -> (usize, BTreeMap<String, AlertId>) {
    let (mut answered, mut got) = (0, BTreeMap::new());
    let mut dice = Dice::new(7);
    for life in 0..3 {
        let Ok(engine) = open_on(medium, level) else { return (answered, got) };
        for _ in 0..12 {
            let customer = format!("c{}", dice.below(3));
            if engine.record(&tokens(&customer, dice.range(1, 30))).is_err() {
                return (answered, got);
            }
            answered += 1;
            let alerts = engine.alerts();
            while let Some(alert) = alerts.poll() {
                let first = got.entry(about(&alert)).or_insert(alert.id);
                assert_eq!(*first, alert.id);
                if dice.chance(50) && alerts.acknowledge(&alert).is_err() {
                    return (answered, got);
                }
            }
        }
        // Closing writes a checkpoint; dropping does not.
        if life == 1 && engine.store().close().is_err() {
            return (answered, got);
        }
    }
    (answered, got)
}

fn open_on(medium: &Medium, level: Durability) -> Result<Engine, String> {
    let store = Durable::open_on(medium.clone()).map_err(|why| why.to_string())?;
    let builder = rules(Engine::builder()).clock(ManualClock::new(date(START)));
    builder.durable(store.durability(level)).build().map_err(|why| why.to_string())
}

/// What an engine has that is opened after a crash: all that its events must have fired, with the
/// ids that were delivered before, and what was not taken waits.
fn check(engine: &Engine, got: &BTreeMap<String, AlertId>, what: &str) {
    let known = history(engine);
    let expected = due(engine);
    let names: Vec<&String> = known.iter().map(|(name, _)| name).collect();
    assert_eq!(names, expected.iter().collect::<Vec<_>>(), "{what}");
    for (name, id) in &known {
        assert!(got.get(name).is_none_or(|first| first == id), "{what}: {name}");
    }
    let delivered: BTreeSet<String> = texts(&poll(engine)).into_iter().collect();
    for name in &expected {
        assert!(delivered.contains(name) || got.contains_key(name), "{what}: {name} is lost");
    }
    // Nothing of it fires once more, and what was lost with its event fires by the same id.
    for customer in ["c0", "c1", "c2"] {
        assert!(engine.record(&tokens(customer, 500)).is_ok(), "{what}");
    }
    for alert in poll(engine) {
        assert!(!expected.contains(&about(&alert)), "{what}: {alert:?} twice");
        assert!(got.get(&about(&alert)).is_none_or(|first| *first == alert.id), "{what}");
    }
}

#[test]
fn whenever_the_machine_stops_alerts_are_as_many_as_events_fired() {
    for level in [Durability::Synced, Durability::Buffered] {
        let medium = Medium::new();
        let (answered, got) = live(&medium, level);
        assert_eq!((answered, got.len()), (36, 12), "all of three customers fires");
        check(&open_on(&medium, level).expect("it opens"), &got, "nothing happened");
        let stride = if long() { 1 } else { 9 };
        for at in (0..medium.changes()).step_by(stride) {
            let medium = Medium::new().crash_at(at);
            let (_, got) = live(&medium, level);
            for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Seed(at)] {
                let what = format!("{level:?}, crash at {at}, {unsynced:?}");
                let medium = medium.after_crash(unsynced);
                let engine = open_on(&medium, level).unwrap_or_else(|why| panic!("{what}: {why}"));
                check(&engine, &got, &what);
            }
        }
    }
}

// Kills.

const CHILD: &str = "LIMITRY_ALERTS_CHILD";
const THREADS: u64 = 4;
const DEATHS: u64 = 5;

fn open_at(path: &Path) -> Engine {
    let store = Durable::open(path).expect("a store that opens").durability(Durability::Buffered);
    let builder = rules(Engine::builder()).clock(ManualClock::new(date(START)));
    builder.durable(store).build().expect("an engine that goes on")
}

/// Not a test of its own: what the test below runs, and kills.
#[test]
#[cfg(unix)]
fn child() {
    let Ok(spec) = env::var(CHILD) else { return };
    let (life, path) = spec.split_once(' ').expect("a life and a path");
    let life: u64 = life.parse().expect("a number");
    let engine = open_at(Path::new(path));
    let receiver = engine.alerts();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut dice = Dice::new(life);
            for alert in &receiver {
                say(&format!("GOT {} {}", about(&alert), alert.id));
                if dice.chance(70) {
                    receiver.acknowledge(&alert).expect("it takes what comes");
                }
            }
        });
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                let mut dice = Dice::new(life * 31 + thread);
                for _ in 0..60 {
                    let customer = format!("c{}", dice.below(40));
                    assert!(engine.record(&tokens(&customer, dice.range(1, 9))).is_ok());
                }
                say("DONE");
            });
        }
    });
    // Whoever started this kills it, or has died.
    let _ = std::io::stdin().read(&mut [0]);
}

/// Lets a child live until it has printed so many lines; returns what it was delivered.
fn run(path: &Path, life: u64, lines: usize) -> Vec<(String, AlertId)> {
    let (mut got, mut heard, mut done) = (Vec::new(), 0, 0);
    let told = format!("{life} {}", path.display());
    run_until_killed("alerts::child", (CHILD, told), |line| {
        let Some((_, said)) = line.and_then(|line| line.split_once('@')) else { return false };
        heard += 1;
        done += u64::from(said == "DONE");
        if let Some((name, id)) = said.strip_prefix("GOT ").and_then(|it| it.split_once(' ')) {
            got.push((name.to_owned(), id.parse().expect("an id")));
        }
        heard == lines || done == THREADS
    });
    got
}

#[test]
#[cfg(unix)]
fn a_kill_at_any_point_delivers_each_alert_at_least_once_by_one_id() {
    let seed = seed("alerts::kill", 11);
    for round in 0..if long() { 30 } else { 3 } {
        let mut dice = Dice::new(seed + round);
        let file = StoreFile::new("alerts-kill");
        let mut got: BTreeMap<String, AlertId> = BTreeMap::new();
        for life in 0..DEATHS {
            let lines = usize::try_from(dice.below(60)).expect("few");
            for (name, id) in run(&file.path, seed + round * 100 + life, lines) {
                let first = got.entry(name.clone()).or_insert(id);
                assert_eq!(*first, id, "{name}: one id, whenever it is delivered");
            }
            let engine = open_at(&file.path);
            let (known, expected) = (history(&engine), due(&engine));
            let names: Vec<&String> = known.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), expected.len(), "life {life}");
            assert_eq!(BTreeSet::from_iter(names), expected.iter().collect(), "life {life}");
            for (name, id) in &known {
                assert!(got.get(name).is_none_or(|first| first == id), "{name}");
            }
            let again = texts(&poll(&engine));
            for name in &expected {
                assert!(again.contains(name) || got.contains_key(name), "{name} is lost");
            }
            engine.store().verify(|_| ()).expect("a good store");
        }
    }
}
