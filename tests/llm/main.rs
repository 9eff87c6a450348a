//! What calls of models used, as providers report it, what they cost, and what providers let in.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what goes wrong in a test shall stop it at once"
)]

mod any_calls;
mod any_headers;
mod any_json;
mod estimates;
mod presets;
mod prices;
mod pricing;
mod remote_limits;
mod reprice;
mod responses;
mod sized_books;
mod streams;
mod waits;
