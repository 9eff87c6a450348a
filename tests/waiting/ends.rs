//! Goal: a wait ends with the refusal of what never passes and of what has not passed by its
//! deadline, and with an error where the event is bad, the engine is closed, or too many wait.

use std::time::Duration;

use limitry::errors::{TrackError, WaitError};
use limitry::rules::Algorithm;
use limitry::{
    Decision, Engine, Event, Metric, Outcome, Period, Quota, RateLimit, RetryAfter, Window,
};

use crate::executor::{Answer, Executor};
use crate::support::engine;

const HOUR: Duration = Duration::from_secs(3_600);

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("a", "call").total_tokens(tokens)
}

fn ten_a_second() -> (Engine, limitry::time::ManualClock) {
    engine(|it| {
        it.rate_limit(RateLimit::new("tokens", 10, Window::Second).metric(Metric::TotalTokens))
    })
}

/// The only one that ended, which was refused.
fn refused(ended: Vec<(usize, Answer)>, number: usize) -> Decision {
    let [(found, answer)]: [_; 1] = ended.try_into().expect("one has ended");
    assert_eq!(found, number);
    let decision = answer.expect("a decision");
    assert_eq!(decision.outcome(), Outcome::Refused);
    decision
}

#[test]
fn what_never_passes_is_answered_at_once_also_behind_others() {
    let (engine, _clock) = ten_a_second();
    let mut tasks = Executor::default();
    let too_large = tasks.wait(&engine, tokens(11));
    let decision = refused(tasks.run(), too_large);
    assert_eq!(decision.retry_after(), Some(RetryAfter::Never));
    let _ = engine.track(&tokens(10)).expect("a good event");
    tasks.wait(&engine, tokens(10));
    assert_eq!(tasks.run().len(), 0);
    let too_large = tasks.wait(&engine, tokens(11));
    let decision = refused(tasks.run(), too_large);
    assert_eq!(decision.retry_after(), Some(RetryAfter::Never));
    assert_eq!(engine.waiting().len(), 1);
}

#[test]
fn a_deadline_answers_the_refusal_and_not_before() {
    let (engine, clock) = ten_a_second();
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens(10)).expect("a good event");
    let at = engine.now() + Duration::from_millis(500);
    let waits = tasks.wait_until(&engine, tokens(10), at);
    clock.advance(Duration::from_millis(499));
    assert_eq!(tasks.run().len(), 0);
    clock.advance(Duration::from_millis(1));
    let decision = refused(tasks.run(), waits);
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(Duration::from_millis(500))));
    assert!(engine.waiting().is_empty());
    // At the deadline itself it passes.
    let at = engine.now() + Duration::from_millis(500);
    let passes = tasks.wait_until(&engine, tokens(10), at);
    assert_eq!(tasks.run().len(), 0);
    clock.advance(Duration::from_millis(500));
    assert_eq!(tasks.admitted(), [passes]);
}

#[test]
fn a_deadline_that_is_over_is_a_track_that_does_not_overtake() {
    let (engine, _clock) = ten_a_second();
    let mut tasks = Executor::default();
    let over = engine.now() - HOUR;
    let passes = tasks.wait_until(&engine, tokens(4), over);
    assert_eq!(tasks.admitted(), [passes]);
    let too_much = tasks.wait_until(&engine, tokens(7), over);
    let decision = refused(tasks.run(), too_much);
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(Duration::from_millis(100))));
    tasks.wait(&engine, tokens(7));
    assert_eq!(tasks.run().len(), 0);
    let held_up = tasks.wait_until(&engine, tokens(1), over);
    let decision = refused(tasks.run(), held_up);
    assert_eq!(decision.retry_after(), Some(RetryAfter::After(Duration::ZERO)));
    assert!(decision.rate_limits().all(|limit| limit.exceeded && limit.remaining == 6));
    assert_eq!(decision.status_code(), 429);
    assert_eq!(decision.to_string(), "refused by \"tokens\"; passes in 0ns");
    assert!(engine.track(&tokens(1)).expect("a good event").is_allowed(), "nothing was taken");
}

#[test]
fn one_that_is_held_up_at_its_deadline_is_refused_and_the_next_goes_on() {
    let (engine, clock) = ten_a_second();
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens(5)).expect("a good event");
    let at = engine.now() + Duration::from_millis(100);
    let large = tasks.wait_until(&engine, tokens(10), at);
    let small = tasks.wait(&engine, tokens(6));
    assert_eq!(tasks.run().len(), 0);
    clock.advance(Duration::from_millis(100));
    let ended = tasks.run();
    assert_eq!(ended.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [large, small]);
    assert!(ended[1].1.as_ref().expect("a decision").is_allowed());
}

