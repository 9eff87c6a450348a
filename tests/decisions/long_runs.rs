//! Goal: arithmetic is exact for ever. No rate drifts, however often it is asked and whatever it
//! is, no idle time overflows or overfills anything, and no clock mints.
//!
//! Method: polls by the hundred thousand on a manual clock, against the number that the
//! definition gives in whole numbers. The forms that poll every few milliseconds for days poll
//! densely around the instants that matter and coarsely between them; `LIMITRY_LONG=1` polls all
//! the way.

use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, MILLISECOND, MINUTE, Nanos, SECOND};
use crate::support::{START, date, duration, engine, engine_at, long};
use limitry::rules::Algorithm;
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};

/// Midnight before [`START`].
const MIDNIGHT: Nanos = START - 10 * HOUR - 30 * MINUTE;

fn passes(engine: &Engine, event: &Event<'_>) -> bool {
    engine.track(event).expect("the event is valid").is_allowed()
}

/// Polls once at each multiple of `step` from 0 to before `length` and returns how many passed.
/// Unless the long form is asked for, polls far from any multiple of `period`, where nothing can
/// change, are thinned out to one in `SPARSE`.
fn polls(engine: &Engine, clock: &ManualClock, step: Nanos, length: Nanos, period: Nanos) -> u64 {
    const NEAR: u64 = 2_000;
    const SPARSE: u64 = 5_000;
    let whole = |length: Nanos| u64::try_from(length).expect("a length fits");
    let (step, length, period, all) = (whole(step), whole(length), whole(period), long());
    let event = Event::new("x", "call");
    let (mut passed, mut instant) = (0, 0);
    for poll in 0..length.div_ceil(step) {
        let phase = (poll * step) % period;
        let near = phase.min(period - phase) <= NEAR * step;
        if all || near || poll % SPARSE == 0 {
            clock.advance(Duration::from_nanos(poll * step - instant));
            instant = poll * step;
            passed += u64::from(passes(engine, &event));
        }
    }
    clock.advance(Duration::from_nanos(length - instant));
    passed
}

fn ten_a_day() -> RateLimit {
    RateLimit::new("ten a day", 10, Window::every(Duration::from_secs(86_400)))
}

/// The bug of a peer that dropped remainders granted 57 % of these.
#[test]
fn ten_a_day_polled_every_15_ms_for_three_days_is_thirty() {
    // A token comes every 2.4 hours.
    let token = 144 * MINUTE;
    let step = 15 * MILLISECOND;
    let granted = |rule: RateLimit| {
        let (engine, clock) = engine_at(MIDNIGHT, |builder| builder.rate_limit(rule));
        polls(&engine, &clock, step, 3 * DAY, token)
    };
    assert_eq!(granted(ten_a_day().burst(1)), 30);
    // A bucket that starts full gives what it holds and then the same rate, less the one that
    // comes at the very end of the third day.
    assert_eq!(granted(ten_a_day()), 10 + 29);
    assert_eq!(granted(ten_a_day().algorithm(Algorithm::FixedWindow)), 30);
    assert_eq!(granted(ten_a_day().algorithm(Algorithm::SlidingWindow)), 30);
    let quota = Quota::new("ten a day", Metric::TotalEvents, 10, Period::Day);
    let (engine, clock) = engine_at(MIDNIGHT, |builder| builder.quota(quota));
    assert_eq!(polls(&engine, &clock, step, 3 * DAY, DAY), 30);
    let quota = Quota::new("ten a day", Metric::TotalEvents, 10, Period::rolling(duration(DAY)));
    let (engine, clock) = engine_at(MIDNIGHT, |builder| builder.quota(quota));
    assert_eq!(polls(&engine, &clock, step, 3 * DAY, DAY), 30);
}

/// A day is no multiple of 170 ms: each token waits for the next poll, and is not lost.
#[test]
fn one_a_day_polled_every_170_ms_comes_every_day() {
    let (engine, clock) = engine_at(MIDNIGHT, |builder| {
        builder.rate_limit(RateLimit::new("r", 1, Window::every(Duration::from_secs(86_400))))
    });
    let granted = polls(&engine, &clock, 170 * MILLISECOND, 30 * DAY, DAY);
    assert_eq!(granted, 30);
}

/// Three a second is a token every 333 333 333 and a third nanoseconds.
#[test]
fn three_a_second_for_a_day_is_exact() {
    let (engine, clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 3, Window::Second)));
    let event = Event::new("x", "call");
    // Just below a third of a second, so that every remainder matters.
    let step = if long() { 7_000_003 } else { 333_333_331 };
    let mut passed: i128 = 0;
    let mut elapsed: Nanos = 0;
    while elapsed < DAY {
        while passes(&engine, &event) {
            passed += 1;
        }
        assert_eq!(passed, 3 + 3 * elapsed / SECOND, "after {elapsed} ns");
        clock.advance(duration(step));
        elapsed += step;
    }
}

/// The largest burst of which one more than is there can still be asked for.
const LARGEST: u64 = 999_999_999_999_999;

