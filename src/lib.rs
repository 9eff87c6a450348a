//! Rate limits, quotas and usage metering for AI applications, in one in-process call.
//!
//! An [`Engine`] lives in the application's process. Before a costly act (a model call, an
//! embedding, a tool run) ask [`Engine::track`]: it checks every rate limit and every quota that
//! matches the event, takes from all of them or from none, records the event, and answers in about
//! a microsecond, or in about half of one where nothing is recorded. There is no network hop,
//! and no background thread unless it has a [store](#durability).
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
//! Each promise has its tests, named here.
//!
//! 1. **All or nothing.** A decision takes from every matching rule or, when a hard rule refuses,
//!    from none. Decisions are linearizable: whatever threads do, the answers are those of some
//!    order of single calls. No limit is passed by one unit, and nobody is refused whom no order
//!    of the calls would refuse: nothing is taken first and given back later. *(`threads`,
//!    `decisions::model`)*
//! 2. **The exact wait.** [`Decision::retry_after`] is the earliest instant at which the same
//!    event passes if nothing else happens, over all matching rules together: at that instant it
//!    passes, one nanosecond earlier it does not. What can never pass says
//!    [`RetryAfter::Never`]. *(`decisions::retry`)*
//! 3. **Exact arithmetic.** Integers and fixed point, no floats, no remainder dropped, no wrap: 7
//!    a day and a million a second are both exact. Extremes give a value or an error, the same in
//!    debug and in release, and no input makes a call panic. *(`decisions::long_runs`,
//!    `wire::no_panic`)*
//! 4. **Cost follows matches, not definitions.** Among 100 000 rules of which four match, a call
//!    costs about what it costs with the four alone. *(`decisions::keys`, the bench
//!    `decide_by_definitions`)*
//! 5. **Bounded memory that is no bypass.** Counters that say no more than fresh ones are dropped
//!    by the calls that pass by, a few at a time; one that matters is never evicted. What new keys
//!    get at a cap is the rule's choice, its [`Overflow`]; a key that moves between a counter that
//!    it shares and one of its own loses nothing of what it used. *(`memory`,
//!    `decisions::overflow`)*
//! 6. **No time travel.** A clock that steps back mints nothing and refunds nothing. Calendar
//!    periods, which are those of UTC, are right across leap days, month ends and years.
//!    *(`decisions::model`, `decisions::long_runs`, `journal::clock`, the calendar's own tests)*
//! 7. **Nothing twice, nothing lost.** The idempotency key, the event and its counts are one step,
//!    in memory and, with the feature `durable`, on disk. Of two calls with one key at the same
//!    time one counts, and both get the same answer, also across a restart. Each [durability
//!    level](#durability) says what it survives. *(`events::idempotency`, `threads`, `journal`)*
//! 8. **Usage is conserved.** Whatever the order, the threads, the retries and the late events: the
//!    sums over any cut of time or of a dimension add up to the total, which is the fold of the
//!    events that were let in. What a cap leaves without a row of its own is in a row for the
//!    others, and an answer says which time it covers. *(`usage`, `events::retention`)*
//! 9. **Nobody hurts others.** What one customer sends is bounded where it comes in, by the
//!    [`bounds`], and costs the others no answer, no counter and no long lock. *(`events::bounds`,
//!    `wire::errors`, `usage`)*
//! 10. **Your code runs under no lock**: clocks, recorders, collectors and wakers may call the
//!     engine, and a panic of theirs leaves everything usable. *(`threads::callbacks`,
//!     `telemetry::metrics`)*
//!
//! # What it does not promise
//!
//! - **Other processes.** An engine counts for itself: two processes with one rule set admit up to
//!   twice the limits.
//! - **Survival without a store.** Counters, events and idempotency keys are in memory and end with
//!   the engine, unless it has a [store](#durability).
//! - **Fairness.** A refused event is not queued. Whoever asks first after a bucket has refilled
//!   gets the tokens, and a small event passes where a large one waits.
//! - **An order between keys.** Calls about different keys run side by side. Recorded events stand
//!   in the order in which they were recorded, which need not be that of their timestamps.
//! - **One step for a batch.** [`Engine::track_batch`] decides event by event, and so does
//!   [`Engine::record_batch`] once all are checked; other calls may come in between.
//!   [`Engine::explain`] looks at the rules right after its decision, so a change in between may
//!   show.
//! - **Idempotency beyond the cap.** Keys are kept for 24 hours or more, but at most so many
//!   ([`EngineBuilder::idempotency_max_keys`]): the oldest are forgotten early, and a retry of one
//!   of those counts again.
//! - **A wait at a full cap.** A rule that denies new keys says `Never`, because the wait hangs on
//!   other keys; one that shares a counter among them promises the wait for that counter.
//! - **Very late events without a record.** A calendar quota keeps the counter of a period for
//!   [`EngineBuilder::late_events`], an hour by default. An event that comes later is judged by the
//!   recorded events; where recording is off, or retention has taken them, it is an
//!   [`EventError::TooLate`] from `track` if the quota could refuse it. A quota on trial and
//!   [`Engine::record`] leave that period alone.
//! - **The last sixtieth of a crowded window.** [`Algorithm::SlidingWindow`] and
//!   [`Period::rolling`] tell 62 instants of use apart. Where there are more in a window, some use
//!   leaves late, by less than a sixtieth of the length, and a call may be refused for as long.
//! - **Prompt release of memory.** Idle counters are dropped by calls; an engine that nobody calls
//!   keeps what it has.
//!
//! # What a decision means
//!
//! Rate limits and quotas are evaluated all of them, and a [`Decision`] lists each that matches
//! with the figures of the deciding step: after the event when it was admitted, without it when it
//! was refused. `exceeded` says that this rule refused the event.
//!
//! - Its [`Outcome`] is one of three. *Admitted*: this call counted the event; go ahead.
//!   *Replayed*: the event has an idempotency key that let it in before, and this is that first
//!   answer again; nothing is counted, and what the event stands for must not be done twice.
//!   *Refused*: nothing is counted. [`is_allowed`](Decision::is_allowed) is true for the first
//!   alone. In HTTP a replay is its first answer, 201 and the same body, with the header
//!   `Idempotent-Replayed: true`.
//! - A quota refuses when used + amount > limit, a token bucket when it holds less than the cost.
//!   What adds nothing to a rule is never refused by it, at the limit or above: an event without
//!   the metric, a cost of 0, a refund, a gauge that does not rise. A limit of 0 blocks, and a rule
//!   without a limit counts and refuses nothing. How each algorithm counts, and the most that it
//!   admits in any span of its window, is said at [`Algorithm`] and [`RateLimit::worst_case`].
//! - An amount below zero (a refund, a correction) counts in quotas and meters as what it is: less
//!   than nothing may be used, and no more than the limit is left. A rate limit gives back the
//!   newest uses of the window, or what a bucket misses, and no more.
//! - Rate limits go by the engine's clock, quotas by the event's timestamp: a late event counts in
//!   the period of its timestamp and in no later one, in a rolling period until its timestamp is so
//!   long ago. More than 24 hours ahead is an error.
//! - What is only recorded, and not asked for, takes a token bucket below empty, and it pays back:
//!   see [`RateLimit::max_debt`].
//! - A refused event is recorded nowhere, counts nowhere, and leaves its idempotency key free.
//! - A key is its customer's, and a retry has the key and payload of the first event, whatever its
//!   timestamp: see [`Event::idempotency_key`]. The key with another payload is a conflict.
//! - Of the rules of one policy that match, one judges and stands in the answer; all count, a rate
//!   limit no more than it has left. Quotas thus have one figure, whichever judged when.
//! - A rule is hard, soft (counts, refuses nobody) or shadow (does to its own counter what a hard
//!   rule would, refuses nobody): see [`Enforcement`].
//! - A refusal is a value. Errors are events and rules that cannot be judged; each names the field
//!   and the reason, and a call that returns one has changed nothing.
//! - How large an event may be is bounded, the same for every way in: [`bounds`]. What is wrong
//!   in a body is named by its path: `events[3].inputTokens: -1 must be a whole number from 0 ...`.
//! - A change of a rule carries its use over, as [`RateLimitUpdate`] and [`QuotaUpdate`] say.
//!
//! # Time
//!
//! The engine reads its [`Clock`] once a call, before it locks anything, and treats the reading as
//! the instant of the whole decision. Inside an engine time never runs back. [`SystemClock`], the
//! default, counts on the monotonic clock and follows the wall clock forward only: a suspend and a
//! step forward pass as time, a step back changes nothing for as long as the process runs, a
//! leap second is what the operating system makes of it. [`ManualClock`] stands still until it is
//! moved, for tests, simulations and replays.
//!
//! # Memory
//!
//! A *key* is one combination of values of one partition, such as one customer, and the rules of
//! the partition share its row. In bytes, beside the allocator's own, it takes
//!
//! ```text
//!    16
//!  +  8 * (length / 8 + 1)   for each value of the key; length / 8 is rounded down
//!  + 24                      for each rate limit and calendar quota, once more for each other
//!                            period that late or early events keep; 32 where a count is beyond
//!                            63 bits of its unit, 40 for one of a `max` or `latest` meter
//!  + 16                      for each sliding window and rolling quota, and 16 for each instant of
//!                            use in the window, with room for 1, 2, 4, 8, 16, 32 or 63 of them:
//!                            32 to 1 024. See `Algorithm` and `Period` for large and negative
//!                            amounts
//!  + 20 to 39                for a slot of the hash table, by its load
//! ```
//!
//! Two rate limits and two quotas for a customer id of 12 bytes: 148 to 167. A rule that has lost
//! to another of its policy has a counter as well. A key gets its row with its first use, and loses
//! it some calls after all its counters have come to rest. Of rules whose filter the partition does
//! not imply at most 16 share a row. Keys are capped at 10 million
//! ([`EngineBuilder::max_keys`]), and for a rule by its own [`max_keys`](RateLimit::max_keys).
//!
//! | what | bytes | how many |
//! |---|---|---|
//! | a rule | about 1 400 | as you define |
//! | an idempotency key, with its answer of up to 8 rules | about 930 | a million |
//! | the same with a store | 17 to 30 | 20 million |
//! | a recorded event, its strings and numbers packed | 70 to 110 for a model call | 100 000 |
//! | a row of the roll-ups; 104 more with one or two named values | 74 | see [`RollupOptions`] |
//! | a customer that is new to the roll-ups, with its first rows | about 711 | 100 000 values |
//! | an engine, more on machines of many cores | about 10 000 | |
//!
//! # Cost
//!
//! | call | locks | look-ups | allocations |
//! |---|---|---|---|
//! | `track`, `check`, `standing` | a shard for each key | one a filter shape, one a key | none |
//! | ... with a new key | the same | the same | its row, and a table that grows |
//! | ... with recording on | and the ledger | and one a declared dimension | new rows of roll-ups |
//! | ... with an idempotency key | and the key's | and one | the key and the answer |
//! | ... with a store | and the queue, for a copy | none | none, but a retry's answer |
//! | statuses, `retry_after` | none | none | none |
//! | `headers` | none | none | one a header |
//! | `explain` | as `check` | every rule | O(rules) |
//! | usage, meters | the ledger, for the roll-ups | one a bucket and series | O(groups * points) |
//! | ... by another dimension | the ledger, at first | the log's events of the range | groups |
//! | `events().list` | the ledger, once a segment | 8 bytes an event, up to a page | a page |
//! | a change of rules | each shard in turn | every rule | O(rules); O(keys) to convert counters |
//!
//! A *filter shape* is a set of dimensions that filters ask for: 100 000 rules that filter by
//! customer and model have one. "None" holds for borrowed strings, at most three properties and
//! two named values, and at most 8 matching rules in 4 partitions. Decisions wait some microseconds
//! for a change of rules, and never for its conversion of counters. Locks are held for arithmetic
//! and for the copy into the log, never over your code.
//!
//! # Durability
//!
//! With the feature `durable` an engine survives its process. Events, counters, usage, idempotency
//! keys, rules and meters are kept in one file, and are back before the first decision.
//!
//! ```no_run
//! # #[cfg(feature = "durable")]
//! # fn main() -> Result<(), limitry::Error> {
//! use limitry::{Durability, Durable, Engine, Event, RateLimit, Window};
//!
//! let store = Durable::open("limitry.redb")?.durability(Durability::Synced);
//! let calls = RateLimit::new("Calls", 1_000, Window::Hour).per("customer_id");
//! let engine = Engine::builder().rate_limit(calls).durable(store).build()?;
//! let event = Event::new("cust_123", "model_call").idempotency_key("req_abc123");
//! let decision = engine.track(&event)?;
//! assert!(decision.is_allowed()); // and on disk
//! engine.close()?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "durable"))]
//! # fn main() {}
//! ```
//!
//! Decisions are made in memory, as without a store. Under the locks of its decision an event
//! becomes a *record*, with its idempotency key and with how each rule counted it, and is put into
//! a bounded queue. One thread takes what waits there and *commits* it: one transaction, and one
//! sync of the disk, for up to `max_batch` records. From time to time it also copies counters and
//! roll-ups into a *checkpoint*, while decisions go on. Opening loads the newest complete
//! checkpoint and redoes the records since. The durability level says how long calls wait, and so
//! what can be lost at the most:
//!
//! | level | a panic, `kill -9` | power fails | disk full, a write fails | a bit flips |
//! |---|---|---|---|---|
//! | `Memory` | lost: at most two batches | the same | lost: what waits | detected |
//! | `Buffered` | lost: the last `max_delay` and one commit | the same | the same | detected |
//! | `Synced` | kept: all that was answered | kept | the call is an error | detected |
//!
//! `Buffered` is the default; `max_delay` is 2 ms and `max_batch` 4 096 records. While records come
//! faster than the disk takes them more of them wait, and can be lost: at most `max_waiting`,
//! 65 536, with `max_waiting_bytes`, 64 MiB, from where on calls wait for room. A task awaits
//! `Engine::committed` where a `Synced` call would block its thread.
//!
//! - Records are lost from the end only, and each as a whole. A counter is never lower than what
//!   was answered and kept.
//! - Damage is an error that names the damaged part, and never a wrong count. Checksums find
//!   accidents; they are no protection against somebody who changes the file on purpose.
//! - What redb makes of damaged pages may be a panic, which becomes an error. A program that is
//!   built with `panic = "abort"` ends there.
//! - A failed write stops the store. The engine refuses from then on, or goes on in memory, as
//!   `Durable::on_failure` chose; `Engine::health` tells.
//! - A file has one engine at a time. Rules of the code are merged into those of the file:
//!   whichever changed last holds.
//!
//! `Engine::verify` checks the whole store while the engine runs, `backup` copies it, `compact`
//! makes its file smaller; [`Engine::export`] and [`Engine::import`] move events as lines of JSON.
//!
//! An idempotency key takes 17 to 30 bytes of memory for as long as it is kept, 24 hours or
//! [more](EngineBuilder::idempotency_retention): the answer to a retry is read back from its
//! record. Opening checks every page of the file, which takes about half a second a gigabyte
//! (`OpenOptions::quick` leaves it out). The smallest commit writes some 40 KB. On disk a model
//! call with a key and two rules takes some 250 bytes, for the time of `Durable::retention`, 35
//! days by default.
//!
//! # Cookbook
//!
//! **Limits for each customer, for all together, for one model.** [`per`](RateLimit::per) splits a
//! counter, [`filter`](RateLimit::filter) chooses events. Any string property is a dimension.
//!
//! ```
//! # use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};
//! let budget = Quota::new("a team's budget", Metric::TotalCostCents, 50_000, Period::Month);
//! let engine = Engine::builder()
//!     .rate_limit(RateLimit::new("a customer", 60, Window::Minute).per("customer_id"))
//!     .rate_limit(RateLimit::new("all together", 10_000, Window::Minute))
//!     .rate_limit(RateLimit::new("gpt-4", 20, Window::Second).filter("model", "gpt-4").burst(40))
//!     .quota(budget.per("team_id"))
//!     .build()?;
//! let event = Event::new("cust_123", "model_call").model("gpt-4").property("team_id", "eng");
//! let decision = engine.track(&event)?;
//! assert_eq!((decision.rate_limits().count(), decision.quotas().count()), (3, 1));
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! **Plans, and a customer's own limit.** Rules of one [`policy`](RateLimit::policy) compete, and
//! of those that match the most specific judges alone. The others count what it lets in, so that
//! whichever judges next knows what was used; each takes a counter of the key for that.
//!
//! ```
//! # use limitry::{Engine, Event, RateLimit, Window};
//! let calls = |name, limit| {
//!     RateLimit::new(name, limit, Window::Minute).per("customer_id").policy("calls")
//! };
//! let engine = Engine::builder()
//!     .rate_limit(calls("free", 10))
//!     .rate_limit(calls("pro", 600).filter("plan", "pro"))
//!     .rate_limit(calls("big", 9_000).filter("plan", "pro").filter("customer_id", "cust_7"))
//!     .build()?;
//! let decision = engine.track(&Event::new("cust_7", "model_call").property("plan", "pro"))?;
//! assert_eq!(decision.rate_limits().map(|status| status.name).collect::<Vec<_>>(), ["big"]);
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! **Trying a rule out.** A rule in the [shadow](Enforcement::Shadow) counts and reports, refuses
//! nobody, and is not told to callers in headers. Its status says `exceeded` where it would have
//! refused; an update makes it hard, with its counts kept.
//!
//! ```
//! # use limitry::{Enforcement, Engine, Event, RateLimit, RateLimitUpdate, Window};
//! let trial = RateLimit::new("tighter", 1, Window::Hour).enforcement(Enforcement::Shadow);
//! let engine = Engine::builder().rate_limit(trial.id("rl_tighter")).build()?;
//! let event = Event::new("cust_123", "model_call");
//! assert!(engine.track(&event)?.is_allowed());
//! let decision = engine.track(&event)?;
//! assert!(decision.is_allowed() && decision.rate_limits().any(|status| status.exceeded));
//! let hard = RateLimitUpdate::new().enforcement(Enforcement::Hard);
//! engine.update_rate_limit("rl_tighter", hard)?;
//! assert!(!engine.track(&event)?.is_allowed());
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! **Rules from a file, also while running.** A [`RuleSet`] is plain serde data: JSON, TOML, YAML.
//! [`Engine::sync`] makes the rules match it, and touches none that stays the same.
//!
//! ```
//! # use limitry::{Engine, RuleSet, SyncOptions};
//! # let engine = Engine::builder().build()?;
//! let rules: RuleSet = toml::from_str(
//!     r#"
//!     [[rateLimits]]
//!     name = "Calls"
//!     limitValue = 1000
//!     window = "hour"
//!     per = "customer_id"
//!     "#,
//! )?;
//! let report = engine.sync(rules, SyncOptions::apply())?;
//! assert_eq!(report.created, ["Calls"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Headers in a web handler.** A decision has its [status code](Decision::status_code), its
//! [header pairs](Decision::headers), also in the fields of the
//! [IETF draft](HeaderDialect::Draft10), and it serializes as the body. They tell the client all
//! there is to tell; whether to do the work is the [outcome](Decision::outcome)'s to say.
//!
//! ```
//! # use limitry::{Engine, Event, HeaderDialect, Outcome};
//! # let engine = Engine::builder().build()?;
//! # let call_the_model = || {};
//! let call = Event::new("cust_123", "model_call").idempotency_key("req_1");
//! let decision = engine.track(&call)?;
//! match decision.outcome() {
//!     Outcome::Admitted => call_the_model(),
//!     Outcome::Replayed | Outcome::Refused => {}
//! }
//! let mut response = format!("HTTP/1.1 {}\r\n", decision.status_code());
//! for (name, value) in decision.headers().chain(decision.headers_in(HeaderDialect::Draft10)) {
//!     response += &format!("{name}: {value}\r\n");
//! }
//! response += &format!("\r\n{}", serde_json::to_string(&decision)?);
//! # assert!(response.starts_with("HTTP/1.1 201"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Tests without waiting.** One handle of a [`ManualClock`] goes into the engine, the other
//! moves it.
//!
//! ```
//! # use std::time::Duration;
//! # use limitry::{Engine, Event, ManualClock, RateLimit, RetryAfter, Window};
//! let clock = ManualClock::new("2024-01-15T10:30:00Z".parse()?);
//! let calls = RateLimit::new("Calls", 1, Window::Minute);
//! let engine = Engine::builder().clock(clock.clone()).rate_limit(calls).build()?;
//! let event = Event::new("cust_123", "model_call");
//! assert!(engine.track(&event)?.is_allowed());
//! let wait = Duration::from_secs(60);
//! assert_eq!(engine.track(&event)?.retry_after(), Some(RetryAfter::After(wait)));
//! clock.advance(wait);
//! assert!(engine.track(&event)?.is_allowed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **What happened.** [`Engine::events`] lists what was recorded, the newest first, by filter and
//! by page; [`Engine::record_batch`] brings in up to 1 000 events that happened, all or none.
//!
//! ```
//! # use limitry::{Engine, Event, EventQuery};
//! # let engine = Engine::builder().build()?;
//! let call = |key| Event::new("cust_123", "model_call").total_tokens(9).idempotency_key(key);
//! let report = engine.record_batch(&[call("a"), call("b"), call("b"), call("c")])?;
//! assert_eq!((report.count, report.duplicates), (3, 1));
//!
//! let page = engine.events().list(&EventQuery::new().customer("cust_123").limit(2))?;
//! assert_eq!((page.data.len(), page.has_more), (2, true));
//! let all = engine.events().iter(EventQuery::new().event_type("model_call"))?;
//! assert_eq!(all.filter_map(|found| found.event.amount("total_tokens")).count(), 3);
//! # Ok::<(), limitry::Error>(())
//! ```
//!
//! **Who used what.** [`Engine::usage`] sums up the recorded events from roll-ups, at a cost that
//! follows buckets and groups; [`Engine::meter`] asks for the figure of a [`Meter`].
//!
//! ```
//! # use std::time::Duration;
//! # use limitry::{
//! #     Engine, Event, Interval, ManualClock, Meter, MeterQuery, Timestamp, UsageQuery,
//! # };
//! # let clock = ManualClock::new("2024-01-15T10:30:00Z".parse()?);
//! let agents = Meter::max("Peak of agents", "agents").id("mtr_peak");
//! let engine = Engine::builder().clock(clock).meter(agents).build()?;
//! engine.record_batch(&[
//!     Event::new("cust_123", "model_call").model("gpt-4").total_tokens(900),
//!     Event::new("cust_123", "agent.count").value("agents", 4),
//! ])?;
//!
//! let start: Timestamp = "2024-01-15T00:00:00Z".parse()?;
//! let day = UsageQuery::new(start, start + Duration::from_secs(86_400));
//! let summary = engine.usage().summary(&day)?;
//! assert_eq!((summary.totals.total_events, summary.totals.total_tokens), (2, 900));
//! let models = engine.usage().breakdown(&day, "model")?;
//! let rows = models.rows.iter().map(|row| row.dimension.as_deref());
//! assert_eq!(rows.collect::<Vec<_>>(), [None, Some("gpt-4")]);
//! let hours = engine.usage().timeseries(&day, Interval::Hour)?;
//! assert_eq!(hours.points[10].totals.total_events, 2);
//! let peak = engine.meter("mtr_peak").query(&MeterQuery::new().customer("cust_123"))?;
//! assert_eq!(peak.value.to_string(), "4");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Other questions.** [`Engine::check`] answers what `track` would and takes nothing;
//! [`Engine::record`] counts and refuses nobody; [`Engine::standing`] says what is left;
//! [`Engine::explain`] lists also the rules that nearly matched, and what they missed.
//!
//! # Features and Rust
//!
//! No feature is on by default. A feature adds to what there is and never changes what a call
//! answers.
//!
//! - **`durable`**: the engine survives, as [said above](#durability). Takes redb and two small
//!   crates more.
//! - **`metrics`**: the engine counts its own work, for the recorder of the
//!   [`metrics`](https://docs.rs/metrics) facade. A call takes 270 to 400 instructions more, and
//!   what the recorder takes.
//! - **`tracing`**: building an engine, and each change of its rules, is a span of
//!   [`tracing`](https://docs.rs/tracing), with the rules that are then in force or the error as
//!   its event. Calls are not traced, and cost the same.
//!
//! Install the recorder before the engine is built: figures go to the one that is there when the
//! engine is built or the rule compiled. Several engines of a process add up. The recorder is
//! called after a decision, when its locks are free.
//!
//! | figure | labels | what it counts |
//! |---|---|---|
//! | `limitry_decisions_total` | `verb`, `outcome` | decisions, replays left out |
//! | `limitry_idempotent_replays_total` | | answers given again to an idempotency key |
//! | `limitry_refusals_total` | `rule` | refused events that did not fit this hard rule |
//! | `limitry_near_limit_total` | `rule` | admitted events after which 80 % or more were used |
//! | `limitry_overflow_total` | `rule` | decisions in which a key found no room |
//! | `limitry_keys_evicted_total` | | keys whose idle counters were dropped |
//! | `limitry_live_keys` | | a gauge: keys that have counters |
//! | `limitry_store_failed` | | a gauge: engines whose store has failed |
//! | `limitry_store_waiting_records` | | a gauge: records that wait for their commit |
//! | `limitry_events_ahead_seconds` | | a gauge: how far a store's latest event is ahead |
//! | `limitry_clock_set_back_seconds` | | a gauge: how far clocks are behind their stores |
//! | `limitry_events_recorded_total` | | recorded events |
//! | `limitry_events_unmatched_total` | | events that were let in and that no rule counted |
//!
//! `verb` is `track`, `check` or `record`; `outcome` is `allowed`, which is admitted by this call,
//! `refused` or `error`. `check` is counted as a decision and nowhere else, `standing` not at all.
//! `rule` is the rule's id; a thousand rules get a label of their own, over the life of an engine,
//! and all others share `other`. No label is ever a key's value.
//!
//! The crate needs Rust 1.90; a newer Rust is asked for in a minor release only. There is no
//! unsafe code in it.

