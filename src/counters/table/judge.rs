//! Judging: what the rules of a request say, by the locked rows.

use smallvec::SmallVec;

use super::Table;
use super::charge::{Charge, Counts, UseSource};
use super::correct::Taken;
use super::locked::{Lineages, Locked, NOWHERE};
use super::request::{Intent, Request, Stale};
use super::starts::Start;
use crate::counters::algorithms::{Judged, Reading};
use crate::counters::cell::CellState;
use crate::counters::counter::Counter;
use crate::counters::row::Row;
use crate::counters::time::At;
use crate::rules::{Enforcement, Overflow};

/// What a script knows of counters that are not there yet: nothing where all are. It holds over the
/// turns of a script.
#[derive(Default)]
pub(super) struct NewCounters {
    /// The rules whose keys find no room for a counter of their own. These and the next grow with
    /// every turn that finds one more, so that the turns come to an end.
    pub(super) crowded: SmallVec<[u32; 4]>,
    /// The rules whose keys are about to get one, and may have used the shared one before.
    pub(super) leaving: SmallVec<[u32; 4]>,
    /// What counters start from whose keys shared one before.
    pub(super) starts: Vec<Start>,
    /// What is recorded of rolling quotas that start from it, by the rule.
    pub(super) recorded: Vec<(u32, CellState)>,
}

impl NewCounters {
    /// The shared rows that are needed, by the lineage of their counters, each once. A rule that
    /// shares none has none.
    pub(super) fn lineages(&self, request: &Request<'_, '_>) -> Lineages {
        let crowded = self.crowded.iter().filter_map(|rule| request.counters.counter(*rule));
        let crowded = crowded.filter(|counter| counter.overflow == Overflow::Share);
        let leaving = self.leaving.iter().filter(|rule| !self.crowded.contains(rule));
        let leaving = leaving.filter_map(|rule| request.counters.counter(*rule));
        crowded.chain(leaving).map(Counter::lineage).collect()
    }
}

/// What a script needs beside the rows and the charges.
pub(super) struct Script<'s, 'e> {
    pub(super) table: &'s Table,
    pub(super) request: &'s Request<'s, 'e>,
    pub(super) at: At,
    /// When what is corrected was taken.
    pub(super) corrects: Option<Taken>,
    pub(super) new: &'s mut Option<Box<NewCounters>>,
}

/// What the rules say together.
#[derive(Clone, Copy)]
pub(super) struct Judgement {
    /// No hard rule refuses.
    pub(super) passes: bool,
    /// A counter that counts the event is not there yet.
    pub(super) grows: bool,
}

/// A script needs the shared row of one more rule, which it has noted: all is locked again, with
/// that one. Nothing was changed.
pub(super) struct NeedsSharedRow;

impl At {
    /// Checks the version under the locks, and fixes the instant of the decision.
    #[inline]
    pub(super) fn begin(
        &mut self,
        table: &Table,
        request: &Request<'_, '_>,
        locked: &mut impl Locked,
    ) -> Result<(), Stale> {
        if table.version() != request.counters.version {
            return Err(Stale);
        }
        let mut now = request.counters.not_before(self.now);
        locked.each_shard(|shard| now = shard.not_before(now));
        locked.each_shard(|shard| shard.advance(now));
        if now > self.now {
            *self = table.timeline.later(*self, now);
        }
        self.is_recorded(request.intent == Intent::Record);
        self.owes = request.intent.is_forced();
        Ok(())
    }
}

