//! Goal: with estimates at or above the cost no hard limit is ever passed, whoever reserves,
//! commits, releases, drops and panics at the same time; and what is left in the end is what was
//! committed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lives::{daily, secs};
use crate::support::{Dice, engine, seed};
use limitry::reservations::{ReservationQuery, ReservationState};
use limitry::{Event, Hold, Metric, Quota, RateLimit, Reserved, Window};

#[test]
fn parallel_calls_never_pass_a_limit() {
    const LIMIT: u64 = 2_000;
    const SLOTS: u64 = 5;
    let (engine, _) = engine(|builder| {
        let all = RateLimit::new("All", 50_000, Window::Hour).metric(Metric::TotalTokens);
        let quota = daily(LIMIT);
        builder.quota(quota).quota(Quota::concurrent("At once", SLOTS)).rate_limit(all)
    });
    let (committed, open) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut dice = Dice::new(seed("parallel reservations", 12_003));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (mut dice, engine) = (Dice::new(dice.next()), engine.clone());
            let (committed, open) = (&committed, &open);
            scope.spawn(move || {
                for _ in 0..400 {
                    let estimate = dice.range(1, 20);
                    let used = dice.range(0, estimate);
                    let call = |tokens| Event::new("ann", "call").total_tokens(tokens);
                    let hold = Hold::lasting(secs(3_600));
                    let Ok(Reserved::Held(mut guard)) = engine.reserve(&call(estimate), hold)
                    else {
                        continue;
                    };
                    let now_open = open.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now_open <= SLOTS, "{now_open} open at once");
                    let grown = dice.chance(30) && guard.grow(&call(5)).expect("open").is_allowed();
                    let used = if grown { used + 5 } else { used };
                    let quota = engine.standing(&call(0)).expect("good");
                    let quota = quota.quotas().next().expect("it matches").into_owned();
                    let both = quota.used.saturating_add(quota.held);
                    assert!(both <= LIMIT, "{quota:?}");
                    open.fetch_sub(1, Ordering::SeqCst);
                    match dice.below(4) {
                        0 => drop(guard),
                        1 => {
                            let _ = guard.release().expect("open");
                        }
                        _ => {
                            assert!(!guard.commit(&call(used)).expect("good").is_overrun());
                            committed.fetch_add(used, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    let standing = engine.standing(&Event::new("ann", "call")).expect("good");
    let quotas: Vec<_> = standing.quotas().map(|it| (it.used, it.held)).collect();
    let committed = committed.load(Ordering::SeqCst);
    assert!(committed <= LIMIT);
    assert_eq!(quotas, [(committed.into(), 0.into()), (0.into(), 0.into())]);
    let limit = standing.rate_limits().next().expect("it matches");
    assert_eq!((limit.remaining, limit.held), ((50_000 - committed).into(), 0.into()));
    let held = ReservationQuery::new().state(ReservationState::Held);
    assert_eq!(engine.reservations().count(&held), 0);
}

#[test]
fn one_of_many_commits_counts() {
    let (engine, _) = engine(|builder| builder.quota(daily(1_000)));
    for _ in 0..50 {
        let call = |tokens| Event::new("ann", "call").total_tokens(tokens);
        let Ok(Reserved::Held(guard)) = engine.reserve(&call(10), Hold::lasting(secs(60))) else {
            panic!("it fits")
        };
        let id = guard.id();
        std::mem::forget(guard);
        let counted: usize = std::thread::scope(|scope| {
            let commit = |tokens: u64| {
                let engine = engine.clone();
                scope.spawn(move || {
                    let done = engine.commit(id, &call(tokens));
                    usize::from(done.is_ok_and(|decision| decision.is_allowed()))
                })
            };
            let threads = [4, 4, 5, 5].map(commit);
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(counted, 1);
    }
    let standing = engine.standing(&Event::new("ann", "call")).expect("good");
    let used = standing.quotas().next().expect("it matches").used.to_u64_floor();
    assert!((200..=250).contains(&used), "{used}");
    assert_eq!(engine.events().len(), 50);
}

#[test]
fn holds_expire_for_whoever_comes_whatever_the_shard() {
    let (engine, clock) = engine(|builder| {
        let all = Quota::new("All", Metric::TotalTokens, 10_000, limitry::Period::Day);
        builder.quota(daily(100)).quota(all)
    });
    for customer in 0..100 {
        let event = Event::new(format!("cust_{customer}"), "call").total_tokens(100);
        let hold = Hold::lasting(Duration::from_secs(60));
        let Ok(Reserved::Held(guard)) = engine.reserve(&event, hold) else { panic!("it fits") };
        std::mem::forget(guard);
    }
    let one = Event::new("other", "call").total_tokens(1);
    assert!(!engine.check(&one).expect("good").is_allowed());
    clock.advance(secs(60));
    assert!(engine.check(&one).expect("good").is_allowed());
    let standing = engine.standing(&one).expect("good");
    assert!(standing.quotas().all(|quota| quota.held == 0), "{standing:?}");
}
