//! The shapes of bodies that the engine's own types read and print, as [`wire`](crate::wire) and
//! [`rules`](crate::rules) say: what this generation is told of them.

#![expect(dead_code, reason = "they are shapes alone")]

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::events::EventId;
use crate::http::openapi::Cost;
use crate::rules::{Algorithm, Enforcement, OnMissing, Overflow, Threshold};
use crate::time::TimeZone;
use crate::{Amount, Condition, Metric, Period, Timestamp, Window};

/// What a customer has done: an event.
#[derive(ToSchema)]
#[schema(as = Event, rename_all = "camelCase")]
pub(in crate::http) struct EventBody {
    /// Whose act it is.
    #[schema(required, min_length = 1, max_length = 256)]
    customer_id: String,
    /// What was done, such as `model_call`.
    #[schema(min_length = 1, max_length = 256)]
    event_type: String,
    #[schema(min_length = 1, max_length = 256)]
    model: Option<String>,
    #[schema(min_length = 1, max_length = 256)]
    provider: Option<String>,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_u64)]
    input_tokens: Option<u64>,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_u64)]
    output_tokens: Option<u64>,
    /// Input and output together where it is not given.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_u64)]
    total_tokens: Option<u64>,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_u64)]
    latency_ms: Option<u64>,
    /// 25 is $0.25.
    cost_cents: Option<Cost>,
    /// Anything else. Texts are dimensions under their own keys: letters, digits and `_`, at most
    /// 64 of them.
    #[schema(required = false)]
    properties: Map<String, Value>,
    /// Kept with the event, and no dimension.
    #[schema(required = false)]
    attached: Map<String, Value>,
    /// More dimensions.
    #[schema(required = false)]
    dimensions: BTreeMap<String, String>,
    /// Any other numbers, by their names.
    #[schema(required = false)]
    values: BTreeMap<String, Amount>,
    /// The same key again is the same event.
    #[schema(min_length = 1, max_length = 256)]
    idempotency_key: Option<String>,
    /// When it was; now where it is not given.
    timestamp: Option<Timestamp>,
}

/// Up to 1 000 events, all of which are recorded, or none.
#[derive(ToSchema)]
pub(super) struct EventBatch {
    #[schema(min_items = 1, max_items = 1_000)]
    events: Vec<EventBody>,
}

/// How many events were recorded.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct BatchReport {
    count: u64,
    /// How many of them were there before, by their idempotency keys.
    duplicates: u64,
}

/// An event was let in and recorded.
#[derive(ToSchema)]
#[schema(as = Allowed, rename_all = "camelCase")]
pub(super) struct LetIn {
    id: Option<EventId>,
    allowed: bool,
    rate_limits: Vec<RateLimitStatus>,
    quotas: Vec<QuotaStatus>,
}

/// An event was refused, and counts nowhere.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Refused {
    allowed: bool,
    /// Which kind of rule refused it.
    error: String,
    rate_limits: Vec<RateLimitStatus>,
    quotas: Vec<QuotaStatus>,
}

/// Where a rate limit stands.
#[derive(ToSchema)]
pub(in crate::http) struct RateLimitStatus {
    id: String,
    name: String,
    /// Such as `1h`.
    window: String,
    #[schema(required)]
    limit: Option<Amount>,
    #[schema(required)]
    remaining: Option<Amount>,
    /// What reservations hold of it.
    #[schema(required = false)]
    held: Amount,
    /// The Unix second at which nothing is used of it any more.
    reset: i64,
    /// In a decision: it refused. In a check: nothing is left of it.
    exceeded: bool,
}

/// Where a quota stands.
#[derive(ToSchema)]
pub(in crate::http) struct QuotaStatus {
    id: String,
    name: String,
    metric: Metric,
    period: Period,
    #[schema(required)]
    limit: Option<Amount>,
    used: Amount,
    /// What reservations hold of it.
    #[schema(required = false)]
    held: Amount,
    /// What operators have added to the use.
    #[schema(required = false)]
    adjusted: Amount,
    #[schema(required)]
    remaining: Option<Amount>,
    /// In a decision: it refused. In a check: nothing is left of it.
    exceeded: bool,
}

/// Dimensions to check: `customer_id`, `event_type`, `model`, `provider`, and any other.
#[derive(ToSchema)]
pub(super) struct Dimensions(BTreeMap<String, String>);

/// Where dimensions stand on the quotas.
#[derive(ToSchema)]
pub(super) struct QuotaCheck {
    allowed: bool,
    quotas: Vec<QuotaStatus>,
}

