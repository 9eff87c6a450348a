//! The straight path of holds: what nearly every reservation and its commit come to.
//!
//! It is taken where all rows are there, each rule judges by a cell of two words that holds the
//! event, nothing held in the rows has expired, and all hard rules let a reservation in. A commit
//! finds besides that all that is held is of rules that match what happened. What is not so goes
//! [step by step](super::script): nothing was changed then. Both give the same answers, as tests
//! compare.

use std::num::NonZeroU32;
use std::slice::IterMut;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{Held, HeldIn, Holding, Settling};
use crate::counters::algorithms::{Passed, Reading, Settlement, Take};
use crate::counters::cell::Cell;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::Row;
use crate::counters::table::Table;
use crate::counters::table::charge::{Charge, next_of};
use crate::counters::table::locked::{FewRows, Locked, OneRow, RowPlace};
use crate::counters::table::request::{Commit, Committed, Request, RowAddresses, Stale, Verdict};
use crate::counters::table::shard::held::{HeldRow, HoldKey, OneHold};
use crate::counters::table::upkeep::look_at_held;
use crate::counters::time::{At, Moment};
use crate::rules::{Cost, Enforcement, Units};

/// How many rows it locks at the most.
const ROWS: usize = 4;
/// How many held rows a call looks at that holds something, whether they have expired: more than
/// one, so that those become fewer.
const LOOKS: usize = 2;

/// What is done with the locked rows. `false`, and nothing changed, where it is not for this path.
trait Task {
    fn run<const N: usize>(self, locked: &mut FewRows<'_, N>) -> Result<bool, Stale>;
}

struct Hold<'s, 'e> {
    table: &'s Table,
    request: &'s Request<'s, 'e>,
    verdict: &'s mut Verdict,
    holding: &'s mut Holding,
}

struct Settle<'s, 'e, 'h, 'c> {
    table: &'s Table,
    request: &'s Request<'s, 'e>,
    verdict: &'s mut Verdict,
    settling: &'s mut Settling<'h>,
    commit: Commit<'s, 'c>,
}

/// What is held of a row, while it is looked at or changed.
enum Taken {
    Nothing,
    One(Box<OneHold>),
    Many(HeldRow),
}

impl Table {
    fn may_hold_straight(&self, request: &Request<'_, '_>) -> bool {
        // Where there is a store it is kept what becomes of holds, which only the steps say.
        self.given_back_log().is_none()
            && request.counters.roles().is_none()
            && !request.counters.has_marks()
            && self.goes_straight.load(Ordering::Relaxed)
    }

    fn in_few_rows(&self, rows: &RowAddresses<'_>, task: impl Task) -> Result<bool, Stale> {
        if rows.len() == 1
            && let Some(address) = rows.get(0)
        {
            let locked = OneRow::lock_one(self, address.hash, address.key());
            return locked.map_or(Ok(false), |mut row| task.run(&mut row));
        }
        let mut locked = FewRows::<ROWS>::none();
        if rows.len() == 0 || !locked.lock(self, rows) {
            return Ok(false);
        }
        task.run(&mut locked)
    }

    /// Holds what an event costs for a new reservation.
    pub(in crate::counters::table) fn hold_straight(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        holding: &mut Holding,
    ) -> Result<bool, Stale> {
        if verdict.at.explicit || holding.lasting.is_none() || !self.may_hold_straight(request) {
            return Ok(false);
        }
        self.in_few_rows(request.rows, Hold { table: self, request, verdict, holding })
    }

    /// Commits what happened, and ends the hold.
    pub(in crate::counters::table) fn settle_straight<'h>(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        settling: &mut Settling<'h>,
        commit: Commit<'_, 'h>,
    ) -> Result<bool, Stale> {
        let is_shared = |row: &HeldIn| matches!(row, HeldIn::Shared { .. });
        let is_one = commit.is_some() && !settling.held.rows.iter().any(is_shared);
        // What is committed of a watched counter the steps alone look at.
        let is_one = is_one && !request.counters.watches();
        if !is_one || !self.may_hold_straight(request) {
            return Ok(false);
        }
        self.in_few_rows(request.rows, Settle { table: self, request, verdict, settling, commit })
    }
}

