//! The versions of what is stored.
//!
//! Format 3 is what is written now. Decoders are told which format their bytes are in, and read
//! every one; encoders write the newest. A record says its own in its head. Rules, the engine's
//! rows, pieces of a checkpoint and idempotency keys are of the one that the store says of them: a
//! store of an older format is converted when an engine first opens it, and from then on only its
//! old records, and the keys beside them, are in that format.
//!
//! - Format 2 has signed and wide units, amounts of money with a fraction, lists of uses, what new
//!   counters started from, and checksums that are bound to their store.
//! - Format 3 has records of several kinds, each with the number of its event, the instant of the
//!   decision in every event, and the spaces of outer rooms.

use crate::base::codec::{Codec, Malformed, Reader, put_varint};

/// A version of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    One,
    Two,
    Three,
}

impl Version {
    /// The one that is written.
    pub(crate) const NEWEST: Self = Self::Three;

    /// What a file says of itself.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    /// The version that a file says; `None` where there was no such one yet.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        [Self::One, Self::Two, Self::Three].into_iter().find(|one| one.number() == number)
    }
}

/// One byte: the number less one, as format 2 began with.
impl Codec<'_> for Version {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.number()).saturating_sub(1));
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = from.varint_u32()?.saturating_add(1);
        Self::of_number(number).ok_or_else(|| from.malformed("a format"))
    }
}
