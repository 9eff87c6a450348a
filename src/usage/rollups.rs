//! The roll-ups: sums by minute, part of an hour and day, kept as events arrive.
//!
//! A *series* is what sums are kept for: all events, the events of one value of one declared
//! dimension, and the events of one tuple of values of all of them. Each event counts in the rows
//! that its few series have in its minute, its hour (a [part](super::grid) of it) and its day,
//! whether it is late or not. In the newest minute it adds to the minute's rows alone: they are
//! [folded](super::fold) into the part and the day when it is over. A series knows where its newest
//! rows lie, so that such an event costs no look-up there.
//!
//! Everything is bounded: the values of a dimension (what comes beyond is counted as *other*), the
//! tuples (beyond, as one), and the rows of a resolution (the oldest buckets go), those of tuples
//! apart, so that their number takes no time from the totals. What goes is taken apart a few rows
//! at a time by the calls that pass.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use super::cells::{Column, Fold};
use super::columns::{Columns, OTHER_VALUES, ValueFold};
use super::countable::Countable;
use super::dictionary::{Dictionary, MISSING, OTHER, Value, ValueId};
use super::dictionary::{insert_sorted, remove_sorted};
use super::fold::Gone;
use super::grid::{Grid, UNITS};
use super::level::{Added, Level};
use super::notes::{Notes, promoted_tuple, promoted_value};
use super::options::{BUILT_IN, MAX_DIMENSIONS, RollupOptions};
use super::plan::{Floors, minute_of};
use super::row::Addend;
use super::series::{ALL, Key, Kind, OTHER_TUPLES, Series, SeriesOfEvent, StoredTuple, add_known};
use crate::base::clock::Timestamp;
use crate::event::{Dimension, ValueName};
use crate::log::Dropped;

/// How many rows that are gone are taken apart by one call, for each series that an event counts
/// in: more than it can add, which is one for each level.
const ROWS_A_SERIES: usize = 4;

/// The buckets that an event counts in, by level; none where its time is over.
type Buckets = [Option<i64>; 3];

/// The buckets of the events of a minute.
#[derive(Clone, Copy, Debug)]
struct Opened {
    minute: i64,
    values: Buckets,
    combined: Buckets,
}

#[derive(Debug)]
pub(crate) struct Rollups {
    pub(super) dictionaries: Box<[Dictionary]>,
    pub(super) series: Vec<Series>,
    pub(super) free: Vec<u32>,
    pub(super) tuples: HashTable<u32>,
    max_tuples: usize,
    /// The place of the dimension with the most values.
    pub(super) widest: usize,
    /// The rows of all events and of values.
    pub(super) values: [Level; 3],
    /// The rows of tuples.
    pub(super) combined: [Level; 3],
    max_rows: usize,
    /// When the events happened that are in no row, because they were dropped from the log before
    /// the rows were made of it.
    pub(super) uncounted: Dropped,
    /// When the events happened that had values without a column.
    pub(super) without_column: Dropped,
    /// The sums of the values that the options declare.
    declared: Box<[ValueFold]>,
    /// Shared with whoever reads events outside the lock.
    pub(super) columns: Arc<Columns>,
    pub(super) hasher: ahash::RandomState,
    /// All built-in dimensions are declared: a tuple says what they set in an event's signature.
    has_built_in: bool,
    /// The latest minute in which an event was recorded.
    pub(super) current: i64,
    /// Of the minute that was counted in last, as long as no bucket went and no time passed.
    opened: Option<Opened>,
    pub(super) retiring: bool,
    /// Rows of buckets that are gone.
    pub(super) gone: VecDeque<Gone>,
    pub(super) notes: Notes,
}

