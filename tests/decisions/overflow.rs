//! Goal: memory is bounded, and the bound is no way around a limit. A cap on keys, a rule's or the
//! engine's, never takes a counter from a key that has one; what new keys get is what the rule
//! chose: a counter that they share, a refusal, or to pass uncounted.
//!
//! Method: worked cases on a manual clock; threads that flood a cap while another watches it.
//! The random form is `overflow_model.rs`; bytes are counted in `memory/bytes.rs`.

use crate::support::clock;
#[cfg(feature = "durable")]
use crate::support::files::StoreFile;
use limitry::events::Recording;
use limitry::rules::{Algorithm, Enforcement, Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::time::ManualClock;
use limitry::{
    Decision, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RateLimit, RetryAfter,
    Window,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) fn engine(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> (Engine, ManualClock) {
    let clock = clock();
    let builder = Engine::builder().recording(Recording::Off).clock(clock.clone());
    (build(builder).build().expect("the rules of this test are valid"), clock)
}

/// A quota a customer that nothing resets, so that a key once counted never comes to rest.
pub(crate) fn lifetime(limit: u64, keys: u64, overflow: Overflow) -> Quota {
    Quota::new("lifetime", Metric::TotalEvents, limit, Period::AllTime)
        .id("lifetime")
        .per("customer_id")
        .max_keys(keys)
        .overflow(overflow)
}

pub(crate) fn call(customer: &str) -> Event<'_> {
    Event::new(customer, "call")
}

pub(crate) fn track(engine: &Engine, customer: &str) -> Decision {
    engine.track(&call(customer)).expect("a valid event")
}

pub(crate) fn is_allowed(engine: &Engine, customer: &str) -> bool {
    track(engine, customer).is_allowed()
}

/// What is used of the first quota that matches.
pub(crate) fn used(engine: &Engine, customer: &str) -> u64 {
    let standing = engine.standing(&call(customer)).expect("a valid event");
    standing.quotas().next().expect("a quota matches").used.to_u64_ceil()
}

#[test]
fn new_keys_share_one_counter_more_by_default() {
    assert_eq!(Overflow::default(), Overflow::Share);
    let (engine, _) = engine(|builder| builder.quota(lifetime(3, 2, Overflow::Share)));
    assert!(is_allowed(&engine, "a"));
    assert!(is_allowed(&engine, "b"));
    // No room: c, d and e have three between them.
    assert!(is_allowed(&engine, "c"));
    assert!(is_allowed(&engine, "d"));
    assert_eq!((used(&engine, "a"), used(&engine, "b")), (1, 1));
    assert_eq!((used(&engine, "c"), used(&engine, "d"), used(&engine, "e")), (2, 2, 2));
    assert!(is_allowed(&engine, "c"));
    let refused = track(&engine, "e");
    assert!(!refused.is_allowed());
    assert_eq!(refused.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(), [3]);
    // Whoever came before has all of his own.
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "a") && !is_allowed(&engine, "a"));
    assert!(is_allowed(&engine, "b") && is_allowed(&engine, "b") && !is_allowed(&engine, "b"));
    assert_eq!(engine.live_keys(), 2, "the shared counter is no key");
}

#[test]
fn a_shared_counter_says_the_exact_wait() {
    let (engine, clock) = engine(|builder| {
        let limit = RateLimit::new("one a minute", 1, Window::Minute).per("customer_id");
        builder.rate_limit(limit.max_keys(1))
    });
    assert!(is_allowed(&engine, "a"));
    assert!(is_allowed(&engine, "b"));
    let refused = track(&engine, "c");
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(Duration::from_secs(60))));
    clock.advance(Duration::from_nanos(59_999_999_999));
    assert!(!is_allowed(&engine, "c"));
    clock.advance(Duration::from_nanos(1));
    assert!(is_allowed(&engine, "c"));
}