/// The cell of two words of a counter that a use of it takes, first where a row mostly has it.
fn find<T>(
    row: Row<'_>,
    number: u32,
    hint: &mut usize,
    mut using: impl FnMut(Cell<'_>) -> Option<T>,
) -> Option<(Option<NonZeroU32>, T)> {
    let mut try_at = |offset: usize| Some((offset, using(row.narrow_at(number, offset)?)?));
    let hinted = *hint;
    let (offset, used) = try_at(hinted).or_else(|| {
        let cells = row.cells_of(number, 0);
        cells.map(|cell| cell.offset).find_map(try_at)
    })?;
    *hint = row.after(offset);
    Some((u32::try_from(offset).ok().and_then(NonZeroU32::new), used))
}

fn period_of(reading: &Reading) -> i64 {
    reading.bounds().map_or(0, |period| period.start)
}

impl Task for Hold<'_, '_> {
    fn run<const N: usize>(self, locked: &mut FewRows<'_, N>) -> Result<bool, Stale> {
        let Self { table, request, verdict, holding } = self;
        verdict.at.begin(table, request, locked)?;
        let Verdict { at, allowed, charges, held: said, .. } = verdict;
        let (counters, at) = (request.counters, &*at);
        holding.until = Moment(at.now.0.saturating_add(holding.lasting.unwrap_or(0)));
        let key = holding.key();
        let mut noting =
            Noting { counters, at, key, held: &mut holding.held, ones: SmallVec::new() };
        let (mut rest, rows) = (charges.iter_mut(), request.rows.len());
        let mut judge = |row: u32| noting.judge(row, locked.place_at(row)?, &mut rest);
        let is_straight = (0_u32..).take(rows).all(|row| judge(row).is_some());
        if !is_straight || rest.len() > 0 {
            holding.held = Held::default();
            return Ok(false);
        }
        *allowed = true;
        said.clear();
        let mut rest = charges.iter_mut();
        for (row, one) in (0_u32..).zip(noting.ones) {
            if let Some(place) = locked.place_at(row) {
                write_held((table, counters, at), (row, place, one), &mut rest, said);
            }
        }
        finish(table, request, at, locked);
        Ok(true)
    }
}

/// What is noted of a new hold while it is judged.
struct Noting<'n> {
    counters: &'n CounterSet,
    at: &'n At,
    key: HoldKey,
    held: &'n mut Held,
    /// What it holds of each row.
    ones: SmallVec<[Box<OneHold>; ROWS]>,
}

impl Noting<'_> {
    /// Judges the charges of a row, which are the next, each by the cell where it lies. Their
    /// readings move on, and nothing is written. `None` where that is not for this path, or one is
    /// refused.
    fn judge(
        &mut self,
        index: u32,
        RowPlace { hash, key, slot, shard }: RowPlace<'_, '_>,
        rest: &mut IterMut<'_, Charge>,
    ) -> Option<()> {
        let Self { counters, at, .. } = *self;
        if shard.first_expiry(hash, key).is_some_and(|first| first <= at.now) {
            return None;
        }
        let mut one = shard.new_one(slot, self.key, at);
        let row = shard.row(slot);
        let (mut place, mut hint) = (None, row.first_cell());
        while let Some(charge) = next_of(rest, index) {
            let counter = counters.counter(charge.rule)?;
            if !charge.judges() || counter.took_over() {
                return None;
            }
            let (number, cost, reading) = (counter.number(), charge.cost(), &mut charge.reading);
            let (cell, (fits, facts)) = find(row, number, &mut hint, |cell| {
                counter.policy.hold_narrow(&cell, at, cost, reading)
            })?;
            if !fits {
                return None;
            }
            let cell = cell.filter(|_| cost.counts);
            charge.passed(Passed { fits, counts: cost.counts, is_known: true, cell });
            if cell.is_some() && cost.units > 0 {
                let held = &mut *self.held;
                let place = *place.get_or_insert_with(|| held.place(HeldIn::of_key(hash, key)));
                held.push(place, counter.lineage(), cost.units);
                one.add(number, cost.units, facts);
            }
        }
        self.ones.push(one);
        Some(())
    }
}

/// Writes what was judged of a row, and keeps of whom it is.
fn write_held(
    (table, counters, at): (&Table, &CounterSet, &At),
    (index, RowPlace { hash, key, slot, shard }, one): (u32, RowPlace<'_, '_>, Box<OneHold>),
    rest: &mut IterMut<'_, Charge>,
    said: &mut Vec<(u32, Units)>,
) {
    let mut others = shard.take_held(hash, key);
    if let Some(held) = &mut others {
        held.add(&one);
    }
    let mut cells = shard.row_mut(slot);
    let mut hint = cells.as_row().first_cell();
    while let Some(charge) = next_of(rest, index) {
        let Some(counter) = counters.counter(charge.rule) else { continue };
        let (number, units) = (counter.number(), charge.cost().units);
        if let Some(cell) = charge.cell.filter(|_| charge.is_passed()) {
            let cell = cell.get() as usize;
            cells.put(cell, &charge.reading.words());
            if units > 0 {
                cells.mark_held_at(cell, &mut hint, number, true);
            }
            charge.wrote();
            if units > 0 && others.is_none() {
                said.push((charge.rule, units));
            }
        }
        if let Some(held) = &others {
            let held = held.counter(number, period_of(&charge.reading));
            said.extend(held.map(|held| (charge.rule, held.held)));
        }
    }
    for _ in 0..LOOKS {
        look_at_held(table, shard, counters, at);
    }
    match others {
        Some(held) => {
            shard.hold(held);
            shard.spare_one(one);
        }
        None => shard.hold_one(one),
    }
}

