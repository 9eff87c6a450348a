//! The cells of a row: folds of the values that not every row has.

use smallvec::SmallVec;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_signed, put_varint};
use crate::event::bounds::MAX_AMOUNT;

/// What a cell is about. The first are what the fixed sums carry over, in their order.
pub(super) type Column = u32;
/// How the values of several events become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fold {
    /// The sum of the values.
    Sum,
    /// How many events have the value.
    Count,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The one of the latest timestamp; of several, the one recorded last.
    Latest,
}

// The bounds of events say why no sum passes its type: so many events, each of the largest amount,
// still fit, and no memory and no store holds that many. Only files from before amounts had bounds
// can hold what goes beyond: such a cell is marked, and it alone is not known.
const _: () = assert!(i128::MAX / MAX_AMOUNT.millionths() > 100_000_000_000_000_000);

/// A number of 128 bits that aligns like one of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wide([u64; 2]);

impl Wide {
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    fn new(number: i128) -> Self {
        let bits = number.cast_unsigned();
        Self([(bits >> 64) as u64, bits as u64])
    }

    fn get(self) -> i128 {
        let Self([high, low]) = self;
        ((u128::from(high) << 64) | u128::from(low)).cast_signed()
    }
}

/// One value of a row: a fold of the events that have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    value: Wide,
    /// Of a latest value: the nanoseconds of its timestamp, and its ordinal in the log.
    at: Wide,
    ordinal: u64,
    pub(super) column: Column,
    pub(super) fold: Fold,
    /// The sum is beyond 128 bits: it is not known any more, and whoever asks is told so.
    pub(super) overflowed: bool,
}

impl Cell {
    pub(super) fn new(column: Column, fold: Fold, value: i128) -> Self {
        Self {
            value: Wide::new(value),
            at: Wide([0; 2]),
            ordinal: 0,
            column,
            fold,
            overflowed: false,
        }
    }

    /// The value of an event of this time and ordinal.
    pub(super) fn at(mut self, at: Timestamp, ordinal: u64) -> Self {
        (self.at, self.ordinal) = (Wide::new(at.unix_nanos()), ordinal);
        self
    }

    pub(super) fn value(&self) -> i128 {
        self.value.get()
    }

    /// When the latest value was, and its ordinal in the log.
    pub(super) fn mark(&self) -> (Timestamp, u64) {
        (Timestamp::from_unix_nanos(self.at.get()), self.ordinal)
    }

    fn merge(&mut self, other: &Self) {
        let (mine, new) = (self.value.get(), other.value.get());
        let kept = match self.fold {
            Fold::Sum | Fold::Count => {
                let sum = mine.checked_add(new);
                self.overflowed |= other.overflowed | sum.is_none();
                sum.unwrap_or(mine)
            }
            Fold::Min => mine.min(new),
            Fold::Max => mine.max(new),
            Fold::Latest => {
                if (other.at.get(), other.ordinal) < (self.at.get(), self.ordinal) {
                    return;
                }
                (self.at, self.ordinal) = (other.at, other.ordinal);
                new
            }
        };
        self.value = Wide::new(kept);
    }
}

/// The cells of a row by column; most rows have none, and take one word for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells(Option<Box<SmallVec<[Cell; 2]>>>);

impl Cells {
    /// Merges cells that are in the order of their columns, each of which comes once. However many
    /// cells there are, those that come cost a search each, of no more steps than the digits of
    /// how many lie between them, and one pass over all where some are new.
    pub(super) fn merge(&mut self, cells: &[Cell]) {
        if cells.is_empty() {
            return;
        }
        let known = self.0.get_or_insert_default();
        let (mut from, before) = (0, known.len());
        for cell in cells {
            // Cells of the same events come in the same order: mostly it is the next one.
            let rest = known.get(from..before).unwrap_or_default();
            effort::note(1);
            let found = match rest.first() {
                Some(next) if next.column == cell.column => Ok(0),
                _ => search(rest, cell.column),
            };
            match found {
                Ok(index) => {
                    from = from.saturating_add(index);
                    if let Some(known) = known.get_mut(from) {
                        known.merge(cell);
                    }
                    from = from.saturating_add(1);
                }
                Err(index) => {
                    from = from.saturating_add(index);
                    known.push(*cell);
                }
            }
        }
        if known.len() > before {
            effort::note(known.len());
            // Two runs that are in order.
            known.sort_by_key(|cell| cell.column);
        }
    }

