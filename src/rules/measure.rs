//! What a rule counts of an event, ready to count by.

use serde::{Deserialize, Serialize};

use super::meter::{Aggregation, MeterField, Meters};
use super::metric::{Metric, MetricValue};
use crate::base::amount::Amount;
use crate::event::{Dimension, Event, ValueName};

const MILLION: Units = 1_000_000;
/// What stands for a limit where there is none.
pub(crate) const NO_LIMIT: Units = Units::MAX;

/// How a counter folds what events bring into one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Fold {
    Sum,
    /// The highest amount.
    Max,
    /// The amount of the event with the latest instant.
    Latest,
    /// How many reservations are open.
    Slots,
    /// How many different values a dimension has.
    Unique,
}

/// What counters count in: whole numbers of events and tokens, millionths of costs and of named
/// values. An amount is below 2^70 either way, so that no sum of fewer than 2^57 events is out of
/// range.
pub(crate) type Units = i128;

/// What one event brings to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) units: Units,
    /// Whether the counter is about to change: a sum by more or less than nothing, a highest or
    /// latest amount by any.
    pub(crate) counts: bool,
}

impl Cost {
    /// What leaves every counter as it is.
    pub(crate) const NOTHING: Self = Self { units: 0, counts: false };
}

/// What a rule counts: a metric with its meter looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    /// The value; `None` counts events.
    value: Option<ValueName>,
    fold: Fold,
    /// How many counted units one whole is.
    units_per_whole: Units,
    /// The dimension of which each value counts once a period.
    unique: Option<Dimension>,
}

impl Measure {
    /// How many events there are.
    const EVENTS: Self = Self { value: None, fold: Fold::Sum, units_per_whole: 1, unique: None };

    /// Open reservations.
    pub(crate) const SLOTS: Self = Self { fold: Fold::Slots, ..Self::EVENTS };

    fn new(value: ValueName, fold: Fold) -> Self {
        let units_per_whole = match value {
            ValueName::CostCents | ValueName::Other(_) => MILLION,
            _ => 1,
        };
        Self { value: Some(value), fold, units_per_whole, unique: None }
    }

    /// The same, counted in millionths.
    pub(crate) fn in_millionths(self) -> Self {
        Self { units_per_whole: MILLION, ..self }
    }

    /// What a metric counts; `None` where its meter is not there or is none that rules count.
    pub(crate) fn of_metric(metric: &Metric, meters: &Meters) -> Option<Self> {
        let value = match metric {
            Metric::TotalEvents => return Some(Self::EVENTS),
            Metric::TotalTokens => ValueName::TotalTokens,
            Metric::TotalCostCents => ValueName::CostCents,
            Metric::Value(MetricValue(name)) => name.clone(),
            Metric::Meter(id) => {
                let meter = meters.get(id)?;
                return Self::of_aggregation(meter.aggregation, &meter.field);
            }
            Metric::Unique(dimension) => return Some(Self::of_unique(dimension)),
        };
        Some(Self::new(value, Fold::Sum))
    }

    /// How many values a dimension has.
    fn of_unique(dimension: &str) -> Self {
        let unique = Some(Dimension::parse(dimension));
        Self { fold: Fold::Unique, unique, ..Self::EVENTS }
    }

    fn of_aggregation(aggregation: Aggregation, field: &MeterField) -> Option<Self> {
        let fold = match (aggregation, field) {
            (Aggregation::Count, MeterField::Events) => return Some(Self::EVENTS),
            (Aggregation::Sum, _) => Fold::Sum,
            (Aggregation::Max, _) => Fold::Max,
            (Aggregation::Latest, _) => Fold::Latest,
            (Aggregation::Unique, MeterField::Dimension(key)) => return Some(Self::of_unique(key)),
            _ => return None,
        };
        match field {
            MeterField::Value(name) => Some(Self::new(ValueName::parse(name), fold)),
            _ => None,
        }
    }

    /// A measure of before, by its value's name. Format 1 did not say the units, and had whole
    /// ones for all values that are built in.
    pub(crate) fn restored(
        value: Option<&str>,
        fold: Fold,
        units_per_whole: Option<Units>,
        unique: Option<&str>,
    ) -> Self {
        let value = value.map(ValueName::parse);
        let of_format_1 = match value {
            Some(ValueName::Other(_)) => MILLION,
            _ => 1,
        };
        let units_per_whole = units_per_whole.unwrap_or(of_format_1).clamp(1, MILLION);
        Self { value, fold, units_per_whole, unique: unique.map(Dimension::parse) }
    }

    /// The dimension of which each value counts once a period, if it counts one.
    pub(crate) fn unique(&self) -> Option<&Dimension> {
        self.unique.as_ref()
    }

