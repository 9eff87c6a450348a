//! A change of some fields of a rule; what is not set stays.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::limit::{LimitProblem, given_limit, read_limit};
use super::{
    Algorithm, Enforcement, Metric, OnMissing, Overflow, Period, Quota, RateLimit, Window,
};
use crate::base::amount::{Amount, IntoAmount};
use crate::base::reading;

/// Makes the update of a kind of rule: what is given, and what all kinds have.
macro_rules! update {
    (
        $(#[doc = $doc:literal])* $name:ident of $rule:ident { $($own:tt)* }
        optional { $($own_optional:tt)* }
    ) => {
        update_of_fields! {
            $(#[doc = $doc])* $name of $rule {
                $($own)*
                metric: Metric = "What it counts.",
                enforcement: Enforcement = "What it does to an event that does not fit.",
                overflow: Overflow = "What new keys get when there is no room for another counter.",
                #[serde(alias = "on_missing")]
                on_missing: OnMissing = "What an event is to it that lacks a dimension.",
                enabled: bool = "Whether it is evaluated at all.",
            }
            optional {
                $($own_optional)*
                policy: String = "The policy in which it competes.",
                #[serde(alias = "max_keys")]
                max_keys: u64 = "The most keys that have counters of their own.",
            }
        }
    };
}

/// The fields, setters and application of an update.
macro_rules! update_of_fields {
    (
        $(#[doc = $doc:literal])* $name:ident of $rule:ident {
            $($(#[$of_field:meta])* $field:ident: $type:ty = $what:literal,)*
        }
        optional { $($(#[$attribute:meta])* $opt:ident: $opt_type:ty = $opt_what:literal,)* }
    ) => {
        reading::body! {
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
            #[non_exhaustive]
            pub struct $name {
                /// What people call it.
                #[serde(skip_serializing_if = "Option::is_none")]
                pub name: Option<String>,
                /// All the filter's pairs; `Some` of none matches every event.
                #[serde(skip_serializing_if = "Option::is_none", alias = "dimension_filters")]
                pub dimension_filters: Option<BTreeMap<String, String>>,
                /// All the dimensions of the partition; `Some` of none is one counter for all.
                #[serde(skip_serializing_if = "Option::is_none")]
                pub per: Option<Vec<String>>,
                /// How much a window or period admits.
                /// `Some(None)` takes the limit away.
                #[serde(
                    skip_serializing_if = "Option::is_none",
                    alias = "limit_value",
                    deserialize_with = "given_limit"
                )]
                pub limit_value: Option<Option<Amount>>,
                $(
                    #[doc = $what]
                    #[serde(skip_serializing_if = "Option::is_none")]
                    $(#[$of_field])*
                    pub $field: Option<$type>,
                )*
                $(
                    #[doc = $opt_what]
                    /// `Some(None)` takes it away.
                    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
                    $(#[$attribute])*
                    pub $opt: Option<Option<$opt_type>>,
                )*
                #[serde(skip)]
                problem: Option<LimitProblem>,
            }
        }

        impl $name {
            /// Makes an update that changes nothing.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// Changes the name.
            #[must_use]
            pub fn name(mut self, name: impl Into<String>) -> Self {
                self.name = Some(name.into());
                self
            }

            /// Changes the limit.
            #[must_use]
            pub fn limit(mut self, limit: impl IntoAmount) -> Self {
                let limit = read_limit("limitValue", limit, &mut self.problem);
                self.limit_value = Some(Some(limit));
                self
            }

            /// Takes the limit away: the rule counts and refuses nothing.
            #[must_use]
            pub fn unlimited(mut self) -> Self {
                self.limit_value = Some(None);
                self
            }

            /// Changes the filter: the first call starts an empty one, each adds a pair.
            #[must_use]
            pub fn filter(
                mut self,
                dimension: impl Into<String>,
                value: impl Into<String>,
            ) -> Self {
                let pairs = self.dimension_filters.get_or_insert_default();
                pairs.insert(dimension.into(), value.into());
                self
            }

            /// Changes the partition: the first call starts an empty one, each adds a dimension.
            #[must_use]
            pub fn per(mut self, dimension: impl Into<String>) -> Self {
                self.per.get_or_insert_default().push(dimension.into());
                self
            }

            $(
                #[doc = concat!("Changes: ", $what)]
                #[must_use]
                pub fn $field(mut self, value: $type) -> Self {
                    self.$field = Some(value);
                    self
                }
            )*

            $(
                #[doc = concat!("Changes, or takes away with `None`: ", $opt_what)]
                #[must_use]
                pub fn $opt(mut self, value: impl Into<Option<$opt_type>>) -> Self {
                    self.$opt = Some(value.into());
                    self
                }
            )*

            /// Returns the rule as it would be.
            #[must_use]
            pub fn apply(&self, rule: &$rule) -> $rule {
                let mut rule = rule.clone();
                if let Some(name) = &self.name {
                    rule.name.clone_from(name);
                }
                if let Some(filters) = &self.dimension_filters {
                    rule.dimension_filters.clone_from(filters);
                }
                if let Some(per) = &self.per {
                    rule.per.clone_from(per);
                }
                if let Some(limit) = self.limit_value {
                    rule.limit_value = limit;
                }
                if self.problem.is_some() {
                    rule.problem.clone_from(&self.problem);
                }
                $(
                    if let Some(value) = &self.$field {
                        rule.$field = value.clone();
                    }
                )*
                $(
                    if let Some(value) = &self.$opt {
                        rule.$opt = value.clone();
                    }
                )*
                rule
            }
        }
    };
}

update! {
    /// A change of a rate limit; what is not set stays.
    ///
    /// The use of the rule's counters carries over. A raised limit helps at once; a lowered one
    /// shows zero remaining until what was used has drained. With another algorithm or window
    /// what is used at that moment counts in the new one as one lump; with another metric or
    /// partition there is nothing to carry, and counters start afresh.
    RateLimitUpdate of RateLimit {
        window: Window = "The length of time that the limit is for.",
        algorithm: Algorithm = "How it counts.",
    }
    optional {
        burst: Amount = "The capacity of the token bucket.",
        #[serde(alias = "max_debt")]
        max_debt: Amount = "How far below empty a record may take the token bucket.",
    }
}

update! {
    /// A change of a quota; what is not set stays.
    ///
    /// A new limit goes on with the use that there is. With another metric, filter, partition or
    /// period, and when it is turned on, a quota starts from what the recorded events
    /// have used of it.
    ///
    /// Where nothing is recorded, or not all of the period, the use of the rule's counters carries
    /// over. With another period what is used of the current one counts in the new one as one lump;
    /// with another metric or partition there is nothing to carry, and counters start afresh.
    QuotaUpdate of Quota {
        period: Period = "The period that the limit is for.",
    }
    optional {}
}

#[expect(clippy::option_option, reason = "not given, given as null, given")]
/// Tells `"burst": null` (take it away) from a body without `burst` (leave it).
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays() {
        let rule = RateLimit::new("API", 10, Window::Second).burst(20).per("customer_id");
        assert_eq!(RateLimitUpdate::new().apply(&rule), rule);
        let changed = RateLimitUpdate::new().limit(30).burst(None).apply(&rule);
        assert_eq!(changed, RateLimit { limit_value: Some(30.into()), burst: None, ..rule });
    }

    #[test]
    fn null_takes_away_and_absence_leaves() {
        let update: RateLimitUpdate = serde_json::from_str(r#"{"burst": null}"#).expect("reads");
        assert_eq!(update.burst, Some(None));
        let update: RateLimitUpdate = serde_json::from_str("{}").expect("reads");
        assert_eq!(update, RateLimitUpdate::new());
    }
}
