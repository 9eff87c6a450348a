//! A counter as the durable engine keeps it: what its cells are found and read by.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::{Carry, ChangeTime, Counter};
use crate::counters::algorithms::Policy;
use crate::counters::row::plain;
use crate::counters::time::{Moment, Timeline};
use crate::rules::Units;

/// A counter without its limits and modes, which are its rule's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredCounter {
    number: u32,
    lineage: u32,
    /// When it came into being, where that was after events that it counts.
    since: Option<u64>,
    /// How far the engine's line was ahead of the calendar then.
    #[serde(default, skip_serializing_if = "is_none")]
    since_shift: u64,
    /// The counters before it, the last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    took_over: Vec<StoredCarry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCarry {
    number: u32,
    policy: Policy,
    at: Option<u64>,
    #[serde(default, skip_serializing_if = "is_none")]
    shift: u64,
    /// How many units of the counter after it one of its units is.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    units: Units,
}

fn one() -> Units {
    1
}

fn is_one(units: &Units) -> bool {
    *units == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(shift: &u64) -> bool {
    *shift == 0
}

#[cfg(test)]
impl StoredCounter {
    /// How many counters it took over from.
    pub(crate) fn chain(&self) -> usize {
        self.took_over.len()
    }
}

impl Counter {
    pub(crate) fn to_stored(&self) -> StoredCounter {
        let moment = |time: &Arc<ChangeTime>| time.get().map(|at| (at.now.0, at.shift)).unzip();
        let mut took_over = Vec::new();
        let mut next = self.carry.as_deref();
        while let Some(Carry { from, at, units, .. }) = next {
            let (policy, units) = (from.policy.clone(), *units);
            let (at, shift) = moment(at);
            let shift = shift.unwrap_or(0);
            took_over.push(StoredCarry { number: from.number, policy, at, shift, units });
            next = from.carry.as_deref();
        }
        let (since, since_shift) = self.since.as_ref().map(moment).unwrap_or_default();
        let (number, lineage, since_shift) = (self.number, self.lineage, since_shift.unwrap_or(0));
        StoredCounter { number, lineage, since, since_shift, took_over }
    }

    /// The counter that was stored, of a rule with this policy. Numbers had other bits above them
    /// in format 1.
    pub(crate) fn of_stored(stored: StoredCounter, policy: Policy, timeline: Timeline) -> Self {
        let StoredCounter { number, lineage, since, since_shift, took_over } = stored;
        let time = |moment: Option<u64>, shift| {
            let at = moment.map(|moment| timeline.shifted(shift).at(Moment(moment), None));
            Arc::new(at.map_or_else(OnceLock::new, OnceLock::from))
        };
        let counter = |number, policy, before: Option<(Self, _, Units)>| {
            let counter = Self { lineage: plain(lineage), ..Self::new(plain(number), policy) };
            match before {
                Some((from, at, units)) => counter.taking_over(from, at, units),
                None => counter,
            }
        };
        let mut before = None;
        for StoredCarry { number, policy, at, shift, units } in took_over.into_iter().rev() {
            before = Some((counter(number, policy, before), time(at, shift), units));
        }
        let counter = counter(number, policy, before);
        if since.is_some() { counter.recounting(time(since, since_shift)) } else { counter }
    }
}
