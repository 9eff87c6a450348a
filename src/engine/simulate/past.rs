//! What was used before the first call of a replay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::clock::Timestamp;
use crate::counters::{Moment, Timeline, Used};
use crate::recording::Ledger;
use crate::rules::Units;

/// Asks the recording of an engine for what happened before a second, and for nothing after: those
/// events are replayed.
#[derive(Debug)]
pub(in crate::engine) struct Past {
    ledger: Arc<Ledger>,
    until: i64,
    /// By rule: whether it was asked for use that is not known. Relaxed: a simulation has one
    /// thread.
    unknown: Box<[AtomicBool]>,
}

impl Past {
    pub(super) fn new(ledger: &Arc<Ledger>, until: i64, rules: usize) -> Self {
        let unknown = (0..rules).map(|_| AtomicBool::new(false)).collect();
        Self { ledger: Arc::clone(ledger), until, unknown }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether something of what a rule had used is not known.
    pub(super) fn is_unknown(&self, rule: u32) -> bool {
        let noted = self.unknown.get(rule as usize);
        noted.is_some_and(|noted| noted.load(Ordering::Relaxed))
    }

    /// Keeps in mind where there is no answer.
    fn noted<T>(&self, rule: u32, answer: Option<T>) -> Option<T> {
        if answer.is_none()
            && let Some(noted) = self.unknown.get(rule as usize)
        {
            noted.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// What was used of a period, of which `ask` is asked up to its end or the first call.
    pub(in crate::engine) fn used(
        &self,
        rule: u32,
        start: i64,
        end: Option<i64>,
        ask: impl FnOnce(Option<i64>) -> Option<Used>,
    ) -> Option<Used> {
        let end = end.map_or(self.until, |end| end.min(self.until));
        if start >= end {
            return Some(Used { units: 0, latest: Moment(0) });
        }
        self.noted(rule, ask(Some(end)))
    }

    /// The uses from a moment to now, of which `ask` is asked up to the last one to be known of.
    pub(in crate::engine) fn uses(
        &self,
        rule: u32,
        (start, now): (Moment, Moment),
        timeline: Timeline,
        ask: impl FnOnce(Moment) -> Option<Vec<(Moment, Units)>>,
    ) -> Option<Vec<(Moment, Units)>> {
        let until = timeline.moment(Timestamp::new(self.until, 0));
        if start >= until {
            return Some(Vec::new());
        }
        let last = Moment(until.0.saturating_sub(1)).min(now);
        self.noted(rule, ask(last))
    }
}
