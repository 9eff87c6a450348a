//! The roll-ups as bytes, and back.
//!
//! Saving is fuzzy: rows are copied a few at a time while events come in. Each copy notes its
//! *position*: the place that the log had reached when it was made. What the rows are about
//! (values, tuples, columns, floors) is copied last, in one step: the *keys*.
//!
//! Loading reads the keys, then the rows, and then redoes every event from the first position on,
//! which adds it to those rows whose copy does not have it yet. Before the position of the keys no
//! key is added and no bucket dropped, because the keys say what became of those events; later
//! events count as if they had just come in. The result is what was there, row by row.
//!
//! A series has the same number in the rows and in the keys. While rows were saved one may have
//! been dropped and its number given to another, but only when all its rows were gone; the keys say
//! that their buckets are gone, too, and loading leaves them out. A value that was counted among
//! the others, and got a number of its own while rows were saved, is noted as a *birth*: events
//! from before are counted among the others again.

use std::collections::HashMap;

use super::dictionary::ValueId;
use super::rollups::Rollups;
use super::row::{Column, Fold};
use crate::base::codec::Malformed;

mod load;
mod replay;
mod save;
#[cfg(test)]
mod tests;

/// What the keys begin with. Beside it stands the format of the store: in format 1 there are sums
/// of whole hours, rows and columns say from when on they have every event in place of when the
/// events happened that they lack, and nobody knows with whose events names of values came.
const VERSION: u8 = 1;
/// Among the rows, in place of the number of a level: a position follows.
const POSITION: u8 = 255;
/// What a saved series is of: nothing that is saved, a value, or a tuple.
const FREE: u8 = 0;
const OF_VALUE: u8 = 1;
const OF_TUPLE: u8 = 2;

/// Why saved roll-ups were not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RollupsError {
    #[error("saved roll-ups are damaged: {0}")]
    Damaged(#[from] Malformed),
    #[error("saved roll-ups are of version {0}, and versions up to {VERSION} are known")]
    Newer(u8),
    /// What is counted by other dimensions than declared is counted anew.
    #[error("saved roll-ups are by {saved:?}, and {declared:?} are declared")]
    Mismatch { saved: Vec<String>, declared: Vec<String> },
}

/// How far the rows are saved.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowCursor {
    has_begun: bool,
    level: usize,
    /// The bucket to go on with, and how many of its rows are saved.
    bucket: i64,
    rows: usize,
}

/// What roll-ups note while they are saved or loaded.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The place of the next event.
    next: u64,
    saving: Option<Saving>,
    loading: Option<Box<Loading>>,
}

#[derive(Debug)]
struct Saving {
    /// The place of the first event that may not be in all rows.
    begun: u64,
    /// The next column when the saving began.
    column: Column,
    births: Births,
    floors: [Floors; 6],
}

/// The places from which on values and tuples are counted on their own that were among the others.
type Births = HashMap<u64, u64, ahash::RandomState>;

/// The floors that a level had while rows were saved, the earliest first. An event below the floor
/// of its moment came too late and is in no row, even where others have rows in its bucket.
type Floors = Vec<FloorSince>;

/// A floor of a level, and the place of the first event that it was there for.
#[derive(Clone, Copy, Debug)]
struct FloorSince {
    place: u64,
    floor: i64,
}

#[derive(Debug)]
struct Loading {
    begun: u64,
    /// The position of the keys.
    saved: u64,
    /// The place of the next event to redo.
    next: u64,
    births: Births,
    floors: [Floors; 6],
    /// The first bucket that is there, by level.
    first: [i64; 6],
    folds: Vec<Option<Fold>>,
}

impl Notes {
    pub(super) fn of_value(dimension: u8, value: ValueId) -> u64 {
        (u64::from(dimension).saturating_add(1) << 32) | u64::from(value)
    }

    pub(super) fn of_tuple(series: u32) -> u64 {
        u64::from(series)
    }

    /// Notes that a value or a tuple is counted on its own from the next event on.
    pub(super) fn begins(&mut self, key: u64) {
        if let Some(saving) = &mut self.saving {
            saving.births.insert(key, self.next);
        }
    }
}

impl Saving {
    fn new(begun: u64, column: Column) -> Self {
        Self { begun, column, births: Births::default(), floors: <_>::default() }
    }
}

/// What is noted while rows are saved.
impl Rollups {
    /// An event was added.
    #[inline]
    pub(super) fn recorded(&mut self, place: u64) {
        self.note_floors();
        self.notes.next = place.saturating_add(1);
    }

    #[inline]
    pub(super) fn note_floors(&mut self) {
        let Self { values, combined, notes: Notes { next, saving, .. }, .. } = self;
        let Some(saving) = saving else { return };
        for (level, floors) in values.iter().chain(&*combined).zip(&mut saving.floors) {
            let floor = level.shape().floor;
            if floors.last().is_none_or(|last| last.floor != floor) {
                floors.push(FloorSince { place: *next, floor });
            }
        }
    }
}
