//! Cutting the periods of keys anew that have another calendar now.
//!
//! Bounds of periods are in the cells, and calls go by the cells that they find. So who changes a
//! calendar, and has it known to whoever begins a period, then goes to the rows of its keys, here:
//! each of them is cut anew under the lock of its shard, between two decisions. One that makes a
//! row or a cell meanwhile does so by the new calendar. A row that is cut by its calendar already
//! stays as it is: who does it once more changes nothing.
//!
//! What is used of the period of now, and of those ahead of it, is asked of what is recorded. Where
//! that is not known the use of the period of now is carried over as one lump. Earlier periods are
//! asked for when an event comes for them, as are those of keys that have no cell: the counters are
//! told that they may have [missed](Counter::misses) something.
//!
//! What a row gets is in the journal, as a patch of it: each cell, and what is held, because a hold
//! is in one period, and a record that ends it must find it there. What a row loses is not: who
//! opens a store with a copy from before cuts all rows anew once more. Where the engine's own zone
//! is another one than that of a copy, too many rows are cut anew for that, and cells that look
//! right are not trusted either: they may be from before the zone was another one.

use smallvec::SmallVec;

use super::Table;
use super::hold::{Touched, expire};
use super::locked::OneRow;
use super::request::RowAddress;
use super::shard::held::{HeldCounter, HeldRow};
use super::shard::{GrowingRow, RowSlot, Shard};
use super::upkeep;
use crate::base::calendar::Calendar;
use crate::counters::algorithms::periods::{Bounds, Periods};
use crate::counters::cell::CellState;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::history::{History, Used};
use crate::counters::row::{Row, RowKey, key_of_words};
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// What rows are cut anew by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recut<'r> {
    /// The counters of the rules in force, which do not change meanwhile.
    pub(crate) counters: &'r CounterSet,
    /// What is recorded, where something is.
    pub(crate) history: Option<&'r dyn History>,
    pub(crate) now: Moment,
    /// Rows may be older than a calendar that was in force meanwhile, and what is done to them is
    /// in no journal.
    pub(crate) distrusts: bool,
}

/// One key's row that is cut anew.
struct Cut<'r> {
    counters: &'r CounterSet,
    history: Option<&'r dyn History>,
    values: &'r [&'r str],
    calendar: Calendar,
    at: At,
    distrusts: bool,
}

/// A counter of it.
struct CutCounter<'r> {
    counter: &'r Counter,
    /// The place of its rule.
    place: u32,
    periods: &'r Periods,
}

impl Table {
    /// Cuts the periods of these rows anew, as far as they are there.
    pub(crate) fn recut_rows(&self, recut: &Recut<'_>, rows: &[RowAddress<'_>]) {
        for row in rows {
            let Some(mut locked) = OneRow::lock_one(self, row.hash, row.key()) else { continue };
            if let Some(place) = locked.place_at(0) {
                recut.row(self, place.shard, place.slot);
            }
        }
    }

    /// The same of all rows of which `is_it` is told a group and the values of a key; those that
    /// keys share are of none. O(keys), each shard in one go under its lock.
    pub(crate) fn recut_where(&self, recut: &Recut<'_>, is_it: &dyn Fn(u32, &[&str]) -> bool) {
        let is_it = |row: &Row<'_>| {
            let (group, words) = row.identity();
            let is_it = |key: RowKey<'_>| match key {
                RowKey::Partition { group, values } => is_it(group, values),
                RowKey::Overflow { .. } => is_it(group, &[]),
            };
            recut.is_open(*row) && key_of_words(group, words, is_it) == Some(true)
        };
        for shard in self.shards() {
            let shard = &mut *shard.lock();
            let found = shard.rows().filter(is_it);
            let found = found.map(|row| {
                let (group, words) = row.identity();
                (row.hash(), group, SmallVec::<[u64; 4]>::from(words))
            });
            let found: Vec<_> = found.collect();
            for (hash, group, words) in found {
                let slot = key_of_words(group, &words, |key| shard.find(hash, key)).flatten();
                if let Some(slot) = slot {
                    recut.row(self, shard, slot);
                }
            }
        }
    }
}

