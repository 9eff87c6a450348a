//! The engine: one method a verb. It knows every room; no room knows it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use self::history::Recorded;
use self::simulate::Replay;
use self::time::{ClockReading, MonotonicTime};
use crate::adjustments::Adjustments;
use crate::base::clock::{Clock, Timestamp};
use crate::compiled::{CompiledRule, Compiler, Exception, Matches, Snapshot};
use crate::counters::{
    Committed as Charged, History, Intent, MAX_AHEAD_SECONDS, Request, Table, Undecided,
};
use crate::customers::{Attributes, Calendars, Directory};
use crate::decision::{Decision, Receipt, Standing};
use crate::event::{Dimension, DimensionHashes, Event, EventError, Pricer};
use crate::idempotency::{CustomerKey, IdempotencyKeys};
use crate::journal::Pipeline;
use crate::recording::Ledger;
use crate::refusals::RefusalLog;
use crate::reservations::ReservationMap;
use crate::rules::{Cost, Period, Quota, Rule};
use crate::telemetry::HAS_RECORDER;

mod adjust;
mod alerts;
mod balances;
mod batch;
mod builder;
mod complete;
mod config;
mod correct;
mod customers;
mod error;
mod events;
mod explain;
mod figures;
mod history;
mod meters;
mod recording;
mod refusals;
mod reservations;
mod rules;
mod simulate;
mod store;
mod time;
mod transfer;
mod usage;
mod waiting;

pub use self::alerts::Alerts;
use self::alerts::EngineAlerts;
pub use self::balances::{BalanceError, Balances};
pub use self::batch::{BatchEvent, BatchReport};
pub use self::builder::EngineBuilder;
pub use self::config::{EngineConfig, StoreConfig};
pub use self::customers::{Customers, CustomersError, EraseReport};
pub use self::error::{
    AdjustError, BatchError, BatchProblem, BuildError, CorrectError, ExportError, ImportError,
    RulesError, TrackError, WaitError,
};
pub use self::events::{EventIter, Events, EventsAfter};
pub use self::explain::{Explanation, Precedence, RuleExplanation, RuleOutcome, UnseenDimension};
use self::figures::EngineFigures;
pub use self::meters::Meters;
pub use self::recording::Recording;
pub use self::refusals::Refusals;
pub use self::reservations::{Reservation, ReservationError, Reservations, Reserved};
pub use self::rules::{KeyPage, KeyQuery, KeyUse, LastJudged, Rules};
pub use self::simulate::{
    Attempt, Demand, OtherKeys, Share, SimulateError, SimulatedCalls, SimulatedKey, SimulatedRule,
    Simulation, SimulationReport, StartsFrom, Suggestion, Traffic,
};
pub use self::store::{Committed, Health, Space, SpaceError, SpacePage, Store};
pub use self::transfer::{BadLines, ExportReport, ImportReport, SkippedLine};
pub use self::usage::Usage;
use self::waiting::Waiters;
pub use self::waiting::{Wait, WaitReserve, Waiting};

/// Rate limits, quotas and the events that were let in, in one process: a handle of it.
///
/// A clone is another handle of the same engine, at the cost of a reference count: give one to each
/// thread, task and web handler. An engine is `Send + Sync + 'static` and every method takes
/// `&self`. It needs no background thread, but for the one that writes to its store where it has
/// one. Dropping the last handle ends what it knows, but for what that store keeps.
///
/// A thread keeps up to eight of the decisions that it dropped, to fill them again, and each keeps
/// the rule set that it was made by alive: the rules and their index, without counters or events.
/// So a rule set that was replaced, or whose engine is gone, may stay in memory until the threads
/// that decided by it end.
///
/// The cost of a decision is one reading of the clock, one look into the index for each filter
/// shape that the event could match, and for each group of matching rules with the same
/// partition one hash, one lock and one look-up. See the crate's front page for what is promised.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
}

