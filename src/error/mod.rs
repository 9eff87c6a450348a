//! Any error of this crate. Each room owns its errors, and none knows this one.

use crate::base::amount::AmountError;
use crate::engine::{
    AdjustError, BalanceError, BatchError, BuildError, CorrectError, CustomersError, ExportError,
    ImportError, ReservationError, RulesError, SimulateError, TrackError, WaitError,
};
use crate::event::EventError;
use crate::journal::store::StoreError;
use crate::log::QueryError;
use crate::rules::RuleSetError;

/// Any error of this crate, for callers that do not tell them apart.
///
/// A refusal is not an error: it is a [`Decision`](crate::Decision). Errors are input that cannot
/// be judged, which name the field, the value and the rule, and stores that fail.
///
/// At most one of [`is_bad_input`](Self::is_bad_input), [`is_conflict`](Self::is_conflict),
/// [`is_not_found`](Self::is_not_found) and [`is_store`](Self::is_store) is true. None is where
/// the engine does not record or is closed, too many wait in it, a sum or an event has no exact
/// form to be shown in, or the reader of an import or the writer of an export failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A verb could not answer.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// A wait ended without an answer.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A call about a reservation could not answer.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// A call about a balance could not answer.
    #[error(transparent)]
    Balance(#[from] BalanceError),
    /// A batch was not recorded.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The rules could not be changed.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Nothing was adjusted.
    #[error(transparent)]
    Adjust(#[from] AdjustError),
    /// An event was not corrected.
    #[error(transparent)]
    Correct(#[from] CorrectError),
    /// What is known of customers could not be changed.
    #[error(transparent)]
    Customers(#[from] CustomersError),
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
    /// Rules were not tried out.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
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

/// What a caller branches on. Each error is in one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    BadInput,
    Conflict,
    NotFound,
    Store {
        is_retryable: bool,
    },
    /// The caller's reader or writer failed.
    Stream,
    /// Too many are there at this time.
    Busy,
    /// The engine has no answer to a good question.
    Unanswerable,
}

impl Error {
    /// Returns whether what was given breaks a rule, and must be changed: an event, an amount, a
    /// batch, a line of an import, a rule, a setting or a query. Of a batch also where only some
    /// of its events do, and others are conflicts.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        self.class() == Class::BadInput
    }

    /// Returns whether what was given is good, and something that is there stands against it: the
    /// idempotency key was used for another event (of a batch: all events that cannot be recorded
    /// have such a key), a reservation has ended, or rules count the meter that was to be removed.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.class() == Class::Conflict
    }

    /// Returns whether what was named is not there: a rule, a meter, or the events of a cursor,
    /// which are not kept any more.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.class() == Class::NotFound
    }

    /// Returns whether it is an error of the store, under whichever call: a [`StoreError`].
    ///
    /// Whether an event of a call that failed so is stored shows when the store is opened again;
    /// with an idempotency key the call can be made again then and counts once.
    #[must_use]
    pub fn is_store(&self) -> bool {
        matches!(self.class(), Class::Store { .. })
    }

    /// Returns whether the same call may pass when it is made again later, with nothing changed:
    /// the store is open in another engine, reading or writing it failed, the caller's own reader
    /// or writer did, or too many wait already.
    ///
    /// False for a store that [has failed](StoreError::Failed), which takes nothing until it is
    /// opened again, and for an event that is dated too far ahead: time alone does not make it
    /// good input.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.class(), Class::Store { is_retryable: true } | Class::Stream | Class::Busy)
    }

    fn class(&self) -> Class {
        match self {
            Self::Track(why) | Self::Import(ImportError::Event { source: why, .. }) => {
                of_track(why)
            }
            Self::Wait(why) => of_wait(why),
            Self::Balance(why) => of_balance(why),
            Self::Batch(why) | Self::Import(ImportError::Batch { source: why, .. }) => {
                of_batch(why)
            }
            Self::Reservation(why) => of_reservation(why),
            Self::Adjust(why) => of_adjust(why),
            Self::Correct(why) => of_correct(why),
            Self::Rules(why)
            | Self::Build(BuildError::Rules(why))
            | Self::Customers(CustomersError::Rules(why)) => of_rules(why),
            Self::Query(why)
            | Self::Export(ExportError::Query(why))
            | Self::Simulate(SimulateError::Query(why)) => of_query(why),
            Self::Store(why)
            | Self::Build(BuildError::Store(why))
            | Self::Export(ExportError::Store(why)) => of_store(why),
            Self::Amount(_)
            | Self::Customers(CustomersError::Invalid(_))
            | Self::Build(BuildError::Invalid(_))
            | Self::Simulate(
                SimulateError::Invalid(_)
                | SimulateError::Share { .. }
                | SimulateError::Line { .. },
            )
            | Self::Import(ImportError::Line { .. }) => Class::BadInput,
            Self::Export(ExportError::Write { .. }) | Self::Import(ImportError::Read { .. }) => {
                Class::Stream
            }
            Self::Export(ExportError::Event { .. }) => Class::Unanswerable,
        }
    }
}

