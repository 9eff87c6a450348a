//! Redoing a log: what its records did to counters, done again.
//!
//! Most states are words that a record holds: the last one wins, and redoing what a
//! [copy](super::copy) holds already, or redoing twice, changes nothing. A sliding window is redone
//! by adding, so its cell remembers which records are in it, in the 32 bits that other cells keep a
//! period's length in.
//!
//! What says no more than a fresh counter would at the end of the log is not made again, so that
//! redoing leaves no more rows than there were.

use smallvec::SmallVec;

use super::crossings::CrossedRow;
use super::locked::{Locked, OneRow};
use super::request::RowAddress;
use super::shard::GrowingRow;
use super::shard::fired::{Mark, read_row as read_fired};
use super::{Table, overflow_hash, upkeep};
use crate::base::calendar::Calendar;
use crate::base::codec::{Malformed, Reader};
use crate::counters::algorithms::periods::Bounds;
use crate::counters::cell::CellState;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::{Row, RowKey};
use crate::counters::stored::{StoredCharge, StoredStart};
use crate::counters::time::At;

/// The end of a log that is redone.
#[derive(Debug)]
pub(crate) struct LogEnd<'r> {
    /// The counters of the rules that are in force then.
    pub(crate) counters: &'r CounterSet,
    /// The time then: no decision will go by an earlier one.
    pub(crate) at: At,
}

/// One charge of a record, with its counter as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PastCharge<'r> {
    pub(crate) counter: &'r Counter,
    pub(crate) charge: &'r StoredCharge,
}

/// A record that is redone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedoRecord<'r> {
    pub(crate) log_end: &'r LogEnd<'r>,
    /// Its sequence number.
    pub(crate) seq: u64,
    /// The time of its decision.
    pub(crate) at: &'r At,
}

impl Table {
    /// Does again what a record did to the row of a key.
    pub(crate) fn redo(
        &self,
        redo: &RedoRecord<'_>,
        row: &RowAddress<'_>,
        charges: &[PastCharge<'_>],
    ) {
        if let Some(mut locked) = self.lock_row(row) {
            redo.charge(self, &mut locked, charges);
        }
    }

    /// The same of the row that keys of a rule share which found no room.
    pub(crate) fn redo_shared(&self, redo: &RedoRecord<'_>, charge: PastCharge<'_>) {
        if let Some(mut locked) = self.lock_shared_row(charge.counter) {
            redo.charge(self, &mut locked, &[charge]);
        }
    }

    /// Gives a counter again what it started from when its key got one of its own.
    pub(crate) fn redo_start(
        &self,
        redo: &RedoRecord<'_>,
        row: &RowAddress<'_>,
        counter: &Counter,
        start: &StoredStart,
    ) {
        let images = start.images.iter().map(|image| (counter.number(), image));
        let Some((current, counter)) = redo.known(counter) else { return };
        let Some(mut locked) = self.lock_row(row) else { return };
        // A list that says nothing says that nothing is left of what was there.
        let is_idle = |image: &CellState| {
            !counter.policy.keeps_list()
                && redo.is_idle(current, counter, &redo.starting(counter, image))
        };
        let images: SmallVec<[_; 1]> = images.filter(|(_, image)| !is_idle(image)).collect();
        redo.put(self, &mut locked, &images);
    }

    /// Marks again which thresholds had fired, as a [copy](super::copy) says.
    pub(crate) fn load_fired(
        &self,
        mut from: Reader<'_>,
        hash: impl Fn(u32, &[&str]) -> u64,
    ) -> Result<(), Malformed> {
        while !from.is_at_end() {
            read_fired(&mut from, |key, marks| {
                let hash = match key {
                    RowKey::Partition { group, values } => hash(group, values),
                    RowKey::Overflow { counter } => overflow_hash(counter),
                };
                for mark in marks {
                    self.mark_fired(hash, key, mark);
                }
            })?;
        }
        Ok(())
    }

    /// Marks again that a threshold has fired, as a record says.
    pub(crate) fn redo_fired(
        &self,
        row: &CrossedRow,
        mark: &Mark,
        hash: impl Fn(u32, &[&str]) -> u64,
    ) {
        match row {
            CrossedRow::Key(group, values) => {
                let values: SmallVec<[&str; 4]> = values.iter().map(|value| &**value).collect();
                let key = RowKey::Partition { group: *group, values: &values };
                self.mark_fired(hash(*group, &values), key, mark);
            }
            CrossedRow::Shared(counter) => {
                let key = RowKey::Overflow { counter: *counter };
                self.mark_fired(overflow_hash(*counter), key, mark);
            }
        }
    }

    fn mark_fired(&self, hash: u64, key: RowKey<'_>, mark: &Mark) {
        if let Some(shard) = self.shard(hash) {
            shard.lock().fired_as(hash, key, mark);
        }
    }

    /// Locks one row, by no version.
    pub(super) fn lock_row<'t>(&'t self, row: &'t RowAddress<'t>) -> Option<OneRow<'t>> {
        OneRow::lock_one(self, row.hash, row.key())
    }

    /// The same of the row that keys of a rule share which found no room.
    pub(super) fn lock_shared_row(&self, counter: &Counter) -> Option<OneRow<'_>> {
        let counter = counter.lineage();
        OneRow::lock_one(self, overflow_hash(counter), RowKey::Overflow { counter })
    }
}

