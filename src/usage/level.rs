//! The rows of one resolution, by bucket.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashTable;

use super::grid::Grid;
use super::row::{Addend, Row};

/// The rows of one minute, part of an hour, or day.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    rows: Vec<Row>,
    /// Where the row of a series lies.
    index: HashTable<u32>,
}

impl Bucket {
    /// An empty bucket with room for so many rows as the one before has.
    fn after(before: &Self) -> Self {
        let rows = before.rows.len();
        Self { rows: Vec::with_capacity(rows), index: HashTable::with_capacity(rows) }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    #[inline]
    pub(super) fn row(&self, series: u32) -> Option<&Row> {
        self.place(series).and_then(|place| self.rows.get(place as usize))
    }

    #[inline]
    fn place(&self, series: u32) -> Option<u32> {
        let is_it =
            |place: &u32| self.rows.get(*place as usize).is_some_and(|row| row.series == series);
        self.index.find(hash(series), is_it).copied()
    }

    /// Puts a row into the bucket; false where its series has one.
    pub(super) fn push(&mut self, row: Row) -> bool {
        let (place, is_new) = self.place_or_new(row.series);
        let new = self.rows.get_mut(place as usize).filter(|_| is_new);
        new.map(|place| *place = row).is_some()
    }

    /// Where the row of a series lies; a new one where it has none, which is said.
    fn place_or_new(&mut self, series: u32) -> (u32, bool) {
        if let Some(place) = self.place(series) {
            return (place, false);
        }
        // A bucket has a row a series at most, and those are numbered in 32 bits.
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row::of(series));
        let rows = &self.rows;
        let series_of = |place: &u32| rows.get(*place as usize).map_or(0, |row| row.series);
        self.index.insert_unique(hash(series), place, |place| hash(series_of(place)));
        (place, true)
    }
}

/// Spreads numbers that lie side by side; nobody chooses them, so nobody can make them collide.
#[inline]
fn hash(series: u32) -> u64 {
    u64::from(series).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The place of a series' row in the newest bucket that it has one in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowHint {
    /// Which bucket, by how many there were up to it; 0 for none.
    serial: u32,
    place: u32,
}

/// The buckets of one resolution, from a floor on.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) grid: Grid,
    /// The newest bucket that is not ahead of the engine's time, which almost every event counts
    /// in, and its number.
    newest: Bucket,
    newest_number: i64,
    /// How many newest buckets there have been.
    serial: u32,
    /// All others.
    others: BTreeMap<i64, Bucket>,
    /// The first bucket that is kept; all before it are gone.
    floor: i64,
    /// How many minutes, hours or days before the current one are kept.
    keep: Option<i64>,
    /// Over all buckets.
    rows: usize,
}

impl Level {
    pub(super) fn new(grid: Grid, keep: Option<i64>) -> Self {
        Self {
            grid,
            newest: Bucket::default(),
            newest_number: i64::MIN,
            serial: 0,
            others: BTreeMap::new(),
            floor: i64::MIN,
            keep,
            rows: 0,
        }
    }

    /// The bucket that a minute is in.
    #[inline]
    pub(super) fn bucket_of(&self, minute: i64) -> i64 {
        self.grid.bucket_of(minute)
    }

