//! What was used, as a naive and exact fold over plain events that knows nothing of the crate.
//!
//! Every question goes through all the events. Nothing is kept, nothing is cut short, and each
//! sum is of whole numbers: of tokens, or of millionths.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::{Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone, Weekday};
use chrono_tz::Tz;

use super::oracle::{HOUR, MINUTE, Nanos, Prop, SECOND};

/// The bounds of a time without bounds.
pub const ALWAYS: Range<Nanos> = Nanos::MIN..Nanos::MAX;

const BUILT_IN: [&str; 4] = ["customer_id", "event_type", "model", "provider"];

/// An event that was let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageEvent {
    pub at: Nanos,
    pub customer: String,
    pub event_type: String,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub props: Vec<(String, Prop)>,
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub total: Option<u64>,
    /// In millionths of a cent.
    pub cost: Option<i128>,
    pub latency: Option<u64>,
    /// In millionths.
    pub named: BTreeMap<String, i128>,
}

impl UsageEvent {
    /// A built-in dimension is a field of the event and nothing else; the others are the text
    /// properties.
    pub fn dimension(&self, name: &str) -> Option<&str> {
        match name {
            "customer_id" => Some(&self.customer),
            "event_type" => Some(&self.event_type),
            "model" => self.model.as_deref(),
            "provider" => self.provider.as_deref(),
            _ => self.props.iter().find_map(|(key, value)| match value {
                Prop::Text(text) if key == name => Some(text.as_str()),
                _ => None,
            }),
        }
    }

    /// The tokens in all; they must fit.
    pub fn tokens(&self) -> Option<u64> {
        match (self.total, self.input, self.output) {
            (Some(total), ..) => Some(total),
            (None, None, None) => None,
            (None, input, output) => Some(input.unwrap_or(0) + output.unwrap_or(0)),
        }
    }

    /// A value by name, in millionths.
    pub fn value(&self, name: &str) -> Option<i128> {
        let whole = match name {
            "input_tokens" => self.input,
            "output_tokens" => self.output,
            "total_tokens" => self.tokens(),
            "cost_cents" => return self.cost,
            "latency_ms" => self.latency,
            _ => return self.named.get(name).copied(),
        };
        whole.map(|number| i128::from(number) * 1_000_000)
    }
}

/// The events that are asked for.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The pairs that must all hold.
    pub pairs: Vec<(String, String)>,
    pub range: Range<Nanos>,
}

impl Selection {
    pub fn has(&self, usage_event: &UsageEvent) -> bool {
        let holds = |(name, value): &(String, String)| usage_event.dimension(name) == Some(value);
        self.range.contains(&usage_event.at) && self.pairs.iter().all(holds)
    }

    /// The same about another time.
    pub fn during(&self, range: Range<Nanos>) -> Self {
        Self { pairs: self.pairs.clone(), range }
    }

    fn of<'f>(&self, usage_events: &'f [UsageEvent]) -> impl Iterator<Item = &'f UsageEvent> {
        usage_events.iter().filter(|usage_event| self.has(usage_event))
    }
}

/// The sums over some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub events: u64,
    pub tokens: u128,
    pub input: u128,
    pub output: u128,
    /// In millionths of a cent.
    pub cost: i128,
    /// In millionths, of the events' own values and of `latency_ms` where it is not 0.
    pub values: BTreeMap<String, i128>,
}

impl Sums {
    pub fn add(&mut self, usage_event: &UsageEvent) {
        let whole = |number: Option<u64>| u128::from(number.unwrap_or(0));
        self.events += 1;
        self.tokens += whole(usage_event.tokens());
        self.input += whole(usage_event.input);
        self.output += whole(usage_event.output);
        self.cost += usage_event.cost.unwrap_or(0);
        let latency = usage_event.value("latency_ms").filter(|latency| *latency > 0);
        let latency = latency.map(|latency| ("latency_ms", latency));
        let named = usage_event.named.iter().map(|(name, value)| (name.as_str(), *value));
        for (name, value) in named.chain(latency) {
            *self.values.entry(name.to_owned()).or_default() += value;
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.events += other.events;
        self.tokens += other.tokens;
        self.input += other.input;
        self.output += other.output;
        self.cost += other.cost;
        for (name, value) in &other.values {
            *self.values.entry(name.clone()).or_default() += value;
        }
    }

    pub fn of_all<'s>(parts: impl IntoIterator<Item = &'s Self>) -> Self {
        let mut all = Self::default();
        parts.into_iter().for_each(|part| all.merge(part));
        all
    }
}

pub fn summary(usage_events: &[UsageEvent], selection: &Selection) -> Sums {
    let mut sums = Sums::default();
    selection.of(usage_events).for_each(|usage_event| sums.add(usage_event));
    sums
}

pub fn breakdown(
    usage_events: &[UsageEvent],
    selection: &Selection,
    by: &str,
) -> BTreeMap<Option<String>, Sums> {
    let mut groups: BTreeMap<_, Sums> = BTreeMap::new();
    for usage_event in selection.of(usage_events) {
        groups.entry(usage_event.dimension(by).map(str::to_owned)).or_default().add(usage_event);
    }
    groups
}