/// What the handles of an engine share. It closes with the last of them.
struct Core {
    clock: Box<dyn Clock>,
    /// Where the clock may be set back.
    monotonic: Option<MonotonicTime>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    table: Arc<Table>,
    /// Held by whoever changes the rules.
    compiler: Mutex<Compiler>,
    ledger: Option<Arc<Ledger>>,
    /// What was refused, where events are recorded.
    refusals: Option<Arc<RefusalLog>>,
    /// Whether it records or has a store.
    is_kept: bool,
    keys: IdempotencyKeys,
    reservations: Arc<ReservationMap>,
    adjustments: Arc<Adjustments>,
    /// What makes it survive, where something does.
    pipeline: Option<Pipeline>,
    /// What events without a cost cost.
    prices: Option<Arc<dyn Pricer>>,
    hasher: ahash::RandomState,
    figures: EngineFigures,
    waiting: Waiters,
    alerts: EngineAlerts,
    /// Where it only tries rules out, by calls that are replayed.
    replay: Option<Replay>,
    /// Whose midnights periods go by, where their rule does not say it.
    calendars: Arc<Calendars>,
    directory: Arc<Directory>,
    /// What of customers stands in for dimensions that events do not say.
    attributes: Attributes,
}

impl Engine {
    /// Starts the definition of an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::new()
    }

    /// Decides about an event: takes from every rate limit and quota that matches it and records
    /// it, or, when a hard rule refuses, takes from none and records nothing.
    ///
    /// The [`outcome`](Decision::outcome) is one of three: admitted, refused, or, where an
    /// idempotency key let the same event in before, replayed: that first answer is given again,
    /// and nothing is counted.
    ///
    /// Linearizable with every other call. Allocates nothing when every matching key is known,
    /// recording is off, and at most 8 rules in 4 partitions match.
    ///
    /// # Errors
    /// A field of the event breaks its rule; the timestamp is more than 24 hours ahead, or falls
    /// in the period of a hard quota to which it adds something, that ended too long ago and of
    /// which not all is recorded; the idempotency key was used for another payload. Nothing is
    /// counted then. A refusal is not an error.
    pub fn track(&self, event: &Event<'_>) -> Result<Decision, TrackError> {
        self.core.once(event, Intent::Track)
    }

    /// Answers what [`track`](Self::track) would, with the same outcome and figures, and takes and
    /// records nothing. A key that let the same event in before is replayed here, too.
    ///
    /// # Errors
    /// As `track`.
    pub fn check(&self, event: &Event<'_>) -> Result<Decision, TrackError> {
        self.core.counted(Intent::Check, || self.core.look(event))
    }

    /// Counts and records an event whatever the rules say: metering without enforcement.
    ///
    /// The decision is admitted, or the replay of one that was, so that there is no need to look
    /// at it; `exceeded` marks the rules that the event went over. A token bucket goes into debt,
    /// as far as its [`max_debt`](crate::RateLimit::max_debt) lets it, and pays back. What happened
    /// a whole window ago or longer leaves a rate limit and a rolling quota alone: an import of old
    /// events blocks nobody. What is younger counts in sliding windows and rolling quotas at its
    /// own time, in other rate limits now.
    ///
    /// # Errors
    /// As `track`, but never for a late event.
    pub fn record(&self, event: &Event<'_>) -> Result<Decision, TrackError> {
        self.core.once(event, Intent::Record)
    }

    /// Decides about events one after the other, as [`track`](Self::track) does, with one answer
    /// each. The batch as a whole is not one step: other calls may come in between.
    #[must_use = "each may be a refusal, a replay or an error"]
    pub fn track_batch(&self, events: &[Event<'_>]) -> Vec<Result<Decision, TrackError>> {
        let at_once = |event| {
            self.core.counted(Intent::Track, || {
                let answer = self.core.answer_at_once(event, Intent::Track);
                self.core.note_refusal_in(event, &answer);
                answer
            })
        };
        let answers = events.iter().map(at_once).collect();
        self.core.all_acknowledged(answers)
    }

    /// Says where the event's dimensions stand on every rule that matches, whatever the event
    /// brings; takes nothing.
    ///
    /// It asks whether anything is left, as a check over the wire without amounts does, and
    /// [`check`](Self::check) whether this event fits: one that adds nothing fits where nothing is
    /// left.
    ///
    /// # Errors
    /// As `track`, but for idempotency keys, which are not looked at.
    pub fn standing(&self, event: &Event<'_>) -> Result<Standing, TrackError> {
        event.validate()?;
        let now = self.core.read_clock();
        let core = &self.core;
        core.with_attributes(event, |event| {
            let decision = core.decide_by(event, Intent::Standing, now, Costs::Nothing, None)?;
            Ok(decision.into_standing())
        })
    }

    /// Returns the engine's time: its clock's, and where that was set back the highest that it has
    /// shown, which goes on at the clock's pace.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// For tests and benches: lets everyday decisions go the straight path, as they do, or has all
    /// made step by step.
    #[doc(hidden)]
    pub fn go_straight(&self, straight: bool) {
        self.core.table.go_straight(straight);
    }

    /// For tests and benches: how many decisions that asked rules went the straight path, and how
    /// many were made step by step.
    #[doc(hidden)]
    #[must_use]
    pub fn paths(&self) -> (u64, u64) {
        let paths = self.core.table.paths();
        (paths.straight, paths.step_by_step)
    }

    /// Returns how many keys have counters now: one for each value of each partition that rules
    /// count, until it is idle and upkeep has come by.
    #[must_use]
    pub fn live_keys(&self) -> u64 {
        self.core.table.live_keys()
    }

    /// Returns the recorded events.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.core.ledger.clone())
    }
}

