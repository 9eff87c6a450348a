//! What calls and keys ask of the heap. The allocator counts by thread.

#![allow(clippy::expect_used, reason = "what goes wrong in a test shall stop it at once")]

mod allocations;
mod bytes;
#[cfg(feature = "llm")]
mod estimates;
mod waiters;
