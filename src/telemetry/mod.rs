//! What an engine says of its own work: figures to the recorder of the `metrics` facade, spans and
//! events to the collector of `tracing`, each where the feature of its name is on.
//!
//! Figures go to the recorder of the engine, where it has [one of its own](Recorder), and else to
//! the one that is installed when they are made: when an engine is built, and when a rule comes
//! into force. A recorder is the caller's code, so it is spoken to where no lock is held; what
//! happens under one is kept in a [`Tally`] until then. Labels are the names of calls and the ids
//! of rules, never a key's value, and of ids there are at most [`RULE_LABELS`].
//!
//! The features are asked for here and nowhere else. Without them there are the same types, whose
//! functions do nothing.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

mod figures;
mod recorder;
mod spans;

pub(crate) use self::figures::{Count, Gauge, RuleFigures, Tally};
pub(crate) use self::spans::{Span, event, span};

/// Whether anybody can be told of figures.
pub(crate) const HAS_RECORDER: bool = cfg!(feature = "metrics");

/// How many rules get a label of their own, over the life of an engine.
const RULE_LABELS: usize = 1_000;

/// The label that all other rules share.
const OTHER: &str = "other";

pub(crate) const DECISIONS: &str = "limitry_decisions_total";
pub(crate) const REPLAYS: &str = "limitry_idempotent_replays_total";
pub(crate) const EVICTED: &str = "limitry_keys_evicted_total";
pub(crate) const LIVE_KEYS: &str = "limitry_live_keys";
pub(crate) const UNMATCHED: &str = "limitry_events_unmatched_total";
pub(crate) const RECORDED: &str = "limitry_events_recorded_total";
pub(crate) const STORE_FAILED: &str = "limitry_store_failed";
pub(crate) const STORE_WAITING: &str = "limitry_store_waiting_records";
pub(crate) const EVENTS_AHEAD: &str = "limitry_events_ahead_seconds";
pub(crate) const CLOCK_SET_BACK: &str = "limitry_clock_set_back_seconds";
const REFUSALS: &str = "limitry_refusals_total";
const NEAR_LIMIT: &str = "limitry_near_limit_total";
const OVERFLOW: &str = "limitry_overflow_total";

/// What each counter counts, for exporters.
const COUNTERS: [(&str, &str); 8] = [
    (DECISIONS, "Decisions by call and outcome, replays left out"),
    (REPLAYS, "Answers that were given again to an idempotency key"),
    (EVICTED, "Keys whose idle counters were dropped"),
    (RECORDED, "Events that were recorded"),
    (UNMATCHED, "Events that were let in and no rule counted"),
    (REFUSALS, "Events that a rule refused, or helped to refuse"),
    (NEAR_LIMIT, "Allowed events after which four fifths of a rule's limit or more were used"),
    (OVERFLOW, "Decisions in which a key found no room for its counter"),
];

/// What each gauge shows, for exporters.
const GAUGES: [(&str, &str); 5] = [
    (LIVE_KEYS, "Keys that have counters"),
    (STORE_FAILED, "Engines whose store has failed"),
    (STORE_WAITING, "Records that wait for their commit"),
    (EVENTS_AHEAD, "How far the latest event of a store is ahead of the engine's time"),
    (CLOCK_SET_BACK, "By how much clocks were found to be behind their stores"),
];

/// Who is told of an engine's figures: its own recorder, or the one that is installed.
#[derive(Clone, Default)]
pub(crate) struct Recorder(recorder::Own);

impl Recorder {
    /// The engine's own.
    #[cfg(feature = "metrics")]
    pub(crate) fn own(recorder: Arc<dyn metrics::Recorder + Send + Sync>) -> Self {
        Self(Some(recorder))
    }
}

/// Not the recorder: it is the caller's.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// The same of rules, of which an engine that is opened has some before it is told who it is.
#[derive(Clone, Debug, Default)]
struct LateRecorder(Arc<OnceLock<Recorder>>);

impl LateRecorder {
    fn known(&self) -> Recorder {
        self.0.get().cloned().unwrap_or_default()
    }
}

/// The figures of one rule.
#[derive(Debug)]
pub(crate) struct RuleCounts {
    pub(crate) refusals: Count,
    pub(crate) near_limit: Count,
    pub(crate) overflow: Count,
}

impl RuleCounts {
    fn labelled(recorder: &Recorder, rule: &str) -> Self {
        let count = |name| Count::new(recorder, name, &[("rule", rule)]);
        Self { refusals: count(REFUSALS), near_limit: count(NEAR_LIMIT), overflow: count(OVERFLOW) }
    }
}

/// Gives rules their figures, and keeps the labels few.
#[derive(Debug, Default)]
pub(crate) struct RuleLabels {
    /// The ids that have a label. One that is gone keeps it: recorders remember labels.
    own: HashSet<Box<str>>,
    other: Option<RuleFigures>,
    recorder: LateRecorder,
}

impl RuleLabels {
    /// Says who is told of the figures, of the rules that have them already as well.
    pub(crate) fn tell(&self, recorder: &Recorder) {
        let _ = self.recorder.0.set(recorder.clone());
    }

    pub(crate) fn figures(&mut self, rule: &str) -> RuleFigures {
        if HAS_RECORDER && self.own.len() < RULE_LABELS && !self.own.contains(rule) {
            self.own.insert(rule.into());
        }
        if !HAS_RECORDER || self.own.contains(rule) {
            return RuleFigures::labelled(&self.recorder, rule);
        }
        let recorder = &self.recorder;
        self.other.get_or_insert_with(|| RuleFigures::labelled(recorder, OTHER)).clone()
    }
}
