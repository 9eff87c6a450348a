//! Goal: whatever threads do at once, a balance never passes its minimum, is the sum of its
//! entries, and grants are spent in their order.
//!
//! Method: eight threads debit, credit, track and reserve on the same few balances.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use limitry::balances::{Credit, Debit, EntryKind, LedgerQuery, NewBalance};
use limitry::{Amount, Event, Hold, Metric, Quota, Reserved, Timestamp};

use crate::support::{Dice, cases, engine, seed};

#[test]
fn threads_never_pass_the_minimum() {
    let first = seed("threads_never_pass_the_minimum", 5);
    for round in 0..u64::from(cases(20)) {
        let (engine, _) = engine(|it| {
            it.quota(Quota::balance("credits", Metric::TotalTokens).per("customer_id"))
        });
        let balances = engine.balances();
        balances
            .create(&NewBalance::new("ann", "credits").initial(300).minimum(-50))
            .expect("good");
        let sum = AtomicI64::new(300);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (engine, balances, sum) = (engine.clone(), balances.clone(), &sum);
                scope.spawn(move || {
                    let mut dice = Dice::new(first + round * 8 + thread);
                    for _ in 0..60 {
                        let tokens = dice.range(1, 9);
                        let event = Event::new("ann", "call").total_tokens(tokens);
                        let took = i64::try_from(tokens).expect("small");
                        match dice.range(0, 3) {
                            0 => {
                                let debit = Debit::new(tokens);
                                let done = balances.debit("ann", "credits", &debit).expect("good");
                                if done.is_posted() {
                                    sum.fetch_sub(took, Ordering::SeqCst);
                                }
                            }
                            1 => {
                                let later = Timestamp::new(2_000_000_000 + took, 0);
                                let credit = Credit::new(tokens).expires_at(later);
                                balances.credit("ann", "credits", &credit).expect("good");
                                sum.fetch_add(took, Ordering::SeqCst);
                            }
                            2 => {
                                if engine.track(&event).expect("good").is_allowed() {
                                    sum.fetch_sub(took, Ordering::SeqCst);
                                }
                            }
                            _ => {
                                let hold = Hold::lasting(Duration::from_secs(60));
                                if let Reserved::Held(held) =
                                    engine.reserve(&event, hold).expect("good")
                                {
                                    let used = dice.range(0, tokens);
                                    let event = Event::new("ann", "call").total_tokens(used);
                                    let _ = held.commit(&event).expect("open");
                                    let used = i64::try_from(used).expect("small");
                                    sum.fetch_sub(used, Ordering::SeqCst);
                                }
                            }
                        }
                        let balance = balances.get("ann", "credits").expect("there");
                        assert!(balance.available_balance >= 0, "{balance:?}");
                    }
                });
            }
        });
        let balance = balances.get("ann", "credits").expect("there");
        assert_eq!(balance.current_balance, sum.load(Ordering::SeqCst));
        assert_eq!(balance.held, 0);
        let query = LedgerQuery::new().limit(1_000);
        let page = balances.ledger("ann", "credits", &query).expect("there");
        for pair in page.transactions.windows(2) {
            let (entry, before) = (&pair[0], &pair[1]);
            let due = match entry.kind {
                EntryKind::Credit => before.balance.saturating_add(entry.amount),
                _ => before.balance.saturating_sub(entry.amount),
            };
            assert_eq!(entry.balance, due);
        }
    }
}

/// The ledger, gone through from its beginning, draws each debit from the grants that were there,
/// soonest expiry first, then by age.
#[test]
fn threads_spend_grants_in_their_order() {
    let first = seed("threads_spend_grants_in_their_order", 6);
    for round in 0..u64::from(cases(10)) {
        let (engine, _) = engine(|it| {
            it.quota(Quota::balance("credits", Metric::TotalTokens).per("customer_id"))
        });
        let balances = engine.balances();
        balances.create(&NewBalance::new("ann", "credits")).expect("good");
        thread::scope(|scope| {
            for thread in 0..8 {
                let (engine, balances) = (engine.clone(), balances.clone());
                scope.spawn(move || {
                    let mut dice = Dice::new(first + round * 8 + thread);
                    for _ in 0..40 {
                        let tokens = dice.range(1, 20);
                        let later = i64::try_from(dice.below(5)).expect("small");
                        let later = Timestamp::new(2_000_000_000 + later, 0);
                        let event = Event::new("ann", "call").total_tokens(tokens);
                        let done = match dice.range(0, 2) {
                            0 => balances
                                .credit("ann", "credits", &Credit::new(tokens).expires_at(later))
                                .map(drop),
                            1 => balances.debit("ann", "credits", &Debit::new(tokens)).map(drop),
                            _ => {
                                let _ = engine.track(&event).expect("good");
                                Ok(())
                            }
                        };
                        done.expect("good");
                    }
                });
            }
        });
        let query = LedgerQuery::new().limit(1_000);
        let entries = balances.ledger("ann", "credits", &query).expect("there").transactions;
        let (mut left, mut debits) = (BTreeMap::new(), 0);
        for (age, entry) in entries.iter().rev().enumerate() {
            if entry.kind == EntryKind::Credit {
                left.insert((entry.expires_at, age), (entry.id, entry.amount));
                continue;
            }
            let mut rest = entry.amount;
            for paid in &entry.paid_by {
                let mut soonest = left.first_entry().expect("something is left");
                let (grant, amount) = soonest.get_mut();
                assert_eq!((paid.grant, paid.amount), (*grant, rest.min(*amount)), "{entry:?}");
                *amount = amount.saturating_sub(paid.amount);
                rest = rest.saturating_sub(paid.amount);
                if *amount == Amount::ZERO {
                    soonest.remove();
                }
            }
            assert_eq!(rest, Amount::ZERO, "{entry:?}");
            debits += 1;
        }
        assert!(debits > 20, "{debits} of {}", entries.len());
    }
}
