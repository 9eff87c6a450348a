//! Rate limits, quotas and usage metering for AI applications, in one in-process call.
//!
//! Before a costly act (a model call, an embedding, a tool run) ask [`Engine::track`]: it checks
//! every rate limit and every quota that matches the event, takes from all of them or from none,
//! records the event, and answers in well under a microsecond, with no network hop.
//!
//! ```
//! use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};
//!
//! let engine = Engine::builder()
//!     .rate_limit(RateLimit::new("Requests", 20, Window::Second).per("customer_id").burst(40))
//!     .quota(Quota::new("Tokens", Metric::TotalTokens, 100_000, Period::Day).per("customer_id"))
//!     .build()?;
//! let event = Event::new("cust_123", "model_call").model("gpt-4").total_tokens(1_200);
//! let decision = engine.track(&event)?;
//! assert!(decision.is_allowed());
//! assert_eq!(decision.quotas().next().map(|quota| quota.remaining), Some(98_800));
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! # What it promises
//!
//! 1. **All or nothing.** A decision takes from every matching rule, or, when a hard rule refuses,
//!    from none. Decisions are linearizable: concurrent calls answer as some order of single calls
//!    would. Nothing is taken and given back, so nobody is refused because of a call that failed.
//! 2. **Exact retry.** [`Decision::retry_after`] is the earliest instant at which the same event
//!    passes if nothing else happens, over all rules together: one nanosecond earlier it does not.
//!    A cost that can never pass says [`RetryAfter::Never`].
//! 3. **Exact arithmetic.** Integers and fixed point; 7 a day and a million a second are both
//!    exact. No floats, no wrap, the same in debug and in release.
//! 4. **Cost follows matches.** With 100 000 definitions of which four match, a call costs about
//!    what it costs with the four alone.
//! 5. **Bounded memory that is no bypass.** Counters that say no more than fresh ones are dropped
//!    a few at a time; one that matters is never evicted. What new keys get at a cap is a choice
//!    of the rule, [`Overflow`].
//! 6. **No time travel.** A clock that steps back mints nothing and refunds nothing.
//! 7. **Nothing counted twice.** The idempotency key, the event and its counts are one step.
//!
//! # What it does not promise
//!
//! - **Other processes.** The counts are this engine's. Two processes have two of each.
//! - **Survival.** Everything is in memory and ends with the engine.
//! - **Fairness.** Who asks first after a bucket has refilled gets the tokens.
//! - **One step for a batch.** [`Engine::track_batch`] decides event by event;
//!   [`Engine::explain`] looks at the rules right after its decision.
//! - **Idempotency beyond the cap.** Keys are kept for 24 hours or more, but at most so many
//!   ([`EngineBuilder::idempotency_max_keys`]): the oldest go first.
//! - **Very late events.** A calendar quota takes events into a period that ended no longer than
//!   [`EngineBuilder::late_events`] ago; an older one is an error from `track`, and
//!   [`Engine::record`] leaves the quota alone.
//! - **A wait at a full cap.** A rule that denies new keys says `Never`; one that shares a counter
//!   among them promises the wait for that counter.
//!
//! # Meaning of a decision
//!
//! Rate limits and quotas are evaluated all of them, and the answer lists each that matches with
//! the figures of the deciding step: after the event when it was allowed, without it when it was
//! refused. A quota refuses when used + amount > limit, a rate limit when the bucket holds less
//! than the cost. Rate limits and rolling quotas go by the engine's clock, calendar quotas by the
//! event's timestamp. A refused event is recorded nowhere and leaves its idempotency key free.
//! [`Engine::check`] answers what `track` would and takes nothing, [`Engine::standing`] says what
//! is left, [`Engine::record`] counts and refuses nobody. What a suspend, a step of the wall clock
//! or a leap second does is said at [`SystemClock`].
//!
//! # Cost
//!
//! - `track`, `check` and `standing` take one lock, of a shard, for each partition that matches;
//!   one look-up for each filter shape (set of filtered dimensions) that the event has, and one
//!   for each partition. They allocate nothing for up to 8 rules in 4 partitions, with borrowed
//!   strings, known keys and recording off.
//! - Recording adds the log's lock, and allocates nothing while the log is at its bound.
//! - An idempotency key adds its lock and its look-up, and allocates the key and the answer.
//! - A change of rules is O(rules), and O(keys) where counters are converted; decisions wait for
//!   some microseconds of it.
//!
//! # Memory
//!
//! In bytes, beside the allocator's own:
//!
//! - a key of a partition: `8 * (2 + key + 3 * narrow + 63 * wide) + slot`. `key` is for each of
//!   the partition's values one word and one more for every full eight bytes; `narrow` counts its
//!   rules with a token bucket, a fixed window or a calendar period (one more for each period
//!   that late or early events keep), `wide` those with a sliding window or a rolling period. A
//!   slot of the hash table takes 20 to 39, by its load. Two rate limits and two quotas for a
//!   customer id of 13 bytes: 148 to 167.
//! - an idempotency key: about 800 with four rules that match.
//! - a recorded event: its strings and numbers packed, about 90 for a model call with a property.
//!
//! Rules with the same partition share a row, but at most 16 of those whose filter the partition
//! does not imply. Idle rows are dropped by the calls that pass through their shard.
//!
//! # Cookbook
//!
//! - *A limit for each customer*: [`RateLimit::per`]`("customer_id")`; several `per` split by all.
//! - *A customer's own limit in place of the default*: put both under one [`RateLimit::policy`],
//!   and give the customer's a filter.
//! - *Trying a rule out*: [`Enforcement::Shadow`].
//! - *Rules from a file*: [`RuleSet`] is serde data; [`Engine::sync`] makes the rules match it.
//! - *An HTTP answer*: [`Decision::status_code`], [`Decision::headers`], and the decision itself
//!   serializes as the body. [`HeaderDialect::Draft10`] speaks the IETF draft.
//! - *Why was this refused?* [`Engine::explain`].
//! - *Tests of your own*: [`ManualClock`].
//!
//! The crate has no features and needs Rust 1.89.

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

/// The code of the README is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
