//! Accounts: what decisions and calls do to the balances that rules go by.
//!
//! An account lies in the shard of its name and its owner, so that every rule that goes by it, and
//! every call about it, locks the same shard. A rule that goes by a balance has the account's
//! address for a row, and no counter in it: judging is asking the account, less what the rules
//! before it are about to take, and writing is one change of it for all of them. Rules that refuse
//! nobody are asked after all that may, so that these answer as without them. Both are done
//! under the locks of the whole decision, so that credits are taken all or nothing with the limits.
//!
//! What has ended by the instant of a script, grants and holds, is ended first, whoever comes.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::Table;
use super::charge::{Charge, Counts, UseSource};
use super::hold::{Settling, Step, Touched, put_account};
use super::judge::Script;
use super::locked::{Locked, Rows};
use super::request::Verdict;
use super::shard::Shard;
use super::shard::accounts::AccountKey;
use crate::balances::{Account, Available, Change, Instant, Terms};
use crate::base::codec::{Codec, Malformed, Reader, put_text};
use crate::counters::algorithms::periods::{FundsAhead, UseAhead};
use crate::counters::algorithms::{BalanceState, Reading};
use crate::counters::counter::Counter;
use crate::counters::time::{At, Moment};
use crate::rules::{Cost, Enforcement, Units};

/// The group of the addresses of accounts, whose values are the name and the owner.
pub(crate) const ACCOUNTS: u32 = u32::MAX.wrapping_sub(1);
/// What an account is counted in that a rule opens.
const UNIT: &str = "credits";

/// What a decision takes of accounts, by their rows: each rule sees those before it.
type Pending = SmallVec<[(u32, Units); 2]>;

/// With what accounts would be opened that are not there, by their rows.
type Openings = SmallVec<[(u32, Units); 2]>;

/// The accounts that a decision changes: their rows, and the numbers of their next entries before.
type Taken = SmallVec<[(u32, u64); 2]>;

fn pending_of(pending: &Pending, row: u32) -> Units {
    pending.iter().find(|(of, _)| *of == row).map_or(0, |(_, units)| *units)
}

fn add(pending: &mut Pending, row: u32, units: Units) {
    match pending.iter_mut().find(|(of, _)| *of == row) {
        Some((_, sum)) => *sum = sum.saturating_add(units),
        None => pending.push((row, units)),
    }
}

impl Table {
    /// The instant of a decision, as accounts know it.
    pub(super) fn instant(&self, at: &At) -> Instant {
        Instant { line: at.now.0, date: self.timeline.timestamp(at.now) }
    }

    /// Counts an account that is about to be made; `false` where there is no room for one more.
    fn reserve_account(&self) -> bool {
        let most = self.max_rows;
        let more = |accounts: u64| (accounts < most).then(|| accounts.saturating_add(1));
        let order = Ordering::Relaxed;
        self.accounts.fetch_update(order, order, more).is_ok()
    }

    fn has_room_for_account(&self) -> bool {
        self.accounts.load(Ordering::Relaxed) < self.max_rows
    }

    /// Locks the shard of an account, and ends what has ended of it.
    pub(crate) fn account_step<'t>(
        &'t self,
        key: AccountKey<'t>,
        now: Moment,
    ) -> Option<AccountStep<'t>> {
        let mut shard = self.shard(key.hash)?.lock();
        let now = shard.not_before(now);
        shard.advance(now);
        let at = self.timeline.at(now, None);
        let instant = self.instant(&at);
        if let Some(account) = shard.account_mut(key) {
            account.settle(instant);
        }
        Some(AccountStep { table: self, shard, key, at, instant })
    }

    /// Goes over all accounts, a shard at a time under its lock, each as it stands.
    pub(crate) fn each_account(
        &self,
        now: Moment,
        mut visit: impl FnMut(AccountKey<'_>, &Account),
    ) {
        for shard in self.shards() {
            let mut shard = shard.lock();
            if !shard.has_accounts() {
                continue;
            }
            let now = shard.not_before(now);
            shard.advance(now);
            let instant = self.instant(&self.timeline.at(now, None));
            for owned in shard.accounts_mut() {
                owned.account.settle(instant);
                visit(owned.key(), &owned.account);
            }
        }
    }
}