/// Looks after the shards.
fn finish(table: &Table, request: &Request<'_, '_>, at: &At, locked: &mut (impl Locked + Sized)) {
    locked.each_shard(|shard| table.sweep_step(shard, request.counters, at, false));
    if let Some(shard) = locked.first_shard() {
        shard.paths.straight = shard.paths.straight.wrapping_add(1);
    }
}

/// What is known of the rows of a commit before anything is written.
#[derive(Default)]
struct Known {
    /// What is held of each, taken out.
    taken: SmallVec<[Taken; 1]>,
    /// How many parts of the hold were found.
    parts: usize,
    is_overrun: bool,
}

impl Known {
    /// Works out where each counter of the row stands after the commit that was taken last, and
    /// writes nothing. `None` where it is not for this path.
    fn judge(
        &mut self,
        (counters, at, key): (&CounterSet, &At, HoldKey),
        (index, row): (u32, Row<'_>),
        charges: &mut IterMut<'_, Charge>,
    ) -> Option<()> {
        let taken = self.taken.last()?;
        let mut hint = row.first_cell();
        while let Some(charge) = next_of(charges, index) {
            let counter = counters.counter(charge.rule)?;
            let policy = &counter.policy;
            if !charge.judges() || counter.took_over() {
                return None;
            }
            let (full, reading) = (charge.cost(), &mut charge.reading);
            let take;
            let settlement = match taken {
                Taken::Nothing => None,
                Taken::One(one) => match one.part(counter.number()) {
                    Some(part) => {
                        take = [part.take()];
                        let committed = part.committed.as_ref();
                        Some(settlement(full, &take, (part.period, committed), 0)?)
                    }
                    None => None,
                },
                Taken::Many(row) => match row.part(counter.number(), key) {
                    Some((of, part)) => {
                        let left = of.held.saturating_sub(part.units);
                        let with = (of.period, of.committed.as_ref());
                        Some(settlement(full, &part.takes, with, left)?)
                    }
                    None => None,
                },
            };
            let (cell, fits) = find(row, counter.number(), &mut hint, |cell| {
                if let Some(settlement) = &settlement {
                    return policy.settle_narrow(&cell, at, settlement, reading);
                }
                *reading = policy.read_narrow(&cell, at)?;
                (!full.counts && !policy.is_too_late(reading, at)).then_some(true)
            })?;
            // One on trial counts nothing beyond the hold that it would not let in.
            if !fits && counter.enforcement == Enforcement::Shadow {
                return None;
            }
            let cell = cell.filter(|_| settlement.is_some());
            if let Some(Settlement { beyond, .. }) = settlement {
                self.is_overrun |= beyond.counts;
                self.parts = self.parts.saturating_add(1);
            }
            charge.passed(Passed { fits, counts: false, is_known: true, cell });
        }
        Some(())
    }
}

/// What a commit of so much does to a counter of which a part is held by these takes.
fn settlement<'p>(
    full: Cost,
    takes: &'p [Take],
    (period, committed): (i64, Option<&'p Reading>),
    left: Units,
) -> Option<Settlement<'p>> {
    if full.units < 0 {
        return None;
    }
    let cost = |units: Units| Cost { units, counts: units > 0 };
    let held = takes.iter().fold(0, |sum: Units, take| sum.saturating_add(take.units));
    let (beyond, used) = (cost(full.units.saturating_sub(held).max(0)), full.units.min(held));
    let back = held.saturating_sub(used);
    Some(Settlement { period, committed, beyond, used: cost(used), back, takes, left })
}