/// Drains what is there at odd instants: all that was ever granted is capacity + rate * time.
fn drained_to_the_unit(limit: u64, window: Nanos, burst: u64, steps: &[Nanos], turns: usize) {
    let rule = RateLimit::new("r", limit, Window::every(duration(window)))
        .burst(burst)
        .metric(Metric::TotalTokens);
    let (engine, clock) = engine(|builder| builder.rate_limit(rule));
    let (mut granted, mut elapsed): (i128, Nanos) = (0, 0);
    for turn in 0..turns {
        let standing = engine.standing(&Event::new("x", "call")).expect("valid");
        let left = standing.rate_limits().next().expect("the rule applies").remaining;
        let left = left.to_u64_floor();
        let whole = Event::new("x", "call").total_tokens(left);
        let more = Event::new("x", "call").total_tokens(left + 1);
        assert!(!passes(&engine, &more), "{limit} in {window} ns: one more than is left");
        assert!(passes(&engine, &whole), "{limit} in {window} ns: what is left");
        granted += i128::from(left);
        let due = i128::from(burst) + elapsed * i128::from(limit) / window;
        assert_eq!(granted, due, "{limit} in {window} ns, after {elapsed} ns");
        let step = steps[turn % steps.len()];
        clock.advance(duration(step));
        elapsed += step;
    }
}

#[test]
fn rates_that_do_not_divide_a_second_are_exact() {
    let steps = [1, 999_999_999, 142_857_142, 3, 77_777_777, 1_000_000_007];
    let turns = 60_000;
    drained_to_the_unit(7, SECOND, 100, &steps, turns);
    drained_to_the_unit(9_999_991, SECOND, 20_000_000, &steps, turns);
    drained_to_the_unit(1_000_000_007, SECOND, 2_000_000_100, &steps, turns);
    drained_to_the_unit(700_000_001, SECOND, 1_400_000_100, &steps, turns);
    drained_to_the_unit(123_456_789_012_347, SECOND, 1 << 49, &steps, turns);
    drained_to_the_unit(999_999_999_999_989, HOUR, 1 << 49, &steps, turns);
    drained_to_the_unit(11, 13, 1 << 40, &[1, 2, 3, 5, 12, 13, 14], turns);
    drained_to_the_unit(1, 100 * 365 * DAY, 5, &[DAY, 365 * DAY, 1], 100);
    drained_to_the_unit(LARGEST, 100 * 365 * DAY, LARGEST, &[DAY, 1, 9_999_999_999], 1_000);
}

/// After any idle time a bucket of ten admits ten, and not one more.
#[test]
fn a_bucket_of_ten_admits_ten_after_any_idle_time() {
    let event = Event::new("x", "call");
    let mut idle_times: Vec<Nanos> = vec![0, 1, 2, SECOND - 1, SECOND, SECOND + 1, 10 * SECOND];
    idle_times.extend([10 * SECOND + 1, MINUTE, HOUR, DAY, 365 * DAY, 99 * 365 * DAY]);
    idle_times.extend((0..40).map(|power| 1_i128 << power));
    for &idle in &idle_times {
        let (engine, clock) =
            engine(|builder| builder.rate_limit(RateLimit::new("r", 10, Window::Second)));
        for used in [0_i128, 1, 9, 10] {
            for _ in 0..used {
                assert!(passes(&engine, &event), "ten after a full refill");
            }
            clock.advance(duration(idle));
            let refilled = (10 * idle).div_euclid(SECOND);
            let due = (10 - used + refilled).min(10);
            let mut burst = 0;
            while passes(&engine, &event) {
                burst += 1;
            }
            assert_eq!(burst, due, "{used} used, then idle for {idle} ns");
            clock.advance(Duration::from_secs(3_600));
        }
    }
}

/// A year, and decades, of idling overflow nothing, in any kind of counter.
#[test]
fn a_long_idle_time_overflows_nothing() {
    let every = |length: Nanos| Window::every(duration(length));
    let algorithms = [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];
    for algorithm in algorithms {
        for (limit, window) in [
            (1, 365 * DAY),
            (1, 100 * 365 * DAY),
            (1_000_000_000, SECOND),
            (1_000_000_000, 1),
            (1_000_000_000_000_000, 1),
            (1_000_000_000_000_000, SECOND),
            (1_000_000_000_000_000, 100 * 365 * DAY),
        ] {
            let rule = RateLimit::new("r", limit, every(window))
                .algorithm(algorithm)
                .metric(Metric::TotalTokens);
            let (engine, clock) = engine(|builder| builder.rate_limit(rule));
            let label = format!("{algorithm:?} of {limit} in {window} ns");
            for idle in [365 * DAY, 101 * 365 * DAY, 0] {
                let all = Event::new("x", "call").total_tokens(limit);
                let one = Event::new("x", "call").total_tokens(1);
                assert!(passes(&engine, &all), "{label}: the whole of it");
                assert!(!passes(&engine, &one), "{label}: no more than that");
                clock.advance(duration(idle.max(2 * window)));
            }
        }
    }
}

