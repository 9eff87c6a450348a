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

use super::stored::ChargeBytes;
use super::{Algorithm, GivenBack, KeyCalendar, Refusal, charge_where_it_fits};
use crate::base::codec::{Codec, Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, join, split};
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, Rate, Units};

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

    /// The parts that are missing.
    #[inline]
    fn missing(&self, full_at: u128, at: &At) -> u128 {
        full_at.saturating_sub(self.parts(at.now))
    }

    /// Parts in units, rounded down.
    fn units_of(&self, parts: u128) -> Units {
        let units = parts.checked_div(u128::from(self.per)).unwrap_or(0);
        Units::try_from(units).unwrap_or(Units::MAX)
    }

    /// The moment at which the bucket is full.
    fn filled(&self, full_at: u128) -> Moment {
        if full_at == 0 {
            return Moment(0);
        }
        let nanos = full_at.checked_div(u128::from(self.rate)).unwrap_or(u128::MAX);
        let exact = nanos.saturating_mul(u128::from(self.rate)) == full_at;
        let nanos = nanos.saturating_add(u128::from(!exact));
        u64::try_from(nanos).map_or(Moment::MAX, Moment)
    }
}

impl Algorithm for TokenBucket {
    /// When the bucket is full, in parts.
    type State = u128;

    const LAYOUT: Layout = Layout::Pair;

    const OWING_CODE: Option<u8> = Some(6);

    #[inline]
    fn read(&self, cell: Cell<'_>, _at: &At) -> u128 {
        match cell.words {
            [high, low, ..] => join(*high, *low),
            _ => 0,
        }
    }

    #[inline]
    fn fresh(&self, _calendar: KeyCalendar<'_>, _at: &At) -> u128 {
        0
    }

    #[inline]
    fn fits(&self, full_at: &u128, cost: Cost, at: &At) -> bool {
        if cost.units <= 0 {
            return true;
        }
        let now = self.parts(at.now);
        let after = (*full_at).max(now).saturating_add(self.parts_of(cost.units));
        after <= now.saturating_add(self.depth)
    }

    /// A cost that does not fit leaves the bucket empty, or as empty as it was; one that may be
    /// owed takes it below that, as far as it may go. A refund gives back missing tokens, and no
    /// more.
    #[inline]
    fn charge(&self, full_at: &mut u128, cost: Cost, at: &At) {
        let now = self.parts(at.now);
        let start = (*full_at).max(now);
        if cost.units < 0 {
            *full_at = start.saturating_sub(self.parts_of(cost.units)).max(now);
            return;
        }
        let after = start.saturating_add(self.parts_of(cost.units));
        // Where nothing refills it, nothing could ever be paid back.
        let most = match (at.owes && self.rate > 0, self.debt) {
            (false, _) => now.saturating_add(self.depth),
            (true, Some(debt)) => now.saturating_add(self.depth).saturating_add(debt),
            (true, None) => after,
        };
        *full_at = after.min(start.max(most));
    }

    /// What fits leaves the bucket no emptier than empty, whether more may be owed or not.
    #[inline]
    fn charge_if_fits(&self, full_at: &mut u128, cost: Cost, at: &At) -> bool {
        if let Ok(units @ 1..) = u64::try_from(cost.units) {
            let now = self.parts(at.now);
            let after = (*full_at).max(now).checked_add(product(units, self.per));
            // Both terms are below 2^127.
            let most = now.wrapping_add(self.depth);
            return after.filter(|after| *after <= most).is_some_and(|after| {
                *full_at = after;
                true
            });
        }
        charge_where_it_fits(self, full_at, cost, at)
    }

    fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool {
        self.missing(self.read(cell, at), at) == 0
    }

    fn limit(&self) -> Units {
        self.units_of(self.depth)
    }

    fn used(&self, full_at: &u128, at: &At) -> Units {
        self.to_carry(full_at, at).rounded_up()
    }

    fn remaining(&self, full_at: &u128, at: &At) -> Units {
        self.units_of(self.depth.saturating_sub(self.missing(*full_at, at)))
    }

    fn reset(&self, full_at: &u128, at: &At, timeline: Timeline) -> Option<i64> {
        let filled = self.filled(*full_at).max(at.now);
        (filled < Moment::MAX).then(|| timeline.second_rounded_up(filled))
    }

