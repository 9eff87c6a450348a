//! An answer that comes back from the durable log.

use std::sync::Arc;

use super::{Body, Decision, Findings, Outcome, Pooled};
use crate::compiled::CompiledRule;
use crate::counters::{At, Charge, Role, StoredCharge, Timeline};
use crate::log::EventId;
use crate::rules::Units;

impl Decision {
    /// The answer that let an event in, as a retry gets it: what
    /// [`to_replay`](Self::to_replay) kept, made again from what each rule took. The event has a
    /// name where events are recorded, `at` is the instant of the decision, `held` says by their
    /// revisions how much of rules was held, and `rule` finds the rules as they were. `None` where
    /// one is not known, or says otherwise.
    pub(crate) fn restored(
        event_id: Option<EventId>,
        (at, timeline): (At, Timeline),
        charges: &[StoredCharge],
        held: &[(u32, Units)],
        rule: impl Fn(u32) -> Option<Arc<CompiledRule>>,
    ) -> Option<Self> {
        let said = charges.iter().filter(|charge| charge.role == Role::Judges);
        let known = said.map(|charge| {
            let rule = rule(charge.revision)?;
            rule.counter.policy.may_have_said(&charge.reading).then_some((rule, charge))
        });
        let mut known = known.collect::<Option<Vec<_>>>()?;
        // The order of their definition, as in a snapshot: what was changed keeps its age.
        known.sort_by_key(|(rule, _)| (rule.rule.kind() as u8, rule.age));
        let places = 0_u32..;
        let said = places.zip(&known).map(|(place, (_, charge))| Charge::restored(place, charge));
        let said = said.collect();
        let rules = known.iter().map(|(rule, _)| Arc::clone(rule)).collect();
        let is_recorded = event_id.is_some();
        let mut findings = Findings::restored(at, timeline, is_recorded, said, rules);
        for (place, (_, charge)) in (0_u32..).zip(&known) {
            let units = held.iter().find(|(revision, _)| *revision == charge.revision);
            findings.verdict.held.extend(units.map(|(_, units)| (place, *units)));
        }
        let outcome = Outcome::Replayed;
        Some(Self { body: Pooled::new(Body { outcome, event_id, findings, ..Body::default() }) })
    }
}

#[cfg(test)]
mod tests;
