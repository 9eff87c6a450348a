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

use super::accounts::ACCOUNTS;
use super::request::{RowAddress, RowAddresses};
use super::shard::accounts::AccountKey;
use super::shard::held::HeldRow;
use super::shard::{GrowingRow, RowSlot, Shard};
use super::{Table, overflow_hash};
use crate::balances::{Account, Instant, Terms};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::{Row, RowKey, RowMut};
use crate::counters::time::{At, Moment};
use crate::rules::Units;

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

    /// How much is held of a counter in a row and a period.
    fn held_units(&self, _row: u32, _number: u32, _period: i64) -> Units {
        0
    }

    /// What is held of a rolling quota, with the instants of the acts.
    fn held_uses(&self, _row: u32, _number: u32) -> Vec<(Moment, Units)> {
        Vec::new()
    }

    /// The account whose address a row has, if it is there.
    fn account(&self, _row: u32) -> Option<&Account> {
        None
    }

    /// The first of the rows that have the address of the same account.
    fn account_row(&self, row: u32) -> u32 {
        row
    }

    /// Makes a row that is not there, with these counters. Whoever reads or writes it after that
    /// has the rows [found](Self::find) again; the others stay where they are.
    fn insert(&mut self, row: u32, cells: &[(u32, CellState)]);

    /// Finds the rows: those that were made, too.
    fn find(&mut self);

    /// Where upkeep visits the shards, rows may move: whoever has it done is done with the rows.
    fn each_shard(&mut self, visit: impl FnMut(&mut Shard))
    where
        Self: Sized;

    /// How much is held of a counter in a row, of what it says now, in the period that begins so.
    fn held_now(&self, _row: u32, _counter: &Counter, _period: i64, _at: &At) -> Units {
        0
    }

    /// The hash and the key of a row, and its shard.
    fn shard_of(&mut self, row: u32) -> Option<(u64, RowKey<'_>, &mut Shard)>;

    /// The shard that was locked first.
    fn first_shard(&mut self) -> Option<&mut Shard>;
}

/// A few rows of keys: the everyday case, which needs no lists.
pub(super) struct FewRows<'t, const N: usize> {
    len: usize,
    rows: [FewRow<'t>; N],
    /// In ascending order of their indices.
    shards: [Option<MutexGuard<'t, Shard>>; N],
}

/// One of them.
#[derive(Clone, Copy)]
struct FewRow<'t> {
    hash: u64,
    key: RowKey<'t>,
    /// The index of its shard in the table, and then among those that are locked.
    shard: usize,
    slot: Option<RowSlot>,
}

/// One row.
pub(super) type OneRow<'t> = FewRows<'t, 1>;

/// A row that is there: what it is found by, where it lies, and its shard.
pub(super) struct RowPlace<'l, 't> {
    pub(super) hash: u64,
    pub(super) key: RowKey<'t>,
    pub(super) slot: RowSlot,
    pub(super) shard: &'l mut Shard,
}

impl<'t> FewRows<'t, 1> {
    /// Locks the row of this key.
    #[inline]
    pub(super) fn lock_one(table: &'t Table, hash: u64, key: RowKey<'t>) -> Option<Self> {
        let shard = table.shard(hash)?.lock();
        let slot = shard.find(hash, key);
        let row = FewRow { hash, key, shard: 0, slot };
        Some(Self { len: 1, rows: [row], shards: [Some(shard)] })
    }
}

impl<'t, const N: usize> FewRows<'t, N> {
    /// No rows, to [lock](Self::lock) some: they are large to move.
    #[inline]
    pub(super) fn none() -> Self {
        let key = RowKey::Partition { group: 0, values: &[] };
        let rows = [FewRow { hash: 0, key, shard: 0, slot: None }; N];
        Self { len: 0, rows, shards: [const { None }; N] }
    }

    /// Locks the rows of these addresses; `false` where they are more than `N`.
    #[inline]
    pub(super) fn lock(&mut self, table: &'t Table, addresses: &'t RowAddresses<'_>) -> bool {
        let Self { len, rows, shards } = self;
        *len = addresses.len();
        let Some(rows) = rows.get_mut(..*len) else { return false };
        for (row, address) in rows.iter_mut().zip(addresses.iter()) {
            (row.hash, row.key) = (address.hash, address.key());
            row.shard = table.shard_of(row.hash);
        }
        // Each turn locks the lowest of the shards that are left.
        let mut lowest = 0;
        for (index, locked) in shards.iter_mut().enumerate() {
            let mut next = usize::MAX;
            for row in &*rows {
                if row.shard >= lowest && row.shard < next {
                    next = row.shard;
                }
            }
            let Some(shard) = table.shard_at(next) else { break };
            let shard = shard.lock();
            for row in rows.iter_mut().filter(|row| row.shard == next) {
                // Not left any more: of different shards the n-th has no lower index than n.
                (row.shard, row.slot) = (index, shard.find(row.hash, row.key));
            }
            (*locked, lowest) = (Some(shard), next.saturating_add(1));
        }
        true
    }

