//! Goal: however events are recorded, committed, voided and amended that several rules of one
//! balance take from, the balance is what was posted less what the events are now, and the sum of
//! its ledger; no grant has anything left while something is owed.
//!
//! Method: seeded random steps against a sum over the events as they are. Where grants expire only
//! the ledger is summed up. With a store the engine is opened anew now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use limitry::balances::{Credit, Debit, EntryKind, LedgerQuery, NewBalance};
use limitry::events::EventId;
use limitry::time::ManualClock;
use limitry::{Amount, Engine, EngineBuilder, Event, Hold, Metric, Quota, Reserved};

use crate::support::{Dice, cases, engine, seed};

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Opens the store of an engine again.
type Reopen<'r> = &'r dyn Fn(Engine, &ManualClock) -> Engine;

/// Units of a credit are millionths here.
type Units = i128;

fn event<'a>((is_both, tokens, extra): (bool, u64, i64)) -> Event<'a> {
    let event = Event::new("ann", if is_both { "both" } else { "call" }).total_tokens(tokens);
    event.value("extra", Amount::from_millionths(extra.into()))
}

/// What the two rules take of an event.
fn takes((is_both, tokens, extra): (bool, u64, i64)) -> Units {
    Units::from(tokens) * 1_000_000 + if is_both { extra.into() } else { 0 }
}

fn what(dice: &mut Dice, is_both: bool) -> (bool, u64, i64) {
    let extra = i64::try_from(dice.range(0, 4_000_000)).expect("small");
    (is_both, dice.range(0, 6), extra - if dice.chance(30) { 4_000_000 } else { 0 })
}

fn rules(builder: EngineBuilder) -> EngineBuilder {
    let credits = |metric| Quota::balance("credits", metric).per("customer_id");
    builder
        .quota(credits(Metric::TotalTokens).id("tokens"))
        .quota(credits(Metric::value("extra")).id("extra").filter("event_type", "both"))
}

fn round(dice: &mut Dice, (mut engine, clock): (Engine, ManualClock), reopen: Option<Reopen<'_>>) {
    let expires = dice.chance(50);
    engine
        .balances()
        .create(&NewBalance::new("ann", "credits").initial(20).minimum(-5))
        .expect("good");
    let mut posted: Units = 20_000_000;
    let mut events: BTreeMap<EventId, ((bool, u64, i64), bool)> = BTreeMap::new();
    let mut open = Vec::new();
    let mut steps: Vec<String> = Vec::new();
    for _ in 0..60 {
        if let Some(reopen) = reopen.filter(|_| dice.chance(6)) {
            engine = reopen(engine, &clock);
        }
        let balances = engine.balances();
        match dice.range(0, 11) {
            0 => {
                let units = dice.range(1, 9);
                let mut credit = Credit::new(units).priority(i32::from(dice.chance(50)));
                if expires {
                    credit = credit.expires_at(engine.now() + secs(dice.range(1, 9)));
                }
                balances.credit("ann", "credits", &credit).expect("good");
                posted += Units::from(units) * 1_000_000;
            }
            1 => {
                let units = dice.range(1, 5);
                if balances.debit("ann", "credits", &Debit::new(units)).expect("good").is_posted() {
                    posted -= Units::from(units) * 1_000_000;
                }
            }
            2 => clock.advance(Duration::from_millis(dice.range(0, 1_500))),
            3..=5 => {
                let is_both = dice.chance(50);
                let is = what(dice, is_both);
                let done = if dice.chance(50) {
                    engine.track(&event(is)).expect("good")
                } else {
                    engine.record(&event(is)).expect("good")
                };
                steps.push(format!("meter {is:?} {:?}", done.event_id()));
                events.extend(done.event_id().map(|id| (id, (is, false))));
            }
            6 | 7 => {
                let is_both = dice.chance(50);
                let mut is = what(dice, is_both);
                is.2 = is.2.abs();
                steps.push(format!("reserve {is:?}"));
                let hold = Hold::lasting(secs(dice.range(1, 4)));
                if let Reserved::Held(held) = engine.reserve(&event(is), hold).expect("good") {
                    open.push((held.into_id(), is_both));
                }
            }
            8 if !open.is_empty() => {
                let at = usize::try_from(dice.range(0, open.len() as u64 - 1)).expect("small");
                let (id, is_both) = open.swap_remove(at);
                if dice.chance(70) {
                    let is = what(dice, is_both);
                    steps.push(format!("commit {id} {is:?}"));
                    let done = engine.commit(id, &event(is)).expect("it is open");
                    events.extend(done.event_id().map(|id| (id, (is, false))));
                } else {
                    engine.release(id).expect("it is open");
                }
            }
            _ if !events.is_empty() => {
                let at = usize::try_from(dice.range(0, events.len() as u64 - 1)).expect("small");
                let (id, (is, is_void)) = events.iter_mut().nth(at).expect("one of them");
                if dice.chance(40) {
                    steps.push(format!("void {id} of {is:?}"));
                    engine.void(*id, "void").expect("it is recorded");
                    *is_void = true;
                } else if !*is_void {
                    let new = what(dice, is.0);
                    steps.push(format!("amend {id} {is:?} to {new:?}"));
                    engine.amend(*id, &event(new), "amended").expect("it is recorded");
                    *is = new;
                }
            }
            _ => {}
        }
        let balance = balances.get("ann", "credits").expect("there");
        let ledger = LedgerQuery::new().limit(1_000);
        let page = balances.ledger("ann", "credits", &ledger).expect("there");
        let sum: Units = page
            .transactions
            .iter()
            .map(|it| match it.kind {
                EntryKind::Credit => it.amount.millionths(),
                _ => -it.amount.millionths(),
            })
            .sum();
        assert_eq!(balance.current_balance.millionths(), sum, "{balance:?} {page:#?}");
        if !expires {
            let live = events.values().filter(|(_, is_void)| !is_void);
            let due = posted - live.map(|(is, _)| takes(*is)).sum::<Units>();
            assert_eq!(sum, due, "{steps:#?} {page:#?}");
        }
        let grants = balances.grants("ann", "credits").expect("there");
        let left: Units = grants.iter().map(|it| it.remaining.millionths()).sum();
        let held: Units = grants.iter().map(|it| it.held.millionths()).sum();
        let owed = left + held - sum;
        assert!(owed >= 0 && (owed == 0 || left == 0), "{owed} {grants:#?} {balance:?}");
    }
}

#[test]
fn a_balance_is_what_events_are_now() {
    let mut dice = Dice::new(seed("a_balance_is_what_events_are_now", 7));
    for _ in 0..cases(40) {
        round(&mut dice, engine(rules), None);
    }
}

#[cfg(feature = "durable")]
#[test]
fn so_is_one_of_an_engine_that_is_opened_again() {
    use limitry::store::MemoryStore;

    let mut dice = Dice::new(seed("so_is_one_of_an_engine_that_is_opened_again", 8));
    for _ in 0..cases(10) {
        let store = MemoryStore::new();
        let first = engine(|it| rules(it.durable(store.open().expect("nobody has it"))));
        let reopen = |engine: Engine, clock: &ManualClock| {
            drop(engine);
            let again = Engine::builder().clock(clock.clone());
            let again = rules(again.durable(store.open().expect("nobody has it")));
            again.build().expect("the rules are valid")
        };
        round(&mut dice, first, Some(&reopen));
    }
}
