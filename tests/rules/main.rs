//! Rules that are added, changed, removed and synced, and those on trial.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod changes;
mod changes_under_load;
mod config;
mod filters;
mod handle;
mod keys;
mod last_judged;
mod periods;
mod plans;
mod sets;
mod syncs;
mod trials;
