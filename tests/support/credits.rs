//! Balances, on an engine and on its oracle.

use super::bridge::Pair;
use super::date;
use super::oracle::accounts::{Account, By};
use super::oracle::{AccountKey, Fault, Milli, PlainPost, PlainPosted};
use limitry::balances::{
    BalanceQuery, Credit, Debit, Debited, EntryId, EntryKind, LEDGER_ENTRIES, LedgerQuery,
    NewBalance,
};
use limitry::errors::BalanceError;
use limitry::{Amount, Engine};

fn amount(milli: Milli) -> Amount {
    Amount::from_millionths(milli * 1_000)
}

fn fault(why: &BalanceError) -> Fault {
    match why {
        BalanceError::Invalid { .. } => Fault::BadEvent,
        BalanceError::NotFound { .. } => Fault::Unknown,
        BalanceError::Exists { .. } | BalanceError::Conflict { .. } => Fault::Conflict,
        _ => Fault::Other,
    }
}

/// Compares a balance with all that is known of it: its sums, each grant and each entry. A unit of
/// the account is so many millionths.
pub fn same_balance(
    engine: &Engine,
    (name, owner): (&str, &str),
    account: &Account,
    unit: i128,
) -> Result<(), String> {
    let amount = |units: i128| Amount::from_millionths(units * unit);
    let balances = engine.balances();
    let complain = |what: String| Err(format!("{name} of {owner}: {what}: {account:#?}"));
    let Ok(balance) = balances.get(owner, name) else { return complain("not there".into()) };
    let due = [account.current(), account.available(), account.held(), account.minimum];
    let sums =
        [balance.current_balance, balance.available_balance, balance.held, balance.minimum_balance];
    if sums != due.map(amount) {
        return complain(format!("{balance:?}"));
    }
    let ledger = LedgerQuery::new().limit(1_000);
    let page = balances.ledger(owner, name, &ledger).map_err(|why| why.to_string())?;
    let entries = &page.transactions;
    let number = |id: EntryId| {
        let place = entries.iter().position(|entry| entry.id == id);
        place.map(|place| account.entries.len() - 1 - place)
    };
    if entries.len() != account.entries.len().min(LEDGER_ENTRIES) {
        return complain(format!("{entries:#?}"));
    }
    for (entry, (place, due)) in entries.iter().zip(account.entries.iter().enumerate().rev()) {
        let kind = match (due.by, due.adds > 0) {
            (By::Time, _) => EntryKind::Expiry,
            (_, true) => EntryKind::Credit,
            (_, false) => EntryKind::Debit,
        };
        let sum = account.entries.iter().take(place + 1).map(|entry| entry.adds).sum();
        let is_it = (entry.kind, entry.amount) == (kind, amount(due.adds.abs()))
            && (entry.created_at, entry.balance) == (date(due.at), amount(sum));
        let paid = entry.paid_by.iter().zip(&due.paid).all(|(paid, (grant, units))| {
            let is_of = number(paid.grant).is_none_or(|number| number == *grant);
            is_of && paid.amount == amount(*units)
        });
        if !is_it || !paid || entry.paid_by.len() != due.paid.len() {
            return complain(format!("{entry:?} is not {due:?} of {sum}"));
        }
    }
    let grants = balances.grants(owner, name).map_err(|why| why.to_string())?;
    let free = grants.iter().filter(|grant| grant.remaining > 0);
    let free: Vec<_> =
        free.map(|it| (it.remaining, it.priority, it.expires_at, number(it.id))).collect();
    let due = account.in_order().into_iter().map(|grant| {
        let is_listed = account.entries.len() - grant.number <= LEDGER_ENTRIES;
        let number = is_listed.then_some(grant.number);
        (amount(grant.left), grant.priority, grant.expires.map(date), number)
    });
    let held = grants.iter().fold(Amount::ZERO, |sum, grant| sum.saturating_add(grant.held));
    let covered = account.holds.iter().flat_map(|hold| &hold.lots).map(|(_, units)| units).sum();
    if free == due.collect::<Vec<_>>() && held == amount(covered) {
        Ok(())
    } else {
        complain(format!("{grants:#?}"))
    }
}

