//! Questions about usage, as plain data.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::select::Selector;
use crate::base::calendar::TimeZone;
use crate::base::clock::Timestamp;
use crate::base::query_setters::{filter_setters, range_setters};
use crate::base::reading;
use crate::event::{Dimension, key_rule, text_rule};
use crate::log::QueryError;
use crate::rules::{EventFilter, Filter};

reading::body! {
    /// Which events a question about usage is about.
    ///
    /// The range starts with `start` and ends before `end`; filters must all hold. Reads and prints
    /// `startDate`, `endDate`, `customerId`, `eventType`, `model`, `filters`, `timeZone`, `anchor`.
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

    pub(crate) fn zone(&self) -> Tz {
        self.time_zone.map_or(Tz::UTC, Tz::from)
    }

    pub(crate) fn anchor_date(&self) -> Option<NaiveDate> {
        self.anchor
    }

    pub(crate) fn has_bounds(&self) -> bool {
        self.start_date.is_some() && self.end_date.is_some()
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
        let filter = filter(built_in.chain(others))?;
        if let Some(name) = group_by
            && let Some(rule) = key_rule(name)
        {
            return Err(QueryError::invalid("groupBy", name, rule));
        }
        Ok(Selector { filter, group_by: group_by.map(Dimension::parse) })
    }
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
    /// A question to a meter: its value for a customer, for dimensions, for a range of time; all of
    /// them may be left out.
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
    }
}

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
