//! A set of rules as plain data.

use std::sync::Arc;

use super::meter::Meters;
use super::rule::Rule;
use super::validate::set_problems;
use super::{Meter, Quota, RateLimit, RuleSetError};
use crate::base::reading;

reading::body! {
    /// Rate limits, quotas and the meters that they count, as plain serde data: loads from JSON,
    /// TOML or YAML. Fields are written `limitValue`, and `limit_value` is read as well.
    ///
    /// ```
    /// let rules: limitry::RuleSet = toml::from_str(
    ///     r#"
    ///     [[rateLimits]]
    ///     name = "API"
    ///     limitValue = 1000
    ///     window = "hour"
    ///     per = "customer_id"
    ///
    ///     [[quotas]]
    ///     name = "Daily tokens"
    ///     metric = "total_tokens"
    ///     limitValue = 100000
    ///     period = "day"
    ///     per = ["customer_id"]
    ///     "#,
    /// )?;
    /// rules.validate()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[non_exhaustive]
    pub struct RuleSet {
        /// The meters, the oldest first. One that a rule counts needs an id.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "reading::list")]
        pub meters: Vec<Meter>,
        /// The rate limits, the oldest first.
        #[serde(alias = "rate_limits", deserialize_with = "reading::list")]
        pub rate_limits: Vec<RateLimit>,
        /// The quotas, the oldest first.
        #[serde(deserialize_with = "reading::list")]
        pub quotas: Vec<Quota>,
    }
}

impl RuleSet {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a meter.
    #[must_use]
    pub fn meter(mut self, meter: Meter) -> Self {
        self.meters.push(meter);
        self
    }

    /// Adds a rate limit.
    #[must_use]
    pub fn rate_limit(mut self, rule: RateLimit) -> Self {
        self.rate_limits.push(rule);
        self
    }

    /// Adds a quota.
    #[must_use]
    pub fn quota(mut self, rule: Quota) -> Self {
        self.quotas.push(rule);
        self
    }

    /// Checks the set as a whole.
    ///
    /// # Errors
    /// All problems at once, each with its rule, its field and the reason.
    pub fn validate(&self) -> Result<(), RuleSetError> {
        let (rules, meters) = self.clone().into_parts();
        RuleSetError::check(set_problems(&rules, &meters))
    }

    pub(crate) fn into_parts(self) -> (Vec<Rule>, Meters) {
        let rate_limits = self.rate_limits.into_iter().map(Rule::from);
        let rules = rate_limits.chain(self.quotas.into_iter().map(Rule::from)).collect();
        (rules, Meters::new(self.meters.into_iter().map(Arc::new).collect()))
    }
}
