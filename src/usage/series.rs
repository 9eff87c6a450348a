//! What sums are kept for: all events, a value, or a tuple of values.

use std::ops::Deref;

use smallvec::SmallVec;

use super::dictionary::ValueId;
use super::level::{DeferredRows, RowHint};
use super::options::MAX_DIMENSIONS;
use super::row::Amounts;

/// The series of all events.
pub(super) const ALL: u32 = 0;
/// The series of the tuples that came when there was no room for another.
pub(super) const OTHER_TUPLES: u32 = 1;

/// Which rows: those of all events and of values, or those of tuples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Values,
    Tuples,
}

/// The values of an event's declared dimensions.
pub(super) type Tuple = SmallVec<[ValueId; 4]>;

#[derive(Debug)]
pub(super) enum Key {
    /// A place that no series has.
    Free,
    /// All events, or all tuples without a series of their own.
    Fixed,
    /// One value of one dimension.
    Value(u8, ValueId),
    /// One tuple of values of all dimensions.
    Tuple(StoredTuple),
}

/// A tuple as its series has it: as many values as the default options declare lie in the series.
#[derive(Debug)]
pub(super) enum StoredTuple {
    Few(u8, [ValueId; 4]),
    Many(Box<[ValueId]>),
}

impl StoredTuple {
    pub(super) fn new(tuple: &[ValueId]) -> Self {
        let mut values = [0; 4];
        match (values.get_mut(..tuple.len()), u8::try_from(tuple.len())) {
            (Some(few), Ok(length)) => {
                few.copy_from_slice(tuple);
                Self::Few(length, values)
            }
            _ => Self::Many(tuple.into()),
        }
    }
}

impl Deref for StoredTuple {
    type Target = [ValueId];

    #[inline]
    fn deref(&self) -> &[ValueId] {
        match self {
            Self::Few(length, values) => values.get(..usize::from(*length)).unwrap_or(values),
            Self::Many(values) => values,
        }
    }
}

#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Series {
    pub(super) key: Key,
    /// Where its newest row of each level lies.
    pub(super) known: [RowHint; 3],
    /// How many rows it has, over all levels.
    pub(super) rows: u32,
    /// Of a value: the series of the tuple that was last counted with it.
    pub(super) recent: u32,
    /// Of a tuple: what its values set in the signatures of their events; 0 until that is known.
    pub(super) signature: u64,
}

// One cache line, for the same reason as a row.
const _: () = assert!(size_of::<Series>() == 64);

impl Series {
    pub(super) fn new(key: Key) -> Self {
        Self { key, known: [RowHint::default(); 3], rows: 0, recent: ALL, signature: 0 }
    }

    /// Counts one row more; `None` where nothing is kept under its number.
    pub(super) fn count_row(&mut self) -> Option<()> {
        self.rows = self.rows.checked_add(1)?;
        (!matches!(self.key, Key::Free)).then_some(())
    }

    /// Whether rows of this kind can be of the series, which has this number.
    pub(super) fn is_of(&self, number: u32, kind: Kind) -> bool {
        match self.key {
            Key::Free => false,
            Key::Fixed => (number == OTHER_TUPLES) == (kind == Kind::Tuples),
            Key::Value(..) => kind == Kind::Values,
            Key::Tuple(_) => kind == Kind::Tuples,
        }
    }
}

/// The series that an event counts in.
#[derive(Debug)]
pub(super) struct SeriesOfEvent {
    /// Those of its values, by dimension, and behind them that of all events.
    pub(super) values: [u32; MAX_DIMENSIONS + 1],
    dimensions: usize,
    /// That of its tuple, where there are any.
    pub(super) tuple: Option<u32>,
    /// None of its values, nor the tuple, counts among the others.
    pub(super) is_exact: bool,
}

impl SeriesOfEvent {
    #[inline]
    pub(super) fn new(dimensions: usize) -> Self {
        debug_assert!(dimensions <= MAX_DIMENSIONS, "options say how many there may be");
        Self { values: [ALL; MAX_DIMENSIONS + 1], dimensions, tuple: None, is_exact: true }
    }

    #[inline]
    pub(super) fn values(&self) -> &[u32] {
        self.values.get(..=self.dimensions).unwrap_or(&self.values)
    }
}

/// Adds to the row that a series is known to have in the newest minute; false where it has none.
#[inline]
pub(super) fn add_known(
    rows: &mut Option<DeferredRows<'_>>,
    series: &[Series],
    number: u32,
    amounts: &Amounts<'_>,
) -> bool {
    let known = series.get(number as usize).map(|series| &series.known);
    let row = rows.as_mut().zip(known).and_then(|(rows, [known, ..])| rows.known(*known));
    row.map(|row| row.add_amounts(amounts)).is_some()
}
