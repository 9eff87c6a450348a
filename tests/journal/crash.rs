//! Goal: whenever the machine stops, whatever the disk does with what was not synced, and whichever
//! read or write fails, an engine that is opened again has every event that was answered, once, and
//! counters, usage and answers that belong to exactly the events it has. A flipped bit is found, or
//! does no harm.
//!
//! Method: one scripted life of an engine, with rules of every kind, a change of the rules, a
//! closing and an opening in between, on a medium in memory. It is cut off at every write and every
//! sync, with the nth call failing once or for ever, and with each bit flipped (a part of each, by
//! a stride; `LIMITRY_LONG=1` takes all). What is found afterwards is compared with an
//! engine in memory that lived the same script as far as the events go.

use std::time::Duration;

use limitry::errors::{PriceError, StoreError};
use limitry::rules::{Algorithm, QuotaUpdate, RateLimitUpdate};
use limitry::store::{Durability, Durable, Storage};
use limitry::time::ManualClock;
use limitry::usage::UsageQuery;
use limitry::{
    Amount, Decision, Engine, EngineBuilder, Event, Meter, Metric, Period, Pricer, Quota,
    RateLimit, Timestamp, Window,
};

use crate::support::long;
use crate::support::medium::{Fault, Medium, Unsynced};

/// How many steps the script has.
const STEPS: u64 = 40;
/// The step before which the engine is closed and opened again, and the one at which rules change.
const REOPENED: u64 = 16;
const CHANGED: u64 = 24;
const CUSTOMERS: [&str; 3] = ["acme", "globex", "initech"];

fn start() -> ManualClock {
    ManualClock::new("2024-01-31T23:40:00Z".parse().expect("a time"))
}

/// What a step's clock shows: the script goes over the end of a month.
fn set(clock: &ManualClock, step: u64) {
    let start = start();
    start.advance(Duration::from_secs(step * 61));
    clock.set(limitry::time::Clock::now(&start));
}

/// What the clock shows when the script is over: a store is never opened by an earlier one.
fn end() -> ManualClock {
    let clock = start();
    set(&clock, STEPS);
    clock
}

/// A quarter of a cent a token.
#[derive(Debug)]
struct Tokens;

impl Pricer for Tokens {
    fn price(&self, event: &Event<'_>, _: Timestamp) -> Result<Option<Amount>, PriceError> {
        let tokens = event.amount("total_tokens").unwrap_or_default();
        Ok(Some(Amount::from_millionths(tokens.millionths() / 4)))
    }
}

fn builder(clock: &ManualClock) -> EngineBuilder {
    let bucket = RateLimit::new("bucket", 50, Window::Hour).id("rl_bucket");
    let fixed = RateLimit::new("fixed", 500, Window::Hour).algorithm(Algorithm::FixedWindow);
    let sliding = RateLimit::new("sliding", 5_000, Window::Hour).metric(Metric::TotalTokens);
    let tokens = Quota::new("tokens", Metric::TotalTokens, 2_000, Period::Month).id("q_tokens");
    let rolling = Period::rolling(Duration::from_secs(1_800));
    Engine::builder()
        .clock(clock.clone())
        .prices(Tokens)
        .meter(Meter::latest("agents", "agents").id("m_agents"))
        .rate_limit(bucket.per("customer_id"))
        .rate_limit(fixed)
        .rate_limit(sliding.algorithm(Algorithm::SlidingWindow).per("model"))
        .quota(tokens.per("customer_id"))
        .quota(Quota::new("budget", Metric::TotalCostCents, 400, Period::Month))
        .quota(Quota::new("rolling", Metric::TotalEvents, 30, rolling))
        .quota(Quota::new("agents", Metric::meter("m_agents"), 90, Period::AllTime))
        .quota(Quota::new("models", Metric::unique("model"), 2, Period::Month).per("customer_id"))
}

fn open(medium: &Medium, clock: &ManualClock) -> Result<Engine, String> {
    let store = Durable::open_on(medium.clone()).map_err(|why| why.to_string())?;
    let store = store.durability(Durability::Synced);
    builder(clock).durable(store).build().map_err(|why| why.to_string())
}

