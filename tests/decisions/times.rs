//! Goal: a rule judges from its start to before its end, exact to the nanosecond, and nothing has
//! to run for that: outside of its times the next rule of its policy judges, or none. What it
//! counts is right from its first instant on. The wait of a refusal ends where a rule begins or
//! ends to judge by which the event passes.
//!
//! Method: worked cases. The model (`model.rs`) draws times, moves the clock to them and waits; and
//! threads that cross them are in `threads/linearizable.rs`.

use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, Nanos, SECOND};
use crate::support::{START, date, duration, engine, track};
use limitry::events::Recording;
use limitry::explain::RuleOutcome;
use limitry::rules::{OnMissing, QuotaUpdate, RateLimitUpdate};
use limitry::time::ManualClock;
use limitry::{
    Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit, Reserved, RetryAfter, Window,
};

fn call() -> Event<'static> {
    Event::new("ann", "call")
}

fn daily(name: &str, limit: u64) -> Quota {
    Quota::new(name, Metric::TotalEvents, limit, Period::Day).per("customer_id").id(name)
}

/// The names of the quotas that judge, with what is used.
fn quotas(engine: &Engine, event: &Event<'_>) -> Vec<(String, u64)> {
    let standing = engine.standing(event).expect("a valid event");
    standing.quotas().map(|it| (it.name.to_string(), it.used.to_u64_floor())).collect()
}

fn one(name: &str, used: u64) -> Vec<(String, u64)> {
    vec![(name.to_owned(), used)]
}

fn go_to(clock: &ManualClock, instant: Nanos) {
    clock.set(date(instant));
}

/// A default of 2, and a raise to 5 from an hour on for an hour.
fn raised(recording: Recording) -> (Engine, ManualClock) {
    engine(|builder| {
        builder.recording(recording).quota(daily("default", 2).policy("calls")).quota(
            daily("raise", 5)
                .policy("calls")
                .filter("customer_id", "ann")
                .starts_at(date(START + HOUR))
                .ends_at(date(START + 2 * HOUR)),
        )
    })
}

#[test]
fn a_raise_begins_and_ends_to_the_nanosecond_and_knows_what_was_used() {
    for recording in [Recording::Off, Recording::Newest(100)] {
        let (engine, clock) = raised(recording);
        assert!(track(&engine, &call()).is_allowed() && track(&engine, &call()).is_allowed());
        let refused = track(&engine, &call());
        assert_eq!(refused.retry_after(), Some(RetryAfter::After(duration(HOUR))));
        go_to(&clock, START + HOUR - 1);
        assert_eq!(quotas(&engine, &call()), one("default", 2));
        assert!(!track(&engine, &call()).is_allowed());
        go_to(&clock, START + HOUR);
        assert_eq!(quotas(&engine, &call()), one("raise", 2));
        assert!(track(&engine, &call()).is_allowed());
        go_to(&clock, START + 2 * HOUR - 1);
        assert_eq!(quotas(&engine, &call()), one("raise", 3));
        go_to(&clock, START + 2 * HOUR);
        assert_eq!(quotas(&engine, &call()), one("default", 3));
        assert!(!track(&engine, &call()).is_allowed());
        // Put off, it goes on with all that was used.
        let longer = QuotaUpdate::new().ends_at(date(START + 3 * HOUR));
        engine.rules().update("raise", longer).expect("a valid change");
        assert_eq!(quotas(&engine, &call()), one("raise", 3));
        let for_ever = QuotaUpdate::new().ends_at(None).starts_at(None);
        engine.rules().update("raise", for_ever).expect("a valid change");
        go_to(&clock, START + 4 * HOUR);
        assert_eq!(quotas(&engine, &call()), one("raise", 3));
    }
}

