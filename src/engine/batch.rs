//! Recording many events with one call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Serialize;

use super::{Engine, Now};
use crate::clock::Timestamp;
use crate::counters::Intent;
use crate::decision::Decision;
use crate::error::{BatchError, TrackError};
use crate::event::{Event, MAX_BATCH};
use crate::idempotency::CustomerKey;

/// What became of a batch. Serializes as `count` and `duplicates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct BatchReport {
    /// How many events were recorded.
    pub count: usize,
    /// How many were left out because their idempotency key was used before, for the same event.
    pub duplicates: usize,
}

impl Engine {
    /// Records 1 to 1 000 events, as [`record`](Self::record) does one by one: they count whatever
    /// the rules say. All of them are checked first, and a bad one rejects the batch.
    ///
    /// An event whose idempotency key was used before, for the same event, is left out; so is one
    /// whose key an earlier event of the batch has. The clock is read once: all events without a
    /// timestamp happen now. The batch is not one step: other calls come in between, and see the
    /// events one after the other.
    ///
    /// Nothing fails once recording has begun. Where other threads change something between the
    /// check of an event and its recording, a key that was used for another event meanwhile makes
    /// a duplicate.
    ///
    /// Allocates nothing beside what `record` does, but for a set of the keys where events have
    /// some.
    ///
    /// ```
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = |key| Event::new("cust_123", "model_call").idempotency_key(key);
    /// let report = engine.record_batch(&[call("a"), call("b"), call("a")])?;
    /// assert_eq!((report.count, report.duplicates), (2, 1));
    ///
    /// let why = engine.record_batch(&[call("c"), Event::new("", "model_call")]).unwrap_err();
    /// assert_eq!(
    ///     why.to_string(),
    ///     "event 1 of the batch: customer_id: \"\" must be 1 to 256 bytes long"
    /// );
    /// assert_eq!(engine.events().len(), 2);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no event or more than 1 000; or the first event that cannot be recorded and why,
    /// as `record` says it: a field breaks its rule, the timestamp is more than 24 hours ahead, the
    /// idempotency key was used for another event, in the batch or before. Nothing is recorded
    /// then.
    pub fn record_batch(&self, events: &[Event<'_>]) -> Result<BatchReport, BatchError> {
        match events.len() {
            0 => return Err(BatchError::Empty),
            count if count > MAX_BATCH => {
                return Err(BatchError::TooMany { events: count, max: MAX_BATCH });
            }
            _ => {}
        }
        self.admit_batch()?;
        let now = self.read_clock();
        let keys = HashMap::with_hasher(self.hasher.clone());
        let mut batch = Batch { engine: self, now, keys, repeats: Vec::new() };
        for (index, event) in events.iter().enumerate() {
            let checked = batch.check(index, event);
            checked.map_err(|source| BatchError::Event { index, source })?;
        }
        let (report, cut_off) = batch.record(events);
        self.batch_is_stored(cut_off)?;
        Ok(report)
    }
}

/// A batch under way.
struct Batch<'b> {
    engine: &'b Engine,
    now: Now,
    /// The events' idempotency keys, each with the fingerprint of its event.
    keys: HashMap<CustomerKey<'b>, u64, ahash::RandomState>,
    /// The places of events whose key was used before, ascending.
    repeats: Vec<usize>,
}

impl<'b> Batch<'b> {
    fn check(&mut self, index: usize, event: &'b Event<'_>) -> Result<(), TrackError> {
        event.validate()?;
        if let Some(key) = CustomerKey::of(event)
            && self.is_repeat(key, event)?
        {
            self.repeats.push(index);
            return Ok(());
        }
        if let Some(timestamp) = event.happened_at() {
            self.engine.check_not_ahead(Timestamp::from(timestamp), self.now)?;
        }
        Ok(())
    }

    /// Whether a key was used before for the same event.
    fn is_repeat(&mut self, key: CustomerKey<'b>, event: &Event<'_>) -> Result<bool, TrackError> {
        if self.engine.find_key(key, event, self.now.moment)?.is_some() {
            return Ok(true);
        }
        let fingerprint = self.engine.keys.fingerprint(event);
        match self.keys.entry(key) {
            Entry::Occupied(first) if *first.get() == fingerprint => Ok(true),
            Entry::Occupied(_) => Err(key.conflict()),
            Entry::Vacant(free) => {
                free.insert(fingerprint);
                Ok(false)
            }
        }
    }

    /// Records the events but for repeats; says whether the engine was closed meanwhile.
    fn record(self, events: &[Event<'_>]) -> (BatchReport, bool) {
        let mut repeats = self.repeats.iter().copied().peekable();
        let (mut count, mut cut_off) = (0_usize, false);
        for (index, event) in events.iter().enumerate() {
            if repeats.next_if_eq(&index).is_some() {
                continue;
            }
            self.engine.wait_for_room();
            let answer = self.engine.counted(Intent::Record, || self.record_one(event));
            cut_off |= self.engine.is_cut_off(&answer);
            let is_new = answer.is_ok_and(|decision| !decision.is_replay());
            count = count.saturating_add(usize::from(is_new));
        }
        (BatchReport { count, duplicates: events.len().saturating_sub(count) }, cut_off)
    }

    /// Fails only when the key was used for another event since it was checked.
    fn record_one(&self, event: &Event<'_>) -> Result<Decision, TrackError> {
        let (engine, now) = (self.engine, self.now);
        let cost = engine.costs(event, Intent::Record, now);
        let decide = || engine.settle(event, Intent::Record, now, cost);
        match CustomerKey::of(event) {
            None => decide(),
            Some(key) => engine.by_key(key, event, now.moment, decide),
        }
    }
}
