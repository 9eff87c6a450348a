//! limitry

mod amount;
mod calendar;
mod clock;
mod counters;
mod decision;
mod engine;
mod error;
mod event;
mod headers;
mod idempotency;
mod index;
mod log;
mod rules;
mod snapshot;

pub use self::amount::{Amount, AmountError, IntoAmount};
pub use self::clock::{Clock, ManualClock, SystemClock, Timestamp, TimestampRangeError};
pub use self::decision::{Decision, QuotaStatus, RateLimitStatus, RetryAfter, Standing};
pub use self::engine::{
    Engine, EngineBuilder, Events, Explanation, Outcome, Recording, RuleExplanation,
};
pub use self::error::{Error, EventError, RuleProblem, RuleSetError, RulesError, TrackError};
pub use self::event::{Event, PropertyValue};
pub use self::headers::{HeaderDialect, Headers};
pub use self::log::{EventId, EventIdParseError, RecordedEvent};
pub use self::rules::{
    Algorithm, Enforcement, FieldChange, Metric, MetricParseError, MetricValue, Overflow, Period,
    PeriodParseError, Quota, QuotaUpdate, RateLimit, RateLimitUpdate, RuleChange, RuleSet,
    SyncOptions, SyncReport, Window, WindowParseError,
};