#[test]
fn a_rule_by_itself_refuses_nobody_outside_of_its_times() {
    let freeze = RateLimit::new("freeze", 0, Window::Second).id("freeze");
    let freeze = freeze.starts_at(date(START + SECOND)).ends_at(date(START + 3 * SECOND));
    let (engine, clock) = engine(|builder| builder.rate_limit(freeze));
    let listed = |engine: &Engine| track(engine, &call()).rate_limits().count();
    assert_eq!(listed(&engine), 0);
    go_to(&clock, START + SECOND);
    let refused = track(&engine, &call());
    assert_eq!(refused.outcome(), Outcome::Refused);
    // Blocked by a limit of 0, which by itself would be for ever.
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(Duration::from_secs(2))));
    go_to(&clock, START + 3 * SECOND - 1);
    assert!(!track(&engine, &call()).is_allowed());
    assert!(!engine.check(&call()).expect("valid").is_allowed());
    go_to(&clock, START + 3 * SECOND);
    assert!(track(&engine, &call()).is_allowed());
    assert_eq!(listed(&engine), 0);
}

#[test]
fn a_wait_goes_past_a_rule_that_begins_to_refuse() {
    // It would pass in a second, but for the freeze that begins before and ends later.
    let freeze = RateLimit::new("freeze", 0, Window::Second).starts_at(date(START + SECOND / 2));
    let (engine, _clock) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("one", 1, Window::Second))
            .rate_limit(freeze.clone().ends_at(date(START + 9 * SECOND)))
    });
    assert!(track(&engine, &call()).is_allowed());
    let wait = track(&engine, &call()).retry_after();
    assert_eq!(wait, Some(RetryAfter::After(Duration::from_secs(9))));
    let (engine, _clock) = self::engine(|builder| {
        builder.rate_limit(RateLimit::new("one", 1, Window::Second)).rate_limit(freeze)
    });
    assert!(track(&engine, &call()).is_allowed());
    assert_eq!(track(&engine, &call()).retry_after(), Some(RetryAfter::Never));
}

/// Found by the search of `decisions::model`: the wait ended where the event was an error.
#[test]
fn a_wait_goes_past_a_rule_that_begins_to_insist_on_a_dimension() {
    let each = RateLimit::new("each", 1, Window::Second);
    let strict = RateLimit::new("strict", 9, Window::Second).per("team");
    let strict = strict.on_missing(OnMissing::Refuse);
    let begins = strict.clone().starts_at(date(START + SECOND / 2));
    // By its own times, and by those of a rule of its policy that outranks it until then.
    let for_a_while = vec![begins.clone().ends_at(date(START + 9 * SECOND))];
    let freeze = RateLimit::new("freeze", 0, Window::Second).priority(1).policy("p");
    let overridden = vec![freeze.ends_at(date(START + 9 * SECOND)), strict.policy("p")];
    let never = Some(RetryAfter::Never);
    let later = Some(RetryAfter::After(Duration::from_secs(9)));
    for (rules, due) in [(for_a_while, later), (vec![begins], never), (overridden, never)] {
        let (engine, clock) = engine(|builder| {
            rules
                .into_iter()
                .fold(builder, |builder, rule| builder.rate_limit(rule))
                .rate_limit(each.clone())
        });
        while track(&engine, &call()).is_allowed() {}
        assert_eq!(track(&engine, &call()).retry_after(), due);
        go_to(&clock, START + SECOND);
        assert!(engine.track(&call()).is_err() || due == never);
        go_to(&clock, START + 9 * SECOND);
        assert_eq!(engine.track(&call()).is_ok(), due == later);
    }
}

#[test]
fn quotas_go_by_the_time_of_the_event_and_rate_limits_by_the_clock() {
    let (engine, clock) = engine(|builder| {
        builder
            .quota(daily("quota", 9).ends_at(date(START)))
            .rate_limit(RateLimit::new("limit", 9, Window::Hour).ends_at(date(START)))
    });
    let judges = |event: &Event<'_>| {
        let decision = track(&engine, event);
        (decision.quotas().count(), decision.rate_limits().count())
    };
    assert_eq!(judges(&call()), (0, 0));
    assert_eq!(judges(&call().timestamp(date(START - 1))), (1, 0));
    assert_eq!(judges(&call().timestamp(date(START))), (0, 0));
    clock.set(date(START - SECOND));
    // Time does not run back.
    assert_eq!(judges(&call()), (0, 0));
}

