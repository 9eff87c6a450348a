//! Goal: with the feature `metrics` an engine counts its own work for the recorder that was
//! installed when it was built: what was answered, which rule refused, was nearly used up or had
//! no room, what was replayed, recorded and evicted. Labels stay few and never hold a key's value,
//! and the recorder, which is the caller's code, is spoken to outside of every lock.
//!
//! Method: a recorder that keeps every figure under its full name, on worked cases; one that calls
//! the engine back from inside of each count.

use crate::support::clock;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use limitry::events::Recording;
use limitry::rules::{Enforcement, Overflow, RateLimitUpdate, SyncOptions};
use limitry::store::MemoryStore;
use limitry::time::ManualClock;
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, RuleSet, Window};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

/// A recorder that can be read: each figure under its name with its labels.
#[derive(Clone, Default)]
struct Figures {
    counters: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    gauges: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    described: Arc<Mutex<BTreeSet<String>>>,
}

fn full_name(key: &Key) -> String {
    let labels: Vec<_> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    if labels.is_empty() {
        return key.name().to_owned();
    }
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Figures {
    fn describe(&self, key: &KeyName) {
        self.described.lock().expect("not poisoned").insert(key.as_str().to_owned());
    }

    /// The counters that are above zero.
    fn counts(&self) -> BTreeMap<String, u64> {
        let counters = self.counters.lock().expect("not poisoned");
        let read = |(name, value): (&String, &Arc<AtomicU64>)| {
            (name.clone(), value.load(Ordering::Relaxed))
        };
        counters.iter().map(read).filter(|(_, value)| *value > 0).collect()
    }

    fn count(&self, name: &str) -> u64 {
        let counters = self.counters.lock().expect("not poisoned");
        counters[name].load(Ordering::Relaxed)
    }

    fn live_keys(&self) -> f64 {
        let gauges = self.gauges.lock().expect("not poisoned");
        f64::from_bits(gauges["limitry_live_keys"].load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Figures {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        assert_eq!(unit, Some(Unit::Count));
        self.describe(&key);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        let is_time = key.as_str().ends_with("_seconds");
        assert_eq!(unit, Some(if is_time { Unit::Seconds } else { Unit::Count }));
        self.describe(&key);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        unreachable!("there is none");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().expect("not poisoned");
        Counter::from_arc(Arc::clone(counters.entry(full_name(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.gauges.lock().expect("not poisoned");
        Gauge::from_arc(Arc::clone(gauges.entry(full_name(key)).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        unreachable!("there is none");
    }
}

fn watched(
    board: &Figures,
    build: impl FnOnce(EngineBuilder) -> EngineBuilder,
) -> (Engine, ManualClock) {
    let clock = clock();
    let builder = build(Engine::builder().clock(clock.clone()));
    let engine = metrics::with_local_recorder(board, || builder.build());
    (engine.expect("the rules of this test are valid"), clock)
}

fn calls(limit: u64) -> RateLimit {
    RateLimit::new("calls", limit, Window::Minute).id("rl_calls").per("customer_id")
}

fn call(customer: &str) -> Event<'_> {
    Event::new(customer, "model_call")
}

fn owned(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[test]
fn each_call_is_counted_by_verb_and_outcome() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| builder.rate_limit(calls(2)));
    for _ in 0..3 {
        let _ = engine.track(&call("a")).expect("a valid event");
        let _ = engine.check(&call("a")).expect("a valid event");
    }
    let _ = engine.record(&call("a")).expect("a valid event");
    let _ = engine.standing(&call("a")).expect("a valid event");
    engine.track(&call("")).expect_err("a customer without an id");
    let expected = owned(&[
        ("limitry_decisions_total{verb=track,outcome=allowed}", 2),
        ("limitry_decisions_total{verb=track,outcome=refused}", 1),
        ("limitry_decisions_total{verb=track,outcome=error}", 1),
        // Checked when one, two and two are used.
        ("limitry_decisions_total{verb=check,outcome=allowed}", 1),
        ("limitry_decisions_total{verb=check,outcome=refused}", 2),
        ("limitry_decisions_total{verb=record,outcome=allowed}", 1),
        ("limitry_events_recorded_total", 3),
        ("limitry_refusals_total{rule=rl_calls}", 1),
        // The second call and what was recorded beyond; checks are not counted by rule.
        ("limitry_near_limit_total{rule=rl_calls}", 2),
    ]);
    assert_eq!(board.counts(), expected);
}

#[test]
fn events_that_no_rule_counts_are_counted() {
    let board = Figures::default();
    let team = RateLimit::new("Team", 1, Window::Hour).id("team").per("team_id");
    let (engine, _) = watched(&board, |builder| builder.rate_limit(team));
    let number = call("a").property("team_id", serde_json::json!(42));
    assert!(engine.track(&number).expect("a valid event").is_allowed());
    assert!(engine.record(&call("a")).expect("a valid event").is_allowed());
    let red = call("a").property("team_id", "red");
    for _ in 0..2 {
        let _ = engine.track(&red).expect("a valid event");
    }
    let _ = engine.check(&call("a")).expect("a valid event");
    assert_eq!(board.count("limitry_events_unmatched_total"), 2);
}

#[test]
fn a_replay_is_counted_as_such_and_not_as_a_decision() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| builder.rate_limit(calls(10)));
    let event = call("a").idempotency_key("req_1");
    for _ in 0..3 {
        let _ = engine.track(&event).expect("a valid event");
    }
    let _ = engine.check(&event).expect("a valid event");
    engine.track(&event.cost_cents(1)).expect_err("another payload");
    let expected = owned(&[
        ("limitry_decisions_total{verb=track,outcome=allowed}", 1),
        ("limitry_decisions_total{verb=track,outcome=error}", 1),
        ("limitry_events_recorded_total", 1),
        ("limitry_idempotent_replays_total", 3),
    ]);
    assert_eq!(board.counts(), expected);
}

#[test]
fn each_event_of_a_batch_is_counted_as_a_call_of_its_own() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| builder.rate_limit(calls(3)));
    let batch = [call("a"), call("a"), call("a").idempotency_key("req_1")];
    engine.record_batch(&batch).expect("valid events");
    let _ = engine.track_batch(&batch);
    let expected = owned(&[
        ("limitry_decisions_total{verb=record,outcome=allowed}", 3),
        ("limitry_decisions_total{verb=track,outcome=refused}", 2),
        ("limitry_events_recorded_total", 3),
        ("limitry_idempotent_replays_total", 1),
        ("limitry_near_limit_total{rule=rl_calls}", 1),
        ("limitry_refusals_total{rule=rl_calls}", 2),
    ]);
    assert_eq!(board.counts(), expected);
}

#[test]
fn only_hard_rules_that_did_not_fit_are_said_to_have_refused() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| {
        let soft = RateLimit::new("soft", 1, Window::Minute).id("rl_soft");
        let tokens = Quota::new("tokens", Metric::TotalTokens, 100, Period::Day).id("qta_tokens");
        builder
            .rate_limit(soft.enforcement(Enforcement::Soft))
            .rate_limit(calls(100))
            .quota(tokens.per("customer_id"))
    });
    let _ = engine.track(&call("a").total_tokens(10)).expect("a valid event");
    let _ = engine.track(&call("a").total_tokens(91)).expect("a valid event");
    assert_eq!(board.count("limitry_refusals_total{rule=qta_tokens}"), 1);
    assert_eq!(board.count("limitry_refusals_total{rule=rl_calls}"), 0);
    assert_eq!(board.count("limitry_refusals_total{rule=rl_soft}"), 0);
}

#[test]
fn a_rule_is_near_its_limit_from_four_fifths_on_whatever_its_algorithm() {
    use limitry::rules::Algorithm::{FixedWindow, SlidingWindow, TokenBucket};
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| {
        let rule = |id, algorithm| RateLimit::new(id, 10, Window::Hour).id(id).algorithm(algorithm);
        builder
            .rate_limit(rule("bucket", TokenBucket))
            .rate_limit(rule("fixed", FixedWindow))
            .rate_limit(rule("sliding", SlidingWindow))
            .quota(Quota::new("day", Metric::TotalEvents, 10, Period::Day).id("day"))
            .quota(Quota::new("large", Metric::TotalEvents, u64::MAX >> 2, Period::Day).id("large"))
    });
    for _ in 0..7 {
        let _ = engine.track(&call("a")).expect("a valid event");
    }
    let near = |rule: &str| board.count(&format!("limitry_near_limit_total{{rule={rule}}}"));
    assert_eq!(["bucket", "fixed", "sliding", "day", "large"].map(near), [0; 5]);
    let _ = engine.track(&call("a")).expect("a valid event");
    assert_eq!(["bucket", "fixed", "sliding", "day", "large"].map(near), [1, 1, 1, 1, 0]);
    for _ in 0..5 {
        let _ = engine.track(&call("a")).expect("a valid event");
    }
    // The ninth and the tenth; what was refused brought nobody nearer.
    assert_eq!(["bucket", "fixed", "sliding", "day", "large"].map(near), [3, 3, 3, 3, 0]);
}

