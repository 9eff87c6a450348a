//! How far a long piece of work is.

use std::fmt;

/// How far a long piece of work is: opening, checking or copying a store, moving events in or out.
///
/// It is told at the start, now and then, and at the end of each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done, in a few words.
    pub step: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much of it there is, as far as that is known; never less than what is done.
    pub total: u64,
}

impl Progress {
    #[allow(dead_code, reason = "only some features have long work")]
    pub(crate) fn new(step: &'static str, done: u64, total: u64) -> Self {
        Self { step, done, total: total.max(done) }
    }
}

impl fmt::Display for Progress {
    /// `redoing the log: 1200 of 5000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}", self.step, self.done, self.total)
    }
}