fn of_adjust(why: &AdjustError) -> Class {
    match why {
        AdjustError::RuleNotFound { .. } => Class::NotFound,
        AdjustError::Key { .. }
        | AdjustError::Invalid { .. }
        | AdjustError::NotAdjustable { .. } => Class::BadInput,
        AdjustError::IdempotencyConflict { .. } => Class::Conflict,
        AdjustError::NoRoom { .. } => Class::Busy,
        AdjustError::Store(why) => of_store(why),
    }
}

fn of_correct(why: &CorrectError) -> Class {
    match why {
        CorrectError::NotFound { .. } => Class::NotFound,
        CorrectError::Invalid { .. } | CorrectError::Event(_) | CorrectError::OtherKey { .. } => {
            Class::BadInput
        }
        CorrectError::Voided { .. } => Class::Conflict,
        CorrectError::RecordingOff
        | CorrectError::Dropped { .. }
        | CorrectError::Erased { .. }
        | CorrectError::NotRecorded { .. }
        | CorrectError::AmongOthers { .. } => Class::Unanswerable,
        CorrectError::Store(why) => of_store(why),
    }
}

fn of_track(why: &TrackError) -> Class {
    match why {
        TrackError::Event(_) => Class::BadInput,
        TrackError::IdempotencyConflict { .. } => Class::Conflict,
        TrackError::Store(why) => of_store(why),
    }
}

fn of_wait(why: &WaitError) -> Class {
    match why {
        WaitError::Track(why) => of_track(why),
        WaitError::Reservation(why) => of_reservation(why),
        WaitError::Closed => Class::Unanswerable,
        WaitError::TooMany { .. } | WaitError::NoTimer { .. } => Class::Busy,
    }
}

fn of_reservation(why: &ReservationError) -> Class {
    match why {
        ReservationError::Track(why) => of_track(why),
        ReservationError::Length { .. } => Class::BadInput,
        ReservationError::NotFound { .. } => Class::NotFound,
        ReservationError::Ended { .. } | ReservationError::Conflict { .. } => Class::Conflict,
    }
}

fn of_balance(why: &BalanceError) -> Class {
    match why {
        BalanceError::Invalid { .. } => Class::BadInput,
        BalanceError::NotFound { .. } => Class::NotFound,
        BalanceError::Exists { .. } | BalanceError::Conflict { .. } | BalanceError::Full { .. } => {
            Class::Conflict
        }
        BalanceError::Store(why) => of_store(why),
    }
}

fn of_batch(why: &BatchError) -> Class {
    match why {
        BatchError::Events { problems } => {
            let mut classes = problems.iter().map(|problem| of_track(&problem.source));
            let all_conflict = classes.all(|class| class == Class::Conflict);
            if all_conflict { Class::Conflict } else { Class::BadInput }
        }
        BatchError::Empty | BatchError::TooMany { .. } => Class::BadInput,
        BatchError::Store(why) => of_store(why),
    }
}

fn of_rules(why: &RulesError) -> Class {
    match why {
        RulesError::Invalid(_) => Class::BadInput,
        RulesError::NotFound { .. } => Class::NotFound,
        RulesError::MeterInUse { .. } => Class::Conflict,
        RulesError::Store(why) => of_store(why),
    }
}

fn of_query(why: &QueryError) -> Class {
    match why {
        QueryError::CursorExpired { .. }
        | QueryError::MeterNotFound { .. }
        | QueryError::RuleNotFound { .. } => Class::NotFound,
        QueryError::RecordingOff | QueryError::Overflow { .. } => Class::Unanswerable,
        QueryError::Invalid { .. }
        | QueryError::EmptyRange { .. }
        | QueryError::Unbounded
        | QueryError::TooManyPoints { .. } => Class::BadInput,
    }
}

fn of_store(why: &StoreError) -> Class {
    let is_retryable = matches!(why, StoreError::Locked { .. } | StoreError::Io { .. });
    Class::Store { is_retryable }
}

#[cfg(test)]
mod tests;
