//! Taking an event out of the sums again.
//!
//! Sums and numbers take it with the opposite sign, in the rows that have it, and sketches take its
//! amount out of its bucket. The highest, the lowest and the latest of some amounts cannot: where
//! the event's is the one that a row has, that is folded anew from the events of its day that the
//! log has. Where the log lacks some of them, it is known [before](Rollups::check_out), and nothing
//! is taken out.
//!
//! An event whose value came when there was no room for another counts among the others. Where its
//! value has got room since, and both have events of its day, nobody knows where it is.

use smallvec::SmallVec;

use super::cells::{Cell, Cells, Column, Fold, NewCells};
use super::countable::Countable;
use super::dictionary::{MISSING, OTHER, Value};
use super::level::Level;
use super::plan::{minute_of, start_of};
use super::rollups::Rollups;
use super::row::{Addend, Row};
use super::series::{ALL, Kind, OTHER_TUPLES, Tuple};
use crate::base::clock::Timestamp;
use crate::event::Dimension;
use crate::log::{Dropped, MemoryLog, Stored};

/// Why an event cannot be taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Whether it is among the others of a dimension is not known.
    AmongOthers(Dimension),
    /// It has the highest or latest amount of its time, and the log lacks events of that.
    Gauge(Box<str>),
}

/// An event that was counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'e, 's> {
    pub(crate) event: &'e Stored<'s>,
    /// The ordinal by which it was counted.
    pub(crate) ordinal: u64,
}

/// The rows of a series that an event is in, by level.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountedIn {
    kind: Kind,
    series: u32,
}

impl Counted<'_, '_> {
    fn at(&self) -> Timestamp {
        self.event.timestamp()
    }
}

/// What is added to take an event out: its sums with the opposite sign, without what is no sum.
pub(super) fn opposite(addend: &Addend) -> Addend {
    let mut opposite = Addend { sums: addend.sums.map(u64::wrapping_neg), ..Addend::default() };
    // A sum of 64 bits that is to fall has 2^64 more than it should: its carry has as much less.
    let [_, fixed @ ..] = addend.sums;
    let mut carries: SmallVec<[Cell; 4]> = SmallVec::new();
    for (column, amount) in (0..).zip(fixed) {
        let own = addend.cells.iter().find(|cell| cell.column == column);
        let own = own.map_or(0, Cell::value);
        let borrowed = if amount > 0 { 1_i128 << u64::BITS } else { 0 };
        let back = own.saturating_add(borrowed).saturating_neg();
        if back != 0 {
            carries.push(Cell::new(column, Fold::Sum, back));
        }
    }
    let is_carry = |cell: &&Cell| usize::try_from(cell.column).is_ok_and(|it| it < fixed.len());
    let rest = addend.cells.iter().filter(|cell| !is_carry(cell));
    let sums = rest.filter_map(Cell::opposite);
    opposite.cells = carries.into_iter().chain(sums).collect();
    opposite
}

/// What of an event is the highest, the lowest or the latest of some.
fn gauges(addend: &Addend) -> SmallVec<[Cell; 4]> {
    let is_gauge = |cell: &&Cell| cell.opposite().is_none();
    addend.cells.iter().filter(is_gauge).copied().collect()
}

/// Whether a row has the amount of an event for one of its gauges.
fn has_gauge(row: &Row, gauges: &[Cell]) -> bool {
    gauges.iter().any(|gauge| {
        let own = row.cells.as_slice().iter().find(|cell| cell.column == gauge.column);
        own.is_some_and(|own| match gauge.fold {
            Fold::Latest => own.mark() == gauge.mark(),
            _ => own.value() == gauge.value(),
        })
    })
}

