//! The locked step: the rows that a script works on, behind the locks of their shards.
//!
//! **Order.** All shards of a script are locked at once and in ascending order, each once, and
//! nothing else is locked by the table while one is held. Of two scripts that want the same shards
//! the one that holds the lowest goes on to the end: there is no cycle of scripts that wait for
//! each other, and so no deadlock. A script that finds under the locks that it needs another row
//! does not lock it on top. It releases all, and asks for all of them and that one.
//!
//! **Isolation.** From the locking to the drop of [`Locked`] nobody else reads or writes the rows,
//! makes them or drops them: upkeep and checkpoints lock a shard for themselves. So a script may
//! judge first and write afterwards, and all of what it writes happens at one point between the
//! two: decisions are linearizable.
//!
//! **Version.** It is read under the locks, and pairs with [`Table::close`], which stores that the
//! table is closed and then locks every shard once. A script that got its first lock before `close`
//! came there is waited for, and its time is not after the one that `close` returns. One that got
//! it after sees what was stored before `close` released that lock: it finds the version of its
//! rules gone, and gives up. What is stored before [`Table::open`] is seen by whoever reads the
//! version that it stores, the instant at which the new rules came into force among it.
//!
//! **Time.** A script's instant is the latest that any of its shards has seen, and each of them
//! keeps it. Two scripts that share a row share its shard: the later of them goes by no earlier
//! instant, whatever clocks their threads have read.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::request::{Request, RowAddress, Stale};
use super::shard::{RowSlot, Shard};
use super::{Table, overflow_hash};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::{Row, RowKey};
use crate::counters::time::At;

/// The index of a row that is not locked: what is charged there is kept nowhere.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The shared rows of a script, by the lineage of their counters.
pub(super) type Lineages = SmallVec<[u32; 4]>;

/// The rows of a script: those of its addresses, and behind them shared ones. Dropping it releases
/// the locks.
pub(super) struct Locked<'t, 'e> {
    table: &'t Table,
    addresses: &'t [RowAddress<'e>],
    shared: Lineages,
    /// In ascending order of the shards.
    shards: SmallVec<[MutexGuard<'t, Shard>; 4]>,
    rows: SmallVec<[LockedRow; 4]>,
}

/// Which of the locked shards a row belongs to, and where it lies there, if it is there.
#[derive(Clone, Copy)]
struct LockedRow {
    shard: usize,
    slot: Option<RowSlot>,
}

impl Table {
    /// Locks the rows of a request and these shared ones, and fixes the instant of the decision.
    #[inline]
    pub(super) fn lock<'t, 'e>(
        &'t self,
        request: &Request<'t, 'e>,
        shared: Lineages,
    ) -> Result<(Locked<'t, 'e>, At), Stale> {
        let mut locked = self.lock_rows(request.rows, shared);
        if self.version.load(Ordering::Acquire) != request.counters.version {
            return Err(Stale);
        }
        let mut now = request.counters.not_before(request.now);
        for shard in &locked.shards {
            now = shard.not_before(now);
        }
        for shard in &mut locked.shards {
            shard.advance(now);
        }
        Ok((locked, request.at(self.timeline, now)))
    }

    /// Locks these rows, whatever the version.
    #[inline]
    pub(super) fn lock_rows<'t, 'e>(
        &'t self,
        addresses: &'t [RowAddress<'e>],
        shared: Lineages,
    ) -> Locked<'t, 'e> {
        let (shards, rows) = (SmallVec::new(), SmallVec::new());
        let mut locked = Locked { table: self, addresses, shared, shards, rows };
        if let [address] = addresses
            && locked.shared.is_empty()
            && let Some(only) = self.shard(address.hash)
        {
            let shard = only.lock();
            let slot = shard.find(address.hash, address.key());
            locked.rows.push(LockedRow { shard: 0, slot });
            locked.shards.push(shard);
        } else {
            locked.lock_in_order();
        }
        locked
    }
}

