//! What is asked of the log.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::{PairFilter, QueryError};
use crate::base::clock::Timestamp;
use crate::base::query_setters::{filter_setters, range_setters};
use crate::base::reading;
use crate::event::{Dimension, key_rule, text_rule};
use crate::rules::Filter;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

reading::body! {
    /// Which recorded events a list shows. All conditions must hold; none is every event.
    ///
    /// It is plain data, as a request's parameters: `customerId`, `eventType`, `model`, `filters`,
    /// `startDate`, `endDate`, `limit` (a number, or text of one) and `cursor`, all optional.
    /// Fields of other names are errors.
    ///
    /// ```
    /// use limitry::events::EventQuery;
    ///
    /// let query = EventQuery::new().customer("cust_123").filter("team_id", "eng").limit(20);
    /// let text = r#"{"customerId": "cust_123", "filters": {"team_id": "eng"}, "limit": "20"}"#;
    /// assert_eq!(serde_json::from_str::<EventQuery>(text)?, query);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[must_use]
    pub struct EventQuery {
        #[serde(skip_serializing_if = "Option::is_none")]
        customer_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event_type: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        filters: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        start_date: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        end_date: Option<Timestamp>,
        #[serde(deserialize_with = "number_or_text", skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    }
}

impl EventQuery {
    /// Asks for every event, 50 a page.
    pub fn new() -> Self {
        Self::default()
    }

    filter_setters!();
    range_setters!();

    /// Sets how many events a page has at most: 1 to 100, 50 where it is not set.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Begins where the page ended whose [`next_cursor`](crate::events::EventPage::next_cursor)
    /// this is.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Where the page begins.
    pub(crate) fn cursor_text(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// How many events a page has at most.
    pub(crate) fn page_limit(&self) -> Result<usize, QueryError> {
        page_limit(self.limit, DEFAULT_LIMIT, (MAX_LIMIT, "must be 1 to 100"))
    }

    /// Checks the conditions, and compiles them for the log whose hasher this is.
    pub(crate) fn wanted(&self, hasher: &ahash::RandomState) -> Result<ScanFilter, QueryError> {
        let end = self.end_date;
        let start = self.start_date.unwrap_or(Timestamp::MIN);
        if let Some(end) = end.filter(|end| self.start_date.is_some() && start >= *end) {
            return Err(QueryError::EmptyRange { start, end });
        }
        Ok(ScanFilter { filter: PairFilter::new(hasher, &self.pairs()?), start, end })
    }

    fn pairs(&self) -> Result<Filter, QueryError> {
        let named = [
            ("customerId", Dimension::CustomerId, &self.customer_id),
            ("eventType", Dimension::EventType, &self.event_type),
            ("model", Dimension::Model, &self.model),
        ];
        let mut pairs = Vec::with_capacity(named.len().saturating_add(self.filters.len()));
        for (field, dimension, value) in named {
            let Some(value) = value else { continue };
            check(field, value, text_rule(value))?;
            pairs.push((dimension, value.as_str().into()));
        }
        for (name, value) in &self.filters {
            check("filters", name, key_rule(name))?;
            check(&format!("filters.{name}"), value, text_rule(value))?;
            pairs.push((Dimension::parse(name), value.as_str().into()));
        }
        Ok(pairs)
    }
}

/// How many items a page has: what was asked for, or the default, from 1 to the most that there may
/// be, as the rule says it.
pub(crate) fn page_limit(
    limit: Option<u32>,
    default: u32,
    (most, rule): (u32, &'static str),
) -> Result<usize, QueryError> {
    let limit = limit.unwrap_or(default);
    let number = usize::try_from(limit).ok().filter(|_| (1..=most).contains(&limit));
    number.ok_or_else(|| QueryError::invalid("limit", &limit.to_string(), rule))
}

fn check(field: &str, value: &str, broken: Option<&'static str>) -> Result<(), QueryError> {
    broken.map_or(Ok(()), |rule| Err(QueryError::invalid(field, value, rule)))
}

/// Reads a number, or the text of one, as parameters of a URL are.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    deserializer.deserialize_any(Limit)
}

struct Limit;

impl<'de> Visitor<'de> for Limit {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 1 to 100")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let invalid = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        u32::try_from(number).map(Some).map_err(invalid)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let invalid = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u32::try_from(number).map(Some).map_err(invalid)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let invalid = |_| E::invalid_value(Unexpected::Str(text), &self);
        text.parse().map(Some).map_err(invalid)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

/// Which events a scan of the log finds.
#[derive(Clone, Debug)]
pub(crate) struct ScanFilter {
    pub(crate) filter: PairFilter,
    /// The first instant of the range.
    pub(crate) start: Timestamp,
    /// The first instant after the range, where it ends.
    pub(crate) end: Option<Timestamp>,
}

impl ScanFilter {
    pub(crate) fn everything() -> Self {
        Self { filter: PairFilter::default(), start: Timestamp::MIN, end: None }
    }

    pub(crate) fn has(&self, timestamp: Timestamp) -> bool {
        timestamp >= self.start && self.end.is_none_or(|end| timestamp < end)
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.filter.is_empty() && self.start == Timestamp::MIN && self.end.is_none()
    }
}
