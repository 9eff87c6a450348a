//! What is asked about usage, and what is answered.

use std::ops::Range;
use std::sync::Arc;

use super::columns::{Columns, ValueFold};
use super::held::{Held, HeldColumn};
use super::plan::Plan;
use super::row::Total;
use super::select::{Group, Grouped, Selector, Totals};
use crate::base::clock::Timestamp;

/// What is asked of the ledger.
#[derive(Debug)]
pub(crate) struct Question<'q> {
    pub(crate) selector: &'q Selector,
    /// The ranges of time to fold each on its own: in order, and none overlaps another.
    pub(crate) ranges: &'q [Range<Timestamp>],
    /// The folds of values that are asked for, beside the sums.
    pub(crate) folds: &'q [ValueFold],
    /// Whether each value of the grouping has to be told from every other.
    pub(crate) tells_all_apart: bool,
    /// The ordinal of an event that is left out, as the events alone can tell.
    pub(crate) without: Option<u64>,
    /// Whether readings of a gauge are asked for one by one.
    pub(crate) held: Option<Held<'q>>,
}

/// The folds of a question's groups and ranges.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) groups: Grouped,
    pub(super) plans: Vec<Plan>,
    pub(super) columns: Arc<Columns>,
    /// Where readings were asked for. Then the first plan is of what was before the ranges.
    pub(super) held: Option<HeldColumn>,
}

impl Answer {
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Group, &Totals)> {
        self.groups.iter().map(|(group, totals)| (group, totals))
    }

    /// The only group's fold of the only range, where there are any events.
    pub(super) fn total(&self) -> Option<&Total> {
        self.totals().and_then(|totals| totals.get(0))
    }

    /// The only group's folds; `None` where there are no events.
    pub(super) fn totals(&self) -> Option<&Totals> {
        self.groups.first().map(|(_, totals)| totals)
    }

    /// What is covered of each range.
    pub(super) fn covers(&self) -> impl DoubleEndedIterator<Item = &Range<Timestamp>> {
        self.plans.iter().skip(usize::from(self.held.is_some())).map(|plan| &plan.covers)
    }
}
