//! What is asked, and what the answers must be.

use super::*;
use crate::support::fold::{
    ALWAYS, BucketLength, Selection, Sums, breakdown, figure, series, summary,
};
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos};
use crate::support::usage::{
    DIMENSIONS, covered, draw_pairs, instant, interval, meter_query, sums, sums_of_rows,
    usage_query,
};
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::ops::Range;

impl History<'_> {
    pub(super) fn ask(&mut self) {
        let mut selection = self.draw_question();
        match self.dice.below(14) {
            0..=2 => self.ask_for_a_summary(&selection),
            3..=5 => {
                let by = self.dice.pick(&DIMENSIONS);
                self.ask_for_a_breakdown(&selection, by);
            }
            6..=7 => {
                let bucket_length = self.dice.pick(&BucketLength::ALL);
                selection.range = self.draw_range_for(bucket_length);
                let zone = self.dice.pick(&ZONES);
                let anchor = self.dice.chance(50).then(|| self.dice.range(1, 31));
                let anchor = anchor.and_then(|day| {
                    NaiveDate::from_ymd_opt(2024, 1, u32::try_from(day).expect("a day"))
                });
                self.ask_for_a_series(&selection, bucket_length, zone, anchor);
            }
            8 => self.ask_for_parts(&selection),
            9..=10 => {
                let bucket_length = self.dice.pick(&BucketLength::ALL);
                selection.range = self.draw_range_for(bucket_length);
                self.ask_for_series_by(&selection, bucket_length);
            }
            11..=12 => {
                let bucket_length = self.dice.pick(&BucketLength::ALL);
                selection.range = self.draw_range_for(bucket_length);
                self.ask_for_rows(&selection, bucket_length);
            }
            _ => self.ask_the_meters(&selection),
        }
    }

    fn draw_question(&mut self) -> Selection {
        let pairs = draw_pairs(&mut self.dice, self.setup.customers);
        let (mut start, mut end) = (self.draw_instant(), self.draw_instant());
        if start > end {
            (start, end) = (end, start);
        }
        let mut range = start..end.max(start + 1);
        match self.dice.below(10) {
            0 => range = ALWAYS,
            1 => range.start = ALWAYS.start,
            2 => range.end = ALWAYS.end,
            _ => {}
        }
        Selection { pairs, range }
    }

    /// An instant that is near something: an event, the edge of a bucket, now.
    fn draw_instant(&mut self) -> Nanos {
        let dice = &mut self.dice;
        let mut at = if self.accepted.is_empty() || dice.chance(20) {
            self.at
        } else if dice.chance(50) {
            // One of the newest.
            let newest = self.accepted.len().saturating_sub(200);
            dice.pick(&self.accepted[newest..]).at
        } else {
            dice.pick(&self.accepted).at
        };
        at = match dice.below(8) {
            0 => at.div_euclid(MINUTE) * MINUTE,
            1 | 2 => at.div_euclid(HOUR) * HOUR,
            3 | 4 => at.div_euclid(DAY) * DAY,
            5 => at - Nanos::from(dice.below(40)) * DAY,
            _ => at,
        };
        at + dice.pick(&[-1, 0, 0, 0, 1])
    }

    /// A range of at most a few hundred buckets.
    fn draw_range_for(&mut self, bucket_length: BucketLength) -> Range<Nanos> {
        let most = match bucket_length {
            BucketLength::Minute => 8 * HOUR,
            BucketLength::Hour => 12 * DAY,
            BucketLength::Day => 60 * DAY,
            BucketLength::Week | BucketLength::Month => 150 * DAY,
        };
        let most = u64::try_from(most).expect("some months");
        let length = match self.dice.below(3) {
            0 => self.dice.below(100),
            _ => self.dice.below(most),
        };
        let end = self.draw_instant() + Nanos::from(self.dice.below(100_000_000_000));
        end - Nanos::from(length) - 1..end
    }

    /// Checks what an answer says that it covers, and returns it.
    fn covered(
        &mut self,
        selection: &Selection,
        by: Option<&str>,
        covers: &limitry::usage::Coverage,
    ) -> Selection {
        let range = covered(covers);
        let what = format!("{}: {selection:?} by {by:?} covers {range:?}", self.setup.name);
        assert_eq!(covers.is_complete, range == selection.range, "{what}");
        assert!(range.start >= selection.range.start && range.end <= selection.range.end, "{what}");
        assert!(covers.is_complete || !self.knows_all(selection, by), "{what}");
        let known = selection.during(range);
        if self.accepted.iter().any(|usage_event| known.has(usage_event)) {
            *(if covers.is_complete { &mut self.complete } else { &mut self.partial }) += 1;
        }
        known
    }

    /// Whether the engine has what it needs to know all that is asked for.
    fn knows_all(&self, selection: &Selection, by: Option<&str>) -> bool {
        let is_hour = |at: Nanos| at == ALWAYS.start || at == ALWAYS.end || at % HOUR == 0;
        self.floor().is_none_or(|gone| gone < selection.range.start)
            || self.setup.sums_up(selection, by)
                && is_hour(selection.range.start)
                && is_hour(selection.range.end)
    }

    /// The latest instant of the events that the log has dropped.
    fn floor(&self) -> Option<Nanos> {
        let gone = self.accepted.len() - self.engine.events().len();
        self.accepted[..gone].iter().map(|usage_event| usage_event.at).max()
    }

    pub(super) fn ask_for_a_summary(&mut self, selection: &Selection) {
        let query = usage_query(selection, Tz::UTC, None);
        let answer = self.engine.usage().summary(&query).expect("a good question");
        let known = self.covered(selection, None, &answer.covers);
        let expected = summary(&self.accepted, &known);
        assert_eq!(sums(&answer.totals), expected, "{}: {selection:?}", self.setup.name);
    }

    pub(super) fn ask_for_a_breakdown(&mut self, selection: &Selection, by: &str) {
        let query = usage_query(selection, Tz::UTC, None);
        let answer = self.engine.usage().breakdown(&query, by).expect("a good question");
        let known = self.covered(selection, Some(by), &answer.covers);
        let what = format!("{}: {known:?} by {by}: {answer:?}", self.setup.name);
        let expected = breakdown(&self.accepted, &known, by);
        assert_eq!(sums_of_rows(&answer), Sums::of_all(expected.values()), "{what}");
        let order = |a: &limitry::usage::BreakdownRow, b: &limitry::usage::BreakdownRow| {
            let by_events = b.totals.total_events.cmp(&a.totals.total_events);
            by_events.then_with(|| a.dimension.cmp(&b.dimension)).is_lt()
        };
        assert!(answer.rows.is_sorted_by(order), "{what}");
        for row in &answer.rows {
            let (row, whole) = (sums(&row.totals), &expected[&row.dimension]);
            if answer.other.is_none() || !self.setup.forgets {
                assert_eq!(&row, whole, "{what}");
            } else {
                assert!((1..=whole.events).contains(&row.events), "{what}");
            }
        }
        match &answer.other {
            None => assert_eq!(answer.rows.len(), expected.len(), "{what}"),
            Some(other) => assert!(self.setup.has_caps && other.total_events > 0, "{what}"),
        }
    }

    fn ask_for_a_series(
        &mut self,
        selection: &Selection,
        bucket_length: BucketLength,
        zone: Tz,
        anchor: Option<NaiveDate>,
    ) {
        let query = usage_query(selection, zone, anchor);
        let answer =
            self.engine.usage().timeseries(&query, interval(bucket_length)).expect("so few points");
        let buckets = bucket_length.buckets(zone, anchor, &selection.range);
        let what =
            format!("{}: {selection:?} by {bucket_length:?} of {zone} {anchor:?}", self.setup.name);
        let starts: Vec<Nanos> =
            answer.points.iter().map(|point| instant(point.timestamp)).collect();
        let expected: Vec<Nanos> = buckets.iter().map(|bucket| bucket.start).collect();
        assert_eq!(starts, expected, "{what}");
        let all = answer.points.iter().all(|point| point.is_complete);
        assert_eq!(answer.covers.is_complete, all, "{what}");
        let covers = covered(&answer.covers);
        let expected = series(&self.accepted, selection, &buckets);
        for ((point, bucket), expected) in answer.points.iter().zip(&buckets).zip(&expected) {
            let (found, what) = (sums(&point.totals), format!("{what}: {bucket:?}"));
            let part = bucket.start.max(selection.range.start)..bucket.end.min(selection.range.end);
            if point.is_complete {
                assert_eq!(&found, expected, "{what}");
            } else {
                assert!(found.events <= expected.events, "{what}");
                assert!(!self.knows_all(&selection.during(part.clone()), None), "{what}");
            }
            let is_covered = part.start < covers.end && covers.start < part.end;
            assert!(is_covered || found == Sums::default(), "{what}: covers {covers:?}");
        }
    }

    /// The parts of a time add up to all of it.
    fn ask_for_parts(&mut self, selection: &Selection) {
        let ask = |selection: &Selection| {
            let query = usage_query(selection, Tz::UTC, None);
            self.engine.usage().summary(&query).expect("a good question")
        };
        let whole = ask(selection);
        let mut cuts: Vec<Nanos> = (0..6).map(|_| self.draw_instant()).collect();
        cuts.retain(|at| selection.range.contains(at) && *at > selection.range.start);
        cuts.extend([selection.range.start, selection.range.end]);
        cuts.sort_unstable();
        cuts.dedup();
        let parts: Vec<_> =
            cuts.windows(2).map(|cut| self.ask_part(&selection.during(cut[0]..cut[1]))).collect();
        if whole.covers.is_complete && parts.iter().all(Option::is_some) {
            let parts = Sums::of_all(parts.iter().flatten());
            assert_eq!(parts, sums(&whole.totals), "{}: {selection:?} {cuts:?}", self.setup.name);
        }
    }

    /// The sums of a time, where all of it is known.
    fn ask_part(&self, selection: &Selection) -> Option<Sums> {
        let query = usage_query(selection, Tz::UTC, None);
        let answer = self.engine.usage().summary(&query).expect("a good question");
        answer.covers.is_complete.then(|| sums(&answer.totals))
    }

    pub(super) fn ask_the_meters(&mut self, selection: &Selection) {
        for gauge in self.gauges.clone() {
            let query = meter_query(selection);
            let answer = self.engine.meters().query(&gauge.id, &query).expect("a good question");
            let mut meant = selection.clone();
            meant.pairs.extend(gauge.pairs.clone());
            let known = selection.during(covered(&answer.covers));
            let what = format!("{}: {gauge:?} {selection:?} {:?}", self.setup.name, answer.covers);
            let is_known = self.floor().is_none_or(|gone| gone < selection.range.start);
            assert!(answer.covers.is_complete || !is_known, "{what}");
            let expected =
                figure(&self.accepted, &meant.during(known.range), gauge.aggregate, gauge.of);
            let off = (answer.value.millionths() - expected).abs();
            let found = answer.value;
            assert!(off <= gauge.aggregate.slack(expected), "{what}: {found} and {expected}");
        }
    }
}
