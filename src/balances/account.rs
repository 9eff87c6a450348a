//! An account: a balance of one owner.
//!
//! What is *current* is the sum of the ledger: what is free of the grants, and what is held of
//! them, less the debt. Debt is what was taken when no grant had anything left. The next that comes
//! in pays it first, so that there is no debt where something is free. What can be spent is what is
//! free, less the debt, less what holds are to take that no grant covers, less the minimum.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::MAX_GRANTS;
use super::change::Change;
use super::entry::{CallSource, Entry, EntryId, EntryKind, Source, paid};
use super::grants::{Drawn, Grant, Grants, Lot, SpendKey};
use crate::base::clock::Timestamp;
use crate::rules::Units;

/// The grants that paid for something, by their numbers, and how much of it each.
type PaidBy = smallvec::SmallVec<[(u64, Units); 1]>;

/// The description of the entry of what an account was made with.
const INITIAL: &str = "initial balance";

/// An instant, by the engine's line of time, by which holds end, and as a date, by which grants do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) line: u64,
    pub(crate) date: Timestamp,
}

impl Instant {
    /// The date of an instant of the line.
    fn date_of(self, line: u64) -> Timestamp {
        let ahead = i128::from(line).saturating_sub(self.line.into());
        Timestamp::from_unix_nanos(self.date.unix_nanos().saturating_add(ahead))
    }
}

/// What an account was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) unit: Box<str>,
    /// What debits leave; less than nothing lets them go into debt.
    pub(crate) minimum: Units,
}

/// What a reservation holds of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountHold {
    pub(super) drawn: Drawn,
    /// What no grant covers.
    pub(super) uncovered: Units,
}

impl AccountHold {
    fn units(&self) -> Units {
        let drawn = self.drawn.iter().map(|(_, lot)| lot.units);
        drawn.fold(self.uncovered, Units::saturating_add)
    }
}

/// What can be spent of an account, and what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Available {
    pub(crate) units: Units,
    /// What events and calls have taken, and what is held.
    pub(crate) used: Units,
    pub(crate) held: Units,
}

impl Available {
    /// Of an account that is opened with so much.
    pub(crate) fn opened(units: Units) -> Self {
        Self { units, used: 0, held: 0 }
    }
}

/// What of an account decides what can be spent of it, without its ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Funds {
    pub(super) minimum: Units,
    pub(super) current: Units,
    pub(super) debt: Units,
    /// What all holds have.
    pub(super) held: Units,
    pub(super) uncovered: Units,
    pub(super) grants: Grants,
    /// By their ends and their reservations.
    pub(super) holds: BTreeMap<(u64, u64), AccountHold>,
}

/// A balance of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// What tells it from others in the ids of its entries.
    pub(super) number: u64,
    pub(super) unit: Box<str>,
    pub(super) funds: Funds,
    /// What was taken over all time, less what was given back.
    pub(super) spent: Units,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    /// The number of the next entry.
    pub(super) next: u64,
    pub(super) ledger: VecDeque<Entry>,
    /// How many entries are kept.
    pub(super) keeps: usize,
    pub(super) keys: HashMap<Box<str>, Entry, ahash::RandomState>,
    /// The same keys, in the order of their use.
    pub(super) key_order: VecDeque<(Timestamp, Box<str>)>,
    /// The sequence number of the first record that is not in it, of one that was loaded.
    pub(crate) position: u64,
}

impl Funds {
    fn available(&self) -> Units {
        let free = self.grants.sum().saturating_sub(self.debt).saturating_sub(self.uncovered);
        free.saturating_sub(self.minimum)
    }

    /// Pays the debt from what is free.
    pub(super) fn repay(&mut self) {
        if self.debt > 0 {
            let drawn = self.grants.draw(self.debt);
            let paid = drawn.iter().fold(0, |sum: Units, (_, lot)| sum.saturating_add(lot.units));
            self.debt = self.debt.saturating_sub(paid);
        }
    }