    /// The first minute from which on everything is kept; `i64::MIN` where nothing is gone.
    pub(super) fn floor_minute(&self) -> i64 {
        if self.floor == i64::MIN { i64::MIN } else { self.grid.start(self.floor) }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The buckets of a range that have rows.
    pub(super) fn range(&self, buckets: Range<i64>) -> impl Iterator<Item = &Bucket> {
        let newest = buckets.contains(&self.newest_number).then_some(&self.newest);
        self.others.range(buckets).map(|(_, bucket)| bucket).chain(newest)
    }

    /// Makes a bucket ready for an event; false where its time is over.
    #[inline]
    pub(super) fn open(&mut self, bucket: i64, current: i64) -> bool {
        bucket == self.newest_number || self.make(bucket, current)
    }

    #[cold]
    fn make(&mut self, bucket: i64, current: i64) -> bool {
        if let Some(oldest) = self.oldest_kept(current)
            && bucket < oldest
        {
            self.floor = self.floor.max(bucket.saturating_add(1));
        }
        if bucket < self.floor {
            return false;
        }
        if bucket > self.newest_number && bucket <= self.bucket_of(current) {
            let known = self.others.remove(&bucket);
            let next = known.unwrap_or_else(|| Bucket::after(&self.newest));
            let before = std::mem::replace(&mut self.newest, next);
            if !before.rows.is_empty() {
                self.others.insert(self.newest_number, before);
            }
            self.newest_number = bucket;
            // Minutes enough for 8 000 years.
            self.serial = self.serial.saturating_add(1);
        }
        true
    }

    /// Adds to the row of a series in a bucket that is open; returns whether the row is new.
    #[inline]
    pub(super) fn add(
        &mut self,
        bucket: i64,
        series: u32,
        known: &mut RowHint,
        addend: &Addend,
    ) -> bool {
        if bucket == self.newest_number
            && known.serial == self.serial
            && let Some(row) = self.newest.rows.get_mut(known.place as usize)
        {
            row.add(addend);
            return false;
        }
        let rows = self.bucket_mut(bucket);
        let (place, is_new) = rows.place_or_new(series);
        if let Some(row) = rows.rows.get_mut(place as usize) {
            row.add(addend);
        }
        if bucket == self.newest_number {
            *known = RowHint { serial: self.serial, place };
        }
        self.rows = self.rows.saturating_add(usize::from(is_new));
        is_new
    }

    #[inline]
    fn bucket_mut(&mut self, number: i64) -> &mut Bucket {
        let is_newest = number == self.newest_number;
        if is_newest { &mut self.newest } else { self.others.entry(number).or_default() }
    }

    fn oldest_kept(&self, current: i64) -> Option<i64> {
        let unit = self.grid.kept_by();
        let oldest = |keep| current.div_euclid(unit).saturating_sub(keep).saturating_mul(unit);
        self.keep.map(|keep| self.bucket_of(oldest(keep)))
    }

    /// Takes out the oldest bucket where its time is over, or where there are more than
    /// `max_rows` rows; never the newest, nor one that is ahead of it.
    pub(super) fn retire(&mut self, current: i64, max_rows: usize) -> Option<Vec<Row>> {
        let oldest = *self.others.first_key_value()?.0;
        if oldest > self.newest_number {
            return None;
        }
        let is_over = self.oldest_kept(current).is_some_and(|kept| oldest < kept);
        if !is_over && self.rows <= max_rows {
            return None;
        }
        let (bucket, gone) = self.others.pop_first()?;
        self.floor = self.floor.max(bucket.saturating_add(1));
        self.rows = self.rows.saturating_sub(gone.rows.len());
        Some(gone.rows)
    }
}

/// What the level is like, without its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) newest: i64,
    pub(super) floor: i64,
    pub(super) keep: Option<i64>,
    /// The first bucket that has rows, or may have them: those before it are gone.
    pub(super) first: i64,
}

/// Saving, and loading what was saved.
impl Level {
    pub(super) fn shape(&self) -> Shape {
        let (newest, floor) = (self.newest_number, self.floor);
        let first = self.others.first_key_value().map_or(newest, |(first, _)| newest.min(*first));
        Shape { newest, floor, keep: self.keep, first }
    }

    /// Takes over the shape of a level that was saved, before any rows are there.
    pub(super) fn restore(&mut self, newest: i64, floor: i64) {
        (self.newest_number, self.floor, self.serial) = (newest, floor, 1);
    }

    /// The last bucket that has rows.
    pub(super) fn last_bucket(&self) -> Option<i64> {
        let newest = (!self.newest.rows.is_empty()).then_some(self.newest_number);
        newest.max(self.others.last_key_value().map(|(number, _)| *number))
    }

    /// The first bucket with rows from a number on, and its number.
    pub(super) fn bucket_from(&self, number: i64) -> Option<(i64, &Bucket)> {
        let other = self.others.range(number..).next().map(|(number, bucket)| (*number, bucket));
        let is_next = self.newest_number >= number && !self.newest.rows.is_empty();
        let newest = is_next.then_some((self.newest_number, &self.newest));
        match (other, newest) {
            (Some(other), Some(newest)) => Some(if other.0 < newest.0 { other } else { newest }),
            (other, newest) => other.or(newest),
        }
    }

    /// The bucket of this number, with room for so many rows more, which are
    /// [counted](Self::rows_are_loaded) when they are there.
    pub(super) fn loading(&mut self, number: i64, rows: usize) -> &mut Bucket {
        let bucket = self.bucket_mut(number);
        let known = &bucket.rows;
        let series_of = |place: &u32| known.get(*place as usize).map_or(0, |row| row.series);
        bucket.index.reserve(rows, |place| hash(series_of(place)));
        bucket.rows.reserve(rows);
        bucket
    }

    pub(super) fn rows_are_loaded(&mut self, count: usize) {
        self.rows = self.rows.saturating_add(count);
    }

    /// Adds an event that was recorded while the rows were saved: to a row that was saved, only
    /// where that was before. Returns whether the row is new.
    pub(super) fn replay(&mut self, bucket: i64, series: u32, addend: &Addend, event: u32) -> bool {
        let rows = self.bucket_mut(bucket);
        let (place, is_new) = rows.place_or_new(series);
        if let Some(row) = rows.rows.get_mut(place as usize)
            && row.copied_at <= event
        {
            row.add(addend);
        }
        self.rows = self.rows.saturating_add(usize::from(is_new));
        is_new
    }
}
