//! The straight path: an everyday decision, in one pass over its rules.
//!
//! A decision is everyday where every counter that it touches is one of the key's own which knows
//! all that there is to know, or one that begins from nothing. What is not so goes [step by
//! step](super::decide): an event with a timestamp, a key that finds no room or leaves a shared
//! row, a counter that starts from its predecessor or from what is recorded, a list of uses, a
//! count that has outgrown its cell, a counter that has open holds, a balance that does not cover
//! the cost. Where the pass gives up nothing is changed.
//!
//! Both paths go by the same algorithms and give the same answers. This one judges a cost and
//! counts it in one go. The first few cells are written there and then, and put back where a rule
//! refuses or the pass gives up; the others are written once all rules have let the event in. A
//! balance is [spent](super::spending) last.

use std::num::NonZeroU32;
use std::slice;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::Table;
use super::charge::{Charge, next_of};
use super::crossings::Crossing;
use super::judge::{Judgement, Script};
use super::locked::{FewRows, Locked, OneRow};
use super::request::{Commit, Committed, Intent, Request, Stale, Verdict};
use super::spending::Spent;
use crate::counters::algorithms::{KeyRow, Part, Passed};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::{self, NARROW_CELL, Narrow, Row, RowMut};
use crate::counters::time::At;
use crate::rules::Enforcement;

/// How many rows an everyday decision locks at the most.
const ROWS: usize = 4;

/// How many cells are written before all rules have judged.
const AHEAD: usize = 4;

/// A decision that goes straight as long as nothing speaks against it.
#[derive(Clone, Copy)]
pub(super) struct Straight<'s, 'e> {
    pub(super) table: &'s Table,
    pub(super) request: &'s Request<'s, 'e>,
}

/// How far the rules have been judged.
struct Progress {
    /// How many of the charges.
    judged: usize,
    judgement: Judgement,
    before: Before,
    /// Some counter may have a cell beside the one that was judged by.
    may_have_others: bool,
    /// The charge of a rule that goes by a balance, which has not judged yet.
    spending: Option<u32>,
}

/// What was in the cells that are written before all rules have judged: those of the first few
/// charges that are marked so, in their order.
struct Before {
    cells: [Narrow; AHEAD],
    len: usize,
}

impl Before {
    /// Keeps what is in a cell, where there is room for it.
    #[inline]
    fn keep(&mut self, cell: &Narrow) -> bool {
        let Some(room) = self.cells.get_mut(self.len) else { return false };
        *room = *cell;
        self.len = self.len.wrapping_add(1);
        true
    }
}

impl Progress {
    /// Leaves the next charge to be [spent](Straight::spend) when all others have let the event in;
    /// `None` where another is left already.
    fn leave_to_spending(&mut self) -> Option<()> {
        let place = u32::try_from(self.judged).ok()?;
        self.judged = self.judged.saturating_add(1);
        self.spending.replace(place).is_none().then_some(())
    }

    const NONE: Self = Self {
        judged: 0,
        judgement: Judgement { passes: true, grows: false },
        before: Before { cells: [[0; _]; AHEAD], len: 0 },
        may_have_others: false,
        spending: None,
    };
}

impl Table {
    /// Decides as [`decide`](Self::decide) does, if the decision is an everyday one; `false`, and
    /// nothing changed, where it is not.
    #[inline]
    pub(super) fn decide_straight(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        commit: Commit<'_, '_>,
    ) -> Result<bool, Stale> {
        if verdict.at.explicit || !self.goes_straight.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let straight = Straight { table: self, request };
        match request.rows.len() {
            1 => {
                let Some(address) = request.rows.get(0) else { return Ok(false) };
                match OneRow::lock_one(self, address.hash, address.key()) {
                    Some(mut row) => straight.decide_in_rows(&mut row, verdict, commit),
                    None => Ok(false),
                }
            }
            2 => straight.lock_and_decide::<2>(verdict, commit),
            _ => straight.lock_and_decide::<ROWS>(verdict, commit),
        }
    }
}