    /// What ends next by an instant: a grant or a hold, a grant first where they end together.
    fn next_end(&self, now: Instant) -> Option<End> {
        let grant = self.grants.next_expiry().filter(|expires| *expires <= now.date);
        let hold = self.holds.first_key_value().map(|(key, _)| *key);
        let hold = hold.filter(|(until, _)| *until <= now.line);
        let is_before =
            |hold: &(u64, u64)| grant.is_none_or(|expires| now.date_of(hold.0) < expires);
        match hold.filter(is_before) {
            Some(hold) => Some(End::Hold(hold, now.date_of(hold.0))),
            None => grant.map(End::Grant),
        }
    }

    /// Takes out a hold, and gives back what was not used of it at an instant. What goes back to a
    /// grant that has expired is told.
    fn end_hold(
        &mut self,
        hold: &AccountHold,
        date: Timestamp,
        lost: &mut impl FnMut(SpendKey, Units),
    ) {
        self.held = self.held.saturating_sub(hold.units());
        self.uncovered = self.uncovered.saturating_sub(hold.uncovered);
        self.grants.unhold(&hold.drawn);
        self.give_back(&hold.drawn, date, lost);
    }

    /// Adds a hold that was stored.
    pub(super) fn load_hold(&mut self, key: (u64, u64), hold: AccountHold) {
        self.held = self.held.saturating_add(hold.units());
        self.uncovered = self.uncovered.saturating_add(hold.uncovered);
        self.grants.hold(&hold.drawn);
        self.holds.insert(key, hold);
    }

    fn give_back(
        &mut self,
        drawn: &Drawn,
        date: Timestamp,
        lost: &mut impl FnMut(SpendKey, Units),
    ) {
        for (key, lot) in drawn {
            if key.expires <= date {
                self.current = self.current.saturating_sub(lot.units);
                lost(*key, lot.units);
            } else {
                self.grants.add(*key, *lot);
            }
        }
        self.repay();
    }
}

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
enum End {
    Grant(Timestamp),
    Hold((u64, u64), Timestamp),
}

