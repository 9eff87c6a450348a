//! The answers to questions about usage.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::columns::{Columns, OTHER_VALUES};
use super::question::Answer;
use super::row::{Fold, Total};
use super::select::Group;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::log::QueryError;

/// The sums over some events.
///
/// Serializes as the product's five totals; [`generic`](Self::generic) is its later shape, a
/// count and a map of all values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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
    #[serde(skip)]
    pub values: BTreeMap<String, Amount>,
    /// How many values are in no sum, because their names came when there was
    /// [no room](crate::RollupOptions::value) for another. Serialized where it is not 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_values: u64,
    /// The names of values whose sum is beyond an [`Amount`] and so not among the `values`: no
    /// events add up to that but those of a store from before amounts had bounds. Serialized where
    /// there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub out_of_range: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A shape of an answer with `totalEvents` and a map of all `values`.
#[derive(Clone, Copy, Debug)]
pub struct Generic<'a, T: ?Sized>(pub(crate) &'a T);

impl UsageTotals {
    /// Returns these totals as `{totalEvents, values}`, with the sums of the built-in values that
    /// are not 0 among the values.
    #[must_use]
    pub fn generic(&self) -> Generic<'_, Self> {
        Generic(self)
    }

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

    fn fields(&self) -> [(&'static str, Number); 5] {
        [
            ("totalEvents", Number::Whole(self.total_events.into())),
            ("totalTokens", Number::Whole(self.total_tokens)),
            ("totalInputTokens", Number::Whole(self.total_input_tokens)),
            ("totalOutputTokens", Number::Whole(self.total_output_tokens)),
            ("totalCostCents", Number::Exact(self.total_cost_cents)),
        ]
    }

    fn all_values(&self) -> impl Iterator<Item = (&str, Number)> {
        let tokens = [
            ("input_tokens", self.total_input_tokens),
            ("output_tokens", self.total_output_tokens),
            ("total_tokens", self.total_tokens),
        ];
        let tokens = tokens.into_iter().filter(|(_, sum)| *sum > 0);
        let cost = Some(self.total_cost_cents).filter(|cost| *cost != Amount::ZERO);
        let cost = cost.map(|cost| ("cost_cents", Number::Exact(cost)));
        let named = self.values.iter().map(|(name, sum)| (&**name, Number::Exact(*sum)));
        tokens.map(|(name, sum)| (name, Number::Whole(sum))).chain(cost).chain(named)
    }
}

/// A whole sum as an amount.
pub(super) fn whole(field: &str, sum: i128) -> Result<Amount, QueryError> {
    sum.checked_mul(1_000_000)
        .map(Amount::from_millionths)
        .ok_or_else(|| QueryError::Overflow { field: field.into() })
}

enum Number {
    Whole(u128),
    Exact(Amount),
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(number) => number.serialize(serializer),
            Self::Exact(amount) => amount.serialize(serializer),
        }
    }
}

struct Values<'a>(&'a UsageTotals);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.all_values())
    }
}

/// Which of the two shapes totals are written in.
#[derive(Clone, Copy)]
enum Shape {
    Fixed,
    Generic,
}

fn write_totals<M: SerializeMap>(
    map: &mut M,
    totals: &UsageTotals,
    shape: Shape,
) -> Result<(), M::Error> {
    match shape {
        Shape::Fixed => {
            totals.fields().iter().try_for_each(|(name, sum)| map.serialize_entry(name, sum))?;
        }
        Shape::Generic => {
            map.serialize_entry("totalEvents", &totals.total_events)?;
            map.serialize_entry("values", &Values(totals))?;
        }
    }
    if totals.other_values > 0 {
        map.serialize_entry("otherValues", &totals.other_values)?;
    }
    if !totals.out_of_range.is_empty() {
        map.serialize_entry("outOfRange", &totals.out_of_range)?;
    }
    Ok(())
}

impl Serialize for Generic<'_, UsageTotals> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_totals(&mut map, self.0, Shape::Generic)?;
        map.end()
    }
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

impl Serialize for Coverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("startDate", &self.start)?;
        map.serialize_entry("endDate", &self.end)?;
        map.end()
    }
}

