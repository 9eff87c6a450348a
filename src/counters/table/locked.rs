//! The locked step: the rows that a script works on, behind the locks of their shards.
//!
//! **Order.** All shards of a script are locked at once and in ascending order, each once, and
//! nothing else is locked by the table while one is held. A script that waits for a shard waits for
//! one that holds it, and which waits, if at all, for a higher one: there is no cycle of scripts
//! that wait for each other, and so no deadlock. A script that finds under the locks that it needs
//! another row does not lock it on top. It releases all, and asks for all of them and that one.
//!
//! **Isolation.** From the locking to the drop of the [rows](Locked) nobody else reads or writes
//! the rows, makes them or drops them: upkeep and checkpoints lock a shard for themselves. So a
//! script may judge first and write afterwards, and all of what it writes happens at one point
//! between the two: decisions are linearizable.
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

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::request::RowAddress;
use super::shard::{GrowingRow, RowSlot, Shard};
use super::{Table, overflow_hash};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::{Row, RowKey, RowMut};

/// The index of a row that is not locked: what is charged there is kept nowhere.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The rows of a script, by their indices: those of its addresses, and behind them those that keys
/// without room share. Dropping them releases the locks.
pub(super) trait Locked {
    /// How many there are, those that are not made yet among them.
    fn len(&self) -> usize;

    fn row(&self, row: u32) -> Option<Row<'_>>;

    fn row_mut(&mut self, row: u32) -> Option<RowMut<'_>>;

    /// The row to change in ways that may move it.
    fn grow(&mut self, row: u32) -> Option<GrowingRow<'_>>;

    /// Whether a row was there when the rows were found.
    fn was_there(&self, row: u32) -> bool;

    /// Whether a row is one that keys without room share.
    fn is_shared(&self, row: u32) -> bool;

    /// The index of the row that keys without a counter of their own share.
    fn shared_row(&self, counter: &Counter) -> u32;

    /// Makes a row that is not there, with these counters. Whoever reads or writes it after that
    /// has the rows [found](Self::find) again; the others stay where they are.
    fn insert(&mut self, row: u32, cells: &[(u32, CellState)]);

    /// Finds the rows: those that were made, too.
    fn find(&mut self);

    /// Where upkeep visits the shards, rows may move: whoever has it done is done with the rows.
    fn each_shard(&mut self, visit: impl FnMut(&mut Shard))
    where
        Self: Sized;

    /// The shard that was locked first.
    fn first_shard(&mut self) -> Option<&mut Shard>;
}

/// The only row of a script: the everyday case, which needs no lists.
pub(super) struct OneRow<'t> {
    hash: u64,
    key: RowKey<'t>,
    shard: MutexGuard<'t, Shard>,
    slot: Option<RowSlot>,
}

impl<'t> OneRow<'t> {
    #[inline]
    pub(super) fn lock(table: &'t Table, hash: u64, key: RowKey<'t>) -> Option<Self> {
        let shard = table.shard(hash)?.lock();
        let slot = shard.find(hash, key);
        Some(Self { hash, key, shard, slot })
    }
}

impl Locked for OneRow<'_> {
    fn len(&self) -> usize {
        1
    }

    #[inline]
    fn row(&self, row: u32) -> Option<Row<'_>> {
        if row == 0 { Some(self.shard.row(self.slot?)) } else { None }
    }

    #[inline]
    fn row_mut(&mut self, row: u32) -> Option<RowMut<'_>> {
        if row == 0 { Some(self.shard.row_mut(self.slot?)) } else { None }
    }

    fn grow(&mut self, row: u32) -> Option<GrowingRow<'_>> {
        if row == 0 { Some(self.shard.grow(self.slot.as_mut()?)) } else { None }
    }

    fn was_there(&self, row: u32) -> bool {
        row == 0 && self.slot.is_some()
    }

    fn is_shared(&self, row: u32) -> bool {
        row > 0 || matches!(self.key, RowKey::Overflow { .. })
    }

    fn shared_row(&self, counter: &Counter) -> u32 {
        let is_it = self.key == RowKey::Overflow { counter: counter.lineage() };
        if is_it { 0 } else { NOWHERE }
    }

    fn insert(&mut self, row: u32, cells: &[(u32, CellState)]) {
        debug_assert!(row == 0 && self.shard.find(self.hash, self.key).is_none(), "made once");
        self.shard.insert(self.hash, self.key, cells);
    }

    fn find(&mut self) {
        self.slot = self.shard.find(self.hash, self.key);
    }

    #[inline]
    fn each_shard(&mut self, mut visit: impl FnMut(&mut Shard)) {
        visit(&mut self.shard);
    }

    #[inline]
    fn first_shard(&mut self) -> Option<&mut Shard> {
        Some(&mut self.shard)
    }
}

