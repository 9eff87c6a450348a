//! One key of a rule: the values by which it is told from the others.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the keys that a rule counts apart: a value for each dimension of its
/// [`per`](crate::Quota::per), by the dimension's name. The key of a rule that is split by nothing
/// is `()`.
///
/// ```
/// use limitry::keys::RuleKey;
///
/// let one = RuleKey::from(("customer_id", "cust_123"));
/// assert_eq!(one, RuleKey::new().and("customer_id", "cust_123"));
/// let two = RuleKey::from([("customer_id", "cust_123"), ("model", "gpt-4")]);
/// assert_eq!(two.get("model"), Some("gpt-4"));
/// assert_eq!(two.to_string(), "customer_id=cust_123, model=gpt-4");
/// assert_eq!(RuleKey::from(()).to_string(), "all");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleKey(BTreeMap<String, String>);

impl RuleKey {
    /// The key of a rule that is split by nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key with the value of one more dimension, or another value of one that it has.
    #[must_use]
    pub fn and(mut self, dimension: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(dimension.into(), value.into());
        self
    }

    /// Returns the value of a dimension.
    #[must_use]
    pub fn get(&self, dimension: &str) -> Option<&str> {
        self.0.get(dimension).map(String::as_str)
    }

    /// Returns the dimensions with their values, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(dimension, value)| (dimension.as_str(), value.as_str()))
    }

    /// Returns whether it has no dimension.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<()> for RuleKey {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl From<&Self> for RuleKey {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl<D: Into<String>, V: Into<String>> From<(D, V)> for RuleKey {
    fn from((dimension, value): (D, V)) -> Self {
        Self::new().and(dimension, value)
    }
}

impl<D: Into<String>, V: Into<String>, const N: usize> From<[(D, V); N]> for RuleKey {
    fn from(pairs: [(D, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<D: Into<String>, V: Into<String>> FromIterator<(D, V)> for RuleKey {
    fn from_iter<I: IntoIterator<Item = (D, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(dimension, value)| (dimension.into(), value.into())).collect())
    }
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("all");
        }
        for (place, (dimension, value)) in self.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{dimension}={value}")?;
        }
        Ok(())
    }
}
