//! Correcting an event: in the log and in the sums, in one step.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::{Inner, Ledger};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::{DimensionHashes, Event, ValueName};
use crate::log::{Corrected, Correction, CorrectionPage, CorrectionQuery, Corrections};
use crate::log::{EventId, Packed, PairFilter, QueryError, Segment, Stored};
use crate::log::{signature_of_built_in, signature_of_properties};
use crate::rules::Filter;
use crate::usage::{Counted, Kept};

/// What an event is now.
#[derive(Debug)]
pub(crate) struct Current {
    segment: Arc<Segment>,
    /// The ordinal of the entry that has it.
    pub(crate) ordinal: u64,
    /// Its newest correction, with the ordinal of that.
    pub(crate) correction: Option<(u64, Arc<Corrected>)>,
}

/// Why there is nothing to correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCurrent {
    /// No event has this ordinal.
    Unknown,
    /// The log does not have it any more.
    Dropped,
    /// It is nobody's.
    Erased,
}

impl Current {
    /// What it is; of a voided one what it was.
    pub(crate) fn stored(&self) -> Option<Stored<'_>> {
        self.segment.event(self.ordinal)?.read()
    }
}

impl Ledger {
    /// Lets nobody else correct an event until what this returns is dropped.
    pub(crate) fn correcting(&self) -> MutexGuard<'_, ()> {
        self.correcting.lock()
    }

    /// What the event of an ordinal is now.
    pub(crate) fn current(&self, target: u64) -> Result<Current, NoCurrent> {
        let Inner { log, .. } = &*self.inner.lock();
        if log.corrections().is_entry(target) || target >= log.recorded() {
            return Err(NoCurrent::Unknown);
        }
        let correction = log.corrections().of(target);
        let correction = correction.map(|(entry, corrected)| (entry, Arc::clone(corrected)));
        let ordinal = correction.as_ref().map_or(target, |(entry, _)| *entry);
        if target < log.first() {
            return Err(NoCurrent::Dropped);
        }
        let next = ordinal.saturating_add(1);
        let segment = log.newest_before(next, Timestamp::MIN, None, 1).ok_or(NoCurrent::Dropped)?;
        let current = Current { segment, ordinal, correction };
        let is_erased = current.stored().is_none_or(|stored| stored.is_anonymous());
        if is_erased { Err(NoCurrent::Erased) } else { Ok(current) }
    }

    /// Whether an event can be taken out of the sums.
    pub(crate) fn check_out(&self, current: &Current) -> Result<(), Kept> {
        let Some(stored) = current.stored() else { return Ok(()) };
        let Inner { log, rollups } = &*self.inner.lock();
        rollups.check_out(&Counted { event: &stored, ordinal: current.ordinal }, log)
    }

    /// Corrects an event, which is as `amended` from here on, or not at all. `put` hands the entry
    /// on in the order of the log, as [`append`](Self::append) does. Returns its ordinal.
    pub(crate) fn correct<R>(
        &self,
        current: &Current,
        amended: Option<&DimensionHashes<'_, '_>>,
        corrected: Corrected,
        put: impl FnOnce(&Packed) -> R,
    ) -> Option<(u64, R)> {
        let stored = current.stored()?;
        let (timestamp, now) = (stored.timestamp(), corrected.at);
        let packed = match amended {
            None => Packed::again(&stored, &self.hasher),
            Some(hashes) => {
                let event = hashes.event();
                let decided = (stored.decided_at(), stored.counted());
                let mut packed = Packed::counted(event, timestamp, decided);
                packed.sign(signature_of_properties(hashes) | signature_of_built_in(hashes));
                packed
            }
        };
        let Inner { log, rollups } = &mut *self.inner.lock();
        let ordinal = log.recorded();
        let out = Counted { event: &stored, ordinal: current.ordinal };
        rollups.take_out(&out, Some(log), now, ordinal);
        if let Some(hashes) = amended {
            rollups.add(hashes, timestamp, now, ordinal);
        }
        log.correct(&packed, now, corrected);
        Some((ordinal, put(&packed)))
    }

    /// A correction as callers get it, by the ordinal of its entry; `None` where the log does not
    /// have that any more, or the event is erased.
    pub(crate) fn correction(&self, entry: u64, corrected: &Corrected) -> Option<Correction> {
        let next = entry.saturating_add(1);
        let segment = self.newest_before(next, Timestamp::MIN, None, 1)?;
        let stored = segment.event(entry)?.read().filter(|stored| !stored.is_anonymous())?;
        let amended = (!corrected.is_void).then(|| Box::new(stored.event().into_owned()));
        let (event_id, reason) = (self.id(corrected.target), corrected.reason.to_string());
        Some(Correction { event_id, reason, at: corrected.at, amended })
    }

    /// The sum of the amounts below zero that events have of a value: of those of a range of
    /// ordinals that match and were decided about from an instant on, without the event `but`. What
    /// is amended counts as it is and as it was. O(events of the range since then): the ledger is
    /// locked to step from segment to segment.
    pub(crate) fn refunds(
        &self,
        value: &ValueName,
        filter: &Filter,
        (within, but): (Range<u64>, u64),
        from: Timestamp,
    ) -> Amount {
        let filter = PairFilter::new(&self.hasher, filter);
        let corrections = self.corrections();
        // A thread may stand still between the clock and the log.
        let over = from.saturating_sub(Duration::from_secs(60));
        let mut sum = Amount::ZERO;
        let mut before = within.end.min(self.recorded());
        while let Some(most @ 1..) = before.checked_sub(within.start) {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let Some(segment) = self.newest_before(before, Timestamp::MIN, None, most) else {
                break;
            };
            for event in segment.events().filter(|event| within.contains(&event.ordinal)) {
                let counts = match corrections.entry(event.ordinal) {
                    Some(entry) => !entry.is_void && entry.target != but,
                    None => event.ordinal != but,
                };
                if !counts || !filter.may_match(event.signature) {
                    continue;
                }
                let Some(stored) = event.read() else { continue };
                let amount = stored.amount(value).filter(|amount| *amount < Amount::ZERO);
                if let Some(amount) = amount
                    && stored.decided_at() >= from
                    && filter.matches(&stored)
                {
                    sum = sum.saturating_add(amount);
                }
            }
            before = segment.first();
            let newest = segment.events().next_back().and_then(|event| event.read());
            if newest.is_some_and(|newest| newest.decided_at() < over) {
                break;
            }
        }
        sum
    }

    /// What an event was when it came, and what it was amended to since: with the instants of
    /// these. O(corrections since then).
    pub(crate) fn versions(&self, target: u64, mut each: impl FnMut(Timestamp, &Event<'_>)) {
        let corrections = self.corrections();
        let amendments = corrections.of_event(target).map(|(entry, made)| (entry, Some(made.at)));
        for (ordinal, at) in std::iter::once((target, None)).chain(amendments) {
            let next = ordinal.saturating_add(1);
            let Some(segment) = self.newest_before(next, Timestamp::MIN, None, 1) else { continue };
            let Some(stored) = segment.event(ordinal).and_then(|event| event.read()) else {
                continue;
            };
            each(at.unwrap_or(stored.decided_at()), &stored.event());
        }
    }

    /// What was corrected of the events.
    pub(crate) fn corrections(&self) -> Arc<Corrections> {
        Arc::clone(self.inner.lock().log.corrections())
    }

    /// A page of corrections, the newest first. O(those that are looked at).
    pub(crate) fn list_corrections(
        &self,
        query: &CorrectionQuery,
    ) -> Result<CorrectionPage, QueryError> {
        let most = query.page_limit()?;
        let wanted = query.event_id().map(|id| self.ordinal(id));
        let before = match query.cursor_text() {
            None => u64::MAX,
            Some(cursor) => {
                let entry = cursor.parse::<EventId>().ok().and_then(|id| self.ordinal(id));
                let rule = "must be the next cursor of a page of this engine's corrections";
                let entry = entry.ok_or_else(|| QueryError::invalid("cursor", cursor, rule))?;
                entry.saturating_add(1)
            }
        };
        let corrections = self.corrections();
        let is_wanted =
            |corrected: &Corrected| wanted.is_none_or(|wanted| wanted == Some(corrected.target));
        let found = corrections.before(before).filter(|(_, corrected)| is_wanted(corrected));
        let mut found = found
            .filter_map(|(entry, corrected)| Some((entry, self.correction(entry, corrected)?)));
        let data = found.by_ref().take(most).map(|(_, correction)| correction).collect();
        let next_cursor = found.next().map(|(entry, _)| self.id(entry).to_string());
        Ok(CorrectionPage { data, next_cursor })
    }
}
