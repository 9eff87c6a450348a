//! Answers about usage as they are printed, each in two shapes.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::usage::{
    BreakdownRow, Coverage, MeterRow, MeterRows, MeterValue, MeterWindow, RestSeries,
    TimeseriesBreakdown, TimeseriesPoint, UsageBreakdown, UsageSummary, UsageTimeseries,
    UsageTotals,
};

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
}

fn fixed(totals: &UsageTotals) -> [(&'static str, Number); 5] {
    [
        ("totalEvents", Number::Whole(totals.total_events.into())),
        ("totalTokens", Number::Whole(totals.total_tokens)),
        ("totalInputTokens", Number::Whole(totals.total_input_tokens)),
        ("totalOutputTokens", Number::Whole(totals.total_output_tokens)),
        ("totalCostCents", Number::Exact(totals.total_cost_cents)),
    ]
}

fn all_values(totals: &UsageTotals) -> impl Iterator<Item = (&str, Number)> {
    let tokens = [
        ("input_tokens", totals.total_input_tokens),
        ("output_tokens", totals.total_output_tokens),
        ("total_tokens", totals.total_tokens),
    ];
    let tokens = tokens.into_iter().filter(|(_, sum)| *sum > 0);
    let cost = Some(totals.total_cost_cents).filter(|cost| *cost != Amount::ZERO);
    let cost = cost.map(|cost| ("cost_cents", Number::Exact(cost)));
    let named = totals.values.iter().map(|(name, sum)| (&**name, Number::Exact(*sum)));
    tokens.map(|(name, sum)| (name, Number::Whole(sum))).chain(cost).chain(named)
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
        serializer.collect_map(all_values(self.0))
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
            fixed(totals).iter().try_for_each(|(name, sum)| map.serialize_entry(name, sum))?;
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

impl Serialize for UsageTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_totals(&mut map, self, Shape::Fixed)?;
        map.end()
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
two_shapes!(UsageSummary, UsageBreakdown, UsageTimeseries, TimeseriesBreakdown);

impl UsageSummary {
    fn write<S: Serializer>(&self, serializer: S, shape: Shape) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_totals(&mut map, &self.totals, shape)?;
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

impl UsageBreakdown {
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
    fn write<S: Serializer>(&self, serializer: S, shape: Shape) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let points: Vec<_> = self.points.iter().map(|it| Labelled::point(it, shape)).collect();
        map.serialize_entry("data", &points)?;
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

impl TimeseriesBreakdown {
    fn write<S: Serializer>(&self, serializer: S, shape: Shape) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let series = self.series.iter().map(|series| Series {
            label: Some(Label::Dimension(series.dimension.as_deref())),
            totals: &series.totals,
            points: &series.points,
            shape,
        });
        map.serialize_entry("data", &series.collect::<Vec<_>>())?;
        if let Some(RestSeries { totals, points }) = &self.rest {
            map.serialize_entry("rest", &Series { label: None, totals, points, shape })?;
        }
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

/// The totals of a series with its points.
struct Series<'a> {
    label: Option<Label<'a>>,
    totals: &'a UsageTotals,
    points: &'a [TimeseriesPoint],
    shape: Shape,
}

impl Serialize for Series<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_label(&mut map, self.label.as_ref())?;
        write_totals(&mut map, self.totals, self.shape)?;
        let points = self.points.iter().map(|point| Labelled::point(point, self.shape));
        map.serialize_entry("points", &points.collect::<Vec<_>>())?;
        map.end()
    }
}

fn write_label<M: SerializeMap>(map: &mut M, label: Option<&Label<'_>>) -> Result<(), M::Error> {
    match label {
        Some(Label::Dimension(value)) => map.serialize_entry("dimension", value),
        Some(Label::Timestamp(timestamp)) => map.serialize_entry("timestamp", timestamp),
        None => Ok(()),
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
        write_label(&mut map, self.label.as_ref())?;
        write_totals(&mut map, self.totals, self.shape)?;
        if self.partial {
            map.serialize_entry("partial", &true)?;
        }
        map.end()
    }
}

impl Serialize for MeterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("meterId", &self.meter_id)?;
        map.serialize_entry("meterName", &self.meter_name)?;
        map.serialize_entry("value", &self.value)?;
        map.serialize_entry("aggregation", &self.aggregation)?;
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

impl Serialize for MeterRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("meterId", &self.meter_id)?;
        map.serialize_entry("meterName", &self.meter_name)?;
        map.serialize_entry("aggregation", &self.aggregation)?;
        map.serialize_entry("data", &self.rows)?;
        if let Some(rest) = &self.rest {
            map.serialize_entry("rest", rest)?;
        }
        write_coverage(&mut map, &self.covers)?;
        map.end()
    }
}

impl Serialize for MeterRow {
    /// Without `dimensions` where nothing is grouped, and without `windows` where there are none.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.group.is_empty() {
            map.serialize_entry("dimensions", &self.group)?;
        }
        map.serialize_entry("value", &self.value)?;
        if !self.windows.is_empty() {
            map.serialize_entry("windows", &self.windows)?;
        }
        map.end()
    }
}

impl Serialize for MeterWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("windowStart", &self.start)?;
        map.serialize_entry("windowEnd", &self.end)?;
        map.serialize_entry("value", &self.value)?;
        if !self.is_complete {
            map.serialize_entry("partial", &true)?;
        }
        map.end()
    }
}
