//! Scripted lives of engines that are cut off anywhere: what the tests of crashes have in common.

use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::{Engine, EngineBuilder};

use crate::support::medium::{Medium, Unsynced};
use crate::support::{START, date};

/// A life of an engine by a script: which calls were answered, and what is to be seen of them.
pub(crate) trait Life: Default {
    const STEPS: u64;
    /// The steps before which the engine is closed and opened again.
    const REOPENED: [u64; 2];

    fn builder(clock: &ManualClock) -> EngineBuilder;

    /// Takes a step of a script; an error is one of the store.
    fn step(&mut self, engine: &Engine, step: (u64, u64)) -> Result<(), String>;

    /// All that is shown of what the life is about.
    fn portrait(engine: &Engine) -> String;

    /// Looks at an engine of which a step has failed.
    fn look_at_failed(&self, _engine: &Engine, _step: u64) {}

    /// Looks at an engine that was opened again.
    fn look_at_opened(&self, _engine: &Engine, _what: &str) {}
}

pub(crate) fn set(clock: &ManualClock, step: u64) {
    clock.set(date(START + i128::from(step) * 20_000_000_000));
}

pub(crate) fn open<L: Life>(medium: &Medium, clock: &ManualClock) -> Result<Engine, String> {
    let store = Durable::open_on(medium.clone()).map_err(|why| why.to_string())?;
    let store = store.durability(Durability::Synced);
    L::builder(clock).durable(store).build().map_err(|why| why.to_string())
}

/// The portraits at the end of an engine that lived no step, one, and so on.
pub(crate) fn portraits<L: Life>(script: u64) -> Vec<String> {
    let lived = |steps| {
        let clock = ManualClock::new(date(START));
        let engine = L::builder(&clock).build().expect("good rules");
        let mut life = L::default();
        for number in 0..steps {
            set(&clock, number);
            life.step(&engine, (script, number)).expect("nothing fails in memory");
        }
        set(&clock, L::STEPS);
        L::portrait(&engine)
    };
    (0..=L::STEPS).map(lived).collect()
}

/// Lives up to the first error; how many steps were answered, and why no more.
pub(crate) fn live<L: Life>(medium: &Medium, script: u64) -> (L, u64, Option<String>) {
    let clock = ManualClock::new(date(START));
    let mut life = L::default();
    let mut engine = match open::<L>(medium, &clock) {
        Ok(engine) => engine,
        Err(why) => return (life, 0, Some(why)),
    };
    for number in 0..L::STEPS {
        set(&clock, number);
        if L::REOPENED.contains(&number) {
            let closed = engine.store().close().map_err(|why| why.to_string());
            drop(engine);
            match closed.and_then(|()| open::<L>(medium, &clock)) {
                Ok(opened) => engine = opened,
                Err(why) => return (life, number, Some(why)),
            }
        }
        if let Err(why) = life.step(&engine, (script, number)) {
            life.look_at_failed(&engine, number);
            return (life, number, Some(why));
        }
    }
    let closed = engine.store().close().err();
    (life, L::STEPS, closed.map(|why| why.to_string()))
}

/// Opening finds what was answered, and maybe one step more.
pub(crate) fn check<L: Life>(
    medium: &Medium,
    life: &L,
    steps: u64,
    portraits: &[String],
    what: &str,
) {
    let clock = ManualClock::new(date(START));
    set(&clock, L::STEPS);
    let engine = open::<L>(medium, &clock).unwrap_or_else(|why| panic!("{what}: {why}"));
    let found = L::portrait(&engine);
    let steps = usize::try_from(steps).expect("small");
    let due = portraits.get(steps..portraits.len().min(steps + 2)).expect("so many steps");
    assert!(due.contains(&found), "{what}: after {steps} steps:\n{found}\ndue is:\n{}", due[0]);
    life.look_at_opened(&engine, what);
    assert_eq!(L::portrait(&engine), found, "{what}: what was looked at has counted");
    engine.store().verify(|_| ()).unwrap_or_else(|why| panic!("{what}: {why}"));
    drop(engine);
    let engine = open::<L>(medium, &clock).unwrap_or_else(|why| panic!("{what}, again: {why}"));
    assert_eq!(L::portrait(&engine), found, "{what}, again");
}

/// Cuts a life off at every change of its medium, or at some; returns the whole one.
pub(crate) fn crash_everywhere<L: Life>(script: u64, stride: usize) -> L {
    let portraits = portraits::<L>(script);
    let medium = Medium::new();
    let (whole, steps, why) = live::<L>(&medium, script);
    assert_eq!((steps, why), (L::STEPS, None));
    check(&medium, &whole, L::STEPS, &portraits, "nothing happened");
    for at in (0..medium.changes()).step_by(stride) {
        let medium = Medium::new().crash_at(at);
        let (life, steps, _) = live::<L>(&medium, script);
        for unsynced in [Unsynced::Kept, Unsynced::Lost, Unsynced::Seed(at)] {
            let what = format!("script {script}, crash at {at}, {unsynced:?}");
            check(&medium.after_crash(unsynced), &life, steps, &portraits, &what);
        }
    }
    whole
}

/// Looks at what a medium has of a life whose calls fail from one on.
pub(crate) fn check_failed<L: Life>(
    medium: &Medium,
    script: u64,
    portraits: &[String],
    what: &str,
) {
    let (life, steps, _) = live::<L>(medium, script);
    for unsynced in [Unsynced::Kept, Unsynced::Lost] {
        let what = format!("{what}, {unsynced:?}");
        check(&medium.after_crash(unsynced), &life, steps, portraits, &what);
    }
}
