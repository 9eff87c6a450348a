//! Erasing a value: its events count on among those that lack the dimension.
//!
//! The series of the value becomes that of the events that lack it, or is merged into it, and so
//! each tuple that has the value. All other sums stay as they are. Before that all is folded and
//! what is gone is taken apart, so that each row is whole, and no row of the value is elsewhere.
//! Whoever saves rows begins anew.

use super::dictionary::{MISSING, OTHER, ValueId, insert_sorted, remove_sorted};
use super::level::Level;
use super::rollups::Rollups;
use super::series::{Key, Kind, OTHER_TUPLES, StoredTuple, Tuple};
use crate::event::Dimension;

impl Rollups {
    /// Counts the events of a value as such that lack the dimension. O(rows).
    pub(crate) fn erase(&mut self, dimension: &Dimension, value: &str) {
        let place = self.dictionaries.iter().position(|known| known.dimension == *dimension);
        let Some(place) = place else { return };
        let Some(value) = self.dictionaries.get(place).and_then(|known| known.find(value)) else {
            return;
        };
        debug_assert!(value > OTHER, "a value that has a text");
        self.make_whole();
        for tuple in self.dictionary_tuples(place, value) {
            self.erase_in_tuple(place, value, tuple);
        }
        let series = self.dictionaries.get(place).and_then(|known| known.get(value)?.series());
        if let Some(series) = series {
            self.erase_series(place, value, series);
        }
        if let Some(dictionary) = self.dictionaries.get_mut(place) {
            dictionary.forget_unused(value);
        }
        self.is_changed();
    }

    fn dictionary_tuples(&self, place: usize, value: ValueId) -> Vec<u32> {
        let known = self.dictionaries.get(place).and_then(|known| known.get(value));
        known.map(|value| value.tuples.clone()).unwrap_or_default()
    }

    /// Folds all minutes, and takes apart all that is gone.
    pub(super) fn make_whole(&mut self) {
        while !self.gone.is_empty() {
            self.drop_gone_rows();
        }
        while self.is_folding() {
            self.fold_step();
        }
        for kind in [Kind::Values, Kind::Tuples] {
            let [minutes, ..] = self.levels_mut(kind);
            let (minute, rows) = minutes.stop_deferring();
            for row in &rows {
                self.fold_row(kind, minute, row);
            }
        }
    }

    pub(super) fn levels_mut(&mut self, kind: Kind) -> &mut [Level; 3] {
        match kind {
            Kind::Values => &mut self.values,
            Kind::Tuples => &mut self.combined,
        }
    }

    /// Lets a tuple lack the dimension in place of having the value.
    fn erase_in_tuple(&mut self, place: usize, value: ValueId, number: u32) {
        let Some(Key::Tuple(known)) = self.series.get(number as usize).map(|it| &it.key) else {
            return;
        };
        let (old, mut new) = (Tuple::from_slice(known), Tuple::from_slice(known));
        if let Some(of_dimension) = new.get_mut(place) {
            *of_dimension = MISSING;
        }
        if let Some(into) = self.find_tuple(&new) {
            self.merge(Kind::Tuples, number, into);
            return;
        }
        let hash = self.hasher.hash_one(old.as_slice());
        if let Ok(entry) = self.tuples.find_entry(hash, |known| *known == number) {
            entry.remove();
        }
        if let Some(series) = self.series.get_mut(number as usize) {
            (series.key, series.signature) = (Key::Tuple(StoredTuple::new(&new)), 0);
        }
        self.index_tuple(self.hasher.hash_one(new.as_slice()), number);
        if let Some(dictionary) = self.dictionaries.get_mut(place) {
            if let Some(erased) = dictionary.get_mut(value) {
                remove_sorted(&mut erased.tuples, number);
            }
            if let Some(missing) = dictionary.get_mut(MISSING) {
                insert_sorted(&mut missing.tuples, number);
            }
        }
    }

    /// The same of the series of the value alone.
    fn erase_series(&mut self, place: usize, value: ValueId, number: u32) {
        let missing = self.dictionaries.get(place).and_then(|known| known.get(MISSING)?.series());
        if let Some(into) = missing {
            self.merge(Kind::Values, number, into);
            return;
        }
        let of_dimension = u8::try_from(place).unwrap_or(u8::MAX);
        if let Some(series) = self.series.get_mut(number as usize) {
            series.key = Key::Value(of_dimension, MISSING);
        }
        if let Some(dictionary) = self.dictionaries.get_mut(place) {
            for (of, series) in [(value, None), (MISSING, Some(number))] {
                if let Some(known) = dictionary.get_mut(of) {
                    known.set_series(series);
                }
            }
        }
    }

    /// Merges all rows of a series into those of another one, and drops the series.
    fn merge(&mut self, kind: Kind, from: u32, into: u32) {
        let mut new = 0_u32;
        for level in self.levels_mut(kind) {
            new = new.saturating_add(level.merge_series(from, into));
        }
        if let Some(into) = self.series.get_mut(into as usize) {
            into.rows = into.rows.saturating_add(new);
        }
        if let Some(from) = self.series.get_mut(from as usize) {
            from.rows = 0;
        }
        debug_assert!(from != OTHER_TUPLES, "the tuples without a series have no value");
        self.drop_unused(from);
    }
}
