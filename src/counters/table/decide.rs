//! The script of a decision: check, standing, track and record.

use super::charge::{Charge, Charges, UseSource};
use super::judge::{NeedsSharedRow, Script};
use super::locked::{Lineages, Locked, OneRow, Rows};
use super::request::{Committed, Intent, Request, Stale, Undecided, Verdict};
use super::{Table, room::NoRoom};

impl Table {
    /// Decides: fills in what every charge says. `commit` runs exactly when something is charged,
    /// under the same locks, and is told what was.
    pub(crate) fn decide<R>(
        &self,
        request: &Request<'_, '_>,
        charges: &mut [Charge],
        commit: impl Fn(&Committed<'_>) -> R,
    ) -> Result<Verdict<R>, Undecided> {
        let mut new = None;
        let mut verdict =
            Verdict { at: request.at, allowed: false, ahead: Vec::new(), committed: None };
        // The everyday decision: the same turn as those below, over one row.
        if let [address] = request.rows
            && let Some(mut row) = OneRow::lock(self, address.hash, address.key())
        {
            let mut script = Script { table: self, request, at: request.at, new: &mut new };
            match script.decide(charges, &mut row, &mut verdict, &commit) {
                Ok(()) => return Ok(verdict),
                Err(Unfinished::Undecided(why)) => return Err(why),
                Err(Unfinished::NeedsSharedRow) => {}
            }
        }
        // Each turn that does not decide finds a rule more whose shared row is needed.
        loop {
            let shared = new.as_deref().map_or_else(Lineages::new, |new| new.lineages(request));
            let mut rows = Rows::lock(self, request.rows, shared);
            let mut script = Script { table: self, request, at: request.at, new: &mut new };
            match script.decide(charges, &mut rows, &mut verdict, &commit) {
                Ok(()) => return Ok(verdict),
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
    #[inline]
    fn decide<R>(
        &mut self,
        charges: &mut [Charge],
        locked: &mut impl Locked,
        verdict: &mut Verdict<R>,
        commit: &impl Fn(&Committed<'_>) -> R,
    ) -> Result<(), Unfinished> {
        self.begin(locked)?;
        let judgement = self.judge(charges, locked)?;
        if self.new.is_some() {
            self.find_starts(charges, locked);
        }
        if self.at.explicit
            && let Some(rule) = self.too_late(charges)
        {
            return Err(Unfinished::Undecided(Undecided::TooLate { rule, now: self.at.now }));
        }
        let intent = self.request.intent;
        let allowed = intent == Intent::Record || judgement.passes;
        (verdict.at, verdict.allowed) = (self.at, allowed);
        if !allowed {
            if intent == Intent::Track {
                self.keep_recorded(charges, locked);
            }
            verdict.ahead = self.ahead(charges, locked);
        } else if intent.is_read_only() {
            self.show(charges);
        } else {
            verdict.committed = Some(self.commit(judgement.grows, charges, locked, commit)?);
        }
        if !intent.is_read_only() {
            // Where a row is made or finds no room, more of the others are looked at.
            let pressed = (allowed && judgement.grows)
                || self.new.as_deref().is_some_and(|new| !new.crowded.is_empty());
            let (table, counters, at) = (self.table, self.request.counters, &self.at);
            locked.each_shard(|shard| table.sweep_step(shard, counters, at, pressed));
        }
        Ok(())
    }

    /// Charges all rules, and runs the caller's step.
    #[inline]
    fn commit<R>(
        &mut self,
        grows: bool,
        charges: &mut [Charge],
        locked: &mut impl Locked,
        commit: &impl Fn(&Committed<'_>) -> R,
    ) -> Result<R, NeedsSharedRow> {
        if grows && let Err(NoRoom { rule }) = self.reserve(charges, locked) {
            self.note_new().crowded.push(rule);
            return Err(NeedsSharedRow);
        }
        let mut crossings = self.stand(charges);
        self.write(charges, locked);
        if self.request.history.is_some() {
            self.show_closed(charges);
        }
        if let Some(crossings) = &mut crossings {
            self.cross(crossings, charges);
        }
        let (at, starts, crossings) =
            (&self.at, self.starts(), crossings.as_deref().unwrap_or(&[]));
        Ok(commit(&Committed { at, charges, starts, crossings }))
    }

    /// Writes what is recorded of rules that refuse an event, so that the next one need not ask
    /// again.
    #[inline]
    fn keep_recorded(&self, charges: &[Charge], locked: &mut impl Locked) {
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
        }
    }
}