impl Core {
    #[inline]
    fn once(&self, event: &Event<'_>, intent: Intent) -> Result<Decision, TrackError> {
        self.counted(intent, || self.answer(event, intent))
    }

    /// Counts what a call answers, once its locks are free: a recorder is the caller's code.
    #[inline]
    fn counted(
        &self,
        intent: Intent,
        call: impl FnOnce() -> Result<Decision, TrackError>,
    ) -> Result<Decision, TrackError> {
        if !HAS_RECORDER {
            // Even a look at the answer would cost a copy of it.
            return call();
        }
        let answer = call();
        self.figures.answered(intent, &answer, &self.table);
        answer
    }

    #[inline]
    fn answer(&self, event: &Event<'_>, intent: Intent) -> Result<Decision, TrackError> {
        if !self.is_kept {
            // Straight to who asked: an answer is large to move.
            return self.answer_at_once(event, intent);
        }
        if !self.has_store() {
            let answer = self.answer_at_once(event, intent);
            self.note_refusal_in(event, &answer);
            return answer;
        }
        let mut answer = self.answer_at_once(event, intent);
        self.note_refusal_in(event, &answer);
        if let Some(why) = self.unacknowledged(&answer) {
            answer = Err(why);
        }
        answer
    }

    /// The answer as it is in memory.
    #[inline]
    fn answer_at_once(&self, event: &Event<'_>, intent: Intent) -> Result<Decision, TrackError> {
        event.validate()?;
        self.admit()?;
        // The clock is the caller's code: it is read before anything is locked.
        let now = self.read_clock();
        if self.completes() {
            return self.answer_completed(event, intent, now);
        }
        self.answer_as_it_is(event, intent, now)
    }

    /// Answers about an event with what the engine knows of its cost and its customer.
    #[inline(never)]
    fn answer_completed(
        &self,
        event: &Event<'_>,
        intent: Intent,
        now: ClockReading,
    ) -> Result<Decision, TrackError> {
        self.complete(event, now, |event| self.answer_as_it_is(event, intent, now))
    }

