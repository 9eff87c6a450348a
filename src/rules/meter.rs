//! How values become one figure.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Condition;
use super::update::update;
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::base::sketch::Percentile;
use crate::base::suggest::hint;
use crate::base::text::{as_text, excerpt};
use crate::event::key_rule;

reading::body! {
    /// A named figure over events: how many there are, or the sum, the highest, the latest, the
    /// lowest, the average, the average over time or a percentile of a value, or how many different
    /// values a dimension has.
    ///
    /// A meter is asked for its figure over any range, and `count`, `sum`, `max`, `latest` and
    /// `unique` meters are what rules may count, as [`Metric::meter`](crate::Metric::meter). An
    /// event that lacks the value, or the dimension, is one of those that `count` counts and
    /// changes no other figure.
    ///
    /// ```
    /// use limitry::{Engine, Event, Meter, Metric, Period, Quota};
    ///
    /// let agents = Meter::latest("agents", "agents").filter("event_type", "agent.count");
    /// let at_most_10 = Quota::new("agents", Metric::meter("mtr_agents"), 10, Period::AllTime);
    /// let engine = Engine::builder()
    ///     .meter(agents.id("mtr_agents"))
    ///     .quota(at_most_10.per("customer_id"))
    ///     .build()?;
    /// let agents = |number: u64| Event::new("cust_123", "agent.count").value("agents", number);
    /// assert!(engine.track(&agents(10))?.is_allowed());
    /// assert!(!engine.track(&agents(11))?.is_allowed());
    /// assert!(engine.track(&agents(3))?.is_allowed()); // a gauge goes down, too
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[non_exhaustive]
    pub struct Meter {
        /// The id, of 1 to 64 ASCII letters, digits or `_`; where it is not given the engine makes
        /// one of the name, such as `mtr_gpu_time` of `GPU time`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub id: Option<String>,
        /// The project of the product's object; kept and not used.
        #[serde(default, alias = "project_id")]
        pub project_id: Option<String>,
        /// What people call it.
        pub name: String,
        /// How the events' values become one figure.
        pub aggregation: Aggregation,
        /// What of an event the aggregation is over.
        #[serde(default)]
        pub field: MeterField,
        /// What it is for, in the users' own words.
        #[serde(default)]
        pub description: Option<String>,
        /// The events that it is over.
        #[serde(default, alias = "event_filter", deserialize_with = "reading::part")]
        pub event_filter: EventFilter,
        /// When the engine got it; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "created_at")]
        pub created_at: Option<Timestamp>,
        /// When it was last changed; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "updated_at")]
        pub updated_at: Option<Timestamp>,
    }
}

/// How the values of events become one figure.
///
/// Its text is a word, such as `sum`, and that of a percentile `p50`, `p95` or `p99.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aggregation {
    /// The number of events.
    Count,
    /// The sum of a value.
    Sum,
    /// The highest value.
    Max,
    /// The value of the event with the latest timestamp, of equals the one recorded last.
    Latest,
    /// The lowest value. Not for rules.
    Min,
    /// The average of a value, over the events that have it. Not for rules.
    Avg,
    /// The average of a gauge over time, each value holding until the next one. Not for rules.
    TimeAvg,
    /// The number of different values of a dimension.
    Unique,
    /// What so many of the events that have the value are not above, within 1 %. Not for rules.
    Percentile(Percentile),
}

/// What of an event an [`Aggregation`] is over: `*`, `values.<name>` or `dimensions.<key>`. A
/// bare name reads as that of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MeterField {
    /// The event itself, for `count`.
    #[default]
    Events,
    /// The value of a name: a built-in one or any other.
    Value(String),
    /// The dimension of a key, for `unique`.
    Dimension(String),
}

reading::body! {
    /// The events that a [`Meter`] is over: those for which all holds; by default every event.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[non_exhaustive]
    pub struct EventFilter {
        /// What the type of events must be.
        #[serde(skip_serializing_if = "Option::is_none", alias = "event_type")]
        pub event_type: Option<Condition>,
        /// What their dimensions must be, all of it.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub dimensions: BTreeMap<String, Condition>,
    }
}

impl Meter {
    fn new(name: impl Into<String>, aggregation: Aggregation, field: MeterField) -> Self {
        Self {
            id: None,
            project_id: None,
            name: name.into(),
            aggregation,
            field,
            description: None,
            event_filter: EventFilter::default(),
            created_at: None,
            updated_at: None,
        }
    }

