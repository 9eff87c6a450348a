//! Goal: where amounts below zero, adjustments and amendments to more come between an event and its
//! correction, a rate limit admits never more than one that had seen everything as it is corrected,
//! and as much where no refund was of more than there was.
//!
//! Method: worked cases, and random programs beside a fold of all uses in their order. Of what is
//! amended to more a window after it came the fold has what it was, as a bucket does.

use std::time::Duration;

use crate::support::oracle::{MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, duration, engine, seed};
use limitry::events::EventId;
use limitry::rules::Algorithm;
use limitry::{Engine, Event, Metric, RateLimit, Window};

const CAPACITY: i128 = 100;
/// A cent in 600 ms.
const CENT: i128 = MINUTE / CAPACITY;

const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];

/// What was taken of the limit, or given back: by an event, or an adjustment.
#[derive(Clone, Debug)]
struct Use {
    id: Option<EventId>,
    at: Nanos,
    cents: i128,
}

/// What is left of 100 cents a minute by these uses.
fn due(algorithm: Algorithm, uses: &[Use], now: Nanos) -> i128 {
    let used = match algorithm {
        Algorithm::SlidingWindow => {
            let mut alive: Vec<(Nanos, i128)> = Vec::new();
            for it in uses {
                alive.retain(|(at, cents)| at + MINUTE > it.at && *cents > 0);
                alive.push((it.at, it.cents.max(0)));
                let mut back = (-it.cents).max(0);
                for (_, cents) in alive.iter_mut().rev() {
                    let given = back.min(*cents);
                    (*cents, back) = (*cents - given, back - given);
                }
            }
            let alive = alive.iter().filter(|(at, _)| at + MINUTE > now);
            alive.map(|(_, cents)| cents).sum::<i128>()
        }
        Algorithm::FixedWindow => {
            let window = now.div_euclid(MINUTE);
            let within = uses.iter().filter(|it| it.at.div_euclid(MINUTE) == window);
            within.fold(0, |used, it| (used + it.cents).max(0))
        }
        _ => {
            let (mut missing, mut last) = (0, 0);
            for (at, cents) in uses.iter().map(|it| (it.at, it.cents)).chain([(now, 0)]) {
                missing = ((missing - (at - last)).max(0) + cents * CENT).max(0);
                last = at;
            }
            (missing + CENT - 1).div_euclid(CENT)
        }
    };
    (CAPACITY - used).max(0)
}

fn cents(cents: i128) -> Event<'static> {
    Event::new("ann", "call").cost_cents(i64::try_from(cents).expect("small"))
}

fn left(engine: &Engine) -> i128 {
    let standing = engine.standing(&cents(0)).expect("valid");
    let status = standing.rate_limits().next().expect("it matches");
    i128::from(status.remaining.to_u64_floor())
}

fn limited(algorithm: Algorithm) -> (Engine, limitry::time::ManualClock) {
    let limit = RateLimit::new("l", 100, Window::Minute).algorithm(algorithm);
    engine(|it| it.rate_limit(limit.per("customer_id").metric(Metric::TotalCostCents)))
}

fn record(engine: &Engine, amount: i128) -> EventId {
    let decision = engine.record(&cents(amount)).expect("valid");
    decision.event_id().expect("it is recorded")
}

fn give_back(engine: &Engine, amount: i128) {
    let amount = i64::try_from(amount).expect("small");
    let adjusted = engine.rules().adjust("rl_l", ("customer_id", "ann"), -amount, "back");
    let _ = adjusted.expect("it is adjusted");
}

#[test]
fn what_a_refund_gave_back_does_not_come_back_once_more() {
    for algorithm in ALGORITHMS {
        for is_adjusted in [false, true] {
            let (engine, clock) = limited(algorithm);
            let first = record(&engine, 80);
            clock.advance(Duration::from_nanos(1));
            match is_adjusted {
                true => give_back(&engine, 80),
                false => drop(record(&engine, -80)),
            }
            assert_eq!(left(&engine), 100, "{algorithm:?}");
            clock.advance(Duration::from_nanos(1));
            let second = record(&engine, 70);
            engine.void(first, "void").expect("it is voided");
            assert_eq!(left(&engine), 30, "{algorithm:?} {is_adjusted}");
            engine.void(second, "void").expect("it is voided");
            assert_eq!(left(&engine), 100, "{algorithm:?} {is_adjusted}");
        }
    }
}

/// Of several uses the refund may have been of any: the rest comes back when the window is over.
#[test]
fn a_refund_of_other_uses_makes_a_correction_give_back_less() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow] {
        let (engine, clock) = limited(algorithm);
        let first = record(&engine, 40);
        let _ = record(&engine, 50);
        let _ = record(&engine, -20);
        assert_eq!(left(&engine), 30, "{algorithm:?}");
        engine.void(first, "void").expect("it is voided");
        assert_eq!(left(&engine), 50, "{algorithm:?}");
        clock.advance(Duration::from_secs(60));
        assert_eq!(left(&engine), 100, "{algorithm:?}");
    }
}

