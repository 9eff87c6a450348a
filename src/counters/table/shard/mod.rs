//! A shard: some of the rows, and what is known of them together, behind one lock.

use self::accounts::Accounts;
use self::arena::{Arena, Line};
use self::fired::FiredRows;
use self::held::HeldRows;
use self::index::Index;
use super::Paths;
use crate::counters::cell::{Cell, CellState};
use crate::counters::row::{NewRow, Row, RowKey, RowMut};
use crate::counters::time::Moment;

pub(super) mod accounts;
mod arena;
mod erase;
pub(super) mod fired;
pub(super) mod held;
mod index;

#[cfg(test)]
mod tests;

/// Where a row lies in its shard: it stays there until it grows or shrinks itself, is dropped, or
/// the shard [shrinks](Shard::shrink).
pub(super) type RowSlot = Line;

#[derive(Debug)]
pub(super) struct Shard {
    /// Where the rows lie, by their hashes.
    index: Index,
    arena: Arena,
    /// The latest time that a decision here went by.
    now: Moment,
    /// The place in the index that upkeep looks at next.
    cursor: usize,
    /// How many calls upkeep has come by with.
    calls: u8,
    /// What of it is held, where something is.
    held: Option<Box<HeldRows>>,
    /// Which thresholds have fired, where some have.
    fired: Option<Box<FiredRows>>,
    /// The accounts of balances, where there are some.
    accounts: Option<Box<Accounts>>,
    /// Of decisions whose first shard this is.
    pub(super) paths: Paths,
}

impl Default for Shard {
    fn default() -> Self {
        let (index, arena) = (Index::default(), Arena::default());
        let (held, fired, accounts, paths) = (None, None, None, Paths::default());
        Self { index, arena, now: Moment(0), cursor: 0, calls: 0, held, fired, accounts, paths }
    }
}

impl Shard {
    pub(super) fn find(&self, hash: u64, key: RowKey<'_>) -> Option<RowSlot> {
        self.index.find(hash, |slot| Row::of(self.arena.at(slot)).has_key(hash, key))
    }

    #[inline]
    pub(super) fn row(&self, slot: RowSlot) -> Row<'_> {
        Row::of(self.arena.row(slot))
    }

    #[inline]
    pub(super) fn row_mut(&mut self, slot: RowSlot) -> RowMut<'_> {
        RowMut::of(self.arena.row_mut(slot))
    }

    /// The row to change in ways that may move it.
    pub(super) fn grow<'s>(&'s mut self, slot: &'s mut RowSlot) -> GrowingRow<'s> {
        GrowingRow { shard: self, slot }
    }

    /// Makes a row that is not there, with these counters. The others stay where they are.
    pub(super) fn insert(&mut self, hash: u64, key: RowKey<'_>, cells: &[(u32, CellState)]) {
        let row = NewRow::new(hash, key, cells);
        let slot = self.arena.add(row.length(), |words| row.fill(words));
        self.enter(hash, slot);
    }

    /// The same of the words of a row.
    pub(super) fn insert_words(&mut self, words: &[u64]) {
        let slot = self.arena.add(words.len(), |to| to.copy_from_slice(words));
        self.enter(Row::of(words).hash(), slot);
    }

    fn enter(&mut self, hash: u64, slot: Option<RowSlot>) {
        if let Some(slot) = slot {
            self.index.insert(hash, slot);
        }
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.index.slots().map(|slot| self.row(slot))
    }

    /// Makes room for so many rows more in the index.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.index.reserve(rows);
    }

    /// How many places the index has, free ones among them.
    pub(super) fn places(&self) -> usize {
        self.index.places()
    }

    /// Gives back room where few rows are left in much of it. Rows may move: of fewer lines than a
    /// chunk of the arena has.
    pub(super) fn shrink(&mut self, small: usize) {
        let (places, rows) = (self.places(), self.len());
        let Self { index, arena, .. } = self;
        arena.pack(|row, from, to| index.moved(Row::of(row).hash(), from, to));
        if places > small && rows < places.div_euclid(8) {
            index.shrink_to(rows.saturating_mul(2));
        }
    }

    /// A time that is not before any that a decision here went by.
    #[inline]
    pub(super) fn not_before(&self, now: Moment) -> Moment {
        self.now.max(now)
    }

    /// Lets no decision here go by an earlier time.
    #[inline]
    pub(super) fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
    }

    /// Counts a call, and says whether it is one of every `calls`.
    #[inline]
    pub(super) fn is_every(&mut self, calls: u8) -> bool {
        self.calls = self.calls.wrapping_add(1);
        self.calls.is_multiple_of(calls)
    }

    /// The row whose entry is in a place of the index.
    pub(super) fn slot_at(&self, place: usize) -> Option<RowSlot> {
        self.index.at(place)
    }

    /// Lets upkeep go on from a place in the index.
    pub(super) fn sweep_from(&mut self, place: usize) {
        self.cursor = place;
    }

    /// The row that upkeep looks at next, if there is one in its place.
    pub(super) fn next_to_sweep(&mut self) -> Option<RowSlot> {
        let place = if self.cursor < self.places() { self.cursor } else { 0 };
        self.cursor = place.saturating_add(1);
        self.index.at(place)
    }

    /// Drops the row that upkeep has looked at last. The others stay where they are.
    pub(super) fn drop_swept(&mut self) {
        let place = self.cursor.saturating_sub(1);
        if let Some(slot) = self.index.at(place) {
            self.index.remove_at(place);
            self.arena.remove(slot);
        }
    }
}

/// A row whose cells come and go and change their widths, so that its shard may move it.
pub(super) struct GrowingRow<'s> {
    shard: &'s mut Shard,
    /// Where the row lies, for whoever has found it.
    slot: &'s mut RowSlot,
}

impl GrowingRow<'_> {
    pub(super) fn row(&self) -> Row<'_> {
        self.shard.row(*self.slot)
    }

    /// Puts a state in place of the one at `offset`.
    pub(super) fn set(&mut self, offset: usize, image: &CellState) {
        let same = |words: &mut [u64]| {
            (words.len() == image.words.len()).then(|| words.copy_from_slice(&image.words))?;
            Some(image.extra)
        };
        if !self.shard.row_mut(*self.slot).write(offset, same) {
            self.replace(offset, image);
        }
    }

    /// Puts a state of another width in place of the one at `offset`; the cells behind it move.
    #[cold]
    pub(super) fn replace(&mut self, offset: usize, image: &CellState) {
        self.put(&self.row().replaced(offset, image));
    }

    /// Adds a cell, beside others of the same counter or at the end.
    pub(super) fn push(&mut self, number: u32, image: &CellState) {
        self.put(&self.row().with(number, image));
    }

    /// Marks the cells of a counter as those of one with open holds, or of one without.
    pub(super) fn mark_held(&mut self, number: u32, held: bool) {
        self.shard.row_mut(*self.slot).mark_held(number, held);
    }

    /// Drops the cells that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl FnMut(u32, Cell<'_>) -> bool) {
        if let Some(words) = self.row().retaining(keep) {
            self.put(&words);
        }
    }

    fn put(&mut self, words: &[u64]) {
        let Shard { index, arena, .. } = &mut *self.shard;
        let from = *self.slot;
        let to = arena.put(from, words);
        if to != from {
            index.moved(Row::of(words).hash(), from, to);
            *self.slot = to;
        }
    }
}
