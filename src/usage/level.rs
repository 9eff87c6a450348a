//! The rows of one resolution, by bucket.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashTable;

use super::row::Row;

/// The rows of one minute, hour or day.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    rows: Vec<Row>,
    /// Where the row of a series lies.
    index: HashTable<u32>,
}

impl Bucket {
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

    /// Merges a row into that of its series, and returns whether it is the first.
    fn merge(&mut self, row: &Row) -> bool {
        if let Some(place) = self.place(row.series)
            && let Some(known) = self.rows.get_mut(place as usize)
        {
            known.merge(row);
            return false;
        }
        // A bucket has a row a series at most, and those are numbered in 32 bits.
        let place = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(row.clone());
        let rows = &self.rows;
        let series = |place: &u32| rows.get(*place as usize).map_or(0, |row| row.series);
        self.index.insert_unique(hash(row.series), place, |place| hash(series(place)));
        true
    }
}

/// Spreads numbers that lie side by side; nobody chooses them, so nobody can make them collide.
#[inline]
fn hash(series: u32) -> u64 {
    u64::from(series).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The buckets of one resolution, from a floor on.
#[derive(Debug)]
pub(super) struct Level {
    /// How many minutes a bucket has.
    minutes: i64,
    buckets: BTreeMap<i64, Bucket>,
    /// The first bucket that is kept; all before it are gone.
    floor: i64,
    /// How many buckets before the current one are kept.
    keep: Option<i64>,
    rows: usize,
}

impl Level {
    pub(super) fn new(minutes: i64, keep: Option<i64>) -> Self {
        Self { minutes, buckets: BTreeMap::new(), floor: i64::MIN, keep, rows: 0 }
    }

    /// The bucket that a minute is in.
    #[inline]
    pub(super) fn bucket_of(&self, minute: i64) -> i64 {
        minute.div_euclid(self.minutes)
    }

    /// The first minute from which on everything is kept; `i64::MIN` where nothing is gone.
    pub(super) fn floor_minute(&self) -> i64 {
        self.floor.saturating_mul(self.minutes)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn range(&self, buckets: Range<i64>) -> impl Iterator<Item = &Bucket> {
        self.buckets.range(buckets).map(|(_, bucket)| bucket)
    }

    /// Merges what a series has of a minute, if its bucket is kept; returns how many rows came
    /// of it, none or one.
    pub(super) fn merge(&mut self, minute: i64, row: &Row, current: i64) -> u32 {
        let bucket = self.bucket_of(minute);
        if let Some(oldest) = self.oldest_kept(current)
            && bucket < oldest
        {
            self.floor = self.floor.max(bucket.saturating_add(1));
        }
        if bucket < self.floor {
            return 0;
        }
        let is_new = self.buckets.entry(bucket).or_default().merge(row);
        self.rows = self.rows.saturating_add(usize::from(is_new));
        u32::from(is_new)
    }

    fn oldest_kept(&self, current: i64) -> Option<i64> {
        self.keep.map(|keep| self.bucket_of(current).saturating_sub(keep))
    }

    /// Takes out the oldest bucket where its time is over, or where there are more than
    /// `max_rows` rows and it is not the only one.
    pub(super) fn retire(&mut self, current: i64, max_rows: usize) -> Option<Vec<Row>> {
        let oldest = *self.buckets.first_key_value()?.0;
        let is_over = self.oldest_kept(current).is_some_and(|kept| oldest < kept);
        let is_crowded = self.rows > max_rows && self.buckets.len() > 1;
        if !is_over && !is_crowded {
            return None;
        }
        let (bucket, gone) = self.buckets.pop_first()?;
        self.floor = self.floor.max(bucket.saturating_add(1));
        self.rows = self.rows.saturating_sub(gone.rows.len());
        Some(gone.rows)
    }
}