fn key(step: u64) -> String {
    format!("request {step}")
}

fn event(step: u64, key: &str) -> Event<'_> {
    let customer = CUSTOMERS[usize::try_from(step).expect("small") % CUSTOMERS.len()];
    let event = Event::new(customer, "model_call")
        .model(if step.is_multiple_of(4) { "large" } else { "small" })
        .total_tokens(step * 7 % 90)
        .value("agents", step % 50)
        .idempotency_key(key);
    // Some say what they cost.
    let event = if step % 5 == 4 { event.cost_cents(step) } else { event };
    // Some are late, from the month before.
    if step % 9 == 8 {
        return event.timestamp("2024-01-31T22:00:00Z".parse::<Timestamp>().expect("a time"));
    }
    event
}

fn change(engine: &Engine) -> Result<(), String> {
    let faster = RateLimitUpdate::new().limit(70).window(Window::Minute);
    engine.rules().update("rl_bucket", faster).map_err(|why| why.to_string())?;
    let more = QuotaUpdate::new().limit(9_000);
    engine.rules().update("q_tokens", more).map_err(|why| why.to_string())?;
    let new = Quota::new("new", Metric::TotalTokens, 100_000, Period::Day).id("q_new");
    engine.rules().add(new.per("customer_id")).map_err(|why| why.to_string())?;
    Ok(())
}

/// The life of an engine up to the first error: what was answered, by step.
fn live(medium: &Medium) -> (Vec<Decision>, Option<String>) {
    let clock = start();
    let mut answered = Vec::new();
    let mut engine = match open(medium, &clock) {
        Ok(engine) => engine,
        Err(why) => return (answered, Some(why)),
    };
    for step in 0..STEPS {
        set(&clock, step);
        if step == REOPENED {
            if let Err(why) = engine.store().close() {
                return (answered, Some(why.to_string()));
            }
            drop(engine);
            engine = match open(medium, &clock) {
                Ok(engine) => engine,
                Err(why) => return (answered, Some(why)),
            };
        }
        if step == CHANGED
            && let Err(why) = change(&engine)
        {
            return (answered, Some(why));
        }
        match engine.track(&event(step, &key(step))) {
            Ok(decision) => answered.push(decision),
            Err(why) => return (answered, Some(why.to_string())),
        }
    }
    let closed = engine.store().close().err();
    (answered, closed.map(|why| why.to_string()))
}

/// An engine in memory that lived the first steps; the rules change with the last of them where
/// `changed` says so.
fn twin(steps: u64, changed: bool) -> (Engine, ManualClock) {
    let clock = start();
    let engine = builder(&clock).build().expect("valid rules");
    for step in 0..steps {
        set(&clock, step);
        if step == CHANGED {
            change(&engine).expect("valid changes");
        }
        let _ = engine.track(&event(step, &key(step))).expect("a valid event");
    }
    if changed && steps == CHANGED {
        set(&clock, CHANGED);
        change(&engine).expect("valid changes");
    }
    (engine, clock)
}

fn text(decision: &Decision) -> String {
    // Two engines name their events differently.
    let mut body = serde_json::to_value(decision).expect("plain data");
    body.as_object_mut().expect("an object").remove("id");
    for list in ["rateLimits", "quotas"] {
        for rule in body[list].as_array_mut().expect("a list") {
            rule.as_object_mut().expect("an object").remove("id");
        }
    }
    body.to_string()
}

/// Where everybody stands, and what was used.
fn state(engine: &Engine) -> String {
    let mut all = String::new();
    for customer in CUSTOMERS {
        for model in ["large", "small"] {
            let event = Event::new(customer, "model_call").model(model);
            let standing = engine.standing(&event).expect("valid");
            let rates =
                standing.rate_limits().map(|it| (it.name.into_owned(), it.remaining, it.reset));
            let quotas = standing.quotas().map(|it| (it.name.into_owned(), it.used, it.reset));
            all += &format!("{:?} {:?}\n", rates.collect::<Vec<_>>(), quotas.collect::<Vec<_>>());
        }
        let times = |text: &str| text.parse::<Timestamp>().expect("a time");
        let query = UsageQuery::new(times("2024-01-01T00:00:00Z"), times("2024-03-01T00:00:00Z"));
        let usage = engine.usage().summary(&query.customer(customer)).expect("an answer");
        all += &serde_json::to_string(&usage.generic()).expect("plain data");
        all.push('\n');
    }
    all
}

