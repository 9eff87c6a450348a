//! Questions about usage, meters, and quotas that go by them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod calendar;
mod meters;
mod model;
mod percentiles;
mod questions;
mod quota_meters;
mod threads;
mod time_averages;
mod trace;
