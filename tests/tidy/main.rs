//! Goal: the style of the sources and the plan of the house hold because a test says so, not
//! because somebody looks.
//!
//! Method: every rule goes over the text of the files. The heuristics lean on `rustfmt`, which
//! `.ci/run` checks first: an item ends at the first `}` that stands as far in as it began.
//! Exceptions are named beside each rule, and one that is not needed any more fails too.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]

mod gates;
mod layout;
mod plan;
mod sources;
mod style;