impl Recut<'_> {
    /// Whether some counter of a row goes by the calendar of its key.
    fn is_open(&self, row: Row<'_>) -> bool {
        row.cells().any(|(number, _)| {
            self.counters.answering(number).is_some_and(|counter| counter.policy.is_of_key())
        })
    }

    fn row(&self, table: &Table, shard: &mut Shard, mut slot: RowSlot) {
        let Self { counters, history, now, distrusts } = *self;
        let at = table.timeline.at(shard.not_before(now), None);
        shard.advance(at.now);
        let mut held = shard.take_held_at(slot);
        if let Some(held) = &mut held {
            expire(table, held, Some(shard.grow(&mut slot)), counters, &at);
        }
        let (group, words) = shard.row(slot).identity();
        let words: SmallVec<[u64; 4]> = words.into();
        let mut row = shard.grow(&mut slot);
        let is_cut = key_of_words(group, &words, |key| {
            let (values, calendar) = match key {
                RowKey::Partition { group, values } => {
                    (values, counters.calendar_of(group, values))
                }
                RowKey::Overflow { .. } => (&[][..], counters.calendar()),
            };
            // Whose use it is in a row that keys share is not recorded.
            let history = history.filter(|_| !row.row().is_overflow());
            let cut = Cut { counters, history, values, calendar, at, distrusts };
            cut.row(table, &mut row, held.as_mut());
        });
        debug_assert!(is_cut.is_some(), "a row has a key");
        if let Some(held) = held {
            shard.hold(held);
        }
    }
}

