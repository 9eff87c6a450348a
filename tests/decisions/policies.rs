//! Goal: a rule that has lost to another of its policy knows what was used. Whichever judges next,
//! by the event or by a change of the rules, goes by one figure, whatever the history of changes,
//! restarts and imports. A rule without a say refuses nobody and stands in no answer.
//!
//! Method: worked cases. The model (`model.rs`), which adds, changes and removes rules of policies
//! at random, knows the same from first principles.

use std::time::Duration;

use crate::support::{START, oracle::HOUR, track};
use crate::support::{date, engine};
use limitry::events::{EventQuery, Recording};
use limitry::explain::{Precedence, RuleOutcome};
use limitry::rules::{Algorithm, Enforcement, Overflow, QuotaUpdate};
use limitry::store::BadLines;
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, RetryAfter, Window};

const CUSTOMER: &str = "ann";

fn call() -> Event<'static> {
    Event::new(CUSTOMER, "call")
}

/// So many calls, of which all pass.
fn use_up(engine: &Engine, calls: u64) {
    for number in 0..calls {
        assert!(track(engine, &call()).is_allowed(), "call {number}");
    }
}

/// Name, use and limit of each quota that stands in the answer.
fn quotas(engine: &Engine) -> Vec<(String, u64, u64)> {
    let standing = engine.standing(&call()).expect("a valid event");
    standing
        .quotas()
        .map(|quota| {
            (
                quota.name.into_owned(),
                quota.used.to_u64_ceil(),
                quota.limit.map_or(0, limitry::Amount::to_u64_floor),
            )
        })
        .collect()
}

/// Name and rest of each rate limit that stands in the answer.
fn rate_limits(engine: &Engine) -> Vec<(String, u64)> {
    let standing = engine.standing(&call()).expect("a valid event");
    standing
        .rate_limits()
        .map(|limit| (limit.name.into_owned(), limit.remaining.to_u64_floor()))
        .collect()
}

fn quota(name: &str, limit: u64, period: Period) -> Quota {
    Quota::new(name, Metric::TotalEvents, limit, period).per("customer_id").policy("calls").id(name)
}

fn raise(limit: u64, period: Period) -> Quota {
    quota("raise", limit, period).filter("customer_id", CUSTOMER)
}

/// A default of 100 and a raise to 500, 450 of it used.
fn raised(period: Period) -> impl FnOnce(EngineBuilder) -> EngineBuilder {
    move |builder| builder.quota(quota("default", 100, period)).quota(raise(500, period))
}

fn one(name: &str, used: u64, limit: u64) -> Vec<(String, u64, u64)> {
    vec![(name.to_owned(), used, limit)]
}

#[test]
fn a_default_knows_what_was_used_under_a_raise() {
    for period in [Period::Month, Period::AllTime, Period::rolling(Duration::from_secs(3_600))] {
        for recording in [Recording::Off, Recording::Newest(1_000)] {
            let (engine, _clock) = engine(|builder| raised(period)(builder).recording(recording));
            use_up(&engine, 450);
            assert_eq!(quotas(&engine), one("raise", 450, 500));
            engine.rules().remove("raise").expect("it is there");
            assert_eq!(quotas(&engine), one("default", 450, 100), "{period}");
            assert!(!track(&engine, &call()).is_allowed());
            // And the other way: the raise comes back, and what was used is used.
            let off = QuotaUpdate::new().enabled(false);
            engine.rules().update("default", off).expect("valid");
            engine
                .rules()
                .update("default", QuotaUpdate::new().enabled(true).limit(460))
                .expect("valid");
            assert_eq!(quotas(&engine), one("default", 450, 460), "{period}");
            use_up(&engine, 10);
            assert!(!track(&engine, &call()).is_allowed());
        }
    }
}

#[test]
fn whichever_rule_an_event_chooses_knows_of_the_others() {
    let (engine, _clock) = engine(|builder| {
        builder
            .recording(Recording::Off)
            .quota(quota("any model", 5, Period::Day))
            .quota(quota("gpt-4", 3, Period::Day).filter("model", "gpt-4"))
    });
    let gpt = call().model("gpt-4");
    assert!((0..3).all(|_| track(&engine, &gpt).is_allowed()));
    assert!(!track(&engine, &gpt).is_allowed(), "three of three");
    assert_eq!(quotas(&engine), one("any model", 3, 5));
    use_up(&engine, 2);
    assert!(!track(&engine, &call()).is_allowed(), "five of five");
    // A refused event counts nowhere, and what does not match a rule is nothing to it.
    let standing = engine.standing(&gpt).expect("a valid event");
    assert_eq!(standing.quotas().map(|quota| quota.used).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_losing_rate_limit_never_goes_below_empty() {
    let limit = |name: &str, limit, algorithm| {
        let rule = RateLimit::new(name, limit, Window::Minute).per("customer_id");
        rule.policy("calls").id(name).algorithm(algorithm)
    };
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, clock) = engine(|builder| {
            builder
                .rate_limit(limit("default", 10, algorithm))
                .rate_limit(limit("raise", 100, algorithm).filter("customer_id", CUSTOMER))
        });
        use_up(&engine, 80);
        assert!(engine.record(&call()).expect("a valid event").is_allowed());
        engine.rules().remove("raise").expect("it is there");
        assert_eq!(rate_limits(&engine), [("default".to_owned(), 0)], "{algorithm:?}");
        let refused = track(&engine, &call());
        let Some(RetryAfter::After(wait)) = refused.retry_after() else {
            panic!("{algorithm:?}: {refused}");
        };
        // A token comes each six seconds, and the start is that of a minute.
        let due = if algorithm == Algorithm::TokenBucket { 6 } else { 60 };
        assert!(wait <= Duration::from_secs(due + 1), "{algorithm:?}: {wait:?}");
        clock.advance(wait);
        assert!(track(&engine, &call()).is_allowed(), "{algorithm:?}");
    }
}

