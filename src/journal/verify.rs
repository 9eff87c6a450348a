//! Audit that what is in a store is undamaged, and that its parts agree with each other.

use std::ops::ControlFlow;
use std::thread::{self, ScopedJoinHandle};

use serde::Serialize;

use super::pipeline::Pipeline;
use super::record::{CorrectionRecord, Entry, Record, RecordedDecision, Unreadable};
use super::recovery::{RECORDS_A_REPORT, Recovered, Settings, recover_from, rollups_anew};
use crate::base::clock::Timestamp;
use crate::base::codec::{Malformed, Reader};
use crate::base::progress::Progress;
use crate::compiled::snapshot::stored::{RedoTable, Revisions};
use crate::compiled::{Snapshot, row_hash};
use crate::counters::{At, Audit, LogEnd, Moment, StoredCharges, Table, Timeline};
use crate::event::Dimension;
use crate::journal::store::{Chunk, Contents, StoreError};
use crate::log::{Bounds, Dropped, MemoryLog, Stored};
use crate::recording::Ledger;
use crate::usage::{Counted, Rollups};

/// What [`Store::verify`](crate::handles::Store::verify) went over and found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many records the log has: one for each event that was let in and for each thing that
    /// happened to a reservation, but for those that retention has dropped.
    pub records: u64,
    /// How many idempotency keys the store has.
    pub keys: u64,
    /// How many bytes of records, rules and checkpoints were read and have the right checksum.
    pub bytes: u64,
    /// How many states of counters were found to follow from the states and the events before
    /// them. Left out are those that cannot be checked: their past is not in the log any more, or
    /// their rule is gone.
    pub states: u64,
    /// Whether the log reaches back to the first event, so that the roll-ups could be compared with
    /// the sums of all events.
    pub is_complete: bool,
}

/// A store that was checked, with the roll-ups that opening it finds and those that its events add
/// up to, where the log has all of them.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) report: VerifyReport,
    pub(crate) ledgers: Option<(Ledger, Ledger)>,
}

const STEP: &str = "checking the log";

impl Pipeline {
    /// Checks every sum and every page, that the states in the log follow from each other, and
    /// folds its events.
    pub(crate) fn verify(&self, tell: &mut dyn FnMut(Progress)) -> Result<Verified, StoreError> {
        self.flush()?;
        let stored = self.store.verify(tell)?;
        let settings = Settings { loads_all: false, ..self.settings.clone() };
        let mut verified = Verified::default();
        // Rules may change and tables be dropped while the log is read.
        self.store.at_once(&mut |store| {
            verified = fold(&settings, store, tell)?;
            Ok(())
        })?;
        (verified.report.keys, verified.report.bytes) = (stored.keys, stored.bytes);
        Ok(verified)
    }
}

/// Recovers an engine's counters and sums, and folds the log once more beside them: its sums on a
/// thread of their own.
fn fold(
    settings: &Settings,
    store: &dyn Contents,
    tell: &mut dyn FnMut(Progress),
) -> Result<Verified, StoreError> {
    let Recovered { table, ledger, snapshot, revisions, erased, .. } =
        recover_from(settings, store, None, tell)?;
    let first = store.first();
    let is_complete = first == 0;
    let timeline = table.timeline();
    let sums = (is_complete && ledger.is_some()).then(|| Sums {
        store,
        timeline,
        rollups: rollups_anew(settings, &snapshot, &Dropped::new()),
        shift: 0,
    });
    let mut fold = Fold {
        settings,
        store,
        revisions: &revisions,
        snapshot: &snapshot,
        table: Table::new(settings.max_keys, timeline, table.shard_count()),
        start: None,
        is_audited_whole: is_complete && erased == 0,
        erased,
        charges: StoredCharges::new(),
        states: 0,
        corrects: false,
    };
    let folded = thread::scope(|scope| {
        let summing = sums.map(|sums| scope.spawn(|| sums.read()));
        let checked = fold.read(tell);
        let panicked = |_| StoreError::Failed {
            file: store.file().into(),
            cause: "the thread that sums up its events panicked".into(),
        };
        let join = |summing: ScopedJoinHandle<'_, _>| summing.join().map_err(panicked).flatten();
        let summed = summing.map(join).transpose();
        // What is wrong with a record both find.
        checked.and(summed)
    })?;
    let (records, states) = (store.end().saturating_sub(first), fold.states);
    let report = VerifyReport { records, states, is_complete, ..VerifyReport::default() };
    let folded = folded.map(|rollups| {
        let log = MemoryLog::new(Bounds::newest(1));
        Ledger::restored(0, settings.hasher.clone(), log, rollups)
    });
    let ledgers = ledger.zip(folded);
    let ledgers = ledgers.map(|(found, folded)| (found.without_events(), folded.without_events()));
    Ok(Verified { report, ledgers })
}

