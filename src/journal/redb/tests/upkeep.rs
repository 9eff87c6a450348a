//! Dropping, checking, compacting, copying.

use std::sync::atomic::{AtomicBool, Ordering};

use ::redb::ReadableTable;

use super::*;

/// Commits batches of one size; every twentieth begins a generation, and four are kept.
fn steady(store: &RedbStore, batches: u64, mut after: impl FnMut(u64)) {
    let records = vec![7; 64 * 200];
    let ends: Vec<u32> = (1..=64).map(|count| count * 200).collect();
    let keys: Vec<_> = (0..64).map(|index| StoredKey { hash: index.into(), index }).collect();
    let piece = Piece { kind: 1, position: 0, bytes: vec![3; 20_000] };
    for batch in 0..batches {
        let first = store.end();
        let checkpoint = match batch % 10 {
            0 => CheckpointStep::Begin,
            8 => CheckpointStep::Complete { from: first },
            _ => CheckpointStep::None,
        };
        let pieces = if batch % 10 < 9 { std::slice::from_ref(&piece) } else { &[] };
        store
            .commit(&Batch {
                records: &records,
                ends: &ends,
                keys: &keys,
                now: first,
                times: Some(&RunTimes::of(at(first), at(first))),
                new_generation: batch % 20 == 0,
                keep_from: first.saturating_sub(20 * 64 * 4),
                pieces,
                checkpoint,
                ..Batch::empty(first)
            })
            .expect("commits");
        after(batch);
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::new(second as i64, 0)
}

#[test]
fn under_steady_retention_the_file_stops_growing() {
    let medium = Medium::new();
    let store = open(&medium).expect("opens");
    let mut largest = 0;
    steady(&store, 300, |_| largest = store.size().max(largest));
    let before = largest;
    steady(&store, 2_000, |_| largest = store.size().max(largest));
    assert_eq!(largest, before, "dropped space is used again");
    assert!(store.generations().len() <= 6);
    let records = store.end() - store.generations()[0].first;
    // Records, keys and two checkpoints, and redb doubles a file that grows.
    let live = records * 220 + 20_000 * 20;
    assert!(largest < live * 4, "{largest} bytes for {live}");
    let store = reopened(&medium, store);
    assert_eq!(store.verify(&mut |_| ()).expect("is whole").records, records);
}

#[test]
fn one_moment_stays_as_it_was_while_commits_go_on() {
    let store = open(&Medium::new()).expect("opens");
    steady(&store, 100, |_| ());
    let before = Found::read(&store).expect("reads");
    let shown = store.at_once(&mut |then| {
        assert!(Found::read(then)? == before);
        // All generations of before are dropped, and what they had is taken apart.
        steady(&store, 500, |_| ());
        assert!(Found::read(then)? == before && Found::read(&store)? != before);
        assert!(store.generations()[0].first >= then.end());
        Ok(())
    });
    shown.expect("reads");
}

fn reopened(medium: &Medium, store: RedbStore) -> RedbStore {
    store.close().expect("closes");
    open(medium).expect("opens")
}

#[test]
fn what_is_dropped_is_gone_at_once_and_its_time_stays() {
    let medium = Medium::new();
    let store = open(&medium).expect("opens");
    steady(&store, 200, |_| ());
    let end = store.end();
    let newest = *store.generations().last().expect("there is one");
    let drop = Batch { new_generation: true, keep_from: end, ..Batch::empty(end) };
    store.commit(&drop).expect("commits");
    let store = reopened(&medium, store);
    let all = store.generations();
    assert_eq!((all.len(), all[0].first, all[0].end), (1, end, end));
    assert_eq!((store.end(), store.now()), (end, newest.now));
    assert!(!store.dropped().spare(&(at(0)..at(1))));
    assert_eq!(store.dropped().last(), at(end - 64), "the first record of the last batch");
    assert!(store.read_before(u64::MAX).expect("reads").is_none());
    store.read(0, &mut |_| panic!("no chunk is left")).expect("reads");
    store.keys(0, &mut |_| panic!("no key is left")).expect("reads");
    // Goes on, and takes the rest apart.
    steady(&store, 50, |_| ());
    let before = store.size();
    assert!(store.compact(&mut |_| ()).expect("compacts"));
    assert!(store.size() < before);
    assert_eq!(store.verify(&mut |_| ()).expect("is whole").records, 50 * 64);
}

#[test]
fn a_checkpoint_counts_when_it_is_whole() {
    let medium = Medium::new();
    let store = open(&medium).expect("opens");
    let commit = |checkpoint, bytes: &[u8]| {
        let piece = Piece { kind: 4, position: 9, bytes: bytes.to_vec() };
        store.commit(&Batch { pieces: &[piece], checkpoint, ..Batch::empty(0) }).expect("commits");
        let mut found = Vec::new();
        let from = store.pieces(&mut |piece| found.push(piece.bytes.to_vec())).expect("reads");
        from.map(|from| (from, found))
    };
    let list = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    assert_eq!(commit(CheckpointStep::Begin, b"a"), None);
    assert_eq!(commit(CheckpointStep::None, b"b"), None);
    let first = Some((5, list(&["a", "b", "c"])));
    assert_eq!(commit(CheckpointStep::Complete { from: 5 }, b"c"), first);
    assert_eq!(commit(CheckpointStep::Begin, b"d"), first);
    // The second is dropped unfinished.
    assert_eq!(commit(CheckpointStep::Begin, b"e"), first);
    let second = Some((7, list(&["e", "f"])));
    assert_eq!(commit(CheckpointStep::Complete { from: 7 }, b"f"), second);
}

#[test]
fn a_backup_is_the_store_of_one_moment() {
    let scratch = Scratch::new("backup");
    let mut work = Workload::new(seed());
    let (mut model, medium) = (Model::default(), Medium::new());
    let store = open(&medium).expect("opens");
    let mut step = |model: &mut Model| {
        let step = work.step(model);
        store.commit(&step.batch()).expect("commits");
        model.apply(&step);
    };
    (0..40).for_each(|_| step(&mut model));
    let then = model.contents();
    let mut told = Vec::new();
    let backup = store.backup(&scratch.0, &mut |progress| {
        // Commits go on while it is made.
        if told.len() < 10 {
            step(&mut model);
        }
        told.push(progress);
    });
    backup.expect("copies");
    assert!(told.is_sorted_by_key(|progress| progress.done));
    let ends = [told.first(), told.last()].map(|told| told.map_or(0, |told| told.done));
    assert!(ends[0] == 0 && told.last().is_some_and(|last| last.done == last.total), "{ends:?}");
    assert!(Found::read(&store).expect("reads") == model.contents());
    let copy = RedbStore::open(&scratch.0, &OPTIONS).expect("opens");
    assert!(Found::read(&copy).expect("reads") == then);
    copy.verify(&mut |_| ()).expect("is whole");
    let error = store.backup(&scratch.0, &mut |_| ()).expect_err("is there");
    let exists = std::io::ErrorKind::AlreadyExists;
    assert!(matches!(error, StoreError::Io { kind, .. } if kind == exists), "{error}");
    // A copy goes on as the store that it is of.
    copy.commit(&Batch { records: b"x", ends: &[1], ..Batch::empty(copy.end()) }).expect("commits");
}

/// Readers, a copy, checks and compactions beside commits: nobody waits for ever, and everybody
/// sees a whole state.
#[test]
fn long_work_and_commits_go_on_beside_each_other() {
    let medium = Medium::new();
    let store = open(&medium).expect("opens");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let end = store.end();
                    let mut next = None;
                    let read = store.read(0, &mut |chunk| {
                        assert_eq!(chunk.first(), next.unwrap_or(chunk.first()));
                        next = Some(chunk.end());
                        // A question within a question.
                        store.read_before(chunk.first()).expect("reads");
                        ControlFlow::Continue(())
                    });
                    read.expect("reads");
                    assert!(next.unwrap_or(0) >= end);
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                store.verify(&mut |_| ()).expect("is whole");
                store.compact(&mut |_| ()).expect("compacts");
            }
        });
        steady(&store, 200, |_| ());
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.end(), 200 * 64);
}

