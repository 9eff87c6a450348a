//! Whether the states that a log holds follow from each other.

use super::Table;
use super::charge::Role;
use super::locked::Locked;
use super::redo::{PastCharge, RedoRecord};
use super::request::RowAddress;
use crate::counters::algorithms::Reading;
use crate::counters::algorithms::periods::KeyCalendar;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::Row;
use crate::counters::stored::StoredCharge;
use crate::counters::time::{At, Moment};

/// How a log is checked, by a table that begins empty.
#[derive(Debug)]
pub(crate) struct Audit<'r> {
    /// The rules at the end of the log: counters that none of them answers for are left out.
    pub(crate) counters: &'r CounterSet,
    /// The log begins with the first record that there ever was, so that what no record speaks of
    /// is nothing.
    pub(crate) complete: bool,
    /// The time of its first record.
    pub(crate) start: Moment,
    /// The record corrects an event: a highest or latest amount may have been folded anew.
    pub(crate) corrects: bool,
    /// The record ends a hold: what that gives back is in the state that it left, too.
    pub(crate) settles: bool,
}

/// What was found of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audited {
    /// How many states followed from ones that were known.
    pub(crate) matching: u64,
    /// The first that did not.
    pub(crate) mismatch: Option<Mismatch>,
}

/// A state that does not follow from the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The rule, as it was.
    pub(crate) revision: u32,
    pub(crate) expected: Reading,
    pub(crate) found: Reading,
}

impl Table {
    /// Compares what a record says of the row of a key with what follows from the records before
    /// it, and redoes it. Records come in their order.
    pub(crate) fn audit(
        &self,
        audit: &Audit<'_>,
        redo: &RedoRecord<'_>,
        row: &RowAddress<'_>,
        charges: &[PastCharge<'_>],
        audited: &mut Audited,
    ) {
        let Some(mut locked) = self.lock_row(row) else { return };
        let calendar = || audit.counters.calendar_of(row.group, row.values);
        audit.compare(redo.at, &locked, &calendar, charges, audited);
        let is_new = locked.row(0).is_none();
        redo.charge(self, &mut locked, charges);
        if !is_new {
            return;
        }
        // For a row that comes one or two that say nothing any more are dropped, so that a long log
        // takes no more room than its engine did.
        locked.each_shard(|shard| {
            for _ in 0..2 {
                self.drop_next_idle(shard, audit.counters, *redo.at);
            }
        });
    }

    /// The same of the row that keys share which found no room.
    pub(crate) fn audit_shared(
        &self,
        audit: &Audit<'_>,
        redo: &RedoRecord<'_>,
        charge: PastCharge<'_>,
        audited: &mut Audited,
    ) {
        let Some(mut locked) = self.lock_shared_row(charge.counter) else { return };
        let calendar = || audit.counters.calendar();
        audit.compare(redo.at, &locked, &calendar, &[charge], audited);
        redo.charge(self, &mut locked, &[charge]);
    }
}

impl Audit<'_> {
    /// Compares the charges of the one row that is locked with what it holds.
    fn compare(
        &self,
        at: &At,
        locked: &dyn Locked,
        calendar: KeyCalendar<'_>,
        charges: &[PastCharge<'_>],
        audited: &mut Audited,
    ) {
        for PastCharge { counter, charge } in charges {
            let at = charge.at(at);
            let row = (locked.row(0), calendar);
            let Some((expected, fits)) = self.expected(row, counter, charge, &at) else {
                continue;
            };
            if expected == charge.reading && (fits == charge.fits || charge.role == Role::Counts) {
                audited.matching = audited.matching.saturating_add(1);
            } else if audited.mismatch.is_none() {
                let (revision, found) = (charge.revision, charge.reading);
                audited.mismatch = Some(Mismatch { revision, expected, found });
            }
        }
    }

    /// What the charge should have left, and whether it fitted, where the state before is known.
    fn expected(
        &self,
        (row, calendar): (Option<Row<'_>>, KeyCalendar<'_>),
        counter: &Counter,
        charge: &StoredCharge,
        at: &At,
    ) -> Option<(Reading, bool)> {
        // Sliding windows said other figures when they counted in slots.
        if charge.in_slots && counter.policy.keeps_list() {
            return None;
        }
        if self.corrects && counter.policy.gauge().is_some() {
            return None;
        }
        // What is charged beyond a hold leaves nothing of it to come back. An amount below zero is
        // charged beside a hold that comes back whole, and does not say how much that was.
        if self.settles && charge.cost.units < 0 {
            return None;
        }
        let current = self.counters.answering(counter.number())?;
        let judged = counter.judge(row, 0, calendar, at, charge.cost);
        // What takes no more late events now may have taken some when they were kept for longer.
        if counter.policy.is_too_late(&judged.reading, at) {
            return None;
        }
        // Where calendars have changed, cells were cut anew, by what is recorded of other events.
        if counter.policy.periods().is_some() && self.counters.were_cut_anew() {
            return None;
        }
        // What a counter took over is not in the log, and from whom may be known no more.
        let whole = self.complete && counter.lineage() == counter.number();
        let known = match judged.cell {
            Some(_) if !counter.policy.keeps_list() => true,
            Some(_) if counter.recounts() || current.may_recount() => {
                !current.policy.rolling().is_some_and(|policy| current.recounts_rolling(policy, at))
            }
            Some(_) if whole => true,
            Some(_) => counter.changed().is_some_and(|changed| {
                counter.policy.forgets(at.now.since(changed.max(self.start)))
            }),
            None => whole && !counter.recounts() && !current.may_recount(),
        };
        let mut reading = judged.reading;
        counter.policy.charge(&mut reading, &mut [], at, charge.cost);
        known.then_some((reading, judged.fits))
    }
}
