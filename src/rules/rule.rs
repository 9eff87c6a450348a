//! What rate limits and quotas have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limit::LimitProblem;
use super::period::Period;
use super::{
    Condition, Enforcement, Metric, OnMissing, Overflow, Quota, QuotaUpdate, RateLimit,
    RateLimitUpdate, RuleSet, Threshold,
};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;

/// Makes a rule of any kind out of the kinds that there are: with its arm in `each` a kind's line
/// here is all that is said of it outside of its file.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])*
        $kind:ident, $update:ident, $list:ident, $what:literal, $prefix:literal;)*) => {
        /// A rule of any kind. As data it is an object with the kind: `{"rateLimit": {..}}`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[non_exhaustive]
        pub enum Rule {
            $($(#[doc = $doc])* $kind($kind),)*
        }

        /// A kind of rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $what,)*
                }
            }

            /// What ids that names make begin with.
            pub(super) const fn prefix(self) -> &'static str {
                match self {
                    $(Self::$kind => $prefix,)*
                }
            }
        }

        impl Rule {
            pub(crate) fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }
        }

        impl RuleSet {
            /// Adds a rule of any kind.
            #[must_use]
            pub fn rule(mut self, rule: impl Into<Rule>) -> Self {
                self.push(rule.into());
                self
            }

            pub(super) fn push(&mut self, rule: Rule) {
                match rule {
                    $(Rule::$kind(rule) => self.$list.push(rule),)*
                }
            }

            pub(super) fn into_rules(self) -> Vec<Rule> {
                let rules = std::iter::empty();
                $(let rules = rules.chain(self.$list.into_iter().map(Rule::$kind));)*
                rules.collect()
            }
        }

        $(
            impl From<$kind> for Rule {
                fn from(rule: $kind) -> Self {
                    Self::$kind(rule)
                }
            }

            impl Sealed for $kind {}

            impl RuleKind for $kind {
                const WHAT: &'static str = $what;

                fn of(rule: &Rule) -> Option<Self> {
                    match rule {
                        Rule::$kind(rule) => Some(rule.clone()),
                        _ => None,
                    }
                }
            }

            impl Sealed for $update {}

            impl RuleUpdate for $update {
                type Rule = $kind;

                fn apply(&self, rule: &$kind) -> $kind {
                    self.apply(rule)
                }
            }
        )*
    };
}

/// Does the same with a rule of each kind.
macro_rules! each {
    ($any:expr, $rule:ident => $value:expr) => {
        match $any {
            Rule::RateLimit($rule) => $value,
            Rule::Quota($rule) => $value,
        }
    };
}
pub(super) use each;

kinds! {
    /// At most so much a window.
    RateLimit, RateLimitUpdate, rate_limits, "rate limit", "rl_";
    /// At most so much a period.
    Quota, QuotaUpdate, quotas, "quota", "qta_";
}

mod sealed {
    #[expect(unnameable_types, reason = "so nobody else implements it")]
    pub trait Sealed {}
}
use self::sealed::Sealed;

/// A kind of rule, or [`Rule`], which stands for any. Nobody else implements it.
pub trait RuleKind: Clone + Into<Rule> + Sealed {
    /// What messages call it.
    #[doc(hidden)]
    const WHAT: &'static str;

    /// The rule, where it is of this kind.
    #[doc(hidden)]
    fn of(rule: &Rule) -> Option<Self>;
}

/// A change of some fields of a kind of rule. Nobody else implements it.
pub trait RuleUpdate: Sealed {
    /// The kind of rule.
    type Rule: RuleKind;

    /// Returns the rule as it would be.
    #[must_use]
    fn apply(&self, rule: &Self::Rule) -> Self::Rule;
}

impl Sealed for Rule {}

impl RuleKind for Rule {
    const WHAT: &'static str = "rule";

    fn of(rule: &Rule) -> Option<Self> {
        Some(rule.clone())
    }
}

/// Reads a field that all kinds have.
macro_rules! common {
    ($($name:ident: $type:ty = $rule:ident => $value:expr;)*) => {$(
        pub(crate) fn $name(&self) -> $type {
            each!(self, $rule => $value)
        }
    )*};
}

