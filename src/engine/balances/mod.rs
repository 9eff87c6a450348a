//! The balances of an engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::time::ClockReading;
use super::{Core, Engine, TrackError};
use crate::balances::{
    Account, Balance, BalanceCheck, BalanceCursor, BalanceEntry, BalancePage, BalanceQuery,
    CallSource, Change, Credit, Debit, Debited, Entry, EntryId, EntryKind, Grant, LedgerPage,
    LedgerQuery, MAX_BALANCE, MAX_GRANTS, NewBalance, PaidBy, Posting, Problem, Source, asked,
};
use crate::base::amount::{Amount, IntoAmount};
use crate::base::clock::Timestamp;
use crate::base::text::excerpt;
use crate::compiled::row_hash;
use crate::counters::{ACCOUNTS, AccountKey, AccountStep};
use crate::journal::store::StoreError;
use crate::rules::Units;

/// Why a call about a balance could not answer. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BalanceError {
    /// A field breaks its rule.
    #[error("{field}: {value:?} {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The value, cut short where it is long.
        value: Box<str>,
        /// The rule that it breaks.
        rule: Box<str>,
    },
    /// There is no such balance.
    #[error("balance {name:?} of {owner:?} is not there")]
    NotFound {
        /// The owner that was given.
        owner: Box<str>,
        /// The name that was given.
        name: Box<str>,
    },
    /// The owner has a balance of this name already.
    #[error("balance {name:?} of {owner:?} is there already")]
    Exists {
        /// The owner that was given.
        owner: Box<str>,
        /// The name that was given.
        name: Box<str>,
    },
    /// The idempotency key was used for another credit or debit of the balance.
    #[error(
        "idempotencyKey: {key:?} was used for {first}, which is not the same: another kind, \
         amount, description, reference, expiry or priority"
    )]
    Conflict {
        /// The key.
        key: Box<str>,
        /// The entry that it was used for.
        first: EntryId,
    },
    /// There is no room for what was to be added.
    #[error("balance {name:?} of {owner:?}: {reason}")]
    Full {
        /// The owner that was given.
        owner: Box<str>,
        /// The name that was given.
        name: Box<str>,
        /// Which bound it would pass.
        reason: Box<str>,
    },
    /// The store takes nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Problem> for BalanceError {
    fn from(Problem { field, value, rule }: Problem) -> Self {
        Self::Invalid { field, value, rule }
    }
}

/// The prepaid balances of an engine: [`Engine::balances`].
///
/// A balance is an owner's, under a name, and is what its ledger sums up to. What comes in is a
/// *grant* each, with an expiry and a priority if it has them; what is spent takes from the grants
/// that expire soonest first, of those from the highest priority, of those from the oldest. A grant
/// is worth nothing at the nanosecond at which it expires, and nothing has to run for that. See
/// [`Quota::balance`](crate::Quota::balance) for what events take.
///
/// With a store all of it is kept in there, each change as soon as its call returns, as with
/// events. Of a ledger the newest [`LEDGER_ENTRIES`](crate::balances::LEDGER_ENTRIES) are kept, in
/// memory and in the store; an account has at most [`MAX_GRANTS`](crate::balances::MAX_GRANTS)
/// grants with something left, and an engine at most [`max_keys`](crate::EngineBuilder::max_keys)
/// accounts.
///
/// ```
/// use limitry::Engine;
/// use limitry::balances::{Credit, Debit, NewBalance};
///
/// let engine = Engine::builder().build()?;
/// let balances = engine.balances();
/// balances.create(&NewBalance::new("cust_123", "credits").initial(1_000).minimum(-500))?;
/// balances.credit("cust_123", "credits", &Credit::new(250).reference("inv_7"))?;
/// assert!(balances.debit("cust_123", "credits", &Debit::new(1_750))?.is_posted());
/// assert!(!balances.debit("cust_123", "credits", &Debit::new(1))?.is_posted());
/// let balance = balances.get("cust_123", "credits")?;
/// assert_eq!((balance.current_balance, balance.available_balance), ((-500).into(), 0.into()));
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Balances {
    core: Arc<Core>,
}

impl Engine {
    /// Returns the prepaid balances.
    #[must_use]
    pub fn balances(&self) -> Balances {
        Balances { core: Arc::clone(&self.core) }
    }
}

