//! Goal: each durability level keeps its word, and what a store does to its engine is what was
//! chosen: a failing store makes the engine refuse or go on in memory, a closed one takes nothing,
//! and neither makes a call hang or count twice.
//!
//! Method: engines on a medium in memory that remembers what was synced, and fails on purpose.

use crate::support::clock;
use crate::support::files::Folder;
use crate::support::held::Held;
use crate::support::medium::{Fault, Medium, Unsynced};
use limitry::errors::{BatchError, RulesError, StoreError, TrackError};
use limitry::events::EventQuery;
use limitry::store::{BadLines, Durability, Durable, OnFailure};
use limitry::time::{Clock, ManualClock};
use limitry::{
    Decision, Engine, EngineBuilder, Event, Metric, Period, Quota, RateLimit, Timestamp, Window,
};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn builder() -> EngineBuilder {
    Engine::builder()
        .clock(clock())
        .rate_limit(RateLimit::new("calls", 1_000, Window::Hour).per("customer_id"))
        .quota(Quota::new("tokens", Metric::TotalTokens, 1_000, Period::Day).per("customer_id"))
}

/// A store whose commits come when somebody asks.
pub(crate) fn idle(medium: &Medium) -> Durable {
    Durable::open_on(medium.clone()).expect("a store").max_delay(HOUR)
}

pub(crate) fn open(store: Durable) -> Engine {
    builder().durable(store).build().expect("a store that opens")
}

pub(crate) fn call(key: &str) -> Event<'_> {
    Event::new("cust_1", "model_call").total_tokens(10).idempotency_key(key)
}

pub(crate) fn keys(engine: &Engine) -> usize {
    engine.events().len()
}

/// What an engine finds after the machine was switched off.
pub(crate) fn after_crash(medium: &Medium) -> Engine {
    open(idle(&medium.after_crash(Unsynced::Lost)))
}

pub(crate) fn used(engine: &Engine) -> u64 {
    let standing = engine.standing(&Event::new("cust_1", "model_call")).expect("valid");
    standing.quotas().next().map_or(0, |quota| quota.used.to_u64_ceil())
}

#[test]
fn a_synced_call_returns_when_its_event_lasts() {
    let medium = Medium::new();
    let engine = open(idle(&medium).durability(Durability::Synced));
    for number in 1..=5 {
        let key = format!("k{number}");
        let _ = engine.track(&call(&key)).expect("allowed");
        let again = after_crash(&medium);
        assert_eq!((keys(&again), used(&again)), (number, number as u64 * 10));
        assert!(again.track(&call(&key)).expect("known").is_replay());
    }
    let batch: Vec<String> = (0..9).map(|number| format!("b{number}")).collect();
    let batch: Vec<Event<'_>> = batch.iter().map(|key| call(key)).collect();
    engine.record_batch(&batch).expect("recorded");
    assert_eq!(keys(&after_crash(&medium)), 14);
    assert!(engine.track_batch(&batch).iter().all(|answer| answer.is_ok()));
}

#[test]
fn what_nobody_waits_for_lasts_when_it_is_flushed_or_its_batch_is_full() {
    for level in [Durability::Buffered, Durability::Memory] {
        let medium = Medium::new();
        let engine = open(idle(&medium).durability(level).max_batch(4));
        let decisions: Vec<Decision> =
            (0..3).map(|n| engine.track(&call(&format!("k{n}"))).expect("allowed")).collect();
        assert_eq!(
            (engine.store().health().waiting, keys(&after_crash(&medium))),
            (3, 0),
            "{level:?}"
        );
        engine.store().flush().expect("a working store");
        assert_eq!(
            (engine.store().health().waiting, keys(&after_crash(&medium))),
            (0, 3),
            "{level:?}"
        );
        // The first commit that is waited for takes everything before it.
        let _ = engine.track(&call("k3")).expect("allowed");
        let last = engine.track(&call("k4")).expect("allowed");
        engine.store().committed(&last).wait().expect("a working store");
        assert_eq!(keys(&after_crash(&medium)), 5, "{level:?}");
        engine.store().committed(&decisions[0]).wait().expect("long since");
        // A full batch needs nobody who asks for it.
        let full: Vec<Decision> =
            (5..9).map(|n| engine.track(&call(&format!("k{n}"))).expect("allowed")).collect();
        while engine.store().health().recorded < 9 {
            std::thread::yield_now();
        }
        assert_eq!(keys(&after_crash(&medium)), 9, "{level:?}");
        assert_eq!(full.len(), 4);
        assert!(engine.store().health().is_good());
    }
}

