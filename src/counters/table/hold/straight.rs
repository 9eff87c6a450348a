//! The straight path of holds: what nearly every reservation and its commit come to.
//!
//! It is taken where all rows are there, each rule judges by a cell of two words that holds the
//! event, nothing held in the rows has expired, and all hard rules let a reservation in. A commit
//! finds besides that all that is held is of rules that match what happened. What is not so goes
//! [step by step](super::script): nothing was changed then. Both give the same answers, as tests
//! compare.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use super::cells::{Before, CellBefore, using, write};
use super::{Held, HeldIn, Holding, Settling};
use crate::counters::algorithms::{Passed, Reading, Settlement, Take};
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::{self, NARROW_CELL, RowMut};
use crate::counters::table::Table;
use crate::counters::table::charge::Charge;
use crate::counters::table::locked::{FewRows, Locked, OneRow, RowPlace};
use crate::counters::table::request::{Commit, Committed, Request, RowAddresses, Stale, Verdict};
use crate::counters::table::shard::Shard;
use crate::counters::table::shard::held::{HeldRow, HoldKey, OneHold, OnePart};
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

fn period_of(reading: &Reading) -> i64 {
    reading.bounds().map_or(0, |period| period.start)
}

impl Task for Hold<'_, '_> {
    fn run<const N: usize>(self, locked: &mut FewRows<'_, N>) -> Result<bool, Stale> {
        let Self { table, request, verdict, holding } = self;
        verdict.at.begin(table, request, locked)?;
        let Verdict { at, allowed, charges, held: said, .. } = verdict;
        let (counters, at, rows) = (request.counters, &*at, request.rows.len());
        holding.until = Moment(at.now.0.saturating_add(holding.lasting.unwrap_or(0)));
        said.clear();
        let mut noting = Noting::<N> {
            counters,
            at,
            key: holding.key(),
            held: &mut holding.held,
            said,
            next: 0,
            before: Before::none(),
            ones: [const { None }; N],
            has_others: false,
        };
        let mut hold = |row: u32| noting.hold(row, locked.place_at(row)?, charges);
        let is_straight = (0_u32..).take(rows).all(|row| hold(row).is_some());
        let Noting { next, before, ones, has_others, said, .. } = noting;
        if !is_straight || next != charges.len() {
            before.undo(locked, charges);
            said.clear();
            holding.held = Held::default();
            return Ok(false);
        }
        *allowed = true;
        if has_others {
            said.clear();
        }
        for (row, one) in (0_u32..).zip(ones) {
            if let Some((one, place)) = one.zip(locked.place_at(row)) {
                let shard = if has_others {
                    hold_beside(counters, (row, place, one), charges, said)
                } else {
                    place.shard.hold_one(one);
                    place.shard
                };
                for _ in 0..LOOKS {
                    look_at_held(table, shard, counters, at);
                }
            }
        }
        finish(table, request, at, locked);
        Ok(true)
    }
}

/// What is noted of a new hold while it is judged.
struct Noting<'n, const N: usize> {
    counters: &'n CounterSet,
    at: &'n At,
    key: HoldKey,
    held: &'n mut Held,
    /// How much of each rule is held then.
    said: &'n mut Vec<(u32, Units)>,
    /// The place of the charge that is judged next.
    next: usize,
    before: Before,
    /// What it holds of each row.
    ones: [Option<Box<OneHold>>; N],
    /// Others hold something of one of the rows.
    has_others: bool,
}

impl<const N: usize> Noting<'_, N> {
    /// Judges the charges of a row, which are the next, each by the cell where it lies, and writes
    /// what it holds: nobody else sees the rows before all have judged or it is undone. `None`
    /// where that is not for this path, or one is refused.
    fn hold(
        &mut self,
        index: u32,
        RowPlace { hash, key, slot, shard }: RowPlace<'_, '_>,
        charges: &mut [Charge],
    ) -> Option<()> {
        let Self { counters, at, .. } = *self;
        if let Some(first) = shard.first_expiry(hash, key) {
            if first <= at.now {
                return None;
            }
            self.has_others = true;
        }
        let mut one = shard.new_one(slot, self.key, at);
        let mut row = shard.row_mut(slot);
        let (mut place, mut hint) = (None, row.as_row().first_cell());
        while let Some(charge) = charges.get_mut(self.next).filter(|charge| charge.row == index) {
            let counter = counters.counter(charge.rule)?;
            if !charge.judges() || counter.took_over() {
                return None;
            }
            let (cost, reading) = (charge.cost(), &mut charge.reading);
            let (offset, (fits, facts, cell)) = using(&mut row, (counter, at), hint, |cell| {
                let state = row::state_in(cell);
                let (fits, facts) = counter.policy.hold_narrow(&state, at, cost, reading)?;
                Some((fits, facts, *cell))
            })?;
            if !fits {
                return None;
            }
            let is_held = cost.counts && cost.units > 0;
            if cost.counts {
                self.before.cells.push(CellBefore { charge: self.next, offset, cell, cost });
                let held = is_held.then_some(true);
                hint = write(&mut row, (offset, hint), counter.number(), reading, held);
                charge.wrote_ahead(u32::try_from(offset).ok().and_then(NonZeroU32::new)?);
            } else {
                hint = offset.saturating_add(NARROW_CELL);
                charge.passed(Passed { fits, counts: false, is_known: true, cell: None });
            }
            if is_held {
                let held = &mut *self.held;
                let new = || held.new_place(HeldIn::of_key(hash, key));
                let place = *place.get_or_insert_with(new);
                held.push(place, counter.lineage(), cost.units);
                one.add(counter.number(), cost.units, facts);
                self.said.push((charge.rule, cost.units));
            }
            self.next = self.next.saturating_add(1);
        }
        *self.ones.get_mut(index as usize)? = Some(one);
        Some(())
    }
}