impl<'r> RedoRecord<'r> {
    /// The counter that answers for one as it was, and that one as it is kept; `None` where no rule
    /// goes by it any more.
    fn known(&self, counter: &Counter) -> Option<(&'r Counter, &'r Counter)> {
        let current = self.log_end.counters.answering(counter.number())?;
        Some((current, current.of_number(counter.number())?))
    }

    /// Redoes the charges of the one row that is locked.
    pub(super) fn charge(
        &self,
        table: &Table,
        locked: &mut OneRow<'_>,
        charges: &[PastCharge<'_>],
    ) {
        let known = charges.iter().filter_map(|PastCharge { counter, charge }| {
            let (current, counter) = self.known(counter)?;
            // No other counter could read the state.
            let is_of_it = counter.policy.may_have_said(&charge.reading);
            (is_of_it && !charge.reading.is_none()).then_some((current, counter, *charge))
        });
        if let Some(mut row) = locked.grow(0) {
            for (current, counter, charge) in known {
                self.in_row(&mut row, current, counter, charge);
            }
            return;
        }
        let is_shared = locked.is_shared(0);
        let mut cells: SmallVec<[(u32, CellState); 4]> = SmallVec::new();
        for (current, counter, charge) in known {
            let image = self.image(counter, charge, None);
            if !self.is_idle(current, counter, &image) {
                counter.entered(is_shared);
                cells.push((counter.number(), image));
            }
        }
        if !cells.is_empty() {
            table.rows_entered(u64::from(!is_shared));
            locked.insert(0, &cells);
        }
    }

    /// Gives the one row that is locked cells of these states, but where it is newer than the
    /// record; what says no more than a fresh counter is not made.
    pub(super) fn put(&self, table: &Table, locked: &mut OneRow<'_>, images: &[(u32, &CellState)]) {
        let known = images.iter().filter_map(|(number, image)| {
            let current = self.log_end.counters.answering(*number)?;
            let counter = current.of_number(*number)?;
            let image = self.starting(counter, image);
            Some((current, counter, self.is_idle(current, counter, &image), image))
        });
        let is_shared = locked.is_shared(0);
        if let Some(mut row) = locked.grow(0) {
            for (current, counter, is_idle, image) in known {
                if !is_idle || self.cell_of(row.row(), counter, image.bounds()).is_some() {
                    self.start_in_row(&mut row, current, counter, &image);
                }
            }
            return;
        }
        let new = known.filter(|(_, _, is_idle, _)| !is_idle);
        let cells: SmallVec<[_; 1]> = new
            .map(|(_, counter, _, image)| {
                counter.entered(is_shared);
                (counter.number(), image)
            })
            .collect();
        if !cells.is_empty() {
            table.rows_entered(u64::from(!is_shared));
            locked.insert(0, &cells);
        }
    }

    /// Redoes a charge of `counter`, for which `current` answers now.
    fn in_row(
        &self,
        row: &mut GrowingRow<'_>,
        current: &Counter,
        counter: &Counter,
        charge: &StoredCharge,
    ) {
        if current.is_converted(row.row(), counter.number()) {
            return;
        }
        if let Some(cell) = self.cell_of(row.row(), counter, charge.reading.bounds()) {
            self.in_cell(row, cell, counter, charge);
        } else {
            // What it takes over matters to lists alone, which go by no calendar.
            let carried = counter.carried(row.row(), &|| Calendar::UTC);
            let image = self.image(counter, charge, carried);
            if !self.is_idle(current, counter, &image) {
                add_cell(row, counter, &image);
            }
        }
        if counter.is_after_one_in(row.row()) {
            upkeep::drop_predecessors(row, counter);
        }
    }

    /// Redoes a charge in a cell; a list may have it already.
    fn in_cell(
        &self,
        row: &mut GrowingRow<'_>,
        cell: usize,
        counter: &Counter,
        charge: &StoredCharge,
    ) {
        let Some(held) = row.row().cell_at(cell) else { return };
        if !counter.policy.keeps_list() || is_at_or_after(self.seq, held.extra) {
            let held = CellState::of(held.extra, held.words);
            row.set(cell, &self.image(counter, charge, Some(held)));
        }
    }

    /// A state that a counter starts from. A sliding window remembers that the record's event is
    /// still to be added.
    fn starting(&self, counter: &Counter, image: &CellState) -> CellState {
        let mut image = image.clone();
        if counter.policy.keeps_list() {
            image.extra = low_half(self.seq);
        }
        image
    }

    /// Puts a state into a row, but where the row is newer than the record.
    fn start_in_row(
        &self,
        row: &mut GrowingRow<'_>,
        current: &Counter,
        counter: &Counter,
        image: &CellState,
    ) {
        if current.is_converted(row.row(), counter.number()) {
            return;
        }
        let cell = self.cell_of(row.row(), counter, image.bounds());
        let newer = |cell: &usize| {
            let cell = row.row().cell_at(*cell);
            cell.is_some_and(|cell| !is_at_or_after(self.seq, cell.extra))
        };
        match cell {
            Some(cell) if counter.policy.keeps_list() && newer(&cell) => {}
            Some(cell) => row.set(cell, image),
            None => add_cell(row, counter, image),
        }
    }

    /// The place of the cell that holds the state: for a period of a quota its own, or one that
    /// is over.
    fn cell_of(&self, row: Row<'_>, counter: &Counter, period: Option<Bounds>) -> Option<usize> {
        let end = &self.log_end.at;
        let second = period.map_or(end.second, |period| period.start);
        counter.policy.find_cell(row.cells_of(counter.number(), 0), &At { second, ..*end })
    }

    /// The state of a cell that was this before, or is new.
    fn image(
        &self,
        counter: &Counter,
        charge: &StoredCharge,
        held: Option<CellState>,
    ) -> CellState {
        let held = held.unwrap_or_else(|| counter.policy.empty_cell());
        let image = counter.policy.redone(&held.words, charge, self.at.now);
        if image.is_list {
            CellState { extra: low_half(self.seq.saturating_add(1)), ..image }
        } else {
            image
        }
    }

    /// Whether a state makes no difference any more, now or to a counter that takes it over.
    fn is_idle(&self, current: &Counter, counter: &Counter, image: &CellState) -> bool {
        current.number() == counter.number()
            && counter.policy.is_idle(image.as_cell(), &self.log_end.at)
    }
}

/// Adds a cell to a row, and counts the row where it is the counter's first.
fn add_cell(row: &mut GrowingRow<'_>, counter: &Counter, state: &CellState) {
    if !counter.has_cell(row.row()) {
        counter.entered(row.row().is_overflow());
    }
    row.push(counter.number(), state);
}

/// The sequence number before which a sliding window holds all records: the half that fits its
/// cell.
pub(super) fn low_half(seq: u64) -> u32 {
    u32::try_from(seq & u64::from(u32::MAX)).unwrap_or(0)
}

/// Whether a sequence number is not before one of which a cell remembers the lower half. A log that
/// is redone is shorter than half of what that tells apart, 2^31 records.
fn is_at_or_after(seq: u64, remembered: u32) -> bool {
    low_half(seq).wrapping_sub(remembered) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_told_apart_by_their_lower_half() {
        for at in [0, 5, u64::from(u32::MAX), 1 << 32, (1 << 40) + 7] {
            assert!(is_at_or_after(at, low_half(at)) && is_at_or_after(at + 1, low_half(at)));
            assert!(is_at_or_after(at + (1 << 31) - 1, low_half(at)));
            assert!(!is_at_or_after(at, low_half(at + 1)));
            assert!(!is_at_or_after(at, low_half(at + (1 << 31))));
        }
    }
}
