//! Why a verb has no answer: an error of a room below it, or of the store.

use std::fmt;

use super::ReservationError;
use crate::event::EventError;
use crate::idempotency::KeyConflict;
use crate::journal::store::StoreError;
use crate::log::{EventId, QueryError};
use crate::rules::{RuleKey, RuleProblem, RuleSetError};

/// Why a verb could not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The event cannot be judged.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The customer used the idempotency key for another event: one with another type, model,
    /// provider, cost or latency, other tokens, properties, values or attachments. A retry may
    /// bring another timestamp, and a total of tokens may be given or left to be computed.
    #[error(
        "idempotency_key: {key:?} of customer {customer:?} was used for another event: a retry \
         must have the same type, model, provider, tokens, cost, latency, properties, values and \
         attachments"
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

impl From<KeyConflict> for TrackError {
    fn from(KeyConflict { customer, key }: KeyConflict) -> Self {
        Self::IdempotencyConflict { customer, key }
    }
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

/// Why an event that waited was not decided about. Nothing was taken and nothing recorded, but
/// where a store failed, as `track` says.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// As of `track`.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// As of `reserve`.
    #[error(transparent)]
    Reservation(ReservationError),
    /// The last handle of the engine was dropped, its store closed, or
    /// [`Waiting::close`](crate::handles::Waiting::close) called.
    #[error("the engine is closed, and nobody waits in it any more")]
    Closed,
    /// There are as many waiters as
    /// [`EngineBuilder::max_waiters`](crate::EngineBuilder::max_waiters) lets in.
    #[error("as many wait as may: at most {max}")]
    TooMany {
        /// The most that may wait.
        max: usize,
    },
    /// The engine was given no timer, and the thread of its own could not be started.
    #[error("no timer: its thread could not be started: {reason}")]
    NoTimer {
        /// What the system said.
        reason: Box<str>,
    },
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
    #[error("{}", ProblemList(problems))]
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
struct ProblemList<'p>(&'p [BatchProblem]);

impl fmt::Display for ProblemList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        if let [only] = self.0 {
            return fmt::Display::fmt(only, f);
        }
        write!(f, "{} events of the batch cannot be recorded", self.0.len())?;
        for BatchProblem { index, source } in self.0.iter().take(SHOWN) {
            write!(f, "; event {index}: {source}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
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
    /// A line is not an event as [`Store::import`](crate::handles::Store::import) reads them.
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
            Self::Invalid(why) | Self::Rules(RulesError::Invalid(why)) => why.problems(),
            _ => &[],
        }
    }
}

/// Why nothing was adjusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdjustError {
    /// There is no such rule.
    #[error("no rule has the id {id:?}")]
    RuleNotFound {
        /// The id that was given.
        id: Box<str>,
    },
    /// The key is none of the rule's.
    #[error("rule {rule:?}: {dimension}: {value:?} {broken}")]
    Key {
        /// The name of the rule.
        rule: Box<str>,
        /// The dimension.
        dimension: Box<str>,
        /// The value, cut short when it is long; empty where there is none.
        value: Box<str>,
        /// The rule that it breaks.
        broken: &'static str,
    },
    /// The amount, the note or the idempotency key breaks its rule.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The value, cut short when it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The rule counts what no amount is added to.
    #[error("rule {rule:?} cannot be adjusted: {reason}")]
    NotAdjustable {
        /// The name of the rule.
        rule: Box<str>,
        /// Why not.
        reason: &'static str,
    },
    /// The key has no counter of its own, because the rule or the engine has as many keys as may
    /// be.
    #[error("rule {rule:?} has no room for a counter of the key {key}")]
    NoRoom {
        /// The name of the rule.
        rule: Box<str>,
        /// The key.
        key: Box<RuleKey>,
    },
    /// The idempotency key was used for another adjustment: of another rule, key, amount or note.
    #[error("idempotency_key: {key:?} was used for another adjustment, number {first}")]
    IdempotencyConflict {
        /// The idempotency key.
        key: Box<str>,
        /// The number of the adjustment that it made.
        first: u64,
    },
    /// The store takes nothing, or the commit failed: whether the adjustment is there shows when
    /// the store is opened again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an event was not corrected. Nothing was changed, but where a store fails.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CorrectError {
    /// The engine keeps no events.
    #[error("recording is off: the engine keeps no events that could be corrected")]
    RecordingOff,
    /// No event of this engine has the id.
    #[error("no event has the id {id}")]
    NotFound {
        /// The id that was given.
        id: EventId,
    },
    /// Retention has dropped the event.
    #[error("event {id} is not kept any more: only events of the log are corrected")]
    Dropped {
        /// The event.
        id: EventId,
    },
    /// The event is nobody's any more.
    #[error("event {id} is erased")]
    Erased {
        /// The event.
        id: EventId,
    },
    /// The event that is to be amended is voided.
    #[error("event {id} is voided: record another")]
    Voided {
        /// The event.
        id: EventId,
    },
    /// The reason breaks its rule, or the event is another customer's or of another time.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The value, cut short when it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A field of the amended event breaks its rule.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A rule would count the amended event under another key, or one of both not at all.
    #[error("rule {rule:?} would count it under another key: void the event, and record another")]
    OtherKey {
        /// The name of the rule.
        rule: Box<str>,
    },
    /// The event may be the one that a figure is of, a highest or latest amount or a number of
    /// values, and what that is without it is not recorded any more.
    #[error("event {id}: what {figure:?} is without it is not recorded any more")]
    NotRecorded {
        /// The event.
        id: EventId,
        /// The name of the value or of the rule.
        figure: Box<str>,
    },
    /// Its value of a dimension came when there was no [room](crate::usage::RollupOptions) for
    /// another, which there has been since: where it was counted is not known.
    #[error("event {id}: whether it is counted among the other values of {dimension} is unknown")]
    AmongOthers {
        /// The event.
        id: EventId,
        /// The dimension.
        dimension: Box<str>,
    },
    /// The store takes nothing, or the commit failed: whether the correction is there shows when
    /// the store is opened again.
    #[error(transparent)]
    Store(#[from] StoreError),
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
