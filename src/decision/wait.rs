//! What a decision says to those who wait for room.

use super::{Decision, Outcome};
use crate::base::amount::Amount;
use crate::compiled::CompiledRule;
use crate::counters::{Charge, Moment};
use crate::rules::{Metric, Overflow};

/// A hard rule that may refuse the event of a decision: the event adds something to it.
#[derive(Debug)]
pub(crate) struct Hurdle<'d> {
    pub(crate) rule: &'d CompiledRule,
    /// It goes by the counter that keys share which found no room.
    pub(crate) is_shared: bool,
    /// Of a rule that refused: the first instant at which it alone would not, or at which others
    /// may judge; [`Moment::MAX`] for never.
    pub(crate) refused_until: Option<Moment>,
}

impl Decision {
    /// The rules that may refuse the event; in a refusal those that do, if only they are asked for.
    pub(crate) fn hurdles(&self, refusing: bool) -> impl Iterator<Item = Hurdle<'_>> {
        let findings = self.findings();
        let now = findings.verdict.at.now;
        // Then others may judge: whoever waits looks again.
        let foresight = self.held_answer().foresight;
        let next_change = foresight.map_or(Moment::MAX, |foresight| foresight.next_change);
        let may_refuse =
            findings.hard().filter(
                move |(rule, charge)| {
                    if refusing { !charge.fits } else { may_refuse(rule, charge) }
                },
            );
        may_refuse.map(move |(rule, charge)| {
            let passes_at = || findings.rule_passes_at(rule, charge, now).unwrap_or(Moment::MAX);
            let refused_until = (!charge.fits).then(|| passes_at().min(next_change));
            Hurdle { rule, is_shared: charge.is_crowded(), refused_until }
        })
    }

    /// The first instant at which a refused event passes; none for never.
    pub(crate) fn passes_at(&self) -> Option<Moment> {
        let held = self.held_answer();
        let first = held.too_many.unwrap_or(Moment(0));
        let passes_at = match held.foresight {
            Some(foresight) => foresight.passes_at,
            None => self.findings().passes_at(),
        };
        passes_at.map(|moment| moment.max(first))
    }

    /// What is left of a metric, where only rules on it have refused: the least of them.
    pub(crate) fn left_of(&self, metric: &Metric) -> Option<Amount> {
        let findings = self.findings();
        let is_on_it = |rule: &CompiledRule| rule.rule.metric() == metric;
        if findings.refusing().any(|(rule, _)| !is_on_it(rule)) {
            return None;
        }
        let left = findings
            .hard()
            .filter(|(rule, _)| is_on_it(rule))
            .map(|(rule, charge)| rule.measure.amount_of(findings.figures(rule, charge).remaining));
        left.min()
    }

    /// Of a customer with too many reservations: when the first of them ends by itself.
    pub(crate) fn too_many_until(&self) -> Option<Moment> {
        self.held_answer().too_many
    }

    /// Whether no wait will do.
    pub(crate) fn never_passes(&self) -> bool {
        !self.is_let_in() && self.passes_at().is_none()
    }

    /// The refusal of an event that others wait before: by the rules on whose counters they do.
    /// The decision says where all stand, and nothing more.
    pub(crate) fn held_up(mut self, mut is_held_up: impl FnMut(&CompiledRule) -> bool) -> Self {
        let held: Vec<bool> = self.judged().map(|(rule, _)| is_held_up(rule)).collect();
        let body = &mut *self.body;
        body.outcome = Outcome::Refused;
        body.findings.verdict.allowed = false;
        for (charge, held) in body.findings.verdict.charges.iter_mut().zip(held) {
            charge.fits &= !held;
        }
        self
    }
}

fn may_refuse(rule: &CompiledRule, charge: &Charge) -> bool {
    let always_passes = charge.is_crowded() && rule.rule.overflow() == Overflow::Allow;
    !always_passes && rule.counter.policy.can_refuse(charge.cost())
}
