//! Recording many events with one call.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde::Serialize;

use super::{ClockReading, Core, Engine};
use crate::base::amount::Amount;
use crate::counters::Intent;
use crate::decision::Decision;
use crate::engine::{BatchError, BatchProblem, TrackError};
use crate::event::{Event, EventError};
use crate::idempotency::{CustomerKey, Fingerprint};
use crate::log::EventId;
use crate::telemetry::HAS_RECORDER;
use crate::wire::MAX_BATCH;

const INTENT: Intent = Intent::Record;

/// What became of a batch. Serializes as `count` and `duplicates`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct BatchReport {
    /// How many events were recorded.
    pub count: usize,
    /// How many were left out because their idempotency key was used before, for the same event.
    pub duplicates: usize,
    /// What became of each event, in the order of the batch.
    #[serde(skip)]
    pub events: Vec<BatchEvent>,
}

/// What became of an event of a batch. Serializes as `{"status":"new","id":"evt_..."}`, with
/// `duplicate` or `conflict` for `new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase", tag = "status")]
#[non_exhaustive]
pub enum BatchEvent {
    /// It was recorded.
    New {
        /// Its id; `None` where events are not kept.
        id: Option<EventId>,
    },
    /// It was left out: its customer used the idempotency key before, for the same event.
    Duplicate {
        /// The id of the event that was recorded then; `None` where events are not kept.
        id: Option<EventId>,
    },
    /// It was left out: while the batch was being recorded another call of its customer used the
    /// key for another event. A key that was used before that rejects the batch.
    Conflict,
}

impl Engine {
    /// Records 1 to 1 000 events, as [`record`](Self::record) does one by one: they count whatever
    /// the rules say. All of them are checked first, and bad ones reject the batch.
    ///
    /// An event whose customer used its idempotency key before, for the same event, is left out;
    /// so is one whose key an earlier event of the batch has. The report says of each event what
    /// became of it. The clock is read once: all events without a timestamp happen now. The batch
    /// is not one step: other calls come in between, and see the events one after the other.
    ///
    /// Nothing fails once recording has begun, but for a store that does: a recorder of metrics
    /// that panics does so when all is recorded. Where other threads change something between the
    /// check of an event and its recording, a key that was used for another event meanwhile makes
    /// a [conflict](BatchEvent::Conflict).
    ///
    /// Allocates nothing beside what `record` does, but for two lists as long as the batch, and a
    /// set of the keys where events have some.
    ///
    /// ```
    /// use limitry::events::BatchEvent;
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = |key| Event::new("cust_123", "model_call").idempotency_key(key);
    /// let report = engine.record_batch(&[call("a"), call("b"), call("a")])?;
    /// assert_eq!((report.count, report.duplicates), (2, 1));
    /// let BatchEvent::New { id } = report.events[0] else { panic!("it is new") };
    /// assert_eq!(report.events[2], BatchEvent::Duplicate { id });
    ///
    /// let bad = [call("c"), Event::new("", "model_call"), call("a").cost_cents(1)];
    /// let why = engine.record_batch(&bad).unwrap_err();
    /// assert_eq!(why.problems().iter().map(|it| it.index).collect::<Vec<_>>(), [1, 2]);
    /// assert_eq!(
    ///     why.problems()[0].to_string(),
    ///     "event 1 of the batch: customer_id: \"\" must be 1 to 256 bytes long"
    /// );
    /// assert_eq!(engine.events().len(), 2);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no event or more than 1 000; or all events that cannot be recorded and why, as
    /// `record` says it: a field breaks its rule, the timestamp is more than 24 hours ahead, the
    /// customer used the idempotency key for another event, in the batch or before. Nothing is
    /// recorded then.
    pub fn record_batch(&self, events: &[Event<'_>]) -> Result<BatchReport, BatchError> {
        match events.len() {
            0 => return Err(BatchError::Empty),
            count if count > MAX_BATCH => {
                return Err(BatchError::TooMany { events: count, max: MAX_BATCH });
            }
            _ => {}
        }
        let mut batch = self.core.batch(events, false)?;
        let problems = std::mem::take(&mut batch.problems);
        if !problems.is_empty() {
            return Err(BatchError::Events { problems });
        }
        let recorded = batch.record(events)?.into_iter();
        let events: Vec<_> = recorded.map(|(_, event)| event).collect();
        let of = |wanted: fn(&BatchEvent) -> bool| events.iter().filter(|it| wanted(it)).count();
        let count = of(|event| matches!(event, BatchEvent::New { .. }));
        let duplicates = of(|event| matches!(event, BatchEvent::Duplicate { .. }));
        Ok(BatchReport { count, duplicates, events })
    }
}

impl Core {
    /// Checks the events of a batch: nothing is recorded yet. Those of an import are taken whatever
    /// their date is.
    pub(super) fn batch<'b>(
        &'b self,
        events: &'b [Event<'_>],
        takes_any_date: bool,
    ) -> Result<Batch<'b>, BatchError> {
        self.admit_batch()?;
        // The clock is the caller's code: it is read before anything is recorded.
        let now = ClockReading { takes_any_date, ..self.read_clock() };
        let keys = HashMap::with_capacity_and_hasher(events.len(), self.hasher.clone());
        let steps = Vec::with_capacity(events.len());
        let mut batch = Batch { engine: self, now, keys, steps, problems: Vec::new() };
        for (index, event) in events.iter().enumerate() {
            let step = match batch.check(index, event).map_err(TrackError::of_batch) {
                Ok(step) => step,
                Err(Ok(failed)) => return Err(failed),
                Err(Err(source)) => {
                    batch.problems.push(BatchProblem { index, source });
                    Step::Leave
                }
            };
            batch.steps.push(step);
        }
        Ok(batch)
    }
}

