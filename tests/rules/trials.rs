//! Goal: a rule on trial (soft or shadow), and one that lets keys without room pass, changes no
//! answer, no error and no wait of a call.
//!
//! Method: worked cases around late events, which a hard quota cannot judge where nothing is
//! recorded; and random calls to two engines, of which one has rules on trial beside the same hard
//! rules: every answer is the same but for the statuses of those rules.

use crate::support::oracle::{HOUR, MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, date, duration, engine, seed};
use limitry::errors::{EventError, TrackError};
use limitry::events::Recording;
use limitry::rules::{Algorithm, Enforcement, Overflow};
use limitry::{
    Decision, Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, RetryAfter, Window,
};

const TRIALS: [Enforcement; 2] = [Enforcement::Soft, Enforcement::Shadow];

fn call(stamp: Nanos) -> Event<'static> {
    Event::new("ann", "call").timestamp(date(stamp))
}

fn late(answer: &Result<Decision, TrackError>) -> bool {
    matches!(answer, Err(TrackError::Event(EventError::TooLate { .. })))
}

#[test]
fn a_wait_is_kept_although_a_soft_quota_closes_meanwhile() {
    let build = |builder: EngineBuilder| {
        builder
            .recording(Recording::Off)
            .rate_limit(RateLimit::new("calls", 1, Window::every(duration(2 * HOUR))))
            .quota(
                Quota::new("trial", Metric::TotalEvents, 100, Period::Hour)
                    .enforcement(Enforcement::Soft),
            )
    };
    let (engine, clock) = engine(build);
    assert!(engine.track(&call(START)).expect("valid").is_allowed());
    let refused = engine.track(&call(START)).expect("valid");
    let wait = duration(2 * HOUR);
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(wait)));
    clock.advance(wait);
    assert!(engine.track(&call(START)).expect("valid").is_allowed());
}

#[test]
fn only_a_hard_quota_makes_an_event_too_late() {
    let quota = || Quota::new("quota", Metric::TotalEvents, 100, Period::Hour);
    let old = || call(START - 3 * HOUR);
    for enforcement in TRIALS {
        let (engine, _) = engine(|builder| {
            builder.recording(Recording::Off).quota(quota().enforcement(enforcement))
        });
        assert!(engine.check(&old()).expect("valid").is_allowed());
        let let_in = engine.track(&old()).expect("valid");
        assert!(let_in.is_allowed());
        // It is counted nowhere, as by a record.
        let recorded = engine.record(&old()).expect("valid");
        let figures = |decision: &Decision| serde_json::to_value(decision).expect("data");
        assert_eq!(figures(&let_in), figures(&recorded));
        assert_eq!(engine.live_keys(), 0);
    }
    let (engine, _) = engine(|builder| builder.recording(Recording::Off).quota(quota()));
    assert!(late(&engine.track(&old())) && late(&engine.check(&old())));
    assert!(engine.record(&old()).expect("valid").is_allowed());
}

#[test]
fn a_key_that_passes_without_room_is_never_too_late() {
    let quota = Quota::new("quota", Metric::TotalEvents, 100, Period::Hour).per("customer_id");
    let (engine, _) = engine(|builder| {
        builder.recording(Recording::Off).quota(quota.max_keys(1).overflow(Overflow::Allow))
    });
    assert!(engine.track(&call(START)).expect("valid").is_allowed());
    let old = Event::new("bob", "call").timestamp(date(START - 3 * HOUR));
    assert!(engine.check(&old).expect("valid").is_allowed());
    assert!(engine.track(&old).expect("valid").is_allowed());
    // The key that has room is judged.
    assert!(late(&engine.track(&call(START - 3 * HOUR))));
}

/// The rules that both engines have.
fn hard(builder: EngineBuilder) -> EngineBuilder {
    builder
        .rate_limit(RateLimit::new("bucket", 3, Window::Minute).per("customer_id"))
        .rate_limit(RateLimit::new("window", 20, Window::Hour).algorithm(Algorithm::FixedWindow))
        .quota(Quota::new("tokens", Metric::TotalTokens, 60, Period::Day).per("customer_id"))
}

/// Rules on trial, each of which would refuse something.
fn with_trials(builder: EngineBuilder, first: Enforcement, second: Enforcement) -> EngineBuilder {
    let quota = |name: &str, limit, period| Quota::new(name, Metric::TotalTokens, limit, period);
    hard(builder)
        .rate_limit(RateLimit::new("trial", 1, Window::Hour).enforcement(first))
        .rate_limit(
            RateLimit::new("window on trial", 2, Window::Hour)
                .algorithm(Algorithm::SlidingWindow)
                .enforcement(second),
        )
        .quota(quota("hour on trial", 5, Period::Hour).per("customer_id").enforcement(first))
        .quota(quota("day on trial", 20, Period::Day).enforcement(second))
        .quota(
            quota("passes", 3, Period::Hour)
                .per("customer_id")
                .max_keys(1)
                .overflow(Overflow::Allow)
                .filter("event_type", "nobody's"),
        )
}

/// What a caller goes by.
fn said(answer: &Result<Decision, TrackError>) -> String {
    match answer {
        Ok(decision) => {
            format!("{:?} {:?}", decision.outcome(), decision.retry_after())
        }
        Err(why) => why.to_string(),
    }
}

fn ask(engine: &Engine, event: &Event<'_>, verb: u64) -> String {
    said(&match verb {
        0 => engine.check(event),
        1 => engine.record(event),
        _ => engine.track(event),
    })
}

#[test]
fn rules_on_trial_change_no_answer_no_error_and_no_wait() {
    let first = seed("rules_on_trial", 4_027);
    for case in 0..u64::from(cases(60)) {
        println!("LIMITRY_SEED={} LIMITRY_CASES=1", first + case);
        let mut dice = Dice::new(first + case);
        let records = dice.chance(50);
        let record = |builder: EngineBuilder| {
            if records { builder } else { builder.recording(Recording::Off) }
        };
        let (soft, shadow) = (dice.pick(&TRIALS), dice.pick(&TRIALS));
        let (plain, clock) = engine(|builder| hard(record(builder)));
        let (tried, second) = engine(|builder| with_trials(record(builder), soft, shadow));
        let mut now = START;
        for _ in 0..120 {
            let mut event =
                Event::new(dice.pick(&["ann", "bob"]), "call").total_tokens(dice.below(20));
            if dice.chance(40) {
                let offset = match dice.below(4) {
                    0 => -i128::from(dice.below(70)) * HOUR,
                    1 => i128::from(dice.below(23)) * HOUR,
                    _ => -i128::from(dice.below(180)) * MINUTE,
                };
                event = event.timestamp(date(now + offset));
            }
            let verb = dice.below(6);
            assert_eq!(ask(&plain, &event, verb), ask(&tried, &event, verb), "{event:?}");
            let length = i128::from(dice.below(900)) * SECOND;
            clock.advance(duration(length));
            second.advance(duration(length));
            now += length;
        }
    }
}