impl Rollups {
    /// Roll-ups of nothing, of events whose dimensions are hashed by this hasher.
    pub(crate) fn new(options: &RollupOptions, hasher: &ahash::RandomState) -> Self {
        let dictionary = |name: &String| {
            Dictionary::new(Dimension::parse(name), options.max_values, hasher.clone())
        };
        // The built-in ones have sums anyway.
        let declared = options.values.iter().map(|name| ValueName::parse(name));
        let declared = declared.filter(|value| matches!(value, ValueName::Other(_)));
        let declared: Box<[ValueFold]> = declared.map(|value| (value, Fold::Sum)).collect();
        let [minutes, hours, days] = options.kept_buckets();
        let [minute, part, day] = UNITS.map(Grid::of);
        let levels =
            || [Level::new(minute, minutes), Level::new(part, hours), Level::new(day, days)];
        Self {
            dictionaries: options.dimensions.iter().map(dictionary).collect(),
            series: [ALL, OTHER_TUPLES].map(|_| Series::new(Key::Fixed)).into(),
            free: Vec::new(),
            tuples: HashTable::new(),
            max_tuples: options.max_combinations,
            widest: 0,
            values: levels(),
            combined: levels(),
            max_rows: options.max_rows,
            uncounted: Dropped::new(),
            without_column: Dropped::new(),
            columns: Arc::new(Columns::with(&declared)),
            declared,
            hasher: hasher.clone(),
            has_built_in: BUILT_IN
                .iter()
                .all(|name| options.dimensions.iter().any(|it| it == name)),
            current: i64::MIN,
            opened: None,
            retiring: false,
            gone: VecDeque::new(),
            notes: Notes::default(),
        }
    }

    /// Counts an event that happened `at` and was recorded `now`, as one of the log. Returns the
    /// place for what the built-in dimensions of such an event set in its signature, where its
    /// values are known as those of a tuple; 0 where it is not there yet.
    pub(crate) fn add(
        &mut self,
        event: &impl Countable,
        at: Timestamp,
        now: Timestamp,
        ordinal: u64,
    ) -> Option<&mut u64> {
        if self.columns.is_to_learn(event) {
            Arc::make_mut(&mut self.columns).learn(event, ordinal, &self.without_column);
        }
        let mut addend = Addend::default();
        self.columns.read(event, at, ordinal, &mut addend);
        if addend.cells.iter().any(|cell| cell.column == OTHER_VALUES) {
            self.without_column.add(at);
        }
        let minute = minute_of(at);
        let current = if at == now { minute } else { minute_of(now) };
        if self.current < current {
            self.current = current;
            self.retiring = true;
            self.opened = None;
        }
        if self.opened.as_ref().is_none_or(|opened| opened.minute != minute) {
            self.open(minute);
        }
        let tuple = self.add_to_all(event, &addend);
        self.recorded(ordinal);
        self.sweep_step();
        let tuple = tuple.filter(|_| self.has_built_in)?;
        self.series.get_mut(tuple as usize).map(|series| &mut series.signature)
    }

    /// The dimensions that are declared.
    pub(crate) fn dimensions(&self) -> Vec<Dimension> {
        self.dictionaries.iter().map(|known| known.dimension.clone()).collect()
    }

    /// Rows were moved: what was made ready is looked for anew.
    pub(super) fn is_changed(&mut self) {
        self.opened = None;
    }

    /// The engine's time was set back to `now`: buckets are kept by it from here on.
    pub(crate) fn set_back(&mut self, now: Timestamp) {
        self.current = self.current.min(minute_of(now));
        self.opened = None;
    }

    /// Fills in what columns that are new have of an event that was counted before.
    pub(crate) fn fill_in(
        &mut self,
        event: &impl Countable,
        at: Timestamp,
        ordinal: u64,
        new: &[(Column, u64)],
    ) {
        let addend = self.columns.addend_of(event, at, ordinal, new);
        if !addend.cells.is_empty() {
            let minute = minute_of(at);
            let [values, combined] = [&self.values, &self.combined]
                .map(|levels| levels.each_ref().map(|level| level.kept_bucket_of(minute)));
            self.opened = Some(Opened { minute, values, combined });
            self.add_to_all(event, &addend);
            // Who counts an event makes its buckets ready.
            self.opened = None;
        }
    }

