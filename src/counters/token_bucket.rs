//! The token bucket, exact for every rational rate.
//!
//! The state is one number: the instant at which the bucket is full again. At a rate of `rate`
//! tokens in `per` nanoseconds, instants are counted in parts of a nanosecond, `rate` to each, so
//! that one token is `per` of them and nothing is ever divided or rounded on the way: taking a
//! cost adds `cost * per`, and the bucket is empty at `capacity * per` above now. An instant in
//! the past is a full bucket, however long ago. The rate is the limit and the window as they were
//! given, so that a part of a token means the same before and after a change of the limit.
//!
//! Sizes: `rate`, `per` and capacity are below 2^62 and moments below 2^64, so instants stay
//! below 2^126 + 2^127 and no sum wraps.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump};
use super::time::{At, Moment};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenBucket {
    rate: u64,
    per: u64,
    /// Capacity in parts: `capacity * per`.
    depth: u128,
}

impl TokenBucket {
    /// A bucket of `capacity` units, refilled with `limit` units each `window` nanoseconds.
    pub(crate) fn new(limit: u64, window: u64, capacity: u64) -> Self {
        Self { rate: limit, per: window, depth: product(capacity, window) }
    }

    #[inline]
    fn parts(&self, moment: Moment) -> u128 {
        product(moment.0, self.rate)
    }

    #[inline]
    pub(super) fn full_at(cell: Option<Cell<'_>>) -> u128 {
        match cell.map(|cell| cell.words) {
            Some([high, low, ..]) => join(*high, *low),
            _ => 0,
        }
    }

    #[inline]
    pub(super) fn fits(&self, full_at: u128, at: At, cost: u64) -> bool {
        let now = self.parts(at.now);
        let after = full_at.max(now).saturating_add(product(cost, self.per));
        after <= now.saturating_add(self.depth)
    }

    /// When the bucket is full after a cost. One that does not fit leaves the bucket empty, or
    /// as empty as it was.
    #[inline]
    pub(super) fn after(&self, full_at: u128, at: At, cost: u64) -> u128 {
        let now = self.parts(at.now);
        let start = full_at.max(now);
        let after = start.saturating_add(product(cost, self.per));
        after.min(start.max(now.saturating_add(self.depth)))
    }

    pub(super) fn remaining(&self, full_at: u128, at: At) -> u64 {
        let missing = full_at.saturating_sub(self.parts(at.now));
        let level = self.depth.saturating_sub(missing);
        u64::try_from(level.checked_div(u128::from(self.per)).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// The moment at which the bucket is full.
    pub(super) fn filled(&self, full_at: u128) -> Moment {
        let nanos = full_at.checked_div(u128::from(self.rate)).unwrap_or(u128::MAX);
        let exact = nanos.saturating_mul(u128::from(self.rate)) == full_at;
        let nanos = nanos.saturating_add(u128::from(!exact));
        u64::try_from(nanos).map_or(Moment::MAX, Moment)
    }

    /// The first moment at which the cost fits; `None` when none does.
    pub(super) fn passes_at(&self, full_at: u128, cost: u64) -> Option<Moment> {
        let cost = product(cost, self.per);
        let headroom = self.depth.checked_sub(cost)?;
        let moment = self.filled(full_at.saturating_sub(headroom));
        (moment < Moment::MAX).then_some(moment)
    }

    pub(super) fn is_full(&self, full_at: u128, at: At) -> bool {
        full_at <= self.parts(at.now)
    }

    /// Whether at least four fifths of the capacity are missing. Five depths are below 2^127.
    pub(super) fn is_nearly_empty(&self, full_at: u128, at: At) -> bool {
        let missing = full_at.saturating_sub(self.parts(at.now));
        missing.saturating_mul(5) >= self.depth.saturating_mul(4)
    }

    /// The tokens that are missing.
    pub(super) fn lump(&self, full_at: u128, at: At) -> Lump {
        let missing = full_at.saturating_sub(self.parts(at.now));
        let per = u128::from(self.per);
        let whole = missing.checked_div(per).unwrap_or(0);
        let part = missing.checked_rem(per).unwrap_or(0);
        Lump {
            whole: u64::try_from(whole).unwrap_or(u64::MAX),
            part: u64::try_from(part).unwrap_or(u64::MAX),
            parts: self.per,
            latest: Moment(0),
        }
    }

    /// The state means the same for both; only the limits may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        (self.rate, self.per) == (other.rate, other.per)
    }

    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        // A part of a token that the new unit cannot say is rounded up: nothing is minted.
        let part = product(lump.part, self.per).div_ceil(u128::from(lump.parts.max(1)));
        let missing = product(lump.whole, self.per).saturating_add(part);
        let (high, low) = split(self.parts(at.now).saturating_add(missing));
        Image::narrow(0, high, low)
    }
}

/// The product of two 64 bit numbers, which always fits 128.
#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a).wrapping_mul(u128::from(b))
}

#[inline]
pub(super) fn join(high: u64, low: u64) -> u128 {
    (u128::from(high) << 64) | u128::from(low)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
#[inline]
pub(super) fn split(wide: u128) -> (u64, u64) {
    ((wide >> 64) as u64, wide as u64)
}
