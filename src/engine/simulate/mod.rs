//! What other rules would have done: calls are replayed by an engine of its own, each at its time.
//!
//! The same code decides as in any engine. A simulation is one that records nothing, whose table
//! is a single shard (there is one thread, and time runs back in none of it), and that is given
//! the instant of each decision in place of a clock. What is reported is made of its decisions.
//!
//! It has its own counters and rules, and of the engine that it was made by it reads what is
//! recorded: the [segments](crate::log) of the log, held by reference, and the roll-ups for what
//! was used before the first of their events ([`Past`]). So nothing of that engine changes, and
//! nobody waits for it but for the ledger's lock.

use std::fmt;
use std::sync::Arc;

use super::builder::EngineBuilder;
use super::recording::Recording;
use super::time::ClockReading;
use super::{Core, Engine};
use crate::base::clock::{ManualClock, Timestamp};
use crate::compiled::Snapshot;
use crate::counters::{Intent, Moment, Timeline};
use crate::decision::Decision;
use crate::engine::TrackError;
use crate::event::Event;
use crate::rules::{Rule, RuleSet, RuleSetError, set_problems};

mod error;
mod past;
mod report;
mod suggest;
mod tally;
mod text;
mod traffic;

pub use self::error::SimulateError;
pub(super) use self::past::Past;
pub use self::report::{
    Demand, OtherKeys, SimulatedCalls, SimulatedKey, SimulatedRule, SimulationReport, StartsFrom,
};
pub use self::suggest::{Share, Suggestion};
use self::tally::Tally;
use self::traffic::Opened;
pub use self::traffic::{Attempt, Traffic};
use super::history::Recorded;

/// What makes an engine one that replays calls.
#[derive(Debug)]
pub(super) struct Replay {
    timeline: Timeline,
    past: Option<Past>,
}

impl Replay {
    /// The line of the engine whose calls are replayed: its instants are the same here.
    pub(super) fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// Whether anything is known of what was used before the first call.
    pub(super) fn has_past(&self) -> bool {
        self.past.is_some()
    }

    /// What is recorded of the rules' use before the first call.
    #[cold]
    pub(super) fn known_use<'s>(
        &'s self,
        snapshot: &'s Snapshot,
        timeline: Timeline,
    ) -> Option<Recorded<'s>> {
        let past = self.past.as_ref()?;
        let (ledger, adjustments) = (past.ledger(), None);
        Some(Recorded { ledger, adjustments, snapshot, timeline, past: Some(past), refunds: None })
    }
}

/// Rules that are tried out: it decides about calls at times that it is told, and counts what
/// becomes of them.
///
/// [`Engine::simulate`] replays many calls at once. This is for whoever wants the answer to each.
///
/// ```
/// use std::time::Duration;
/// use limitry::simulation::Attempt;
/// use limitry::{Engine, Event, RateLimit, RuleSet, Window};
///
/// let engine = Engine::builder().build()?;
/// let calls = RateLimit::new("Calls", 2, Window::Minute).per("customer_id");
/// let mut simulation = engine.simulation(RuleSet::new().rate_limit(calls))?;
/// let start = engine.now();
/// let mut allowed = Vec::new();
/// for second in [0, 1, 2, 40] {
///     let at = start + Duration::from_secs(second);
///     let decision = simulation.replay(&Attempt::new(at, Event::new("cust_123", "call")))?;
///     allowed.push(decision.is_allowed());
/// }
/// assert_eq!(allowed, [true, true, false, true]);
/// let report = simulation.report(10);
/// assert_eq!((report.calls.calls, report.calls.refused), (4, 1));
/// # Ok::<(), limitry::Error>(())
/// ```
#[must_use = "it is for replaying calls"]
pub struct Simulation {
    engine: Engine,
    tally: Tally,
    demand: Demand,
    since: Option<Timestamp>,
    refused_since: Option<Timestamp>,
}

