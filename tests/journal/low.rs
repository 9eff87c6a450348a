//! Goal: that a balance has fallen to a threshold, and which credit has raised it since, is the
//! same after restarts and crashes: no alert is lost, none fires twice, and each keeps its id.
//!
//! Method: random lives (events, credits, debits, balances that are removed and made again, with
//! close, drop and crash between) beside a twin that is never stopped: after every step both have
//! the same history.

use limitry::alerts::{AlertId, AlertQuery};
use limitry::balances::{Credit, Debit, NewBalance};
use limitry::rules::Threshold;
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Hold, Metric, Quota, Reserved};

use crate::support::{Dice, START, cases, date, seed};

fn open(store: &MemoryStore, clock: &ManualClock) -> Engine {
    let store = store.open().expect("nobody has it").durability(Durability::Synced);
    let quota = Quota::balance("credits", Metric::value("v")).id("spend").per("customer_id");
    let thresholds = [60, 30, 0].map(Threshold::amount);
    let quota = thresholds.into_iter().fold(quota, Quota::alert_at);
    let builder = Engine::builder().clock(clock.clone()).durable(store);
    builder.quota(quota).build().expect("an engine")
}

/// The history, the newest first.
fn history(engine: &Engine) -> Vec<(AlertId, String)> {
    let page = engine.alerts().list(&AlertQuery::new().limit(100));
    assert_eq!(page.next, None, "a short life");
    let all = page.alerts.iter();
    all.map(|it| (it.id, format!("{} {:?} {:?}", it.threshold, it.customer_id, it.remaining)))
        .collect()
}

fn texts(engine: &Engine) -> Vec<String> {
    history(engine).into_iter().map(|(_, text)| text).collect()
}

fn step(engine: &Engine, dice: &mut Dice) {
    let owner = ["ann", "bob"][dice.below(2) as usize];
    let (what, amount) = (dice.below(12), dice.below(40));
    let balances = engine.balances();
    let event = |value: i64| Event::new(owner, "call").value("v", value);
    let value = i64::try_from(amount).expect("small");
    match what {
        0 => drop(balances.credit(owner, "credits", &Credit::new(amount + 1))),
        1 => drop(balances.debit(owner, "credits", &Debit::new(amount + 1))),
        2 => {
            let _ = balances.remove(owner, "credits");
            let account = NewBalance::new(owner, "credits").initial(amount * 3).minimum(-50);
            balances.create(&account).expect("it is not there");
        }
        3 => drop(engine.track(&event(-value)).expect("valid")),
        4 => {
            if let Ok(Reserved::Held(held)) = engine.reserve(&event(value + 9), Hold::default()) {
                drop(held.commit(&event(value)).expect("it commits"));
            }
        }
        _ => drop(engine.track(&event(value)).expect("valid")),
    }
}

#[test]
fn any_life_has_the_history_of_one_that_was_never_stopped() {
    let seed = seed("any_life_has_the_history_of_one_that_was_never_stopped", 21);
    let mut fired = 0;
    for case in 0..u64::from(cases(20)) {
        let mut dice = Dice::new(seed + case);
        let (mut store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
        let (mut engine, twin) = (open(&store, &clock), open(&MemoryStore::new(), &clock));
        let mut known: Vec<(AlertId, String)> = Vec::new();
        for number in 0..70 {
            let drawn = dice.next();
            step(&engine, &mut Dice::new(drawn));
            step(&twin, &mut Dice::new(drawn));
            clock.advance(std::time::Duration::from_secs(1 + dice.below(50)));
            let how = dice.below(12);
            if how < 3 {
                if how == 0 {
                    engine.store().close().expect("it closes");
                } else if how == 1 {
                    store = store.after_crash();
                }
                drop(engine);
                engine = open(&store, &clock);
            }
            let now = history(&engine);
            assert_eq!(texts(&engine), texts(&twin), "case {case}, step {number}");
            assert!(now.ends_with(&known), "case {case}, step {number}: ids stay");
            known = now;
        }
        let mut ids: Vec<AlertId> = known.iter().map(|(id, _)| *id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), known.len(), "case {case}: each has its own");
        fired += ids.len();
    }
    assert!(fired > 0, "something fires");
}