#[test]
fn keys_without_room_are_counted_by_rule_whatever_they_get() {
    for overflow in [Overflow::Share, Overflow::Deny, Overflow::Allow] {
        let board = Figures::default();
        let capped = calls(5).max_keys(2).overflow(overflow);
        let (engine, _) = watched(&board, |builder| builder.rate_limit(capped));
        for customer in ["a", "b", "c", "d", "a"] {
            let _ = engine.track(&call(customer)).expect("a valid event");
        }
        assert_eq!(board.count("limitry_overflow_total{rule=rl_calls}"), 2, "{overflow:?}");
    }
}

#[test]
fn live_keys_and_evictions_follow_the_table() {
    let board = Figures::default();
    let (engine, clock) = watched(&board, |builder| builder.rate_limit(calls(10)));
    let names: Vec<String> = (0..500).map(|number| format!("cust_{number}")).collect();
    for name in &names {
        let _ = engine.track(&call(name)).expect("a valid event");
    }
    assert_eq!(board.live_keys(), 500.0);
    assert_eq!(board.count("limitry_keys_evicted_total"), 0);
    // All buckets are full again, and new keys make the old ones go.
    clock.advance(Duration::from_secs(3_600));
    for number in 0..2_000 {
        let _ = engine.track(&call(&format!("late_{number}"))).expect("a valid event");
    }
    let live = engine.live_keys();
    assert_eq!(board.live_keys(), f64::from(u32::try_from(live).expect("few")));
    assert_eq!(board.count("limitry_keys_evicted_total"), 2_500 - live);
    assert!(live < 2_500);
    // A removed rule takes its counters with it at once.
    engine.rules().remove("rl_calls").expect("it is there");
    assert_eq!(board.live_keys(), 0.0);
    assert_eq!(board.count("limitry_keys_evicted_total"), 2_500);
}

