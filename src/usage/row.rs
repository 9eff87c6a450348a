//! What is kept of the events of one bucket: their number, the fixed sums, and cells for the rest.

use smallvec::SmallVec;

use super::cells::{Cell, Cells, Column, Fold, NewCells, Sketched, effort};
use super::held::Reading;
use crate::base::codec::{Codec, Malformed, Reader, put_varint};
use crate::base::format::Version;
use crate::base::sketch::Sketch;

/// How many sums every row has: input, output and total tokens, cost in millionths of a cent,
/// latency.
pub(super) const FIXED: usize = 5;
/// The cost among them. It may be negative: its cell, where it has one, carries whole multiples of
/// 2^64 up and down, so that both together are the sum.
const COST: Column = 3;

/// The first column that is not a carry.
pub(super) const FIRST_COLUMN: Column = 5;

/// The number of events, and behind it the fixed sums.
pub(super) type Sums = [u64; FIXED + 1];

/// What one event adds to every row that it counts in.
#[derive(Debug, Default)]
pub(super) struct Addend {
    /// Of one event, or of none where columns are filled in for events that were counted before.
    pub(super) sums: Sums,
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
    pub(super) copied_at: u32,
    pub(super) sums: Sums,
    pub(super) cells: Cells,
}

/// What is added to a row: read once for all rows that it is added to.
#[derive(Debug)]
pub(super) struct Amounts<'a> {
    sums: Sums,
    /// The bits that any of them has.
    bits: u64,
    cells: NewCells<'a>,
    sketched: Option<Sketched>,
}

impl<'a> Amounts<'a> {
    #[inline]
    fn new(sums: Sums, cells: NewCells<'a>) -> Self {
        let bits = sums.iter().fold(0, |bits, amount| bits | amount);
        Self { sums, bits, cells, sketched: cells.sketched() }
    }
}

impl Addend {
    #[inline]
    pub(super) fn amounts(&self) -> Amounts<'_> {
        Amounts::new(self.sums, NewCells::of_event(&self.cells))
    }

    /// What an event adds, but for its cost and its cells.
    #[inline]
    pub(super) fn set_sums(&mut self, [input, output, total, cost, latency]: [u64; FIXED]) {
        self.sums = [1, input, output, total, cost, latency];
    }

    /// Adds a cost of so many millionths of a cent.
    #[inline]
    pub(super) fn set_cost(&mut self, millionths: i128) {
        let (low, carried) = split(millionths);
        let [.., cost, _] = &mut self.sums;
        *cost = low;
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

    pub(super) fn events(&self) -> u64 {
        let [events, ..] = self.sums;
        events
    }

    pub(super) fn fixed(&self) -> &[u64; FIXED] {
        let [_, fixed @ ..] = &self.sums;
        fixed
    }

    #[inline]
    pub(super) fn add(&mut self, addend: &Addend) {
        self.add_amounts(&addend.amounts());
    }

    /// Adds what another row of the same series has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.add_amounts(&Amounts::new(other.sums, other.cells.as_new()));
    }

    #[inline]
    pub(super) fn add_amounts(&mut self, amounts: &Amounts<'_>) {
        let Amounts { sums, bits, cells, sketched } = amounts;
        let mut bits = *bits;
        for (sum, amount) in self.sums.iter_mut().zip(sums) {
            bits |= *sum;
            *sum = sum.wrapping_add(*amount);
        }
        // Two numbers below 2^63 do not wrap, as no number of events does.
        if bits >> 63 != 0 {
            self.carry(sums);
        }
        effort::note(1);
        if !cells.cells.is_empty() {
            self.cells.add(cells, sketched.as_ref());
        }
    }

    /// Counts the sums that have wrapped with these amounts, which are then more than the sums.
    #[cold]
    fn carry(&mut self, [_, amounts @ ..]: &Sums) {
        let [_, fixed @ ..] = self.sums;
        for ((column, sum), amount) in (0..).zip(fixed).zip(amounts) {
            if sum < *amount {
                let carried = Cell::new(column, Fold::Sum, 1 << u64::BITS);
                self.cells.merge(NewCells::of_event(&[carried]));
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
    /// What was read of a gauge, where that is asked for.
    #[expect(clippy::box_collection, reason = "few answers have readings")]
    pub(super) readings: Option<Box<Vec<Reading>>>,
}

impl Total {
    #[inline]
    pub(super) fn merge(&mut self, row: &Row) {
        self.events = self.events.saturating_add(row.events());
        for (sum, amount) in self.fixed.iter_mut().zip(*row.fixed()) {
            // 2^64 rows would have to be full.
            *sum = sum.saturating_add(i128::from(amount));
        }
        let (carries, cells) = row.cells.as_new().split_before(FIRST_COLUMN);
        for carry in carries {
            if let Some(sum) = self.fixed.get_mut(carry.column as usize) {
                *sum = sum.saturating_add(carry.value());
            }
        }
        self.cells.merge(cells);
    }

    /// Adds another fold.
    pub(super) fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        for (sum, amount) in self.fixed.iter_mut().zip(other.fixed) {
            *sum = sum.saturating_add(amount);
        }
        self.cells.merge(other.cells.as_new());
        if let Some(readings) = &other.readings {
            self.readings.get_or_insert_default().extend_from_slice(readings);
        }
    }

    /// Notes what a row has read last.
    pub(super) fn note(&mut self, row: &Row, column: Column) {
        if let Some(reading) = Reading::of(row, column) {
            self.readings.get_or_insert_default().push(reading);
        }
    }

    /// The cells, without those that were carries.
    pub(super) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.as_slice().iter()
    }

    /// The sketch of a column.
    pub(super) fn sketch(&self, column: Column) -> Option<&Sketch> {
        self.cells.sketch(column)
    }
}

