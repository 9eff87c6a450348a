//! What is kept of the events of one bucket: their number, the fixed sums, and cells for the rest.

use smallvec::SmallVec;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_list, put_signed, put_varint};
use crate::base::format::Version;
use crate::event::bounds::MAX_AMOUNT;

/// How many sums every row has: input, output and total tokens, cost in millionths of a cent,
/// latency.
pub(super) const FIXED: usize = 5;
/// The cost among them. It may be negative: its cell, where it has one, carries whole multiples of
/// 2^64 up and down, so that both together are the sum.
const COST: Column = 3;

/// What a cell is about. The first are what the fixed sums carry over, in their order.
pub(super) type Column = u32;
/// The first column that is not a carry.
pub(super) const FIRST_COLUMN: Column = 5;

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
    /// Of a latest value: the nanoseconds of its timestamp, and its place in the log.
    at: Wide,
    place: u64,
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
            place: 0,
            column,
            fold,
            overflowed: false,
        }
    }

    /// The value of an event of this time and place in the log.
    pub(super) fn at(mut self, at: Timestamp, place: u64) -> Self {
        (self.at, self.place) = (Wide::new(at.unix_nanos()), place);
        self
    }

    pub(super) fn value(&self) -> i128 {
        self.value.get()
    }

    /// When the latest value was, and its place in the log.
    pub(super) fn mark(&self) -> (Timestamp, u64) {
        (Timestamp::from_unix_nanos(self.at.get()), self.place)
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
                if (other.at.get(), other.place) < (self.at.get(), self.place) {
                    return;
                }
                (self.at, self.place) = (other.at, other.place);
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
    /// cells there are, those that come cost a search each, and one pass over all where some are
    /// new.
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
                _ => rest.binary_search_by(|known| {
                    effort::note(1);
                    known.column.cmp(&cell.column)
                }),
            };
            match found {
                Ok(place) => {
                    from = from.saturating_add(place);
                    if let Some(known) = known.get_mut(from) {
                        known.merge(cell);
                    }
                    from = from.saturating_add(1);
                }
                Err(place) => {
                    from = from.saturating_add(place);
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

    /// Keeps only those whose columns have these folds.
    pub(super) fn retain(&mut self, folds: &[Option<Fold>]) {
        if let Some(cells) = &mut self.0 {
            cells.retain(|cell| folds.get(cell.column as usize) == Some(&Some(cell.fold)));
        }
        self.0.take_if(|cells| cells.is_empty());
    }
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
    pub(super) fn note(_: usize) {}

    /// What was done since the last time on this thread.
    #[cfg(test)]
    pub(in crate::usage) fn take() -> usize {
        SPENT.take()
    }
}

/// What one event adds to every row that it counts in.
#[derive(Debug, Default)]
pub(super) struct Addend {
    /// 1, or 0 where columns are filled in for events that were counted before.
    pub(super) events: u64,
    pub(super) fixed: [u64; FIXED],
    /// In the order of their columns, each of which is there once.
    pub(super) cells: SmallVec<[Cell; 4]>,
}

/// The fold of a series' events in one bucket.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub(super) struct Row {
    /// The series whose row it is.
    pub(super) series: u32,
    /// Of a row that was loaded: the events that it has, counted from the first that may have been
    /// recorded while the rows were saved.
    pub(super) gate: u32,
    pub(super) events: u64,
    pub(super) fixed: [u64; FIXED],
    pub(super) cells: Cells,
}

impl Addend {
    /// Adds a cost of so many millionths of a cent.
    #[inline]
    pub(super) fn set_cost(&mut self, millionths: i128) {
        let (low, carried) = split(millionths);
        if let Some(cost) = self.fixed.get_mut(COST as usize) {
            *cost = low;
        }
        if carried != 0 {
            self.cells.push(Cell::new(COST, Fold::Sum, carried));
        }
    }
}

/// The lower 64 bits of a sum, and the rest of it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn split(sum: i128) -> (u64, i128) {
    let low = sum.cast_unsigned() as u64;
    (low, sum.saturating_sub(low.into()))
}

// A row is one cache line, because that is what an event costs that adds to it.
const _: () = assert!(size_of::<Row>() == 64);

impl Row {
    pub(super) fn of(series: u32) -> Self {
        Self { series, ..Self::default() }
    }

    #[inline]
    pub(super) fn add(&mut self, addend: &Addend) {
        // 2^64 events are beyond any engine.
        self.events = self.events.saturating_add(addend.events);
        let mut wraps = false;
        for (sum, amount) in self.fixed.iter_mut().zip(&addend.fixed) {
            *sum = sum.wrapping_add(*amount);
            wraps |= *sum < *amount;
        }
        if wraps {
            self.carry(&addend.fixed);
        }
        effort::note(1);
        self.cells.merge(&addend.cells);
    }

    /// Counts the sums that have wrapped with these amounts, which are then more than the sums.
    #[cold]
    fn carry(&mut self, amounts: &[u64; FIXED]) {
        for ((column, sum), amount) in (0..).zip(&self.fixed).zip(amounts) {
            if sum < amount {
                self.cells.merge(&[Cell::new(column, Fold::Sum, 1 << u64::BITS)]);
            }
        }
    }
}

/// The fold of many rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    pub(super) events: u64,
    pub(super) fixed: [i128; FIXED],
    cells: Cells,
}

