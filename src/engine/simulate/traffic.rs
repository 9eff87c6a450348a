//! The calls that are replayed, and where they come from.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::past::Past;
use super::{Demand, SimulateError};
use crate::base::clock::Timestamp;
use crate::base::progress::Progress;
use crate::engine::Core;
use crate::engine::transfer::past_event;
use crate::event::Event;
use crate::log::{
    Corrections, Dropped, EventQuery, PackedEvent, QueryError, RecordedEvent, ScanFilter, Segment,
    Stored,
};
use crate::recording::Ledger;
use crate::refusals::{Kept, RefusedAttempt};
use crate::rules::Filter;
use crate::usage::{Figure, Question};

/// How many keys a report has of each rule where nothing is said.
const DEFAULT_KEYS: usize = 10;
/// After so many calls progress is told of.
const TOLD_EACH: u64 = 65_536;
const SIMULATING: &str = "replaying calls";
/// In seconds: where roll-ups may end that are kept no longer by the minute.
const STEPS: [i64; 3] = [60, 60 * 60, 24 * 60 * 60];

/// A call that was made, or is supposed: when, what it brought, and what became of it where that
/// is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt<'a> {
    pub(super) at: Timestamp,
    pub(super) event: Event<'a>,
    pub(super) was_let_in: Option<bool>,
}

impl<'a> Attempt<'a> {
    /// Describes a call that was decided about at an instant. The event has a timestamp where it
    /// happened at another one.
    #[must_use]
    pub fn new(at: impl Into<Timestamp>, event: Event<'a>) -> Self {
        Self { at: at.into(), event, was_let_in: None }
    }

    /// Returns when the call was decided about.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Says that the call was let in, or that it was refused.
    #[must_use]
    pub fn was_let_in(mut self, let_in: bool) -> Self {
        self.was_let_in = Some(let_in);
        self
    }
}

/// Reads a line of JSON as [`Store::export`](crate::handles::Store::export) writes it. The call was
/// decided about at the event's `createdAt`; what became of it is not known. An `id` and an
/// `idempotencyKey` mean nothing here, and need not be there.
///
/// ```
/// use limitry::simulation::Attempt;
///
/// let line = r#"{"customerId":"ann","eventType":"call","createdAt":"2024-01-15T10:00:00Z"}"#;
/// let attempt: Attempt<'_> = line.parse()?;
/// assert_eq!(attempt.at().to_string(), "2024-01-15T10:00:00Z");
/// # Ok::<(), limitry::errors::SimulateError>(())
/// ```
impl FromStr for Attempt<'static> {
    type Err = SimulateError;

    fn from_str(line: &str) -> Result<Self, SimulateError> {
        let read = past_event(line).map_err(|reason| SimulateError::Line { reason: reason.into() });
        read.map(|(at, event)| Self::new(at, event))
    }
}

impl From<RecordedEvent> for Attempt<'static> {
    fn from(recorded: RecordedEvent) -> Self {
        let RecordedEvent { timestamp, decided_at, event, .. } = recorded;
        Self::recorded(timestamp, decided_at, event)
    }
}

impl From<RefusedAttempt> for Attempt<'static> {
    fn from(refused: RefusedAttempt) -> Self {
        let RefusedAttempt { timestamp, decided_at, event, .. } = refused;
        Self::recorded(timestamp, decided_at, event).was_let_in(false)
    }
}

impl<'a> Attempt<'a> {
    fn recorded(timestamp: Timestamp, decided_at: Timestamp, mut event: Event<'a>) -> Self {
        event.timestamp = (timestamp != decided_at).then_some(timestamp);
        Self { at: decided_at, event, was_let_in: Some(true) }
    }
}

type Told<'t> = Box<dyn FnMut(Progress) + 't>;
/// Goes through given calls, as often as it is called.
type GoThrough<'t> = Box<dyn Fn(&mut dyn FnMut(&Attempt<'_>)) + 't>;

