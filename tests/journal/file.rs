//! Goal: a file that was deleted, replaced or written over under an engine is noticed before a call
//! says that its event is on disk.
//!
//! Method: what an operator may do by mistake is done to the file of an engine that goes on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::files::Folder;
use limitry::errors::{StoreError, TrackError};
use limitry::store::{Durability, Durable};
use limitry::{Engine, Event};

fn open(path: &Path) -> Engine {
    let store = Durable::open(path).expect("a store").durability(Durability::Synced);
    Engine::builder().durable(store).build().expect("an engine")
}

fn call(number: u32) -> Event<'static> {
    Event::new("cust", "call").idempotency_key(format!("key {number}"))
}

/// A store in a file of its own, with one event, and closed.
fn other(folder: &Folder) -> PathBuf {
    let path = folder.file("other");
    let engine = open(&path);
    let _ = engine.track(&call(1)).expect("it is on disk");
    engine.store().close().expect("it closes");
    path
}

fn said(answer: Result<impl Sized, TrackError>) -> String {
    match answer {
        Ok(_) => panic!("it says that the event is on disk"),
        Err(TrackError::Store(why)) => why.to_string(),
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn what_becomes_of_a_file_is_noticed_with_the_next_commit() {
    type Mistake = fn(&Folder, &Path);
    let deeds: [(&str, Mistake, &str); 6] = [
        ("deleted", |_, path| fs::remove_file(path).expect("it goes"), "was deleted"),
        ("moved", |of, path| fs::rename(path, of.file("moved")).expect("it moves"), "was deleted"),
        ("replaced", |of, path| fs::rename(other(of), path).expect("it moves"), "has its name"),
        (
            "made anew",
            |_, path| {
                fs::remove_file(path).expect("it goes");
                fs::write(path, b"something else").expect("it is written");
            },
            "has its name",
        ),
        ("cut off", |_, path| fs::write(path, b"").expect("it is cut"), "somebody else"),
        (
            "written over",
            |of, path| {
                // As many bytes as are there: `cp` keeps the file and changes what is in it.
                let mut bytes = fs::read(other(of)).expect("it is read");
                let length = fs::metadata(path).expect("it is there").len();
                bytes.resize(usize::try_from(length).expect("it is small"), 0);
                fs::write(path, bytes).expect("it is written");
            },
            "somebody else",
        ),
    ];
    for (name, mistake, what) in deeds {
        let folder = Folder::new(&name.replace(' ', "-"));
        let path = folder.file("store");
        let engine = open(&path);
        for number in 0..3 {
            let _ = engine.track(&call(number)).expect("it is on disk");
        }
        mistake(&folder, &path);
        let why = said(engine.track(&call(3)));
        assert!(why.contains(what), "{name}: {why}");
        assert!(why.contains(&path.display().to_string()), "{name}: {why}");
        // And so it stays: nobody is told that something is on disk.
        let why = said(engine.track(&call(4)));
        assert!(why.contains(what), "{name}: {why}");
        let failure = engine.store().health().failure.expect("it has failed");
        assert!(matches!(failure, StoreError::Io { .. }), "{name}: {failure:?}");
    }
}

#[test]
fn a_file_that_is_only_looked_at_is_left_in_peace() {
    let folder = Folder::new("peace");
    let path = folder.file("store");
    let engine = open(&path);
    for number in 0..3 {
        let _ = engine.track(&call(number)).expect("it is on disk");
        fs::copy(&path, folder.file(&format!("copy {number}"))).expect("a copy");
        engine.store().compact(|_| ()).expect("it is made small");
        engine.store().backup(folder.file(&format!("backup {number}")), |_| ()).expect("a backup");
        engine.store().verify(|_| ()).expect("it is whole");
    }
    engine.store().close().expect("it closes");
    let engine = open(&path);
    assert_eq!(engine.store().health().recorded, 3);
    let _ = engine.track(&call(9)).expect("it is on disk");
}