    /// Makes a meter of the number of events.
    #[must_use]
    pub fn count(name: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Count, MeterField::Events)
    }

    /// Makes a meter of the sum of a value.
    #[must_use]
    pub fn sum(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Sum, MeterField::Value(value.into()))
    }

    /// Makes a meter of the highest of a value.
    #[must_use]
    pub fn max(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Max, MeterField::Value(value.into()))
    }

    /// Makes a meter of the latest of a value: a gauge, such as agents or seats.
    #[must_use]
    pub fn latest(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Latest, MeterField::Value(value.into()))
    }

    /// Makes a meter of the lowest of a value.
    #[must_use]
    pub fn min(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Min, MeterField::Value(value.into()))
    }

    /// Makes a meter of the average of a value.
    #[must_use]
    pub fn avg(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Avg, MeterField::Value(value.into()))
    }

    /// Makes a meter of the average of a gauge over time, such as storage or seats: each value that
    /// is reported holds from its timestamp until that of the next one.
    ///
    /// Readings are those of one gauge. Where each customer has one, ask for a
    /// [customer](crate::usage::MeterQuery::customer) or by groups, or
    /// [sum over](crate::usage::MeterQuery::sum_over) the customers, whose averages are added up.
    ///
    /// - Before its first reading a gauge is 0, as one is that is rented from the middle of the
    ///   month on. A range without a start begins with the first reading of all.
    /// - A gauge that is not reported any more holds its last value: report 0 where it ends.
    /// - What is behind the engine's time is not averaged over: the month so far, say.
    /// - Late readings, and those that are [voided or amended](crate::Engine::void), count as if
    ///   they had come in order.
    ///
    /// It is exact, rounded once to a millionth, half away from zero, where the log has the events
    /// of the range. What retention has dropped of them is answered from the roll-ups, which keep
    /// the last reading of each minute, with its instant (later of each half hour, then of each
    /// day): exact too for a gauge that is reported no more often than that, and else off by no
    /// more than what it moved within these.
    ///
    /// What was last said before the range is looked for in all that is kept. What is kept is as
    /// much as for a `latest` meter of the value.
    ///
    /// ```
    /// use std::time::Duration;
    /// use limitry::time::ManualClock;
    /// use limitry::usage::MeterQuery;
    /// use limitry::{Engine, Event, Meter, Timestamp};
    ///
    /// let start: Timestamp = "2024-04-01T00:00:00Z".parse()?;
    /// let clock = ManualClock::new(start);
    /// let stored = Meter::time_avg("Stored", "gb").id("stored");
    /// let engine = Engine::builder().clock(clock.clone()).meter(stored).build()?;
    /// let day = Duration::from_secs(86_400);
    /// for (days, gb) in [(10, 30_u64), (10, 60)] {
    ///     clock.advance(days * day);
    ///     let _ = engine.record(&Event::new("cust_123", "storage").value("gb", gb))?;
    /// }
    /// clock.advance(10 * day);
    /// // 0 for ten days, 30 for ten and 60 for ten.
    /// let april = MeterQuery::new().customer("cust_123").between(start, start + 30 * day);
    /// assert_eq!(engine.meters().query("stored", &april)?.value, 30);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn time_avg(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(name, Aggregation::TimeAvg, MeterField::Value(value.into()))
    }

    /// Makes a meter of the number of different values of a dimension.
    #[must_use]
    pub fn unique(name: impl Into<String>, dimension: impl Into<String>) -> Self {
        Self::new(name, Aggregation::Unique, MeterField::Dimension(dimension.into()))
    }

    /// Makes a meter of the amount that so many of the events that have a value are not above:
    /// `p95` of the latency, or `p99.9` of the tokens of a call.
    ///
    /// Figures are within 1 % of the exact ones, for any range and any [dimension that is
    /// declared](crate::usage::RollupOptions::dimension): what is kept is a
    /// [`Sketch`](crate::usage::Sketch) in each row of the roll-ups, one for all percentiles of a
    /// value, which is exact to 1 % while the values of the row fill at most 1 200 buckets, and to
    /// 2 %, 4 % or 8 % beyond. That is 8 bytes a bucket, at most 9 600 bytes a row.
    ///
    /// ```
    /// use limitry::rules::Percentile;
    /// use limitry::usage::MeterQuery;
    /// use limitry::{Engine, Event, Meter};
    ///
    /// let p95 = Meter::percentile("Slow calls", "latency_ms", Percentile::P95);
    /// let engine = Engine::builder().meter(p95.id("slow")).build()?;
    /// for millis in 1..=200 {
    ///     let _ = engine.record(&Event::new("cust_123", "model_call").latency_ms(millis * 5))?;
    /// }
    /// let slow = engine.meters().query("slow", &MeterQuery::new().customer("cust_123"))?.value;
    /// assert!(slow >= 941 && slow <= 959); // 950, give or take 1 %
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn percentile(
        name: impl Into<String>,
        value: impl Into<String>,
        percentile: Percentile,
    ) -> Self {
        Self::new(name, Aggregation::Percentile(percentile), MeterField::Value(value.into()))
    }

    /// Sets the id, by which rules and queries name the meter.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says what the meter is for.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Is over only the events whose `dimension` has this value, or meets another [`Condition`].
    /// Of each dimension one thing is asked; several dimensions must all be as asked.
    ///
    /// Roll-ups answer for values, and for the other conditions by going through the values that
    /// they know of the dimension.
    #[must_use]
    pub fn filter(mut self, dimension: impl Into<String>, condition: impl Into<Condition>) -> Self {
        self.event_filter.insert(dimension.into(), condition.into());
        self
    }

    /// The id, which every meter of an engine has.
    pub(crate) fn known_id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// The two meters differ only in what the engine sets.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let plain =
            |meter: &Self| Self { id: None, created_at: None, updated_at: None, ..meter.clone() };
        plain(self) == plain(other)
    }
}

