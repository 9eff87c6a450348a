//! Rate limits, quotas and usage metering for AI applications, in one in-process call.
//!
//! An [`Engine`] lives in the application's process. Before a costly act (a model call, an
//! embedding, a tool run) ask [`Engine::track`]: it checks every rate limit and every quota that
//! matches the event, takes from all of them or from none, records the event, and answers in less
//! than a microsecond, or in about half of that where nothing is recorded. There is no network hop,
//! and no background thread unless it has a [store](guide::durability).
//!
//! ```
//! use limitry::{Engine, Event, Metric, Outcome, Period, Quota, RateLimit, Window};
//!
//! let engine = Engine::builder()
//!     .rate_limit(RateLimit::new("Calls", 20, Window::Second).per("customer_id").burst(40))
//!     .quota(Quota::new("Tokens", Metric::TotalTokens, 100_000, Period::Day).per("customer_id"))
//!     .build()?;
//! let event = Event::new("cust_123", "model_call").model("gpt-4").total_tokens(1_200);
//! let decision = engine.track(&event)?;
//! match decision.outcome() {
//!     Outcome::Admitted => {} // call the model
//!     Outcome::Replayed => {} // a retry by its idempotency key: it was called before
//!     Outcome::Refused => {}  // `retry_after` says how long to wait
//! }
//! assert!(decision.is_allowed());
//! assert_eq!(decision.quotas().next().map(|quota| quota.remaining), Some(98_800.into()));
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! # What it promises
//!
//! 1. **All or nothing**: a decision takes from every matching rule or from none, as if calls came
//!    one after the other. No limit is passed by one unit.
//! 2. **The exact wait** over all matching rules: at that instant the event passes, one nanosecond
//!    earlier it does not.
//! 3. **Exact arithmetic**: integers and fixed point, no floats, no wrap, no panic from any input.
//! 4. **Cost follows matches**, not definitions.
//! 5. **Bounded memory that is no bypass**: a counter that matters is never evicted.
//! 6. **No time travel**: a clock that steps back mints nothing and refunds nothing.
//! 7. **Nothing twice, nothing lost**: a retry with its idempotency key counts once, also after a
//!    restart; each durability level keeps its word.
//! 8. **Usage is conserved**: the sums over any cut of time or dimension add up to the total.
//! 9. **Nobody hurts others**: what one customer sends is bounded where it comes in.
//! 10. **Your code runs under no lock**, and its panic leaves everything usable.
//!
//! [`guide::guarantees`] says each in full with the tests that check it, and what is *not*
//! promised: other processes, survival without a store, fairness of calls that do not wait, an
//! order between keys.
//!
//! # Reservations
//!
//! Before a model call nobody knows what it will cost. [`Engine::reserve`] decides by an estimate
//! as `track` does, and holds it: for everybody else it counts as used at once. The commit records
//! what happened and gives the rest back, in one step; a hold that nobody ends expires by itself.
//! [`Quota::concurrent`] bounds how many are open at once. With a store, holds are as durable as
//! events, and expire by the clock while nobody is there, too.
//!
//! ```
//! use std::time::Duration;
//! use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reserved};
//!
//! let engine = Engine::builder()
//!     .quota(Quota::new("Tokens", Metric::TotalTokens, 10_000, Period::Day).per("customer_id"))
//!     .quota(Quota::concurrent("At once", 5).per("customer_id"))
//!     .build()?;
//! let call = || Event::new("cust_123", "model_call").input_tokens(150);
//! let hold = Hold::lasting(Duration::from_secs(300));
//! match engine.reserve(&call().output_tokens(4_096), hold)? {
//!     Reserved::Refused(decision) => println!("{decision}"), // and how long to wait
//!     Reserved::Replayed(status) => println!("{status:?}"),  // this key was here before
//!     Reserved::Held(reservation) => {
//!         // ... call the model; dropping the reservation gives all back ...
//!         let decision = reservation.commit(&call().output_tokens(421))?;
//!         assert_eq!(decision.quotas().next().map(|quota| quota.remaining), Some(9_429.into()));
//!     }
//! }
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! # Waiting
//!
//! [`Engine::wait`] is `track` once there is room: a future for any runtime, or
//! [`wait_blocking`](Engine::wait_blocking) for a thread. Who comes first is let in first, never
//! too early, and small events do not starve a large one.
//!
//! ```
//! use std::time::Duration;
//! use limitry::{Engine, Event, RateLimit, Window};
//!
//! let calls = RateLimit::new("Calls", 1_000, Window::Second).burst(1);
//! let engine = Engine::builder().rate_limit(calls).build()?;
//! let call = Event::new("cust_123", "model_call");
//! for _ in 0..3 {
//!     assert!(engine.wait_blocking(&call)?.is_allowed()); // each a millisecond after the last
//! }
//! let deadline = engine.now() + Duration::from_secs(5);
//! let decision = engine.wait_blocking_until(&call, deadline)?; // refused where it is over
//! assert!(decision.is_allowed());
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! # Rules as people say them
//!
//! A filter asks for a value, one of several, a prefix, another value, any or none; a rule may
//! start and end; and a customer's own limit goes before a plan's. See [`guide::rules`].
//!
//! ```
//! use limitry::{Condition, Metric, Period, Quota, Timestamp};
//!
//! let raise = Quota::new("Until Friday", Metric::TotalTokens, 500_000, Period::Day)
//!     .filter("model", Condition::prefix("gpt-4o"))
//!     .filter("customer_id", ["cust_7", "cust_8"])
//!     .ends_at("2024-01-19T00:00:00Z".parse::<Timestamp>()?)
//!     .policy("tokens");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Months run from the day on which a customer pays, by the customer's own midnights:
//!
//! ```
//! use limitry::time::Tz;
//! use limitry::{Customer, Engine, Metric, Period, Quota};
//!
//! let a_month = Quota::new("Calls", Metric::TotalEvents, 1_000, Period::Month).per("customer_id");
//! let engine = Engine::builder().quota(a_month).build()?;
//! let paid = "2024-01-31".parse()?;
//! let customer = Customer::new("cust_123").time_zone(Tz::Europe__Berlin).billing_anchor(paid);
//! engine.customers().upsert(customer)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Credits are paid from a balance, and an alert says when a budget nears its end, each in the same
//! step as the decision:
//!
//! ```
//! use limitry::balances::NewBalance;
//! use limitry::rules::Threshold;
//! use limitry::{Engine, Event, Metric, Period, Quota};
//!
//! let credits = Quota::balance("credits", Metric::TotalTokens).per("customer_id");
//! let budget = Quota::new("Cents", Metric::TotalCostCents, 100, Period::Month);
//! let budget = budget.per("customer_id").alert_at(Threshold::percent(80));
//! let engine = Engine::builder().quota(credits).quota(budget).build()?;
//! engine.balances().create(&NewBalance::new("cust_123", "credits").initial(1_000))?;
//!
//! let call = Event::new("cust_123", "model_call").total_tokens(600).cost_cents(85);
//! assert!(engine.track(&call)?.is_allowed());
//! assert!(engine.alerts().poll().is_some()); // 85 % of the budget
//! assert!(!engine.track(&call)?.is_allowed()); // 400 credits are left
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! A support person sees who uses the most of a rule, and gives some back:
//!
//! ```
//! use limitry::keys::KeyQuery;
//! use limitry::{Amount, Engine, Event, Metric, Period, Quota};
//!
//! let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id");
//! let engine = Engine::builder().quota(tokens).build()?;
//! assert!(engine.track(&Event::new("ann", "call").input_tokens(900))?.is_allowed());
//! let page = engine.rules().keys("qta_tokens", &KeyQuery::new())?;
//! assert_eq!(page.items[0].used, Amount::from(900));
//! engine.rules().adjust("qta_tokens", ("customer_id", "ann"), -500, "ticket 7, by jo")?;
//! let left = engine.standing(&Event::new("ann", "call"))?.quotas().next().map(|it| it.remaining);
//! assert_eq!(left, Some(600.into()));
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! What was refused is counted where events are recorded, and a customer who leaves is erased:
//!
//! ```
//! use limitry::refusals::RefusalQuery;
//! use limitry::{Engine, Event, RateLimit, Window};
//!
//! let calls = RateLimit::new("Calls", 1, Window::Minute).per("customer_id");
//! let engine = Engine::builder().rate_limit(calls).build()?;
//! for customer in ["ann", "bob", "ann"] {
//!     let _ = engine.track(&Event::new(customer, "call"))?;
//! }
//! assert_eq!(engine.refusals().counts(&RefusalQuery::new())?.total, 1);
//! assert_eq!(engine.customers().erase("ann")?.events, 1);
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! # What if
//!
//! [`Engine::simulate`] replays what was recorded against other rules, in the traffic's own time,
//! and reports for each rule and key what they would have refused; [`Engine::suggest`] proposes the
//! limit that refuses no more than a share.
//!
//! ```
//! use limitry::events::EventQuery;
//! use limitry::simulation::Share;
//! use limitry::{Engine, Event, Metric, Period, Quota, RuleSet};
//!
//! let engine = Engine::builder().build()?;
//! for number in 1..=100_u64 {
//!     let customer = format!("cust_{number}");
//!     let _ = engine.track(&Event::new(&customer, "call").input_tokens(number))?;
//! }
//! let rule = |limit| Quota::new("Tokens", Metric::TotalTokens, limit, Period::Day);
//! let rule = |limit| rule(limit).per("customer_id");
//! let report = engine.simulate(RuleSet::new().quota(rule(90)), EventQuery::new())?;
//! assert_eq!((report.calls.refused, report.customers), (10, 100));
//! let suggestion = engine.suggest(rule(0), Share::of_customers(5))?;
//! assert_eq!(suggestion.limit, Some(95.into()));
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! # In front of services
//!
//! With the feature `tower` the layer `limitry::tower::LimitLayer` puts limits in front of any
//! tower service; with `http` the router of `limitry::http` answers the product's HTTP API, all
//! three generations of it; with `server` the program `limitry serve` does; and with `llm`
//! `limitry::llm::Usage` reads what providers report of a model call,
//! `limitry::llm::PriceBook` says exactly what that cost, and `limitry::llm::Estimator` how many
//! tokens to reserve for the next one.
//!
//! # Where to go
//!
//! | to know | read |
//! |---|---|
//! | how to do something common | [`guide::cookbook`] |
//! | how to reserve what a call may cost | [`Engine::reserve`], [`guide::reservations`] |
//! | how to wait for room | [`Engine::wait`], [`guide::waiting`] |
//! | what an answer means, and which time counts | [`guide::decisions`] |
//! | what a rule can say | [`guide::rules`], [`RateLimit`], [`Quota`], [`Meter`] |
//! | usage | [`guide::usage`], [`handles::Usage`], [`handles::Meters`], [`handles::Events`] |
//! | how rules change while the engine runs | [`handles::Rules`] |
//! | what survives a crash, and what can be lost | [`guide::durability`], [`handles::Store`] |
//! | what memory holds and what calls cost | [`guide::costs`] |
//! | how to watch the engine | [`guide::observability`] |
//! | how large an event may be | [`bounds`] |
//!
//! # Features and Rust
//!
//! No feature is on by default. A feature adds to what there is and never changes what a call
//! answers.
//!
//! | feature | adds | costs |
//! |---|---|---|
//! | `durable` | the engine [survives](guide::durability) in one file | the crate redb |
//! | `http` | the product's HTTP API as a router: `limitry::http` | axum, tokio |
//! | `llm` | what calls of models used, and what they cost: `limitry::llm` | the crate toml |
//! | `server` | the program `limitry` | what is named above, clap, hyper |
//! | `tower` | a layer for axum, tonic, hyper: `limitry::tower` | http, tower-service |
//! | `tokio` | the [timer](time::Timer) of the runtime that a task waits in | tokio's timer |
//! | `metrics` | [figures](guide::observability) of its own work | 270 to 400 instructions a call |
//! | `webhooks` | alerts as signed webhooks: `limitry::webhooks` | hmac, sha2, base64, http |
//! | `tracing` | [spans](guide::observability) of builds and rule changes | nothing a call |
//!
//! The crate needs Rust 1.90, a newer one in a minor release only, and has no unsafe code.

