//! What is noted while roll-ups are saved or loaded: where and when an event was counted then.

use std::collections::HashMap;

use super::cells::{Column, Fold};
use super::dictionary::ValueId;

/// What roll-ups note while they are saved or loaded.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The ordinal of the next event.
    pub(super) next: u64,
    pub(super) saving: Option<Saving>,
    pub(super) loading: Option<Box<Loading>>,
}

#[derive(Debug)]
pub(super) struct Saving {
    /// The ordinal of the first event that may not be in all rows.
    pub(super) begun: u64,
    /// The next column when the saving began.
    pub(super) column: Column,
    pub(super) promotions: Promotions,
    pub(super) floors: [Floors; 6],
}

/// The ordinals from which on values and tuples are counted on their own that were among the
/// others.
pub(super) type Promotions = HashMap<u64, u64, ahash::RandomState>;

/// The floors that a level had while rows were saved, the earliest first. An event below the floor
/// of its moment came too late and is in no row, even where others have rows in its bucket.
pub(super) type Floors = Vec<FloorSince>;

/// A floor of a level, and the ordinal of the first event that it was there for.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloorSince {
    pub(super) ordinal: u64,
    pub(super) floor: i64,
}

#[derive(Debug)]
pub(super) struct Loading {
    pub(super) begun: u64,
    /// The position of the keys.
    pub(super) saved: u64,
    /// The ordinal of the next event to replay.
    pub(super) next: u64,
    pub(super) promotions: Promotions,
    pub(super) floors: [Floors; 6],
    /// The first bucket that is there, by level.
    pub(super) first: [i64; 6],
    pub(super) folds: Vec<Option<Fold>>,
}

impl Notes {
    /// Notes that a value or a tuple is counted on its own from the next event on.
    pub(super) fn promote(&mut self, key: u64) {
        if let Some(saving) = &mut self.saving {
            saving.promotions.insert(key, self.next);
        }
    }
}

impl Saving {
    /// Notes the floors of the levels as they are for the next event, which has this ordinal.
    pub(super) fn note_floors(&mut self, ordinal: u64, levels: impl Iterator<Item = i64>) {
        for (floor, floors) in levels.zip(&mut self.floors) {
            if floors.last().is_none_or(|last| last.floor != floor) {
                floors.push(FloorSince { ordinal, floor });
            }
        }
    }

    pub(super) fn new(begun: u64, column: Column) -> Self {
        Self { begun, column, promotions: Promotions::default(), floors: <_>::default() }
    }
}

/// How a value, or a tuple by its series, is noted among the [`Promotions`].
pub(super) fn promoted_value(dimension: u8, value: ValueId) -> u64 {
    (u64::from(dimension).saturating_add(1) << 32) | u64::from(value)
}

pub(super) fn promoted_tuple(series: u32) -> u64 {
    u64::from(series)
}
