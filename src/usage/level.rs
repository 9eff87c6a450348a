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
    /// Of a minute: how many rows, from the first on, are not in their part and day yet.
    unfolded: usize,
}

/// What there was of the row that an event was added to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// The series had no row in the bucket.
    pub(super) is_new: bool,
    /// The part and the day get it when the row is [folded](super::fold).
    pub(super) is_deferred: bool,
}

impl Bucket {
    /// An empty bucket with room for so many rows as the one before has.
    fn after(before: &Self) -> Self {
        let rows = before.rows.len();
        Self { rows: Vec::with_capacity(rows), index: HashTable::with_capacity(rows), unfolded: 0 }
    }

    /// A bucket of rows that wait to be taken apart, without an index.
    pub(super) fn of_gone(rows: Vec<Row>) -> Self {
        Self { rows, ..Self::default() }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    #[inline]
    pub(super) fn row(&self, series: u32) -> Option<&Row> {
        self.row_of(&self.rows, series)
    }

    /// The row of a series among the first ones of the bucket.
    #[inline]
    pub(super) fn row_of<'r>(&self, rows: &'r [Row], series: u32) -> Option<&'r Row> {
        self.slot(series).and_then(|slot| rows.get(slot as usize))
    }

    /// The rows that are not folded yet.
    pub(super) fn unfolded_rows(&self) -> &[Row] {
        self.rows.get(..self.unfolded).unwrap_or(&self.rows)
    }

    /// The row of a series, where it is not folded yet.
    pub(super) fn unfolded_row(&self, series: u32) -> Option<&Row> {
        self.row_of(self.unfolded_rows(), series)
    }

    /// The last of the rows that are not folded yet, which counts as folded from here on.
    pub(super) fn fold_next(&mut self) -> Option<&Row> {
        self.unfolded = self.unfolded.min(self.rows.len()).checked_sub(1)?;
        self.rows.get(self.unfolded)
    }

    /// Takes out the last row, and says whether it is folded.
    pub(super) fn pop(&mut self) -> Option<(Row, bool)> {
        let row = self.rows.pop()?;
        let is_folded = self.unfolded <= self.rows.len();
        self.unfolded = self.unfolded.min(self.rows.len());
        Some((row, is_folded))
    }

    /// Takes out the row of a series; another one may lie in its place then.
    fn take(&mut self, series: u32) -> Option<Row> {
        debug_assert_eq!(self.unfolded, 0, "all is folded");
        let Self { rows, index, .. } = self;
        let is_it = |slot: &u32| rows.get(*slot as usize).is_some_and(|row| row.series == series);
        let slot = index.find_entry(hash(series), is_it).ok()?.remove().0;
        let last = u32::try_from(rows.len().checked_sub(1)?).unwrap_or(u32::MAX);
        if let Some(moved) = rows.last().filter(|_| last != slot).map(|row| row.series)
            && let Some(of_moved) = index.find_mut(hash(moved), |known| *known == last)
        {
            *of_moved = slot;
        }
        ((slot as usize) < rows.len()).then(|| rows.swap_remove(slot as usize))
    }

    #[inline]
    fn slot(&self, series: u32) -> Option<u32> {
        let is_it =
            |slot: &u32| self.rows.get(*slot as usize).is_some_and(|row| row.series == series);
        self.index.find(hash(series), is_it).copied()
    }

    /// Puts a row into the bucket; false where its series has one.
    pub(super) fn push(&mut self, row: Row) -> bool {
        let (slot, is_new) = self.slot_or_new(row.series);
        let new = self.rows.get_mut(slot as usize).filter(|_| is_new);
        new.map(|new| *new = row).is_some()
    }

    /// The slot of the row of a series, and whether the row was made for it.
    fn slot_or_new(&mut self, series: u32) -> (u32, bool) {
        if let Some(slot) = self.slot(series) {
            return (slot, false);
        }
        // A bucket has a row a series at most, and those are numbered in 32 bits.
        let slot = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Row::of(series));
        let rows = &self.rows;
        let series_of = |slot: &u32| rows.get(*slot as usize).map_or(0, |row| row.series);
        self.index.insert_unique(hash(series), slot, |slot| hash(series_of(slot)));
        (slot, true)
    }
}

/// Spreads numbers that lie side by side; nobody chooses them, so nobody can make them collide.
#[inline]
fn hash(series: u32) -> u64 {
    u64::from(series).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The slot of a series' row in the newest bucket that it has one in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowHint {
    /// Which bucket, by how many there were up to it; 0 for none.
    serial: u32,
    slot: u32,
}

