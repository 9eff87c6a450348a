//! From a range of time to the buckets and events that cover it exactly.
//!
//! A range is cut at the boundaries of minutes, hours and days, the coarsest that fit. What lies
//! before the first whole minute and after the last comes from the events themselves. Where
//! buckets or events are gone, the plan covers less than was asked for, always without a hole,
//! and says what it covers.

use std::ops::Range;

use smallvec::SmallVec;

use crate::clock::Timestamp;

const MINUTE_SECONDS: i64 = 60;
/// The resolutions, in minutes, and their places among the levels.
pub(super) const LEVEL_MINUTES: [i64; 3] = [1, 60, 24 * 60];
/// A whole day before and after every minute that a timestamp can say.
const FIRST_MINUTE: i64 = LAST_MINUTE.saturating_neg();
const LAST_MINUTE: i64 = (1 << 50) * 24 * 60;

/// Whole buckets of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) level: usize,
    pub(super) buckets: Range<i64>,
}

#[cfg(test)]
impl Piece {
    /// The minutes of the buckets.
    pub(super) fn minutes(&self) -> Range<i64> {
        let length = LEVEL_MINUTES.get(self.level).copied().unwrap_or(1);
        self.buckets.start.saturating_mul(length)..self.buckets.end.saturating_mul(length)
    }
}

/// How a range is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What the answer covers: all of the range, or the part that is still known.
    pub(super) covers: Range<Timestamp>,
    pub(super) pieces: SmallVec<[Piece; 5]>,
    /// The times whose events are counted one by one.
    pub(super) edges: SmallVec<[Range<Timestamp>; 2]>,
}

impl Plan {
    /// A plan that takes everything from the events.
    pub(super) fn of_events(range: Range<Timestamp>, floor: Timestamp) -> Self {
        let mut plan = Self::starting(range.start.max(floor).min(range.end));
        plan.edge(range.end);
        plan
    }

    fn starting(start: Timestamp) -> Self {
        Self { covers: start..start, pieces: SmallVec::new(), edges: SmallVec::new() }
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.edges.is_empty()
    }

    /// Covers on to `end` by events.
    fn edge(&mut self, end: Timestamp) {
        let start = self.covers.end;
        if start < end {
            match self.edges.last_mut() {
                Some(edge) if edge.end == start => edge.end = end,
                _ => self.edges.push(start..end),
            }
            self.covers.end = end;
        }
    }
}

/// From when on the levels and the log hold everything.
#[derive(Clone, Debug)]
pub(super) struct Floors {
    /// By level, in minutes; `i64::MIN` where nothing is gone.
    pub(super) minutes: [i64; 3],
    /// The first instant whose events are all in the log; [`Timestamp::MIN`] where none is gone.
    pub(super) log: Timestamp,
}

impl Floors {
    /// The buckets of the coarsest level that fit between two minutes, and their end.
    fn step(&self, at: i64, last: i64) -> Option<(Piece, i64)> {
        let fits = |(level, length): &(usize, i64)| {
            at.rem_euclid(*length) == 0
                && at >= self.floor(*level)
                && at.saturating_add(*length) <= last
        };
        let (level, length) = LEVEL_MINUTES.into_iter().enumerate().rev().find(fits)?;
        let whole = last.saturating_sub(last.rem_euclid(length));
        // A coarser level takes over at the first of its boundaries where one of its buckets fits.
        let coarser = LEVEL_MINUTES.into_iter().enumerate().skip(level.saturating_add(1));
        let to = coarser
            .filter_map(|(level, length)| {
                let start = round_up(at, length).max(self.floor(level));
                (start > at && start.saturating_add(length) <= last).then_some(start)
            })
            .fold(whole, i64::min);
        let buckets = at.div_euclid(length)..to.div_euclid(length);
        Some((Piece { level, buckets }, to))
    }

    /// The first minute from `at` on where a bucket starts that is kept.
    fn next_start(&self, at: i64) -> i64 {
        let starts = LEVEL_MINUTES.into_iter().enumerate();
        let starts = starts.map(|(level, length)| round_up(at, length).max(self.floor(level)));
        starts.min().unwrap_or(LAST_MINUTE)
    }

    fn floor(&self, level: usize) -> i64 {
        self.minutes.get(level).copied().unwrap_or(i64::MAX)
    }

    /// Plans a range; [`Timestamp::MIN`] and [`Timestamp::MAX`] are no bounds.
    pub(super) fn plan(&self, range: Range<Timestamp>) -> Plan {
        let Range { start, end } = range;
        let first = if start == Timestamp::MIN { FIRST_MINUTE } else { minute_rounded_up(start) };
        let last = if end == Timestamp::MAX { LAST_MINUTE } else { minute_of(end) };
        let mut plan = Plan::starting(start);
        let mut at = first;
        let starts_inside = start != Timestamp::MIN && start != start_of(first);
        if starts_inside && start >= self.log {
            at = self.next_start(first);
            plan.edge(start_of(at).min(end));
        } else if starts_inside {
            at = self.next_start(first);
            plan = Plan::starting(start_of(at).min(end));
        }
        while at < last {
            if let Some((piece, to)) = self.step(at, last) {
                plan.pieces.push(piece);
                at = to;
                plan.covers.end = start_of(at);
            } else if start_of(at) >= self.log {
                at = self.next_start(at.saturating_add(1)).min(last);
                plan.edge(start_of(at));
            } else if plan.is_empty() {
                at = self.next_start(at.saturating_add(1));
                plan = Plan::starting(start_of(at).min(end));
            } else {
                return plan;
            }
        }
        if at == last && end == Timestamp::MAX {
            plan.covers.end = end;
        } else if plan.covers.end < end && plan.covers.end >= self.log {
            plan.edge(end);
        }
        plan
    }
}