#[test]
fn a_calendar_far_from_now_is_a_calendar_still() {
    let (engine, clock) = engine(|builder| {
        builder.quota(Quota::new("day", Metric::TotalEvents, 1, Period::Day)).quota(Quota::new(
            "year",
            Metric::TotalEvents,
            400,
            Period::Year,
        ))
    });
    let event = Event::new("x", "call");
    for _ in 0..300 {
        assert!(passes(&engine, &event));
        assert!(!passes(&engine, &event));
        clock.advance(duration(366 * DAY));
    }
}

/// A clock that is set back mints nothing and refunds nothing: the engine's time goes on from where
/// it was, at the clock's pace.
#[test]
fn a_clock_that_runs_back_mints_nothing() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, clock) = engine(|builder| {
            builder
                .rate_limit(RateLimit::new("r", 10, Window::Minute).algorithm(algorithm))
                .quota(Quota::new("q", Metric::TotalEvents, 25, Period::Hour))
        });
        let event = Event::new("x", "call");
        let drain = || {
            let mut drained = 0;
            while passes(&engine, &event) {
                drained += 1;
            }
            drained
        };
        let now = || i128::from(engine.now().unix_seconds()) * SECOND;
        assert_eq!(drain(), 10, "{algorithm:?}");
        // Further back each time: nothing has passed.
        for back in [1, SECOND, MINUTE, HOUR, DAY, 40 * DAY, 30 * 365 * DAY] {
            clock.set(date(START - back));
            assert_eq!(drain(), 0, "{algorithm:?}, {back} ns back");
            assert_eq!(now(), START);
        }
        clock.advance(duration(2 * MINUTE));
        assert_eq!(now(), START + 2 * MINUTE, "{algorithm:?}: it goes on at once");
        assert_eq!(drain(), 10, "{algorithm:?}, two minutes on");
        // The quota of 25 has five left, and going back opens no window again.
        clock.set(date(START - 31 * 365 * DAY));
        assert_eq!(drain(), 0, "{algorithm:?}");
        clock.advance(duration(2 * MINUTE));
        assert_eq!(drain(), 5, "{algorithm:?}: the quota's rest");
        clock.advance(duration(25 * MINUTE));
        assert_eq!(drain(), 0, "{algorithm:?}: the quota is spent until the hour");
        clock.advance(duration(MINUTE));
        assert_eq!((now(), drain()), (START + 30 * MINUTE, 10), "{algorithm:?}: a new hour");
    }
}

/// A clock that goes forth and back gives no more than its highest reading does.
#[test]
fn a_clock_that_flutters_mints_nothing() {
    let (engine, clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 7, Window::Second)));
    let event = Event::new("x", "call");
    let (mut passed, mut highest): (i128, Nanos) = (0, START);
    for (turn, flutter) in (0..100_000).zip([0, 100_000_000, 7, 50_000_000].into_iter().cycle()) {
        // Up by a third of a millisecond a turn, with a flutter of a tenth of a second.
        let reading = START + turn * 333_333 + flutter;
        highest = highest.max(reading);
        clock.set(date(reading));
        while passes(&engine, &event) {
            passed += 1;
        }
        assert_eq!(passed, 7 + 7 * (highest - START) / SECOND, "turn {turn}");
    }
}

/// An old timestamp is no way to tokens: rate limits go by the engine's clock.
#[test]
fn a_stale_timestamp_mints_nothing() {
    let (engine, clock) =
        engine(|builder| builder.rate_limit(RateLimit::new("r", 10, Window::Second)));
    let stamps = [-365 * DAY, -HOUR, -SECOND, 0, SECOND, HOUR, DAY];
    let mut passed = 0;
    for turn in 0..70 {
        let event = Event::new("x", "call").timestamp(date(START + stamps[turn % stamps.len()]));
        passed += u32::from(passes(&engine, &event));
    }
    assert_eq!(passed, 10);
    clock.advance(Duration::from_millis(500));
    for turn in 0..70 {
        let event = Event::new("x", "call").timestamp(date(START + stamps[turn % stamps.len()]));
        passed += u32::from(passes(&engine, &event));
    }
    assert_eq!(passed, 15);
}

/// Amounts of a millionth, a million times over, are one unit: no rounding adds up.
#[test]
fn fractions_add_up_exactly() {
    let (engine, _clock) = engine(|builder| {
        builder.quota(Quota::new("q", Metric::value("credits"), 1, Period::AllTime))
    });
    let least = Event::new("x", "call").value("credits", "0.000001");
    let tenth = Event::new("x", "call").value("credits", 0.1);
    for _ in 0..100_000 {
        assert!(passes(&engine, &least));
    }
    let mut tenths = 0;
    while passes(&engine, &tenth) {
        tenths += 1;
    }
    assert_eq!(tenths, 9, "a tenth is used by the millionths, nine tenths are left");
    assert!(!passes(&engine, &least));
    let standing = engine.standing(&least).expect("valid");
    let status = standing.quotas().next().expect("the quota applies");
    assert_eq!((status.used, status.remaining), (1.into(), 0.into()));
}