#[test]
fn deny_refuses_new_keys_and_says_never() {
    let (engine, _) = engine(|builder| builder.quota(lifetime(3, 2, Overflow::Deny)));
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "b"));
    let refused = track(&engine, "c");
    assert!(!refused.is_allowed());
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
    let statuses: Vec<_> = refused.quotas().map(|s| (s.id.into_owned(), s.exceeded)).collect();
    assert_eq!(statuses, [("lifetime".to_owned(), true)]);
    assert!(refused.headers().all(|(name, _)| name != "Retry-After"));
    assert!(!engine.check(&call("c")).expect("a valid event").is_allowed());
    assert!(!engine.standing(&call("c")).expect("a valid event").is_allowed());
    assert!(is_allowed(&engine, "a"), "whoever has a counter goes on");
    assert_eq!(engine.live_keys(), 2);
}

#[test]
fn allow_lets_new_keys_pass_uncounted() {
    let (engine, _) = engine(|builder| builder.quota(lifetime(3, 2, Overflow::Allow)));
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "b"));
    for _ in 0..10 {
        let decision = track(&engine, "c");
        assert!(decision.is_allowed());
        let figures: Vec<_> =
            decision.quotas().map(|s| (s.used, s.remaining, s.exceeded)).collect();
        assert_eq!(figures, [(0.into(), 3.into(), false)], "the rule is listed, with nothing used");
    }
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "a") && !is_allowed(&engine, "a"));
    assert_eq!(engine.live_keys(), 2);
}

#[test]
fn the_engines_cap_holds_over_all_rules_and_each_rule_chooses_for_itself() {
    let rule = |name: &str, overflow| {
        let quota = Quota::new(name, Metric::TotalEvents, 2, Period::AllTime);
        quota.per("customer_id").overflow(overflow)
    };
    let (engine, _) = engine(|builder| {
        builder
            .max_keys(3)
            .quota(rule("share", Overflow::Share))
            .quota(rule("allow", Overflow::Allow))
            .quota(Quota::new("shared by all", Metric::TotalEvents, 100, Period::AllTime))
    });
    // One key is the counter that all share.
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "b"));
    assert_eq!(engine.live_keys(), 3);
    let decision = track(&engine, "c");
    let figures: Vec<_> = decision.quotas().map(|s| (s.name.into_owned(), s.used)).collect();
    let expected = [("share", 1), ("allow", 0), ("shared by all", 3)];
    assert_eq!(figures, expected.map(|(name, used)| (name.to_owned(), used.into())));
    assert!(is_allowed(&engine, "d"));
    assert!(!is_allowed(&engine, "e"), "c and d have used what new keys share");
    assert_eq!(engine.live_keys(), 3);
}

#[test]
fn recording_at_the_cap_counts_where_it_can_and_refuses_nobody() {
    for (overflow, expected) in [(Overflow::Share, 5), (Overflow::Allow, 0), (Overflow::Deny, 0)] {
        let (engine, _) = engine(|builder| builder.quota(lifetime(3, 1, overflow)));
        assert!(is_allowed(&engine, "a"));
        for _ in 0..5 {
            let decision = engine.record(&call("b")).expect("a valid event");
            assert!(decision.is_allowed(), "{overflow:?}");
        }
        assert_eq!(used(&engine, "b"), expected, "{overflow:?}");
        assert_eq!(used(&engine, "a"), 1, "{overflow:?}");
        assert_eq!(engine.live_keys(), 1, "{overflow:?}");
    }
}

#[test]
fn soft_and_shadow_rules_at_the_cap_refuse_nobody() {
    for enforcement in [Enforcement::Soft, Enforcement::Shadow] {
        for overflow in [Overflow::Share, Overflow::Deny, Overflow::Allow] {
            let rule = lifetime(1, 1, overflow).enforcement(enforcement);
            let (engine, _) = engine(|builder| builder.quota(rule));
            for customer in ["a", "b", "c", "b", "c"] {
                assert!(is_allowed(&engine, customer), "{enforcement:?} {overflow:?}");
            }
            let exceeded: Vec<_> = track(&engine, "d").quotas().map(|s| s.exceeded).collect();
            assert_eq!(exceeded, [overflow != Overflow::Allow], "{enforcement:?} {overflow:?}");
        }
    }
}

