//! Goal: sliding windows and rolling quotas are exact where few uses are in the window, late by
//! less than a sixtieth of it where there are many, and never let more than the limit into any
//! span of their length. What is recorded with an earlier timestamp counts at that time.
//!
//! Method: clients that keep exactly to a limit; a list of all uses, added up again for each
//! question; worked cases for events that come late, ahead of time, or to give something back.

use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND, ceil_div};
use crate::support::{Dice, START, cases, date, duration, engine, seed};
use limitry::rules::Algorithm;
use limitry::{Decision, Engine, Event, Metric, Period, Quota, RateLimit, RetryAfter, Window};

fn sliding(limit: u64, length: Nanos) -> RateLimit {
    RateLimit::new("sliding", limit, Window::every(duration(length)))
        .algorithm(Algorithm::SlidingWindow)
}

fn rolling(limit: u64, length: Nanos) -> Quota {
    Quota::new("rolling", Metric::TotalTokens, limit, Period::rolling(duration(length)))
}

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").total_tokens(tokens)
}

fn used(engine: &Engine) -> u64 {
    let standing = engine.standing(&tokens(0)).expect("valid");
    standing.quotas().next().expect("it applies").used.to_u64_ceil()
}

fn remaining(engine: &Engine) -> u64 {
    let standing = engine.standing(&tokens(0)).expect("valid");
    standing.rate_limits().next().expect("it applies").remaining.to_u64_floor()
}

fn passes(engine: &Engine, event: &Event<'_>) -> bool {
    engine.track(event).expect("valid").is_allowed()
}

