//! The token bucket, exact for every rational rate.
//!
//! The state is one number: the instant at which the bucket is full again. At a rate of `rate`
//! tokens in `per` nanoseconds, instants are counted in parts of a nanosecond, `rate` to each, so
//! that one token is `per` of them and nothing is ever divided or rounded on the way: taking a
//! cost adds `cost * per`, and the bucket is empty at `capacity * per` above now. An instant in
//! the past is a full bucket, however long ago. The rate is the limit and the window as they were
//! given, so that a part of a token means the same before and after a change of the limit; it is
//! in lowest terms where it would be too large otherwise.
//!
//! Sizes: `rate` is at most 2^62, the depth at most 2^126, and moments are below 2^64, so instants
//! stay below 2^127 and no sum wraps. Where a debt would go beyond 2^128 parts it stays there: such
//! a bucket is full again later than there are moments, which is never.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump, join, split};
use super::time::{At, Moment};
use crate::rules::{Rate, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenBucket {
    rate: u64,
    per: u64,
    /// Capacity in parts: `capacity * per`.
    depth: u128,
    /// How far below empty a record may take it, in parts; without a bound where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    debt: Option<u128>,
}

impl TokenBucket {
    pub(crate) fn new(Rate { units: rate, nanos: per, depth }: Rate) -> Self {
        Self { rate, per, depth, debt: None }
    }

    /// The same, with a bound to how many units below empty a record may take it.
    pub(crate) fn with_max_debt(mut self, most: Option<Units>) -> Self {
        self.debt = most.map(|most| self.parts_of(most));
        self
    }

    /// A cost in parts; one beyond them is above every capacity.
    #[inline]
    fn parts_of(&self, cost: Units) -> u128 {
        let cost = cost.unsigned_abs();
        match u64::try_from(cost) {
            Ok(cost) => product(cost, self.per),
            Err(_) => cost.saturating_mul(self.per.into()),
        }
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
    pub(super) fn fits(&self, full_at: u128, at: At, cost: Units) -> bool {
        if cost <= 0 {
            return true;
        }
        let now = self.parts(at.now);
        let after = full_at.max(now).saturating_add(self.parts_of(cost));
        after <= now.saturating_add(self.depth)
    }

    /// When the bucket is full after a cost. One that does not fit leaves the bucket empty, or
    /// as empty as it was; one that may be owed takes it below that, as far as it may go. A refund
    /// gives back missing tokens, and no more.
    #[inline]
    pub(super) fn after(&self, full_at: u128, at: At, cost: Units) -> u128 {
        let now = self.parts(at.now);
        let start = full_at.max(now);
        if cost < 0 {
            return start.saturating_sub(self.parts_of(cost)).max(now);
        }
        let after = start.saturating_add(self.parts_of(cost));
        // Where nothing refills it, nothing could ever be paid back.
        let most = match (at.owes && self.rate > 0, self.debt) {
            (false, _) => now.saturating_add(self.depth),
            (true, Some(debt)) => now.saturating_add(self.depth).saturating_add(debt),
            (true, None) => after,
        };
        after.min(start.max(most))
    }

    pub(super) fn remaining(&self, full_at: u128, at: At) -> Units {
        let missing = full_at.saturating_sub(self.parts(at.now));
        let level = self.depth.saturating_sub(missing);
        units(level.checked_div(u128::from(self.per)).unwrap_or(0))
    }

    /// The moment at which the bucket is full.
    pub(super) fn filled(&self, full_at: u128) -> Moment {
        if full_at == 0 {
            return Moment(0);
        }
        let nanos = full_at.checked_div(u128::from(self.rate)).unwrap_or(u128::MAX);
        let exact = nanos.saturating_mul(u128::from(self.rate)) == full_at;
        let nanos = nanos.saturating_add(u128::from(!exact));
        u64::try_from(nanos).map_or(Moment::MAX, Moment)
    }

    /// The first moment at which the cost fits; `None` when none does.
    pub(super) fn passes_at(&self, full_at: u128, cost: Units) -> Option<Moment> {
        let headroom = self.depth.checked_sub(self.parts_of(cost))?;
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
            whole: units(whole),
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
        let missing = self.parts_of(lump.whole.max(0)).saturating_add(part);
        let (high, low) = split(self.parts(at.now).saturating_add(missing));
        Image::narrow(0, high, low)
    }
}

fn units(number: u128) -> Units {
    Units::try_from(number).unwrap_or(Units::MAX)
}

/// The product of two 64 bit numbers, which always fits 128.
#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a).wrapping_mul(u128::from(b))
}