/// The log, read from its start and folded into roll-ups beside the engine's own.
struct Sums<'f> {
    store: &'f dyn Contents,
    timeline: Timeline,
    rollups: Rollups,
    /// How far the time line was ahead of the calendar at the last event.
    shift: u64,
}

impl Sums<'_> {
    fn read(mut self) -> Result<Rollups, StoreError> {
        let (store, mut wrong) = (self.store, None);
        store.read(0, &mut |chunk: &Chunk<'_>| {
            for (seq, bytes) in chunk.records() {
                if let Err(why) = self.add(seq, bytes) {
                    wrong = Some(why.of(store, seq));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        wrong.map_or(Ok(self.rollups), Err)
    }

    fn add(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Unreadable> {
        match Record::read(seq, bytes)?.entry {
            Entry::Event(record) => {
                let event = record.stored(self.timeline)?;
                let now = self.goes_on(&record);
                self.rollups.add(&event, event.timestamp(), now, record.ordinal);
            }
            Entry::Correction(record) => {
                let (before, event) = record.events()?;
                let CorrectionRecord { counted, is_void, decision, .. } = &record;
                let now = self.goes_on(decision);
                let out = Counted { event: &before, ordinal: *counted };
                let amended = (!is_void).then_some(&event);
                self.rollups.correct(&out, amended, (now, decision.ordinal), None);
            }
            Entry::NoOp | Entry::Balance(_) | Entry::Reservation(_) | Entry::Adjustment(_) => {}
        }
        Ok(())
    }

    /// Goes on to the instant of a decision, and says it.
    fn goes_on(&mut self, decision: &RecordedDecision<'_>) -> Timestamp {
        let now = decision.timeline(self.timeline).timestamp(Moment(decision.now));
        if decision.shift > std::mem::replace(&mut self.shift, decision.shift) {
            self.rollups.set_back(now);
        }
        now
    }
}

/// The log, read from its start and folded into counters beside the engine's own.
struct Fold<'f> {
    settings: &'f Settings,
    store: &'f dyn Contents,
    revisions: &'f Revisions,
    snapshot: &'f Snapshot,
    /// The counters as the records so far have left them.
    table: Table,
    start: Option<Moment>,
    /// The log says from its first record on what became of counters.
    is_audited_whole: bool,
    /// From this record on it does.
    erased: u64,
    charges: StoredCharges,
    states: u64,
    /// The record that is looked at corrects an event.
    corrects: bool,
}

impl Fold<'_> {
    fn read(&mut self, tell: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        let (store, end) = (self.store, self.store.end());
        let (mut wrong, mut told) = (None, 0);
        tell(Progress::new(STEP, 0, end));
        store.read(0, &mut |chunk: &Chunk<'_>| {
            for (seq, bytes) in chunk.records() {
                if let Err(why) = self.check(seq, bytes) {
                    wrong = Some(why);
                    return ControlFlow::Break(());
                }
                if seq.saturating_sub(told) >= RECORDS_A_REPORT {
                    told = seq;
                    tell(Progress::new(STEP, seq, end));
                }
            }
            ControlFlow::Continue(())
        })?;
        tell(Progress::new(STEP, end, end));
        wrong.map_or(Ok(()), Err)
    }

    /// Checks a record.
    fn check(&mut self, seq: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let unreadable = |why: Unreadable| why.of(self.store, seq);
        match Record::read(seq, bytes).map_err(unreadable)?.entry {
            Entry::NoOp => Ok(()),
            Entry::Event(record) => self.check_event(seq, &record),
            Entry::Correction(record) => self.check_correction(seq, &record),
            _ if seq < self.erased => Ok(()),
            Entry::Balance(rows) => self.redo_held(seq, rows),
            Entry::Reservation(record) => {
                if let Some(decision) = record.decision() {
                    let malformed = |why: Malformed| unreadable(why.into());
                    let timeline = self.table.timeline();
                    let estimate = decision.stored(timeline).map_err(malformed)?;
                    self.check_counters(seq, decision, &estimate)?;
                }
                self.redo_held(seq, record.rows())
            }
            Entry::Adjustment(record) => {
                let malformed = |why: Malformed| unreadable(why.into());
                let (_, of) = record.adjustment().map_err(malformed)?;
                let at = record.at(self.table.timeline());
                let value = |dimension: &Dimension| of.key.get(dimension.as_str());
                self.check_charges(seq, &record.decision, &at, value)?;
                let rows = Reader::new(record.decision.version, record.decision.holds.rows);
                self.redo_held(seq, rows)
            }
        }
    }

    fn check_event(&mut self, seq: u64, record: &RecordedDecision<'_>) -> Result<(), StoreError> {
        let malformed = |why: Malformed| Unreadable::from(why).of(self.store, seq);
        let event = record.stored(self.table.timeline()).map_err(malformed)?;
        if seq >= self.erased {
            self.check_counters(seq, record, &event)?;
            self.redo_held(seq, Reader::new(record.version, record.holds.rows))?;
        }
        Ok(())
    }

    fn check_correction(
        &mut self,
        seq: u64,
        record: &CorrectionRecord<'_>,
    ) -> Result<(), StoreError> {
        let malformed = |why: Malformed| Unreadable::from(why).of(self.store, seq);
        let (before, _) = record.events().map_err(malformed)?;
        let CorrectionRecord { decision, .. } = record;
        if seq >= self.erased {
            self.corrects = true;
            let checked = self.check_counters(seq, decision, &before);
            self.corrects = false;
            checked?;
            self.redo_held(seq, Reader::new(decision.version, decision.holds.rows))?;
        }
        Ok(())
    }

    /// Checks what a decision left counters in, about an event or about what was reserved.
    fn check_counters(
        &mut self,
        seq: u64,
        record: &RecordedDecision<'_>,
        event: &Stored<'_>,
    ) -> Result<(), StoreError> {
        let at = record.at(self.table.timeline(), event.timestamp());
        self.check_charges(seq, record, &at, |dimension| event.dimension(dimension))
    }

    /// The same of a key whose values `value` says.
    fn check_charges<'e>(
        &mut self,
        seq: u64,
        record: &RecordedDecision<'_>,
        at: &At,
        value: impl Fn(&Dimension) -> Option<&'e str>,
    ) -> Result<(), StoreError> {
        let unreadable = |why: Unreadable| why.of(self.store, seq);
        let charges = record.read_charges(at, &mut self.charges);
        charges.map_err(|why| unreadable(why.into()))?;
        let audit = Audit {
            counters: &self.snapshot.counters,
            complete: self.is_audited_whole,
            start: *self.start.get_or_insert(at.now),
            corrects: self.corrects,
            settles: record.holds.settles.is_some(),
        };
        let into = RedoTable { table: &self.table, hasher: &self.settings.hasher };
        let audited = self.revisions.audit(into, &audit, (seq, at), &self.charges, value);
        let audited = audited.map_err(|revision| unreadable(Unreadable::Revision(revision)))?;
        if let Some(mismatch) = audited.mismatch {
            let rule = self.revisions.get(mismatch.revision).map_or("", |rule| rule.rule.name());
            let (expected, found) = (mismatch.expected, mismatch.found);
            let detail = format!(
                "the counter of rule {rule:?} is {found:?} after it, and {expected:?} follows from \
                 the records before"
            );
            return Err(self.store.damaged(&format!("record {seq}"), &detail));
        }
        self.states = self.states.saturating_add(audited.matching);
        Ok(())
    }

    fn redo_held(&self, seq: u64, rows: Reader<'_>) -> Result<(), StoreError> {
        // The end of the log that is read so far.
        let (counters, timeline) = (&self.snapshot.counters, self.table.timeline());
        let end = LogEnd { counters, at: timeline.at(Moment(0), None) };
        let hasher = &self.settings.hasher;
        let hash = |group, values: &[&str]| row_hash(hasher, group, values);
        let redone = self.table.redo_held(&end, (seq, None), rows, hash, |_, _| {});
        redone.map_err(|why| Unreadable::from(why).of(self.store, seq))
    }
}