#![cfg_attr(docsrs, feature(doc_cfg))]
// No example may drop an answer unseen.
#![doc(test(attr(deny(unused_must_use))))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod adjustments;
pub mod alerts;
pub mod balances;
mod base;
mod compiled;
mod counters;
mod customers;
pub mod decision;
mod engine;
mod error;
mod event;
pub mod guide;
#[cfg(feature = "http")]
pub mod http;
mod idempotency;
mod journal;
#[cfg(feature = "llm")]
pub mod llm;
mod log;
mod recording;
pub mod refusals;
pub mod reservations;
pub mod rules;
mod telemetry;
#[cfg(feature = "tower")]
pub mod tower;
pub mod usage;
mod waiting;
#[cfg(feature = "webhooks")]
pub mod webhooks;
pub mod wire;

pub use self::base::amount::Amount;
pub use self::base::clock::Timestamp;
pub use self::customers::Customer;
pub use self::decision::{Decision, Outcome, RetryAfter};
pub use self::engine::{Engine, EngineBuilder, Reservation, Reserved};
pub use self::error::Error;
pub use self::event::{Event, Pricer, bounds};
pub use self::reservations::Hold;
pub use self::rules::{Condition, Meter, Metric, Period, Quota, RateLimit, Rule, RuleSet, Window};