#[test]
fn engines_of_one_process_add_up_and_leave_nothing_behind() {
    let board = Figures::default();
    let (first, _) = watched(&board, |builder| builder.rate_limit(calls(10)));
    let (second, _) = watched(&board, |builder| builder.rate_limit(calls(10)));
    let _ = first.track(&call("a")).expect("a valid event");
    let _ = second.track(&call("a")).expect("a valid event");
    let _ = second.track(&call("b")).expect("a valid event");
    assert_eq!(board.live_keys(), 3.0);
    assert_eq!(board.count("limitry_decisions_total{verb=track,outcome=allowed}"), 3);
    drop(second);
    assert_eq!(board.live_keys(), 1.0);
    drop(first);
    assert_eq!(board.live_keys(), 0.0);
}

#[test]
fn rules_that_come_later_are_counted_and_an_update_counts_on() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| builder);
    metrics::with_local_recorder(&board, || {
        engine.rules().add(calls(1)).expect("a valid rule");
        let _ = engine.track(&call("a")).expect("a valid event");
        let _ = engine.track(&call("a")).expect("a valid event");
        let update = RateLimitUpdate::new().limit(2);
        engine.rules().update("rl_calls", update).expect("a valid rule");
        let _ = engine.track(&call("b")).expect("a valid event");
        let _ = engine.track(&call("b")).expect("a valid event");
        let _ = engine.track(&call("b")).expect("a valid event");
    });
    assert_eq!(board.count("limitry_refusals_total{rule=rl_calls}"), 2);
}

