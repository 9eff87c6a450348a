//! The cells of a row: folds of the values that not every row has.

use smallvec::SmallVec;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_list, put_signed, put_varint};
use crate::base::sketch::{Key, Sketch};
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
    /// How many there are of each size.
    Sketch,
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

/// Stands before the key of a value that is taken out of a sketch; no key comes near to it.
const TAKEN_OUT: i128 = 1 << 32;

/// One value of a row: a fold of the events that have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Of a sketch: the key of the event's value, where it is an event's.
    value: Wide,
    /// Of a latest value: the nanoseconds of its timestamp, and its ordinal in the log.
    at: Wide,
    /// Of a sketch of a row: its place among them.
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

    /// What takes an event's cell out of a row again; `None` where nothing that is added can.
    pub(super) fn opposite(&self) -> Option<Self> {
        let value = match self.fold {
            Fold::Sum | Fold::Count => self.value().saturating_neg(),
            Fold::Sketch => TAKEN_OUT.saturating_add(self.value()),
            Fold::Min | Fold::Max | Fold::Latest => return None,
        };
        Some(Self::new(self.column, self.fold, value))
    }

    /// Of a sketch: the key of an event's value that is added.
    #[inline]
    fn added_key(&self) -> Option<Key> {
        if self.fold != Fold::Sketch {
            return None;
        }
        let Wide([_, low]) = self.value;
        let number = i16::try_from(low.cast_signed()).ok();
        number.map(|number| Key::of_number(number.into()))
    }

    /// The place of its sketch.
    fn place(&self) -> usize {
        usize::try_from(self.ordinal).unwrap_or(usize::MAX)
    }

    /// Merges a cell of the same column, which is beside the other sketches.
    fn merge(&mut self, other: &Self, sketches: &mut Sketches, others: &[Sketch]) {
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
            Fold::Sketch => return sketches.merge(self.place(), other, others),
        };
        self.value = Wide::new(kept);
    }
}

/// The sketches of a row, by the places that their cells say; rows without one take a word for it.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "rows that have cells are many, and few have a sketch")]
struct Sketches(Option<Box<Vec<Sketch>>>);

impl Sketches {
    fn as_slice(&self) -> &[Sketch] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Adds an event's value to the sketch in a place, or the sketch of another row.
    fn merge(&mut self, place: usize, cell: &Cell, others: &[Sketch]) {
        let known = self.0.get_or_insert_default().get_mut(place);
        match (known, others.get(cell.place())) {
            (Some(known), Some(other)) => known.merge(other),
            (Some(known), None) if cell.value() > TAKEN_OUT / 2 => {
                known.remove_key(Key::of_number(cell.value().saturating_sub(TAKEN_OUT)));
            }
            (Some(known), None) => known.add_key(Key::of_number(cell.value())),
            (None, _) => {}
        }
    }

    /// The cell with a new sketch of its own.
    #[cold]
    fn push(&mut self, cell: Cell, others: &[Sketch]) -> Cell {
        let sketches = self.0.get_or_insert_default();
        let place = sketches.len();
        sketches.push(Sketch::new());
        self.merge(place, &cell, others);
        let value = Wide([0; 2]);
        Cell { value, at: value, ordinal: u64::try_from(place).unwrap_or(u64::MAX), ..cell }
    }
}

#[derive(Clone, Debug, Default)]
struct Kept {
    cells: SmallVec<[Cell; 2]>,
    sketches: Sketches,
}

impl Kept {
    /// Adds the one cell of an event to a row that begins with that sketch; `None` where it begins
    /// otherwise. It is what every event of a percentile does to each of its rows.
    #[inline]
    fn add_to_first(&mut self, new: &Sketched) -> Option<()> {
        let known = self.cells.first().filter(|known| known.column == new.column)?;
        let place = known.place();
        effort::note(1);
        self.sketches.0.as_mut()?.get_mut(place)?.add_key_near(new.key, &new.near);
        Some(())
    }
}

/// The one cell of an event that has a value of a sketch, and no others.
#[derive(Debug)]
pub(super) struct Sketched {
    column: Column,
    key: Key,
    /// The place of its bucket in the sketch that it was added to last.
    near: std::cell::Cell<usize>,
}

/// The cells of a row by column; most rows have none, and take one word for that.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells(Option<Box<Kept>>);

/// Cells that are to be merged, in the order of their columns, each of which comes once: those of a
/// row with its sketches, or an event's, of which those of a sketch have the key of a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NewCells<'a> {
    pub(super) cells: &'a [Cell],
    sketches: &'a [Sketch],
}

impl<'a> NewCells<'a> {
    #[inline]
    pub(super) fn of_event(cells: &'a [Cell]) -> Self {
        Self { cells, sketches: &[] }
    }

