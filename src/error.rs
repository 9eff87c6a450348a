//! Every error, one enum a family.
//!
//! A refusal is not an error: it is a [`Decision`](crate::Decision). Errors are input that cannot
//! be judged; each names the field, the value and the rule. Nothing is counted, recorded or
//! changed by a call that returns one.

use std::fmt;

use crate::base::amount::AmountError;
use crate::base::clock::Timestamp;
use crate::journal::store::StoreError;
use crate::log::EventId;

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A field breaks a rule of its own.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field, by its snake case name.
        field: Box<str>,
        /// The value, cut short when it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A named value is not an exact amount.
    #[error("value {field}: {source}")]
    Amount {
        /// The name of the value.
        field: Box<str>,
        /// Why it is not one.
        source: AmountError,
    },
    /// The timestamp lies more than 24 hours ahead of the engine's clock.
    #[error("timestamp: {timestamp} is more than 24 hours ahead of the engine's clock, {now}")]
    TimestampAhead {
        /// The event's timestamp.
        timestamp: Timestamp,
        /// The engine's time.
        now: Timestamp,
    },
    /// A hard quota to which the event adds something counts it in a period that ended too long ago
    /// to be known.
    #[error(
        "timestamp: {timestamp} falls in a period of quota {quota:?} that ended more than the \
         late events' allowance before the engine's clock, {now}"
    )]
    TooLate {
        /// The name of the quota.
        quota: Box<str>,
        /// The event's timestamp.
        timestamp: Timestamp,
        /// The engine's time.
        now: Timestamp,
    },
    /// The event lacks a dimension that a rule filters or splits by, and the rule refuses such
    /// events ([`OnMissing::Refuse`](crate::OnMissing::Refuse)).
    #[error(
        "{dimension}: the event has {}, and rule {rule:?} needs a string", found.unwrap_or("none")
    )]
    MissingDimension {
        /// The dimension.
        dimension: Box<str>,
        /// What the event has under its name: `a number`, `a bool`, `null`, `a list` or `an
        /// object`; `None` where it has nothing.
        found: Option<&'static str>,
        /// The name of the rule.
        rule: Box<str>,
    },
}

impl EventError {
    pub(crate) fn invalid(field: &str, value: &str, rule: &'static str) -> Self {
        Self::Invalid { field: field.into(), value: excerpt(value), rule }
    }
}

/// A value as messages show it, cut short when it is long.
pub(crate) fn excerpt(value: &str) -> Box<str> {
    const SHOWN: usize = 80;
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push_str("...");
    }
    shown.into()
}

/// Why a verb could not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The event cannot be judged.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The customer used the idempotency key for another event: one with another type, model,
    /// provider, cost or latency, other tokens, properties or values. A retry may bring another
    /// timestamp, and a total of tokens may be given or left to be computed.
    #[error(
        "idempotency_key: {key:?} of customer {customer:?} was used for another event: a retry \
         must have the same type, model, provider, tokens, cost, latency, properties and values"
    )]
    IdempotencyConflict {
        /// The customer.
        customer: Box<str>,
        /// The key.
        key: Box<str>,
    },
    /// The store takes nothing, or the commit of the event's record failed: whether it is there
    /// shows when the store is opened again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl TrackError {
    /// The failure of a store as that of a whole batch; any other error is one event's own.
    pub(crate) fn of_batch(self) -> Result<BatchError, Self> {
        match self {
            Self::Store(why) => Ok(BatchError::Store(why)),
            own => Err(own),
        }
    }
}

/// An event of a batch that cannot be recorded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("event {index} of the batch: {source}")]
#[non_exhaustive]
pub struct BatchProblem {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Why it cannot be recorded.
    pub source: TrackError,
}