/// What is kept of accounts, and done again.
impl Table {
    /// Does again what a record did to an account, unless a copy of it has that already.
    pub(super) fn redo_account(
        &self,
        key: AccountKey<'_>,
        (seq, event): (u64, Option<u64>),
        now: Instant,
        change: &Change,
    ) {
        let Some(shard) = self.shard(key.hash) else { return };
        let mut shard = shard.lock();
        if *change == Change::Remove {
            // Also where another account has come since: what fired for this one may be in a copy
            // that is older than that of the other.
            shard.forget_fired_of(key);
        }
        if shard.account(key).is_some_and(|account| account.position > seq) {
            return;
        }
        match change {
            Change::Create { terms, .. } => {
                let is_new = shard.take_account(key).is_none();
                self.accounts.fetch_add(u64::from(is_new), Ordering::Relaxed);
                shard.put_account(key, Account::new(key.number(), terms, self.entries, now));
            }
            Change::Remove => {
                let is_gone = shard.take_account(key).is_some();
                self.accounts.fetch_sub(u64::from(is_gone), Ordering::Relaxed);
            }
            _ => {}
        }
        if let Some(account) = shard.account_mut(key) {
            account.apply(change, now, event);
        }
    }

    /// Appends the accounts of a shard, under its lock, where `position` is asked: the copy has the
    /// effects of the records before it. Nothing is appended where there are none.
    pub(crate) fn copy_accounts(
        &self,
        shard: usize,
        position: impl FnOnce() -> u64,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let shard = self.shards().nth(shard)?.lock();
        for owned in shard.accounts() {
            let AccountKey { name, owner, .. } = owned.key();
            put_text(out, name);
            put_text(out, owner);
            owned.account.encode(out);
        }
        Some(position())
    }

    /// Adds the accounts of a copy of a position; `hash` is the one that they are found by.
    pub(crate) fn load_accounts(
        &self,
        position: u64,
        mut from: Reader<'_>,
        hash: impl Fn(&str, &str) -> u64,
    ) -> Result<(), Malformed> {
        while !from.is_at_end() {
            let (name, owner) = (from.text()?, from.text()?);
            let mut account = Account::decode(&mut from)?.keeping(self.entries);
            account.position = position;
            let key = AccountKey { hash: hash(name, owner), name, owner };
            let shard = self.shard(key.hash).ok_or_else(|| from.malformed("an account"))?;
            let mut shard = shard.lock();
            from.require(shard.account(key).is_none(), "an account that is there once")?;
            shard.put_account(key, account);
            self.accounts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// One account, behind the lock of its shard.
pub(crate) struct AccountStep<'t> {
    table: &'t Table,
    shard: MutexGuard<'t, Shard>,
    key: AccountKey<'t>,
    pub(crate) at: At,
    pub(crate) instant: Instant,
}

impl AccountStep<'_> {
    pub(crate) fn account(&self) -> Option<&Account> {
        self.shard.account(self.key)
    }

    pub(crate) fn account_mut(&mut self) -> Option<&mut Account> {
        self.shard.account_mut(self.key)
    }

    /// Does a change of an account that is there, and returns it as the journal keeps it.
    pub(crate) fn apply(&mut self, change: &Change) -> Vec<u8> {
        let (key, instant, mut rows) = (self.key, self.instant, Vec::new());
        if *change == Change::Remove {
            let is_gone = self.shard.take_account(key).is_some();
            self.shard.forget_fired_of(key);
            self.table.accounts.fetch_sub(u64::from(is_gone), Ordering::Relaxed);
        } else if let Some(account) = self.shard.account_mut(key) {
            account.apply(change, instant, None);
        }
        if self.table.given_back_log().is_some() {
            put_account(key, std::iter::once((instant, change)), &mut rows);
        }
        rows
    }

    /// Makes the account; `false`, and nothing done, where there is no room for one more.
    pub(crate) fn create(&mut self, terms: &Terms) -> bool {
        let keeps = self.table.entries;
        let is_made = self.table.reserve_account();
        if is_made {
            let account = Account::new(self.key.number(), terms, keeps, self.instant);
            self.shard.put_account(self.key, account);
        }
        is_made
    }
}

impl Script<'_, '_> {
    fn instant(&self) -> Instant {
        self.table.instant(&self.at)
    }

    /// Ends what has ended of the accounts of locked rows.
    pub(super) fn settle_accounts(&self, locked: &mut Rows<'_, '_>) {
        for row in (0_u32..).take(locked.len()) {
            if let Some(account) = locked.account_mut(row) {
                account.settle(self.instant());
            }
        }
    }