    #[expect(
        clippy::inline_always,
        reason = "where nothing is completed it is called from one place"
    )]
    #[inline(always)]
    fn answer_as_it_is(
        &self,
        event: &Event<'_>,
        intent: Intent,
        now: ClockReading,
    ) -> Result<Decision, TrackError> {
        let answer = match CustomerKey::of(event) {
            None => self.decide(event, intent, now, None),
            Some(key) => {
                let decide = |hash| self.decide(event, intent, now, hash);
                self.by_key(key, event, now.moment, decide)
            }
        };
        if !self.waiting.room.is_empty() {
            self.make_room(event, &answer);
        }
        self.tell_of_alerts();
        answer
    }

    fn look(&self, event: &Event<'_>) -> Result<Decision, TrackError> {
        event.validate()?;
        let now = self.read_clock();
        self.complete(event, now, |event| self.look_as_it_is(event, now))
    }

    /// Whether the idempotency key of an event has its answer.
    fn knows_key_of(&self, event: &Event<'_>) -> Result<bool, TrackError> {
        let Some(key) = CustomerKey::of(event) else { return Ok(false) };
        event.validate()?;
        let now = self.read_clock();
        self.complete(event, now, |event| Ok(self.find_key(key, event, now.moment)?.is_some()))
    }

    fn look_as_it_is(&self, event: &Event<'_>, now: ClockReading) -> Result<Decision, TrackError> {
        let Some(key) = CustomerKey::of(event) else {
            return self.decide(event, Intent::Check, now, None);
        };
        if let Some(known) = self.find_key(key, event, now.moment)? {
            return Ok(known);
        }
        let decision = self.decide(event, Intent::Check, now, None);
        // Looked for again: an answer that was given meanwhile is the answer.
        match self.find_key(key, event, now.moment)? {
            Some(known) => Ok(known),
            None => decision,
        }
    }

    #[inline]
    fn decide(
        &self,
        event: &Event<'_>,
        intent: Intent,
        now: ClockReading,
        key: Option<u64>,
    ) -> Result<Decision, TrackError> {
        self.decide_by(event, intent, now, self.costs(event, intent, now), key)
    }

    /// What the event brings to each rule.
    #[inline]
    fn costs(&self, event: &Event<'_>, intent: Intent, now: ClockReading) -> Costs {
        let happened = event.happened_at();
        let age = happened
            .map_or(0, |at| now.moment.0.saturating_sub(self.table.timeline().moment(at).0));
        Costs::OfEvent { age, is_recorded: intent == Intent::Record }
    }

    /// Decides by what an event brings to each rule; `key` is the hash under which the store keeps
    /// its idempotency key.
    fn decide_by(
        &self,
        event: &Event<'_>,
        intent: Intent,
        now: ClockReading,
        costs: Costs,
        key: Option<u64>,
    ) -> Result<Decision, TrackError> {
        let timeline = self.table.timeline();
        let happened = event.happened_at();
        if let Some(timestamp) = happened {
            self.check_not_ahead(timestamp, now)?;
        }
        let at = timeline.at(now.moment, happened);
        let mut decision = Decision::pending();
        let hashes = DimensionHashes::new(event, &self.hasher);
        let is_recorded = self.ledger.is_some();
        let is_kept = self.is_kept;
        loop {
            let is_current = |snapshot: &Snapshot| snapshot.version == self.table.version();
            let (verdict, snapshot) = decision.parts(is_current, || self.snapshot.load_full());
            verdict.at = at;
            let (mut receipt, in_order);
            let decided = {
                let mut matches = Matches::default();
                snapshot.index.find(&hashes, &at, &mut matches);
                if matches.exception != Exception::None {
                    return self.decide_exception(event, intent, now, costs, key);
                }
                (receipt, in_order) = (Receipt::default(), matches.are_in_order());
                verdict.ask(intent, matches.rules(), |rule| match snapshot.rule(rule) {
                    Some(compiled) => costs.of(event, compiled),
                    None => Cost::NOTHING,
                });
                let recorded = self.known_use(snapshot);
                let request = Request {
                    counters: &snapshot.counters,
                    intent,
                    rows: &matches.rows,
                    history: recorded.as_ref().map(|recorded| recorded as &dyn History),
                };
                let decided = if is_kept || snapshot.counters.watches() {
                    let mut keep = |charged: &Charged<'_>| {
                        receipt = self.keep(&hashes, key, charged, snapshot);
                    };
                    self.table.decide(&request, verdict, Some(&mut keep))
                } else {
                    self.table.decide(&request, verdict, None)
                };
                if !self.adjustments.is_empty() {
                    self.say_adjusted(verdict, &matches.rows, snapshot);
                }
                decided
            };
            match decided {
                Ok(()) => {
                    decision.complete(receipt, now.asked, timeline, is_recorded, in_order);
                    return Ok(decision);
                }
                // The rules are being changed: look again.
                Err(Undecided::Stale) => std::thread::yield_now(),
                Err(Undecided::TooLate { rule, now }) => {
                    let now = timeline.timestamp(now);
                    return Err(too_late(snapshot.rule(rule), happened, now).into());
                }
            }
        }
    }

    /// What is recorded of the rules' use, where something is.
    #[inline]
    fn known_use<'s>(&'s self, snapshot: &'s Snapshot) -> Option<Recorded<'s>> {
        let timeline = self.table.timeline();
        match &self.ledger {
            Some(ledger) => {
                let adjustments = Some(&*self.adjustments);
                let (past, refunds) = (None, None);
                Some(Recorded { ledger, adjustments, snapshot, timeline, past, refunds })
            }
            None => self.replay.as_ref()?.known_use(snapshot, timeline),
        }
    }

    fn check_not_ahead(&self, timestamp: Timestamp, now: ClockReading) -> Result<(), EventError> {
        if now.takes_any_date {
            return Ok(());
        }
        let now = self.table.timeline().timestamp(now.moment);
        let seconds = now.unix_seconds().saturating_add(MAX_AHEAD_SECONDS);
        if timestamp > Timestamp::new(seconds, now.subsec_nanos()) {
            return Err(EventError::TimestampAhead { timestamp, now });
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.table.timeline().timestamp(self.read_clock().moment)
    }

    fn read_clock(&self) -> ClockReading {
        time::read(&*self.clock, self.table.timeline(), self.monotonic.as_ref())
    }
}

