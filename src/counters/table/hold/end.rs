//! What happens to the counters of one row when holds end.

use smallvec::SmallVec;

use crate::base::calendar::Calendar;
use crate::counters::algorithms::GivenBack;
use crate::counters::algorithms::periods::Bounds;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::table::shard::GrowingRow;
use crate::counters::table::shard::held::{HeldCounter, HeldRow, Part, Take};
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// Gives back what has expired of a row by an instant, each hold at its own, and brings what is
/// held up to the rules: a quota that took over keeps it, what a rate limit took over is use that
/// is not given back, and a rule that is gone forgets it.
pub(in crate::counters::table) fn expire(
    held: &mut HeldRow,
    mut row: Option<GrowingRow<'_>>,
    counters: &CounterSet,
    calendar: Calendar,
    at: &At,
) {
    bring_up(held, counters, calendar);
    held.counters.retain_mut(|held| {
        let Some(counter) = counters.answering(held.number) else { return false };
        while let Some(((now, _), part)) = held.next_expired(at.now) {
            let at = At { now, ..*at };
            give_back(held, row.as_mut(), counter, &part, part.units, &at);
        }
        let is_open = !held.open.is_empty();
        if let Some(row) = row.as_mut() {
            row.mark_held(held.number, is_open);
        }
        is_open
    });
}

/// Moves what is held of counters that others took over from.
fn bring_up(held: &mut HeldRow, counters: &CounterSet, calendar: Calendar) {
    let is_current = |held: &HeldCounter| {
        counters.answering(held.number).is_some_and(|it| it.number() == held.number)
    };
    if held.counters.iter().all(is_current) {
        return;
    }
    let (current, before) =
        std::mem::take(&mut held.counters).into_iter().partition(|held| is_current(held));
    held.counters = current;
    let before: Vec<HeldCounter> = before;
    for old in before {
        let Some(counter) = counters.answering(old.number).filter(|it| !it.drains()) else {
            continue;
        };
        for (key, mut part) in old.open.into_parts() {
            let periods = counter.policy.periods();
            let period = periods.map_or(0, |periods| periods.of(calendar, part.second).start);
            let is_rolling = counter.policy.rolling().is_some();
            let taken = if is_rolling { part.event } else { Moment(0) };
            part.takes = SmallVec::from_elem(Take { taken, units: part.units }, 1);
            if held.counter(counter.number(), period).is_none() {
                held.counters.push(HeldCounter::new(counter.number(), period, None));
            }
            if let Some(held) = held.counter_mut(counter.number(), period) {
                held.held = held.held.saturating_add(part.units);
                held.open.insert(key, part);
            }
        }
    }
}

/// Gives back so many units of a part that has been taken out: the newest first.
pub(super) fn give_back(
    held: &HeldCounter,
    mut row: Option<&mut GrowingRow<'_>>,
    counter: &Counter,
    part: &Part,
    units: Units,
    at: &At,
) {
    let mut rest = units;
    for take in part.takes.iter().rev() {
        let units = take.units.min(rest);
        rest = rest.saturating_sub(units);
        let Some(row) = row.as_deref_mut().filter(|_| units > 0) else { continue };
        let has_period = counter.policy.periods().is_some();
        let mut cells = row.row().cells_of(held.number, 0);
        let cell = cells.find(|cell| !has_period || Bounds::of_cell(*cell).start == held.period);
        let Some(cell) = cell else { continue };
        let back = GivenBack {
            units,
            taken: take.taken,
            left: held.held,
            committed: held.committed.map(|reading| reading.words()),
        };
        let (offset, image) = (cell.offset, counter.policy.given_back(cell, &back, at));
        row.set(offset, &image);
    }
}