#[test]
fn a_bad_event_is_an_error_and_so_is_one_that_has_become_bad() {
    let (engine, clock) = engine(|it| {
        it.quota(Quota::new("q", Metric::TotalEvents, 1, Period::Hour)).rate_limit(
            RateLimit::new("r", 1, Window::Hour).algorithm(Algorithm::FixedWindow).per("team"),
        )
    });
    let mut tasks = Executor::default();
    let bad = tasks.wait(&engine, Event::new("", "call"));
    let ended = tasks.run();
    assert!(ended[0].0 == bad && matches!(ended[0].1, Err(WaitError::Track(TrackError::Event(_)))));
    let _ = engine.track(&Event::new("a", "call")).expect("a good event");
    let dated = Event::new("a", "call").timestamp(engine.now());
    let never = tasks.wait(&engine, dated);
    assert_eq!(refused(tasks.run(), never).retry_after(), Some(RetryAfter::Never));
    clock.advance(HOUR);
    assert!(engine.waiting().is_empty());
}

#[test]
fn a_known_idempotency_key_is_answered_at_once_also_behind_others() {
    let (engine, clock) = ten_a_second();
    let mut tasks = Executor::default();
    let first = tasks.wait(&engine, tokens(10).idempotency_key("k"));
    assert_eq!(tasks.admitted(), [first]);
    let large = tasks.wait(&engine, tokens(10));
    assert_eq!(tasks.run().len(), 0);
    let again = tasks.wait(&engine, tokens(10).idempotency_key("k"));
    let ended = tasks.run();
    assert!(ended[0].0 == again && ended[0].1.as_ref().expect("a decision").is_replay());
    // Two with the same key: the second is a replay when its turn comes.
    let two = [0, 1].map(|_| tasks.wait(&engine, tokens(1).idempotency_key("two")));
    assert_eq!(tasks.run().len(), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(tasks.admitted(), [large]);
    clock.advance(Duration::from_secs(1));
    let outcomes: Vec<_> = tasks
        .run()
        .into_iter()
        .map(|(number, answer)| (number, answer.expect("a decision").outcome()))
        .collect();
    assert_eq!(outcomes, [(two[0], Outcome::Admitted), (two[1], Outcome::Replayed)]);
}

#[test]
fn closing_ends_all_waits_with_an_error() {
    let (engine, _clock) = ten_a_second();
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens(10)).expect("a good event");
    for _ in 0..3 {
        tasks.wait(&engine, tokens(10));
    }
    assert_eq!(tasks.run().len(), 0);
    let waiting = engine.waiting();
    waiting.close();
    let ended = tasks.run();
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|(_, answer)| matches!(answer, Err(WaitError::Closed))));
    tasks.wait(&engine, tokens(0));
    assert!(matches!(tasks.run()[..], [(_, Err(WaitError::Closed))]));
    assert!(engine.track(&tokens(0)).expect("a good event").is_allowed(), "all else goes on");
    assert!(matches!(engine.wait_blocking(&tokens(0)), Err(WaitError::Closed)));
}

#[test]
fn dropping_the_last_handle_ends_all_waits_with_an_error() {
    let (engine, _clock) = ten_a_second();
    let mut tasks = Executor::default();
    let _ = engine.track(&tokens(10)).expect("a good event");
    for _ in 0..3 {
        let event: &'static Event<'static> = Box::leak(Box::new(tokens(10)));
        tasks.spawn(engine.wait(event));
    }
    assert_eq!(tasks.run().len(), 0);
    let waiting = engine.waiting();
    assert_eq!(waiting.len(), 3);
    drop(engine);
    let ended = tasks.run();
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|(_, answer)| matches!(answer, Err(WaitError::Closed))));
    assert!(waiting.is_empty());
}

#[test]
fn no_more_wait_than_may() {
    let (engine, clock) =
        engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Second)).max_waiters(2));
    let call = || Event::new("a", "call");
    let mut tasks = Executor::default();
    let _ = engine.track(&call()).expect("a good event");
    let waiting = [tasks.wait(&engine, call()), tasks.wait(&engine, call())];
    let too_many = tasks.wait(&engine, call());
    let ended = tasks.run();
    assert!(ended[0].0 == too_many && matches!(ended[0].1, Err(WaitError::TooMany { max: 2 })));
    clock.advance(Duration::from_secs(2));
    assert_eq!(tasks.admitted(), waiting[..1]);
    assert_eq!(engine.waiting().len(), 1);
}
