//! Where the engine's calls meet its store.

use crate::base::clock::Timestamp;
use crate::base::codec::Malformed;
use crate::compiled::{Compiler, Snapshot};
use crate::counters::{Committed as Charged, Moment, StoredCharges, encode_charges};
use crate::decision::{Decision, HeldAnswer, Receipt, ReservationId};
use crate::engine::{BatchError, Core, ReservationError, RulesError, TrackError};
use crate::event::{Dimension, DimensionHashes, Event};
use crate::idempotency::CustomerKey;
use crate::idempotency::stored::{KeyMatch, KeyOutcome, KeyUse};
use crate::journal::store::StoreError;
use crate::journal::{
    Commit, Head, HoldsOut, Pipeline, Record, RecordedDecision, ReservationOut, Unreadable,
};
use crate::log::{EventId, Packed, Stored};

/// A reservation whose hold ends with an event.
#[derive(Debug)]
pub(in crate::engine) struct Ending {
    pub(in crate::engine) number: u64,
    /// The record of the event, once it is there.
    pub(in crate::engine) record: Option<RecordBytes>,
}

/// A record of the journal as it was written.
pub(in crate::engine) type RecordBytes = Box<[u8]>;

impl Core {
    #[inline]
    pub(in crate::engine) fn has_store(&self) -> bool {
        self.pipeline.is_some()
    }

