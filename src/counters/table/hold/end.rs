//! What happens to the counters of one row when holds end.

use smallvec::SmallVec;

use super::Touched;
use crate::counters::algorithms::periods::{Bounds, KeyCalendar};
use crate::counters::algorithms::{GivenBack, Policy};
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::Row;
use crate::counters::table::Table;
use crate::counters::table::shard::GrowingRow;
use crate::counters::table::shard::held::{HeldCounter, HeldRow, Part, Take};
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// Gives back what has expired of a row by an instant, each hold at its own, and brings what is
/// held up to the rules: a quota that took over keeps it, what a rate limit took over is use that
/// is not given back, and a rule that is gone forgets it. What is given back is kept where the
/// table has a log of it.
pub(in crate::counters::table) fn expire(
    table: &Table,
    held: &mut HeldRow,
    mut row: Option<GrowingRow<'_>>,
    counters: &CounterSet,
    at: &At,
) {
    let mut touched = Touched::new(table);
    bring_up(held, row.as_mut(), counters, at, &mut touched);
    held.counters.retain_mut(|held| {
        let Some(counter) = counters.answering(held.number) else { return false };
        give_back_expired(held, row.as_mut(), counter, at, &mut touched);
        let is_open = !held.open.is_empty();
        if let Some(row) = row.as_mut() {
            row.mark_held(held.number, is_open);
        }
        is_open
    });
    if let Some(log) = table.given_back_log().filter(|_| !touched.is_empty()) {
        let (mut rows, cells) = (Vec::new(), row.as_ref().map(GrowingRow::row));
        touched.put_row(0, held.identity(), Some(held), cells, &mut rows);
        log.given_back(at, &rows);
    }
}

/// Gives back what has expired of a counter by an instant.
fn give_back_expired(
    held: &mut HeldCounter,
    mut row: Option<&mut GrowingRow<'_>>,
    counter: &Counter,
    at: &At,
    touched: &mut Touched,
) {
    while let Some((key, part)) = held.next_expired(at.now) {
        let at = At { now: key.0, ..*at };
        give_back(held, row.as_deref_mut(), counter, &part, part.units, &at);
        touched.hold(0, held, key);
        touched.cell(0, held);
    }
}

/// Moves what is held of counters that others took over from, and gives back what had expired by
/// then: what those carry over is without it.
pub(super) fn bring_up(
    held: &mut HeldRow,
    mut row: Option<&mut GrowingRow<'_>>,
    counters: &CounterSet,
    at: &At,
    touched: &mut Touched,
) {
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
    let (group, words) = held.identity();
    let calendar = counters.calendar_of_words(group, words);
    let calendar = || calendar;
    for mut old in before {
        let Some(counter) = counters.answering(old.number) else { continue };
        let Some((before, change)) = counter.predecessor(old.number).zip(counter.took_over_at())
        else {
            continue;
        };
        let by_then = At { now: change.now, ..*at };
        give_back_expired(&mut old, row.as_deref_mut(), before, &by_then, touched);
        if !counter.drains() {
            let row = row.as_deref().map(GrowingRow::row);
            let is_carried = is_of_now(&old, before, row, &calendar, change);
            take_over(held, old, (before, counter), &calendar, change, is_carried);
        }
    }
}

/// Whether what is held is of the period in which another counter took over. The cell of that knows
/// its bounds: the key may have had another calendar then.
fn is_of_now(
    held: &HeldCounter,
    counter: &Counter,
    row: Option<Row<'_>>,
    calendar: KeyCalendar<'_>,
    change: &At,
) -> bool {
    if let Some(first) = counter.policy.first_use() {
        return first.has(held.period, change.now_second);
    }
    let Some(periods) = counter.policy.periods() else { return held.period == 0 };
    let cells = row.into_iter().flat_map(|row| row.cells_of(held.number, 0)).map(Bounds::of_cell);
    let mut known = cells.filter(|period| period.start == held.period);
    match known.next() {
        Some(period) => (period.start..period.end()).contains(&change.now_second),
        None => held.period == periods.of(calendar, change.now_second).start,
    }
}

/// Keeps what is held of a quota that another took over from. It goes where its use does: what is
/// recorded stays at its time, and what is carried over is of the instant of the change. Of other
/// times nothing is carried over, and nothing is held.
fn take_over(
    held: &mut HeldRow,
    old: HeldCounter,
    (before, counter): (&Counter, &Counter),
    calendar: KeyCalendar<'_>,
    change: &At,
    is_carried: bool,
) {
    let start = |policy: &Policy, second: i64| {
        policy.periods().map_or(0, |periods| periods.of(calendar, second).start)
    };
    // Periods from a first use begin anew with the change.
    let begins = counter.policy.begins_with_use();
    for (key, mut part) in old.open.into_parts() {
        let counts = |take: &Take| before.policy.holds_count(take.taken, change);
        if !counter.recounts() {
            if !is_carried || !part.takes.iter().all(counts) {
                continue;
            }
            (part.second, part.event) = (change.now_second, change.now);
        }
        let period = if begins { change.now_second } else { start(&counter.policy, part.second) };
        let taken = match counter.policy.rolling() {
            Some(_) => part.event,
            None if begins => counter.policy.taken_at(change),
            None => Moment(0),
        };
        let units = part.units;
        part.takes = SmallVec::from_elem(Take { taken, units }, 1);
        if held.counter(counter.number(), period).is_none() {
            held.counters.push(HeldCounter::new(counter.number(), period, None));
        }
        if let Some(held) = held.counter_mut(counter.number(), period) {
            held.put(key, part, units);
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
