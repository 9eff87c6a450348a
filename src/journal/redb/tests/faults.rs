//! One history on a disk that fails.

use super::*;
use crate::journal::redb::medium_of_tests::{Fault, Unsynced};

/// Whether the long forms are asked for.
fn is_long() -> bool {
    std::env::var("LIMITRY_LONG").is_ok_and(|long| long == "1")
}

/// A history and what there is to be after each of its steps.
struct History {
    name: String,
    steps: Vec<Step>,
    models: Vec<Model>,
}

impl History {
    fn new(seed: u64, length: usize) -> Self {
        let mut work = Workload::small(seed);
        let (mut steps, mut models) = (Vec::new(), vec![Model::default()]);
        for number in 0..length {
            let step = work.step(&models[number]);
            let mut model = models[number].clone();
            model.apply(&step);
            steps.push(step);
            models.push(model);
        }
        Self { name: format!("LIMITRY_SEED={seed}"), steps, models }
    }

    /// The disk after the whole of it.
    fn whole(&self) -> Medium {
        let medium = Medium::new();
        let ended = self.run(&open(&medium).expect("opens"), 0);
        assert_eq!(ended, (self.steps.len(), Ok(())));
        medium
    }

    /// Opens a disk and does what can be done of the history.
    fn start(&self, medium: &Medium) -> (usize, Result<(), StoreError>) {
        match open(medium) {
            Ok(store) => self.run(&store, 0),
            Err(error) => (0, Err(error)),
        }
    }

    /// Goes on with a store that has the first `done` steps; returns how many it has then, and why
    /// not all. Reads now and then, so that reading meets faults too.
    fn run(&self, store: &RedbStore, mut done: usize) -> (usize, Result<(), StoreError>) {
        for step in self.steps.iter().skip(done) {
            if let Err(error) = store.commit(&step.batch()) {
                return (done, Err(error));
            }
            done += 1;
            if done.is_multiple_of(6) {
                match Found::read(store) {
                    Ok(found) => assert!(found == self.models[done].contents(), "{}", self.name),
                    Err(error) => return (done, Err(error)),
                }
            }
        }
        (done, store.close())
    }

    /// Opens a disk that has the first `done` steps, reads, goes on and reads again.
    fn go_on(&self, medium: &Medium, mut done: usize, what: &str) -> Result<(), StoreError> {
        let store = open(medium)?;
        for more in [0, 2, 2] {
            for step in self.steps.iter().skip(done).take(more) {
                store.commit(&step.batch())?;
                done += 1;
            }
            let found = Found::read(&store)?;
            assert!(found == self.models[done].contents(), "{} {what}", self.name);
        }
        store.close()
    }

    /// Opens what a fault left, checks that it has what was acknowledged and at most the one step
    /// more, goes on from there to the end, and checks that.
    fn recover(&self, medium: &Medium, acknowledged: usize, what: &str) {
        let fail = |error| -> Found { panic!("{} {what}: {error}", self.name) };
        let store = open(medium).unwrap_or_else(|error| panic!("{} {what}: {error}", self.name));
        let found = Found::read(&store).unwrap_or_else(fail);
        let is = |steps: usize| self.models.get(steps).is_some_and(|m| m.contents() == found);
        let done = [acknowledged + 1, acknowledged].into_iter().find(|steps| is(*steps));
        let Some(done) = done else {
            panic!("{} {what}: not what {acknowledged} steps left", self.name)
        };
        let verified = store.verify(&mut |_| ());
        assert!(verified.is_ok(), "{} {what}: {verified:?}", self.name);
        let ended = self.run(&store, done);
        assert_eq!(ended, (self.steps.len(), Ok(())), "{} {what}", self.name);
        let store = open(medium).unwrap_or_else(|error| panic!("{} {what}: {error}", self.name));
        let found = Found::read(&store).unwrap_or_else(fail);
        assert!(found == self.models[self.steps.len()].contents(), "{} {what}", self.name);
    }
}

/// The histories of this run, and how many of their faults are tried: one of so many.
fn histories(length: usize, stride: usize) -> (Vec<History>, usize) {
    let (seeds, length, stride) = if is_long() { (4, length * 2, 1) } else { (1, length, stride) };
    ((0..seeds).map(|round| History::new(seed() + round, length)).collect(), stride)
}

#[test]
fn a_crash_at_any_change_or_sync_leaves_a_whole_state() {
    let (histories, stride) = histories(20, 5);
    for history in histories {
        let changes = history.whole().changes();
        for at in (0..changes).step_by(stride) {
            let medium = Medium::new().crash_at(at);
            let (acknowledged, ended) = history.start(&medium);
            assert!(medium.has_crashed(), "there is a change {at}");
            assert!(ended.is_err() || acknowledged == history.steps.len());
            for mode in [Unsynced::Kept, Unsynced::Lost, Unsynced::Seed(at), Unsynced::Seed(!at)] {
                let what = format!("crash at {at} of {changes}, {mode:?}");
                history.recover(&medium.after_crash(mode), acknowledged, &what);
            }
        }
    }
}

/// A crash during the recovery from a crash.
#[test]
fn recovery_is_interrupted_and_repeated() {
    let (histories, stride) = histories(8, 3);
    for history in histories {
        let changes = history.whole().changes();
        for at in (0..changes).step_by(stride * 7) {
            let medium = Medium::new().crash_at(at);
            let (acknowledged, _) = history.start(&medium);
            for again in (0..).step_by(stride) {
                let second = medium.after_crash(Unsynced::Seed(at)).crash_at(again);
                if open(&second).is_ok() && !second.has_crashed() {
                    break;
                }
                let what = format!("crash at {at} of {changes}, then at {again}");
                let third = second.after_crash(Unsynced::Seed(again));
                history.recover(&third, acknowledged, &what);
            }
        }
    }
}

