//! What calls of models used, as providers report it, and what they cost.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong in a test shall stop it at once"
)]

mod any_json;
mod prices;
mod pricing;
mod responses;
mod streams;