impl Task for Settle<'_, '_, '_, '_> {
    fn run<const N: usize>(self, locked: &mut FewRows<'_, N>) -> Result<bool, Stale> {
        let Self { table, request, verdict, settling, commit } = self;
        verdict.at.begin(table, request, locked)?;
        let Verdict { at, allowed, charges, held: said, .. } = verdict;
        let (counters, at, key) = (request.counters, &*at, settling.key());
        let mut known = Known::default();
        let mut rest = charges.iter_mut();
        let mut judge = |row: u32| {
            let RowPlace { hash, key: of, slot, shard } = locked.place_at(row)?;
            let (first, taken) = match shard.take_one(hash, key) {
                Some(one) => (one.key.0, Taken::One(one)),
                None => match shard.take_held(hash, of) {
                    Some(held) => (held.expires_at, Taken::Many(held)),
                    None => (Moment::MAX, Taken::Nothing),
                },
            };
            known.taken.push(taken);
            if first <= at.now {
                return None;
            }
            known.judge((counters, at, key), (row, shard.row(slot)), &mut rest)
        };
        let rows = request.rows.len();
        let is_straight = (0_u32..).take(rows).all(|row| judge(row).is_some())
            && rest.len() == 0
            && known.parts == settling.held.parts.len();
        if !is_straight {
            put_back(known.taken, locked);
            return Ok(false);
        }
        settling.is_overrun = known.is_overrun;
        *allowed = true;
        said.clear();
        let mut rest = charges.iter_mut();
        for (row, taken) in (0_u32..).zip(known.taken) {
            if let Some(place) = locked.place_at(row) {
                write_row((request, at, key), (row, place, taken), &mut rest, said);
            }
        }
        if let Some(commit) = commit {
            commit(&Committed {
                at,
                charges,
                starts: &[],
                held: None,
                crossings: &[],
                event: None,
            });
        }
        finish(table, request, at, locked);
        Ok(true)
    }
}

/// Writes where the counters of a row stand after a commit, and what is held of them still.
fn write_row(
    (request, at, key): (&Request<'_, '_>, &At, HoldKey),
    (row, RowPlace { slot, shard, .. }, mut taken): (u32, RowPlace<'_, '_>, Taken),
    rest: &mut IterMut<'_, Charge>,
    said: &mut Vec<(u32, Units)>,
) {
    let mut cells = shard.row_mut(slot);
    let mut hint = cells.as_row().first_cell();
    while let Some(charge) = next_of(rest, row) {
        let Some(counter) = request.counters.counter(charge.rule) else { continue };
        let (number, full) = (counter.number(), charge.cost());
        let is_held = charge.cell.is_some();
        let (mut held_units, mut is_over) = (0, is_held);
        match &mut taken {
            Taken::Nothing => {}
            Taken::One(one) => held_units = one.part(number).map_or(0, |part| part.take().units),
            Taken::Many(held) => {
                let period = period_of(&charge.reading);
                if is_held {
                    let of = (number, period);
                    (held_units, is_over) = held.end(of, key, full.units, counter, at);
                }
                let held = held.counter(number, period);
                said.extend(held.map(|held| (charge.rule, held.held)));
            }
        }
        if let Some(cell) = charge.cell {
            cells.put(cell.get() as usize, &charge.reading.words());
            let units = full.units.saturating_sub(held_units).max(0);
            charge.costs(Cost { units, counts: units > 0 });
            if units > 0 {
                charge.wrote();
            }
        }
        if let Some(cell) = charge.cell.filter(|_| is_over) {
            cells.mark_held_at(cell.get() as usize, &mut hint, number, false);
        }
    }
    match taken {
        Taken::Many(held) => shard.hold(held),
        Taken::One(one) => shard.spare_one(one),
        Taken::Nothing => {}
    }
}

fn put_back<const N: usize>(taken: SmallVec<[Taken; 1]>, locked: &mut FewRows<'_, N>) {
    for (row, taken) in (0_u32..).zip(taken) {
        if let Some(RowPlace { shard, .. }) = locked.place_at(row) {
            match taken {
                Taken::Nothing => {}
                Taken::One(held) => shard.hold_one(held),
                Taken::Many(held) => shard.hold(held),
            }
        }
    }
}

impl HeldRow {
    /// Ends a hold of a counter, of which the reservation used so much. Returns how much it was,
    /// and whether nothing is held of the counter any more, in any period.
    fn end(
        &mut self,
        (number, period): (u32, i64),
        key: HoldKey,
        full: Units,
        counter: &Counter,
        at: &At,
    ) -> (Units, bool) {
        let Some(place) = self.counters.iter().position(|held| held.is(number, period)) else {
            return (0, false);
        };
        let mut units = 0;
        if let Some(of) = self.counters.get_mut(place) {
            let part = of.remove(key);
            units = part.map_or(0, |part| part.units);
            if !of.open.is_empty() {
                if let Some(committed) = &mut of.committed {
                    for units in [full.saturating_sub(units).max(0), full.min(units)] {
                        let cost = Cost { units, counts: units > 0 };
                        let _ = counter.policy.charge(committed, &mut [], at, cost);
                    }
                }
                return (units, false);
            }
        }
        self.counters.swap_remove(place);
        (units, self.counters.iter().all(|held| held.number != number))
    }
}