#[test]
fn a_call_that_fails_acknowledges_nothing_and_reopening_works() {
    let (histories, stride) = histories(16, 5);
    for history in histories {
        let calls = history.whole().calls();
        for call in (0..calls).step_by(stride) {
            for for_ever in [false, true] {
                let fault = Fault { call, for_ever };
                let medium = Medium::new().fail_at(fault);
                let (acknowledged, ended) = history.start(&medium);
                assert!(
                    ended.is_err() || acknowledged == history.steps.len(),
                    "{} {fault:?}",
                    history.name
                );
                // What was written is there: the machine goes on.
                let what = format!("{fault:?} of {calls}");
                history.recover(&medium.after_crash(Unsynced::Kept), acknowledged, &what);
            }
        }
    }
}

/// The image of a store, and every so manieth byte of its pages that were ever used.
fn bytes_of(whole: &Medium) -> (Vec<u8>, Vec<usize>) {
    let image = whole.image();
    let pages = image.chunks(4_096).enumerate();
    let used = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    let bytes: Vec<_> = used.flat_map(|(at, _)| at * 4_096..(at + 1) * 4_096).collect();
    let stride = if is_long() { 1 } else { bytes.len() / 1_000 };
    (image, bytes.into_iter().step_by(stride.max(1)).collect())
}

/// After a clean end and after a crash. The store is opened and read, goes on, and is read again.
#[test]
fn a_flipped_bit_is_an_error_or_harmless() {
    // Its bytes are many: one is enough.
    let history = History::new(seed(), 16);
    let half = history.steps.len() / 2;
    for is_clean in [true, false] {
        let whole = Medium::new();
        let store = open(&whole).expect("opens");
        for step in &history.steps[..half] {
            store.commit(&step.batch()).expect("commits");
        }
        if is_clean {
            store.close().expect("closes");
        }
        let (image, bytes) = bytes_of(&whole);
        drop(store);
        let (mut detected, mut harmless) = (0, 0);
        for (number, byte) in bytes.into_iter().enumerate() {
            let bit = (number % 8) as u8;
            let what = format!("byte {byte} bit {bit}, closed: {is_clean}");
            let flipped = Medium::of(image.clone()).with_flipped(byte, bit);
            match history.go_on(&flipped, half, &what) {
                Ok(()) => harmless += 1,
                Err(_) => detected += 1,
            }
        }
        println!("{}: {detected} detected, {harmless} harmless", history.name);
        assert!(detected > 0 && harmless > 0);
    }
}

/// A file that is not checked when it is opened, and a bit that flips when it is open.
#[test]
fn a_flipped_bit_that_nobody_looked_for_is_found_when_it_is_read() {
    // Its bytes are many: one is enough.
    let history = History::new(seed(), 16);
    let expected = history.models[history.steps.len()].contents();
    let (image, bytes) = bytes_of(&history.whole());
    let options = StoreOptions { quick_open: true, cache_bytes: 0, ..OPTIONS };
    for (number, byte) in bytes.into_iter().enumerate() {
        let bit = (number % 8) as u8;
        let flipped = Medium::of(image.clone()).with_flipped(byte, bit);
        let store = RedbStore::open_storage(Box::new(flipped.clone()), &options);
        let Ok(store) = store else { continue };
        if let Ok(found) = Found::read(&store) {
            assert!(found == expected, "{} byte {byte} bit {bit}", history.name);
        }
        // redb may abort where it closes a damaged file; after an error it only lets go of it.
        flipped.break_down();
        assert!(Found::read(&store).is_err());
    }
}

#[test]
fn a_page_of_another_store_is_found_out_when_it_is_read() {
    let quick = StoreOptions { quick_open: true, ..OPTIONS };
    let make = |byte: u8| {
        let medium = Medium::new();
        let store = RedbStore::open_storage(Box::new(medium.clone()), &quick).expect("opens");
        let records = [byte; 3_000];
        let rows =
            [StateChange::Put { table: StateTable::Rules, key: 7, bytes: vec![byte; 5_000] }];
        let batch = Batch { records: &records, ends: &[3_000], state: &rows, ..Batch::empty(0) };
        store.commit(&batch).expect("commits");
        store.close().expect("closes");
        medium.image()
    };
    let (own, other) = (make(b'a'), make(b'b'));
    let pages = |image: &[u8], byte: u8| {
        let places = image.chunks(4_096).enumerate().filter(move |(_, page)| {
            page.windows(1_000).any(|part| part.iter().all(|it| *it == byte))
        });
        places.map(|(place, _)| place).collect::<Vec<_>>()
    };
    // Both stores have the same history, so what is at one place in the one is there in the other.
    assert_eq!(pages(&own, b'a'), pages(&other, b'b'));
    for page in pages(&own, b'a') {
        let mut image = own.clone();
        image[page * 4_096..(page + 1) * 4_096]
            .copy_from_slice(&other[page * 4_096..(page + 1) * 4_096]);
        let store = RedbStore::open_storage(Box::new(Medium::of(image)), &quick).expect("opens");
        let records = store.read(0, &mut |_| ControlFlow::Continue(()));
        let rows = store.state(StateTable::Rules, &mut |_, _| ());
        let wrong = records.and(rows).expect_err("it is another store's");
        assert!(matches!(wrong, StoreError::Damaged { .. }), "page {page}: {wrong}");
    }
}