/// The calls of a [simulation](crate::Engine::simulate), and what is reported of them.
///
/// ```
/// use std::time::Duration;
/// use limitry::simulation::{Attempt, Traffic};
/// use limitry::{Engine, Event, RateLimit, RuleSet, Window};
///
/// let engine = Engine::builder().build()?;
/// let start = engine.now();
/// let calls: Vec<_> = (0..100)
///     .map(|tenth| start + Duration::from_millis(tenth * 100))
///     .map(|at| Attempt::new(at, Event::new("cust_123", "model_call")))
///     .collect();
/// let rules = RuleSet::new().rate_limit(RateLimit::new("Calls", 5, Window::Second));
/// let report = engine.simulate(rules, Traffic::given(&calls).keys(100))?;
/// assert_eq!(report.calls.refused, 46);
/// # Ok::<(), limitry::Error>(())
/// ```
#[must_use = "it is what is simulated"]
pub struct Traffic<'t> {
    source: Source<'t>,
    keys: usize,
    progress: Option<Told<'t>>,
}

enum Source<'t> {
    Recorded(EventQuery),
    Given(GoThrough<'t>),
}

impl From<EventQuery> for Traffic<'_> {
    fn from(query: EventQuery) -> Self {
        Self::of(Source::Recorded(query))
    }
}

impl<'t> Traffic<'t> {
    fn of(source: Source<'t>) -> Self {
        Self { source, keys: DEFAULT_KEYS, progress: None }
    }

    /// All recorded events, and the refused calls that are kept. An [`EventQuery`] says which, but
    /// for its limit and cursor; where it leaves some out, what rules count of those is missing.
    pub fn recorded() -> Self {
        EventQuery::new().into()
    }

    /// Given calls, in the order of their time, from nothing used. They may be gone through
    /// several times, of which each makes them anew: `calls` is a list, a slice, or an iterator
    /// that can be cloned. [`Simulation`](super::Simulation) takes any others.
    pub fn given<'a, I>(calls: I) -> Self
    where
        I: IntoIterator<Item: Borrow<Attempt<'a>>> + Clone + 't,
    {
        Self::of(Source::Given(Box::new(move |each| {
            calls.clone().into_iter().for_each(|attempt| each(attempt.borrow()));
        })))
    }

    /// Sets how many keys are reported of each rule at the most, the most refused first; the
    /// default is 10.
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// Tells of the progress, every 65 536 calls. How many given calls there are is not known.
    pub fn progress(mut self, progress: impl FnMut(Progress) + 't) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Looks at what there is to replay.
    pub(super) fn open<'o>(&'o mut self, core: &Core) -> Result<Opened<'o, 't>, SimulateError> {
        let calls = match &self.source {
            Source::Recorded(query) => Calls::Recorded(RecordedCalls::open(core, query)?),
            Source::Given(go_through) => Calls::Given(go_through),
        };
        Ok(Opened { calls, keys: self.keys, progress: RefCell::new(self.progress.as_mut()) })
    }
}

impl fmt::Debug for Traffic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Recorded(query) => Some(query),
            Source::Given(_) => None,
        };
        f.debug_struct("Traffic").field("recorded", &source).field("keys", &self.keys).finish()
    }
}

/// Calls that can be gone through, from the start each time.
pub(super) struct Opened<'o, 't> {
    calls: Calls<'o, 't>,
    keys: usize,
    progress: RefCell<Option<&'o mut Told<'t>>>,
}

enum Calls<'o, 't> {
    Recorded(RecordedCalls),
    Given(&'o GoThrough<'t>),
}

/// Events of the log of one moment, and the refused calls that are kept.
struct RecordedCalls {
    ledger: Arc<Ledger>,
    segments: Vec<Arc<Segment>>,
    corrections: Arc<Corrections>,
    /// The oldest first; `None` where none are kept, and they are counted alone.
    refused: Option<Vec<Arc<Kept>>>,
    wanted: ScanFilter,
    /// The second before which events are not replayed, where there may be any.
    since: Option<i64>,
    /// The earliest instant at which one was decided about.
    first: Option<Timestamp>,
    /// By how many seconds one is late at the most.
    latest: u64,
    count: u64,
}