/// Keeps of whom a hold is where others may hold something of the row, and says how much all hold.
fn hold_beside<'l>(
    counters: &CounterSet,
    (index, place, one): (u32, RowPlace<'l, '_>, Box<OneHold>),
    charges: &[Charge],
    said: &mut Vec<(u32, Units)>,
) -> &'l mut Shard {
    let RowPlace { hash, key, shard, .. } = place;
    let of_row = charges.iter().filter(|charge| charge.row == index);
    if let Some(mut held) = shard.take_held(hash, key) {
        held.add(&one);
        let numbered = of_row.filter_map(|it| Some((it, counters.counter(it.rule)?.number())));
        said.extend(numbered.filter_map(|(charge, number)| {
            let held = held.counter(number, period_of(&charge.reading));
            held.map(|held| (charge.rule, held.held))
        }));
        shard.hold(held);
        shard.spare_one(one);
    } else {
        let is_held = |charge: &&Charge| charge.is_written() && charge.cost().units > 0;
        said.extend(of_row.filter(is_held).map(|it| (it.rule, it.cost().units)));
        shard.hold_one(one);
    }
    shard
}

/// Looks after the shards.
fn finish(table: &Table, request: &Request<'_, '_>, at: &At, locked: &mut (impl Locked + Sized)) {
    locked.each_shard(|shard| table.sweep_step(shard, request.counters, at, false));
    if let Some(shard) = locked.first_shard() {
        shard.paths.straight = shard.paths.straight.wrapping_add(1);
    }
}

/// What is known of the rows of a commit while it is judged.
struct Known<'k, const N: usize> {
    counters: &'k CounterSet,
    at: &'k At,
    key: HoldKey,
    /// The place of the charge that is judged next.
    next: usize,
    before: Before,
    /// What is held of each row, taken out.
    taken: [Taken; N],
    /// How many parts of the hold were found.
    parts: usize,
    is_overrun: bool,
}

impl<const N: usize> Known<'_, N> {
    /// Works out where each counter of the row stands after the commit, and writes it where this
    /// hold alone is open. `None` where it is not for this path.
    fn judge(&mut self, index: u32, mut row: RowMut<'_>, charges: &mut [Charge]) -> Option<()> {
        let Self { counters, at, key, .. } = *self;
        let taken = self.taken.get(index as usize)?;
        let (mut hint, mut place) = (row.as_row().first_cell(), 0);
        while let Some(charge) = charges.get_mut(self.next).filter(|charge| charge.row == index) {
            let counter = counters.counter(charge.rule)?;
            let (policy, number) = (&counter.policy, counter.number());
            if !charge.judges() || counter.took_over() {
                return None;
            }
            let (full, reading) = (charge.cost(), &mut charge.reading);
            let take;
            let settlement = match taken {
                Taken::Nothing => None,
                Taken::One(one) => match part_of(one, &mut place, number) {
                    Some(part) => {
                        take = [part.take()];
                        let with = (part.period, part.committed.as_ref());
                        Some(settlement(full, &take, with, 0)?)
                    }
                    None => None,
                },
                Taken::Many(row) => match row.part(number, key) {
                    Some((of, part)) => {
                        let left = of.held.saturating_sub(part.units);
                        let with = (of.period, of.committed.as_ref());
                        Some(settlement(full, &part.takes, with, left)?)
                    }
                    None => None,
                },
            };
            let (offset, (fits, cell)) = using(&mut row, (counter, at), hint, |cell| {
                let state = row::state_in(cell);
                let fits = if let Some(settlement) = &settlement {
                    policy.settle_narrow(&state, at, settlement, reading)?
                } else {
                    *reading = policy.read_narrow(&state, at)?;
                    (!full.counts && !policy.is_too_late(reading, at)).then_some(true)?
                };
                Some((fits, *cell))
            })?;
            // One on trial counts nothing beyond the hold that it would not let in.
            if !fits && counter.enforcement == Enforcement::Shadow {
                return None;
            }
            let mut passed = Passed { fits, counts: false, is_known: true, cell: None };
            let mut beyond = None;
            if let Some(settlement) = &settlement {
                passed.cell = Some(u32::try_from(offset).ok().and_then(NonZeroU32::new)?);
                self.is_overrun |= settlement.beyond.counts;
                self.parts = self.parts.saturating_add(1);
                beyond = Some(settlement.beyond).filter(|_| matches!(taken, Taken::One(_)));
            }
            charge.passed(passed);
            if let Some(beyond) = beyond {
                let before = CellBefore { charge: self.next, offset, cell, cost: full };
                self.before.cells.push(before);
                hint = write(&mut row, (offset, hint), number, &charge.reading, Some(false));
                charge.costs(beyond);
                if beyond.counts {
                    charge.wrote();
                }
            } else {
                hint = row.as_row().after(offset);
            }
            self.next = self.next.saturating_add(1);
        }
        Some(())
    }
}

