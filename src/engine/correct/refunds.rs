//! What refunds have given back since an event was taken, looked for before anything is locked.
//!
//! Nobody else corrects an event meanwhile, and a recorded event changes in no other way but that
//! it is dropped or erased. So what was found stays true, and only what has been recorded since is
//! looked for under the locks of the decision.

use std::ops::Range;

use smallvec::SmallVec;

use crate::base::amount::Amount;
use crate::compiled::Matches;
use crate::counters::{Correcting, History, Moment, Since, Used};
use crate::engine::history::Recorded;
use crate::rules::Units;

/// What is recorded, of which the events before an ordinal were looked through.
#[derive(Debug)]
pub(super) struct Looked<'e> {
    recorded: Recorded<'e>,
    until: u64,
    /// What the refunds among them gave back, by rule.
    refunds: SmallVec<[(u32, Amount); 4]>,
}

impl<'e> Looked<'e> {
    /// Looks through the events for what is asked of a correction. O(the events since), and none
    /// where it gives nothing back to a rate limit on amounts that may be below zero.
    pub(super) fn of(
        recorded: Recorded<'e>,
        correcting: &Correcting,
        matches: &Matches<'_>,
    ) -> Self {
        let until = recorded.ledger.recorded();
        let refunds = correcting.asks_since(&recorded.snapshot.counters);
        let refunds = refunds.filter_map(|(rule, since)| {
            let found = matches.rules().iter().find(|found| found.rule == rule)?;
            let values = matches.rows.get(found.row as usize)?.values;
            Some((rule, recorded.refunds(rule, values, &since, since.first()..until)))
        });
        let refunds = refunds.collect();
        Self { recorded, until, refunds }
    }
}

impl History for Looked<'_> {
    fn used(&self, rule: u32, start: i64, end: Option<i64>, values: &[&str]) -> Option<Used> {
        self.recorded.used(rule, start, end, values)
    }

    fn used_without(
        &self,
        rule: u32,
        within: (i64, Option<i64>),
        values: &[&str],
        ordinal: u64,
    ) -> Option<Used> {
        self.recorded.used_without(rule, within, values, ordinal)
    }

    fn has_begun_anew(&self, rule: u32, values: &[&str], taken: Moment) -> bool {
        self.recorded.has_begun_anew(rule, values, taken)
    }

    /// O(the events that were recorded since they were looked through).
    fn given_back(&self, rule: u32, values: &[&str], since: &Since) -> Option<Units> {
        let known = self.refunds.iter().find(|(of, _)| *of == rule);
        let Some((_, known)) = known else {
            return self.recorded.given_back(rule, values, since);
        };
        let refunds = |Range { start, end }: Range<u64>| {
            let new = start.max(self.until)..end;
            known.saturating_add(self.recorded.refunds(rule, values, since, new))
        };
        self.recorded.given_back_beside(rule, values, since, &refunds)
    }

    fn uses(
        &self,
        rule: u32,
        start: Moment,
        now: Moment,
        piece: u64,
        values: &[&str],
    ) -> Option<Vec<(Moment, Units)>> {
        self.recorded.uses(rule, start, now, piece, values)
    }
}
