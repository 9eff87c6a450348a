//! Goal: memory is bounded, and the bound is no way around a limit. A cap on keys, a rule's or the
//! engine's, never takes a counter from a key that has one; what new keys get is what the rule
//! chose: a counter that they share, a refusal, or to pass uncounted.
//!
//! Method: worked cases on a manual clock; a property against a plain model of caps and counters;
//! threads that flood a cap while another watches it. Bytes are counted in `memory.rs`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use limitry::{
    Decision, Enforcement, Engine, EngineBuilder, Event, ManualClock, Metric, Overflow, Period,
    Quota, QuotaUpdate, RateLimit, Recording, RetryAfter, Window,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// So many cases, or `LIMITRY_CASES`; the seeds of failures are kept beside this file.
fn config(cases: u32) -> ProptestConfig {
    let given = std::env::var("LIMITRY_CASES").ok().and_then(|text| text.parse().ok());
    let seeds = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        cases: given.unwrap_or(cases),
        failure_persistence: Some(Box::new(seeds)),
        ..ProptestConfig::default()
    }
}

fn engine(build: impl FnOnce(EngineBuilder) -> EngineBuilder) -> (Engine, ManualClock) {
    let clock = ManualClock::new("2024-01-15T10:30:00Z".parse().expect("an instant"));
    let builder = Engine::builder().recording(Recording::Off).clock(clock.clone());
    (build(builder).build().expect("the rules of this test are valid"), clock)
}

/// A quota a customer that nothing resets, so that a key once counted never comes to rest.
fn lifetime(limit: u64, keys: u64, overflow: Overflow) -> Quota {
    Quota::new("lifetime", Metric::TotalEvents, limit, Period::AllTime)
        .id("lifetime")
        .per("customer_id")
        .max_keys(keys)
        .overflow(overflow)
}

fn call(customer: &str) -> Event<'_> {
    Event::new(customer, "call")
}

fn track(engine: &Engine, customer: &str) -> Decision {
    engine.track(&call(customer)).expect("a valid event")
}

fn is_allowed(engine: &Engine, customer: &str) -> bool {
    track(engine, customer).is_allowed()
}

/// What is used of the first quota that matches.
fn used(engine: &Engine, customer: &str) -> u64 {
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
    let statuses: Vec<_> = refused.quotas().map(|s| (s.id.to_owned(), s.exceeded)).collect();
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
    let figures: Vec<_> = decision.quotas().map(|s| (s.name.to_owned(), s.used)).collect();
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
    engine.update_quota("lifetime", QuotaUpdate::new().max_keys(3)).expect("valid");
    assert!(is_allowed(&engine, "c") && !is_allowed(&engine, "d"));
    engine.update_quota("lifetime", QuotaUpdate::new().max_keys(1)).expect("valid");
    for customer in ["a", "b", "c"] {
        assert!(is_allowed(&engine, customer) && !is_allowed(&engine, customer), "{customer}");
    }
    assert!(!is_allowed(&engine, "d"));
    let share = QuotaUpdate::new().overflow(Overflow::Share);
    engine.update_quota("lifetime", share).expect("valid");
    assert!(is_allowed(&engine, "d") && is_allowed(&engine, "e") && !is_allowed(&engine, "f"));
    engine.update_quota("lifetime", QuotaUpdate::new().max_keys(None)).expect("valid");
    assert!(is_allowed(&engine, "g"), "without a cap each key has its own");
    assert_eq!(engine.live_keys(), 4);
}