/// Where dimensions stand on the rate limits.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RateLimitCheck {
    allowed: bool,
    rate_limits: Vec<RateLimitStatus>,
}

/// A recorded event.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RecordedEvent {
    id: EventId,
    customer_id: String,
    event_type: String,
    #[schema(required)]
    model: Option<String>,
    #[schema(required)]
    provider: Option<String>,
    #[schema(required)]
    input_tokens: Option<u64>,
    #[schema(required)]
    output_tokens: Option<u64>,
    #[schema(required)]
    total_tokens: Option<u64>,
    #[schema(required)]
    latency_ms: Option<u64>,
    #[schema(required)]
    cost_cents: Option<Amount>,
    properties: Map<String, Value>,
    #[schema(required = false)]
    attached: Map<String, Value>,
    #[schema(required = false)]
    values: BTreeMap<String, Amount>,
    created_at: Timestamp,
    /// What it counts as since somebody corrected it; what is above stays as it was recorded.
    #[schema(required = false)]
    correction: Correction,
}

/// That a recorded event was voided, or amended.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Correction {
    event_id: EventId,
    /// Who corrected it, and why.
    reason: String,
    at: Timestamp,
    /// The event as it is from then on; null where it was voided.
    #[schema(required)]
    amended: Option<EventBody>,
}

/// A page of events, the newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct EventPage {
    data: Vec<RecordedEvent>,
    #[schema(required)]
    next_cursor: Option<String>,
    has_more: bool,
}

/// What the engine takes of any rule beyond the product's fields.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct RuleOptions {
    /// Dimensions whose values each have a counter of their own; none is one for all.
    #[schema(required = false)]
    per: Vec<String>,
    #[schema(required = false)]
    enforcement: Enforcement,
    /// Rules of one policy compete: of those that match one judges alone.
    policy: Option<String>,
    /// The one with the highest does.
    #[schema(required = false)]
    priority: i32,
    /// When it begins to judge.
    starts_at: Option<Timestamp>,
    /// When it ends to.
    ends_at: Option<Timestamp>,
    /// How many keys have counters of their own at most.
    max_keys: Option<u64>,
    #[schema(required = false)]
    overflow: Overflow,
    #[schema(required = false)]
    on_missing: OnMissing,
    /// Texts that are kept with it.
    #[schema(required = false)]
    metadata: BTreeMap<String, String>,
}

/// A quota.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Quota {
    id: String,
    project_id: String,
    name: String,
    /// What dimensions of an event must be, all of it.
    dimension_filters: BTreeMap<String, Condition>,
    metric: Metric,
    /// None: it counts, and refuses nobody.
    #[schema(required)]
    limit_value: Option<Amount>,
    period: Period,
    #[schema(required = false)]
    enabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    archived_at: Option<Timestamp>,
    #[serde(flatten)]
    own: QuotaOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A quota to make.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewQuota {
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// What dimensions of an event must be, all of it; nothing matches every event.
    #[schema(required = false)]
    dimension_filters: BTreeMap<String, Condition>,
    metric: Metric,
    /// Null: it counts, and refuses nobody.
    #[schema(required)]
    limit_value: Option<Amount>,
    /// The period that the limit is for.
    period: Period,
    #[schema(required = false)]
    enabled: bool,
    #[serde(flatten)]
    own: QuotaOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A change of a quota: what is not given stays.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct QuotaChange {
    #[schema(required = false, min_length = 1, max_length = 256)]
    name: String,
    #[schema(required = false)]
    dimension_filters: BTreeMap<String, Condition>,
    #[schema(required = false)]
    metric: Metric,
    limit_value: Option<Amount>,
    #[schema(required = false)]
    period: Period,
    #[schema(required = false)]
    enabled: bool,
    #[serde(flatten)]
    own: QuotaOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// What the engine takes of a quota beyond the product's fields.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct QuotaOptions {
    /// By whose midnights periods of the calendar begin.
    time_zone: Option<TimeZone>,
    /// A date on which a period begins.
    #[schema(value_type = Option<String>, format = Date)]
    anchor: Option<String>,
    /// How many periods of the calendar are one.
    #[schema(minimum = 1)]
    every: Option<u32>,
    /// Whether periods run from the first use of a key.
    first_use: Option<bool>,
    /// How many different values of a key are told apart.
    max_values: Option<u32>,
    /// The balance that it takes what it counts from.
    balance: Option<String>,
    /// What a new owner of that balance begins with.
    opening: Option<Amount>,
    /// At which figures an alert fires.
    #[schema(required = false)]
    alert_thresholds: Vec<Threshold>,
}

/// A page of quotas, the newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct QuotaPage {
    data: Vec<Quota>,
    #[schema(required)]
    next_cursor: Option<String>,
    has_more: bool,
}

