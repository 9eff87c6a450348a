//! What is known of customers: their calendars, and how a change of those goes on from what was
//! used.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod calendars;
mod erase;
mod first_use;
mod lists;
