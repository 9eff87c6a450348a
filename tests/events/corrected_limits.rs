//! Goal: once an event is voided or amended, a rate limit admits never more than one that had never
//! seen what was taken back, and exactly what that one admits where its state can tell: windows
//! give back the very use, however late its event was and whether rules were asked about it; a
//! bucket what it cannot have refilled since.
//!
//! Method: random programs of calls that are asked for, recorded and held, now or late, of voids
//! and amendments, beside a list of uses with their instants, folded anew for each question.

use std::time::Duration;

use crate::support::oracle::{MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, date, duration, engine, seed};
use limitry::events::EventId;
use limitry::reservations::Hold;
use limitry::rules::Algorithm;
use limitry::{Engine, Event, Metric, RateLimit, Reserved, Window};

const CAPACITY: i128 = 100;
/// A token in 600 ms.
const TOKEN: i128 = MINUTE / CAPACITY;

/// What was taken of the limit, and when: by a commit at two instants.
#[derive(Clone, Debug)]
struct Use {
    id: EventId,
    taken: Vec<(Nanos, i128)>,
}

/// A limit of 100 a minute that has seen these uses alone.
struct Oracle {
    algorithm: Algorithm,
    uses: Vec<Use>,
}

impl Oracle {
    fn left(&self, now: Nanos) -> i128 {
        let mut taken: Vec<_> = self.uses.iter().flat_map(|it| it.taken.iter().copied()).collect();
        taken.sort_unstable();
        let sum = |counts: &dyn Fn(Nanos) -> bool| {
            taken.iter().filter(|(at, _)| counts(*at)).map(|(_, units)| units).sum::<i128>()
        };
        let used = match self.algorithm {
            Algorithm::SlidingWindow => sum(&|at| at + MINUTE > now),
            Algorithm::FixedWindow => sum(&|at| at.div_euclid(MINUTE) == now.div_euclid(MINUTE)),
            _ => {
                let (mut missing, mut last) = (0, 0);
                for (at, units) in taken.iter().copied().chain([(now, 0)]) {
                    missing = (missing - (at - last)).max(0) + units * TOKEN;
                    last = at;
                }
                (missing + TOKEN - 1).div_euclid(TOKEN)
            }
        };
        (CAPACITY - used).max(0)
    }

    /// When a call counts that is dated so, of what it is recorded to have used.
    fn instant(&self, now: Nanos, dated: Nanos, is_recorded: bool) -> Option<Nanos> {
        match (is_recorded, self.algorithm) {
            (true, _) if now - dated >= MINUTE => None,
            (true, Algorithm::SlidingWindow) => Some(dated),
            _ => Some(now),
        }
    }
}

fn tokens(units: i128) -> Event<'static> {
    Event::new("ann", "call").input_tokens(u64::try_from(units).expect("positive"))
}

fn left(engine: &Engine) -> i128 {
    let standing = engine.standing(&tokens(0)).expect("valid");
    let status = standing.rate_limits().next().expect("it matches");
    i128::from(status.remaining.to_u64_floor())
}

fn limited(algorithm: Algorithm) -> (Engine, limitry::time::ManualClock) {
    let limit = RateLimit::new("l", 100, Window::Minute).algorithm(algorithm);
    engine(|it| it.rate_limit(limit.per("customer_id").metric(Metric::TotalTokens)))
}

/// A call of so many units that happened so long ago, asked for or recorded.
fn call(engine: &Engine, oracle: &mut Oracle, now: Nanos, dice: &mut Dice, most: i128) {
    let units = i128::from(dice.below(u64::try_from(most).expect("positive"))) + 1;
    let late = match dice.below(4) {
        0 => i128::from(dice.below(80)) * SECOND,
        _ => 0,
    };
    let event = tokens(units);
    let event = if late > 0 { event.timestamp(date(now - late)) } else { event };
    // What is recorded beyond the limit is not told apart from a full one by what is left.
    let is_recorded = dice.below(3) == 0 && units <= left(engine);
    let decision = if is_recorded { engine.record(&event) } else { engine.track(&event) };
    let decision = decision.expect("valid");
    if let Some(id) = decision.event_id() {
        assert!(is_recorded || units <= oracle.left(now), "{units} of {}", oracle.left(now));
        let instant = oracle.instant(now, now - late, is_recorded);
        oracle.uses.push(Use { id, taken: instant.map(|at| (at, units)).into_iter().collect() });
    }
}

fn correct(engine: &Engine, oracle: &mut Oracle, dice: &mut Dice) {
    if oracle.uses.is_empty() {
        return;
    }
    let at = dice.below(oracle.uses.len() as u64);
    let at = usize::try_from(at).expect("small");
    let is_whole = oracle.uses[at].taken.len() == 1;
    if dice.below(3) > 0 || !is_whole {
        engine.void(oracle.uses[at].id, "void").expect("it is voided");
        oracle.uses.remove(at);
        return;
    }
    let (_, units) = &mut oracle.uses[at].taken[0];
    // Less: what is more than was counted is charged as it is recorded.
    *units = i128::from(dice.below(u64::try_from(*units).expect("positive")));
    let amended = tokens(*units);
    engine.amend(oracle.uses[at].id, &amended, "less").expect("it is amended");
    if oracle.uses[at].taken[0].1 == 0 {
        oracle.uses[at].taken.clear();
    }
}

