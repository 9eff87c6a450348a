//! Goal: no wake-up is lost where threads meet.
//!
//! Method: threads wait, refund, change rules and cancel at the same time, over and over; each
//! round ends only when all have been let in, and what was let in adds up.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use limitry::events::Recording;
use limitry::rules::QuotaUpdate;
use limitry::time::ManualClock;
use limitry::{Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, Window};

use crate::support::{START, cases, date};

fn cents(customer: &'static str, cents: i64) -> Event<'static> {
    Event::new(customer, "call").cost_cents(cents)
}

fn budget(customers: u64) -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(START));
    let budget = Quota::new("budget", Metric::TotalCostCents, 10, Period::Day).per("customer_id");
    let engine = Engine::builder()
        .quota(budget)
        .quota(Quota::new("all", Metric::TotalCostCents, 10 * customers, Period::Day))
        .recording(Recording::Off)
        .clock(clock.clone())
        .build()
        .expect("good rules");
    (engine, clock)
}

/// Waiters and refunds that are exactly as many: a lost wake-up hangs.
#[test]
fn refunds_let_exactly_as_many_in() {
    let customers = ["a", "b"];
    let (engine, _clock) = budget(2);
    for customer in customers {
        assert!(engine.track(&cents(customer, 10)).expect("a good event").is_allowed());
    }
    for _ in 0..cases(200) {
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for number in 0..4 {
                let (engine, barrier) = (&engine, &barrier);
                let customer = customers[number % 2];
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..5 {
                        let decision = engine.wait_blocking(&cents(customer, 2));
                        assert!(decision.expect("a good event").is_allowed());
                    }
                });
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..10 {
                        let _ = engine.track(&cents(customer, -1)).expect("a good event");
                    }
                });
            }
        });
        assert!(engine.waiting().is_empty());
        for customer in customers {
            let standing = engine.standing(&cents(customer, 0)).expect("a good event");
            assert!(standing.quotas().all(|quota| quota.remaining == 0));
        }
    }
}

/// Slots and tokens that are held, committed, released, dropped and refused: nobody hangs, and no
/// more hold them at once than may.
#[test]
fn the_ends_of_reservations_wake_all() {
    let clock = ManualClock::new(date(START));
    let engine = Engine::builder()
        .quota(Quota::concurrent("at once", 2))
        .quota(Quota::new("tokens", Metric::TotalTokens, 1_000_000, Period::Day))
        .rate_limit(RateLimit::new("all", 1_000_000, Window::Hour))
        .recording(Recording::Off)
        .clock(clock)
        .build()
        .expect("good rules");
    let (held, hold) = (AtomicU64::new(0), Hold::lasting(Duration::from_secs(60)));
    for round in 0..cases(30) {
        thread::scope(|scope| {
            for number in 0..5_u32 {
                let (engine, held) = (&engine, &held);
                scope.spawn(move || {
                    for turn in 0..8 {
                        let event = Event::new("a", "call").total_tokens(20);
                        let reserved = engine.wait_reserve_blocking(&event, hold);
                        let Ok(Reserved::Held(reservation)) = reserved else {
                            panic!("{reserved:?}")
                        };
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 2, "a third one");
                        thread::yield_now();
                        held.fetch_sub(1, Ordering::SeqCst);
                        match (round + number + turn) % 3 {
                            0 => drop(reservation),
                            1 => drop(reservation.release().expect("it is open")),
                            _ => {
                                let actual = Event::new("a", "call").total_tokens(7);
                                let _ = reservation.commit(&actual).expect("it is open");
                            }
                        }
                    }
                });
            }
        });
        assert!(engine.waiting().is_empty());
    }
}

/// The rules change while some wait.
#[test]
fn changes_of_the_rules_wake_all() {
    for _ in 0..cases(50) {
        let (engine, _clock) = budget(1);
        let all = |it: &Quota| it.name == "all";
        let id = engine.rules().quotas().into_iter().find(all).and_then(|it| it.id).expect("an id");
        let own = engine.rules().quotas().into_iter().find(|it| !all(it)).and_then(|it| it.id);
        engine.rules().remove(&own.expect("an id")).expect("it is there");
        let _ = engine.track(&cents("a", 10)).expect("a good event");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        let decision = engine.wait_blocking(&cents("a", 1)).expect("a good event");
                        assert!(decision.is_allowed());
                    }
                });
            }
            for limit in 11..=22_u64 {
                let update = QuotaUpdate::new().limit(limit);
                engine.rules().update(&id, update).expect("a good rule");
            }
        });
    }
}

/// Waiters by a clock that is moved while they come and go.
#[test]
fn time_lets_all_in_who_do_not_give_up() {
    for _ in 0..cases(20) {
        let clock = ManualClock::new(date(START));
        let engine = Engine::builder()
            .rate_limit(RateLimit::new("calls", 1, Window::Second))
            .rate_limit(RateLimit::new("own", 1, Window::every(Duration::from_secs(2))).per("team"))
            .recording(Recording::Off)
            .clock(clock.clone())
            .build()
            .expect("good rules");
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for number in 0..4_u64 {
                let (engine, done) = (&engine, &done);
                scope.spawn(move || {
                    let team = if number < 2 { "x" } else { "y" };
                    let event = Event::new("a", "call").property("team", team);
                    for turn in 0..5 {
                        if (turn + number) % 3 == 0 {
                            let at = engine.now() + Duration::from_millis(1_500);
                            let _ = engine.wait_blocking_until(&event, at).expect("a good event");
                        } else {
                            let decision = engine.wait_blocking(&event).expect("a good event");
                            assert!(decision.is_allowed());
                        }
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
            while done.load(Ordering::SeqCst) < 4 {
                clock.advance(Duration::from_millis(500));
                thread::yield_now();
            }
        });
        assert!(engine.waiting().is_empty());
    }
}

/// The system's clock, and the timer of a thread: some milliseconds.
#[test]
fn a_wait_by_the_systems_clock_ends() {
    let rule = RateLimit::new("calls", 1, Window::every(Duration::from_millis(2)));
    let engine = Engine::builder().rate_limit(rule).build().expect("a good rule");
    let event = Event::new("a", "call");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert!(engine.wait_blocking(&event).expect("a good event").is_allowed());
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..3 {
                assert!(block_on(engine.wait(&event)).expect("a good event").is_allowed());
            }
        });
    });
}

/// A runtime of one thread and one task.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    let mut task = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut task) {
            std::task::Poll::Ready(answer) => return answer,
            std::task::Poll::Pending => thread::park(),
        }
    }
}
