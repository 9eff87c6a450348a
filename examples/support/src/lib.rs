//! What the examples share: traces that are read, a day of traffic that is made up, who calls, and
//! numbers put into words.

#![allow(
    missing_docs,
    clippy::exhaustive_enums,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "part of programs: sums of what memory holds, places its own draw gave"
)]

pub mod cast;
pub mod day;
pub mod intake;
pub mod progress;
pub mod text;
pub mod trace;