struct ThreadWaker(std::thread::Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(ThreadWaker(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_commit_can_be_awaited() {
    let medium = Medium::new();
    let engine = open(idle(&medium));
    let decision = engine.track(&call("a")).expect("allowed");
    let commit = engine.store().committed(&decision);
    assert_eq!(format!("{commit:?}"), "Committed { .. }", "nothing of any event");
    block_on(commit).expect("a working store");
    assert_eq!(keys(&after_crash(&medium)), 1);
    let refused = engine.track(&Event::new("cust_1", "x").total_tokens(5_000)).expect("valid");
    assert!(!refused.is_allowed());
    block_on(engine.store().committed(&refused)).expect("nothing to wait for");
    let plain = builder().build().expect("valid rules");
    let decision = plain.track(&call("a")).expect("allowed");
    block_on(plain.store().committed(&decision)).expect("nothing to wait for");
}

/// A waker that panics when it is told.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics on purpose");
    }
}

/// One that says that it was told.
struct TellingWaker(mpsc::Sender<()>);

impl Wake for TellingWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[test]
fn a_waker_that_panics_is_nobody_elses_loss() {
    let held = Held::default();
    let engine = open(Durable::open_on(held.clone()).expect("a store").max_delay(HOUR));
    engine.store().flush().expect("a working store");
    held.hold(true);
    let decision = engine.track(&call("a")).expect("allowed");
    let (sender, told) = mpsc::channel();
    let mut commits = [engine.store().committed(&decision), engine.store().committed(&decision)];
    let wakers =
        [Waker::from(Arc::new(PanickingWaker)), Waker::from(Arc::new(TellingWaker(sender)))];
    for (commit, waker) in commits.iter_mut().zip(&wakers) {
        assert!(pin!(commit).poll(&mut Context::from_waker(waker)).is_pending());
    }
    held.hold(false);
    told.recv_timeout(Duration::from_secs(20)).expect("it is durable");
    let _ = engine.track(&call("b")).expect("allowed");
    engine.store().flush().expect("a working store");
    assert_eq!(keys(&after_crash(&held.medium)), 2);
}

/// Tracks until the store fails; returns how many calls were answered before.
fn until_it_fails(engine: &Engine) -> (usize, TrackError) {
    for number in 0..1_000 {
        if let Err(why) = engine.track(&call(&format!("k{number}"))) {
            return (number, why);
        }
    }
    panic!("the store never failed");
}

fn failing(medium: &Medium, choice: OnFailure) -> Engine {
    let engine = open(idle(medium).durability(Durability::Synced).on_failure(choice));
    for number in 0..5 {
        let _ = engine.track(&call(&format!("before {number}"))).expect("allowed");
    }
    let fault = Fault { call: medium.calls() + 20, for_ever: false };
    let _ = medium.clone().fail_at(fault);
    engine
}

#[test]
fn an_engine_that_refuses_takes_nothing_after_its_store_has_failed() {
    let medium = Medium::new();
    let engine = failing(&medium, OnFailure::Refuse);
    let (answered, why) = until_it_fails(&engine);
    assert!(matches!(why, TrackError::Store(StoreError::Failed { .. })), "{why:?}");
    let text = why.to_string();
    assert!(text.contains("on purpose") && text.matches("storage").count() == 1, "{text}");
    // The store is not tried again: one failed sync may have lost what others took for written.
    let before = (used(&engine), keys(&engine));
    for _ in 0..3 {
        assert!(matches!(engine.track(&call("later")), Err(TrackError::Store(_))));
        assert!(matches!(engine.record(&call("later")), Err(TrackError::Store(_))));
        assert!(engine.record_batch(&[call("later")]).is_err());
    }
    assert_eq!((used(&engine), keys(&engine)), before);
    let change = engine.rules().add(RateLimit::new("new", 1, Window::Hour));
    assert!(matches!(change, Err(RulesError::Store(_))), "{change:?}");
    assert_eq!(engine.rules().rate_limits().len(), 1);
    assert!(engine.store().flush().is_err() && engine.store().close().is_err());
    // Questions are answered, and so are retries of what was answered before.
    assert!(engine.check(&call("new")).expect("valid").is_allowed());
    let health = engine.store().health();
    assert!(!health.is_good() && health.recorded >= 5 + answered as u64, "{health:?}");
    drop(engine);
    // Opened again, everything is there that was answered, and what was not is whole or absent.
    let again = open(idle(&Medium::of(medium.image())));
    let found = keys(&again);
    assert!(found == 5 + answered || found == 6 + answered, "{found} of {answered}");
    assert_eq!(used(&again), found as u64 * 10);
}

#[test]
fn an_engine_of_memory_goes_on_after_its_store_has_failed_and_says_so() {
    let medium = Medium::new();
    let engine = failing(&medium, OnFailure::MemoryOnly);
    for number in 0..40 {
        assert!(engine.track(&call(&format!("k{number}"))).expect("goes on").is_allowed());
    }
    let health = engine.store().health();
    assert!(!health.is_good() && health.recorded < 45, "{health:?}");
    assert_eq!((used(&engine), keys(&engine)), (450, 45));
    // Retries count once, whether their event is in the store, was on its way, or came after.
    for number in 0..40 {
        let again = engine.track(&call(&format!("k{number}"))).expect("known");
        assert!(again.is_replay(), "k{number}");
    }
    assert!(engine.track(&call("before 2")).expect("known").is_replay());
    assert_eq!((used(&engine), keys(&engine)), (450, 45));
    engine.rules().add(RateLimit::new("new", 1_000, Window::Hour)).expect("in memory");
    let decision = engine.track(&call("last")).expect("goes on");
    assert_eq!(decision.rate_limits().count(), 2);
    // Batches go on as single calls do.
    let batch = ["batch 1", "k3", "batch 2"].map(call);
    let report = engine.record_batch(&batch).expect("goes on");
    assert_eq!((report.count, report.duplicates, keys(&engine)), (2, 1, 48));
    assert_eq!(engine.record_batch(&batch).expect("goes on").duplicates, 3);
    // But nobody is told that it lasts.
    assert!(engine.store().committed(&decision).wait().is_err());
    assert!(engine.store().flush().is_err() && engine.store().close().is_err());
}

#[test]
fn a_closed_engine_takes_nothing_and_answers_questions() {
    let medium = Medium::new();
    let engine = open(idle(&medium));
    let _ = engine.track(&call("a")).expect("allowed");
    engine.store().close().expect("a working store");
    engine.store().close().expect("closed already");
    for answer in [engine.track(&call("b")), engine.record(&call("b")), engine.track(&call("a"))] {
        assert!(matches!(answer, Err(TrackError::Store(StoreError::Closed { .. }))), "{answer:?}");
    }
    assert!(matches!(engine.rules().remove("rl_none"), Err(RulesError::NotFound { .. })));
    let rule = RateLimit::new("another", 9, Window::Hour);
    let refused = engine.rules().add(rule);
    assert!(matches!(refused, Err(RulesError::Store(StoreError::Closed { .. }))), "{refused:?}");
    // The answer to a key is in the store.
    assert!(engine.check(&call("a")).is_err() && engine.check(&call("b")).is_ok());
    assert_eq!((keys(&engine), used(&engine)), (1, 10));
    assert_eq!(engine.events().list(&EventQuery::new()).expect("a page").data.len(), 1);
    let again = after_crash(&medium);
    assert_eq!((keys(&again), used(&again)), (1, 10), "what was refused was not taken");
}

#[test]
fn what_was_exported_when_the_store_had_failed_can_be_imported_later() {
    let (medium, hands) = (Medium::new(), clock());
    let open = |medium: &Medium| {
        let store = idle(medium).durability(Durability::Synced).on_failure(OnFailure::MemoryOnly);
        builder().clock(hands.clone()).durable(store).build().expect("a store that opens")
    };
    let event = || {
        hands.advance(Duration::from_millis(1));
        Event::new("cust_1", "model_call").total_tokens(10)
    };
    let engine = open(&medium);
    let _ = engine.track(&event()).expect("allowed");
    medium.break_down();
    for _ in 0..5 {
        let _ = engine.track(&event()).expect("goes on");
    }
    let mut lines = Vec::new();
    engine.store().export(&mut lines, &EventQuery::new(), |_| ()).expect("an export");
    drop(engine);
    // The names of the events that were lost are given again.
    let engine = open(&Medium::of(medium.image()));
    for _ in 0..3 {
        let _ = engine.track(&event()).expect("allowed");
    }
    for (count, duplicates) in [(5, 1), (0, 6)] {
        let report = engine.store().import(&lines[..], BadLines::Stop, |_| ()).expect("an import");
        assert_eq!((report.count, report.duplicates), (count, duplicates));
        assert_eq!((keys(&engine), used(&engine)), (9, 90));
    }
}

/// A clock that closes an engine when it is read.
struct ClosingClock {
    engine: Arc<OnceLock<Weak<Engine>>>,
    inner: ManualClock,
}

impl Clock for ClosingClock {
    fn now(&self) -> Timestamp {
        if let Some(engine) = self.engine.get().and_then(Weak::upgrade) {
            engine.store().close().expect("a working store");
        }
        self.inner.now()
    }
}

#[test]
fn a_batch_that_an_engine_is_closed_under_is_not_said_to_be_recorded() {
    for level in [Durability::Memory, Durability::Buffered, Durability::Synced] {
        let (medium, end) = (Medium::new(), Arc::new(OnceLock::new()));
        let hands = ClosingClock { engine: Arc::clone(&end), inner: clock() };
        let builder = builder().clock(hands).durable(idle(&medium).durability(level));
        let engine = Arc::new(builder.build().expect("a store that opens"));
        let _ = engine.track(&call("a")).expect("allowed");
        // The batch was let in when the clock is read.
        end.set(Arc::downgrade(&engine)).expect("the first");
        let batch = engine.record_batch(&[call("b"), call("c")]);
        assert!(matches!(batch, Err(BatchError::Store(StoreError::Closed { .. }))), "{batch:?}");
        drop(engine);
        assert_eq!(keys(&after_crash(&medium)), 1, "{level:?}");
    }
}

/// How many events the store has.
fn stored(engine: &Engine) -> u64 {
    let report =
        engine.store().export(&mut io::sink(), &EventQuery::new(), |_| ()).expect("an export");
    report.count
}

#[test]
fn records_go_by_whole_tables_when_their_time_is_over() {
    const HOURS: u64 = 24 * 40;
    let (medium, hands) = (Medium::new(), clock());
    let open = || {
        let store = idle(&medium).durability(Durability::Synced).retention(2 * 24 * HOUR);
        builder().clock(hands.clone()).durable(store).build().expect("a store that opens")
    };
    let mut engine = open();
    let _ = engine.track(&call("on the first day")).expect("allowed");
    let mut most = 0;
    for hour in 0..HOURS {
        hands.advance(HOUR);
        // Events without keys, so that nothing but the log's own time forgets keys.
        let _ = engine.track(&Event::new("cust_2", "model_call").total_tokens(1)).expect("allowed");
        if hour % 24 == 23 {
            let events = stored(&engine);
            // Two days, a sixteenth of that for the table, and the table that is being filled.
            most = most.max(events);
            assert!(hour < 72 || (48..=48 + 2 * 3 + 2).contains(&events), "{hour}: {events}");
            assert_eq!(engine.store().health().recorded, hour + 2);
        }
        if hour % 100 == 99 {
            engine.store().close().expect("a working store");
            drop(engine);
            engine = open();
        }
    }
    assert!(most < 70, "{most}");
    // Nobody remembers the first day's key, whose record is gone.
    assert!(!engine.track(&call("on the first day")).expect("a new request").is_replay());
    assert!(engine.track(&call("on the first day")).expect("known").is_replay());
    let report = engine.store().verify(|_| ()).expect("a good store");
    assert!(!report.is_complete && report.records == stored(&engine), "{report:?}");
}

#[test]
fn what_happens_during_a_check_is_no_damage() {
    let (medium, hands) = (Medium::new(), clock());
    let store = idle(&medium).durability(Durability::Synced).retention(2 * 24 * HOUR);
    let engine = builder().clock(hands.clone()).durable(store).build().expect("a store that opens");
    for number in 0..100 {
        let customer = format!("cust_{}", number % 7);
        let _ =
            engine.track(&Event::new(&customer, "model_call").total_tokens(1)).expect("allowed");
    }
    let mut beside = Vec::new();
    let report = engine.store().verify(|progress| {
        let moment = (progress.step, progress.done);
        if progress.done == 0 && !beside.contains(&moment) {
            let name = format!("limit_{}", beside.len());
            beside.push(moment);
            // A rule that the check has not read counts an event that it comes to.
            engine.rules().add(RateLimit::new(name, 1_000, Window::Hour)).expect("a new name");
            let _ = engine.track(&call(progress.step)).expect("allowed");
        }
        if moment == ("checking the log", 0) {
            // The first tables are dropped.
            for _ in 0..24 * 5 {
                hands.advance(HOUR);
                let _ = engine.track(&Event::new("cust_1", "model_call")).expect("allowed");
            }
            assert!(stored(&engine) < 100);
        }
    });
    let report = report.expect("a good store");
    let steps: Vec<_> = beside.iter().map(|(step, _)| *step).collect();
    let log = ["reading the checkpoint", "redoing the log", "checking the log"];
    assert_eq!(steps, [["checking values", "checking pages"].as_slice(), &log].concat());
    // It is what was there when the log's part began: nothing had been dropped.
    assert!(report.is_complete && report.records == 102, "{report:?}");
    let report = engine.store().verify(|_| ()).expect("a good store");
    assert!(!report.is_complete && report.records == stored(&engine), "{report:?}");
}

#[test]
fn dropping_an_engine_commits_what_waits() {
    for level in [Durability::Buffered, Durability::Memory] {
        let medium = Medium::new();
        let engine = open(idle(&medium).durability(level));
        let _ = engine.track(&call("a")).expect("allowed");
        drop(engine);
        assert_eq!(keys(&after_crash(&medium)), 1, "{level:?}");
    }
}

#[test]
fn an_engine_without_a_store_has_nothing_to_wait_for_and_nothing_to_copy() {
    let engine = builder().build().expect("valid rules");
    let decision = engine.track(&call("a")).expect("allowed");
    assert_eq!(engine.store().committed(&decision).wait(), Ok(()));
    assert_eq!((engine.store().flush(), engine.store().compact(|_| ())), (Ok(()), Ok(false)));
    assert_eq!(engine.store().verify(|_| ()).map(|report| report.records), Ok(0));
    let health = engine.store().health();
    assert!(health.is_good() && health.durability.is_none(), "{health:?}");
    let folder = Folder::new("levels");
    let path = folder.file("limitry-no-backup.redb");
    let why = engine.store().backup(&path, |_| ()).expect_err("nothing to copy");
    assert!(why.to_string().contains("limitry-no-backup.redb: is not made"), "{why}");
    assert!(!path.exists());
    assert_eq!(engine.store().close(), Ok(()));
    assert!(engine.track(&call("b")).expect("nothing was closed").is_allowed());
}

#[test]
fn a_file_has_one_engine_at_a_time() {
    let folder = Folder::new("levels");
    let path = folder.file("limitry.redb");
    let engine = open(Durable::open(&path).expect("a new store"));
    let why = Durable::open(&path).expect_err("it is open");
    assert!(matches!(why, StoreError::Locked { .. }), "{why:?}");
    assert!(why.to_string().contains("limitry.redb: is open"), "{why}");
    drop(engine);
    drop(open(Durable::open(&path).expect("free again")));
    std::fs::write(&path, vec![b'x'; 10_000]).expect("a file");
    let why = Durable::open(&path).expect_err("something else");
    assert!(matches!(why, StoreError::Foreign { .. }), "{why:?}");
}
