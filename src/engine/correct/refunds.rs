//! What refunds have given back since an event was taken, looked for before anything is locked.
//!
//! Nobody else corrects an event meanwhile, and a recorded event changes in no other way but that
//! it is dropped or erased. So what was found stays true, and only what has been recorded since is
//! looked for under the locks of the decision.

use smallvec::SmallVec;

use crate::base::amount::Amount;
use crate::compiled::Matches;
use crate::counters::Correcting;
use crate::engine::history::Recorded;

/// What refunds gave back, among the events before an ordinal.
#[derive(Debug)]
pub(in crate::engine) struct Refunds {
    /// The first that was not looked at.
    until: u64,
    of_rules: SmallVec<[(u32, Amount); 4]>,
}

impl Refunds {
    /// Looks through the events for what is asked of a correction. O(the events since), and none
    /// where it gives nothing back to a rate limit on amounts that may be below zero.
    pub(super) fn look(
        recorded: &Recorded<'_>,
        correcting: &Correcting,
        matches: &Matches<'_>,
    ) -> Self {
        let until = recorded.ledger.recorded();
        let asked = correcting.asks_since(&recorded.snapshot.counters);
        let of_rules = asked.filter_map(|(rule, since)| {
            let found = matches.rules().iter().find(|found| found.rule == rule)?;
            let values = matches.rows.get(found.row as usize)?.values;
            Some((rule, recorded.refunds(rule, values, &since, since.first()..until)))
        });
        Self { until, of_rules: of_rules.collect() }
    }

    /// What they gave back of a rule, and from which ordinal on others may have; `None` where it
    /// was not asked.
    pub(in crate::engine) fn of(&self, rule: u32) -> Option<(Amount, u64)> {
        let known = self.of_rules.iter().find(|(of, _)| *of == rule);
        known.map(|(_, amount)| (*amount, self.until))
    }
}
