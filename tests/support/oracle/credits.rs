//! What rules take from the balances of owners, all or nothing with what others count, and what
//! calls credit and debit.

use super::accounts::{Account, By};
use super::*;

/// The name of a balance, and its owner.
pub type AccountKey = (&'static str, String);

/// What a call asks of a balance: to credit, or to debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPost {
    pub is_credit: bool,
    pub units: Milli,
    pub expires: Option<Nanos>,
    pub priority: i32,
    pub once: Option<String>,
}

/// What the engine answered: the number of the entry, and whether it was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainPosted {
    Posted { number: usize, is_replay: bool },
    Insufficient,
}

/// A call with an idempotency key.
#[derive(Clone, Debug)]
pub(super) struct KeyedPost {
    asked: PlainPost,
    number: usize,
    at: Nanos,
}

/// What an act costs a rule that goes by a balance.
#[derive(Clone, Debug)]
pub(super) struct Bill {
    pub(super) at: usize,
    account: AccountKey,
    full: Milli,
    /// What of that is not held for the act.
    pub(super) cost: Milli,
    pub(super) fits: bool,
}

impl Oracle {
    /// The balances, with what is known of them at the last look at the clock.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountKey, &Account)> {
        self.accounts.iter()
    }

    pub(super) fn is_of_balance(&self, at: usize) -> bool {
        matches!(self.rules[at].rule.kind, Kind::Balance { .. })
    }

    fn is_hard(&self, at: usize) -> bool {
        self.rules[at].rule.enforce == Enforce::Hard
    }

    fn account_key(&self, at: usize, plain: &PlainEvent) -> Option<AccountKey> {
        let Kind::Balance { name, .. } = self.rules[at].rule.kind else { return None };
        Some((name, self.key(at, plain).concat()))
    }

    fn account_at(&self, key: &AccountKey, now: Nanos) -> Option<Account> {
        let mut account = self.accounts.get(key)?.clone();
        account.pass(now);
        Some(account)
    }

    /// What an account is opened with: what the first of the rules that go by it states.
    fn opening(&self, key: &AccountKey, live: &[usize], plain: &PlainEvent) -> Option<Milli> {
        let of_rule = |at: &usize| match self.rules[*at].rule.kind {
            Kind::Balance { opening, .. } => {
                opening.filter(|_| self.account_key(*at, plain).as_ref() == Some(key))
            }
            _ => None,
        };
        live.iter().find_map(of_rule).map(|units| i128::from(units) * 1_000)
    }

    /// What can be spent for a rule: of an owner without an account only a rule that states an
    /// opening amount pays.
    fn available(
        &self,
        at: usize,
        plain: &PlainEvent,
        live: &[usize],
        now: Nanos,
    ) -> Option<Milli> {
        let key = self.account_key(at, plain)?;
        if let Some(account) = self.account_at(&key, now) {
            return Some(account.available());
        }
        let opens = matches!(self.rules[at].rule.kind, Kind::Balance { opening: Some(_), .. });
        self.opening(&key, live, plain).filter(|_| opens)
    }

    /// What a commit's reservation holds of an account.
    fn held_for(&self, act: &Act<'_>, key: &AccountKey, now: Nanos) -> Milli {
        let hold = act.hold.filter(|_| act.verb == Verb::Commit);
        let account = self.account_at(key, now);
        let holds = account.iter().flat_map(|account| &account.holds);
        holds.filter(|it| Some(it.id) == hold).map(accounts::Hold::units).sum()
    }

    /// What the act costs each of the rules that go by balances. Each must fit beside those before
    /// it, and who refuses nobody comes last.
    pub(super) fn bills(&self, act: &Act<'_>, live: &[usize], now: Nanos) -> Vec<Bill> {
        let mut bills = self.costs(act, live, now);
        bills.sort_by_key(|bill| !self.is_hard(bill.at));
        for place in 0..bills.len() {
            let (before, bill) = (&bills[..place], &bills[place]);
            let of_account = before.iter().filter(|it| it.account == bill.account);
            let taken = of_account.filter(|it| self.takes(it)).map(|it| it.cost).sum::<Milli>();
            let available = self.available(bill.at, act.plain, live, now);
            bills[place].fits =
                bill.cost <= 0 || available.is_some_and(|available| taken + bill.cost <= available);
        }
        bills
    }

    /// What the act costs them in their order, and what of that is not held for it.
    fn costs(&self, act: &Act<'_>, live: &[usize], now: Nanos) -> Vec<Bill> {
        let mut bills: Vec<Bill> = Vec::new();
        for &at in live {
            let Some(account) = self.account_key(at, act.plain) else { continue };
            let measure = &self.rules[at].rule.measure;
            // Growth is of values: it is no event.
            let grows = act.verb == Verb::Grow;
            let full = if grows && !measure.is_of_values() { 0 } else { act.plain.amount(measure) };
            let before = bills.iter().filter(|bill| bill.account == account);
            let used: Milli = before.map(|bill| bill.full.max(0)).sum();
            let left = (self.held_for(act, &account, now) - used).max(0);
            let cost = if full > 0 { (full - left).max(0) } else { full };
            bills.push(Bill { at, account, full, cost, fits: true });
        }
        bills
    }

    /// Whether every hard one fits.
    pub(super) fn are_covered(&self, act: &Act<'_>, live: &[usize], now: Nanos) -> bool {
        self.bills(act, live, now).iter().all(|bill| bill.fits || !self.is_hard(bill.at))
    }

    /// Whether a rule takes what its bill says if the act is let in: one on trial what fits.
    fn takes(&self, bill: &Bill) -> bool {
        bill.fits || self.rules[bill.at].rule.enforce != Enforce::Shadow
    }

    /// When the next hold ends after an instant.
    pub(super) fn next_end_of_hold(&self, after: Nanos) -> Option<Nanos> {
        let holds = self.accounts.values().flat_map(|account| &account.holds);
        holds.map(|hold| hold.until).filter(|until| *until > after).min()
    }

    /// Whether a commit costs an account more than is held for it.
    pub(super) fn overruns(&self, act: &Act<'_>, live: &[usize]) -> bool {
        let is_there = |key: &AccountKey| {
            self.accounts.contains_key(key) || self.opening(key, live, act.plain).is_some()
        };
        let bills = self.bills(act, live, self.now);
        bills.iter().any(|bill| bill.cost > 0 && is_there(&bill.account))
    }

    /// Pays what the act costs all rules together, or holds it. What a commit does not use of what
    /// is held for it is given back.
    pub(super) fn pay(&mut self, act: &Act<'_>, live: &[usize]) {
        let now = self.now;
        let mut sums: BTreeMap<AccountKey, Milli> = BTreeMap::new();
        for bill in self.bills(act, live, now) {
            let paid = if self.takes(&bill) { bill.full } else { bill.full - bill.cost };
            *sums.entry(bill.account).or_default() += paid;
        }
        let hold = act.hold.unwrap_or(usize::MAX);
        for (key, account) in &self.accounts {
            if act.verb == Verb::Commit && account.holds.iter().any(|it| it.id == hold) {
                sums.entry(key.clone()).or_default();
            }
        }
        for (key, sum) in sums {
            let opening = self.opening(&key, live, act.plain).filter(|_| sum != 0);
            if let (Some(units), false) = (opening, self.accounts.contains_key(&key)) {
                let mut account = Account::default();
                if units > 0 {
                    account.credit(now, units, None, 0, By::Call);
                }
                self.accounts.insert(key.clone(), account);
            }
            let Some(account) = self.accounts.get_mut(&key) else { continue };
            match act.verb {
                Verb::Commit => account.settle(now, hold, sum),
                Verb::Reserve | Verb::Grow if sum > 0 => account.hold(hold, act.until, sum),
                _ if sum > 0 => account.take(now, sum, Vec::new(), By::Event),
                _ if sum < 0 => account.refund(now, -sum),
                _ => {}
            }
        }
    }

    /// Compares the figures of a rule that goes by a balance.
    pub(super) fn compare_balance(
        &self,
        at: usize,
        plain: &PlainEvent,
        figure: &Figure,
    ) -> Result<(), String> {
        let due = self.balance_figure(at, plain, figure.exceeded);
        if *figure == due { Ok(()) } else { Err(format!("{figure:?}\n is not {due:?}")) }
    }

    fn balance_figure(&self, at: usize, plain: &PlainEvent, exceeded: bool) -> Figure {
        let rule = &self.rules[at].rule;
        let key = self.account_key(at, plain);
        let account = key.and_then(|key| self.account_at(&key, self.now));
        let (used, held) = account.map_or((0, 0), |account| (account.used(), account.held()));
        let remaining = self.left_in_balance(at, plain).max(0);
        Figure {
            id: rule.id.clone(),
            name: rule.name.clone(),
            limit: (used + held).max(0) + remaining,
            used: Some(used),
            held,
            adjusted: 0,
            remaining,
            reset: None,
            exceeded,
        }
    }

    /// What can be spent for a rule now.
    pub(super) fn left_in_balance(&self, at: usize, plain: &PlainEvent) -> Milli {
        let live = self.live(plain);
        self.available(at, plain, &live, self.now).unwrap_or(0)
    }

    /// Lets holds of a reservation last longer.
    pub(super) fn extend_in_accounts(&mut self, hold: usize, until: Nanos) {
        let holds = self.accounts.values_mut().flat_map(|account| &mut account.holds);
        holds.filter(|it| it.id == hold).for_each(|it| it.until = until);
    }

    /// Judges the answer to the making of a balance, and follows it.
    pub fn create_balance(
        &mut self,
        key: &AccountKey,
        (initial, minimum): (Milli, Milli),
        answer: &Result<(), Fault>,
    ) -> Result<(), String> {
        let now = self.read_clock();
        if self.accounts.contains_key(key) {
            return at_fault(answer, Fault::Conflict, "it is there");
        }
        let mut account = Account { minimum, ..Account::default() };
        if initial > 0 {
            account.credit(now, initial, None, 0, By::Call);
        }
        self.accounts.insert(key.clone(), account);
        answer.map_err(|fault| format!("a balance was to be made: {fault:?}"))
    }

    /// Judges the answer to the removal of a balance, and follows it.
    pub fn remove_balance(
        &mut self,
        key: &AccountKey,
        answer: &Result<(), Fault>,
    ) -> Result<(), String> {
        self.read_clock();
        self.posts.retain(|(of, _), _| of != key);
        self.forget_fired_of(key);
        match self.accounts.remove(key) {
            None => at_fault(answer, Fault::Unknown, "it is not there"),
            Some(_) => answer.map_err(|fault| format!("a balance was to go: {fault:?}")),
        }
    }

    /// Judges the answer to a credit or a debit, and follows it.
    pub fn post(
        &mut self,
        key: &AccountKey,
        asked: &PlainPost,
        answer: &Result<PlainPosted, Fault>,
    ) -> Result<(), String> {
        let now = self.read_clock();
        let Some(account) = self.accounts.get_mut(key) else {
            return at_fault(answer, Fault::Unknown, "it is not there");
        };
        let once = asked.once.as_ref().map(|once| (key.clone(), once.clone()));
        let first = once.as_ref().and_then(|once| self.posts.get(once));
        // Keys may be kept for longer than they have to.
        let may_be_forgotten = |first: &KeyedPost| {
            let is_replay = matches!(answer, Ok(PlainPosted::Posted { is_replay: true, .. }));
            first.at + self.retention <= now && !is_replay && *answer != Err(Fault::Conflict)
        };
        if let Some(first) = first.filter(|first| !may_be_forgotten(first)) {
            let due = PlainPosted::Posted { number: first.number, is_replay: true };
            return match answer {
                Err(Fault::Conflict) if first.asked != *asked => Ok(()),
                Ok(posted) if first.asked == *asked && *posted == due => Ok(()),
                other => Err(format!("{due:?} was {:?}, not {other:?}", first.asked)),
            };
        }
        if asked.expires.is_some_and(|expires| expires <= now) {
            return at_fault(answer, Fault::BadEvent, "it has expired");
        }
        let number = account.entries.len();
        let fits = asked.is_credit || asked.units <= account.available();
        let due = if fits {
            PlainPosted::Posted { number, is_replay: false }
        } else {
            PlainPosted::Insufficient
        };
        if *answer != Ok(due) {
            return Err(format!("{due:?} was due, not {answer:?}: {account:?}"));
        }
        if asked.is_credit {
            account.credit(now, asked.units, asked.expires, asked.priority, By::Call);
        } else if fits {
            account.take(now, asked.units, Vec::new(), By::Call);
        }
        if let Some(once) = once.filter(|_| fits) {
            self.posts.insert(once, KeyedPost { asked: asked.clone(), number, at: now });
        }
        Ok(())
    }
}
