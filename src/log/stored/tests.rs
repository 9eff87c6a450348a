use std::hash::{BuildHasher, Hasher};

use chrono::{DateTime, Utc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::*;
use crate::event::DimensionHashes;
use crate::log::Packed;

/// What an engine in memory tells requests apart by: as they are, and as they were given.
fn fingerprint(event: &Event<'_>) -> [u64; 2] {
    [false, true].map(|as_given| {
        let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
        event.hash_payload(as_given, &mut hasher);
        hasher.finish()
    })
}

const NOW: Timestamp = Timestamp::new(1_700_000_000, 7);

fn packed(event: &Event<'_>) -> Packed {
    let happened = event.happened_at();
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    Packed::new(&DimensionHashes::new(event, &hasher), happened.unwrap_or(NOW), NOW)
}

fn unpacked(bytes: &[u8]) -> Stored<'_> {
    Stored::decode_all(Reader::new(Version::NEWEST, bytes)).expect("what was packed")
}

fn is_same(first: &Event<'_>, second: &Event<'_>) -> bool {
    let packed = packed(first);
    let stored = unpacked(&packed.bytes);
    stored.is_same_request(second)
}

fn date(text: &str) -> DateTime<Utc> {
    text.parse().expect("a date")
}

/// Every field has few values, so that random events are often the same.
fn event(dice: &mut ChaCha8Rng) -> Event<'static> {
    let one = |dice: &mut ChaCha8Rng| dice.random_bool(0.07);
    let mut event =
        Event::new(if one(dice) { "c" } else { "d" }, if one(dice) { "x" } else { "y" });
    if one(dice) {
        event = event.model("m");
    }
    if one(dice) {
        event = event.provider(["m", "p"][dice.random_range(0..2)]);
    }
    if one(dice) {
        event = event.input_tokens(1);
    }
    if one(dice) {
        event = event.output_tokens(1);
    }
    if one(dice) {
        event = event.total_tokens(dice.random_range(0..2));
    }
    if one(dice) {
        event = event.cost_cents(["0", "1", "0.4", "-1"][dice.random_range(0..4)]);
    }
    if one(dice) {
        event = event.latency_ms(dice.random_range(0..2));
    }
    // Set in any order, and some twice.
    for _ in 0..dice.random_range(0..3) {
        let key = ["a", "b", "model"][dice.random_range(0..3)];
        event = match dice.random_range(0..5) {
            0 => event.property(key, "1"),
            1 => event.property(key, 1),
            2 => event.property(key, 1.0),
            3 => event.property(key, json!({"b": [0.1, null], "a": "1"})),
            _ => event.property(key, json!({"a": "1", "b": [0.1, null]})),
        };
    }
    if one(dice) {
        let value = [json!("1\n2"), json!({"b": [0.1, null], "a": 1})];
        event = event
            .attach(["a", ""][dice.random_range(0..2)], value[dice.random_range(0..2)].clone());
    }
    if one(dice) && !event.has_property("a") {
        event.add_attribute("a".into(), ["1", "2"][dice.random_range(0..2)].into());
    }
    for _ in 0..dice.random_range(0..3) {
        let name = ["v", "w"][dice.random_range(0..2)];
        event = event.value(name, ["1", "1.0", "0.5"][dice.random_range(0..3)]);
    }
    if one(dice) {
        // The first is the time at which undated events happen here.
        let dates = [
            DateTime::try_from(NOW).expect("in range"),
            date("2016-12-31T23:59:60.500Z"),
            date("2016-12-31T23:59:60.700Z"),
            date("2016-12-31T23:59:59.999999999Z"),
            date("2016-12-31T23:59:59.500Z"),
            date("-0044-03-15T12:00:00Z"),
        ];
        event = event.timestamp(dates[dice.random_range(0..dates.len())]);
    }
    event
}

/// What is told apart in memory is told apart by what is stored, and nothing else.
#[test]
fn requests_are_the_same_as_their_hashes_say() {
    let (mut same, mut different) = (0, 0);
    for seed in 0..60 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let events: Vec<_> = (0..40).map(|_| event(&mut dice)).collect();
        for first in &events {
            let [whole, given] = fingerprint(first);
            for second in &events {
                let other = fingerprint(second);
                let due = whole == other[0] || given == other[1];
                let text = || format!("seed {seed}: {first:?} and {second:?}");
                assert_eq!(is_same(first, second), due, "{}", text());
                if due { same += 1 } else { different += 1 }
            }
        }
    }
    // 2 400 of them are an event and itself.
    assert!(same > 2_900 && different > 5_000, "{same} the same, {different} not");
}