impl Pair {
    /// Makes a balance with so much, of which a minimum must be left.
    pub fn create_balance(
        &mut self,
        key: &AccountKey,
        initial: Milli,
        minimum: Milli,
    ) -> Result<Result<(), Fault>, String> {
        let new = NewBalance::new(key.1.as_str(), key.0).initial(amount(initial));
        let made = self.engine.balances().create(&new.minimum(amount(minimum)));
        let answer = made.map(drop).map_err(|why| fault(&why));
        self.oracle.create_balance(key, (initial, minimum), &answer)?;
        Ok(answer)
    }

    pub fn remove_balance(&mut self, key: &AccountKey) -> Result<Result<(), Fault>, String> {
        let removed = self.engine.balances().remove(&key.1, key.0);
        let answer = removed.map(drop).map_err(|why| fault(&why));
        self.oracle.remove_balance(key, &answer)?;
        Ok(answer)
    }

    /// Credits or debits.
    pub fn post(
        &mut self,
        key: &AccountKey,
        asked: &PlainPost,
    ) -> Result<Result<PlainPosted, Fault>, String> {
        let balances = self.engine.balances();
        let checked = balances.check(&key.1, key.0, amount(asked.units));
        let posted = if asked.is_credit {
            let mut credit = Credit::new(amount(asked.units)).priority(asked.priority);
            if let Some(expires) = asked.expires {
                credit = credit.expires_at(date(expires));
            }
            if let Some(once) = &asked.once {
                credit = credit.idempotency_key(once.as_str());
            }
            balances.credit(&key.1, key.0, &credit).map(Debited::Posted)
        } else {
            let mut debit = Debit::new(amount(asked.units));
            if let Some(once) = &asked.once {
                debit = debit.idempotency_key(once.as_str());
            }
            balances.debit(&key.1, key.0, &debit)
        };
        let answer = match posted {
            Ok(Debited::Posted(posting)) => {
                let query = LedgerQuery::new().limit(1_000);
                let page = balances.ledger(&key.1, key.0, &query).map_err(|why| why.to_string())?;
                let is_it = |id| id == posting.transaction.id;
                let place = page.transactions.iter().position(|entry| is_it(entry.id));
                let place = place.ok_or_else(|| format!("{posting:?} is in no ledger"))?;
                let number = page.transactions.len() - 1 - place;
                Ok(PlainPosted::Posted { number, is_replay: posting.is_replay })
            }
            Ok(Debited::Insufficient(_)) => Ok(PlainPosted::Insufficient),
            Err(why) => Err(fault(&why)),
        };
        if let (false, Ok(checked), Ok(posted)) = (asked.is_credit, checked, &answer) {
            let is_replay = matches!(posted, PlainPosted::Posted { is_replay: true, .. });
            if !is_replay && checked.sufficient == (*posted == PlainPosted::Insufficient) {
                return Err(format!("{checked:?} was said before {posted:?}"));
            }
        }
        let judged = self.oracle.post(key, asked, &answer);
        judged.map_err(|why| format!("{key:?} {asked:?}: {why}"))?;
        Ok(answer)
    }

    /// Compares all balances.
    pub fn same_balances(&mut self) -> Result<(), String> {
        self.oracle.read_clock();
        let listed = self.engine.balances().list(&BalanceQuery::new().limit(100)).balances;
        let listed: Vec<_> = listed.into_iter().map(|it| (it.owner, it.name)).collect();
        let mut due: Vec<_> = self
            .oracle
            .accounts()
            .map(|((name, owner), _)| (owner.clone(), (*name).into()))
            .collect();
        due.sort();
        if listed != due {
            return Err(format!("{listed:?} are there, not {due:?}"));
        }
        self.oracle.accounts().try_for_each(|((name, owner), account)| {
            same_balance(&self.engine, (name, owner), account, 1_000)
        })
    }
}