    /// Five depths are below 2^129, and saturate: a depth is at most 2^126.
    fn is_near_limit(&self, full_at: &u128, at: &At) -> bool {
        self.missing(*full_at, at).saturating_mul(5) >= self.depth.saturating_mul(4)
    }

    fn can_refuse(&self, cost: Cost) -> bool {
        cost.counts && cost.units > 0
    }

    fn passes_at(&self, full_at: &u128, refusal: &Refusal<'_>) -> Option<Moment> {
        let headroom = self.depth.checked_sub(self.parts_of(refusal.cost.units))?;
        let moment = self.filled(full_at.saturating_sub(headroom));
        (moment < Moment::MAX).then(|| moment.max(refusal.from))
    }

    fn committed(full_at: &u128) -> Option<u128> {
        Some(*full_at)
    }

    /// As full as it would be without the hold, and no fuller than committed use leaves it, less
    /// what is still held.
    fn give_back(&self, full_at: &mut u128, back: &GivenBack, at: &At) {
        let now = self.parts(at.now);
        let start = (*full_at).max(now);
        let without = start.saturating_sub(self.parts_of(back.units.max(0)));
        let committed = back.committed.as_ref().map_or(start, Self::unpack).max(now);
        let bound = committed.saturating_add(self.parts_of(back.left.max(0)));
        *full_at = start.min(without.max(bound));
    }

    /// What the bucket has refilled since may be that very take: it comes back no second time.
    fn left_of(&self, units: Units, taken: Moment, now: Moment) -> Units {
        let refilled = self.parts(now).saturating_sub(self.parts(taken));
        self.units_of(self.parts_of(units).saturating_sub(refilled))
    }

    /// All of it: other uses may have kept the bucket from being full ever since.
    fn raise_of(&self, units: Units, _taken: Moment, _now: Moment) -> Units {
        units
    }

    /// Since it was full it would have refilled what is more; an empty cell does not say how long.
    fn raise_in(&self, full_at: &u128, units: Units, taken: Moment, at: &At) -> Units {
        let now = self.parts(at.now);
        if *full_at == 0 || *full_at >= now {
            return units;
        }
        let refilled = now.saturating_sub((*full_at).max(self.parts(taken)));
        let left = self.parts_of(units).saturating_sub(refilled);
        Units::try_from(left.div_ceil(u128::from(self.per).max(1))).unwrap_or(units).min(units)
    }

    fn counts_like(&self, other: &Self) -> bool {
        (self.rate, self.per) == (other.rate, other.per)
    }

    /// The tokens that are missing.
    fn to_carry(&self, full_at: &u128, at: &At) -> CarriedUse {
        let missing = self.missing(*full_at, at);
        let part = missing.checked_rem(u128::from(self.per)).unwrap_or(0);
        CarriedUse {
            part: u64::try_from(part).unwrap_or(u64::MAX),
            parts: self.per,
            ..CarriedUse::of(self.units_of(missing))
        }
    }

    fn adopt(&self, carried: CarriedUse, _calendar: KeyCalendar<'_>, at: &At) -> CellState {
        // A part of a token that the new unit cannot say is rounded up: nothing is minted.
        let part = product(carried.part, self.per).div_ceil(u128::from(carried.parts.max(1)));
        let missing = self.parts_of(carried.whole.max(0)).saturating_add(part);
        Self::cell_of(&self.parts(at.now).saturating_add(missing))
    }

    fn most_unasked(&self, _full_at: &u128, _at: &At) -> Option<Units> {
        None
    }

    #[inline]
    fn pack(full_at: &u128) -> StateWords {
        let (high, low) = split(*full_at);
        StateWords { words: [high, low, 0, 0], extra: 0 }
    }

    #[inline]
    fn unpack(StateWords { words: [high, low, ..], .. }: &StateWords) -> u128 {
        join(*high, *low)
    }

    fn encode(full_at: &u128, _at: &At, out: &mut ChargeBytes) {
        let (high, low) = split(*full_at);
        out.varint(high);
        out.word(low);
    }

    fn decode(from: &mut Reader<'_>, _at: &At) -> Result<u128, Malformed> {
        let high = from.varint()?;
        Ok(join(high, u64::decode(from)?))
    }
}

/// The product of two 64 bit numbers, which always fits 128.
#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a).wrapping_mul(u128::from(b))
}
