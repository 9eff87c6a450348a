//! Adjusting the counter of a key: what an operator gives back or takes, and a counter that begins
//! anew.
//!
//! It is a decision of its own, step by step, that charges one rule whatever it says: what is given
//! back is a cost below zero. So it is written, held against what reservations hold, kept and
//! redone as what an event costs. A reset charges what is committed with the opposite sign, by the
//! state under the locks.
//!
//! A rolling quota cannot be reset so: its uses leave one by one, and what was given back would
//! stay. Its list begins anew, with what is held alone; the record says it as what the counter
//! starts from. It happens a nanosecond after all that came before it to the row, so that what is
//! recorded tells what it is about.

use std::cell::Cell;

use super::charge::{Charge, UseSource};
use super::judge::Script;
use super::locked::{Locked, NOWHERE, Rows};
use super::starts::Start;
use crate::counters::algorithms::Expiring;
use crate::counters::counter::Counter;
use crate::counters::time::Moment;
use crate::rules::{Cost, Units};

/// An adjustment of a counter.
#[derive(Clone, Debug)]
pub(crate) struct Adjusting {
    /// Whether the counter begins anew; else the charge says what is added to what is used.
    pub(crate) resets: bool,
    /// How much was added to what is used, in counted units: known when the caller's step runs.
    pub(crate) added: Cell<Units>,
    /// Whether the key has no counter of its own, and there is no room for one: nothing was
    /// changed.
    pub(crate) found_no_room: Cell<bool>,
}

impl Adjusting {
    pub(crate) fn new(resets: bool) -> Self {
        Self { resets, added: Cell::new(0), found_no_room: Cell::new(false) }
    }
}

impl Script<'_, '_> {
    /// Fixes the instant: after all that came to the row where a rolling quota begins anew.
    pub(super) fn begin_adjusting(
        &mut self,
        adjusting: &Adjusting,
        charges: &[Charge],
        locked: &mut Rows<'_, '_>,
    ) {
        let is_rolling = |charge: &Charge| {
            self.counter(charge).is_some_and(|counter| counter.policy.rolling().is_some())
        };
        if adjusting.resets && charges.iter().any(is_rolling) {
            let later = Moment(self.at.now.0.saturating_add(1));
            self.at = self.table.timeline.later(self.at, later);
            locked.each_shard(|shard| shard.advance(later));
        }
    }

    /// Works out what is charged. `false` where the key has no room for a counter.
    pub(super) fn adjust(
        &mut self,
        adjusting: &Adjusting,
        charges: &mut [Charge],
        locked: &Rows<'_, '_>,
    ) -> bool {
        for charge in charges {
            if charge.found_no_room() || charge.row == NOWHERE {
                adjusting.found_no_room.set(true);
                return false;
            }
            let Some(counter) = self.counter(charge) else { continue };
            if adjusting.resets {
                let units = self.committed(charge, counter, locked).saturating_neg();
                adjusting.added.set(units);
                charge.costs(Cost { units, counts: true });
                if counter.policy.rolling().is_some() {
                    self.begin_anew(charge, counter, locked);
                }
            } else {
                adjusting.added.set(charge.cost().units);
            }
        }
        true
    }

    /// What is used of a counter, without what is held.
    fn committed(&self, charge: &Charge, counter: &Counter, locked: &Rows<'_, '_>) -> Units {
        let used = |reading| counter.policy.figures(reading, self.at, self.table.timeline).used;
        let period = charge.reading.bounds().map_or(0, |period| period.start);
        let held = locked.held(charge.row).and_then(|held| held.counter(counter.number(), period));
        let Some(held) = held else { return used(&charge.reading) };
        if let Some(committed) = &held.committed {
            return used(committed);
        }
        // What was taken in a window that is over is held, and has left it.
        let is_in_use = |it: &Expiring| counter.policy.has_use_of(it.taken, self.at.now);
        let in_use = held.expiring().filter(is_in_use);
        in_use.fold(used(&charge.reading), |used, it| used.saturating_sub(it.units))
    }

    /// Lets a rolling quota start from what is held alone.
    fn begin_anew(&mut self, charge: &mut Charge, counter: &Counter, locked: &Rows<'_, '_>) {
        let Some(policy) = counter.policy.rolling() else { return };
        let mut held = locked.held_uses(charge.row, counter.number());
        held.sort_by_key(|(time, _)| *time);
        let list = policy.recorded(self.at.now, &held);
        let cell = std::iter::once(list.as_cell());
        let nothing = Cost { units: 0, counts: true };
        let at = charge.row;
        let calendar = || self.calendar(at);
        charge.reading = counter.policy.judge(cell, &calendar, &self.at, nothing).reading;
        charge.costs(nothing);
        charge.source = UseSource::HistorySeedsCell;
        let rule = charge.rule;
        let new = self.note_new();
        new.recorded.retain(|(of, _)| *of != rule);
        new.recorded.push((rule, list.clone()));
        new.starts.retain(|start| start.rule != rule);
        new.starts.push(Start { rule, images: [list].into_iter().collect() });
    }
}
