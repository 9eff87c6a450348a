//! Which thresholds of its rules a decision is the first to reach.
//!
//! It is asked once all counters are written, under the locks of the decision: what is used then
//! is what nobody else has seen or changed since. A threshold that is reached and has not
//! [fired](super::shard::fired) for the key in its period is marked there, and is a crossing. So of
//! threads that reach one together exactly one has it; whether the use has risen to it or the
//! threshold was set below it, and how often it falls and rises again, is all the same.
//!
//! A threshold of a balance is one that this falls to. Its mark says by which entry of the ledger
//! it fired, and it fires again where the ledger has a credit behind that which raised the balance
//! above it: nothing has to be noted when something is credited.

use smallvec::SmallVec;

use super::charge::Charge;
use super::judge::Script;
use super::locked::Locked;
use super::request::Intent;
use super::shard::fired::Mark;
use crate::base::clock::Timestamp;
use crate::counters::algorithms::periods::Bounds;
use crate::counters::counter::Counter;
use crate::counters::row::RowKey;
use crate::rules::{Cost, Enforcement, Threshold, Units};

/// A threshold that was reached for the first time in its period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    /// The index of the rule in the rule set.
    pub(crate) rule: u32,
    pub(crate) row: CrossedRow,
    pub(crate) mark: Mark,
    /// What events have used of the key, in counted units.
    pub(crate) used: Units,
    /// Of a rule that takes from a balance: how that is.
    pub(crate) low: Option<LowBalance>,
}

/// A balance that has fallen to a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LowBalance {
    pub(crate) current: Units,
    /// The entry of the latest credit that raised it above the threshold, as far as the ledger
    /// tells. There is one between any two times that the threshold fires.
    pub(crate) raised: Option<u64>,
    /// When the account was made: one that is removed and made again counts its entries anew.
    pub(crate) created: Timestamp,
}

/// The row of the key, as it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CrossedRow {
    /// A group, and the values of its partition.
    Key(u32, Box<[Box<str>]>),
    /// The one that keys share which found no room, by the lineage of its counter.
    Shared(u32),
}

