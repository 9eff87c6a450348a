//! The definition of an engine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono_tz::Tz;
use parking_lot::Mutex;

use super::figures::EngineFigures;
use super::simulate::Replay;
use super::time::MonotonicTime;
use super::waiting::Waiters;
use super::{Core, Engine, EngineAlerts, Recording};
use crate::alerts::RestoredAlerts;
use crate::base::calendar::TimeZone;
use crate::base::clock::timer::Timer;
use crate::base::clock::{Clock, SystemClock};
use crate::compiled::{Compiler, Snapshot};
use crate::counters::{Table, Timeline};
use crate::customers::{Attributes, Calendars, Directory};
use crate::engine::BuildError;
use crate::event::Pricer;
use crate::idempotency::IdempotencyKeys;
use crate::journal::Durable;
use crate::log::Bounds;
use crate::recording::Ledger;
use crate::refusals::RefusalLog;
use crate::reservations::ReservationMap;
use crate::rules::{Meter, Meters, Quota, RateLimit, Rule, RuleSet};
use crate::rules::{RuleProblem, RuleSetError};
use crate::telemetry;
use crate::usage::RollupOptions;

const DEFAULT_MAX_KEYS: u64 = 10_000_000;
const DEFAULT_IDEMPOTENCY_KEYS: usize = 1_000_000;
const DEFAULT_MAX_WAITERS: usize = 1_000_000;
const DEFAULT_MAX_ALERTS: usize = 10_000;
const MIN_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// The most reservations that a customer has open.
const DEFAULT_MAX_RESERVATIONS: usize = 1_000;
const DEFAULT_LATE: Duration = Duration::from_secs(60 * 60);

/// The definition of an [`Engine`].
#[must_use]
pub struct EngineBuilder {
    pub(super) rules: RuleSet,
    pub(super) clock: Option<Box<dyn Clock>>,
    /// `None` where it was not said.
    pub(super) recording: Option<Recording>,
    pub(super) event_bytes: Option<usize>,
    pub(super) event_retention: Option<Duration>,
    pub(super) rollups: RollupOptions,
    pub(super) max_keys: u64,
    pub(super) idempotency_retention: Duration,
    pub(super) idempotency_max_keys: Option<usize>,
    pub(super) max_reservations: usize,
    pub(super) late_events: Duration,
    pub(super) time_zone: TimeZone,
    pub(super) prices: Option<Arc<dyn Pricer>>,
    durable: Option<Durable>,
    /// Whether the rules and the settings are those of the store.
    pub(super) as_stored: bool,
    hash_seed: Option<usize>,
    pub(super) timer: Option<Arc<dyn Timer>>,
    pub(super) max_waiters: usize,
    pub(super) max_alerts: usize,
    pub(super) recorder: telemetry::Recorder,
    pub(super) replay: Option<Replay>,
    /// Those that it goes by, where they are those of another engine.
    pub(super) calendars: Option<Calendars>,
    /// Of an engine that only tries rules out: the customers of the one whose calls are replayed.
    pub(super) directory: Option<Arc<Directory>>,
}

impl EngineBuilder {
    pub(super) fn new() -> Self {
        Self {
            rules: RuleSet::new(),
            hash_seed: None,
            clock: None,
            recording: None,
            event_bytes: None,
            event_retention: None,
            rollups: RollupOptions::new(),
            max_keys: DEFAULT_MAX_KEYS,
            idempotency_retention: MIN_RETENTION,
            idempotency_max_keys: None,
            max_reservations: DEFAULT_MAX_RESERVATIONS,
            late_events: DEFAULT_LATE,
            time_zone: Tz::UTC.into(),
            prices: None,
            durable: None,
            as_stored: false,
            timer: None,
            max_waiters: DEFAULT_MAX_WAITERS,
            max_alerts: DEFAULT_MAX_ALERTS,
            recorder: telemetry::Recorder::default(),
            replay: None,
            calendars: None,
            directory: None,
        }
    }

    /// Adds a rule of any kind.
    pub fn rule(mut self, rule: impl Into<Rule>) -> Self {
        self.rules.extend([rule.into()]);
        self
    }

