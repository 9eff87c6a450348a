use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const RETENTION: u64 = 1_000;

/// What stands for the log: the records by their sequence numbers.
#[derive(Debug, Default)]
struct Records(Mutex<HashMap<u64, Record>>);

#[derive(Clone, Debug)]
struct Record {
    key: String,
    payload: u32,
    since: Moment,
    answer: u64,
}

impl Records {
    /// As an engine looks a key up; counts how often it has to.
    fn look_up(&self, seq: u64, key: &str, payload: u32) -> Result<KeyMatch<u64>, String> {
        let records = self.0.lock();
        let record = records.get(&seq).ok_or(format!("no record at {seq}"))?;
        Ok(if record.key != key {
            KeyMatch::Other
        } else if record.payload == payload {
            KeyMatch::Same { since: record.since, answer: record.answer }
        } else {
            KeyMatch::Conflict { since: record.since }
        })
    }

    fn add(&self, key: &str, payload: u32, since: Moment, answer: u64) -> KeyUse {
        let mut records = self.0.lock();
        let seq = u64::try_from(records.len()).unwrap();
        records.insert(seq, Record { key: key.to_owned(), payload, since, answer });
        KeyUse { seq, since }
    }
}

fn keys(retention: u64, max_keys: usize, mask: u64) -> StoredKeys {
    let mut keys = StoredKeys::new([3, 4], retention, max_keys);
    keys.mask = mask;
    keys
}

const ALL: u64 = u64::MAX >> 16;

/// A customer's key: `b 7` is the key 7 of customer b.
fn named(name: &str) -> CustomerKey<'_> {
    let (customer, key) = name.split_once(' ').unwrap_or(("c", name));
    CustomerKey { customer, key }
}

fn once(
    keys: &StoredKeys,
    log: &Records,
    (key, payload): (&str, u32),
    now: Moment,
    allowed: bool,
) -> KeyOutcome<u64> {
    let decide = |_| {
        let answer = now.0 * 1_000 + u64::from(payload);
        Ok((answer, allowed.then(|| log.add(key, payload, now, answer))))
    };
    keys.once(named(key), now, |seq| log.look_up(seq, key, payload), decide).unwrap()
}

/// A naive model: all uses of each key, in order.
#[derive(Default)]
struct Model {
    uses: Vec<(String, u32, KeyUse, u64)>,
}

impl Model {
    /// With at most 1 024 keys the oldest are forgotten one by one.
    fn find(
        &self,
        (key, payload): (&str, u32),
        now: Moment,
        most: usize,
        retention: u64,
    ) -> Option<KeyOutcome<u64>> {
        let mut newest = self.uses.iter().rev().take(most);
        let (_, first, found, answer) = newest
            .rfind(|(known, _, found, _)| known == key && now.0 < found.since.0 + retention)?;
        Some(if *first == payload {
            KeyOutcome::Known(*answer, found.seq)
        } else {
            KeyOutcome::Conflict
        })
    }
}

/// Random calls on few keys and with few hashes, with loading into fresh keys in between: as a
/// list of all uses answers.
#[test]
fn answers_are_those_of_a_list_of_all_uses() {
    for seed in 0..150 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mask = *[0, 1, 0xff00_0000_0001, ALL].get(dice.random_range(0..4)).unwrap();
        let most = *[1, 5, 40, 1_000].get(dice.random_range(0..4)).unwrap();
        let different = dice.random_range(1..60);
        let (mut stored, log) = (keys(RETENTION, most, mask), Records::default());
        let mut model = Model::default();
        let mut now = 10_000;
        for step in 0..1_000 {
            now += dice.random_range(0..RETENTION / 10) * u64::from(dice.random_bool(0.3));
            let customer = ["a", "b", "c"][dice.random_range(0..3)];
            let key = format!("{customer} {}", dice.random_range(0..different));
            let (payload, at) = (dice.random_range(0..2), Moment(now));
            let what = (key.as_str(), payload);
            let due = model.find(what, at, most, RETENTION);
            let context = format!("seed {seed}, step {step}, {what:?} at {now}");
            if dice.random_bool(0.3) {
                let look_up = |seq| log.look_up(seq, &key, payload);
                let found = stored.find(named(&key), at, look_up).unwrap();
                assert_eq!(found, due, "{context}");
                continue;
            }
            let answer = once(&stored, &log, what, at, dice.random_bool(0.8));
            if let Some(due) = due {
                assert_eq!(answer, due, "{context}");
            } else {
                let KeyOutcome::New(answer, recorded) = answer else {
                    panic!("{context}: {answer:?}")
                };
                model.uses.extend(recorded.map(|found| (key, payload, found, answer)));
            }
            if dice.random_bool(0.01) {
                stored = keys(RETENTION, most, mask);
                if dice.random_bool(0.5) {
                    stored.reserve(model.uses.len());
                }
                // A store that is converted has keys of format 1 up to some record.
                let plain = dice.random_range(0..=model.uses.len()) * dice.random_range(0..2);
                for (seq, (key, _, found, _)) in model.uses.iter().enumerate() {
                    if seq < plain {
                        let hash = stored.hash_bytes(named(key).key.as_bytes());
                        stored.load_plain(hash, found.seq, found.since);
                    } else {
                        stored.load(stored.hash(named(key)), found.seq, found.since);
                    }
                }
                stored.loaded(at);
            }
            assert!(stored.len() <= u64::try_from(most).unwrap(), "{context}");
        }
    }
}