    /// Keeps the folds that rules and meters need; returns the columns that the log's events are to
    /// be [filled into](Self::fill_in), each with the ordinal up to which. `dropped` is when the
    /// events happened that the log does not have any more.
    pub(crate) fn track(&mut self, wanted: &[ValueFold], dropped: &Dropped) -> Vec<(Column, u64)> {
        let wanted = self.with_declared(wanted);
        if !self.columns.is_to_track(&wanted) {
            return Vec::new();
        }
        Arc::make_mut(&mut self.columns).track(&wanted, dropped, &self.without_column)
    }

    /// Whether [`track`](Self::track) would change something.
    pub(crate) fn is_to_track(&self, wanted: &[ValueFold]) -> bool {
        self.columns.is_to_track(&self.with_declared(wanted))
    }

    fn with_declared(&self, wanted: &[ValueFold]) -> Vec<ValueFold> {
        wanted.iter().chain(&self.declared).cloned().collect()
    }

    /// Makes the buckets of a minute ready.
    #[cold]
    fn open(&mut self, minute: i64) {
        let current = self.current;
        let open = |levels: &mut [Level; 3]| {
            levels.each_mut().map(|level| {
                let bucket = level.bucket_of(minute);
                level.open(bucket, current).then_some(bucket)
            })
        };
        let values = open(&mut self.values);
        // What no day keeps is kept of no tuple either.
        let combined =
            if let [.., Some(_)] = values { open(&mut self.combined) } else { Buckets::default() };
        self.opened = Some(Opened { minute, values, combined });
    }

    /// Adds to the rows of all series of an event, in the buckets that are ready; returns that of
    /// its tuple, where it was found by the values as they are, none of which counts among the
    /// others.
    fn add_to_all(&mut self, event: &impl Countable, addend: &Addend) -> Option<u32> {
        let Some(Opened { values, combined, .. }) = &self.opened else { return None };
        let ([minute, _, day], [minute_of_tuple, _, day_of_tuple]) = (values, combined);
        let (minute, minute_of_tuple) = (*minute, *minute_of_tuple);
        // Hours and days are kept at least as long as minutes and hours.
        if day.is_none() {
            return None;
        }
        let has_tuples = day_of_tuple.is_some();
        // All is found before anything is added: most of the time goes by waiting for memory,
        // and what one look-up waits for does not hang on another's.
        let mut series = SeriesOfEvent::new(self.dictionaries.len());
        if self.recent_series(event, &mut series).is_none() {
            series = self.series_of_event(event, has_tuples);
        }
        let tuple = series.tuple.filter(|_| has_tuples);
        // Mostly to the rows that they have in the newest minute.
        let Self { series: all, values: [minutes, ..], combined: [of_tuples, ..], .. } = self;
        let amounts = addend.amounts();
        let mut rows = of_tuples.deferred_rows(minute_of_tuple);
        let other_tuple = tuple.filter(|tuple| !add_known(&mut rows, all, *tuple, &amounts));
        let mut rows = minutes.deferred_rows(minute);
        let mut others = 0_u32;
        for (place, number) in (0..).zip(series.values()) {
            if !add_known(&mut rows, all, *number, &amounts) {
                others |= 1_u32.unbounded_shl(place);
            }
        }
        if others != 0 || other_tuple.is_some() {
            self.add_to_others(&series, other_tuple, others, addend);
        }
        series.tuple.filter(|_| series.is_exact)
    }

    /// Adds to the rows of those of an event's series that have none in the newest minute: maybe of
    /// its tuple, and of those of its values whose bits are set.
    #[cold]
    fn add_to_others(
        &mut self,
        series: &SeriesOfEvent,
        tuple: Option<u32>,
        others: u32,
        addend: &Addend,
    ) {
        let Some(Opened { values, combined, .. }) = self.opened else { return };
        if let Some(tuple) = tuple {
            self.add_to(Kind::Tuples, tuple, &combined, addend);
        }
        let is_other = |place| others.unbounded_shr(place) & 1 == 1;
        for (_, number) in (0..).zip(series.values()).filter(|(place, _)| is_other(*place)) {
            self.add_to(Kind::Values, *number, &values, addend);
        }
    }

