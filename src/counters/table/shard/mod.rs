//! A shard: some of the rows, and what is known of them together, behind one lock.

use hashbrown::HashTable;

use self::arena::{Arena, Line};
use super::Paths;
use crate::counters::cell::{Cell, CellState};
use crate::counters::row::{NewRow, Row, RowKey, RowMut};
use crate::counters::time::Moment;

mod arena;

#[cfg(test)]
mod tests;

/// Where a row lies in its shard: it stays there until it grows or shrinks itself, is dropped, or
/// the shard [shrinks](Shard::shrink).
pub(super) type RowSlot = Line;

#[derive(Debug)]
pub(super) struct Shard {
    /// Where the rows lie, by their hashes.
    index: HashTable<RowSlot>,
    arena: Arena,
    /// The latest time that a decision here went by.
    now: Moment,
    /// The place in the index that upkeep looks at next.
    cursor: usize,
    /// How many calls upkeep has come by with.
    calls: u8,
    /// Of decisions whose first shard this is.
    pub(super) paths: Paths,
}

impl Default for Shard {
    fn default() -> Self {
        let (index, arena) = (HashTable::new(), Arena::default());
        Self { index, arena, now: Moment(0), cursor: 0, calls: 0, paths: Paths::default() }
    }
}

impl Shard {
    pub(super) fn find(&self, hash: u64, key: RowKey<'_>) -> Option<RowSlot> {
        let is_it = |slot: &RowSlot| Row::of(self.arena.at(*slot)).has_key(hash, key);
        self.index.find(hash, is_it).copied()
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
        let Self { index, arena, .. } = self;
        if let Some(slot) = slot {
            index.insert_unique(hash, slot, |slot| Row::of(arena.at(*slot)).hash());
        }
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.index.iter().map(|slot| self.row(*slot))
    }

    /// Makes room for so many rows more in the index.
    pub(super) fn reserve(&mut self, rows: usize) {
        let Self { index, arena, .. } = self;
        index.reserve(rows, |slot| Row::of(arena.at(*slot)).hash());
    }

    /// How many places the index has, free ones among them.
    pub(super) fn places(&self) -> usize {
        self.index.num_buckets()
    }

    /// Gives back room where few rows are left in much of it. Rows may move: of fewer lines than a
    /// chunk of the arena has.
    pub(super) fn shrink(&mut self, small: usize) {
        let (places, rows) = (self.places(), self.index.len());
        let Self { index, arena, .. } = self;
        arena.pack(|row, from, to| move_in(index, row, from, to));
        if places > small && rows < places.div_euclid(8) {
            index.shrink_to(rows.saturating_mul(2), |slot| Row::of(arena.at(*slot)).hash());
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

    /// Lets upkeep go on from a place in the index.
    pub(super) fn sweep_from(&mut self, place: usize) {
        self.cursor = place;
    }

    /// The row that upkeep looks at next, if there is one in its place.
    pub(super) fn next_to_sweep(&mut self) -> Option<RowSlot> {
        let place = if self.cursor < self.places() { self.cursor } else { 0 };
        self.cursor = place.saturating_add(1);
        self.index.get_bucket(place).copied()
    }

    /// Drops the row that upkeep has looked at last. The others stay where they are.
    pub(super) fn drop_swept(&mut self) {
        if let Ok(entry) = self.index.get_bucket_entry(self.cursor.saturating_sub(1)) {
            self.arena.remove(entry.remove().0);
        }
    }
}

/// Lets the index know where a row is now.
fn move_in(index: &mut HashTable<RowSlot>, row: &[u64], from: RowSlot, to: RowSlot) {
    let slot = index.find_mut(Row::of(row).hash(), |slot| *slot == from);
    debug_assert!(slot.is_some(), "the index has every row");
    if let Some(slot) = slot {
        *slot = to;
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
            move_in(index, words, from, to);
            *self.slot = to;
        }
    }
}