impl Balances {
    /// Makes a balance, and returns it. O(1).
    ///
    /// # Errors
    /// A field breaks its rule; the owner has one of this name; there is no room for another one;
    /// the store takes nothing.
    pub fn create(&self, balance: &NewBalance) -> Result<Balance, BalanceError> {
        let change = balance.change()?;
        let core = &*self.core;
        core.change_balance(balance.owner(), balance.name(), |step, keep| {
            let (owner, name) = (balance.owner(), balance.name());
            if step.account().is_some() {
                return Err(exists(owner, name));
            }
            let Change::Create { terms, .. } = &change else { return Err(exists(owner, name)) };
            if !step.create(terms) {
                let reason = "the engine has as many balances as it may have keys";
                return Err(full(owner, name, reason));
            }
            keep(step, change);
            let account = step.account();
            account.map_or_else(|| Err(not_found(owner, name)), |it| Ok(view(owner, name, it)))
        })
    }

    /// Removes a balance with its grants, its ledger and its keys, and returns it as it stood. What
    /// open reservations hold of it is gone with it: their commits take from the one that is there
    /// then, if one is. O(1).
    ///
    /// # Errors
    /// There is no such balance; the store takes nothing.
    pub fn remove(&self, owner: &str, name: &str) -> Result<Balance, BalanceError> {
        self.core.change_balance(owner, name, |step, keep| {
            let account = step.account().ok_or_else(|| not_found(owner, name))?;
            let balance = view(owner, name, account);
            keep(step, Change::Remove);
            Ok(balance)
        })
    }

    /// Adds an amount, as a grant. Debt is paid from it first. O(log grants).
    ///
    /// # Errors
    /// A field breaks its rule; there is no such balance; the idempotency key was used for another
    /// call; there are too many grants, or too much; the store takes nothing.
    pub fn credit(
        &self,
        owner: &str,
        name: &str,
        credit: &Credit,
    ) -> Result<Posting, BalanceError> {
        let (units, call) = credit.change()?;
        let (kind, key) = (EntryKind::Credit, credit.key());
        let asked = Asked { owner, name, kind, units, call, key };
        let posted = self.core.post(&asked, |account, now| {
            if let Some(problem) = credit.too_late(now) {
                return Err(problem.into());
            }
            if !account.has_room() {
                let reason = format!("it has {MAX_GRANTS} grants with something left, the most");
                return Err(full(owner, name, &reason));
            }
            if account.current().saturating_add(units) > MAX_BALANCE.millionths() {
                return Err(full(owner, name, &format!("it would be above {MAX_BALANCE}")));
            }
            Ok(true)
        })?;
        match posted {
            Debited::Posted(posting) => Ok(posting),
            Debited::Insufficient(_) => Err(not_found(owner, name)),
        }
    }

    /// Takes an amount, if so much is available, and nothing otherwise. O(log grants), and O(1) for
    /// each grant that it uses up.
    ///
    /// # Errors
    /// A field breaks its rule; there is no such balance; the idempotency key was used for another
    /// call; the store takes nothing. Too little is not an error.
    pub fn debit(&self, owner: &str, name: &str, debit: &Debit) -> Result<Debited, BalanceError> {
        let (units, call) = debit.change()?;
        let (kind, key) = (EntryKind::Debit, debit.key());
        let asked = Asked { owner, name, kind, units, call, key };
        self.core.post(&asked, |account, _| Ok(units <= account.available().units))
    }

    /// Returns whether an amount, more than 0, is available; takes nothing. O(1).
    ///
    /// # Errors
    /// The amount breaks its rule; there is no such balance.
    pub fn check(
        &self,
        owner: &str,
        name: &str,
        amount: impl IntoAmount,
    ) -> Result<BalanceCheck, BalanceError> {
        let units = asked(amount)?;
        self.core.read_balance(owner, name, |account| check(owner, name, account, units))
    }

    /// Returns a balance as it stands. O(1).
    ///
    /// # Errors
    /// There is no such balance.
    pub fn get(&self, owner: &str, name: &str) -> Result<Balance, BalanceError> {
        self.core.read_balance(owner, name, |account| view(owner, name, account))
    }

    /// Returns the grants of a balance of which something is left, in the order in which they are
    /// spent. O(grants).
    ///
    /// # Errors
    /// There is no such balance.
    pub fn grants(&self, owner: &str, name: &str) -> Result<Vec<Grant>, BalanceError> {
        self.core.read_balance(owner, name, Account::grants)
    }

