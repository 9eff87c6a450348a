//! Writing: what an event that is let in does to the counters of the locked rows.
//!
//! A script writes once it knows that all charges are let in, and nothing of it can fail any more:
//! there is room for what is made. So counters are written all or none, without anything to take
//! back.

use smallvec::SmallVec;

use super::charge::{Charge, Counts, UseSource};
use super::judge::{Script, wants};
use super::locked::Locked;
use super::shard::GrowingRow;
use super::upkeep;
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::{Row, RowMut};

impl Script<'_, '_> {
    /// Writes all counters, and moves the readings to what they are after the event.
    #[inline]
    pub(super) fn write(&self, charges: &mut [Charge], locked: &mut impl Locked) {
        let mut more = false;
        let (mut at, mut row) = (0, locked.row_mut(0));
        for charge in &mut *charges {
            let Some(counter) = self.counting(charge) else { continue };
            if charge.row != at {
                (at, row) = (charge.row, other_row(locked, charge.row));
            }
            let (Some(row), Some(cell)) = (&mut row, charge.cell) else {
                more = true;
                continue;
            };
            let write = |words: &mut [u64]| self.write_words(charge, counter, words);
            let has_room = row.write(cell.get() as usize, write);
            more |= !has_room || counter.took_over();
        }
        if more {
            self.write_more(charges, locked);
        }
    }

    /// Writes what does not fit the cells that are there, and drops those that were taken over: row
    /// by row, those that are there first.
    #[cold]
    fn write_more(&self, charges: &mut [Charge], locked: &mut dyn Locked) {
        let mut makes_rows = false;
        for at in (0_u32..).take(locked.len()) {
            let Some(mut row) = locked.grow(at) else {
                makes_rows = true;
                continue;
            };
            // Cells that are there come first: a new one moves those behind it.
            self.widen(charges, at, &mut row);
            self.add_cells(charges, at, &mut row);
            let counters = charges.iter().filter(|charge| charge.row == at);
            let counters = counters.filter_map(|charge| self.counting(charge));
            for counter in counters.filter(|counter| counter.took_over()) {
                upkeep::drop_predecessors(&mut row, counter);
            }
        }
        if !makes_rows {
            return;
        }
        for at in (0_u32..).take(locked.len()) {
            if locked.was_there(at) {
                continue;
            }
            let mut cells: SmallVec<[(u32, CellState); 4]> = SmallVec::new();
            for charge in charges.iter_mut().filter(|charge| charge.row == at) {
                if let Some(counter) = self.counting(charge) {
                    let others = self.other_periods(charge).cloned();
                    cells.extend(others.map(|image| (counter.number(), image)));
                    cells.push((counter.number(), self.first_image(charge, counter, None)));
                }
            }
            if !cells.is_empty() {
                locked.insert(at, &cells);
            }
        }
    }

    /// Adds the cells of counters that a row has none of.
    fn add_cells(&self, charges: &mut [Charge], at: u32, row: &mut GrowingRow<'_>) {
        let new = charges.iter_mut().filter(|charge| charge.row == at && charge.cell.is_none());
        for charge in new {
            let Some(counter) = self.counting(charge) else { continue };
            if counter.took_over() {
                self.keep_carried(charge, counter, row);
            }
            let image = self.first_image(charge, counter, Some(row.row()));
            for other in self.other_periods(charge) {
                row.push(counter.number(), other);
            }
            row.push(counter.number(), &image);
        }
    }

    /// Gives states that have outgrown their cells wider ones, the last of the row first: the
    /// others stay where they are.
    fn widen(&self, charges: &mut [Charge], at: u32, row: &mut GrowingRow<'_>) {
        while let Some((cell, charge)) = charges
            .iter_mut()
            .filter(|charge| charge.row == at && charge.counts == Counts::Outgrown)
            .filter_map(|charge| Some((charge.cell?.get() as usize, charge)))
            .max_by_key(|(cell, _)| *cell)
        {
            charge.counts = Counts::Written;
            let (counter, held) = (self.counter(charge), row.row().cell_at(cell));
            debug_assert!(held.is_some(), "a state that has outgrown a cell has one");
            if let (Some(counter), Some(held)) = (counter, held) {
                let image = self.grown(charge, counter, held.words);
                row.replace(cell, &image);
            }
        }
    }

