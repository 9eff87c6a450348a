//! Loading what was saved. The bytes are input: whatever they are, loading gives an error or
//! roll-ups, and never panics.

use std::sync::Arc;

use super::{
    Births, FREE, Floors, Loading, OF_TUPLE, OF_VALUE, POSITION, RollupsError, VERSION, take_count,
    take_text,
};
use crate::base::bytes::{take_u8, take_u64};
use crate::base::format::Version;
use crate::base::varint;
use crate::log::Dropped;
use crate::usage::columns::Columns;
use crate::usage::dictionary::Dictionary;
use crate::usage::grid::Grid;
use crate::usage::level::Shape;
use crate::usage::options::RollupOptions;
use crate::usage::plan::start_of;
use crate::usage::rollups::{Key, Kind, OTHER_TUPLES, Rollups, Series, Tuple};
use crate::usage::row::{LEAST_ROW_BYTES, Row};

/// Loading: the keys, then the rows.
impl Rollups {
    /// Roll-ups to count the events of a log anew, where what was saved is by other dimensions:
    /// `dropped` is when the events happened that the log does not have any more. Answers say that
    /// they do not cover that.
    pub(crate) fn anew(options: &RollupOptions, dropped: Dropped) -> Self {
        let mut rollups = Self::new(options);
        rollups.missing = dropped;
        rollups
    }

    /// Loads what rows are about. Bytes that no roll-ups wrote are an error, or else roll-ups that
    /// answer something; they never make more than about 64 bytes of memory a byte.
    pub(crate) fn load_keys(
        version: Version,
        bytes: &[u8],
        options: &RollupOptions,
    ) -> Result<Self, RollupsError> {
        let bytes = &mut &*bytes;
        let own = take_u8(bytes).ok_or(RollupsError::Damaged("there is no version"))?;
        if own != VERSION {
            return Err(RollupsError::Newer(own));
        }
        let mut rollups = Self::new(options);
        let saved = take_names(bytes).ok_or(RollupsError::Damaged("dimensions"))?;
        let declared = rollups.dictionaries.iter().map(|it| it.dimension.as_str().to_owned());
        let declared: Vec<String> = declared.collect();
        if saved != declared {
            return Err(RollupsError::Mismatch { saved, declared });
        }
        let mut loading =
            rollups.load_shape(version, bytes).ok_or(RollupsError::Damaged("levels"))?;
        let columns = Columns::read(version, bytes).ok_or(RollupsError::Damaged("named values"))?;
        loading.folds = columns.folds();
        rollups.columns = Arc::new(columns);
        for dictionary in &mut rollups.dictionaries {
            dictionary.read(bytes).ok_or(RollupsError::Damaged("values"))?;
        }
        rollups.load_series(bytes).ok_or(RollupsError::Damaged("series"))?;
        loading.births = take_births(bytes).ok_or(RollupsError::Damaged("new series"))?;
        rollups.load_gone(bytes).ok_or(RollupsError::Damaged("rows that are gone"))?;
        if !bytes.is_empty() {
            return Err(RollupsError::Damaged("there is more than keys"));
        }
        rollups.notes.loading = Some(loading);
        Ok(rollups)
    }