impl Total {
    #[inline]
    pub(super) fn merge(&mut self, row: &Row) {
        self.events = self.events.saturating_add(row.events);
        for (sum, amount) in self.fixed.iter_mut().zip(row.fixed) {
            // 2^64 rows would have to be full.
            *sum = sum.saturating_add(i128::from(amount));
        }
        let cells = row.cells.as_slice();
        let (carries, cells) =
            cells.split_at(cells.partition_point(|cell| cell.column < FIRST_COLUMN));
        for carry in carries {
            if let Some(sum) = self.fixed.get_mut(carry.column as usize) {
                *sum = sum.saturating_add(carry.value());
            }
        }
        self.cells.merge(cells);
    }

    /// The cells, without those that were carries.
    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.as_slice().iter()
    }
}

/// In the byte before a row: it has cells. The bits below say which fixed sums are not 0.
const HAS_CELLS: u8 = 1 << FIXED;
/// The least bytes that a row is stored in.
pub(super) const LEAST_ROW_BYTES: usize = 3;
/// In the byte before a cell, beside the number of its fold.
const OVERFLOWED: u8 = 1 << 3;

/// A byte that says what there is, the series, the number of events, the fixed sums that are not 0,
/// and the cells behind their number.
impl Codec<'_> for Row {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        let has_sum = |(place, sum): (u32, &u64)| u8::from(*sum > 0).unbounded_shl(place);
        let sums = (0..).zip(&self.fixed).map(has_sum).fold(0, std::ops::BitOr::bitor);
        let cells = self.cells.as_slice();
        out.push(sums | if cells.is_empty() { 0 } else { HAS_CELLS });
        put_varint(out, u64::from(self.series));
        put_varint(out, self.events);
        self.fixed.iter().filter(|sum| **sum > 0).for_each(|sum| put_varint(out, *sum));
        if !cells.is_empty() {
            put_list(out, cells.iter(), Cell::encode);
        }
    }

    #[inline]
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let head = u8::decode(from)?;
        from.require(head < HAS_CELLS << 1, "what a row has")?;
        let mut row = Self::of(from.varint_u32()?);
        row.events = from.varint()?;
        for (place, sum) in (0_u32..).zip(&mut row.fixed) {
            if head.unbounded_shr(place) & 1 == 1 {
                *sum = from.varint()?;
            }
        }
        if head & HAS_CELLS != 0 {
            for _ in 0..from.length("cells")? {
                row.cells.merge(&[Cell::decode(from)?]);
            }
        }
        if from.version() == Version::One {
            row.convert_cost();
        }
        Ok(row)
    }
}

impl Row {
    /// Turns whole cents, which format 1 had, into millionths.
    #[cold]
    fn convert_cost(&mut self) {
        let Some(cost) = self.fixed.get_mut(COST as usize) else { return };
        let mut cells = self.cells.0.iter_mut().flat_map(|cells| cells.iter_mut());
        let cell = cells.find(|cell| cell.column == COST);
        let carried = cell.as_ref().map_or(0, |cell| cell.value());
        let cents = carried.saturating_add(i128::from(*cost));
        let (low, carried) = split(cents.saturating_mul(1_000_000));
        *cost = low;
        match cell {
            Some(cell) => cell.value = Wide::new(carried),
            None if carried != 0 => self.cells.merge(&[Cell::new(COST, Fold::Sum, carried)]),
            None => {}
        }
    }
}

impl Codec<'_> for Cell {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.column));
        out.push(self.fold.number() | if self.overflowed { OVERFLOWED } else { 0 });
        put_halves(out, self.value.get());
        if self.fold == Fold::Latest {
            put_halves(out, self.at.get());
            put_varint(out, self.place);
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
            cell.place = from.varint()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(rows: &[Row]) -> i128 {
        let mut total = Total::default();
        rows.iter().for_each(|row| total.merge(row));
        total.fixed[COST as usize]
    }

    const ENDS: [i128; 9] = [
        0,
        1,
        -1,
        -400_000,
        1 << 63,
        (1 << 64) - 1,
        1 << 64,
        1_000_000_000_000_000_000_000,
        -1_000_000_000_000_000_000_000,
    ];

    #[test]
    fn costs_of_either_sign_and_any_size_add_up() {
        for (first, second) in ENDS.into_iter().flat_map(|a| ENDS.map(|b| (a, b))) {
            let mut row = Row::of(1);
            for millionths in [first, second, first, second] {
                let mut addend = Addend { events: 1, ..Addend::default() };
                addend.set_cost(millionths);
                row.add(&addend);
            }
            assert_eq!(sum_of(&[row.clone(), row]), 4 * (first + second), "{first} {second}");
        }
    }

    #[test]
    fn costs_come_back_and_those_of_format_1_were_whole_cents() {
        for millionths in ENDS {
            let mut addend = Addend { events: 3, ..Addend::default() };
            addend.set_cost(millionths);
            let mut row = Row::of(7);
            row.add(&addend);
            let bytes = row.encoded();
            let read = |version| Row::decode_all(Reader::new(version, &bytes)).expect("a row");
            assert_eq!(sum_of(&[read(Version::NEWEST)]), millionths);
            let old = read(Version::One);
            assert_eq!((old.series, old.events), (7, 3));
            assert_eq!(sum_of(&[old]), millionths * 1_000_000, "{millionths} cents");
        }
    }
}
