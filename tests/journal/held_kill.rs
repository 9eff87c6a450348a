//! Goal: a process that is killed loses no reservation that it was told of with `Synced`, nor what
//! became of it. What is there adds up: what is used is what was committed, what is held is what
//! open reservations hold, and each commit has one event.
//!
//! Method: this program runs itself as a child, whose threads reserve, grow, extend, commit and
//! release, and print each call before it and its answer after it. It is killed (SIGKILL) after a
//! number of answers that the seed chooses, and its store is opened here, while holds expire from
//! one life to the next. `LIMITRY_LONG=1` has ten times as many deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use limitry::errors::{ReservationError, TrackError};
use limitry::events::EventQuery;
use limitry::reservations::{
    KeyStatus, ReservationId, ReservationQuery, ReservationState, ReservationStatus,
};
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit, Reserved, Window};

use crate::killed::{self, live_as_told, say};
use crate::support::{Dice, START, date, long, seed};

const CHILD: &str = "LIMITRY_HELD_KILL_CHILD";
const THREADS: u64 = 4;
/// How far the clock goes from one life to the next, in seconds.
const LIFE: u64 = 600;
pub(crate) const CUSTOMERS: [&str; 3] = ["ann", "bob", "eve"];

fn open(path: &Path, life: u64) -> Engine {
    let clock = ManualClock::new(date(START));
    clock.advance(Duration::from_secs(life * LIFE));
    let store = Durable::open(path).expect("a store that opens").durability(Durability::Synced);
    let tokens = Quota::new("tokens", Metric::TotalTokens, 1_u64 << 40, Period::Day);
    let bucket = RateLimit::new("bucket", 1_u64 << 40, Window::Hour).metric(Metric::TotalTokens);
    let customers = Quota::unlimited("customers", Metric::unique("customer_id"), Period::Day);
    Engine::builder()
        .clock(clock)
        .quota(tokens.per("customer_id"))
        .quota(Quota::concurrent("at once", 10_000).per("customer_id"))
        .quota(customers)
        .rate_limit(bucket)
        .max_reservations(10_000)
        .durable(store.max_waiting(64).max_batch(8))
        .build()
        .expect("an engine that goes on")
}

pub(crate) fn call(customer: &str, tokens: u64) -> Event<'static> {
    Event::new(customer.to_owned(), "call").total_tokens(tokens)
}

/// Not a test of its own: what the test below runs, and kills.
#[test]
fn child() {
    let live = |engine: &Engine, dice, (_, thread)| live(engine, dice, thread);
    live_as_told(CHILD, THREADS, open, live);
}

fn live(engine: &Engine, mut dice: Dice, thread: u64) {
    let mut open: Vec<(ReservationId, &str, u64)> = Vec::new();
    for number in 0..80 {
        let one = usize::try_from(dice.below(open.len().max(1) as u64)).expect("small");
        if open.is_empty() || dice.chance(40) {
            let (customer, tokens) = (dice.pick(&CUSTOMERS), dice.range(1, 100));
            let length = dice.pick(&[300, 900, 7_200]);
            let key = format!("{}-{thread}-{number}-{}", dice.next(), std::process::id());
            let event = call(customer, tokens).idempotency_key(key.clone());
            match engine.reserve(&event, Hold::lasting(Duration::from_secs(length))) {
                Ok(Reserved::Held(held)) => {
                    say(&format!("HELD {} {customer} {tokens} {key}", held.id()));
                    if dice.chance(10) {
                        // Dropped, and given back.
                        say(&format!("TRY {}", held.id()));
                        drop(held);
                    } else {
                        open.push((held.into_id(), customer, tokens));
                    }
                }
                Ok(other) => say(&format!("BAD {other:?}")),
                Err(ReservationError::Track(TrackError::Store(_))) => return,
                Err(why) => say(&format!("BAD {why}")),
            }
            continue;
        }
        let (id, customer, held) = open[one];
        say(&format!("TRY {id}"));
        let tokens = dice.range(1, 120);
        let done = match dice.below(10) {
            0 | 1 => engine.grow(id, &call(customer, tokens)).map(|_| {
                open[one].2 += tokens;
                format!("GREW {id} {}", held + tokens)
            }),
            2 => engine
                .extend(id, Duration::from_secs(7_200))
                .map(|until| format!("EXTENDED {id} {until}")),
            3..8 => engine.commit(id, &call(customer, tokens)).map(|decision| {
                open.swap_remove(one);
                let event = decision.event_id().expect("events are recorded");
                format!("COMMITTED {id} {event} {tokens}")
            }),
            _ => engine.release(id).map(|_| {
                open.swap_remove(one);
                format!("RELEASED {id}")
            }),
        };
        match done {
            Ok(line) => say(&line),
            Err(ReservationError::Track(TrackError::Store(_))) => return,
            Err(why) => say(&format!("BAD {why}")),
        }
    }
}

/// What a reservation was last said to be.
#[derive(Clone, Debug)]
struct Known {
    customer: String,
    asked: u64,
    held: u64,
    key: String,
    /// The event and the tokens of one that was committed.
    committed: Option<(String, u64)>,
    is_released: bool,
    /// A call about it had begun and no answer was heard.
    is_tried: bool,
}

type Story = BTreeMap<ReservationId, Known>;