/// Why a batch was not recorded. Nothing of it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// There is no event in it.
    #[error("a batch must have at least 1 event")]
    Empty,
    /// There are too many events in it.
    #[error("a batch of {events} events must have at most {max}")]
    TooMany {
        /// How many there are.
        events: usize,
        /// The most that a batch may have.
        max: usize,
    },
    /// Events of it cannot be recorded.
    #[error("{}", Told(problems))]
    Events {
        /// All that cannot, in their order; one at least.
        problems: Vec<BatchProblem>,
    },
    /// The store takes nothing, or failed while the batch was recorded: how much of it is there
    /// shows when the store is opened again.
    #[error(transparent)]
    Store(StoreError),
}

impl BatchError {
    /// Returns the events that cannot be recorded, in their order; none where something else is
    /// wrong.
    #[must_use]
    pub fn problems(&self) -> &[BatchProblem] {
        match self {
            Self::Events { problems } => problems,
            _ => &[],
        }
    }
}

/// Problems of a batch as one message: the only one, or the first few and how many there are.
struct Told<'p>(&'p [BatchProblem]);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TOLD: usize = 8;
        if let [only] = self.0 {
            return fmt::Display::fmt(only, f);
        }
        write!(f, "{} events of the batch cannot be recorded", self.0.len())?;
        for BatchProblem { index, source } in self.0.iter().take(TOLD) {
            write!(f, "; event {index}: {source}")?;
        }
        match self.0.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Why a question about events or usage could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The engine keeps no events and no usage.
    #[error("recording is off: the engine keeps no events and no usage")]
    RecordingOff,
    /// A field of the question breaks its rule.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field, by its name on the wire.
        field: Box<str>,
        /// The value, cut short when it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The range ends where it starts, or before.
    #[error("invalid date range: start {start} must be before end {end}")]
    EmptyRange {
        /// The start, which would be part of the range.
        start: Timestamp,
        /// The end, which would not.
        end: Timestamp,
    },
    /// A time series without a start or an end.
    #[error("a time series needs a start and an end")]
    Unbounded,
    /// A time series of more points than one answer holds.
    #[error("interval: the range has more than {max} points; ask for a shorter range")]
    TooManyPoints {
        /// The most that one answer holds.
        max: usize,
    },
    /// A sum outside what an [`Amount`](crate::Amount) can say.
    #[error("the sum of {field} does not fit an exact amount")]
    Overflow {
        /// The name of the value.
        field: Box<str>,
    },
    /// Retention has dropped the event that a page begins with, and so all that were to be shown.
    #[error("cursor {cursor:?}: its events are not kept any more; ask for a first page again")]
    CursorExpired {
        /// The cursor.
        cursor: Box<str>,
    },
    /// There is no such meter.
    #[error("no meter has the id {id:?}")]
    MeterNotFound {
        /// The id that was given.
        id: Box<str>,
    },
}

impl QueryError {
    pub(crate) fn invalid(field: &str, value: &str, rule: &'static str) -> Self {
        Self::Invalid { field: field.into(), value: excerpt(value), rule }
    }
}

/// Why events were not written out, or not all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// What was asked for is no good question. Nothing was written.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// An event has no line: its timestamp is beyond what JSON can say.
    #[error("event {id}: {reason}")]
    Event {
        /// The event.
        id: EventId,
        /// Why it has none.
        reason: Box<str>,
    },
    /// The store could not be read. What was read before is written, but for some lines.
    #[error(transparent)]
    Store(StoreError),
    /// Lines could not be written.
    #[error("cannot be written after {written} events: {reason}")]
    Write {
        /// How many events were written whole before.
        written: u64,
        /// What the writer said.
        reason: Box<str>,
    },
}

