//! A decision whose shards are locked: what the rules say, and the writing of their counters.

use std::cell::RefCell;
use std::num::NonZeroU32;

use smallvec::SmallVec;

use super::{Charge, Counts, Guards, Intent, Part, Request, Seat, Start, Told, upkeep};
use crate::base::calendar::Calendar;
use crate::counters::algorithms::SlidingWindow;
use crate::counters::algorithms::periods::{Ahead, Bounds, Span};
use crate::counters::cell::CellState as Image;
use crate::counters::counter::Counter;
use crate::counters::history::Used;
use crate::counters::row::{Row, RowKey};
use crate::counters::time::At;
use crate::rules::{Enforcement, Overflow};

/// A place that is no seat: what is taken there is kept nowhere.
const NOWHERE: u32 = u32::MAX;

/// A decision whose shards are locked.
pub(super) struct Work<'w, 'e> {
    pub(super) request: &'w Request<'w, 'e>,
    pub(super) at: At,
    pub(super) seats: &'w [Seat<'w>],
    /// What counters start from whose keys shared one before.
    pub(super) starts: &'w [Start],
    /// What is recorded of rolling quotas that start from it, by the rule.
    pub(super) lists: RefCell<Vec<(u32, Image)>>,
}

impl<'w> Work<'w, '_> {
    #[inline]
    pub(super) fn row<'g>(&self, guards: &'g Guards<'_>, place: u32) -> Option<&'g Row> {
        let seat = self.seats.get(place as usize)?;
        guards.get(seat.guard)?.rows.get_bucket(seat.bucket?)
    }

    pub(super) fn overflow_seat(&self, counter: &Counter) -> u32 {
        let key = RowKey::Overflow { counter: counter.lineage() };
        let found = self.seats.iter().position(|seat| seat.key == key);
        found.and_then(|seat| u32::try_from(seat).ok()).unwrap_or(NOWHERE)
    }

    pub(super) fn is_shared(&self, place: u32) -> bool {
        place as usize >= self.request.rows.len()
    }

    #[inline]
    pub(super) fn passes(&self, charges: &[Charge]) -> bool {
        charges.iter().all(|charge| {
            charge.fits || !charge.judges() || {
                let counter = self.request.counters.counter(charge.rule);
                counter.is_some_and(|counter| counter.enforcement != Enforcement::Hard)
            }
        })
    }

    /// A rule that cannot judge the event, because it falls in a closed period of which the use is
    /// not told. It is one that could refuse it.
    #[inline]
    pub(super) fn too_late(&self, charges: &[Charge]) -> Option<u32> {
        self.request.happened?;
        let adds = |counter: &Counter, charge: &Charge| match self.request.intent {
            Intent::Record => false,
            Intent::Standing => true,
            Intent::Check | Intent::Track => counter.policy.can_refuse(charge.cost()),
        };
        let late = |charge: &&Charge| {
            let counter = self.request.counters.counter(charge.rule);
            charge.told != Told::Closed
                && charge.judges()
                && counter.is_some_and(|counter| {
                    counter.enforcement == Enforcement::Hard
                        && !(charge.is_crowded() && counter.overflow == Overflow::Allow)
                        && adds(counter, charge)
                        && counter.policy.is_too_late(&charge.reading, &self.at)
                })
        };
        charges.iter().find(late).map(|charge| charge.rule)
    }

    /// Whether the event falls in a closed period of some rule.
    #[inline]
    pub(super) fn is_any_closed(&self, charges: &[Charge]) -> bool {
        self.request.happened.is_some()
            && charges.iter().any(|charge| {
                let counter = self.request.counters.counter(charge.rule);
                counter.is_some_and(|counter| counter.policy.is_too_late(&charge.reading, &self.at))
            })
    }

    /// The counter of a take, where an event that is let in changes it.
    #[inline]
    pub(super) fn counting(&self, charge: &Charge) -> Option<&'w Counter> {
        match charge.told {
            _ if charge.row == NOWHERE => None,
            Told::No | Told::Open => self.counting_in_cell(charge),
            Told::Closed => None,
            Told::Kept => self.request.counters.counter(charge.rule),
        }
    }

    /// The same of a take that has a cell.
    #[inline]
    fn counting_in_cell(&self, charge: &Charge) -> Option<&'w Counter> {
        let counter = self.request.counters.counter(charge.rule)?;
        if !charge.judges() {
            return self.counts_lost(charge, counter).then_some(counter);
        }
        let counts = charge.counts != Counts::No
            && (charge.fits || counter.enforcement != Enforcement::Shadow)
            && !counter.policy.is_too_late(&charge.reading, &self.at);
        counts.then_some(counter)
    }

    /// Whether a rule that has lost counts an event that is let in.
    fn counts_lost(&self, charge: &Charge, counter: &Counter) -> bool {
        charge.counts != Counts::No
            && charge.part == Part::Loses
            && !counter.policy.is_too_late(&charge.reading, &self.at)
    }

    /// Leaves out a rule that has lost, because there is no room for the key's counter.
    #[cold]
    pub(super) fn miss(&self, charge: &mut Charge, counter: &Counter) {
        counter.misses(self.at.second);
        charge.part = Part::Misses;
    }

    /// Goes by what is recorded of a period that the counter itself does not know: one that is
    /// closed, or one of which it is not `known` and that began before it came into being.
    #[cold]
    pub(super) fn recount(&self, charge: &mut Charge, counter: &Counter, known: bool) {
        if let Some(policy) = counter.policy.rolling() {
            if !known {
                self.recount_rolling(charge, counter, policy);
            }
            return;
        }
        let told = || {
            let history = self.request.history?;
            let period = charge.reading.bounds()?;
            let closed = counter.policy.is_too_late(&charge.reading, &self.at);
            let is_asked = if closed {
                charge.judges()
            } else {
                !known && counter.recounts_period(period.start)
            };
            if !is_asked {
                return None;
            }
            let place = self.request.rows.get(charge.row as usize)?;
            let used = history.used(charge.rule, period.start, period.resets(), &place.values)?;
            Some((charge.reading.with_use(used), if closed { Told::Closed } else { Told::Open }))
        };
        if let Some((reading, told)) = told() {
            charge.fits = counter.policy.fits(&reading, charge.cost(), &self.at);
            (charge.reading, charge.told) = (reading, told);
        }
    }

    /// The same of a rolling quota, whose period is always open.
    fn recount_rolling(&self, charge: &mut Charge, counter: &Counter, policy: &SlidingWindow) {
        let told = || {
            let history = self.request.history?;
            let place = self.request.rows.get(charge.row as usize)?;
            let now = self.at.now;
            let (start, cell) = policy.reach(now);
            let is_asked = counter.recounts_rolling(policy, &self.at);
            let uses = || history.uses(charge.rule, start, now, cell, &place.values);
            Some(policy.recorded(now, &is_asked.then(uses)??))
        };
        if let Some(list) = told() {
            let cell = std::iter::once(list.as_cell());
            let judged = counter.policy.judge(cell, Calendar::UTC, &self.at, charge.cost());
            (charge.reading, charge.fits, charge.told) = (judged.reading, judged.fits, Told::Open);
            self.lists.borrow_mut().push((charge.rule, list));
        }
    }

    /// Whether a counter of a rolling quota is as it was before a restart, and does not know what
    /// it had started from.
    #[inline]
    pub(super) fn is_unsure(counter: &Counter, row: &Row, cell: usize) -> bool {
        counter.recounts() && row.extra_at(cell) > 0 && counter.policy.rolling().is_some()
    }

    #[cold]
    pub(super) fn ahead<'g>(
        &self,
        charges: &[Charge],
        row: impl Fn(u32) -> Option<&'g Row>,
    ) -> Vec<(u32, Ahead)> {
        let spans = charges.iter().filter(|charge| charge.judges()).filter_map(|charge| {
            let counter = self.request.counters.counter(charge.rule)?;
            let ahead = self.told_ahead(charge, counter, counter.ahead(row(charge.row), &self.at));
            (!ahead.is_empty()).then_some((charge.rule, ahead))
        });
        spans.collect()
    }

    /// Adds later periods that events dated ahead had used before the counter came into being: a
    /// day of them at most.
    fn told_ahead(&self, charge: &Charge, counter: &Counter, known: Ahead) -> Ahead {
        let (Some(history), Some(periods)) = (self.request.history, counter.policy.periods())
        else {
            return known;
        };
        let place = self.request.rows.get(charge.row as usize);
        let Some(place) = place.filter(|_| !self.at.explicit && counter.may_recount()) else {
            return known;
        };
        let mut spans = known.spans.into_vec();
        let mut next = charge.reading.bounds().and_then(Bounds::resets);
        while let Some(start) = next.filter(|start| counter.recounts_period(*start)) {
            let period = periods.of(Calendar::UTC, start);
            if !spans.iter().any(|span| span.starts(period))
                && let Some(used) = history.used(charge.rule, start, period.resets(), &place.values)
                && used != Used::NOTHING
            {
                spans.push(Span::new(period, used));
            }
            // At the ends of the calendar a period may be longer than is kept of its length.
            next = period.resets().filter(|end| *end > start);
        }
        Ahead::of_spans(spans)
    }

    /// Judges charges that are all of one row; returns `false` where it lacks a rule's cell.
    #[inline]
    pub(super) fn judge_row(&self, row: &Row, charges: &mut [Charge]) -> bool {
        let mut hint = 0;
        for charge in charges {
            let Some(counter) = self.request.counters.counter(charge.rule) else { return false };
            let judged = counter.judge(Some(row), hint, &self.at, charge.cost());
            let Some(cell) = judged.cell else { return false };
            hint = row.after(cell);
            (charge.reading, charge.fits) = (judged.reading, judged.fits);
            charge.cell = NonZeroU32::new(u32::try_from(cell).unwrap_or(0));
            if charge.cell.is_none() || counter.took_over() || Self::is_unsure(counter, row, cell) {
                return false;
            }
        }
        true
    }

    /// Writes the cells of charges that are all of one row and have one.
    #[inline]
    pub(super) fn write_cells(&self, charges: &mut [Charge], row: &mut Row) {
        let mut all_fit = true;
        for charge in &mut *charges {
            if let (Some(counter), Some(cell)) = (self.counting_in_cell(charge), charge.cell) {
                let write = |words: &mut [u64]| self.write_words(charge, counter, words);
                all_fit &= row.write(cell.get() as usize, write);
            }
        }
        if !all_fit {
            self.widen(charges, row);
        }
    }

    /// Counts the event in a cell's words, moves the reading on, and returns the tag's 32 bits.
    #[inline]
    fn count(&self, charge: &mut Charge, counter: &Counter, words: &mut [u64]) -> Option<u32> {
        let cost = charge.cost();
        if charge.judges() {
            return counter.policy.charge(&mut charge.reading, words, &self.at, cost);
        }
        let cost = counter.lost_cost(&charge.reading, cost, &self.at);
        charge.cost = cost.units.into();
        counter.policy.charge(&mut charge.reading, words, &self.at.for_judge(false), cost)
    }

    /// The same of words that are kept.
    #[inline]
    fn write_words(
        &self,
        charge: &mut Charge,
        counter: &Counter,
        words: &mut [u64],
    ) -> Option<u32> {
        let starts_over = charge.told != Told::No && self.list(charge.rule).is_some();
        let extra = if starts_over {
            self.count(charge, counter, &mut []);
            None
        } else {
            self.count(charge, counter, words)
        };
        charge.counts = if extra.is_some() { Counts::Written } else { Counts::Outgrown };
        extra
    }

    /// Moves the readings to what they would be after the event, and writes nothing.
    pub(super) fn foretell(&self, charges: &mut [Charge]) {
        for charge in &mut *charges {
            if let Some(counter) = self.counting(charge) {
                self.count(charge, counter, &mut []);
            }
        }
        self.foretell_closed(charges);
    }

    /// The same for closed periods, which have no counters to write.
    pub(super) fn foretell_closed(&self, charges: &mut [Charge]) {
        for charge in charges.iter_mut().filter(|charge| charge.told == Told::Closed) {
            let Some(counter) = self.request.counters.counter(charge.rule) else { continue };
            let counts = charge.counts != Counts::No;
            if counts && (charge.fits || counter.enforcement != Enforcement::Shadow) {
                self.count(charge, counter, &mut []);
            }
        }
    }

    /// Writes all counters, and moves the readings to what they are after the event.
    #[inline]
    pub(super) fn write(&self, charges: &mut [Charge], guards: &mut Guards<'_>) {
        let mut new_rows = false;
        // Rows that exist come first: making one may move the others of its shard.
        for (place, seat) in (0_u32..).zip(self.seats) {
            let Some(bucket) = seat.bucket else {
                new_rows = true;
                continue;
            };
            let shard = guards.get_mut(seat.guard);
            if let Some(row) = shard.and_then(|shard| shard.rows.get_bucket_mut(bucket)) {
                self.write_row(charges, place, row);
            }
        }
        if !new_rows {
            return;
        }
        for (place, seat) in (0_u32..).zip(self.seats).filter(|(_, seat)| seat.bucket.is_none()) {
            let mut cells: SmallVec<[(u32, Image); 4]> = SmallVec::new();
            for charge in charges.iter_mut().filter(|charge| charge.row == place) {
                if let Some(counter) = self.counting(charge) {
                    let others = self.other_periods(charge).cloned();
                    cells.extend(others.map(|image| (counter.number(), image)));
                    cells.push((counter.number(), self.first_image(charge, counter, None)));
                }
            }
            if let (false, Some(shard)) = (cells.is_empty(), guards.get_mut(seat.guard)) {
                let row = Row::new(seat.hash, seat.key, &cells);
                shard.rows.insert_unique(seat.hash, row, Row::hash);
            }
        }
    }

    #[inline]
    pub(super) fn write_row(&self, charges: &mut [Charge], place: u32, row: &mut Row) {
        let (mut new_cells, mut took_over, mut all_fit) = (false, false, true);
        // Cells that exist come first: a new one moves those behind it.
        for charge in charges.iter_mut().filter(|charge| charge.row == place) {
            let Some(counter) = self.counting(charge) else { continue };
            took_over |= counter.took_over();
            let Some(cell) = charge.cell else {
                new_cells = true;
                continue;
            };
            let write = |words: &mut [u64]| self.write_words(charge, counter, words);
            all_fit &= row.write(cell.get() as usize, write);
        }
        if !all_fit {
            self.widen(charges, row);
        }
        if new_cells {
            let new =
                charges.iter_mut().filter(|charge| charge.row == place && charge.cell.is_none());
            for charge in new {
                if let Some(counter) = self.counting(charge) {
                    if counter.took_over() {
                        self.keep_carried(charge, counter, row);
                    }
                    let image = self.first_image(charge, counter, Some(row));
                    for other in self.other_periods(charge) {
                        row.push(counter.number(), other);
                    }
                    row.push(counter.number(), &image);
                }
            }
        }
        if took_over {
            let counters = charges.iter().filter(|charge| charge.row == place);
            for counter in counters.filter_map(|charge| self.counting(charge)) {
                upkeep::drop_predecessors(row, counter);
            }
        }
    }

    /// Gives what a quota takes over a cell of its own where the event falls in another period:
    /// the event's cell would be all that is left of it.
    #[cold]
    fn keep_carried(&self, charge: &Charge, counter: &Counter, row: &mut Row) {
        let Some(period) = charge.reading.bounds().filter(|_| !counter.has_cell(row)) else {
            return;
        };
        let Some(mut image) = counter.carried(row) else { return };
        let Some(carried) = image.bounds().filter(|carried| *carried != period) else { return };
        let told = || {
            let history = self.request.history.filter(|_| counter.recounts())?;
            let place = self.request.rows.get(charge.row as usize)?;
            history.used(charge.rule, carried.start, carried.resets(), &place.values)
        };
        if let Some(used) = told() {
            image = counter.policy.with_use(&image, used, &self.at);
        }
        row.push(counter.number(), &image);
    }

    /// The periods beside the event's that a new counter of a quota starts with.
    fn other_periods(&self, charge: &Charge) -> impl Iterator<Item = &'w Image> {
        let period = charge.reading.bounds();
        let starting = self.starting(charge.rule).iter();
        starting.filter(move |image| period.is_some() && image.bounds() != period)
    }

    /// The first state of a new cell: what it takes over, if anything, and this event.
    pub(super) fn first_image(
        &self,
        charge: &mut Charge,
        counter: &Counter,
        row: Option<&Row>,
    ) -> Image {
        let own = row.filter(|row| !counter.has_cell(row));
        let period = charge.reading.bounds();
        let mut starting = self.starting(charge.rule).iter();
        let shared =
            || starting.find(|image| period.is_none() || image.bounds() == period).cloned();
        let mut image = own
            .and_then(|row| counter.carried(row))
            .or_else(shared)
            .unwrap_or_else(|| counter.policy.empty_cell());
        match self.write_words(charge, counter, &mut image.words) {
            Some(extra) => image.extra = extra,
            None => image = self.regrown(charge, counter, &image.words),
        }
        image
    }

    /// The state of a cell of these words, which had no room for it.
    fn regrown(&self, charge: &mut Charge, counter: &Counter, words: &[u64]) -> Image {
        charge.counts = Counts::Written;
        let list = self.list(charge.rule);
        let words = list.as_ref().map_or(words, |list| &list.words);
        counter.policy.grown(&charge.reading, words, &self.at, charge.cost())
    }

    /// What is recorded of a rolling quota that starts from it.
    pub(super) fn list(&self, rule: u32) -> Option<Image> {
        let lists = self.lists.borrow();
        lists.iter().find(|(of, _)| *of == rule).map(|(_, list)| list.clone())
    }

    /// Gives states that have outgrown their cells wider ones, the last of the row first: the
    /// others stay where they are.
    #[cold]
    fn widen(&self, charges: &mut [Charge], row: &mut Row) {
        while let Some((cell, charge)) = charges
            .iter_mut()
            .filter(|charge| charge.counts == Counts::Outgrown)
            .filter_map(|charge| Some((charge.cell?.get() as usize, charge)))
            .max_by_key(|(cell, _)| *cell)
        {
            charge.counts = Counts::Written;
            let counter = self.request.counters.counter(charge.rule);
            let words = row.words_at(cell);
            if let (Some(counter), Some(words)) = (counter, words) {
                let image = self.regrown(charge, counter, words);
                row.replace(cell, &image);
            }
        }
    }
}
