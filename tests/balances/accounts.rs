//! Goal: the handle's calls do what they say, to the worked numbers and to the nanosecond.
//!
//! Method: worked cases, one after the other.

use std::time::Duration;

use limitry::balances::{
    BalanceQuery, Credit, Debit, Debited, EntryKind, LEDGER_ENTRIES, LedgerQuery, MAX_GRANTS,
    NewBalance,
};
use limitry::errors::BalanceError;
use limitry::handles::Balances;
use limitry::{Amount, Error};

use crate::support::{START, date, engine};

const NANO: Duration = Duration::from_nanos(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn posted(balances: &Balances, owner: &str, amount: impl limitry::amount::IntoAmount) -> bool {
    let debit = Debit::new(amount);
    balances.debit(owner, "credits", &debit).expect("a good debit").is_posted()
}

fn available(balances: &Balances, owner: &str) -> Amount {
    balances.get(owner, "credits").expect("it is there").available_balance
}

#[test]
fn a_minimum_is_a_reserve_or_an_overdraft() {
    let (engine, _) = engine(|it| it);
    let balances = engine.balances();
    let new = |owner: &str, minimum: i64| {
        let new = NewBalance::new(owner, "credits").initial(1_000).minimum(minimum);
        balances.create(&new).expect("a good balance")
    };
    assert_eq!(new("even", 0).available_balance, 1_000);
    assert_eq!(new("reserve", 100).available_balance, 900);
    assert_eq!(new("overdraft", -500).available_balance, 1_500);
    assert!(!posted(&balances, "overdraft", 1_600));
    assert!(posted(&balances, "overdraft", 1_500));
    let balance = balances.get("overdraft", "credits").expect("it is there");
    assert_eq!((balance.current_balance, balance.available_balance), ((-500).into(), 0.into()));
    let check = balances.check("reserve", "credits", 901).expect("a good amount");
    assert_eq!((check.sufficient, check.balance.available_balance), (false, 900.into()));
    assert!(balances.check("reserve", "credits", 900).expect("a good amount").sufficient);
    // What comes in pays the debt first.
    balances.credit("overdraft", "credits", &Credit::new(600)).expect("a good credit");
    let grants = balances.grants("overdraft", "credits").expect("it is there");
    assert_eq!((grants.len(), grants[0].amount, grants[0].remaining), (1, 600.into(), 100.into()));
}

#[test]
fn grants_are_spent_by_expiry_then_priority_then_age() {
    let (engine, clock) = engine(|it| it);
    let balances = engine.balances();
    balances.create(&NewBalance::new("ann", "credits").initial(10)).expect("a good balance");
    let (soon, later) = (engine.now() + HOUR, engine.now() + HOUR * 2);
    let credit = |credit: Credit| {
        let posting = balances.credit("ann", "credits", &credit).expect("a good credit");
        posting.transaction.id
    };
    let initial = balances.grants("ann", "credits").expect("it is there")[0].id;
    let low = credit(Credit::new(10).expires_at(later).priority(-1));
    let older = credit(Credit::new(10).expires_at(later).priority(5));
    let newer = credit(Credit::new(10).expires_at(later).priority(5));
    let first = credit(Credit::new(10).expires_at(soon).priority(-9));
    let due = [first, older, newer, low, initial];
    let grants = balances.grants("ann", "credits").expect("it is there");
    assert_eq!(grants.iter().map(|grant| grant.id).collect::<Vec<_>>(), due);
    let debit = Debit::new(25).description("a look").reference("r1");
    let Ok(Debited::Posted(posting)) = balances.debit("ann", "credits", &debit) else {
        panic!("there is enough")
    };
    let entry = posting.transaction;
    let paid: Vec<_> = entry.paid_by.iter().map(|paid| (paid.grant, paid.amount)).collect();
    assert_eq!(paid, [(first, 10.into()), (older, 10.into()), (newer, Amount::from(5))]);
    assert_eq!(
        (entry.description.as_deref(), entry.reference.as_deref()),
        (Some("a look"), Some("r1"))
    );
    assert_eq!(
        (entry.amount, entry.balance, posting.balance.current_balance),
        (25.into(), 25.into(), 25.into())
    );
    // Worth all to the last nanosecond, and nothing at the one at which it expires.
    clock.advance(HOUR * 2 - NANO);
    assert_eq!(available(&balances, "ann"), 25);
    clock.advance(NANO);
    assert_eq!(available(&balances, "ann"), 10);
    let page = balances.ledger("ann", "credits", &LedgerQuery::new()).expect("it is there");
    let expired: Vec<_> = page.transactions.iter().take(2).collect();
    assert!(expired.iter().all(|entry| entry.kind == EntryKind::Expiry));
    assert!(expired.iter().all(|entry| entry.created_at == later));
    assert_eq!((expired[1].paid_by[0].grant, expired[1].amount), (newer, 5.into()));
    assert_eq!((expired[0].paid_by[0].grant, expired[0].amount), (low, 10.into()));
}

#[test]
fn a_ledger_is_listed_by_page_and_sums_up() {
    let (engine, _) = engine(|it| it);
    let balances = engine.balances();
    balances.create(&NewBalance::new("ann", "credits").initial("0.5")).expect("a good balance");
    let rounds = LEDGER_ENTRIES as u64;
    for round in 0..rounds {
        let credit = Credit::new("0.75").description(format!("round {round}"));
        balances.credit("ann", "credits", &credit).expect("a good credit");
        assert!(posted(&balances, "ann", "0.5"));
    }
    let (mut query, mut all) = (LedgerQuery::new().limit(7), Vec::new());
    loop {
        let page = balances.ledger("ann", "credits", &query).expect("it is there");
        all.extend(page.transactions);
        match page.next {
            Some(next) => query = query.before(next),
            None => break,
        }
    }
    assert_eq!(all.len(), LEDGER_ENTRIES);
    assert!(all.is_sorted_by(|a, b| a.id > b.id));
    for pair in all.windows(2) {
        let (entry, before) = (&pair[0], &pair[1]);
        let due = match entry.kind {
            EntryKind::Credit => before.balance.saturating_add(entry.amount),
            _ => before.balance.saturating_sub(entry.amount),
        };
        assert_eq!(entry.balance, due);
    }
    let current = balances.get("ann", "credits").expect("it is there").current_balance;
    assert_eq!(Some(current), all.first().map(|entry| entry.balance));
    assert_eq!(current, Amount::from_millionths(500_000 + 250_000 * i128::from(rounds)));
}

#[test]
fn a_key_counts_once_and_another_call_with_it_is_a_conflict() {
    let (engine, clock) = engine(|it| it);
    let balances = engine.balances();
    balances.create(&NewBalance::new("ann", "credits")).expect("a good balance");
    let credit = Credit::new(100).reference("inv_1").idempotency_key("k1");
    let first = balances.credit("ann", "credits", &credit).expect("a good credit");
    let again = balances.credit("ann", "credits", &credit).expect("the same");
    assert!(!first.is_replay && again.is_replay);
    assert_eq!(
        (first.transaction.id, again.balance.current_balance),
        (again.transaction.id, 100.into())
    );
    for other in [
        Credit::new(101).reference("inv_1"),
        Credit::new(100),
        Credit::new(100).reference("inv_1").priority(1),
        Credit::new(100).reference("inv_1").expires_at(engine.now() + HOUR),
    ] {
        let why = balances.credit("ann", "credits", &other.idempotency_key("k1"));
        assert!(matches!(why, Err(BalanceError::Conflict { .. })), "{why:?}");
    }
    let debit = Debit::new(100).reference("inv_1").idempotency_key("k1");
    assert!(balances.debit("ann", "credits", &debit).is_err());
    // A refusal leaves its key free.
    let debit = Debit::new(150).idempotency_key("k2");
    assert!(!balances.debit("ann", "credits", &debit).expect("a good debit").is_posted());
    balances.credit("ann", "credits", &Credit::new(50)).expect("a good credit");
    for _ in 0..3 {
        assert!(balances.debit("ann", "credits", &debit).expect("a good debit").is_posted());
    }
    assert_eq!(available(&balances, "ann"), 0);
    clock.advance(HOUR * 24 + NANO);
    assert!(!balances.credit("ann", "credits", &credit).expect("it is forgotten").is_replay);
}

#[test]
fn balances_are_listed_by_page() {
    let (engine, _) = engine(|it| it);
    let balances = engine.balances();
    for owner in 0..9 {
        for name in ["a", "b"] {
            let new = NewBalance::new(format!("owner_{owner}"), name).initial(owner);
            balances.create(&new).expect("a good balance");
        }
    }
    let (mut query, mut all) = (BalanceQuery::new().limit(4), Vec::new());
    loop {
        let page = balances.list(&query);
        all.extend(page.balances);
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    let all: Vec<_> = all.into_iter().map(|balance| (balance.owner, balance.name)).collect();
    let due =
        (0..9).flat_map(|owner| ["a", "b"].map(|name| (format!("owner_{owner}"), name.to_owned())));
    assert_eq!(all, due.collect::<Vec<_>>());
    let of_one = balances.list(&BalanceQuery::new().owner("owner_3"));
    assert_eq!((of_one.balances.len(), of_one.next), (2, None));
    assert_eq!(balances.list(&BalanceQuery::new().name("b")).balances.len(), 9);
}

#[test]
fn a_balance_that_is_removed_is_gone_and_may_be_made_anew() {
    let (engine, _) = engine(|it| it.max_keys(1));
    let balances = engine.balances();
    for _ in 0..3 {
        balances.create(&NewBalance::new("ann", "credits").initial(5)).expect("a good balance");
        let removed = balances.remove("ann", "credits").expect("it is there");
        assert_eq!(removed.current_balance, 5);
        assert!(balances.get("ann", "credits").is_err());
        assert!(balances.remove("ann", "credits").is_err());
    }
    assert_eq!(balances.list(&BalanceQuery::new()).balances, []);
}

#[test]
fn bad_input_is_an_error_that_names_field_value_and_rule() {
    let (engine, _) = engine(|it| it);
    let balances = engine.balances();
    let new = || NewBalance::new("ann", "credits");
    let said = |why: BalanceError| (why.to_string(), Error::from(why).is_bad_input());
    for (balance, due) in [
        (NewBalance::new("", "credits"), "owner: \"\" must be 1 to 256 bytes long"),
        (NewBalance::new("ann", "a\nb"), "name: \"a\\nb\" must not hold control characters"),
        (new().unit(""), "unit: \"\" must be 1 to 256 bytes long"),
        (new().initial(-1), "initial: \"-1\" must be from 0 to 1000000000000000"),
        (
            new().minimum(1_000_000_000_000_001_i64),
            "minimum: \"1000000000000001\" must be from -1000000000000000 to 1000000000000000",
        ),
    ] {
        let why = balances.create(&balance).expect_err("it is wrong");
        assert_eq!(said(why), (due.to_owned(), true));
    }
    let why = balances.credit("ann", "credits", &Credit::new(1)).expect_err("not there");
    assert_eq!(why.to_string(), "balance \"credits\" of \"ann\" is not there");
    assert!(Error::from(why).is_not_found());
    balances.create(&new()).expect("a good balance");
    let why = balances.create(&new()).expect_err("it is there");
    assert!(matches!(why, BalanceError::Exists { .. }) && Error::from(why).is_conflict());
    let past = date(START);
    for (credit, due) in [
        (Credit::new(0), "amount: \"0\" must be more than 0 and at most 1000000000000000"),
        (Credit::new(-4), "amount: \"-4\" must be more than 0 and at most 1000000000000000"),
        (Credit::new(1).reference(""), "reference: \"\" must be 1 to 256 bytes long"),
        (
            Credit::new(1).expires_at(past),
            "expiresAt: \"2024-01-15T10:30:00Z\" must be after now, 2024-01-15T10:30:00Z",
        ),
    ] {
        let why = balances.credit("ann", "credits", &credit).expect_err("it is wrong");
        assert_eq!(said(why), (due.to_owned(), true));
    }
    let why = balances.debit("ann", "credits", &Debit::new("0.0000001")).expect_err("too precise");
    assert!(said(why).0.contains("more than six digits"));
    let names = ["Credits", "credits "];
    assert!(names.iter().all(|name| balances.get("ann", name).is_err()));
    assert_eq!(available(&balances, "ann"), 0);
}

#[test]
fn an_account_has_so_many_grants_and_so_much_and_no_more() {
    let (engine, _) = engine(|it| it.max_keys(2));
    let balances = engine.balances();
    for owner in ["ann", "bob"] {
        balances.create(&NewBalance::new(owner, "credits")).expect("a good balance");
    }
    let why = balances.create(&NewBalance::new("carl", "credits")).expect_err("one too many");
    assert!(matches!(why, BalanceError::Full { .. }), "{why:?}");
    for _ in 0..MAX_GRANTS {
        balances.credit("ann", "credits", &Credit::new(1)).expect("a good credit");
    }
    let why = balances.credit("ann", "credits", &Credit::new(1)).expect_err("one too many");
    assert!(matches!(why, BalanceError::Full { .. }), "{why:?}");
    assert!(posted(&balances, "ann", 1));
    balances.credit("ann", "credits", &Credit::new(1)).expect("there is room");
    for _ in 0..1_000 {
        let most = Credit::new(1_000_000_000_000_000_i64);
        balances.credit("bob", "credits", &most).expect("a good credit");
    }
    let why = balances.credit("bob", "credits", &Credit::new(1)).expect_err("too much");
    let due = "balance \"credits\" of \"bob\": it would be above 1000000000000000000";
    assert_eq!(why.to_string(), due);
}