impl<'t> Locked<'t, '_> {
    fn lock_in_order(&mut self) {
        let table = self.table;
        let hashes = (0..self.len()).map(|row| self.hash(row));
        let mut shards: SmallVec<[_; 4]> =
            hashes.map(|hash| (table.shard_of(hash), hash)).collect();
        shards.sort_unstable();
        shards.dedup_by_key(|(shard, _)| *shard);
        self.shards.extend(shards.iter().filter_map(|(_, hash)| Some(table.shard(*hash)?.lock())));
        for row in 0..self.len() {
            let shard = table.shard_of(self.hash(row));
            let found = shards.binary_search_by_key(&shard, |(shard, _)| *shard);
            debug_assert!(found.is_ok(), "the shard of every row is locked");
            self.rows.push(LockedRow { shard: found.unwrap_or(0), slot: None });
        }
        self.find();
    }

    /// Finds the rows: where they lie changes when others come into their shards.
    pub(super) fn find(&mut self) {
        for index in 0..self.len() {
            let (hash, key) = (self.hash(index), self.key(index));
            let shard = self.rows.get(index).and_then(|row| self.shards.get(row.shard));
            let slot = shard.and_then(|shard| shard.find(hash, key));
            if let Some(row) = self.rows.get_mut(index) {
                row.slot = slot;
            }
        }
    }

    /// How many rows it has, those that are not there yet among them.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.addresses.len().saturating_add(self.shared.len())
    }

    /// Whether a row is one that keys without room share.
    pub(super) fn is_shared(&self, row: u32) -> bool {
        row as usize >= self.addresses.len()
    }

    /// The index of the row that keys without a counter of their own share.
    pub(super) fn shared_row(&self, counter: &Counter) -> u32 {
        let place = self.shared.iter().position(|lineage| *lineage == counter.lineage());
        let row = place.map(|place| place.saturating_add(self.addresses.len()));
        row.and_then(|row| u32::try_from(row).ok()).unwrap_or(NOWHERE)
    }

    fn lineage(&self, row: usize) -> u32 {
        let shared = row.checked_sub(self.addresses.len());
        let lineage = shared.and_then(|shared| self.shared.get(shared));
        debug_assert!(lineage.is_some(), "a row has an address or is shared");
        lineage.copied().unwrap_or(0)
    }

    fn hash(&self, row: usize) -> u64 {
        match self.addresses.get(row) {
            Some(address) => address.hash,
            None => overflow_hash(self.lineage(row)),
        }
    }

    fn key(&self, row: usize) -> RowKey<'t> {
        match self.addresses.get(row) {
            Some(address) => address.key(),
            None => RowKey::Overflow { counter: self.lineage(row) },
        }
    }

    /// Whether a row was there when the rows were found.
    pub(super) fn was_there(&self, row: u32) -> bool {
        self.rows.get(row as usize).is_some_and(|row| row.slot.is_some())
    }

    #[inline]
    pub(super) fn row(&self, row: u32) -> Option<&Row> {
        let LockedRow { shard, slot } = *self.rows.get(row as usize)?;
        self.shards.get(shard)?.row(slot?)
    }

    #[inline]
    pub(super) fn row_mut(&mut self, row: u32) -> Option<&mut Row> {
        let LockedRow { shard, slot } = *self.rows.get(row as usize)?;
        self.shards.get_mut(shard)?.row_mut(slot?)
    }

    /// Makes a row that is not there, with these counters. Whoever reads or writes rows after that
    /// has them [found](Self::find) again.
    pub(super) fn insert(&mut self, row: u32, cells: &[(u32, CellState)]) {
        let index = row as usize;
        let (hash, key) = (self.hash(index), self.key(index));
        let shard = self.rows.get(index).map_or(0, |row| row.shard);
        if let Some(shard) = self.shards.get_mut(shard) {
            debug_assert!(shard.find(hash, key).is_none(), "a row is made once");
            shard.insert(Row::new(hash, key, cells));
        }
    }

    /// The locked shards, for upkeep once a script is done with its rows.
    #[inline]
    pub(super) fn shards(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.shards.iter_mut().map(|shard| &mut **shard)
    }
}