    /// The one cell, where it is an event's value of a sketch.
    #[inline]
    pub(super) fn sketched(&self) -> Option<Sketched> {
        let ([cell], []) = (self.cells, self.sketches) else { return None };
        let key = cell.added_key()?;
        Some(Sketched { column: cell.column, key, near: std::cell::Cell::default() })
    }

    /// Those before a column, and the others.
    pub(super) fn split_before(self, column: Column) -> (&'a [Cell], Self) {
        let place = self.cells.partition_point(|cell| cell.column < column);
        let (before, cells) = self.cells.split_at_checked(place).unwrap_or((self.cells, &[]));
        (before, Self { cells, ..self })
    }
}

impl Cells {
    /// Adds what is new, of which this may be the one cell.
    #[inline(never)]
    pub(super) fn add(&mut self, new: &NewCells<'_>, sketched: Option<&Sketched>) {
        let kept = self.0.as_mut().zip(sketched);
        if kept.is_none_or(|(kept, sketched)| kept.add_to_first(sketched).is_none()) {
            self.merge(*new);
        }
    }

    /// Merges cells. However many cells there are, those that come cost a search each, of no more
    /// steps than the digits of how many lie between them, and one pass over all where some are
    /// new. A sketch costs its buckets.
    #[inline(never)]
    pub(super) fn merge(&mut self, NewCells { cells, sketches: others }: NewCells<'_>) {
        if cells.is_empty() {
            return;
        }
        let Kept { cells: known, sketches } = &mut **self.0.get_or_insert_default();
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
                        known.merge(cell, sketches, others);
                    }
                    from = from.saturating_add(1);
                }
                Err(index) => {
                    from = from.saturating_add(index);
                    let is_sketch = cell.fold == Fold::Sketch;
                    known.push(if is_sketch { sketches.push(*cell, others) } else { *cell });
                }
            }
        }
        if known.len() > before {
            effort::note(known.len());
            // Two runs that are in order.
            known.sort_by_key(|cell| cell.column);
        }
    }

    /// All of them, to be merged into others.
    #[inline]
    pub(super) fn as_new(&self) -> NewCells<'_> {
        self.0.as_deref().map_or_else(NewCells::default, |Kept { cells, sketches }| NewCells {
            cells,
            sketches: sketches.as_slice(),
        })
    }

    pub(super) fn as_slice(&self) -> &[Cell] {
        self.as_new().cells
    }

    /// The sketch of a column.
    pub(super) fn sketch(&self, column: Column) -> Option<&Sketch> {
        let NewCells { cells, sketches } = self.as_new();
        let cell = cells.iter().find(|cell| cell.column == column && cell.fold == Fold::Sketch)?;
        sketches.get(cell.place())
    }

    /// How much there is to merge: the cells, and the buckets of sketches.
    pub(super) fn size(&self) -> usize {
        let NewCells { cells, sketches } = self.as_new();
        sketches.iter().map(Sketch::buckets).fold(cells.len(), usize::saturating_add)
    }

    /// Takes out the cell of a column, which has no sketch.
    pub(super) fn take(&mut self, column: Column) -> Option<Cell> {
        let cells = &mut self.0.as_mut()?.cells;
        let index = cells.iter().position(|cell| cell.column == column)?;
        Some(cells.remove(index))
    }

    /// Keeps only those whose columns have these folds.
    pub(super) fn retain(&mut self, folds: &[Option<Fold>]) {
        let NewCells { cells, sketches } = self.as_new();
        let is_kept = |cell: &&Cell| folds.get(cell.column as usize) == Some(&Some(cell.fold));
        let kept: SmallVec<[Cell; 2]> = cells.iter().filter(is_kept).copied().collect();
        if kept.len() < cells.len() {
            let mut all = Self::default();
            all.merge(NewCells { cells: &kept, sketches });
            *self = all;
        }
    }

    /// Appends them behind their number.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let NewCells { cells, sketches } = self.as_new();
        put_list(out, cells.iter(), |cell, out| {
            cell.encode(out);
            if cell.fold == Fold::Sketch {
                sketches.get(cell.place()).unwrap_or(&Sketch::new()).encode(out);
            }
        });
    }

    /// Adds what [`encode`](Self::encode) appended.
    pub(super) fn decode(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..from.length("cells")? {
            let cell = Cell::decode(from)?;
            let sketch = if cell.fold == Fold::Sketch { Some(Sketch::decode(from)?) } else { None };
            self.merge(NewCells { cells: &[cell], sketches: sketch.as_slice() });
        }
        Ok(())
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
            Self::Sketch => 5,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        let all = [Self::Sum, Self::Count, Self::Min, Self::Max, Self::Latest, Self::Sketch];
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
