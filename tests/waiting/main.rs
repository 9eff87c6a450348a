//! Waiting for room: order, wake-ups, deadlines, and what ends a wait.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod executor;
mod many;
mod order;
mod programs;
mod reserve;
#[cfg(feature = "durable")]
mod store;
mod threads;
#[cfg(feature = "tokio")]
mod tokio;
mod wakes;