impl Rollups {
    /// Whether an event can be taken out.
    pub(crate) fn check_out(&self, out: &Counted<'_, '_>, log: &MemoryLog) -> Result<(), Kept> {
        let minute = minute_of(out.at());
        let series = self.series_of_counted(out.event, minute).map_err(Kept::AmongOthers)?;
        let addend = self.columns.addend(out.event, out.at(), out.ordinal);
        let gauges = gauges(&addend);
        if gauges.is_empty() || !self.is_shown(&series, minute, &gauges) {
            return Ok(());
        }
        let names_none = |of: &CountedIn| self.is_others(*of);
        if series.iter().any(names_none) || !log.dropped().spare(&self.day_of(minute)) {
            let name = gauges.first().and_then(|cell| self.columns.tracked_value(cell.column));
            return Err(Kept::Gauge(name.unwrap_or_default().into()));
        }
        Ok(())
    }

    /// Takes an event out of all its rows, by an entry of the log with this ordinal.
    pub(crate) fn take_out(
        &mut self,
        out: &Counted<'_, '_>,
        log: Option<&MemoryLog>,
        now: Timestamp,
        ordinal: u64,
    ) {
        // What is gone and not folded yet lacks nothing of what is taken from its day.
        while !self.gone.is_empty() {
            self.drop_gone_rows();
        }
        let minute = minute_of(out.at());
        let addend = self.columns.addend(out.event, out.at(), out.ordinal);
        let (opposite, gauges) = (opposite(&addend), gauges(&addend));
        // Where that is not known any more, the total at least is.
        let series = self.series_of_counted(out.event, minute);
        let series = series.unwrap_or_else(|_| SmallVec::from_elem(CountedIn::ALL, 1));
        let refolds = !gauges.is_empty() && self.is_shown(&series, minute, &gauges);
        if refolds {
            self.make_whole();
        }
        for of in &series {
            self.take_from(*of, minute, &opposite);
        }
        if refolds {
            self.refold(out, &series, &gauges, (log, u32::MAX));
        }
        self.is_changed();
        self.note_entry(now, ordinal);
    }

    /// Takes an event out, and counts what it is from then on, where it is something.
    pub(crate) fn correct(
        &mut self,
        out: &Counted<'_, '_>,
        amended: Option<&Stored<'_>>,
        (now, ordinal): (Timestamp, u64),
        log: Option<&MemoryLog>,
    ) {
        self.take_out(out, log, now, ordinal);
        if let Some(event) = amended {
            self.add(event, event.timestamp(), now, ordinal);
        }
    }

    /// Notes that the log has an entry of an ordinal that is no event.
    fn note_entry(&mut self, now: Timestamp, ordinal: u64) {
        let current = minute_of(now);
        if self.current < current {
            (self.current, self.retiring) = (current, true);
        }
        self.note_floors();
        self.notes.next = ordinal.saturating_add(1);
    }

    /// Takes from the rows of a series: from the minute's alone, where the part and the day get
    /// that later.
    fn take_from(&mut self, of: CountedIn, minute: i64, opposite: &Addend) {
        for level in self.levels_mut(of.kind) {
            let Some(bucket) = level.kept_bucket_of(minute) else { continue };
            let Some((row, is_deferred)) = level.row_mut(bucket, of.series) else { continue };
            row.add(opposite);
            if is_deferred {
                return;
            }
        }
    }

    /// Whether a gauge of the event is what one of its rows has.
    fn is_shown(&self, series: &[CountedIn], minute: i64, gauges: &[Cell]) -> bool {
        series.iter().any(|of| {
            self.levels(of.kind).iter().any(|level| {
                let row = level.kept_bucket_of(minute).and_then(|at| level.row_in(at, of.series));
                row.is_some_and(|row| has_gauge(row, gauges))
            })
        })
    }

    /// The day of a minute.
    fn day_of(&self, minute: i64) -> std::ops::Range<Timestamp> {
        let [.., days] = &self.values;
        let start = days.grid.start(days.bucket_of(minute));
        start_of(start)..start_of(days.grid.end_after(minute))
    }