#[test]
fn a_customer_with_use_keeps_it_under_a_flood_of_fresh_keys() {
    for overflow in [Overflow::Share, Overflow::Deny, Overflow::Allow] {
        for engines_cap in [false, true] {
            let (engine, clock) = engine(|builder| {
                if engines_cap {
                    builder.max_keys(64).quota(lifetime(10, u64::MAX, overflow))
                } else {
                    builder.quota(lifetime(10, 64, overflow))
                }
            });
            let victims: Vec<String> = (0..20).map(|number| format!("victim {number}")).collect();
            for victim in &victims {
                for _ in 0..7 {
                    assert!(is_allowed(&engine, victim));
                }
            }
            for number in 0..20_000_u32 {
                let _ = track(&engine, &format!("flood {number}"));
                clock.advance(Duration::from_millis(10));
                assert!(engine.live_keys() <= 64, "{} keys", engine.live_keys());
            }
            assert_eq!(engine.live_keys(), 64);
            for victim in &victims {
                assert_eq!(used(&engine, victim), 7, "{overflow:?}");
                let admitted = (0..10).filter(|_| is_allowed(&engine, victim)).count();
                assert_eq!(admitted, 3, "{overflow:?}: no more than its limit, no less");
            }
        }
    }
}

#[test]
fn room_that_came_free_is_used_again() {
    for engines_cap in [false, true] {
        let (engine, clock) = engine(|builder| {
            let rule = RateLimit::new("one a minute", 1, Window::Minute).per("customer_id");
            if engines_cap {
                builder.max_keys(100).rate_limit(rule)
            } else {
                builder.rate_limit(rule.max_keys(100))
            }
        });
        for number in 0..100 {
            assert!(is_allowed(&engine, &format!("early {number}")));
        }
        assert_eq!(engine.live_keys(), 100);
        assert!(is_allowed(&engine, "late 1") && !is_allowed(&engine, "late 2"), "they share");
        // All buckets are full again a minute later: those counters say no more than fresh ones.
        // Calls that pass by drop them, a few at a time.
        let mut calls = 0_u32;
        loop {
            clock.advance(Duration::from_secs(60));
            calls += 1;
            assert!(is_allowed(&engine, &format!("passer-by {calls}")), "the shared one is full");
            assert!(engine.live_keys() <= 100);
            // Two at one instant pass where each has a counter of its own.
            let pair = [format!("new {calls}"), format!("newer {calls}")];
            if pair.iter().all(|customer| is_allowed(&engine, customer)) {
                break;
            }
            assert!(calls < 5_000, "{} keys stay though none matters", engine.live_keys());
        }
    }
}

#[test]
fn room_that_came_free_is_used_again_also_where_new_keys_are_denied() {
    for engines_cap in [false, true] {
        let (engine, clock) = engine(|builder| {
            let rule = RateLimit::new("one a minute", 1, Window::Minute).per("customer_id");
            let rule = rule.overflow(Overflow::Deny);
            if engines_cap {
                builder.max_keys(100).rate_limit(rule)
            } else {
                builder.rate_limit(rule.max_keys(100))
            }
        });
        for number in 0..100 {
            assert!(is_allowed(&engine, &format!("early {number}")));
        }
        assert!(!is_allowed(&engine, "late"));
        clock.advance(Duration::from_secs(60));
        let calls = (0..200_000_u32).find(|call| is_allowed(&engine, &format!("new {call}")));
        assert!(calls.is_some(), "{} keys stay though none matters", engine.live_keys());
    }
}

