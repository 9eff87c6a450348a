//! What an engine counts about its calls: see [`crate::telemetry`].

use std::time::Duration;

use crate::counters::{Intent, Table};
use crate::decision::{Decision, Outcome};
use crate::engine::TrackError;
use crate::rules::Enforcement;
use crate::telemetry::{CLOCK_SET_BACK, EVENTS_AHEAD, Recorder, STORE_FAILED, STORE_WAITING};
use crate::telemetry::{Count, DECISIONS, EVICTED, Gauge, LIVE_KEYS, RECORDED, REPLAYS, UNMATCHED};

/// The figures of an engine, beside those of its rules.
#[derive(Debug)]
pub(super) struct EngineFigures {
    tracks: Outcomes,
    checks: Outcomes,
    records: Outcomes,
    replays: Count,
    recorded: Count,
    unmatched: Count,
    evicted: Count,
    live_keys: Gauge,
    store_failed: Gauge,
    store_waiting: Gauge,
    events_ahead: Gauge,
    clock_set_back: Gauge,
}

/// How many calls of one verb ended in which way.
#[derive(Debug)]
struct Outcomes {
    allowed: Count,
    refused: Count,
    error: Count,
}

impl Outcomes {
    fn of(to: &Recorder, verb: &str) -> Self {
        let count = |outcome| Count::new(to, DECISIONS, &[("verb", verb), ("outcome", outcome)]);
        Self { allowed: count("allowed"), refused: count("refused"), error: count("error") }
    }
}

impl EngineFigures {
    pub(super) fn new(to: &Recorder) -> Self {
        Count::describe_all(to);
        Self {
            tracks: Outcomes::of(to, "track"),
            checks: Outcomes::of(to, "check"),
            records: Outcomes::of(to, "record"),
            replays: Count::new(to, REPLAYS, &[]),
            recorded: Count::new(to, RECORDED, &[]),
            unmatched: Count::new(to, UNMATCHED, &[]),
            evicted: Count::new(to, EVICTED, &[]),
            live_keys: Gauge::new(to, LIVE_KEYS),
            store_failed: Gauge::new(to, STORE_FAILED),
            store_waiting: Gauge::new(to, STORE_WAITING),
            events_ahead: Gauge::new(to, EVENTS_AHEAD),
            clock_set_back: Gauge::new(to, CLOCK_SET_BACK),
        }
    }

    /// Shows how the store is.
    #[inline]
    pub(super) fn look_at_store(&self, waiting: usize, failed: bool) {
        self.store_waiting.show(waiting as u64);
        self.store_failed.show(u64::from(failed));
    }

    /// Shows how far the store's events are ahead, and how far its clock was set back.
    pub(super) fn show_dates_ahead(&self, ahead: Duration, set_back: Duration) {
        self.events_ahead.show(ahead.as_secs());
        self.clock_set_back.show(set_back.as_secs());
    }

    /// Counts the answer of a call.
    pub(super) fn answered(
        &self,
        intent: Intent,
        answer: &Result<Decision, TrackError>,
        table: &Table,
    ) {
        let outcomes = match intent {
            Intent::Track | Intent::Reserve => &self.tracks,
            Intent::Check | Intent::Standing => &self.checks,
            Intent::Record | Intent::Commit | Intent::Adjust | Intent::Correct => &self.records,
        };
        match answer {
            Ok(decision) => match decision.outcome() {
                Outcome::Admitted => outcomes.allowed.add(1),
                Outcome::Replayed => self.replays.add(1),
                Outcome::Refused => outcomes.refused.add(1),
            },
            Err(_) => outcomes.error.add(1),
        }
        if let Ok(decision) = answer
            && !intent.is_read_only()
            && !decision.is_replay()
        {
            self.recorded.add(u64::from(decision.event_id().is_some()));
            self.unmatched.add(u64::from(decision.judged().next().is_none()));
            count_by_rule(decision);
            self.look_at(table);
        }
    }

    /// Brings what is counted of keys up to date.
    pub(super) fn look_at(&self, table: &Table) {
        self.evicted.add(table.evicted().take());
        self.live_keys.show(table.live_keys());
    }
}

fn count_by_rule(decision: &Decision) {
    for (compiled, charge) in decision.judged() {
        let figures = &compiled.figures;
        if charge.is_crowded() {
            figures.count(|counts| counts.overflow.add(1));
        }
        if !decision.is_allowed() {
            if !charge.fits && compiled.counter.enforcement == Enforcement::Hard {
                figures.count(|counts| counts.refusals.add(1));
            }
        } else if compiled.counter.policy.is_near_limit(&charge.reading, decision.at()) {
            figures.count(|counts| counts.near_limit.add(1));
        }
    }
}