impl Opened<'_, '_> {
    /// How many keys are reported of each rule.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    fn recorded(&self) -> Option<&RecordedCalls> {
        match &self.calls {
            Calls::Recorded(calls) => Some(calls),
            Calls::Given(_) => None,
        }
    }

    /// When the first call is decided about, of recorded ones.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.recorded()?.first
    }

    /// By how many seconds recorded calls are late at the most.
    pub(super) fn latest(&self) -> Option<u64> {
        self.recorded().map(|calls| calls.latest)
    }

    /// What is known of before the calls, for so many rules.
    pub(super) fn past(&self, rules: usize) -> Option<Past> {
        let calls = self.recorded()?;
        Some(Past::new(&calls.ledger, calls.since?, rules))
    }

    pub(super) fn demand(&self) -> Demand {
        match self.recorded() {
            None => Demand::Given,
            Some(RecordedCalls { refused: None, .. }) => Demand::LetIn,
            Some(RecordedCalls { refused: Some(_), .. }) => Demand::WithRefused,
        }
    }

    /// From when on refused calls are known.
    pub(super) fn refused_since(&self) -> Option<Timestamp> {
        let oldest = self.recorded()?.refused.as_ref()?.first()?;
        Some(oldest.read()?.decided_at())
    }

    pub(super) fn since(&self) -> Option<Timestamp> {
        Some(Timestamp::new(self.recorded()?.since?, 0))
    }

    /// Hands on each call whose event is valid or was recorded, and says how far it is.
    pub(super) fn each(&self, each: &mut dyn FnMut(&Attempt<'_>)) {
        let (mut done, total) = (0_u64, self.recorded().map_or(0, |calls| calls.count));
        self.tell(done, total);
        let mut counted = |attempt: &Attempt<'_>| {
            each(attempt);
            done = done.saturating_add(1);
            if done.is_multiple_of(TOLD_EACH) {
                self.tell(done, total);
            }
        };
        match &self.calls {
            Calls::Recorded(calls) => calls.each(&mut counted),
            Calls::Given(go_through) => go_through(&mut counted),
        }
        self.tell(done, done);
    }

    fn tell(&self, done: u64, total: u64) {
        // Nothing is told while somebody is being told.
        if let Ok(mut progress) = self.progress.try_borrow_mut()
            && let Some(progress) = &mut *progress
        {
            progress(Progress::new(SIMULATING, done, total));
        }
    }
}

impl RecordedCalls {
    fn open(core: &Core, query: &EventQuery) -> Result<Self, SimulateError> {
        let ledger = core.ledger.as_ref().ok_or(QueryError::RecordingOff)?;
        if let Some(cursor) = query.cursor_text() {
            return Err(QueryError::invalid("cursor", cursor, "must not be set").into());
        }
        let mut wanted = query.wanted(ledger.hasher())?;
        let (segments, dropped) = ledger.kept();
        let since = since(ledger, &segments, &dropped, wanted.start);
        if let Some(since) = since {
            wanted.start = Timestamp::new(since, 0);
        }
        let log = core.refusals.as_ref().filter(|log| log.keeps_attempts());
        let refused = log.map(|log| log.attempts());
        let corrections = ledger.corrections();
        let (ledger, first, latest, count) = (Arc::clone(ledger), None, 0, 0);
        let mut calls =
            Self { ledger, segments, corrections, refused, wanted, since, first, latest, count };
        calls.look();
        Ok(calls)
    }

    /// Looks at the times of the events.
    fn look(&mut self) {
        let (mut first, mut latest, mut count) = (None::<Timestamp>, 0, 0_u64);
        let refused = self.refused().map(|call| (call.timestamp(), call.decided_at()));
        let let_in = self.events().filter_map(|event| event.times());
        for (timestamp, decided_at) in let_in.chain(refused) {
            if self.wanted.has(timestamp) {
                first = Some(first.map_or(decided_at, |first| first.min(decided_at)));
                latest = decided_at.saturating_since(timestamp).as_secs().max(latest);
                count = count.saturating_add(1);
            }
        }
        // A second more, since the times are cut off.
        (self.first, self.latest, self.count) = (first, latest.saturating_add(1), count);
    }