fn wait(decision: &Decision) -> Nanos {
    match decision.retry_after() {
        Some(RetryAfter::After(wait)) => crate::support::nanos(wait),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_keeps_exactly_to_a_limit_loses_no_call() {
    for (limit, length) in [(1, 10 * SECOND), (3, MINUTE), (7, HOUR), (60, MINUTE), (1, 7)] {
        let (engine, clock) = engine(|builder| builder.rate_limit(sliding(limit, length)));
        let apart = ceil_div(length, limit.into());
        for call in 0..1_000 {
            assert!(passes(&engine, &tokens(1)), "call {call} of {limit} in {length} ns");
            clock.advance(duration(apart));
        }
    }
}

#[test]
fn a_nightly_job_runs_every_night() {
    let (engine, clock) = engine(|builder| builder.quota(rolling(5_000, DAY)));
    for night in 0..400 {
        assert!(passes(&engine, &tokens(5_000)), "night {night}");
        clock.advance(duration(DAY) - Duration::from_nanos(1));
        assert!(!passes(&engine, &tokens(1)), "a nanosecond before night {night} ends");
        clock.advance(Duration::from_nanos(1));
    }
}

/// Sixty-two uses, anywhere in the window, each leave on the nanosecond.
#[test]
fn as_many_uses_as_are_told_apart_leave_on_the_nanosecond() {
    let mut dice = Dice::new(seed("sliding::as_many_uses_as_are_told_apart", 62));
    for length in [MINUTE, 61, 1_000_003, DAY] {
        let (engine, clock) = engine(|builder| builder.rate_limit(sliding(62, length)));
        let length = u64::try_from(length).expect("positive");
        let mut times: Vec<u64> = Vec::new();
        while times.len() < 62.min(usize::try_from(length).expect("fits")) {
            let time = if dice.chance(50) { dice.below(length) } else { dice.below(length / 20) };
            if !times.contains(&time) {
                times.push(time);
            }
        }
        times.sort_unstable();
        let mut now = 0;
        let mut to = |time: u64| {
            clock.advance(Duration::from_nanos(time - now));
            now = time;
        };
        for time in &times {
            to(*time);
            assert!(passes(&engine, &tokens(1)));
        }
        for (gone, time) in (1..).zip(&times) {
            let held = u64::try_from(times.len()).expect("few") - gone;
            if time + length > 0 && remaining(&engine) != 62 - held {
                to(time + length - 1);
                assert_eq!(remaining(&engine), 62 - held - 1, "{time} of {length}");
            }
            to(time + length);
            assert_eq!(remaining(&engine), 62 - held, "{time} of {length}");
        }
    }
}

/// All uses, added up again for each question.
struct Uses {
    length: Nanos,
    uses: Vec<(Nanos, i128)>,
}

impl Uses {
    fn cell(&self) -> Nanos {
        ceil_div(self.length, 60)
    }

    /// What is used at an instant if every use left as late as it may, or as early.
    fn used(&self, now: Nanos, late: Nanos) -> i128 {
        let inside = |at: Nanos, late| at + self.length + late > now;
        let uses = self.uses.iter();
        let counts =
            |&&(at, amount): &&(Nanos, i128)| inside(at, if amount < 0 { -late } else { late });
        uses.filter(counts).map(|(_, amount)| amount).sum()
    }

    fn check(&self, now: Nanos, told: i128, case: &str) {
        let (least, most) = (self.used(now, 0), self.used(now, self.cell() - 1));
        let instants = self
            .uses
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| at + 2 * (self.length + self.cell()) > now);
        let mut instants: Vec<Nanos> = instants.collect();
        instants.sort_unstable();
        instants.dedup();
        let most = if instants.len() <= 62 { least } else { most };
        assert!(least <= told && told <= most, "{case}: {told} of {least}..={most}");
    }
}

/// A length and steps between uses that make lists of all sizes.
fn draw(dice: &mut Dice) -> (Nanos, Vec<Nanos>) {
    let length = dice.pick(&[7, 59, 60, 61, 1_000, MINUTE, MINUTE + 1, HOUR, 30 * DAY]);
    let long = [0, 1, length / 120, length / 60, length / 7, length, 3 * length];
    let short = [0, 1, length / 600, length / 61, length / 150];
    (length, if dice.chance(50) { long.to_vec() } else { short.to_vec() })
}

#[test]
fn a_use_is_late_by_less_than_a_sixtieth_and_never_early() {
    let seed = seed("sliding::a_use_is_late_by_less_than_a_sixtieth", 6);
    for case in 0..cases(60) {
        let mut dice = Dice::new(seed.wrapping_add(case.into()));
        let (length, steps) = draw(&mut dice);
        let (engine, clock) = engine(|builder| builder.quota(rolling(1 << 40, length)));
        let mut all = Uses { length, uses: Vec::new() };
        let mut now = START;
        for _ in 0..400 {
            let step = dice.pick(&steps) + Nanos::from(dice.below(2));
            clock.advance(duration(step));
            now += step;
            let amount = if dice.chance(2) { 1 << 38 } else { dice.range(1, 99) };
            if passes(&engine, &tokens(amount)) {
                all.uses.push((now, amount.into()));
            }
            let case = format!("LIMITRY_SEED={} LIMITRY_CASES=1, {length}", seed + u64::from(case));
            all.check(now, used(&engine).into(), &case);
        }
    }
}

#[test]
fn what_is_recorded_of_long_ago_fills_no_rolling_quota() {
    let (engine, clock) = engine(|builder| builder.quota(rolling(1_000, 30 * DAY)));
    for day in 87..=106 {
        let old = tokens(50).timestamp(date(START - day * DAY));
        let recorded = engine.record(&old).expect("valid");
        assert_eq!(recorded.quotas().next().expect("it applies").used, 0, "{day} days ago");
    }
    assert_eq!(used(&engine), 0);
    assert!(passes(&engine, &tokens(1_000).timestamp(date(START))));
    // What is within the window counts, and leaves when it is thirty days old.
    for (day, more) in [(29, 50), (10, 7), (20, 300)] {
        let _ = engine.record(&tokens(more).timestamp(date(START - day * DAY))).expect("valid");
    }
    assert_eq!(used(&engine), 1_357);
    for (day, left) in [(1, 1_307), (10, 1_007), (20, 1_000), (30, 0)] {
        clock.set(date(START + day * DAY - 1));
        assert!(used(&engine) > left, "{day}");
        clock.set(date(START + day * DAY));
        assert_eq!(used(&engine), left, "{day}");
    }
}

#[test]
fn a_rolling_quota_goes_by_the_timestamp_of_what_it_admits() {
    let (engine, clock) = engine(|builder| builder.quota(rolling(100, DAY)));
    assert!(passes(&engine, &tokens(60).timestamp(date(START - 20 * HOUR))));
    assert!(passes(&engine, &tokens(40).timestamp(date(START - HOUR))));
    let refused = engine.track(&tokens(30)).expect("valid");
    assert_eq!(wait(&refused), 4 * HOUR);
    // An event that is older than the window by then adds nothing.
    let old = tokens(1_000).timestamp(date(START - 23 * HOUR));
    let refused = engine.track(&old).expect("valid");
    assert_eq!(wait(&refused), HOUR);
    clock.advance(duration(HOUR) - Duration::from_nanos(1));
    assert!(!passes(&engine, &old));
    clock.advance(Duration::from_nanos(1));
    assert!(passes(&engine, &old));
    assert_eq!(used(&engine), 100);
    clock.set(date(START + 4 * HOUR));
    assert_eq!(used(&engine), 40);
}

/// An event that is dated ahead counts at once, and for a whole window from its own time on.
#[test]
fn an_event_dated_ahead_counts_from_now_to_a_window_after_its_timestamp() {
    let (engine, clock) = engine(|builder| builder.quota(rolling(100, DAY)));
    assert!(passes(&engine, &tokens(60).timestamp(date(START + 20 * HOUR))));
    assert!(passes(&engine, &tokens(40)));
    assert_eq!(wait(&engine.track(&tokens(41)).expect("valid")), 44 * HOUR);
    clock.set(date(START + DAY));
    assert_eq!(used(&engine), 60);
    clock.set(date(START + 44 * HOUR - 1));
    assert_eq!(used(&engine), 60);
    clock.set(date(START + 44 * HOUR));
    assert_eq!(used(&engine), 0);
}

/// However many events are dated ahead, a list stays short and nothing is counted too short.
#[test]
fn many_events_dated_ahead_are_counted_for_long_enough() {
    let mut dice = Dice::new(seed("sliding::many_events_dated_ahead", 24));
    for length in [MINUTE, HOUR, DAY, 3 * DAY] {
        let (engine, clock) = engine(|builder| builder.quota(rolling(1 << 40, length)));
        let mut all = Uses { length, uses: Vec::new() };
        let mut now = START;
        for _ in 0..300 {
            let ahead = if dice.chance(70) { dice.below(86_400) } else { 0 };
            let stamp = now + Nanos::from(ahead) * SECOND;
            let _ = engine.record(&tokens(1).timestamp(date(stamp))).expect("valid");
            all.uses.push((stamp, 1));
            let told = i128::from(used(&engine));
            let (least, most) = (all.used(now, 0), all.used(now, DAY));
            assert!(least <= told && told <= most, "{told} of {least}..={most}");
            let step = length / 50;
            clock.advance(duration(step));
            now += step;
        }
        clock.set(date(now + length + DAY));
        assert_eq!(used(&engine), 0);
    }
}

/// A rate limit goes by the engine's clock, and what is only recorded by its own time.
#[test]
fn what_is_recorded_late_leaves_a_sliding_limit_at_its_own_time() {
    let (engine, clock) = engine(|builder| builder.rate_limit(sliding(10, MINUTE)));
    let at = |before: Nanos| Event::new("ann", "call").timestamp(date(START - before));
    let _ = engine.record(&at(50 * SECOND)).expect("valid");
    let _ = engine.record(&at(60 * SECOND)).expect("valid");
    assert!(passes(&engine, &at(50 * SECOND)));
    assert_eq!(remaining(&engine), 8);
    clock.advance(duration(10 * SECOND));
    assert_eq!(remaining(&engine), 9, "the recorded one has left, the admitted one has not");
    clock.advance(duration(50 * SECOND));
    assert_eq!(remaining(&engine), 10);
}

/// Whoever takes all that is to be had, at every step, gets no more than the limit in any span, and
/// in each span that is longer by a sixtieth all of it.
#[test]
fn a_greedy_client_gets_what_it_is_due() {
    let mut dice = Dice::new(seed("sliding::a_greedy_client", 9));
    for (length, steps) in [(60, 60), (MINUTE, 240), (7 * DAY, 100), (1_001, 143)] {
        let limit = 300;
        let rule = sliding(limit, length).metric(Metric::TotalTokens);
        let (engine, clock) = engine(|builder| builder.rate_limit(rule));
        let step = length / steps;
        let mut admitted: Vec<(Nanos, u64)> = Vec::new();
        let ticks = 5 * steps;
        for tick in 0..ticks {
            let mut ask = if dice.chance(80) { dice.range(1, 9) } else { 1 };
            while ask > 0 {
                if passes(&engine, &tokens(ask)) {
                    admitted.push((tick * step, ask));
                } else {
                    ask /= 2;
                }
            }
            clock.advance(duration(step));
        }
        let span = |from: Nanos, length: Nanos| -> u64 {
            let inside = admitted.iter().filter(|(at, _)| (from..from + length).contains(at));
            inside.map(|(_, amount)| amount).sum()
        };
        assert!(admitted.iter().all(|(at, _)| span(*at, length) <= limit));
        let longer = length + ceil_div(length, 60) + step;
        for from in (0..ticks).map(|tick| tick * step).filter(|from| from + longer < ticks * step) {
            let got = span(from, longer);
            assert!(got >= limit, "{got} of {limit} from {from} on");
        }
    }
}

fn images(amount: i64) -> Event<'static> {
    Event::new("ann", "call").value("images", amount)
}

