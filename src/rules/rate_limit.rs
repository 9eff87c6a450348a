//! A short-window rule.

use super::fields::{rule, rule_setters, yes};
use super::limit::read_limit;
use super::{Algorithm, Enforcement, Metric, Window};
use crate::base::amount::{Amount, IntoAmount};

rule! {
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
    RateLimit {
        before limit {}
        /// The length of time that the limit is for.
        window: Window,
        #[serde(default = "yes")]
        enabled,
        after enabled {
            /// What it counts: events by default.
            #[serde(default = "events", skip_serializing_if = "is_events")]
            metric,
        }
        optional {
            /// The capacity of the token bucket; the limit where it is not given.
            burst: Amount,
            /// How far below empty [`Engine::record`](crate::Engine::record) may take the token
            /// bucket; without a bound where it is not given.
            #[serde(alias = "max_debt")]
            max_debt: Amount,
        }
        options {
            /// How it counts.
            algorithm: Algorithm,
        }
    }

    /// A change of a rate limit; what is not set stays.
    ///
    /// The use of the rule's counters carries over. A raised limit helps at once; a lowered one
    /// shows zero remaining until what was used has drained. With another algorithm or window
    /// what is used at that moment counts in the new one as one lump; with another metric or
    /// partition there is nothing to carry, and counters start afresh.
    RateLimitUpdate
}

impl RateLimit {
    /// Makes a rule that admits `limit` events a window, as a token bucket shared by all.
    #[must_use]
    pub fn new(name: impl Into<String>, limit: impl IntoAmount, window: Window) -> Self {
        Self::with_limit(name, Metric::TotalEvents, limit, window)
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