    /// Finds the series of an event that has the same values as the last one with its value of the
    /// widest dimension: one value is looked up, and the others are only compared. `None` where it
    /// has not.
    #[inline]
    fn recent_series(&self, event: &impl Countable, found: &mut SeriesOfEvent) -> Option<()> {
        let widest = self.dictionaries.get(self.widest)?;
        let (text, hash) = event.hashed(&widest.dimension, &self.hasher)?;
        let value = widest.find_hashed(text, hash)?;
        let tuple = self.series.get(widest.get(value)?.series()? as usize)?.recent;
        let Key::Tuple(known) = &self.series.get(tuple as usize)?.key else { return None };
        let places = self.dictionaries.iter().zip(&**known).zip(&mut found.values).enumerate();
        for (place, ((dictionary, id), number)) in places {
            let known = dictionary.get(*id)?;
            let is_it = if place == self.widest {
                *id == value
            } else {
                dictionary.is_known_as(*id, event.dimension(&dictionary.dimension))
            };
            *number = known.series().filter(|_| is_it)?;
        }
        found.tuple = Some(tuple);
        Some(())
    }

    /// The series of an event, new ones where it has values, or a tuple, that have none.
    fn series_of_event(&mut self, event: &impl Countable, has_tuples: bool) -> SeriesOfEvent {
        let mut tuple = [MISSING; MAX_DIMENSIONS];
        let Self { dictionaries, hasher, .. } = self;
        let mut series = SeriesOfEvent::new(dictionaries.len());
        let mut are_known = true;
        let places = dictionaries.iter_mut().zip(&mut tuple).zip(&mut series.values);
        for ((dictionary, id), number) in places {
            *id = dictionary.intern(event.hashed(&dictionary.dimension, hasher));
            match dictionary.get(*id).and_then(Value::series) {
                Some(known) => *number = known,
                None => are_known = false,
            }
        }
        let tuple = tuple.get(..dictionaries.len()).unwrap_or_default();
        if !are_known {
            for (place, (id, number)) in tuple.iter().zip(&mut series.values).enumerate() {
                *number = self.series_of_value(place, *id);
            }
        }
        // With one dimension a tuple is a value.
        if tuple.len() > 1 && has_tuples {
            let hint = series.values.get(self.widest).copied().unwrap_or(ALL);
            let number = self.series_of_tuple(tuple, hint);
            series.is_exact = number != OTHER_TUPLES && !tuple.contains(&OTHER);
            series.tuple = Some(number);
        }
        series
    }

    pub(super) fn series_of_value(&mut self, place: usize, value: ValueId) -> u32 {
        let known = self.dictionaries.get(place).and_then(|known| known.get(value)?.series());
        known.unwrap_or_else(|| self.new_series_of_value(place, value))
    }

    #[cold]
    fn new_series_of_value(&mut self, place: usize, value: ValueId) -> u32 {
        let values = |place: usize| self.dictionaries.get(place).map_or(0, Dictionary::len);
        if values(place) > values(self.widest) {
            self.widest = place;
        }
        let number = u8::try_from(place).unwrap_or(u8::MAX);
        let series = self.new_series(Key::Value(number, value));
        if !self.is_whole(place, value) {
            self.notes.promote(promoted_value(number, value));
        }
        let dictionary = self.dictionaries.get_mut(place);
        if let Some(known) = dictionary.and_then(|dictionary| dictionary.get_mut(value)) {
            known.set_series(Some(series));
        }
        series
    }

    /// The series of a tuple, which may be the one that was last counted with the value whose
    /// series is the hint.
    #[inline]
    fn series_of_tuple(&mut self, tuple: &[ValueId], hint: u32) -> u32 {
        let recent = self.series.get(hint as usize).map_or(ALL, |value| value.recent);
        if self.has_tuple(recent, tuple) {
            return recent;
        }
        let hash = self.hasher.hash_one(tuple);
        let number = match self.tuples.find(hash, |number| self.has_tuple(*number, tuple)) {
            Some(series) => *series,
            None if self.tuples.len() >= self.max_tuples => OTHER_TUPLES,
            None => self.insert_tuple(hash, tuple),
        };
        if let Some(value) = self.series.get_mut(hint as usize) {
            value.recent = number;
        }
        number
    }

