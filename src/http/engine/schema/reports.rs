//! What is asked, and what the engine reports.

#![expect(dead_code, reason = "they are shapes alone")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use crate::events::EventId;
use crate::http::first::schema::{
    Coverage, EventBody, TimeseriesPoint, UsageBreakdown, UsageSummary, UsageTimeseries,
    UsageTotals,
};
use crate::http::openapi::any_of;
use crate::reservations::{ReservationId, ReservationState};
use crate::rules::{Enforcement, Threshold};
use crate::time::TimeZone;
use crate::{Amount, Condition, Metric, Period, Timestamp};

/// Which recorded events: all that is given must hold.
#[derive(ToSchema)]
#[schema(as = EventQuery, rename_all = "camelCase")]
pub(in crate::http::engine) struct EventQuestion {
    customer_id: Option<String>,
    event_type: Option<String>,
    model: Option<String>,
    /// What other dimensions must be.
    #[schema(required = false)]
    filters: BTreeMap<String, String>,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    /// Not used: all are replayed.
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Must not be set.
    cursor: Option<String>,
}

/// Which events are summed up: all that is given must hold.
#[derive(ToSchema)]
#[schema(as = UsageQuery, rename_all = "camelCase")]
pub(in crate::http::engine) struct UsageFilter {
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    customer_id: Option<String>,
    event_type: Option<String>,
    model: Option<String>,
    /// What other dimensions must be.
    #[schema(required = false)]
    filters: BTreeMap<String, String>,
    /// The same by any condition.
    #[schema(required = false)]
    conditions: BTreeMap<String, Condition>,
    /// By whose midnights days, weeks and months begin; UTC where it is not given.
    time_zone: Option<TimeZone>,
    /// A date on whose day of the month months begin.
    #[schema(value_type = Option<String>, format = Date)]
    anchor: Option<String>,
}

any_of! {
    /// A summary; with `groupBy` a breakdown, with `interval` a time series, with both one of each
    /// value.
    pub(in crate::http::engine) UsageAnswer as "UsageAnswer":
    UsageSummary, UsageBreakdown, UsageTimeseries, TimeseriesBreakdown
}

/// What was used of each value of a dimension in each bucket of time.
#[derive(ToSchema)]
struct TimeseriesBreakdown {
    data: Vec<ValueSeries>,
    /// All values that have no series of their own, together.
    #[schema(required = false)]
    rest: RestSeries,
    #[schema(required = false)]
    covers: Coverage,
}

/// What was used of one value of a dimension, in all and in each bucket of time.
#[derive(ToSchema)]
struct ValueSeries {
    /// Null of events that have none.
    #[schema(required)]
    dimension: Option<String>,
    #[serde(flatten)]
    totals: UsageTotals,
    points: Vec<TimeseriesPoint>,
}

/// What was used of other values, in all and in each bucket of time.
#[derive(ToSchema)]
struct RestSeries {
    #[serde(flatten)]
    totals: UsageTotals,
    points: Vec<TimeseriesPoint>,
}

/// What was refused, the keys that were refused the most first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct RefusalPage {
    items: Vec<RefusalCount>,
    /// What they add up to, with those of all pages. A call that two rules refused counts for each.
    total: u64,
    /// How much of that is of keys that are not told apart.
    other: u64,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// How often a rule refused a call of one of its keys.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct RefusalCount {
    rule_id: String,
    /// The dimensions that the rule is split by, and their values.
    key: BTreeMap<String, String>,
    refused: u64,
}

/// What was refused in each hour of UTC that has a refusal.
#[derive(ToSchema)]
pub(in crate::http::engine) struct RefusalHours {
    data: Vec<RefusalHour>,
}

/// What was refused in an hour of UTC.
#[derive(ToSchema)]
struct RefusalHour {
    /// When the hour begins.
    start: Timestamp,
    refused: u64,
}

/// A reservation, and what has become of it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct Reservation {
    id: ReservationId,
    state: ReservationState,
    /// What is reserved: the event that it was made for, with all that it has grown by.
    estimate: EventBody,
    /// When the act happens.
    timestamp: Timestamp,
    /// When it expires, or would have.
    expires_at: Timestamp,
    /// The recorded event of one that was committed.
    #[schema(required = false)]
    event_id: EventId,
}

/// What fired.
#[derive(ToSchema)]
pub(in crate::http::engine) struct Alert {
    /// The same for the same rule, key, threshold and period.
    id: String,
    event: AlertKind,
    timestamp: Timestamp,
    data: AlertData,
}

/// Whether a threshold was reached, or the limit, or a balance is low.
#[derive(ToSchema)]
enum AlertKind {
    #[schema(rename = "limit.threshold_reached")]
    ThresholdReached,
    #[schema(rename = "limit.exceeded")]
    LimitExceeded,
    #[schema(rename = "balance.low")]
    BalanceLow,
}

