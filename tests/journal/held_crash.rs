//! Goal: whenever the machine stops, and whichever write fails, an engine that is opened again has
//! its reservations as they were after each call that was answered, and maybe after the one more
//! that was under way: what is held, grown, put off, committed, given back and expired, with their
//! events, and nothing in between.
//!
//! Method: one scripted life of an engine with holds of every kind, closed and opened again twice,
//! on a medium in memory that is cut off at every write and sync (a part of them, by a stride;
//! `LIMITRY_LONG=1` takes all), or fails at every call. What is found is what an engine in memory
//! shows that lived as many steps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use limitry::errors::{ReservationError, TrackError};
use limitry::reservations::{ReservationId, ReservationQuery, ReservationState};
use limitry::rules::Algorithm;
use limitry::store::{Durability, Durable, OnFailure};
use limitry::time::ManualClock;
use limitry::{
    Decision, Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, RateLimit, Reserved,
    Window,
};

use crate::lives::{Life, check, check_failed, crash_everywhere, live, open, portraits, set};
use crate::support::medium::{Fault, Medium};
use crate::support::{Dice, START, date, long};

/// The script of the tests that go by one.
const FIRST: u64 = 0;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A step: what it asks of an engine, and of which reservation.
#[derive(Clone, Debug)]
enum Step {
    Track(Event<'static>),
    Reserve(Event<'static>, Duration),
    Grow(usize, Event<'static>),
    Extend(usize, Duration),
    Commit(usize, Event<'static>),
    Release(usize),
}

/// What the steps before have reserved is told by its customer and model.
fn step_of((script, number): (u64, u64), reserved: &[Event<'static>]) -> Step {
    let mut dice = Dice::new(script * 1_000 + number + 77);
    let customer = ["ann", "bob"][usize::from(dice.chance(40))];
    let model = ["large", "small"][usize::from(dice.chance(50))];
    let tokens = dice.range(1, 300);
    let event = Event::new(customer, "call").model(model).total_tokens(tokens);
    let one = reserved.len().saturating_sub(1 + usize::try_from(dice.below(4)).expect("small"));
    let of = |tokens| {
        let event = reserved[one].clone();
        event.total_tokens(tokens)
    };
    let length = secs(dice.pick(&[30, 50, 90, 400]));
    match dice.below(10) {
        _ if reserved.is_empty() => Step::Reserve(event, length),
        0 => Step::Track(event),
        1..5 => Step::Reserve(event, length),
        5 => Step::Grow(one, of(tokens / 3)),
        6 => Step::Extend(one, length),
        7 | 8 => Step::Commit(one, of(tokens)),
        _ => Step::Release(one),
    }
}

/// What lives: an engine, its reservations, and the commits that were answered.
#[derive(Default)]
struct Holds {
    ids: Vec<ReservationId>,
    reserved: Vec<Event<'static>>,
    committed: BTreeMap<usize, (Event<'static>, String)>,
}

fn body(decision: &Decision) -> String {
    let mut body = serde_json::to_value(decision).expect("plain data");
    body.as_object_mut().expect("an object").remove("id");
    body.to_string()
}

impl Life for Holds {
    const STEPS: u64 = 60;
    const REOPENED: [u64; 2] = [20, 41];

    fn builder(clock: &ManualClock) -> EngineBuilder {
        let every = |name, algorithm| {
            let limit = RateLimit::new(name, 2_000, Window::every(secs(900))).algorithm(algorithm);
            limit.metric(Metric::TotalTokens)
        };
        let rolling = Period::rolling(secs(600));
        Engine::builder()
            .clock(clock.clone())
            .rate_limit(every("bucket", Algorithm::TokenBucket).per("customer_id"))
            .rate_limit(every("fixed", Algorithm::FixedWindow))
            .rate_limit(every("sliding", Algorithm::SlidingWindow).per("model"))
            .quota(Quota::new("daily", Metric::TotalTokens, 9_000, Period::Day).per("customer_id"))
            .quota(Quota::new("rolling", Metric::TotalTokens, 5_000, rolling))
            .quota(Quota::concurrent("at once", 6).per("customer_id"))
            .quota(Quota::new("models", Metric::unique("model"), 3, Period::Day).per("customer_id"))
    }

    fn step(&mut self, engine: &Engine, step: (u64, u64)) -> Result<(), String> {
        let failed = |why: ReservationError| match why {
            ReservationError::Track(TrackError::Store(why)) => Err(why.to_string()),
            // As for the other: it has ended.
            _ => Ok(()),
        };
        match step_of(step, &self.reserved) {
            Step::Track(event) => engine.track(&event).map(|_| ()).map_err(|why| why.to_string()),
            Step::Reserve(event, length) => match engine.reserve(&event, Hold::lasting(length)) {
                Ok(Reserved::Held(held)) => {
                    self.ids.push(held.into_id());
                    self.reserved.push(event);
                    Ok(())
                }
                Ok(_) => Ok(()),
                Err(why) => failed(why),
            },
            Step::Grow(one, event) => {
                engine.grow(self.ids[one], &event).map(|_| ()).or_else(failed)
            }
            Step::Extend(one, length) => {
                engine.extend(self.ids[one], length).map(|_| ()).or_else(failed)
            }
            Step::Release(one) => engine.release(self.ids[one]).map(|_| ()).or_else(failed),
            Step::Commit(one, event) => match engine.commit(self.ids[one], &event) {
                Ok(decision) => {
                    self.committed.entry(one).or_insert_with(|| (event, body(&decision)));
                    Ok(())
                }
                Err(why) => failed(why),
            },
        }
    }

    fn portrait(engine: &Engine) -> String {
        let mut all = format!("{} events\n", engine.events().len());
        for customer in ["ann", "bob"] {
            for model in ["large", "small"] {
                let event = Event::new(customer, "call").model(model);
                let standing = engine.standing(&event).expect("good");
                all += &format!("{standing:?}\n");
            }
        }
        for status in engine.reservations().list(&ReservationQuery::new()) {
            let (state, estimate) = (status.state, &status.estimate);
            let recorded = status.event_id.is_some();
            all += &format!("{state} until {} {recorded} {estimate:?}\n", status.expires_at);
        }
        all
    }

    fn look_at_failed(&self, engine: &Engine, step: u64) {
        // What the failed call was to hold is not held.
        let held = ReservationQuery::new().state(ReservationState::Held);
        let held = engine.reservations().list(&held);
        assert!(held.iter().all(|it| self.ids.contains(&it.id)), "step {step}: {held:?}");
    }

    fn look_at_opened(&self, engine: &Engine, what: &str) {
        for (one, (event, first)) in &self.committed {
            let again = engine.commit(self.ids[*one], event);
            let again = again.unwrap_or_else(|why| panic!("{what}: {one} is forgotten: {why}"));
            assert!(again.is_replay(), "{what}: {one}");
            assert_eq!(body(&again), *first, "{what}: {one}");
        }
    }
}

#[test]
fn whenever_the_machine_stops_reservations_are_as_they_were() {
    let shown = &portraits::<Holds>(FIRST)[usize::try_from(Holds::STEPS).expect("small")];
    for state in ["held", "committed", "released", "expired"] {
        assert!(shown.contains(&format!("\n{state} until")), "{state}: {shown}");
    }
    let crash = |script, stride| {
        let life: Holds = crash_everywhere(script, stride);
        assert!(life.ids.len() > 10 && !life.committed.is_empty(), "{}", life.ids.len());
    };
    crash(FIRST, if long() { 1 } else { 7 });
    for script in 1..if long() { 30 } else { 4 } {
        crash(script, 29);
    }
}

#[test]
fn whichever_call_fails_nothing_is_half_held() {
    let portraits = portraits::<Holds>(FIRST);
    let medium = Medium::new();
    live::<Holds>(&medium, FIRST);
    let stride = if long() { 1 } else { 23 };
    for call in (0..medium.calls()).step_by(stride) {
        for for_ever in [false, true] {
            let medium = Medium::new().fail_at(Fault { call, for_ever });
            let what = format!("call {call} fails, for ever: {for_ever}");
            check_failed::<Holds>(&medium, FIRST, &portraits, &what);
        }
    }
}

#[test]
fn an_engine_that_goes_on_without_its_store_has_its_reservations() {
    let portraits = portraits::<Holds>(FIRST);
    let shown = &portraits[usize::try_from(Holds::STEPS).expect("small")];
    let whole = Medium::new();
    live::<Holds>(&whole, FIRST);
    let stride = if long() { 3 } else { 37 };
    let (mut failed, mut whole_lives) = (0, 0);
    for call in (0..whole.calls()).step_by(stride) {
        let medium = Medium::new().fail_at(Fault { call, for_ever: true });
        let clock = ManualClock::new(date(START));
        let Ok(store) = Durable::open_on(medium.clone()) else { continue };
        let store = store.durability(Durability::Synced).on_failure(OnFailure::MemoryOnly);
        let Ok(engine) = Holds::builder(&clock).durable(store).build() else { continue };
        let mut life = Holds::default();
        for number in 0..Holds::STEPS {
            set(&clock, number);
            life.step(&engine, (FIRST, number)).unwrap_or_else(|why| panic!("call {call}: {why}"));
        }
        set(&clock, Holds::STEPS);
        assert_eq!(Holds::portrait(&engine), *shown, "call {call}");
        for (one, (event, first)) in &life.committed {
            let again = engine.commit(life.ids[*one], event).expect("once more");
            assert_eq!((again.is_replay(), body(&again)), (true, first.clone()), "call {call}");
        }
        let is_good = engine.store().health().is_good();
        (failed, whole_lives) = (failed + u32::from(!is_good), whole_lives + u32::from(is_good));
    }
    assert!(failed > 3, "{failed} failed, {whole_lives} did not");
}

/// How far the life came of which `tests/data` has the store: with a checkpoint, and records since.
const STORED: u64 = 52;

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format3/held.redb")
}

/// What this version wrote is read by every later one.
#[test]
fn a_store_with_reservations_opens_as_it_was() {
    let portraits = portraits::<Holds>(FIRST);
    let image = fs::read(stored()).expect("it is in the repository");
    let life = Holds::default();
    check(&Medium::of(image), &life, STORED, &portraits, "the store of format 3");
}

/// Writes that store. A change of the script asks for another one; a change of what is stored does
/// not: the old one has to be read.
#[test]
#[ignore = "it writes into the repository"]
fn write_the_store_with_reservations() {
    let medium = Medium::new();
    let clock = ManualClock::new(date(START));
    let mut engine = open::<Holds>(&medium, &clock).expect("a new one");
    let mut life = Holds::default();
    for number in 0..STORED {
        set(&clock, number);
        if Holds::REOPENED.contains(&number) {
            engine.store().close().expect("it closes");
            engine = open::<Holds>(&medium, &clock).expect("it opens");
        }
        life.step(&engine, (FIRST, number)).expect("nothing fails");
    }
    fs::write(stored(), medium.image()).expect("it is written");
}
