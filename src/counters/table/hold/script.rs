//! What a script does about holds under its locks.

use smallvec::SmallVec;

use super::end::{expire, give_back};
use super::{Extension, HeldChange, Holding, Settling, Step, Touched};
use crate::counters::algorithms::periods::{Bounds, UseAhead};
use crate::counters::algorithms::{Expiring, HeldAhead, Reading, Refusal};
use crate::counters::counter::Counter;
use crate::counters::table::charge::{Charge, UseSource};
use crate::counters::table::judge::Script;
use crate::counters::table::locked::{Locked, NOWHERE, Rows};
use crate::counters::table::request::Verdict;
use crate::counters::table::shard::held::{HeldCounter, HeldRow, HoldKey, Part};
use crate::counters::time::Moment;
use crate::rules::{Cost, Units};

/// What counters say before they are written that have no hold yet, by the place of their charge.
pub(in crate::counters::table) type Befores = SmallVec<[(u32, Reading); 4]>;

impl Script<'_, '_> {
    /// Gives back what has expired of the locked rows.
    pub(in crate::counters::table) fn expire(&self, locked: &mut Rows<'_, '_>) {
        if !locked.holds() {
            return;
        }
        for row in (0_u32..).take(locked.len()) {
            if let Some(mut held) = locked.take_held(row) {
                let (counters, cells) = (self.request.counters, locked.grow(row));
                expire(self.table, &mut held, cells, counters, &self.at);
                locked.hold(row, held);
            }
        }
    }

    /// The counter of a charge, where the charge is noted as held.
    fn held_counter(&self, charge: &Charge) -> Option<&Counter> {
        let is_held = charge.is_written() && charge.row != NOWHERE && charge.cost().units > 0;
        let counter = self.counter(charge).filter(|counter| is_held && counter.policy.holds());
        counter.filter(|counter| counter.policy.counts_in(&charge.reading, &self.at))
    }

    /// What the counters say without holds that get their first.
    pub(in crate::counters::table) fn befores(
        &self,
        charges: &[Charge],
        locked: &Rows<'_, '_>,
    ) -> Befores {
        let charges = charges.iter().filter(|charge| !charge.reading.is_none());
        let new = charges.filter_map(|charge| {
            let counter = self.counter(charge)?;
            let has = locked
                .held(charge.row)
                .and_then(|held| held.counter(counter.number(), period_of(charge)));
            let before = counter.policy.committed(&charge.reading).filter(|_| has.is_none())?;
            Some((charge.rule, before))
        });
        new.collect()
    }

    /// Lets the second states of counters with open holds see what was charged.
    pub(in crate::counters::table) fn follow(
        &self,
        charges: &[Charge],
        locked: &mut Rows<'_, '_>,
        touched: &mut Touched,
    ) {
        if !locked.holds() {
            return;
        }
        for charge in charges.iter().filter(|charge| charge.is_written()) {
            if let Some(counter) = self.counter(charge) {
                let (cost, judges) = (charge.cost(), charge.judges());
                let see = |held: &mut HeldCounter| {
                    self.see(held, counter, cost, judges);
                    touched.committed(charge.row, held);
                };
                locked.change_held(charge.row, |held| {
                    held.counter_mut(counter.number(), period_of(charge)).map(see);
                });
            }
        }
    }

    /// Lets a second state see a cost.
    fn see(&self, held: &mut HeldCounter, counter: &Counter, cost: Cost, judges: bool) {
        if let Some(committed) = &mut held.committed {
            let at = self.at.for_judge(judges);
            let _ = counter.policy.charge(committed, &mut [], &at, cost);
        }
    }

    /// Notes what a reservation holds of what was written.
    pub(in crate::counters::table) fn hold(
        &self,
        holding: &mut Holding,
        befores: &Befores,
        charges: &[Charge],
        locked: &mut Rows<'_, '_>,
        touched: &mut Touched,
    ) {
        if let Some(lasting) = holding.lasting {
            holding.until = Moment(self.at.now.0.saturating_add(lasting));
        }
        for charge in charges {
            let Some(counter) = self.held_counter(charge) else { continue };
            let (number, period) = (counter.number(), period_of(charge));
            let units = charge.cost().units;
            let before = befores.iter().find(|(rule, _)| *rule == charge.rule);
            let before = before.map(|(_, before)| *before);
            let Some((hash, key)) = locked.place_of(charge.row) else { continue };
            let mut held = locked
                .take_held(charge.row)
                .unwrap_or_else(|| HeldRow::new(hash, key, charges.len()));
            if held.counter(number, period).is_none() {
                held.counters.push(HeldCounter::new(number, period, before));
            }
            if let Some(held) = held.counter_mut(number, period) {
                let part = held.open.remove(holding.key());
                let mut part = part.unwrap_or_else(|| Part::new(&self.at));
                part.take(counter.policy.taken_at(&self.at), units);
                held.put(holding.key(), part, units);
                touched.hold(charge.row, held, holding.key());
            }
            locked.hold(charge.row, held);
            holding.held.add(locked, charge.row, counter.lineage(), units);
        }
    }