    /// Adds a rate limit.
    pub fn rate_limit(self, rule: RateLimit) -> Self {
        self.rule(rule)
    }

    /// Adds a quota.
    pub fn quota(self, rule: Quota) -> Self {
        self.rule(rule)
    }

    /// Adds a meter. One that a rule counts needs an id.
    pub fn meter(mut self, meter: Meter) -> Self {
        self.rules.meters.push(meter);
        self
    }

    /// Adds all rules and meters of a set.
    pub fn rule_set(mut self, mut rules: RuleSet) -> Self {
        self.rules.meters.append(&mut rules.meters);
        self.rules.extend(rules);
        self
    }

    /// Sets the clock; the default is a [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Sets the timer that wakes tasks which [wait](Engine::wait); the default is the one that the
    /// clock [brings](Clock::timer), and otherwise a [`ThreadTimer`](crate::time::ThreadTimer) from
    /// the first wait on.
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.timer = Some(Arc::new(timer));
        self
    }

    /// Sets how many may [wait](Engine::wait) at once; the default is a million, some 300 bytes
    /// each (500 of the first of a key). Beyond it a wait is an error.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// Tells this recorder of the engine's [figures](crate::guide::observability), and no other, so
    /// that those of several engines stay apart. Without it the one that is installed is told.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn recorder(mut self, recorder: Arc<dyn metrics::Recorder + Send + Sync>) -> Self {
        self.recorder = telemetry::Recorder::own(recorder);
        self
    }

    /// Sets how many [alerts](Engine::alerts) are kept, taken or not; the default is 10 000, some
    /// 600 bytes each. Beyond it the oldest go.
    pub fn max_alerts(mut self, alerts: usize) -> Self {
        self.max_alerts = alerts;
        self
    }

    /// Sets which events are kept in memory, where questions look. What a store keeps beside that
    /// is set by `Durable::retention`.
    pub fn recording(mut self, recording: Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// For tests: places the rows of an engine in memory as any other engine of this seed does, so
    /// that upkeep comes by at the same calls. Without it nobody can foresee the places.
    #[doc(hidden)]
    pub fn hash_seed(mut self, seed: usize) -> Self {
        self.hash_seed = Some(seed);
        self
    }

    /// Sets how many bytes the events in memory have together at the most, packed as [`Recording`]
    /// says; the default is a KiB for each of the events that `Recording` keeps: 100 MiB of 100 000
    /// events. Beyond it the oldest go, however few they are, 1 024 or a MiB of them at a time; the
    /// newest event is kept whatever its size.
    pub fn event_bytes(mut self, bytes: usize) -> Self {
        self.event_bytes = Some(bytes);
        self
    }

    /// Sets how long events are kept in memory at the least; the default is for as long as
    /// [`Recording`] has room for them. Events are dropped 1 024 at a time, by the calls that
    /// record: a group goes when the latest timestamp of it is older than this and all groups
    /// before it are gone.
    pub fn event_retention(mut self, retention: Duration) -> Self {
        self.event_retention = Some(retention);
        self
    }

    /// Sets what is summed up as events arrive, and for how long it is kept.
    pub fn rollups(mut self, rollups: RollupOptions) -> Self {
        self.rollups = rollups;
        self
    }

    /// Sets the most keys that have counters, over all rules; the default is 10 million. What
    /// new keys get beyond is the choice of each rule, its `overflow`.
    pub fn max_keys(mut self, keys: u64) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets for how long idempotency keys are kept: 24 hours, the default, or more.
    pub fn idempotency_retention(mut self, retention: Duration) -> Self {
        self.idempotency_retention = retention;
        self
    }

    /// Sets the most idempotency keys that are kept; the default is a million, some 800 bytes
    /// each, and with a store 20 million, at most 30 bytes each. Beyond it the oldest are
    /// forgotten before their time.
    pub fn idempotency_max_keys(mut self, keys: usize) -> Self {
        self.idempotency_max_keys = Some(keys);
        self
    }

    /// Sets how many reservations a customer may have open at once; the default is 1 000. A
    /// customer may always have as many as the largest [concurrent](crate::Quota::concurrent) quota
    /// of the engine lets through. What is known of reservations that have ended is kept like
    /// idempotency keys, as many and as long.
    pub fn max_reservations(mut self, reservations: usize) -> Self {
        self.max_reservations = reservations;
        self
    }

    /// Sets for how long after its end a calendar period's counters are kept for late events, by
    /// whole seconds; the default is an hour. Later ones are judged by the recorded events, at the
    /// cost of a query, and are an error where recording is off.
    pub fn late_events(mut self, late: Duration) -> Self {
        self.late_events = late;
        self
    }

    /// Sets the zone by whose midnights the days, weeks, months and years of quotas begin where
    /// nothing else says it; the default is UTC. A quota's own [zone](Quota::time_zone) comes
    /// first, then that of the customer or of another value that it is about
    /// ([`Customer::time_zone`](crate::Customer::time_zone)), then this.
    ///
    /// A store may be opened with another zone than the last time: its quotas go on in the periods
    /// of the new one, from what is recorded of them, or else from what was used of the period of
    /// now.
    ///
    /// ```
    /// use limitry::time::Tz;
    /// use limitry::{Engine, Metric, Period, Quota};
    ///
    /// let a_day = Quota::new("Calls a day", Metric::TotalEvents, 1_000, Period::Day);
    /// let engine = Engine::builder().time_zone(Tz::Europe__Berlin).quota(a_day).build()?;
    /// # Ok::<(), limitry::Error>(())
    /// ```
    pub fn time_zone(mut self, zone: impl Into<TimeZone>) -> Self {
        self.time_zone = zone.into();
        self
    }

    /// Gives events without a cost the one that these prices say, wherever an event is decided
    /// about, recorded, reserved or committed; one with a cost keeps it. The log, usage, quotas and
    /// the store have it as if it had come with the event, which [says](crate::Event::is_priced)
    /// that it did not; a retry by an idempotency key is one whatever prices say by then.
    ///
    /// What a commit costs is priced at the time of the reserve, which is that of its event; what a
    /// reservation grows by as a request of its own. An import is priced as well: lines that were
    /// exported have their cost. Without prices nothing is paid for it.
    pub fn prices(mut self, prices: impl Pricer) -> Self {
        self.prices = Some(Arc::new(prices));
        self
    }

    /// Makes the engine survive: what it records, its counters, idempotency keys, roll-ups, rules
    /// and meters are kept in a store, and [`build`](Self::build) goes on from there.
    ///
    /// The rules and meters of this builder are merged into those of the store, by their names.
    /// What this code defines otherwise than it did the last time becomes what it defines now;
    /// what was changed while the engine ran, and not in the code since, stays as it was changed.
    pub fn durable(mut self, store: Durable) -> Self {
        self.durable = Some(store);
        self
    }

    /// Opens the [`durable`](Self::durable) store as its engine left it: with the rules and meters
    /// that are in it, which are neither merged with others nor removed, and with the settings that
    /// this engine had. It is for tools that know a store and not the application:
    /// what a builder says otherwise, an engine of no rules, would be a change of the
    /// application's code.
    ///
    /// The settings are those of this builder that [`EngineConfig`](crate::config::EngineConfig)
    /// has, but for what concerns waiting; [`max_alerts`](Self::max_alerts) and
    /// [`Durable::retention`] with them. What else this builder says of them is passed over, but
    /// for [`recording`](Self::recording): who asks for no event opens a store sooner with few of
    /// them.
    /// Clock, timer, prices and recorder are this builder's, and so is how the store is used:
    /// durability, batches, delays.
    ///
    /// A store that no version has opened since it writes its settings down says of them the time
    /// zone, for how long late events are taken, and the dimensions of usage; of all others these
    /// are the defaults then, and no record is dropped because of its age.
    ///
    /// With `OpenOptions::copy_on_write` the file stays as it is, byte for byte. Without it the
    /// engine's own bookkeeping is written, and what the caller records. Without a store this
    /// means nothing.
    ///
    /// ```
    /// use limitry::store::MemoryStore;
    /// use limitry::{Engine, RateLimit, Window};
    ///
    /// let medium = MemoryStore::new();
    /// let calls = RateLimit::new("Calls", 60, Window::Minute);
    /// let engine = Engine::builder().rate_limit(calls).durable(medium.open()?).build()?;
    /// engine.store().close()?;
    /// // With the feature `durable`: Durable::options().copy_on_write(true).open("limitry.redb")?
    /// let tool = Engine::builder().durable(medium.open()?).as_stored().build()?;
    /// assert_eq!(tool.rules().list().len(), 1);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`build`](Self::build) fails where the builder has rules or meters, or where a newer
    /// version wrote the settings down in a way that this one does not read.
    pub fn as_stored(mut self) -> Self {
        self.as_stored = true;
        self
    }

    /// Makes the engine. O(rules); with a store it reads the newest checkpoint, the idempotency
    /// keys and the log since.
    ///
    /// # Errors
    /// All problems of the rules and settings at once; the store cannot be read, or is damaged.
    pub fn build(self) -> Result<Engine, BuildError> {
        telemetry::span!("build").run(|| self.build_engine())
    }

    fn build_engine(mut self) -> Result<Engine, BuildError> {
        let mut problems = self.problems();
        let (rules, meters) = self.rules.clone().into_parts();
        problems.extend(crate::rules::set_problems(&rules, &meters));
        RuleSetError::check(problems)?;
        if let Some(mut durable) = self.durable.take() {
            self.settings_of(&mut durable)?;
            return self.build_durable(&durable);
        }
        Ok(self.build_in_memory(rules, &meters))
    }

    pub(super) fn build_in_memory(self, rules: Vec<Rule>, meters: &Meters) -> Engine {
        let max_keys = self.idempotency_keys(DEFAULT_IDEMPOTENCY_KEYS);
        let hasher =
            self.hash_seed.map_or_else(ahash::RandomState::new, ahash::RandomState::with_seed);
        let ledger = |keep| Arc::new(Ledger::new(keep, &self.rollups, hasher.clone()));
        let ledger = self.kept_events().map(ledger);
        let most = self.recorded().kept_refusals();
        let refusals = ledger.as_ref().map(|_| RefusalLog::new(most, false, &hasher).into());
        let clock = self.clock.unwrap_or_else(|| Box::new(SystemClock::new()));
        let waiting = Waiters::new(self.max_waiters, self.timer, &*clock);
        let outbox = RestoredAlerts::default().into_outbox(self.max_alerts);
        let alerts = EngineAlerts::new(outbox.into(), hasher.hash_one("alerts"));
        let (timeline, shards) = match &self.replay {
            Some(replay) => (replay.timeline(), 1),
            None => (Timeline::starting(clock.now()), shards()),
        };
        let retention = u64::try_from(self.idempotency_retention.as_nanos()).unwrap_or(u64::MAX);
        let empty = Snapshot::new(Arc::default(), Vec::new(), Arc::default(), hasher.clone());
        let table = Table::new(self.max_keys, timeline, shards);
        table.open(empty.version);
        let calendars = self.calendars.unwrap_or_else(|| Calendars::in_zone(self.time_zone.into()));
        let calendars = Arc::new(calendars);
        let compiler = Compiler::new(timeline, self.late_events.as_secs());
        let compiler = compiler.by_calendars(Arc::clone(&calendars));
        compiler.tell(&self.recorder);
        let usage = ledger.as_ref().map(|ledger| ledger.dimensions()).unwrap_or_default();
        let attributes = Attributes::new(&usage, hasher.clone());
        let core = Core {
            monotonic: (!clock.is_monotonic()).then(MonotonicTime::default),
            clock,
            snapshot: Arc::new(ArcSwap::from_pointee(empty)),
            table: Arc::new(table),
            compiler: Mutex::new(compiler),
            is_kept: ledger.is_some(),
            ledger,
            refusals,
            keys: IdempotencyKeys::new(retention, max_keys, hasher.clone()),
            reservations: ReservationMap::new(retention, max_keys, self.max_reservations, &hasher)
                .into(),
            adjustments: Arc::default(),
            pipeline: None,
            prices: self.prices,
            hasher,
            figures: EngineFigures::new(&self.recorder),
            waiting,
            alerts,
            replay: self.replay,
            calendars,
            directory: self.directory.unwrap_or_default(),
            attributes,
        };
        if core.replay.as_ref().is_some_and(Replay::has_past) {
            core.compiler.lock().recount();
        }
        // Nothing refuses the rules of an engine in memory: they are checked.
        let _ = core.install(rules, meters);
        if core.ledger.is_some() {
            core.compiler.lock().recount();
        }
        Engine { core: Arc::new(core) }
    }

    /// What is recorded in memory.
    pub(super) fn recorded(&self) -> Recording {
        self.recording.unwrap_or_default()
    }

    /// Which events are kept in memory; `None` where none is recorded.
    pub(super) fn kept_events(&self) -> Option<Bounds> {
        let retention = self.event_retention;
        let events = self.recorded().kept_events().filter(|events| *events > 0)?;
        let newest = Bounds::newest(events);
        Some(Bounds { bytes: self.event_bytes.unwrap_or(newest.bytes), retention, ..newest })
    }

    /// The most idempotency keys; `default` where that was not said.
    pub(super) fn idempotency_keys(&self, default: usize) -> usize {
        self.idempotency_max_keys.unwrap_or(default)
    }

    fn problems(&self) -> Vec<RuleProblem> {
        let problem = |field: &str, reason: String| RuleProblem {
            rule: "engine".to_owned(),
            field: field.to_owned(),
            reason,
        };
        let mut problems = Vec::new();
        if self.idempotency_retention < MIN_RETENTION {
            let reason = format!("{:?} must be at least 24 hours", self.idempotency_retention);
            problems.push(problem("idempotencyRetention", reason));
        }
        if self.event_retention == Some(Duration::ZERO) {
            problems.push(problem("eventRetention", "0 must be more than 0".to_owned()));
        }
        if self.event_bytes == Some(0) {
            problems.push(problem("eventBytes", "0 must be at least 1".to_owned()));
        }
        for (field, value) in
            [("maxKeys", self.max_keys), ("idempotencyMaxKeys", self.idempotency_keys(1) as u64)]
        {
            if value == 0 {
                problems.push(problem(field, "0 must be at least 1".to_owned()));
            }
        }
        if self.max_reservations == 0 {
            problems.push(problem("maxReservations", "0 must be at least 1".to_owned()));
        }
        if self.max_alerts == 0 {
            problems.push(problem("maxAlerts", "0 must be at least 1".to_owned()));
        }
        if self.as_stored && self.rules != RuleSet::new() {
            let reason = "the builder has rules or meters, and must have none".to_owned();
            problems.push(problem("asStored", reason));
        }
        problems.extend(self.recorded().problem().map(|reason| problem("recording", reason)));
        problems.extend(self.rollups.problems());
        problems
    }
}

/// So many shards that threads seldom meet in one, and no more: the rows of each lie one behind the
/// other in the order in which they came, and a processor reads ahead in some thirty such streams.
fn shards() -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    threads.saturating_mul(16).clamp(32, 4_096)
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EngineBuilder");
        shown
            .field("rules", &self.rules)
            .field("recording", &self.recorded())
            .field("event_bytes", &self.event_bytes)
            .field("event_retention", &self.event_retention)
            .field("rollups", &self.rollups)
            .field("max_keys", &self.max_keys)
            .field("idempotency_retention", &self.idempotency_retention)
            .field("idempotency_max_keys", &self.idempotency_max_keys)
            .field("max_reservations", &self.max_reservations)
            .field("max_alerts", &self.max_alerts)
            .field("late_events", &self.late_events);
        shown.field("durable", &self.durable);
        shown.finish_non_exhaustive()
    }
}
