//! Goal: whatever is done to balances in whatever order, by the handle and by events, each is what
//! the oracle says: the balance, what is available, each grant, and each entry of the ledger. A
//! refused event passes at the instant that its answer says and not a nanosecond earlier.
//!
//! Method: seeded random steps over all calls, compared with the naive oracle after each.

use std::time::Duration;

use limitry::balances::{Credit, Debit, NewBalance};
use limitry::reservations::ReservationId;
use limitry::time::ManualClock;
use limitry::{Amount, Engine, Event, Hold, Metric, Period, Quota, Reserved, RetryAfter};

use crate::support::oracle::Nanos;
use crate::support::oracle::accounts::{Account, By, Units};
use crate::support::{Dice, START, cases, date, engine, same_balance, seed};

/// Units are millionths here.
fn amount(units: Units) -> Amount {
    Amount::from_millionths(units)
}

const MILLION: Units = 1_000_000;
const OWNERS: [&str; 2] = ["ann", "bob"];

struct Model {
    engine: Engine,
    clock: ManualClock,
    now: Nanos,
    accounts: [Account; 2],
    /// The open reservations: their number here, whose they are, and when they expire.
    open: Vec<(usize, ReservationId, usize)>,
    reservations: usize,
    /// What the other quota has used.
    calls: [u64; 2],
}

const CALLS: u64 = 40;

fn event(owner: usize, tokens: u64) -> Event<'static> {
    Event::new(OWNERS[owner], "call").total_tokens(tokens)
}

fn check_tokens(tokens: u64) -> Units {
    // Two rules take from the one balance: the tokens, and a thousandth of each.
    Units::from(tokens) * MILLION
}

impl Model {
    fn new(dice: &mut Dice) -> Self {
        let (engine, clock) = engine(|it| {
            it.quota(Quota::balance("credits", Metric::TotalTokens).id("tokens").per("customer_id"))
                .quota(
                    Quota::balance("credits", Metric::value("extra"))
                        .id("extra")
                        .filter("event_type", "both")
                        .per("customer_id"),
                )
                .quota(
                    Quota::new("Calls", Metric::TotalEvents, CALLS, Period::AllTime)
                        .filter("event_type", "both")
                        .per("customer_id"),
                )
        });
        let mut accounts = [Account::default(), Account::default()];
        for (owner, account) in accounts.iter_mut().enumerate() {
            let minimum = i64::from(dice.range(0, 30) as u32) - 15;
            let initial = dice.range(0, 40);
            let new = NewBalance::new(OWNERS[owner], "credits").initial(initial).minimum(minimum);
            engine.balances().create(&new).expect("a good balance");
            account.minimum = Units::from(minimum) * MILLION;
            if initial > 0 {
                account.credit(START, check_tokens(initial), None, 0, By::Call);
            }
        }
        let (open, calls) = (Vec::new(), [0; 2]);
        Self { engine, clock, now: START, accounts, open, reservations: 0, calls }
    }

    fn pass(&mut self, nanos: Nanos) {
        self.now += nanos;
        self.clock.set(date(self.now));
        self.accounts.iter_mut().for_each(|account| account.pass(self.now));
    }

    fn step(&mut self, dice: &mut Dice) {
        let owner = usize::from(dice.chance(50));
        match dice.range(0, 12) {
            0 | 1 => self.pass(dice.range(0, 3).into()),
            2 | 3 => {
                let units = Units::from(dice.range(1, 20_000_000));
                let expires = dice.chance(70).then(|| self.now + Nanos::from(dice.range(1, 12)));
                let priority = dice.range(0, 3) as i32 - 1;
                let credit = Credit::new(amount(units)).priority(priority);
                let credit = match expires {
                    Some(at) => credit.expires_at(date(at)),
                    None => credit,
                };
                let balances = self.engine.balances();
                balances.credit(OWNERS[owner], "credits", &credit).expect("a good credit");
                self.accounts[owner].credit(self.now, units, expires, priority, By::Call);
            }
            4 => {
                let units = Units::from(dice.range(1, 20_000_000));
                let debit = Debit::new(amount(units));
                let balances = self.engine.balances();
                let debited = balances.debit(OWNERS[owner], "credits", &debit);
                let fits = units <= self.accounts[owner].available();
                assert_eq!(debited.expect("a good debit").is_posted(), fits);
                if fits {
                    self.accounts[owner].take(self.now, units, Vec::new(), By::Call);
                }
            }
            5..=7 => self.track(owner, dice),
            8 => self.record(owner, dice),
            9 | 10 => self.reserve(owner, dice),
            _ => self.end_one(dice),
        }
    }

