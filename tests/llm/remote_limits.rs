//! Goal: a call is let in exactly where every response that may be the newest lets it in, in
//! whatever order responses arrive and whatever the provider's clock shows; the wait of a refusal
//! is exact.
//!
//! Method: random calls that overlap, answered late, out of order or never, by headers in each
//! dialect, against a list of all that happened, from which the rule is read off as it is stated:
//! of a limit's responses those hold that are not certainly older than another; each is judged by
//! what remained, or the whole limit from its reset on, less every call that had not ended before
//! its own call started. Then worked numbers, and bounds.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use limitry::Timestamp;
use limitry::llm::{Refill, RemoteCall, RemoteLimits, RemoteReason, Usage};
use limitry::time::ManualClock;
use proptest::prelude::*;

const START: Timestamp = Timestamp::new(1_800_000_000, 250_000_000);
const SECOND: u64 = 1_000_000_000;

/// What a response says of a limit; lengths in milliseconds.
#[derive(Clone, Debug)]
struct Said {
    limit: Option<u64>,
    remaining: u64,
    reset: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Dialect {
    OpenAi,
    /// With a clock that is so many milliseconds ahead of ours.
    Anthropic(i64),
    Draft,
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Start { input: u64, output: u64 },
    Answer { which: prop::sample::Index, dialect: Dialect, said: [Option<Said>; 2] },
    Wait { which: prop::sample::Index, millis: u64 },
    Break(prop::sample::Index),
}

fn said() -> impl Strategy<Value = Option<Said>> {
    let said = (prop::option::of(1_u64..60), 0_u64..60, prop::option::of(0_u64..200_000));
    let said = said.prop_map(|(limit, remaining, reset)| {
        let limit = limit.map(|limit| limit.max(remaining.min(40)));
        Said { limit, remaining, reset }
    });
    prop::option::weighted(0.8, said)
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![
        Just(Dialect::OpenAi),
        (-5_000_000_i64..5_000_000).prop_map(Dialect::Anthropic),
        Just(Dialect::Draft),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        2 => (0_u64..100 * SECOND).prop_map(Step::Pass),
        5 => (0_u64..12, 0_u64..12).prop_map(|(input, output)| Step::Start { input, output }),
        4 => (which(), dialect(), said(), said()).prop_map(|(which, dialect, a, b)| {
            Step::Answer { which, dialect, said: [a, b] }
        }),
        1 => (which(), 0_u64..90_000).prop_map(|(which, millis)| Step::Wait { which, millis }),
        1 => which().prop_map(Step::Break),
    ]
}

/// A response's word on a limit, by our clock in nanoseconds.
#[derive(Clone, Debug)]
struct Reading {
    received: u64,
    until: u64,
    forgotten: u64,
    limit: Option<u64>,
    remaining: u64,
}

/// A call as the list has it: when it started and ended among all that happened, what it takes of
/// requests and tokens, and what was read.
#[derive(Clone, Debug)]
struct Call {
    started: usize,
    ended: Option<usize>,
    takes: [u64; 2],
    read: [Option<Reading>; 2],
}

#[derive(Default)]
struct Naive {
    calls: Vec<Call>,
    happened: usize,
    blocked_until: u64,
}

impl Naive {
    fn next(&mut self) -> usize {
        self.happened += 1;
        self.happened
    }

    /// Whether a call that takes so much fits at this instant, where nothing happens until then.
    fn fits(&self, takes: [u64; 2], at: u64, refill: Refill) -> bool {
        at >= self.blocked_until
            && (0..2).all(|limit| {
                takes[limit] == 0
                    || self.calls.iter().enumerate().all(|(own, call)| {
                        call.read[limit].as_ref().is_none_or(|reading| {
                            let is_older = |other: &Call| {
                                other.read[limit].is_some() && Some(other.started) > call.ended
                            };
                            at >= reading.forgotten
                                || self.calls.iter().any(is_older)
                                || self.not_counted(own, limit) + u128::from(takes[limit])
                                    <= lets_in(reading, at, refill)
                        })
                    })
            })
    }

