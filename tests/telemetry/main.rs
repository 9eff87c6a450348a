//! What an engine says of its own work, each with its feature.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;
