//! The guide: what is worth reading once, in prose. There is no code here but examples.
//!
//! Start with [`cookbook`] to get something done, with [`decisions`] to know what an answer means,
//! with [`guarantees`] to know what you can rely on.

#[cfg(doc)]
use crate::{
    Condition, Decision, Engine, EngineBuilder, Event, Meter, Metric, Outcome, Period, Quota,
    RateLimit, RetryAfter, RuleSet, bounds,
    errors::EventError,
    handles::{Meters, Rules, Store, Wait, Waiting},
    rules::{Algorithm, Enforcement, OnMissing, Overflow, QuotaUpdate, RateLimitUpdate},
    store::Durable,
    time::{Clock, ManualClock, SystemClock, ThreadTimer, Timer},
    usage::RollupOptions,
    wire::HeaderDialect,
};

/// What holds, each promise with the tests that check it, and what is not promised.
///
#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

/// What a decision means: outcomes, figures, time.
///
#[doc = include_str!("decisions.md")]
pub mod decisions {}

/// What a rule can say.
///
#[doc = include_str!("rules.md")]
pub mod rules {}

/// Common tasks, each with code that runs.
///
#[doc = include_str!("cookbook.md")]
pub mod cookbook {}

/// Reservations: what they hold, what comes back, and how they end.
///
#[doc = include_str!("reservations.md")]
pub mod reservations {}

/// Waiting for room: order, deadlines, timers.
///
#[doc = include_str!("waiting.md")]
pub mod waiting {}

/// Who used what: one program with every question, and what answers cover.
///
#[doc = include_str!("usage.md")]
pub mod usage {}

/// What survives, and what can be lost: the feature `durable`.
///
#[doc = include_str!("durability.md")]
pub mod durability {}

/// What memory holds and what calls cost.
///
#[doc = include_str!("costs.md")]
pub mod costs {}

/// The engine's own figures and spans: the features `metrics` and `tracing`.
///
#[doc = include_str!("observability.md")]
pub mod observability {}