impl Script<'_, '_> {
    /// The thresholds that the event was the first to reach, in ascending order for each rule, and
    /// marks them. `costs` is what the event costs rules where the charges say what that is beyond
    /// a hold.
    #[inline]
    pub(super) fn crossings(
        &self,
        charges: &[Charge],
        costs: Option<&[(u32, Cost)]>,
        locked: &mut impl Locked,
    ) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        if self.request.counters.watches() {
            self.cross(charges, costs, locked, &mut crossings);
        }
        crossings
    }

    fn cross(
        &self,
        charges: &[Charge],
        costs: Option<&[(u32, Cost)]>,
        locked: &mut impl Locked,
        crossings: &mut Vec<Crossing>,
    ) {
        for charge in charges.iter().filter(|charge| charge.judges()) {
            let Some(counter) = self.counter(charge) else { continue };
            if counter.watch().is_none() || !self.is_used(charge, costs) {
                continue;
            }
            if counter.policy.balance().is_some() {
                Self::cross_low(charge, counter, locked, crossings);
            } else if let Some((used, period)) = self.used_now(charge, counter, locked) {
                Self::fire(charge, counter, (used, period), locked, crossings);
            }
        }
    }

    /// Whether the event uses something of the rule.
    fn is_used(&self, charge: &Charge, costs: Option<&[(u32, Cost)]>) -> bool {
        debug_assert!(
            !self.request.intent.is_read_only() && self.request.intent != Intent::Reserve
        );
        match costs {
            None => charge.is_written() && charge.cost().units > 0,
            Some(costs) => {
                let cost = costs.iter().find(|(rule, _)| *rule == charge.rule);
                cost.is_some_and(|(_, cost)| cost.counts && cost.units > 0)
            }
        }
    }

    /// What events have used of the period of now, where the event falls in that and it reaches a
    /// threshold; with the period as marks have it: of what rolls one that begins now.
    fn used_now(
        &self,
        charge: &Charge,
        counter: &Counter,
        locked: &impl Locked,
    ) -> Option<(Units, (i64, i64))> {
        let (policy, at) = (&counter.policy, &self.at);
        if charge.reading.is_none() || counter.enforcement == Enforcement::Shadow {
            return None;
        }
        // What is dated before a period from the first use is of none.
        if !policy.counts_in(&charge.reading, at) {
            return None;
        }
        let watch = counter.watch()?;
        let used = policy.figures(&charge.reading, *at, self.table.timeline()).used;
        watch.reached(used).next()?;
        let period = charge.reading.bounds().map(|period| (period.start, period.end()));
        let period = match (period, policy.rolling()) {
            (Some(period), _) => period,
            (None, Some(window)) => {
                (at.now_second, at.now_second.saturating_add_unsigned(window.seconds()))
            }
            (None, None) => return None,
        };
        let first = charge.reading.bounds().map_or(0, |period: Bounds| period.start);
        let is_now = period.0 <= at.now_second && at.now_second < period.1;
        let held = locked.held_now(charge.row, counter, first, at);
        is_now.then_some((used.saturating_sub(held), period))
    }

    /// Marks the thresholds that a balance is at or below, the highest first, and for which nothing
    /// has fired since a credit raised it above them.
    fn cross_low(
        charge: &Charge,
        counter: &Counter,
        locked: &mut impl Locked,
        crossings: &mut Vec<Crossing>,
    ) {
        let (Some(watch), false) = (counter.watch(), counter.enforcement == Enforcement::Shadow)
        else {
            return;
        };
        let row = locked.account_row(charge.row);
        let Some(account) = locked.account(row) else { return };
        let (current, said) = (account.current(), account.available());
        let used = said.used.saturating_sub(said.held);
        let (created, _) = account.times();
        let last = account.next_entry().saturating_sub(1);
        // Of each the entry of the latest credit after which there was more.
        let raised = |units| account.last_raised_above(units);
        let low = watch.not_above(current).map(|(units, threshold)| (threshold, raised(units)));
        let low: SmallVec<[(Threshold, Option<u64>); 2]> = low.collect();
        let Some((hash, key, shard)) = locked.shard_of(row) else { return };
        let RowKey::Partition { group, values } = key else { return };
        for (threshold, raised) in low {
            let start = i64::try_from(last).unwrap_or(i64::MAX);
            let mark = Mark { lineage: counter.lineage(), threshold, start, end: i64::MAX };
            let fired = shard.fired_by(hash, key, &mark);
            let is_armed = fired.is_none_or(|fired| raised.is_some_and(|raised| raised > fired));
            if is_armed && shard.fires(hash, key, &mark, false) {
                let values = values.iter().map(|value| Box::from(*value)).collect();
                let row = CrossedRow::Key(group, values);
                let low = Some(LowBalance { current, raised, created });
                crossings.push(Crossing { rule: charge.rule, row, mark, used, low });
            }
        }
    }

    /// Marks what was reached and has not fired.
    fn fire(
        charge: &Charge,
        counter: &Counter,
        (used, (start, end)): (Units, (i64, i64)),
        locked: &mut impl Locked,
        crossings: &mut Vec<Crossing>,
    ) {
        let Some(watch) = counter.watch() else { return };
        let rolls = counter.policy.rolling().is_some();
        let Some((hash, key, shard)) = locked.shard_of(charge.row) else { return };
        for threshold in watch.reached(used) {
            let mark = Mark { lineage: counter.lineage(), threshold, start, end };
            if !shard.fires(hash, key, &mark, rolls) {
                continue;
            }
            let row = match key {
                RowKey::Overflow { counter } => CrossedRow::Shared(counter),
                RowKey::Partition { group, values } => {
                    CrossedRow::Key(group, values.iter().map(|value| Box::from(*value)).collect())
                }
            };
            crossings.push(Crossing { rule: charge.rule, row, mark, used, low: None });
        }
    }
}

impl Mark {
    /// The threshold that was reached.
    pub(crate) fn threshold(&self) -> Threshold {
        self.threshold
    }
}
