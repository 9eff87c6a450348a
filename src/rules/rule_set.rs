//! A set of rules as plain data.

use serde::{Deserialize, Serialize};

use super::rule::Rule;
use super::validate::set_problems;
use super::{Quota, RateLimit};
use crate::error::RuleSetError;

/// Rate limits and quotas as plain serde data: loads from JSON, TOML or YAML.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RuleSet {
    /// The rate limits, the oldest first.
    pub rate_limits: Vec<RateLimit>,
    /// The quotas, the oldest first.
    pub quotas: Vec<Quota>,
}

impl RuleSet {
    /// Makes an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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
        let rules: Vec<Rule> = self.clone().into_rules().collect();
        RuleSetError::check(set_problems(&rules))
    }

    pub(crate) fn into_rules(self) -> impl Iterator<Item = Rule> {
        let rate_limits = self.rate_limits.into_iter().map(Rule::from);
        rate_limits.chain(self.quotas.into_iter().map(Rule::from))
    }
}
