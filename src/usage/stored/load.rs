//! Loading what was saved. The bytes are input: whatever they are, loading gives an error or
//! roll-ups, and never panics.

use std::sync::Arc;

use super::{FREE, OF_TUPLE, OF_VALUE, POSITION, RollupsError, VERSION};
use crate::base::codec::{Codec, Malformed, Reader};
use crate::base::format::Version;
use crate::log::Dropped;
use crate::usage::columns::Columns;
use crate::usage::dictionary::Dictionary;
use crate::usage::fold::Gone;
use crate::usage::grid::Grid;
use crate::usage::level::Bucket;
use crate::usage::notes::{FloorSince, Floors, Loading, Promotions};
use crate::usage::options::RollupOptions;
use crate::usage::plan::start_of;
use crate::usage::rollups::Rollups;
use crate::usage::row::{LEAST_ROW_BYTES, Row};
use crate::usage::series::{Key, Kind, OTHER_TUPLES, Series, StoredTuple, Tuple};

/// Loading: the keys, then the rows.
impl Rollups {
    /// Roll-ups to count the events of a log anew, where what was saved is by other dimensions:
    /// `dropped` is when the events happened that the log does not have any more. Answers say that
    /// they do not cover that.
    pub(crate) fn anew(
        options: &RollupOptions,
        hasher: &ahash::RandomState,
        dropped: Dropped,
    ) -> Self {
        let mut rollups = Self::new(options, hasher);
        rollups.uncounted = dropped;
        rollups
    }

    /// Loads what rows are about. Bytes that no roll-ups wrote are an error, or else roll-ups that
    /// answer something; they never make more than about 64 bytes of memory a byte.
    pub(crate) fn load_keys(
        mut from: Reader<'_>,
        options: &RollupOptions,
        hasher: &ahash::RandomState,
    ) -> Result<Self, RollupsError> {
        let from = &mut from;
        let saved = Self::saved_dimensions(from)?;
        let mut rollups = Self::new(options, hasher);
        let declared = rollups.dictionaries.iter().map(|it| it.dimension.as_str().to_owned());
        let declared: Vec<String> = declared.collect();
        if saved != declared {
            return Err(RollupsError::Mismatch { saved, declared });
        }
        let mut loading = rollups.load_shape(from)?;
        let columns = Columns::decode(from)?;
        loading.folds = columns.folds();
        rollups.columns = Arc::new(columns);
        for dictionary in &mut rollups.dictionaries {
            dictionary.decode(from)?;
        }
        rollups.load_series(from)?;
        loading.promotions =
            from.list("new series", |from| Ok((from.varint()?, from.varint()?)))?;
        rollups.load_gone(from)?;
        from.end()?;
        rollups.notes.loading = Some(loading);
        Ok(rollups)
    }

    /// Reads by which dimensions the saved ones are: what they begin with.
    pub(crate) fn saved_dimensions(from: &mut Reader<'_>) -> Result<Vec<String>, RollupsError> {
        let own = u8::decode(from)?;
        if own != VERSION {
            return Err(RollupsError::Newer(own));
        }
        Ok(from.list("dimensions", |from| from.text().map(str::to_owned))?)
    }

    fn load_shape(&mut self, from: &mut Reader<'_>) -> Result<Box<Loading>, Malformed> {
        let (begun, saved) = (u64::decode(from)?, u64::decode(from)?);
        // Rows say their position in 32 bits, counted from the first one.
        let is_short = saved.checked_sub(begun).is_some_and(|it| u32::try_from(it).is_ok());
        from.require(is_short, "the positions of a checkpoint")?;
        self.current = from.signed()?;
        self.retiring = bool::decode(from)?;
        let is_first = from.version() == Version::One;
        if !is_first {
            (self.uncounted, self.without_column) =
                (Dropped::decode(from)?, Dropped::decode(from)?);
        }
        let mut first = [0; 6];
        let levels = self.values.iter_mut().chain(&mut self.combined);
        for ((number, first), level) in first.iter_mut().enumerate().zip(levels) {
            let has_keep = bool::decode(from)?;
            let (newest, floor) = (take_bucket(from, level.grid)?, take_bucket(from, level.grid)?);
            let whole = if is_first { take_bucket(from, level.grid)? } else { i64::MIN };
            *first = take_bucket(from, level.grid)?;
            let keep = Some(from.signed()?).filter(|_| has_keep);
            let coarse = if is_first { i64::MIN } else { from.signed()? };
            // Where less is to be kept now, there is something to retire.
            self.retiring |= level.shape().keep != keep;
            level.restore(newest, floor);
            level.grid.coarse = coarse;
            if number == 0 && whole > i64::MIN {
                self.uncounted = Dropped::before(start_of(whole));
            }
        }
        let mut floors = <[Floors; 6]>::default();
        for (floors, level) in floors.iter_mut().zip(self.all_levels()) {
            *floors = from.list("floors", |from| {
                Ok(FloorSince { ordinal: from.varint()?, floor: take_bucket(from, level.grid)? })
            })?;
        }
        let (promotions, folds) = (Promotions::default(), Vec::new());
        Ok(Box::new(Loading { begun, saved, next: begun, promotions, floors, first, folds }))
    }

