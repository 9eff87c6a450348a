//! A shard: some of the rows, and what is known of them together, behind one lock.

use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

use crate::counters::row::{Row, RowKey};
use crate::counters::time::Moment;

/// Where a row lies in its shard, until another one is added or dropped.
pub(super) type RowSlot = usize;

#[derive(Debug)]
pub(super) struct Shard {
    rows: HashTable<Row>,
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
        self.rows.find_bucket_index(hash, |row| row.has_key(hash, key))
    }

    #[inline]
    pub(super) fn row(&self, slot: RowSlot) -> Option<&Row> {
        self.rows.get_bucket(slot)
    }

    #[inline]
    pub(super) fn row_mut(&mut self, slot: RowSlot) -> Option<&mut Row> {
        self.rows.get_bucket_mut(slot)
    }

    /// Adds a row that is not there. The others may move.
    pub(super) fn insert(&mut self, row: Row) {
        self.rows.insert_unique(row.hash(), row, Row::hash);
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.rows.iter()
    }

    /// Makes room for so many rows more, so that none is moved while they come.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.rows.reserve(rows, Row::hash);
    }

    /// How many slots there are, free ones among them.
    pub(super) fn slots(&self) -> usize {
        self.rows.num_buckets()
    }

    /// Gives back room where few rows are left in much of it.
    pub(super) fn shrink(&mut self, small: usize) {
        let (slots, rows) = (self.slots(), self.rows.len());
        if slots > small && rows < slots.div_euclid(8) {
            self.rows.shrink_to(rows.saturating_mul(2), Row::hash);
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

    /// The row in the slot that upkeep looks at next, if it holds one.
    pub(super) fn next_to_sweep(&mut self) -> Option<OccupiedEntry<'_, Row>> {
        let slot = if self.cursor < self.slots() { self.cursor } else { 0 };
        self.cursor = slot.saturating_add(1);
        self.rows.get_bucket_entry(slot).ok()
    }
}
