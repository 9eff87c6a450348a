//! Goal: calls, changes of the rules and the writer of the store never wait for each other in a
//! circle.
//!
//! Method: threads do at once what takes the same locks in turn, many times over, and must end in
//! a time that is long beside what they need.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use crate::held_kill::{CUSTOMERS, adds_up, call};
use crate::support::medium::{Medium, Unsynced};
use crate::support::{Dice, START, date};
use limitry::reservations::ReservationQuery;
use limitry::rules::RateLimitUpdate;
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, Window};

/// More than any of this takes.
const LONG: Duration = Duration::from_secs(120);

fn engine(medium: &Medium) -> Engine {
    let store = Durable::open_on(medium.clone()).expect("a store");
    let rule = RateLimit::new("all", 1_000_000, Window::Minute).id("rl");
    let engine = Engine::builder().rate_limit(rule).durable(store.durability(Durability::Memory));
    engine.build().expect("an engine")
}

/// Runs the one until it ends and the other, which is told its turn, again and again meanwhile.
fn together(
    engine: Engine,
    work: impl Fn(&Engine) + Send + 'static,
    again: impl Fn(&Engine, u64) + Send + 'static,
) {
    let (engine, done) = (Arc::new(engine), Arc::new(AtomicBool::new(false)));
    let (ended, ends) = mpsc::channel();
    let (other, other_done, other_ended) = (Arc::clone(&engine), Arc::clone(&done), ended.clone());
    thread::spawn(move || {
        let mut turn = 0;
        while !other_done.load(Ordering::Acquire) {
            turn += 1;
            again(&other, turn);
        }
        let _ = other_ended.send(());
    });
    thread::spawn(move || {
        work(&engine);
        done.store(true, Ordering::Release);
        let _ = ended.send(());
    });
    for _ in 0..2 {
        ends.recv_timeout(LONG).expect("they wait for each other");
    }
}

#[test]
fn a_retry_and_a_change_of_the_rules_do_not_wait_for_each_other() {
    let retries = |engine: &Engine| {
        for number in 0..40_000 {
            let event = Event::new("c", "call").idempotency_key(format!("key {number}"));
            assert!(!engine.track(&event).expect("a good event").is_replay());
            // Its record is still in the queue, most of the time.
            for _ in 0..10 {
                assert!(engine.track(&event).expect("a good event").is_replay());
            }
        }
    };
    let changes = |engine: &Engine, turn: u64| {
        let update = RateLimitUpdate::new().limit(1_000_000 + turn);
        engine.rules().update("rl", update).expect("a good rule");
    };
    together(engine(&Medium::new()), retries, changes);
}

/// Who makes and ends reservations, the writer who copies them, and who changes rules, which begins
/// checkpoints again; with a queue that is always full.
#[test]
fn reservations_checkpoints_and_changes_of_the_rules_do_not_wait_for_each_other() {
    let store = Durable::open_on(Medium::new()).expect("a store").durability(Durability::Memory);
    let rule = RateLimit::new("all", 1_000_000, Window::Minute).id("rl").per("customer_id");
    let engine = Engine::builder()
        .rate_limit(rule)
        .quota(Quota::concurrent("at once", 900).per("customer_id"))
        .durable(store.max_waiting(8).max_batch(4))
        .build()
        .expect("an engine");
    let work = |engine: &Engine| {
        thread::scope(|scope| {
            for worker in 0..3 {
                scope.spawn(move || {
                    for number in 0..1_500 {
                        let event = Event::new(format!("c{}", number % 3), "call");
                        let event = event.idempotency_key(format!("{worker} {number}"));
                        let hold = Hold::lasting(Duration::from_millis(1 + number % 40));
                        let answer = engine.reserve(&event, hold).expect("a good event");
                        let Reserved::Held(held) = answer else { panic!("{answer:?}") };
                        let call = Event::new(format!("c{}", number % 3), "call");
                        match number % 4 {
                            0 => drop(held),
                            1 => assert!(held.commit(&call).expect("it happened").is_allowed()),
                            2 => drop(engine.release(held.into_id())),
                            _ => drop(held.into_id()),
                        }
                    }
                });
            }
        });
        engine.store().verify(|_| ()).expect("it is whole");
    };
    let changes = |engine: &Engine, turn: u64| {
        let window = [Window::Minute, Window::Hour][usize::from(turn.is_multiple_of(2))];
        engine.rules().update("rl", RateLimitUpdate::new().window(window)).expect("a good rule");
        assert!(engine.reservations().count(&ReservationQuery::new()) <= 4_500);
    };
    together(engine, work, changes);
}

