//! Goal: everything that was reserved was committed, was given back, has expired, or is open, at
//! all times and in every counter, whatever threads do with it.
//!
//! Method: eight threads reserve, grow, extend, commit, release, drop, forget and panic, with their
//! own reservations and each other's, while the clock goes on. After each round every counter is
//! compared with the sums of what the reservations say, and of what was recorded.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lives::secs;
use crate::support::{Dice, cases, engine, seed};
use limitry::reservations::{ReservationId, ReservationState, ReservationStatus};
use limitry::rules::Algorithm;
use limitry::{
    Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reservation, Reserved, Window,
};

const CUSTOMERS: [&str; 3] = ["ann", "bob", "carl"];
const LIMIT: u64 = 20_000;

fn call(customer: &'static str, tokens: u64) -> Event<'static> {
    Event::new(customer, "call").total_tokens(tokens)
}

/// What the threads of a round have in common.
struct Round {
    engine: Engine,
    /// Of all customers, by all threads: what was reserved, and grown by.
    reserved: AtomicU64,
    /// Those whose guard is elsewhere.
    shared: Mutex<Vec<(ReservationId, &'static str)>>,
}

impl Round {
    fn step(&self, dice: &mut Dice) {
        let customer = dice.pick(&CUSTOMERS);
        if dice.chance(25) {
            let all = self.shared.lock().expect("no panic").clone();
            if !all.is_empty() {
                let (id, customer) = dice.pick(&all);
                return self.go_on_with_anothers(id, customer, dice);
            }
        }
        let estimate = dice.range(0, 40);
        let hold = Hold::lasting(secs(dice.range(1, 120)));
        let hold = if dice.chance(30) { hold.charge_on_drop() } else { hold };
        let reserved = if dice.chance(20) {
            let metric = Metric::TotalTokens;
            self.engine.reserve_up_to(&call(customer, estimate + 1), &metric, 1, hold)
        } else {
            self.engine.reserve(&call(customer, estimate), hold)
        };
        let Reserved::Held(guard) = reserved.expect("a good event") else { return };
        let held = guard.granted().map_or(estimate, Amount::to_u64_floor);
        self.reserved.fetch_add(held, Ordering::SeqCst);
        self.shared.lock().expect("no panic").push((guard.id(), customer));
        self.go_on(guard, customer, held, dice);
    }

    fn go_on(&self, mut guard: Reservation, customer: &'static str, held: u64, dice: &mut Dice) {
        let more = dice.range(0, 10);
        if dice.chance(40) && self.grows(guard.id(), customer, more) && dice.chance(50) {
            let _ = guard.extend(secs(dice.range(1, 200)));
        }
        match dice.below(8) {
            // Another thread may have ended it before.
            0 => drop(guard.release()),
            1 | 2 => drop(guard.commit(&call(customer, dice.range(0, held)))),
            3 => drop(guard.commit(&call(customer, held + dice.range(0, 9)))),
            4 => drop(guard),
            5 | 6 => std::mem::forget(guard),
            _ => {
                let caught = catch_unwind(AssertUnwindSafe(|| {
                    let _guard = guard;
                    // A panic without a message.
                    resume_unwind(Box::new("the call fails"));
                }));
                assert!(caught.is_err());
            }
        }
    }

    fn go_on_with_anothers(&self, id: ReservationId, customer: &'static str, dice: &mut Dice) {
        match dice.below(4) {
            0 => drop(self.engine.release(id)),
            1 => drop(self.engine.commit(id, &call(customer, dice.range(0, 40)))),
            2 => {
                let _ = self.grows(id, customer, dice.range(0, 10));
            }
            _ => drop(self.engine.extend(id, secs(dice.range(1, 200)))),
        }
    }

    fn grows(&self, id: ReservationId, customer: &'static str, more: u64) -> bool {
        let grown = self.engine.grow(id, &call(customer, more));
        let has_grown = grown.is_ok_and(|decision| decision.is_allowed());
        self.reserved.fetch_add(if has_grown { more } else { 0 }, Ordering::SeqCst);
        has_grown
    }

    /// All counters are as the reservations and the recorded events say.
    fn check(&self) {
        let tokens =
            |event: &Event<'_>| event.amount("total_tokens").map_or(0, Amount::to_u64_floor);
        let all = self.engine.reservations().list(&limitry::reservations::ReservationQuery::new());
        let recorded = self.engine.events().newest(usize::MAX);
        let in_state = |customer: &str, state: ReservationState| -> Vec<&ReservationStatus> {
            let is_it = |it: &&ReservationStatus| {
                it.state == state && it.estimate.customer_id() == customer
            };
            all.iter().filter(is_it).collect()
        };
        let mut reserved = 0;
        for customer in CUSTOMERS {
            let sum = |state| -> u64 {
                in_state(customer, state).iter().map(|it| tokens(&it.estimate)).sum()
            };
            let [open, committed, released, expired] = [
                ReservationState::Held,
                ReservationState::Committed,
                ReservationState::Released,
                ReservationState::Expired,
            ]
            .map(sum);
            reserved += open + committed + released + expired;
            let ends = in_state(customer, ReservationState::Committed).len();
            let own = recorded.iter().filter(|it| it.event.customer_id() == customer);
            assert_eq!(own.clone().count(), ends, "{customer}: a commit is recorded once");
            let used: u64 = own.map(|it| tokens(&it.event)).sum();
            let count = in_state(customer, ReservationState::Held).len() as u64;
            let standing = self.engine.standing(&call(customer, 0)).expect("good");
            let quotas: Vec<_> = standing
                .quotas()
                .map(|it| [it.used, it.held, it.remaining].map(Amount::to_u64_floor))
                .collect();
            let left = LIMIT.saturating_sub(used + open);
            let expected = [[used, open, left], [used, open, left], [0, count, 1_000 - count]];
            assert_eq!(quotas, expected, "{customer}");
            for limit in standing.rate_limits() {
                let found = [limit.held, limit.remaining].map(Amount::to_u64_floor);
                assert_eq!(found, [open, left], "{customer} {}", limit.name);
            }
        }
        assert_eq!(reserved, self.reserved.load(Ordering::SeqCst), "nothing is lost");
    }
}

#[test]
fn all_that_was_reserved_is_accounted_for_under_threads() {
    let mut dice = Dice::new(seed("conservation of holds", 12_004));
    for _ in 0..cases(3) {
        let (engine, clock) = engine(|builder| {
            let tokens = |period| {
                let quota = Quota::new("Quota", Metric::TotalTokens, LIMIT, period);
                quota.per("customer_id")
            };
            // Long windows, so that all use stays in them.
            let window = |algorithm| {
                let limit = RateLimit::new("Window", LIMIT, Window::every(secs(86_400)));
                limit.metric(Metric::TotalTokens).per("customer_id").algorithm(algorithm)
            };
            builder
                .quota(tokens(Period::Day))
                .quota(tokens(Period::rolling(secs(86_400))))
                .quota(Quota::concurrent("At once", 1_000).per("customer_id"))
                .rate_limit(window(Algorithm::FixedWindow))
                .rate_limit(window(Algorithm::SlidingWindow))
        });
        let (reserved, shared) = (AtomicU64::new(0), Mutex::default());
        let round = Round { engine, reserved, shared };
        for _ in 0..4 {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    let (mut dice, round) = (Dice::new(dice.next()), &round);
                    scope.spawn(move || (0..60).for_each(|_| round.step(&mut dice)));
                }
                for _ in 0..40 {
                    clock.advance(secs(1));
                    std::thread::yield_now();
                }
            });
            round.check();
            clock.advance(secs(dice.range(0, 60)));
            round.check();
        }
        clock.advance(secs(3_600));
        round.check();
    }
}
