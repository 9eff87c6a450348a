//! Questions about usage, as plain data.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::interval::Interval;
use super::select::Selector;
use crate::base::calendar::TimeZone;
use crate::base::clock::Timestamp;
use crate::base::query_setters::{filter_setters, range_setters};
use crate::base::reading;
use crate::event::{Dimension, key_rule, text_rule};
use crate::log::QueryError;
use crate::rules::{Condition, EventFilter, Filter, one_or_many};

reading::body! {
    /// Which events a question about usage is about.
    ///
    /// The range starts with `start` and ends before `end`; filters must all hold. Reads and prints
    /// `startDate`, `endDate`, `customerId`, `eventType`, `model`, `filters`, `conditions`,
    /// `timeZone`, `anchor`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use limitry::usage::UsageQuery;
    /// use limitry::Timestamp;
    ///
    /// let start: Timestamp = "2024-01-01T00:00:00Z".parse()?;
    /// let january = UsageQuery::new(start, start + Duration::from_secs(31 * 86_400));
    /// let query = january.customer("cust_123").filter("team_id", "eng");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[must_use]
    pub struct UsageQuery {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_date: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_date: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        filters: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        conditions: BTreeMap<String, Condition>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_zone: Option<TimeZone>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchor: Option<NaiveDate>,
    }
}

impl UsageQuery {
    /// Asks about the events from `start` on and before `end`.
    pub fn new(start: impl Into<Timestamp>, end: impl Into<Timestamp>) -> Self {
        Self { start_date: Some(start.into()), end_date: Some(end.into()), ..Self::default() }
    }

    /// Asks about all events there ever were.
    pub fn all_time() -> Self {
        Self::default()
    }

    filter_setters!();

    /// Asks only about events whose `dimension` meets a [`Condition`]: it is there, say, or has one
    /// of several values. Beside what [`filter`](Self::filter) asks; a dimension set twice keeps
    /// the last one.
    pub fn condition(
        mut self,
        dimension: impl Into<String>,
        condition: impl Into<Condition>,
    ) -> Self {
        self.conditions.insert(dimension.into(), condition.into());
        self
    }

    /// Sets the zone in which the days, weeks and months of a time series start; the default is
    /// UTC.
    pub fn time_zone(mut self, zone: impl Into<TimeZone>) -> Self {
        self.time_zone = Some(zone.into());
        self
    }

    /// Sets the date on whose day the months of a time series start, as billing cycles do: the
    /// 31st is the last day of a shorter month. The default is the first.
    pub fn anchor(mut self, date: NaiveDate) -> Self {
        self.anchor = Some(date);
        self
    }

    pub(crate) fn range(&self) -> Result<Range<Timestamp>, QueryError> {
        range(self.start_date, self.end_date)
    }

    pub(crate) fn selector(&self, group_by: Option<&str>) -> Result<Selector, QueryError> {
        let built_in = [
            ("customer_id", &self.customer_id),
            ("event_type", &self.event_type),
            ("model", &self.model),
        ];
        let built_in =
            built_in.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let others = self.filters.iter().map(|(name, value)| (&**name, &**value));
        let mut filter = filter(built_in.chain(others))?;
        for (name, condition) in &self.conditions {
            if let Some(rule) = key_rule(name) {
                return Err(QueryError::invalid("conditions", name, rule));
            }
            if let Some(why) = condition.problem() {
                return Err(QueryError::invalid("conditions", &why, "is no condition"));
            }
            filter.push((Dimension::parse(name), condition.simplified()));
        }
        filter.sort();
        filter.dedup();
        let group_by = dimensions("groupBy", group_by)?;
        Ok(Selector { filter, group_by })
    }

    /// The points of a time series, and the ranges to ask about.
    pub(crate) fn points(&self, interval: Interval) -> Result<Points, QueryError> {
        if self.start_date.is_none() || self.end_date.is_none() {
            return Err(QueryError::Unbounded);
        }
        Points::of(interval, &self.range()?, self.time_zone, self.anchor)
    }
}