    /// Marks the cells of counters with open holds: new ones, too.
    pub(in crate::counters::table) fn mark(locked: &mut Rows<'_, '_>) {
        if !locked.holds() {
            return;
        }
        for row in (0_u32..).take(locked.len()) {
            let held = locked.held(row);
            let numbers: SmallVec<[u32; 8]> =
                held.into_iter().flat_map(|held| &held.counters).map(|it| it.number).collect();
            if let Some(mut row) = locked.row_mut(row) {
                numbers.iter().for_each(|number| row.mark_held(*number, true));
            }
        }
    }

    /// Takes the hold off what the charges cost: what is left is charged as `record` does.
    pub(in crate::counters::table) fn take_off(
        &self,
        settling: &mut Settling<'_>,
        charges: &mut [Charge],
        locked: &Rows<'_, '_>,
    ) {
        settling.has_expired = self.at.now >= settling.until;
        settling.is_overrun = false;
        let parts = settling.held.parts_in(locked);
        self.take_off_balances(settling, charges, locked);
        for charge in charges {
            if self.counter(charge).is_some_and(|counter| counter.policy.balance().is_some()) {
                continue;
            }
            let full = settling.costs.iter().find(|(rule, _)| *rule == charge.rule);
            let Some((_, full)) = full.filter(|_| !charge.is_of_known_value()) else { continue };
            let counter = self.counter(charge);
            let is_shared = self.is_in(charge, |new| &new.crowded);
            let shared = counter.filter(|_| is_shared).map(|counter| locked.shared_row(counter));
            let (at, lineage) = (shared.unwrap_or(charge.row), counter.map(Counter::lineage));
            let of_charge = parts.iter().filter(|(row, part)| {
                !settling.has_expired && *row == at && Some(part.lineage) == lineage
            });
            let of_charge = of_charge.map(|(_, part)| part.units());
            // A rate limit keeps as use what it does not hold any more, a quota nothing.
            let open = counter.filter(|counter| !counter.drains()).map(|counter| {
                let held = locked.held(at).into_iter().flat_map(|held| &held.counters);
                let held = held.filter(|held| held.number == counter.number());
                held.filter_map(|held| held.open.get(settling.key())).map(|part| part.units)
            });
            let held = match open {
                Some(open) => open.reduce(Units::saturating_add).filter(|_| !settling.has_expired),
                None => of_charge.reduce(Units::saturating_add),
            };
            let (is_held, held) = (held.is_some(), held.unwrap_or(0));
            let cost = if is_held && full.units >= 0 {
                let units = full.units.saturating_sub(held).max(0);
                Cost { units, counts: units > 0 }
            } else {
                *full
            };
            // A key without room may have no counter at all.
            let can_hold = counter.is_some_and(|counter| counter.policy.holds() && at != NOWHERE);
            let is_beyond = can_hold && charge.judges() && cost.units > 0 && !settling.has_expired;
            settling.is_overrun |=
                is_beyond && counter.is_some_and(|it| self.counts_now(it, at, locked));
            charge.costs(cost);
        }
    }

    /// Whether the event counts in what a counter is by now.
    fn counts_now(&self, counter: &Counter, row: u32, locked: &Rows<'_, '_>) -> bool {
        let cell = locked.row(row).and_then(|row| row.cells_of(counter.number(), 0).next());
        let reading = counter.policy.read(cell, &|| self.calendar(row), &self.at);
        counter.policy.counts_in(&reading, &self.at)
    }

