//! Room for counters: the caps on keys, counted before rows and cells are made.
//!
//! The counts are read and raised in one atomic step each, so that no cap is passed whatever
//! shards the keys lie in. Nothing else is published by them: what a row holds is seen by its
//! lock. A count is raised before the row is made and lowered after it is dropped, so that it is
//! never below what there is.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::Table;
use super::charge::Charge;
use super::judge::Script;
use super::locked::Locked;
use crate::counters::counter::Counter;
use crate::counters::row::Row;

/// A rule that judges found no room for the key's counter.
pub(super) struct NoRoom {
    pub(super) rule: u32,
}

/// What is counted of rows and cells that are not made yet.
#[derive(Default)]
struct Reserved<'r> {
    /// The counters of the cells, and whether a cell is in a shared row.
    cells: SmallVec<[(&'r Counter, bool); 4]>,
    /// The indices of the rows.
    rows: SmallVec<[u32; 4]>,
}

impl Table {
    pub(super) fn has_room(&self, counter: &Counter, row: Option<Row<'_>>) -> bool {
        match row {
            Some(row) => counter.is_in(row) || counter.has_room(),
            None => self.rows.load(Ordering::Relaxed) < self.max_rows && counter.has_room(),
        }
    }

    fn reserve_row(&self) -> bool {
        let more = |rows: u64| (rows < self.max_rows).then(|| rows.saturating_add(1));
        self.rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Counts rows that came into being whatever the cap.
    pub(super) fn rows_entered(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn rows_left(&self, rows: u64) {
        self.rows.fetch_sub(rows, Ordering::Relaxed);
    }
}

impl<'s> Script<'s, '_> {
    /// Counts the rows and cells that are about to be made; on failure counts nothing. A rule that
    /// only counts takes no room from those that judge, and leaves the event out where there is
    /// none.
    pub(super) fn reserve(
        &self,
        charges: &mut [Charge],
        locked: &dyn Locked,
    ) -> Result<(), NoRoom> {
        let mut reserved = Reserved::default();
        for judges in [true, false] {
            let new = charges.iter_mut().filter(|charge| charge.cell.is_none());
            for charge in new.filter(|charge| charge.judges() == judges) {
                let Some(counter) = self.counting(charge) else { continue };
                if self.reserve_cell(charge, counter, locked, &mut reserved) {
                    continue;
                }
                if judges {
                    self.give_back(reserved);
                    return Err(NoRoom { rule: charge.rule });
                }
                self.miss(charge, counter);
            }
        }
        Ok(())
    }

    /// Counts the cell that a charge is about to make, and its row; `false` without room for both.
    fn reserve_cell(
        &self,
        charge: &Charge,
        counter: &'s Counter,
        locked: &dyn Locked,
        reserved: &mut Reserved<'s>,
    ) -> bool {
        let row = locked.row(charge.row);
        if locked.is_shared(charge.row) {
            if row.is_none_or(|row| !counter.has_cell(row)) {
                counter.entered(true);
                reserved.cells.push((counter, true));
            }
            return true;
        }
        let new_row = row.is_none() && !reserved.rows.contains(&charge.row);
        if new_row && !self.table.reserve_row() {
            return false;
        }
        match row {
            Some(row) if counter.has_cell(row) => {}
            Some(row) if counter.is_in(row) => {
                counter.entered(false);
                reserved.cells.push((counter, false));
            }
            _ if counter.reserve() => reserved.cells.push((counter, false)),
            _ => {
                self.table.rows_left(u64::from(new_row));
                return false;
            }
        }
        if new_row {
            reserved.rows.push(charge.row);
        }
        true
    }

    fn give_back(&self, Reserved { cells, rows }: Reserved<'_>) {
        for (counter, shared) in cells {
            counter.left(counter.number(), shared);
        }
        self.table.rows_left(rows.len() as u64);
    }
}