impl Rule {
    /// Returns the id, which every rule of an engine has.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        each!(self, rule => rule.id.as_deref())
    }

    /// Returns what people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        each!(self, rule => &rule.name)
    }

    common! {
        filters: &BTreeMap<String, Condition> = rule => &rule.dimension_filters;
        per: &[String] = rule => &rule.per;
        metric: &Metric = rule => &rule.metric;
        limit: Option<Amount> = rule => rule.limit_value;
        problem: Option<&LimitProblem> = rule => rule.problem.as_ref();
        enabled: bool = rule => rule.enabled && rule.archived_at.is_none();
        is_archived: bool = rule => rule.archived_at.is_some();
        version: u64 = rule => rule.version;
        enforcement: Enforcement = rule => rule.enforcement;
        policy: Option<&str> = rule => rule.policy.as_deref();
        priority: i32 = rule => rule.priority;
        max_keys: Option<u64> = rule => rule.max_keys;
        overflow: Overflow = rule => rule.overflow;
        on_missing: &OnMissing = rule => &rule.on_missing;
        metadata: &BTreeMap<String, String> = rule => &rule.metadata;
    }

    /// From when on it judges, and until when.
    pub(crate) fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        each!(self, rule => (rule.starts_at, rule.ends_at))
    }

    /// When it was made, changed the last time, and archived.
    pub(crate) fn stamps(&self) -> [Option<Timestamp>; 3] {
        each!(self, rule => [rule.created_at, rule.updated_at, rule.archived_at])
    }

    /// At which figures an alert fires.
    pub(crate) fn alert_thresholds(&self) -> &[Threshold] {
        match self {
            Self::RateLimit(_) => &[],
            Self::Quota(quota) => &quota.alert_thresholds,
        }
    }

    pub(crate) fn is_rate_limit(&self) -> bool {
        matches!(self, Self::RateLimit(_))
    }

    /// Whether it counts open reservations.
    pub(crate) fn is_concurrent(&self) -> bool {
        matches!(self, Self::Quota(Quota { period: Period::Concurrent, .. }))
    }

    /// The balance that it takes from, where it does.
    pub(crate) fn balance(&self) -> Option<&str> {
        match self {
            Self::Quota(quota) => quota.balance.as_deref(),
            Self::RateLimit(_) => None,
        }
    }

    /// The same for a trial without accounts: as if every owner had as much as there may be.
    pub(crate) fn with_full_balances(mut self) -> Self {
        if let Self::Quota(quota) = &mut self
            && quota.balance.is_some()
        {
            quota.opening = Some(crate::event::bounds::MAX_AMOUNT);
        }
        self
    }

    pub(super) fn metric_mut(&mut self) -> &mut Metric {
        each!(self, rule => &mut rule.metric)
    }

    /// Gives the rule its times and its version: `now` is when it is made, or changed from what it
    /// was before.
    pub(crate) fn stamp(&mut self, before: Option<&Self>, now: Option<Timestamp>) {
        let version = before.map_or(1, |before| before.version().saturating_add(1));
        let is_new = before.is_none_or(|before| !before.is_archived());
        each!(self, rule => {
            rule.created_at = rule.created_at.or(now);
            rule.updated_at = now;
            rule.version = version;
            if is_new && rule.archived_at.is_some() {
                rule.archived_at = now.or(rule.archived_at);
            }
        });
    }

    /// The same rule as the engine had it in this version.
    pub(crate) fn of_version(mut self, version: u64) -> Self {
        each!(&mut self, rule => rule.version = version);
        self
    }

    /// The same rule, archived or not; the instant is the one of its [stamp](Self::stamp).
    pub(crate) fn with_archived(&self, archived: bool) -> Self {
        let mut rule = self.clone();
        each!(&mut rule, rule => {
            rule.archived_at =
                if archived { rule.archived_at.or(Some(Timestamp::UNIX_EPOCH)) } else { None };
        });
        rule
    }

    /// The rule without its alerts.
    pub(crate) fn without_alerts(mut self) -> Self {
        if let Self::Quota(quota) = &mut self {
            quota.alert_thresholds.clear();
        }
        self
    }

    /// The rule with another limit, by itself: hard, turned on, and of no policy.
    pub(crate) fn alone(mut self, limit: Option<Amount>) -> Self {
        each!(&mut self, rule => {
            (rule.limit_value, rule.enforcement) = (limit, Enforcement::Hard);
            (rule.policy, rule.priority, rule.enabled) = (None, 0, true);
        });
        if let Self::RateLimit(rate_limit) = &mut self
            && limit.is_none_or(|limit| limit == Amount::ZERO)
        {
            rate_limit.burst = None;
        }
        self
    }

    /// The two rules differ only in what the engine sets.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let plain = |mut rule: Self| {
            each!(&mut rule, rule => {
                (rule.id, rule.created_at, rule.updated_at) = (None, None, None);
                rule.version = 1;
            });
            rule
        };
        plain(self.clone()) == plain(other.clone())
    }
}
