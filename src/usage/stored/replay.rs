//! Replaying the events since the saving began: each is counted where the saved rows lack it.

use smallvec::SmallVec;

use crate::base::clock::Timestamp;
use crate::log::{MemoryLog, Stored};
use crate::usage::correct::{Counted, CountedIn, opposite};
use crate::usage::countable::Countable;
use crate::usage::dictionary::{MISSING, OTHER};
use crate::usage::notes::{FloorSince, Loading, promoted_tuple, promoted_value};
use crate::usage::plan::minute_of;
use crate::usage::rollups::Rollups;
use crate::usage::row::Addend;
use crate::usage::series::{ALL, Kind, OTHER_TUPLES, Tuple};

/// What became of an event in a level.
#[derive(Clone, Copy, Debug)]
enum Bucket {
    /// It came too late.
    Refused,
    /// It was counted, and its bucket is gone since.
    Gone,
    /// It was counted in this bucket.
    There(i64),
}

impl Bucket {
    fn is_there(&self) -> bool {
        matches!(self, Self::There(_))
    }
}

/// Replaying the events, and ending that.
impl Rollups {
    /// Counts an event that was recorded since the saving began, as [`add`](Self::add) would; the
    /// events come in order, and one that was counted is left out.
    pub(crate) fn replay(
        &mut self,
        event: &impl Countable,
        at: Timestamp,
        now: Timestamp,
        ordinal: u64,
    ) {
        self.replay_entry(ordinal, |rollups, loading| match loading {
            Some(loading) => {
                let addend = rollups.columns.addend(event, at, ordinal);
                rollups.replay_saved(event, at, (ordinal, ordinal), &addend, loading);
            }
            None => {
                rollups.add(event, at, now, ordinal);
            }
        });
    }

    /// The same of a correction: the event that was counted, and what it is from then on. The log
    /// has what was recorded before.
    pub(crate) fn replay_correction(
        &mut self,
        out: &Counted<'_, '_>,
        amended: Option<&Stored<'_>>,
        (now, ordinal): (Timestamp, u64),
        log: Option<&MemoryLog>,
    ) {
        self.replay_entry(ordinal, |rollups, loading| {
            let Some(loading) = loading else {
                return rollups.correct(out, amended, (now, ordinal), log);
            };
            rollups.replay_out(out, ordinal, loading, log);
            if let Some(event) = amended {
                let at = event.timestamp();
                let addend = rollups.columns.addend(event, at, ordinal);
                rollups.replay_saved(event, at, (ordinal, ordinal), &addend, loading);
            }
        });
    }

    /// Replays an entry of the log, where it was not counted: one that the keys know of, and some
    /// rows, is given what is being loaded.
    fn replay_entry(&mut self, ordinal: u64, replay: impl FnOnce(&mut Self, Option<&Loading>)) {
        let mut loading = self.notes.loading.take();
        let next = loading.as_ref().map_or(0, |loading| loading.next);
        if ordinal >= next {
            replay(self, loading.as_deref().filter(|loading| ordinal < loading.saved));
        }
        if let Some(loading) = &mut loading {
            loading.next = next.max(ordinal.saturating_add(1));
        }
        self.notes.loading = loading;
    }

    /// Takes an event out of the rows that were saved before that.
    fn replay_out(
        &mut self,
        out: &Counted<'_, '_>,
        ordinal: u64,
        loading: &Loading,
        log: Option<&MemoryLog>,
    ) {
        let at = out.event.timestamp();
        let opposite = opposite(&self.columns.addend(out.event, at, out.ordinal));
        let within = (ordinal, out.ordinal);
        let series = self.replay_saved(out.event, at, within, &opposite, loading);
        if let Ok(number) = u32::try_from(ordinal.saturating_sub(loading.begun)) {
            self.refold_copied(out, &series, (log, number));
        }
    }