    #[inline]
    pub(super) fn has_tuple(&self, number: u32, tuple: &[ValueId]) -> bool {
        let key = self.series.get(number as usize).map(|series| &series.key);
        matches!(key, Some(Key::Tuple(known)) if **known == *tuple)
    }

    #[cold]
    fn insert_tuple(&mut self, hash: u64, tuple: &[ValueId]) -> u32 {
        let number = self.new_series(Key::Tuple(StoredTuple::new(tuple)));
        self.notes.promote(promoted_tuple(number));
        self.index_tuple(hash, number);
        for (dictionary, value) in self.dictionaries.iter_mut().zip(tuple) {
            if let Some(known) = dictionary.get_mut(*value) {
                insert_sorted(&mut known.tuples, number);
            }
        }
        number
    }

    pub(super) fn index_tuple(&mut self, hash: u64, number: u32) {
        let Self { tuples, series, hasher, .. } = self;
        tuples.insert_unique(hash, number, |number| {
            match series.get(*number as usize).map(|it| &it.key) {
                Some(Key::Tuple(known)) => hasher.hash_one(&**known),
                _ => 0,
            }
        });
    }

    #[cold]
    fn new_series(&mut self, key: Key) -> u32 {
        let free = self.free.pop();
        // Values and tuples are capped far below 32 bits.
        let number = free.unwrap_or_else(|| u32::try_from(self.series.len()).unwrap_or(u32::MAX));
        let new = Series::new(key);
        match self.series.get_mut(number as usize) {
            Some(place) => *place = new,
            None => self.series.push(new),
        }
        number
    }

    /// Adds to the rows of a series.
    fn add_to(&mut self, kind: Kind, number: u32, buckets: &Buckets, addend: &Addend) {
        let Some(series) = self.series.get_mut(number as usize) else { return };
        let levels = match kind {
            Kind::Values => &mut self.values,
            Kind::Tuples => &mut self.combined,
        };
        let mut places = levels.iter_mut().zip(buckets).zip(&mut series.known);
        for ((level, bucket), known) in places.by_ref() {
            let Some(bucket) = bucket else { continue };
            let Added { is_new, is_deferred } = level.add(*bucket, number, known, addend);
            series.rows = series.rows.saturating_add(u32::from(is_new));
            if !is_deferred {
                continue;
            }
            // The part's row and the day's are there from now on, and get what they lack later.
            if is_new {
                for ((level, bucket), known) in places {
                    let Some(bucket) = bucket else { continue };
                    let (_, Added { is_new, .. }) = level.row_or_new(*bucket, number, known);
                    series.rows = series.rows.saturating_add(u32::from(is_new));
                }
            }
            return;
        }
    }

    /// In how many series an event counts: all, its values, and their tuple.
    pub(super) fn series_an_event(&self) -> usize {
        self.dictionaries.len().saturating_add(2)
    }

    pub(super) fn levels(&self, kind: Kind) -> &[Level; 3] {
        match kind {
            Kind::Values => &self.values,
            Kind::Tuples => &self.combined,
        }
    }