impl Account {
    /// An account with nothing in it, of a number that tells it from others.
    pub(crate) fn new(number: u64, terms: &Terms, keeps: usize, now: Instant) -> Self {
        Self {
            number,
            unit: terms.unit.clone(),
            funds: Funds { minimum: terms.minimum, ..Funds::default() },
            spent: 0,
            created: now.date,
            updated: now.date,
            next: 0,
            ledger: VecDeque::new(),
            keeps: keeps.max(1),
            keys: HashMap::default(),
            key_order: VecDeque::new(),
            position: 0,
        }
    }

    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }

    pub(crate) fn current(&self) -> Units {
        self.funds.current
    }

    pub(crate) fn minimum(&self) -> Units {
        self.funds.minimum
    }

    pub(crate) fn times(&self) -> (Timestamp, Timestamp) {
        (self.created, self.updated)
    }

    pub(crate) fn available(&self) -> Available {
        Available {
            units: self.funds.available(),
            used: self.spent.saturating_add(self.funds.held),
            held: self.funds.held,
        }
    }

    /// Keeps so many entries of the ledger from now on.
    pub(crate) fn keeping(mut self, entries: usize) -> Self {
        self.keeps = entries.max(1);
        let beyond = self.ledger.len().saturating_sub(self.keeps);
        self.ledger.drain(..beyond);
        self
    }

    /// Whether it has room for one more grant.
    pub(crate) fn has_room(&self) -> bool {
        self.funds.grants.len() < MAX_GRANTS
    }

    pub(crate) fn grants(&self) -> Vec<Grant> {
        self.funds.grants.list(|number| self.entry_id(number))
    }

    /// The entries that are kept, the newest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ledger.iter().rev()
    }

    pub(crate) fn entry_id(&self, number: u64) -> EntryId {
        EntryId::new(self.number, number)
    }

    /// The number of an entry of this account.
    pub(crate) fn number_of(&self, id: EntryId) -> Option<u64> {
        id.number_in(self.number)
    }

    /// What became of a call with this key.
    pub(crate) fn keyed(&self, key: &str) -> Option<&Entry> {
        self.keys.get(key)
    }

    /// Forgets keys that were used before an instant.
    pub(crate) fn forget_keys(&mut self, before: Timestamp) {
        while let Some((at, key)) = self.key_order.front() {
            if *at >= before {
                break;
            }
            self.keys.remove(key);
            self.key_order.pop_front();
        }
    }

    /// How much a reservation holds, where it holds something.
    pub(crate) fn held_by(&self, key: (u64, u64)) -> Option<Units> {
        self.funds.holds.get(&key).map(AccountHold::units)
    }

    /// Ends what has ended by an instant, each at its own.
    pub(crate) fn settle(&mut self, now: Instant) {
        while let Some(end) = self.funds.next_end(now) {
            match end {
                End::Grant(date) => {
                    if let Some((key, lot)) = self.funds.grants.pop_expired() {
                        self.funds.current = self.funds.current.saturating_sub(lot.units);
                        self.expire(key, lot.units, date);
                    }
                }
                End::Hold(key, date) => {
                    if let Some(hold) = self.funds.holds.remove(&key) {
                        self.end_hold(&hold, date);
                    }
                }
            }
        }
    }

    fn end_hold(&mut self, hold: &AccountHold, date: Timestamp) {
        let mut lost = Drawn::new();
        self.funds.end_hold(hold, date, &mut |key, units| {
            lost.push((key, Lot { units, granted: units, at: date }));
        });
        // The balance of each entry is what it was after that one.
        let all = lost.iter().fold(0, |sum: Units, (_, lot)| sum.saturating_add(lot.units));
        self.funds.current = self.funds.current.saturating_add(all);
        for (key, lot) in lost {
            self.funds.current = self.funds.current.saturating_sub(lot.units);
            self.expire(key, lot.units, date);
        }
    }

    pub(super) fn expire(&mut self, key: SpendKey, units: Units, date: Timestamp) {
        let paid = std::iter::once((key.number, units)).collect();
        self.post(date, EntryKind::Expiry, units, Source::Time, paid);
    }

    /// Appends an entry about what has happened to the balance.
    pub(super) fn post(
        &mut self,
        at: Timestamp,
        kind: EntryKind,
        units: Units,
        source: Source,
        paid: PaidBy,
    ) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        if self.ledger.len() >= self.keeps {
            self.ledger.pop_front();
        }
        let after = self.funds.current;
        self.ledger.push_back(Entry { number, at, kind, units, after, source, paid });
        number
    }

    /// Takes what an event costs, as a [`Change::Take`] of so much does. The account has it, and
    /// was [settled](Self::settle) at this instant.
    #[inline]
    pub(crate) fn spend(&mut self, units: Units, now: Instant) {
        self.updated = self.updated.max(now.date);
        self.take(units, Drawn::new(), Source::Event(None), now.date);
    }

    /// Does a change, at an instant that the account was settled at; `event` is the number of the
    /// event that it is of. Making and removing an account is whoever's who has it.
    pub(crate) fn apply(&mut self, change: &Change, now: Instant, event: Option<u64>) {
        self.settle(now);
        self.updated = self.updated.max(now.date);
        match change {
            Change::Create { initial, .. } => {
                if *initial > 0 {
                    let description = Some(INITIAL.into());
                    let call = CallSource { description, ..CallSource::default() };
                    let source = Source::Call(Box::new(call));
                    self.credit(*initial, None, 0, source, now.date);
                }
            }
            Change::Credit { units, call, key } => {
                let source = Source::Call(Box::new(call.clone()));
                self.credit(*units, call.expires, call.priority, source, now.date);
                self.remember(key.as_deref(), now.date);
            }
            Change::Debit { units, call, key } => {
                let source = Source::Call(Box::new(call.clone()));
                self.take(*units, Drawn::new(), source, now.date);
                self.remember(key.as_deref(), now.date);
            }
            Change::Take { units } => self.take_or_give(*units, Drawn::new(), event, now.date),
            Change::Return { units, refund, event, since } => {
                self.give_back_of(*event, (*units, *refund), *since, now.date);
            }
            Change::Hold { id, until, units } => self.hold((*until, *id), *units),
            Change::Settle { id, until, used } => {
                self.settle_hold((*until, *id), *used, event, now.date);
            }
            Change::Extend { id, until, to } => {
                if let Some(hold) = self.funds.holds.remove(&(*until, *id)) {
                    self.funds.holds.insert((*to, *id), hold);
                }
            }
            Change::Remove => {}
        }
    }

    fn remember(&mut self, key: Option<&str>, at: Timestamp) {
        if let (Some(key), Some(entry)) = (key, self.ledger.back()) {
            self.keys.insert(key.into(), entry.clone());
            self.key_order.push_back((at, key.into()));
        }
    }

    fn credit(
        &mut self,
        units: Units,
        expires: Option<Timestamp>,
        priority: i32,
        source: Source,
        at: Timestamp,
    ) {
        self.funds.current = self.funds.current.saturating_add(units);
        let number = self.post(at, EntryKind::Credit, units, source, PaidBy::new());
        let expires = expires.unwrap_or(Timestamp::MAX);
        let key = SpendKey { expires, priority: std::cmp::Reverse(priority), number };
        self.funds.grants.add(key, Lot { units, granted: units, at });
        self.funds.repay();
    }

    /// Takes so much: what is held for it first, then of what is free, and the rest is owed.
    #[inline]
    fn take(&mut self, units: Units, held: Drawn, source: Source, at: Timestamp) {
        let of_first = if held.is_empty() { self.funds.grants.draw_of_first(units) } else { None };
        match of_first {
            Some(number) => {
                self.note_taken(units, source, at, PaidBy::from_buf([(number, units)]));
            }
            None => self.take_of_many(units, held, source, at),
        }
    }

    #[inline(never)]
    fn take_of_many(&mut self, units: Units, held: Drawn, source: Source, at: Timestamp) {
        let of_hold = held.iter().fold(0, |sum: Units, (_, lot)| sum.saturating_add(lot.units));
        let rest = units.saturating_sub(of_hold);
        let free = self.funds.grants.sum();
        let mut drawn = held;
        if drawn.is_empty() {
            drawn = self.funds.grants.draw(rest);
        } else {
            drawn.extend(self.funds.grants.draw(rest));
        }
        let owed = rest.saturating_sub(free).max(0);
        self.funds.debt = self.funds.debt.saturating_add(owed);
        self.note_taken(units, source, at, paid(&drawn));
    }

    fn note_taken(&mut self, units: Units, source: Source, at: Timestamp, paid: PaidBy) {
        self.funds.current = self.funds.current.saturating_sub(units);
        self.spent = self.spent.saturating_add(units);
        self.post(at, EntryKind::Debit, units, source, paid);
    }

    fn take_or_give(&mut self, units: Units, held: Drawn, event: Option<u64>, at: Timestamp) {
        if units > 0 {
            self.take(units, held, Source::Event(event), at);
        } else if units < 0 {
            self.refund(units.saturating_neg(), event, at);
        }
    }

    /// Gives back what an event says: to the last grant that does not expire, so that their number
    /// does not grow with the events.
    pub(super) fn refund(&mut self, units: Units, event: Option<u64>, at: Timestamp) {
        self.spent = self.spent.saturating_sub(units);
        match self.funds.grants.last_lasting() {
            Some((key, lot)) => {
                self.funds.current = self.funds.current.saturating_add(units);
                let source = Source::Event(event);
                self.post(at, EntryKind::Credit, units, source, PaidBy::new());
                self.funds.grants.add(key, Lot { units, ..lot });
                self.funds.repay();
            }
            None => self.credit(units, None, 0, Source::Event(event), at),
        }
    }

    fn hold(&mut self, key: (u64, u64), units: Units) {
        let free = self.funds.grants.sum();
        let drawn = self.funds.grants.draw(units);
        let uncovered = units.saturating_sub(free).max(0);
        self.funds.grants.hold(&drawn);
        self.funds.held = self.funds.held.saturating_add(units);
        self.funds.uncovered = self.funds.uncovered.saturating_add(uncovered);
        let hold = self.funds.holds.entry(key).or_default();
        hold.drawn.extend(drawn);
        hold.uncovered = hold.uncovered.saturating_add(uncovered);
    }

    /// Ends a hold of which so much was used, if it is there: its grants pay first, in their order.
    fn settle_hold(&mut self, key: (u64, u64), used: Units, event: Option<u64>, at: Timestamp) {
        let Some(mut hold) = self.funds.holds.remove(&key) else {
            return self.take_or_give(used, Drawn::new(), event, at);
        };
        let mut paying = Drawn::new();
        let mut rest = used.max(0);
        for (key, lot) in &mut hold.drawn {
            let units = lot.units.min(rest);
            if units > 0 {
                paying.push((*key, Lot { units, ..*lot }));
                lot.units = lot.units.saturating_sub(units);
                rest = rest.saturating_sub(units);
            }
        }
        let of_hold = used.max(0).saturating_sub(rest);
        self.funds.held = self.funds.held.saturating_sub(of_hold);
        self.funds.grants.unhold(&paying);
        hold.drawn.retain(|(_, lot)| lot.units > 0);
        // What goes back is free for what was used beyond the hold.
        if used < 0 {
            self.end_hold(&hold, at);
            self.take_or_give(used, Drawn::new(), event, at);
        } else {
            let (uncovered, drawn) = (hold.uncovered, std::mem::take(&mut hold.drawn));
            self.funds.held = self.funds.held.saturating_sub(uncovered);
            self.funds.uncovered = self.funds.uncovered.saturating_sub(uncovered);
            self.take_or_give(used, paying, event, at);
            self.end_hold(&AccountHold { drawn, uncovered: 0 }, at);
        }
    }

    /// The entry of the newest change of this account was about the event of a number.
    pub(crate) fn name_events(&mut self, from: u64, event: u64) {
        for entry in self.ledger.iter_mut().rev().take_while(|entry| entry.number >= from) {
            if let Source::Event(of @ None) = &mut entry.source {
                *of = Some(event);
            }
        }
    }

    /// The entry of the latest credit of a call after which the balance was above an amount, of
    /// those that are kept.
    pub(crate) fn last_raised_above(&self, units: Units) -> Option<u64> {
        let is_one = |entry: &&Entry| {
            entry.kind == EntryKind::Credit
                && matches!(entry.source, Source::Call(_))
                && entry.after > units
        };
        self.ledger.iter().rev().find(is_one).map(|entry| entry.number)
    }

    /// The number of the next entry.
    pub(crate) fn next_entry(&self) -> u64 {
        self.next
    }

    /// What can be spent from an instant on: each instant at which that changes, with what it is
    /// then, as far as it lies between two bounds, at one of which it is told where it is beyond.
    pub(crate) fn available_ahead(
        &self,
        (least, most): (Units, Units),
        now: Instant,
    ) -> Vec<(u64, Units)> {
        let said_of = |funds: &Funds| funds.available().min(most).max(least);
        let mut said = vec![(now.line, said_of(&self.funds))];
        // Without holds what is left only falls.
        let is_last = |funds: &Funds, units| funds.holds.is_empty() && units <= least;
        if is_last(&self.funds, said_of(&self.funds)) {
            return said;
        }
        let mut funds = self.funds.clone();
        while let Some(end) =
            funds.next_end(Instant { line: u64::MAX, date: now.date_of(u64::MAX) })
        {
            let date = match end {
                End::Grant(date) => {
                    if let Some((_, lot)) = funds.grants.pop_expired() {
                        funds.current = funds.current.saturating_sub(lot.units);
                    }
                    date
                }
                End::Hold(key, date) => {
                    if let Some(hold) = funds.holds.remove(&key) {
                        funds.end_hold(&hold, date, &mut |_, _| {});
                    }
                    date
                }
            };
            let line = date.unix_nanos().saturating_sub(now.date.unix_nanos());
            let line = i128::from(now.line).saturating_add(line);
            let (line, units) = (u64::try_from(line).unwrap_or(u64::MAX), said_of(&funds));
            if let Some((at, last)) = said.last_mut() {
                if *at == line {
                    *last = units;
                } else if *last != units {
                    said.push((line, units));
                }
            }
            if is_last(&funds, units) {
                break;
            }
        }
        said
    }

    #[cfg(test)]
    pub(crate) fn is_sound(&self) -> bool {
        let funds = &self.funds;
        let free = funds.grants.free().fold(0, |sum: Units, (_, lot)| sum + lot.units);
        let holds = || funds.holds.values();
        let drawn = holds().flat_map(|hold| &hold.drawn);
        let drawn = drawn.fold(0, |sum: Units, (_, lot)| sum + lot.units);
        free == funds.grants.sum()
            && funds.held == holds().map(AccountHold::units).sum::<Units>()
            && funds.uncovered == holds().map(|hold| hold.uncovered).sum::<Units>()
            && funds.current == free + drawn - funds.debt
            && (funds.debt == 0 || free == 0)
    }
}
