//! What operators do to an engine beside its rules: archives, customers, and what would have been.

use super::print;
use limitry::customer::Customer;
use limitry::simulation::{Attempt, Share, Traffic};
use limitry::{Engine, Event, RuleSet};

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
    let given = || Traffic::given((0..3).map(|_| Attempt::new(engine.now(), event.clone())));
    for traffic in [Traffic::recorded(), given()] {
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