/// What opening finds must be the first so many steps of the script, with all that was answered.
fn check(medium: &Medium, answered: &[Decision], what: &str) {
    let clock = end();
    let engine = open(medium, &clock).unwrap_or_else(|why| panic!("{what}: {why}"));
    check_engine(&engine, &clock, answered, what);
    let report = engine.store().verify(|_| ()).unwrap_or_else(|why| panic!("{what}: {why}"));
    assert_eq!(report.records, engine.events().len() as u64, "{what}");
    assert!(report.is_complete, "{what}");
    // Opening changed nothing: what is found once more is the same.
    let (found, before) = (engine.events().len(), state(&engine));
    drop(engine);
    let again = open(medium, &clock).unwrap_or_else(|why| panic!("{what}, again: {why}"));
    assert_eq!((again.events().len(), state(&again)), (found, before), "{what}, again");
}

fn check_engine(engine: &Engine, clock: &ManualClock, answered: &[Decision], what: &str) {
    let allowed = answered.iter().filter(|decision| decision.is_allowed()).count();
    let found = engine.events().len();
    assert!(found == allowed || found == allowed + 1, "{what}: {found} of {allowed} events");
    let steps = answered.len() + (found - allowed);
    let steps = u64::try_from(steps).expect("small");
    let changed = engine.rules().get::<Quota>("q_new").is_some();
    let (twin, _) = twin(steps, changed);
    // A change of the rules is three commits, and may have been cut off between them.
    let partly = steps == CHANGED && !changed;
    set(clock, STEPS);
    if !partly {
        let twin_clock = twin.now();
        assert!(twin_clock <= engine.now(), "{what}: time ran back");
        let twin = at_end(steps, changed);
        assert_eq!(state(engine), state(&twin), "{what}: after {steps} steps");
    }
    // Everybody who was answered gets the same answer again, and nothing counts twice.
    let before = state(engine);
    for (step, decision) in (0_u64..).zip(answered) {
        if decision.is_allowed() {
            let again = engine.track(&event(step, &key(step)));
            let again = again.unwrap_or_else(|why| panic!("{what}: step {step}: {why}"));
            assert!(again.is_replay(), "{what}: step {step} was forgotten");
            assert_eq!(text(&again), text(decision), "{what}: step {step}");
        }
    }
    assert_eq!(state(engine), before, "{what}: retries counted");
}

/// The twin, at the time at which all are looked at.
fn at_end(steps: u64, changed: bool) -> Engine {
    let (twin, clock) = twin(steps, changed);
    set(&clock, STEPS);
    twin
}

fn whole_life() -> (u64, u64, usize) {
    let medium = Medium::new();
    let (answered, why) = live(&medium);
    assert_eq!((answered.len() as u64, why), (STEPS, None));
    check(&medium, &answered, "nothing happened");
    let engine = open(&medium, &start()).expect("a store that opens");
    let mut told = Vec::new();
    let report = engine.store().verify(|progress| told.push(progress)).expect("a good store");
    assert!(report.keys == report.records && report.states > 4 * STEPS, "{report:?}");
    assert!(told.iter().all(|progress| progress.done <= progress.total) && told.len() > 3);
    println!(
        "{} changes and syncs, {} calls, {} bytes",
        medium.changes(),
        medium.calls(),
        medium.image().len()
    );
    (medium.changes(), medium.calls(), medium.image().len())
}

