//! Wakers, storages and functions that are told of progress, which use the engine.

use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Wake, Waker};

use limitry::errors::{RulesError, StoreError, TrackError};
use limitry::events::EventQuery;
use limitry::rules::RateLimitUpdate;
use limitry::store::{Durability, Durable, Progress, Storage};

use crate::support::files::Folder;
use crate::support::held::Held;

use super::*;

fn call(number: u64) -> Event<'static> {
    Event::new("cust", "call").idempotency_key(format!("key {number}"))
}

fn is_within_itself(why: &StoreError) -> bool {
    matches!(why, StoreError::WithinItself { .. })
}

/// A waker that does this, once.
struct Woken(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let deed = self.0.lock().expect("not poisoned").take();
        if let Some(deed) = deed {
            deed();
        }
    }
}

fn waker(deed: impl FnOnce() + Send + 'static) -> Waker {
    Waker::from(Arc::new(Woken(Mutex::new(Some(Box::new(deed))))))
}

fn on(storage: impl Storage, level: Durability) -> Engine {
    let store = Durable::open_on(storage).expect("a store").durability(level);
    Engine::builder().durable(store).build().expect("an engine")
}

#[test]
fn a_waker_may_wait_for_commits_and_others_are_not_held_up() {
    ends(|| {
        let held = Held::default();
        let engine = Arc::new(on(held.clone(), Durability::Buffered));
        held.hold(true);
        let decision = engine.track(&call(0)).expect("a good event");
        let (told, tells) = mpsc::channel();
        let (other, storage) = (Arc::clone(&engine), held.clone());
        let waker = waker(move || {
            // The writer stands still, and goes on while this waits for it.
            storage.hold(true);
            let _ = other.track(&call(1)).expect("a good event");
            let (opened, opens) = mpsc::channel();
            let opener = thread::spawn(move || {
                opens.recv().expect("it comes");
                storage.hold(false);
            });
            opened.send(()).expect("it is there");
            other.store().flush().expect("it is on disk");
            opener.join().expect("it opened");
            told.send(()).expect("it is there");
        });
        let mut commit = pin!(engine.store().committed(&decision));
        let polled = commit.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        held.hold(false);
        tells.recv().expect("the waker ends");
        assert_eq!(engine.store().health().recorded, 2);
        engine.store().close().expect("it closes");
    });
}

