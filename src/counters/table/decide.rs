//! The script of a decision: check, standing, track and record.

use std::cell::Cell;

use super::adjust::Adjusting;
use super::charge::{Charge, Charges, UseSource};
use super::correct::Correcting;
use super::hold::{Befores, Extension, Holding, Settling, Step, Touched};
use super::judge::{NeedsSharedRow, NewCounters, Script};
use super::locked::{Lineages, Locked, Rows};
use super::request::{Commit, Committed, Intent, Request, Stale, Undecided, Verdict};
use super::{Table, room::NoRoom};

impl Table {
    /// Decides about what the verdict's charges ask for, at the time that it has, and fills it in.
    /// `commit` runs exactly when something is charged, under the same locks, and is told what
    /// was.
    pub(crate) fn decide(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        mut commit: Commit<'_, '_>,
    ) -> Result<(), Undecided> {
        if self.decide_straight(request, verdict, commit.as_deref_mut())? {
            return Ok(());
        }
        self.decide_step_by_step(request, verdict, &mut Step::Record(commit))
    }

    /// Decides where it hangs on the instant of the decision which rules judge.
    pub(crate) fn decide_by_time(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        commit: Commit<'_, '_>,
    ) -> Result<(), Undecided> {
        self.decide_step_by_step(request, verdict, &mut Step::Record(commit))
    }

    /// Decides as `track` does, and holds what the event costs for a reservation.
    pub(crate) fn reserve(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        holding: &mut Holding,
        commit: Commit<'_, '_>,
    ) -> Result<(), Undecided> {
        if self.hold_straight(request, verdict, holding)? {
            return Ok(());
        }
        self.decide_step_by_step(request, verdict, &mut Step::Hold(holding, commit))
    }

    /// Charges what happened as `record` does, but for what is held of it, and ends the hold: what
    /// is left of it is given back. Without a `commit` nothing happened.
    pub(crate) fn settle<'h>(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        settling: &mut Settling<'h>,
        mut commit: Commit<'_, 'h>,
    ) -> Result<(), Undecided> {
        if self.settle_straight(request, verdict, settling, commit.as_deref_mut())? {
            return Ok(());
        }
        let costs = verdict.charges.iter().map(|charge| (charge.rule, charge.cost()));
        settling.costs = costs.collect();
        self.decide_step_by_step(request, verdict, &mut Step::Settle(settling, commit))
    }

    /// Lets a hold expire later.
    pub(crate) fn extend<'h>(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        extension: &mut Extension<'h>,
        commit: Commit<'_, 'h>,
    ) -> Result<(), Undecided> {
        self.decide_step_by_step(request, verdict, &mut Step::Extend(extension, commit))
    }

    /// Charges the one rule that is asked with what an operator gives back or takes; `commit` runs
    /// where that was done.
    pub(crate) fn adjust(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        adjusting: &Adjusting,
        commit: Commit<'_, '_>,
    ) -> Result<(), Undecided> {
        self.decide_step_by_step(request, verdict, &mut Step::Adjust(adjusting, commit))
    }

    /// Charges all rules that are asked with what a correction makes of an event; `commit` runs
    /// where that was done.
    pub(crate) fn correct(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        correcting: &Correcting,
        commit: Commit<'_, '_>,
    ) -> Result<(), Undecided> {
        self.decide_step_by_step(request, verdict, &mut Step::Correct(correcting, commit))
    }

    /// The same of any decision.
    #[inline(never)]
    fn decide_step_by_step(
        &self,
        request: &Request<'_, '_>,
        verdict: &mut Verdict,
        step: &mut Step<'_, '_>,
    ) -> Result<(), Undecided> {
        verdict.charges.iter_mut().for_each(Charge::ask_again);
        let mut new: Option<Box<NewCounters>> = None;
        // Each turn that does not decide finds a rule more whose shared row is needed.
        loop {
            let mut shared = new.as_deref().map_or_else(Lineages::new, |new| new.lineages(request));
            step.add_lineages(&mut shared);
            let mut rows = Rows::lock(self, request.rows, shared);
            let (at, corrects) = (verdict.at, step.taken());
            let mut script = Script { table: self, request, at, corrects, new: &mut new };
            match script.decide(&mut rows, verdict, step) {
                Ok(()) => return Ok(()),
                Err(Unfinished::Undecided(why)) => return Err(why),
                Err(Unfinished::NeedsSharedRow) => {}
            }
        }
    }
}

