//! A key that gets a counter of its own after it may have used the one that keys without room
//! share.
//!
//! The new counter starts from all that the shared one holds, which keeps it: nobody knows whose
//! use it is, and so one key at one instant never has more than the limit. What is recorded of the
//! key itself is known better, and a calendar quota goes by that where it is complete.

use smallvec::SmallVec;

use super::work::Work;
use super::{Charge, Guards, Row, Shared, Told};
use crate::counters::algorithms::Judged;
use crate::counters::cell::CellState as Image;
use crate::counters::counter::Counter;

/// What a counter of a key's own starts from.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The rule's place in the rule set.
    pub(crate) rule: u32,
    /// Its states before the event: several periods of a quota.
    pub(in crate::counters) images: SmallVec<[Image; 1]>,
}

impl<'w> Work<'w, '_> {
    /// Whether a key that gets a counter may have used the shared one, whose row is not looked at
    /// yet. A closed period has no counter.
    #[inline]
    pub(super) fn leaves(
        &self,
        charge: &Charge,
        counter: &Counter,
        row: Option<&Row>,
        shared: &Shared,
    ) -> bool {
        counter.is_shared()
            && !row.is_some_and(|row| counter.is_in(row))
            && !shared.leaving.contains(&charge.rule)
            && !counter.policy.is_too_late(&charge.reading, &self.at)
    }

    /// Judges by the shared row where the key's own has nothing of the counter.
    #[cold]
    pub(super) fn judge_leaving(
        &self,
        charge: &Charge,
        counter: &Counter,
        row: Option<&Row>,
        guards: &Guards<'_>,
        own: Judged,
    ) -> Judged {
        let shared = self.row(guards, self.overflow_seat(counter));
        if shared.is_none() || row.is_some_and(|row| counter.is_in(row)) {
            return own;
        }
        let judged = counter.judge(shared, 0, &self.at, charge.cost());
        Judged { cell: None, spare: None, ..judged }
    }

    /// What the new counters of these rules start from.
    #[inline]
    pub(super) fn find_starts(
        &self,
        charges: &[Charge],
        guards: &Guards<'_>,
        leaving: &[u32],
    ) -> Vec<Start> {
        if leaving.is_empty() {
            return Vec::new();
        }
        let leaving = charges.iter().filter(|charge| leaving.contains(&charge.rule));
        leaving.filter_map(|charge| self.start(charge, guards)).collect()
    }

    #[cold]
    fn start(&self, charge: &Charge, guards: &Guards<'_>) -> Option<Start> {
        let counter = self.request.counters.counter(charge.rule)?;
        if charge.is_crowded() || charge.cell.is_some() {
            return None;
        }
        let shared = self.row(guards, self.overflow_seat(counter))?;
        if self.row(guards, charge.row).is_some_and(|row| counter.is_in(row)) {
            return None;
        }
        let images = counter.images(shared, &self.at).into_iter();
        let images = images.map(|image| self.own_use(charge, counter, image)).collect();
        Some(Start { rule: charge.rule, images })
    }

    /// What the key itself has used of a period, where that is recorded; else all that was used.
    fn own_use(&self, charge: &Charge, counter: &Counter, image: Image) -> Image {
        if let Some(list) = self.list(charge.rule) {
            return list;
        }
        if charge.told == Told::Open && charge.reading.bounds() == image.bounds() {
            return charge.reading.cell().unwrap_or(image);
        }
        let told = || {
            charge.reading.bounds()?;
            let place = self.request.rows.get(charge.row as usize)?;
            let (history, period) = (self.request.history?, image.bounds()?);
            history.used(charge.rule, period.start, period.resets(), &place.values)
        };
        match told() {
            Some(used) => counter.policy.with_use(&image, used, &self.at),
            None => image,
        }
    }

    /// The states that the new counter of a rule starts from.
    #[inline]
    pub(super) fn starting(&self, rule: u32) -> &'w [Image] {
        let start = self.starts.iter().find(|start| start.rule == rule);
        start.map_or(&[], |start| &start.images)
    }
}
