//! One counter's words.

use smallvec::SmallVec;

use super::algorithms::periods::Bounds;
use super::time::Moment;
use crate::base::codec::{Codec, Malformed, Reader, put_varint};
use crate::rules::Units;

/// The state words of most counters: what the count is of, and the count.
pub(super) const NARROW: usize = 2;
/// The same where the count takes two words.
pub(super) const BROAD: usize = 3;
/// The state words of a quota of the highest or latest amount: also the latest event's instant.
pub(super) const TALL: usize = 4;

/// Units in two words, the high one first: what holds them is aligned to eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide(pub(super) [u64; 2]);

impl Wide {
    pub(super) const ZERO: Self = Self([0, 0]);

    #[inline]
    pub(super) const fn new(units: Units) -> Self {
        let (high, low) = split(units.cast_unsigned());
        Self([high, low])
    }

    #[inline]
    pub(super) const fn get(self) -> Units {
        let Self([high, low]) = self;
        join(high, low).cast_signed()
    }
}

impl From<Units> for Wide {
    fn from(units: Units) -> Self {
        Self::new(units)
    }
}

#[inline]
pub(super) const fn join(high: u64, low: u64) -> u128 {
    ((high as u128) << 64) | low as u128
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
#[inline]
pub(super) const fn split(wide: u128) -> (u64, u64) {
    ((wide >> 64) as u64, wide as u64)
}

/// A count behind the word that says what it is of: one word, or two where it needs them, the low
/// one first.
#[inline]
pub(super) fn count(words: &[u64]) -> Units {
    match words {
        [_, low, high, ..] => join(*high, *low).cast_signed(),
        [_, low] => low.cast_signed().into(),
        _ => 0,
    }
}

/// Writes a count where the words have room for it.
#[inline]
fn write_count(words: &mut [u64], first: u64, count: Units) -> bool {
    let (high, low) = split(count.cast_unsigned());
    match words {
        [to_first, to_low, to_high, ..] => (*to_first, *to_low, *to_high) = (first, low, high),
        [to_first, to_low] if i64::try_from(count).is_ok() => (*to_first, *to_low) = (first, low),
        [] => {}
        _ => return false,
    }
    true
}

/// How a state lies in the words of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Two words as they are.
    Pair,
    /// What the count is of, and the count: in one word, or in two where it needs them.
    Count,
    /// The same with two words for the count, and an instant.
    Tall,
    /// A list of uses, which says itself how long it is.
    List,
}

/// A state with room for all that it may be: of a count what it is of and two words, the low one
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateWords {
    pub(super) words: [u64; TALL],
    pub(super) extra: u32,
}

impl StateWords {
    #[inline]
    pub(super) fn count(extra: u32, first: u64, count: Units) -> Self {
        let (high, low) = split(count.cast_unsigned());
        Self { words: [first, low, high, 0], extra }
    }

    /// Writes the state into the words of a cell, and returns the 32 bits for its tag. `None`, and
    /// nothing written, where they have no room for it. Of no words it writes nothing.
    #[inline]
    pub(super) fn store(&self, layout: Layout, words: &mut [u64]) -> Option<u32> {
        let [first, second, ..] = self.words;
        let has_room = match layout {
            Layout::Count => write_count(words, first, count(&self.words)),
            Layout::Pair => words.first_chunk_mut().is_none_or(|to| {
                *to = [first, second];
                true
            }),
            Layout::Tall => words.first_chunk_mut().is_none_or(|to| {
                *to = self.words;
                true
            }),
            Layout::List => words.is_empty(),
        };
        has_room.then_some(self.extra)
    }

    /// Whether a cell of these words has room for the state; a list is never written whole.
    #[inline]
    pub(super) fn fit(&self, layout: Layout, cell: &[u64]) -> bool {
        match layout {
            Layout::Count => cell.len() > NARROW || i64::try_from(count(&self.words)).is_ok(),
            Layout::Pair | Layout::Tall => true,
            Layout::List => false,
        }
    }

    /// Writes the state into the words of a cell, for which it [fits](Self::fit).
    #[inline]
    pub(super) fn put(&self, cell: &mut [u64]) {
        cell.iter_mut().zip(self.words).for_each(|(to, word)| *to = word);
    }

    /// A cell of the state, in as many words as it needs; of a list an empty one.
    pub(super) fn to_cell(self, layout: Layout) -> CellState {
        let mut cell = CellState { extra: self.extra, ..CellState::empty(layout) };
        if self.store(layout, &mut cell.words).is_none() && layout == Layout::Count {
            cell.words = self.words.iter().take(BROAD).copied().collect();
        }
        cell
    }
}

