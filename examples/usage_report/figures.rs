//! The figures of the report: what the engine answers, five minutes made of minutes.

use std::cmp::Reverse;
use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use limitry::Engine;
use limitry::usage::{
    Coverage, Interval, MeterQuery, MeterValue, TimeseriesPoint, UsageBreakdown, UsageQuery,
    UsageTotals,
};

use crate::recording::METERS;
use crate::traffic::SERVICE;

const BUCKET_MINUTES: usize = 5;
const BUCKET_SECONDS: i64 = 5 * 60;
const DAY: TimeDelta = TimeDelta::days(1);

/// Everything that the report tells.
#[derive(Debug)]
pub struct Figures {
    /// The time that was asked about: whole five minutes around all calls, or whole days where
    /// that is longer than a day.
    pub span: Range<DateTime<Utc>>,
    pub totals: UsageTotals,
    /// The rows of a breakdown have most tokens first.
    pub models: Vec<Row>,
    pub customers: Vec<Row>,
    /// None where the events tell no service.
    pub services: Vec<Row>,
    /// The span by five minutes; of one that is longer than a day the day with most tokens.
    pub buckets: Vec<Bucket>,
    pub meters: Vec<MeterValue>,
    /// What each answer covers.
    pub covers: Vec<(&'static str, Coverage)>,
    /// What all the answers took together.
    pub answering: Duration,
}

/// The sums of one value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub totals: UsageTotals,
}

/// The sums of five minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub start: DateTime<Utc>,
    pub calls: u64,
    pub input_tokens: u128,
    pub output_tokens: u128,
    /// Whether they are about all of the five minutes.
    pub is_complete: bool,
}

impl Figures {
    /// Asks about the time from the first to the last of some instants.
    ///
    /// # Errors
    /// The instants are at an end of time, or the engine does not answer.
    #[expect(clippy::disallowed_methods, reason = "times the answers themselves")]
    pub fn ask(
        engine: &Engine,
        (first, last): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Self, Box<dyn Error>> {
        let span = span_of(first, last).ok_or("the calls are at an end of time")?;
        let all = UsageQuery::new(span.start, span.end);
        let between = MeterQuery::new().between(span.start, span.end);
        let usage = engine.usage();
        let start = Instant::now();
        let summary = usage.summary(&all)?;
        let models = usage.breakdown(&all, "model")?;
        let customers = usage.breakdown(&all, "customer_id")?;
        let services = usage.breakdown(&all, SERVICE)?;
        let day = day_of(engine, &span)?;
        let minutes = usage.timeseries(&UsageQuery::new(day.start, day.end), Interval::Minute)?;
        let meters = METERS.iter().map(|id| engine.meters().query(id, &between));
        let meters = meters.collect::<Result<Vec<_>, _>>()?;
        let answering = start.elapsed();
        let covers = [
            ("summary", summary.covers),
            ("models", models.covers),
            ("customers", customers.covers),
            ("services", services.covers),
            ("five minutes", minutes.covers),
        ];
        let meters_cover = METERS.into_iter().zip(meters.iter().map(|meter| meter.covers));
        let buckets = minutes.points.chunks(BUCKET_MINUTES).map(Bucket::of);
        let names_services = services.rows.iter().any(|row| row.dimension.is_some());
        Ok(Self {
            totals: summary.totals,
            models: rows(models),
            customers: rows(customers),
            services: if names_services { rows(services) } else { Vec::new() },
            buckets: buckets.collect::<Result<_, _>>()?,
            covers: covers.into_iter().chain(meters_cover).collect(),
            meters,
            span,
            answering,
        })
    }

    /// The answers that are not about all of the time asked for.
    pub fn gaps(&self) -> impl Iterator<Item = &(&'static str, Coverage)> {
        self.covers.iter().filter(|(_, covers)| !covers.is_complete)
    }

    /// The five minutes with most tokens.
    pub fn peak(&self) -> Option<&Bucket> {
        // The first of equals, where `max_by_key` would give the last.
        self.buckets.iter().min_by_key(|bucket| Reverse(bucket.tokens()))
    }

    /// Whether the buckets are about all of the span.
    pub fn is_one_day(&self) -> bool {
        self.span.end - self.span.start <= DAY
    }
}

impl Bucket {
    /// The sum of the minutes of one bucket, of which there is at least one.
    fn of(minutes: &[TimeseriesPoint]) -> Result<Self, Box<dyn Error>> {
        let first = minutes.first().ok_or("a bucket without minutes")?;
        let sum = |value: fn(&UsageTotals) -> u128| {
            minutes.iter().map(|minute| value(&minute.totals)).sum()
        };
        Ok(Self {
            start: first.timestamp.try_into()?,
            calls: minutes.iter().map(|minute| minute.totals.total_events).sum(),
            input_tokens: sum(|totals| totals.total_input_tokens),
            output_tokens: sum(|totals| totals.total_output_tokens),
            is_complete: minutes.iter().all(|minute| minute.is_complete),
        })
    }

