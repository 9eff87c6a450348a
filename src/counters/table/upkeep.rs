//! Dropping what no longer matters, a few rows at a time.
//!
//! It runs under the lock of a shard: one that a script holds anyway, once the script is done with
//! its rows, or one that is locked for it alone. It asks for no other lock, and looks at a bounded
//! number of rows before it lets go.

use super::Table;
use super::hold::expire;
use super::shard::held::HeldRow;
use super::shard::{GrowingRow, Shard};
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::Row;
use crate::counters::time::{At, Moment};

/// How many places of the index a call looks at that made a row or found no room for one: more than
/// one, so that a flood of keys pays for its own removal.
const LOOKS_UNDER_PRESSURE: u32 = 2;
/// One call in so many of a shard looks at one place.
const CALLS_A_LOOK: u8 = 32;
/// How many places are looked at under one lock when the rules have changed.
const LOOKS_A_LOCK: usize = 256;
/// An index with fewer places is not worth shrinking.
const SMALL: usize = 64;

impl Table {
    /// Looks at a few rows of a shard that a script has locked anyway, and is done with: rows may
    /// move.
    #[inline]
    pub(super) fn sweep_step(
        &self,
        shard: &mut Shard,
        counters: &CounterSet,
        at: &At,
        pressed: bool,
    ) {
        let is_due = shard.is_every(CALLS_A_LOOK);
        if pressed || is_due {
            self.sweep_few(shard, counters, at, pressed);
        }
    }

    #[inline(never)]
    fn sweep_few(&self, shard: &mut Shard, counters: &CounterSet, at: &At, pressed: bool) {
        for _ in 0..if pressed { LOOKS_UNDER_PRESSURE } else { 1 } {
            self.sweep_next(shard, counters, *at);
        }
        shard.shrink(SMALL);
    }

    /// Goes over all rows once, a few at a time, so that counters of changed rules are converted
    /// and those of removed rules dropped. Decisions do the same on the way; this makes it sure.
    ///
    /// Rows that come while a lock is free are of the new rules: the old ones are closed out. One
    /// that the index moves then may be passed over, and is converted when it is next written or
    /// swept.
    pub(crate) fn convert(&self, counters: &CounterSet, now: Moment) {
        for shard in self.shards() {
            self.bring_up_held(&mut shard.lock(), counters, now);
            let mut done = 0;
            loop {
                let mut shard = shard.lock();
                let at = self.timeline.at(shard.not_before(now), None);
                if done >= shard.places() {
                    break;
                }
                shard.sweep_from(done);
                for _ in 0..LOOKS_A_LOCK {
                    self.sweep_next(&mut shard, counters, at);
                }
                shard.shrink(SMALL);
                done = done.saturating_add(LOOKS_A_LOCK);
            }
        }
    }

    /// Brings all that is held of a shard up to the rules. O(rows of which something is held).
    fn bring_up_held(&self, shard: &mut Shard, counters: &CounterSet, now: Moment) {
        let at = self.timeline.at(shard.not_before(now), None);
        for mut held in shard.take_all_held() {
            let mut slot = shard.slot_of(&held);
            let row = slot.as_mut().map(|slot| shard.grow(slot));
            expire(self, &mut held, row, counters, &at);
            shard.hold(held);
        }
    }

    /// Looks at the next row, and drops it where it is idle. Gives back what has expired of the
    /// next one of which something is held.
    fn sweep_next(&self, shard: &mut Shard, counters: &CounterSet, at: At) {
        look_at_held(self, shard, counters, &at);
        shard.forget_fired(at.now_second);
        let Some(mut slot) = shard.next_to_sweep() else { return };
        let mut found = look(shard.row(slot), counters, at);
        if found == Found::Outdated {
            // What is held comes first: what had expired before the change is not carried over.
            let mut held = shard.take_held_at(slot);
            if let Some(held) = &mut held {
                expire(self, held, Some(shard.grow(&mut slot)), counters, &at);
            }
            let mut row = shard.grow(&mut slot);
            refresh(&mut row, counters, held.as_ref());
            found = look(row.row(), counters, at);
            if let Some(held) = held {
                shard.hold(held);
            }
        }
        if found == Found::Idle && !shard.has_fired(slot, at.now_second) {
            self.count_out(shard.row(slot), counters);
            shard.drop_swept();
        }
    }

