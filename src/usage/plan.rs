//! From a range of time to the buckets and events that cover it exactly.
//!
//! A range is cut at the boundaries of minutes, hours and days, the coarsest that fit. What lies
//! before the first whole minute and after the last comes from the events themselves. Where
//! buckets or events are gone, the plan covers less than was asked for, always without a hole,
//! and says what it covers.

use std::ops::Range;

use smallvec::SmallVec;

use super::grid::Grid;
use crate::base::clock::Timestamp;
use crate::log::Dropped;

const MINUTE_SECONDS: i64 = 60;
/// A whole day before and after every minute that a timestamp can say.
const FIRST_MINUTE: i64 = LAST_MINUTE.saturating_neg();
const LAST_MINUTE: i64 = (1 << 50) * 24 * 60;

/// Whole buckets of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) level: usize,
    pub(super) buckets: Range<i64>,
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
    /// A plan that takes everything from the events: the longest part that the log has all of.
    pub(super) fn of_events(range: &Range<Timestamp>, dropped: &Dropped, now: Timestamp) -> Self {
        Self::edge_of(dropped.longest_rest(range, now))
    }

    /// The same of the last part of a range, which what follows it goes on from.
    pub(super) fn end_of_events(range: &Range<Timestamp>, dropped: &Dropped) -> Self {
        Self::edge_of(dropped.rest_after(range))
    }

    /// A plan of a range by events alone.
    fn edge_of(range: Range<Timestamp>) -> Self {
        let mut plan = Self::starting(range.start);
        plan.edge(range.end);
        plan
    }

    pub(super) fn starting(start: Timestamp) -> Self {
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

/// From when on the levels hold everything, and what the log does not.
#[derive(Clone, Debug)]
pub(super) struct Floors<'l> {
    /// The buckets of each level, and the first minute from which on all of them are kept;
    /// `i64::MIN` where nothing is gone.
    pub(super) levels: [(Grid, i64); 3],
    /// When the events happened that the log does not have any more.
    pub(super) dropped: &'l Dropped,
}