#[test]
fn a_waker_that_blocks_does_not_stop_the_writer() {
    ends(|| {
        let held = Held::default();
        let engine = on(held.clone(), Durability::Buffered);
        held.hold(true);
        let decision = engine.track(&call(0)).expect("a good event");
        let (let_go, goes) = mpsc::channel::<()>();
        let (told, tells) = mpsc::channel();
        let waker = waker(move || {
            let _ = goes.recv();
            told.send(()).expect("it is there");
        });
        {
            let mut commit = pin!(engine.store().committed(&decision));
            let polled = commit.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        held.hold(false);
        for number in 1..20 {
            let _ = engine.track(&call(number)).expect("a good event");
            engine.store().flush().expect("it is on disk");
        }
        engine.store().close().expect("it closes");
        drop(let_go);
        tells.recv().expect("the waker ends");
    });
}

#[test]
fn a_waker_may_drop_the_last_engine() {
    ends(|| {
        let held = Held::default();
        let engine = Arc::new(on(held.clone(), Durability::Buffered));
        held.hold(true);
        let decision = engine.track(&call(0)).expect("a good event");
        let (told, tells) = mpsc::channel();
        let last = Arc::clone(&engine);
        let waker = waker(move || {
            // A wait that gives up would leave records behind.
            drop(last);
            told.send(()).expect("it is there");
        });
        {
            let mut commit = pin!(engine.store().committed(&decision));
            let polled = commit.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        let _ = engine.track(&call(1)).expect("a good event");
        drop(engine);
        held.hold(false);
        tells.recv().expect("the waker ends");
        let again = on(held, Durability::Buffered);
        assert_eq!(again.store().health().recorded, 2);
    });
}

#[test]
fn a_waker_that_panics_is_its_task_s_alone() {
    ends(|| {
        let held = Held::default();
        let engine = on(held.clone(), Durability::Buffered);
        held.hold(true);
        let decision = engine.track(&call(0)).expect("a good event");
        let (told, tells) = mpsc::channel();
        let wakers = [
            waker(|| panic!("a bad waker")),
            waker(move || {
                told.send(()).expect("it is there");
            }),
        ];
        let mut commits = wakers.each_ref().map(|_| Box::pin(engine.store().committed(&decision)));
        for (commit, waker) in commits.iter_mut().zip(&wakers) {
            let polled = commit.as_mut().poll(&mut Context::from_waker(waker));
            assert!(polled.is_pending());
        }
        held.hold(false);
        tells.recv().expect("the other is woken");
        let polled = commits[1].as_mut().poll(&mut Context::from_waker(&wakers[1]));
        assert_eq!(polled, Poll::Ready(Ok(())));
    });
}

/// Writes nowhere, and does this each time.
struct Writes<F>(F);

impl<F: FnMut()> Write for Writes<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does each kind of long work, telling this function of it.
fn long_work(engine: &Engine, folder: &Folder, kind: &str, tell: &mut dyn FnMut()) {
    let all = EventQuery::new();
    match kind {
        "verify" => drop(engine.store().verify(|_: Progress| tell()).expect("it is whole")),
        "compact" => drop(engine.store().compact(|_| tell()).expect("it is made small")),
        "backup" => engine.store().backup(folder.file("copy"), |_| tell()).expect("a copy"),
        "export" => {
            engine.store().export(&mut io::sink(), &all, |_| tell()).expect("an export");
        }
        _ => {
            engine.store().export(&mut Writes(tell), &all, |_| ()).expect("an export");
        }
    }
}

const KINDS: [&str; 5] = ["verify", "compact", "backup", "export", "writer"];

fn filled() -> Engine {
    let rule = RateLimit::new("all", 1_000_000, Window::Minute).id("rl");
    let store = Durable::open_on(Held::default()).expect("a store");
    let engine = Engine::builder().rate_limit(rule);
    let engine = engine.durable(store.durability(Durability::Synced));
    let engine = engine.build().expect("an engine");
    let events: Vec<_> = (0..500).map(call).collect();
    engine.record_batch(&events).expect("good events");
    engine
}

#[test]
fn who_is_told_of_progress_may_use_the_engine() {
    ends(|| {
        let folder = Folder::new("progress");
        let engine = filled();
        let mut number = 1_000;
        for kind in KINDS {
            let _ = fs::remove_file(folder.file("copy"));
            let mut called = 0;
            long_work(&engine, &folder, kind, &mut || {
                called += 1;
                number += 1;
                let _ = engine.track(&call(number)).expect("it is on disk");
                let update = RateLimitUpdate::new().limit(1_000_000 + number);
                engine.rules().update("rl", update).expect("a good rule");
            });
            assert!(called > 0, "{kind}");
        }
    });
}

#[test]
fn what_would_wait_for_itself_is_an_error() {
    ends(|| {
        let folder = Folder::new("itself");
        let engine = filled();
        // The others may have let go of the store when they tell.
        for kind in ["verify", "backup"] {
            let _ = fs::remove_file(folder.file("copy"));
            long_work(&engine, &folder, kind, &mut || {
                let other = folder.file("other");
                let answers = [
                    engine.store().verify(|_| ()).map(drop),
                    engine.store().compact(|_| ()).map(drop),
                    engine.store().backup(other, |_| ()),
                    engine.store().close(),
                ];
                for answer in answers {
                    let why = answer.expect_err("it would wait for itself");
                    assert!(is_within_itself(&why), "{kind}: {why}");
                }
            });
        }
        engine.store().close().expect("it closes");
    });
}

#[test]
fn a_panic_of_who_is_told_is_handed_on_and_changes_nothing() {
    ends(|| {
        let folder = Folder::new("panics");
        let engine = filled();
        for kind in KINDS {
            for at in [1, 2, 3] {
                let mut called = 0;
                let _ = fs::remove_file(folder.file("copy"));
                let panic = catch_unwind(AssertUnwindSafe(|| {
                    long_work(&engine, &folder, kind, &mut || {
                        called += 1;
                        assert!(called != at, "told once too often");
                    });
                }));
                let Err(panic) = panic else {
                    assert!(at > 2 && called < at, "{kind} {at}");
                    continue;
                };
                let said = panic.downcast_ref::<&str>().expect("what was said");
                assert_eq!(*said, "told once too often", "{kind}");
                let left = fs::read_dir(folder.file("")).expect("a folder").count();
                assert!(left == 0 || kind == "backup", "{kind} {at}: {left} files");
                assert!(!folder.file("copy.part").exists(), "{kind} {at}");
                assert!(engine.store().health().is_good(), "{kind} {at}");
            }
            let _ = fs::remove_file(folder.file("copy"));
            long_work(&engine, &folder, kind, &mut || ());
            let _ = fs::remove_file(folder.file("copy"));
        }
        let _ = engine.track(&call(9_999)).expect("it goes on");
        assert_eq!(engine.store().verify(|_| ()).expect("it is whole").records, 501);
    });
}

/// Storage that uses the engine whose store it is.
#[derive(Clone, Debug, Default)]
struct AskingStorage {
    held: Held,
    engine: Arc<OnceLock<Weak<Engine>>>,
    armed: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    /// Records so many events, and does nothing else.
    records: usize,
}

impl AskingStorage {
    fn ask(&self) {
        let engine = self.engine.get().and_then(Weak::upgrade);
        let Some(engine) = engine.filter(|_| self.armed.swap(false, Ordering::AcqRel)) else {
            return;
        };
        if self.records > 0 {
            let batch = vec![Event::new("cust", "write"); self.records];
            let report = engine.record_batch(&batch).expect("there is room when it begins");
            assert_eq!(report.count, self.records);
            self.answered.fetch_add(1, Ordering::AcqRel);
            return;
        }
        let rule = RateLimit::new("more", 5, Window::Minute);
        let of_store = |why: TrackError| match why {
            TrackError::Store(why) => why,
            why => panic!("{why}"),
        };
        let of_rules = |why: RulesError| match why {
            RulesError::Store(why) => why,
            why => panic!("{why}"),
        };
        let answers = [
            engine.store().flush().expect_err("it would wait"),
            engine.store().close().expect_err("it would wait"),
            engine.store().verify(|_| ()).expect_err("it would wait"),
            of_store(engine.track(&call(77)).expect_err("it would wait")),
            of_rules(engine.rules().add(rule).expect_err("it would wait")),
        ];
        assert!(answers.iter().all(is_within_itself), "{answers:?}");
        self.answered.fetch_add(1, Ordering::AcqRel);
    }
}

impl Storage for AskingStorage {
    fn len(&self) -> io::Result<u64> {
        self.held.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.ask();
        self.held.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.ask();
        self.held.write(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.held.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.ask();
        self.held.sync()
    }
}

#[test]
fn a_storage_that_uses_its_engine_gets_errors() {
    ends(|| {
        let curious = AskingStorage::default();
        let engine = Arc::new(on(curious.clone(), Durability::Synced));
        curious.engine.set(Arc::downgrade(&engine)).expect("it is new");
        for number in 0..5 {
            curious.armed.store(true, Ordering::Release);
            let _ = engine.track(&call(number)).expect("it is on disk");
        }
        assert_eq!(curious.answered.load(Ordering::Acquire), 5);
        assert_eq!(engine.store().health().recorded, 5);
        engine.store().close().expect("it closes");
    });
}

/// Only its own thread makes room, and it stands in the storage.
#[test]
fn a_storage_that_records_more_than_there_is_room_for_waits_for_nobody() {
    ends(|| {
        let busy = AskingStorage { records: 100, ..AskingStorage::default() };
        let store = Durable::open_on(busy.clone()).expect("a store").max_waiting(5);
        let engine = Arc::new(Engine::builder().durable(store).build().expect("an engine"));
        busy.engine.set(Arc::downgrade(&engine)).expect("it is new");
        busy.armed.store(true, Ordering::Release);
        let _ = engine.track(&call(0)).expect("a good event");
        engine.store().flush().expect("it is on disk");
        assert_eq!(busy.answered.load(Ordering::Acquire), 1, "the storage was asked");
        engine.store().flush().expect("what it recorded is on disk, too");
        assert_eq!(engine.store().health().recorded, 101);
        engine.store().close().expect("it closes");
    });
}