    /// Admits a call that may record something; waits where too much waits for its commit.
    #[inline]
    pub(in crate::engine) fn admit(&self) -> Result<(), TrackError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        self.show_store(pipeline);
        Ok(pipeline.admit()?)
    }

    pub(in crate::engine) fn admit_batch(&self) -> Result<(), BatchError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        self.show_store(pipeline);
        pipeline.admit().map_err(BatchError::Store)
    }

    /// Brings the figures of the store up to date.
    #[inline]
    pub(in crate::engine) fn show_store(&self, pipeline: &Pipeline) {
        self.figures.look_at_store(pipeline.waiting(), pipeline.has_failed());
    }

    /// What became of a commit that was waited for; a failure shows in the figures at once, for
    /// there may be no call after it.
    #[inline]
    fn waited_for(
        &self,
        pipeline: &Pipeline,
        committed: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        committed.inspect_err(|_| self.show_store(pipeline))
    }

    /// Waits between two events of a batch where too much waits for its commit. A method of the
    /// store's `Storage` cannot wait: the batch that it records goes beyond the bound.
    #[inline]
    pub(in crate::engine) fn wait_for_room(&self) {
        if let Some(pipeline) = &self.pipeline {
            let _ = pipeline.wait_for_room();
        }
    }

    /// Whether the rules may be changed on this thread: in a method of the store's `Storage` that
    /// would wait for itself.
    pub(in crate::engine) fn may_change(&self) -> Result<(), RulesError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        pipeline.may_wait("a change of the rules").map_err(RulesError::Store)
    }

    pub(in crate::engine) fn admit_rules(&self) -> Result<(), RulesError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        pipeline.admit().map_err(RulesError::Store)
    }

    /// Waits for the commit of an answer's record, where calls do that. Returns the error to give
    /// in place of the answer, if the commit failed.
    #[inline]
    pub(in crate::engine) fn unacknowledged(
        &self,
        answer: &Result<Decision, TrackError>,
    ) -> Option<TrackError> {
        let (pipeline, decision) = (self.pipeline.as_ref()?, answer.as_ref().ok()?);
        let refused = if self.is_cut_off(answer) {
            Some(pipeline.store.closed())
        } else {
            self.waited_for(pipeline, pipeline.acknowledge(decision.seq())).err()
        };
        refused.map(TrackError::Store)
    }

    /// The error of a call that came to be while the engine was being closed: what it did is kept
    /// nowhere.
    pub(in crate::engine) fn is_put(&self, seq: Option<u64>) -> Result<(), TrackError> {
        match &self.pipeline {
            Some(pipeline) if seq.is_none() => Err(pipeline.store.closed().into()),
            _ => Ok(()),
        }
    }

    /// Waits for the commit of a record, where calls do that.
    pub(in crate::engine) fn acknowledge(&self, seq: Option<u64>) -> Result<(), TrackError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        Ok(self.waited_for(pipeline, pipeline.acknowledge(seq))?)
    }

    /// The commit of a record that a task waits for before it gives an answer, where calls do that.
    pub(in crate::engine) fn awaited(&self, seq: Option<u64>) -> Option<Commit> {
        self.pipeline.as_ref()?.awaited(seq)
    }

    /// What the end of that commit says of the answer.
    pub(in crate::engine) fn acknowledged(
        &self,
        committed: Result<(), StoreError>,
    ) -> Result<(), TrackError> {
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        Ok(self.waited_for(pipeline, pipeline.acknowledged(committed))?)
    }

    /// As `unacknowledged` for many answers: from the last on, so that one commit serves them all.
    pub(in crate::engine) fn all_acknowledged(
        &self,
        mut answers: Vec<Result<Decision, TrackError>>,
    ) -> Vec<Result<Decision, TrackError>> {
        for answer in answers.iter_mut().rev() {
            if let Some(why) = self.unacknowledged(answer) {
                *answer = Err(why);
            }
        }
        answers
    }

    /// Whether an event was let in and its record put nowhere: the engine was closed while it
    /// decided.
    #[inline]
    pub(in crate::engine) fn is_cut_off(&self, answer: &Result<Decision, TrackError>) -> bool {
        let is_cut_off = |it: &Decision| it.is_let_in() && it.seq().is_none();
        self.pipeline.is_some() && answer.as_ref().is_ok_and(is_cut_off)
    }

    /// Waits for the commit of a batch, where calls do that; `cut_off` is one that was being
    /// recorded when the engine was closed.
    pub(in crate::engine) fn batch_is_stored(&self, cut_off: bool) -> Result<(), BatchError> {
        match &self.pipeline {
            Some(pipeline) if cut_off => Err(BatchError::Store(pipeline.store.closed())),
            Some(pipeline) => {
                self.waited_for(pipeline, pipeline.acknowledge_all()).map_err(BatchError::Store)
            }
            None => Ok(()),
        }
    }

    /// Answers with what an idempotency key has, or decides, which is told the hash under which the
    /// store keeps the key.
    #[inline]
    pub(in crate::engine) fn by_key(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
        decide: impl FnOnce(Option<u64>) -> Result<Decision, TrackError>,
    ) -> Result<Decision, TrackError> {
        let Some(pipeline) = &self.pipeline else {
            return self.keys.once(key, event, now, || decide(None));
        };
        if pipeline.is_memory_only() {
            return match self.find_stored_key(pipeline, key, event, now)? {
                Some(known) => Ok(known),
                None => self.keys.once(key, event, now, || decide(None)),
            };
        }
        let decide = |hash| {
            if pipeline.is_memory_only() {
                // It has failed since. Who comes from now on looks there, too.
                return Ok((self.keys.once(key, event, now, || decide(None))?, None));
            }
            let decision = decide(Some(hash))?;
            let since = decision.at().now;
            let seq = decision.seq();
            let kept = seq.filter(|seq| !pipeline.is_lost(*seq));
            if seq.is_some() && kept.is_none() {
                self.keys.keep(key, event, now, &decision);
            }
            Ok((decision, kept.map(|seq| KeyUse { seq, since })))
        };
        let look_up = |seq| self.look_up(pipeline, seq, key, event);
        let once = pipeline.keys.once(key, now, look_up, decide)?;
        decision_of(once, key)
    }

    /// The answer that an idempotency key has, if it has one.
    pub(in crate::engine) fn find_key(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
    ) -> Result<Option<Decision>, TrackError> {
        let Some(pipeline) = &self.pipeline else { return Ok(self.keys.find(key, event, now)?) };
        let stored = self.find_stored_key(pipeline, key, event, now)?;
        if stored.is_none() && pipeline.is_memory_only() {
            return Ok(self.keys.find(key, event, now)?);
        }
        Ok(stored)
    }

    fn find_stored_key(
        &self,
        pipeline: &Pipeline,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
    ) -> Result<Option<Decision>, TrackError> {
        let look_up = |seq| self.look_up(pipeline, seq, key, event);
        let known = pipeline.keys.find(key, now, look_up)?;
        known.map(|known| decision_of(known, key)).transpose()
    }

    /// Compares a record with an event and its key: whether it is the same request.
    fn look_up(
        &self,
        pipeline: &Pipeline,
        seq: u64,
        key: CustomerKey<'_>,
        event: &Event<'_>,
    ) -> Result<KeyMatch<Decision>, TrackError> {
        let known = pipeline.read(seq, |record| {
            let keyed = record.keyed().filter(|(it, _)| it.key == Some(key.key));
            let Some((record, reservation)) = keyed else { return Ok(Some(KeyMatch::Other)) };
            let since = Moment(record.now);
            let stored = record.stored(self.table.timeline())?;
            if stored.dimension(&Dimension::CustomerId) != Some(key.customer) {
                return Ok(Some(KeyMatch::Other));
            }
            if !stored.is_same_request(event) {
                return Ok(Some(KeyMatch::Conflict { since }));
            }
            let event = self.event_id(record.ordinal).filter(|_| reservation.is_none());
            let answer = self.answer_of(pipeline, (seq, &record), &stored, event)?;
            Ok(answer.map(|mut answer| {
                if reservation.is_some() {
                    answer.say(HeldAnswer { id: reservation, ..HeldAnswer::default() });
                }
                KeyMatch::Same { since, answer }
            }))
        })?;
        // Records are dropped with their generation, after the retention of their keys is over.
        let known = known.flatten();
        let known = known.or_else(|| (seq < pipeline.oldest()).then_some(KeyMatch::Other));
        known.ok_or_else(|| {
            let detail = "it is not there, or not what was written";
            pipeline.store.damaged(&format!("record {seq}"), detail).into()
        })
    }

    /// Whether the event of this number is another one, as far as that can be read.
    pub(in crate::engine) fn has_other(
        &self,
        ordinal: u64,
        is_other: impl Fn(&Stored<'_>) -> bool,
    ) -> bool {
        let Some(pipeline) = &self.pipeline else { return false };
        let timeline = self.table.timeline();
        let other = pipeline.read_event(ordinal, |it| Ok(is_other(&it.stored(timeline)?)));
        other.is_ok_and(|other| other == Some(true))
    }

    /// The first answer to a recorded event of a name, or to a reservation; `None` where a rule is
    /// not known that counted it.
    fn answer_of(
        &self,
        pipeline: &Pipeline,
        (seq, record): (u64, &RecordedDecision<'_>),
        event: &Stored<'_>,
        id: Option<EventId>,
    ) -> Result<Option<Decision>, Malformed> {
        let timeline = record.timeline(self.table.timeline());
        let at = record.at(self.table.timeline(), event.timestamp());
        let mut charges = StoredCharges::new();
        record.read_charges(&at, &mut charges)?;
        let rule_of = |revision| pipeline.rule(revision);
        let held = record.holds.figures();
        let mut answer = Decision::restored(id, (at, timeline), &charges, &held, rule_of);
        if let Some(answer) = answer.as_mut().filter(|_| !self.adjustments.is_empty()) {
            self.say_adjusted_before(seq, answer, event);
        }
        Ok(answer)
    }

    /// The answer to a commit that is made once more, by the record of the first: that one again,
    /// or a conflict.
    pub(in crate::engine) fn committed_again(
        &self,
        id: ReservationId,
        (seq, record): (u64, &[u8]),
        actual: &Event<'_>,
    ) -> Result<Decision, ReservationError> {
        let pipeline = self.pipeline.as_ref().ok_or(ReservationError::NotFound { id })?;
        let unreadable = |why: Unreadable| TrackError::Store(why.of(&*pipeline.store, seq));
        let malformed = |why: Malformed| unreadable(why.into());
        let record = Record::read(seq, record).map_err(unreadable)?.event();
        let record = record.ok_or(ReservationError::NotFound { id })?;
        let stored = record.stored(self.table.timeline()).map_err(malformed)?;
        let event = self.event_id(record.ordinal);
        if !stored.is_same_request(actual) {
            return Err(ReservationError::Conflict { id, first: event });
        }
        let answer = self.answer_of(pipeline, (seq, &record), &stored, event).map_err(malformed)?;
        // A rule that counted it is gone, and its records are: so is what is known of this.
        let mut answer = answer.ok_or(ReservationError::NotFound { id })?.with_seq(seq);
        let is_overrun = record.holds.is_overrun;
        answer.say(HeldAnswer { id: Some(id), is_overrun, ..HeldAnswer::default() });
        Ok(answer)
    }

    /// The name of the event of a record.
    pub(in crate::engine) fn event_of(&self, seq: u64, record: &[u8]) -> Option<EventId> {
        self.event_id(Record::read(seq, record).ok()?.ordinal)
    }

    fn event_id(&self, ordinal: u64) -> Option<EventId> {
        self.ledger.as_ref().map(|ledger| ledger.id(ordinal))
    }

    /// Records an event that is let in: in the queue of the store where there is one, with the hash
    /// of its key, and in the ledger where events are kept. Runs under the locks of the decision.
    #[inline]
    pub(in crate::engine) fn keep(
        &self,
        hashes: &DimensionHashes<'_, '_>,
        key: Option<u64>,
        committed: &Charged<'_>,
        rules: &Snapshot,
    ) -> Receipt {
        self.keep_ending(hashes, key, None, committed, rules)
    }

    /// The same of an event that ends a hold.
    #[inline]
    pub(in crate::engine) fn keep_ending(
        &self,
        hashes: &DimensionHashes<'_, '_>,
        key: Option<u64>,
        ending: Option<&mut Ending>,
        committed: &Charged<'_>,
        rules: &Snapshot,
    ) -> Receipt {
        let event = hashes.event();
        let at = committed.at;
        // Before its record: whoever copies what is known by then has what the record says.
        let alerts = self.note_alerts(committed, rules);
        let Some(pipeline) = &self.pipeline else { return self.keep_in_memory(hashes, committed) };
        let now = self.table.timeline().timestamp(at.now);
        let timestamp = event.happened_at().map_or(now, Timestamp::from);
        let revision = |rule| rules.rule(rule).map_or(0, |rule| rule.revision());
        let settles = ending.as_ref().map(|ending| ending.number);
        let holds = committed.held.map(|change| HoldsOut { settles, change, revision: &revision });
        let head = Head::new(at, event.key(), (holds, &alerts), |out| {
            encode_charges(committed, revision, out);
        });
        debug_assert!(
            key.is_some() || event.key().is_none() || ending.is_some() || pipeline.has_failed(),
            "a store that takes records takes their keys"
        );
        let put = |packed: &Packed| {
            let appended = pipeline.put(&head, packed, key, at.now.0);
            if let Some((ending, at)) = ending.zip(appended) {
                ending.record = Some(head.record_of(at.ordinal, packed.bytes()));
            }
            appended
        };
        if let Some(ledger) = &self.ledger {
            let decided = (now, at.how_counted());
            let (id, appended) = ledger.append(hashes, timestamp, decided, put);
            debug_assert!(
                appended.is_none_or(|it| ledger.id(it.ordinal) == id),
                "the ledger and the queue count the same events, in the same order"
            );
            committed.name(id.ordinal());
            return Receipt { event_id: Some(id), seq: appended.map(|it| it.seq) };
        }
        let decided = (now, at.how_counted());
        let appended = put(&Packed::counted(event, timestamp, decided));
        Receipt { event_id: None, seq: appended.map(|it| it.seq) }
    }

    /// Records what happened to a reservation, where there is a store; `reserved` is what is
    /// reserved, where the record says that.
    pub(in crate::engine) fn keep_reservation(
        &self,
        what: ReservationOut<'_>,
        reserved: Option<&Event<'_>>,
        key: Option<u64>,
        committed: &Charged<'_>,
        rules: &Snapshot,
    ) -> Receipt {
        let (Some(pipeline), Some(change)) = (&self.pipeline, committed.held) else {
            return Receipt::default();
        };
        if change.has_expired {
            // Nothing was changed.
            return Receipt::default();
        }
        let at = committed.at;
        let revision = |rule| rules.rule(rule).map_or(0, |rule| rule.revision());
        let holds = HoldsOut { settles: None, change, revision: &revision };
        let name = reserved.and_then(Event::key);
        let head = Head::of_reservation(at, what, name, holds, |out| {
            encode_charges(committed, revision, out);
        });
        let now = self.table.timeline().timestamp(at.now);
        let packed =
            reserved.map(|event| Packed::unsigned(event, event.happened_at().unwrap_or(now), now));
        let seq = pipeline.put_reservation(&head, packed.as_ref(), key, at.now.0);
        Receipt { event_id: None, seq }
    }

    pub(in crate::engine) fn rules_change(&self) {
        if let Some(pipeline) = &self.pipeline {
            pipeline.rules_change();
        }
    }

    /// Tells the compiler that no crash can bring back the rules that counters took over from,
    /// where that is so.
    pub(in crate::engine) fn note_checkpoints(&self, compiler: &mut Compiler) {
        if self.pipeline.as_ref().is_some_and(|pipeline| !pipeline.is_outdated()) {
            compiler.begin_checkpoint();
            compiler.complete_checkpoint();
        }
    }

    /// Puts a change of the rules into the queue, behind all events that were counted by the old
    /// ones and before any that is counted by the new ones.
    pub(in crate::engine) fn put_rules(
        &self,
        before: &Snapshot,
        now: &Snapshot,
        compiler: &Compiler,
    ) -> Option<u64> {
        let pipeline = self.pipeline.as_ref()?;
        Some(pipeline.put_rules(before, now, compiler))
    }

    /// Waits until a change of the rules is durable.
    pub(in crate::engine) fn rules_are_stored(&self, entry: Option<u64>) -> Result<(), RulesError> {
        match (&self.pipeline, entry) {
            (Some(pipeline), Some(entry)) => {
                pipeline.wait_for_state(entry).map_err(RulesError::Store)
            }
            _ => Ok(()),
        }
    }
}

/// The answer that a key has, or gets.
fn decision_of(once: KeyOutcome<Decision>, key: CustomerKey<'_>) -> Result<Decision, TrackError> {
    match once {
        KeyOutcome::New(decision, _) => Ok(decision),
        KeyOutcome::Known(decision, seq) => Ok(decision.with_seq(seq)),
        KeyOutcome::Conflict => Err(key.conflict().into()),
    }
}

#[cfg(all(test, feature = "durable"))]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;

    use super::*;
    use crate::Engine;
    use crate::counters::Intent;
    use crate::journal::redb::Storage;
    use crate::store::{Durable, OnFailure};

    /// A medium that takes nothing more when it is told so.
    #[derive(Clone, Debug, Default)]
    struct FailingMedium {
        bytes: Arc<Mutex<Vec<u8>>>,
        broken: Arc<AtomicBool>,
    }

    impl Storage for FailingMedium {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let start = usize::try_from(offset).expect("an offset in memory");
            out.copy_from_slice(&self.bytes.lock()[start..start + out.len()]);
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let start = usize::try_from(offset).expect("an offset in memory");
            self.bytes.lock()[start..start + data.len()].copy_from_slice(data);
            self.sync()
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.bytes.lock().resize(usize::try_from(len).expect("a length in memory"), 0);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            let broken = self.broken.load(Ordering::Acquire);
            if broken { Err(io::Error::other("it is broken")) } else { Ok(()) }
        }
    }

    #[test]
    fn a_key_whose_record_came_after_the_store_had_failed_is_known() {
        let medium = FailingMedium::default();
        let store = Durable::open_on(medium.clone()).expect("a store");
        let store = store.on_failure(OnFailure::MemoryOnly);
        let engine = Engine::builder().durable(store).build().expect("an engine");
        let event = Event::new("c", "call").idempotency_key("k");
        let core = &engine.core;
        let now = core.read_clock();
        let key = CustomerKey { customer: "c", key: "k" };
        let answer = core.by_key(key, &event, now.moment, |hash| {
            medium.broken.store(true, Ordering::Release);
            let _ = engine.track(&Event::new("c", "call")).expect("it is not known yet");
            engine.store().flush().expect_err("it is broken");
            core.decide(&event, Intent::Track, now, hash)
        });
        assert!(!answer.expect("it goes on").is_replay());
        for _ in 0..2 {
            assert!(engine.check(&event).expect("known").is_replay());
            assert!(engine.track(&event).expect("known").is_replay());
        }
        let other = engine.track(&event.cost_cents(1));
        assert!(matches!(other, Err(TrackError::IdempotencyConflict { .. })), "{other:?}");
        assert_eq!(engine.events().len(), 2);
    }
}