#[test]
fn a_thousand_rules_have_labels_and_the_others_share_one() {
    let board = Figures::default();
    let rule = |number: u32| {
        let name = format!("rule {number}");
        RateLimit::new(&name, 1, Window::Minute).id(format!("rl_{number}"))
    };
    let (engine, _) = watched(&board, |builder| {
        (0..1_100).fold(builder, |builder, number| builder.rate_limit(rule(number)))
    });
    let _ = engine.track(&call("secret_customer")).expect("a valid event");
    let _ = engine.track(&call("secret_customer")).expect("a valid event");
    assert_eq!(board.count("limitry_refusals_total{rule=rl_7}"), 1);
    assert_eq!(board.count("limitry_refusals_total{rule=other}"), 100);
    // Rules that come and go do not add to it.
    metrics::with_local_recorder(&board, || {
        let rules = (2_000..3_000).map(rule).collect();
        let mut set = RuleSet::new();
        set.rate_limits = rules;
        engine.rules().sync(set, SyncOptions::apply()).expect("valid rules");
    });
    let counters = board.counters.lock().expect("not poisoned");
    let labels: BTreeSet<_> = counters.keys().filter_map(|name| name.split_once('{')).collect();
    assert_eq!(labels.iter().filter(|(name, _)| *name == "limitry_refusals_total").count(), 1_001);
    assert!(counters.keys().all(|name| !name.contains("secret")));
}

#[test]
fn every_figure_is_described() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| builder.rate_limit(calls(1)));
    drop(engine);
    let names = |figures: &Mutex<BTreeMap<String, Arc<AtomicU64>>>| -> BTreeSet<String> {
        let figures = figures.lock().expect("not poisoned");
        figures.keys().map(|name| name.split('{').next().unwrap_or_default().to_owned()).collect()
    };
    let figures: BTreeSet<_> =
        names(&board.counters).union(&names(&board.gauges)).cloned().collect();
    assert_eq!(*board.described.lock().expect("not poisoned"), figures);
    // Four of them are gauges of a store.
    assert_eq!(figures.len(), 13);
}

#[test]
fn a_pure_limiter_records_no_events() {
    let board = Figures::default();
    let (engine, _) =
        watched(&board, |builder| builder.recording(Recording::Off).rate_limit(calls(10)));
    let _ = engine.track(&call("a")).expect("a valid event");
    assert_eq!(board.count("limitry_events_recorded_total"), 0);
}

#[test]
fn counting_allocates_nothing() {
    let board = Figures::default();
    let (engine, _) = watched(&board, |builder| {
        let tokens = Quota::new("tokens", Metric::TotalTokens, 100, Period::Day);
        builder.recording(Recording::Off).rate_limit(calls(1_000)).quota(tokens.per("customer_id"))
    });
    let track = |tokens| engine.track(&call("a").total_tokens(tokens)).expect("a valid event");
    assert!(track(1).is_allowed());
    let allocations = allocation_counter::measure(|| {
        assert!(track(90).is_allowed());
        assert!(!track(90).is_allowed());
    });
    assert_eq!(allocations.count_total, 0);
    assert_eq!(board.counts().len(), 4, "{:?}", board.counts());
}

/// Gives every counter to one.
struct CountersTo<C>(Arc<C>);

impl<C: CounterFn + Send + Sync + 'static> metrics::Recorder for CountersTo<C> {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(&self.0))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A counter that asks the engine about the very event that is being counted.
#[derive(Default)]
struct AskingCounter {
    engine: OnceLock<Arc<Engine>>,
    asked: AtomicU64,
}