    /// Replays an entry that the keys know of, and some rows: what it adds, of an event that was
    /// counted by another ordinal where it corrects one. Returns the rows that it is in.
    fn replay_saved(
        &mut self,
        event: &impl Countable,
        at: Timestamp,
        (ordinal, counted): (u64, u64),
        addend: &Addend,
        loading: &Loading,
    ) -> SmallVec<[CountedIn; 8]> {
        let mut found = SmallVec::new();
        let minute = minute_of(at);
        let Ok(number) = u32::try_from(ordinal.saturating_sub(loading.begun)) else { return found };
        let [minutes, hours, days, more @ ..] = self.buckets_then(minute, ordinal, loading);
        let (values, combined) = ([minutes, hours, days], more);
        // Its time was over when it came.
        if matches!(days, Bucket::Refused) {
            return found;
        }
        let is_there = |key| loading.promotions.get(&key).is_none_or(|birth| *birth <= counted);
        let (mut tuple, mut series) = (Tuple::new(), Tuple::new());
        for dimension in 0..self.dictionaries.len() {
            let Some(dictionary) = self.dictionaries.get(dimension) else { continue };
            let text = event.dimension(&dictionary.dimension);
            let key = |id| promoted_value(u8::try_from(dimension).unwrap_or(u8::MAX), id);
            let value = text.map_or(MISSING, |text| {
                dictionary.find(text).filter(|id| is_there(key(*id))).unwrap_or(OTHER)
            });
            tuple.push(value);
            if values.iter().any(Bucket::is_there) {
                series.push(self.series_of_value(dimension, value));
            }
        }
        if tuple.len() > 1 && !matches!(combined, [.., Bucket::Refused]) {
            let known = self.find_tuple(&tuple);
            let known = known.filter(|series| is_there(promoted_tuple(*series)));
            let series = known.unwrap_or(OTHER_TUPLES);
            self.replay_in(Kind::Tuples, series, &combined, addend, number);
            found.push(CountedIn::new(Kind::Tuples, series));
        }
        series.push(ALL);
        for series in series {
            self.replay_in(Kind::Values, series, &values, addend, number);
            found.push(CountedIn::new(Kind::Values, series));
        }
        found
    }

    /// What became of an event of this minute, by level.
    fn buckets_then(&self, minute: i64, ordinal: u64, loading: &Loading) -> [Bucket; 6] {
        let mut buckets = [Bucket::Refused; 6];
        let levels = self.all_levels().zip(&loading.floors).zip(&loading.first);
        for (((level, floors), first), found) in levels.zip(&mut buckets) {
            let bucket = level.bucket_of(minute);
            let known = floors.partition_point(|since| since.ordinal <= ordinal);
            let floor = known.checked_sub(1).and_then(|last| floors.get(last));
            *found = match floor {
                Some(FloorSince { floor, .. }) if bucket < *floor => Bucket::Refused,
                _ if bucket < *first => Bucket::Gone,
                _ => Bucket::There(bucket),
            };
        }
        buckets
    }

    fn replay_in(
        &mut self,
        kind: Kind,
        series: u32,
        buckets: &[Bucket; 3],
        addend: &Addend,
        event: u32,
    ) {
        let levels = match kind {
            Kind::Values => &mut self.values,
            Kind::Tuples => &mut self.combined,
        };
        for (level, bucket) in levels.iter_mut().zip(buckets) {
            if let Bucket::There(bucket) = bucket
                && level.replay(*bucket, series, addend, event)
                && let Some(series) = self.series.get_mut(series as usize)
            {
                let _ = series.count_row();
            }
        }
    }

    /// All events are counted again: from here on this is as if it had never been saved.
    pub(crate) fn loaded(&mut self) {
        self.notes.loading = None;
        for number in 0..u32::try_from(self.series.len()).unwrap_or(u32::MAX) {
            self.drop_unused(number);
        }
        for dictionary in &mut self.dictionaries {
            dictionary.forget_all_unused();
        }
    }
}