impl killed::Story for Story {
    const CHILD: (&str, &str) = ("held_kill::child", CHILD);
    const LIVES: u64 = 4;
    const ANSWERS: u64 = 250;

    fn hear(&mut self, said: &str) {
        let parts: Vec<&str> = said.split(' ').collect();
        let id = || parts[1].parse::<ReservationId>().expect("an id");
        if parts[0] == "HELD" {
            let (customer, key) = (parts[2].to_owned(), parts[4].to_owned());
            let asked = parts[3].parse().expect("tokens");
            let (committed, is_released, is_tried) = (None, false, false);
            let known =
                Known { customer, asked, held: asked, key, committed, is_released, is_tried };
            assert!(self.insert(id(), known).is_none(), "a name was given twice");
            return;
        }
        let mut change = |change: &dyn Fn(&mut Known)| {
            let known = self.get_mut(&id()).expect("it was held");
            known.is_tried = false;
            change(known);
        };
        match parts[0] {
            "TRY" => change(&|known| known.is_tried = true),
            "GREW" => change(&|known| known.held = parts[2].parse().expect("tokens")),
            "EXTENDED" => change(&|_| {}),
            "COMMITTED" => change(&|known| {
                known.committed = Some((parts[2].to_owned(), parts[3].parse().expect("tokens")));
            }),
            "RELEASED" => change(&|known| known.is_released = true),
            _ => panic!("the child says {said}"),
        }
    }

    fn examine(&mut self, path: &Path, lives: u64, context: &str) {
        examine(path, lives, self, context);
    }
}

/// What is used is what was committed, what is held is what open reservations hold, and each commit
/// has one event. Of an engine whose first two quotas are on tokens and on slots, and a third, if
/// there is one, on customers.
pub(crate) fn adds_up(engine: &Engine, context: &str) {
    let all = engine.reservations().list(&ReservationQuery::new());
    let committed = all.iter().filter(|it| it.state == ReservationState::Committed).count();
    assert_eq!(engine.events().len(), committed, "{context}: an event each");
    for customer in CUSTOMERS {
        let standing = engine.standing(&call(customer, 0)).expect("good");
        let quotas: Vec<_> = standing.quotas().collect();
        let of = EventQuery::new().customer(customer);
        let events = engine.events().iter(of).expect("a good question");
        let tokens =
            |event: &Event<'_>| event.amount("total_tokens").map_or(0, |it| it.to_u64_floor());
        let used: u64 = events.map(|found| tokens(&found.event)).sum();
        let is_open = |it: &&ReservationStatus| {
            it.state == ReservationState::Held && it.estimate.customer_id() == customer
        };
        let open: Vec<_> = all.iter().filter(is_open).collect();
        let held: u64 = open.iter().map(|it| tokens(&it.estimate)).sum();
        let found = (quotas[0].used.to_u64_floor(), quotas[0].held.to_u64_floor());
        assert_eq!(found, (used, held), "{context}: {customer}");
        assert_eq!(quotas[1].held, open.len() as u64, "{context}: {customer}");
        if let Some(customers) = quotas.get(2) {
            let events = engine.events().iter(EventQuery::new()).expect("a good question");
            let known: BTreeSet<String> =
                events.map(|found| found.event.customer_id().to_owned()).collect();
            assert_eq!(customers.used, known.len() as u64, "{context}: {known:?}");
        }
    }
}

/// What is found adds up, and is what was said.
fn examine(path: &Path, life: u64, story: &Story, context: &str) {
    let engine = open(path, life);
    adds_up(&engine, context);
    for (id, known) in story {
        let status = engine.reservation(*id).unwrap_or_else(|| panic!("{context}: {id} is lost"));
        if let Some((event, tokens)) = &known.committed {
            assert_eq!(status.state, ReservationState::Committed, "{context}: {id}");
            let again = engine.commit(*id, &call(&known.customer, *tokens)).expect("once more");
            assert_eq!(again.outcome(), Outcome::Replayed, "{context}: {id}");
            assert_eq!(again.event_id().expect("recorded").to_string(), *event, "{context}: {id}");
        } else if known.is_released {
            assert_eq!(status.state, ReservationState::Released, "{context}: {id}");
        } else if !known.is_tried {
            let open = [ReservationState::Held, ReservationState::Expired];
            assert!(open.contains(&status.state), "{context}: {id}: {known:?}: {status:?}");
            assert_eq!(status.estimate.amount("total_tokens"), Some(known.held.into()), "{id}");
        }
        let event = call(&known.customer, known.asked).idempotency_key(known.key.clone());
        match engine.reserve(&event, Hold::default()) {
            Ok(Reserved::Replayed(KeyStatus::Reserved(again))) => assert_eq!(*again, status),
            other => panic!("{context}: {id}: {other:?}"),
        }
    }
    engine.store().verify(|_| ()).expect("it is whole");
    engine.store().close().expect("it closes");
}

#[test]
fn a_killed_process_loses_no_reservation() {
    let first = seed("held_kill", 40);
    for seed in first..first + if long() { 40 } else { 4 } {
        let story: Story = killed::story("held-kill", seed);
        let ended = story.values().filter(|known| known.committed.is_some()).count();
        println!("seed {seed}: {} reservations, {ended} committed", story.len());
    }
}