impl Engine {
    /// Replays calls against other rules, and reports what those would have refused.
    ///
    /// ```
    /// use limitry::events::EventQuery;
    /// use limitry::{Engine, Event, Metric, Period, Quota, RuleSet};
    ///
    /// let engine = Engine::builder().build()?;
    /// for tokens in [100, 200, 900, 50] {
    ///     let call = Event::new("cust_123", "call").input_tokens(tokens);
    ///     assert!(engine.track(&call)?.is_allowed());
    /// }
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 500, Period::Day).per("customer_id");
    /// let report = engine.simulate(RuleSet::new().quota(tokens), EventQuery::new())?;
    /// assert_eq!((report.calls.calls, report.calls.refused), (4, 1));
    /// let worst = &report.rules[0].worst[0];
    /// assert_eq!((worst.key.get("customer_id"), worst.exceeded), (Some("cust_123"), 1));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// An [`EventQuery`](crate::events::EventQuery) asks for recorded events, and [`Traffic`] says
    /// more: given calls, how many keys are reported, who is told of progress. Nothing of this
    /// engine changes, and its calls go on meanwhile.
    ///
    /// # What is replayed
    /// The recorded events that are in memory, in the order in which they were recorded, each at
    /// the instant at which it was decided about. An event whose timestamp is another instant than
    /// that is replayed with it, and counts in the period of its timestamp as it did; one whose
    /// timestamp is that very instant is taken for one without. Each is replayed as if it were
    /// [tracked](Self::track), also where it was recorded or committed whatever the rules said;
    /// events do not say how they came.
    ///
    /// A refused call is no event. Those that [`Recording::refusals`] keeps are replayed too, each
    /// at the instant of its decision, behind what was let in at the same one. Without them what is
    /// recorded is the demand that was let in: of rules that let in more the report says too
    /// little. [`SimulationReport::demand`] says what the calls were.
    ///
    /// [`Recording::refusals`]: crate::events::Recording::refusals
    ///
    /// # What it starts from
    /// Nothing, where all events that there ever were are replayed: the same rules then answer what
    /// they did. Else events are replayed from the instant [`SimulationReport::since`] on, and what
    /// quotas had used by then is asked of the [usage](Self::usage) that is kept; where that is not
    /// complete the rule's first period is
    /// [`Partial`](crate::simulation::StartsFrom::Partial). Rate limits start with nothing used.
    ///
    /// # What is left out
    /// Reservations are not replayed: what was committed is an event. So a
    /// [concurrent](crate::Quota::concurrent) quota refuses nobody here, unless its limit is 0, and
    /// says that it is [left out](SimulatedRule::left_out); so does a rule that takes from a
    /// [balance](crate::Quota::balance), since what was credited is not
    /// replayed. Idempotency keys are not looked at, and
    /// nothing bounds how many reservations a customer has. No alert fires. The engine's
    /// [prices](crate::EngineBuilder::prices) are not asked: a recorded event has the cost that it
    /// was recorded with, a given call the one that it says. Attributes of customers that a call
    /// does not say are those of now. Which keys find room
    /// under [`max_keys`](crate::RateLimit::max_keys) may differ, since idle keys are dropped at
    /// other times. Events dated so late that their period was closed are judged by counters that
    /// are kept for as long as the latest of the recorded events needs; of given calls by those
    /// that [`late_events`](crate::EngineBuilder::late_events) keeps.
    ///
    /// # Cost
    /// Half a microsecond a call or less, and memory for the counters of the keys and, beside
    /// them, 64 to 130 bytes for each key of each rule, of which at most a million are told apart;
    /// the others are summed up. The segments of the log are held until it is done.
    ///
    /// # Errors
    /// All problems of the rules at once, as [`build`](crate::EngineBuilder::build) says them;
    /// recording is off, and recorded events were asked for; the query has a cursor, breaks the
    /// rules of ids and keys, or its range ends where it starts, or before. A call that cannot be
    /// judged is no error: [`SimulationReport::unjudged`] counts them.
    pub fn simulate<'t>(
        &self,
        rules: RuleSet,
        calls: impl Into<Traffic<'t>>,
    ) -> Result<SimulationReport, SimulateError> {
        let mut traffic = calls.into();
        rules.validate()?;
        let opened = traffic.open(&self.core)?;
        let mut simulation = Simulation::of(&self.core, rules, &opened)?;
        opened.each(&mut |attempt| simulation.add(attempt));
        Ok(simulation.report(opened.keys()))
    }

    /// Tries rules out by calls that are given one by one, from nothing used: see [`Simulation`].
    ///
    /// # Errors
    /// All problems of the rules at once.
    pub fn simulation(&self, rules: RuleSet) -> Result<Simulation, SimulateError> {
        Simulation::from_nothing(&self.core, rules)
    }
}

/// The first instant of an engine's line. Nothing is decided before the rules come into force, so
/// that is when they do where the times of the calls are not known.
fn start_of_time(core: &Core) -> Timestamp {
    core.table.timeline().timestamp(Moment(0))
}

