//! The figures that an engine counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::{COUNTERS, GAUGES, HAS_RECORDER, LateRecorder, Recorder, RuleCounts, recorder};

/// A number that only grows.
#[derive(Clone, Debug)]
pub(crate) struct Count(recorder::Counter);

impl Count {
    pub(crate) fn new(to: &Recorder, name: &'static str, labels: &[(&'static str, &str)]) -> Self {
        Self(recorder::counter(&to.0, name, labels))
    }

    #[inline]
    pub(crate) fn add(&self, by: u64) {
        self.0.increment(by);
    }

    /// Tells the recorder what the figures mean.
    pub(crate) fn describe_all(to: &Recorder) {
        recorder::describe(&to.0, &COUNTERS, &GAUGES);
    }
}

/// A number that goes up and down. Engines of one process add up to one gauge.
#[derive(Debug)]
pub(crate) struct Gauge {
    gauge: recorder::Gauge,
    /// What this engine's share of the gauge is.
    shown: AtomicU64,
}

impl Gauge {
    pub(crate) fn new(to: &Recorder, name: &'static str) -> Self {
        Self { gauge: recorder::gauge(&to.0, name), shown: AtomicU64::new(0) }
    }

    /// Shows a number. Of several threads that do at once the last to come wins, which may have
    /// read the number first; the next call sets it right.
    #[inline]
    pub(crate) fn show(&self, now: u64) {
        if HAS_RECORDER && self.shown.load(Ordering::Relaxed) != now {
            self.change(now);
        }
    }

    #[cold]
    fn change(&self, now: u64) {
        let before = self.shown.swap(now, Ordering::Relaxed);
        // Exact up to 2^32 in one step.
        let difference = u32::try_from(now.abs_diff(before)).unwrap_or(u32::MAX);
        if now > before {
            self.gauge.increment(difference);
        } else {
            self.gauge.decrement(difference);
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.show(0);
    }
}

/// What happened under a lock and is to be counted after it.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    #[inline]
    pub(crate) fn add(&self, by: u64) {
        if HAS_RECORDER {
            self.0.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Takes what has come together.
    #[inline]
    pub(crate) fn take(&self) -> u64 {
        let has_some = HAS_RECORDER && self.0.load(Ordering::Relaxed) > 0;
        if has_some { self.0.swap(0, Ordering::Relaxed) } else { 0 }
    }
}

/// The figures of a rule, made when they are shown or counted for the first time: never under a
/// lock, for the recorder may use the engine. None without the feature.
#[derive(Clone, Debug)]
pub(crate) struct RuleFigures(Option<Arc<Labelled>>);

#[derive(Debug)]
struct Labelled {
    rule: Box<str>,
    recorder: LateRecorder,
    counts: OnceLock<RuleCounts>,
}

thread_local! {
    /// The recorder is making figures of a rule, and what it does meanwhile is not counted by rule:
    /// it would make them again, without end.
    static IS_MAKING: Cell<bool> = const { Cell::new(false) };
}

impl RuleFigures {
    pub(super) fn labelled(recorder: &LateRecorder, rule: &str) -> Self {
        let labelled = || {
            let (rule, recorder) = (rule.into(), recorder.clone());
            Arc::new(Labelled { rule, recorder, counts: OnceLock::new() })
        };
        Self(HAS_RECORDER.then(labelled))
    }

    /// Lets the recorder know of them.
    pub(crate) fn show(&self) {
        self.count(|_| ());
    }

    #[inline]
    pub(crate) fn count(&self, count: impl FnOnce(&RuleCounts)) {
        let Some(labelled) = &self.0 else { return };
        match labelled.counts.get() {
            Some(counts) => count(counts),
            None => labelled.make(count),
        }
    }
}

impl Labelled {
    #[cold]
    fn make(&self, count: impl FnOnce(&RuleCounts)) {
        if IS_MAKING.replace(true) {
            return;
        }
        let _made = MakingDone;
        let counts = RuleCounts::labelled(&self.recorder.known(), &self.rule);
        count(&counts);
        // Of several threads that do at once all have the same handles.
        let _ = self.counts.set(counts);
    }
}

/// Says that figures are made, also where the recorder panicked.
struct MakingDone;

impl Drop for MakingDone {
    fn drop(&mut self) {
        IS_MAKING.set(false);
    }
}