    /// The places of the charges of rules that go by balances, in the order of their definition:
    /// charges lie by their rows, and rules of one account may have several of its address.
    fn of_balances(&self, charges: &[Charge]) -> SmallVec<[usize; 2]> {
        let is_one = |charge: &Charge| {
            self.counter(charge).is_some_and(|counter| counter.policy.balance().is_some())
        };
        let all = charges.iter().enumerate().filter(|(_, charge)| is_one(charge));
        let mut places: SmallVec<[(u32, usize); 2]> =
            all.map(|(place, charge)| (charge.rule, place)).collect();
        places.sort_unstable();
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// With what the accounts that are not there would be opened: with what the first rule that
    /// judges by it states.
    fn openings(&self, charges: &[Charge], locked: &dyn Locked) -> Openings {
        let mut openings = Openings::new();
        let in_order = self.of_balances(charges);
        let in_order = in_order.iter().filter_map(|place| charges.get(*place));
        for charge in in_order.filter(|charge| charge.judges()) {
            let opening = self.counter(charge).and_then(|it| it.policy.balance()?.opening());
            let Some(units) = opening else { continue };
            let row = locked.account_row(charge.row);
            let is_known = openings.iter().any(|(of, _)| *of == row);
            if !is_known && locked.account(row).is_none() && self.table.has_room_for_account() {
                openings.push((row, units));
            }
        }
        openings
    }

    /// What an account says, or would say if it were opened.
    fn said(row: u32, locked: &dyn Locked, openings: &Openings) -> Option<Available> {
        if let Some(account) = locked.account(row) {
            return Some(account.available());
        }
        let opening = openings.iter().find(|(of, _)| *of == row);
        opening.map(|(_, units)| Available::opened(*units))
    }

    /// Judges by accounts, each charge less what the decision takes of its account for those
    /// before; those come last that refuse nobody. Returns whether none refuses.
    pub(super) fn judge_balances(&self, charges: &mut [Charge], locked: &dyn Locked) -> bool {
        let openings = self.openings(charges, locked);
        let (mut pending, mut passes) = (Pending::new(), true);
        let in_order = self.of_balances(charges);
        for is_hard in [true, false] {
            for place in &in_order {
                let Some(charge) = charges.get_mut(*place) else { continue };
                let Some(counter) = self.counter(charge) else { continue };
                let Some(balance) = counter.policy.balance() else { continue };
                if (counter.enforcement == Enforcement::Hard) != is_hard {
                    continue;
                }
                let row = locked.account_row(charge.row);
                // An owner without an account is refused by a rule that states no amount.
                let is_there = locked.account(row).is_some() || balance.opening().is_some();
                let said = Self::said(row, locked, &openings).filter(|_| is_there);
                // One that may judge later would open it itself then.
                let own = balance.opening().filter(|_| !charge.judges());
                let said = said.or_else(|| own.map(Available::opened));
                let (cost, before) = (charge.cost(), pending_of(&pending, row));
                let costs = cost.counts && cost.units > 0;
                let all = before.saturating_add(cost.units);
                charge.fits = !costs || said.is_some_and(|said| all <= said.units);
                (charge.source, charge.cell) = (UseSource::Cell, None);
                charge.reading = reading(said);
                if takes(charge, counter) {
                    add(&mut pending, row, cost.units);
                }
                passes &= charge.fits || !is_hard || !charge.judges();
            }
        }
        passes
    }

    /// Moves the readings of balances to what they would be after the event.
    pub(super) fn show_balances(&self, charges: &mut [Charge], locked: &dyn Locked) {
        let (taken, openings) =
            (self.taken(charges, locked, Charge::cost), self.openings(charges, locked));
        for charge in charges {
            if self.counter(charge).is_none_or(|it| it.policy.balance().is_none()) {
                continue;
            }
            let row = locked.account_row(charge.row);
            let units = pending_of(&taken, row);
            // One that would not be opened stays as it was judged.
            if units == 0 && locked.account(row).is_none() {
                continue;
            }
            if let Some(said) = Self::said(row, locked, &openings) {
                let used = said.used.saturating_add(units);
                let units = said.units.saturating_sub(units);
                charge.reading = reading(Some(Available { units, used, ..said }));
            }
        }
    }

    /// What charges take of accounts, all together.
    fn taken(
        &self,
        charges: &[Charge],
        locked: &dyn Locked,
        cost: impl Fn(&Charge) -> Cost,
    ) -> Pending {
        let mut taken = Pending::new();
        for charge in charges {
            let Some(counter) = self.counter(charge) else { continue };
            let cost = cost(charge);
            if counter.policy.balance().is_none() || !cost.counts || !charge.judges() {
                continue;
            }
            // Of a commit beyond its hold a rule in shadow takes what was held.
            let beyond = if lets_in(charge, counter) { 0 } else { charge.cost().units };
            let units = cost.units.saturating_sub(beyond);
            add(&mut taken, locked.account_row(charge.row), units);
        }
        taken
    }

    /// Takes what a reservation holds of accounts off what its commit costs their rules.
    pub(super) fn take_off_balances(
        &self,
        settling: &mut Settling<'_>,
        charges: &mut [Charge],
        locked: &Rows<'_, '_>,
    ) {
        let (openings, mut used) = (self.openings(charges, locked), Pending::new());
        let key = (settling.until.0, settling.id);
        for place in self.of_balances(charges) {
            let Some(charge) = charges.get_mut(place) else { continue };
            // One that does not judge takes nothing.
            let of_rule = |(rule, full): &&(u32, Cost)| {
                *rule == charge.rule && full.units > 0 && charge.judges()
            };
            let Some((_, full)) = settling.costs.iter().find(of_rule).copied() else { continue };
            let row = locked.account_row(charge.row);
            let said = Self::said(row, locked, &openings);
            let held = locked.account(row).and_then(|account| account.held_by(key)).unwrap_or(0);
            let left = held.saturating_sub(pending_of(&used, row)).max(0);
            let units = full.units.saturating_sub(left).max(0);
            settling.is_overrun |= units > 0 && said.is_some() && !settling.has_expired;
            charge.costs(Cost { units, counts: units > 0 });
            add(&mut used, row, full.units);
        }
    }

    /// Changes the accounts that the decision is about, each once.
    pub(super) fn change_accounts(
        &self,
        step: &mut Step<'_, '_>,
        charges: &mut [Charge],
        locked: &mut Rows<'_, '_>,
        touched: &mut Touched,
    ) -> Taken {
        let mut changed = Taken::new();
        let taken = match step {
            Step::Settle(settling, _) => self.taken(charges, locked, |charge| {
                let full = settling.costs.iter().find(|(rule, _)| *rule == charge.rule);
                full.map_or(charge.cost(), |(_, full)| *full)
            }),
            _ => self.taken(charges, locked, Charge::cost),
        };
        let cost = match step {
            Step::Correct(correcting, _) => {
                self.taken(charges, locked, |charge| correcting.before(charge.rule))
            }
            _ => Pending::new(),
        };
        for row in (0_u32..).take(locked.len()) {
            if locked.account_key(row).is_none() || locked.account_row(row) != row {
                continue;
            }
            let units = (pending_of(&taken, row), pending_of(&cost, row));
            let change = Self::change(step, units, locked.account(row));
            let Some(change) = change else { continue };
            if locked.account(row).is_none() && !self.open(row, charges, locked, touched) {
                continue;
            }
            let instant = self.instant();
            if let Some(account) = locked.account_mut(row) {
                changed.push((row, account.next_entry()));
                account.apply(&change, instant, None);
            }
            if let (Step::Hold(holding, _), Change::Hold { units, .. }) = (&mut *step, &change) {
                holding.held.add(locked, row, ACCOUNT, *units);
            }
            touched.account(row, instant, change);
        }
        self.read_accounts(charges, locked);
        changed
    }

    /// What a step does to an account of which so much is taken; where that corrects an event, what
    /// it had cost is `cost`.
    fn change(
        step: &Step<'_, '_>,
        (units, cost): (Units, Units),
        account: Option<&Account>,
    ) -> Option<Change> {
        let holds = |key| account.is_some_and(|account| account.held_by(key).is_some());
        match step {
            // Accounts are credited and debited by calls of their own.
            Step::Adjust(..) => None,
            Step::Correct(correcting, _) if units < 0 => {
                let (event, since) = (correcting.event, correcting.taken_at);
                // What it gives from now on, and did not give before, was never taken.
                let gives = |cost: Units| cost.min(0).saturating_neg();
                let refund = gives(cost.saturating_add(units)).saturating_sub(gives(cost));
                let units = units.saturating_neg().saturating_sub(refund);
                Some(Change::Return { units, refund, event, since })
            }
            Step::Record(_) | Step::Correct(..) => (units != 0).then_some(Change::Take { units }),
            Step::Hold(holding, _) => {
                let (id, until) = (holding.id, holding.until.0);
                (units > 0).then_some(Change::Hold { id, until, units })
            }
            Step::Settle(settling, _) => {
                let (id, until) = (settling.id, settling.until.0);
                let is_it = units != 0 || holds((until, id));
                is_it.then_some(Change::Settle { id, until, used: units })
            }
            Step::Extend(extension, _) => {
                let (id, until) = (extension.id, extension.until.0);
                let to = extension.extended.filter(|_| holds((until, id)))?.0;
                Some(Change::Extend { id, until, to })
            }
        }
    }

    /// Opens an account that a rule has an opening amount for; `false` where none has, or there is
    /// no room for it.
    fn open(
        &self,
        row: u32,
        charges: &[Charge],
        locked: &mut Rows<'_, '_>,
        touched: &mut Touched,
    ) -> bool {
        let openings = self.openings(charges, locked);
        let initial = openings.iter().find(|(of, _)| *of == row).map(|(_, units)| *units);
        let Some(initial) = initial.filter(|_| self.table.reserve_account()) else {
            return false;
        };
        let terms = Terms { unit: UNIT.into(), minimum: 0 };
        let instant = self.instant();
        locked.open_account(row, &terms, self.table.entries, instant);
        let change = Change::Create { terms, initial };
        if let Some(account) = locked.account_mut(row) {
            account.apply(&change, instant, None);
        }
        touched.account(row, instant, change);
        true
    }

    /// Moves the readings of balances to what their accounts say now.
    fn read_accounts(&self, charges: &mut [Charge], locked: &Rows<'_, '_>) {
        for charge in charges {
            let Some(counter) = self.counter(charge) else { continue };
            if counter.policy.balance().is_none() {
                continue;
            }
            if let Some(account) = locked.account(locked.account_row(charge.row)) {
                if takes(charge, counter) {
                    charge.counts = Counts::Written;
                }
                charge.reading = reading(Some(account.available()));
            }
        }
    }

    /// Names the event of what was taken for it.
    pub(super) fn name_events(taken: &Taken, event: Option<u64>, locked: &mut Rows<'_, '_>) {
        for (row, from) in taken {
            if let (Some(event), Some(account)) = (event, locked.account_mut(*row)) {
                account.name_events(*from, event);
            }
        }
    }

    /// Says how much is held of accounts, and of a refused event what can be spent of them when.
    pub(super) fn say_accounts(&self, verdict: &mut Verdict, locked: &Rows<'_, '_>) {
        let Verdict { allowed, charges, ahead, held: said, .. } = verdict;
        let later = self.request.counters.roles().is_some();
        let now = self.instant();
        for charge in charges.iter().filter(|charge| later || charge.judges()) {
            let Some(counter) = self.counter(charge) else { continue };
            let Some(balance) = counter.policy.balance() else { continue };
            let account = locked.account_row(charge.row);
            let known = locked.account(account);
            let held = known.map_or(0, |account| account.available().held);
            if held > 0 {
                said.push((charge.rule, held));
            }
            if *allowed {
                continue;
            }
            // What all take of it together, or give back, bounds what any of them asks.
            let of_account = charges.iter().filter(|it| locked.account_row(it.row) == account);
            let bounds = of_account.fold((0, 0), |(least, most): (Units, Units), charge| {
                let units = charge.cost().units;
                (least.saturating_add(units.min(0)), most.saturating_add(units.max(0)))
            });
            let available = known.map(|known| known.available_ahead(bounds, now));
            let available = available.into_iter().flatten().map(|(at, it)| (Moment(at), it));
            let (available, opening) = (available.collect(), balance.opening());
            let opening = opening.filter(|_| self.table.has_room_for_account());
            let funds = Some(Box::new(FundsAhead { account, available, opening }));
            ahead.push((charge.rule, UseAhead { funds, ..UseAhead::default() }));
        }
    }
}

/// The lineage by which a reservation notes what it holds of an account.
const ACCOUNT: u32 = 0;

pub(super) fn reading(said: Option<Available>) -> Reading {
    let none = Available { units: 0, used: 0, held: 0 };
    let Available { units, used, .. } = said.unwrap_or(none);
    Reading::of_balance(BalanceState { used, available: units })
}

/// Whether a rule takes of its balance where the event is let in. One that does not judge takes
/// nothing: another rule of its policy stands in for it.
fn lets_in(charge: &Charge, counter: &Counter) -> bool {
    charge.judges() && (charge.fits || counter.enforcement != Enforcement::Shadow)
}

/// The same, and the event costs it something.
fn takes(charge: &Charge, counter: &Counter) -> bool {
    charge.counts != Counts::No && lets_in(charge, counter)
}
