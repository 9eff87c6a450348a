//! Whether the states that a log holds follow from each other.

use super::saved::{Restoring, Retake};
use super::{Padded, RowKey, Shard, Table, overflow_hash, upkeep};
use crate::counters::algorithms::Reading;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::Row;
use crate::counters::saved::{StoredCharge, StoredStart};
use crate::counters::time::{At, Moment};

/// How a log is checked, by a table that begins empty.
#[derive(Debug)]
pub(crate) struct Checking<'r> {
    /// The rules at the end of the log: counters that none of them answers for are left out.
    pub(crate) counters: &'r CounterSet,
    /// The log begins with the first record that there ever was, so that what no record speaks of
    /// is nothing.
    pub(crate) complete: bool,
    /// The time of its first record.
    pub(crate) start: Moment,
}

/// What was found of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// How many states followed from ones that were known.
    pub(crate) right: u64,
    /// The first that did not.
    pub(crate) wrong: Option<Astray>,
}

/// A state that does not follow from the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Astray {
    /// The rule, as it was.
    pub(crate) revision: u32,
    pub(crate) expected: Reading,
    pub(crate) found: Reading,
}

impl Table {
    /// Compares what a record says of the row of a partition with what follows from the records
    /// before it, and redoes it. Records come in their order.
    pub(crate) fn check(
        &self,
        checking: &Checking<'_>,
        (place, at): (u64, &At),
        (hash, group, values): (u64, u32, &[&str]),
        charges: &[Retake<'_>],
        checked: &mut Checked,
    ) {
        let key = RowKey::Partition { group, values };
        self.compare(checking, at, (hash, key), charges, checked);
        let restoring = checking.restoring(at);
        self.redo(&restoring, (place, at), (hash, group, values), charges);
        self.forget_idle(checking, at, hash);
    }

    /// Gives a counter what it started from when its key got one of its own.
    pub(crate) fn check_start(
        &self,
        checking: &Checking<'_>,
        (place, at): (u64, &At),
        row: (u64, u32, &[&str]),
        start: (&Counter, &StoredStart),
    ) {
        self.redo_start(&checking.restoring(at), (place, at), row, start);
    }

    /// The same of the row that keys share which found no room.
    pub(crate) fn check_shared(
        &self,
        checking: &Checking<'_>,
        (place, at): (u64, &At),
        charge: Retake<'_>,
        checked: &mut Checked,
    ) {
        let counter = charge.0.lineage();
        let key = RowKey::Overflow { counter };
        self.compare(checking, at, (overflow_hash(counter), key), &[charge], checked);
        self.redo_shared(&checking.restoring(at), (place, at), charge);
    }

    fn compare(
        &self,
        checking: &Checking<'_>,
        at: &At,
        (hash, key): (u64, RowKey<'_>),
        charges: &[Retake<'_>],
        checked: &mut Checked,
    ) {
        let Some(Padded(shard)) = self.shards.get(self.shard_of(hash)) else { return };
        let shard = shard.lock();
        let row = shard.rows.find(hash, |row| row.has_key(hash, key));
        for (counter, charge) in charges {
            let at = charge.at(at);
            let Some((expected, fits)) = checking.expected(row, counter, charge, &at) else {
                continue;
            };
            if expected == charge.reading && (fits == charge.fits || !charge.part.judges()) {
                checked.right = checked.right.saturating_add(1);
            } else if checked.wrong.is_none() {
                let (revision, found) = (charge.revision, charge.reading);
                checked.wrong = Some(Astray { revision, expected, found });
            }
        }
    }

    /// Drops a row or two that say nothing any more, so that a long log takes no more room than
    /// its engine did.
    fn forget_idle(&self, checking: &Checking<'_>, at: &At, hash: u64) {
        let Some(Padded(shard)) = self.shards.get(self.shard_of(hash)) else { return };
        let mut shard = shard.lock();
        let Shard { rows, cursor, .. } = &mut *shard;
        for _ in 0..2 {
            *cursor = if *cursor < rows.num_buckets() { *cursor } else { 0 };
            if let Ok(entry) = rows.get_bucket_entry(*cursor)
                && upkeep::is_idle(entry.get(), checking.counters, *at)
            {
                self.remove(entry, checking.counters);
            }
            *cursor = cursor.saturating_add(1);
        }
    }
}

impl Checking<'_> {
    fn restoring(&self, at: &At) -> Restoring<'_> {
        Restoring { counters: self.counters, end: *at }
    }

    /// What the take should have left, and whether it fitted, where the state before is known.
    fn expected(
        &self,
        row: Option<&Row>,
        counter: &Counter,
        charge: &StoredCharge,
        at: &At,
    ) -> Option<(Reading, bool)> {
        // Sliding windows said other figures when they counted in slots.
        if charge.in_slots && counter.policy.keeps_list() {
            return None;
        }
        let current = self.counters.answering(counter.number())?;
        let judged = counter.judge(row, 0, at, charge.cost);
        // What takes no more late events now may have taken some when they were kept for longer.
        if counter.policy.is_too_late(&judged.reading, at) {
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