    /// Visits the rows that are there, by their indices.
    #[inline]
    pub(super) fn each_row_mut(&mut self, mut visit: impl FnMut(u32, RowMut<'_>)) {
        for (index, FewRow { shard, slot, .. }) in (0..).zip(&self.rows) {
            if let Some(Some(shard)) = self.shards.get_mut(*shard)
                && let Some(slot) = *slot
            {
                visit(index, shard.row_mut(slot));
            }
        }
    }

    /// A row, if it is there.
    pub(super) fn place_at(&mut self, row: u32) -> Option<RowPlace<'_, 't>> {
        let FewRow { hash, key, shard, slot } = *self.rows.get(row as usize)?;
        let shard = self.shards.get_mut(shard)?.as_deref_mut()?;
        Some(RowPlace { hash, key, slot: slot?, shard })
    }

    #[inline]
    fn place(&self, row: u32) -> Option<(&Shard, RowSlot)> {
        let FewRow { shard, slot, .. } = self.rows.get(row as usize)?;
        Some((self.shards.get(*shard)?.as_deref()?, (*slot)?))
    }
}

impl<const N: usize> Locked for FewRows<'_, N> {
    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn row(&self, row: u32) -> Option<Row<'_>> {
        let (shard, slot) = self.place(row)?;
        Some(shard.row(slot))
    }

    #[inline]
    fn row_mut(&mut self, row: u32) -> Option<RowMut<'_>> {
        let FewRow { shard, slot, .. } = *self.rows.get(row as usize)?;
        Some(self.shards.get_mut(shard)?.as_deref_mut()?.row_mut(slot?))
    }

    fn grow(&mut self, row: u32) -> Option<GrowingRow<'_>> {
        let FewRow { shard, slot, .. } = self.rows.get_mut(row as usize)?;
        Some(self.shards.get_mut(*shard)?.as_deref_mut()?.grow(slot.as_mut()?))
    }

    fn was_there(&self, row: u32) -> bool {
        self.rows.get(row as usize).is_some_and(|row| row.slot.is_some())
    }

    fn is_shared(&self, row: u32) -> bool {
        let key = self.rows.get(row as usize).map(|row| row.key);
        row as usize >= self.len || matches!(key, Some(RowKey::Overflow { .. }))
    }

    fn shared_row(&self, counter: &Counter) -> u32 {
        let key = RowKey::Overflow { counter: counter.lineage() };
        let index = self.rows.iter().take(self.len).position(|row| row.key == key);
        index.and_then(|row| u32::try_from(row).ok()).unwrap_or(NOWHERE)
    }

    fn insert(&mut self, row: u32, cells: &[(u32, CellState)]) {
        let Some(FewRow { hash, key, shard, .. }) = self.rows.get(row as usize) else { return };
        if let Some(Some(shard)) = self.shards.get_mut(*shard) {
            debug_assert!(shard.find(*hash, *key).is_none(), "a row is made once");
            shard.insert(*hash, *key, cells);
        }
    }

    fn find(&mut self) {
        for row in self.rows.iter_mut().take(self.len) {
            let shard = self.shards.get(row.shard).and_then(Option::as_ref);
            row.slot = shard.and_then(|shard| shard.find(row.hash, row.key));
        }
    }

    fn shard_of(&mut self, row: u32) -> Option<(u64, RowKey<'_>, &mut Shard)> {
        let FewRow { hash, key, shard, .. } = *self.rows.get(row as usize)?;
        Some((hash, key, self.shards.get_mut(shard)?.as_deref_mut()?))
    }

    #[inline]
    fn each_shard(&mut self, visit: impl FnMut(&mut Shard)) {
        self.shards.iter_mut().flatten().map(|shard| &mut **shard).for_each(visit);
    }

    #[inline]
    fn first_shard(&mut self) -> Option<&mut Shard> {
        self.shards.first_mut()?.as_deref_mut()
    }
}

/// The shared rows of a script, by the lineage of their counters.
pub(super) type Lineages = SmallVec<[u32; 4]>;

/// Any number of rows.
pub(super) struct Rows<'t, 'e> {
    addresses: &'t RowAddresses<'e>,
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
    /// The first row that has the address of the same account; [`NOWHERE`] of a row of counters.
    account: u32,
}

impl<'t, 'e> Rows<'t, 'e> {
    pub(super) fn lock(
        table: &'t Table,
        addresses: &'t RowAddresses<'e>,
        shared: Lineages,
    ) -> Self {
        let (shards, places) = (SmallVec::new(), SmallVec::new());
        let mut rows = Self { addresses, shared, shards, places };
        for row in 0..rows.len() {
            let account = rows.first_of_account(row);
            let place = Place { shard: table.shard_of(rows.hash(row)), slot: None, account };
            rows.places.push(place);
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
        let Place { shard, slot, .. } = *self.places.get(row as usize)?;
        Some(self.shards.get(shard)?.row(slot?))
    }

    #[inline]
    fn row_mut(&mut self, row: u32) -> Option<RowMut<'_>> {
        let Place { shard, slot, .. } = *self.places.get(row as usize)?;
        Some(self.shards.get_mut(shard)?.row_mut(slot?))
    }