#[test]
fn a_rule_without_a_say_stands_in_no_answer_and_makes_nobody_late() {
    let (engine, clock) = engine(|builder| {
        builder
            .recording(Recording::Off)
            .quota(quota("default", 1, Period::Hour))
            .quota(raise(500, Period::AllTime))
    });
    for enforcement in [Enforcement::Shadow, Enforcement::Soft, Enforcement::Hard] {
        let change = QuotaUpdate::new().enforcement(enforcement);
        engine.rules().update("default", change).expect("valid");
        let decision = track(&engine, &call().idempotency_key(format!("{enforcement:?}")));
        let again = track(&engine, &call().idempotency_key(format!("{enforcement:?}")));
        for decision in [&decision, &again] {
            let names: Vec<_> = decision.quotas().map(|quota| quota.name.into_owned()).collect();
            assert_eq!(names, ["raise"]);
            assert!(decision.quotas().all(|quota| !quota.exceeded));
        }
        let body = serde_json::to_string(&again).expect("plain data");
        assert!(!body.contains("default"), "{body}");
    }
    // The default takes no more events of two hours ago, but it has no say.
    clock.advance(Duration::from_secs(7_200));
    let late = call().timestamp(date(START));
    assert!(track(&engine, &late).is_allowed());
    let explained = engine.explain(&call()).expect("a valid event").to_string();
    assert!(explained.contains("replaced by rule raise of policy"), "{explained}");
    engine.rules().remove("raise").expect("it is there");
    assert!(engine.track(&late).is_err(), "it has one now");
    // A late event counts in the period of its own.
    clock.set(date(START + HOUR / 4));
    assert_eq!(quotas(&engine), one("default", 0, 1));
}

#[test]
fn a_rule_without_a_say_needs_no_room() {
    for overflow in [Overflow::Deny, Overflow::Share, Overflow::Allow] {
        let default = quota("default", 3, Period::Month).max_keys(1).overflow(overflow);
        let (engine, _clock) =
            engine(|builder| builder.quota(default.clone()).quota(raise(500, Period::Month)));
        assert!(track(&engine, &Event::new("bob", "call")).is_allowed());
        use_up(&engine, 5);
        assert_eq!(quotas(&engine), one("raise", 5, 500), "{overflow:?}");
        // The shared counter is not that of a customer with a rule of its own.
        let other = engine.standing(&Event::new("cem", "call")).expect("a valid event");
        assert_eq!(other.quotas().map(|quota| quota.used).collect::<Vec<_>>(), [0]);
        // Once there is room the recorded events tell what was used.
        engine.rules().update("default", QuotaUpdate::new().max_keys(2)).expect("valid");
        engine.rules().remove("raise").expect("it is there");
        assert_eq!(quotas(&engine), one("default", 5, 3), "{overflow:?}");
        assert!(!track(&engine, &call()).is_allowed(), "{overflow:?}");
    }
}

#[test]
fn a_rule_without_a_say_takes_no_room_from_one_that_has_a_say() {
    // Two keys in all: the customer's own counters of two partitions.
    let by_team = |name: &str| {
        let rule = Quota::new(name, Metric::TotalEvents, 9, Period::Month).per("team");
        rule.overflow(Overflow::Deny)
    };
    let (engine, _clock) = engine(|builder| {
        builder
            .max_keys(1)
            .quota(quota("default", 9, Period::Month).overflow(Overflow::Deny))
            .quota(by_team("own").policy("calls").filter("customer_id", CUSTOMER))
    });
    let decision = track(&engine, &call().property("team", "red"));
    assert!(decision.is_allowed(), "{decision}");
    assert_eq!(engine.live_keys(), 1);
    assert!(track(&engine, &call().property("team", "red")).is_allowed());
}

#[test]
fn imported_events_count_for_all_rules_of_a_policy() {
    let (from, _clock) = engine(raised(Period::Month));
    use_up(&from, 120);
    let mut lines = Vec::new();
    from.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("memory takes it");
    let (to, _clock) = engine(raised(Period::Month));
    let report =
        to.store().import(lines.as_slice(), BadLines::Stop, |_| {}).expect("what was exported");
    assert_eq!(report.count, from.events().len() as u64);
    to.rules().remove("raise").expect("it is there");
    assert_eq!(quotas(&to), one("default", 120, 100));
}