/// The sums by bucket; the buckets abut.
pub fn series(
    usage_events: &[UsageEvent],
    selection: &Selection,
    buckets: &[Range<Nanos>],
) -> Vec<Sums> {
    let mut sums = vec![Sums::default(); buckets.len()];
    for usage_event in selection.of(usage_events) {
        let after = buckets.partition_point(|bucket| bucket.start <= usage_event.at);
        sums[after - 1].add(usage_event);
    }
    sums
}

/// How a figure is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Count,
    Sum,
    Max,
    Min,
    Latest,
    Average,
    Unique,
    /// What so many of a hundred are not above.
    Percentile(usize),
}

impl Aggregate {
    pub const ALL: [Self; 9] = [
        Self::Count,
        Self::Sum,
        Self::Max,
        Self::Min,
        Self::Latest,
        Self::Average,
        Self::Unique,
        Self::Percentile(50),
        Self::Percentile(95),
    ];

    /// How far an answer may be from this figure: percentiles are within 1 %.
    pub fn slack(self, figure: i128) -> i128 {
        if matches!(self, Self::Percentile(_)) { figure.abs() / 100 } else { 0 }
    }
}

/// A figure over the events, in millionths: 0 where no event has the value. The events are in the
/// order in which they were recorded. `of` is a value, or a dimension for `Unique`.
pub fn figure(
    usage_events: &[UsageEvent],
    selection: &Selection,
    aggregate: Aggregate,
    of: &str,
) -> i128 {
    let values: Vec<(Nanos, i128)> = selection
        .of(usage_events)
        .filter_map(|usage_event| Some((usage_event.at, usage_event.value(of)?)))
        .collect();
    let numbers = values.iter().map(|(_, value)| *value);
    let whole = |count: usize| i128::try_from(count).expect("a count fits") * 1_000_000;
    match aggregate {
        Aggregate::Count => whole(selection.of(usage_events).count()),
        Aggregate::Sum => numbers.sum(),
        Aggregate::Max => numbers.max().unwrap_or(0),
        Aggregate::Min => numbers.min().unwrap_or(0),
        // Of equals the last.
        Aggregate::Latest => values.iter().max_by_key(|(at, _)| *at).map_or(0, |(_, value)| *value),
        Aggregate::Average if values.is_empty() => 0,
        Aggregate::Average => rounded(numbers.sum(), whole(values.len()) / 1_000_000),
        Aggregate::Percentile(percent) => {
            let mut sorted: Vec<i128> = numbers.collect();
            sorted.sort_unstable();
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or(0)
        }
        Aggregate::Unique => {
            let known: BTreeSet<&str> = selection
                .of(usage_events)
                .filter_map(|usage_event| usage_event.dimension(of))
                .collect();
            whole(known.len())
        }
    }
}

/// The quotient of a number and a count, half away from zero.
fn rounded(number: i128, count: i128) -> i128 {
    let sign = number.signum();
    sign * ((2 * number.abs() + count) / (2 * count))
}

/// How time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketLength {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

impl BucketLength {
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The buckets that a range has a part in. They are whole.
    pub fn buckets(
        self,
        zone: Tz,
        anchor: Option<NaiveDate>,
        range: &Range<Nanos>,
    ) -> Vec<Range<Nanos>> {
        let edges = match self {
            Self::Minute => even_edges(MINUTE, range),
            Self::Hour => even_edges(HOUR, range),
            _ => self.dated_edges(zone, anchor, range),
        };
        let buckets = edges.windows(2).map(|edge| edge[0]..edge[1]);
        buckets.filter(|it| it.end > range.start && it.start < range.end).collect()
    }

    /// The beginnings of all the dates on which a bucket begins, from before the range to after.
    fn dated_edges(self, zone: Tz, anchor: Option<NaiveDate>, range: &Range<Nanos>) -> Vec<Nanos> {
        let date = |at: Nanos| super::day_of(at);
        let first = date(range.start) - Months::new(2);
        let dates = first.iter_days().take_while(|it| *it < date(range.end) + Months::new(2));
        let mut edges: Vec<Nanos> =
            dates.filter(|it| self.begins_on(*it, anchor)).map(|it| beginning(it, zone)).collect();
        // A date that a zone left out begins when the next one does.
        edges.dedup();
        edges
    }

    fn begins_on(self, date: NaiveDate, anchor: Option<NaiveDate>) -> bool {
        match self {
            Self::Week => date.weekday() == Weekday::Mon,
            Self::Month => {
                let is_last = (date + Days::new(1)).month() != date.month();
                let day = anchor.map_or(1, |anchor| anchor.day());
                date.day() == day || (is_last && date.day() < day)
            }
            _ => true,
        }
    }
}

fn even_edges(length: Nanos, range: &Range<Nanos>) -> Vec<Nanos> {
    let first = range.start.div_euclid(length);
    let last = range.end.div_euclid(length) + 1;
    (first..=last).map(|number| number * length).collect()
}

/// The first instant of a date: the first of its wall clock's instants from midnight on that a
/// zone has.
pub fn beginning(date: NaiveDate, zone: Tz) -> Nanos {
    let midnight = date.and_time(NaiveTime::MIN);
    let minutes = (0..).map(|minute| midnight + TimeDelta::minutes(minute));
    let mut instants = minutes.filter_map(|at| zone.from_local_datetime(&at).earliest());
    let first = instants.next().expect("no zone skips for ever");
    Nanos::from(first.timestamp()) * SECOND
}