    /// What all calls take that a reading need not count.
    fn not_counted(&self, own: usize, limit: usize) -> u128 {
        let started = self.calls[own].started;
        let others = self.calls.iter().enumerate().filter(|(place, call)| {
            *place != own && call.ended.is_none_or(|ended| ended > started)
        });
        others.map(|(_, call)| u128::from(call.takes[limit])).sum()
    }
}

fn lets_in(reading: &Reading, at: u64, refill: Refill) -> u128 {
    let remaining = u128::from(reading.remaining);
    let whole = reading.limit.map_or(remaining, |limit| remaining.max(limit.into()));
    if at >= reading.until {
        return whole;
    }
    if refill == Refill::AtReset {
        return remaining;
    }
    let (span, gone) = (reading.until - reading.received, at - reading.received);
    remaining + (whole - remaining) * u128::from(gone) / u128::from(span)
}

fn http_date(at: Timestamp) -> String {
    let date = DateTime::<Utc>::try_from(at).expect("a date");
    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn ahead(at: Timestamp, millis: i64) -> Timestamp {
    let by = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { at - by } else { at + by }
}

/// The headers of a response, and what they say by our clock.
fn answer(
    dialect: Dialect,
    said: &[Option<Said>; 2],
    now: u64,
) -> (Vec<(String, String)>, [Option<Reading>; 2]) {
    let mut headers = Vec::new();
    let mut read = [None, None];
    let theirs = |millis| ahead(START + Duration::from_nanos(now), millis);
    if let Dialect::Anthropic(millis) = dialect {
        headers.push(("Date".to_owned(), http_date(theirs(millis))));
    }
    for (place, name) in ["requests", "tokens"].into_iter().enumerate() {
        let Some(Said { limit, remaining, reset }) = said[place].clone() else { continue };
        let mut length = reset.map(|millis| millis * 1_000_000);
        match dialect {
            Dialect::OpenAi => {
                let mut push = |part: &str, value: String| {
                    headers.push((format!("X-RateLimit-{part}-{name}"), value));
                };
                limit.into_iter().for_each(|limit| push("Limit", limit.to_string()));
                push("Remaining", remaining.to_string());
                reset.into_iter().for_each(|millis| {
                    push("Reset", format!("{}m{}ms", millis / 60_000, millis % 60_000));
                });
            }
            Dialect::Anthropic(skew) => {
                let mut push = |part: &str, value: String| {
                    headers.push((format!("anthropic-ratelimit-{name}-{part}"), value));
                };
                limit.into_iter().for_each(|limit| push("limit", limit.to_string()));
                push("remaining", remaining.to_string());
                let theirs = theirs(skew);
                if let Some(nanos) = length {
                    push("reset", (theirs + Duration::from_nanos(nanos)).to_string());
                }
                // A date is whole seconds.
                length = length.map(|nanos| nanos + u64::from(theirs.subsec_nanos()));
            }
            Dialect::Draft => {
                length = length.map(|nanos| nanos / SECOND * SECOND);
                let t = length.map(|nanos| format!(";t={}", nanos / SECOND)).unwrap_or_default();
                headers.push(("RateLimit".to_owned(), format!("\"{name}\";r={remaining}{t}")));
                if let Some(limit) = limit {
                    let policy = format!("\"{name}\";q={limit};qu=\"{name}\"");
                    headers.push(("RateLimit-Policy".to_owned(), policy));
                }
            }
        }
        // In the draft a policy names the unit.
        if matches!(dialect, Dialect::Draft) && limit.is_none() && name == "tokens" {
            headers.retain(|(_, value)| !value.starts_with("\"tokens\";r="));
            continue;
        }
        let length = length.unwrap_or(60 * SECOND);
        let until = now + length;
        let forgotten = until + limit.map_or(0, |_| length.max(60 * SECOND));
        read[place] = Some(Reading { received: now, until, forgotten, limit, remaining });
    }
    (headers, read)
}

fn run(steps: Vec<Step>, refill: Refill, exactly: bool) {
    let clock = Arc::new(ManualClock::new(START));
    let limits = RemoteLimits::with_clock(Arc::clone(&clock)).refill(refill);
    let mut naive = Naive::default();
    let mut now = 0_u64;
    let mut in_flight: Vec<(usize, RemoteCall)> = Vec::new();
    for step in steps {
        match step {
            Step::Pass(nanos) => {
                clock.advance(Duration::from_nanos(nanos));
                now += nanos;
            }
            Step::Start { input, output } => {
                let takes = [1, input + output];
                let fits = naive.fits(takes, now, refill);
                match limits.start("key", &Usage::estimated(input, output)) {
                    Ok(call) => {
                        assert!(fits, "let in, and the newest does not: {:?}", naive.calls);
                        let started = naive.next();
                        let read = [None, None];
                        naive.calls.push(Call { started, ended: None, takes, read });
                        in_flight.push((naive.calls.len() - 1, call));
                    }
                    Err(why) if exactly => {
                        assert!(!fits, "{why}: {:?}", naive.calls);
                        let wait = why.retry_after.expect("a wait will do").as_nanos();
                        let at = now + u64::try_from(wait).expect("a wait");
                        assert!(naive.fits(takes, at, refill), "{why}: {:?}", naive.calls);
                        assert!(!naive.fits(takes, at - 1, refill), "{why}: {:?}", naive.calls);
                    }
                    Err(_) => {}
                }
            }
            Step::Answer { which, dialect, said } if !in_flight.is_empty() => {
                let (place, call) = in_flight.swap_remove(which.index(in_flight.len()));
                let (headers, read) = answer(dialect, &said, now);
                call.answered(200, headers).expect("documented headers");
                naive.calls[place].ended = Some(naive.next());
                naive.calls[place].read = read;
            }
            Step::Wait { which, millis } if !in_flight.is_empty() => {
                let (place, call) = in_flight.swap_remove(which.index(in_flight.len()));
                call.answered(429, [("Retry-After-Ms", millis.to_string())]).expect("a wait");
                naive.calls[place].ended = Some(naive.next());
                naive.blocked_until = naive.blocked_until.max(now + millis * 1_000_000);
            }
            Step::Break(which) if !in_flight.is_empty() => {
                let (place, call) = in_flight.swap_remove(which.index(in_flight.len()));
                drop(call);
                naive.calls[place].ended = Some(naive.next());
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_call_is_let_in_where_every_response_that_may_be_the_newest_does(
        steps in prop::collection::vec(step(), 0..60),
        refill in prop_oneof![Just(Refill::AtReset), Just(Refill::Continuous)],
    ) {
        run(steps, refill, true);
    }

    /// More responses overlap than are kept.
    #[test]
    fn what_is_kept_of_many_responses_is_as_strict_as_all_of_them(
        first in any::<prop::sample::Index>(),
        calls in 33_usize..60,
        answers in prop::collection::vec((dialect(), said(), said()), 60),
        then in prop::collection::vec(step(), 30),
        refill in prop_oneof![Just(Refill::AtReset), Just(Refill::Continuous)],
    ) {
        let start = Step::Start { input: 1, output: 1 };
        let mut steps = vec![start; calls];
        for (dialect, a, b) in answers.into_iter().take(calls) {
            steps.push(Step::Answer { which: first, dialect, said: [a, b] });
            steps.push(Step::Pass(SECOND));
        }
        run(steps.into_iter().chain(then).collect(), refill, false);
    }
}

fn at_noon() -> (Arc<ManualClock>, RemoteLimits) {
    let clock = Arc::new(ManualClock::new(START));
    (Arc::clone(&clock), RemoteLimits::with_clock(clock))
}

fn tokens(remaining: &'static str, reset: &'static str) -> [(&'static str, &'static str); 3] {
    [
        ("x-ratelimit-limit-tokens", "30000"),
        ("x-ratelimit-remaining-tokens", remaining),
        ("x-ratelimit-reset-tokens", reset),
    ]
}

#[test]
fn what_remains_is_let_in_and_the_rest_waits_for_the_reset() {
    let (clock, limits) = at_noon();
    let estimate = Usage::estimated(1_000, 500);
    limits.start("k", &estimate).unwrap().answered(200, tokens("4000", "6m0s")).unwrap();
    // 4000 let in two, and not a third; it is told what is left.
    let two = [limits.start("k", &estimate).unwrap(), limits.start("k", &estimate).unwrap()];
    let why = limits.start("k", &estimate).unwrap_err();
    assert_eq!(why.retry_after, Some(Duration::from_secs(360)));
    assert_eq!(why.to_string(), "k: tokens: 1500 asked, 1000 left, for 360s");
    let small = limits.start("k", &Usage::estimated(600, 400)).unwrap();
    assert_eq!(limits.standing("k").limits[0].left, 0);
    clock.advance(Duration::from_secs(360));
    // The whole limit, without the three whose answers nobody has seen.
    let why = limits.start("k", &Usage::estimated(26_001, 0)).unwrap_err();
    assert!(matches!(why.reason, RemoteReason::Limit { left: 26_000, .. }), "{why:?}");
    assert!(limits.start("k", &Usage::estimated(26_000, 0)).is_ok());
    drop((two, small));
}

#[test]
fn a_token_bucket_comes_back_evenly() {
    let (clock, limits) = at_noon();
    let limits = limits.refill(Refill::Continuous);
    let call = limits.start("k", &Usage::estimated(1, 0)).unwrap();
    call.answered(200, tokens("0", "60s")).unwrap();
    // 500 a second.
    let why = limits.start("k", &Usage::estimated(1_250, 0)).unwrap_err();
    assert_eq!(why.retry_after, Some(Duration::from_millis(2_500)));
    clock.advance(Duration::from_millis(2_500));
    assert!(limits.start("k", &Usage::estimated(1_250, 0)).is_ok());
    assert!(limits.start("k", &Usage::estimated(1, 0)).is_err());
}

#[test]
fn an_older_response_that_arrives_later_replaces_nothing() {
    let (_, limits) = at_noon();
    let one = Usage::estimated(100, 0);
    let (slow, quick) = (limits.start("k", &one).unwrap(), limits.start("k", &one).unwrap());
    quick.answered(200, tokens("150", "60s")).unwrap();
    // The slow one was seen before the quick one was: it knows of more room.
    slow.answered(200, tokens("20000", "60s")).unwrap();
    // The slow one was in flight, so that the quick one's response need not count it.
    assert_eq!(limits.standing("k").limits[0].left, 50);
    // What starts now is seen after both.
    limits
        .start("k", &Usage::estimated(50, 0))
        .unwrap()
        .answered(200, tokens("300", "60s"))
        .unwrap();
    assert_eq!(limits.standing("k").limits[0].left, 300);
}

#[test]
fn nothing_is_sent_before_the_provider_lets_it_be_retried() {
    for (status, headers, wait) in [
        (429, vec![("retry-after", "7")], Some(7_000)),
        (529, vec![("Retry-After", "1.5")], Some(1_500)),
        (503, vec![("retry-after", "20"), ("retry-after-ms", "19200")], Some(19_200)),
        (
            429,
            // Its clock is years behind ours.
            vec![
                ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
                ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"),
            ],
            Some(30_000),
        ),
        (200, vec![("retry-after", "7")], None),
        (429, vec![("x-other", "7")], None),
    ] {
        let (clock, limits) = at_noon();
        let one = Usage::estimated(1, 1);
        let earlier = limits.start("k", &one).unwrap();
        limits.start("k", &one).unwrap().answered(status, headers.clone()).unwrap();
        // A success of before does not open it.
        earlier.answered(200, tokens("20000", "1s")).unwrap();
        let refused = limits.start("k", &one).err();
        let millis = refused.as_ref().and_then(|why| why.retry_after).map(|wait| wait.as_millis());
        assert_eq!(millis, wait, "{status} {headers:?} {refused:?}");
        if let Some(why) = refused {
            assert_eq!(why.reason, RemoteReason::Blocked);
            clock.advance(why.retry_after.unwrap() - Duration::from_nanos(1));
            assert!(limits.start("k", &one).is_err());
            clock.advance(Duration::from_nanos(1));
            assert!(limits.start("k", &one).is_ok());
        }
    }
}

#[test]
fn every_providers_headers_are_read() {
    let read = |headers: &[(&str, &str)]| {
        let (_, limits) = at_noon();
        let call = limits.start("k", &Usage::estimated(1, 1)).unwrap();
        call.answered(200, headers.iter().copied()).unwrap();
        let mut limits = limits.standing("k").limits;
        limits.sort_by(|a, b| a.name.cmp(&b.name));
        let all = limits.into_iter();
        let all =
            all.map(|it| (it.name.into(), it.limit, it.left, (it.resets_at - START).as_millis()));
        all.collect::<Vec<(String, Option<u64>, u64, u128)>>()
    };
    let row =
        |name: &str, limit: u64, left: u64, millis| (name.to_owned(), Some(limit), left, millis);
    // OpenAI, by its guide.
    let openai = [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-limit-tokens", "150,000"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    let both = [row("requests", 60, 59, 1_000), row("tokens", 150_000, 149_984, 360_000)];
    assert_eq!(read(&openai), both);
    // Azure: seconds, and what it does not know.
    let azure = [
        ("x-ratelimit-limit-tokens", "0"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "-1"),
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "10"),
    ];
    assert_eq!(read(&azure), [row("requests", 60, 59, 10_000)]);
    // Anthropic: its clock is an hour ahead. The date was whole seconds ago.
    let anthropic = [
        ("anthropic-ratelimit-input-tokens-limit", "50000"),
        ("anthropic-ratelimit-input-tokens-remaining", "48000"),
        ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T09:00:03.4Z"),
        ("anthropic-priority-input-tokens-remaining", "0"),
        ("date", "Fri, 15 Jan 2027 09:00:00 GMT"),
    ];
    assert_eq!(read(&anthropic), [row("input-tokens", 50_000, 48_000, 3_400)]);
    // The draft: two lists, and a unit.
    let draft = [
        ("RateLimit-Policy", "\"burst\";q=100;w=60, \"day\";q=90000;qu=\"output_tokens\";w=86400"),
        ("RateLimit", "\"burst\";r=50;t=30,\"day\";r=80000"),
    ];
    assert_eq!(
        read(&draft),
        [row("burst", 100, 50, 30_000), row("day", 90_000, 80_000, 86_400_000)]
    );
    // Mistral: no reset, and a minute by its name.
    let mistral = [
        ("x-ratelimit-limit-tokens-minute", "500000"),
        ("x-ratelimit-remaining-tokens-minute", "7"),
    ];
    assert_eq!(read(&mistral), [row("tokens-minute", 500_000, 7, 60_000)]);
}

#[test]
fn the_deployment_with_most_room_is_named() {
    let (_, limits) = at_noon();
    let one = Usage::estimated(1_000, 0);
    for (key, remaining) in [("a", "9000"), ("b", "15000"), ("c", "500")] {
        limits.start(key, &one).unwrap().answered(200, tokens(remaining, "60s")).unwrap();
    }
    let names = ["a", "b", "c"];
    let mut taken = Vec::new();
    while let Ok(call) = limits.start_any(names, &one) {
        taken.push(call.deployment().to_owned());
        drop(call);
    }
    // Six times b, until as much is left there as at a; then in turns.
    assert_eq!(taken[..6], ["b", "b", "b", "b", "b", "b"]);
    assert_eq!((taken.len(), taken.iter().filter(|name| *name == "a").count()), (24, 9));
    // A key of which nothing is known has all its room.
    assert_eq!(limits.start_any(["a", "new"], &one).unwrap().deployment(), "new");
    // Of many that wait the first to have room is named, whoever is last.
    let call = limits.start("d", &one).unwrap();
    call.answered(200, tokens("0", "20s")).unwrap();
    let why = limits.start_any(["a", "d", "b"], &one).unwrap_err();
    assert_eq!((&*why.deployment, why.retry_after), ("d", Some(Duration::from_secs(20))));
    let why = limits.start_any([], &one).unwrap_err();
    assert_eq!((why.reason, why.retry_after), (RemoteReason::NoDeployment, None));
}

#[test]
fn a_call_larger_than_the_limit_says_so_and_finds_out_whether_it_was_raised() {
    let (clock, limits) = at_noon();
    let call = limits.start("k", &Usage::estimated(1, 0)).unwrap();
    call.answered(200, tokens("30000", "1s")).unwrap();
    let large = Usage::estimated(30_000, 1);
    let why = limits.start("k", &large).unwrap_err();
    let RemoteReason::Limit { asked, limit, .. } = why.reason else { panic!("{why:?}") };
    assert_eq!((asked, limit), (30_001, Some(30_000)));
    assert_eq!(why.retry_after, Some(Duration::from_secs(61)));
    clock.advance(Duration::from_secs(61));
    assert!(limits.start("k", &large).is_ok());
}

#[test]
fn a_clock_that_is_set_back_opens_nothing() {
    let (clock, limits) = at_noon();
    limits.start("k", &Usage::estimated(1, 0)).unwrap().answered(200, tokens("0", "60s")).unwrap();
    clock.set(START - Duration::from_secs(3_600));
    let why = limits.start("k", &Usage::estimated(1, 0)).unwrap_err();
    assert_eq!(why.retry_after, Some(Duration::from_secs(60)));
    clock.set(START + Duration::from_secs(60));
    assert!(limits.start("k", &Usage::estimated(1, 0)).is_ok());
}

#[test]
fn what_is_kept_is_bounded() {
    let (clock, limits) = at_noon();
    let one = Usage::estimated(1, 0);
    let calls: Vec<_> =
        (0..4_096).map(|key| limits.start(&format!("{key}"), &one).unwrap()).collect();
    let why = limits.start("another", &one).unwrap_err();
    assert!(matches!(why.reason, RemoteReason::TooManyDeployments { most: 4_096, .. }), "{why}");
    assert!(limits.start("7", &one).is_ok());
    // Those without a call in flight and a limit make room.
    drop(calls);
    assert!(limits.start("another", &one).is_ok());
    // More limits than a provider has.
    let named = |from: u32| {
        let headers = (from..from + 32)
            .map(|number| (format!("x-ratelimit-remaining-thing{number}"), "5".to_owned()));
        headers.collect::<Vec<_>>()
    };
    limits.start("another", &one).unwrap().answered(200, named(0)).unwrap();
    let why = limits.start("another", &one).unwrap().answered(200, named(32)).unwrap_err();
    assert!(why.to_string().contains("at most 32 limits"), "{why}");
    assert_eq!(limits.standing("another").limits.len(), 32);
    clock.advance(Duration::from_secs(61));
    limits.start("another", &one).unwrap().answered(200, named(32)).unwrap();
    limits.forget("another");
    assert!(limits.standing("another").limits.is_empty());
}