#[cfg(feature = "durable")]
#[test]
fn rules_without_a_say_go_on_after_a_restart() {
    use crate::support::clock;
    use crate::support::files::StoreFile;

    let file = StoreFile::new("policies");
    let rolling = Period::rolling(Duration::from_secs(3_600));
    // The quotas have nothing to ask: what they know is in their counters and in the records.
    let open = || {
        let store = file.store();
        let builder = raised(rolling)(Engine::builder().clock(clock()));
        let bucket = RateLimit::new("bucket", 50, Window::Hour).per("customer_id").policy("rate");
        let own = RateLimit::new("own bucket", 900, Window::Hour).per("customer_id").policy("rate");
        let own = own.filter("customer_id", CUSTOMER).id("own");
        let builder = builder.rate_limit(bucket).rate_limit(own);
        builder.recording(Recording::Off).durable(store).build().expect("an engine")
    };
    for is_closed in [false, true] {
        let engine = open();
        use_up(&engine, 60);
        let report =
            engine.store().verify(|_| {}).expect("the states of the log follow from each other");
        assert!(report.states >= 120, "{report:?}");
        engine.store().flush().expect("a store that writes");
        if is_closed {
            engine.store().close().expect("a store that closes");
        }
        drop(engine);
    }
    let engine = open();
    engine.rules().remove("raise").expect("it is there");
    engine.rules().remove("own").expect("it is there");
    assert_eq!(quotas(&engine), one("default", 120, 100));
    assert_eq!(rate_limits(&engine), [("bucket".to_owned(), 0)]);
    drop(engine);
}

/// Each pair of rules, the one that judges first, in both orders of their making.
#[test]
fn what_decides_between_the_rules_of_a_policy() {
    let rule = |name: &str| RateLimit::new(name, 9, Window::Hour).policy("calls").id(name);
    let split = |name: &str| rule(name).per("customer_id");
    let cases = [
        // A priority goes before everything.
        (split("a").priority(1), split("b").filter("customer_id", CUSTOMER), Precedence::Priority),
        (split("a"), split("b").filter("customer_id", CUSTOMER).priority(-1), Precedence::Priority),
        // A customer's own limit, before a plan however much that asks for.
        (
            split("a").filter("customer_id", CUSTOMER),
            split("b").filter("plan", "pro").filter("model", "x"),
            Precedence::OwnKey,
        ),
        // The same of one that is not split, by what the other one is split by.
        (
            rule("a").filter("customer_id", CUSTOMER),
            split("b").filter("plan", "pro").filter("model", "x"),
            Precedence::OwnKey,
        ),
        // A list, or a prefix, is no key.
        (
            split("a").filter("plan", "pro").filter("model", "x"),
            split("b").filter("customer_id", [CUSTOMER, "other"]),
            Precedence::Conditions,
        ),
        // Part of a key is none.
        (
            split("a").per("model").filter("plan", "pro").filter("event_type", "call"),
            split("b").per("model").filter("customer_id", CUSTOMER),
            Precedence::Conditions,
        ),
        // Where nothing is split there is no key.
        (
            rule("a").filter("plan", "pro").filter("model", "x"),
            rule("b").filter("customer_id", CUSTOMER),
            Precedence::Conditions,
        ),
    ];
    let event = Event::new(CUSTOMER, "call").model("x").property("plan", "pro");
    let check = |first: &RateLimit, second: &RateLimit, winner: &str, why: Precedence| {
        let (engine, _clock) =
            engine(|builder| builder.rate_limit(first.clone()).rate_limit(second.clone()));
        assert_eq!(rate_limits_of(&engine, &event), [winner], "{first:?} {second:?}");
        let explained = engine.explain(&event).expect("a valid event");
        let because = explained.rules.iter().find_map(|it| match &it.outcome {
            RuleOutcome::Replaced { by, because, .. } => Some((by.as_str(), *because)),
            _ => None,
        });
        assert_eq!(because, Some((winner, why)), "{explained}");
    };
    for (winner, other, why) in &cases {
        check(winner, other, "a", *why);
        check(other, winner, "a", *why);
    }
    let [old, new] = ["old", "new"].map(|name| split(name).filter("plan", "pro"));
    check(&old, &new, "new", Precedence::Newest);
}

fn rate_limits_of(engine: &Engine, event: &Event<'_>) -> Vec<String> {
    let decision = track(engine, event);
    decision.rate_limits().map(|status| status.name.to_string()).collect()
}

#[test]
fn a_changed_priority_decides_at_once_and_keeps_what_was_used() {
    let (engine, _clock) = engine(raised(Period::Month));
    use_up(&engine, 50);
    assert_eq!(quotas(&engine), one("raise", 50, 500));
    let update = QuotaUpdate::new().priority(7);
    engine.rules().update("default", update).expect("a valid change");
    assert_eq!(quotas(&engine), one("default", 50, 100));
    let told = engine.explain(&call()).expect("a valid event").to_string();
    let line = "replaced by rule default of policy \"calls\", which has a higher priority";
    assert!(told.contains(line), "{told}");
}