/// The buckets of a time series, whole, and what of them is in the range.
#[derive(Debug)]
pub(crate) struct Points {
    pub(crate) whole: Vec<Range<Timestamp>>,
    pub(crate) ranges: Vec<Range<Timestamp>>,
}

impl Points {
    fn of(
        interval: Interval,
        range: &Range<Timestamp>,
        zone: Option<TimeZone>,
        anchor: Option<NaiveDate>,
    ) -> Result<Self, QueryError> {
        let whole = interval.points(range, zone.map_or(Tz::UTC, Tz::from), anchor)?;
        let part = |it: &Range<Timestamp>| it.start.max(range.start)..it.end.min(range.end);
        Ok(Self { ranges: whole.iter().map(part).collect(), whole })
    }

    pub(crate) fn starts(&self) -> impl Iterator<Item = Timestamp> {
        self.whole.iter().map(|point| point.start)
    }
}

/// Dimensions by their names, checked.
fn dimensions<'q>(
    field: &str,
    names: impl IntoIterator<Item = &'q str>,
) -> Result<Vec<Dimension>, QueryError> {
    let dimension = |name| match key_rule(name) {
        Some(rule) => Err(QueryError::invalid(field, name, rule)),
        None => Ok(Dimension::parse(name)),
    };
    names.into_iter().map(dimension).collect()
}

/// A range of time; no start and no end are no bounds.
pub(crate) fn range(
    start: Option<Timestamp>,
    end: Option<Timestamp>,
) -> Result<Range<Timestamp>, QueryError> {
    let start = start.map_or(Timestamp::MIN, Timestamp::from);
    let end = end.map_or(Timestamp::MAX, Timestamp::from);
    if start >= end { Err(QueryError::EmptyRange { start, end }) } else { Ok(start..end) }
}

/// The pairs that events must have, checked, each once.
pub(crate) fn filter<'q>(
    pairs: impl Iterator<Item = (&'q str, &'q str)>,
) -> Result<Filter, QueryError> {
    let mut filter = Filter::new();
    for (name, value) in pairs {
        if let Some(rule) = key_rule(name) {
            return Err(QueryError::invalid("filters", name, rule));
        }
        if let Some(rule) = text_rule(value) {
            return Err(QueryError::invalid(wire_name(name), value, rule));
        }
        filter.push((Dimension::parse(name), value.into()));
    }
    filter.sort();
    filter.dedup();
    Ok(filter)
}

/// How a query calls a dimension.
fn wire_name(dimension: &str) -> &str {
    match dimension {
        "customer_id" => "customerId",
        "event_type" => "eventType",
        other => other,
    }
}

reading::body! {
    /// A question to a meter: its value for a customer, for dimensions, for a range of time; by
    /// windows and groups; all of them may be left out.
    ///
    /// Reads and prints `customerId`, `dimensions`, `startDate`, `endDate`, `interval`, `timeZone`,
    /// `anchor`, `groupBy`, `limit`, `sumOver`.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[must_use]
    pub struct MeterQuery {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        customer_id: Option<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        dimensions: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_date: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_date: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<Interval>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_zone: Option<TimeZone>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchor: Option<NaiveDate>,
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "one_or_many"
        )]
        group_by: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "one_or_many"
        )]
        sum_over: Vec<String>,
    }
}

/// The most dimensions that a meter's events are grouped by.
const MAX_GROUPED: usize = 8;

impl MeterQuery {
    /// Asks about all events that the meter counts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks about one customer only.
    pub fn customer(mut self, customer_id: impl Into<String>) -> Self {
        self.customer_id = Some(customer_id.into());
        self
    }

