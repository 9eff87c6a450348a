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
use super::level::{Level, Shape};
use super::rollups::{Key, Rollups};
use super::row::{Column, Fold};
use crate::base::bytes::take;
use crate::base::varint;

mod load;
mod redo;
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
    Damaged(&'static str),
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

/// The floors that a level had while rows were saved, each with the place of the first event that
/// it was there for. An event below the floor of its moment came too late and is in no row, even
/// where others have rows in its bucket.
type Floors = Vec<(u64, i64)>;

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
            if floors.last().is_none_or(|(_, last)| *last != floor) {
                floors.push((*next, floor));
            }
        }
    }
}

/// Saving. The caller holds the ledger's lock over each step, so that each is of one moment.
impl Rollups {
    /// Saves about `most` rows from a cursor on, and returns whether there are more. `position` is
    /// the place of the next event. A fresh cursor begins anew: what was saved with another is of
    /// no use then.
    pub(crate) fn save_rows(
        &mut self,
        cursor: &mut RowCursor,
        position: u64,
        most: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        if !cursor.has_begun {
            *cursor = RowCursor { has_begun: true, bucket: i64::MIN, ..RowCursor::default() };
            self.notes.next = position;
            self.notes.saving = Some(Saving::new(position, self.columns.next()));
            self.note_floors();
        }
        out.push(POSITION);
        out.extend_from_slice(&position.to_le_bytes());
        let mut budget = most;
        while let Some(level) = self.all_levels().nth(cursor.level) {
            if budget == 0 {
                return true;
            }
            let Some((number, bucket)) = level.bucket_from(cursor.bucket) else {
                (cursor.level, cursor.bucket) = (cursor.level.saturating_add(1), i64::MIN);
                cursor.rows = 0;
                continue;
            };
            if number != cursor.bucket {
                (cursor.bucket, cursor.rows) = (number, 0);
            }
            let rest = bucket.rows().get(cursor.rows..).unwrap_or_default();
            let rows = rest.get(..budget).unwrap_or(rest);
            if !rows.is_empty() {
                out.push(u8::try_from(cursor.level).unwrap_or(POSITION));
                varint::put_signed(out, number);
                put_len(out, rows.len());
                for row in rows {
                    row.save(out);
                }
            }
            cursor.rows = cursor.rows.saturating_add(rows.len());
            // A bucket costs something too, however few its rows are.
            budget = budget.saturating_sub(rows.len().saturating_add(1));
            if rows.len() == rest.len() {
                // No event has a bucket of this number: there is always a next one.
                (cursor.bucket, cursor.rows) = (number.saturating_add(1), 0);
            }
        }
        false
    }

    /// Saves what the rows are about, when all rows are saved. `position` is the place of the next
    /// event.
    pub(crate) fn save_keys(&mut self, position: u64, out: &mut Vec<u8>) {
        let saving = self.notes.saving.take();
        let saving = saving.unwrap_or_else(|| Saving::new(position, self.columns.next()));
        out.push(VERSION);
        put_len(out, self.dictionaries.len());
        for dictionary in &self.dictionaries {
            put_text(out, dictionary.dimension.as_str());
        }
        out.extend_from_slice(&saving.begun.to_le_bytes());
        out.extend_from_slice(&position.to_le_bytes());
        varint::put_signed(out, self.current);
        out.push(u8::from(self.retiring));
        self.missing.save(out);
        self.refused.save(out);
        for level in self.all_levels() {
            let Shape { newest, floor, keep, first } = level.shape();
            out.push(u8::from(keep.is_some()));
            for number in [newest, floor, first, keep.unwrap_or(0), level.grid.coarse] {
                varint::put_signed(out, number);
            }
        }
        for floors in &saving.floors {
            put_len(out, floors.len());
            for (place, floor) in floors {
                varint::put(out, *place);
                varint::put_signed(out, *floor);
            }
        }
        self.columns.save(saving.column, out);
        for dictionary in &self.dictionaries {
            dictionary.save(out);
        }
        self.save_series(out);
        put_len(out, saving.births.len());
        for (key, place) in &saving.births {
            varint::put(out, *key);
            varint::put(out, *place);
        }
        put_len(out, self.gone.len());
        for rows in &self.gone {
            put_len(out, rows.len());
            for row in rows {
                varint::put(out, u64::from(row.series));
            }
        }
    }

    fn save_series(&self, out: &mut Vec<u8>) {
        put_len(out, self.series.len());
        for series in &self.series {
            match &series.key {
                Key::Free | Key::Fixed => out.push(FREE),
                Key::Value(dimension, value) => {
                    out.extend_from_slice(&[OF_VALUE, *dimension]);
                    varint::put(out, u64::from(*value));
                }
                Key::Tuple(tuple) => {
                    out.push(OF_TUPLE);
                    tuple.iter().for_each(|value| varint::put(out, u64::from(*value)));
                }
            }
        }
    }

    fn numbered_level(&mut self, number: usize) -> Option<&mut Level> {
        self.values.iter_mut().chain(&mut self.combined).nth(number)
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    varint::put(out, u64::try_from(len).unwrap_or(u64::MAX));
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn take_text<'b>(bytes: &mut &'b [u8]) -> Option<&'b str> {
    let len = usize::try_from(varint::take(bytes)?).ok()?;
    str::from_utf8(take(bytes, len)?).ok()
}

/// Takes the number of things that follow, each of at least so many bytes.
pub(super) fn take_count(bytes: &mut &[u8], least: usize) -> Option<usize> {
    let count = usize::try_from(varint::take(bytes)?).ok()?;
    (count.checked_mul(least)? <= bytes.len()).then_some(count)
}