    fn track(&mut self, owner: usize, dice: &mut Dice) {
        let tokens = dice.range(0, 12);
        let extra = Units::from(dice.range(0, 3_000_000));
        let both = dice.chance(40);
        let mut event = event(owner, tokens);
        if both {
            event = Event::new(OWNERS[owner], "both")
                .total_tokens(tokens)
                .value("extra", amount(extra));
        }
        let all = check_tokens(tokens) + if both { extra } else { 0 };
        let account = &self.accounts[owner];
        // Each rule must fit beside those before it.
        let own = check_tokens(tokens);
        let fits = |account: &Account| {
            let available = account.available();
            (own == 0 || own <= available) && (!both || extra == 0 || all <= available)
        };
        let has_calls = !both || self.calls[owner] < CALLS;
        let lets_in = fits(account) && has_calls;
        let checked = self.engine.check(&event).expect("a good event");
        let decision = self.engine.track(&event).expect("a good event");
        assert_eq!(decision.is_allowed(), lets_in, "{event:?}");
        assert_eq!(
            format!("{:?}", checked.quotas().collect::<Vec<_>>()),
            format!("{:?}", decision.quotas().collect::<Vec<_>>())
        );
        if lets_in {
            self.calls[owner] += u64::from(both);
            if all > 0 {
                self.accounts[owner].take(self.now, all, Vec::new(), By::Event);
            }
            for status in decision.quotas().filter(|status| status.id != "qta_calls") {
                let available = self.accounts[owner].available().max(0);
                assert_eq!(status.remaining, amount(available));
                assert_eq!(status.held, amount(self.accounts[owner].held()));
                assert!(!status.exceeded);
            }
            return;
        }
        if !has_calls {
            assert_eq!(decision.retry_after(), Some(RetryAfter::Never));
            return;
        }
        // Nothing but time passes: until then, and not a nanosecond earlier.
        let passes = (0..200).find(|nanos| {
            let mut account = account.clone();
            account.pass(self.now + nanos);
            fits(&account)
        });
        let due = match passes {
            Some(nanos) => {
                RetryAfter::After(Duration::from_nanos(u64::try_from(nanos).expect("few")))
            }
            None => RetryAfter::Never,
        };
        assert_eq!(decision.retry_after(), Some(due), "{event:?} {account:?}");
    }

    fn record(&mut self, owner: usize, dice: &mut Dice) {
        let units = Units::from(dice.range(0, 14_000_000)) - 4_000_000;
        let event = Event::new(OWNERS[owner], "both").value("extra", amount(units));
        let _ = self.engine.record(&event).expect("a good event");
        self.calls[owner] += 1;
        let account = &mut self.accounts[owner];
        if units > 0 {
            account.take(self.now, units, Vec::new(), By::Event);
        } else if units < 0 {
            account.refund(self.now, -units);
        }
    }

    fn reserve(&mut self, owner: usize, dice: &mut Dice) {
        let tokens = dice.range(0, 12);
        let lasting = dice.range(1, 9);
        let hold = Hold::lasting(Duration::from_nanos(lasting));
        let units = check_tokens(tokens);
        let account = &mut self.accounts[owner];
        let fits = units == 0 || units <= account.available();
        let reserved = self.engine.reserve(&event(owner, tokens), hold).expect("a good event");
        match reserved {
            Reserved::Held(guard) => {
                assert!(fits);
                let (number, id) = (self.reservations, guard.id());
                std::mem::forget(guard);
                self.reservations += 1;
                if units > 0 {
                    account.hold(number, self.now + Nanos::from(lasting), units);
                }
                self.open.push((number, id, owner));
            }
            Reserved::Refused(_) => assert!(!fits, "{:?}", self.accounts[owner]),
            Reserved::Replayed(_) => panic!("there are no keys"),
        }
    }

    fn end_one(&mut self, dice: &mut Dice) {
        if self.open.is_empty() {
            return;
        }
        let place = usize::try_from(dice.range(0, self.open.len() as u64 - 1)).expect("few");
        let (number, id, owner) = self.open[place];
        match dice.range(0, 3) {
            0 => {
                self.open.swap_remove(place);
                let _ = self.engine.release(id);
                self.accounts[owner].settle(self.now, number, 0);
            }
            1 => {
                let by = dice.range(1, 9);
                let extended = self.engine.extend(id, Duration::from_nanos(by));
                let hold = self.accounts[owner].holds.iter_mut().find(|hold| hold.id == number);
                if let (Ok(_), Some(hold)) = (extended, hold) {
                    hold.until = hold.until.max(self.now + Nanos::from(by));
                }
            }
            2 => {
                let more = dice.range(1, 5);
                let fits = check_tokens(more) <= self.accounts[owner].available();
                let grown = self.engine.grow(id, &event(owner, more));
                if let Ok(decision) = grown {
                    assert_eq!(decision.is_allowed(), fits);
                    if fits {
                        let until = self.engine.reservation(id).expect("it is known").expires_at;
                        let until = until.checked_since(date(START)).expect("later").as_nanos();
                        let until = START + Nanos::try_from(until).expect("soon");
                        self.accounts[owner].hold(number, until, check_tokens(more));
                    }
                }
            }
            _ => {
                self.open.swap_remove(place);
                let tokens = dice.range(0, 16);
                let held = self.accounts[owner].holds.iter().find(|hold| hold.id == number);
                let held = held.map(|hold| hold.units());
                let decision = self.engine.commit(id, &event(owner, tokens)).expect("it is open");
                self.accounts[owner].settle(self.now, number, check_tokens(tokens));
                if let Some(held) = held {
                    assert_eq!(decision.is_overrun(), check_tokens(tokens) > held);
                }
            }
        }
    }

    fn compare(&self) {
        for (owner, account) in OWNERS.iter().zip(&self.accounts) {
            same_balance(&self.engine, ("credits", owner), account, 1).expect("it is the same");
        }
    }
}

#[test]
fn a_balance_is_what_the_oracle_says() {
    let mut dice = Dice::new(seed("a_balance_is_what_the_oracle_says", 31));
    for _ in 0..cases(200) {
        let mut model = Model::new(&mut dice);
        for _ in 0..80 {
            model.step(&mut dice);
            model.compare();
        }
    }
}