/// A rate limit.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RateLimit {
    id: String,
    project_id: String,
    name: String,
    /// What dimensions of an event must be, all of it.
    dimension_filters: BTreeMap<String, Condition>,
    /// Left out where it is events.
    metric: Option<Metric>,
    /// None: it counts, and refuses nobody.
    #[schema(required)]
    limit_value: Option<Amount>,
    window: Window,
    #[schema(required = true)]
    enabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    archived_at: Option<Timestamp>,
    #[serde(flatten)]
    own: RateLimitOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A rate limit to make.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewRateLimit {
    #[schema(min_length = 1, max_length = 256)]
    name: String,
    /// What dimensions of an event must be, all of it; nothing matches every event.
    #[schema(required = false)]
    dimension_filters: BTreeMap<String, Condition>,
    /// Events where it is not given.
    #[schema(required = false)]
    metric: Metric,
    /// Null: it counts, and refuses nobody.
    #[schema(required)]
    limit_value: Option<Amount>,
    /// The window that the limit is for.
    window: Window,
    #[schema(required = false)]
    enabled: bool,
    #[serde(flatten)]
    own: RateLimitOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// A change of a rate limit: what is not given stays.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct RateLimitChange {
    #[schema(required = false, min_length = 1, max_length = 256)]
    name: String,
    #[schema(required = false)]
    dimension_filters: BTreeMap<String, Condition>,
    #[schema(required = false)]
    metric: Metric,
    limit_value: Option<Amount>,
    #[schema(required = false)]
    window: Window,
    #[schema(required = false)]
    enabled: bool,
    #[serde(flatten)]
    own: RateLimitOptions,
    #[serde(flatten)]
    options: RuleOptions,
}

/// What the engine takes of a rate limit beyond the product's fields.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct RateLimitOptions {
    /// The capacity of a token bucket; the limit where it is not given.
    burst: Option<Amount>,
    /// How far below empty recorded events may take a token bucket.
    max_debt: Option<Amount>,
    /// Where it is not given: `fixed_window` below `/v1`, `token_bucket` below `/engine/v1`. Left
    /// out where it is a token bucket.
    #[schema(required = false)]
    algorithm: Algorithm,
}

/// A page of rate limits, the newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RateLimitPage {
    data: Vec<RateLimit>,
    #[schema(required)]
    next_cursor: Option<String>,
    has_more: bool,
}

/// What was used in a range of time.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct UsageTotals {
    total_events: u64,
    total_tokens: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    total_cost_cents: Amount,
    /// How many events had values that are not among the sums: there were too many names.
    #[schema(required = false)]
    other_values: u64,
    /// The sums that are too large to be said.
    #[schema(required = false)]
    out_of_range: Vec<String>,
}

/// The range that an answer covers, where it is not all that was asked for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Coverage {
    #[schema(required)]
    start_date: Option<Timestamp>,
    #[schema(required)]
    end_date: Option<Timestamp>,
}

/// What was used in a range of time, in all.
#[derive(ToSchema)]
pub(in crate::http) struct UsageSummary {
    #[serde(flatten)]
    totals: UsageTotals,
    covers: Option<Coverage>,
}

/// What a customer used.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct CustomerUsage {
    customer_id: String,
    #[serde(flatten)]
    totals: UsageTotals,
    covers: Option<Coverage>,
}

/// What was used of one value of a dimension.
#[derive(ToSchema)]
pub(super) struct BreakdownRow {
    /// Null of events that have none.
    #[schema(required)]
    dimension: Option<String>,
    #[serde(flatten)]
    totals: UsageTotals,
}

/// What was used of each value of a dimension.
#[derive(ToSchema)]
pub(in crate::http) struct UsageBreakdown {
    data: Vec<BreakdownRow>,
    /// What was used of values that are not told apart.
    other: Option<UsageTotals>,
    covers: Option<Coverage>,
}

/// What was used in a bucket of time.
#[derive(ToSchema)]
pub(in crate::http) struct TimeseriesPoint {
    /// When the bucket begins.
    timestamp: Timestamp,
    #[serde(flatten)]
    totals: UsageTotals,
    /// It is not all that was used in the bucket.
    #[schema(required = false)]
    partial: bool,
}

/// What was used in each bucket of time.
#[derive(ToSchema)]
pub(in crate::http) struct UsageTimeseries {
    data: Vec<TimeseriesPoint>,
    covers: Option<Coverage>,
}