    /// Returns a page of a balance's ledger, the newest entries first. O(kept entries).
    ///
    /// # Errors
    /// There is no such balance.
    pub fn ledger(
        &self,
        owner: &str,
        name: &str,
        query: &LedgerQuery,
    ) -> Result<LedgerPage, BalanceError> {
        self.core.read_balance(owner, name, |account| {
            let before = query.before.map(|id| account.number_of(id).unwrap_or(0));
            let mut wanted =
                account.entries().filter(|entry| before.is_none_or(|before| entry.number < before));
            let most = query.most();
            let transactions: Vec<BalanceEntry> = wanted
                .by_ref()
                .take(most)
                .map(|entry| self.core.entry_view(account, entry))
                .collect();
            let next = transactions.last().map(|last| last.id).filter(|_| wanted.next().is_some());
            LedgerPage { transactions, next }
        })
    }

    /// Returns a page of balances, by owner and name; each is as it stands when it is looked at.
    /// O(balances).
    #[must_use]
    pub fn list(&self, query: &BalanceQuery) -> BalancePage {
        let (core, most) = (&*self.core, query.most());
        let mut found: BTreeMap<(Box<str>, Box<str>), Balance> = BTreeMap::new();
        core.table.each_account(core.read_clock().moment, |key, account| {
            let place = (key.owner, key.name);
            let is_beyond = || {
                let last = found.last_key_value();
                last.is_some_and(|((owner, name), _)| (&**owner, &**name) < place)
            };
            if query.wants(key.owner, key.name) && !(found.len() > most && is_beyond()) {
                let balance = view(key.owner, key.name, account);
                found.insert((key.owner.into(), key.name.into()), balance);
                if found.len() > most.saturating_add(1) {
                    found.pop_last();
                }
            }
        });
        let more = found.len() > most;
        let balances: Vec<Balance> = found.into_values().take(most).collect();
        let next = balances
            .last()
            .filter(|_| more)
            .map(|last| BalanceCursor { owner: last.owner.clone(), name: last.name.clone() });
        BalancePage { balances, next }
    }
}

/// What a credit or a debit asks for.
struct Asked<'a> {
    owner: &'a str,
    name: &'a str,
    kind: EntryKind,
    units: Units,
    call: CallSource,
    key: Option<&'a str>,
}

impl Core {
    /// The hash by which the shard of an account is found: that of its address in a decision.
    fn account_key<'k>(&self, owner: &'k str, name: &'k str) -> AccountKey<'k> {
        let hash = row_hash(&self.hasher, ACCOUNTS, &[name, owner]);
        AccountKey { hash, name, owner }
    }

    fn read_balance<T>(
        &self,
        owner: &str,
        name: &str,
        read: impl FnOnce(&Account) -> T,
    ) -> Result<T, BalanceError> {
        let now = self.read_clock().moment;
        let step = self.table.account_step(self.account_key(owner, name), now);
        let account = step.as_ref().and_then(AccountStep::account);
        account.map(read).ok_or_else(|| not_found(owner, name))
    }

    /// Changes an account under the lock of its shard, where the change is also put into the queue
    /// of the store; waits for its commit with the lock released.
    fn change_balance<T>(
        &self,
        owner: &str,
        name: &str,
        change: impl FnOnce(
            &mut AccountStep<'_>,
            &mut dyn FnMut(&mut AccountStep<'_>, Change),
        ) -> Result<T, BalanceError>,
    ) -> Result<T, BalanceError> {
        self.admit().map_err(of_store)?;
        let ClockReading { moment, .. } = self.read_clock();
        let mut put = None;
        let changed = {
            let key = self.account_key(owner, name);
            let Some(mut step) = self.table.account_step(key, moment) else {
                return Err(not_found(owner, name));
            };
            let mut keep = |step: &mut AccountStep<'_>, change: Change| {
                let (at, rows) = (step.at, step.apply(&change));
                put = self.pipeline.as_ref().map(|pipeline| pipeline.put_balance(&at, &rows));
            };
            change(&mut step, &mut keep)
        };
        let changed = changed?;
        if let Some(seq) = put {
            self.is_put(seq).and_then(|()| self.acknowledge(seq)).map_err(of_store)?;
            if !self.waiting.room.is_empty() {
                self.rules_changed();
            }
        } else if !self.has_store() && !self.waiting.room.is_empty() {
            self.rules_changed();
        }
        Ok(changed)
    }

