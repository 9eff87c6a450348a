//! What reservations hold, and what becomes of it.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod conservation;
mod errors;
mod grants;
mod lives;
mod many;
mod model;
mod rules;
mod shared;
mod slots;
mod straight;
mod threads;
mod waits;
