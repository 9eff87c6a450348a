//! Goal: an engine with a store in memory is one with a store: it goes on after a restart, and
//! after a crash with what was committed. An application's own rows are in any store.
//!
//! Method: engines open one store after another, in memory and, where the feature is on, in a file.

use std::time::Duration;

use limitry::errors::StoreError;
use limitry::store::{Durability, Durable};
use limitry::store::{MemoryStore, SpaceError, SpacePage};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Outcome, Period, Quota, RateLimit, Timestamp, Window};

fn open_engine(store: Durable) -> Engine {
    let now = Timestamp::new(1_700_000_000, 0);
    Engine::builder()
        .clock(ManualClock::new(now))
        .rate_limit(RateLimit::new("bucket", 3, Window::Hour).id("bucket").per("customer_id"))
        .quota(
            Quota::new("tokens", limitry::Metric::TotalTokens, 1_000, Period::Day)
                .id("tokens")
                .per("customer_id"),
        )
        .durable(store)
        .build()
        .expect("an engine")
}

fn call(number: u64) -> Event<'static> {
    Event::new("c", "call").total_tokens(10).idempotency_key(format!("k{number}"))
}

#[test]
fn an_engine_goes_on_where_another_one_ended() {
    let memory = MemoryStore::new();
    for life in 0..6_u64 {
        let engine = open_engine(memory.open().expect("nobody has it"));
        assert!(matches!(memory.open(), Err(StoreError::Locked { .. })));
        let answer = engine.track(&call(life)).expect("an answer");
        let due = if life < 3 { Outcome::Admitted } else { Outcome::Refused };
        assert_eq!(answer.outcome(), due, "life {life}");
        let again = engine.track(&call(0)).expect("an answer");
        assert_eq!(again.outcome(), Outcome::Replayed);
        assert_eq!(engine.events().len() as u64, (life + 1).min(3));
        engine.store().verify(|_| {}).expect("it is whole");
        if life % 2 == 0 {
            engine.store().close().expect("it closes");
        }
    }
}

#[test]
fn a_crash_leaves_what_was_committed() {
    let memory = MemoryStore::new();
    let store = memory.open().expect("nobody has it");
    let engine = open_engine(store.durability(Durability::Memory));
    let _ = engine.track(&call(0)).expect("an answer");
    engine.store().flush().expect("it is committed");
    let _ = engine.track(&call(1)).expect("an answer");
    let after = memory.after_crash();
    let again = open_engine(after.open().expect("nobody has it"));
    assert_eq!(again.events().len(), 1);
    assert_eq!(again.track(&call(0)).expect("an answer").outcome(), Outcome::Replayed);
    assert_eq!(again.track(&call(1)).expect("an answer").outcome(), Outcome::Admitted);
    // The engine before goes on, and a store that it left behind is not this one.
    assert_eq!(engine.events().len(), 2);
    drop(again);
    let again = open_engine(memory.after_crash().open().expect("nobody has it"));
    assert_eq!(again.events().len(), 1);
}

#[test]
fn retention_drops_records_and_counters_stay() {
    let memory = MemoryStore::new();
    let clock = ManualClock::new(Timestamp::new(1_700_000_000, 0));
    let day = Duration::from_secs(24 * 3_600);
    let open = || {
        let store = memory.open().expect("nobody has it").retention(day);
        let builder = Engine::builder().clock(clock.clone()).idempotency_retention(day);
        let ever = Quota::new("ever", limitry::Metric::TotalEvents, 1_000, Period::AllTime);
        builder.quota(ever.id("ever")).durable(store).build().expect("an engine")
    };
    for hour in 0..100_u64 {
        let engine = open();
        clock.advance(Duration::from_secs(3_600));
        let _ = engine.record(&call(hour)).expect("an answer");
        engine.store().close().expect("it closes");
    }
    let engine = open();
    let standing = engine.standing(&Event::new("c", "call")).expect("an answer");
    assert_eq!(standing.quotas().next().expect("a quota").used.to_string(), "100");
    let kept = engine.store().verify(|_| {}).expect("it is whole").records;
    assert!((20..60).contains(&kept), "{kept} of 100 records");
}

/// Everything about a space that an engine promises, on an engine that `open` opens again.
fn spaces_keep_their_rows(open: impl Fn() -> Engine) {
    let first = open();
    let hooks = first.store().space("webhooks").expect("a space");
    let other = first.store().space("web").expect("a space");
    for number in 0..25_u8 {
        hooks.put(&[b'a', number], &[number; 3]).expect("it is put");
    }
    hooks.put(b"b", b"").expect("it is put");
    hooks.put(&[b'a', 7], b"new").expect("it is put");
    hooks.remove(&[b'a', 8]).expect("it is removed");
    hooks.remove(b"never there").expect("nothing to do");
    other.put(b"hooks", b"of another space").expect("it is put");
    for life in 0..3 {
        let engine = if life == 0 { first.clone() } else { open_after(&first, &open) };
        let hooks = engine.store().space("webhooks").expect("a space");
        assert_eq!(hooks.get(&[b'a', 7]).expect("reads").as_deref(), Some(&b"new"[..]));
        assert_eq!(hooks.get(&[b'a', 8]).expect("reads"), None);
        assert_eq!(hooks.get(b"b").expect("reads").as_deref(), Some(&b""[..]));
        let (mut seen, mut after): (Vec<u8>, Option<Vec<u8>>) = (Vec::new(), None);
        loop {
            let page = hooks.list(b"a", after.as_deref(), 10).expect("a page");
            seen.extend(page.rows.iter().map(|(key, _)| key[1]));
            after = page.rows.last().map(|(key, _)| key.clone());
            if !page.has_more {
                break;
            }
        }
        assert!(seen.iter().copied().eq((0..25).filter(|number| *number != 8)), "{seen:?}");
        let rows = |prefix: &[u8]| -> Vec<(Vec<u8>, Vec<u8>)> {
            hooks.rows(prefix).collect::<Result<_, _>>().expect("reads")
        };
        assert!(rows(b"a").iter().map(|(key, _)| key[1]).eq(seen.iter().copied()));
        assert_eq!(rows(b"c"), []);
        let all = hooks.list(b"", None, 1_000).expect("a page");
        assert_eq!(rows(b""), all.rows);
        assert_eq!((all.rows.len(), all.has_more), (25, false));
        let others = engine.store().space("web").expect("a space").list(b"", None, 9);
        let others = others.expect("a page").rows;
        assert_eq!(others, [(b"hooks".to_vec(), b"of another space".to_vec())]);
        engine.store().verify(|_| {}).expect("it is whole");
    }
}