/// Exact numbers, and what becomes one.
pub mod amount {
    pub use crate::base::amount::{AmountError, IntoAmount};
}

/// An engine as plain data.
pub mod config {
    pub use crate::engine::{EngineConfig, StoreConfig};
}

/// Why a call could not answer: one error a verb, and those that they are made of.
/// [`Error`] is any of them.
pub mod errors {
    pub use crate::base::words::UnknownWord;
    pub use crate::customers::CustomerError;
    pub use crate::engine::{
        AdjustError, BalanceError, BatchError, BatchProblem, BuildError, CorrectError,
        CustomersError, ExportError, ImportError, ReservationError, RulesError, SimulateError,
        TrackError, WaitError,
    };
    pub use crate::event::{EventError, PriceError};
    pub use crate::journal::store::StoreError;
    pub use crate::log::QueryError;
}

/// Recorded events, questions about them, and what becomes of a batch.
pub mod events {
    pub use crate::engine::{BatchEvent, BatchReport, EventIter, EventsAfter, Recording};
    pub use crate::event::PropertyValue;
    pub use crate::log::{Correction, CorrectionPage, CorrectionQuery};
    pub use crate::log::{EventId, EventIdParseError, EventPage, EventQuery, RecordedEvent};
}

/// What is known of customers beside their events.
pub mod customer {
    pub use crate::customers::{Customer, CustomerPage};
    pub use crate::engine::EraseReport;
}

