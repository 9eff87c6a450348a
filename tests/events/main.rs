//! Events on their way in, kept, listed, dropped, and from engine to engine.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod batch;
mod bounds;
mod corrected_limits;
mod corrected_refunds;
mod corrections;
mod following;
mod idempotency;
mod listing;
mod refusals;
mod retention;
mod transfer;