    fn load_series(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        let count = from.length("series")?;
        self.series.reserve(count);
        for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let kind = u8::decode(from)?;
            if number <= OTHER_TUPLES {
                // These are there, and never free.
                from.require(kind == FREE, "the series of all events, or of other tuples")?;
                continue;
            }
            let key = match kind {
                FREE => {
                    self.free.push(number);
                    Key::Free
                }
                OF_VALUE => {
                    let (dimension, value) = (u8::decode(from)?, from.varint_u32()?);
                    let known = self.dictionaries.get_mut(usize::from(dimension));
                    let known = known.and_then(|dictionary| dictionary.known_mut(value));
                    let known = known.filter(|value| value.series().is_none());
                    known.ok_or_else(|| from.malformed("a value"))?.set_series(Some(number));
                    Key::Value(dimension, value)
                }
                OF_TUPLE => {
                    let tuple = self.load_tuple(number, from)?;
                    let hash = self.hasher.hash_one(tuple.as_slice());
                    self.series.push(Series::new(Key::Tuple(StoredTuple::new(&tuple))));
                    self.index_tuple(hash, number);
                    continue;
                }
                _ => return Err(from.malformed("what a series is of")),
            };
            self.series.push(Series::new(key));
        }
        let lengths = self.dictionaries.iter().map(Dictionary::len);
        self.widest = lengths.enumerate().max_by_key(|(_, len)| *len).map_or(0, |(at, _)| at);
        Ok(())
    }

    fn load_tuple(&mut self, number: u32, from: &mut Reader<'_>) -> Result<Tuple, Malformed> {
        let mut tuple = Tuple::new();
        for dictionary in &mut self.dictionaries {
            let value = from.varint_u32()?;
            let known = dictionary.known_mut(value).ok_or_else(|| from.malformed("a value"))?;
            // Numbers come in ascending order.
            known.tuples.push(number);
            tuple.push(value);
        }
        from.require(self.find_tuple(&tuple).is_none(), "a tuple that comes once")?;
        Ok(tuple)
    }

    pub(in crate::usage) fn find_tuple(&self, tuple: &Tuple) -> Option<u32> {
        let hash = self.hasher.hash_one(tuple.as_slice());
        self.tuples.find(hash, |number| self.has_tuple(*number, tuple)).copied()
    }

    fn load_gone(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        let series = &mut self.series;
        self.gone = from.list("buckets that are gone", |from| {
            let rows = from.list("rows that are gone", |from| {
                let number = from.varint_u32()?;
                let known = series.get_mut(number as usize).and_then(Series::count_row);
                known.map(|()| Row::of(number)).ok_or_else(|| from.malformed("a series"))
            })?;
            // What is saved is folded: it does not matter of which kind they are.
            let (kind, minute, bucket) = (Kind::Values, i64::MIN, Bucket::of_gone(rows));
            Ok(Gone { kind, minute, bucket })
        })?;
        Ok(())
    }

    /// Loads rows, of as many steps as were put one behind the other.
    pub(crate) fn load_rows(&mut self, mut from: Reader<'_>) -> Result<(), RollupsError> {
        let loading = self.notes.loading.take().ok_or_else(|| from.malformed("keys of rows"))?;
        let loaded = self.load_runs(&loading, &mut from);
        if from.version() == Version::One {
            self.keep_hours_whole();
        }
        self.notes.loading = Some(loading);
        Ok(loaded?)
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

    fn load_runs(&mut self, loading: &Loading, from: &mut Reader<'_>) -> Result<(), Malformed> {
        let mut copied_at = None;
        while !from.is_at_end() {
            let tag = u8::decode(from)?;
            if tag == POSITION {
                let position = u64::decode(from)?;
                let since = position.checked_sub(loading.begun);
                copied_at = since.filter(|_| position <= loading.saved).map(u32::try_from);
                from.require(matches!(copied_at, Some(Ok(_))), "a position of rows")?;
                continue;
            }
            let number = usize::from(tag);
            let kind = if number < self.values.len() { Kind::Values } else { Kind::Tuples };
            let Self { series, values, combined, .. } = self;
            let level = values.iter_mut().chain(combined).nth(number);
            let (Some(level), Some(first), Some(Ok(copied_at))) =
                (level, loading.first.get(number), copied_at)
            else {
                return Err(from.malformed("the level of rows"));
            };
            let bucket = take_bucket(from, level.grid)?;
            let count = from.length("rows")?;
            if bucket < *first {
                // All of it is gone since.
                (0..count).try_for_each(|_| Row::decode(from).map(drop))?;
                continue;
            }
            let rows = level.loading(bucket, count.min(from.rest().len() / LEAST_ROW_BYTES));
            for _ in 0..count {
                let mut row = Row { copied_at, ..Row::decode(from)? };
                row.cells.retain(&loading.folds);
                let known = series.get_mut(row.series as usize);
                let known = known.filter(|it| it.is_of(row.series, kind));
                let counted = known.and_then(Series::count_row);
                from.require(counted.is_some() && rows.push(row), "a series that has one row")?;
            }
            level.rows_are_loaded(count);
        }
        Ok(())
    }
}

/// Takes the number of a bucket.
fn take_bucket(from: &mut Reader<'_>, grid: Grid) -> Result<i64, Malformed> {
    let number = from.signed()?;
    Ok(if from.version() == Version::One { grid.of_whole_hours(number) } else { number })
}