/// Why an import ended early. All lines before the one that it names are imported, but for those
/// that it was told to skip, neither that one nor any after it; an import that is run again counts
/// those no second time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The lines could not be read on.
    #[error("line {line}: cannot be read: {reason}; {imported} events before it are imported")]
    Read {
        /// The number of the line, from 1.
        line: u64,
        /// How many events of lines before it are imported, duplicates with them.
        imported: u64,
        /// What the reader said.
        reason: Box<str>,
    },
    /// A line is not an event as [`Engine::import`](crate::Engine::import) reads them.
    #[error("line {line}: {reason}; {imported} events before it are imported")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// How many events of lines before it are imported, duplicates with them.
        imported: u64,
        /// The field, the value and the rule that it breaks.
        reason: Box<str>,
    },
    /// The event of a line cannot be recorded.
    #[error("line {line}: {source}; {imported} events before it are imported")]
    Event {
        /// The number of the line, from 1.
        line: u64,
        /// How many events of lines before it are imported, duplicates with them.
        imported: u64,
        /// Why it cannot be recorded.
        source: TrackError,
    },
    /// The engine took no more events, or could not store those of this line and after.
    #[error("line {line}: {source}; {imported} events before it are imported")]
    Batch {
        /// The number of the line, from 1.
        line: u64,
        /// How many events of lines before it are imported, duplicates with them.
        imported: u64,
        /// Why not.
        source: BatchError,
    },
}

/// One problem of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleProblem {
    /// The rule, by its kind and its name, or its place among those of its kind:
    /// `rate limit "API"`, `quota #3`.
    pub rule: String,
    /// The field, by its name on the wire: `limitValue`, `dimensionFilters.team_id`.
    pub field: String,
    /// The value and the rule that it breaks.
    pub reason: String,
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.field, self.reason)
    }
}

/// Everything that is wrong with a set of rules, all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSetError {
    problems: Vec<RuleProblem>,
}

impl RuleSetError {
    /// Makes an error of the problems, or `Ok` of none.
    pub(crate) fn check(problems: Vec<RuleProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// Returns the problems, in the order of the rules. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[RuleProblem] {
        &self.problems
    }
}

impl fmt::Display for RuleSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return fmt::Display::fmt(only, f);
        }
        write!(f, "{} problems", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl std::error::Error for RuleSetError {}

/// Why an engine could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The rules or the settings are not valid.
    #[error(transparent)]
    Invalid(#[from] RuleSetError),
    /// The store could not be recovered.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rules of the builder could not be brought into those of the store.
    #[error(transparent)]
    Rules(RulesError),
}

impl BuildError {
    /// Returns what is wrong with the rules and the settings, in the order of the rules; nothing
    /// where something else is wrong.
    #[must_use]
    pub fn problems(&self) -> &[RuleProblem] {
        match self {
            Self::Invalid(why) => why.problems(),
            Self::Rules(RulesError::Invalid(why)) => why.problems(),
            _ => &[],
        }
    }
}

/// Why the rules could not be changed. Nothing was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The rules as they would be are not valid.
    #[error(transparent)]
    Invalid(#[from] RuleSetError),
    /// There is no such rule.
    #[error("no {kind} has the id {id:?}")]
    NotFound {
        /// What was looked for: `rule`, `rate limit`, `quota` or `meter`.
        kind: &'static str,
        /// The id that was given.
        id: String,
    },
    /// Rules count the meter.
    #[error("meter {id:?} is counted by {}", .rules.join(", "))]
    MeterInUse {
        /// The id that was given.
        id: String,
        /// The rules, by their kind and name.
        rules: Vec<String>,
    },
    /// The store did not take the change. Where it failed while it wrote, the change is in force
    /// and may be gone when the store is opened again.
    #[error(transparent)]
    Store(StoreError),
}

/// Any error of this crate, for callers that do not tell them apart.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A verb could not answer.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// A batch was not recorded.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The rules could not be changed.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// An engine could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A store could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A question could not be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A number is not an exact amount.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// Events were not written out.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Events were not imported.
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl From<EventError> for Error {
    fn from(error: EventError) -> Self {
        Self::Track(error.into())
    }
}

impl From<RuleSetError> for Error {
    fn from(error: RuleSetError) -> Self {
        Self::Rules(error.into())
    }
}