/// What a call brings to each rule.
#[derive(Clone, Copy)]
enum Costs {
    Nothing,
    /// What the event has of what the rule counts.
    OfEvent {
        /// How long ago it happened, in nanoseconds.
        age: u64,
        /// It is counted whatever the rules say.
        is_recorded: bool,
    },
}

impl Costs {
    #[inline]
    fn of(self, event: &Event<'_>, compiled: &CompiledRule) -> Cost {
        match self {
            Self::OfEvent { age, is_recorded }
                if age == 0 || !is_over(age, is_recorded, compiled) =>
            {
                compiled.measure.of(event)
            }
            _ => Cost::NOTHING,
        }
    }
}

/// Whether what happened so long ago is nothing to a rule any more: it has drained from a rate
/// limit since, and has left a rolling period.
#[cold]
fn is_over(age: u64, is_recorded: bool, compiled: &CompiledRule) -> bool {
    let length = match &compiled.rule {
        Rule::RateLimit(rule) if is_recorded => rule.window.length(),
        Rule::Quota(Quota { period: Period::Rolling(length), .. }) => *length,
        _ => return false,
    };
    u128::from(age) >= length.as_nanos()
}

/// Why a rule refuses an event that lacks one of its dimensions.
#[cold]
fn missing_dimension(compiled: &CompiledRule, event: &Event<'_>) -> EventError {
    let named = compiled.own_filter().chain(compiled.partition.iter().cloned());
    let missing = named.into_iter().find(|dimension| dimension.of(event).is_none());
    EventError::MissingDimension {
        dimension: missing.as_ref().map_or("", Dimension::as_str).into(),
        found: missing.as_ref().and_then(|dimension| dimension.instead(event)),
        rule: compiled.rule.name().into(),
    }
}

/// Why a quota does not judge an event: its period is closed.
#[cold]
fn too_late(
    quota: Option<&Arc<CompiledRule>>,
    happened: Option<Timestamp>,
    now: Timestamp,
) -> EventError {
    let quota = quota.map_or("", |compiled| compiled.rule.name()).into();
    EventError::TooLate { quota, timestamp: happened.unwrap_or(now), now }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot.load();
        f.debug_struct("Engine")
            .field("rules", &snapshot.listed().len())
            .field("live_keys", &self.table.live_keys())
            .field("recording", &self.ledger.is_some())
            .finish_non_exhaustive()
    }
}