/// A refund of a rolling quota counts as what it is, and leaves when it is as old as the period:
/// use then rises again, and the wait knows it.
#[test]
fn a_refund_leaves_a_rolling_quota_as_a_use_does() {
    let quota = Quota::new("images", Metric::value("images"), 10, Period::rolling(duration(HOUR)));
    let limit = RateLimit::new("calls", 2, Window::every(duration(70 * MINUTE)))
        .algorithm(Algorithm::SlidingWindow);
    let (engine, clock) = engine(|builder| builder.quota(quota).rate_limit(limit));
    let used = || {
        let standing = engine.standing(&images(0)).expect("valid");
        standing.quotas().next().expect("it applies").used.millionths() / 1_000_000
    };
    let _ = engine.record(&images(-6)).expect("valid");
    assert_eq!(used(), -6);
    clock.advance(duration(30 * MINUTE));
    assert!(passes(&engine, &images(14)));
    assert_eq!(used(), 8);
    // Two of ten are left until the refund leaves at 60 minutes, and ten when the use of now does,
    // at 90. In between is the first instant at which the other rule has room.
    let refused = engine.track(&images(2)).expect("valid");
    assert_eq!(wait(&refused), HOUR);
    clock.advance(duration(30 * MINUTE));
    assert_eq!(used(), 14);
    let refused = engine.track(&images(1)).expect("valid");
    assert_eq!(wait(&refused), 30 * MINUTE);
    clock.advance(duration(30 * MINUTE));
    assert_eq!(used(), 0);
    assert!(passes(&engine, &images(10)));
}