    /// Drops the next row of a shard if it is idle, and converts none.
    pub(super) fn drop_next_idle(&self, shard: &mut Shard, counters: &CounterSet, at: At) {
        if let Some(slot) = shard.next_to_sweep()
            && is_idle(shard.row(slot), counters, at)
            && !shard.has_fired(slot, at.now_second)
        {
            self.count_out(shard.row(slot), counters);
            shard.drop_swept();
        }
    }

    /// Counts out a row that is about to be dropped.
    pub(super) fn count_out(&self, row: Row<'_>, counters: &CounterSet) {
        if !row.is_overflow() {
            self.rows_left(1);
            self.evicted.add(1);
        }
        for number in numbers(row) {
            if let Some(counter) = counters.answering(number) {
                counter.left(number, row.is_overflow());
            }
        }
    }
}

/// Gives back what has expired of the next row of which something is held.
pub(super) fn look_at_held(table: &Table, shard: &mut Shard, counters: &CounterSet, at: &At) {
    if let Some((mut held, mut slot)) = shard.next_held(at.now) {
        let row = slot.as_mut().map(|slot| shard.grow(slot));
        expire(table, &mut held, row, counters, at);
        shard.hold(held);
    }
}

/// Whether no cell of a row says more than a fresh one would.
pub(super) fn is_idle(row: Row<'_>, counters: &CounterSet, at: At) -> bool {
    look(row, counters, at) == Found::Idle
}

/// The numbers of a row's cells, each once.
pub(super) fn numbers(row: Row<'_>) -> impl Iterator<Item = u32> {
    let earlier = move |place| row.cells().take(place).map(|(number, _)| number);
    let cells = row.cells().enumerate();
    cells.filter_map(move |(place, (number, _))| {
        earlier(place).all(|other| other != number).then_some(number)
    })
}

/// What a row is to upkeep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No cell says more than a fresh one would.
    Idle,
    /// A cell matters.
    InUse,
    /// A cell belongs to a counter that another took over from, or to no rule.
    Outdated,
}

fn look(row: Row<'_>, counters: &CounterSet, at: At) -> Found {
    let mut found = Found::Idle;
    for (number, cell) in row.cells() {
        match counters.answering(number) {
            Some(counter) if counter.number() == number => {
                let is_idle = || counter.policy.is_idle(cell, &at);
                if row.is_held_at(cell.offset) || (found == Found::Idle && !is_idle()) {
                    found = Found::InUse;
                }
            }
            Some(counter) if counter.recounts() => {
                // Who touches the key first asks what is recorded, and may need this cell if
                // nothing is.
                let before = counter.predecessor(number);
                if before.is_some_and(|before| !before.policy.is_idle(cell, &at)) {
                    found = Found::InUse;
                }
            }
            _ => return Found::Outdated,
        }
    }
    found
}

/// Brings a row up to the rule set: converts what counters were taken over, drops what belongs
/// to no rule.
fn refresh(row: &mut GrowingRow<'_>, counters: &CounterSet, held: Option<&HeldRow>) {
    let is_current = |number| {
        let counter = counters.answering(number);
        counter.is_some_and(|counter| counter.number() == number || counter.recounts())
    };
    let old: Vec<u32> = numbers(row.row()).filter(|number| !is_current(*number)).collect();
    for counter in old.iter().filter_map(|number| counters.answering(*number)) {
        if !counter.has_cell(row.row())
            && let Some(image) = counter.carried(row.row(), &|| counters.calendar_of_row(row.row()))
        {
            row.push(counter.number(), &image);
            counter.entered(row.row().is_overflow());
            if held.is_some_and(|held| held.counters.iter().any(|it| it.number == counter.number()))
            {
                row.mark_held(counter.number(), true);
            }
        }
        drop_predecessors(row, counter);
    }
    row.retain(|number, _| is_current(number));
}

/// Drops the cells of the counters that `counter` took over from.
pub(super) fn drop_predecessors(row: &mut GrowingRow<'_>, counter: &Counter) {
    let shared = row.row().is_overflow();
    let mut gone: Vec<u32> = Vec::new();
    row.retain(|number, _| {
        let predecessor = counter.follows(number);
        if predecessor && !gone.contains(&number) {
            gone.push(number);
        }
        !predecessor
    });
    for number in gone {
        counter.left(number, shared);
    }
}