impl<'s> Straight<'s, '_> {
    #[inline(never)]
    fn lock_and_decide<const N: usize>(
        self,
        verdict: &mut Verdict,
        commit: Commit<'_, '_>,
    ) -> Result<bool, Stale> {
        let mut rows = FewRows::<N>::none();
        if !rows.lock(self.table, self.request.rows) {
            return Ok(false);
        }
        self.decide_in_rows(&mut rows, verdict, commit)
    }

    /// Decides where all counters lie in a few rows.
    #[inline]
    fn decide_in_rows<const N: usize>(
        self,
        locked: &mut FewRows<'_, N>,
        verdict: &mut Verdict,
        commit: Commit<'_, '_>,
    ) -> Result<bool, Stale> {
        verdict.at.begin(self.table, self.request, locked)?;
        let mut progress = Progress::NONE;
        let Verdict { at, allowed, charges, .. } = &mut *verdict;
        locked.each_row_mut(|index, mut row| {
            let mut hint = row.as_row().first_cell();
            self.pass_plain(&mut row, index, &mut hint, at, charges, &mut progress);
        });
        if progress.before.len == charges.len() {
            // What nearly every call comes to: all is written.
            *allowed = true;
            self.finish(locked, verdict, commit, false, None);
            return Ok(true);
        }
        Ok(self.go_on(locked, &mut progress, verdict, commit))
    }

    /// Judges the rules that are left, and does what they say. `false`, and nothing changed, where
    /// the decision turns out to be none for this path.
    #[inline(never)]
    fn go_on(
        self,
        locked: &mut impl Locked,
        progress: &mut Progress,
        verdict: &mut Verdict,
        commit: Commit<'_, '_>,
    ) -> bool {
        let Verdict { at, charges, .. } = &mut *verdict;
        if self.pass(locked, progress, at, charges).is_none() {
            Self::undo(locked, charges, &progress.before);
            return false;
        }
        let Judgement { passes, grows } = progress.judgement;
        let intent = self.request.intent;
        verdict.allowed = intent == Intent::Record || passes;
        let changes = verdict.allowed && !intent.is_read_only();
        let grows = changes && grows;
        let mut spent = None;
        if let Some(place) = progress.spending {
            // What an account says of a refusal, and an account beside new counters, is looked at
            // step by step.
            if verdict.allowed && !grows {
                spent = self.spend(locked, verdict, place as usize);
            }
            if spent.is_none() {
                Self::undo(locked, &mut verdict.charges, &progress.before);
                return false;
            }
        }
        if !verdict.allowed {
            self.refuse(locked, progress, verdict);
        } else if grows {
            if !self.grow(locked, verdict) {
                Self::undo(locked, &mut verdict.charges, &progress.before);
                return false;
            }
        } else if changes {
            Self::put(locked, &mut verdict.charges);
        }
        self.finish(locked, verdict, commit, grows, spent);
        true
    }

    /// Runs the caller's step where something was charged, and looks after the shards.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what nearly every call comes to ends here")]
    fn finish(
        self,
        locked: &mut impl Locked,
        verdict: &Verdict,
        commit: Commit<'_, '_>,
        grows: bool,
        spent: Option<Spent>,
    ) {
        let is_read_only = self.request.intent.is_read_only();
        let Verdict { at, charges, .. } = verdict;
        if let Some(commit) = commit
            && verdict.allowed
            && !is_read_only
        {
            let crossings = self.crossings(locked, verdict);
            let committed = Committed {
                at,
                charges,
                starts: &[],
                held: None,
                crossings: &crossings,
                event: None,
            };
            match spent {
                None => commit(&committed),
                Some(spent) => spent.commit(locked, &committed, commit),
            }
        }
        if !is_read_only {
            let (table, counters) = (self.table, self.request.counters);
            locked.each_shard(|shard| table.sweep_step(shard, counters, at, grows));
        }
        if let Some(shard) = locked.first_shard() {
            shard.paths.straight = shard.paths.straight.wrapping_add(1);
        }
    }

    /// The thresholds that the event has reached.
    #[inline]
    fn crossings(self, locked: &mut impl Locked, verdict: &Verdict) -> Vec<Crossing> {
        if !self.request.counters.watches() {
            return Vec::new();
        }
        let Verdict { at, charges, .. } = verdict;
        self.script(at, |script| script.crossings(charges, None, locked))
    }

    /// Makes the readings what they are without the event.
    #[inline(never)]
    fn refuse(self, locked: &mut impl Locked, progress: &Progress, verdict: &mut Verdict) {
        let Verdict { at, charges, ahead, .. } = verdict;
        self.read_again(locked, at, charges, &progress.before);
        let locked = &*locked;
        let may_be_ahead = |charge: &Charge| {
            self.may_recount(charge)
                || (progress.may_have_others && self.may_have_others(locked, charge))
        };
        if charges.iter().any(may_be_ahead) {
            *ahead = self.script(at, |script| script.ahead(charges, locked));
        }
    }

    /// Writes the readings where some have no cell or no row yet; `false`, and nothing changed,
    /// where there is no room for one that judges.
    #[inline(never)]
    fn grow(self, locked: &mut impl Locked, verdict: &mut Verdict) -> bool {
        let Verdict { at, charges, .. } = verdict;
        if self.script(at, |script| script.reserve(charges, locked).is_err()) {
            return false;
        }
        Self::put(locked, charges);
        self.leave_out(at, charges);
        self.put_new(locked, charges);
        true
    }

    /// Does a part of what a decision does step by step.
    #[inline(never)]
    fn script<T>(self, at: &At, part: impl FnOnce(&Script<'_, '_>) -> T) -> T {
        let Self { table, request } = self;
        part(&Script { table, request, at: *at, corrects: None, new: &mut None })
    }

    #[inline]
    pub(super) fn counter(self, rule: u32) -> Option<&'s Counter> {
        let counter = self.request.counters.counter(rule);
        debug_assert!(counter.is_some(), "a charge is of a rule of the set");
        counter
    }

    /// Judges the rules that are left, and moves the reading of each on as if the event were let
    /// in. `None` where one needs more than its cell.
    #[inline]
    fn pass(
        self,
        locked: &mut impl Locked,
        progress: &mut Progress,
        at: &At,
        charges: &mut [Charge],
    ) -> Option<()> {
        while let Some(index) = charges.get(progress.judged).map(|charge| charge.row) {
            // The charges of a row lie side by side.
            let mut hint = locked.row(index).map_or(0, Row::first_cell);
            loop {
                if let Some(mut row) = locked.row_mut(index) {
                    self.pass_plain(&mut row, index, &mut hint, at, charges, progress);
                }
                let next = charges.get_mut(progress.judged);
                let Some(charge) = next.filter(|charge| charge.row == index) else { break };
                self.pass_any(locked.row(index), &mut hint, at, charge, progress)?;
            }
        }
        Some(())
    }

    /// Passes the rules of a row, one after the other, as long as each judges, has something to
    /// count, and has its cell where it is looked for first. The next one is of another row, or is
    /// passed in [another way](Self::pass_any). What a rule counts is written as long as all before
    /// it have let the event in: nobody else sees the rows before the decision is done or
    /// [undone](Self::undo).
    ///
    /// Apart, so that all that it works with is at hand.
    #[inline(never)]
    fn pass_plain(
        self,
        row: &mut RowMut<'_>,
        index: u32,
        hint: &mut usize,
        at: &At,
        charges: &mut [Charge],
        progress: &mut Progress,
    ) {
        let (counters, is_recorded) = (self.request.counters, at.recorded);
        let mut writes = progress.judgement.passes && !self.request.intent.is_read_only();
        let (mut judged, mut offset, mut number) = (progress.judged, *hint, u32::MAX);
        for charge in charges.iter_mut().skip(judged) {
            let Some(counter) = counters.counter(charge.rule) else { break };
            if charge.row != index || !charge.is_plain() || counter.took_over() {
                break;
            }
            let Some(cell) = row.narrow(offset, counter.number()) else { break };
            let place = u32::try_from(offset).ok().and_then(NonZeroU32::new);
            let (state, cost) = (row::state_in(cell), charge.cost());
            let fits = counter.policy.charge_narrow(&state, at, cost, &mut charge.reading);
            match (fits, place) {
                (Some(true), Some(place)) if writes && progress.before.keep(cell) => {
                    row::put_into(cell, &charge.reading.words());
                    charge.wrote_ahead(place);
                }
                (Some(true), _) => charge.passed(Passed::in_cell(place, true)),
                (Some(false), _) if counter.enforcement == Enforcement::Hard && !is_recorded => {
                    charge.passed(Passed::in_cell(place, false));
                    (writes, progress.judgement.passes) = (false, false);
                }
                _ => break,
            }
            offset = offset.wrapping_add(NARROW_CELL);
            (judged, number) = (judged.wrapping_add(1), counter.number());
        }
        // The cells of a counter lie side by side: one before the next is its counter's only one.
        progress.may_have_others |= row.as_row().has_at(offset, number);
        (*hint, progress.judged) = (offset, judged);
    }

    /// Puts back what was in the cells that were written.
    #[cold]
    fn undo(locked: &mut impl Locked, charges: &mut [Charge], before: &Before) {
        let written = charges.iter_mut().filter_map(|charge| charge.undo().then_some(charge));
        for (charge, before) in written.zip(&before.cells) {
            if let (Some(cell), Some(mut row)) = (charge.cell, locked.row_mut(charge.row)) {
                row.restore(cell.get() as usize, before);
            }
        }
    }

    /// Passes any rule.
    #[inline(never)]
    fn pass_any(
        self,
        row: Option<Row<'_>>,
        hint: &mut usize,
        at: &At,
        charge: &mut Charge,
        progress: &mut Progress,
    ) -> Option<()> {
        let counter = self.counter(charge.rule)?;
        if counter.policy.balance().is_some() {
            return progress.leave_to_spending();
        }
        let judges = charge.judges();
        let part = Part {
            judges,
            counts_what_fits: judges && self.counts_what_fits(counter.enforcement),
            is_capped: !judges && counter.drains(),
        };
        let calendar = || self.request.calendar(charge.row);
        let key = KeyRow { row, calendar: &calendar, hint: *hint };
        let passed = counter.pass(&key, at, charge.cost(), part, &mut charge.reading)?;
        if let (Some(row), Some(cell)) = (row, passed.cell) {
            *hint = row.after(cell.get() as usize);
        }
        if !passed.is_known || counter.took_over() {
            self.starts_from_nothing(counter, row, passed)?;
        }
        charge.passed(passed);
        let Progress { judged, judgement, may_have_others, .. } = progress;
        judgement.grows |= passed.counts && passed.cell.is_none();
        judgement.passes &= passed.fits || !judges || counter.enforcement != Enforcement::Hard;
        (*judged, *may_have_others) = (judged.saturating_add(1), true);
        Some(())
    }

    #[inline]
    fn counts_what_fits(self, enforcement: Enforcement) -> bool {
        match enforcement {
            Enforcement::Hard => self.request.intent != Intent::Record,
            Enforcement::Soft => false,
            Enforcement::Shadow => true,
        }
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

    /// Says of each counter that counted the event where it stands without it, and puts that back
    /// into its cell where it was written.
    fn read_again(
        self,
        locked: &mut impl Locked,
        at: &At,
        charges: &mut [Charge],
        before: &Before,
    ) {
        let (mut rest, mut before) = (charges.iter_mut(), before.cells.iter());
        while let Some(index) = rest.as_slice().first().map(|charge| charge.row) {
            let mut row = locked.row_mut(index);
            while let Some(charge) = next_of(&mut rest, index) {
                let Some(counter) = self.counter(charge.rule) else { continue };
                let before = if charge.undo() { before.next() } else { None };
                if !charge.is_passed() {
                    continue;
                }
                let place = charge.cell.map(|cell| cell.get() as usize);
                if let (Some(row), Some(before), Some(place)) = (&mut row, before, place) {
                    row.restore(place, before);
                }
                let cell = match (before, &row) {
                    (Some(before), _) => Some(row::state_in(before)),
                    (None, Some(row)) => place.and_then(|place| row.as_row().cell_at(place)),
                    (None, None) => None,
                };
                let calendar = || self.request.calendar(index);
                charge.reading = counter.policy.read(cell, &calendar, at);
            }
        }
    }

    /// Whether more may be recorded of later periods than the reading of a rule says.
    #[inline]
    fn may_recount(self, charge: &Charge) -> bool {
        let asks = |counter: &Counter| counter.policy.periods().is_some() && counter.may_recount();
        self.request.history.is_some() && self.counter(charge.rule).is_none_or(asks)
    }

    /// Whether a row may hold more of later periods.
    fn may_have_others(self, locked: &impl Locked, charge: &Charge) -> bool {
        let Some(counter) = self.counter(charge.rule) else { return true };
        let is_only = || {
            let (cell, row) = charge.cell.zip(locked.row(charge.row))?;
            Some(row.is_only(counter.number(), cell.get() as usize))
        };
        counter.policy.periods().is_some() && is_only() != Some(true)
    }

    /// Writes the readings into the cells that are there.
    #[inline]
    fn put(locked: &mut impl Locked, charges: &mut [Charge]) {
        let mut rest = charges.iter_mut();
        while let Some(index) = rest.as_slice().first().map(|charge| charge.row) {
            match locked.row_mut(index) {
                Some(row) => Self::put_in_row(row, index, &mut rest),
                // A row that is not there yet takes no reading.
                None => drop(rest.next()),
            }
        }
    }

    /// The same of the next charges, as far as they are of this row.
    #[inline]
    fn put_in_row(mut row: RowMut<'_>, index: u32, charges: &mut slice::IterMut<'_, Charge>) {
        while let Some(charge) = next_of(charges, index) {
            if let Some(cell) = charge.cell.filter(|_| charge.is_passed()) {
                row.put(cell.get() as usize, &charge.reading.words());
                charge.wrote();
            }
        }
    }

    /// Leaves the event out of rules that only count and have found no room.
    fn leave_out(self, at: &At, charges: &mut [Charge]) {
        for charge in charges.iter_mut().filter(|charge| charge.found_no_room()) {
            let Some(counter) = self.counter(charge.rule) else { continue };
            let calendar = || self.request.calendar(charge.row);
            charge.reading = counter.policy.read(None, &calendar, at);
            charge.ask_again();
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