    pub(super) fn as_slice(&self) -> &[Cell] {
        self.0.as_deref().map_or(&[], |cells| cells)
    }

    /// Takes out the cell of a column.
    pub(super) fn take(&mut self, column: Column) -> Option<Cell> {
        let cells = self.0.as_mut()?;
        let index = cells.iter().position(|cell| cell.column == column)?;
        Some(cells.remove(index))
    }

    /// Keeps only those whose columns have these folds.
    pub(super) fn retain(&mut self, folds: &[Option<Fold>]) {
        if let Some(cells) = &mut self.0 {
            cells.retain(|cell| folds.get(cell.column as usize) == Some(&Some(cell.fold)));
        }
        self.0.take_if(|cells| cells.is_empty());
    }
}

/// Finds the cell of a column among those in order, at a cost that follows how far it is.
fn search(cells: &[Cell], column: Column) -> Result<usize, usize> {
    let is_before = |cell: &Cell| {
        effort::note(1);
        cell.column < column
    };
    let (mut from, mut to) = (0_usize, 1_usize);
    while cells.get(to).is_some_and(is_before) {
        (from, to) = (to, to.saturating_mul(2));
    }
    let to = to.saturating_add(1).min(cells.len());
    let found = cells.get(from..to).unwrap_or_default();
    let index = from.saturating_add(found.partition_point(is_before));
    let is_it = cells.get(index).is_some_and(|cell| cell.column == column);
    if is_it { Ok(index) } else { Err(index) }
}

/// Counts in tests what is done, in whole rows and cells, so that it is the same on every machine.
pub(super) mod effort {
    #[cfg(test)]
    thread_local! {
        static SPENT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[cfg(test)]
    pub(in crate::usage) fn note(work: usize) {
        SPENT.set(SPENT.get().saturating_add(work));
    }

    #[cfg(not(test))]
    #[inline]
    pub(in crate::usage) fn note(_: usize) {}

    /// What was done since the last time on this thread.
    #[cfg(test)]
    pub(in crate::usage) fn take() -> usize {
        SPENT.take()
    }
}

/// In the byte before a cell, beside the number of its fold.
const OVERFLOWED: u8 = 1 << 3;

impl Codec<'_> for Cell {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.column));
        out.push(self.fold.number() | if self.overflowed { OVERFLOWED } else { 0 });
        put_halves(out, self.value.get());
        if self.fold == Fold::Latest {
            put_halves(out, self.at.get());
            put_varint(out, self.ordinal);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let column = from.varint_u32()?;
        let head = u8::decode(from)?;
        let fold = Fold::of_number(head & !OVERFLOWED).ok_or_else(|| from.malformed("a fold"))?;
        let mut cell = Self::new(column, fold, halves(from)?);
        cell.overflowed = head & OVERFLOWED != 0;
        if fold == Fold::Latest {
            cell.at = Wide::new(halves(from)?);
            cell.ordinal = from.varint()?;
        }
        Ok(cell)
    }
}

impl Codec<'_> for Fold {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.number());
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let number = u8::decode(from)?;
        Self::of_number(number).ok_or_else(|| from.malformed("a fold"))
    }
}

impl Fold {
    /// What it is stored as: never another number.
    const fn number(self) -> u8 {
        match self {
            Self::Sum => 0,
            Self::Count => 1,
            Self::Min => 2,
            Self::Max => 3,
            Self::Latest => 4,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        let all = [Self::Sum, Self::Count, Self::Min, Self::Max, Self::Latest];
        all.get(usize::from(number)).copied()
    }
}

/// Appends a number of 128 bits as its halves: the upper one of most is 0 or -1.
fn put_halves(out: &mut Vec<u8>, number: i128) {
    let Wide([high, low]) = Wide::new(number);
    put_signed(out, low.cast_signed());
    // What the lower half says of the sign is taken for granted.
    put_signed(out, high.cast_signed() ^ (low.cast_signed() >> 63));
}

/// Takes a number of 128 bits that is stored as its halves.
pub(super) fn halves(from: &mut Reader<'_>) -> Result<i128, Malformed> {
    let low = from.signed()?;
    let high = from.signed()? ^ (low >> 63);
    Ok(Wide([high.cast_unsigned(), low.cast_unsigned()]).get())
}