/// The shared rows of a script, by the lineage of their counters.
pub(super) type Lineages = SmallVec<[u32; 4]>;

/// Any number of rows.
pub(super) struct Rows<'t, 'e> {
    addresses: &'t [RowAddress<'e>],
    shared: Lineages,
    /// In ascending order of their indices.
    shards: SmallVec<[MutexGuard<'t, Shard>; 4]>,
    places: SmallVec<[Place; 4]>,
}

/// Which of the locked shards a row belongs to, and where it lies there, if it is there.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    slot: Option<RowSlot>,
}

impl<'t, 'e> Rows<'t, 'e> {
    #[inline]
    pub(super) fn lock(
        table: &'t Table,
        addresses: &'t [RowAddress<'e>],
        shared: Lineages,
    ) -> Self {
        let (shards, places) = (SmallVec::new(), SmallVec::new());
        let mut rows = Self { addresses, shared, shards, places };
        for row in 0..rows.len() {
            rows.places.push(Place { shard: table.shard_of(rows.hash(row)), slot: None });
        }
        let mut order: SmallVec<[usize; 4]> = SmallVec::new();
        for place in &rows.places {
            if let Err(at) = order.binary_search(&place.shard) {
                order.insert(at, place.shard);
            }
        }
        for shard in order.iter().filter_map(|index| table.shard_at(*index)) {
            rows.shards.push(shard.lock());
        }
        debug_assert_eq!(rows.shards.len(), order.len(), "every hash is of one of the shards");
        for place in &mut rows.places {
            place.shard = order.iter().position(|index| *index == place.shard).unwrap_or(0);
        }
        rows.find();
        rows
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
}

impl Locked for Rows<'_, '_> {
    #[inline]
    fn len(&self) -> usize {
        self.addresses.len().saturating_add(self.shared.len())
    }

    #[inline]
    fn row(&self, row: u32) -> Option<Row<'_>> {
        let Place { shard, slot } = *self.places.get(row as usize)?;
        Some(self.shards.get(shard)?.row(slot?))
    }

    #[inline]
    fn row_mut(&mut self, row: u32) -> Option<RowMut<'_>> {
        let Place { shard, slot } = *self.places.get(row as usize)?;
        Some(self.shards.get_mut(shard)?.row_mut(slot?))
    }

    fn grow(&mut self, row: u32) -> Option<GrowingRow<'_>> {
        let Place { shard, slot } = self.places.get_mut(row as usize)?;
        Some(self.shards.get_mut(*shard)?.grow(slot.as_mut()?))
    }

    fn was_there(&self, row: u32) -> bool {
        self.places.get(row as usize).is_some_and(|place| place.slot.is_some())
    }

    fn is_shared(&self, row: u32) -> bool {
        row as usize >= self.addresses.len()
    }

    fn shared_row(&self, counter: &Counter) -> u32 {
        let index = self.shared.iter().position(|lineage| *lineage == counter.lineage());
        let row = index.map(|index| index.saturating_add(self.addresses.len()));
        row.and_then(|row| u32::try_from(row).ok()).unwrap_or(NOWHERE)
    }

    fn insert(&mut self, row: u32, cells: &[(u32, CellState)]) {
        let index = row as usize;
        let (hash, key) = (self.hash(index), self.key(index));
        let shard = self.places.get(index).map_or(0, |place| place.shard);
        if let Some(shard) = self.shards.get_mut(shard) {
            debug_assert!(shard.find(hash, key).is_none(), "a row is made once");
            shard.insert(hash, key, cells);
        }
    }

    fn find(&mut self) {
        for index in 0..self.len() {
            let (hash, key) = (self.hash(index), self.key(index));
            if let Some(place) = self.places.get_mut(index)
                && let Some(shard) = self.shards.get(place.shard)
            {
                place.slot = shard.find(hash, key);
            }
        }
    }

    #[inline]
    fn each_shard(&mut self, visit: impl FnMut(&mut Shard)) {
        self.shards.iter_mut().map(|shard| &mut **shard).for_each(visit);
    }

    #[inline]
    fn first_shard(&mut self) -> Option<&mut Shard> {
        self.shards.first_mut().map(|shard| &mut **shard)
    }
}