/// The rows of the newest bucket, to be found by where they are known to lie.
#[derive(Debug)]
pub(super) struct DeferredRows<'l> {
    serial: u32,
    rows: &'l mut [Row],
}

impl DeferredRows<'_> {
    /// The row of a series that is known to have one.
    #[inline]
    pub(super) fn known(&mut self, known: RowHint) -> Option<&mut Row> {
        let is_there = known.serial == self.serial;
        self.rows.get_mut(known.slot as usize).filter(|_| is_there)
    }
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
    /// What is added to the newest bucket is folded later.
    is_deferring: bool,
    /// The other buckets with rows that are not folded yet, the newest last.
    folding: Vec<i64>,
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
            is_deferring: false,
            folding: Vec::new(),
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

    /// The bucket that a minute is in, where it is kept.
    pub(super) fn kept_bucket_of(&self, minute: i64) -> Option<i64> {
        Some(self.bucket_of(minute)).filter(|bucket| *bucket >= self.floor)
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
            // Events that were ahead of time have put their rows into the part and the day.
            self.is_deferring = self.grid.is_of_minutes() && next.rows.is_empty();
            let before = std::mem::replace(&mut self.newest, next);
            if before.unfolded > 0 {
                self.folding.push(self.newest_number);
            }
            if !before.rows.is_empty() {
                self.others.insert(self.newest_number, before);
            }
            self.newest_number = bucket;
            // Minutes enough for 8 000 years.
            self.serial = self.serial.saturating_add(1);
        }
        true
    }

    /// The rows of the newest bucket, where that is the bucket and what is added to it is folded
    /// later.
    #[inline]
    pub(super) fn deferred_rows(&mut self, bucket: Option<i64>) -> Option<DeferredRows<'_>> {
        let is_it = self.is_deferring && bucket == Some(self.newest_number);
        is_it.then(|| DeferredRows { serial: self.serial, rows: &mut self.newest.rows })
    }

    /// Adds to the row of a series in a bucket that is open.
    #[inline]
    pub(super) fn add(
        &mut self,
        bucket: i64,
        series: u32,
        known: &mut RowHint,
        addend: &Addend,
    ) -> Added {
        if bucket == self.newest_number
            && known.serial == self.serial
            && let Some(row) = self.newest.rows.get_mut(known.slot as usize)
        {
            row.add(addend);
            return Added { is_new: false, is_deferred: self.is_deferring };
        }
        let (row, outcome) = self.row_or_new(bucket, series, known);
        if let Some(row) = row {
            row.add(addend);
        }
        outcome
    }

    /// The row of a series in a bucket that is open; a new one where it has none.
    pub(super) fn row_or_new(
        &mut self,
        bucket: i64,
        series: u32,
        known: &mut RowHint,
    ) -> (Option<&mut Row>, Added) {
        let is_newest = bucket == self.newest_number;
        let is_deferring = is_newest && self.is_deferring;
        let rows =
            if is_newest { &mut self.newest } else { self.others.entry(bucket).or_default() };
        let (slot, is_new) = rows.slot_or_new(series);
        if is_new {
            self.rows = self.rows.saturating_add(1);
            if is_deferring {
                rows.unfolded = rows.rows.len();
            }
        }
        if is_newest {
            *known = RowHint { serial: self.serial, slot };
        }
        let is_deferred = (slot as usize) < rows.unfolded;
        (rows.rows.get_mut(slot as usize), Added { is_new, is_deferred })
    }

    /// The row of a series in a bucket, where it has one.
    pub(super) fn row_in(&self, bucket: i64, series: u32) -> Option<&Row> {
        let is_newest = bucket == self.newest_number;
        let rows = if is_newest { Some(&self.newest) } else { self.others.get(&bucket) };
        rows?.row(series)
    }

    /// The same to be changed, and whether it is folded later.
    pub(super) fn row_mut(&mut self, bucket: i64, series: u32) -> Option<(&mut Row, bool)> {
        let is_newest = bucket == self.newest_number;
        let rows = if is_newest { &mut self.newest } else { self.others.get_mut(&bucket)? };
        let slot = rows.slot(series)? as usize;
        let is_deferred = slot < rows.unfolded;
        rows.rows.get_mut(slot).map(|row| (row, is_deferred))
    }

    /// Merges a minute's row into that of its series in a bucket, unless the bucket is gone.
    pub(super) fn fold(&mut self, bucket: i64, row: &Row, known: RowHint) {
        let is_newest = bucket == self.newest_number;
        let rows = if is_newest { Some(&mut self.newest) } else { self.others.get_mut(&bucket) };
        let is_known = is_newest && known.serial == self.serial;
        let into = rows.and_then(|rows| {
            let slot = if is_known { Some(known.slot) } else { rows.slot(row.series) };
            rows.rows.get_mut(slot? as usize)
        });
        debug_assert!(
            into.is_some() || bucket < self.floor,
            "a minute's row has one in its part and its day"
        );
        if let Some(into) = into {
            into.merge(row);
        }
    }

    /// Whether a bucket but the newest has rows that are not folded yet.
    #[inline]
    pub(super) fn is_folding(&self) -> bool {
        !self.folding.is_empty()
    }

    /// The bucket whose rows are folded next, and its number: of those that wait the newest one.
    ///
    /// So few ever wait. A call folds more rows than it can add, so while a minute of some rows
    /// goes on, more rows than that are folded of the minutes before. One of these that still
    /// waits when it is over had more rows to begin with: from the newest to the oldest their
    /// sizes grow by a factor, up to the most rows that a minute has.
    pub(super) fn next_to_fold(&mut self) -> Option<(i64, &mut Bucket)> {
        let number = *self.folding.last()?;
        self.others.get_mut(&number).map(|bucket| (number, bucket))
    }

    /// The rows of the [next bucket](Self::next_to_fold) are folded.
    pub(super) fn is_folded(&mut self) {
        self.folding.pop();
    }

    /// The buckets of a range that have rows which are not folded yet.
    pub(super) fn unfolded(&self, buckets: Range<i64>) -> impl Iterator<Item = &Bucket> {
        let is_newest = buckets.contains(&self.newest_number) && self.newest.unfolded > 0;
        let folding = self.folding.iter().filter(move |number| buckets.contains(*number));
        let folding = folding.filter_map(|number| self.others.get(number));
        folding.chain(is_newest.then_some(&self.newest))
    }

    /// Folds the newest bucket at once from here on; its number, and its rows that are not folded.
    pub(super) fn stop_deferring(&mut self) -> (i64, Vec<Row>) {
        let rows = self.newest.unfolded_rows().to_vec();
        (self.is_deferring, self.newest.unfolded) = (false, 0);
        (self.newest_number, rows)
    }

    /// Merges the rows of a series into those of another one, all of which are folded; returns how
    /// many that one has more.
    pub(super) fn merge_series(&mut self, from: u32, into: u32) -> u32 {
        let (mut new, mut gone) = (0_u32, 0_usize);
        for bucket in self.others.values_mut().chain([&mut self.newest]) {
            let Some(row) = bucket.take(from) else { continue };
            let (slot, is_new) = bucket.slot_or_new(into);
            if let Some(into) = bucket.rows.get_mut(slot as usize) {
                into.merge(&row);
            }
            new = new.saturating_add(u32::from(is_new));
            gone = gone.saturating_add(usize::from(!is_new));
        }
        self.rows = self.rows.saturating_sub(gone);
        // What is known of places in the newest bucket is not so any more.
        self.serial = self.serial.saturating_add(1);
        new
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
    pub(super) fn retire(&mut self, current: i64, max_rows: usize) -> Option<(i64, Bucket)> {
        let oldest = *self.others.first_key_value()?.0;
        if oldest > self.newest_number {
            return None;
        }
        let is_over = self.oldest_kept(current).is_some_and(|kept| oldest < kept);
        if !is_over && self.rows <= max_rows {
            return None;
        }
        let (bucket, mut gone) = self.others.pop_first()?;
        self.floor = self.floor.max(bucket.saturating_add(1));
        self.rows = self.rows.saturating_sub(gone.rows.len());
        if gone.unfolded > 0 {
            self.folding.retain(|number| *number != bucket);
        } else {
            gone.index = HashTable::new();
        }
        Some((bucket, gone))
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
        let series_of = |slot: &u32| known.get(*slot as usize).map_or(0, |row| row.series);
        bucket.index.reserve(rows, |slot| hash(series_of(slot)));
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
        let (slot, is_new) = rows.slot_or_new(series);
        if let Some(row) = rows.rows.get_mut(slot as usize)
            && row.copied_at <= event
        {
            row.add(addend);
        }
        self.rows = self.rows.saturating_add(usize::from(is_new));
        is_new
    }
}