impl EventFilter {
    fn insert(&mut self, dimension: String, condition: Condition) {
        if dimension == "event_type" {
            self.event_type = Some(condition);
        } else {
            self.dimensions.insert(dimension, condition);
        }
    }

    /// All that must hold.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &Condition)> {
        let event_type = self.event_type.iter().map(|condition| ("event_type", condition));
        let dimensions = self.dimensions.iter();
        event_type.chain(dimensions.map(|(key, condition)| (key.as_str(), condition)))
    }
}

/// The words of the aggregations that have one.
const WORDS: [(&str, Aggregation); 8] = [
    ("count", Aggregation::Count),
    ("sum", Aggregation::Sum),
    ("max", Aggregation::Max),
    ("latest", Aggregation::Latest),
    ("min", Aggregation::Min),
    ("avg", Aggregation::Avg),
    ("time_avg", Aggregation::TimeAvg),
    ("unique", Aggregation::Unique),
];

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Percentile(percentile) = self {
            return percentile.fmt(f);
        }
        let known = WORDS.iter().find(|(_, known)| known == self);
        f.write_str(known.map_or("", |(word, _)| word))
    }
}

/// A text that is no [`Aggregation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregationParseError {
    text: Box<str>,
}

impl fmt::Display for AggregationParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = WORDS.map(|(word, _)| word);
        write!(f, "aggregation {:?} must be one of ", self.text)?;
        words.iter().try_for_each(|word| write!(f, "`{word}`, "))?;
        f.write_str("or `p` and a percentage from 0 to 100, such as `p95` or `p99.9`")?;
        f.write_str(&hint(&self.text, &words))
    }
}

impl std::error::Error for AggregationParseError {}

impl FromStr for Aggregation {
    type Err = AggregationParseError;

    fn from_str(text: &str) -> Result<Self, AggregationParseError> {
        if let Some((_, known)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*known);
        }
        let percentile = text.strip_prefix('p').and_then(|number| number.parse().ok());
        let percentile = percentile.filter(|_| !text.starts_with("pp"));
        percentile
            .map(Self::Percentile)
            .ok_or_else(|| AggregationParseError { text: excerpt(text) })
    }
}

as_text!(Aggregation);

const VALUES: &str = "values.";
const DIMENSIONS: &str = "dimensions.";

impl fmt::Display for MeterField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("*"),
            Self::Value(name) => write!(f, "{VALUES}{name}"),
            Self::Dimension(key) => write!(f, "{DIMENSIONS}{key}"),
        }
    }
}

/// A text that is no [`MeterField`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "field {text:?} must be `*`, or `values.` or `dimensions.` with a name of 1 to 64 ASCII \
     letters, digits or `_`"
)]
pub struct MeterFieldParseError {
    text: String,
}

