//! Rules: as they are shown, made, changed, and listed.

#![expect(dead_code, reason = "they are shapes alone")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::http::first::schema::{
    QuotaChange, QuotaOptions, RateLimitChange, RateLimitOptions, RuleOptions,
};
use crate::http::openapi::any_of;
use crate::rules::{Aggregation, EventFilter, MeterField};
use crate::{Amount, Condition, Metric, Period, Timestamp, Window};

/// A rule of one kind.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) enum Rule {
    RateLimit(RateLimit),
    Quota(Quota),
}

/// A rule of one kind, to make.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) enum NewRule {
    RateLimit(NewRateLimit),
    Quota(NewQuota),
}

any_of! {
    /// A change of a rule of either kind: what is not given stays, and null takes away.
    pub(in crate::http::engine) RuleUpdate as "RuleUpdate": RateLimitChange, QuotaChange
}

/// Rules of all kinds, and the meters that they count.
#[derive(ToSchema)]
#[schema(as = RuleSet, rename_all = "camelCase")]
pub(in crate::http::engine) struct RuleList {
    #[schema(required = false)]
    meters: Vec<NewMeter>,
    #[schema(required = false)]
    rate_limits: Vec<NewRateLimit>,
    #[schema(required = false)]
    quotas: Vec<NewQuota>,
}

/// A short-window rule.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct RateLimit {
    #[serde(flatten)]
    of_any: Shown,
    /// The window that the limit is for.
    window: Window,
    #[schema(required = true)]
    enabled: bool,
    /// Left out where it is `total_events`.
    #[schema(required = false)]
    metric: Metric,
    #[serde(flatten)]
    own: RateLimitOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A short-window rule, to make.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct NewRateLimit {
    #[serde(flatten)]
    of_any: Given,
    /// The window that the limit is for.
    window: Window,
    /// `total_events` where it is not given.
    #[schema(required = false)]
    metric: Metric,
    #[serde(flatten)]
    own: RateLimitOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A long-period rule.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct Quota {
    #[serde(flatten)]
    of_any: Shown,
    metric: Metric,
    /// The period that the limit is for.
    period: Period,
    /// Left out where it is true.
    #[schema(required = false)]
    enabled: bool,
    #[serde(flatten)]
    own: QuotaOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A long-period rule, to make.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct NewQuota {
    #[serde(flatten)]
    of_any: Given,
    metric: Metric,
    /// The period that the limit is for.
    period: Period,
    #[serde(flatten)]
    own: QuotaOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// What a rule of either kind is shown with.
#[derive(ToSchema)]
#[schema(as = ShownRule, rename_all = "camelCase")]
struct Shown {
    id: String,
    /// Of a rule that was made with one.
    #[schema(required = false)]
    project_id: String,
    name: String,
    /// What dimensions of an event must be, all of it; nothing matches every event.
    dimension_filters: BTreeMap<String, Condition>,
    /// Null: it counts, and refuses nobody.
    #[schema(required)]
    limit_value: Option<Amount>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Of one that is archived.
    #[schema(required = false)]
    archived_at: Timestamp,
}

/// What a rule of either kind is made with.
#[derive(ToSchema)]
#[schema(as = GivenRule, rename_all = "camelCase")]
struct Given {
    /// Made of the name where it is not given, such as `rl_api` or `qta_api` of `API`.
    #[schema(min_length = 1, max_length = 256)]
    id: Option<String>,
    /// Kept, and not used.
    #[schema(min_length = 1, max_length = 256)]
    project_id: Option<String>,
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// What dimensions of an event must be, all of it; nothing matches every event.
    #[schema(required = false)]
    dimension_filters: BTreeMap<String, Condition>,
    /// Null: it counts, and refuses nobody.
    #[schema(required)]
    limit_value: Option<Amount>,
    /// True where it is not given.
    #[schema(required = false)]
    enabled: bool,
    /// When it was made; now where it is not given.
    created_at: Option<Timestamp>,
    /// Set by the engine.
    updated_at: Option<Timestamp>,
    /// When it was archived, of a rule that is.
    archived_at: Option<Timestamp>,
}

/// How values of events become one figure.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct NewMeter {
    /// A meter that a rule counts needs one; made of the name where it is not given.
    #[schema(min_length = 1, max_length = 64)]
    id: Option<String>,
    /// Kept, and not used.
    #[schema(min_length = 1, max_length = 256)]
    project_id: Option<String>,
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    aggregation: Aggregation,
    /// `*` where it is not given.
    #[schema(required = false)]
    field: MeterField,
    description: Option<String>,
    #[schema(required = false)]
    event_filter: EventFilter,
    /// When it was made; now where it is not given.
    created_at: Option<Timestamp>,
    /// Set by the engine.
    updated_at: Option<Timestamp>,
}