/// What is voided of a refund is taken again, and what it is amended to be more gives back nothing:
/// there may have been nothing to give back when it came.
#[test]
fn a_refund_that_is_voided_was_none() {
    for algorithm in ALGORITHMS {
        let (engine, _) = limited(algorithm);
        let _ = record(&engine, 80);
        let refund = record(&engine, -50);
        assert_eq!(left(&engine), 70, "{algorithm:?}");
        engine.amend(refund, &cents(-60), "more").expect("it is amended");
        assert_eq!(left(&engine), 70, "{algorithm:?}");
        engine.void(refund, "void").expect("it is voided");
        assert_eq!(left(&engine), 20, "{algorithm:?}");
    }
}

/// As if it had been so from the start, where nothing else was taken.
#[test]
fn a_bucket_is_charged_what_of_more_it_would_lack_still() {
    // 100 a minute are 50 in 30 seconds; after 48 it is full, and has refilled 10 more at 54.
    for (after, amended, with) in
        [(0, 100, 0), (30, 100, 50), (48, 100, 80), (54, 100, 90), (54, 300, 0), (59, 81, 100)]
    {
        let (engine, clock) = limited(Algorithm::TokenBucket);
        let id = record(&engine, 80);
        clock.advance(Duration::from_secs(after));
        engine.amend(id, &cents(amended), "more").expect("it is amended");
        let all = [Use { id: None, at: START, cents: amended }];
        let now = START + i128::from(after) * SECOND;
        assert_eq!(due(Algorithm::TokenBucket, &all, now), with, "the oracle after {after} s");
        assert_eq!(left(&engine), with, "after {after} s, to {amended}");
        engine.void(id, "void").expect("it is voided");
        assert_eq!(left(&engine), 100, "after {after} s, from {amended}");
    }
}

/// A bill that is corrected at the end of the month locks nobody out.
#[test]
fn what_is_more_a_window_later_is_nothing_to_a_bucket_and_comes_back_from_none() {
    let (engine, clock) = limited(Algorithm::TokenBucket);
    let id = record(&engine, 130);
    clock.advance(Duration::from_secs(60));
    let _ = record(&engine, 50);
    assert_eq!(left(&engine), 20);
    engine.amend(id, &cents(900), "more").expect("it is amended");
    assert_eq!(left(&engine), 20);
    engine.amend(id, &cents(500), "less, but more than it was").expect("it is amended");
    assert_eq!(left(&engine), 20);
    engine.void(id, "void").expect("it is voided");
    // What it has not refilled of the 130.
    assert_eq!(left(&engine), 50);
}

/// The exception that [`Engine::amend`] states: a bucket that was never full since the event is
/// laxer by no more than what the event is more, where that comes a window after it.
#[test]
fn a_bucket_never_full_since_is_laxer_by_no_more_than_what_came_a_window_late() {
    let mut dice = Dice::new(seed("events::corrected_refunds::late", 4));
    let (mut lax, mut strict) = (0, 0);
    for case in 0..cases(40) {
        let (engine, clock) = limited(Algorithm::TokenBucket);
        let cents_of = |dice: &mut Dice, most| i128::from(dice.below(most)) + 1;
        let first = cents_of(&mut dice, 25) + 9;
        let id = record(&engine, first);
        let mut uses = vec![Use { id: None, at: START, cents: first }];
        let mut now = START;
        // In five seconds 8.3 come back, and more is taken: the bucket never fills.
        for _ in 0..11 {
            clock.advance(Duration::from_secs(5));
            now += 5 * SECOND;
            let cents = cents_of(&mut dice, 4) + 8;
            let _ = record(&engine, cents);
            uses.push(Use { id: None, at: now, cents });
        }
        let is_late = case % 2 == 0;
        // Up to the window's last nanosecond, or to its end and beyond it.
        let wait =
            if is_late { 5 * SECOND + i128::from(dice.below(5_000)) } else { 5 * SECOND - 1 };
        clock.advance(duration(wait));
        now += wait;
        let (before, more) = (left(&engine), cents_of(&mut dice, 60));
        assert_eq!(before, due(Algorithm::TokenBucket, &uses, now), "case {case}");
        engine.amend(id, &cents(first + more), "more").expect("it is amended");
        uses[0].cents += more;
        let (is, as_if) = (left(&engine), due(Algorithm::TokenBucket, &uses, now));
        if is_late {
            assert_eq!(is, before, "case {case}");
            assert!(
                as_if <= is && is <= as_if + more,
                "case {case}: {is}, {as_if} as if it was so"
            );
            lax += u32::from(is > as_if);
        } else {
            assert_eq!(is, as_if, "case {case}");
            strict += u32::from(is < before);
        }
        // All that it was laxer by has come back to both once the bucket is full.
        clock.advance(Duration::from_secs(600));
        assert_eq!(left(&engine), CAPACITY, "case {case}");
    }
    assert!(lax > 5 && strict > 5, "this shows nothing: {lax} {strict}");
}