impl Floors<'_> {
    /// The levels of which a bucket that is kept starts at a minute and ends by another one.
    fn fitting(&self, at: i64, last: i64) -> impl DoubleEndedIterator<Item = (usize, Grid)> {
        let fits = move |(level, (grid, floor)): (usize, (Grid, i64))| {
            let is_kept = grid.start_before(at) == at && at >= floor;
            (is_kept && grid.end_after(at) <= last).then_some((level, grid))
        };
        self.levels.into_iter().enumerate().filter_map(fits)
    }

    /// The buckets of the coarsest level that fit between two minutes, and their end.
    fn step(&self, at: i64, last: i64) -> Option<(Piece, i64)> {
        let (level, grid) = self.fitting(at, last).next_back()?;
        // A coarser level takes over at the first of its boundaries where one of its buckets fits.
        let coarser = self.levels.iter().skip(level.saturating_add(1));
        let to = coarser
            .filter_map(|(grid, floor)| {
                let start = grid.start_from(at.max(*floor));
                (start > at && grid.end_after(start) <= last).then_some(start)
            })
            .fold(grid.start_before(last), i64::min);
        let buckets = grid.bucket_of(at)..grid.bucket_of(to);
        Some((Piece { level, buckets }, to))
    }

    /// The buckets of the finest level that is kept between two minutes, and their end.
    fn fine_step(&self, at: i64, last: i64) -> Option<(Piece, i64)> {
        let (level, grid) = self.fitting(at, last).next()?;
        // A finer level takes over where it is kept, at a boundary of both.
        let finer = self.levels.iter().take(level);
        let to = finer
            .map(|(_, floor)| grid.start_from(at.max(*floor)))
            .filter(|start| *start > at)
            .fold(grid.start_before(last), i64::min);
        let buckets = grid.bucket_of(at)..grid.bucket_of(to);
        Some((Piece { level, buckets }, to))
    }

    /// Plans a range by the finest that is known of it: its end, which the log has all of, by
    /// events from an instant on.
    pub(super) fn fine_plan(&self, range: &Range<Timestamp>, events: Timestamp) -> Plan {
        if events <= range.start {
            return Plan::edge_of(range.clone());
        }
        // Behind the bucket that has what is dropped last.
        let (last, minute) = (minute_of(events), minute_rounded_up(events));
        let mut levels = self.levels.iter();
        let kept = levels.find(|(grid, floor)| grid.start_before(last) >= *floor);
        let from = kept.map_or(minute, |(grid, _)| grid.start_from(minute));
        let from = start_of(from).min(range.end);
        let mut plan = self.plan_by(range.start..from, Self::fine_step);
        if plan.covers.end == from {
            plan.edge(range.end);
        }
        plan
    }

    /// The first minute from `at` on where a bucket starts that is kept.
    fn next_start(&self, at: i64) -> i64 {
        let starts = self.levels.iter().map(|(grid, floor)| grid.start_from(at.max(*floor)));
        starts.min().unwrap_or(LAST_MINUTE)
    }

    /// Plans a range; [`Timestamp::MIN`] and [`Timestamp::MAX`] are no bounds.
    pub(super) fn plan(&self, range: Range<Timestamp>) -> Plan {
        self.plan_by(range, Self::step)
    }

    fn plan_by(
        &self,
        range: Range<Timestamp>,
        step: impl Fn(&Self, i64, i64) -> Option<(Piece, i64)>,
    ) -> Plan {
        let Range { start, end } = range;
        let first = if start == Timestamp::MIN { FIRST_MINUTE } else { minute_rounded_up(start) };
        let last = if end == Timestamp::MAX { LAST_MINUTE } else { minute_of(end) };
        let mut plan = Plan::starting(start);
        let mut at = first;
        if start != Timestamp::MIN && start != start_of(first) {
            at = self.next_start(first);
            plan = Plan::end_of_events(&(start..start_of(at).min(end)), self.dropped);
        }
        while at < last {
            if let Some((piece, to)) = step(self, at, last) {
                plan.pieces.push(piece);
                at = to;
                plan.covers.end = start_of(at);
                continue;
            }
            let from = start_of(at);
            at = self.next_start(at.saturating_add(1)).min(last);
            let gap = from..start_of(at);
            if self.dropped.spare(&gap) {
                plan.edge(gap.end);
            } else if plan.is_empty() {
                plan = Plan::end_of_events(&gap, self.dropped);
            } else {
                plan.edge(self.dropped.rest_before(&gap).end);
                return plan;
            }
        }
        if at == last && end == Timestamp::MAX {
            plan.covers.end = end;
        } else if plan.covers.end < end {
            let rest = plan.covers.end..end;
            if plan.is_empty() {
                return Plan::end_of_events(&rest, self.dropped);
            }
            plan.edge(self.dropped.rest_before(&rest).end);
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

#[cfg(test)]
mod tests {
    use super::super::grid::{Grid, UNITS};
    use super::*;
    use proptest::prelude::*;

    const MIN: i64 = i64::MIN;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    fn floors(minutes: [i64; 3], coarse: i64, dropped: &Dropped) -> Floors<'_> {
        let mut levels = UNITS.map(Grid::of).map(|grid| (grid, MIN));
        for ((grid, floor), minute) in levels.iter_mut().zip(minutes) {
            (grid.coarse, *floor) = (coarse, minute);
        }
        Floors { levels, dropped }
    }

    /// What a plan takes from buckets: the level of each run of them, and its minutes.
    fn pieces(floors: &Floors<'_>, plan: &Plan) -> Vec<(usize, Range<i64>)> {
        let minutes = |piece: &Piece| {
            let (grid, _) = floors.levels[piece.level];
            grid.start(piece.buckets.start)..grid.start(piece.buckets.end)
        };
        plan.pieces.iter().map(|piece| (piece.level, minutes(piece))).collect()
    }

    #[test]
    fn a_range_takes_the_coarsest_buckets_that_fit() {
        let none = Dropped::new();
        let floors = floors([MIN; 3], MIN, &none);
        // 22:59:30 of the first day to 01:31:10 of the fourth.
        let plan = floors.plan(at(82_770)..at(3 * 86_400 + 5_470));
        let days = 1_440..3 * 1_440;
        let expected =
            [(1, 1_380..1_440), (2, days), (1, 3 * 1_440..3 * 1_440 + 90), (0, 4_410..4_411)];
        assert_eq!(pieces(&floors, &plan), expected);
        let edges = [at(82_770)..at(82_800), at(3 * 86_400 + 5_460)..at(3 * 86_400 + 5_470)];
        assert_eq!(plan.edges.as_slice(), edges);
        assert_eq!(plan.covers, at(82_770)..at(3 * 86_400 + 5_470));
    }

    #[test]
    fn without_bounds_whole_days_take_all() {
        let dropped = Dropped::of(at(0), at(500));
        let floors = floors([MIN; 3], MIN, &dropped);
        let plan = floors.plan(Timestamp::MIN..Timestamp::MAX);
        assert_eq!((plan.pieces.len(), plan.edges.len()), (1, 0));
        assert_eq!(plan.covers, Timestamp::MIN..Timestamp::MAX);
    }

    /// What was dropped costs an edge only where it was.
    #[test]
    fn an_edge_is_taken_from_the_log_where_it_has_all_of_it() {
        let dropped = Dropped::of(at(70), at(80));
        let floors = floors([MIN; 3], MIN, &dropped);
        let covers = |start, end| floors.plan(at(start)..at(end)).covers;
        assert_eq!(covers(10, 50), at(10)..at(50), "before it");
        assert_eq!(covers(10, 75), at(10)..at(70));
        let behind = at(80).saturating_add_nanos(1);
        assert_eq!(covers(75, 200), behind..at(200));
        assert_eq!(covers(81, 110), at(81)..at(110));
        assert_eq!(covers(130, 250), at(130)..at(250), "behind it");
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
            fine in floor(), middle in floor(), coarse in floor(),
            dropped in proptest::collection::vec((0..600_000_i64, 0..90_000_i64), 0..4),
            whole_hours in prop_oneof![Just(MIN), 0..90_i64],
            whole: bool,
        ) {
            let coarsest = whole_hours.saturating_mul(60);
            let mut gone = Dropped::new();
            for (first, length) in dropped {
                gone.merge(&Dropped::of(at(first), at(first + length)));
            }
            let [minute, mut part, day_grid] = UNITS.map(Grid::of);
            part.coarse = coarsest;
            let from =
                |grid: Grid, minute| if minute == MIN { MIN } else { grid.start_from(minute) };
            let day = from(day_grid, coarse);
            let hour = from(part, middle).max(day);
            let minutes = if whole { [MIN; 3] } else { [from(minute, fine).max(hour), hour, day] };
            let floors = floors(minutes, coarsest, &gone);
            let range = at(start)..at(start + length);
            let plan = floors.plan(range.clone());
            let mut covered: Vec<Range<i64>> = Vec::new();
            for (level, minutes) in pieces(&floors, &plan) {
                prop_assert!(minutes.start >= floors.levels[level].1);
                let splits_hour = |minute: i64| minute < coarsest && minute % 60 != 0;
                let splits = splits_hour(minutes.start) || splits_hour(minutes.end);
                prop_assert!(level != 1 || !splits);
                covered.push(minutes.start * 60..minutes.end * 60);
            }
            let seconds = |at: Timestamp| at.unix_seconds() + i64::from(at.subsec_nanos() > 0);
            for edge in &plan.edges {
                prop_assert!(gone.spare(edge));
                covered.push(seconds(edge.start)..seconds(edge.end));
            }
            covered.sort_by_key(|range| range.start);
            let mut next = seconds(plan.covers.start);
            prop_assert!(next >= start);
            for range in covered {
                prop_assert_eq!(range.start, next);
                // What begins a nanosecond behind a second may end with the next one.
                prop_assert!(range.end >= range.start);
                next = range.end;
            }
            prop_assert_eq!(next, seconds(plan.covers.end));
            prop_assert!(next <= start + length);
            if gone.spare(&range) {
                prop_assert_eq!(plan.covers, range);
            }
        }
    }
}