#[test]
fn whenever_the_machine_stops_what_was_answered_is_there() {
    let (changes, _, _) = whole_life();
    let stride = if long() { 1 } else { 5 };
    for at in (0..changes).step_by(stride) {
        let medium = Medium::new().crash_at(at);
        let (answered, _) = live(&medium);
        let seeds = if long() { 6 } else { 1 };
        let seeded = (0..seeds).map(|seed| Unsynced::Seed(at * 31 + seed));
        for unsynced in [Unsynced::Kept, Unsynced::Lost].into_iter().chain(seeded) {
            let what = format!("crash at {at}, {unsynced:?}");
            check(&medium.after_crash(unsynced), &answered, &what);
        }
    }
}

#[test]
fn opening_that_is_interrupted_is_begun_again() {
    let (changes, _, _) = whole_life();
    let stride = if long() { 17 } else { 211 };
    for at in (7..changes).step_by(stride) {
        let medium = Medium::new().crash_at(at);
        let (answered, _) = live(&medium);
        let medium = medium.after_crash(Unsynced::Seed(at));
        // Opening writes little: each of its first changes is where it stops.
        for inner in 0..12 {
            let image = Medium::of(medium.image()).crash_at(inner);
            drop(open(&image, &end()));
            let what = format!("crash at {at}, and at {inner} of opening");
            check(&image.after_crash(Unsynced::Seed(inner)), &answered, &what);
        }
    }
}

#[test]
fn whichever_call_fails_no_answer_is_given_that_does_not_last() {
    let (_, calls, _) = whole_life();
    let stride = if long() { 1 } else { 7 };
    for call in (0..calls).step_by(stride) {
        for for_ever in [false, true] {
            let medium = Medium::new().fail_at(Fault { call, for_ever });
            let (answered, why) = live(&medium);
            let what = format!("call {call} fails, for ever: {for_ever}");
            if answered.len() as u64 != STEPS {
                let why = why.unwrap_or_else(|| panic!("{what}: no error"));
                assert!(
                    why.contains("on purpose") || why.contains("failed before"),
                    "{what}: {why}"
                );
            }
            // What was not synced may be there, or not.
            for unsynced in [Unsynced::Kept, Unsynced::Lost] {
                check(&medium.after_crash(unsynced), &answered, &format!("{what}, {unsynced:?}"));
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    let medium = Medium::new();
    let (answered, _) = live(&medium);
    let bytes = medium.image().len();
    let expected = state(&at_end(STEPS, true));
    let (mut found, mut harmless) = (0, 0);
    // A part of all bits, spread by a stride that is no power of two.
    let stride = if long() { 1_009 } else { 60_013 };
    for bit in (0..bytes * 8).step_by(stride) {
        let image = medium.with_flipped(bit / 8, u8::try_from(bit % 8).expect("below 8"));
        let clock = end();
        match open(&image, &clock) {
            Err(why) => {
                assert!(!why.is_empty());
                found += 1;
            }
            Ok(engine) => {
                assert_eq!(engine.events().len(), answered.len(), "bit {bit}");
                assert_eq!(state(&engine), expected, "bit {bit}");
                // Whoever asks is told, or nothing is wrong.
                if let Err(why) = engine.store().verify(|_| ()) {
                    assert!(matches!(why, StoreError::Damaged { .. }), "bit {bit}: {why:?}");
                }
                assert_eq!(state(&engine), expected, "bit {bit}");
                harmless += 1;
            }
        }
    }
    assert!(found > 0 && harmless > 0, "{found} found, {harmless} harmless");
}

/// The errors are those that users see.
#[test]
fn a_damaged_store_says_what_is_damaged() {
    let medium = Medium::new();
    let (answered, _) = live(&medium);
    let image = medium.image();
    let mut damaged = None;
    for byte in (4_096..image.len()).step_by(997) {
        if let Err(why) = Durable::open_on(medium.with_flipped(byte, 3)) {
            damaged = Some(why);
            break;
        }
    }
    let why = damaged.expect("some byte matters");
    assert!(matches!(why, StoreError::Damaged { .. }), "{why:?}");
    assert!(why.to_string().contains("damaged"), "{why}");
    assert_eq!(answered.len() as u64, STEPS);
    assert!(Storage::len(&medium).expect("a length") > 0);
}
