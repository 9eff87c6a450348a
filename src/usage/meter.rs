//! A meter's figure, out of folds.

use super::answer::{Coverage, whole};
use super::cells::Fold;
use super::columns::{FIXED_VALUES, ValueFold};
use super::question::Answer;
use super::row::Total;
use super::select::{Group, Selector};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
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

impl MeterValue {
    pub(crate) fn new(meter: &Meter, value: Amount, covers: Coverage) -> Self {
        Self {
            meter_id: meter.known_id().to_owned(),
            meter_name: meter.name.clone(),
            value,
            aggregation: meter.aggregation,
            covers,
        }
    }
}

/// How a figure is made of folds.
#[derive(Clone, Debug)]
pub(crate) enum Figure {
    Count,
    Sum(ValueName),
    Fold(ValueName, Fold),
    Average(ValueName),
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
                    Aggregation::Count | Aggregation::Unique => Self::Count,
                }
            }
            _ => Self::Count,
        }
    }

    /// The figure of what a rule counts.
    pub(crate) fn of_measure(measure: &Measure) -> Self {
        let Some(value) = measure.value().cloned() else { return Self::Count };
        match measure.fold() {
            rules::Fold::Sum | rules::Fold::Slots => Self::Sum(value),
            rules::Fold::Max => Self::Fold(value, Fold::Max),
            rules::Fold::Latest => Self::Fold(value, Fold::Latest),
        }
    }

    pub(crate) fn is_unique(&self) -> bool {
        matches!(self, Self::Unique(_))
    }

    pub(crate) fn selector(&self, filter: Filter) -> Selector {
        let group_by = match self {
            Self::Unique(dimension) => Some(dimension.clone()),
            _ => None,
        };
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
            Self::Count | Self::Unique(_) => Vec::new(),
        }
    }

    /// The figure of an answer to its question; `None` where a fold that it needs is not kept.
    pub(crate) fn value(&self, answer: &Answer) -> Option<Result<Amount, QueryError>> {
        let is_known = |fold: &ValueFold| answer.columns.know_fold(fold);
        self.folds().iter().all(is_known).then(|| self.value_of(answer))
    }

    /// The sum, or the number of events, of each range of an answer, and none where there are no
    /// events at all; `None` where that is not kept, or of another figure.
    pub(crate) fn sums(&self, answer: &Answer) -> Option<Vec<Amount>> {
        let is_known = |fold: &ValueFold| answer.columns.know_fold(fold);
        let sum = |total: &Total| match self {
            Self::Count => Some(Amount::from(total.events)),
            Self::Sum(value) => sum(answer, total, value).ok(),
            _ => None,
        };
        let known = self.folds().iter().all(is_known);
        known.then(|| answer.totals().iter().map(sum).collect()).flatten()
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
        if self.is_unique() {
            let has_events = |totals: &[Total]| totals.iter().any(|total| total.events > 0);
            let values = answer
                .groups()
                .filter(|(group, totals)| matches!(group, Group::Value(_)) && has_events(totals));
            return Ok(Amount::from(u64::try_from(values.count()).unwrap_or(u64::MAX)));
        }
        let Some(total) = answer.total() else { return Ok(Amount::ZERO) };
        match self {
            Self::Count | Self::Unique(_) => Ok(Amount::from(total.events)),
            Self::Sum(value) => sum(answer, total, value),
            Self::Fold(value, fold) => {
                Ok(cell(answer, total, value, *fold).map_or(Amount::ZERO, |(value, _)| value))
            }
            Self::Average(value) => {
                let count = cell(answer, total, value, Fold::Count);
                let count = count.map_or(0, |(count, _)| count.millionths());
                Ok(average(sum(answer, total, value)?, count))
            }
        }
    }
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
    let Some(quotient) = sum.checked_div(count) else { return Amount::ZERO };
    let rest = sum.checked_rem(count).unwrap_or(0).unsigned_abs();
    // Twice the rest at least the count, without doubling it.
    let rounds = rest >= count.unsigned_abs().saturating_sub(rest) && rest > 0;
    let away = if rounds { sum.signum() } else { 0 };
    Amount::from_millionths(quotient.saturating_add(away))
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