#[test]
fn records_and_batches_go_by_the_times_too() {
    let (engine, clock) = raised(Recording::Newest(100));
    for _ in 0..4 {
        assert!(engine.record(&call()).expect("valid").is_allowed());
    }
    go_to(&clock, START + HOUR);
    let answers = engine.track_batch(&[call(), call()]);
    let allowed: Vec<_> = answers.into_iter().map(|it| it.expect("valid").is_allowed()).collect();
    assert_eq!(allowed, [true, false]);
    let again = call().idempotency_key("k");
    assert!(!track(&engine, &again).is_allowed());
    go_to(&clock, START + DAY);
    assert!(track(&engine, &again).is_allowed());
    assert_eq!(track(&engine, &again).outcome(), Outcome::Replayed);
}

#[test]
fn a_hold_lasts_over_the_end_of_the_rule_that_let_it_in() {
    let (engine, clock) = raised(Recording::Newest(100));
    go_to(&clock, START + HOUR);
    let hold = Hold::lasting(duration(3 * HOUR));
    let held: Vec<_> = (0..5).map(|_| engine.reserve(&call(), hold).expect("valid")).collect();
    assert!(held.iter().all(|it| matches!(it, Reserved::Held(_))));
    let Ok(Reserved::Refused(refused)) = engine.reserve(&call(), hold) else { panic!("5 fit") };
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(duration(3 * HOUR))));
    go_to(&clock, START + 2 * HOUR);
    let mut held = held.into_iter();
    let Some(Reserved::Held(first)) = held.next() else { panic!("it is held") };
    let committed = first.commit(&call()).expect("it is open");
    // It is of the instant at which it was reserved.
    assert_eq!(committed.quotas().map(|it| it.id.to_string()).collect::<Vec<_>>(), ["raise"]);
    drop(held);
    assert_eq!(quotas(&engine, &call()), one("default", 1));
}

#[test]
fn an_explanation_says_that_it_is_not_the_time() {
    let (engine, clock) = raised(Recording::Off);
    let explained = engine.explain(&call()).expect("valid");
    let (starts_at, ends_at) = (Some(date(START + HOUR)), Some(date(START + 2 * HOUR)));
    assert_eq!(explained.rules[1].outcome, RuleOutcome::OutOfTime { starts_at, ends_at });
    let line = "not in its time, from 2024-01-15T11:30:00Z, until 2024-01-15T12:30:00Z";
    assert!(explained.to_string().contains(line), "{explained}");
    go_to(&clock, START + HOUR);
    let told = engine.explain(&call()).expect("valid").to_string();
    assert!(told.contains("replaced by rule raise of policy \"calls\""), "{told}");
}

#[test]
fn who_waits_is_let_in_when_a_rule_ends() {
    let engine = Engine::builder()
        .rate_limit(RateLimit::new("freeze", 0, Window::Second).id("freeze"))
        .build()
        .expect("a valid rule");
    let end = engine.now() + Duration::from_millis(30);
    let update = RateLimitUpdate::new().ends_at(end);
    engine.rules().update("freeze", update).expect("a valid change");
    let decision = engine.wait_blocking(&call()).expect("it passes");
    assert!(decision.is_allowed() && engine.now() >= end);
}

#[cfg(feature = "durable")]
#[test]
fn times_and_what_was_counted_outside_of_them_come_back() {
    use crate::support::files::StoreFile;

    let file = StoreFile::new("times");
    let clock = ManualClock::new(date(START));
    let open = || {
        let own = daily("raise", 5).policy("calls").filter("customer_id", "ann");
        let own = own.starts_at(date(START + HOUR)).ends_at(date(START + 2 * HOUR));
        let builder = Engine::builder().clock(clock.clone()).recording(Recording::Off);
        let builder = builder.quota(daily("default", 2).policy("calls")).quota(own);
        builder.durable(file.store()).build().expect("an engine")
    };
    for (instant, judges, used) in [
        (START, "default", 1),
        (START + HOUR - 1, "default", 2),
        (START + HOUR, "raise", 3),
        (START + 2 * HOUR - 1, "raise", 4),
    ] {
        go_to(&clock, instant);
        let engine = open();
        assert!(track(&engine, &call()).is_allowed());
        assert_eq!(quotas(&engine, &call()), one(judges, used));
        engine.store().flush().expect("a store that writes");
        engine.store().verify(|_| {}).expect("states follow from each other");
    }
    go_to(&clock, START + 2 * HOUR);
    let engine = open();
    assert!(!track(&engine, &call()).is_allowed());
    assert_eq!(quotas(&engine, &call()), one("default", 4));
}
