//! Goal: a change of a rule has an instant: each decision sees exactly one set of rules, and comes
//! before the change, with its use carried over, or after it, by the new rules.
//!
//! Method: a clock that stops a call right after it was read, while the rule is changed; and
//! threads that decide while limits are changed together, so that a decision by two sets would show
//! two numbers at once.

use super::changes::{allowed, drain, event, remaining};
use crate::support::engine;
use limitry::rules::{Algorithm, RateLimitUpdate, SyncOptions};
use limitry::time::Clock;
use limitry::{
    Amount, Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Timestamp, Window,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

type Interruption = Box<dyn FnOnce(&Engine) + Send>;

/// A clock one of whose next readings may be followed by a long pause of its reader: time goes
/// on, and something else happens, before the reader does anything with the reading.
#[derive(Clone, Default)]
struct Pausing {
    seconds: Arc<AtomicU64>,
    /// How many readings come before it, and what happens meanwhile.
    pause: Arc<Mutex<Option<(u32, Interruption)>>>,
    engine: Arc<OnceLock<Arc<Engine>>>,
}

impl Pausing {
    fn engine(&self, rule: RateLimit) -> Arc<Engine> {
        let builder = Engine::builder().clock(self.clone()).rate_limit(rule);
        let engine = Arc::new(builder.build().expect("valid"));
        self.engine.set(Arc::clone(&engine)).expect("once");
        engine
    }

    fn pause_reader(&self, skipped: u32, then: impl FnOnce(&Engine) + Send + 'static) {
        *self.pause.lock().expect("no panic") = Some((skipped, Box::new(then)));
    }

    fn due(&self) -> Option<Interruption> {
        let mut pause = self.pause.lock().expect("no panic");
        match pause.take() {
            Some((0, then)) => Some(then),
            Some((skipped, then)) => {
                *pause = Some((skipped - 1, then));
                None
            }
            None => None,
        }
    }

    /// Whether nobody paused, and then nobody will.
    fn was_not_read_enough(&self) -> bool {
        self.pause.lock().expect("no panic").take().is_some()
    }
}

impl Clock for Pausing {
    fn now(&self) -> Timestamp {
        let seconds = self.seconds.load(Ordering::SeqCst);
        if let Some(then) = self.due() {
            self.seconds.fetch_add(1_000, Ordering::SeqCst);
            then(self.engine.get().expect("the engine is there"));
        }
        Timestamp::new(1_705_314_600 + i64::try_from(seconds).expect("small"), 0)
    }

    fn is_monotonic(&self) -> bool {
        true
    }
}

const KIND_CHANGES: [(Algorithm, Algorithm); 6] = [
    (Algorithm::TokenBucket, Algorithm::TokenBucket),
    (Algorithm::TokenBucket, Algorithm::FixedWindow),
    (Algorithm::FixedWindow, Algorithm::SlidingWindow),
    (Algorithm::FixedWindow, Algorithm::TokenBucket),
    (Algorithm::SlidingWindow, Algorithm::FixedWindow),
    (Algorithm::SlidingWindow, Algorithm::TokenBucket),
];

/// A decision by the old rules, while the change is under way, comes before it: its use counts,
/// wherever in the change it falls, and also where it is the first use of the counter.
#[test]
fn a_change_comes_after_every_decision_by_the_old_rules() {
    let mut paused = 0;
    for (from, to) in KIND_CHANGES {
        for used_before in [true, false] {
            for skipped in 0..6 {
                let clock = Pausing::default();
                let rule = RateLimit::new("r", 3, Window::Minute).id("r").algorithm(from);
                let engine = clock.engine(rule);
                if used_before {
                    assert_eq!(drain(&engine), 3);
                }
                clock.pause_reader(skipped, |engine| assert!(allowed(engine)));
                let update = RateLimitUpdate::new().limit(7).algorithm(to);
                engine.rules().update("r", update).expect("valid");
                if clock.was_not_read_enough() {
                    continue;
                }
                paused += 1;
                // Of the three of the beginning nothing is left, of the one in between all is.
                let label = format!("{from:?} to {to:?}, {used_before}, {skipped}");
                assert_eq!(remaining(&engine), 6, "{label}");
            }
        }
    }
    assert!(paused >= 12, "a change reads the clock: {paused}");
}

/// A decision by the new rules comes after the change, in time as well, however long ago it read
/// the clock.
#[test]
fn a_decision_by_the_new_rules_comes_after_the_change() {
    for (from, to) in KIND_CHANGES {
        let clock = Pausing::default();
        let rule = RateLimit::new("r", 3, Window::Minute).id("r").algorithm(from);
        let engine = clock.engine(rule);
        assert_eq!(drain(&engine), 3);
        clock.pause_reader(0, move |engine| {
            let update = RateLimitUpdate::new().limit(7).algorithm(to);
            engine.rules().update("r", update).expect("valid");
        });
        let decision = engine.track(&event()).expect("valid");
        let status = decision.rate_limits().next().expect("the rule applies");
        assert_eq!(status.limit, Some(7.into()), "{from:?} to {to:?}: it sees the new rules");
        assert_eq!(status.remaining, 6, "{from:?} to {to:?}: the old use is long over");
    }
}

/// Two rules always change together, by one sync, so their limits are one version's: a decision
/// by two sets of rules would show two versions.
#[test]
fn a_decision_sees_one_set_of_rules() {
    let version = |version: u64| {
        RuleSet::new()
            .rate_limit(RateLimit::new("r", 1_000_000 + version, Window::Hour).per("customer_id"))
            .rate_limit(
                RateLimit::new("s", 1_000_000 + version, Window::Hour)
                    .algorithm(Algorithm::SlidingWindow)
                    .per("team"),
            )
            .quota(
                Quota::new("q", Metric::TotalEvents, 1_000_000 + version, Period::Day).per("team"),
            )
    };
    let (engine, _clock) = engine(|builder| builder.rule_set(version(0)));
    let (over, decided) = (AtomicBool::new(false), AtomicU64::new(0));
    let last = thread::scope(|scope| {
        for thread in 0..3 {
            let (engine, over, decided) = (&engine, &over, &decided);
            scope.spawn(move || {
                let customer = format!("customer {thread}");
                let mut newest = None;
                while !over.load(Ordering::Relaxed) {
                    let event = Event::new(customer.as_str(), "call").property("team", "red");
                    let decision = engine.track(&event).expect("valid");
                    let standing = engine.standing(&event).expect("valid");
                    let rates = decision.rate_limits().map(|status| status.limit);
                    let first: Vec<_> =
                        rates.chain(decision.quotas().map(|status| status.limit)).collect();
                    let rates = standing.rate_limits().map(|status| status.limit);
                    let second: Vec<_> =
                        rates.chain(standing.quotas().map(|status| status.limit)).collect();
                    for limits in [first, second] {
                        assert_eq!(limits, vec![limits[0]; 3], "two sets in one answer");
                        assert!(limits[0] >= newest, "an older set after a newer one");
                        newest = limits[0];
                    }
                    decided.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut turn = 0;
        // Long enough that each version meets decisions, and bounded by their number.
        while decided.load(Ordering::Relaxed) < 30_000 || turn < 500 {
            turn += 1;
            engine.rules().sync(version(turn), SyncOptions::apply()).expect("valid");
        }
        over.store(true, Ordering::Relaxed);
        turn
    });
    println!("{last} versions under {} decisions", decided.load(Ordering::Relaxed));
    let quota = engine.rules().quotas().remove(0);
    assert_eq!(quota.limit_value, Some(Amount::from(1_000_000 + last)));
    // And what was used was carried through all of them.
    let event = Event::new("x", "call").property("team", "red");
    let standing = engine.standing(&event).expect("valid");
    let used = standing.quotas().next().expect("the quota applies").used;
    assert_eq!(used, decided.load(Ordering::Relaxed));
}
