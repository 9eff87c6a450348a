//! Erasing whom records are about.
//!
//! The counters, the ledger and all that is known in memory are erased first, while no decision
//! is made, and the entry of that in the queue says up to which record. It ends its batch. The
//! writer then copies a whole checkpoint, which has nothing of what is erased, and takes the
//! batches behind it that the copy knows of. All of that it commits in one transaction with the
//! older records, which are rewritten. So a crash leaves the store as it was before the call, or
//! as it is after it. No rewritten record is ever redone: the checkpoint is behind all of them.
//!
//! Of an event without whom it is about the record stays, since it counts in sums; any other record
//! becomes one that says nothing, and keeps its number.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pipeline::Pipeline;
use super::record::{
    Entry, Kind, Record, RecordedDecision, ReservationChange, Unreadable, put_erased_event,
    put_prefix,
};
use super::recovery::ERASED;
use super::store::{Rewrite, SpaceChange, StateChange, StateTable, Store, StoreError};
use crate::base::codec::{Codec, Malformed, Reader, put_varint};
use crate::log::{Erased, Stored};

/// What is to be erased from records.
#[derive(Clone, Debug)]
pub(crate) struct Erasure {
    pub(crate) erased: Erased,
    /// The ids of rules that are about nothing else.
    pub(crate) rules: HashSet<Box<str>>,
    /// The sequence number behind that of the last record.
    pub(crate) end: u64,
    /// Of how many events it was, and how many of those had an idempotency key: once it is durable.
    pub(crate) events: Arc<AtomicU64>,
    pub(crate) keys: Arc<AtomicU64>,
}

impl Erasure {
    pub(crate) fn new(erased: Erased, rules: HashSet<Box<str>>, end: u64) -> Self {
        let (events, keys) = Default::default();
        Self { erased, rules, end, events, keys }
    }

    /// Appends the record of a sequence number as it is without what is erased; false, and nothing
    /// appended, where it stays as it is.
    pub(super) fn rewrite(
        &self,
        seq: u64,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, Unreadable> {
        if seq >= self.end {
            return Ok(false);
        }
        let record = Record::read(seq, bytes)?;
        let is_about = match record.entry {
            Entry::NoOp => false,
            Entry::Event(event) => return self.rewrite_event(&event, out),
            Entry::Reservation(reservation) => match reservation.what {
                ReservationChange::Reserved { decision, .. }
                | ReservationChange::Grown(decision) => self.erased.has(&Self::stored(&decision)?),
                ReservationChange::Extended { rows, .. }
                | ReservationChange::Released { rows }
                | ReservationChange::GivenBack { rows } => self.is_in(rows),
            },
            Entry::Balance(rows) => self.is_in(rows.rest()),
            Entry::Correction(correction) => {
                let (mut before, mut now) = correction.events()?;
                let is_it = self.erased.has(&before) || self.erased.has(&now);
                if is_it {
                    for stored in [&mut before, &mut now] {
                        if self.erased.has(stored) {
                            stored.erase(&self.erased);
                        }
                    }
                    correction.put_erased(&before, &now, out);
                }
                return Ok(is_it);
            }
            Entry::Adjustment(adjusted) => {
                let (adjustment, _) = adjusted.adjustment()?;
                let name = self.erased.dimension.as_str();
                adjustment.key.get(name) == Some(&*self.erased.value)
                    || self.rules.contains(adjustment.rule_id.as_str())
            }
        };
        if !is_about {
            return Ok(false);
        }
        put_prefix(Kind::NoOp, record.ordinal, out);
        record.now.encode(out);
        put_varint(out, record.shift);
        Ok(true)
    }

    /// The same of an event's record.
    fn rewrite_event(
        &self,
        event: &RecordedDecision<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Unreadable> {
        let mut stored = Self::stored(event)?;
        let is_it = self.erased.has(&stored);
        if is_it {
            self.events.fetch_add(1, Ordering::Relaxed);
            self.keys.fetch_add(event.key.is_some().into(), Ordering::Relaxed);
            stored.erase(&self.erased);
            put_erased_event(event, &stored, out);
        }
        Ok(is_it)
    }

    fn stored<'r>(decision: &RecordedDecision<'r>) -> Result<Stored<'r>, Malformed> {
        Stored::decode_all(Reader::new(decision.version, decision.event))
    }

    /// Whether what a record did to rows or accounts names the value. Where only the bytes are the
    /// same it is taken for it, which is no harm: a checkpoint has what it did.
    fn is_in(&self, rows: &[u8]) -> bool {
        let value = self.erased.value.as_bytes();
        rows.windows(value.len().max(1)).any(|window| window == value)
    }
}

impl Pipeline {
    /// Puts in what was erased in memory, while no decision is made: it is durable with all older
    /// records rewritten. Rows of spaces go with it.
    pub(crate) fn put_erasure(&self, erasure: Erasure, spaces: Vec<SpaceChange>) -> u64 {
        let bytes = erasure.end.to_le_bytes().to_vec();
        let row = StateChange::Put { table: StateTable::Meta, key: ERASED, bytes };
        self.queue.push_erasure(erasure, row, spaces)
    }

    /// Waits until what was erased is gone from the store.
    pub(crate) fn wait_for_erasure(&self, entry: u64) -> Result<(), StoreError> {
        self.may_wait("erasing")?;
        self.queue.wait_for_entry(entry).map_err(|why| self.queue.refusal(&why))
    }
}

/// Rewrites the records of a store, for one erasure after the other.
#[derive(Debug)]
pub(super) struct Rewriter<'r> {
    pub(super) erasures: Vec<&'r Erasure>,
    pub(super) store: &'r dyn Store,
}

impl Rewrite for Rewriter<'_> {
    fn rewrite(&self, seq: u64, record: &[u8], out: &mut Vec<u8>) -> Result<bool, StoreError> {
        let start = out.len();
        let mut changed: Option<Vec<u8>> = None;
        for erasure in &self.erasures {
            let before = changed.as_deref().unwrap_or(record);
            let rewritten = erasure.rewrite(seq, before, out);
            if rewritten.map_err(|why| why.of(self.store, seq))? {
                changed = Some(out.split_off(start));
            }
        }
        let is_changed = changed.is_some();
        out.extend(changed.unwrap_or_default());
        Ok(is_changed)
    }
}