    /// Counts the event in a cell's words, moves the reading on, and returns the tag's 32 bits.
    #[inline]
    fn count(&self, charge: &mut Charge, counter: &Counter, words: &mut [u64]) -> Option<u32> {
        let cost = charge.cost();
        let corrected = self.corrects.map(|taken| taken.at(&counter.policy, &self.at));
        let at = corrected.as_ref().unwrap_or(&self.at);
        if charge.judges() {
            return counter.policy.charge(&mut charge.reading, words, at, cost);
        }
        let cost = counter.lost_cost(&charge.reading, cost, at);
        charge.cost = cost.units.into();
        counter.policy.charge(&mut charge.reading, words, &at.for_judge(false), cost)
    }

    /// The same of words that are kept.
    #[inline]
    fn write_words(
        &self,
        charge: &mut Charge,
        counter: &Counter,
        words: &mut [u64],
    ) -> Option<u32> {
        let starts_over = charge.source != UseSource::Cell && self.list(charge.rule).is_some();
        let extra = if starts_over {
            self.count(charge, counter, &mut []);
            None
        } else {
            self.count(charge, counter, words)
        };
        charge.counts = if extra.is_some() { Counts::Written } else { Counts::Outgrown };
        extra
    }

    /// Moves the readings to what they would be after the event, and writes nothing.
    pub(super) fn show(&self, charges: &mut [Charge]) {
        for charge in &mut *charges {
            if let Some(counter) = self.counting(charge) {
                self.count(charge, counter, &mut []);
            }
        }
        self.show_closed(charges);
    }

    /// The same for closed periods, which have no counters to write: what was used of them is in
    /// the history.
    pub(super) fn show_closed(&self, charges: &mut [Charge]) {
        let closed = charges.iter_mut();
        for charge in closed.filter(|charge| charge.source == UseSource::HistoryOnly) {
            if let Some(counter) = self.counter(charge)
                && wants(charge, counter)
            {
                self.count(charge, counter, &mut []);
            }
        }
    }

    /// The periods beside the event's that a new counter of a quota starts with.
    fn other_periods(&self, charge: &Charge) -> impl Iterator<Item = &CellState> {
        let period = charge.reading.bounds();
        let starting = self.starting(charge.rule).iter();
        starting.filter(move |image| period.is_some() && image.bounds() != period)
    }

    /// The first state of a new cell: what it takes over, if anything, and this event.
    fn first_image(
        &self,
        charge: &mut Charge,
        counter: &Counter,
        row: Option<Row<'_>>,
    ) -> CellState {
        let own = row.filter(|row| !counter.has_cell(*row));
        let period = charge.reading.bounds();
        let mut starting = self.starting(charge.rule).iter();
        let shared =
            || starting.find(|image| period.is_none() || image.bounds() == period).cloned();
        let mut image = own
            .and_then(|row| counter.carried(row, &|| self.calendar(charge.row)))
            .or_else(shared)
            .unwrap_or_else(|| counter.policy.empty_cell());
        match self.write_words(charge, counter, &mut image.words) {
            Some(extra) => image.extra = extra,
            None => image = self.grown(charge, counter, &image.words),
        }
        image
    }

    /// The state of a cell of these words, which had no room for it.
    fn grown(&self, charge: &mut Charge, counter: &Counter, words: &[u64]) -> CellState {
        charge.counts = Counts::Written;
        let words = self.list(charge.rule).map_or(words, |list| &list.words);
        let at = self.corrects.map_or(self.at, |taken| taken.at(&counter.policy, &self.at));
        counter.policy.grown(&charge.reading, words, &at, charge.cost())
    }
}

/// The row of a charge that is of another than the one before.
#[inline(never)]
fn other_row(locked: &mut impl Locked, row: u32) -> Option<RowMut<'_>> {
    locked.row_mut(row)
}
