//! Goal: a store answers what was put into it and nothing else, after any restart and any fault.
//!
//! Method: random batches go to a store and to a plain model; every answer is compared. The crash
//! suites run one history on a disk in memory that fails at each of its calls.

mod faults;
mod upkeep;

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::medium_of_tests::Medium;
use super::{RedbStore, StoreOptions};
use crate::base::clock::Timestamp;
use crate::journal::store::tests::{Found, Model, Step, Workload, seed};
use crate::journal::store::*;
use crate::log::RunTimes;

/// A small cache, so that reading goes to the disk.
const OPTIONS: StoreOptions = StoreOptions {
    create: true,
    cache_bytes: 256 * 1_024,
    quick_open: false,
    copy_on_write: false,
};

fn open(medium: &Medium) -> Result<RedbStore, StoreError> {
    RedbStore::open_storage(Box::new(medium.clone()), &OPTIONS)
}

/// A file of this test's own, which is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("limitry-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_is_one_engines() {
    let scratch = Scratch::new("locked");
    let store = RedbStore::open(&scratch.0, &OPTIONS).expect("opens");
    let second = RedbStore::open(&scratch.0, &OPTIONS).expect_err("is locked");
    assert!(matches!(second, StoreError::Locked { .. }), "{second}");
    store.close().expect("closes");
    assert!(matches!(store.close(), Err(StoreError::Closed { .. })));
    assert!(matches!(store.commit(&Batch::empty(0)), Err(StoreError::Closed { .. })));
    RedbStore::open(&scratch.0, &OPTIONS).expect("opens again");
}

#[test]
fn a_file_that_is_cut_off_is_damaged() {
    let scratch = Scratch::new("cut");
    RedbStore::open(&scratch.0, &OPTIONS).expect("opens").close().expect("closes");
    let whole = std::fs::read(&scratch.0).expect("is there");
    for length in [9, 100, 320, 4_096, whole.len() - 1] {
        std::fs::write(&scratch.0, &whole[..length]).expect("writes");
        let error = RedbStore::open(&scratch.0, &OPTIONS).expect_err("is cut off");
        assert!(matches!(error, StoreError::Damaged { .. }), "{length}: {error}");
    }
}

#[test]
fn what_is_no_log_is_left_alone() {
    let scratch = Scratch::new("foreign");
    let text = "not a log\n".repeat(1_000);
    std::fs::write(&scratch.0, &text).expect("writes");
    let error = RedbStore::open(&scratch.0, &OPTIONS).expect_err("is no log");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&scratch.0).expect("is there"), text);

    let other = Scratch::new("other");
    let db = ::redb::Database::create(&other.0).expect("creates");
    let txn = db.begin_write().expect("begins");
    let names: ::redb::TableDefinition<'_, u64, u64> = ::redb::TableDefinition::new("names");
    txn.open_table(names).expect("opens").insert(1, 1).expect("inserts");
    txn.commit().expect("commits");
    drop(db);
    let bytes = std::fs::read(&other.0).expect("is there");
    let error = RedbStore::open(&other.0, &OPTIONS).expect_err("is another's");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(std::fs::read(&other.0).expect("is there") == bytes);

    let none = Scratch::new("none");
    let error = RedbStore::open(&none.0, &StoreOptions { create: false, ..OPTIONS });
    let error = error.expect_err("is not there");
    assert!(matches!(error, StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }), "{error}");

    // What an interrupted making leaves is made again only by who may make one.
    for bytes in [0, 1, 8, 5_000] {
        let medium = Medium::of(vec![0; bytes]);
        let only = StoreOptions { create: false, ..OPTIONS };
        let error = RedbStore::open_storage(Box::new(medium.clone()), &only);
        let error = error.expect_err("there is none");
        assert!(matches!(error, StoreError::Foreign { .. }), "{bytes} bytes: {error}");
        assert_eq!(medium.image(), vec![0; bytes]);
        open(&medium).expect("makes one").close().expect("closes");
        let error = RedbStore::open_storage(Box::new(medium), &only).err();
        assert_eq!(error, None, "{bytes} bytes");
    }
}

/// Closed or left by a crash, opened with a check or without.
#[test]
fn a_newer_format_is_named_and_left_alone() {
    let medium = Medium::new();
    open(&medium).expect("opens").close().expect("closes");
    let db = ::redb::Database::builder();
    let db = db.create_with_backend(super::medium::Backend::storage(Box::new(medium.clone())));
    let db = db.expect("opens");
    let txn = db.begin_write().expect("begins");
    let rows: ::redb::TableDefinition<'_, u64, &[u8]> =
        ::redb::TableDefinition::new(meta::META_TABLE);
    let mut row = meta::Meta::new().write();
    row[8..12].copy_from_slice(&9_u32.to_le_bytes());
    txn.open_table(rows).expect("opens").insert(0, row.as_slice()).expect("inserts");
    txn.commit().expect("commits");
    let crashed = medium.image();
    drop(db);
    for image in [crashed, medium.image()] {
        for quick_open in [false, true] {
            let (medium, options) =
                (Medium::of(image.clone()), StoreOptions { quick_open, ..OPTIONS });
            let error = RedbStore::open_storage(Box::new(medium.clone()), &options);
            let newer = StoreError::Newer { file: "storage".into(), found: 9, known: 3 };
            assert_eq!(error.err(), Some(newer));
            assert!(medium.image() == image && medium.changes() == 0);
        }
    }
}
