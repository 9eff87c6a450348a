//! What an event costs each rule, as it was and as it is corrected.

use std::time::Duration;

use smallvec::SmallVec;

use super::Asked;
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Matches, Snapshot};
use crate::counters::HowCounted;
use crate::engine::is_over;
use crate::recording::Ledger;
use crate::rules::{Algorithm, Cost, Rule};

/// What an event costs each rule, and what it costs as it is amended.
pub(super) fn costs(
    ledger: &Ledger,
    rules: &Snapshot,
    matches: &Matches<'_>,
    asked: &Asked<'_, '_, '_>,
    now: Timestamp,
) -> SmallVec<[(u32, Cost, Option<Cost>); 8]> {
    let Asked { times: (timestamp, decided_at, counted), event, amended, .. } = asked;
    let age = u64::try_from(decided_at.saturating_since(*timestamp).as_nanos());
    // What was recorded so late was nothing to a rate limit, nor what came before the rule.
    let was_nothing = |compiled: &CompiledRule| {
        let is_limit = matches!(compiled.rule, Rule::RateLimit(_));
        let is_recorded = *counted == HowCounted::Recorded;
        let is_late = || is_recorded && is_over(age.unwrap_or(u64::MAX), true, compiled);
        let [created, ..] = compiled.rule.stamps();
        is_limit && (created.is_some_and(|created| created > *decided_at) || is_late())
    };
    let costs = matches.rules().iter().filter_map(|found| {
        let compiled = rules.rule(found.rule)?;
        if was_nothing(compiled) {
            return Some((found.rule, Cost::NOTHING, amended.map(|_| Cost::NOTHING)));
        }
        let measure = &compiled.measure;
        let (before, after) = (measure.of(event), amended.map(|event| measure.of(event)));
        if !matches!(compiled.rule, Rule::RateLimit(_)) {
            return Some((found.rule, before, after));
        }
        let before = charged(ledger, compiled, asked, before);
        let age = now.saturating_since(*decided_at);
        let after = charged_after(compiled, before, after.unwrap_or(Cost::NOTHING), age);
        Some((found.rule, before, Some(after)))
    });
    costs.collect()
}

/// What a rate limit was charged for an event in all, until now.
fn charged(
    ledger: &Ledger,
    compiled: &CompiledRule,
    Asked { current, times: (_, decided_at, _), corrected, .. }: &Asked<'_, '_, '_>,
    is: Cost,
) -> Cost {
    if current.correction.is_none() {
        return is;
    }
    let mut charged: Option<Cost> = None;
    ledger.versions(corrected.target, |at, event| {
        let cost = compiled.measure.of(event);
        let age = at.saturating_since(*decided_at);
        charged = Some(charged.map_or(cost, |it| charged_after(compiled, it, cost, age)));
    });
    charged.unwrap_or(is)
}

/// What a rate limit was charged in all once an event, for which it was charged `before`, costs
/// `now`, so long after it was taken. More is nothing to a bucket when a window has passed. A
/// refund that is more than it was gives back no more: it may have been of nothing.
fn charged_after(compiled: &CompiledRule, before: Cost, now: Cost, age: Duration) -> Cost {
    let is_late = || {
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let Rule::RateLimit(limit) = &compiled.rule else { return false };
        limit.algorithm == Algorithm::TokenBucket && is_over(age, true, compiled)
    };
    let is_more = now.units > before.units;
    let units =
        if is_more && is_late() { before.units } else { now.units.max(before.units.min(0)) };
    Cost { units, counts: units != 0 }
}
