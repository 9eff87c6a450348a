//! When a refused event passes, where it hangs on the time which rules judge.

use super::{Decision, HeldAnswer};
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
    /// that of any refusal; it counts if it comes before the next change.
    #[cold]
    pub(crate) fn foresee(&mut self, roles: &dyn Roles, timeline: Timeline, is_recorded: bool) {
        let findings = &mut self.body.findings;
        if findings.verdict.allowed {
            return;
        }
        (findings.timeline, findings.is_recorded) = (timeline, is_recorded);
        let (at, decided) = (findings.verdict.at, findings.verdict.charges.clone());
        let next_change = roles.next_change(&at, &decided);
        let (mut from, mut until) = (at.now, next_change);
        let passes_at = loop {
            let passes_at = findings.passes_from(from).filter(|moment| *moment < until);
            if passes_at.is_some() || until == Moment::MAX {
                break passes_at;
            }
            from = until;
            let there = timeline.later(at, from);
            roles.assign(&there, &mut findings.verdict.charges);
            until = roles.next_change(&there, &decided);
        };
        findings.verdict.charges = decided;
        let foresight = Some(Foresight { passes_at, next_change });
        self.say(HeldAnswer { foresight, ..HeldAnswer::default() });
    }
}
