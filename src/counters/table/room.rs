//! Room for counters: the caps on keys, counted before rows and cells are made.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::work::Work;
use super::{Charge, Guards, Row, Table};
use crate::counters::counter::Counter;

/// What is counted of rows and cells that are not made yet.
#[derive(Default)]
struct Reserved<'r> {
    /// The counters of the cells, and whether a cell is in a shared row.
    cells: SmallVec<[(&'r Counter, bool); 4]>,
    /// The places of the rows.
    rows: SmallVec<[u32; 4]>,
}

impl Table {
    pub(super) fn has_room(&self, counter: &Counter, row: Option<&Row>) -> bool {
        match row {
            Some(row) => counter.is_in(row) || counter.has_room(),
            None => self.rows.load(Ordering::Acquire) < self.max_rows && counter.has_room(),
        }
    }

    /// Counts the rows and cells that are about to be made; on failure counts nothing and names
    /// a rule that found no room. One that only counts takes no room from those that judge, and
    /// counts nothing where there is none.
    pub(super) fn reserve(
        &self,
        work: &Work<'_, '_>,
        charges: &mut [Charge],
        guards: &Guards<'_>,
    ) -> Result<(), u32> {
        let mut reserved = Reserved::default();
        for judges in [true, false] {
            let new = charges.iter_mut().filter(|charge| charge.cell.is_none());
            for charge in new.filter(|charge| charge.judges() == judges) {
                let Some(counter) = work.counting(charge) else { continue };
                if self.reserve_cell(work, charge, counter, guards, &mut reserved) {
                    continue;
                }
                if judges {
                    self.give_back(reserved);
                    return Err(charge.rule);
                }
                work.miss(charge, counter);
            }
        }
        Ok(())
    }

    /// Counts the cell that a take is about to make, and its row; `false` without room for both.
    fn reserve_cell<'w>(
        &self,
        work: &Work<'w, '_>,
        charge: &Charge,
        counter: &'w Counter,
        guards: &Guards<'_>,
        reserved: &mut Reserved<'w>,
    ) -> bool {
        let row = work.row(guards, charge.row);
        if work.is_shared(charge.row) {
            if row.is_none_or(|row| !counter.has_cell(row)) {
                counter.entered(true);
                reserved.cells.push((counter, true));
            }
            return true;
        }
        let new_row = row.is_none() && !reserved.rows.contains(&charge.row);
        if new_row && !self.reserve_row() {
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
                self.rows.fetch_sub(u64::from(new_row), Ordering::AcqRel);
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
        self.rows.fetch_sub(rows.len() as u64, Ordering::AcqRel);
    }

    fn reserve_row(&self) -> bool {
        let more = |rows: u64| (rows < self.max_rows).then(|| rows.saturating_add(1));
        self.rows.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}
