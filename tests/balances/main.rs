//! Prepaid balances: accounts, grants, ledgers, and the rules that take from them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod corrected;
mod model;
mod rules;
mod threads;
