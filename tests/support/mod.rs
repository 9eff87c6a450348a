//! What the tests share: the oracle, the search for a legal order, and the bridge between the
//! oracle's plain data and the crate.
//!
//! Every random test takes its seed from `LIMITRY_SEED` and prints it, so that a failure can be
//! run again; `LIMITRY_CASES` sets how many cases are tried and `LIMITRY_LONG=1` adds the long
//! forms.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

mod alerts;
mod bridge;
mod credits;
pub mod files;
pub mod fold;
#[cfg(feature = "durable")]
pub mod held;
pub mod history;
#[cfg(feature = "durable")]
pub mod medium;
mod operate;
pub mod oracle;
pub mod usage;

#[allow(unused_imports, reason = "each area uses a part of it")]
pub use self::bridge::*;
#[allow(unused_imports, reason = "each area uses a part of it")]
pub use self::credits::same_balance;
#[cfg(feature = "tracing")]
use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
#[cfg(feature = "durable")]
use limitry::store::Storage;
use limitry::time::ManualClock;
use limitry::{Decision, Engine, EngineBuilder, Event, Timestamp};
use oracle::{Nanos, SECOND};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// 2024-01-15T10:30:00Z, a Monday.
pub const START: Nanos = 1_705_314_600 * SECOND;

pub fn date(instant: Nanos) -> Timestamp {
    let seconds = i64::try_from(instant.div_euclid(SECOND)).expect("an instant of this era");
    let nanos = u32::try_from(instant.rem_euclid(SECOND)).expect("below a second");
    Timestamp::new(seconds, nanos)
}

/// The date in UTC.
pub fn day_of(instant: Nanos) -> NaiveDate {
    DateTime::<Utc>::try_from(date(instant)).expect("an instant of this era").date_naive()
}

pub fn duration(length: Nanos) -> Duration {
    let seconds = u64::try_from(length.div_euclid(SECOND)).expect("a length, not negative");
    let nanos = u32::try_from(length.rem_euclid(SECOND)).expect("below a second");
    Duration::new(seconds, nanos)
}

pub fn nanos(length: Duration) -> Nanos {
    i128::try_from(length.as_nanos()).expect("a duration fits")
}

/// A clock that stands at [`START`].
pub fn clock() -> ManualClock {
    ManualClock::new(date(START))
}

/// Tracks an event that is valid.
pub fn track(engine: &Engine, event: &Event<'_>) -> Decision {
    engine.track(event).expect("a valid event")
}

/// An engine and its clock at [`START`], for the tests that need no oracle.
pub fn engine(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> (Engine, ManualClock) {
    engine_at(START, build)
}

pub fn engine_at(
    start: Nanos,
    build: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(start));
    let builder = build(Engine::builder().clock(clock.clone()));
    let engine = builder.build().expect("the rules of this test are valid");
    engine.go_straight(goes_straight());
    (engine, clock)
}

/// Whether everyday decisions go the straight path, as they do, or all are made step by step:
/// `LIMITRY_STEP_BY_STEP=1`. The same tests hold of both.
pub fn goes_straight() -> bool {
    std::env::var_os("LIMITRY_STEP_BY_STEP").is_none()
}

/// The seed of this run: `LIMITRY_SEED`, or the test's own.
pub fn seed(test: &str, default: u64) -> u64 {
    let given = std::env::var("LIMITRY_SEED").ok();
    let seed = given.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("LIMITRY_SEED={text} is not a number"))
    });
    println!("{test}: LIMITRY_SEED={seed}");
    seed
}

/// How many cases to try: `LIMITRY_CASES`, or the test's own number.
pub fn cases(default: u32) -> u32 {
    let given = std::env::var("LIMITRY_CASES").ok();
    given.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("LIMITRY_CASES={text} is not a number"))
    })
}

/// How proptest runs: [`cases`], with the seeds of failures kept beside the file of the test.
pub fn config(default: u32) -> ProptestConfig {
    let seeds = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        cases: cases(default),
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

/// Whether the long forms were asked for.
pub fn long() -> bool {
    std::env::var_os("LIMITRY_LONG").is_some_and(|value| value == "1")
}

/// Does the work with a collector of spans and events, which is this thread's alone.
///
/// While a process has one collector, `tracing` asks that of the thread that comes first to a place
/// in the code whether anybody listens there, and other tests have none. Two that listen to nothing
/// and stay make it ask all.
#[cfg(feature = "tracing")]
pub fn with_collector<T>(
    collector: impl tracing::Subscriber + Send + Sync + 'static,
    work: impl FnOnce() -> T,
) -> T {
    use tracing::Dispatch;
    use tracing::subscriber::NoSubscriber;

    static DEAF: OnceLock<[Dispatch; 2]> = OnceLock::new();
    DEAF.get_or_init(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));
    tracing::subscriber::with_default(collector, work)
}

/// A small random generator (splitmix64): the same numbers from the same seed, for ever.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `below` - 1.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    /// A number from `least` to `most`, both included.
    pub fn range(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let count = u64::try_from(from.len()).expect("a slice fits");
        from[usize::try_from(self.below(count)).expect("an index fits")].clone()
    }
}
