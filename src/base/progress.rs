//! How far a long piece of work is.

use std::fmt;

/// How far a long piece of work has come: reading, checking or copying a store, exporting,
/// importing or repricing events.
///
/// The work has one step or several, one after the other. Each is told of at its start, now and
/// then, and at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The step, in a few words for people to read, such as `redoing the log`.
    pub step: &'static str,
    /// How much of the step is done. The unit depends on the step: bytes of the store, or records,
    /// events or lines.
    pub done: u64,
    /// How much of it there is, in the same unit. An estimate until the step ends, never less than
    /// what is done; an import does not know it and says what is done.
    pub total: u64,
}

impl Progress {
    /// Says how far a step is; the total is at least what is done.
    #[must_use]
    pub fn new(step: &'static str, done: u64, total: u64) -> Self {
        Self { step, done, total: total.max(done) }
    }
}

impl fmt::Display for Progress {
    /// `redoing the log: 1200 of 5000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}", self.step, self.done, self.total)
    }
}
