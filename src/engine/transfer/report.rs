//! What an export and an import say of their work.

use serde::{Deserialize, Serialize};

use crate::base::words::words;
use crate::engine::TrackError;
use crate::engine::batch::BatchEvent;

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// How many events were written.
    pub count: u64,
}

/// What an import does with a bad line: one that is no event, or whose event cannot be recorded,
/// because its idempotency key was used for another one, say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BadLines {
    /// It ends the import with an error: all lines before are imported, none after it.
    #[default]
    Stop,
    /// It is left out and told in the report, and the import goes on.
    Skip,
}

words! { BadLines, "badLines": Stop = "stop", Skip = "skip" }

/// What was imported. Serializes as `count`, `duplicates`, `conflicts`, `invalid` and `skipped`.
#[must_use = "lines that were skipped are told here alone"]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// How many events were recorded.
    pub count: u64,
    /// How many were left out because they were recorded before.
    pub duplicates: u64,
    /// How many lines were skipped because their customer used the idempotency key for another
    /// event. With [`BadLines::Stop`] only those whose key was used while the import ran.
    pub conflicts: u64,
    /// How many lines were skipped because they are no event, or one that breaks a rule.
    pub invalid: u64,
    /// The skipped lines, the first [`MAX_SKIPPED`](Self::MAX_SKIPPED) of them, in their order.
    pub skipped: Vec<SkippedLine>,
}

/// A line that an import left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct SkippedLine {
    /// Its number, from 1.
    pub line: u64,
    /// Why: the field, the value and the rule that it breaks.
    pub reason: Box<str>,
}

/// Why a line is left out.
#[derive(Debug)]
pub(super) enum Skipped {
    Conflict(Box<str>),
    Invalid(Box<str>),
}

impl Skipped {
    pub(super) fn of(why: &TrackError) -> Self {
        let reason = why.to_string().into();
        match why {
            TrackError::IdempotencyConflict { .. } => Self::Conflict(reason),
            _ => Self::Invalid(reason),
        }
    }
}

impl ImportReport {
    /// The most skipped lines that are told with their reasons.
    pub const MAX_SKIPPED: usize = 1_000;

    /// How many events of the lines so far are there.
    pub(super) fn imported(&self) -> u64 {
        self.count.saturating_add(self.duplicates)
    }

    /// How many lines are done.
    pub(super) fn lines(&self) -> u64 {
        self.imported().saturating_add(self.conflicts).saturating_add(self.invalid)
    }

    /// Counts an event that is there; false for one that is not.
    pub(super) fn add(&mut self, event: BatchEvent) -> bool {
        let count = match event {
            BatchEvent::New { .. } => &mut self.count,
            BatchEvent::Duplicate { .. } => &mut self.duplicates,
            BatchEvent::Conflict => return false,
        };
        *count = count.saturating_add(1);
        true
    }

    /// Counts a line that is left out.
    pub(super) fn skip(&mut self, line: u64, why: Skipped) {
        let (count, reason) = match why {
            Skipped::Conflict(reason) => (&mut self.conflicts, reason),
            Skipped::Invalid(reason) => (&mut self.invalid, reason),
        };
        *count = count.saturating_add(1);
        if self.skipped.len() < Self::MAX_SKIPPED {
            self.skipped.push(SkippedLine { line, reason });
        }
    }
}
