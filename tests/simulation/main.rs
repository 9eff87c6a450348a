//! What other rules would have done: simulations and suggestions.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod past;
mod suggest;
mod threads;
mod worked;
