//! A shard: some of the rows, and what is known of them together, behind one lock.

use hashbrown::HashTable;

use crate::counters::cell::{Cell, CellState};
use crate::counters::row::{Row, RowKey, RowMut, new_words};
use crate::counters::time::Moment;

/// Where a row lies in its shard, until another one is added or dropped.
pub(super) type RowSlot = usize;

#[derive(Debug)]
pub(super) struct Shard {
    rows: HashTable<Box<[u64]>>,
    /// The latest time that a decision here went by.
    now: Moment,
    /// The slot that upkeep looks at next.
    cursor: RowSlot,
    /// How many calls upkeep has come by with.
    calls: u8,
}

impl Default for Shard {
    fn default() -> Self {
        Self { rows: HashTable::new(), now: Moment(0), cursor: 0, calls: 0 }
    }
}

impl Shard {
    #[inline]
    pub(super) fn find(&self, hash: u64, key: RowKey<'_>) -> Option<RowSlot> {
        self.rows.find_bucket_index(hash, |row| Row::of(row).has_key(hash, key))
    }

    #[inline]
    pub(super) fn row(&self, slot: RowSlot) -> Option<Row<'_>> {
        self.rows.get_bucket(slot).map(|words| Row::of(words))
    }

    #[inline]
    pub(super) fn row_mut(&mut self, slot: RowSlot) -> Option<RowMut<'_>> {
        self.rows.get_bucket_mut(slot).map(|words| RowMut::of(words))
    }

    /// The row to change in ways that may move it.
    pub(super) fn grow<'s>(&'s mut self, slot: &'s mut RowSlot) -> GrowingRow<'s> {
        GrowingRow { shard: self, slot }
    }

    /// Makes a row that is not there, with these counters. The others may move.
    pub(super) fn insert(&mut self, hash: u64, key: RowKey<'_>, cells: &[(u32, CellState)]) {
        self.insert_words(new_words(hash, key, cells));
    }

    /// The same of the words of a row.
    pub(super) fn insert_words(&mut self, words: Vec<u64>) {
        let hash = Row::of(&words).hash();
        self.rows.insert_unique(hash, words.into_boxed_slice(), hash_of);
    }

    pub(super) fn remove(&mut self, slot: RowSlot) {
        if let Ok(entry) = self.rows.get_bucket_entry(slot) {
            entry.remove();
        }
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|words| Row::of(words))
    }

    /// Makes room for so many rows more, so that none is moved while they come.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows, hash_of);
    }

    /// How many slots there are, free ones among them.
    pub(super) fn slots(&self) -> usize {
        self.rows.num_buckets()
    }

    /// Gives back room where few rows are left in much of it.
    pub(super) fn shrink(&mut self, small: usize) {
        let (slots, rows) = (self.slots(), self.rows.len());
        if slots > small && rows < slots.div_euclid(8) {
            self.rows.shrink_to(rows.saturating_mul(2), hash_of);
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

    /// Lets upkeep go on from a slot.
    pub(super) fn sweep_from(&mut self, slot: RowSlot) {
        self.cursor = slot;
    }

    /// The slot that upkeep looks at next, if it holds a row.
    pub(super) fn next_to_sweep(&mut self) -> Option<RowSlot> {
        let slot = if self.cursor < self.slots() { self.cursor } else { 0 };
        self.cursor = slot.saturating_add(1);
        self.rows.get_bucket(slot).map(|_| slot)
    }
}

fn hash_of(words: &impl AsRef<[u64]>) -> u64 {
    Row::of(words.as_ref()).hash()
}

/// A row whose cells come and go and change their widths, so that its shard may move it.
pub(super) struct GrowingRow<'s> {
    shard: &'s mut Shard,
    /// Where the row lies, for whoever has found it.
    slot: &'s mut RowSlot,
}

impl GrowingRow<'_> {
    pub(super) fn row(&self) -> Row<'_> {
        let row = self.shard.row(*self.slot);
        debug_assert!(row.is_some(), "a row that changes is there");
        row.unwrap_or(Row::of(&[]))
    }

    /// Puts a state in place of the one at `offset`.
    pub(super) fn set(&mut self, offset: usize, image: &CellState) {
        let same = |words: &mut [u64]| {
            (words.len() == image.words.len()).then(|| words.copy_from_slice(&image.words))?;
            Some(image.extra)
        };
        let had_room = self.shard.row_mut(*self.slot).map(|mut row| row.write(offset, same));
        if had_room == Some(false) {
            self.replace(offset, image);
        }
    }

    /// Puts a state of another width in place of the one at `offset`; the cells behind it move.
    #[cold]
    pub(super) fn replace(&mut self, offset: usize, image: &CellState) {
        self.put(self.row().replaced(offset, image));
    }

    /// Adds a cell, beside others of the same counter or at the end.
    pub(super) fn push(&mut self, number: u32, image: &CellState) {
        self.put(self.row().with(number, image));
    }

    /// Drops the cells that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl FnMut(u32, Cell<'_>) -> bool) {
        if let Some(words) = self.row().retaining(keep) {
            self.put(words);
        }
    }

    fn put(&mut self, words: Vec<u64>) {
        if let Some(row) = self.shard.rows.get_bucket_mut(*self.slot) {
            *row = words.into_boxed_slice();
        }
    }
}
