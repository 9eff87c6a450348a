//! A change of some fields of a rule or a meter; what is not set stays.

use serde::{Deserialize, Deserializer};

/// Defines a change of some fields of a type: the struct, as data too, its setters, and what it
/// makes of a value. The fields of `set` have a setter, those of `set or take away` one that takes
/// `None` too, and those of `beside` are set by methods that stand beside the definition.
macro_rules! update {
    (
        $(#[doc = $doc:literal])*
        $update:ident of $target:ident {
            beside { $(
                $(#[doc = $beside_doc:literal])+ $(#[serde($($beside_serde:tt)+)])?
                $beside:ident: $beside_type:ty,
            )* }
            set { $(
                $(#[doc = $set_doc:literal])+ $(#[serde($($set_serde:tt)+)])?
                $set:ident: $set_type:ty,
            )* }
            set or take away { $(
                $(#[doc = $opt_doc:literal])+ $(#[serde($($opt_serde:tt)+)])?
                $opt:ident: $opt_type:ty,
            )* }
            $(keeps { $kept:ident: $kept_type:ty })?
        }
    ) => {
        $crate::base::reading::body! {
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
            #[non_exhaustive]
            pub struct $update {
                /// What people call it.
                #[serde(skip_serializing_if = "Option::is_none")]
                pub name: Option<String>,
                $(
                    $(#[doc = $beside_doc])+
                    #[serde(skip_serializing_if = "Option::is_none" $(, $($beside_serde)+)?)]
                    pub $beside: Option<$beside_type>,
                )*
                $(
                    $(#[doc = $set_doc])+
                    #[serde(skip_serializing_if = "Option::is_none" $(, $($set_serde)+)?)]
                    pub $set: Option<$set_type>,
                )*
                $(
                    $(#[doc = $opt_doc])+
                    /// `Some(None)` takes it away.
                    #[serde(
                        skip_serializing_if = "Option::is_none",
                        deserialize_with = "crate::rules::update::present"
                        $(, $($opt_serde)+)?
                    )]
                    pub $opt: Option<Option<$opt_type>>,
                )*
                $(
                    #[serde(skip)]
                    $kept: Option<$kept_type>,
                )?
            }
        }

        impl $update {
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

            $(
                #[doc = concat!("Changes:", $($set_doc),+)]
                #[must_use]
                pub fn $set(mut self, value: $set_type) -> Self {
                    self.$set = Some(value);
                    self
                }
            )*

            $(
                #[doc = concat!("Changes, or takes away with `None`:", $($opt_doc),+)]
                #[must_use]
                pub fn $opt(mut self, value: impl Into<Option<$opt_type>>) -> Self {
                    self.$opt = Some(value.into());
                    self
                }
            )*

            /// Returns what the change makes of it.
            #[must_use]
            pub fn apply(&self, target: &$target) -> $target {
                let mut target = target.clone();
                if let Some(name) = &self.name {
                    target.name.clone_from(name);
                }
                $(
                    if let Some(value) = &self.$beside {
                        target.$beside.clone_from(value);
                    }
                )*
                $(
                    if let Some(value) = &self.$set {
                        target.$set.clone_from(value);
                    }
                )*
                $(
                    if let Some(value) = &self.$opt {
                        target.$opt.clone_from(value);
                    }
                )*
                $(
                    if self.$kept.is_some() {
                        target.$kept.clone_from(&self.$kept);
                    }
                )?
                target
            }
        }
    };
}
pub(super) use update;

#[expect(clippy::option_option, reason = "not given, given as null, given")]
/// Tells `"burst": null` (take it away) from a body without `burst` (leave it).
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::rules::{RateLimit, RateLimitUpdate, Window};

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
