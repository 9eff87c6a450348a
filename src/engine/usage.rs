//! Questions about usage, as the engine answers them.

use std::ops::Range;
use std::sync::Arc;

use super::{Core, Engine};
use crate::base::clock::Timestamp;
use crate::compiled::CompiledRule;
use crate::log::QueryError;
use crate::recording::Ledger;
use crate::rules::Meters;
use crate::usage::{
    Figure, Interval, Question, Selector, TimeseriesBreakdown, UsageBreakdown, UsageQuery,
    UsageSummary, UsageTimeseries,
};

/// Who used what: the sums of the recorded events.
///
/// Answers come from the roll-ups, so their cost goes by the buckets and groups that they are
/// about and not by the events: a year is a few hundred rows for each value of a group. Where a
/// range does not start or end with a minute, the events of its edges are counted one by one. A
/// question that filters or groups by a dimension that is not
/// [declared](crate::usage::RollupOptions::dimension) is answered from the event log, by going
/// through the kept events of its range.
///
/// Answers are exact, as of one instant between two events, and say which time they
/// [cover](crate::usage::Coverage): retention may have taken what a range begins with. While the
/// roll-ups are read, no event is recorded; looking through the log holds nobody up.
///
/// ```
/// use std::time::Duration;
/// use limitry::time::ManualClock;
/// use limitry::usage::{Interval, UsageQuery};
/// use limitry::{Engine, Event, Timestamp};
///
/// let clock = ManualClock::new("2024-01-15T10:30:00Z".parse()?);
/// let engine = Engine::builder().clock(clock).build()?;
/// for (model, tokens) in [("gpt-4", 900), ("gpt-4", 100), ("small", 50)] {
///     let call = Event::new("cust_123", "model_call").model(model).total_tokens(tokens);
///     assert!(engine.track(&call)?.is_allowed());
/// }
///
/// let start: Timestamp = "2024-01-15T00:00:00Z".parse()?;
/// let day = UsageQuery::new(start, start + Duration::from_secs(86_400));
/// let summary = engine.usage().summary(&day)?;
/// assert_eq!((summary.totals.total_events, summary.totals.total_tokens), (3, 1_050));
///
/// let by_model = engine.usage().breakdown(&day, "model")?;
/// assert_eq!(by_model.rows[0].dimension.as_deref(), Some("gpt-4"));
/// assert_eq!(by_model.rows[0].totals.total_tokens, 1_000);
///
/// let by_hour = engine.usage().timeseries(&day.model("gpt-4"), Interval::Hour)?;
/// assert_eq!(by_hour.points.len(), 24);
/// assert_eq!(by_hour.points[10].totals.total_tokens, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It may outlive the engine, and does not keep it open.
#[derive(Clone, Debug)]
pub struct Usage {
    ledger: Option<Arc<Ledger>>,
}

impl Engine {
    /// Returns the sums of the recorded events.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { ledger: self.core.ledger.clone() }
    }
}

impl Core {
    /// Lets the roll-ups keep what these meters and rules need, and no more.
    pub(super) fn track_folds_of(&self, meters: &Meters, rules: &[Arc<CompiledRule>]) {
        if let Some(ledger) = &self.ledger {
            ledger.track(&Figure::folds_of(meters, rules.iter().map(|rule| &rule.measure)));
        }
    }

    /// Whether that changes something.
    pub(super) fn is_to_track(&self, meters: &Meters, rules: &[Arc<CompiledRule>]) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| {
            ledger.is_to_track(&Figure::folds_of(meters, rules.iter().map(|rule| &rule.measure)))
        })
    }
}

impl Usage {
    /// The sums of a ledger by itself.
    pub(super) fn of(ledger: Ledger) -> Self {
        Self { ledger: Some(Arc::new(ledger)) }
    }

    /// Sums up the events of a query.
    ///
    /// # Errors
    /// Recording is off; the range ends where it starts, or before; a filter's key or value
    /// breaks its rule.
    pub fn summary(&self, query: &UsageQuery) -> Result<UsageSummary, QueryError> {
        let asked = query.range()?;
        let selector = query.selector(None)?;
        let answer = self.ask(&selector, std::slice::from_ref(&asked))?;
        Ok(UsageSummary::of(&answer, &asked))
    }

