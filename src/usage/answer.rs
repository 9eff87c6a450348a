//! The answers to questions about usage.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::cells::Fold;
use super::columns::{Columns, OTHER_VALUES};
use super::interval::MAX_POINTS;
use super::question::Answer;
use super::row::Total;
use super::select::{Group, Totals};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::log::QueryError;

/// The sums over some events.
///
/// Serializes as the product's five totals; [`generic`](Self::generic) is its later shape, a
/// count and a map of all values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageTotals {
    /// How many events.
    pub total_events: u64,
    /// The sum of their total tokens.
    pub total_tokens: u128,
    /// The sum of their input tokens.
    pub total_input_tokens: u128,
    /// The sum of their output tokens.
    pub total_output_tokens: u128,
    /// The sum of their cost in cents, to the last of six digits; below zero where more was given
    /// back than taken.
    pub total_cost_cents: Amount,
    /// The sum of every other value by name, `latency_ms` included.
    pub values: BTreeMap<String, Amount>,
    /// How many values are in no sum, because their names came when there was
    /// [no room](crate::usage::RollupOptions::value) for another. Serialized where it is not 0.
    pub other_values: u64,
    /// The names of values whose sum is beyond an [`Amount`] and so not among the `values`: no
    /// events add up to that but those of a store from before amounts had bounds. Serialized where
    /// there are any.
    pub out_of_range: Vec<String>,
}

impl UsageTotals {
    pub(super) fn of(total: &Total, columns: &Columns) -> Self {
        let [input, output, tokens, cost, latency] = total.fixed;
        let mut totals = Self {
            total_events: total.events,
            total_tokens: tokens.unsigned_abs(),
            total_input_tokens: input.unsigned_abs(),
            total_output_tokens: output.unsigned_abs(),
            total_cost_cents: Amount::from_millionths(cost),
            ..Self::default()
        };
        if latency > 0 {
            totals.insert("latency_ms", whole("latency_ms", latency).ok());
        }
        for cell in total.cells() {
            if cell.column == OTHER_VALUES {
                totals.other_values = u64::try_from(cell.value()).unwrap_or(u64::MAX);
            } else if let (Fold::Sum, Some(name)) = (cell.fold, columns.name(cell.column)) {
                let sum = Amount::from_millionths(cell.value());
                totals.insert(name, (!cell.overflowed).then_some(sum));
            }
        }
        totals
    }

    /// Adds a value's sum, where it is known.
    fn insert(&mut self, name: &str, sum: Option<Amount>) {
        match sum {
            Some(sum) => drop(self.values.insert(name.to_owned(), sum)),
            None => self.out_of_range.push(name.to_owned()),
        }
    }
}

/// A whole sum as an amount.
pub(super) fn whole(field: &str, sum: i128) -> Result<Amount, QueryError> {
    sum.checked_mul(1_000_000)
        .map(Amount::from_millionths)
        .ok_or_else(|| QueryError::Overflow { field: field.into() })
}

/// What time an answer covers.
///
/// All that was asked for, while the roll-ups and the events that it needs are kept. Where some of
/// it is gone already the answer covers a part that is known exactly, without a hole, and the
/// serialized answer then has a field `covers`. Where only the events can tell, it is the longest
/// part in which none was dropped; what is dropped costs no other time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Coverage {
    /// The first instant that is covered; `None` without a bound.
    pub start: Option<Timestamp>,
    /// The first instant that is not covered any more; `None` without a bound.
    pub end: Option<Timestamp>,
    /// Whether that is all that was asked for.
    pub is_complete: bool,
}

impl Coverage {
    /// What an answer covers of the ranges that were asked for, in order.
    fn of(covered: &[&Range<Timestamp>], asked: &[Range<Timestamp>]) -> Self {
        let mut known = covered.iter().filter(|range| range.start < range.end);
        let first = known.next();
        let last = known.next_back().or(first);
        let none = asked.last().map_or(Timestamp::MIN, |range| range.end);
        let start = first.map_or(none, |range| range.start);
        let end = last.map_or(none, |range| range.end);
        Self {
            start: (start > Timestamp::MIN).then_some(start),
            end: (end < Timestamp::MAX).then_some(end),
            is_complete: covered.iter().zip(asked).all(|(covered, asked)| *covered == asked),
        }
    }
}

impl Answer {
    pub(crate) fn coverage(&self, asked: &Range<Timestamp>) -> Coverage {
        self.coverage_of(std::slice::from_ref(asked))
    }

    pub(crate) fn coverage_of(&self, asked: &[Range<Timestamp>]) -> Coverage {
        Coverage::of(&self.covers().collect::<Vec<_>>(), asked)
    }
}

/// The totals of a range of time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageSummary {
    /// The sums.
    pub totals: UsageTotals,
    /// The time that they are about.
    pub covers: Coverage,
}

/// The totals of a range of time, by the values of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageBreakdown {
    /// One row a value that has events, the most events first, then by value.
    pub rows: Vec<BreakdownRow>,
    /// The totals of the events whose values came when the dimension had as many values as its
    /// cap allows. A value may have a row too, for the events that came when there was room
    /// again. `None` where there are no such events.
    pub other: Option<UsageTotals>,
    /// The time that they are about.
    pub covers: Coverage,
}

/// The totals of one value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakdownRow {
    /// The value; `None` for the events that lack the dimension.
    pub dimension: Option<String>,
    /// Its sums.
    pub totals: UsageTotals,
}

