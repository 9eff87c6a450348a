//! Goal: the application's own code, wherever the engine calls it, may use the engine: it never
//! waits for itself, and a call that would is an error. A panic in it goes to whoever gave it, and
//! leaves everything usable.
//!
//! Method: clocks, recorders, collectors, wakers, storages, and functions that are told of
//! progress which use the engine that calls them, on a thread that must end.

#[cfg(feature = "tracing")]
mod collector;
#[cfg(feature = "metrics")]
mod recorder;
#[cfg(feature = "durable")]
mod store;
mod waiters;

use crate::support::clock;
use limitry::time::{Clock, ManualClock};
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Timestamp, Window};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::thread;
use std::time::Duration;

/// More than any of this takes.
const LONG: Duration = Duration::from_secs(120);

/// Runs what must end.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (ended, ends) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        let _ = ended.send(());
    });
    if ends.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("it waits for itself");
    }
    thread.join().expect("it went well");
}

/// What changes the rules of an engine out of the engine's own call, once a time that it is armed.
#[derive(Clone, Default)]
struct RuleChanger {
    engine: Arc<OnceLock<Weak<Engine>>>,
    armed: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl RuleChanger {
    fn meddle(&self) {
        if self.armed.swap(false, Ordering::AcqRel) {
            let engine = self.engine.get().and_then(Weak::upgrade).expect("it is there");
            let number = self.done.load(Ordering::Acquire);
            let quota =
                Quota::new(format!("changer {number}"), Metric::TotalEvents, 1_000, Period::Month);
            engine.rules().add(quota).expect("a good rule");
            self.done.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Makes an engine that it meddles with, and arms it for each of these calls.
    fn meets(&self, engine: Engine, calls: &[fn(&Engine)]) {
        let engine = Arc::new(engine);
        self.engine.set(Arc::downgrade(&engine)).expect("it is new");
        for (number, call) in (1_u64..).zip(calls) {
            self.armed.store(true, Ordering::Release);
            call(&engine);
            assert_eq!(self.done.load(Ordering::Acquire), number, "it was not called");
        }
        assert_eq!(engine.rules().quotas().len() as u64, self.done.load(Ordering::Acquire));
    }
}

fn add_rule(engine: &Engine) {
    let name = format!("rule {}", engine.rules().rate_limits().len());
    engine.rules().add(RateLimit::new(name, 100, Window::Minute)).expect("a good rule");
}

fn track(engine: &Engine) {
    let _ = engine.track(&Event::new("cust", "call")).expect("a good event");
}

struct RuleChangingClock(ManualClock, RuleChanger);

impl Clock for RuleChangingClock {
    fn now(&self) -> Timestamp {
        self.1.meddle();
        self.0.now()
    }
}

#[test]
fn a_clock_may_change_the_rules() {
    ends(|| {
        let changer = RuleChanger::default();
        let engine = Engine::builder().clock(RuleChangingClock(clock(), changer.clone())).build();
        changer.meets(engine.expect("an engine"), &[add_rule, track, add_rule]);
    });
}