    /// Sums up the events of a query by the values of a dimension, the ones with most events
    /// first; events that lack it have a row of their own.
    ///
    /// # Errors
    /// As [`summary`](Self::summary), and where `group_by` is no key of a dimension.
    pub fn breakdown(
        &self,
        query: &UsageQuery,
        group_by: &str,
    ) -> Result<UsageBreakdown, QueryError> {
        let asked = query.range()?;
        let selector = query.selector(Some(group_by))?;
        let answer = self.ask(&selector, std::slice::from_ref(&asked))?;
        Ok(UsageBreakdown::of(&answer, &asked))
    }

    /// Sums up the events of a query by interval, also where there are none.
    ///
    /// Points start where the intervals do: at midnight in the query's time zone for days, on
    /// Monday for weeks, on the first or on the anchor's day for months. The first and the last
    /// count only what is in the range.
    ///
    /// # Errors
    /// As [`summary`](Self::summary), and where the range lacks a bound, or has more than 100 000
    /// intervals.
    pub fn timeseries(
        &self,
        query: &UsageQuery,
        interval: Interval,
    ) -> Result<UsageTimeseries, QueryError> {
        let points = query.points(interval)?;
        let answer = self.ask(&query.selector(None)?, &points.ranges)?;
        Ok(UsageTimeseries::of(&answer, points.starts(), &points.ranges))
    }

    /// Sums up the events of a query by interval and by the values of a dimension: a series each
    /// of the `most` values with the most events in the range, and one of all other events.
    ///
    /// The cost is that of the rows of all values in the range, and so is the memory that it takes
    /// meanwhile: about 130 bytes for each value and interval with events.
    ///
    /// ```
    /// use std::time::Duration;
    /// use limitry::usage::{Interval, UsageQuery};
    /// use limitry::{Engine, Event, Timestamp};
    ///
    /// let engine = Engine::builder().build()?;
    /// for (customer, calls) in [("large", 5), ("medium", 3), ("small", 2), ("smaller", 1)] {
    ///     for _ in 0..calls {
    ///         let at: Timestamp = "2024-01-15T10:30:00Z".parse()?;
    ///         let _ = engine.record(&Event::new(customer, "call").timestamp(at))?;
    ///     }
    /// }
    /// let start: Timestamp = "2024-01-15T00:00:00Z".parse()?;
    /// let day = UsageQuery::new(start, start + Duration::from_secs(86_400));
    /// let by = engine.usage().timeseries_by(&day, Interval::Hour, "customer_id", 2)?;
    /// let busiest = &by.series[0];
    /// assert_eq!((busiest.dimension.as_deref(), busiest.totals.total_events), (Some("large"), 5));
    /// assert_eq!(busiest.points[10].totals.total_events, 5);
    /// assert_eq!(by.rest.map(|rest| rest.totals.total_events), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`timeseries`](Self::timeseries) and [`breakdown`](Self::breakdown); all series together
    /// have at most 100 000 points.
    pub fn timeseries_by(
        &self,
        query: &UsageQuery,
        interval: Interval,
        group_by: &str,
        most: usize,
    ) -> Result<TimeseriesBreakdown, QueryError> {
        let points = query.points(interval)?;
        let answer = self.ask(&query.selector(Some(group_by))?, &points.ranges)?;
        let starts: Vec<_> = points.starts().collect();
        TimeseriesBreakdown::of(&answer, &starts, &points.ranges, most)
    }

    fn ask(
        &self,
        selector: &Selector,
        ranges: &[Range<Timestamp>],
    ) -> Result<crate::usage::Answer, QueryError> {
        let ledger = self.ledger.as_deref().ok_or(QueryError::RecordingOff)?;
        Ok(ledger.ask(&Question {
            selector,
            ranges,
            folds: &[],
            tells_all_apart: false,
            without: None,
            held: None,
        }))
    }
}