/// A batch under way.
pub(super) struct Batch<'b> {
    engine: &'b Core,
    now: ClockReading,
    /// The events' idempotency keys, each with the fingerprint and the place of its first event.
    keys: HashMap<CustomerKey<'b>, (Fingerprint, usize), ahash::RandomState>,
    /// What is to be done with each event.
    steps: Vec<Step>,
    /// What is wrong with events, in their order.
    pub(super) problems: Vec<BatchProblem>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// With this cost, where the engine's prices say one.
    Record(Option<Amount>),
    /// It was recorded before, under this name.
    Known(Option<EventId>),
    /// It repeats the event of that place.
    Repeats(usize),
    /// It cannot be recorded.
    Leave,
}

impl<'b> Batch<'b> {
    fn check(&mut self, index: usize, event: &'b Event<'_>) -> Result<Step, TrackError> {
        event.validate()?;
        if let Some(key) = CustomerKey::of(event) {
            if let Some(known) = self.engine.find_key(key, event, self.now.moment)? {
                return Ok(Step::Known(known.event_id()));
            }
            let fingerprint = self.engine.keys.fingerprint(event);
            if let Some((first, place)) = self.keys.get(&key) {
                let is_same = first.is_same(fingerprint);
                return if is_same {
                    Ok(Step::Repeats(*place))
                } else {
                    Err(key.conflict().into())
                };
            }
            let cost = self.check_new(event)?;
            // One that cannot be recorded leaves its key free.
            self.keys.insert(key, (fingerprint, index));
            return Ok(Step::Record(cost));
        }
        Ok(Step::Record(self.check_new(event)?))
    }

    /// Checks what does not matter of an event that was recorded before, and asks for its price.
    fn check_new(&self, event: &Event<'_>) -> Result<Option<Amount>, EventError> {
        if let Some(timestamp) = event.happened_at() {
            self.engine.check_not_ahead(timestamp, self.now)?;
        }
        let now = || self.engine.table.timeline().timestamp(self.now.moment);
        self.engine.price(event, now)
    }

    /// Records the events that it was made of, or the first of them, but for those with problems;
    /// says of each other one, by its place, what became of it.
    pub(super) fn record(
        self,
        events: &[Event<'_>],
    ) -> Result<Vec<(usize, BatchEvent)>, BatchError> {
        let engine = self.engine;
        let mut done: Vec<(usize, BatchEvent)> = Vec::with_capacity(events.len());
        let (mut cut_off, mut told, mut failed) = (false, Ok(()), None);
        for (index, (event, step)) in events.iter().zip(&self.steps).enumerate() {
            let became = match *step {
                Step::Leave => continue,
                Step::Known(id) => BatchEvent::Duplicate { id },
                Step::Repeats(first) => {
                    let first = done.binary_search_by_key(&first, |(index, _)| *index).ok();
                    let first = first.and_then(|at| done.get(at)).map(|(_, event)| *event);
                    first.map_or(BatchEvent::Conflict, BatchEvent::repeated)
                }
                Step::Record(cost) => {
                    engine.wait_for_room();
                    let answer = engine.complete_by(event, cost, |event| self.record_one(event));
                    cut_off |= engine.is_cut_off(&answer);
                    if HAS_RECORDER && told.is_ok() {
                        // The recorder is the caller's code, and whatever it does the rest of the
                        // batch is recorded.
                        let figures = || engine.figures.answered(INTENT, &answer, &engine.table);
                        told = catch_unwind(AssertUnwindSafe(figures));
                    }
                    match BatchEvent::of(answer) {
                        Ok(became) => became,
                        Err(why) => {
                            failed = Some(why);
                            break;
                        }
                    }
                }
            };
            done.push((index, became));
        }
        let stored = failed.map_or_else(|| engine.batch_is_stored(cut_off), Err);
        if let Err(panic) = told {
            resume_unwind(panic);
        }
        stored.map(|()| done)
    }

    /// Fails only when the key was used for another event since it was checked, or the store does.
    fn record_one(&self, event: &Event<'_>) -> Result<Decision, TrackError> {
        let (engine, now) = (self.engine, self.now);
        let cost = engine.costs(event, INTENT, now);
        let decide = |hash| engine.decide_by(event, INTENT, now, cost, hash);
        let answer = match CustomerKey::of(event) {
            None => decide(None),
            Some(key) => engine.by_key(key, event, now.moment, decide),
        };
        if !engine.waiting.room.is_empty() {
            engine.make_room(event, &answer);
        }
        engine.tell_of_alerts();
        answer
    }
}

impl BatchEvent {
    /// What became of an event with this answer; the error is the store's.
    fn of(answer: Result<Decision, TrackError>) -> Result<Self, BatchError> {
        match answer.map_err(TrackError::of_batch) {
            Ok(answer) if answer.is_replay() => Ok(Self::Duplicate { id: answer.event_id() }),
            Ok(answer) => Ok(Self::New { id: answer.event_id() }),
            Err(Ok(failed)) => Err(failed),
            Err(Err(_)) => Ok(Self::Conflict),
        }
    }

    /// What becomes of the same event once more.
    fn repeated(self) -> Self {
        match self {
            Self::New { id } | Self::Duplicate { id } => Self::Duplicate { id },
            Self::Conflict => Self::Conflict,
        }
    }
}