    fn load_shape(&mut self, version: Version, bytes: &mut &[u8]) -> Option<Box<Loading>> {
        let (begun, saved) = (take_u64(bytes)?, take_u64(bytes)?);
        // Rows say their position in 32 bits, counted from the first one.
        u32::try_from(saved.checked_sub(begun)?).ok()?;
        self.current = varint::take_signed(bytes)?;
        self.retiring = take_u8(bytes)? != 0;
        if version > Version::One {
            (self.missing, self.refused) = (Dropped::read(bytes)?, Dropped::read(bytes)?);
        }
        let mut first = [0; 6];
        for (number, first) in first.iter_mut().enumerate() {
            let has_keep = take_u8(bytes)? != 0;
            let level = self.numbered_level(number)?;
            let bucket = |bytes: &mut &[u8]| take_bucket(version, bytes, level.grid);
            let (newest, floor) = (bucket(bytes)?, bucket(bytes)?);
            let whole = if version == Version::One { bucket(bytes)? } else { i64::MIN };
            *first = bucket(bytes)?;
            let keep = varint::take_signed(bytes)?;
            let coarse = match version {
                Version::One => i64::MIN,
                Version::Two | Version::Three => varint::take_signed(bytes)?,
            };
            let shape = Shape { newest, floor, keep: has_keep.then_some(keep), first: *first };
            // Where less is to be kept now, there is something to retire.
            let is_shorter = level.shape().keep != shape.keep;
            level.restore(&shape);
            level.grid.coarse = coarse;
            self.retiring |= is_shorter;
            if number == 0 && whole > i64::MIN {
                self.missing = Dropped::before(start_of(whole));
            }
        }
        let mut floors = <[Floors; 6]>::default();
        for (floors, level) in floors.iter_mut().zip(self.all_levels()) {
            for _ in 0..take_count(bytes, 2)? {
                floors.push((varint::take(bytes)?, take_bucket(version, bytes, level.grid)?));
            }
        }
        let (births, folds) = (Births::default(), Vec::new());
        let next = begun;
        Some(Box::new(Loading { begun, saved, next, births, floors, first, folds }))
    }

    fn load_series(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let count = take_count(bytes, 1)?;
        self.series.reserve(count);
        for number in 0..u32::try_from(count).ok()? {
            let kind = take_u8(bytes)?;
            if number <= OTHER_TUPLES {
                // These are there, and never free.
                (kind == FREE).then_some(())?;
                continue;
            }
            let key = match kind {
                FREE => {
                    self.free.push(number);
                    Key::Free
                }
                OF_VALUE => {
                    let (dimension, value) = (take_u8(bytes)?, varint::take_u32(bytes)?);
                    let dictionary = self.dictionaries.get_mut(usize::from(dimension))?;
                    let known = dictionary.has(value).then(|| dictionary.get_mut(value))??;
                    known.series().is_none().then_some(())?;
                    known.set_series(Some(number));
                    Key::Value(dimension, value)
                }
                OF_TUPLE => Key::Tuple(self.load_tuple(number, bytes)?),
                _ => return None,
            };
            let tuple = if let Key::Tuple(tuple) = &key { Some(tuple.clone()) } else { None };
            self.series.push(Series::new(key));
            if let Some(tuple) = tuple {
                self.index_tuple(self.hasher.hash_one(tuple.as_slice()), number);
            }
        }
        let lengths = self.dictionaries.iter().map(Dictionary::len);
        self.widest = lengths.enumerate().max_by_key(|(_, len)| *len).map_or(0, |(at, _)| at);
        Some(())
    }

    fn load_tuple(&mut self, number: u32, bytes: &mut &[u8]) -> Option<Tuple> {
        let mut tuple = Tuple::new();
        for dictionary in &mut self.dictionaries {
            let value = varint::take_u32(bytes)?;
            let known = dictionary.has(value).then(|| dictionary.get_mut(value))??;
            // Numbers come in ascending order.
            known.tuples.push(number);
            tuple.push(value);
        }
        self.find_tuple(&tuple).is_none().then_some(tuple)
    }

    pub(super) fn find_tuple(&self, tuple: &Tuple) -> Option<u32> {
        let hash = self.hasher.hash_one(tuple.as_slice());
        self.tuples.find(hash, |number| self.has_tuple(*number, tuple)).copied()
    }

    fn load_gone(&mut self, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..take_count(bytes, 1)? {
            let count = take_count(bytes, 1)?;
            let mut rows = Vec::with_capacity(count);
            for _ in 0..count {
                let number = varint::take_u32(bytes)?;
                self.series.get_mut(number as usize).and_then(Series::count_row)?;
                rows.push(Row::of(number));
            }
            self.gone.push_back(rows);
        }
        Some(())
    }

