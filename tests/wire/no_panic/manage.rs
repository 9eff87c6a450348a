//! What operators do to an engine beside its rules: archives, customers, and what would have been.

use super::print;
use chrono::NaiveDate;
use limitry::alerts::AlertQuery;
use limitry::balances::{BalanceQuery, LedgerQuery};
use limitry::customer::Customer;
use limitry::events::CorrectionQuery;
use limitry::keys::{AdjustmentQuery, KeyQuery};
use limitry::rules::Threshold;
use limitry::simulation::{Attempt, Share, Traffic};
use limitry::time::Tz;
use limitry::{Amount, Engine, Event, RuleSet, Timestamp};

/// Archives all rules and brings them back.
pub(super) fn archive(engine: &Engine) {
    let rules = engine.rules();
    for rule in rules.list() {
        let id = rule.id().expect("made").to_owned();
        for _ in 0..2 {
            assert!(!format!("{:?}", rules.archive(&id).expect("it is there")).is_empty());
        }
        assert!(rules.archived().iter().any(|rule| rule.id() == Some(&*id)));
        assert!(rules.list().iter().all(|rule| rule.id() != Some(&*id)));
        // Another set may have a rule of this name by then, or the policy may be another kind's.
        rules.restore(&id).err().iter().for_each(print);
    }
    rules.archive("no such rule").err().iter().for_each(print);
    rules.restore("no such rule").err().iter().for_each(print);
}

/// Looks at customers, forgets the one of the event, or erases it.
pub(super) fn customers(engine: &Engine, event: &Event<'_>, text: &str, limit: usize, erase: bool) {
    let customers = engine.customers();
    let id = event.customer_id();
    for (zone, date) in [
        (Some(Tz::Pacific__Apia), NaiveDate::MIN),
        (None, NaiveDate::MAX),
        (Some(Tz::America__St_Johns), NaiveDate::default()),
    ] {
        let mut known = Customer::new(id).billing_anchor(date).metadata(text, limit);
        known.time_zone = zone.map(Into::into);
        customers.upsert(known.clone()).err().iter().for_each(print);
        known.metadata.clear();
        // What is set is used: periods begin by it.
        customers.upsert(known).err().iter().for_each(print);
        engine.record(event).err().iter().for_each(print);
        engine.standing(event).err().iter().for_each(print);
    }
    match customers.of(text) {
        Ok(values) => {
            let known = Customer::new(id).metadata("plan", text).name(text);
            values.upsert_all([known.clone(), known]).err().iter().for_each(print);
            assert!(!format!("{:?}", values.list(Some(text), limit)).is_empty());
            values.remove(id).err().iter().for_each(print);
            values.erase(id).err().iter().for_each(print);
        }
        Err(why) => print(&why),
    }
    customers.list(None, limit).err().iter().for_each(print);
    assert!(!format!("{:?}", (customers.get(id), customers.get(text))).is_empty());
    customers.remove(text).err().iter().for_each(print);
    if erase {
        match customers.erase(id) {
            Ok(report) => assert!(!format!("{report:?}").is_empty()),
            Err(why) => print(&why),
        }
    }
}

/// Tries rules out on what happened, on what is given, and asks for limits.
pub(super) fn what_if(engine: &Engine, event: &Event<'_>, rules: RuleSet, percent: i64) {
    let ends = [Timestamp::MIN, engine.now(), engine.now(), Timestamp::MAX];
    let attempts = |ends: [Timestamp; 4]| {
        let attempt = |at: Timestamp| Attempt::new(at, event.clone());
        ends.into_iter().map(attempt).zip([true, false, true, false])
    };
    let given = || {
        let known = attempts(ends.map(|_| engine.now()));
        Traffic::given(known.map(|(attempt, let_in)| attempt.was_let_in(let_in)))
    };
    let far = || Traffic::given(attempts(ends).map(|(attempt, _)| attempt));
    match engine.simulation(rules.clone()) {
        Ok(mut simulation) => {
            for (attempt, _) in attempts(ends) {
                simulation.replay(&attempt).err().iter().for_each(print);
            }
            assert!(!format!("{:?}", simulation.report(usize::MAX)).is_empty());
        }
        Err(why) => print(&why),
    }
    for traffic in [Traffic::recorded(), given(), far()] {
        match engine.simulate(rules.clone(), traffic) {
            Ok(report) => assert!(!format!("{report:?}").is_empty()),
            Err(why) => print(&why),
        }
    }
    for rule in engine.rules().list().into_iter().take(2) {
        for share in [Share::of_calls(percent), Share::of_customers(percent)] {
            engine.suggest(rule.clone(), share.clone()).err().iter().for_each(print);
            engine.suggest_over(rule.clone(), share, given()).err().iter().for_each(print);
        }
    }
}

/// Asks for every kind of page: so long, from any place, of who may not be there.
pub(super) fn pages(engine: &Engine, text: &str, limit: usize) {
    let short = u32::try_from(limit).unwrap_or(u32::MAX);
    for cursor in ["", "x", "-1", "[1]", "[1,\"a\"]", "[\"a\",[]]", text] {
        let adjustments = AdjustmentQuery::new().limit(short).cursor(cursor);
        let adjustments = adjustments.between(Timestamp::MAX, Timestamp::MIN);
        engine.rules().adjustments(&adjustments).err().iter().for_each(print);
        for id in engine.rules().list().iter().filter_map(|rule| rule.id()).chain([text]) {
            let keys = KeyQuery::new().limit(short).cursor(cursor);
            engine.rules().keys(id, &keys).err().iter().for_each(print);
        }
        let corrections = CorrectionQuery::new().limit(short).cursor(cursor);
        engine.events().corrections(&corrections).err().iter().for_each(print);
        engine.customers().list(Some(cursor), limit).err().iter().for_each(print);
    }
    for before in [0, 1, u64::MAX] {
        for threshold in [Threshold::percent(u32::MAX), Threshold::Amount(Amount::MIN)] {
            let query = AlertQuery::new().limit(limit).before(before);
            let page = engine.alerts().list(&query.rule(text).customer(text).threshold(threshold));
            assert!(page.alerts.is_empty());
        }
        let page = engine.alerts().list(&AlertQuery::new().limit(limit).before(before));
        assert!(page.alerts.len() <= 1_000 && !format!("{page:?}").is_empty());
    }
    let balances = engine.balances();
    let place = serde_json::json!({ "owner": text, "name": "" });
    let query = BalanceQuery::new().limit(limit).name(text);
    let query = query.after(serde_json::from_value(place).expect("a place"));
    assert!(balances.list(&query).balances.len() <= 1_000);
    for entry in ["ent_00000000000000000000000000", text].iter().filter_map(|id| id.parse().ok()) {
        let query = LedgerQuery::new().limit(limit).before(entry);
        balances.ledger("c", "credits", &query).err().iter().for_each(print);
    }
}