// No example may drop an answer unseen.
#![doc(test(attr(deny(unused_must_use))))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod base;
mod compiled;
mod counters;
mod decision;
mod engine;
mod error;
mod event;
mod headers;
mod idempotency;
mod journal;
mod log;
mod recording;
mod rules;
mod telemetry;
mod usage;

pub use self::base::amount::{Amount, AmountError, IntoAmount};
pub use self::base::clock::{
    Clock, ManualClock, SystemClock, Timestamp, TimestampParseError, TimestampRangeError,
};
pub use self::base::progress::Progress;
pub use self::decision::{Decision, Outcome, QuotaStatus, RateLimitStatus, RetryAfter, Standing};
pub use self::engine::{
    BadLines, BatchEvent, BatchReport, Engine, EngineBuilder, EventIter, Events, Explanation,
    ExportReport, ImportReport, MeterHandle, Recording, RuleExplanation, RuleOutcome, SkippedLine,
    UnseenDimension, Usage,
};
pub use self::engine::{Committed, Health};
pub use self::error::{
    BatchError, BatchProblem, BuildError, Error, EventError, ExportError, ImportError, QueryError,
    RuleProblem, RuleSetError, RulesError, TrackError,
};
pub use self::event::{Event, EventBatch, PropertyValue, bounds};
pub use self::headers::{HeaderDialect, Headers};
#[cfg(feature = "durable")]
pub use self::journal::redb::{OpenOptions, Storage};
pub use self::journal::store::StoreError;
pub use self::journal::{Durability, Durable, OnFailure, VerifyReport};
pub use self::log::{EventId, EventIdParseError, EventPage, EventQuery, RecordedEvent};
pub use self::rules::{
    Aggregation, Algorithm, Enforcement, EventFilter, FieldChange, Meter, MeterField,
    MeterFieldParseError, MeterUpdate, Metric, MetricParseError, MetricValue, OnMissing, Overflow,
    Period, PeriodParseError, Quota, QuotaUpdate, RateLimit, RateLimitUpdate, RuleChange, RuleSet,
    SyncOptions, SyncReport, Window, WindowParseError,
};
pub use self::usage::{
    BreakdownRow, Coverage, Generic, Interval, IntervalParseError, MeterQuery, MeterValue,
    RollupOptions, TimeseriesPoint, UsageBreakdown, UsageQuery, UsageSummary, UsageTimeseries,
    UsageTotals,
};
pub use chrono_tz::Tz;