/// The totals of a range of time, by interval and by the values of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeseriesBreakdown {
    /// A series each of as many values as were asked for, those with the most events in all of
    /// the range first, then by value.
    pub series: Vec<BreakdownSeries>,
    /// The series of all other values together, among them those that have no room of their own
    /// (see [`UsageBreakdown::other`]); `None` where no other has events.
    pub rest: Option<RestSeries>,
    /// The time that they are about, as of a [`UsageTimeseries`].
    pub covers: Coverage,
}

/// The series of one value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakdownSeries {
    /// The value; `None` for the events that lack the dimension.
    pub dimension: Option<String>,
    /// The sums over all points.
    pub totals: UsageTotals,
    /// One point an interval, as a [`UsageTimeseries`] has them.
    pub points: Vec<TimeseriesPoint>,
}

/// The series of all values that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestSeries {
    /// The sums over all points.
    pub totals: UsageTotals,
    /// One point an interval, as a [`UsageTimeseries`] has them.
    pub points: Vec<TimeseriesPoint>,
}

/// The totals of a range of time, by interval.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageTimeseries {
    /// One point an interval, also where nothing happened, in order.
    pub points: Vec<TimeseriesPoint>,
    /// The time that they are about, from the first covered instant to the last. A point in
    /// between may be covered in part, and says so.
    pub covers: Coverage,
}

/// The totals of one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeseriesPoint {
    /// The start of the interval, which may lie before that of the range.
    pub timestamp: Timestamp,
    /// The sums of the part of the interval that is in the range.
    pub totals: UsageTotals,
    /// Whether they are about all of that part; serialized as `partial: true` where not.
    pub is_complete: bool,
}

impl UsageSummary {
    pub(crate) fn of(answer: &Answer, asked: &Range<Timestamp>) -> Self {
        let total = answer.total().map(|total| UsageTotals::of(total, &answer.columns));
        Self { totals: total.unwrap_or_default(), covers: answer.coverage(asked) }
    }
}

impl UsageBreakdown {
    pub(crate) fn of(answer: &Answer, asked: &Range<Timestamp>) -> Self {
        let (mut rows, mut other) = (Vec::new(), None);
        for (group, totals) in answer.groups() {
            let Some(total) = totals.get(0).filter(|total| total.events > 0) else { continue };
            let totals = UsageTotals::of(total, &answer.columns);
            match group {
                Group::Values(_) => rows.push(BreakdownRow { dimension: group.first(), totals }),
                Group::Other => other = Some(totals),
            }
        }
        rows.sort_by(|a, b| {
            let by_events = b.totals.total_events.cmp(&a.totals.total_events);
            by_events.then_with(|| a.dimension.cmp(&b.dimension))
        });
        Self { rows, other, covers: answer.coverage(asked) }
    }
}

impl UsageTimeseries {
    pub(crate) fn of(
        answer: &Answer,
        starts: impl Iterator<Item = Timestamp>,
        asked: &[Range<Timestamp>],
    ) -> Self {
        let points = points(answer, answer.totals(), starts, asked);
        Self { points, covers: answer.coverage_of(asked) }
    }
}

impl TimeseriesBreakdown {
    /// The series of the `most` values with the most events, and that of the others.
    pub(crate) fn of(
        answer: &Answer,
        starts: &[Timestamp],
        asked: &[Range<Timestamp>],
        most: usize,
    ) -> Result<Self, QueryError> {
        let mut groups: Vec<_> = answer
            .groups()
            .map(|(group, totals)| (group, totals.sum(), totals))
            .filter(|(_, sum, _)| sum.events > 0)
            .collect();
        // Those without room have no series of their own.
        groups
            .sort_by_key(|(group, sum, _)| (**group == Group::Other, Reverse(sum.events), *group));
        let values = groups.iter().filter(|(group, ..)| **group != Group::Other).count();
        let (shown, others) = groups.split_at(most.min(values));
        let lists = shown.len().saturating_add(usize::from(!others.is_empty()));
        if lists.saturating_mul(asked.len()) > MAX_POINTS {
            return Err(QueryError::TooManyPoints { max: MAX_POINTS });
        }
        let points = |totals| points(answer, Some(totals), starts.iter().copied(), asked);
        let series = shown.iter().map(|(group, sum, totals)| BreakdownSeries {
            dimension: group.first(),
            totals: UsageTotals::of(sum, &answer.columns),
            points: points(*totals),
        });
        let mut rest = Totals::default();
        for (_, _, totals) in others {
            rest.add(totals);
        }
        let rest = (!others.is_empty()).then(|| RestSeries {
            totals: UsageTotals::of(&rest.sum(), &answer.columns),
            points: points(&rest),
        });
        Ok(Self { series: series.collect(), rest, covers: answer.coverage_of(asked) })
    }
}

impl Group {
    /// The value of the first dimension that is grouped by.
    fn first(&self) -> Option<String> {
        let Self::Values(values) = self else { return None };
        values.first()?.as_deref().map(str::to_owned)
    }
}

/// A group's points.
fn points(
    answer: &Answer,
    totals: Option<&Totals>,
    starts: impl Iterator<Item = Timestamp>,
    asked: &[Range<Timestamp>],
) -> Vec<TimeseriesPoint> {
    let mut known = totals.into_iter().flat_map(Totals::iter).peekable();
    let covered = answer.covers().zip(asked).map(|(covered, asked)| covered == asked);
    let mut points = Vec::with_capacity(asked.len());
    for (index, (timestamp, is_complete)) in starts.zip(covered).enumerate() {
        let total = known.next_if(|(plan, _)| *plan == index);
        let totals = total.map(|(_, total)| UsageTotals::of(total, &answer.columns));
        let totals = totals.unwrap_or_default();
        points.push(TimeseriesPoint { timestamp, totals, is_complete });
    }
    points
}