/// How a turn of a script ends without an answer.
enum Unfinished {
    NeedsSharedRow,
    Undecided(Undecided),
}

impl From<NeedsSharedRow> for Unfinished {
    fn from(_: NeedsSharedRow) -> Self {
        Self::NeedsSharedRow
    }
}

impl From<Stale> for Unfinished {
    fn from(_: Stale) -> Self {
        Self::Undecided(Undecided::Stale)
    }
}

impl Script<'_, '_> {
    /// Decides by rows that are locked.
    fn decide(
        &mut self,
        locked: &mut Rows<'_, '_>,
        verdict: &mut Verdict,
        step: &mut Step<'_, '_>,
    ) -> Result<(), Unfinished> {
        self.at.begin(self.table, self.request, locked)?;
        self.expire(locked);
        self.settle_accounts(locked);
        let charges = &mut verdict.charges;
        self.assign_roles(charges);
        self.begin_correcting(step, charges);
        self.look_at_marks(charges, step, locked)?;
        match step {
            Step::Settle(settling, _) => self.take_off(settling, charges, locked),
            Step::Hold(holding, _) => {
                if holding.has_expired_by(self.at.now) {
                    (verdict.at, verdict.allowed) = (self.at, false);
                    return Ok(());
                }
            }
            Step::Adjust(adjusting, _) => self.begin_adjusting(adjusting, charges, locked),
            Step::Record(_) | Step::Extend(..) | Step::Correct(..) => {}
        }
        let mut judgement = self.judge(charges, locked)?;
        let intent = self.request.intent;
        let allowed = intent.is_forced() || judgement.passes;
        judgement.grows |= self.mark_values(charges, step, allowed);
        if self.new.is_some() {
            self.find_starts(charges, locked);
        }
        let can_be_done = match step {
            Step::Adjust(adjusting, _) => self.adjust(adjusting, charges, locked),
            Step::Correct(correcting, _) => {
                self.correct(correcting, charges, &*locked, &mut judgement.grows)
            }
            _ => true,
        };
        if !can_be_done {
            (verdict.at, verdict.allowed) = (self.at, false);
            return Ok(());
        }
        if self.at.explicit
            && let Some(rule) = self.too_late(charges)
        {
            return Err(Unfinished::Undecided(Undecided::TooLate { rule, now: self.at.now }));
        }
        (verdict.at, verdict.allowed) = (self.at, allowed);
        if !allowed {
            if !intent.is_read_only() {
                self.keep_recorded(charges, locked);
            }
            verdict.ahead = self.ahead(charges, locked);
        } else if intent.is_read_only() {
            self.show(charges);
            self.show_balances(charges, locked);
        } else {
            self.commit(judgement.grows, charges, locked, step)?;
        }
        self.say_held(verdict, locked);
        self.say_accounts(verdict, locked);
        if let Some(shard) = locked.first_shard() {
            shard.paths.step_by_step = shard.paths.step_by_step.wrapping_add(1);
        }
        if !intent.is_read_only() {
            self.sweep(allowed && judgement.grows, locked, step);
        }
        Ok(())
    }

    /// Looks at some other rows. Where a row is made or finds no room, or something is held, at
    /// more of them.
    fn sweep(&self, grows: bool, locked: &mut Rows<'_, '_>, step: &Step<'_, '_>) {
        let pressed = grows
            || matches!(step, Step::Hold(..))
            || self.new.as_deref().is_some_and(|new| !new.crowded.is_empty());
        let (table, counters, at) = (self.table, self.request.counters, &self.at);
        locked.each_shard(|shard| table.sweep_step(shard, counters, at, pressed));
    }