type Change = fn(&mut ::redb::Table<'_, u64, &'static [u8]>);

/// Whoever changes a value behind the store's back is found out, whatever redb says.
#[test]
fn a_value_that_was_changed_or_moved_is_named() {
    let medium = Medium::new();
    let store = open(&medium).expect("opens");
    steady(&store, 12, |_| ());
    store.close().expect("closes");
    let image = medium.image();
    let changes: [(&str, Change); 6] = [
        ("table events-0", |rows| {
            let mut value = rows.get(64).expect("reads").expect("is there").value().to_vec();
            value[100] ^= 1;
            rows.insert(64, value.as_slice()).expect("inserts");
        }),
        ("table events-0", |rows| {
            let value = rows.get(64).expect("reads").expect("is there").value().to_vec();
            rows.insert(128, value.as_slice()).expect("inserts");
        }),
        ("table events-0", |rows| drop(rows.remove(64).expect("removes"))),
        ("table events-0", |rows| drop(rows.pop_last().expect("removes"))),
        ("table keys-0", |rows| drop(rows.pop_first().expect("removes"))),
        ("table checkpoint-1", |rows| drop(rows.pop_last().expect("removes"))),
    ];
    for (what, change) in changes {
        let medium = Medium::of(image.clone());
        let backend = super::super::medium::Backend::storage(Box::new(medium.clone()));
        let db = ::redb::Database::builder().create_with_backend(backend).expect("opens");
        let txn = db.begin_write().expect("begins");
        let name = what.trim_start_matches("table ");
        change(&mut txn.open_table(::redb::TableDefinition::new(name)).expect("opens"));
        txn.commit().expect("commits");
        drop(db);
        let store = open(&medium).expect("opens");
        let error = Found::read(&store).expect_err("is damaged");
        assert!(matches!(&error, StoreError::Damaged { what: w, .. } if **w == *what), "{error}");
        assert_eq!(store.verify(&mut |_| ()), Err(error));
    }
}

#[test]
fn large_records_and_many_small_ones_fit() {
    let medium = Medium::new();
    let store = open(&medium).expect("opens");
    let large = vec![1; 5_000_000];
    let ends = [0, 0, 5_000_000, 5_000_000];
    store.commit(&Batch { records: &large, ends: &ends, ..Batch::empty(0) }).expect("commits");
    let small = vec![0; 100_000];
    store.commit(&Batch { ends: &small, ..Batch::empty(4) }).expect("commits");
    let store = reopened(&medium, store);
    assert_eq!(store.end(), 100_004);
    let found = store.read_before(3).expect("reads").expect("is there");
    assert_eq!(found.chunk().record(2).map(<[u8]>::len), Some(5_000_000));
    assert_eq!(found.chunk().record(u64::MAX), None);
    let report = store.verify(&mut |_| ()).expect("is whole");
    assert_eq!((report.records, report.bytes), (100_004, 5_000_000));
}
