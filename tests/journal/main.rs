//! An engine with a store: restarts, crashes, kills, levels, formats.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what goes wrong in a test shall stop it at once"
)]

#[path = "../support/mod.rs"]
mod support;

mod adjustments;
mod alerts;
mod as_stored;
mod balances_crash;
#[cfg(unix)]
mod balances_kill;
mod calendars;
mod clock;
mod code_rules;
mod corrections;
#[cfg(unix)]
mod corrections_kill;
mod crash;
mod erase;
#[cfg(unix)]
mod erase_kill;
#[cfg(unix)]
mod file;
mod formats;
mod formats2;
mod held_crash;
#[cfg(unix)]
mod held_kill;
mod histories;
mod holds;
#[cfg(unix)]
mod import_kill;
#[cfg(unix)]
mod kill;
#[cfg(unix)]
mod killed;
mod levels;
mod lives;
mod low;
mod memory;
mod queue;
mod refusals;
mod restarts;
mod settings;
mod threads;
mod unique;
mod windows;
