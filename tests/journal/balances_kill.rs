//! Goal: a process that is killed loses no credit and no debit that it was told of with `Synced`,
//! counts none twice that is made again with its key, and takes no credits without their event.
//!
//! Method: this program runs itself as a child, whose threads credit, debit, track and reserve, and
//! print each answer. It is killed (SIGKILL) after a number of answers that the seed chooses, and
//! its store is opened here. `LIMITRY_LONG=1` has ten times as many deaths.

use std::path::Path;
use std::time::Duration;

use limitry::balances::{Credit, Debit, EntryKind, LedgerQuery, NewBalance};
use limitry::errors::BalanceError;
use limitry::events::EventQuery;
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::{Amount, Engine, Event, Hold, Metric, Quota, Reserved};

use crate::killed::{self, live_as_told, say};
use crate::support::{Dice, START, date, long, seed};

const CHILD: &str = "LIMITRY_BALANCES_KILL_CHILD";
const THREADS: u64 = 4;

fn open(path: &Path, life: u64) -> Engine {
    let clock = ManualClock::new(date(START));
    clock.advance(Duration::from_secs(life * 600));
    let store = Durable::open(path).expect("a store that opens").durability(Durability::Synced);
    Engine::builder()
        .clock(clock)
        .quota(Quota::balance("credits", Metric::TotalTokens).per("customer_id"))
        .durable(store.max_waiting(64).max_batch(8))
        .build()
        .expect("an engine that goes on")
}

/// What a call with a key asks for follows from the key.
fn credit(key: &str) -> Credit {
    Credit::new(key.len() as u64).reference(key).idempotency_key(key)
}

fn debit(key: &str) -> Debit {
    Debit::new(key.len() as u64).reference(key).idempotency_key(key)
}

/// Not a test of its own: what the test below runs, and kills.
#[test]
fn child() {
    let with_credits = |path: &Path, life| {
        let engine = open(path, life);
        match engine.balances().create(&NewBalance::new("ann", "credits").initial(500)) {
            Ok(_) | Err(BalanceError::Exists { .. }) => {}
            Err(why) => say(&format!("BAD {why}")),
        }
        engine
    };
    live_as_told(CHILD, THREADS, with_credits, |engine, dice, (life, thread)| {
        live(engine, dice, &format!("{life}-{thread}"));
    });
}

fn live(engine: &Engine, mut dice: Dice, name: &str) {
    let balances = engine.balances();
    for number in 0..80 {
        let key = format!("{name}-{number}-{}", "x".repeat(dice.below(30) as usize));
        let event = Event::new("ann", "call").total_tokens(dice.range(1, 9));
        match dice.below(4) {
            0 => match balances.credit("ann", "credits", &credit(&key)) {
                Ok(_) => say(&format!("CREDIT {key}")),
                Err(_) => return,
            },
            1 => match balances.debit("ann", "credits", &debit(&key)) {
                Ok(done) if done.is_posted() => say(&format!("DEBIT {key}")),
                Ok(_) => {}
                Err(_) => return,
            },
            2 => match engine.track(&event) {
                Ok(decision) => {
                    if let Some(id) = decision.event_id() {
                        say(&format!("EVENT {id}"));
                    }
                }
                Err(_) => return,
            },
            _ => {
                let hold = Hold::lasting(Duration::from_secs(dice.pick(&[300, 900])));
                let Ok(reserved) = engine.reserve(&event, hold) else { return };
                if let Reserved::Held(held) = reserved {
                    if dice.chance(20) {
                        let _ = held.into_id();
                    } else if let Ok(decision) = held.commit(&event) {
                        say(&format!("EVENT {}", decision.event_id().expect("recorded")));
                    }
                }
            }
        }
    }
}

/// The answers that were heard.
type Heard = Vec<String>;

impl killed::Story for Heard {
    const CHILD: (&str, &str) = ("balances_kill::child", CHILD);
    const LIVES: u64 = 4;
    const ANSWERS: u64 = 50;

    fn hear(&mut self, said: &str) {
        assert!(!said.starts_with("BAD"), "{said}");
        self.push(said.to_owned());
    }

    fn examine(&mut self, path: &Path, lives: u64, context: &str) {
        examine(path, lives, self, context);
    }
}

/// All that was heard is there, once, and the sums are right.
fn examine(path: &Path, life: u64, heard: &[String], context: &str) {
    let engine = open(path, life);
    let balances = engine.balances();
    let Ok(balance) = balances.get("ann", "credits") else {
        assert!(heard.is_empty(), "{context}: the balance is lost");
        return;
    };
    // What events have taken is what is recorded of them.
    let page = balances.ledger("ann", "credits", &LedgerQuery::new().limit(1_000));
    let page = page.expect("it is there").transactions;
    for entry in page.iter().filter(|entry| entry.event_id.is_some()) {
        let found = engine.events().iter(EventQuery::new()).expect("a good question");
        let mut found = found.filter(|event| Some(event.id) == entry.event_id);
        let event = found.next().unwrap_or_else(|| panic!("{context}: {entry:?} has no event"));
        assert_eq!(event.event.amount("total_tokens"), Some(entry.amount), "{context}");
    }
    for pair in page.windows(2) {
        let (entry, before) = (&pair[0], &pair[1]);
        let due = match entry.kind {
            EntryKind::Credit => before.balance.saturating_add(entry.amount),
            _ => before.balance.saturating_sub(entry.amount),
        };
        assert_eq!(entry.balance, due, "{context}");
    }
    let paid = page.iter().filter_map(|entry| entry.event_id).count();
    assert!(page.len() < 256 && paid == engine.events().len(), "{context}: an entry an event");
    for said in heard {
        let (what, name) = said.split_once(' ').unwrap_or((said, ""));
        match what {
            "CREDIT" => {
                let again = balances.credit("ann", "credits", &credit(name)).expect("the same");
                assert!(again.is_replay, "{context}: {said} is lost");
            }
            "DEBIT" => {
                let again = balances.debit("ann", "credits", &debit(name)).expect("the same");
                assert!(again.is_posted(), "{context}: {said} is lost");
            }
            "EVENT" => {
                let is_it = |event: &limitry::events::RecordedEvent| event.id.to_string() == name;
                let mut events = engine.events().iter(EventQuery::new()).expect("good");
                assert!(events.any(|event| is_it(&event)), "{context}: {said} is lost");
            }
            _ => panic!("{context}: the child says {said}"),
        }
    }
    let again: Amount = balances.get("ann", "credits").expect("it is there").current_balance;
    assert_eq!(again, balance.current_balance, "{context}: something counted twice");
    engine.store().verify(|_| ()).expect("it is whole");
    engine.store().close().expect("it closes");
}

#[test]
fn a_killed_process_loses_no_credit() {
    let first = seed("balances_kill", 40);
    for seed in first..first + if long() { 40 } else { 4 } {
        let heard: Heard = killed::story("balances-kill", seed);
        println!("seed {seed}: {} answers", heard.len());
    }
}
