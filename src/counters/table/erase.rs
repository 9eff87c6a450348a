//! Erasing the keys of a value: their rows, and all that lies beside those.
//!
//! It is done while the table is closed, so that no decision sees some of the rows gone and others
//! not. Rows that keys without room share stay: whose use they have is not known.

use std::sync::atomic::Ordering;

use super::Table;
use super::accounts::ACCOUNTS;
use super::shard::Shard;
use crate::counters::counter::CounterSet;
use crate::counters::row::{Row, RowKey, key_of_words};

/// Which keys are erased.
pub(crate) struct ErasedKeys<'e> {
    /// Told a group and the values of a key.
    pub(crate) has_key: &'e dyn Fn(u32, &[&str]) -> bool,
    /// Told the name and the owner of an account.
    pub(crate) has_account: &'e dyn Fn(&str, &str) -> bool,
}

impl ErasedKeys<'_> {
    pub(super) fn has_words(&self, (group, words): (u32, &[u64])) -> bool {
        let is_it = |key: RowKey<'_>| match key {
            RowKey::Partition { group: ACCOUNTS, values: [name, owner] } => {
                (self.has_account)(name, owner)
            }
            RowKey::Partition { group, values } => (self.has_key)(group, values),
            RowKey::Overflow { .. } => false,
        };
        key_of_words(group, words, is_it) == Some(true)
    }

    fn has_row(&self, row: Row<'_>) -> bool {
        self.has_words(row.identity())
    }
}

impl Table {
    /// Drops the rows of keys with all that is held of them and has fired for them, and accounts;
    /// returns how many rows and accounts those were. O(rows).
    pub(crate) fn erase(&self, counters: &CounterSet, erased: &ErasedKeys<'_>) -> (u64, u64) {
        let (mut rows, mut accounts) = (0_u64, 0_u64);
        for shard in self.shards() {
            let shard = &mut *shard.lock();
            rows = rows.saturating_add(self.erase_rows(shard, counters, erased));
            let gone = shard.erase_beside(erased);
            self.accounts.fetch_sub(gone, Ordering::Relaxed);
            accounts = accounts.saturating_add(gone);
        }
        (rows, accounts)
    }

    fn erase_rows(&self, shard: &mut Shard, counters: &CounterSet, erased: &ErasedKeys<'_>) -> u64 {
        let mut count = 0_u64;
        for place in 0..shard.places() {
            let slot = shard.slot_at(place);
            if slot.is_some_and(|slot| erased.has_row(shard.row(slot))) {
                shard.sweep_from(place);
                if let Some(slot) = shard.next_to_sweep() {
                    self.count_out(shard.row(slot), counters);
                    shard.drop_swept();
                    count = count.saturating_add(1);
                }
            }
        }
        count
    }
}
