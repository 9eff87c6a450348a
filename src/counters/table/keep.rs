//! What is kept of charges with an answer that may be given again.

use smallvec::{Array, SmallVec};

use super::charge::{Charge, Counts, Match, Role, UseSource};
use crate::counters::algorithms::Reading;
use crate::counters::cell::{StateWords, Wide};
use crate::rules::Cost;

/// The bits of a charge's first word above the number of its algorithm, and below the 32 bits that
/// a state has beside its words.
const FITS: u64 = 1 << 8;
const COUNTS: u64 = 1 << 9;
const WRITTEN: u64 = 1 << 10;
const CROWDED: u64 = 1 << 11;
const LOST: u64 = 1 << 12;
/// The cost and the state take all of their words: two lines, and not one.
const LONG: u64 = 1 << 13;
const EXTRA: u32 = 32;

/// What is kept of a charge, in one of these or, of one that is long, in two.
pub(crate) type KeptLine = [u64; 4];

impl Charge {
    /// Appends what an answer says of it.
    #[inline]
    pub(crate) fn keep<A: Array<Item = KeptLine>>(&self, out: &mut SmallVec<A>) {
        let flag = |is: bool, bit: u64| if is { bit } else { 0 };
        let (code, StateWords { words: [a, b, c, d], extra }) = self.reading.parts();
        let cost = self.cost();
        let head = u64::from(code)
            | (u64::from(extra) << EXTRA)
            | flag(self.fits, FITS)
            | flag(cost.counts, COUNTS)
            | flag(self.is_written(), WRITTEN)
            | flag(self.found_no_room(), CROWDED)
            | flag(self.role() == Role::Counts, LOST);
        match i64::try_from(cost.units) {
            Ok(cost) if (c | d) == 0 => out.push([head, cost.cast_unsigned(), a, b]),
            _ => {
                let Wide([high, low]) = cost.units.into();
                out.push([head | LONG, high, low, a]);
                out.push([b, c, d, 0]);
            }
        }
    }

    /// Takes what was [kept](Self::keep) of a charge from the front of the lines: of the rule that
    /// has this index now.
    pub(crate) fn unkeep(rule: u32, kept: &mut &[KeptLine]) -> Option<Self> {
        let (&[head, first, second, third], mut rest) = kept.split_first()?;
        let (cost, words) = if head & LONG == 0 {
            (first.cast_signed().into(), [second, third, 0, 0])
        } else {
            let (&[b, c, d, _], behind) = rest.split_first()?;
            rest = behind;
            (Wide([first, second]).get(), [third, b, c, d])
        };
        *kept = rest;
        let is = |bit: u64| head & bit > 0;
        let [code, ..] = head.to_le_bytes();
        let extra = u32::try_from(head >> EXTRA).ok()?;
        let cost = Cost { units: cost, counts: is(COUNTS) };
        let mut charge = Self::new(Match { rule, row: 0, judges: !is(LOST) }, cost);
        charge.reading = Reading::of_parts(code, StateWords { words, extra });
        charge.fits = is(FITS);
        if is(WRITTEN) {
            charge.counts = Counts::Written;
        }
        if is(CROWDED) {
            charge.source = UseSource::NoRoom;
        }
        Some(charge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_come_back_whatever_they_hold() {
        let costs = [0, 7, -7, i64::MAX.into(), i128::MIN, i128::MAX];
        let states = [[0; 4], [u64::MAX, 9, 0, 0], [1, 2, 3, 0], [1, 2, 3, u64::MAX]];
        let mut charges = Vec::new();
        for (place, units) in (0_u32..).zip(costs) {
            for (code, words) in [(0, states[0]), (0, states[1]), (3, states[2]), (4, states[3])] {
                for bits in 0..16_u32 {
                    let is = |bit: u32| bits & bit > 0;
                    let found = Match { rule: place, row: 0, judges: is(1) };
                    let mut charge = Charge::new(found, Cost { units, counts: is(2) });
                    charge.fits = is(4);
                    charge.reading = Reading::of_parts(code, StateWords { words, extra: bits });
                    if is(8) {
                        charge.write();
                        charge.source = UseSource::NoRoom;
                    }
                    charges.push(charge);
                }
            }
        }
        charges.push(Charge::new(charges[0].into_match(), Cost { units: 1, counts: true }));
        let mut kept: SmallVec<[KeptLine; 4]> = SmallVec::new();
        charges.iter().for_each(|charge| charge.keep(&mut kept));
        let mut rest = &kept[..];
        for charge in &charges {
            let again = Charge::unkeep(charge.rule, &mut rest).expect("it was kept");
            assert_eq!(format!("{again:?}"), format!("{charge:?}"));
        }
        assert!(rest.is_empty() && Charge::unkeep(0, &mut rest).is_none());
    }

    impl Charge {
        fn into_match(self) -> Match {
            Match { rule: self.rule, row: self.row, judges: self.judges() }
        }
    }
}