    /// Whether it counts the same, in whatever units.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        (&self.value, self.fold, &self.unique) == (&other.value, other.fold, &other.unique)
    }

    /// The value that it is of; `None` counts events.
    pub(crate) fn value(&self) -> Option<&ValueName> {
        self.value.as_ref()
    }

    pub(crate) fn fold(&self) -> Fold {
        self.fold
    }

    /// How many counted units one whole is: 1 for whole numbers, a million for the cost and for
    /// named values.
    pub(crate) fn units_per_whole(&self) -> Units {
        self.units_per_whole
    }

    /// A figure in counted units.
    pub(crate) fn units_of(&self, figure: Amount) -> Units {
        figure.millionths().div_euclid(MILLION.div_euclid(self.units_per_whole()))
    }

    /// A limit in counted units; where there is none the highest number.
    pub(crate) fn limit_of(&self, limit: Option<Amount>) -> Units {
        limit.map_or(NO_LIMIT, |limit| self.units_of(limit))
    }

    /// An exact figure of counted units.
    pub(crate) fn amount_of(&self, units: Units) -> Amount {
        let millionths = MILLION.div_euclid(self.units_per_whole());
        Amount::from_millionths(units.saturating_mul(millionths))
    }

    /// What a valid `event` counts.
    #[inline]
    pub(crate) fn of(&self, event: &Event<'_>) -> Cost {
        match &self.value {
            None if self.fold == Fold::Sum => Cost { units: self.units_per_whole, counts: true },
            None => self.of_special(event),
            Some(value) => self.of_value(value, event),
        }
    }

    /// Of an event with a value that is not known yet. A slot is asked for, and taken by a
    /// reservation alone.
    #[cold]
    fn of_special(&self, event: &Event<'_>) -> Cost {
        match &self.unique {
            None => Cost { units: 1, counts: false },
            Some(dimension) if dimension.of(event).is_some() => Cost { units: 1, counts: true },
            Some(_) => Cost::NOTHING,
        }
    }

    /// A call of its own: in line, in a loop over rules, all values of the event would be read
    /// before the first is asked for.
    #[inline(never)]
    fn of_value(&self, value: &ValueName, event: &Event<'_>) -> Cost {
        let units = match value {
            ValueName::CostCents | ValueName::Other(_) => {
                value.amount(event).map(Amount::millionths)
            }
            built_in => built_in.whole(event).map(|whole| match self.units_per_whole {
                1 => whole.into(),
                units => Units::from(whole).saturating_mul(units),
            }),
        };
        let counts = match self.fold {
            Fold::Sum | Fold::Slots | Fold::Unique => units.unwrap_or(0) != 0,
            Fold::Max | Fold::Latest => units.is_some(),
        };
        Cost { units: units.unwrap_or(0), counts }
    }
}

impl Default for Measure {
    fn default() -> Self {
        Self::EVENTS
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rules::Meter;

    fn measure(meter: Meter) -> Option<Measure> {
        let meters = Meters::new(vec![Arc::new(meter.id("m"))]);
        Measure::of_metric(&Metric::meter("m"), &meters)
    }

    #[test]
    fn a_gauge_of_nothing_counts_and_a_missing_one_does_not() {
        let event = Event::new("c", "t").value("zero", 0);
        let of = |meter| measure(meter).expect("for rules").of(&event);
        assert_eq!(of(Meter::latest("m", "zero")), Cost { units: 0, counts: true });
        assert_eq!(of(Meter::latest("m", "none")), Cost::NOTHING);
        assert_eq!(of(Meter::max("m", "zero")), Cost { units: 0, counts: true });
        assert_eq!(of(Meter::max("m", "none")), Cost::NOTHING);
        assert_eq!(of(Meter::sum("m", "zero")), Cost::NOTHING);
        assert_eq!(of(Meter::count("m")), Cost { units: 1, counts: true });
    }

    #[test]
    fn cost_and_named_values_count_in_millionths_and_the_others_in_wholes() {
        let event = Event::new("c", "t").value("gb", "1.5").input_tokens(7).cost_cents("0.4");
        let named = measure(Meter::max("m", "gb")).expect("for rules");
        let built_in = measure(Meter::max("m", "total_tokens")).expect("for rules");
        assert_eq!((named.units_per_whole(), built_in.units_per_whole()), (1_000_000, 1));
        assert_eq!(named.of(&event), Cost { units: 1_500_000, counts: true });
        assert_eq!(built_in.of(&event), Cost { units: 7, counts: true });
        let cost = Measure::of_metric(&Metric::TotalCostCents, &Meters::default());
        let cost = cost.expect("for rules");
        assert_eq!(cost.units_per_whole(), 1_000_000);
        assert_eq!(cost.of(&event), Cost { units: 400_000, counts: true });
        let below = named.of(&Event::new("c", "t").value("gb", -1));
        assert_eq!(below, Cost { units: -1_000_000, counts: true });
    }

    #[test]
    fn some_meters_are_not_for_rules() {
        for meter in [Meter::min("m", "v"), Meter::avg("m", "v")] {
            assert_eq!(measure(meter), None);
        }
        assert_eq!(Measure::of_metric(&Metric::meter("x"), &Meters::default()), None);
    }
}
