//! Goal: with the feature `durable` an engine goes on after a restart where it was.
//!
//! Method: worked cases. The random form is `histories.rs`.

use crate::support::files::StoreFile;
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{START, date, duration};
use limitry::errors::TrackError;
use limitry::events::Recording;
use limitry::rules::{QuotaUpdate, RateLimitUpdate};
use limitry::time::ManualClock;
use limitry::{
    Decision, Engine, EngineBuilder, Event, Metric, Outcome, Period, Quota, RateLimit, Window,
};

pub(crate) fn open(
    file: &StoreFile,
    now: Nanos,
    build: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> (Engine, ManualClock) {
    let clock = ManualClock::new(date(now));
    let builder = Engine::builder().clock(clock.clone()).durable(file.store());
    (build(builder).build().expect("an engine that goes on"), clock)
}

pub(crate) fn body(decision: &Decision) -> String {
    serde_json::to_string(decision).expect("plain data")
}

pub(crate) fn request(number: u64) -> Event<'static> {
    Event::new("c", "call").total_tokens(10).idempotency_key(format!("req_{number}"))
}

pub(crate) fn two_rules(builder: EngineBuilder) -> EngineBuilder {
    builder
        .rate_limit(RateLimit::new("calls", 3, Window::Hour).id("rl").per("customer_id"))
        .quota(Quota::new("tokens", Metric::TotalTokens, 1_000, Period::Month).id("q"))
}

#[test]
fn limits_go_on_where_they_were() {
    let file = StoreFile::new("limits");
    for ends in 0..2 {
        let (engine, _clock) = open(&file, START, two_rules);
        assert!(engine.track(&Event::new(format!("{ends}"), "call")).expect("good").is_allowed());
        if ends == 0 {
            engine.store().close().expect("it closes");
        }
    }
    for (turn, allowed) in [true, true, false, false].into_iter().enumerate() {
        let (engine, _clock) = open(&file, START + SECOND, two_rules);
        let decision = engine.track(&Event::new("0", "call")).expect("good");
        assert_eq!(decision.is_allowed(), allowed, "turn {turn}: {decision}");
    }
}

#[test]
fn a_retry_across_a_restart_counts_once_and_answers_the_same() {
    let file = StoreFile::new("retry");
    let mut firsts = Vec::new();
    for life in 0..4_u64 {
        let (engine, _clock) = open(&file, START + Nanos::from(life) * HOUR, two_rules);
        for (number, first) in (0..).zip(&firsts) {
            let again = engine.track(&request(number)).expect("known");
            assert!(again.is_replay());
            assert_eq!(body(&again), *first);
            assert_eq!(body(&engine.check(&request(number)).expect("known")), *first);
            let other = engine.track(&request(number).total_tokens(11));
            assert!(matches!(other, Err(TrackError::IdempotencyConflict { .. })), "{other:?}");
        }
        let first = engine.track(&request(life)).expect("new");
        assert!(first.is_allowed() && !first.is_replay());
        firsts.push(body(&first));
        let used = engine.standing(&Event::new("c", "call")).expect("good");
        assert_eq!(used.quotas().next().expect("the quota").used, 10 * (life + 1));
        assert_eq!(engine.events().len() as u64, life + 1);
        // The rules change; the answers of before do not.
        let update = RateLimitUpdate::new().limit(4 + life);
        engine.rules().update("rl", update).expect("it is there");
        if life == 2 {
            engine.rules().remove("q").expect("it is there");
            let new = Quota::new("tokens", Metric::TotalTokens, 500, Period::Month).id("q2");
            engine.rules().add(new).expect("a new rule");
        }
    }
}

#[test]
fn a_key_counts_to_the_nanosecond_across_a_restart() {
    let file = StoreFile::new("retention");
    let rules = |builder: EngineBuilder| builder.idempotency_retention(duration(DAY));
    let used = |engine: &Engine| engine.events().len();
    {
        let (engine, _clock) = open(&file, START, rules);
        assert!(!engine.track(&request(1)).expect("new").is_replay());
    }
    {
        let (engine, clock) = open(&file, START + DAY - 1, rules);
        assert!(engine.track(&request(1)).expect("known").is_replay());
        assert_eq!(used(&engine), 1);
        clock.advance(duration(1));
        assert!(!engine.track(&request(1).total_tokens(3)).expect("new").is_replay());
    }
    let (engine, clock) = open(&file, START + 2 * DAY - 1, rules);
    let conflict = engine.track(&request(1));
    assert!(matches!(conflict, Err(TrackError::IdempotencyConflict { .. })), "{conflict:?}");
    clock.advance(duration(1));
    assert!(!engine.track(&request(1)).expect("new").is_replay());
    assert_eq!(used(&engine), 3);
}

/// What is attached to an event is no dimension, comes back, and tells a retry from another event.
#[test]
fn attachments_come_back() {
    let file = StoreFile::new("attachments");
    let event = |note: &'static str| {
        Event::new("c", "call").attach("team", note).attach("", serde_json::json!([1.5, {"a": 1}]))
    };
    let first = event("a\nlong one").property("team", "eng").idempotency_key("1");
    for life in 0..3 {
        let (engine, _clock) = open(&file, START + life * SECOND, |builder| builder);
        let due = if life == 0 { Outcome::Admitted } else { Outcome::Replayed };
        assert_eq!(engine.track(&first).expect("good").outcome(), due);
        let other = event("another").property("team", "eng").idempotency_key("1");
        engine.track(&other).expect_err("another event");
        let _ = engine.track(&Event::new("c", "plain")).expect("good");
        let recorded = engine.events().newest(100).pop().expect("it is there").event;
        assert_eq!(recorded.attached(), first.attached());
        assert_eq!(recorded.dimension("team"), Some("eng"));
        if life == 1 {
            engine.store().close().expect("it closes");
        }
    }
}