    fn is_others(&self, CountedIn { kind, series }: CountedIn) -> bool {
        match kind {
            Kind::Tuples => series == OTHER_TUPLES,
            Kind::Values => {
                (0..self.dictionaries.len()).any(|place| self.others_of(place) == Some(series))
            }
        }
    }

    /// Folds gauges of an event's rows anew, without the event, from what the log has; of rows that
    /// were copied, those copied before the event of a number. What the log does not tell is
    /// lacking from then on.
    fn refold(
        &mut self,
        out: &Counted<'_, '_>,
        series: &[CountedIn],
        gauges: &[Cell],
        (log, event): (Option<&MemoryLog>, u32),
    ) {
        let minute = minute_of(out.at());
        let day = self.day_of(minute);
        let known = log.filter(|log| log.dropped().spare(&day));
        let Some(log) = known.filter(|_| !series.iter().any(|of| self.is_others(*of))) else {
            let lacks = Dropped::of(day.start, day.end);
            let columns = std::sync::Arc::make_mut(&mut self.columns);
            for gauge in gauges {
                columns.lack(gauge.column, &lacks);
            }
            return;
        };
        let columns: SmallVec<[Column; 4]> = gauges.iter().map(|gauge| gauge.column).collect();
        let mut anew: Vec<(CountedIn, [Cells; 3])> =
            series.iter().map(|of| (*of, Default::default())).collect();
        for segment in log.overlapping(day.start, day.end) {
            for packed in segment.events() {
                let is_in = packed.timestamp().is_some_and(|at| day.contains(&at));
                let is_out = packed.ordinal == out.ordinal;
                if !is_in || is_out || log.corrections().hides(packed.ordinal) {
                    continue;
                }
                let Some(stored) = packed.read() else { continue };
                self.add_gauges(&stored, packed.ordinal, (out.event, minute), &columns, &mut anew);
            }
        }
        for (of, cells) in anew {
            for (level, cells) in self.levels_mut(of.kind).iter_mut().zip(cells) {
                let bucket = level.kept_bucket_of(minute);
                let row = bucket.and_then(|bucket| level.row_mut(bucket, of.series));
                if let Some((row, _)) = row.filter(|(row, _)| row.copied_at <= event) {
                    for column in &columns {
                        let _ = row.cells.take(*column);
                    }
                    row.cells.merge(cells.as_new());
                }
            }
        }
    }

    /// Folds gauges anew after an event was taken out of these rows as they were copied.
    pub(super) fn refold_copied(
        &mut self,
        out: &Counted<'_, '_>,
        series: &[CountedIn],
        within: (Option<&MemoryLog>, u32),
    ) {
        let gauges = gauges(&self.columns.addend(out.event, out.at(), out.ordinal));
        if !gauges.is_empty() && self.is_shown(series, minute_of(out.at()), &gauges) {
            self.refold(out, series, &gauges, within);
        }
    }

