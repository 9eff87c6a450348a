//! When a refused event passes, where it hangs on the time which rules judge.

use super::{Decision, HeldAnswer};
use crate::compiled::Times;
use crate::counters::{Moment, Roles, Timeline};

/// What a refusal knows of later roles of its rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foresight {
    /// The first moment at which the event passes; none for never.
    pub(super) passes_at: Option<Moment>,
    /// The first moment at which other rules may judge; [`Moment::MAX`] for none.
    pub(super) next_change: Moment,
}

impl Decision {
    /// Works out when a refused event passes, while the charges of all its rules are there: before
    /// the decision is [complete](Self::complete). Between two changes of the roles each moment is
    /// judged by the same rules, so that the first one that they let the event in at is found as
    /// that of any refusal; it counts if it comes before the next change, and if none of the rules
    /// that insist on what the event lacks judges then.
    #[cold]
    pub(crate) fn foresee(
        &mut self,
        times: &Times,
        insisting: &[u32],
        timeline: Timeline,
        is_recorded: bool,
    ) {
        let findings = &mut self.body.findings;
        if findings.verdict.allowed {
            return;
        }
        (findings.timeline, findings.is_recorded) = (timeline, is_recorded);
        let (at, decided) = (findings.verdict.at, findings.verdict.charges.clone());
        let rules = || decided.iter().map(|charge| charge.rule).chain(insisting.iter().copied());
        let next_change = times.next_change(&at, rules());
        let (mut there, mut until) = (at, next_change);
        let passes_at = loop {
            let is_event = !times.is_refused(&there, &decided, insisting);
            let passes_at = findings.passes_from(there.now);
            let passes_at = passes_at.filter(|moment| is_event && *moment < until);
            if passes_at.is_some() || until == Moment::MAX {
                break passes_at;
            }
            there = timeline.later(at, until);
            times.assign(&there, &mut findings.verdict.charges);
            until = times.next_change(&there, rules());
        };
        findings.verdict.charges = decided;
        let foresight = Some(Foresight { passes_at, next_change });
        self.say(HeldAnswer { foresight, ..HeldAnswer::default() });
    }
}