#[test]
fn the_last_handle_commits_what_waits_and_closes_the_store() {
    let medium = Medium::default();
    let first = engine(&medium);
    let event = Event::new("cust_1", "call");
    let decision = first.track(&event).expect("a good event");
    let (waited, polled) = (first.store().committed(&decision), first.store().committed(&decision));
    let last = first.clone();
    drop(first);
    assert!(last.store().health().is_good());
    let _ = last.track(&event).expect("it is open");
    // Neither a commit nor what shows events keeps it open.
    let events = last.events();
    drop(last);
    assert_eq!(waited.wait(), Ok(()));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(pin!(polled).poll(&mut context), Poll::Ready(Ok(())));
    assert_eq!(events.len(), 2);
    assert_eq!(engine(&medium).events().len(), 2);
}

/// Threads reserve and end what they have reserved, rules change and so begin checkpoints all the
/// time, and the machine stops at any moment: what is found adds up.
#[cfg(unix)]
#[test]
fn what_threads_hold_adds_up_whenever_the_machine_stops() {
    let (medium, clock) = (Medium::new(), ManualClock::new(date(START)));
    let build = |medium: &Medium, clock: &ManualClock| {
        let store =
            Durable::open_on(medium.clone()).expect("a store").durability(Durability::Memory);
        let tokens = Quota::new("tokens", Metric::TotalTokens, 1_u64 << 40, Period::AllTime);
        let rule = RateLimit::new("all", 1_000_000, Window::Minute).id("rl").per("customer_id");
        Engine::builder()
            .clock(clock.clone())
            .quota(tokens.per("customer_id"))
            .quota(Quota::concurrent("at once", 9_000).per("customer_id"))
            .rate_limit(rule)
            .durable(store.max_waiting(16).max_batch(4))
            .build()
            .expect("an engine")
    };
    let engine = build(&medium, &clock);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (engine, clock, done) = (&engine, &clock, &done);
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                scope.spawn(move || {
                    let mut dice = Dice::new(worker);
                    let mut open = Vec::new();
                    for _ in 0..2_000 {
                        let (customer, tokens) = (dice.pick(&CUSTOMERS), dice.range(1, 90));
                        let hold = Hold::lasting(Duration::from_millis(dice.range(1, 600)));
                        let answer = engine.reserve(&call(customer, tokens), hold);
                        let Ok(Reserved::Held(held)) = answer else { panic!("{answer:?}") };
                        open.push((held.into_id(), customer));
                        clock.advance(Duration::from_millis(dice.below(2)));
                        let one = usize::try_from(dice.below(open.len() as u64)).expect("small");
                        let (id, customer) = open[one];
                        // Some have expired: a commit records all the same.
                        let _ = match dice.below(5) {
                            0 | 1 => {
                                engine.commit(id, &call(customer, dice.range(1, 90))).map(drop)
                            }
                            2 => engine.grow(id, &call(customer, 5)).map(drop),
                            3 => engine.extend(id, Duration::from_millis(900)).map(drop),
                            _ => engine.release(id).map(drop),
                        };
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            for turn in 0_u64.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                let window = [Window::Minute, Window::Hour][usize::from(turn.is_multiple_of(2))];
                let update = RateLimitUpdate::new().window(window);
                engine.rules().update("rl", update).expect("a good rule");
            }
        });
        let mut crashes = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            crashes += 1;
            // What it holds may have expired meanwhile, there and here.
            let now = ManualClock::new(engine.now());
            let after = build(&medium.after_crash(Unsynced::Seed(crashes)), &now);
            adds_up(&after, &format!("crash {crashes}"));
            after.store().verify(|_| ()).expect("it is whole");
        }
        assert!(crashes > 5, "{crashes}");
        done.store(true, Ordering::Release);
    });
    adds_up(&engine, "the end");
    engine.store().flush().expect("it is committed");
    let after = build(&medium.after_crash(Unsynced::Lost), &clock);
    adds_up(&after, "after it");
    let all = ReservationQuery::new();
    assert_eq!(after.reservations().list(&all), engine.reservations().list(&all));
}