/// What a reservation holds of a counter: mostly what is in the next place, which then goes on.
#[inline]
fn part_of<'h>(one: &'h OneHold, place: &mut usize, number: u32) -> Option<&'h OnePart> {
    let found = one.parts.get(*place).filter(|part| part.number == number);
    *place = place.saturating_add(1);
    found.or_else(|| one.parts.iter().find(|part| part.number == number))
}

/// What a commit of so much does to a counter of which a part is held by these takes.
#[inline]
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
        let mut known = Known::<N> {
            counters,
            at,
            key,
            next: 0,
            before: Before::none(),
            taken: [const { Taken::Nothing }; N],
            parts: 0,
            is_overrun: false,
        };
        let mut judge = |row: u32| {
            let RowPlace { hash, key: of, slot, shard } = locked.place_at(row)?;
            let (first, taken) = match shard.take_one(hash, key) {
                Some(one) => (one.key.0, Taken::One(one)),
                None => match shard.take_held(hash, of) {
                    Some(held) => (held.expires_at, Taken::Many(held)),
                    None => (Moment::MAX, Taken::Nothing),
                },
            };
            *known.taken.get_mut(row as usize)? = taken;
            if first <= at.now {
                return None;
            }
            known.judge(row, shard.row_mut(slot), charges)
        };
        let rows = request.rows.len();
        let is_straight = (0_u32..).take(rows).all(|row| judge(row).is_some());
        let Known { next, before, taken, parts, is_overrun, .. } = known;
        if !is_straight || next != charges.len() || parts != settling.held.parts.len() {
            before.undo(locked, charges);
            put_back(taken, locked);
            return Ok(false);
        }
        settling.is_overrun = is_overrun;
        *allowed = true;
        said.clear();
        for (row, taken) in (0_u32..).zip(taken) {
            let Some(place) = locked.place_at(row) else { continue };
            match taken {
                Taken::Nothing => {}
                Taken::One(one) => place.shard.spare_one(one),
                Taken::Many(held) => {
                    write_row((request, at, key), (row, place, held), charges, said);
                }
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

/// Writes where the counters of a row stand after a commit, of which others hold something still.
fn write_row(
    (request, at, key): (&Request<'_, '_>, &At, HoldKey),
    (row, RowPlace { slot, shard, .. }, mut held): (u32, RowPlace<'_, '_>, HeldRow),
    charges: &mut [Charge],
    said: &mut Vec<(u32, Units)>,
) {
    let mut cells = shard.row_mut(slot);
    let mut hint = cells.as_row().first_cell();
    for charge in charges.iter_mut().filter(|charge| charge.row == row) {
        let Some(counter) = request.counters.counter(charge.rule) else { continue };
        let (number, full) = (counter.number(), charge.cost());
        let period = period_of(&charge.reading);
        if let Some(cell) = charge.cell {
            let (units, is_over) = held.end((number, period), key, full.units, counter, at);
            cells.put(cell.get() as usize, &charge.reading.words());
            let units = full.units.saturating_sub(units).max(0);
            charge.costs(Cost { units, counts: units > 0 });
            if units > 0 {
                charge.wrote();
            }
            if is_over {
                cells.mark_held_at(cell.get() as usize, &mut hint, number, false);
            }
        }
        let held = held.counter(number, period);
        said.extend(held.map(|held| (charge.rule, held.held)));
    }
    shard.hold(held);
}

fn put_back<const N: usize>(taken: [Taken; N], locked: &mut FewRows<'_, N>) {
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