/// An event comes back as it was but for its timestamp, which is the record's.
#[test]
fn what_comes_back_is_what_was_packed() {
    for seed in 0..2_000 {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let event = event(&mut dice);
        let packed = packed(&event);
        let stored = unpacked(&packed.bytes);
        let again = Packed::again(&stored, &ahash::RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!((&again.bytes, again.signature), (&packed.bytes, packed.signature));
        assert_eq!(Packed::unsigned(&event, packed.timestamp, NOW).bytes, packed.bytes);
        let recorded = stored.unpack(EventId::new(1, 2));
        assert_eq!(recorded.decided_at, NOW);
        assert_eq!(recorded.timestamp, event.happened_at().unwrap_or(NOW));
        let mut found = recorded.event;
        if let Some(at) = event.happened_at() {
            found = found.timestamp(at);
        }
        assert_eq!(fingerprint(&found), fingerprint(&event), "{event:?}");
        assert_eq!(found, event);
    }
}

/// How an event was counted is said where it was late, in two bytes where rules were not asked.
#[test]
fn how_an_event_was_counted_comes_back() {
    let event = Event::new("c", "e");
    let late = Timestamp::new(1_600_000_000, 0);
    let plain = Packed::unsigned(&event, late, NOW).bytes.len();
    for (counted, more) in
        [(HowCounted::Asked, 0), (HowCounted::Recorded, 2), (HowCounted::Between, 2)]
    {
        let packed = Packed::counted(&event, late, (NOW, counted));
        let stored = unpacked(&packed.bytes);
        assert_eq!((stored.timestamp(), stored.decided_at()), (late, NOW));
        assert_eq!((stored.counted(), packed.bytes.len()), (counted, plain + more));
        let in_time = Packed::counted(&event, NOW, (NOW, counted));
        assert_eq!(unpacked(&in_time.bytes).counted(), HowCounted::Asked);
    }
    let mut spoilt = Packed::counted(&event, late, (NOW, HowCounted::Recorded)).bytes.clone();
    let at = spoilt.windows(2).position(|it| it == [0, 1]).expect("it is said") + 1;
    spoilt[at] = 9;
    assert!(Stored::decode_all(Reader::new(Version::NEWEST, &spoilt)).is_err());
}

/// A packed event of format 1, whose costs were whole.
#[test]
fn an_event_of_format_1_is_read_as_it_was() {
    type Text<'a> = Option<&'a str>;
    for cost in [None, Some(0), Some(25), Some(u64::MAX)] {
        let texts = ("c", "e", Text::None, Some("openai"));
        let numbers = [Some(1_u64), None, Some(7), cost, Some(9)];
        let (properties, values) = ([("team", (0_u32, "t"))], [("gb", 1_500_000_i128)]);
        let first = ((1_i64, 2_u32), texts, numbers, properties.as_slice(), values.as_slice());
        let bytes = postcard::to_extend(&first, Vec::new()).expect("plain data");
        let stored = Stored::decode_all(Reader::new(Version::One, &bytes)).expect("an event");
        let found = stored.unpack(EventId::new(1, 2)).event;
        let mut due = Event::new("c", "e").provider("openai").input_tokens(1).total_tokens(7);
        due = due.latency_ms(9).property("team", "t").value("gb", "1.5");
        if let Some(cents) = cost {
            due = due.cost_cents(cents);
        }
        assert_eq!(found, due);
    }
}

/// Numbers with a fraction come back to the last digit.
#[test]
fn fractions_are_the_same_to_the_last_digit() {
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..20_000 {
        let number = if dice.random() { dice.random() } else { f64::from_bits(dice.random()) };
        if !f64::is_finite(number) {
            continue;
        }
        let event = Event::new("c", "e").property("n", number);
        assert!(is_same(&event, &event), "{number:e}");
        let packed = packed(&event);
        let stored = unpacked(&packed.bytes);
        assert_eq!(stored.unpack(EventId::new(1, 2)).event, event, "{number:e}");
    }
}
