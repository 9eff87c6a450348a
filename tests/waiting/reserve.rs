//! Goal: who waits for room for a reservation is let in when another one is committed, released,
//! dropped or expires, in the order in which they came.
//!
//! Method: a manual clock, and an executor that polls what is woken and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reservation, Reserved};

use crate::executor::Executor;
use crate::support::engine;

const MINUTE: Duration = Duration::from_secs(60);

fn call(tokens: u64) -> Event<'static> {
    Event::new("a", "call").total_tokens(tokens)
}

/// Tasks that wait for a reservation, and what they got.
#[derive(Default)]
struct Waiters {
    tasks: Executor,
    got: Arc<Mutex<BTreeMap<usize, Reserved>>>,
    next: usize,
}

impl Waiters {
    fn wait(&mut self, engine: &Engine, event: Event<'static>) -> usize {
        let (engine, got, number) = (engine.clone(), Arc::clone(&self.got), self.next);
        self.next += 1;
        self.tasks.spawn(async move {
            let reserved = engine.wait_reserve(&event, Hold::lasting(MINUTE)).await?;
            got.lock().expect("not poisoned").insert(number, reserved);
            Ok(engine.check(&Event::new("nobody", "ends"))?)
        });
        number
    }

    /// The numbers of those that were let in since it was asked the last time.
    fn held(&mut self) -> Vec<(usize, Reserved)> {
        self.tasks.run().into_iter().for_each(|(_, answer)| drop(answer.expect("a good event")));
        std::mem::take(&mut *self.got.lock().expect("not poisoned")).into_iter().collect()
    }
}

/// The only one that was let in.
fn one(held: Vec<(usize, Reserved)>, number: usize) -> Reservation {
    let [(found, reserved)]: [_; 1] = held.try_into().expect("one was let in");
    assert_eq!(found, number);
    match reserved {
        Reserved::Held(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_end_of_a_reservation_wakes_who_waits_for_it() {
    let (engine, clock) = engine(|it| {
        it.quota(Quota::concurrent("At once", 1).per("customer_id")).quota(Quota::new(
            "Tokens",
            Metric::TotalTokens,
            100,
            Period::Day,
        ))
    });
    let mut waiters = Waiters::default();
    for _ in 0..6 {
        waiters.wait(&engine, call(30));
    }
    let first = one(waiters.held(), 0);
    let _ = first.commit(&call(10)).expect("it is open");
    let second = one(waiters.held(), 1);
    let _ = second.release().expect("it is open");
    let third = one(waiters.held(), 2);
    drop(third);
    let fourth = one(waiters.held(), 3);
    std::mem::forget(fourth);
    clock.advance(MINUTE - Duration::from_nanos(1));
    assert!(waiters.held().is_empty());
    clock.advance(Duration::from_nanos(1));
    let fifth = one(waiters.held(), 4);
    let _ = fifth.commit(&call(61)).expect("it is open");
    assert!(waiters.held().is_empty(), "no more than 29 tokens are left");
}

#[test]
fn tokens_that_are_given_back_let_in_who_waits_for_them() {
    let (engine, _clock) =
        engine(|it| it.quota(Quota::new("Tokens", Metric::TotalTokens, 100, Period::Day)));
    let mut waiters = Waiters::default();
    for tokens in [90, 50, 40] {
        waiters.wait(&engine, call(tokens));
    }
    let large = one(waiters.held(), 0);
    let _ = large.commit(&call(10)).expect("it is open");
    assert_eq!(waiters.held().len(), 2);
}

/// No rule has too little room: the customer has as many as it may have open.
#[test]
fn one_with_too_many_open_waits_for_an_end() {
    let (engine, clock) = engine(|it| it.max_reservations(1));
    let mut waiters = Waiters::default();
    for _ in 0..3 {
        waiters.wait(&engine, call(1));
    }
    let first = one(waiters.held(), 0);
    let _ = first.release().expect("it is open");
    let second = one(waiters.held(), 1);
    std::mem::forget(second);
    clock.advance(MINUTE);
    let _third = one(waiters.held(), 2);
    assert!(engine.waiting().is_empty());
}

#[test]
fn a_deadline_answers_the_refusal() {
    let (engine, clock) = engine(|it| it.quota(Quota::concurrent("At once", 1)));
    let held = engine.reserve(&call(1), Hold::lasting(MINUTE)).expect("a good event");
    let mut tasks = Executor::default();
    let (waits, at) = (engine.clone(), engine.now() + MINUTE / 2);
    tasks.spawn(async move {
        let event = call(1);
        let hold = Hold::lasting(MINUTE);
        match waits.wait_reserve_until(&event, hold, at).await? {
            Reserved::Refused(decision) => Ok(decision),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(tasks.run().len(), 0);
    clock.advance(MINUTE / 2);
    assert!(!tasks.run().remove(0).1.expect("a decision").is_allowed());
    drop(held);
    let event = call(1);
    let reserved = engine.wait_reserve_blocking(&event, Hold::lasting(MINUTE));
    assert!(matches!(reserved, Ok(Reserved::Held(_))));
}