#[test]
fn all_rows_of_a_space_are_more_than_a_page() {
    let store = MemoryStore::new().open().expect("nobody has it");
    let engine = open_engine(store.durability(Durability::Buffered));
    let space = engine.store().space("many").expect("a space");
    for count in [999_u32, 1_000, 1_001, 2_000, 2_001] {
        let known = u32::try_from(space.rows(b"").count()).expect("a few");
        for number in known..count {
            space.put(&number.to_be_bytes(), b"row").expect("it is put");
        }
        let rows = space.rows(b"").map(|row| row.expect("reads").0);
        assert!(rows.eq((0..count).map(|number| number.to_be_bytes().to_vec())), "{count}");
    }
    engine.store().close().expect("it closes");
    let mut rows = space.rows(b"");
    assert!(rows.next().is_some_and(|row| row.is_err()) && rows.next().is_none());
}

/// Closes an engine, and opens the next one.
fn open_after(engine: &Engine, open: impl Fn() -> Engine) -> Engine {
    let _ = engine.store().close();
    open()
}

#[test]
fn a_space_keeps_its_rows_in_memory() {
    let memory = MemoryStore::new();
    let last = std::cell::RefCell::new(None::<Engine>);
    spaces_keep_their_rows(|| {
        if let Some(last) = last.take() {
            let _ = last.store().close();
        }
        let engine = open_engine(memory.open().expect("nobody has it"));
        *last.borrow_mut() = Some(engine.clone());
        engine
    });
}

#[cfg(feature = "durable")]
#[test]
fn a_space_keeps_its_rows_in_a_file_and_its_copy() {
    let file = crate::support::files::StoreFile::new("spaces");
    let last = std::cell::RefCell::new(None::<Engine>);
    spaces_keep_their_rows(|| {
        if let Some(last) = last.take() {
            let _ = last.store().close();
        }
        let engine = open_engine(file.store());
        *last.borrow_mut() = Some(engine.clone());
        engine
    });
    let last = last.take().expect("an engine");
    let copy = crate::support::files::StoreFile::new("spaces-copy");
    last.store().backup(&copy.path, |_| {}).expect("a copy");
    let copied = open_engine(copy.store());
    let page = |engine: &Engine| -> SpacePage {
        engine.store().space("webhooks").expect("a space").list(b"", None, 100).expect("a page")
    };
    assert_eq!(page(&copied), page(&last));
    copied.store().verify(|_| {}).expect("it is whole");
    // What comes with a crash is what was there when a call returned.
    let space = last.store().space("webhooks").expect("a space");
    space.put(b"late", b"row").expect("it is put");
    let crashed = crate::support::files::StoreFile::copy_of(&file.path, "spaces-crash");
    let found =
        open_engine(crashed.store()).store().space("webhooks").expect("a space").get(b"late");
    assert_eq!(found.expect("reads").as_deref(), Some(&b"row"[..]));
}

#[test]
fn what_is_beyond_a_bound_or_without_a_store_is_told() {
    let memory = MemoryStore::new();
    let engine = open_engine(memory.open().expect("nobody has it"));
    let long = "x".repeat(65);
    for name in ["", "a b", "\u{e4}", "a/b", long.as_str()] {
        let error = engine.store().space(name).expect_err("no name");
        assert!(matches!(error, SpaceError::OutOfBounds { .. }), "{name}: {error}");
    }
    let space = engine.store().space(&"x".repeat(64)).expect("a space");
    for error in [
        space.put(b"", b"").expect_err("no key"),
        space.put(&[0; 513], b"").expect_err("a long key"),
        space.put(b"k", &vec![0; 65_537]).expect_err("a long value"),
        space.list(b"", None, 0).expect_err("no rows"),
        space.list(b"", None, 1_001).expect_err("too many rows"),
    ] {
        assert!(matches!(error, SpaceError::OutOfBounds { .. }), "{error}");
    }
    space.put(&[0; 512], &vec![0; 65_536]).expect("the most");
    engine.store().close().expect("it closes");
    let closed = space.put(b"k", b"v").expect_err("it is closed");
    assert!(matches!(closed, SpaceError::Store(StoreError::Closed { .. })), "{closed}");
    assert!(space.get(b"k").is_err());
    let none = Engine::builder().build().expect("an engine");
    let error = none.store().space("webhooks").expect_err("no store");
    assert_eq!(error.to_string(), "space \"webhooks\": the engine has no store");
}
