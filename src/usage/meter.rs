//! A meter's figure, out of folds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::answer::{Coverage, whole};
use super::cells::Fold;
use super::columns::{FIXED_VALUES, ValueFold};
use super::held::{Held, averages};
use super::question::Answer;
use super::row::Total;
use super::select::{Group, Selector, Totals};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::sketch::Percentile;
use crate::event::{Dimension, ValueName};
use crate::log::QueryError;
use crate::rules::{self, Aggregation, Filter, Measure, Meter, MeterField, Meters};

/// The answer of a meter.
///
/// Serializes as the product's `{meterId, meterName, value, aggregation}`, with `covers` where not
/// all of the range is [covered](Coverage).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterValue {
    /// The meter.
    pub meter_id: String,
    /// Its name.
    pub meter_name: String,
    /// Its figure; 0 where there are no events with the value.
    pub value: Amount,
    /// How the figure was made.
    pub aggregation: Aggregation,
    /// The time that it is about.
    pub covers: Coverage,
}

/// How a figure is made of folds.
#[derive(Clone, Debug)]
pub(crate) enum Figure {
    Count,
    Sum(ValueName),
    Fold(ValueName, Fold),
    Average(ValueName),
    Percentile(ValueName, Percentile),
    /// The average over time of a gauge.
    Held(ValueName),
    Unique(Dimension),
}

impl Figure {
    /// The figure of a meter; of one whose field does not go with its aggregation, which no
    /// engine takes, the number of events.
    pub(crate) fn of_meter(meter: &Meter) -> Self {
        match (meter.aggregation, &meter.field) {
            (Aggregation::Unique, MeterField::Dimension(name)) => {
                Self::Unique(Dimension::parse(name))
            }
            (aggregation, MeterField::Value(name)) => {
                let value = ValueName::parse(name);
                match aggregation {
                    Aggregation::Sum => Self::Sum(value),
                    Aggregation::Max => Self::Fold(value, Fold::Max),
                    Aggregation::Min => Self::Fold(value, Fold::Min),
                    Aggregation::Latest => Self::Fold(value, Fold::Latest),
                    Aggregation::Avg => Self::Average(value),
                    Aggregation::Percentile(share) => Self::Percentile(value, share),
                    Aggregation::TimeAvg => Self::Held(value),
                    Aggregation::Count | Aggregation::Unique => Self::Count,
                }
            }
            _ => Self::Count,
        }
    }

    /// The figure of what a rule counts.
    pub(crate) fn of_measure(measure: &Measure) -> Self {
        if let Some(dimension) = measure.unique() {
            return Self::Unique(dimension.clone());
        }
        let Some(value) = measure.value().cloned() else { return Self::Count };
        match measure.fold() {
            rules::Fold::Sum | rules::Fold::Slots | rules::Fold::Unique => Self::Sum(value),
            rules::Fold::Max => Self::Fold(value, Fold::Max),
            rules::Fold::Latest => Self::Fold(value, Fold::Latest),
        }
    }

    pub(crate) fn is_unique(&self) -> bool {
        matches!(self, Self::Unique(_))
    }

    /// What it asks of events that are to be grouped by these dimensions.
    pub(crate) fn selector(&self, filter: Filter, mut group_by: Vec<Dimension>) -> Selector {
        if let Self::Unique(dimension) = self {
            group_by.push(dimension.clone());
        }
        Selector { filter, group_by }
    }

