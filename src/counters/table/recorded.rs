//! What is recorded of use that the counters themselves do not know.
//!
//! It is asked for under the locks of the decision. The ledger has a lock of its own, which is
//! taken with those held, here and when a decision records its event; who holds the ledger's never
//! waits for one of the table's.

use super::charge::{Charge, UseSource};
use super::judge::Script;
use super::locked::Locked;
use super::request::RowAddress;
use super::shard::GrowingRow;
use crate::base::calendar::Calendar;
use crate::counters::algorithms::SlidingWindow;
use crate::counters::algorithms::periods::{Bounds, Span, UseAhead};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::history::{History, Used};
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// What is recorded of a rolling quota's key, and held of it, as the list that its cell keeps;
/// `None` where that is not known.
pub(super) fn recorded_list(
    history: &dyn History,
    (rule, values): (u32, &[&str]),
    policy: &SlidingWindow,
    at: &At,
    held: Vec<(Moment, Units)>,
) -> Option<CellState> {
    let (start, piece) = policy.reach(at.now);
    let mut uses = history.uses(rule, start, at.now, piece, values)?;
    uses.extend(held);
    uses.sort_by_key(|(time, _)| *time);
    Some(policy.recorded(at.now, &uses))
}

impl<'s> Script<'s, '_> {
    /// What is recorded of a charge's key from a second on to before another.
    fn used(&self, charge: &Charge, start: i64, end: Option<i64>) -> Option<Used> {
        let (history, address) = (self.request.history?, self.address(charge)?);
        history.used(charge.rule, start, end, address.values)
    }

    fn used_in(&self, charge: &Charge, period: Bounds) -> Option<Used> {
        self.used(charge, period.start, period.resets())
    }

    /// The calendar of a row's key.
    pub(super) fn calendar(&self, row: u32) -> Calendar {
        self.request.calendar(row)
    }

    /// The address of a charge's row, where it is the key's own.
    fn address(&self, charge: &Charge) -> Option<RowAddress<'s>> {
        self.request.rows.get(charge.row as usize)
    }

    /// Goes by what is recorded of a period that the counter itself does not know: one that is
    /// closed, or one of which it is not `known` and that began before it came into being.
    pub(super) fn go_by_history(
        &mut self,
        charge: &mut Charge,
        counter: &Counter,
        locked: &dyn Locked,
        known: bool,
    ) {
        if self.request.history.is_none() {
            return;
        }
        if let Some(policy) = counter.policy.rolling() {
            if !known {
                self.go_by_uses(charge, counter, locked, policy);
            }
            return;
        }
        let Some(period) = charge.reading.bounds() else { return };
        let closed = counter.policy.is_too_late(&charge.reading, &self.at);
        let is_asked = if closed {
            charge.judges() || counter.is_marking()
        } else {
            !known && counter.recounts_period(period.start)
        };
        if is_asked && let Some(used) = self.used_in(charge, period) {
            charge.reading = charge.reading.with_use(used);
            charge.fits = counter.policy.fits(&charge.reading, charge.cost(), &self.at);
            charge.source =
                if closed { UseSource::HistoryOnly } else { UseSource::HistorySeedsCell };
        }
    }

    /// Adds to what is recorded of a period what open reservations hold of it.
    pub(super) fn add_held(&self, charge: &mut Charge, counter: &Counter, locked: &dyn Locked) {
        let Some(period) = charge.reading.bounds() else { return };
        if charge.source != UseSource::HistorySeedsCell {
            return;
        }
        let held = locked.held_units(charge.row, counter.number(), period.start);
        if held != 0 {
            charge.reading = charge.reading.with_more_use(held);
            charge.fits = counter.policy.fits(&charge.reading, charge.cost(), &self.at);
        }
    }

    /// The same of a rolling quota, whose period is always open.
    fn go_by_uses(
        &mut self,
        charge: &mut Charge,
        counter: &Counter,
        locked: &dyn Locked,
        policy: &SlidingWindow,
    ) {
        let list = || {
            let (history, address) = (self.request.history?, self.address(charge)?);
            let held = locked.held_uses(charge.row, counter.number());
            recorded_list(history, (charge.rule, address.values), policy, &self.at, held)
        };
        let is_asked = counter.recounts_rolling(policy, &self.at);
        if let Some(list) = is_asked.then(list).flatten() {
            let (cell, calendar) = (std::iter::once(list.as_cell()), || self.calendar(charge.row));
            let judged = counter.policy.judge(cell, &calendar, &self.at, charge.cost());
            (charge.reading, charge.fits) = (judged.reading, judged.fits);
            charge.source = UseSource::HistorySeedsCell;
            self.note_new().recorded.push((charge.rule, list));
        }
    }

    /// What is recorded of a rolling quota that starts from it.
    pub(super) fn list(&self, rule: u32) -> Option<&CellState> {
        let recorded = &self.new.as_deref()?.recorded;
        recorded.iter().find(|(of, _)| *of == rule).map(|(_, list)| list)
    }

    /// What rules that refuse an event know of later periods.
    #[cold]
    pub(super) fn ahead(&self, charges: &[Charge], locked: &dyn Locked) -> Vec<(u32, UseAhead)> {
        // Where roles change with the time, others may judge then.
        let later = self.request.counters.roles().is_some();
        let judging = charges.iter().filter(|charge| later || charge.judges());
        let ahead = judging.filter_map(|charge| {
            let counter = self.counter(charge)?;
            let known = counter.ahead(locked.row(charge.row), &self.at);
            let ahead = self.recorded_ahead(charge, counter, known);
            (!ahead.is_empty()).then_some((charge.rule, ahead))
        });
        ahead.collect()
    }

    /// Adds later periods that events dated ahead had used before the counter came into being: a
    /// day of them at most.
    fn recorded_ahead(&self, charge: &Charge, counter: &Counter, known: UseAhead) -> UseAhead {
        let Some(periods) = counter.policy.periods() else { return known };
        if self.request.history.is_none() || self.at.explicit || !counter.may_recount() {
            return known;
        }
        if self.address(charge).is_none() {
            return known;
        }
        let mut spans = known.spans.into_vec();
        let mut next = charge.reading.bounds().and_then(Bounds::resets);
        while let Some(start) = next.filter(|start| counter.recounts_period(*start)) {
            let period = periods.of(&|| self.calendar(charge.row), start);
            if !spans.iter().any(|span| span.starts(period))
                && let Some(used) = self.used(charge, start, period.resets())
                && used != Used::NOTHING
            {
                spans.push(Span::new(period, used));
            }
            // At the ends of the calendar a period may be longer than is kept of its length.
            next = period.resets().filter(|end| *end > start);
        }
        UseAhead::of_spans(spans)
    }

    /// Gives what a quota takes over a cell of its own where the event falls in another period:
    /// the event's cell would be all that is left of it.
    #[cold]
    pub(super) fn keep_carried(
        &self,
        charge: &Charge,
        counter: &Counter,
        row: &mut GrowingRow<'_>,
    ) {
        let Some(event) = charge.reading.bounds().filter(|_| !counter.has_cell(row.row())) else {
            return;
        };
        let calendar = || self.calendar(charge.row);
        let Some(mut image) = counter.carried(row.row(), &calendar) else { return };
        let Some(carried) = image.bounds().filter(|carried| *carried != event) else { return };
        if counter.recounts()
            && let Some(used) = self.used_in(charge, carried)
        {
            image = counter.policy.with_use(&image, used, &self.at);
        }
        row.push(counter.number(), &image);
    }

    /// What the key itself has used of a period, where that is recorded; else all that was used.
    pub(super) fn own_use(
        &self,
        charge: &Charge,
        counter: &Counter,
        image: CellState,
    ) -> CellState {
        if let Some(list) = self.list(charge.rule) {
            return list.clone();
        }
        let Some(period) = charge.reading.bounds() else { return image };
        let is_known = charge.source == UseSource::HistorySeedsCell;
        if is_known && image.bounds() == Some(period) {
            return charge.reading.cell().unwrap_or(image);
        }
        match image.bounds().and_then(|period| self.used_in(charge, period)) {
            Some(used) => counter.policy.with_use(&image, used, &self.at),
            None => image,
        }
    }
}
