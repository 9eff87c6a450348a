//! Goal: every store answers what was put into it and nothing else, over any restart.
//!
//! Method: random batches go to a store and to a plain model; every answer is compared. What a
//! store must do with batches that make no sense, while it is read, and once it is closed is the
//! same for each. Every store runs all of it.

mod model;
mod workload;

use std::ops::{Bound, ControlFlow};

pub(in crate::journal) use self::model::{Found, Model};
pub(in crate::journal) use self::workload::{Step, Workload};
use super::*;
use crate::journal::memory::MemoryStore;

pub(in crate::journal) fn seed() -> u64 {
    let seed = std::env::var("LIMITRY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("LIMITRY_SEED={seed}");
    seed
}

/// Something that a store can be opened on, again and again.
trait Place {
    fn open(&self) -> Result<Box<dyn Store>, StoreError>;
}

impl Place for MemoryStore {
    fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        self.open_store().map(|store| Box::new(store) as Box<dyn Store>)
    }
}

#[cfg(feature = "durable")]
mod file {
    use super::{Place, Store, StoreError};
    use crate::journal::redb::{RedbStore, StoreOptions, medium_of_tests::Medium};

    impl Place for Medium {
        fn open(&self) -> Result<Box<dyn Store>, StoreError> {
            let options = StoreOptions { cache_bytes: 256 * 1_024, ..StoreOptions::default() };
            let store = RedbStore::open_storage(Box::new(self.clone()), &options)?;
            Ok(Box::new(store))
        }
    }
}

/// Runs a test on every store.
fn on_each(test: impl Fn(&dyn Place)) {
    test(&MemoryStore::new());
    #[cfg(feature = "durable")]
    test(&crate::journal::redb::medium_of_tests::Medium::new());
}

#[test]
fn answers_are_those_of_the_model_over_any_restart() {
    for round in 0..6 {
        on_each(|place| {
            let mut work = Workload::new(seed() + round);
            let mut model = Model::default();
            let mut store = place.open().expect("opens");
            for _ in 0..120 {
                let step = work.step(&model);
                store.commit(&step.batch()).expect("commits");
                model.apply(&step);
                if work.chance(10) {
                    store.close().expect("closes");
                    store = place.open().expect("opens again");
                }
                if work.chance(5) {
                    store.compact(&mut |_| ()).expect("compacts");
                }
                if work.chance(5) {
                    store.verify(&mut |_| ()).expect("is whole");
                }
                if work.chance(4) {
                    model.compare(&*store).expect("reads");
                }
            }
            model.compare(&*store).expect("reads");
        });
    }
}

#[test]
fn who_looks_at_one_moment_sees_no_later_batch() {
    on_each(|place| {
        let mut work = Workload::small(seed());
        let (mut model, store) = (Model::default(), place.open().expect("opens"));
        let mut step = |model: &mut Model| {
            let step = work.step(model);
            store.commit(&step.batch()).expect("commits");
            model.apply(&step);
        };
        (0..20).for_each(|_| step(&mut model));
        let then = model.contents();
        let at_once = store.at_once(&mut |seen| {
            assert!(Found::read(seen)? == then);
            Ok(())
        });
        at_once.expect("reads");
        (0..20).for_each(|_| step(&mut model));
        assert!(Found::read(&*store).expect("reads") == model.contents());
    });
}

#[test]
fn batches_that_make_no_sense_are_refused_and_change_nothing() {
    on_each(|place| {
        let store = place.open().expect("opens");
        let key = StoredKey { hash: 1, index: 1 };
        let piece = Piece { kind: 1, position: 1, bytes: vec![1] };
        for batch in [
            Batch::empty(1),
            Batch { records: b"abc", ..Batch::empty(0) },
            Batch { records: b"abc", ends: &[2, 1, 3], ..Batch::empty(0) },
            Batch { records: b"abc", ends: &[2], ..Batch::empty(0) },
            Batch { records: b"abc", ends: &[3], keys: &[key], ..Batch::empty(0) },
            Batch { pieces: std::slice::from_ref(&piece), ..Batch::empty(0) },
            Batch { checkpoint: CheckpointStep::Complete { from: 0 }, ..Batch::empty(0) },
        ] {
            let error = store.commit(&batch).expect_err("makes no sense");
            assert!(matches!(error, StoreError::Batch { .. }), "{error}");
        }
        Model::default().compare(&*store).expect("reads");
        store.commit(&Batch::empty(0)).expect("goes on");
    });
}

#[test]
fn a_store_is_one_engines_and_a_closed_one_takes_nothing() {
    let memory = MemoryStore::new();
    let store = Place::open(&memory).expect("opens");
    let second = Place::open(&memory).expect_err("is locked");
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    store.commit(&Batch { records: &[1], ends: &[1], ..Batch::empty(0) }).expect("commits");
    store.close().expect("closes");
    assert!(matches!(store.close(), Err(StoreError::Closed { .. })));
    assert!(matches!(store.commit(&Batch::empty(1)), Err(StoreError::Closed { .. })));
    assert!(matches!(store.read_before(9), Err(StoreError::Closed { .. })));
    let again = Place::open(&memory).expect("opens again");
    drop(store);
    assert!(Place::open(&memory).is_err(), "the other one was closed, this one is open");
    assert_eq!(again.end(), 1);
    drop(again);
    Place::open(&memory).expect("dropping closes");
}

#[test]
fn a_crash_loses_what_comes_after_it() {
    let memory = MemoryStore::new();
    let store = Place::open(&memory).expect("opens");
    let step = |first| Batch { records: &[1], ends: &[1], ..Batch::empty(first) };
    store.commit(&step(0)).expect("commits");
    let crashed = memory.after_crash();
    store.commit(&step(1)).expect("commits");
    assert_eq!(Place::open(&crashed).expect("nobody has it").end(), 1);
    assert_eq!(store.end(), 2);
}
