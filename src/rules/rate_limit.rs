//! A short-window rule.

use std::collections::BTreeMap;

use super::limit::{LimitProblem, limit_or_none, read_limit};
use super::rule::{is_default, one_or_many, rule_setters, yes};
use super::{Algorithm, Enforcement, Metric, OnMissing, Overflow, Window};
use crate::base::amount::{Amount, IntoAmount};
use crate::base::clock::Timestamp;
use crate::base::reading;

reading::body! {
    /// A short-window rule: at most `limit` a window.
    ///
    /// ```
    /// use limitry::{RateLimit, Window};
    ///
    /// let rule = RateLimit::new("gpt-4 burst", 20, Window::Second)
    ///     .filter("model", "gpt-4")
    ///     .per("customer_id")
    ///     .burst(40);
    /// assert_eq!(rule.worst_case(), Some(60.into()));
    /// ```
    ///
    /// As data (JSON, TOML, YAML) it has the product's field names:
    ///
    /// ```
    /// let rule: limitry::RateLimit = serde_json::from_str(
    ///     r#"{"name": "gpt-4 burst", "limitValue": 20, "window": "1s", "burst": 40,
    ///         "dimensionFilters": {"model": "gpt-4"}, "per": ["customer_id"]}"#,
    /// )?;
    /// assert_eq!(rule.burst, Some(40.into()));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[non_exhaustive]
    pub struct RateLimit {
        /// The id; where it is not given the engine makes one of the name, such as `rl_api` of
        /// `API`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub id: Option<String>,
        /// The project of the product's object; kept and not used.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "project_id")]
        pub project_id: Option<String>,
        /// What people call it.
        pub name: String,
        /// Dimension = value pairs that must all hold; none matches every event.
        #[serde(default, alias = "dimension_filters")]
        pub dimension_filters: BTreeMap<String, String>,
        /// How much a window admits; of what is counted in whole numbers (events, tokens,
        /// milliseconds) a whole number, of costs and other values to six digits. 0 refuses
        /// whatever adds something. `None` counts and refuses nothing: `null` as data,
        /// `"unlimited"` in TOML, which has no null.
        #[serde(alias = "limit_value", deserialize_with = "limit_or_none")]
        pub limit_value: Option<Amount>,
        /// The length of time that the limit is for.
        pub window: Window,
        /// Whether it is evaluated at all.
        #[serde(default = "yes")]
        pub enabled: bool,
        /// What it counts: events by default.
        #[serde(default = "events", skip_serializing_if = "is_events")]
        pub metric: Metric,
        /// The dimensions whose values each have a counter of their own; none is one for all.
        #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
        pub per: Vec<String>,
        /// The capacity of the token bucket; the limit where it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub burst: Option<Amount>,
        /// How far below empty [`Engine::record`](crate::Engine::record) may take the token bucket;
        /// without a bound where it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_debt")]
        pub max_debt: Option<Amount>,
        /// How it counts.
        #[serde(default, skip_serializing_if = "is_default")]
        pub algorithm: Algorithm,
        /// What it does to an event that does not fit.
        #[serde(default, skip_serializing_if = "is_default")]
        pub enforcement: Enforcement,
        /// Rules of one policy compete: the most specific that matches judges alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub policy: Option<String>,
        /// The most keys that have counters of their own; only the engine's cap where not given.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_keys")]
        pub max_keys: Option<u64>,
        /// What new keys get when there is no room for another counter.
        #[serde(default, skip_serializing_if = "is_default")]
        pub overflow: Overflow,
        /// What it makes of an event that lacks a dimension which it filters or splits by.
        #[serde(default, skip_serializing_if = "is_default", alias = "on_missing")]
        pub on_missing: OnMissing,
        /// When the engine got it; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "created_at")]
        pub created_at: Option<Timestamp>,
        /// When it was last changed; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "updated_at")]
        pub updated_at: Option<Timestamp>,
        #[serde(skip)]
        pub(super) problem: Option<LimitProblem>,
    }
}

impl RateLimit {
    /// Makes a rule that admits `limit` events a window, as a token bucket shared by all.
    #[must_use]
    pub fn new(name: impl Into<String>, limit: impl IntoAmount, window: Window) -> Self {
        let mut problem = None;
        let limit = read_limit("limitValue", limit, &mut problem);
        Self {
            id: None,
            project_id: None,
            name: name.into(),
            dimension_filters: BTreeMap::new(),
            limit_value: Some(limit),
            window,
            enabled: true,
            metric: Metric::TotalEvents,
            per: Vec::new(),
            burst: None,
            max_debt: None,
            algorithm: Algorithm::default(),
            enforcement: Enforcement::default(),
            policy: None,
            max_keys: None,
            overflow: Overflow::default(),
            on_missing: OnMissing::default(),
            created_at: None,
            updated_at: None,
            problem,
        }
    }

    /// Makes a rule without a limit: it counts and never refuses, as a plan's exception does under
    /// a policy. It has no header.
    #[must_use]
    pub fn unlimited(name: impl Into<String>, window: Window) -> Self {
        Self { limit_value: None, ..Self::new(name, 0, window) }
    }

    rule_setters!();

    /// Counts `metric` instead of events.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the capacity of the token bucket.
    #[must_use]
    pub fn burst(mut self, capacity: impl IntoAmount) -> Self {
        self.burst = Some(read_limit("burst", capacity, &mut self.problem));
        self
    }

    /// Bounds how far below empty [`Engine::record`](crate::Engine::record) may take the token
    /// bucket.
    ///
    /// What was used without being asked for is owed, and the bucket lets nothing that adds
    /// something pass until the refill has paid it back: 0 forgives all that the bucket did not
    /// hold, and without this option nothing is forgiven. A limit of 0, which nothing refills, owes
    /// nothing.
    #[must_use]
    pub fn max_debt(mut self, most: impl IntoAmount) -> Self {
        self.max_debt = Some(read_limit("maxDebt", most, &mut self.problem));
        self
    }

    /// Sets how the rule counts.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Returns the most that one counter can admit in any span of the window's length; `None`
    /// where it refuses nobody (soft, shadow, without a limit). What is recorded comes on top: it
    /// is not admitted.
    ///
    /// The span includes both its ends for a token bucket and a fixed window. For a sliding
    /// window it is half open: a use at one end has left at the other.
    #[must_use]
    pub fn worst_case(&self) -> Option<Amount> {
        if self.enforcement != Enforcement::Hard {
            return None;
        }
        let limit = self.limit_value?;
        Some(match self.algorithm {
            Algorithm::TokenBucket => limit.saturating_add(self.burst.unwrap_or(limit)),
            Algorithm::FixedWindow => limit.saturating_add(limit),
            Algorithm::SlidingWindow => limit,
        })
    }
}

fn events() -> Metric {
    Metric::TotalEvents
}

fn is_events(metric: &Metric) -> bool {
    *metric == Metric::TotalEvents
}
