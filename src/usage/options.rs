//! What the roll-ups keep.

use std::time::Duration;

use crate::event::key_rule;
use crate::rules::RuleProblem;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const BUILT_IN: [&str; 4] = ["customer_id", "event_type", "model", "provider"];
/// An event has a series a dimension: more would make each call slower and slower.
const MAX_DIMENSIONS: usize = 16;
/// As many as come with events.
const MAX_DECLARED_VALUES: usize = 1_000;
const DEFAULT_MAX_VALUES: usize = 100_000;
const DEFAULT_MAX_TUPLES: usize = 200_000;
const DEFAULT_MAX_ROWS: usize = 1_000_000;
/// Values and tuples are numbered in 32 bits.
const MOST_VALUES: usize = 100_000_000;

/// What the roll-ups of an engine keep: the dimensions whose values and combinations have sums of
/// their own, and for how long.
///
/// Sums are kept by minute, by hour and by day, in UTC. Those by the hour are kept by its halves,
/// and where a zone's midnight is a quarter past an hour by its quarters, so that days, weeks and
/// months of every time zone are exact for as long as hours are kept. (Before 1972 zones had
/// offsets to the second: their days are exact for as long as minutes or events are kept.) A series
/// that is always busy has 54 such rows a day, where 24 would do for UTC alone.
///
/// By default the four built-in dimensions are declared, minutes are kept for 7 days, hours for 90
/// days, days for ever, and of each at most a million rows for the values and a million for their
/// combinations. A row takes 74 bytes with its index, and 104 more for its first two named values;
/// an event of a customer that is new makes six of them, and takes 711 bytes in all with the two
/// series.
///
/// Recording an event holds up other events for as long as its sums take, which is bounded: it adds
/// to three rows for each declared dimension and to six more, and in each of them to at most 64
/// named values.
///
/// Questions that filter or group by other dimensions are answered from the event log, which
/// costs a pass over its events and covers what the log still holds.
///
/// ```
/// use limitry::usage::RollupOptions;
/// use limitry::Engine;
///
/// let rollups = RollupOptions::new().dimension("team_id").max_values(10_000);
/// let engine = Engine::builder().rollups(rollups).build()?;
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RollupOptions {
    pub(super) dimensions: Vec<String>,
    pub(super) values: Vec<String>,
    pub(super) max_values: usize,
    pub(super) max_tuples: usize,
    pub(super) max_rows: usize,
    /// For how long minutes, hours and days are kept.
    keep: [Option<Duration>; 3],
}

impl Default for RollupOptions {
    fn default() -> Self {
        Self {
            dimensions: BUILT_IN.map(str::to_owned).into(),
            values: Vec::new(),
            max_values: DEFAULT_MAX_VALUES,
            max_tuples: DEFAULT_MAX_TUPLES,
            max_rows: DEFAULT_MAX_ROWS,
            keep: [Some(DAY.saturating_mul(7)), Some(DAY.saturating_mul(90)), None],
        }
    }
}