    /// Loads rows, of as many steps as were put one behind the other.
    pub(crate) fn load_rows(&mut self, version: Version, bytes: &[u8]) -> Result<(), RollupsError> {
        let Some(loading) = self.notes.loading.take() else {
            return Err(RollupsError::Damaged("there are rows and no keys"));
        };
        let loaded = self.load_runs(version, &loading, &mut &*bytes);
        if version == Version::One {
            self.keep_hours_whole();
        }
        self.notes.loading = Some(loading);
        loaded.ok_or(RollupsError::Damaged("rows"))
    }

    /// Format 1 has the sums of whole hours. They stay as they are, and so does what is
    /// counted in the same hours from here on.
    fn keep_hours_whole(&mut self) {
        let levels = self.values.iter_mut().chain(&mut self.combined);
        let mut levels: Vec<_> = levels.filter(|level| level.grid.is_of_parts()).collect();
        let last = levels.iter().filter_map(|level| level.last_bucket()).max();
        for level in &mut levels {
            level.grid.coarse = last.map_or(i64::MIN, |last| level.grid.hour_after(last));
        }
    }

    fn load_runs(&mut self, version: Version, loading: &Loading, bytes: &mut &[u8]) -> Option<()> {
        let mut gate = None;
        while !bytes.is_empty() {
            let tag = take_u8(bytes)?;
            if tag == POSITION {
                let position = take_u64(bytes)?;
                (position <= loading.saved).then_some(())?;
                gate = Some(u32::try_from(position.checked_sub(loading.begun)?).ok()?);
                continue;
            }
            let number = usize::from(tag);
            let grid = self.numbered_level(number)?.grid;
            let (bucket, gate) = (take_bucket(version, bytes, grid)?, gate?);
            let count = take_count(bytes, LEAST_ROW_BYTES)?;
            if bucket < *loading.first.get(number)? {
                // All of it is gone since.
                for _ in 0..count {
                    Row::read(version, bytes, &[], gate)?;
                }
                continue;
            }
            let kind = if number < self.values.len() { Kind::Values } else { Kind::Tuples };
            let series = &mut self.series;
            let levels = self.values.iter_mut().chain(&mut self.combined);
            let level = levels.into_iter().nth(number)?;
            let mut read = 0;
            let rows = std::iter::from_fn(|| {
                if read == count {
                    return None;
                }
                let row = Row::read(version, bytes, &loading.folds, gate)?;
                let series = series.get_mut(row.series as usize)?;
                series.is_of(row.series, kind).then_some(())?;
                series.count_row()?;
                read = read.saturating_add(1);
                Some(row)
            });
            level.load(bucket, count, rows)?;
            (read == count).then_some(())?;
        }
        Some(())
    }
}

impl Series {
    /// Counts one row more; `None` where nothing is kept under its number.
    pub(super) fn count_row(&mut self) -> Option<()> {
        self.rows = self.rows.checked_add(1)?;
        (!matches!(self.key, Key::Free)).then_some(())
    }

    fn is_of(&self, number: u32, kind: Kind) -> bool {
        match self.key {
            Key::Free => false,
            Key::Fixed => (number == OTHER_TUPLES) == (kind == Kind::Tuples),
            Key::Value(..) => kind == Kind::Values,
            Key::Tuple(_) => kind == Kind::Tuples,
        }
    }
}

/// Takes the number of a bucket.
fn take_bucket(version: Version, bytes: &mut &[u8], grid: Grid) -> Option<i64> {
    let number = varint::take_signed(bytes)?;
    Some(match version {
        Version::One => grid.of_whole_hours(number),
        Version::Two | Version::Three => number,
    })
}

fn take_names(bytes: &mut &[u8]) -> Option<Vec<String>> {
    let count = take_count(bytes, 1)?;
    (0..count).map(|_| take_text(bytes).map(str::to_owned)).collect()
}

fn take_births(bytes: &mut &[u8]) -> Option<Births> {
    let count = take_count(bytes, 2)?;
    (0..count).map(|_| Some((varint::take(bytes)?, varint::take(bytes)?))).collect()
}
