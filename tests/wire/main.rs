//! Bodies, headers and errors as text, and input that means harm.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod errors;
mod headers;
mod no_panic;
mod round_trips;
mod rules;
mod structured_fields;