impl RollupOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares one more dimension. Each costs every event a look-up and a sum.
    pub fn dimension(mut self, name: impl Into<String>) -> Self {
        self.dimensions.push(name.into());
        self
    }

    /// Declares these dimensions and no others, not even the built-in ones; none keeps only the
    /// totals.
    pub fn dimensions<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.dimensions = names.into_iter().map(Into::into).collect();
        self
    }

    /// Declares a name of events' values: its sum has room whatever else events bring.
    ///
    /// So have the names that rules and meters count. Of all others the first 64 that come with one
    /// customer's events have sums, and 1 000 of all customers; a name that has one has it for
    /// everybody. Values beyond are in no sum and are counted: answers say
    /// [how many](crate::usage::UsageTotals::other_values).
    pub fn value(mut self, name: impl Into<String>) -> Self {
        self.values.push(name.into());
        self
    }

    /// Sets the most values of one dimension that have sums of their own; the default is 100 000.
    /// Events of values beyond it are summed in one row, which breakdowns show as `other`.
    pub fn max_values(mut self, values: usize) -> Self {
        self.max_values = values;
        self
    }

    /// The declared dimensions.
    pub(crate) fn declared(&self) -> &[String] {
        &self.dimensions
    }

    /// Sets the most combinations of the declared dimensions' values that have sums of their
    /// own; the default is 200 000. Questions that combine dimensions are answered from the event
    /// log where a range holds events beyond it.
    pub fn max_combinations(mut self, combinations: usize) -> Self {
        self.max_tuples = combinations;
        self
    }

    /// Sets the most rows of each resolution, for the values and as many for their combinations;
    /// the default is a million. Beyond it the oldest buckets go. Questions about all events or
    /// one dimension are answered from the rows of values, others from those of combinations.
    pub fn max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows;
        self
    }

    /// Sets for how long sums by the minute are kept, in whole minutes: 7 days by default.
    pub fn keep_minutes(mut self, retention: Duration) -> Self {
        self.keep[0] = Some(retention);
        self
    }

    /// Sets for how long sums by the hour are kept, in whole hours: 90 days by default.
    pub fn keep_hours(mut self, retention: Duration) -> Self {
        self.keep[1] = Some(retention);
        self
    }

    /// Sets for how long sums by the day are kept, in whole days: for ever by default.
    pub fn keep_days(mut self, retention: Duration) -> Self {
        self.keep[2] = Some(retention);
        self
    }

    /// How many buckets of each level are kept before the current one.
    pub(super) fn kept_buckets(&self) -> [Option<i64>; 3] {
        let [minutes, hours, days] = self.keep;
        let buckets = |kept: Option<Duration>, length: Duration| {
            let whole = kept?.as_secs().checked_div(length.as_secs())?;
            Some(i64::try_from(whole).unwrap_or(i64::MAX))
        };
        [buckets(minutes, MINUTE), buckets(hours, HOUR), buckets(days, DAY)]
    }

    pub(crate) fn problems(&self) -> Vec<RuleProblem> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, reason: String| {
            let rule = "roll-ups".to_owned();
            problems.push(RuleProblem { rule, field: field.to_owned(), reason });
        };
        for (place, name) in self.dimensions.iter().enumerate() {
            if let Some(rule) = key_rule(name) {
                problem("dimensions", format!("{name:?} {rule}"));
            }
            if self.dimensions.iter().take(place).any(|earlier| earlier == name) {
                problem("dimensions", format!("{name:?} is declared twice"));
            }
        }
        for name in &self.values {
            if let Some(rule) = key_rule(name) {
                problem("values", format!("{name:?} {rule}"));
            }
        }
        if self.values.len() > MAX_DECLARED_VALUES {
            let reason = format!("{} must be at most {MAX_DECLARED_VALUES}", self.values.len());
            problem("values", reason);
        }
        if self.dimensions.len() > MAX_DIMENSIONS {
            let reason = format!("{} must be at most {MAX_DIMENSIONS}", self.dimensions.len());
            problem("dimensions", reason);
        }
        for (field, value) in [
            ("maxValues", self.max_values),
            ("maxCombinations", self.max_tuples),
            ("maxRows", self.max_rows),
        ] {
            if !(1..=MOST_VALUES).contains(&value) {
                problem(field, format!("{value} must be 1 to {MOST_VALUES}"));
            }
        }
        let longest = |kept: Option<Duration>| kept.unwrap_or(Duration::MAX);
        let [minutes, hours, days] = self.keep.map(longest);
        for (field, shorter, longer) in
            [("keepMinutes", minutes, hours), ("keepHours", hours, days)]
        {
            if shorter > longer {
                let reason = format!("{shorter:?} must not be longer than the next, {longer:?}");
                problem(field, reason);
            }
        }
        problems
    }
}
