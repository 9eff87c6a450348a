//! What a call is answered, and what it takes of the counters.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod adjustments;
mod debt;
mod design;
mod keys;
mod long_runs;
mod missing;
mod model;
mod money;
mod no_limit;
mod overflow;
mod overflow_model;
mod paths;
mod policies;
mod refunds;
mod retry;
mod sliding;
mod times;
mod unique;
mod what_if;
mod wide_counts;
mod worked_numbers;
