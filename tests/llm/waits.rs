//! Goal: who waits for room for what is estimated waits for that and no more, holds that, teaches
//! the estimator by its commit, and is a retry by its key whatever the estimate is by then.
//!
//! Method: futures that are polled by hand, beside a quota that open reservations fill, and a
//! thread that waits.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use limitry::errors::WaitError;
use limitry::llm::{
    EstimateSource, EstimatedReservation, Estimator, ReserveEstimated, ReservedEstimate,
};
use limitry::time::ThreadTimer;
use limitry::{Engine, Event, Hold, Metric, Period, Quota};

fn call(customer: &str, output: u64) -> Event<'_> {
    Event::new(customer, "model_call").model("m").output_tokens(output)
}

/// 1 000 tokens a day for all, and an estimator that says 100 for ann.
fn limited() -> (Engine, Estimator) {
    let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day);
    let engine =
        Engine::builder().quota(tokens).timer(ThreadTimer::start().unwrap()).build().unwrap();
    let estimator = Estimator::new();
    (0..50).for_each(|_| estimator.learn(&call("ann", 100)));
    (engine, estimator)
}

fn held(reserved: ReservedEstimate) -> EstimatedReservation {
    match reserved {
        ReservedEstimate::Held(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

fn left(engine: &Engine) -> u64 {
    let standing = engine.standing(&call("ann", 0)).unwrap();
    standing.quotas().next().expect("it matches").remaining.to_u64_floor()
}

#[test]
fn it_waits_for_what_is_estimated_and_holds_that() {
    let (engine, estimator) = limited();
    let task = &mut Context::from_waker(Waker::noop());
    let first = engine.reserve(&call("ben", 950), Hold::default()).unwrap();
    let (asked, second) = (call("ann", 4_096), call("ann", 3_000));
    // All that may come out never fits.
    assert!(!engine.check(&asked).unwrap().is_allowed());
    let mut wait = pin!(engine.wait_reserve_estimated(&asked, &estimator, Hold::default()));
    assert!(wait.as_mut().poll(task).is_pending());
    // One behind it, who looks first and finds no room either.
    let mut behind = pin!(engine.wait_reserve_estimated(&second, &estimator, Hold::default()));
    assert!(behind.as_mut().poll(task).is_pending());
    assert_eq!(engine.waiting().len(), 2);
    drop(first);
    for wait in [&mut wait, &mut behind] {
        let Poll::Ready(reserved) = wait.as_mut().poll(task) else { panic!("there is room") };
        let reservation = held(reserved.unwrap());
        let estimate = reservation.estimate();
        assert_eq!(estimate.source, EstimateSource::Customer);
        let tokens = estimate.output_tokens.expect("it is known");
        assert!((100..=102).contains(&tokens), "{tokens}");
        assert_eq!(left(&engine), 1_000 - tokens);
        reservation.release().unwrap();
    }
    assert!(engine.waiting().is_empty());
}

#[test]
fn its_commit_teaches_and_a_retry_is_one_whatever_the_estimate_is() {
    let (engine, estimator) = limited();
    let asked = call("ann", 4_096).idempotency_key("k");
    let wait = || engine.wait_reserve_estimated_blocking(&asked, &estimator, Hold::default());
    let reservation = held(wait().unwrap());
    // Others wait, so that it looks before it tries.
    let full = engine.reserve(&call("ben", 850), Hold::default()).unwrap();
    let other = call("ben", 500);
    let mut ahead = Box::pin(engine.wait_reserve(&other, Hold::default()));
    assert!(ahead.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    (0..200).for_each(|_| estimator.learn(&call("ann", 200)));
    assert!(matches!(wait().unwrap(), ReservedEstimate::Replayed(_)));
    drop((ahead, full));
    let decision = reservation.commit(&call("ann", 300)).unwrap();
    assert!(decision.is_overrun());
    let fresh = Estimator::new();
    let given = engine.wait_reserve_estimated_blocking(&call("cid", 50), &fresh, Hold::default());
    let given = held(given.unwrap());
    assert_eq!(given.estimate().source, EstimateSource::Given);
    for _ in 0..30 {
        let lesson =
            engine.wait_reserve_estimated_blocking(&call("cid", 10), &fresh, Hold::default());
        let _ = held(lesson.unwrap()).commit(&call("cid", 10)).unwrap();
    }
    let learned = fresh.estimate(&call("cid", 50));
    assert_eq!(learned.source, EstimateSource::Customer);
}

#[test]
fn a_thread_waits_a_deadline_ends_it_and_what_never_fits_is_refused() {
    let (engine, estimator) = limited();
    let first = engine.reserve(&call("ben", 950), Hold::default()).unwrap();
    let asked = call("ann", 4_096);
    let over = engine.now();
    let task = &mut Context::from_waker(Waker::noop());
    let wait = engine.wait_reserve_estimated_until(&asked, &estimator, Hold::default(), over);
    let Poll::Ready(Ok(ReservedEstimate::Refused(refusal))) = pin!(wait).poll(task) else {
        panic!("the deadline is over")
    };
    assert!(!refusal.is_allowed());
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            held(
                engine
                    .wait_reserve_estimated_blocking(&asked, &estimator, Hold::default())
                    .unwrap(),
            )
        });
        while engine.waiting().is_empty() {
            thread::yield_now();
        }
        drop(first);
        drop(waits.join().unwrap());
    });
    // More than all, and nothing is known of him.
    let never = call("dan", 2_000);
    let fresh = Estimator::new();
    let refused = engine.wait_reserve_estimated_blocking(&never, &fresh, Hold::default());
    assert!(matches!(refused, Ok(ReservedEstimate::Refused(_))), "{refused:?}");
}

#[test]
fn what_is_wrong_with_an_amount_is_the_answer() {
    let (engine, _) = limited();
    let asked = call("ann", 100);
    let output = Metric::value("output_tokens");
    let more = engine.wait_reserve(&asked, Hold::default()).amount(&output, 101).block();
    assert!(matches!(&more, Err(WaitError::Track(why)) if why.to_string().contains("amount")));
    let events = engine.wait_reserve(&asked, Hold::default()).amount(&Metric::TotalEvents, 1);
    let task = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(answer) = pin!(events).poll(task) else { panic!("it is wrong at once") };
    assert!(matches!(&answer, Err(WaitError::Track(why)) if why.to_string().contains("metric")));
}