thread_local! {
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

impl CounterFn for AskingCounter {
    fn increment(&self, _: u64) {
        if let (Some(engine), false) = (self.engine.get(), ASKING.replace(true)) {
            let event = call("a").idempotency_key("req_1");
            let _ = engine.check(&event).expect("a valid event");
            let _ = engine.track(&call("a")).expect("a valid event");
            self.asked.fetch_add(1, Ordering::Relaxed);
            ASKING.set(false);
        }
    }

    fn absolute(&self, _: u64) {}
}

/// A counter that panics after so many counts more.
struct PanickingCounter {
    left: AtomicU64,
}

impl CounterFn for PanickingCounter {
    fn increment(&self, _: u64) {
        let left = self.left.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(1) else { std::panic::panic_any("the recorder") };
        self.left.store(left, Ordering::Relaxed);
    }

    fn absolute(&self, _: u64) {}
}

/// Whenever the recorder panics, a batch is there whole, and the panic is handed on.
#[test]
fn a_recorder_that_panics_leaves_no_batch_half_recorded() {
    for left in [0, 1, 2, 7, 9, 1_000] {
        let counter = Arc::new(PanickingCounter { left: AtomicU64::new(u64::MAX) });
        let recorder = CountersTo(Arc::clone(&counter));
        let builder = Engine::builder().rate_limit(calls(1));
        let engine = metrics::with_local_recorder(&recorder, || builder.build());
        let engine = engine.expect("valid rules");
        counter.left.store(left, Ordering::Relaxed);
        let batch: Vec<_> =
            ["k1", "k2", "k3", "k4", "k5"].map(|key| call("a").idempotency_key(key)).into();
        let record = || drop(engine.record_batch(&batch));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(record));
        let panicked = panic.err().map(|panic| *panic.downcast::<&str>().expect("a text"));
        assert_eq!(panicked, (left < 10).then_some("the recorder"), "{left}");
        assert_eq!(engine.events().len(), 5, "{left}");
        let again = engine.record_batch(&batch).expect("good events");
        assert_eq!((again.count, again.duplicates), (0, 5), "{left}");
    }
}

/// An engine that has its own recorder tells nobody else, of rules as well that it found in its
/// store and of those that come later, whoever has them come.
#[test]
fn an_engine_may_have_a_recorder_of_its_own() {
    let store = MemoryStore::new();
    let (first, second, installed) = (Figures::default(), Figures::default(), Figures::default());
    let open = |own: &Figures| {
        let builder = Engine::builder().clock(clock()).recorder(Arc::new(own.clone()));
        let builder = builder.durable(store.open().expect("it is closed"));
        metrics::with_local_recorder(&installed, || builder.build()).expect("valid rules")
    };
    let refused = |engine: &Engine, customer| {
        let answer = metrics::with_local_recorder(&installed, || engine.track(&call(customer)));
        assert!(!answer.expect("a valid event").is_allowed());
    };
    let engine = open(&first);
    engine.rules().add(calls(0)).expect("a good rule");
    refused(&engine, "a");
    engine.store().close().expect("it closes");
    drop(engine);
    let engine = open(&second);
    refused(&engine, "a");
    let add = || engine.rules().add(calls(0).id("rl_late").filter("customer_id", "b"));
    metrics::with_local_recorder(&installed, add).expect("a good rule");
    refused(&engine, "b");
    assert_eq!(first.count("limitry_refusals_total{rule=rl_calls}"), 1);
    assert_eq!(second.count("limitry_refusals_total{rule=rl_calls}"), 2);
    assert_eq!(second.count("limitry_refusals_total{rule=rl_late}"), 1);
    assert_eq!(second.count("limitry_decisions_total{verb=track,outcome=refused}"), 2);
    assert_eq!(installed.counts(), BTreeMap::new());
}

#[test]
fn a_recorder_may_call_the_engine() {
    let counter = Arc::new(AskingCounter::default());
    let capped = Quota::new("capped", Metric::TotalEvents, 100, Period::Day);
    let builder =
        Engine::builder().rate_limit(calls(12)).quota(capped.per("customer_id").max_keys(1));
    let recorder = CountersTo(Arc::clone(&counter));
    let engine = metrics::with_local_recorder(&recorder, || builder.build());
    let engine = Arc::new(engine.expect("valid rules"));
    assert!(counter.engine.set(Arc::clone(&engine)).is_ok());

    // On a thread of its own, so that a deadlock is a failure and not a hang.
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let event = call("a").idempotency_key("req_1");
        for _ in 0..20 {
            let _ = engine.track(&event).expect("a valid event");
            let _ = engine.track(&call("b")).expect("a valid event");
            let _ = engine.record(&call("a")).expect("a valid event");
            let other = call("a").cost_cents(1).idempotency_key("req_1");
            engine.track(&other).expect_err("another payload");
        }
        engine.rules().remove("rl_calls").expect("it is there");
        done.send(()).expect("somebody waits");
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("no deadlock");
    assert!(counter.asked.load(Ordering::Relaxed) >= 80);
}