impl Cut<'_> {
    fn row(&self, table: &Table, row: &mut GrowingRow<'_>, mut held: Option<&mut HeldRow>) {
        let numbers: SmallVec<[u32; 4]> = upkeep::numbers(row.row()).collect();
        let log = table.given_back_log();
        let mut touched = Touched::new(table);
        for number in numbers {
            let Some((place, counter)) = self.counters.place_of(number) else { continue };
            let periods = counter.policy.periods().filter(|_| counter.number() == number);
            let Some(periods) = periods.filter(|periods| periods.are_of_key()) else { continue };
            let cut = CutCounter { counter, place, periods };
            self.counter(&cut, row, held.as_deref_mut(), &mut touched);
        }
        if let Some(log) = log.filter(|_| !touched.is_empty() && !self.distrusts) {
            let (mut rows, held, cells) = (Vec::new(), held.as_deref(), row.row());
            touched.put_row(0, cells.identity(), held, Some(cells), &mut rows);
            log.given_back(&self.at, &rows);
        }
    }

    fn period_of(&self, cut: &CutCounter<'_>, second: i64) -> Bounds {
        cut.periods.of(&|| self.calendar, second)
    }

    /// Cuts the periods of one counter anew, where one is cut otherwise.
    fn counter(
        &self,
        cut: &CutCounter<'_>,
        row: &mut GrowingRow<'_>,
        mut held: Option<&mut HeldRow>,
        touched: &mut Touched,
    ) {
        let number = cut.counter.number();
        let cells = row.row().cells_of(number, 0);
        let cells = cells.map(|cell| CellState::of(cell.extra, cell.words));
        let is_right = |cell: &CellState| {
            cell.bounds().is_none_or(|period| self.period_of(cut, period.start) == period)
        };
        let (mut cells, wrong): (Vec<CellState>, Vec<CellState>) = cells.partition(is_right);
        if wrong.is_empty() && !self.distrusts {
            return;
        }
        let carried = self.carried(cut, &wrong, &cells);
        if let Some(held) = held.as_deref_mut() {
            self.move_held(cut, held, carried.as_ref().map(|(_, from)| *from), touched);
        }
        let held = held.as_deref();
        let mut periods = cut.periods.now_and_ahead(&|| self.calendar, &self.at);
        if self.distrusts {
            periods.extend(cells.iter().filter_map(CellState::bounds));
        }
        for period in periods {
            let known = cells.iter().position(|cell| cell.bounds() == Some(period));
            if let Some(cell) =
                self.recorded(cut, period, held).filter(|_| self.distrusts || known.is_none())
            {
                known.map(|known| cells.swap_remove(known));
                touched.cell_of(0, number, period.start);
                cells.push(cell);
            }
        }
        if let Some((cell, _)) = carried {
            touched.cell_of(0, number, Bounds::of_cell(cell.as_cell()).start);
            cells.push(cell);
        }
        row.retain(|other, _| other != number);
        for cell in &cells {
            row.push(number, cell);
        }
        if cells.is_empty() {
            cut.counter.left(number, row.row().is_overflow());
        }
        row.mark_held(
            number,
            held.is_some_and(|held| held.counters.iter().any(|it| it.number == number)),
        );
    }

    /// What is recorded of a period, and held of it, as a cell; `None` where it is nothing or is
    /// not known.
    fn recorded(
        &self,
        cut: &CutCounter<'_>,
        period: Bounds,
        held: Option<&HeldRow>,
    ) -> Option<CellState> {
        let used = self.used(cut, period)?;
        let held = held.and_then(|held| held.counter(cut.counter.number(), period.start));
        let units = used.units.saturating_add(held.map_or(0, |held| held.held));
        let at = At { second: period.start, ..self.at };
        let fresh = cut.counter.policy.read(None, &|| self.calendar, &at);
        let used = Used { units, ..used };
        (used != Used::NOTHING).then(|| fresh.with_use(used).cell()).flatten()
    }

    fn used(&self, cut: &CutCounter<'_>, period: Bounds) -> Option<Used> {
        self.history?.used(cut.place, period.start, period.resets(), self.values)
    }

    /// The cell of the period of now where it is not recorded what is used of that: what is used of
    /// the period that was the one of now, and when that began.
    fn carried(
        &self,
        cut: &CutCounter<'_>,
        wrong: &[CellState],
        right: &[CellState],
    ) -> Option<(CellState, i64)> {
        let now = self.period_of(cut, self.at.now_second);
        let is_known = right.iter().any(|cell| cell.bounds() == Some(now));
        if is_known || self.used(cut, now).is_some() {
            return None;
        }
        let carried = wrong.iter().filter_map(|cell| {
            let image = cut.counter.policy.recut(cell, &|| self.calendar, &self.at)?;
            Some((image, cell.bounds()?.start))
        });
        carried.max_by_key(|(image, _)| cut.counter.policy.used_of(image, &self.at))
    }

    /// Moves what is held to the periods of its acts; what was carried over to the period of now.
    fn move_held(
        &self,
        cut: &CutCounter<'_>,
        held: &mut HeldRow,
        carried: Option<i64>,
        touched: &mut Touched,
    ) {
        let number = cut.counter.number();
        let (moved, others): (Vec<HeldCounter>, _) =
            std::mem::take(&mut held.counters).into_iter().partition(|it| it.number == number);
        held.counters = others;
        for old in moved {
            let is_carried = carried == Some(old.period);
            for (key, mut part) in old.open.into_parts() {
                if is_carried {
                    (part.second, part.event) = (self.at.now_second, self.at.now);
                }
                let period = self.period_of(cut, part.second).start;
                if held.counter(number, period).is_none() {
                    held.counters.push(HeldCounter::new(number, period, None));
                }
                if let Some(held) = held.counter_mut(number, period) {
                    let units: Units = part.units;
                    held.put(key, part, units);
                    touched.hold(0, held, key);
                }
            }
        }
    }
}