/// Nothing is merged: there are fewer uses than a window tells apart.
#[test]
fn a_limit_is_as_if_what_is_voided_had_never_been() {
    let mut dice = Dice::new(seed("events::corrected_limits::exact", 1));
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow, Algorithm::TokenBucket] {
        for case in 0..cases(20) {
            let (engine, clock) = limited(algorithm);
            let mut oracle = Oracle { algorithm, uses: Vec::new() };
            let mut now = START;
            for step in 0..60 {
                let wait = i128::from(dice.below(10)) * SECOND + i128::from(dice.below(3));
                clock.advance(duration(wait));
                now += wait;
                match dice.below(3) {
                    0 => correct(&engine, &mut oracle, &mut dice),
                    _ => call(&engine, &mut oracle, now, &mut dice, 40),
                }
                let (is, due) = (left(&engine), oracle.left(now));
                let is_due =
                    if algorithm == Algorithm::TokenBucket { is <= due } else { is == due };
                assert!(is_due, "{algorithm:?} case {case} step {step}: {is} left, {due} are due");
            }
        }
    }
}

/// More uses than a window tells apart, and holds: it may be stricter, and never laxer.
#[test]
fn a_window_that_merges_uses_gives_back_no_more_than_one_that_keeps_them() {
    let mut dice = Dice::new(seed("events::corrected_limits::merged", 2));
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        for case in 0..cases(4) {
            let (engine, clock) = limited(algorithm);
            let mut oracle = Oracle { algorithm, uses: Vec::new() };
            let mut now = START;
            for step in 0..400 {
                let wait = i128::from(dice.below(700)) * (SECOND / 1_000);
                clock.advance(duration(wait));
                now += wait;
                match dice.below(8) {
                    0 | 1 => correct(&engine, &mut oracle, &mut dice),
                    2 => held(&engine, &clock, &mut oracle, &mut now, &mut dice),
                    _ => call(&engine, &mut oracle, now, &mut dice, 3),
                }
                let (is, due) = (left(&engine), oracle.left(now));
                assert!(is <= due, "{algorithm:?} case {case} step {step}: {is} left, {due} due");
            }
            // In the end nothing counts any more.
            clock.advance(Duration::from_secs(121));
            assert_eq!(left(&engine), CAPACITY, "{algorithm:?} case {case}");
        }
    }
}

/// What was taken before a reset is given back by that, and not once more.
#[test]
fn what_is_voided_from_before_a_reset_gives_nothing_back_of_what_came_after() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow, Algorithm::TokenBucket] {
        let (engine, clock) = limited(algorithm);
        let call = |units| {
            let decision = engine.track(&tokens(units)).expect("valid");
            decision.event_id().expect("it is let in")
        };
        let (first, amended) = (call(30), call(20));
        engine.rules().reset("rl_l", ("customer_id", "ann")).expect("a rule and its key");
        clock.advance(Duration::from_nanos(1));
        let after = call(40);
        let hold = Hold::lasting(Duration::from_secs(60));
        let held = engine.reserve(&tokens(10), hold).expect("valid");
        assert_eq!(left(&engine), 50, "{algorithm:?}");
        engine.void(first, "before").expect("it is voided");
        engine.amend(amended, &tokens(1), "before").expect("it is amended");
        assert_eq!(left(&engine), 50, "{algorithm:?}");
        engine.void(after, "after").expect("it is voided");
        assert_eq!(left(&engine), 90, "{algorithm:?}");
        drop(held);
    }
}

/// A rule that came into being after an event has nothing of it.
#[test]
fn a_younger_limit_gives_nothing_back() {
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow, Algorithm::TokenBucket] {
        let (engine, clock) = engine(|builder| builder);
        let first = engine.track(&tokens(30)).expect("valid").event_id().expect("it is let in");
        clock.advance(Duration::from_nanos(1));
        let limit = RateLimit::new("l", 100, Window::Minute).algorithm(algorithm);
        let limit = limit.per("customer_id").metric(Metric::TotalTokens);
        engine.rules().add(limit).expect("a good rule");
        assert!(engine.track(&tokens(40)).expect("valid").is_allowed());
        engine.void(first, "before").expect("it is voided");
        assert_eq!(left(&engine), 60, "{algorithm:?}");
    }
}

/// A call that is held for less or more than it takes in the end.
fn held(
    engine: &Engine,
    clock: &limitry::time::ManualClock,
    oracle: &mut Oracle,
    now: &mut Nanos,
    dice: &mut Dice,
) {
    let (estimate, actual) = (i128::from(dice.below(4)) + 1, i128::from(dice.below(6)));
    let hold = Hold::lasting(Duration::from_secs(60));
    let Reserved::Held(reservation) = engine.reserve(&tokens(estimate), hold).expect("valid")
    else {
        return;
    };
    let (reserved, wait) = (*now, i128::from(dice.below(900)) * (SECOND / 1_000));
    clock.advance(duration(wait));
    *now += wait;
    let decision = reservation.commit(&tokens(actual)).expect("it is committed");
    let id = decision.event_id().expect("it is recorded");
    let parts = [(reserved, actual.min(estimate)), (*now, (actual - estimate).max(0))];
    let taken = parts.into_iter().filter(|(_, units)| *units > 0).collect();
    oracle.uses.push(Use { id, taken });
}