fn correct(
    engine: &Engine,
    uses: &mut Vec<Use>,
    now: Nanos,
    dice: &mut Dice,
    algorithm: Algorithm,
) {
    let events: Vec<_> = (0..uses.len()).filter(|at| uses[*at].id.is_some()).collect();
    if events.is_empty() {
        return;
    }
    let at = events[usize::try_from(dice.below(events.len() as u64)).expect("small")];
    let Use { id, at: taken, cents: was } = uses[at].clone();
    let id = id.expect("it is an event's");
    let is_late = algorithm == Algorithm::TokenBucket && now - taken >= MINUTE;
    if dice.below(2) == 0 {
        engine.void(id, "void").expect("it is voided");
        match is_late && was < 0 {
            // A refund that long ago stays one.
            true => uses[at].id = None,
            false => drop(uses.remove(at)),
        }
        return;
    }
    let to = i128::from(dice.below(150)) - 50;
    engine.amend(id, &cents(to), "other").expect("it is amended");
    uses[at].cents = if is_late { was.min(to) } else { to };
}

#[test]
fn a_limit_is_never_laxer_than_one_that_saw_all_as_it_is_corrected() {
    let mut dice = Dice::new(seed("events::corrected_refunds", 3));
    for algorithm in ALGORITHMS {
        let (mut same, mut steps) = (0_u32, 0_u32);
        for case in 0..cases(60) {
            let (engine, clock) = limited(algorithm);
            let (mut uses, mut now): (Vec<Use>, _) = (Vec::new(), START);
            for step in 0..40 {
                let wait = i128::from(dice.below(12)) * SECOND;
                clock.advance(duration(wait));
                now += wait;
                match dice.below(8) {
                    0..3 => correct(&engine, &mut uses, now, &mut dice, algorithm),
                    3 => {
                        let cents = i128::from(dice.below(60)) + 1;
                        give_back(&engine, cents);
                        uses.push(Use { id: None, at: now, cents: -cents });
                    }
                    other => {
                        let refunds = i128::from(other == 4);
                        let cents = (i128::from(dice.below(120)) + 1) * (1 - 2 * refunds);
                        let id = Some(record(&engine, cents));
                        uses.push(Use { id, at: now, cents });
                    }
                }
                let (is, due) = (left(&engine), due(algorithm, &uses, now));
                assert!(
                    is <= due,
                    "{algorithm:?} case {case} step {step}: {is} left, {due} due: {uses:?}"
                );
                (same, steps) = (same + u32::from(is == due), steps + 1);
            }
            clock.advance(Duration::from_secs(24 * 3_600));
            assert_eq!(left(&engine), CAPACITY, "{algorithm:?} case {case}");
        }
        assert!(same > steps / 2, "{algorithm:?}: the same in {same} of {steps}");
    }
}

/// Refunds of another thread, before and after: it sees the step in which the use comes back, and
/// that all refunds before it are of that use, also those of the last moment.
#[test]
fn refunds_at_the_same_time_are_of_the_use_or_come_after() {
    const REFUNDS: i128 = 60;
    let mut between = 0;
    for round in 0..cases(20) {
        let limit = RateLimit::new("l", 1_000, Window::Minute).algorithm(Algorithm::FixedWindow);
        let limit = limit.per("customer_id").metric(Metric::TotalCostCents);
        let (engine, _clock) = engine(|it| it.rate_limit(limit));
        let (voided, _) = (record(&engine, 500), record(&engine, 300));
        let (go, start) = std::sync::mpsc::channel();
        let seen = std::thread::scope(|scope| {
            let engine = &engine;
            scope.spawn(move || {
                start.recv().expect("the refunds begin");
                engine.void(voided, "void").expect("it is voided");
            });
            let refunds = (0..REFUNDS).map(|index| {
                if index == REFUNDS / 4 {
                    go.send(()).expect("it waits");
                }
                let decision = engine.record(&cents(-1)).expect("valid");
                let status = decision.rate_limits().next().expect("it matches");
                i128::from(status.remaining.to_u64_floor())
            });
            refunds.collect::<Vec<_>>()
        });
        let step = seen.windows(2).position(|pair| pair[1] != pair[0] + 1);
        if let Some(step) = step {
            // As many refunds came before.
            let before = i128::try_from(step).expect("small") + 1;
            assert_eq!(seen[step + 1] - seen[step], 1 + 500 - before, "round {round}: {seen:?}");
            between += 1;
        }
        assert_eq!(left(&engine), 700 + REFUNDS - step.map_or(REFUNDS, |it| it as i128 + 1));
    }
    println!("{between} were voided between refunds");
}