#[test]
fn idle_keys_are_dropped_whatever_else_matches() {
    let per = |dimension: &str| RateLimit::new("ten a second", 10, Window::Second).per(dimension);
    let shared = RateLimit::new("all", 1_u64 << 40, Window::Hour);
    let shapes: [&[RateLimit]; 4] = [
        &[per("customer_id")],
        &[shared.clone(), per("customer_id")],
        &[per("customer_id"), shared.filter("event_type", "call")],
        &[per("customer_id"), per("team"), per("customer_id").per("team")],
    ];
    for rules in shapes {
        let (engine, clock) = engine(|builder| {
            rules.iter().fold(builder, |builder, rule| builder.rate_limit(rule.clone()))
        });
        // A bucket is full again a tenth of a second after its one call, which is 100 calls later.
        for number in 0..100_000_u32 {
            let (customer, team) = (format!("c {number}"), format!("t {number}"));
            clock.advance(Duration::from_millis(1));
            let _ = engine.track(&call(&customer).property("team", &team)).expect("a valid event");
        }
        let keys = engine.live_keys();
        assert!(keys <= 10_000, "{keys} keys, of which 300 matter, by {} rules", rules.len());
    }
}

#[test]
fn a_raised_cap_helps_at_once_and_a_lowered_one_takes_nothing_away() {
    let (engine, _) = engine(|builder| builder.quota(lifetime(2, 2, Overflow::Deny)));
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "b") && !is_allowed(&engine, "c"));
    engine.rules().update("lifetime", QuotaUpdate::new().max_keys(3)).expect("valid");
    assert!(is_allowed(&engine, "c") && !is_allowed(&engine, "d"));
    engine.rules().update("lifetime", QuotaUpdate::new().max_keys(1)).expect("valid");
    for customer in ["a", "b", "c"] {
        assert!(is_allowed(&engine, customer) && !is_allowed(&engine, customer), "{customer}");
    }
    assert!(!is_allowed(&engine, "d"));
    let share = QuotaUpdate::new().overflow(Overflow::Share);
    engine.rules().update("lifetime", share).expect("valid");
    assert!(is_allowed(&engine, "d") && is_allowed(&engine, "e") && !is_allowed(&engine, "f"));
    engine.rules().update("lifetime", QuotaUpdate::new().max_keys(None)).expect("valid");
    assert!(!is_allowed(&engine, "g"), "its own counter starts from all that is shared");
    engine.rules().update("lifetime", QuotaUpdate::new().limit(3)).expect("valid");
    assert!(is_allowed(&engine, "g") && !is_allowed(&engine, "g"));
    assert!(is_allowed(&engine, "d") && is_allowed(&engine, "e"), "each has its own");
    assert_eq!(engine.live_keys(), 6);
}