impl Simulation {
    fn from_nothing(core: &Core, rules: RuleSet) -> Result<Self, SimulateError> {
        Self::new(core, rules, (start_of_time(core), None), None)
    }

    fn of(core: &Core, rules: RuleSet, opened: &Opened<'_, '_>) -> Result<Self, SimulateError> {
        let start = opened.first().unwrap_or_else(|| start_of_time(core));
        let count = rules.rate_limits.len().saturating_add(rules.quotas.len());
        let past = opened.past(count);
        let mut simulation = Self::new(core, rules, (start, opened.latest()), past)?;
        (simulation.demand, simulation.since) = (opened.demand(), opened.since());
        simulation.refused_since = opened.refused_since();
        Ok(simulation)
    }

    /// A simulation that begins at an instant, of events that are at most so many seconds late.
    fn new(
        core: &Core,
        rules: RuleSet,
        (start, late): (Timestamp, Option<u64>),
        past: Option<Past>,
    ) -> Result<Self, SimulateError> {
        let (list, meters) = rules.into_parts();
        RuleSetError::check(set_problems(&list, &meters))?;
        // Nobody is told of what is only tried out.
        let list = list.into_iter().map(Rule::without_alerts);
        let list = list.map(Rule::with_full_balances).collect();
        let timeline = core.table.timeline();
        let kept = core.compiler.lock().late_seconds();
        let mut builder = EngineBuilder::new()
            .clock(ManualClock::new(start))
            .recording(Recording::Off)
            .max_keys(core.table.max_rows())
            .late_events(std::time::Duration::from_secs(kept.max(late.unwrap_or(0))));
        builder.replay = Some(Replay { timeline, past });
        builder.calendars = Some(core.calendars.copied());
        builder.directory = Some(Arc::clone(&core.directory));
        let engine = builder.build_in_memory(list, &meters);
        let tally = Tally::new(&engine.core.snapshot.load());
        Ok(Self { engine, tally, demand: Demand::Given, since: None, refused_since: None })
    }

    /// Decides about a call at its time, by all that was replayed before it, and counts what
    /// became of it. Time does not run back: a call that is before another is decided about at
    /// that one's time.
    ///
    /// # Errors
    /// As [`track`](Engine::track), but for idempotency keys, which are not looked at, and for how
    /// far ahead the event may be dated. The call is [counted](SimulationReport::unjudged) as one
    /// that could not be judged.
    pub fn replay(&mut self, attempt: &Attempt<'_>) -> Result<Decision, TrackError> {
        let valid = attempt.event.validate();
        if let Err(why) = valid {
            let refused = Err(why.into());
            self.tally.add(attempt, &refused);
            return refused;
        }
        self.judge(attempt)
    }

    /// The same where nobody wants the answer. What was recorded is valid.
    fn add(&mut self, attempt: &Attempt<'_>) {
        if self.demand == Demand::Given {
            let _ = self.replay(attempt);
            return;
        }
        let _ = self.judge(attempt);
    }

    #[inline]
    fn judge(&mut self, attempt: &Attempt<'_>) -> Result<Decision, TrackError> {
        let core = Arc::clone(&self.engine.core);
        if !core.attributes.are_named() {
            let decided = self.decide(attempt.at, &attempt.event);
            self.tally.add(attempt, &decided);
            return decided;
        }
        let Attempt { at, was_let_in, .. } = *attempt;
        core.as_rules_see(&attempt.event, |event| {
            let decided = self.decide(at, event);
            self.tally.add(&Attempt { at, event: event.lent(), was_let_in }, &decided);
            decided
        })
    }

    #[inline]
    fn decide(&self, at: Timestamp, event: &Event<'_>) -> Result<Decision, TrackError> {
        let core = &*self.engine.core;
        let moment = core.table.timeline().moment(at);
        let now = ClockReading { asked: moment, moment, takes_any_date: true };
        core.decide(event, Intent::Track, now, None)
    }

    /// Reports what became of the calls so far; of each rule at most so many keys, those of which
    /// the most calls were refused or over first. O(keys that were refused).
    #[must_use]
    pub fn report(&self, keys: usize) -> SimulationReport {
        let snapshot: &Arc<Snapshot> = &self.engine.core.snapshot.load();
        let replay = self.engine.core.replay.as_ref();
        let past = replay.and_then(|replay| replay.past.as_ref());
        self.tally.report(snapshot, past, (self.demand, self.since, self.refused_since), keys)
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("engine", &self.engine).finish_non_exhaustive()
    }
}
