//! Rules that count different values: which are known, and which become known.
//!
//! A value of a key is known in a period where its *mark* has counted an event of it: a rule of its
//! own that stands in no answer, whose counter lies in the row of the key and the value. The marks
//! are looked at before anything is judged, since what an event costs the rule that counts values
//! hangs on them; and they are written where that rule counts the event, in the same step. So under
//! the locks of a decision, which are those of both rows, a rule has counted exactly the values
//! that are marked, but for what it holds.
//!
//! A reservation marks nothing. It holds 1 for a value that is not known, and its commit finds
//! under its locks whether the value has become known meanwhile: then all that it holds is given
//! back. So more than one may be held for a value, and never less than will be counted.

use super::charge::{Charge, UseSource};
use super::hold::Step;
use super::judge::{NeedsSharedRow, Script};
use super::locked::Locked;
use super::request::Intent;
use crate::counters::counter::Counter;
use crate::rules::Cost;

impl Script<'_, '_> {
    /// Finds out which values are known: what those cost is nothing.
    pub(super) fn look_at_marks(
        &mut self,
        charges: &mut [Charge],
        step: &Step<'_, '_>,
        locked: &dyn Locked,
    ) -> Result<(), NeedsSharedRow> {
        if !self.request.counters.has_marks() {
            return Ok(());
        }
        for charge in &mut *charges {
            let is_of_values = |counter: &Counter| counter.counts_values() || counter.is_marking();
            if self.counter(charge).is_some_and(is_of_values) {
                // As it was asked for, in whichever turn this is; without a mark the event has no
                // value.
                charge.knows_value(false);
                if let Some(full) = full_cost(step, charge) {
                    charge.costs(full);
                }
                charge.knows_value(true);
            }
        }
        for at in 0..charges.len() {
            let Some(charge) = charges.get_mut(at) else { continue };
            let Some(counter) = self.counter(charge).filter(|it| it.is_marking()) else { continue };
            charge.knows_value(false);
            let at = charge.row;
            let calendar = || self.calendar(at);
            let own = counter.judge(locked.row(at), 0, &calendar, &self.at, charge.cost());
            if self.judge_new(charge, counter, locked, own) {
                return Err(NeedsSharedRow);
            }
            if self.is_in(charge, |new| &new.crowded) {
                self.miss(charge, counter);
            }
            let known = counter.policy.is_used(&charge.reading, &self.at);
            charge.knows_value(known);
            let counting = self.request.counters.counted_by(charge.rule);
            if let Some(counting) = charges.iter_mut().find(|it| Some(it.rule) == counting) {
                counting.knows_value(known);
            }
        }
        Ok(())
    }

    /// Lets those values become known that rules count, which have judged: returns whether that
    /// makes counters. What is recorded of known values is kept. Nothing of it where the event is
    /// not `let_in`.
    pub(super) fn mark_values(
        &self,
        charges: &mut [Charge],
        step: &Step<'_, '_>,
        let_in: bool,
    ) -> bool {
        // Of one that is refused it is said for what it waits: what it would cost.
        let corrects = self.request.intent == Intent::Correct;
        if !let_in || corrects || !self.request.counters.has_marks() {
            return false;
        }
        let keeps = !self.request.intent.is_read_only();
        let mut grows = false;
        for at in 0..charges.len() {
            let marking =
                charges.get(at).and_then(|charge| self.request.counters.counted_by(charge.rule));
            let Some(marking) = marking else { continue };
            let has_room = charges.get(at).is_some_and(|charge| !charge.found_no_room());
            let counting = charges.iter_mut().find(|charge| charge.rule == marking);
            let counts =
                counting.is_some_and(|counting| self.counts_value(counting, step, has_room));
            let Some(charge) = charges.get_mut(at) else { continue };
            if !counts || self.request.intent == Intent::Reserve {
                charge.knows_value(true);
            }
        }
        for charge in charges {
            let Some(counter) = self.counter(charge) else { continue };
            if !counter.counts_values() && !counter.is_marking() {
                continue;
            }
            if keeps
                && charge.source == UseSource::HistorySeedsCell
                && self.counting(charge).is_none()
                && counter.policy.is_used(&charge.reading, &self.at)
            {
                charge.seeds();
            }
            grows |= charge.cell.is_none() && self.counting(charge).is_some();
        }
        grows
    }

    /// Whether a rule counts the event's value. At its cap it counts no more, nor where there is no
    /// room for a mark.
    fn counts_value(&self, counting: &mut Charge, step: &Step<'_, '_>, has_room: bool) -> bool {
        let is_held = !counting.is_of_known_value() && !counting.cost().counts;
        if is_held && full_cost(step, counting).is_some_and(|full| full.counts) {
            // What was held becomes use: there is nothing to charge beyond it.
            return true;
        }
        let Some(counter) = self.counting(counting) else { return false };
        let timeline = self.table.timeline;
        let used = counter.policy.figures(&counting.reading, self.at, timeline).used;
        if !has_room || counter.is_at_cap(used) {
            counting.knows_value(true);
        }
        !counting.is_of_known_value()
    }
}

/// What an event that is committed costs the rule of a charge, before its hold is taken off.
fn full_cost(step: &Step<'_, '_>, charge: &Charge) -> Option<Cost> {
    let Step::Settle(settling, _) = step else { return None };
    settling.costs.iter().find(|(rule, _)| *rule == charge.rule).map(|(_, full)| *full)
}
