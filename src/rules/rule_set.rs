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

    pub(crate) fn into_parts(mut self) -> (Vec<Rule>, Meters) {
        let meters = std::mem::take(&mut self.meters).into_iter().map(Arc::new).collect();
        (self.into_rules(), Meters::new(meters))
    }
}

impl Extend<Rule> for RuleSet {
    fn extend<I: IntoIterator<Item = Rule>>(&mut self, rules: I) {
        rules.into_iter().for_each(|rule| self.push(rule));
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut set = Self::new();
        set.extend(rules);
        set
    }
}

/// Its rules of all kinds, without the meters.
impl IntoIterator for RuleSet {
    type Item = Rule;
    type IntoIter = std::vec::IntoIter<Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.into_rules().into_iter()
    }
}