/// What a kind of counter is called, and what adds a rule of it.
pub(crate) type Kind = (&'static str, Box<dyn Fn(EngineBuilder) -> EngineBuilder>);

/// Every kind of counter, of ten an hour.
pub(crate) fn ten_an_hour() -> Vec<Kind> {
    let limit = |algorithm| {
        move |builder: EngineBuilder| {
            let rule = RateLimit::new("ten", 10, Window::Hour).per("customer_id").max_keys(1);
            builder.rate_limit(rule.id("ten").algorithm(algorithm))
        }
    };
    let quota = |metric: Metric, period: Period| {
        move |builder: EngineBuilder| {
            let rule = Quota::new("ten", metric.clone(), 10, period).per("customer_id");
            let seats = Meter::max("seats", "seats").id("seats");
            builder.meter(seats).quota(rule.id("ten").max_keys(1))
        }
    };
    let rolling = Period::rolling(Duration::from_secs(3_600));
    vec![
        ("bucket", Box::new(limit(Algorithm::TokenBucket))),
        ("fixed window", Box::new(limit(Algorithm::FixedWindow))),
        ("sliding window", Box::new(limit(Algorithm::SlidingWindow))),
        ("rolling quota", Box::new(quota(Metric::TotalEvents, rolling))),
        ("quota", Box::new(quota(Metric::TotalEvents, Period::Hour))),
        ("quota of values", Box::new(quota(Metric::value("gb"), Period::Day))),
    ]
}

pub(crate) fn set_cap(engine: &Engine, keys: u64) {
    let quota = engine.rules().update("ten", QuotaUpdate::new().max_keys(keys));
    let limit = engine.rules().update("ten", RateLimitUpdate::new().max_keys(keys));
    assert!(quota.is_ok() || limit.is_ok());
}

#[test]
fn a_key_that_gets_a_counter_of_its_own_has_used_what_it_shared() {
    for (name, rule) in ten_an_hour() {
        for recording in [Recording::Off, Recording::Newest(100)] {
            let (engine, _clock) = engine(|builder| rule(builder.recording(recording)));
            let call = |customer| {
                let event = Event::new(customer, "call").value("gb", 1);
                engine.track(&event).expect("a valid event").is_allowed()
            };
            assert!(call("a"), "it has the one counter that there is room for");
            assert!((0..6).all(|_| call("b")) && (0..3).all(|_| call("c")), "{name}");
            set_cap(&engine, 2);
            let more = (0..10).filter(|_| call("b")).count();
            // The recorded events tell what the customer itself has used; the counter does not.
            let is_known = name.contains("quota") && recording != Recording::Off;
            assert_eq!(more, if is_known { 4 } else { 1 }, "{name}, {recording:?}");
            assert!(call("c") && !call("c"), "{name}: the shared counter keeps what it had");
            // And back: a lower cap takes no counter away, so that nothing can be used twice.
            set_cap(&engine, 1);
            assert!(!call("b"), "{name}");
        }
    }
}

#[cfg(feature = "durable")]
#[test]
fn what_a_key_took_along_is_there_after_a_restart() {
    for (name, rule) in &ten_an_hour() {
        let file = StoreFile::new("overflow");
        let clock = clock();
        let open = || {
            let store = file.store();
            let builder = Engine::builder().clock(clock.clone()).recording(Recording::Off);
            rule(builder.durable(store)).build().expect("an engine")
        };
        let call = |engine: &Engine, customer: &str, at: &str| {
            let event = Event::new(customer, "call").value("gb", 1);
            let event = event.timestamp(at.parse::<limitry::Timestamp>().expect("an instant"));
            engine.track(&event).expect("a valid event").is_allowed()
        };
        let (now, later) = ("2024-01-15T10:30:00Z", "2024-01-16T10:15:00Z");
        let engine = open();
        assert!(call(&engine, "a", now));
        assert!((0..6).all(|_| call(&engine, "b", now)) && (0..3).all(|_| call(&engine, "c", now)));
        // A quota counts what is dated ahead in a period of its own.
        let is_dated = name.starts_with("quota");
        assert_eq!(
            (0..10).filter(|_| call(&engine, "b", later)).count(),
            if is_dated { 10 } else { 1 }
        );
        set_cap(&engine, 2);
        assert_eq!(call(&engine, "b", now), is_dated, "{name}");
        let engine = {
            engine.store().verify(|_| {}).expect("the states of the log follow from each other");
            drop(engine);
            open()
        };
        assert!(!call(&engine, "b", now) && !call(&engine, "b", later), "{name}");
        engine.store().verify(|_| {}).expect("the states of the log follow from each other");
        engine.store().close().expect("a store that closes");
        drop(engine);
        let engine = open();
        assert!(!call(&engine, "b", now) && !call(&engine, "b", later), "{name}");
        assert_eq!(call(&engine, "c", now), is_dated, "{name}");
        drop(engine);
    }
}

/// A decision that finds no room for one of its keys counts none of its others twice, also where
/// those go on with what was counted before a change of the rule.
#[test]
fn a_key_is_counted_once_by_its_cap_whoever_finds_no_room_beside_it() {
    let clock = clock();
    let hourly = |name: &str| {
        Quota::new(name, Metric::TotalEvents, 9, Period::Hour).per(name).overflow(Overflow::Allow)
    };
    let daily = Quota::new("calls", Metric::TotalEvents, 1_000, Period::Day);
    let engine = Engine::builder()
        .clock(clock.clone())
        .late_events(Duration::ZERO)
        .max_keys(2)
        .quota(daily.per("customer_id").id("calls").max_keys(2).overflow(Overflow::Deny))
        .quota(hourly("model"))
        .quota(hourly("provider"))
        .quota(Quota::new("gate", Metric::TotalTokens, 1, Period::AllTime))
        .build()
        .expect("valid");
    assert!(is_allowed(&engine, "a"));
    let change = QuotaUpdate::new().period(Period::Month);
    engine.rules().update("calls", change).expect("valid");
    // There is room for one more key, and the event has two.
    let two = call("a").model("m").provider("p");
    assert!(engine.track(&two).expect("a valid event").is_allowed());
    assert_eq!(engine.live_keys(), 2);
    // The other key is idle after its hour, and dropped in passing by calls that are refused.
    clock.advance(Duration::from_secs(7_200));
    for model in (0..10_000).map(|number| format!("m{number}")) {
        let refused = call("a").model(model).total_tokens(2);
        assert!(!engine.track(&refused).expect("a valid event").is_allowed());
    }
    assert_eq!(engine.live_keys(), 1);
    assert!(is_allowed(&engine, "b"), "the second of two customers");
}

#[test]
fn what_keys_share_outlives_a_change_of_the_rule() {
    let (engine, _) = engine(|builder| builder.quota(lifetime(3, 1, Overflow::Share)));
    assert!(is_allowed(&engine, "a") && is_allowed(&engine, "b") && is_allowed(&engine, "c"));
    assert_eq!(used(&engine, "d"), 2);
    engine.rules().update("lifetime", QuotaUpdate::new().limit(4)).expect("valid");
    assert_eq!(used(&engine, "d"), 2);
    // Another period: what is used carries over as one lump.
    engine.rules().update("lifetime", QuotaUpdate::new().period(Period::Year)).expect("valid");
    assert_eq!((used(&engine, "a"), used(&engine, "d")), (1, 2));
    assert!(is_allowed(&engine, "d") && is_allowed(&engine, "e") && !is_allowed(&engine, "f"));
}

#[test]
fn threads_that_flood_a_cap_get_exactly_what_it_holds() {
    const KEYS: u64 = 50;
    for (overflow, engines_cap, extra) in [
        (Overflow::Share, false, 1),
        (Overflow::Share, true, 1),
        (Overflow::Deny, false, 0),
        (Overflow::Deny, true, 0),
    ] {
        let (engine, _) = engine(|builder| {
            if engines_cap {
                builder.max_keys(KEYS).quota(lifetime(1, u64::MAX, overflow))
            } else {
                builder.quota(lifetime(1, KEYS, overflow))
            }
        });
        let admitted = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Acquire) {
                    most = engine.live_keys().max(most);
                }
                most
            });
            let flooders: Vec<_> = (0..4)
                .map(|thread| {
                    let (engine, admitted) = (&engine, &admitted);
                    scope.spawn(move || {
                        for number in 0..2_000 {
                            if is_allowed(engine, &format!("{thread} {number}")) {
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            for flooder in flooders {
                flooder.join().expect("no panic");
            }
            done.store(true, Ordering::Release);
            let most = watcher.join().expect("no panic");
            assert!(most <= KEYS, "{most} keys at a time");
        });
        assert_eq!(admitted.load(Ordering::Relaxed), KEYS + extra, "{overflow:?}");
        assert_eq!(engine.live_keys(), KEYS);
    }
}