    fn events(&self) -> impl Iterator<Item = PackedEvent<'_>> {
        let events = self.segments.iter().flat_map(|segment| segment.events());
        // What is amended is replayed as it was called.
        events.filter(|event| {
            let is_entry = self.corrections.is_entry(event.ordinal);
            let correction = self.corrections.of(event.ordinal);
            !is_entry && correction.is_none_or(|(_, corrected)| !corrected.is_void)
        })
    }

    /// The refused calls that are kept.
    fn refused(&self) -> impl Iterator<Item = Stored<'_>> {
        self.refused.iter().flatten().filter_map(|call| call.read())
    }

    fn each(&self, each: &mut dyn FnMut(&Attempt<'_>)) {
        let ScanFilter { filter, .. } = &self.wanted;
        let refused = self.refused();
        let mut refused = refused
            .filter(|call| self.wanted.has(call.timestamp()) && filter.matches(call))
            .peekable();
        let replay = |call: Stored<'_>, each: &mut dyn FnMut(&Attempt<'_>)| {
            let (timestamp, decided_at) = (call.timestamp(), call.decided_at());
            each(&Attempt::recorded(timestamp, decided_at, call.event()).was_let_in(false));
        };
        for event in self.events().filter(|event| filter.may_match(event.signature)) {
            let Some(stored) = event.read() else { continue };
            let is_wanted = self.wanted.has(stored.timestamp()) && filter.matches(&stored);
            // Of whom it was nobody knows: it cannot be replayed.
            if is_wanted && !stored.is_anonymous() {
                let (timestamp, decided_at) = (stored.timestamp(), stored.decided_at());
                // What was let in at the same instant comes first: it may be why the other was
                // refused, and that one took nothing.
                while let Some(call) = refused.next_if(|call| call.decided_at() < decided_at) {
                    replay(call, each);
                }
                each(&Attempt::recorded(timestamp, decided_at, stored.event()));
            }
        }
        refused.for_each(|call| replay(call, each));
    }
}

/// The second from which on all events are there, where there may be others before: that of the
/// query, or the first behind what is dropped at which the roll-ups can end.
///
/// What was dropped and is dated behind the first event that is there was dated ahead: it is in
/// no roll-up that is asked, and not replayed.
fn since(
    ledger: &Ledger,
    segments: &[Arc<Segment>],
    dropped: &Dropped,
    asked: Timestamp,
) -> Option<i64> {
    let up = |at: Timestamp| at.unix_seconds().saturating_add(i64::from(at.subsec_nanos() > 0));
    let asked = (asked > Timestamp::MIN).then(|| up(asked));
    if dropped.is_empty() {
        return asked;
    }
    let first = segments.iter().flat_map(|segment| segment.events()).find_map(|it| it.times());
    let (_, decided_at) = first.unwrap_or((Timestamp::MAX, Timestamp::MAX));
    let end = decided_at.saturating_add_nanos(1);
    let kept = up(dropped.rest_after(&(Timestamp::MIN..end)).start);
    if let Some(asked) = asked.filter(|asked| *asked >= kept) {
        return Some(asked);
    }
    let ends = STEPS.map(|step| {
        let into = kept.checked_rem_euclid(step).unwrap_or(0);
        if into == 0 { kept } else { kept.saturating_add(step.saturating_sub(into)) }
    });
    let known = ends.into_iter().find(|end| is_known_until(ledger, *end));
    Some(known.or(ends.first().copied()).unwrap_or(kept))
}

/// Whether the roll-ups know the day before a second.
fn is_known_until(ledger: &Ledger, second: i64) -> bool {
    let day = STEPS.last().copied().unwrap_or(0);
    let range = Timestamp::new(second.saturating_sub(day), 0)..Timestamp::new(second, 0);
    let selector = Figure::Count.selector(Filter::new(), Vec::new());
    let ranges = std::slice::from_ref(&range);
    let question = Question {
        selector: &selector,
        ranges,
        folds: &[],
        tells_all_apart: false,
        without: None,
        held: None,
    };
    ledger.ask(&question).coverage(&range).is_complete
}
