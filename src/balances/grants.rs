//! What is left of the credits of an account, in the order in which it is spent.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::entry::EntryId;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::rules::Units;

/// A credit of which something is left.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Grant {
    /// The ledger's entry of the credit.
    pub id: EntryId,
    /// How much was credited.
    pub amount: Amount,
    /// What is left to spend.
    pub remaining: Amount,
    /// What reservations hold of it: it pays for them although it expires meanwhile.
    pub held: Amount,
    /// When it was credited.
    pub created_at: Timestamp,
    /// From this instant on what is left is worth nothing; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Of those that expire together the highest is spent first.
    pub priority: i32,
}

/// The place of a grant in the order of spending: soonest expiry first, then the highest priority,
/// then the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SpendKey {
    /// [`Timestamp::MAX`] of one that never expires.
    pub(super) expires: Timestamp,
    pub(super) priority: Reverse<i32>,
    /// The number of its entry in the ledger.
    pub(super) number: u64,
}

/// So much of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lot {
    pub(super) units: Units,
    /// What the grant was in the beginning, and when that was.
    pub(super) granted: Units,
    pub(super) at: Timestamp,
}

/// So much of each of some grants, in the order in which it was drawn.
pub(super) type Drawn = SmallVec<[(SpendKey, Lot); 1]>;

/// What is left of the grants: of each of them more than nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    free: BTreeMap<SpendKey, Lot>,
    held: BTreeMap<SpendKey, Lot>,
    /// The sum of what is free.
    sum: Units,
}

impl Grants {
    /// What can be spent.
    pub(super) fn sum(&self) -> Units {
        self.sum
    }

    pub(super) fn len(&self) -> usize {
        self.free.len()
    }

    /// When the next one expires of which something can be spent.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let (key, _) = self.free.first_key_value()?;
        Some(key.expires).filter(|expires| *expires < Timestamp::MAX)
    }

    /// What can be spent, in the order of spending.
    pub(super) fn free(&self) -> impl Iterator<Item = (&SpendKey, &Lot)> {
        self.free.iter()
    }

    /// Adds what can be spent.
    pub(super) fn add(&mut self, key: SpendKey, lot: Lot) {
        if lot.units > 0 {
            self.sum = self.sum.saturating_add(lot.units);
            put(&mut self.free, key, lot);
        }
    }

    /// The grant of a number, of which something is left or held.
    pub(super) fn find(&self, number: u64) -> Option<(SpendKey, Lot)> {
        let mut all = self.free.iter().chain(&self.held);
        all.find(|(key, _)| key.number == number).map(|(key, lot)| (*key, *lot))
    }

    /// The last of those that never expire, of no priority of their own.
    pub(super) fn last_lasting(&self) -> Option<(SpendKey, Lot)> {
        let (key, lot) = self.free.last_key_value()?;
        let is_it = key.expires == Timestamp::MAX && key.priority == Reverse(0);
        is_it.then_some((*key, *lot))
    }

    /// Takes out what expires next.
    pub(super) fn pop_expired(&mut self) -> Option<(SpendKey, Lot)> {
        let (key, lot) = self.free.pop_first()?;
        self.sum = self.sum.saturating_sub(lot.units);
        Some((key, lot))
    }

    /// Draws so much of the first one alone, and returns its number: what nearly every take comes
    /// to. `None`, and nothing drawn, where that would not be left with anything.
    #[inline]
    pub(super) fn draw_of_first(&mut self, units: Units) -> Option<u64> {
        let mut first = self.free.first_entry()?;
        let lot = first.get_mut();
        let left = lot.units.checked_sub(units).filter(|left| *left > 0 && units > 0)?;
        lot.units = left;
        self.sum = self.sum.saturating_sub(units);
        Some(first.key().number)
    }

    /// Draws so much, or all that there is. O(grants that are used up).
    pub(super) fn draw(&mut self, units: Units) -> Drawn {
        let (mut drawn, mut rest) = (Drawn::new(), units);
        while rest > 0 {
            let Some(mut first) = self.free.first_entry() else { break };
            let lot = first.get_mut();
            let taken = lot.units.min(rest);
            drawn.push((*first.key(), Lot { units: taken, ..*first.get() }));
            let lot = first.get_mut();
            lot.units = lot.units.saturating_sub(taken);
            if lot.units == 0 {
                first.remove();
            }
            rest = rest.saturating_sub(taken);
            self.sum = self.sum.saturating_sub(taken);
        }
        drawn
    }

    /// Notes that what was drawn is held.
    pub(super) fn hold(&mut self, drawn: &Drawn) {
        drawn.iter().for_each(|(key, lot)| put(&mut self.held, *key, *lot));
    }

    /// Notes that so much is held no more.
    pub(super) fn unhold(&mut self, drawn: &Drawn) {
        for (key, lot) in drawn {
            let Some(held) = self.held.get_mut(key) else { continue };
            held.units = held.units.saturating_sub(lot.units);
            if held.units <= 0 {
                self.held.remove(key);
            }
        }
    }

    /// All of them, in the order of spending.
    pub(super) fn list(&self, id: impl Fn(u64) -> EntryId) -> Vec<Grant> {
        let mut all: BTreeMap<SpendKey, Grant> = BTreeMap::new();
        for (is_held, key, lot) in self
            .free
            .iter()
            .map(|(key, lot)| (false, key, lot))
            .chain(self.held.iter().map(|(key, lot)| (true, key, lot)))
        {
            let grant = all.entry(*key).or_insert_with(|| Grant {
                id: id(key.number),
                amount: Amount::from_millionths(lot.granted),
                remaining: Amount::ZERO,
                held: Amount::ZERO,
                created_at: lot.at,
                expires_at: Some(key.expires).filter(|expires| *expires < Timestamp::MAX),
                priority: key.priority.0,
            });
            let units = Amount::from_millionths(lot.units);
            *(if is_held { &mut grant.held } else { &mut grant.remaining }) = units;
        }
        all.into_values().collect()
    }
}

fn put(to: &mut BTreeMap<SpendKey, Lot>, key: SpendKey, lot: Lot) {
    let known = to.entry(key).or_insert(Lot { units: 0, ..lot });
    known.units = known.units.saturating_add(lot.units);
}
