//! Alerts: when they fire, and who gets them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod corrected;
mod firing;
mod low;
mod meters;
mod model;
mod receiving;
#[cfg(feature = "webhooks")]
mod signing;
#[cfg(feature = "tokio")]
mod stream;
mod threads;

use limitry::Engine;
use limitry::alerts::Delivered;
use limitry::rules::Threshold;

/// All that has fired since it was asked for last: the rule, the customer and the threshold.
fn fired(engine: &Engine) -> Vec<String> {
    let text = |it: &Delivered| {
        let customer = it.customer_id.as_deref().unwrap_or("all");
        format!("{} {customer} {}", it.rule_id, it.threshold)
    };
    let alerts = engine.alerts();
    std::iter::from_fn(|| alerts.poll()).map(|it| text(&it)).collect()
}

/// Thresholds of these percentages.
fn percent(percentages: impl IntoIterator<Item = u32>) -> Vec<Threshold> {
    percentages.into_iter().map(Threshold::percent).collect()
}