#[test]
fn one_of_many_calls_decides_and_all_get_its_answer() {
    for (round, mask) in [0, 0xff, ALL, ALL, ALL].into_iter().enumerate() {
        let (stored, log) = (keys(u64::MAX, 100_000, mask), Records::default());
        let decided = AtomicUsize::new(0);
        let names: Vec<String> = (0..400).map(|number| format!("{round} {number}")).collect();
        let worker = |shift: usize| {
            let answer = |key: &String| {
                let decide = |_| {
                    let answer = u64::try_from(decided.fetch_add(1, Ordering::Relaxed)).unwrap();
                    Ok((answer, Some(log.add(key, 0, Moment(1), answer))))
                };
                let look_up = |seq| log.look_up(seq, key, 0);
                match stored.once(named(key), Moment(2), look_up, decide) {
                    Ok(KeyOutcome::New(answer, _) | KeyOutcome::Known(answer, _)) => answer,
                    other => panic!("{other:?}"),
                }
            };
            let mut turned = names.clone();
            turned.rotate_left(shift);
            let mut answers: Vec<u64> = turned.iter().map(answer).collect();
            answers.rotate_right(shift);
            answers
        };
        let answers: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|shift| scope.spawn(move || worker(shift % 3))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|other| *other == answers[0]));
        assert_eq!(decided.load(Ordering::Relaxed), names.len());
        assert_eq!(stored.len(), 400);
    }
}

/// As long as keys of format 1 are kept they are found, by their customers alone; then nobody looks
/// for any.
#[test]
fn keys_of_format_1_are_found_until_they_are_over() {
    let (mut stored, log) = (keys(RETENTION, 10, ALL), Records::default());
    let plain = stored.hash_bytes(b"1");
    assert_ne!(plain, stored.hash(named("a 1")));
    let found = log.add("a 1", 1, Moment(5), 7);
    stored.load_plain(plain, found.seq, found.since);
    stored.loaded(Moment(6));
    assert_eq!(once(&stored, &log, ("a 1", 1), Moment(7), true), KeyOutcome::Known(7, 0));
    assert_eq!(once(&stored, &log, ("a 1", 2), Moment(7), true), KeyOutcome::Conflict);
    assert!(matches!(
        once(&stored, &log, ("b 1", 2), Moment(7), true),
        KeyOutcome::New(_, Some(_))
    ));
    assert_eq!(once(&stored, &log, ("b 1", 2), Moment(8), true), KeyOutcome::Known(7_002, 1));
    assert!(stored.seqs(named("a 1"), stored.hash(named("a 1"))).contains(&0));
    // The use of another key takes note of the time.
    assert!(matches!(
        once(&stored, &log, ("b 2", 2), Moment(1_005), true),
        KeyOutcome::New(_, Some(_))
    ));
    assert!(stored.seqs(named("a 1"), stored.hash(named("a 1"))).is_empty());
    assert!(matches!(
        once(&stored, &log, ("a 1", 2), Moment(1_005), true),
        KeyOutcome::New(_, Some(_))
    ));
}

#[test]
fn a_key_counts_to_the_nanosecond() {
    let (stored, log) = (keys(RETENTION, 10, ALL), Records::default());
    assert!(matches!(once(&stored, &log, ("a", 1), Moment(5), true), KeyOutcome::New(..)));
    for (now, payload) in [(5, 1), (6, 2), (1_004, 1), (1_004, 2)] {
        let known = if payload == 1 { KeyOutcome::Known(5_001, 0) } else { KeyOutcome::Conflict };
        assert_eq!(once(&stored, &log, ("a", payload), Moment(now), true), known);
    }
    let used = Some(KeyUse { seq: 1, since: Moment(1_005) });
    let again = once(&stored, &log, ("a", 2), Moment(1_005), true);
    assert_eq!(again, KeyOutcome::New(1_005_002, used));
    assert_eq!(once(&stored, &log, ("a", 1), Moment(2_004), true), KeyOutcome::Conflict);
    assert!(matches!(once(&stored, &log, ("a", 1), Moment(2_005), true), KeyOutcome::New(..)));
}