impl<'s> Script<'s, '_> {
    #[inline]
    pub(super) fn counter(&self, charge: &Charge) -> Option<&'s Counter> {
        let counter = self.request.counters.counter(charge.rule);
        debug_assert!(counter.is_some(), "a charge is of a rule of the set");
        counter
    }

    /// Judges every charge.
    #[inline]
    pub(super) fn judge(
        &mut self,
        charges: &mut [Charge],
        locked: &impl Locked,
    ) -> Result<Judgement, NeedsSharedRow> {
        let is_first = self.new.is_none();
        if !is_first {
            self.start_again(charges, locked);
        }
        // Whether a counter of a key's own is all that has to be asked.
        let is_plain = is_first && (self.request.history.is_none() || !self.at.explicit);
        let mut needs_shared_row = false;
        let mut judgement = Judgement { passes: true, grows: false };
        // The row at hand, and where the next rule's cell lies if it lies in the rules' order.
        let (mut at, mut row, mut hint) = (0, locked.row(0), 0);
        let mut has_balances = false;
        for charge in charges.iter_mut() {
            let Some(counter) = self.counter(charge) else { continue };
            if counter.is_marking() {
                // It was looked at before: what others cost hangs on it.
                continue;
            }
            if counter.policy.balance().is_some() {
                has_balances = true;
                continue;
            }
            if charge.row != at {
                (at, row, hint) = (charge.row, other_row(locked, charge.row), 0);
            }
            let calendar = || self.calendar(at);
            let judged = counter.judge(row, hint, &calendar, &self.at, charge.cost());
            if let (true, Some(row), Some(cell)) = (is_plain, row, judged.cell)
                && !is_unsure(counter, row, cell)
            {
                charge.judged(&judged);
                hint = row.after(cell);
            } else {
                needs_shared_row |= self.judge_new(charge, counter, locked, judged);
                judgement.grows |= charge.cell.is_none() && self.counting(charge).is_some();
                hint = 0;
            }
            let passes = charge.fits || counter.enforcement != Enforcement::Hard;
            judgement.passes &= passes || !charge.judges();
        }
        if has_balances {
            judgement.passes &= self.judge_balances(charges, locked);
        }
        if needs_shared_row { Err(NeedsSharedRow) } else { Ok(judgement) }
    }

    /// Begins another turn: charges whose keys find no room go by the shared row.
    #[cold]
    fn start_again(&mut self, charges: &mut [Charge], locked: &dyn Locked) {
        let new = self.note_new();
        new.starts.clear();
        new.recorded.clear();
        for charge in charges {
            // Marks have been looked at again.
            let counter = self.counter(charge);
            if counter.is_some_and(Counter::is_marking) {
                continue;
            }
            charge.source = UseSource::Cell;
            if let Some(counter) = counter
                && self.is_in(charge, |new| &new.crowded)
            {
                counter.misses(self.at.second);
                charge.source = UseSource::NoRoom;
                charge.row = locked.shared_row(counter);
            }
        }
    }

    /// What is known of counters that are not there yet, to note more.
    pub(super) fn note_new(&mut self) -> &mut NewCounters {
        self.new.get_or_insert_default()
    }

    /// Whether the rule of a charge is among these.
    pub(super) fn is_in(
        &self,
        charge: &Charge,
        rules: impl FnOnce(&NewCounters) -> &[u32],
    ) -> bool {
        self.new.as_deref().is_some_and(|new| rules(new).contains(&charge.rule))
    }

    /// Judges where the key's counter is not there, or may not know all. Notes the rule and returns
    /// `true` where the shared row is needed and not locked yet.
    #[inline(never)]
    pub(super) fn judge_new(
        &mut self,
        charge: &mut Charge,
        counter: &Counter,
        locked: &dyn Locked,
        own: Judged,
    ) -> bool {
        if charge.found_no_room() {
            let judged = if counter.overflow == Overflow::Deny {
                Judged { reading: Reading::NONE, fits: false, cell: None, spare: None }
            } else {
                own
            };
            charge.judged(&judged);
            charge.fits |=
                counter.overflow == Overflow::Allow || !counter.policy.can_refuse(charge.cost());
            return false;
        }
        let row = locked.row(charge.row);
        let is_leaving = self.is_in(charge, |new| &new.leaving);
        let judged =
            if is_leaving { self.judge_leaving(charge, counter, locked, own) } else { own };
        charge.judged(&judged);
        charge.source = UseSource::Cell;
        // A key without a counter needs room for one, and may have used the shared one before.
        let is_new = charge.cell.is_none();
        let has_room = !is_new || self.table.has_room(counter, row);
        if is_new && has_room && self.leaves(charge, counter, row) {
            self.note_new().leaving.push(charge.rule);
            return true;
        }
        let is_unsure = |cell| row.is_some_and(|row| is_unsure(counter, row, cell));
        let known = judged.cell.is_some_and(|cell| !is_unsure(cell));
        if !known || self.at.explicit {
            self.go_by_history(charge, counter, locked, known || !has_room);
            self.add_held(charge, counter, locked);
        }
        if !has_room && charge.source != UseSource::HistoryOnly {
            if charge.judges() {
                self.note_new().crowded.push(charge.rule);
                return true;
            }
            self.miss(charge, counter);
        }
        false
    }

    /// Leaves the event out of a rule that only counts, because there is no room for the key's
    /// counter.
    #[cold]
    pub(super) fn miss(&self, charge: &mut Charge, counter: &Counter) {
        counter.misses(self.at.second);
        charge.source = UseSource::NoRoom;
    }

    /// A rule that cannot judge the event, because it falls in a closed period of which the use is
    /// not known. It is one that could refuse it.
    #[inline]
    pub(super) fn too_late(&self, charges: &[Charge]) -> Option<u32> {
        if !self.at.explicit {
            return None;
        }
        let adds = |counter: &Counter, charge: &Charge| match self.request.intent {
            Intent::Record | Intent::Commit | Intent::Adjust | Intent::Correct => false,
            Intent::Standing => true,
            Intent::Check | Intent::Track | Intent::Reserve => {
                counter.policy.can_refuse(charge.cost())
            }
        };
        let late = |charge: &&Charge| {
            charge.source != UseSource::HistoryOnly
                && charge.judges()
                && self.counter(charge).is_some_and(|counter| {
                    counter.enforcement == Enforcement::Hard
                        && !(charge.is_crowded() && counter.overflow == Overflow::Allow)
                        && adds(counter, charge)
                        && counter.policy.is_too_late(&charge.reading, &self.at)
                })
        };
        charges.iter().find(late).map(|charge| charge.rule)
    }

    /// The counter of a charge, where an event that is let in changes it.
    #[inline]
    pub(super) fn counting(&self, charge: &Charge) -> Option<&'s Counter> {
        let counter = self.counter(charge)?;
        let counts = match charge.source {
            // What a balance is changed by lies with its account.
            _ if counter.policy.balance().is_some() => false,
            UseSource::Cell | UseSource::HistorySeedsCell => self.is_counted(charge, counter),
            UseSource::NoRoom => {
                charge.judges() && charge.row != NOWHERE && self.is_counted(charge, counter)
            }
            UseSource::HistoryOnly => false,
            UseSource::HistorySeedsCellAlone => true,
        };
        counts.then_some(counter)
    }

    #[inline]
    fn is_counted(&self, charge: &Charge, counter: &Counter) -> bool {
        let is_held = self.request.intent != Intent::Reserve || counter.policy.holds();
        let wants = wants(charge, counter) || self.request.intent == Intent::Adjust;
        is_held && wants && !counter.policy.is_too_late(&charge.reading, &self.at)
    }
}

/// The row of a charge that is of another than the one before. Apart, so that one row is passed in
/// a loop without a thought of others.
#[inline(never)]
fn other_row(locked: &impl Locked, row: u32) -> Option<Row<'_>> {
    locked.row(row)
}

/// Whether the rule would count an event that is let in. One in shadow counts what it would let in
/// itself, where it judges.
#[inline]
pub(super) fn wants(charge: &Charge, counter: &Counter) -> bool {
    let lets_in = charge.fits || !charge.judges() || counter.enforcement != Enforcement::Shadow;
    !matches!(charge.counts, Counts::No | Counts::KnownValue) && lets_in
}

/// Whether a counter of a rolling quota is as it was before a restart, and does not know what it
/// had started from.
#[inline]
pub(super) fn is_unsure(counter: &Counter, row: Row<'_>, cell: usize) -> bool {
    counter.recounts() && row.extra_at(cell) > 0 && counter.policy.rolling().is_some()
}