    fn grow(&mut self, row: u32) -> Option<GrowingRow<'_>> {
        let Place { shard, slot, .. } = self.places.get_mut(row as usize)?;
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

    fn held_units(&self, row: u32, number: u32, period: i64) -> Units {
        let held = self.held(row).and_then(|held| held.counter(number, period));
        held.map_or(0, |held| held.held)
    }

    fn held_uses(&self, row: u32, number: u32) -> Vec<(Moment, Units)> {
        let held = self.held(row).and_then(|held| held.counter(number, 0));
        let parts = held.into_iter().flat_map(|held| held.open.iter());
        parts.map(|(_, part)| (part.event, part.units)).collect()
    }

    fn account(&self, row: u32) -> Option<&Account> {
        let key = self.account_key(row)?;
        self.shards.get(self.places.get(row as usize)?.shard)?.account(key)
    }

    fn account_row(&self, row: u32) -> u32 {
        let first = self.places.get(row as usize).map(|place| place.account);
        first.filter(|first| *first != NOWHERE).unwrap_or(row)
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

    fn held_now(&self, row: u32, counter: &Counter, period: i64, at: &At) -> Units {
        let held = self.held(row).and_then(|held| held.counter(counter.number(), period));
        held.map_or(0, |held| held.counting(&counter.policy, at))
    }

    fn shard_of(&mut self, row: u32) -> Option<(u64, RowKey<'_>, &mut Shard)> {
        let (hash, key) = self.place_of(row)?;
        let shard = self.places.get(row as usize)?.shard;
        Some((hash, key, self.shards.get_mut(shard)?))
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

/// The accounts whose addresses rows have.
impl<'t> Rows<'t, '_> {
    pub(super) fn account_key(&self, row: u32) -> Option<AccountKey<'t>> {
        if self.places.get(row as usize)?.account == NOWHERE {
            return None;
        }
        let address = self.addresses.get(row as usize)?;
        AccountKey::of(address.hash, address.key())
    }

    /// The first row with the address of the same account as one that is about to be placed.
    fn first_of_account(&self, row: usize) -> u32 {
        let Some(address) = self.addresses.get(row) else { return NOWHERE };
        if address.group != ACCOUNTS {
            return NOWHERE;
        }
        let is_same =
            |other: &RowAddress<'_>| (other.group, other.values) == (ACCOUNTS, address.values);
        let first = self.addresses.iter().position(|other| is_same(&other));
        u32::try_from(first.unwrap_or(row)).unwrap_or(NOWHERE)
    }

    fn shard_of(&mut self, row: u32) -> Option<&mut Shard> {
        let place = self.places.get(row as usize)?;
        self.shards.get_mut(place.shard).map(|shard| &mut **shard)
    }

    pub(super) fn account_mut(&mut self, row: u32) -> Option<&mut Account> {
        let key = self.account_key(row)?;
        self.shard_of(row)?.account_mut(key)
    }

    /// Makes an account that is not there.
    pub(super) fn open_account(&mut self, row: u32, terms: &Terms, keeps: usize, now: Instant) {
        if let Some(key) = self.account_key(row)
            && let Some(shard) = self.shard_of(row)
        {
            shard.put_account(key, Account::new(key.number(), terms, keeps, now));
        }
    }
}

/// What of the rows is held.
impl<'t> Rows<'t, '_> {
    /// Whether something may be held.
    #[inline]
    pub(super) fn holds(&self) -> bool {
        self.shards.iter().any(|shard| shard.holds())
    }

    /// The hash and the key of a row.
    pub(super) fn place_of(&self, row: u32) -> Option<(u64, RowKey<'t>)> {
        let row = row as usize;
        (row < self.places.len()).then(|| (self.hash(row), self.key(row)))
    }

    pub(super) fn held(&self, row: u32) -> Option<&HeldRow> {
        let (hash, key) = self.place_of(row)?;
        self.shards.get(self.places.get(row as usize)?.shard)?.held(hash, key)
    }

    /// Takes out what is held of a row, to change it: who changed it [puts it back](Self::hold).
    pub(super) fn take_held(&mut self, row: u32) -> Option<HeldRow> {
        let (hash, key) = self.place_of(row)?;
        self.shards.get_mut(self.places.get(row as usize)?.shard)?.take_held(hash, key)
    }

    pub(super) fn hold(&mut self, row: u32, held: HeldRow) {
        let shard = self.places.get(row as usize).map(|place| place.shard);
        if let Some(shard) = shard.and_then(|shard| self.shards.get_mut(shard)) {
            shard.hold(held);
        }
    }

    /// Changes what is held of a row, where something is.
    pub(super) fn change_held(&mut self, row: u32, change: impl FnOnce(&mut HeldRow)) {
        if let Some(mut held) = self.take_held(row) {
            change(&mut held);
            self.hold(row, held);
        }
    }
}
