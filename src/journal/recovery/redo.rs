//! Redoing the log, from where the checkpoint ends.

use std::ops::ControlFlow;

use super::{LOG_AGAIN, RECORDS_A_REPORT, Recovery};
use crate::alerts::NotedAlert;
use crate::base::codec::Reader;
use crate::base::progress::Progress;
use crate::compiled::row_hash;
use crate::compiled::snapshot::stored::RedoTable;
use crate::counters::{At, Moment, RedoRecord};
use crate::decision::ReservationId;
use crate::event::Dimension;
use crate::journal::record::{
    AdjustmentRecord, CorrectionRecord, Entry, Record, RecordedDecision, ReservationChange,
    ReservationRecord, Unreadable,
};
use crate::journal::store::{Chunk, StoreError};
use crate::log::{Bounds, Corrected, MemoryLog, Packed, Stored};
use crate::reservations::MadeAgain;
use crate::usage::Counted;

impl Recovery<'_> {
    pub(super) fn redo(
        &mut self,
        start: u64,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        let store = self.store;
        let (end, mut told) = (store.end(), 0);
        let total = end.saturating_sub(start);
        let mut wrong = None;
        tell(Progress::new(LOG_AGAIN, 0, total));
        store.read(start, &mut |chunk: &Chunk<'_>| {
            for (seq, bytes) in chunk.records().filter(|(seq, _)| *seq >= start) {
                if let Err(why) = self.redo_record(seq, bytes) {
                    wrong = Some(why.of(store, seq));
                    return ControlFlow::Break(());
                }
                let done = seq.saturating_sub(start);
                if done.saturating_sub(told) >= RECORDS_A_REPORT {
                    told = done;
                    tell(Progress::new(LOG_AGAIN, done, total));
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(why) = wrong {
            return Err(why);
        }
        if let (Some(keep), None) = (self.settings.keep, &self.log) {
            self.log = Some(self.open_log(keep));
        }
        tell(Progress::new(LOG_AGAIN, total, total));
        Ok(())
    }

    fn open_log(&self, keep: Bounds) -> MemoryLog {
        MemoryLog::starting(keep, self.log_from, self.dropped.clone())
    }

    fn redo_record(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Unreadable> {
        match Record::read(seq, bytes)?.entry {
            Entry::Balance(rows) if seq >= self.from => self.redo_held(seq, None, rows),
            Entry::NoOp | Entry::Balance(_) => Ok(()),
            Entry::Event(record) => self.redo_event(seq, bytes, &record),
            Entry::Correction(record) => self.redo_correction(seq, bytes, &record),
            Entry::Reservation(record) => {
                if seq >= self.from {
                    self.redo_reservation(seq, bytes, &record)?;
                }
                Ok(())
            }
            Entry::Adjustment(record) => {
                if seq >= self.from {
                    self.redo_adjustment(seq, bytes, &record)?;
                }
                Ok(())
            }
        }
    }

    fn redo_event(
        &mut self,
        seq: u64,
        bytes: &[u8],
        record: &RecordedDecision<'_>,
    ) -> Result<(), Unreadable> {
        if seq < self.from.min(self.fold_from) && record.ordinal < self.log_from {
            // Only when it happened is asked.
            self.dropped.add(record.timestamp()?);
            self.last_shift = record.shift;
            return Ok(());
        }
        let event = record.stored(self.timeline)?;
        let timestamp = event.timestamp();
        let at = record.at(self.timeline, timestamp);
        if seq >= self.from {
            self.tail_bytes = self.tail_bytes.saturating_add(wide(bytes.len()));
            self.redo_counters(seq, record, &event)?;
            let number = self.settings.keep.map(|_| record.ordinal);
            self.redo_held(seq, number, Reader::new(record.version, record.holds.rows))?;
            self.redo_alerts(record)?;
            if let Some(number) = record.holds.settles {
                self.reservations.committed(number, seq, bytes);
            }
        }
        let now = record.timeline(self.timeline).timestamp(at.now);
        if seq >= self.fold_from
            && let Some(rollups) = &mut self.rollups
        {
            if record.shift > self.last_shift {
                rollups.set_back(now);
            }
            if self.redoes {
                rollups.replay(&event, timestamp, now, record.ordinal);
            } else {
                rollups.add(&event, timestamp, now, record.ordinal);
            }
        }
        self.last_shift = record.shift;
        if record.ordinal < self.log_from {
            self.dropped.add(timestamp);
        } else if let Some(keep) = self.settings.keep {
            let new = || MemoryLog::starting(keep, self.log_from, self.dropped.clone());
            let log = self.log.get_or_insert_with(new);
            let appended = log.append(&Packed::again(&event, &self.settings.hasher), now);
            debug_assert_eq!(appended, record.ordinal, "no event is missing");
        }
        Ok(())
    }

    fn redo_correction(
        &mut self,
        seq: u64,
        bytes: &[u8],
        record: &CorrectionRecord<'_>,
    ) -> Result<(), Unreadable> {
        let CorrectionRecord { target, counted, is_void, reason, decision, .. } = record;
        let (before, event) = record.events()?;
        let (timestamp, ordinal) = (event.timestamp(), decision.ordinal);
        if seq >= self.from {
            self.tail_bytes = self.tail_bytes.saturating_add(wide(bytes.len()));
            self.redo_counters(seq, decision, &before)?;
            let rows = Reader::new(decision.version, decision.holds.rows);
            self.redo_held(seq, Some(*target), rows)?;
        }
        let now = decision.timeline(self.timeline).timestamp(Moment(decision.now));
        if seq >= self.fold_from
            && let Some(rollups) = &mut self.rollups
        {
            if decision.shift > self.last_shift {
                rollups.set_back(now);
            }
            let out = Counted { event: &before, ordinal: *counted };
            let (amended, log) = ((!is_void).then_some(&event), self.log.as_ref());
            if self.redoes {
                rollups.replay_correction(&out, amended, (now, ordinal), log);
            } else {
                rollups.correct(&out, amended, (now, ordinal), log);
            }
        }
        self.last_shift = decision.shift;
        if ordinal < self.log_from {
            self.dropped.add(timestamp);
        } else if let Some(keep) = self.settings.keep {
            let new = || MemoryLog::starting(keep, self.log_from, self.dropped.clone());
            let log = self.log.get_or_insert_with(new);
            let (target, is_void, reason) = (*target, *is_void, (*reason).into());
            let corrected = Corrected { target, is_void, reason, at: now };
            log.correct(&Packed::again(&event, &self.settings.hasher), now, corrected);
        }
        Ok(())
    }

    fn redo_reservation(
        &mut self,
        seq: u64,
        bytes: &[u8],
        record: &ReservationRecord<'_>,
    ) -> Result<(), Unreadable> {
        self.tail_bytes = self.tail_bytes.saturating_add(wide(bytes.len()));
        let number = record.number;
        if let Some(decision) = record.decision() {
            let estimate = decision.stored(self.timeline)?;
            self.redo_counters(seq, decision, &estimate)?;
            let packed = Reader::new(decision.version, decision.event);
            if let ReservationChange::Reserved { engine, until, grant, .. } = record.what {
                let (is_dated, key) = (decision.is_explicit, decision.key);
                let (id, made_at) = (ReservationId::new(engine, number), Moment(decision.now));
                let made = MadeAgain { id, made_at, until, is_dated, key, grant };
                self.reservations.made(made, packed)?;
            } else {
                self.reservations.grown(number, packed)?;
            }
        }
        match record.what {
            ReservationChange::Extended { until, .. } => self.reservations.extended(number, until),
            ReservationChange::Released { .. } => self.reservations.released(number),
            ReservationChange::Reserved { .. }
            | ReservationChange::Grown(_)
            | ReservationChange::GivenBack { .. } => {}
        }
        self.redo_held(seq, None, record.rows())
    }

    fn redo_adjustment(
        &mut self,
        seq: u64,
        bytes: &[u8],
        record: &AdjustmentRecord<'_>,
    ) -> Result<(), Unreadable> {
        self.tail_bytes = self.tail_bytes.saturating_add(wide(bytes.len()));
        let (adjustment, of) = record.adjustment()?;
        let at = record.at(self.timeline);
        let value = |dimension: &Dimension| of.key.get(dimension.as_str());
        self.redo_charges(seq, &record.decision, &at, value)?;
        let held = Reader::new(record.decision.version, record.decision.holds.rows);
        self.redo_held(seq, None, held)?;
        self.adjustments.redo(seq, adjustment, of);
        Ok(())
    }

    /// Does again what a decision did to counters, about an event or about what was reserved.
    fn redo_counters(
        &mut self,
        seq: u64,
        record: &RecordedDecision<'_>,
        event: &Stored<'_>,
    ) -> Result<(), Unreadable> {
        let at = record.at(self.timeline, event.timestamp());
        self.redo_charges(seq, record, &at, |dimension| event.dimension(dimension))
    }

    /// The same of a key whose values `value` says.
    fn redo_charges<'e>(
        &mut self,
        seq: u64,
        record: &RecordedDecision<'_>,
        at: &At,
        value: impl Fn(&Dimension) -> Option<&'e str>,
    ) -> Result<(), Unreadable> {
        record.read_charges(at, &mut self.charges)?;
        let into = RedoTable { table: self.table, hasher: &self.settings.hasher };
        let again = RedoRecord { log_end: &self.log_end, seq, at };
        let redone = self.revisions.redo(into, &again, &self.charges, value);
        redone.map_err(Unreadable::Revision)
    }

    /// Marks again what an event fired, and knows it.
    fn redo_alerts(&mut self, record: &RecordedDecision<'_>) -> Result<(), Unreadable> {
        for NotedAlert { number, alert, row, mark } in record.read_alerts()? {
            let hash = |group, values: &[&str]| row_hash(&self.settings.hasher, group, values);
            self.table.redo_fired(&row, &mark, hash);
            self.alerts.add(number, alert);
        }
        Ok(())
    }

    /// Does again what a record did to holds and accounts; `event` is the number of its event.
    fn redo_held(
        &mut self,
        seq: u64,
        event: Option<u64>,
        rows: Reader<'_>,
    ) -> Result<(), Unreadable> {
        let Self { table, log_end, reservations, settings, .. } = self;
        let hash = |group, values: &[&str]| row_hash(&settings.hasher, group, values);
        let tell = |number, place| reservations.holds(number, place);
        Ok(table.redo_held(log_end, (seq, event), rows, hash, tell)?)
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