/// A refund of a sliding limit takes back the newest uses, and no more than all of them.
#[test]
fn a_refund_takes_back_the_newest_uses_of_a_sliding_limit() {
    let rule = sliding(10, MINUTE).metric(Metric::value("images"));
    let (engine, clock) = engine(|builder| builder.rate_limit(rule));
    for amount in [3, 4, 2] {
        assert!(passes(&engine, &images(amount)));
        clock.advance(duration(10 * SECOND));
    }
    assert!(passes(&engine, &images(-4)));
    assert_eq!(remaining(&engine), 5);
    clock.set(date(START + MINUTE));
    assert_eq!(remaining(&engine), 8, "the first use has left, of the second two are kept");
    assert!(passes(&engine, &images(-100)));
    assert_eq!(remaining(&engine), 10);
    assert!(passes(&engine, &images(10)) && !passes(&engine, &images(1)));
}

/// However many uses and refunds are merged: what is used is never said too low, and too high by
/// no more than a sixtieth of the length explains.
#[test]
fn merged_refunds_are_never_counted_too_long() {
    let seed = seed("sliding::merged_refunds", 60);
    for case in 0..cases(30) {
        let mut dice = Dice::new(seed.wrapping_add(case.into()));
        let (length, steps) = draw(&mut dice);
        let period = Period::rolling(duration(length));
        let quota = Quota::new("images", Metric::value("images"), 1_000_000_000, period);
        let (engine, clock) = engine(|builder| builder.quota(quota));
        let mut all = Uses { length, uses: Vec::new() };
        let mut now = START;
        for _ in 0..400 {
            let step = dice.pick(&steps) + Nanos::from(dice.below(2));
            clock.advance(duration(step));
            now += step;
            let amount = i64::try_from(dice.range(1, 99)).expect("small");
            let amount = if dice.chance(40) { -amount } else { amount };
            assert!(passes(&engine, &images(amount)));
            all.uses.push((now, amount.into()));
            let standing = engine.standing(&images(0)).expect("valid");
            let told = standing.quotas().next().expect("it applies").used.millionths() / 1_000_000;
            let case = format!("LIMITRY_SEED={} LIMITRY_CASES=1, {length}", seed + u64::from(case));
            all.check(now, told, &case);
        }
    }
}

