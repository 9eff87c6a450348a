//! The fields that all kinds of rule have, written once: as data, as setters, and as a change.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Defines a kind of rule and its change. A kind says where its `metric` stands, the time that its
/// limit is for, and the fields that it alone has: `optional` ones, and `options`, which have a
/// default. The order of the fields is that of the serialized form.
macro_rules! rule {
    (
        $(#[doc = $doc:literal])*
        $rule:ident {
            before limit { $($(#[$first:meta])+ $metric_first:ident,)? }
            $(#[doc = $length_doc:literal])+
            $length:ident: $length_type:ty,
            $(#[$enabled:meta])+
            enabled,
            after enabled { $($(#[$then:meta])+ $metric_then:ident,)? }
            optional { $(
                $(#[doc = $opt_doc:literal])+ $(#[serde($($opt_serde:tt)+)])?
                $opt:ident: $opt_type:ty,
            )* }
            options { $(
                $(#[doc = $option_doc:literal])+ $(#[serde($($option_serde:tt)+)])?
                $option:ident: $option_type:ty,
            )* }
        }

        $(#[doc = $update_doc:literal])*
        $update:ident
    ) => {
        $crate::base::reading::body! {
            $(#[doc = $doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            #[non_exhaustive]
            pub struct $rule {
                /// The id; where it is not given the engine makes one of the name, such as `rl_api`
                /// or `qta_api` of `API`.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub id: Option<String>,
                /// The project of the product's object; kept and not used.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "project_id")]
                pub project_id: Option<String>,
                /// What people call it.
                pub name: String,
                /// What the event's dimensions must be, all of it; nothing matches every event.
                #[serde(default, alias = "dimension_filters")]
                pub dimension_filters:
                    std::collections::BTreeMap<String, $crate::rules::Condition>,
                $(
                    $(#[$first])+
                    pub $metric_first: $crate::rules::Metric,
                )?
                /// How much a window or period admits; of what is counted in whole numbers (events,
                /// tokens, milliseconds) a whole number, of costs and other values to six digits. 0
                /// refuses whatever adds something. `None` counts and refuses nothing: `null` as
                /// data, `"unlimited"` in TOML, which has no null.
                #[serde(
                    alias = "limit_value",
                    deserialize_with = "crate::rules::limit::limit_or_none"
                )]
                pub limit_value: Option<$crate::base::amount::Amount>,
                $(#[doc = $length_doc])+
                pub $length: $length_type,
                /// Whether it is evaluated at all.
                $(#[$enabled])+
                pub enabled: bool,
                $(
                    $(#[$then])+
                    pub $metric_then: $crate::rules::Metric,
                )?
                /// The dimensions whose values each have a counter of their own; none is one for
                /// all.
                #[serde(
                    default,
                    deserialize_with = "crate::rules::fields::one_or_many",
                    skip_serializing_if = "Vec::is_empty"
                )]
                pub per: Vec<String>,
                $(
                    $(#[doc = $opt_doc])+
                    #[serde(
                        default,
                        skip_serializing_if = "Option::is_none"
                        $(, $($opt_serde)+)?
                    )]
                    pub $opt: Option<$opt_type>,
                )*
                $(
                    $(#[doc = $option_doc])+
                    #[serde(
                        default,
                        skip_serializing_if = "crate::rules::fields::is_default"
                        $(, $($option_serde)+)?
                    )]
                    pub $option: $option_type,
                )*
                /// What it does to an event that does not fit.
                #[serde(default, skip_serializing_if = "crate::rules::fields::is_default")]
                pub enforcement: $crate::rules::Enforcement,
                /// Rules of one policy compete: of those that match one judges alone.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub policy: Option<String>,
                /// Of the rules of a policy that match the one with the highest judges; 0 where it
                /// is not given.
                #[serde(default, skip_serializing_if = "crate::rules::fields::is_default")]
                pub priority: i32,
                /// The first instant at which it judges; it always has where it is not given.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "starts_at")]
                pub starts_at: Option<$crate::base::clock::Timestamp>,
                /// The first instant at which it judges no more; it does for ever where it is not
                /// given.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "ends_at")]
                pub ends_at: Option<$crate::base::clock::Timestamp>,
                /// The most keys that have counters of their own; only the engine's cap where not
                /// given.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_keys")]
                pub max_keys: Option<u64>,
                /// What new keys get when there is no room for another counter.
                #[serde(default, skip_serializing_if = "crate::rules::fields::is_default")]
                pub overflow: $crate::rules::Overflow,
                /// What it makes of an event that lacks a dimension which it filters or splits by.
                #[serde(
                    default,
                    skip_serializing_if = "crate::rules::fields::is_default",
                    alias = "on_missing"
                )]
                pub on_missing: $crate::rules::OnMissing,
                /// What an application keeps with it: at most 16 texts by their keys. The engine
                /// makes nothing of them.
                #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
                pub metadata: std::collections::BTreeMap<String, String>,
                /// When the engine got it; set by the engine.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "created_at")]
                pub created_at: Option<$crate::base::clock::Timestamp>,
                /// When it was last changed; set by the engine.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "updated_at")]
                pub updated_at: Option<$crate::base::clock::Timestamp>,
                /// When it was [archived](crate::handles::Rules::archive); set by the engine.
                #[serde(default, skip_serializing_if = "Option::is_none", alias = "archived_at")]
                pub archived_at: Option<$crate::base::clock::Timestamp>,
                /// Which version it is: 1 of a new one, and one more with every change. Set by the
                /// engine, and not part of the serialized form.
                #[serde(skip, default = "crate::rules::fields::first_version")]
                pub version: u64,
                #[serde(skip)]
                pub(super) problem: Option<$crate::rules::limit::LimitProblem>,
            }
        }

        impl $rule {
            /// A rule with a limit, and all else as by default.
            fn with_limit(
                name: impl Into<String>,
                metric: $crate::rules::Metric,
                limit: impl $crate::base::amount::IntoAmount,
                $length: $length_type,
            ) -> Self {
                let mut problem = None;
                let limit = $crate::rules::limit::read_limit("limitValue", limit, &mut problem);
                Self {
                    id: None,
                    project_id: None,
                    name: name.into(),
                    dimension_filters: Default::default(),
                    metric,
                    limit_value: Some(limit),
                    $length,
                    $($option: Default::default(),)*
                    $($opt: None,)*
                    enabled: true,
                    per: Vec::new(),
                    enforcement: Default::default(),
                    policy: None,
                    priority: 0,
                    starts_at: None,
                    ends_at: None,
                    max_keys: None,
                    overflow: Default::default(),
                    on_missing: Default::default(),
                    metadata: Default::default(),
                    created_at: None,
                    updated_at: None,
                    archived_at: None,
                    version: 1,
                    problem,
                }
            }
        }

        $crate::rules::update::update! {
            $(#[doc = $update_doc])*
            $update of $rule {
                beside {
                    /// The whole filter; `Some` of an empty one matches every event.
                    #[serde(alias = "dimension_filters")]
                    dimension_filters:
                        std::collections::BTreeMap<String, $crate::rules::Condition>,
                    /// All the dimensions of the partition; `Some` of none is one counter for all.
                    per: Vec<String>,
                    /// How much a window or period admits. `Some(None)` takes the limit away.
                    #[serde(
                        alias = "limit_value",
                        deserialize_with = "crate::rules::limit::given_limit"
                    )]
                    limit_value: Option<$crate::base::amount::Amount>,
                }
                set {
                    $(#[doc = $length_doc])+
                    $length: $length_type,
                    $(
                        $(#[doc = $option_doc])+ $(#[serde($($option_serde)+)])?
                        $option: $option_type,
                    )*
                    /// What it counts.
                    metric: $crate::rules::Metric,
                    /// What it does to an event that does not fit.
                    enforcement: $crate::rules::Enforcement,
                    /// What decides first which rule of a policy judges.
                    priority: i32,
                    /// What new keys get when there is no room for another counter.
                    overflow: $crate::rules::Overflow,
                    /// What it makes of an event that lacks a dimension which it filters or splits
                    /// by.
                    #[serde(alias = "on_missing")]
                    on_missing: $crate::rules::OnMissing,
                    /// All that an application keeps with it.
                    metadata: std::collections::BTreeMap<String, String>,
                    /// Whether it is evaluated at all.
                    enabled: bool,
                }
                set or take away {
                    $(
                        $(#[doc = $opt_doc])+ $(#[serde($($opt_serde)+)])?
                        $opt: $opt_type,
                    )*
                    /// The policy in which it competes.
                    policy: String,
                    /// The first instant at which it judges.
                    #[serde(alias = "starts_at")]
                    starts_at: $crate::base::clock::Timestamp,
                    /// The first instant at which it judges no more.
                    #[serde(alias = "ends_at")]
                    ends_at: $crate::base::clock::Timestamp,
                    /// The most keys that have counters of their own.
                    #[serde(alias = "max_keys")]
                    max_keys: u64,
                }
                keeps { problem: $crate::rules::limit::LimitProblem }
            }
        }

        impl $update {
            /// Changes the limit.
            #[must_use]
            pub fn limit(mut self, limit: impl $crate::base::amount::IntoAmount) -> Self {
                let problem = &mut self.problem;
                let limit = $crate::rules::limit::read_limit("limitValue", limit, problem);
                self.limit_value = Some(Some(limit));
                self
            }

            /// Takes the limit away: the rule counts and refuses nothing.
            #[must_use]
            pub fn unlimited(mut self) -> Self {
                self.limit_value = Some(None);
                self
            }

            /// Changes the filter: the first call starts an empty one, each adds a condition.
            #[must_use]
            pub fn filter(
                mut self,
                dimension: impl Into<String>,
                condition: impl Into<$crate::rules::Condition>,
            ) -> Self {
                let filter = self.dimension_filters.get_or_insert_default();
                filter.insert(dimension.into(), condition.into());
                self
            }

            /// Changes the partition: the first call starts an empty one, each adds a dimension.
            #[must_use]
            pub fn per(mut self, dimension: impl Into<String>) -> Self {
                self.per.get_or_insert_default().push(dimension.into());
                self
            }
        }
    };
}
pub(super) use rule;

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

        /// Matches only events whose `dimension` has this value, or meets another
        /// [`Condition`](crate::Condition): one of several values, a prefix, not, present, absent.
        /// Of each dimension one thing is asked; several dimensions must all be as asked.
        #[must_use]
        pub fn filter(
            mut self,
            dimension: impl Into<String>,
            condition: impl Into<$crate::rules::Condition>,
        ) -> Self {
            self.dimension_filters.insert(dimension.into(), condition.into());
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
        pub fn enforcement(mut self, enforcement: $crate::rules::Enforcement) -> Self {
            self.enforcement = enforcement;
            self
        }

        /// Puts the rule under a policy: of the policy's rules that match an event only one judges,
        /// and stands in the answer. That is, whatever was added when,
        ///
        /// 1. the one with the highest [`priority`](Self::priority);
        /// 2. of equals the one for the very key: its filter fixes, by one value each, the
        ///    dimensions that it is split by, or, where it is split by none, those that another
        ///    rule of the policy is. So a customer's own limit goes before the plan's;
        /// 3. then the one whose filter, with that of its meter, asks about the most dimensions;
        /// 4. then the newest.
        ///
        /// [`Engine::explain`](crate::Engine::explain) says which of these decided.
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

        /// Sets what decides first which rule of a [policy](Self::policy) judges: the highest does.
        /// The default is 0.
        #[must_use]
        pub fn priority(mut self, priority: i32) -> Self {
            self.priority = priority;
            self
        }

        /// Lets the rule judge from this instant on: a trial, a promotion, a raise. See
        /// [`ends_at`](Self::ends_at).
        #[must_use]
        pub fn starts_at(mut self, start: impl Into<$crate::base::clock::Timestamp>) -> Self {
            self.starts_at = Some(start.into());
            self
        }

        /// Lets the rule judge until before this instant. Outside of its times it refuses nobody
        /// and stands in no answer, and the next rule of its [policy](Self::policy) judges; nothing
        /// has to run for that. It is exact to the nanosecond, and so is the wait of a refusal
        /// that ends because a rule begins or ends to judge.
        ///
        /// Rate limits go by the engine's time, and quotas by the event's, as they do in all else:
        /// an event that is dated into the time of a quota is judged by it, and one that is dated
        /// after its end is not.
        ///
        /// The rule counts all that it matches, in its time or not, as one does that is replaced
        /// in a policy: so a quota's figure is right from its first instant on, and an end can be
        /// put off. A decision that rules with times match goes the slower of two ways; a rule that
        /// is over is best removed.
        #[must_use]
        pub fn ends_at(mut self, end: impl Into<$crate::base::clock::Timestamp>) -> Self {
            self.ends_at = Some(end.into());
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
        pub fn overflow(mut self, overflow: $crate::rules::Overflow) -> Self {
            self.overflow = overflow;
            self
        }

        /// Sets what the rule makes of an event that lacks a dimension which it filters or splits
        /// by.
        #[must_use]
        pub fn on_missing(mut self, on_missing: $crate::rules::OnMissing) -> Self {
            self.on_missing = on_missing;
            self
        }

        /// Keeps a text with the rule, by a key of 1 to 64 ASCII letters, digits or `_`; the text
        /// has 1 to 256 bytes. The engine makes nothing of it.
        #[must_use]
        pub fn metadata(mut self, key: impl Into<String>, text: impl Into<String>) -> Self {
            self.metadata.insert(key.into(), text.into());
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

pub(super) fn yes() -> bool {
    true
}

/// The version of a rule that no engine has changed.
pub(super) fn first_version() -> u64 {
    1
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads `"customer_id"` as well as `["customer_id", "model"]`.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(
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
