//! The script of a decision: check, standing, track and record.

use super::charge::{Charge, Charges, UseSource};
use super::judge::{NeedsSharedRow, Script, SharedRows};
use super::locked::Locked;
use super::request::{Committed, Intent, Request, Undecided, Verdict};
use super::{Table, room::NoRoom};

/// How a turn of a script ends without an answer.
enum Unfinished {
    NeedsSharedRow,
    Undecided(Undecided),
}

impl Table {
    /// Decides: fills in what every charge says. `commit` runs exactly when something is charged,
    /// under the same locks, and is told what was.
    ///
    /// The everyday decision, about keys whose counters are there, is the first turn of the loop,
    /// without a list on the heap.
    pub(crate) fn decide<R>(
        &self,
        request: &Request<'_, '_>,
        charges: &mut [Charge],
        commit: impl Fn(&Committed<'_>) -> R,
    ) -> Result<Verdict<R>, Undecided> {
        let mut shared = SharedRows::default();
        loop {
            let (mut locked, at) = self.lock(request, shared.lineages(request))?;
            let (starts, recorded) = (Vec::new(), Vec::new());
            let shared = &mut shared;
            let mut script = Script { table: self, request, at, shared, starts, recorded };
            match script.decide(charges, &mut locked, &commit) {
                Ok(verdict) => return Ok(verdict),
                Err(Unfinished::NeedsSharedRow) => {}
                Err(Unfinished::Undecided(why)) => return Err(why),
            }
        }
    }
}

impl Script<'_, '_> {
    #[inline]
    fn decide<R>(
        &mut self,
        charges: &mut [Charge],
        locked: &mut Locked<'_, '_>,
        commit: &impl Fn(&Committed<'_>) -> R,
    ) -> Result<Verdict<R>, Unfinished> {
        let judgement = self.judge(charges, locked)?;
        if !self.shared.leaving.is_empty() {
            self.find_starts(charges, locked);
        }
        if let Some(rule) = self.too_late(charges) {
            return Err(Unfinished::Undecided(Undecided::TooLate { rule, now: self.at.now }));
        }
        let intent = self.request.intent;
        let allowed = intent == Intent::Record || judgement.passes;
        let mut verdict = Verdict { at: self.at, allowed, ahead: Vec::new(), committed: None };
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
            let pressed = (allowed && judgement.grows) || !self.shared.crowded.is_empty();
            for shard in locked.shards() {
                self.table.sweep_step(shard, self.request.counters, self.at, pressed);
            }
        }
        Ok(verdict)
    }

    /// Charges all rules, and runs the caller's step.
    #[inline]
    fn commit<R>(
        &mut self,
        grows: bool,
        charges: &mut [Charge],
        locked: &mut Locked<'_, '_>,
        commit: &impl Fn(&Committed<'_>) -> R,
    ) -> Result<R, NeedsSharedRow> {
        if grows && let Err(NoRoom { rule }) = self.reserve(charges, locked) {
            self.shared.crowded.push(rule);
            return Err(NeedsSharedRow);
        }
        let mut crossings = self.stand(charges);
        self.write(charges, locked);
        self.show_closed(charges);
        self.cross(&mut crossings, charges);
        let (at, starts, crossings) = (self.at, &*self.starts, &*crossings);
        Ok(commit(&Committed { at, charges, starts, crossings }))
    }

    /// Writes what is recorded of rules that refuse an event, so that the next one need not ask
    /// again.
    #[inline]
    fn keep_recorded(&self, charges: &[Charge], locked: &mut Locked<'_, '_>) {
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

impl From<NeedsSharedRow> for Unfinished {
    fn from(_: NeedsSharedRow) -> Self {
        Self::NeedsSharedRow
    }
}