/// A decision that finds no room for one of its keys counts none of its others twice, also where
/// those go on with what was counted before a change of the rule.
#[test]
fn a_key_is_counted_once_by_its_cap_whoever_finds_no_room_beside_it() {
    let clock = ManualClock::new("2024-01-15T10:30:00Z".parse().expect("an instant"));
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
    engine.update_quota("calls", change).expect("valid");
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
    engine.update_quota("lifetime", QuotaUpdate::new().limit(4)).expect("valid");
    assert_eq!(used(&engine, "d"), 2);
    // Another period: what is used carries over as one lump.
    engine.update_quota("lifetime", QuotaUpdate::new().period(Period::Year)).expect("valid");
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

/// A rule as the model reads it.
#[derive(Clone, Debug)]
struct Plain {
    limit: u64,
    most: u64,
    overflow: Overflow,
    own: BTreeMap<usize, u64>,
    shared: u64,
}

/// Where a rule counts a key.
enum Place {
    Own(u64),
    Shared(u64),
    Denied,
    Uncounted,
}

impl Plain {
    fn place(&self, key: usize, has_row: bool, rows_left: bool) -> Place {
        let room = (self.own.len() as u64) < self.most && (has_row || rows_left);
        match (self.own.get(&key), room, self.overflow) {
            (Some(used), _, _) => Place::Own(*used),
            (None, true, _) => Place::Own(0),
            (None, false, Overflow::Deny) => Place::Denied,
            (None, false, Overflow::Allow) => Place::Uncounted,
            (None, false, _) => Place::Shared(self.shared),
        }
    }

    fn fits(&self, place: &Place, cost: u64) -> bool {
        match place {
            Place::Own(used) | Place::Shared(used) => used + cost <= self.limit,
            Place::Denied => false,
            Place::Uncounted => true,
        }
    }

    fn take(&mut self, key: usize, place: &Place, cost: u64) {
        match place {
            Place::Own(used) => {
                self.own.insert(key, used + cost);
            }
            Place::Shared(_) => self.shared += cost,
            Place::Denied | Place::Uncounted => {}
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let overflow = prop::sample::select(vec![Overflow::Share, Overflow::Deny, Overflow::Allow]);
    (1_u64..20, 1_u64..8, overflow).prop_map(|(limit, most, overflow)| Plain {
        limit,
        most,
        overflow,
        own: BTreeMap::new(),
        shared: 0,
    })
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn caps_and_counters_are_those_of_a_plain_model(
        mut rules in prop::collection::vec(plain(), 1..4),
        most_rows in 1_u64..10,
        calls in prop::collection::vec((0_usize..10, 1_u64..6), 1..120),
    ) {
        let (engine, _) = engine(|builder| {
            rules.iter().fold(builder.max_keys(most_rows), |builder, rule| {
                let mut quota = lifetime(rule.limit, rule.most, rule.overflow);
                (quota.id, quota.metric) = (None, Metric::TotalTokens);
                builder.quota(quota)
            })
        });
        for (key, cost) in calls {
            let rows: BTreeSet<usize> =
                rules.iter().flat_map(|rule| rule.own.keys().copied()).collect();
            let (has_row, rows_left) = (rows.contains(&key), (rows.len() as u64) < most_rows);
            let places: Vec<Place> =
                rules.iter().map(|rule| rule.place(key, has_row, rows_left)).collect();
            let fits: Vec<bool> =
                rules.iter().zip(&places).map(|(rule, place)| rule.fits(place, cost)).collect();
            let allowed = fits.iter().all(|fits| *fits);

            let customer = format!("key {key}");
            let event = Event::new(customer.as_str(), "call").total_tokens(cost);
            let foreseen = engine.check(&event).expect("a valid event");
            let decision = engine.track(&event).expect("a valid event");
            prop_assert_eq!(foreseen.is_allowed(), allowed);
            prop_assert_eq!(decision.is_allowed(), allowed);
            let exceeded: Vec<bool> = decision.quotas().map(|status| !status.exceeded).collect();
            prop_assert_eq!(exceeded, fits);
            if allowed {
                for (rule, place) in rules.iter_mut().zip(&places) {
                    rule.take(key, place, cost);
                }
            }
            let rows: BTreeSet<usize> =
                rules.iter().flat_map(|rule| rule.own.keys().copied()).collect();
            prop_assert_eq!(engine.live_keys(), rows.len() as u64);
            let figures: Vec<u64> = decision.quotas().map(|status| status.used.to_u64_ceil()).collect();
            let expected: Vec<u64> = places
                .iter()
                .map(|place| match place {
                    Place::Own(used) | Place::Shared(used) => used + cost * u64::from(allowed),
                    Place::Denied | Place::Uncounted => 0,
                })
                .collect();
            prop_assert_eq!(figures, expected);
        }
    }
}