    /// Credits or debits; `fits` says whether it may be done, of an account as it stands.
    fn post(
        &self,
        asked: &Asked<'_>,
        fits: impl FnOnce(&Account, Timestamp) -> Result<bool, BalanceError>,
    ) -> Result<Debited, BalanceError> {
        let Asked { owner, name, kind, units, ref call, key } = *asked;
        self.change_balance(owner, name, |step, keep| {
            let now = step.instant.date;
            let forgotten = now.saturating_sub(self.keys.retention());
            let Some(account) = step.account_mut() else { return Err(not_found(owner, name)) };
            account.forget_keys(forgotten);
            let account = &*account;
            if let Some((key, first)) = key.and_then(|key| Some((key, account.keyed(key)?))) {
                if !first.is_of(kind, units, call) {
                    let first = account.entry_id(first.number);
                    return Err(BalanceError::Conflict { key: key.into(), first });
                }
                let transaction = self.entry_view(account, first);
                let balance = view(owner, name, account);
                return Ok(Debited::Posted(Posting { transaction, balance, is_replay: true }));
            }
            if !fits(account, now)? {
                return Ok(Debited::Insufficient(check(owner, name, account, units)));
            }
            let (call, key) = (call.clone(), key.map(Into::into));
            let change = match kind {
                EntryKind::Credit => Change::Credit { units, call, key },
                _ => Change::Debit { units, call, key },
            };
            keep(step, change);
            let account = step.account().ok_or_else(|| not_found(owner, name))?;
            let entry = account.entries().find(|entry| entry.kind == kind);
            let transaction = entry.map(|entry| self.entry_view(account, entry));
            let transaction = transaction.ok_or_else(|| not_found(owner, name))?;
            let balance = view(owner, name, account);
            Ok(Debited::Posted(Posting { transaction, balance, is_replay: false }))
        })
    }

    fn entry_view(&self, account: &Account, entry: &Entry) -> BalanceEntry {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let (mut description, mut reference, mut expires_at, mut event_id) =
            (None, None, None, None);
        match &entry.source {
            Source::Call(call) => {
                (description, reference) = (text(&call.description), text(&call.reference));
                expires_at = call.expires;
            }
            Source::Event(event) => {
                event_id = self.ledger.as_ref().zip(*event).map(|(ledger, it)| ledger.id(it));
            }
            Source::Time => {}
        }
        let paid_by = entry.paid.iter().map(|(grant, units)| PaidBy {
            grant: account.entry_id(*grant),
            amount: Amount::from_millionths(*units),
        });
        BalanceEntry {
            id: account.entry_id(entry.number),
            kind: entry.kind,
            amount: Amount::from_millionths(entry.units),
            balance: Amount::from_millionths(entry.after),
            description,
            reference,
            event_id,
            paid_by: paid_by.collect(),
            expires_at,
            created_at: entry.at,
        }
    }
}

fn view(owner: &str, name: &str, account: &Account) -> Balance {
    let (amount, available) = (Amount::from_millionths, account.available());
    let (created_at, updated_at) = account.times();
    Balance {
        owner: owner.to_owned(),
        name: name.to_owned(),
        unit: account.unit().to_owned(),
        current_balance: amount(account.current()),
        minimum_balance: amount(account.minimum()),
        held: amount(available.held),
        available_balance: amount(available.units),
        created_at,
        updated_at,
    }
}

fn check(owner: &str, name: &str, account: &Account, units: Units) -> BalanceCheck {
    let sufficient = units <= account.available().units;
    let requested_amount = Amount::from_millionths(units);
    BalanceCheck { balance: view(owner, name, account), requested_amount, sufficient }
}

fn not_found(owner: &str, name: &str) -> BalanceError {
    BalanceError::NotFound { owner: excerpt(owner), name: excerpt(name) }
}

fn exists(owner: &str, name: &str) -> BalanceError {
    BalanceError::Exists { owner: owner.into(), name: name.into() }
}

fn full(owner: &str, name: &str, reason: &str) -> BalanceError {
    BalanceError::Full { owner: owner.into(), name: name.into(), reason: reason.into() }
}

/// The store's error of a call that is about no event.
fn of_store(why: TrackError) -> BalanceError {
    match why {
        TrackError::Store(why) => BalanceError::Store(why),
        TrackError::Event(_) | TrackError::IdempotencyConflict { .. } => {
            debug_assert!(false, "a balance has no event");
            let (field, value) = ("store", Box::default());
            BalanceError::Invalid { field, value, rule: why.to_string().into() }
        }
    }
}