/// A key is its customer's, and a retry may be stamped anew and say its total, in a store as in
/// memory and whatever happened between.
#[test]
fn a_key_is_its_customers_and_a_retry_the_same_across_a_restart() {
    let file = StoreFile::new("customers");
    let parts = |customer: &'static str| {
        Event::new(customer, "call").input_tokens(6).output_tokens(4).idempotency_key("1")
    };
    for life in 0..3 {
        let (engine, _clock) = open(&file, START + life * SECOND, |builder| builder);
        for customer in ["c", "d"] {
            let due = if life == 0 { Outcome::Admitted } else { Outcome::Replayed };
            let first = engine.track(&parts(customer)).expect("good");
            assert_eq!(first.outcome(), due, "{customer}");
            for again in [
                parts(customer).total_tokens(10),
                parts(customer).timestamp(date(START + MINUTE)),
                parts(customer).total_tokens(10).timestamp(date(START - HOUR)),
            ] {
                let again = engine.track(&again).expect("a retry");
                assert_eq!(again.outcome(), Outcome::Replayed, "{customer}");
                assert_eq!(again.event_id(), first.event_id(), "{customer}");
            }
            for other in [parts(customer).total_tokens(11), parts(customer).cost_cents(1)] {
                match engine.track(&other) {
                    Err(TrackError::IdempotencyConflict { customer: of, key }) => {
                        assert_eq!((&*of, &*key), (customer, "1"));
                    }
                    answer => panic!("{answer:?}"),
                }
            }
        }
        let report = engine.record_batch(&[parts("c"), parts("d"), parts("c")]);
        let report = report.expect("retries");
        assert_eq!((report.count, report.duplicates), (0, 3));
        assert_eq!(engine.events().len(), 2);
        engine.store().close().expect("it closes");
    }
}

#[test]
fn a_refused_request_leaves_its_key_free_across_a_restart() {
    let file = StoreFile::new("refused");
    let one =
        |builder: EngineBuilder| builder.rate_limit(RateLimit::new("r", 1, Window::Minute).id("r"));
    {
        let (engine, _clock) = open(&file, START, one);
        assert!(engine.track(&Event::new("c", "first")).expect("good").is_allowed());
        assert!(!engine.track(&request(1)).expect("good").is_allowed());
    }
    let (engine, _clock) = open(&file, START + MINUTE, one);
    let first = engine.track(&request(1).total_tokens(99)).expect("good");
    assert!(first.is_allowed() && !first.is_replay());
}

/// A limiter that records nothing keeps its counters and keys all the same.
#[test]
fn without_recorded_events_counters_and_keys_come_back() {
    let file = StoreFile::new("limiter");
    let rules = |builder: EngineBuilder| two_rules(builder).recording(Recording::Off);
    let mut first = String::new();
    for life in 0..3 {
        let (engine, _clock) = open(&file, START, rules);
        let answer = engine.track(&request(1)).expect("good");
        assert_eq!((answer.is_replay(), answer.event_id()), (life > 0, None));
        if life == 0 {
            first = body(&answer);
        }
        assert_eq!(body(&answer), first);
        let standing = engine.standing(&Event::new("c", "call")).expect("good");
        assert_eq!(standing.quotas().next().expect("the quota").used, 10);
        assert_eq!(standing.rate_limits().next().expect("the limit").remaining, 2);
        assert_eq!(engine.events().len(), 0);
        if life == 1 {
            engine.store().close().expect("it closes");
        }
    }
}

/// Nobody asks for it, and it is written.
#[test]
fn what_is_buffered_is_durable_soon() {
    let file = StoreFile::new("buffered");
    let (engine, _clock) = open(&file, START, two_rules);
    let _ = engine.track(&request(1)).expect("good");
    // The two figures are not of one instant.
    while engine.store().health().recorded < 1 || engine.store().health().waiting > 0 {
        std::thread::yield_now();
    }
}

/// The code changes between two runs: what it says otherwise than before holds, and what was
/// changed while it ran stays.
#[test]
fn the_rules_of_the_code_are_brought_into_those_that_are_stored() {
    let file = StoreFile::new("code");
    let limit = |limit| RateLimit::new("calls", limit, Window::Hour).id("rl").per("customer_id");
    let quota = || Quota::new("tokens", Metric::TotalTokens, 1_000, Period::Month).id("q");
    {
        let (engine, _clock) = open(&file, START, |it| it.rate_limit(limit(3)).quota(quota()));
        assert!(engine.track(&request(1)).expect("good").is_allowed());
        engine.rules().update("q", QuotaUpdate::new().limit(15)).expect("it is there");
    }
    {
        // The same code: what was changed at run time stays.
        let (engine, _clock) = open(&file, START, |it| it.rate_limit(limit(3)).quota(quota()));
        assert_eq!(engine.rules().get::<Quota>("q").expect("there").limit_value, Some(15.into()));
        assert!(!engine.track(&request(2)).expect("good").is_allowed());
    }
    let (engine, _clock) = open(&file, START, |it| it.rate_limit(limit(5)).quota(quota()));
    assert_eq!(engine.rules().get::<Quota>("q").expect("there").limit_value, Some(15.into()));
    let standing = engine.standing(&Event::new("c", "call")).expect("good");
    let status = standing.rate_limits().next().expect("the limit");
    assert_eq!(
        (status.limit, status.remaining),
        (Some(5.into()), 4.into()),
        "what was used stays used"
    );
}