    /// Adds what an event has of gauges to the rows that it shares with another one.
    fn add_gauges(
        &self,
        event: &Stored<'_>,
        ordinal: u64,
        (other, minute): (&Stored<'_>, i64),
        columns: &[Column],
        rows: &mut [(CountedIn, [Cells; 3])],
    ) {
        let at = event.timestamp();
        let mut cells = self.columns.addend(event, at, ordinal).cells;
        cells.retain(|cell| columns.contains(&cell.column));
        let own = minute_of(at);
        for (of, cells_of) in rows {
            if cells.is_empty() || !self.shares(*of, event, other) {
                continue;
            }
            for (level, into) in self.levels(of.kind).iter().zip(cells_of) {
                if level.bucket_of(own) == level.bucket_of(minute) {
                    into.merge(NewCells::of_event(&cells));
                }
            }
        }
    }

    /// Whether two events are of one series, which is one of the second.
    fn shares(&self, of: CountedIn, event: &Stored<'_>, other: &Stored<'_>) -> bool {
        let is_same = |dimension: &Dimension| {
            Countable::dimension(event, dimension) == Countable::dimension(other, dimension)
        };
        match of.kind {
            Kind::Values if of.series == ALL => true,
            Kind::Values => {
                let own = self.dictionaries.iter().find(|known| {
                    let id = match Countable::dimension(other, &known.dimension) {
                        Some(text) => known.find(text),
                        None => Some(MISSING),
                    };
                    id.and_then(|id| known.get(id)?.series()) == Some(of.series)
                });
                own.is_some_and(|known| is_same(&known.dimension))
            }
            Kind::Tuples => self.dictionaries.iter().all(|known| is_same(&known.dimension)),
        }
    }

    /// The series that an event of a minute was counted in, of those that have rows; or the
    /// dimension of which that is not known.
    fn series_of_counted(
        &self,
        event: &Stored<'_>,
        minute: i64,
    ) -> Result<SmallVec<[CountedIn; 8]>, Dimension> {
        let ([.., days], [.., days_of_tuples]) = (&self.values, &self.combined);
        // A day has a row from its first event on, though what it adds may be folded later.
        let has = |level: &Level, series: u32| {
            let bucket = level.kept_bucket_of(minute);
            bucket.and_then(|bucket| level.row_in(bucket, series)).is_some()
        };
        let mut found: SmallVec<[CountedIn; 8]> = SmallVec::from_elem(CountedIn::ALL, 1);
        let mut tuple = Tuple::new();
        for (place, dictionary) in self.dictionaries.iter().enumerate() {
            let text = Countable::dimension(event, &dictionary.dimension);
            let known = text.map_or(Some(MISSING), |text| dictionary.find(text));
            let series_of = |id| dictionary.get(id).and_then(Value::series);
            let own = known.filter(|id| series_of(*id).is_some_and(|series| has(days, series)));
            let others = self.others_of(place).filter(|series| has(days, *series));
            let id = match (own, others) {
                (Some(id), Some(_)) if id != MISSING && !dictionary.is_whole(id) => {
                    return Err(dictionary.dimension.clone());
                }
                (Some(id), _) => id,
                (None, _) => OTHER,
            };
            tuple.push(id);
            found.extend(series_of(id).map(|series| CountedIn { kind: Kind::Values, series }));
        }
        if tuple.len() > 1 {
            let own = self.find_tuple(&tuple).filter(|series| has(days_of_tuples, *series));
            found.push(CountedIn { kind: Kind::Tuples, series: own.unwrap_or(OTHER_TUPLES) });
        }
        Ok(found)
    }
}

impl CountedIn {
    /// All events.
    pub(super) const ALL: Self = Self { kind: Kind::Values, series: ALL };

    pub(super) fn new(kind: Kind, series: u32) -> Self {
        Self { kind, series }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::row::Total;

    #[test]
    fn the_opposite_of_an_event_leaves_nothing_of_it() {
        const COSTS: [i128; 6] = [0, 1, -1, 1 << 64, (1 << 64) - 1, -3_000_000_000_000_000_000_000];
        for (tokens, cost) in [0, 1, u64::MAX].into_iter().flat_map(|a| COSTS.map(|b| (a, b))) {
            let mut addend = Addend::default();
            addend.set_sums([tokens, 2, tokens, 0, 5]);
            addend.set_cost(cost);
            addend.cells.push(Cell::new(9, Fold::Sum, -7));
            let mut row = Row::of(1);
            let other = {
                row.add(&addend);
                row.clone()
            };
            row.add(&addend);
            row.add(&opposite(&addend));
            let total = |row: &Row| {
                let mut total = Total::default();
                total.merge(row);
                (total.events, total.fixed, total.cells().map(Cell::value).collect::<Vec<_>>())
            };
            assert_eq!(total(&row), total(&other), "{tokens} {cost}");
        }
    }
}