    pub fn tokens(&self) -> u128 {
        self.input_tokens + self.output_tokens
    }
}

impl Row {
    /// The first rows, and one for all the others where there are any.
    pub fn top(rows: &[Self], shown: usize, others: &str) -> Vec<Self> {
        let (top, rest) = rows.split_at(shown.min(rows.len()));
        let mut top = top.to_vec();
        if !rest.is_empty() {
            let mut totals = UsageTotals::default();
            for row in rest {
                totals.total_events += row.totals.total_events;
                totals.total_tokens += row.totals.total_tokens;
                totals.total_input_tokens += row.totals.total_input_tokens;
                totals.total_output_tokens += row.totals.total_output_tokens;
                totals.total_cost_cents =
                    totals.total_cost_cents.saturating_add(row.totals.total_cost_cents);
            }
            top.push(Self { name: format!("{} {others}", rest.len()), totals });
        }
        top
    }
}

/// The rows of a breakdown with most tokens first; what has no row of its own comes last.
fn rows(breakdown: UsageBreakdown) -> Vec<Row> {
    let row = |name: Option<String>, totals| {
        let name = name.unwrap_or_else(|| "(none)".to_owned());
        Row { name, totals }
    };
    let rows = breakdown.rows.into_iter().map(|found| row(found.dimension, found.totals));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| Reverse(row.totals.total_tokens));
    rows.extend(breakdown.other.map(|totals| row(Some("(other)".to_owned()), totals)));
    rows
}

/// The time to ask about; `None` where time ends. Sums by the day are kept for ever, so that
/// whole days are known whatever their number.
fn span_of(first: DateTime<Utc>, last: DateTime<Utc>) -> Option<Range<DateTime<Utc>>> {
    let around = |seconds: i64| {
        let floor = |at: DateTime<Utc>| at.timestamp().div_euclid(seconds) * seconds;
        let start = DateTime::from_timestamp(floor(first), 0)?;
        Some(start..DateTime::from_timestamp(floor(last) + seconds, 0)?)
    };
    let buckets = around(BUCKET_SECONDS)?;
    if buckets.end - buckets.start <= DAY { Some(buckets) } else { around(DAY.num_seconds()) }
}

/// The span where it is no longer than a day, and else its day with most tokens.
fn day_of(
    engine: &Engine,
    span: &Range<DateTime<Utc>>,
) -> Result<Range<DateTime<Utc>>, Box<dyn Error>> {
    if span.end - span.start <= DAY {
        return Ok(span.clone());
    }
    let query = UsageQuery::new(span.start, span.end);
    let days = engine.usage().timeseries(&query, Interval::Day)?;
    let busiest = days.points.iter().max_by_key(|point| point.totals.total_tokens);
    let start: DateTime<Utc> = busiest.ok_or("a span without a day")?.timestamp.try_into()?;
    let end = start.checked_add_signed(DAY).ok_or("the calls are at an end of time")?;
    Ok(start..end)
}
