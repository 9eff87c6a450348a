//! What the roll-ups keep.

use std::time::Duration;

use crate::base::reading;
use crate::event::key_rule;
use crate::rules::RuleProblem;
use crate::rules::duration_text::{length, optional_length};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) const BUILT_IN: [&str; 4] = ["customer_id", "event_type", "model", "provider"];
/// An event has a series a dimension: more would make each call slower and slower.
pub(super) const MAX_DIMENSIONS: usize = 16;
/// As many as come with events.
const MAX_DECLARED_VALUES: usize = 1_000;
const DEFAULT_MAX_VALUES: usize = 100_000;
const DEFAULT_MAX_COMBINATIONS: usize = 200_000;
const DEFAULT_MAX_ROWS: usize = 1_000_000;
/// Values and tuples are numbered in 32 bits.
const MOST_VALUES: usize = 100_000_000;

reading::body! {
    /// What the roll-ups of an engine keep: the dimensions whose values and combinations have sums
    /// of their own, and for how long.
    ///
    /// Sums are kept by minute, by hour and by day, in UTC. Those by the hour are kept by its
    /// halves, and where a zone's midnight is a quarter past an hour by its quarters, so that days,
    /// weeks and months of every time zone are exact for as long as hours are kept. (Before 1972
    /// zones had offsets to the second: their days are exact for as long as minutes or events are
    /// kept.) A series that is always busy has 54 such rows a day, where 24 would do for UTC alone.
    ///
    /// By default the four built-in dimensions are declared, minutes are kept for 7 days, hours for
    /// 90 days, days for ever, and of each at most a million rows for the values and a million for
    /// their combinations. A row takes 74 bytes with its index, and 112 more for its first two
    /// named values; an event of a customer that is new makes six of them, and takes 711 bytes in
    /// all with the two series.
    ///
    /// Recording an event holds up other events for as long as its sums take, which is bounded:
    /// it adds to a row for each declared dimension and to two more, or to three times as many
    /// where it is not of the newest minute, and in each of them to at most 64 named values. When
    /// a minute is over its rows are added to those of its hour and its day, at most three for
    /// each of these by one event.
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
    ///
    /// As data (JSON, TOML, YAML), as [`EngineConfig`](crate::config::EngineConfig) has them,
    /// lengths of time are written `30s`, `5m`, `2h` or `7d`, and what is left out is as by
    /// default:
    ///
    /// ```
    /// # use limitry::usage::RollupOptions;
    /// let rollups: RollupOptions = toml::from_str(
    ///     r#"
    ///     dimensions = ["customer_id", "team_id"]
    ///     keepMinutes = "2d"
    ///     "#,
    /// )?;
    /// let two_days = std::time::Duration::from_secs(2 * 86_400);
    /// let same = RollupOptions::new().dimensions(["customer_id", "team_id"]);
    /// assert_eq!(rollups, same.keep_minutes(two_days));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[must_use]
    #[non_exhaustive]
    pub struct RollupOptions {
        /// All dimensions that are declared: see [`dimensions`](Self::dimensions).
        pub dimensions: Vec<String>,
        /// The names of values that are declared: see [`value`](Self::value).
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub values: Vec<String>,
        /// See [`max_values`](Self::max_values).
        #[serde(alias = "max_values")]
        pub max_values: usize,
        /// See [`max_combinations`](Self::max_combinations).
        #[serde(alias = "max_combinations")]
        pub max_combinations: usize,
        /// See [`max_rows`](Self::max_rows).
        #[serde(alias = "max_rows")]
        pub max_rows: usize,
        /// See [`keep_minutes`](Self::keep_minutes).
        #[serde(alias = "keep_minutes", with = "length")]
        pub keep_minutes: Duration,
        /// See [`keep_hours`](Self::keep_hours).
        #[serde(alias = "keep_hours", with = "length")]
        pub keep_hours: Duration,
        /// See [`keep_days`](Self::keep_days); `None` is for ever.
        #[serde(
            skip_serializing_if = "Option::is_none",
            alias = "keep_days",
            with = "optional_length"
        )]
        pub keep_days: Option<Duration>,
    }
}

impl Default for RollupOptions {
    fn default() -> Self {
        Self {
            dimensions: BUILT_IN.map(str::to_owned).into(),
            values: Vec::new(),
            max_values: DEFAULT_MAX_VALUES,
            max_combinations: DEFAULT_MAX_COMBINATIONS,
            max_rows: DEFAULT_MAX_ROWS,
            keep_minutes: DAY.saturating_mul(7),
            keep_hours: DAY.saturating_mul(90),
            keep_days: None,
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

    /// Sets the most combinations of the declared dimensions' values that have sums of their
    /// own; the default is 200 000. Questions that combine dimensions are answered from the event
    /// log where a range holds events beyond it.
    pub fn max_combinations(mut self, combinations: usize) -> Self {
        self.max_combinations = combinations;
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
        self.keep_minutes = retention;
        self
    }

    /// Sets for how long sums by the hour are kept, in whole hours: 90 days by default.
    pub fn keep_hours(mut self, retention: Duration) -> Self {
        self.keep_hours = retention;
        self
    }

    /// Sets for how long sums by the day are kept, in whole days: for ever by default.
    pub fn keep_days(mut self, retention: Duration) -> Self {
        self.keep_days = Some(retention);
        self
    }

    /// How many buckets of each level are kept before the current one.
    pub(super) fn kept_buckets(&self) -> [Option<i64>; 3] {
        let [minutes, hours, days] = self.retentions();
        let buckets = |kept: Option<Duration>, length: Duration| {
            let whole = kept?.as_secs().checked_div(length.as_secs())?;
            Some(i64::try_from(whole).unwrap_or(i64::MAX))
        };
        [buckets(minutes, MINUTE), buckets(hours, HOUR), buckets(days, DAY)]
    }

    /// For how long minutes, hours and days are kept; `None` is for ever.
    fn retentions(&self) -> [Option<Duration>; 3] {
        [Some(self.keep_minutes), Some(self.keep_hours), self.keep_days]
    }

    pub(crate) fn problems(&self) -> Vec<RuleProblem> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, reason: String| {
            let rule = "roll-ups".to_owned();
            problems.push(RuleProblem { rule, field: field.to_owned(), reason });
        };
        for (index, name) in self.dimensions.iter().enumerate() {
            if let Some(rule) = key_rule(name) {
                problem("dimensions", format!("{name:?} {rule}"));
            }
            if self.dimensions.iter().take(index).any(|earlier| earlier == name) {
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
            ("maxCombinations", self.max_combinations),
            ("maxRows", self.max_rows),
        ] {
            if !(1..=MOST_VALUES).contains(&value) {
                problem(field, format!("{value} must be 1 to {MOST_VALUES}"));
            }
        }
        let longest = |kept: Option<Duration>| kept.unwrap_or(Duration::MAX);
        let [minutes, hours, days] = self.retentions().map(longest);
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