    /// Asks only about events whose dimension has this value; several pairs must all hold.
    pub fn dimension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.dimensions.insert(name.into(), value.into());
        self
    }

    range_setters!();

    /// Asks for the figure of each window of time, as
    /// [`Meters::rows`](crate::handles::Meters::rows) answers. The range needs a start and an end
    /// then.
    pub fn interval(mut self, interval: Interval) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Sets the zone in which windows of days, weeks and months start; the default is UTC.
    pub fn time_zone(mut self, zone: impl Into<TimeZone>) -> Self {
        self.time_zone = Some(zone.into());
        self
    }

    /// Sets the date on whose day windows of months start; the default is the first.
    pub fn anchor(mut self, date: NaiveDate) -> Self {
        self.anchor = Some(date);
        self
    }

    /// Asks for the figure of each value of a dimension, as
    /// [`Meters::rows`](crate::handles::Meters::rows) answers; of each tuple of values where it is
    /// set several times. With the dimensions to [sum over](Self::sum_over) at most 8.
    pub fn group_by(mut self, dimension: impl Into<String>) -> Self {
        self.group_by.push(dimension.into());
        self
    }

    /// Sets how many groups have figures of their own, those with the highest; the others are
    /// summed up as one. The default is all of them.
    pub fn limit(mut self, groups: u32) -> Self {
        self.limit = Some(groups);
        self
    }

    /// Asks for the sum of the figures that each value of a dimension has by itself, of each tuple
    /// of values where it is set several times: how many seats all customers have together, of a
    /// `latest` meter of seats. Events that lack a dimension count for no value.
    ///
    /// Of a gauge leave the start of the range open: what was last said is the gauge's figure,
    /// however long ago.
    pub fn sum_over(mut self, dimension: impl Into<String>) -> Self {
        self.sum_over.push(dimension.into());
        self
    }

    /// The windows; `None` where none are asked for.
    pub(crate) fn windows(&self) -> Result<Option<Points>, QueryError> {
        let Some(interval) = self.interval else { return Ok(None) };
        if self.start_date.is_none() || self.end_date.is_none() {
            return Err(QueryError::Unbounded);
        }
        Points::of(interval, &self.range()?, self.time_zone, self.anchor).map(Some)
    }

    /// The dimensions to group by, and behind them those to sum over.
    pub(crate) fn grouping(&self) -> Result<Vec<Dimension>, QueryError> {
        let by = |names: &'_ [String], field| dimensions(field, names.iter().map(String::as_str));
        let mut grouping = by(&self.group_by, "groupBy")?;
        grouping.extend(by(&self.sum_over, "sumOver")?);
        if grouping.len() > MAX_GROUPED {
            let names = self.group_by.iter().chain(&self.sum_over);
            let names = names.map(String::as_str).collect::<Vec<_>>().join(",");
            let field = if self.sum_over.is_empty() { "groupBy" } else { "sumOver" };
            return Err(QueryError::invalid(field, &names, "must be at most 8 dimensions in all"));
        }
        Ok(grouping)
    }

    pub(crate) fn groups(&self) -> &[String] {
        &self.group_by
    }

    pub(crate) fn sums_keys(&self) -> bool {
        !self.sum_over.is_empty()
    }

    pub(crate) fn most(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// Checks that one figure is asked for.
    pub(crate) fn require_one(&self) -> Result<(), QueryError> {
        let rule = "is for the rows of a meter, where one value is asked for";
        let interval = self.interval.map(|interval| ("interval", interval.to_string()));
        let group_by = self.group_by.first().map(|name| ("groupBy", name.clone()));
        match interval.or(group_by) {
            Some((field, value)) => Err(QueryError::invalid(field, &value, rule)),
            None => Ok(()),
        }
    }

    pub(crate) fn range(&self) -> Result<Range<Timestamp>, QueryError> {
        range(self.start_date, self.end_date)
    }

    /// What the question and the meter ask of events.
    pub(crate) fn filter(&self, meter: &EventFilter) -> Result<Filter, QueryError> {
        let customer = self.customer_id.as_deref().map(|id| ("customer_id", id));
        let asked = self.dimensions.iter().map(|(name, value)| (&**name, &**value));
        let mut filter = filter(customer.into_iter().chain(asked))?;
        let of_meter = meter.conditions();
        filter.extend(of_meter.map(|(key, wanted)| (Dimension::parse(key), wanted.simplified())));
        filter.sort();
        filter.dedup();
        Ok(filter)
    }
}