    /// Ends a hold: what was not used of it is given back.
    pub(in crate::counters::table) fn settle(
        &self,
        settling: &Settling<'_>,
        charges: &mut [Charge],
        locked: &mut Rows<'_, '_>,
        touched: &mut Touched,
    ) {
        let mut given_back: SmallVec<[(u32, u32); 4]> = SmallVec::new();
        for (row, part) in settling.held.parts_in(locked) {
            let Some(mut held) = locked.take_held(row) else { continue };
            let found = held.counters.iter_mut().find_map(|held| {
                let counter = self.request.counters.answering(held.number)?;
                let is_it =
                    counter.lineage() == part.lineage && held.open.get(settling.key()).is_some();
                is_it.then_some((held, counter))
            });
            if let Some((held, counter)) = found
                && let Some(own) = held.remove(settling.key())
            {
                let is_it = |charge: &&Charge| {
                    charge.row == row
                        && self.counter(charge).is_some_and(|it| it.number() == held.number)
                };
                let charge = charges.iter().find(is_it);
                let known = charge.is_some_and(Charge::is_of_known_value);
                let used = charge.filter(|_| !known).and_then(|charge| {
                    let full = settling.costs.iter().find(|(rule, _)| *rule == charge.rule);
                    Some(full?.1.units.clamp(0, own.units))
                });
                let used = used.unwrap_or(0);
                let judges = charge.is_none_or(Charge::judges);
                self.see(held, counter, Cost { units: used, counts: used > 0 }, judges);
                let back = own.units.saturating_sub(used);
                give_back(held, locked.grow(row).as_mut(), counter, &own, back, &self.at);
                given_back.push((row, counter.number()));
                touched.hold(row, held, settling.key());
                if back > 0 {
                    touched.cell(row, held);
                }
            }
            Self::drop_empty(&mut held, row, locked);
            locked.hold(row, held);
        }
        for charge in charges.iter_mut() {
            let number = self.counter(charge).map(Counter::number);
            if number.is_some_and(|number| given_back.contains(&(charge.row, number))) {
                self.read_after(charge, locked);
            }
        }
    }

    fn drop_empty(held: &mut HeldRow, row: u32, locked: &mut Rows<'_, '_>) {
        held.counters.retain(|held| {
            let is_open = !held.open.is_empty();
            if !is_open && let Some(mut row) = locked.row_mut(row) {
                row.mark_held(held.number, false);
            }
            is_open
        });
    }

    /// Reads a counter again that something was given back to.
    fn read_after(&self, charge: &mut Charge, locked: &Rows<'_, '_>) {
        let Some((counter, row)) = self.counter(charge).zip(locked.row(charge.row)) else { return };
        let is_of_cell = matches!(charge.source, UseSource::Cell | UseSource::NoRoom);
        if !is_of_cell && !charge.is_written() {
            return;
        }
        let cell = counter.policy.find_cell(row.cells_of(counter.number(), 0), &self.at);
        if let Some(cell) = cell {
            let calendar = || self.calendar(charge.row);
            let cell = row.cell_at(cell);
            charge.reading = counter.policy.read_after(&charge.reading, cell, &calendar, &self.at);
        }
    }

    /// What a step did to holds, where somebody keeps that.
    pub(in crate::counters::table) fn held_change(
        &self,
        step: &Step<'_, '_>,
        touched: &Touched,
        charges: &[Charge],
        locked: &Rows<'_, '_>,
    ) -> Option<HeldChange> {
        self.table.given_back_log()?;
        let (mut until, mut is_overrun, mut has_expired) = (Moment(0), false, false);
        match step {
            Step::Record(_) | Step::Adjust(..) | Step::Correct(..)
                if !locked.holds() && !touched.has_accounts() =>
            {
                return None;
            }
            Step::Record(_) | Step::Adjust(..) | Step::Correct(..) => {}
            Step::Hold(holding, _) => until = holding.until,
            Step::Settle(settling, _) => {
                (is_overrun, has_expired) = (settling.is_overrun, settling.has_expired);
            }
            Step::Extend(extension, _) => {
                has_expired = extension.extended.is_none();
                until = extension.extended.unwrap_or(until);
            }
        }
        let judging = charges.iter().filter(|charge| charge.judges() && !charge.reading.is_none());
        let held = judging.filter_map(|charge| {
            let counter = self.counter(charge)?;
            if counter.policy.balance().is_some() {
                let account = locked.account(locked.account_row(charge.row))?;
                let held = account.available().held;
                return (held > 0).then_some((charge.rule, held));
            }
            let held = locked.held(charge.row)?.counter(counter.number(), period_of(charge))?;
            Some((charge.rule, held.counting(&counter.policy, &self.at)))
        });
        let (rows, figures) = (touched.patch(locked), held.collect());
        Some(HeldChange { rows, figures, until, is_overrun, has_expired })
    }

    /// Lets a hold expire later, never earlier.
    pub(in crate::counters::table) fn extend(
        &self,
        extension: &mut Extension<'_>,
        locked: &mut Rows<'_, '_>,
        touched: &mut Touched,
    ) {
        let before: HoldKey = (extension.until, extension.id);
        if self.at.now >= extension.until {
            extension.extended = None;
            return;
        }
        let until = Moment(self.at.now.0.saturating_add(extension.lasting)).max(extension.until);
        for (row, _) in extension.held.parts_in(locked) {
            locked.change_held(row, |held| {
                for held in &mut held.counters {
                    if let Some(part) = held.open.remove(before) {
                        held.open.insert((until, extension.id), part);
                        touched.hold(row, held, before);
                        touched.hold(row, held, (until, extension.id));
                    }
                }
            });
        }
        extension.extended = Some(until);
    }

