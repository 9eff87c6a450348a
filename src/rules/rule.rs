//! What rate limits and quotas have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::limit::LimitProblem;
use super::{Enforcement, Metric, OnMissing, Overflow, Quota, RateLimit};
use crate::base::amount::Amount;

/// The setters that both kinds of rule have.
macro_rules! rule_setters {
    () => {
        /// Sets the id; ids are unique among all rules of an engine. A rule without one gets the
        /// one that its name makes, the same in every process: `rl_` or `qta_` and the name's
        /// letters and digits in lower case, `_` between them, and a number from `_2` on where
        /// that id is taken. It stays when the rule is renamed.
        #[must_use]
        pub fn id(mut self, id: impl Into<String>) -> Self {
            self.id = Some(id.into());
            self
        }

        /// Matches only events whose `dimension` has this value; several pairs must all hold.
        #[must_use]
        pub fn filter(mut self, dimension: impl Into<String>, value: impl Into<String>) -> Self {
            self.dimension_filters.insert(dimension.into(), value.into());
            self
        }

        /// Splits the counter by the value of `dimension`; several split it by all of them. An
        /// event that lacks one of them does not match.
        #[must_use]
        pub fn per(mut self, dimension: impl Into<String>) -> Self {
            self.per.push(dimension.into());
            self
        }

        /// Sets what the rule does to an event that does not fit.
        #[must_use]
        pub fn enforcement(mut self, enforcement: $crate::Enforcement) -> Self {
            self.enforcement = enforcement;
            self
        }

        /// Puts the rule under a policy: of the policy's rules that match an event only the most
        /// specific one (most filter pairs, then the newest) judges, and stands in the answer.
        ///
        /// The others count what it lets in, so that whichever judges next knows what was used: a
        /// quota all of it, over its limit or not; a rate limit no more than it has left. They
        /// refuse nobody, make no event too late, and take no room from rules that judge. Where
        /// there is no room for the counter of a key they do not count it; a calendar quota finds
        /// that in the recorded events once there is. Each takes the bytes of its counter for a
        /// key, and a little of the time of a call.
        #[must_use]
        pub fn policy(mut self, name: impl Into<String>) -> Self {
            self.policy = Some(name.into());
            self
        }

        /// Sets the most keys that have counters of their own.
        #[must_use]
        pub fn max_keys(mut self, keys: u64) -> Self {
            self.max_keys = Some(keys);
            self
        }

        /// Sets what new keys get when there is no room for another counter.
        #[must_use]
        pub fn overflow(mut self, overflow: $crate::Overflow) -> Self {
            self.overflow = overflow;
            self
        }

        /// Sets what the rule makes of an event that lacks a dimension which it filters or splits
        /// by.
        #[must_use]
        pub fn on_missing(mut self, on_missing: $crate::OnMissing) -> Self {
            self.on_missing = on_missing;
            self
        }

        /// Turns the rule on or off; one that is off is neither evaluated nor listed.
        #[must_use]
        pub fn enabled(mut self, enabled: bool) -> Self {
            self.enabled = enabled;
            self
        }
    };
}
pub(super) use rule_setters;

/// The two kinds of rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    RateLimit,
    Quota,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate limit",
            Self::Quota => "quota",
        }
    }
}

/// A rule of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    RateLimit(RateLimit),
    Quota(Quota),
}

/// Reads a field that both kinds have.
macro_rules! common {
    ($($name:ident: $type:ty = $rule:ident => $value:expr;)*) => {$(
        pub(crate) fn $name(&self) -> $type {
            match self {
                Self::RateLimit($rule) => $value,
                Self::Quota($rule) => $value,
            }
        }
    )*};
}

impl Rule {
    common! {
        id: Option<&str> = rule => rule.id.as_deref();
        name: &str = rule => &rule.name;
        filters: &BTreeMap<String, String> = rule => &rule.dimension_filters;
        per: &[String] = rule => &rule.per;
        metric: &Metric = rule => &rule.metric;
        limit: Option<Amount> = rule => rule.limit_value;
        problem: Option<&LimitProblem> = rule => rule.problem.as_ref();
        enabled: bool = rule => rule.enabled;
        enforcement: Enforcement = rule => rule.enforcement;
        policy: Option<&str> = rule => rule.policy.as_deref();
        max_keys: Option<u64> = rule => rule.max_keys;
        overflow: Overflow = rule => rule.overflow;
        on_missing: &OnMissing = rule => &rule.on_missing;
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::RateLimit(_) => Kind::RateLimit,
            Self::Quota(_) => Kind::Quota,
        }
    }

    pub(crate) fn is_rate_limit(&self) -> bool {
        matches!(self, Self::RateLimit(_))
    }

    /// The two rules differ only in what the engine sets.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let plain = |rule: &Self| match rule.clone() {
            Self::RateLimit(rule) => {
                Self::RateLimit(RateLimit { id: None, created_at: None, updated_at: None, ..rule })
            }
            Self::Quota(rule) => {
                Self::Quota(Quota { id: None, created_at: None, updated_at: None, ..rule })
            }
        };
        plain(self) == plain(other)
    }
}

impl From<RateLimit> for Rule {
    fn from(rule: RateLimit) -> Self {
        Self::RateLimit(rule)
    }
}

impl From<Quota> for Rule {
    fn from(rule: Quota) -> Self {
        Self::Quota(rule)
    }
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads `"customer_id"` as well as `["customer_id", "model"]`.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a dimension's key or a list of them")
        }

        fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
            Ok(vec![key.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut keys: A) -> Result<Self::Value, A::Error> {
            let mut read = Vec::new();
            while let Some(key) = keys.next_element()? {
                read.push(key);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_any(Keys)
}