    /// The folds that meters and rules need.
    pub(crate) fn folds_of<'r>(
        meters: &Meters,
        rules: impl Iterator<Item = &'r Measure>,
    ) -> Vec<ValueFold> {
        let meters = meters.list().iter().map(|meter| Self::of_meter(meter));
        meters.chain(rules.map(Self::of_measure)).flat_map(|figure| figure.folds()).collect()
    }

    /// The folds that it needs beside the number of events and the fixed sums.
    pub(crate) fn folds(&self) -> Vec<ValueFold> {
        match self {
            Self::Fold(value, fold) => vec![(value.clone(), *fold)],
            Self::Sum(value) => named_sum(value).collect(),
            Self::Average(value) => {
                named_sum(value).chain([(value.clone(), Fold::Count)]).collect()
            }
            Self::Percentile(value, _) => vec![(value.clone(), Fold::Sketch)],
            Self::Held(value) => vec![(value.clone(), Fold::Latest)],
            Self::Count | Self::Unique(_) => Vec::new(),
        }
    }

    /// Whether it needs the readings of a gauge one by one, of a question that is asked now.
    pub(crate) fn held(&self, now: Timestamp) -> Option<Held<'_>> {
        let Self::Held(value) = self else { return None };
        Some(Held { value, now })
    }

    /// Whether all folds that it needs are kept.
    pub(crate) fn is_known(&self, answer: &Answer) -> bool {
        self.folds().iter().all(|fold| answer.columns.know_fold(fold))
    }

    /// The figure of an answer to its question; `None` where a fold that it needs is not kept.
    pub(crate) fn value(&self, answer: &Answer) -> Option<Result<Amount, QueryError>> {
        self.is_known(answer).then(|| self.value_of(answer))
    }

    /// The sum, or the number of events, of each range of an answer that has any events, with the
    /// range's number; `None` where that is not kept, or of another figure.
    pub(crate) fn sums(&self, answer: &Answer) -> Option<Vec<(usize, Amount)>> {
        let sum = |total: &Total| match self {
            Self::Count => Some(Amount::from(total.events)),
            Self::Sum(value) => sum(answer, total, value).ok(),
            _ => None,
        };
        if !self.is_known(answer) {
            return None;
        }
        let totals = answer.totals().into_iter().flat_map(Totals::iter);
        totals.map(|(range, total)| Some((range, sum(total)?))).collect()
    }

    /// When the event was that a latest value is of; `None` where no event had the value. Of a
    /// highest value it says no more than whether there is one.
    pub(crate) fn latest(&self, answer: &Answer) -> Option<Timestamp> {
        let Self::Fold(value, fold @ (Fold::Latest | Fold::Max)) = self else { return None };
        let (column, _) = answer.columns.find(value, *fold)?;
        let cell = answer.total()?.cells().find(|cell| cell.column == column)?;
        Some(cell.mark().0)
    }

    fn value_of(&self, answer: &Answer) -> Result<Amount, QueryError> {
        if let Self::Unique(_) = self {
            let groups: Vec<_> = answer.groups().collect();
            return self.figures(answer, &groups, 0, false).map(|figures| figures.value);
        }
        answer.total().map_or(Ok(Amount::ZERO), |total| self.of_total(answer, total))
    }

    /// The figure of a fold; of how many different values there are, whether it is one.
    fn of_total(&self, answer: &Answer, total: &Total) -> Result<Amount, QueryError> {
        match self {
            Self::Count => Ok(Amount::from(total.events)),
            Self::Unique(_) => Ok(Amount::from(u64::from(total.events > 0))),
            Self::Sum(value) => sum(answer, total, value),
            Self::Fold(value, fold) => {
                Ok(cell(answer, total, value, *fold).map_or(Amount::ZERO, |(value, _)| value))
            }
            // What was read is one figure only with the time that it is over.
            Self::Held(_) => Ok(Amount::ZERO),
            Self::Percentile(value, share) => {
                let column = answer.columns.find(value, Fold::Sketch).map(|(column, _)| column);
                let sketch = column.and_then(|column| total.sketch(column));
                Ok(sketch.and_then(|sketch| sketch.percentile(*share)).unwrap_or_default())
            }
            Self::Average(value) => {
                let count = cell(answer, total, value, Fold::Count);
                let count = count.map_or(0, |(count, _)| count.millionths());
                Ok(average(sum(answer, total, value)?, count))
            }
        }
    }

    /// The figures of some groups together: over all ranges, and of each.
    ///
    /// Behind the first `grouped` values of a group are those of the keys to sum over, where there
    /// are any, and the one that is counted once. So a figure is always a sum over what groups have
    /// there: of the figures of keys, of ones, or of a single figure.
    pub(super) fn figures(
        &self,
        answer: &Answer,
        groups: &[(&Group, &Totals)],
        grouped: usize,
        sums_keys: bool,
    ) -> Result<Figures, QueryError> {
        let mut by_rest: BTreeMap<&[Option<Box<str>>], Cow<'_, Totals>> = BTreeMap::new();
        for (group, totals) in groups {
            let rest = match group {
                Group::Values(values) => values.get(grouped..).unwrap_or_default(),
                Group::Other => &[],
            };
            // A key that lacks a dimension is none, and neither is a value that is not there.
            if rest.iter().any(Option::is_none) {
                continue;
            }
            match by_rest.entry(rest) {
                Entry::Vacant(entry) => drop(entry.insert(Cow::Borrowed(*totals))),
                Entry::Occupied(mut entry) => entry.get_mut().to_mut().add(totals),
            }
        }
        if let (Self::Held(value), Some(held)) = (self, answer.held) {
            return averages(answer, held, value, by_rest.values().map(Cow::as_ref));
        }
        let mut figures = Figures::default();
        for totals in by_rest.values() {
            let value = self.of_total(answer, &totals.sum())?;
            figures.value = added(figures.value, value, sums_keys)?;
            for (range, total) in totals.iter() {
                let value = self.of_total(answer, total)?;
                let known = figures.by_range.entry(range).or_insert(Amount::ZERO);
                *known = added(*known, value, sums_keys)?;
            }
        }
        Ok(figures)
    }
}

