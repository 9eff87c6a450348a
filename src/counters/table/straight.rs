//! The straight path: an everyday decision, in one pass over its rules.
//!
//! A decision is everyday where every counter that it touches is one of the key's own which knows
//! all that there is to know, or one that begins from nothing. What is not so goes [step by
//! step](super::decide): an event with a timestamp, a key that finds no room or leaves a shared
//! row, a counter that starts from its predecessor or from what is recorded, a list of uses, a
//! count that has outgrown its cell, a counter that is watched. The pass gives up on those before
//! it has changed anything.
//!
//! Both paths go by the same algorithms and give the same answers. This one judges a cost and
//! counts it in one go, and writes what was counted once all rules have let the event in. Where one
//! refuses it reads the cells once more.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::Table;
use super::charge::{Charge, Charges};
use super::judge::Script;
use super::locked::{Lineages, Locked, OneRow, Rows};
use super::request::{Committed, Intent, Request, Stale, Verdict};
use crate::base::calendar::Calendar;
use crate::counters::algorithms::{KeyRow, Part, Passed};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::Row;
use crate::counters::time::At;
use crate::rules::{Cost, Enforcement};

/// How many rows an everyday decision locks at the most.
const ROWS: usize = 4;

/// What the rules say together.
#[derive(Clone, Copy)]
struct Judgement {
    /// No hard rule refuses.
    passes: bool,
    /// A counter that counts the event is not there yet.
    grows: bool,
}

/// A decision that goes straight as long as nothing speaks against it.
#[derive(Clone, Copy)]
struct Straight<'s, 'e> {
    table: &'s Table,
    request: &'s Request<'s, 'e>,
}

impl Table {
    /// Decides as [`decide`](Self::decide) does, if the decision is an everyday one; `false`, and
    /// nothing changed, where it is not.
    #[inline]
    pub(super) fn decide_straight(
        &self,
        request: &Request<'_, '_>,
        cost: &dyn Fn(u32) -> Cost,
        verdict: &mut Verdict,
        commit: &mut dyn FnMut(&Committed<'_>),
    ) -> Result<bool, Stale> {
        let may_be = !verdict.at.explicit && !request.counters.watches();
        if !may_be || !self.goes_straight.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let straight = Straight { table: self, request };
        match request.rows {
            [address] => {
                let Some(mut row) = OneRow::lock(self, address.hash, address.key()) else {
                    return Ok(false);
                };
                straight.decide(&mut row, cost, verdict, commit)
            }
            rows if rows.len() <= ROWS => straight.decide_in_rows(cost, verdict, commit),
            _ => Ok(false),
        }
    }
}

impl<'s> Straight<'s, '_> {
    #[inline(never)]
    fn decide_in_rows(
        self,
        cost: &dyn Fn(u32) -> Cost,
        verdict: &mut Verdict,
        commit: &mut dyn FnMut(&Committed<'_>),
    ) -> Result<bool, Stale> {
        let mut rows = Rows::lock(self.table, self.request.rows, Lineages::new());
        self.decide(&mut rows, cost, verdict, commit)
    }

    #[inline]
    fn decide(
        self,
        locked: &mut impl Locked,
        cost: &dyn Fn(u32) -> Cost,
        verdict: &mut Verdict,
        commit: &mut dyn FnMut(&Committed<'_>),
    ) -> Result<bool, Stale> {
        let Verdict { at, allowed, charges, ahead } = verdict;
        at.begin(self.table, self.request, locked)?;
        let Some(judgement) = self.pass(locked, cost, at, charges) else { return Ok(false) };
        let intent = self.request.intent;
        *allowed = intent == Intent::Record || judgement.passes;
        let grows = *allowed && judgement.grows && !intent.is_read_only();
        if !*allowed {
            self.read_again(locked, at, charges);
            if charges.iter().any(|charge| self.may_be_ahead(locked, charge)) {
                *ahead = self.script(at, |script| script.ahead(charges, locked));
            }
        } else if !intent.is_read_only() {
            if grows && !self.script(at, |script| script.reserve(charges, locked).is_ok()) {
                return Ok(false);
            }
            Self::put(locked, charges);
            if grows {
                self.leave_out(cost, at, charges);
                self.put_new(locked, charges);
            }
            commit(&Committed { at, charges, starts: &[], crossings: &[] });
        }
        if !intent.is_read_only() {
            let (table, counters) = (self.table, self.request.counters);
            locked.each_shard(|shard| table.sweep_step(shard, counters, at, grows));
        }
        if let Some(shard) = locked.first_shard() {
            shard.paths.straight = shard.paths.straight.wrapping_add(1);
        }
        Ok(true)
    }

    /// Does a part of what a decision does step by step.
    #[inline(never)]
    fn script<T>(self, at: &At, part: impl FnOnce(&Script<'_, '_>) -> T) -> T {
        let Self { table, request } = self;
        part(&Script { table, request, at: *at, new: &mut None })
    }

    #[inline]
    fn counter(self, rule: u32) -> Option<&'s Counter> {
        let counter = self.request.counters.counter(rule);
        debug_assert!(counter.is_some(), "a match is of a rule of the set");
        counter
    }

    /// Judges every rule, and moves its reading on as if the event were let in. `None` where one
    /// needs more than its cell.
    #[inline]
    fn pass(
        self,
        locked: &impl Locked,
        cost: &dyn Fn(u32) -> Cost,
        at: &At,
        charges: &mut Charges,
    ) -> Option<Judgement> {
        // A list that is as long as it was lies there to be filled in.
        let Request { intent, matches, .. } = self.request;
        let count =
            if intent.is_read_only() { self.request.asked().count() } else { matches.len() };
        if charges.len() != count {
            charges.clear();
            charges.resize(count, Charge::NONE);
        }
        let mut judgement = Judgement { passes: true, grows: false };
        // The row at hand.
        let (mut index, mut key) =
            (u32::MAX, KeyRow { row: None, calendar: Calendar::UTC, hint: 0 });
        for (found, charge) in self.request.asked().zip(&mut *charges) {
            let counter = self.counter(found.rule)?;
            if found.row != index {
                (index, key) = (found.row, self.key_row(locked, found.row));
            }
            let part = Part {
                judges: found.judges,
                counts_what_fits: found.judges && self.counts_what_fits(counter.enforcement),
                is_capped: !found.judges && counter.drains(),
            };
            let mut cost = cost(found.rule);
            let passed = counter.pass(&key, at, &mut cost, part, &mut charge.reading)?;
            if let (Some(row), Some(cell)) = (key.row, passed.cell) {
                key.hint = row.hint_after(cell.get());
            }
            if !passed.is_known || counter.took_over() {
                self.starts_from_nothing(counter, key.row, passed)?;
            }
            judgement.grows |= passed.counts && passed.cell.is_none();
            judgement.passes &=
                passed.fits || !found.judges || counter.enforcement != Enforcement::Hard;
            charge.passed(*found, cost, passed);
        }
        Some(judgement)
    }

    #[inline]
    fn counts_what_fits(self, enforcement: Enforcement) -> bool {
        match enforcement {
            Enforcement::Hard => self.request.intent != Intent::Record,
            Enforcement::Soft => false,
            Enforcement::Shadow => true,
        }
    }

    #[inline]
    fn key_row(self, locked: &impl Locked, index: u32) -> KeyRow<'_> {
        let row = locked.row(index);
        let (calendar, hint) = (self.request.calendar(index), row.map_or(0, Row::hint));
        KeyRow { row, calendar, hint }
    }