/// A counter's state as it lies in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'r> {
    /// Where its tag stands in the row.
    pub(super) offset: usize,
    /// Thirty-two bits beside the counter's number: a calendar period's length in seconds.
    pub(super) extra: u32,
    pub(super) words: &'r [u64],
}

/// A counter's state that is not in a row yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CellState {
    pub(super) extra: u32,
    /// The words are a list, which says itself how long it is.
    pub(super) is_list: bool,
    pub(super) words: SmallVec<[u64; NARROW]>,
}

impl CellState {
    pub(super) fn of(extra: u32, words: &[u64]) -> Self {
        Self { extra, is_list: false, words: words.into() }
    }

    /// That of a counter that has counted nothing.
    pub(super) fn empty(layout: Layout) -> Self {
        let words = match layout {
            Layout::Pair | Layout::Count => NARROW,
            Layout::Tall => TALL,
            Layout::List => 1,
        };
        let (extra, is_list) = (0, layout == Layout::List);
        Self { extra, is_list, words: SmallVec::from_elem(0, words) }
    }

    /// The period of a calendar quota's cell.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        (!self.words.is_empty()).then(|| Bounds::of_cell(self.as_cell()))
    }

    /// The same of a cell of format 1, where a count was one word without a sign.
    pub(super) fn of_format_1(self, layout: Layout) -> Self {
        match (layout, self.words.as_slice()) {
            (Layout::Count, [first, used]) => {
                StateWords::count(self.extra, *first, (*used).into()).to_cell(layout)
            }
            (Layout::Tall, [first, used, latest]) => {
                Self::of(self.extra, &[*first, *used, 0, *latest])
            }
            _ => self,
        }
    }

    pub(super) fn as_cell(&self) -> Cell<'_> {
        Cell { offset: 0, extra: self.extra, words: &self.words }
    }
}

impl Codec<'_> for CellState {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.extra.into());
        self.is_list.encode(out);
        put_varint(out, self.words.len() as u64);
        self.words.iter().for_each(|word| word.encode(out));
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (extra, is_list) = (from.varint_u32()?, bool::decode(from)?);
        let words = (0..from.length("words")?).map(|_| u64::decode(from));
        Ok(Self { extra, is_list, words: words.collect::<Result<_, _>>()? })
    }
}

/// Use that is carried into another counter, exactly: `whole + part / parts` units, and the instant
/// of the latest event where it is that event's amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CarriedUse {
    pub(super) whole: Units,
    pub(super) part: u64,
    pub(super) parts: u64,
    pub(super) latest: Moment,
}

impl CarriedUse {
    pub(super) fn of(whole: Units) -> Self {
        Self { whole, part: 0, parts: 1, latest: Moment(0) }
    }

    pub(super) fn is_zero(self) -> bool {
        self.whole == 0 && self.part == 0 && self.latest == Moment(0)
    }

    /// The same in smaller units, of which so many are one.
    pub(super) fn in_units(self, units: Units) -> Self {
        if units == 1 {
            return self;
        }
        let parts = Units::from(self.parts.max(1));
        let part = Units::from(self.part).saturating_mul(units);
        let whole = self.whole.saturating_mul(units).saturating_add(part.div_euclid(parts));
        Self { whole, part: u64::try_from(part.rem_euclid(parts)).unwrap_or(0), ..self }
    }

    pub(super) fn rounded_up(self) -> Units {
        self.whole.saturating_add((self.part > 0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_use_in_smaller_units_is_as_much() {
        let use_of = |whole, part, parts| CarriedUse { part, parts, ..CarriedUse::of(whole) };
        assert_eq!(use_of(7, 0, 1).in_units(1), use_of(7, 0, 1));
        assert_eq!(use_of(7, 0, 1).in_units(1_000_000), use_of(7_000_000, 0, 1));
        assert_eq!(use_of(-7, 0, 1).in_units(1_000_000), use_of(-7_000_000, 0, 1));
        // A third and two thirds of a unit, in millionths and thirds of them.
        assert_eq!(use_of(7, 1, 3).in_units(1_000_000), use_of(7_333_333, 1, 3));
        assert_eq!(use_of(7, 2, 3).in_units(1_000_000), use_of(7_666_666, 2, 3));
        let most = u64::MAX;
        assert_eq!(
            use_of(0, most - 1, most).in_units(1_000_000),
            use_of(999_999, most - 1_000_000, most)
        );
    }
}
