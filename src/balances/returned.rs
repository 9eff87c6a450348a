//! What a corrected event gives back: to the grants that paid for it, as the ledger knows.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::account::Account;
use super::entry::{Entry, EntryKind, Source};
use super::grants::{Lot, SpendKey};
use crate::base::clock::Timestamp;
use crate::rules::Units;

/// So much of each of some grants, by the numbers of their entries, in the order of paying.
type Paid = SmallVec<[(u64, Units); 1]>;

impl Account {
    /// Gives back so much of what an event took, the last of it first, no more than it took; and
    /// refunds what it gives from now on beyond that. Nothing comes of an event that the account
    /// never saw: as far as the ledger goes back to `since`, when the event was decided about, it
    /// tells. Where it does not, all is given back as a refund is.
    pub(super) fn give_back_of(
        &mut self,
        event: u64,
        (units, refund): (Units, Units),
        since: Timestamp,
        at: Timestamp,
    ) {
        let (taken, paid) = self.taken_by(event);
        let is_whole = self.ledger.front().is_none_or(|first| first.number == 0);
        let goes_back = is_whole || self.ledger.front().is_some_and(|first| first.at < since);
        let (back, refund) = match taken {
            1.. => {
                self.return_of(event, (units.min(taken), taken), &paid, at);
                (0, refund)
            }
            _ if !goes_back => (units, refund),
            // What it cost was not taken.
            0 if units > 0 || self.created > since => (0, 0),
            _ => (0, refund),
        };
        let refund = back.saturating_add(refund);
        if refund > 0 {
            self.refund(refund, Some(event), at);
        }
    }

    /// Gives back so much of what an event has taken in all, of which grants paid what is said.
    fn return_of(
        &mut self,
        event: u64,
        (units, taken): (Units, Units),
        paid: &Paid,
        at: Timestamp,
    ) {
        let of_grants = paid.iter().fold(0, |sum: Units, (_, paid)| sum.saturating_add(*paid));
        // What no grant paid is owed: that is paid first.
        let owed = taken.saturating_sub(of_grants).min(units);
        let mut rest = units.saturating_sub(owed);
        let (mut back, mut unknown) = (Paid::new(), owed);
        let mut lots: SmallVec<[(SpendKey, Lot); 1]> = SmallVec::new();
        for (number, paid) in paid.iter().rev() {
            let units = rest.min(*paid);
            if units <= 0 {
                continue;
            }
            rest = rest.saturating_sub(units);
            if let Some((key, lot)) = self.grant_of(*number) {
                lots.push((key, Lot { units, ..lot }));
                back.push((*number, units));
            } else {
                unknown = unknown.saturating_add(units);
            }
        }
        self.spent = self.spent.saturating_sub(units);
        let of_debt = unknown.min(self.funds.debt);
        self.funds.debt = self.funds.debt.saturating_sub(of_debt);
        let known = back.iter().fold(of_debt, |sum, (_, units)| sum.saturating_add(*units));
        if known > 0 {
            self.funds.current = self.funds.current.saturating_add(known);
            self.post(at, EntryKind::Credit, known, Source::Event(Some(event)), back);
        }
        let free = unknown.saturating_sub(of_debt);
        if free > 0 {
            self.refund(free, Some(event), at);
            self.spent = self.spent.saturating_add(free);
        }
        for (key, lot) in lots {
            if key.expires > at {
                self.funds.grants.add(key, lot);
            } else {
                self.funds.current = self.funds.current.saturating_sub(lot.units);
                self.expire(key, lot.units, at);
            }
        }
        self.funds.repay();
    }

    /// What an event has taken less what came back, and what grants paid of that.
    fn taken_by(&self, event: u64) -> (Units, Paid) {
        let of_event = |entry: &&Entry| entry.source == Source::Event(Some(event));
        let (mut taken, mut paid): (Units, Paid) = (0, Paid::new());
        for entry in self.ledger.iter().filter(of_event) {
            let is_debit = entry.kind == EntryKind::Debit;
            let signed = |units: Units| if is_debit { units } else { units.saturating_neg() };
            taken = taken.saturating_add(signed(entry.units));
            for (number, units) in &entry.paid {
                match paid.iter_mut().find(|(known, _)| known == number) {
                    Some((_, sum)) => *sum = sum.saturating_add(signed(*units)),
                    None => paid.push((*number, signed(*units))),
                }
            }
        }
        paid.retain(|(_, units)| *units > 0);
        (taken, paid)
    }

    /// The grant of a number: one of which something is left, or the ledger has its credit.
    fn grant_of(&self, number: u64) -> Option<(SpendKey, Lot)> {
        let left = self.funds.grants.find(number);
        left.or_else(|| {
            let credit = self.ledger.iter().find(|entry| entry.number == number)?;
            let (expires, priority) = match &credit.source {
                Source::Call(call) => (call.expires.unwrap_or(Timestamp::MAX), call.priority),
                _ => (Timestamp::MAX, 0),
            };
            let key = SpendKey { expires, priority: Reverse(priority), number };
            Some((key, Lot { units: 0, granted: credit.units, at: credit.at }))
        })
    }
}