#[test]
fn a_refusal_and_an_error_leave_the_key_free() {
    let (stored, log) = (keys(RETENTION, 10, ALL), Records::default());
    assert_eq!(once(&stored, &log, ("a", 1), Moment(5), false), KeyOutcome::New(5_001, None));
    let look_up = |seq| log.look_up(seq, "a", 1);
    let failed = stored.once(named("a"), Moment(5), look_up, |_| Err("no".to_owned()));
    assert_eq!(failed, Err("no".to_owned()));
    assert!(matches!(once(&stored, &log, ("a", 2), Moment(5), true), KeyOutcome::New(_, Some(_))));
    // What cannot be looked up is an error, and decides nothing.
    log.0.lock().clear();
    let decided = Cell::new(false);
    let decide = |_| {
        decided.set(true);
        Ok((0, None))
    };
    let failed = stored.once(named("a"), Moment(5), look_up, decide);
    assert_eq!(failed, Err("no record at 0".to_owned()));
    assert!(!decided.get());
}

/// A record that another call adds between the look without the lock and the one with it.
#[test]
fn a_use_that_comes_in_between_is_found_under_the_lock() {
    let (stored, log) = (keys(RETENTION, 10, 0), Records::default());
    once(&stored, &log, ("other", 1), Moment(5), true);
    let raced = Cell::new(false);
    let look_up = |seq| {
        if !raced.replace(true) {
            once(&stored, &log, ("a", 1), Moment(6), true);
        }
        log.look_up(seq, "a", 1)
    };
    let answer = stored.once(named("a"), Moment(7), look_up, |_| panic!("it is decided"));
    assert_eq!(answer, Ok(KeyOutcome::Known(6_001, 1)));
}

/// What is over goes as fast as new keys come, and room is never more than 32 bytes a key.
#[test]
fn keys_take_bounded_room() {
    let kept: u64 = 200_000;
    let stored = keys(u64::MAX, usize::try_from(kept).unwrap(), ALL);
    let log = |_| Ok::<_, ()>(KeyMatch::<()>::Other);
    let (mut most, mut least) = (0, usize::MAX);
    for seq in 0..kept * 5 {
        let use_of = KeyUse { seq, since: Moment(seq) };
        let key = format!("key {seq}");
        stored.once(named(&key), Moment(seq), log, |_| Ok(((), Some(use_of)))).unwrap();
        if seq % 20_000 == 19_999 {
            let each = stored.bytes() / usize::try_from(stored.len()).unwrap();
            (most, least) = (most.max(each), least.min(each));
        }
    }
    println!("{least} to {most} bytes a key");
    assert!(most <= 32, "{most} bytes a key");
    assert!(stored.len() <= kept + kept / 1_000);
    let entries: usize = stored.shards.iter().map(|shard| shard.0.lock().entries.len()).sum();
    assert!(entries < usize::try_from(kept * 13 / 10).unwrap(), "{entries} entries");
    // All of them over at once, they go with the next calls.
    let now = Moment(u64::MAX);
    for seq in kept * 5..kept * 6 {
        let key = format!("key {seq}");
        let recorded = Some(KeyUse { seq, since: Moment(0) });
        stored.once(named(&key), now, log, |_| Ok(((), recorded))).unwrap();
    }
    assert!(stored.len() <= 1, "{} are kept", stored.len());
    assert!(stored.bytes() < 1_000_000, "{} bytes", stored.bytes());
}

/// Measured by hand: `cargo test --release --lib --features durable stored -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn loading_five_million_keys() {
    for reserved in [true, false] {
        let mut stored = keys(u64::MAX, 10_000_000, ALL);
        let hashes: Vec<u64> =
            (0..5_000_000_u64).map(|n| stored.hash(named(&format!("request {n}")))).collect();
        let started = std::time::Instant::now();
        if reserved {
            stored.reserve(hashes.len());
        }
        for (seq, hash) in hashes.iter().enumerate() {
            stored.load(*hash, u64::try_from(seq).unwrap(), Moment(1));
        }
        stored.loaded(Moment(2));
        let took = started.elapsed();
        println!("reserved {reserved}: {took:?}, {} bytes a key", stored.bytes() / 5_000_000);
        let started = std::time::Instant::now();
        let new: Vec<String> = (0..1_000_000).map(|n| format!("new {n}")).collect();
        for (n, new) in (0..).zip(&new) {
            let recorded = KeyUse { seq: 5_000_000 + n, since: Moment(1) };
            let look_up = |_| Ok::<_, ()>(KeyMatch::<()>::Other);
            stored.once(named(new), Moment(2), look_up, |_| Ok(((), Some(recorded)))).unwrap();
        }
        println!("a million new keys: {:?}", started.elapsed());
    }
}