    /// Says how much is held, and to a refused event what of it expires that it may wait for.
    pub(in crate::counters::table) fn say_held(
        &self,
        verdict: &mut Verdict,
        locked: &Rows<'_, '_>,
    ) {
        let Verdict { allowed, charges, ahead, held: said, .. } = verdict;
        said.clear();
        if !locked.holds() {
            return;
        }
        // Where roles change with the time, others may judge while they hold it.
        let later = self.request.counters.roles().is_some();
        let may_judge = |charge: &&Charge| later || charge.judges();
        for charge in charges.iter().filter(may_judge).filter(|it| !it.reading.is_none()) {
            let Some(counter) = self.counter(charge) else { continue };
            let Some(row) = locked.held(charge.row) else { continue };
            let held = row.counter(counter.number(), period_of(charge));
            said.extend(held.map(|held| (charge.rule, held.counting(&counter.policy, &self.at))));
            if !*allowed {
                let known = match ahead.iter().position(|(rule, _)| *rule == charge.rule) {
                    Some(place) => ahead.swap_remove(place).1,
                    None => UseAhead::default(),
                };
                let known = self.ahead_of_holds(charge, counter, (row, held), locked, known);
                if !known.is_empty() {
                    ahead.push((charge.rule, known));
                }
            }
        }
    }

    /// The use ahead of a refused event with what is held, and what of it expires.
    fn ahead_of_holds(
        &self,
        charge: &Charge,
        counter: &Counter,
        (held_row, held): (&HeldRow, Option<&HeldCounter>),
        locked: &Rows<'_, '_>,
        mut known: UseAhead,
    ) -> UseAhead {
        let later = self.later_holds(charge, counter, held_row, locked, &mut known);
        if held.is_none() && later.is_empty() {
            return known;
        }
        let mut holds = held.map_or_else(HeldAhead::default, |held| HeldAhead {
            held: held.counting(&counter.policy, &self.at),
            committed: held.committed.map(|reading| reading.words()),
            expiring: Vec::new(),
        });
        let expiring = held.into_iter().flat_map(HeldCounter::expiring);
        if later.is_empty() {
            let (at, from, timeline) = (&self.at, self.at.now, self.table.timeline());
            let refusal = Refusal { cost: charge.cost(), at, from, ahead: &known, timeline };
            let row = locked.row(charge.row);
            let cell = row.and_then(|row| row.cells_of(counter.number(), 0).next());
            let words = cell.map_or(&[][..], |cell| cell.words);
            let reading = &charge.reading;
            let steps =
                counter.policy.wait_for_holds(reading, words, &refusal, &mut holds, expiring);
            if !steps.is_empty() {
                known.steps = steps;
            }
        } else {
            // Of later periods it may have to wait for any.
            holds.expiring = expiring.chain(later).collect();
            holds.expiring.sort_by_key(|expiring| expiring.at);
        }
        known.holds = Some(Box::new(holds));
        known
    }

    /// What expires of holds in later periods. Where a period has no cell yet, what is held of it
    /// is not among what is known of the use ahead: it is added.
    fn later_holds(
        &self,
        charge: &Charge,
        counter: &Counter,
        row: &HeldRow,
        locked: &Rows<'_, '_>,
        known: &mut UseAhead,
    ) -> Vec<Expiring> {
        // An event with a date waits in its own period.
        let periods = counter.policy.periods().filter(|_| !self.at.explicit);
        let Some((current, periods)) = charge.reading.bounds().zip(periods) else {
            return Vec::new();
        };
        let mut expiring = Vec::new();
        let is_later =
            |held: &&HeldCounter| held.number == counter.number() && held.period > current.start;
        for held in row.counters.iter().filter(is_later) {
            let period = periods.of(&|| self.calendar(charge.row), held.period);
            let mut cells = locked
                .row(charge.row)
                .into_iter()
                .flat_map(|row| row.cells_of(counter.number(), 0).map(Bounds::of_cell));
            if !cells.any(|cell| cell == period) {
                known.add(period, held.held);
            }
            let later = Some(period);
            expiring.extend(held.expiring().map(|it| Expiring { later, ..it }));
        }
        expiring
    }
}

/// The period of a charge's counter, as holds tell them apart.
fn period_of(charge: &Charge) -> i64 {
    charge.reading.bounds().map_or(0, |period| period.start)
}