impl FromStr for MeterField {
    type Err = MeterFieldParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let field = if text == "*" {
            Self::Events
        } else if let Some(key) = text.strip_prefix(DIMENSIONS) {
            Self::Dimension(key.to_owned())
        } else {
            Self::Value(text.strip_prefix(VALUES).unwrap_or(text).to_owned())
        };
        match &field {
            Self::Value(name) | Self::Dimension(name) if key_rule(name).is_some() => {
                Err(MeterFieldParseError { text: text.to_owned() })
            }
            _ => Ok(field),
        }
    }
}

as_text!(MeterField);

update! {
    /// A change of a meter; what is not set stays.
    ///
    /// A change of what a meter counts (aggregation, field or filter) changes the rules that count
    /// it, as [`QuotaUpdate`](crate::rules::QuotaUpdate) and
    /// [`RateLimitUpdate`](crate::rules::RateLimitUpdate) say of another metric or filter.
    MeterUpdate of Meter {
        beside {
            /// The whole filter; `Some` of an empty one is over every event.
            #[serde(alias = "event_filter")]
            event_filter: EventFilter,
        }
        set {
            /// How the events' values become one figure.
            aggregation: Aggregation,
            /// What of an event the aggregation is over.
            field: MeterField,
        }
        set or take away {
            /// What it is for.
            description: String,
        }
    }
}

impl MeterUpdate {
    /// Changes the filter: the first call starts an empty one, each adds a condition.
    #[must_use]
    pub fn filter(mut self, dimension: impl Into<String>, condition: impl Into<Condition>) -> Self {
        let filter = self.event_filter.get_or_insert_default();
        filter.insert(dimension.into(), condition.into());
        self
    }
}

/// The meters of a rule set, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    list: Vec<Arc<Meter>>,
    by_id: HashMap<String, usize>,
}

impl Meters {
    /// Of meters with the same id the first is found by it.
    pub(crate) fn new(list: Vec<Arc<Meter>>) -> Self {
        let mut by_id = HashMap::new();
        for (place, meter) in list.iter().enumerate() {
            if let Some(id) = &meter.id {
                by_id.entry(id.clone()).or_insert(place);
            }
        }
        Self { list, by_id }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Meter>> {
        self.by_id.get(id).and_then(|place| self.list.get(*place))
    }

    /// All of them, in the order in which they were added.
    pub(crate) fn list(&self) -> &[Arc<Meter>] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_every_form() {
        let value = |name: &str| MeterField::Value(name.to_owned());
        for (text, field, shown) in [
            ("*", MeterField::Events, "*"),
            ("values.tokens", value("tokens"), "values.tokens"),
            ("tokens", value("tokens"), "values.tokens"),
            ("total_tokens", value("total_tokens"), "values.total_tokens"),
            ("dimensions.model", MeterField::Dimension("model".to_owned()), "dimensions.model"),
        ] {
            assert_eq!(text.parse(), Ok(field.clone()), "{text}");
            assert_eq!(field.to_string(), shown);
        }
        for text in ["", "values.", "dimensions.", "a b", "values.a.b", "**"] {
            let why = text.parse::<MeterField>().expect_err("no field").to_string();
            assert!(why.contains(&format!("{text:?}")) && why.contains("values."), "{why}");
        }
    }

    #[test]
    fn the_type_of_an_event_has_a_place_of_its_own() {
        let meter = Meter::count("runs").filter("event_type", "agent.run").filter("model", "m");
        let filter = serde_json::to_value(&meter.event_filter).expect("is data");
        assert_eq!(
            filter,
            serde_json::json!({"eventType": "agent.run", "dimensions": {"model": "m"}})
        );
        let found: Vec<_> = meter.event_filter.conditions().collect();
        let is = |value: &str| Condition::from(value);
        assert_eq!(found, [("event_type", &is("agent.run")), ("model", &is("m"))]);
    }

    #[test]
    fn what_an_update_does_not_set_stays() {
        let meter = Meter::sum("tokens", "tokens").description("all").filter("model", "m");
        assert_eq!(MeterUpdate::new().apply(&meter), meter);
        let changed = MeterUpdate::new().aggregation(Aggregation::Max).description(None);
        let expected = Meter { aggregation: Aggregation::Max, description: None, ..meter };
        assert_eq!(changed.apply(&expected), expected);
    }
}
