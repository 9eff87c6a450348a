//! What an event adds to the rows of its part of an hour and its day, later.
//!
//! An event adds to the rows of its minute alone, as long as that is the newest one. The rows of
//! the part and the day are made with the minute's, so that counts of rows, floors and numbers of
//! series are at any time what they would be without this; they lack what *unfolded* rows of
//! minutes have. When the next minute begins, the rows of the one before are *folded* into the part
//! and the day, a few a call.
//!
//! So the sums of a part or a day are those of its row and of the unfolded rows of its minutes,
//! each of which is in exactly one of both: a row is folded as a whole, in one step under the
//! recording's lock, and from then on what late events add to it goes to the part and the day at
//! once. Who reads rows of parts or days ([answers](super::select), [saving](super::stored)) adds
//! the unfolded ones. A minute that is retired before it is folded is folded as it is taken apart,
//! row by row.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use super::level::{Bucket, Level};
use super::rollups::Rollups;
use super::row::Row;
use super::series::{Kind, Series};

/// How much is folded by one call for each series that an event counts in. A row is 1, and 1 more
/// for every 64 of its cells and of the buckets of its sketches; an event adds at most one row a
/// series, with its own 64 cells.
const STEPS_A_SERIES: usize = 3;
const CELLS_A_STEP: usize = 64;

/// A bucket whose rows are taken apart.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) kind: Kind,
    /// Its number, where it is a minute.
    pub(super) minute: i64,
    pub(super) bucket: Bucket,
}

impl Rollups {
    #[inline]
    pub(super) fn is_folding(&self) -> bool {
        let ([values, ..], [combined, ..]) = (&self.values, &self.combined);
        values.is_folding() || combined.is_folding()
    }

    /// Folds a few rows of minutes that are over.
    #[cold]
    pub(super) fn fold_step(&mut self) {
        let mut budget = self.series_an_event().saturating_mul(STEPS_A_SERIES);
        let Self { values, combined, series, .. } = self;
        for levels in [values, combined] {
            let [minutes, upper @ ..] = levels;
            while budget > 0 {
                let Some((minute, bucket)) = minutes.next_to_fold() else { break };
                let into = upper.each_ref().map(|level| level.bucket_of(minute));
                while budget > 0 {
                    let Some(row) = bucket.fold_next() else { break };
                    let cost = row.cells.size() / CELLS_A_STEP;
                    budget = budget.saturating_sub(cost.saturating_add(1));
                    fold_row(upper, series, into, row);
                }
                if bucket.unfolded_rows().is_empty() {
                    minutes.is_folded();
                }
            }
        }
    }

    /// Folds one row of a minute.
    pub(super) fn fold_row(&mut self, kind: Kind, minute: i64, row: &Row) {
        let Self { values, combined, series, .. } = self;
        let [_, upper @ ..] = match kind {
            Kind::Values => values,
            Kind::Tuples => combined,
        };
        let into = upper.each_ref().map(|level| level.bucket_of(minute));
        fold_row(upper, series, into, row);
    }

    /// The buckets of minutes of a range that have unfolded rows.
    pub(super) fn unfolded(
        &self,
        kind: Kind,
        minutes: Range<i64>,
    ) -> impl Iterator<Item = &Bucket> {
        let [level, ..] = self.levels(kind);
        let is_it = {
            let minutes = minutes.clone();
            move |gone: &&Gone| gone.kind == kind && minutes.contains(&gone.minute)
        };
        let gone = self.gone.iter().filter(is_it).map(|gone| &gone.bucket);
        let gone = gone.filter(|bucket| !bucket.unfolded_rows().is_empty());
        level.unfolded(minutes).chain(gone)
    }

    /// The rows of a bucket of a level, which is numbered over both kinds, as they are with what is
    /// unfolded.
    pub(super) fn whole_rows<'r>(
        &self,
        level: usize,
        bucket: i64,
        rows: &'r [Row],
    ) -> impl ExactSizeIterator<Item = Cow<'r, Row>> {
        let (kind, level) = match level.checked_sub(self.values.len()) {
            None => (Kind::Values, level),
            Some(level) => (Kind::Tuples, level),
        };
        let grid = self.levels(kind).get(level).map(|level| level.grid).filter(|_| level > 0);
        let minutes = grid.map(|grid| grid.start(bucket)..grid.end_after(grid.start(bucket)));
        let unfolded: SmallVec<[&Bucket; 4]> =
            minutes.into_iter().flat_map(|minutes| self.unfolded(kind, minutes)).collect();
        rows.iter().map(move |row| {
            let mut whole = Cow::Borrowed(row);
            for bucket in &unfolded {
                if let Some(minute) = bucket.unfolded_row(row.series) {
                    whole.to_mut().merge(minute);
                }
            }
            whole
        })
    }
}

/// Merges a minute's row into those of its series in these buckets of its part and its day.
fn fold_row(upper: &mut [Level; 2], series: &[Series], into: [i64; 2], row: &Row) {
    let known = series.get(row.series as usize).map(|series| series.known).unwrap_or_default();
    let [_, known @ ..] = known;
    for ((level, bucket), known) in upper.iter_mut().zip(into).zip(known) {
        level.fold(bucket, row, known);
    }
}
