//! The shapes of bodies that the engine's own types print, and of those that are made of two.

#![expect(dead_code, reason = "they are shapes alone")]

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::events::EventId;
use crate::usage::Coverage;
use crate::{Amount, Timestamp};

/// A recorded event.
#[derive(ToSchema)]
#[schema(as = Event, rename_all = "camelCase")]
pub(super) struct Listed {
    id: EventId,
    customer_id: String,
    event_type: String,
    values: BTreeMap<String, Amount>,
    dimensions: BTreeMap<String, String>,
    properties: Map<String, Value>,
    timestamp: Timestamp,
}

/// A page of events, the newest first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct EventPage {
    data: Vec<Listed>,
    #[schema(required)]
    next_cursor: Option<String>,
    has_more: bool,
}

/// What was recorded in a range of time.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Totals {
    total_events: u64,
    /// The sum of each value.
    values: BTreeMap<String, Amount>,
    /// How many events had values that are not among the sums: there were too many names.
    #[schema(required = false)]
    other_values: u64,
    /// The sums that are too large to be said.
    #[schema(required = false)]
    out_of_range: Vec<String>,
}

/// What was recorded in a range of time, in all.
#[derive(ToSchema)]
pub(super) struct EventSummary {
    #[serde(flatten)]
    totals: Totals,
    covers: Option<Coverage>,
}

/// What was recorded of one value of a dimension.
#[derive(ToSchema)]
pub(super) struct BreakdownRow {
    /// Null of events that have none.
    #[schema(required)]
    dimension: Option<String>,
    #[serde(flatten)]
    totals: Totals,
}

/// What was recorded of each value of a dimension.
#[derive(ToSchema)]
pub(super) struct EventBreakdown {
    data: Vec<BreakdownRow>,
    /// What was recorded of values that are not told apart.
    other: Option<Totals>,
    covers: Option<Coverage>,
}

/// What a customer used: the totals of the first generation, and all values.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct CustomerUsage {
    customer_id: String,
    total_tokens: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    total_cost_cents: Amount,
    #[serde(flatten)]
    totals: Totals,
    covers: Option<Coverage>,
}
