//! The versions of what is stored.
//!
//! Format 1 is what the first stores have, format 2 what is written now. Decoders are told which of
//! the two their bytes are in, and read both; encoders write the newest. A record says its own in
//! its head. Rules, the engine's rows, pieces of a checkpoint and idempotency keys are of the one
//! that the store says of them: a store of format 1 is converted when an engine first opens it, and
//! from then on only its old records, and the keys beside them, are in that format.

use serde::{Deserialize, Serialize};

/// A version of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Version {
    One,
    Two,
    #[expect(dead_code, reason = "the next one, which is not written yet")]
    Three,
}

impl Version {
    /// The one that is written.
    pub(crate) const NEWEST: Self = Self::Two;
}
