//! Balances on the straight path: an event that costs one balance something that is there.

use std::cell::Cell;

use super::accounts::reading;
use super::hold::{HeldChange, put_account};
use super::locked::Locked;
use super::request::{Committed, Verdict};
use super::shard::accounts::AccountKey;
use super::straight::Straight;
use crate::balances::{Account, Available, Change};

/// What was taken of an account.
pub(super) struct Spent {
    /// The row that has its address.
    row: u32,
    /// The number of its entry.
    entry: u64,
    /// What the journal keeps of it, where there is one.
    change: Option<HeldChange>,
}

impl Straight<'_, '_> {
    /// Takes what the event costs from the balance of a charge, which the account must cover; all
    /// other rules have let the event in. `None`, and nothing changed, where there is more to do:
    /// an account to open, a refund, a cost that is not covered. What has ended of the account has
    /// ended then all the same.
    #[inline(never)]
    pub(super) fn spend(
        self,
        locked: &mut impl Locked,
        verdict: &mut Verdict,
        index: usize,
    ) -> Option<Spent> {
        let Verdict { at, charges, held, .. } = verdict;
        let charge = charges.get_mut(index)?;
        let (units, row) = (charge.cost().units, charge.row);
        if !charge.is_plain() || units <= 0 {
            return None;
        }
        if !self.request.intent.is_read_only() && self.counter(charge.rule)?.watch().is_some() {
            // Which thresholds its balance falls to is looked at step by step.
            return None;
        }
        let now = self.table.instant(at);
        let (key, account) = account(locked, row)?;
        account.settle(now);
        let before = account.available();
        if units > before.units {
            return None;
        }
        let mut spent = Spent { row, entry: account.next_entry(), change: None };
        if self.request.intent.is_read_only() {
            let used = before.used.saturating_add(units);
            let units = before.units.saturating_sub(units);
            charge.reading = reading(Some(Available { units, used, ..before }));
        } else {
            account.spend(units, now);
            charge.reading = reading(Some(account.available()));
            charge.wrote();
            if self.table.given_back_log().is_some() {
                let (mut rows, taken) = (Vec::new(), Change::Take { units });
                put_account(key, std::iter::once((now, &taken)), &mut rows);
                spent.change = Some(HeldChange::of_account(rows, (charge.rule, before.held)));
            }
        }
        if before.held > 0 {
            held.push((charge.rule, before.held));
        }
        Some(spent)
    }
}

impl Spent {
    /// Runs the caller's step, and says in the account's entry of which event it is.
    pub(super) fn commit(
        self,
        locked: &mut impl Locked,
        committed: &Committed<'_>,
        commit: &mut dyn FnMut(&Committed<'_>),
    ) {
        let event = Cell::new(None);
        let held = self.change.as_ref();
        commit(&Committed { held, event: Some(&event), ..*committed });
        if let (Some(event), Some((_, account))) = (event.get(), account(locked, self.row)) {
            account.name_events(self.entry, event);
        }
    }
}

/// The account whose address a row has, if it is there.
fn account(locked: &mut impl Locked, row: u32) -> Option<(AccountKey<'_>, &mut Account)> {
    let (hash, key, shard) = locked.shard_of(row)?;
    let key = AccountKey::of(hash, key)?;
    Some((key, shard.account_mut(key)?))
}
