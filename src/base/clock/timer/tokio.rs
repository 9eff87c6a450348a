//! Tokio's timer.

use std::time::Duration;

use super::{Sleep, Timer};
use crate::base::clock::Timestamp;

/// The [`Timer`] of the tokio runtime that polls the waiting task: the feature `tokio`. It wakes to
/// the millisecond, and never before it is time.
///
/// # Panics
/// A task that waits with it panics where it is polled outside of a tokio runtime, or in one
/// without its time driver.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "the runtime is that of the task")]
pub struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, _until: Timestamp, wait: Duration) -> Sleep {
        Box::pin(::tokio::time::sleep(wait))
    }
}
