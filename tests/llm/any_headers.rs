//! Goal: no header makes the mirror panic; what is wrong is an error that names the header, and
//! what the others say holds all the same.
//!
//! Method: random names and values, most of them close to documented ones, at random times; then
//! one wrong header of each kind.

use std::sync::Arc;
use std::time::Duration;

use limitry::Timestamp;
use limitry::llm::{RemoteLimits, Usage};
use limitry::time::ManualClock;
use proptest::prelude::*;

const NAMES: [&str; 16] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "X-RateLimit-Limit-Tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "retry-after-ms",
    "Date",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
        1 => "(x-ratelimit-|anthropic-ratelimit-)?[a-z-]{0,12}(limit|remaining|reset)?\\PC?",
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        3 => "[0-9]{0,4}",
        1 => "[0-9]{15,45}",
        2 => "([0-9]{1,4}(\\.[0-9]{1,10})?(d|h|m|s|ms|us|ns|x)){0,4}",
        2 => "(\"[a-z]{0,3}\"|[a-z]*)(; ?(q|r|t|w|qu|pk)=[0-9a-z\"-]{0,4}){0,5}(,|, )?",
        1 => "20[0-9]{2}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:00:0[0-9](Z|\\+0[0-9]:00)",
        1 => "(Wed|Fri), [0-3][0-9] (Oct|Jan) 20[0-9]{2} 07:28:00 GMT",
        1 => "[-+.,0-9e]{0,6}",
        1 => "\\PC{0,12}",
    ];
    prop_oneof![
        9 => text.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

proptest! {
    #[test]
    fn any_headers_are_read_or_named(
        answers in prop::collection::vec(
            (prop::collection::vec((name(), value()), 0..12), any::<u16>(), any::<u64>()), 1..6),
        start in prop_oneof![Just(0_i64), Just(i64::MIN), Just(i64::MAX), any::<i64>()],
    ) {
        let clock = Arc::new(ManualClock::new(Timestamp::new(start, 0)));
        let limits = RemoteLimits::with_clock(Arc::clone(&clock));
        let huge = Usage::estimated(u64::MAX, u64::MAX);
        for (headers, status, nanos) in answers {
            for estimate in [&Usage::default(), &huge] {
                let Ok(call) = limits.start("k", estimate) else { continue };
                let names: Vec<String> =
                    headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
                if let Err(why) = call.answered(status, headers.iter().map(|(n, v)| (n, v))) {
                    prop_assert!(names.iter().any(|name| **name == *why.header), "{why}");
                    prop_assert!(why.to_string().len() < 600, "{why}");
                }
            }
            let standing = limits.standing("k");
            prop_assert!(standing.limits.len() <= 32);
            clock.advance(Duration::from_nanos(nanos));
        }
    }
}

#[test]
fn one_wrong_header_is_named_and_takes_its_limit_with_it_alone() {
    for (header, value, error) in [
        ("x-ratelimit-remaining-requests", "many", "must be a whole number from 0"),
        ("x-ratelimit-reset-requests", "tomorrow", "must be a time of at most 366 days"),
        ("anthropic-ratelimit-requests-limit", "-5", "must be a whole number from 0"),
        ("retry-after", "a while", "must be seconds"),
        ("retry-after-ms", "-1", "must be milliseconds"),
        ("ratelimit", "\"a", "must be a list"),
        ("ratelimit", "\"a\";t=5", "must have a parameter r"),
        ("ratelimit", "\"a\";r=-5", "must be a whole number from 0"),
        ("ratelimit", "\"a\";r=5;t=soon", "must be seconds"),
        ("date", "today", "must be a date"),
    ] {
        let limits = RemoteLimits::new();
        let call = limits.start("k", &Usage::estimated(1, 1)).unwrap();
        let headers = [
            ("x-ratelimit-remaining-requests", "5"),
            (header, value),
            ("x-ratelimit-remaining-tokens", "40"),
        ];
        let why = call.answered(200, headers).unwrap_err();
        assert_eq!((&*why.header, &*why.value == value || header == "ratelimit"), (header, true));
        assert!(why.reason.starts_with(error), "{why}");
        let left: Vec<_> = limits.standing("k").limits.into_iter().map(|it| it.name).collect();
        let is_of_requests = header.contains("requests");
        assert_eq!(left.len(), if is_of_requests { 1 } else { 2 }, "{header}: {left:?}");
        assert!(left.iter().any(|name| &**name == "tokens"));
    }
    let limits = RemoteLimits::new();
    let call = limits.start("k", &Usage::estimated(1, 1)).unwrap();
    let why = call.answered(200, [("X-RateLimit-Remaining-Tokens", [0xff, 0xfe])]).unwrap_err();
    assert_eq!(
        (&*why.header, why.reason.contains("a text")),
        ("x-ratelimit-remaining-tokens", true)
    );
}
