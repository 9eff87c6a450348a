//! The cells that the straight path of holds writes: first those of a rule, then it looks at the
//! next, and puts all back where one is not for it.

use smallvec::SmallVec;

use crate::counters::algorithms::Reading;
use crate::counters::counter::Counter;
use crate::counters::row::{self, NARROW_CELL, Narrow, Row, RowMut};
use crate::counters::table::charge::Charge;
use crate::counters::table::locked::Locked;
use crate::counters::time::At;
use crate::rules::Cost;

/// Uses the cell of two words of a counter that takes the event: first the one where a row mostly
/// has it, and else the one of another period. Returns where it lies, and what came of it.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a call of its own is a third as dear again, a rule")]
pub(super) fn using<T>(
    row: &mut RowMut<'_>,
    (counter, at): (&Counter, &At),
    hint: usize,
    mut using: impl FnMut(&mut Narrow) -> Option<T>,
) -> Option<(usize, T)> {
    let number = counter.number();
    let mut offset = hint;
    loop {
        if let Some(used) = row.narrow_at(offset, number).and_then(&mut using) {
            return Some((offset, used));
        }
        if offset != hint {
            return None;
        }
        offset = elsewhere(row.as_row(), counter, at).filter(|found| *found != hint)?;
    }
}

/// Where the cell of a counter lies that holds the event.
#[cold]
#[inline(never)]
fn elsewhere(row: Row<'_>, counter: &Counter, at: &At) -> Option<usize> {
    let mut cells = row.cells_of(counter.number(), 0);
    cells.find(|cell| counter.policy.is_of_event(cell, at)).map(|cell| cell.offset)
}

/// What was in the cells that were written before all rules have judged.
pub(super) struct Before {
    pub(super) cells: SmallVec<[CellBefore; 4]>,
}

pub(super) struct CellBefore {
    /// The place of its charge, and where it lies.
    pub(super) charge: usize,
    pub(super) offset: usize,
    pub(super) cell: Narrow,
    /// What the charge was asked for.
    pub(super) cost: Cost,
}

impl Before {
    pub(super) fn none() -> Self {
        Self { cells: SmallVec::new() }
    }

    /// Puts back what was in the cells, and asks the charges again.
    #[cold]
    pub(super) fn undo(self, locked: &mut impl Locked, charges: &mut [Charge]) {
        for CellBefore { charge, offset, cell, cost } in self.cells.into_iter().rev() {
            let Some(charge) = charges.get_mut(charge) else { continue };
            charge.costs(cost);
            if let Some(mut row) = locked.row_mut(charge.row) {
                row.restore_marked(offset, &cell);
            }
        }
    }
}

/// Writes what a counter says into its cell, and marks its cells as those of one with open holds,
/// or of one without. Returns where the next counter's cell mostly lies.
#[inline]
pub(super) fn write(
    row: &mut RowMut<'_>,
    (offset, hint): (usize, usize),
    number: u32,
    reading: &Reading,
    held: Option<bool>,
) -> usize {
    if let Some(cell) = row.narrow_at(offset, number) {
        row::put_into(cell, &reading.words());
        if let Some(held) = held {
            row::mark(cell, held);
        }
    }
    let next = offset.saturating_add(NARROW_CELL);
    // The cells of a counter lie side by side: one at the hint is its first.
    let is_only = offset == hint && !row.as_row().has_at(next, number);
    match held {
        Some(held) if !is_only => {
            row.mark_held(number, held);
            row.as_row().after(offset)
        }
        _ => next,
    }
}