    /// From when on the levels hold everything of a kind; `dropped` says what the log does not.
    pub(super) fn floors<'l>(&self, kind: Kind, dropped: &'l Dropped) -> Floors<'l> {
        let levels = self.levels(kind).each_ref();
        let [minute, hour, day] = levels.map(Level::floor_minute);
        let [.., days] = &self.values;
        // What no day keeps is not counted by the hour, nor that by the minute.
        let day = day.max(days.floor_minute());
        let hour = hour.max(day);
        let [minutes, hours, days] = levels.map(|level| level.grid);
        Floors { levels: [(minutes, minute.max(hour)), (hours, hour), (days, day)], dropped }
    }

    /// The levels of values, then those of tuples.
    pub(super) fn all_levels(&self) -> impl Iterator<Item = &Level> {
        self.values.iter().chain(&self.combined)
    }

    /// How many rows there are, over all resolutions and those that are gone but in memory yet,
    /// and how many series.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let gone = self.gone.iter().map(|gone| gone.bucket.rows().len());
        let rows = self.all_levels().map(Level::rows).chain(gone).fold(0, usize::saturating_add);
        (rows, self.series.len().saturating_sub(self.free.len()))
    }

    /// An event was added.
    #[inline]
    fn recorded(&mut self, ordinal: u64) {
        self.note_floors();
        self.notes.next = ordinal.saturating_add(1);
    }

    #[inline]
    pub(super) fn note_floors(&mut self) {
        if let Some(saving) = &mut self.notes.saving {
            let levels = self.values.iter().chain(&self.combined);
            saving.note_floors(self.notes.next, levels.map(|level| level.shape().floor));
        }
    }

    #[inline]
    fn sweep_step(&mut self) {
        if self.is_folding() {
            self.fold_step();
        }
        let is_full = |level: &Level| level.rows() > self.max_rows;
        if self.retiring || self.values.iter().any(is_full) || self.combined.iter().any(is_full) {
            self.retire();
        }
        if !self.gone.is_empty() {
            self.drop_gone_rows();
        }
    }

    /// Takes out one bucket of each level whose time or place is over: as many as one call can
    /// add.
    #[cold]
    fn retire(&mut self) {
        let Self { values, combined, current, max_rows, gone, .. } = self;
        let before = gone.len();
        for (kind, levels) in [(Kind::Values, values), (Kind::Tuples, combined)] {
            let retired = levels.iter_mut().filter_map(|level| level.retire(*current, *max_rows));
            gone.extend(retired.map(|(minute, bucket)| Gone { kind, minute, bucket }));
        }
        self.retiring &= gone.len() > before;
        self.opened = None;
        self.note_floors();
    }

    /// Uncounts a few of the rows that are gone, and drops series that have none left.
    #[cold]
    pub(super) fn drop_gone_rows(&mut self) {
        for _ in 0..self.series_an_event().saturating_mul(ROWS_A_SERIES) {
            let Some(Gone { kind, minute, bucket }) = self.gone.front_mut() else { return };
            let (kind, minute) = (*kind, *minute);
            match bucket.pop() {
                None => drop(self.gone.pop_front()),
                Some((row, is_folded)) => {
                    if !is_folded {
                        self.fold_row(kind, minute, &row);
                    }
                    if let Some(series) = self.series.get_mut(row.series as usize) {
                        series.rows = series.rows.saturating_sub(1);
                    }
                    self.drop_unused(row.series);
                }
            }
        }
    }

    pub(super) fn drop_unused(&mut self, number: u32) {
        let Some(series) = self.series.get_mut(number as usize) else { return };
        if series.rows > 0 || matches!(series.key, Key::Free | Key::Fixed) {
            return;
        }
        match std::mem::replace(&mut series.key, Key::Free) {
            Key::Value(place, value) => {
                let Some(dictionary) = self.dictionaries.get_mut(usize::from(place)) else {
                    return;
                };
                if let Some(known) = dictionary.get_mut(value) {
                    known.set_series(None);
                }
                dictionary.forget_unused(value);
            }
            Key::Tuple(tuple) => {
                let hash = self.hasher.hash_one(&*tuple);
                if let Ok(entry) = self.tuples.find_entry(hash, |known| *known == number) {
                    entry.remove();
                }
                for (dictionary, value) in self.dictionaries.iter_mut().zip(&*tuple) {
                    if let Some(known) = dictionary.get_mut(*value) {
                        remove_sorted(&mut known.tuples, number);
                    }
                    dictionary.forget_unused(*value);
                }
            }
            Key::Free | Key::Fixed => {}
        }
        self.free.push(number);
    }

    /// The series of the values of a dimension that came when there was no room for another.
    pub(super) fn others_of(&self, place: usize) -> Option<u32> {
        self.dictionaries.get(place)?.get(OTHER)?.series()
    }
}
