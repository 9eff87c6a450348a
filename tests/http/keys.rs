//! Goal: how long it takes to refuse a wrong key tells nothing of any key.
//!
//! Method: `.ci/wrong_keys` counts the instructions below `opens` in these tests, which differ in
//! the key alone. Here they only refuse.

use std::hint::black_box;

use limitry::Timestamp;
use limitry::http::{ApiKey, ApiKeys};

const KNOWN: &str = "lm_0123456789abcdefghijABCDEFGHIJxy";

/// A list with that key in the middle of others.
fn known() -> ApiKeys {
    let mut keys: Vec<String> =
        (0..20).map(|number| format!("lm_of_another_{number:020}")).collect();
    keys.insert(10, KNOWN.to_owned());
    keys.iter().fold(ApiKeys::new(), |list, key| {
        list.with(ApiKey::new(key, "proj").expect("a key of the first generation"))
    })
}

#[inline(never)]
fn opens(keys: &ApiKeys, key: &str) -> bool {
    keys.open(black_box(key), Timestamp::new(1_700_000_000, 0)).is_some()
}

fn refused(key: &str) {
    assert_eq!(key.len(), KNOWN.len());
    let keys = known();
    for _ in 0..100 {
        assert!(!opens(&keys, key));
    }
}

#[test]
fn a_wrong_key_that_shares_all_but_its_last_character() {
    refused("lm_0123456789abcdefghijABCDEFGHIJxz");
}

#[test]
fn a_wrong_key_that_shares_no_character() {
    refused("9zZYXWVUTSRQPONMLKJabcdefghijklmnop");
}

#[test]
fn the_known_one_opens_and_one_that_is_too_long_is_refused_unhashed() {
    let keys = known();
    assert!(opens(&keys, KNOWN));
    assert!(!opens(&keys, &KNOWN.repeat(8)));
}