/// A figure over all ranges, and of each that has any events.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) value: Amount,
    pub(super) by_range: BTreeMap<usize, Amount>,
}

fn added(sum: Amount, value: Amount, sums_keys: bool) -> Result<Amount, QueryError> {
    let field = if sums_keys { "sumOver" } else { "value" };
    sum.checked_add(value).ok_or_else(|| QueryError::Overflow { field: field.into() })
}

/// The fold of a value's sum, where it is not one of the fixed ones.
fn named_sum(value: &ValueName) -> impl Iterator<Item = ValueFold> {
    let is_named = matches!(value, ValueName::Other(_));
    is_named.then(|| (value.clone(), Fold::Sum)).into_iter()
}

fn sum(answer: &Answer, total: &Total, value: &ValueName) -> Result<Amount, QueryError> {
    if let Some(index) = FIXED_VALUES.iter().position(|known| known == value) {
        let sum = total.fixed.get(index).copied().unwrap_or(0);
        if *value == ValueName::CostCents {
            return Ok(Amount::from_millionths(sum));
        }
        return whole(value.as_str(), sum);
    }
    match cell(answer, total, value, Fold::Sum) {
        Some((_, true)) => Err(QueryError::Overflow { field: value.as_str().into() }),
        Some((sum, false)) => Ok(sum),
        None => Ok(Amount::ZERO),
    }
}

/// The fold of a value, and whether it is beyond what can be said.
fn cell(answer: &Answer, total: &Total, value: &ValueName, fold: Fold) -> Option<(Amount, bool)> {
    let (column, _) = answer.columns.find(value, fold)?;
    let cell = total.cells().find(|cell| cell.column == column)?;
    Some((Amount::from_millionths(cell.value()), cell.overflowed))
}

/// The sum divided by a count, rounded to the nearest millionth, half away from zero.
fn average(sum: Amount, count: i128) -> Amount {
    let sum = sum.millionths();
    let whole = sum.checked_div_euclid(count);
    let rest = sum.checked_rem_euclid(count);
    whole.zip(rest).map_or(Amount::ZERO, |(whole, rest)| rounded(whole, rest, count))
}

/// A whole number and what is left of a division by a positive number, rounded to the nearest
/// millionth, half away from zero.
pub(super) fn rounded(whole: i128, rest: i128, divisor: i128) -> Amount {
    // The rest is compared with what lacks to the next whole number, and not doubled.
    let above = divisor.saturating_sub(rest);
    let is_up = rest > above || (rest == above && rest > 0 && whole >= 0);
    Amount::from_millionths(whole.saturating_add(i128::from(is_up)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_rounds_half_away_from_zero() {
        let average = |sum, count| average(Amount::from_millionths(sum), count).millionths();
        assert_eq!(average(10, 4), 3);
        assert_eq!(average(-10, 4), -3);
        assert_eq!(average(9, 4), 2);
        assert_eq!(average(-9, 4), -2);
        assert_eq!(average(1, 3), 0);
        assert_eq!(average(2, 3), 1);
        assert_eq!(average(8, 4), 2);
        assert_eq!(average(5, 0), 0);
        assert_eq!(average(i128::MIN, 1), i128::MIN);
        assert_eq!(average(i128::MAX, 2), i128::MAX / 2 + 1);
    }
}