/// The minute that an instant is in.
pub(super) fn minute_of(at: Timestamp) -> i64 {
    at.unix_seconds().div_euclid(MINUTE_SECONDS)
}

fn minute_rounded_up(at: Timestamp) -> i64 {
    let minute = minute_of(at);
    if start_of(minute) < at { minute.saturating_add(1) } else { minute }
}

/// The start of a minute; the ends of the line for minutes beyond.
pub(super) fn start_of(minute: i64) -> Timestamp {
    match minute {
        ..=FIRST_MINUTE => Timestamp::MIN,
        LAST_MINUTE.. => Timestamp::MAX,
        _ => Timestamp::new(minute.saturating_mul(MINUTE_SECONDS), 0),
    }
}

fn round_up(minute: i64, length: i64) -> i64 {
    let into = minute.rem_euclid(length);
    if into == 0 { minute } else { minute.saturating_add(length.saturating_sub(into)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: i64 = i64::MIN;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    #[test]
    fn a_range_takes_the_coarsest_buckets_that_fit() {
        let floors = Floors { minutes: [MIN; 3], log: Timestamp::MIN };
        // 22:59:30 of the first day to 01:01:10 of the fourth.
        let plan = floors.plan(at(82_770)..at(3 * 86_400 + 3_670));
        let pieces: Vec<_> = plan.pieces.iter().map(|p| (p.level, p.buckets.clone())).collect();
        let expected =
            [(1, 23..24), (2, 1..3), (1, 72..73), (0, 4_380..4_381)].map(|(l, b)| (l, b));
        assert_eq!(pieces, expected);
        let edges = [at(82_770)..at(82_800), at(3 * 86_400 + 3_660)..at(3 * 86_400 + 3_670)];
        assert_eq!(plan.edges.as_slice(), edges);
        assert_eq!(plan.covers, at(82_770)..at(3 * 86_400 + 3_670));
    }

    #[test]
    fn without_bounds_whole_days_take_all() {
        let floors = Floors { minutes: [MIN; 3], log: at(500) };
        let plan = floors.plan(Timestamp::MIN..Timestamp::MAX);
        assert_eq!((plan.pieces.len(), plan.edges.len()), (1, 0));
        assert_eq!(plan.covers, Timestamp::MIN..Timestamp::MAX);
    }

    fn floor() -> impl Strategy<Value = i64> {
        prop_oneof![Just(MIN), 0..4_000_i64]
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            cases: 4_000, ..ProptestConfig::default() })]

        /// Every second that a plan covers is in exactly one bucket that is kept or one edge that
        /// the log has, nothing else is, and it covers all where everything is there.
        #[test]
        fn a_plan_has_no_hole_and_no_overlap(
            start in 0..300_000_i64, length in 1..300_000_i64,
            fine in floor(), middle in floor(), coarse in floor(), log in 0..400_000_i64,
            whole: bool, apart: bool,
        ) {
            let day = coarse.saturating_sub(coarse.rem_euclid(1_440));
            let hour = middle.saturating_sub(middle.rem_euclid(60)).max(day);
            let floors = if whole {
                Floors { minutes: [MIN; 3], log: at(log) }
            } else if apart {
                // As where roll-ups begin in the middle of a day.
                let first = |length: i64| fine.saturating_add(length - 1).div_euclid(length);
                let minutes = [1, 60, 1_440].map(|it| first(it).saturating_mul(it));
                let minutes = if fine == MIN { [MIN; 3] } else { minutes };
                Floors { minutes, log: at(log) }
            } else {
                Floors { minutes: [fine.max(hour), hour, day], log: at(log) }
            };
            let plan = floors.plan(at(start)..at(start + length));
            let mut covered: Vec<Range<i64>> = Vec::new();
            for piece in &plan.pieces {
                let minutes = piece.minutes();
                prop_assert!(minutes.start >= floors.minutes[piece.level]);
                covered.push(minutes.start * 60..minutes.end * 60);
            }
            for edge in &plan.edges {
                prop_assert!(edge.start >= floors.log);
                covered.push(edge.start.unix_seconds()..edge.end.unix_seconds());
            }
            covered.sort_by_key(|range| range.start);
            let mut next = plan.covers.start.unix_seconds();
            prop_assert!(next >= start);
            for range in covered {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > range.start);
                next = range.end;
            }
            prop_assert_eq!(next, plan.covers.end.unix_seconds());
            prop_assert!(next <= start + length);
            if start >= log {
                prop_assert_eq!(plan.covers, at(start)..at(start + length));
            }
        }
    }
}