fn write_coverage<M: SerializeMap>(map: &mut M, coverage: &Coverage) -> Result<(), M::Error> {
    if coverage.is_complete { Ok(()) } else { map.serialize_entry("covers", coverage) }
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

macro_rules! two_shapes {
    ($($answer:ident),*) => {$(
        impl $answer {
            /// Returns this answer with `totalEvents` and a map of all `values` in place of the
            /// five totals.
            #[must_use]
            pub fn generic(&self) -> Generic<'_, Self> {
                Generic(self)
            }
        }

        impl Serialize for $answer {
            /// The product's shape with five totals.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.write(serializer, Shape::Fixed)
            }
        }

        impl Serialize for Generic<'_, $answer> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.write(serializer, Shape::Generic)
            }
        }
    )*};
}
two_shapes!(UsageSummary, UsageBreakdown, UsageTimeseries);

impl UsageSummary {
    pub(crate) fn of(answer: &Answer, asked: &Range<Timestamp>) -> Self {
        let total = answer.total().map(|total| UsageTotals::of(total, &answer.columns));
        Self { totals: total.unwrap_or_default(), covers: answer.coverage(asked) }
    }

    fn write<S: Serializer>(&self, serializer: S, shape: Shape) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_totals(&mut map, &self.totals, shape)?;
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

impl UsageBreakdown {
    pub(crate) fn of(answer: &Answer, asked: &Range<Timestamp>) -> Self {
        let (mut rows, mut other) = (Vec::new(), None);
        for (group, totals) in answer.groups() {
            let Some(total) = totals.first().filter(|total| total.events > 0) else { continue };
            let totals = UsageTotals::of(total, &answer.columns);
            let dimension = match group {
                Group::Value(value) => Some(value.to_string()),
                Group::Missing => None,
                Group::Other => {
                    other = Some(totals);
                    continue;
                }
            };
            rows.push(BreakdownRow { dimension, totals });
        }
        rows.sort_by(|a, b| {
            let by_events = b.totals.total_events.cmp(&a.totals.total_events);
            by_events.then_with(|| a.dimension.cmp(&b.dimension))
        });
        Self { rows, other, covers: answer.coverage(asked) }
    }

    fn write<S: Serializer>(&self, serializer: S, shape: Shape) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let rows: Vec<_> = self.rows.iter().map(|row| Labelled::row(row, shape)).collect();
        map.serialize_entry("data", &rows)?;
        if let Some(totals) = &self.other {
            map.serialize_entry("other", &Labelled { label: None, totals, partial: false, shape })?;
        }
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

impl UsageTimeseries {
    pub(crate) fn of(
        answer: &Answer,
        starts: impl Iterator<Item = Timestamp>,
        asked: &[Range<Timestamp>],
    ) -> Self {
        let totals = answer.groups().next().map_or(&[][..], |(_, totals)| totals);
        let totals = totals.iter().map(Some).chain(std::iter::repeat(None));
        let covered = answer.covers().zip(asked).map(|(covered, asked)| covered == asked);
        let mut points = Vec::with_capacity(asked.len());
        for ((timestamp, total), is_complete) in starts.zip(totals).zip(covered) {
            let totals = total.map(|total| UsageTotals::of(total, &answer.columns));
            let totals = totals.unwrap_or_default();
            points.push(TimeseriesPoint { timestamp, totals, is_complete });
        }
        Self { points, covers: answer.coverage_of(asked) }
    }

    fn write<S: Serializer>(&self, serializer: S, shape: Shape) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let points: Vec<_> = self.points.iter().map(|it| Labelled::point(it, shape)).collect();
        map.serialize_entry("data", &points)?;
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

/// Totals with what they are of.
struct Labelled<'a> {
    label: Option<Label<'a>>,
    totals: &'a UsageTotals,
    partial: bool,
    shape: Shape,
}

enum Label<'a> {
    Dimension(Option<&'a str>),
    Timestamp(Timestamp),
}

impl<'a> Labelled<'a> {
    fn row(row: &'a BreakdownRow, shape: Shape) -> Self {
        let label = Some(Label::Dimension(row.dimension.as_deref()));
        Self { label, totals: &row.totals, partial: false, shape }
    }

    fn point(point: &'a TimeseriesPoint, shape: Shape) -> Self {
        let label = Some(Label::Timestamp(point.timestamp));
        Self { label, totals: &point.totals, partial: !point.is_complete, shape }
    }
}

impl Serialize for Labelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.label {
            Some(Label::Dimension(value)) => map.serialize_entry("dimension", value)?,
            Some(Label::Timestamp(timestamp)) => map.serialize_entry("timestamp", timestamp)?,
            None => {}
        }
        write_totals(&mut map, self.totals, self.shape)?;
        if self.partial {
            map.serialize_entry("partial", &true)?;
        }
        map.end()
    }
}
