//! A key that gets a counter of its own after it may have used the one that keys without room
//! share.
//!
//! The new counter starts from all that the shared one holds, which keeps it: nobody knows whose
//! use it is, and so one key at one instant never has more than the limit. What is recorded of the
//! key itself is known better, and a calendar quota goes by that where it is complete.
//!
//! Whether anything is in the shared row is asked under the lock of the key's own row, and that
//! row's alone. Nothing is missed: the key's events that went into the shared row held the same
//! lock, and had counted the shared cell by when they released it.

use smallvec::SmallVec;

use super::charge::Charge;
use super::judge::Script;
use super::locked::Locked;
use crate::counters::algorithms::Judged;
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::Row;

/// What a counter of a key's own starts from.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The index of the rule in the rule set.
    pub(crate) rule: u32,
    /// Its states before the event: several periods of a quota.
    pub(in crate::counters) images: SmallVec<[CellState; 1]>,
}

impl Script<'_, '_> {
    /// Whether a key that gets a counter may have used the shared one, whose row is not locked
    /// yet. A closed period has no counter.
    #[inline]
    pub(super) fn leaves(&self, charge: &Charge, counter: &Counter, row: Option<Row<'_>>) -> bool {
        counter.is_shared()
            && !row.is_some_and(|row| counter.is_in(row))
            && !self.is_in(charge, |new| &new.leaving)
            && !counter.policy.is_too_late(&charge.reading, &self.at)
    }

    /// Judges by the shared row where the key's own has nothing of the counter.
    #[cold]
    pub(super) fn judge_leaving(
        &self,
        charge: &Charge,
        counter: &Counter,
        locked: &dyn Locked,
        own: Judged,
    ) -> Judged {
        let shared = locked.row(locked.shared_row(counter));
        if shared.is_none() || locked.row(charge.row).is_some_and(|row| counter.is_in(row)) {
            return own;
        }
        let calendar = || self.calendar(charge.row);
        let judged = if counter.policy.is_of_key() {
            // The shared row is nobody's, and may be cut by another calendar.
            let images = shared.map(|row| counter.images(row, &calendar, &self.at));
            let cells = images.iter().flatten().map(CellState::as_cell);
            counter.policy.judge(cells, &calendar, &self.at, charge.cost())
        } else {
            counter.judge(shared, 0, &calendar, &self.at, charge.cost())
        };
        Judged { cell: None, spare: None, ..judged }
    }

    /// Finds what the new counters of keys start from that leave the shared row.
    #[cold]
    pub(super) fn find_starts(&mut self, charges: &[Charge], locked: &dyn Locked) {
        let leaving = charges.iter().filter(|charge| self.is_in(charge, |new| &new.leaving));
        let starts = leaving.filter_map(|charge| self.start(charge, locked));
        let starts = starts.collect();
        self.note_new().starts = starts;
    }

    fn start(&self, charge: &Charge, locked: &dyn Locked) -> Option<Start> {
        let counter = self.counter(charge)?;
        if charge.is_crowded() || charge.cell.is_some() {
            return None;
        }
        let shared = locked.row(locked.shared_row(counter))?;
        if locked.row(charge.row).is_some_and(|row| counter.is_in(row)) {
            return None;
        }
        let images = counter.images(shared, &|| self.calendar(charge.row), &self.at).into_iter();
        let images = images.map(|image| self.own_use(charge, counter, image)).collect();
        Some(Start { rule: charge.rule, images })
    }

    /// The states that the new counter of a rule starts from.
    #[inline]
    pub(super) fn starting(&self, rule: u32) -> &[CellState] {
        let start = self.starts().iter().find(|start| start.rule == rule);
        start.map_or(&[], |start| &start.images)
    }

    /// What counters start from.
    #[inline]
    pub(super) fn starts(&self) -> &[Start] {
        self.new.as_deref().map_or(&[], |new| &new.starts)
    }
}