/// The figures of an alert, right after the event that it fired at.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct AlertData {
    /// The key's customer, or the one that the rule's filter asks for.
    #[schema(required)]
    customer_id: Option<String>,
    /// The id of the rule.
    limit_id: String,
    limit_name: String,
    metric: Metric,
    /// The dimensions that the rule is split by, and their values.
    #[schema(required = false)]
    key: BTreeMap<String, String>,
    threshold: Threshold,
    #[schema(required)]
    limit: Option<Amount>,
    current_usage: Amount,
    /// How much of the limit is used, in whole percent, rounded down.
    #[schema(required)]
    percentage: Option<u64>,
    #[schema(required)]
    remaining: Option<Amount>,
    period: Period,
    /// Null of all time.
    #[schema(required)]
    window_start: Option<Timestamp>,
    /// The first instant after it; null of all time.
    #[schema(required)]
    window_end: Option<Timestamp>,
}

/// What an audit of a store went over and found right.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct VerifyReport {
    /// How many records the log has.
    records: u64,
    /// How many idempotency keys there are.
    keys: u64,
    /// How many bytes were read, and have the right checksum.
    bytes: u64,
    /// How many states of counters follow from the states and the events before them.
    states: u64,
    /// Whether the log reaches back to the first event.
    is_complete: bool,
}

/// What rules would have done with calls.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http::engine) struct SimulationReport {
    /// When the first call was decided about; null where there was none.
    #[schema(required)]
    first: Option<Timestamp>,
    #[schema(required)]
    last: Option<Timestamp>,
    demand: Demand,
    /// From when on refused calls are known, where they are replayed.
    #[schema(required)]
    refused_since: Option<Timestamp>,
    /// From which timestamp on events were replayed, where there may be some before.
    #[schema(required)]
    since: Option<Timestamp>,
    calls: SimulatedCalls,
    /// How many calls could not be judged.
    unjudged: u64,
    /// Why the first of them could not.
    #[schema(required)]
    unjudged_because: Option<String>,
    /// How many customers made calls that some rule judged.
    customers: u64,
    /// How many of them would have been refused a call.
    refused_customers: u64,
    /// Whether there were more keys than are told apart.
    is_cut_short: bool,
    rules: Vec<SimulatedRule>,
}

/// Events that were let in, those and the refused calls that are kept, or given calls.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Demand {
    LetIn,
    WithRefused,
    Given,
}

/// How many calls, and what becomes of them against what did.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SimulatedCalls {
    calls: u64,
    refused: u64,
    was_refused: u64,
    newly_refused: u64,
    newly_let_in: u64,
    /// Of how many it is not known what became of them.
    unknown: u64,
}

/// What one rule would have done.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SimulatedRule {
    id: String,
    name: String,
    kind: RuleKind,
    enforcement: Enforcement,
    #[schema(required)]
    limit: Option<Amount>,
    /// How many calls it judged.
    calls: u64,
    /// How many did not fit.
    exceeded: u64,
    /// How many of those were let in when they were made.
    newly_exceeded: u64,
    /// How many of the calls were refused when they were made.
    was_refused: u64,
    /// What the calls brought of what it counts; null where it counts the highest or the latest.
    #[schema(required)]
    amount: Option<Amount>,
    /// What those brought that did not fit.
    #[schema(required)]
    exceeded_amount: Option<Amount>,
    /// How many keys it counted apart.
    keys: u64,
    exceeded_keys: u64,
    /// The keys of the most calls that did not fit, the most first.
    worst: Vec<SimulatedKey>,
    others: OtherKeys,
    starts_from: StartsFrom,
    /// It bounds how many reservations are open, or takes from a balance, and there is none here.
    left_out: bool,
}

/// Which kind of rule.
#[derive(ToSchema)]
pub(in crate::http::engine) enum RuleKind {
    #[schema(rename = "rate limit")]
    RateLimit,
    #[schema(rename = "quota")]
    Quota,
}

/// What one key of a rule would have met.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SimulatedKey {
    /// The dimensions that the rule is split by, and their values.
    key: BTreeMap<String, String>,
    calls: u64,
    exceeded: u64,
    newly_exceeded: u64,
    was_refused: u64,
    #[schema(required)]
    exceeded_amount: Option<Amount>,
}

/// The keys of a rule that are not told of each.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct OtherKeys {
    keys: u64,
    calls: u64,
    exceeded: u64,
    #[schema(required)]
    exceeded_amount: Option<Amount>,
}

/// Whether counters started from nothing, from what is recorded, or from what is known of it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum StartsFrom {
    Nothing,
    Recorded,
    Partial,
}
