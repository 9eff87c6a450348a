//! Balances in a run: rules that take from them, and who makes, credits, debits and removes them.

use super::Run;
use super::steps::rule_of;
use crate::support::oracle::accounts::By;
use crate::support::oracle::{
    AccountKey, Asked, DAY, HOUR, Kind, MINUTE, Milli, Nanos, PlainPost, PlainPosted, Rule, SECOND,
};
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 2] = ["credits", "coins"];

/// What is done to a balance.
#[derive(Clone, Debug)]
pub(crate) enum Pay {
    Create(AccountKey, Milli, Milli),
    Remove(AccountKey),
    /// Credits or debits; what is credited expires so long after now.
    Post(AccountKey, PlainPost, Option<Nanos>),
    /// To where a grant expires, and so many nanoseconds beside it.
    ToExpiry(usize, i64),
}

impl Run<'_> {
    pub(super) fn pay(&mut self, what: &Pay) -> Result<(), String> {
        match what {
            Pay::Create(key, initial, minimum) => {
                let made = self.pair.create_balance(key, *initial, *minimum)?;
                self.meet(if made.is_ok() { "balance made" } else { "balance not made" });
            }
            Pay::Remove(key) => {
                let removed = self.pair.remove_balance(key)?;
                self.meet(if removed.is_ok() { "balance removed" } else { "no balance" });
            }
            Pay::Post(key, post, after) => {
                let expires = after.map(|after| self.pair.oracle.read_clock() + after);
                let post =
                    PlainPost { expires: expires.filter(|_| post.is_credit), ..post.clone() };
                let answer = self.pair.post(key, &post)?;
                self.meet(match answer {
                    Ok(PlainPosted::Posted { is_replay: true, .. }) => "posted again",
                    Ok(PlainPosted::Posted { .. }) if post.is_credit => "credited",
                    Ok(PlainPosted::Posted { .. }) => "debited",
                    Ok(PlainPosted::Insufficient) => "not debited",
                    Err(_) => "not posted",
                });
            }
            Pay::ToExpiry(which, beside) => {
                let accounts = self.pair.oracle.accounts();
                let grants = accounts.flat_map(|(_, account)| account.in_order());
                let ends: Vec<Nanos> = grants.filter_map(|grant| grant.expires).collect();
                if let Some(end) = super::chosen(&ends, *which) {
                    self.set(end - self.pair.oracle.ahead() + i128::from(*beside));
                    self.meet("to the expiry of a grant");
                }
            }
        }
        Ok(())
    }

    /// Notes what was met of balances.
    pub(super) fn meet_balances(&mut self) {
        let accounts: Vec<_> = self.pair.oracle.accounts().map(|(_, it)| it.clone()).collect();
        for account in accounts {
            let by = |by: By| account.entries.iter().any(|entry| entry.by == by);
            let is_split = account.entries.iter().any(|entry| entry.paid.len() > 1);
            let is_low = account.current() < account.minimum;
            for (is_met, what) in [
                (by(By::Event), "paid by a balance"),
                (by(By::Time), "a grant expired"),
                (is_split, "paid by grants together"),
                (account.held() > 0, "held of a balance"),
                (is_low, "below its minimum"),
            ] {
                if is_met {
                    self.meet(what);
                }
            }
        }
    }
}

pub(super) fn opening() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 1 => Just(Some(0)), 2 => (1_u64..20).prop_map(Some)]
}

/// A rule that goes by a balance.
pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let kind = (select(NAMES.to_vec()), opening());
    let kind = kind.prop_map(|(name, opening)| Kind::Balance { name, opening });
    (rule_of(kind), select(vec!["customer_id", "customer_id", "team"])).prop_map(|(rule, owner)| {
        let can_be_there = |(key, asked): &(String, Asked)| key != owner || *asked != Asked::Absent;
        let filter = rule.filter.into_iter().filter(can_be_there).collect();
        Rule { limit: 0, per: vec![owner.into()], filter, ..rule }
    })
}

fn key() -> impl Strategy<Value = AccountKey> {
    let owners = vec!["ann", "ann", "bob", "red"];
    (select(NAMES.to_vec()), select(owners).prop_map(str::to_owned))
}

fn milli() -> impl Strategy<Value = Milli> {
    prop_oneof![3 => (1_i128..40).prop_map(|it| it * 1_000), 1 => 1_i128..9_000]
}

pub(super) fn create() -> impl Strategy<Value = Pay> {
    let minimum = select(vec![0, 0, 0, 2_000, -5_000, -20_500]);
    let initial = prop_oneof![1 => Just(0), 3 => milli()];
    (key(), initial, minimum).prop_map(|(key, initial, minimum)| Pay::Create(key, initial, minimum))
}

pub(super) fn pay() -> impl Strategy<Value = Pay> {
    let lengths = vec![0, 1, SECOND, 10 * SECOND, MINUTE, HOUR, DAY, 9 * DAY];
    let lasting = proptest::option::weighted(0.8, select(lengths));
    let once = proptest::option::weighted(0.25, select(vec!["p1", "p2"]));
    let post = (proptest::bool::weighted(0.7), milli(), -1_i32..=1, once).prop_map(
        |(is_credit, units, priority, once)| PlainPost {
            is_credit,
            units,
            expires: None,
            priority: if is_credit { priority } else { 0 },
            once: once.map(str::to_owned),
        },
    );
    prop_oneof![
        4 => create(),
        1 => key().prop_map(Pay::Remove),
        8 => (key(), post, lasting).prop_map(|(key, post, lasting)| Pay::Post(key, post, lasting)),
        3 => (any::<usize>(), -1_i64..=1)
            .prop_map(|(which, beside)| Pay::ToExpiry(which, beside)),
    ]
}