/// A rolling quota that comes later, or has another period, starts from what is recorded.
#[test]
fn a_new_rolling_quota_starts_from_what_is_recorded() {
    let mut dice = Dice::new(seed("sliding::a_new_rolling_quota", 12));
    for length in [MINUTE, HOUR, DAY, 30 * DAY] {
        let (engine, clock) = engine(|builder| builder);
        let mut all = Uses { length, uses: Vec::new() };
        let mut now = START;
        for _ in 0..80 {
            let late = if dice.chance(20) { dice.below(9) } else { 0 };
            let stamp = now - length / 10 * Nanos::from(late);
            let ahead = Nanos::from(if dice.chance(10) { dice.below(86_400) } else { 0 });
            let stamp = if ahead > 0 { now + ahead * SECOND } else { stamp };
            let amount = dice.range(1, 50);
            let _ = engine.record(&tokens(amount).timestamp(date(stamp))).expect("valid");
            let _ = engine.record(&Event::new("bob", "call").total_tokens(7)).expect("valid");
            all.uses.push((stamp, amount.into()));
            clock.advance(duration(length / 31));
            now += length / 31;
        }
        let quota = rolling(1 << 40, length).per("customer_id").id("q");
        engine.rules().add(quota).expect("valid");
        let exact = |now: Nanos| all.used(now, 0);
        assert_eq!(i128::from(used(&engine)), exact(now), "{length}: as the meter says");
        assert!(passes(&engine, &tokens(0)));
        // Some leave late: those that were recorded before, by a piece and a cell.
        for _ in 0..70 {
            clock.advance(duration(length / 60));
            now += length / 60;
            let told = i128::from(used(&engine));
            let most = all.used(now, (length / 60 + MINUTE).min(length / 30) + 24 * MINUTE);
            assert!(exact(now) <= told && told <= most, "{told} of {}..={most}", exact(now));
        }
    }
}

#[test]
fn a_rolling_quota_that_refuses_at_once_asks_what_is_recorded_only_once() {
    let (engine, clock) = engine(|builder| builder);
    for _ in 0..5 {
        let _ = engine.record(&tokens(100)).expect("valid");
        clock.advance(duration(HOUR));
    }
    engine.rules().add(rolling(450, DAY).per("customer_id")).expect("valid");
    assert_eq!(engine.live_keys(), 0);
    for _ in 0..3 {
        assert!(!passes(&engine, &tokens(1)));
        assert_eq!((used(&engine), engine.live_keys()), (500, 1), "what was told is kept");
    }
    clock.advance(duration(19 * HOUR + HOUR / 2));
    assert!(passes(&engine, &tokens(1)));
    assert_eq!(used(&engine), 401);
}