/// In the byte before a row: it has cells. The bits below say which fixed sums are not 0.
const HAS_CELLS: u8 = 1 << FIXED;
/// The least bytes that a row is stored in.
pub(super) const LEAST_ROW_BYTES: usize = 3;
/// A byte that says what there is, the series, the number of events, the fixed sums that are not 0,
/// and the cells behind their number.
impl Codec<'_> for Row {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        let has_sum = |(place, sum): (u32, &u64)| u8::from(*sum > 0).unbounded_shl(place);
        let sums = (0..).zip(self.fixed()).map(has_sum).fold(0, std::ops::BitOr::bitor);
        let cells = self.cells.as_slice();
        out.push(sums | if cells.is_empty() { 0 } else { HAS_CELLS });
        put_varint(out, u64::from(self.series));
        put_varint(out, self.events());
        self.fixed().iter().filter(|sum| **sum > 0).for_each(|sum| put_varint(out, *sum));
        if !cells.is_empty() {
            self.cells.encode(out);
        }
    }

    #[inline]
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let head = u8::decode(from)?;
        from.require(head < HAS_CELLS << 1, "what a row has")?;
        let mut row = Self::of(from.varint_u32()?);
        let [events, fixed @ ..] = &mut row.sums;
        *events = from.varint()?;
        for (place, sum) in (0_u32..).zip(fixed) {
            if head.unbounded_shr(place) & 1 == 1 {
                *sum = from.varint()?;
            }
        }
        if head & HAS_CELLS != 0 {
            row.cells.decode(from)?;
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
        let carried = self.cells.take(COST).map_or(0, |cell| cell.value());
        let [.., cost, _] = &mut self.sums;
        let cents = carried.saturating_add(i128::from(*cost));
        let (low, carried) = split(cents.saturating_mul(1_000_000));
        *cost = low;
        if carried != 0 {
            self.cells.merge(NewCells::of_event(&[Cell::new(COST, Fold::Sum, carried)]));
        }
    }
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
                let mut addend = Addend::default();
                addend.set_sums([0; FIXED]);
                addend.set_cost(millionths);
                row.add(&addend);
            }
            assert_eq!(sum_of(&[row.clone(), row]), 4 * (first + second), "{first} {second}");
        }
    }

    #[test]
    fn costs_come_back_and_those_of_format_1_were_whole_cents() {
        for millionths in ENDS {
            let mut addend = Addend::default();
            addend.set_sums([0; FIXED]);
            addend.set_cost(millionths);
            let mut row = Row::of(7);
            row.add(&addend);
            let bytes = row.encoded();
            let read = |version| Row::decode_all(Reader::new(version, &bytes)).expect("a row");
            assert_eq!(sum_of(&[read(Version::NEWEST)]), millionths);
            let old = read(Version::One);
            assert_eq!((old.series, old.events()), (7, 1));
            assert_eq!(sum_of(&[old]), millionths * 1_000_000, "{millionths} cents");
        }
    }
}