/// Why an event is allowed or refused, rule by rule.
pub mod explain {
    pub use crate::engine::{
        Explanation, Precedence, RuleExplanation, RuleOutcome, UnseenDimension,
    };
}

/// The handles of an engine, one a noun. Each is as cheap to clone as the engine.
pub mod handles {
    pub use crate::engine::{
        Alerts, Balances, Customers, Events, Meters, Refusals, Reservations, Rules, Store, Usage,
        Wait, WaitReserve, Waiting,
    };
}

/// The keys of a rule: who has used how much of it, and what an operator gave back or took.
pub mod keys {
    pub use crate::adjustments::{Adjust, Adjustment, AdjustmentPage, AdjustmentQuery};
    pub use crate::engine::{KeyPage, KeyQuery, KeyUse, LastJudged};
    pub use crate::rules::RuleKey;
}

/// Rules that everybody writes: plans, to be changed and printed.
pub mod presets {
    pub use crate::rules::plans::{Plan, plans};
}

/// What other rules would have done with the calls that were made.
pub mod simulation {
    pub use crate::engine::{
        Attempt, Demand, OtherKeys, Share, SimulatedCalls, SimulatedKey, SimulatedRule, Simulation,
        SimulationReport, StartsFrom, Suggestion, Traffic,
    };
}

/// What survives an engine, and what goes in and out of it.
pub mod store {
    pub use crate::base::progress::Progress;
    pub use crate::engine::{
        BadLines, Committed, ExportReport, Health, ImportReport, SkippedLine, Space, SpaceError,
        SpacePage,
    };
    #[cfg(feature = "durable")]
    pub use crate::journal::redb::{OpenOptions, Storage};
    pub use crate::journal::{Durability, Durable, MemoryStore, OnFailure, VerifyReport};
}

/// Clocks, timers, and how times are written.
pub mod time {
    pub use chrono_tz::Tz;

    pub use crate::base::calendar::{TimeZone, TimeZoneParseError};
    pub use crate::base::clock::timer::*;
    pub use crate::base::clock::{
        Clock, ManualClock, SystemClock, TimestampParseError, TimestampRangeError,
    };
}