    /// Says which rules judge, where that hangs on the instant, which is fixed now.
    fn assign_roles(&self, charges: &mut [Charge]) {
        if let Some(roles) = self.request.counters.roles()
            && self.request.intent != Intent::Adjust
        {
            roles.assign(&self.at, charges);
        }
    }

    /// Charges all rules, and runs the caller's step.
    fn commit(
        &mut self,
        grows: bool,
        charges: &mut [Charge],
        locked: &mut Rows<'_, '_>,
        step: &mut Step<'_, '_>,
    ) -> Result<(), NeedsSharedRow> {
        if grows && let Err(NoRoom { rule }) = self.reserve(charges, locked) {
            self.note_new().crowded.push(rule);
            return Err(NeedsSharedRow);
        }
        let is_hold = matches!(step, Step::Hold(..));
        let befores = if is_hold { self.befores(charges, locked) } else { Befores::new() };
        self.write(charges, locked);
        if grows && (is_hold || locked.holds()) {
            locked.find();
        }
        let mut touched = Touched::new(self.table);
        match step {
            Step::Record(_) | Step::Adjust(..) | Step::Correct(..) => {
                self.follow(charges, locked, &mut touched);
            }
            Step::Hold(hold, _) => self.hold(hold, &befores, charges, locked, &mut touched),
            Step::Settle(settling, _) => {
                self.follow(charges, locked, &mut touched);
                self.settle(settling, charges, locked, &mut touched);
            }
            Step::Extend(extension, _) => self.extend(extension, locked, &mut touched),
        }
        Self::mark(locked);
        let taken = self.change_accounts(step, charges, locked, &mut touched);
        if self.request.history.is_some() {
            self.show_closed(charges);
        }
        let held = self.held_change(step, &touched, charges, locked);
        let crossings = match step {
            Step::Record(Some(_)) => self.crossings(charges, None, locked),
            Step::Settle(settling, Some(_)) => {
                self.crossings(charges, Some(&settling.costs), locked)
            }
            // What is held is no use yet.
            _ => Vec::new(),
        };
        let (at, starts, crossings) = (&self.at, self.starts(), &*crossings);
        let event = Cell::new(None);
        if let Step::Record(Some(commit))
        | Step::Hold(_, Some(commit))
        | Step::Settle(_, Some(commit))
        | Step::Extend(_, Some(commit))
        | Step::Adjust(_, Some(commit))
        | Step::Correct(_, Some(commit)) = step
        {
            let (held, event) = (held.as_ref(), Some(&event));
            commit(&Committed { at, charges, starts, held, crossings, event });
        }
        Self::name_events(&taken, event.get(), locked);
        Ok(())
    }

    /// Writes what is recorded of rules that refuse an event, so that the next one need not ask
    /// again.
    fn keep_recorded(&self, charges: &[Charge], locked: &mut Rows<'_, '_>) {
        if self.request.history.is_none() {
            return;
        }
        let is_used = |charge: &&Charge| {
            let policy = self.counter(charge).map(|counter| &counter.policy);
            policy.is_some_and(|policy| policy.is_used(&charge.reading, &self.at))
        };
        let seeding = charges.iter().filter(|charge| charge.source == UseSource::HistorySeedsCell);
        let seeding = seeding.filter(is_used);
        let mut seeding: Charges = seeding.map(Charge::seeding).collect();
        // Where there is no room for them they are asked for again.
        if !seeding.is_empty() && self.reserve(&mut seeding, locked).is_ok() {
            self.write(&mut seeding, locked);
            locked.find();
            // Of what they hold the straight path knows by that.
            Self::mark(locked);
        }
    }
}