    /// `None` where a counter may have something to take over, or no room.
    #[inline(never)]
    fn starts_from_nothing(
        self,
        counter: &Counter,
        row: Option<Row<'_>>,
        Passed { is_known, cell, .. }: Passed,
    ) -> Option<()> {
        if is_known {
            let is_all = !row.is_some_and(|row| counter.is_after_one_in(row));
            return is_all.then_some(());
        }
        let is_seeded = self.request.history.is_some() && counter.may_recount();
        let has_room =
            cell.is_some() || (!counter.is_shared() && self.table.has_room(counter, row));
        (has_room && !is_seeded && !counter.took_over()).then_some(())
    }

    /// Says of each counter that counted the event where it stands without it.
    #[inline(never)]
    fn read_again(self, locked: &impl Locked, at: &At, charges: &mut [Charge]) {
        for charge in charges.iter_mut().filter(|charge| charge.is_passed()) {
            let Some(counter) = self.counter(charge.rule) else { continue };
            let cell = charge.cell.zip(locked.row(charge.row));
            let cell = cell.and_then(|(cell, row)| row.cell_at(cell.get() as usize));
            charge.reading = counter.policy.read(cell, self.request.calendar(charge.row), at);
        }
    }

    /// Whether more may be known of later periods than the reading of a rule says.
    #[inline]
    fn may_be_ahead(self, locked: &impl Locked, charge: &Charge) -> bool {
        let Some(counter) = self.counter(charge.rule) else { return true };
        if counter.policy.periods().is_none() {
            return false;
        }
        let is_one = charge.cell.is_some_and(|cell| {
            let row = locked.row(charge.row);
            row.is_some_and(|row| row.is_only(counter.number(), cell.get() as usize))
        });
        !is_one || (self.request.history.is_some() && counter.may_recount())
    }

    /// Writes the readings into the cells that are there.
    #[inline]
    fn put(locked: &mut impl Locked, charges: &mut [Charge]) {
        let (mut index, mut row) = (0, locked.row_mut(0));
        for charge in charges {
            if !charge.is_passed() {
                continue;
            }
            if charge.row != index {
                (index, row) = (charge.row, locked.row_mut(charge.row));
            }
            if let (Some(row), Some(cell)) = (&mut row, charge.cell) {
                row.put(cell.get() as usize, &charge.reading.words());
                charge.wrote();
            }
        }
    }

    /// Leaves the event out of rules that only count and have found no room.
    fn leave_out(self, cost: &dyn Fn(u32) -> Cost, at: &At, charges: &mut [Charge]) {
        for charge in charges.iter_mut().filter(|charge| charge.found_no_room()) {
            let Some(counter) = self.counter(charge.rule) else { continue };
            charge.reading = counter.policy.read(None, self.request.calendar(charge.row), at);
            charge.is_left_out(cost(charge.rule));
        }
    }

    /// Makes the cells and rows that are not there.
    #[inline(never)]
    fn put_new(self, locked: &mut impl Locked, charges: &mut [Charge]) {
        let mut cells: SmallVec<[(u32, CellState); 4]> = SmallVec::new();
        for index in (0_u32..).take(locked.len()) {
            cells.clear();
            let new = charges.iter_mut().filter(|charge| charge.row == index);
            for charge in new.filter(|charge| charge.cell.is_none()) {
                let Some(counter) = self.counter(charge.rule) else { continue };
                if charge.is_passed()
                    && let Some(cell) = charge.reading.cell()
                {
                    cells.push((counter.number(), cell));
                    charge.wrote();
                }
            }
            match locked.grow(index) {
                Some(mut row) => cells.iter().for_each(|(number, cell)| row.push(*number, cell)),
                None if cells.is_empty() => {}
                None => locked.insert(index, &cells),
            }
        }
    }
}
