//! Saving: the rows a few at a time, and then what they are about.

use super::{FREE, OF_TUPLE, OF_VALUE, POSITION, RowCursor, VERSION};
use crate::base::codec::{Codec, put_list, put_signed, put_text, put_varint};
use crate::usage::level::Shape;
use crate::usage::notes::{FloorSince, Saving};
use crate::usage::rollups::Rollups;
use crate::usage::series::Key;

/// Saving. The caller holds the ledger's lock over each step, so that each is of one moment.
impl Rollups {
    /// Saves about `most` rows from a cursor on, and returns whether there are more. `position` is
    /// the ordinal of the next event. A fresh cursor begins anew: what was saved with another is of
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
        position.encode(out);
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
                put_signed(out, number);
                let whole = self.whole_rows(cursor.level, number, rows);
                put_list(out, whole, |row, out| row.encode(out));
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

    /// Saves what the rows are about, when all rows are saved. `position` is the ordinal of the
    /// next event.
    pub(crate) fn save_keys(&mut self, position: u64, out: &mut Vec<u8>) {
        let saving = self.notes.saving.take();
        let saving = saving.unwrap_or_else(|| Saving::new(position, self.columns.next()));
        out.push(VERSION);
        put_list(out, self.dictionaries.iter(), |it, out| put_text(out, it.dimension.as_str()));
        saving.begun.encode(out);
        position.encode(out);
        put_signed(out, self.current);
        self.retiring.encode(out);
        self.uncounted.encode(out);
        self.without_column.encode(out);
        for level in self.all_levels() {
            let Shape { newest, floor, keep, first } = level.shape();
            keep.is_some().encode(out);
            for number in [newest, floor, first, keep.unwrap_or(0), level.grid.coarse] {
                put_signed(out, number);
            }
        }
        for floors in &saving.floors {
            put_list(out, floors.iter(), |FloorSince { ordinal, floor }, out| {
                put_varint(out, *ordinal);
                put_signed(out, *floor);
            });
        }
        self.columns.encode(saving.column, out);
        for dictionary in &self.dictionaries {
            dictionary.encode(out);
        }
        put_list(out, self.series.iter(), |series, out| put_key(out, &series.key));
        put_list(out, saving.promotions.iter(), |(key, ordinal), out| {
            put_varint(out, *key);
            put_varint(out, *ordinal);
        });
        put_list(out, self.gone.iter(), |gone, out| {
            let rows = gone.bucket.rows().iter();
            put_list(out, rows, |row, out| put_varint(out, u64::from(row.series)));
        });
    }
}

/// Appends what a series is of.
fn put_key(out: &mut Vec<u8>, key: &Key) {
    match key {
        Key::Free | Key::Fixed => out.push(FREE),
        Key::Value(dimension, value) => {
            out.extend_from_slice(&[OF_VALUE, *dimension]);
            put_varint(out, u64::from(*value));
        }
        Key::Tuple(tuple) => {
            out.push(OF_TUPLE);
            tuple.iter().for_each(|value| put_varint(out, u64::from(*value)));
        }
    }
}
