//! Correcting recorded events: voiding them, and amending them.
//!
//! A correction is one step, under the locks of the counters that the event has counted in: they
//! are charged with the difference, the log gets an entry, the sums take the event out and have
//! what it is from then on, and the record goes into the queue. Whoever corrects holds the
//! ledger's `correcting` from before the event is looked up until that is done.

use std::sync::Arc;

pub(super) use self::refunds::Refunds;
use super::history::Recorded;
use super::time::ClockReading;
use super::{Core, CorrectError, Engine};
use crate::base::clock::Timestamp;
use crate::base::text::excerpt;
use crate::compiled::{Matches, Snapshot};
use crate::counters::{
    Committed as Charged, Correcting, History, HowCounted, Intent, Request, Taken, Verdict,
    encode_charges,
};
use crate::event::{DimensionHashes, Event, ValueName};
use crate::journal::{Head, HoldsOut, put_corrected};
use crate::log::{Corrected, Correction, EventId, Packed, RecordedEvent};
use crate::recording::{Current, Ledger, NoCurrent};
use crate::rules::Cost;
use crate::usage::Kept;

mod costs;
mod refunds;

const MAX_REASON_BYTES: usize = 1_024;

impl Engine {
    /// Voids a recorded event: usage, meters and quotas are from then on as if it had never been.
    /// The event stays in the log, with its [correction](crate::events::RecordedEvent::correction);
    /// the reason, of at most 1 024 bytes, says who voided it, and why. To void it again changes
    /// nothing, and answers the same.
    ///
    /// - Usage and meters are corrected for as long as the log has the event: also those of closed
    ///   periods, in all resolutions that are kept. The highest and the latest of some amounts, and
    ///   the number of different values, are folded anew.
    /// - Quotas of periods that take events still are corrected, closed ones go by their meters. A
    ///   period that began with the event stays as it is. A rule in shadow mode is taken to have
    ///   counted the event.
    /// - Rate limits get back what still counts in them, from the instant at which the event was
    ///   taken of them, and so are never laxer than if it had never been: a window the very use,
    ///   and a sliding one that has merged it with later ones no more than it tells apart; a bucket
    ///   what it cannot have refilled since. Of a committed reservation it is what a window took
    ///   when it was reserved. What refunds and [adjustments](crate::handles::Rules::adjust) have
    ///   given back since is taken to have been of the event, so that it comes back once. What came
    ///   before the rule, or before a reset, gives nothing back. A voided refund is taken again.
    /// - Credits return to the grants that paid for the event. What has expired since is worth
    ///   nothing. Where the ledger has dropped the entry they come as a refund does.
    /// - What has fired stays, and so does the idempotency key, whose answer is the first one.
    ///
    /// It is one step, linearizable with every other call, whatever the rules say; with a store it
    /// is durable as an event is. It costs about what a late event does; where a highest or latest
    /// amount is folded anew also O(the events of its day that the log has), under the ledger's
    /// lock, and where a rate limit on cost or a named value gets something back O(the events
    /// since): those are looked through before anything is locked, and under the locks only what
    /// was recorded meanwhile.
    ///
    /// ```
    /// use limitry::{Engine, Event, Metric, Period, Quota};
    ///
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day);
    /// let engine = Engine::builder().quota(tokens.per("customer_id")).build()?;
    /// let call = Event::new("ann", "call").input_tokens(900);
    /// let id = engine.track(&call)?.event_id().expect("it is recorded");
    /// assert!(!engine.track(&call)?.is_allowed());
    ///
    /// engine.void(id, "counted twice: ticket 7, by jo")?;
    /// assert!(engine.track(&call)?.is_allowed());
    /// let event = engine.events().newest(2).pop().expect("it is listed");
    /// let correction = event.correction.expect("it is voided");
    /// assert_eq!(correction.reason, "counted twice: ticket 7, by jo");
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// Recording is off; no event has the id, retention has dropped it, or it is erased; the reason
    /// breaks its rule; an amount of it is the highest or the latest, or its value maybe the only
    /// one, and what the figure is without it is not recorded any more; the store takes nothing.
    /// Nothing is changed then, but where the commit has failed.
    pub fn void(&self, event_id: EventId, reason: &str) -> Result<Correction, CorrectError> {
        let wanted = Wanted { amended: None, is_restated: false, of: None };
        self.core.correct(event_id, &wanted, reason)?.ok_or(CorrectError::NotFound { id: event_id })
    }

    /// Amends a recorded event: usage, meters and quotas are from then on as if it had been like
    /// this. What an amendment changes is what the event brings: its tokens, cost, latency, values,
    /// and properties that no rule goes by. It stays its customer's, and happens when it did. One
    /// that was amended may be amended again, and voided; the same amendment again changes nothing.
    /// An event without a cost gets one where the engine has [prices](crate::Pricer).
    ///
    /// More than was counted is counted whatever the rules say, as by [`record`](Self::record), and
    /// may reach thresholds of [alerts](Self::alerts), which fire with the next event. Rate limits
    /// are never laxer than if it had been so: a window counts it at the instant of the event, a
    /// bucket without what it would have refilled since it was full. A window's length after the
    /// event it is nothing to a bucket; one never full since is laxer then, by no more than that. A
    /// refund that is more than it was gives rate limits nothing back, and balances what an event
    /// that gives it does. Else as [`void`](Self::void).
    ///
    /// ```
    /// use limitry::usage::UsageQuery;
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = Event::new("ann", "call").input_tokens(900);
    /// let id = engine.track(&call)?.event_id().expect("it is recorded");
    /// engine.amend(id, &call.input_tokens(90), "as the provider billed it")?;
    /// let totals = engine.usage().summary(&UsageQuery::all_time())?.totals;
    /// assert_eq!((totals.total_events, totals.total_tokens), (1, 90));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `void`, and where the event is voided, where a field of the new one breaks its rule,
    /// where it has another customer or timestamp, or where a rule would count it under another
    /// key: void it then, and record another. The idempotency key is not looked at.
    pub fn amend(
        &self,
        event_id: EventId,
        event: &Event<'_>,
        reason: &str,
    ) -> Result<Correction, CorrectError> {
        event.validate()?;
        let (ledger, target) = self.core.target(event_id)?;
        let current = found(ledger, event_id, target)?;
        self.core
            .amend(event_id, &current, event, reason, None)?
            .ok_or(CorrectError::NotFound { id: event_id })
    }

    /// Amends a recorded event by what it is: `change` is given the event as it is now and returns
    /// what it is to be, or `None` to leave it. As [`amend`](Self::amend), but that nothing is lost
    /// which others do at the same time: where the event was corrected meanwhile, `change` is asked
    /// again. It is called when nothing is locked. Returns the correction, where there is one.
    ///
    /// ```
    /// use limitry::{Engine, Event};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = Event::new("ann", "call").input_tokens(900);
    /// let id = engine.track(&call)?.event_id().expect("it is recorded");
    /// let halved = engine.amend_with(id, "batch", |now| {
    ///     let tokens = now.event.amount("input_tokens")?.to_u64_floor();
    ///     Some(now.event.clone().input_tokens(tokens / 2))
    /// })?;
    /// let amended = halved.and_then(|it| it.amended).expect("it is amended");
    /// assert_eq!(amended.amount("input_tokens"), Some(450_u64.into()));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `amend`.
    pub fn amend_with(
        &self,
        event_id: EventId,
        reason: &str,
        mut change: impl FnMut(&RecordedEvent) -> Option<Event<'static>>,
    ) -> Result<Option<Correction>, CorrectError> {
        let (ledger, target) = self.core.target(event_id)?;
        loop {
            let current = found(ledger, event_id, target)?;
            if current.correction.as_ref().is_some_and(|(_, it)| it.is_void) {
                return Err(CorrectError::Voided { id: event_id });
            }
            let Some(stored) = current.stored() else {
                return Err(CorrectError::Dropped { id: event_id });
            };
            let Some(amended) = change(&stored.unpack(event_id)) else { return Ok(None) };
            amended.validate()?;
            let of = Some(current.ordinal);
            let done = self.core.amend(event_id, &current, &amended, reason, of)?;
            if done.is_some() {
                return Ok(done);
            }
        }
    }
}

impl Core {
    /// Where the log may have an event.
    fn target(&self, id: EventId) -> Result<(&Arc<Ledger>, u64), CorrectError> {
        let ledger = self.ledger.as_ref().ok_or(CorrectError::RecordingOff)?;
        Ok((ledger, ledger.ordinal(id).ok_or(CorrectError::NotFound { id })?))
    }

    /// Amends an event that was found as it is now.
    fn amend(
        &self,
        id: EventId,
        current: &Current,
        event: &Event<'_>,
        reason: &str,
        of: Option<u64>,
    ) -> Result<Option<Correction>, CorrectError> {
        // A price list is the caller's code: nothing is locked.
        let amended = self.completed(event, current)?;
        let is_restated = event.is_priced();
        let wanted = Wanted { amended: Some(&amended), is_restated, of };
        self.correct(id, &wanted, reason)
    }

    /// Corrects an event; `None` where it is told which entry stands for the event, and by now
    /// another one does.
    fn correct(
        &self,
        id: EventId,
        wanted: &Wanted<'_, '_>,
        reason: &str,
    ) -> Result<Option<Correction>, CorrectError> {
        check_reason(reason)?;
        let (ledger, target) = self.target(id)?;
        if let Some(pipeline) = &self.pipeline {
            pipeline.admit()?;
        }
        let now = self.read_clock();
        let correcting = ledger.correcting();
        let made = self.correct_once(ledger, (id, target), wanted, reason, now)?;
        drop(correcting);
        let Some(Made { correction, seq, event }) = made else { return Ok(None) };
        if let Some(pipeline) = &self.pipeline {
            match (seq, &event) {
                // The first one may be on its way.
                (_, None) => pipeline.acknowledge_all()?,
                (None, Some(_)) => return Err(pipeline.store.closed().into()),
                (seq, Some(_)) => pipeline.acknowledge(seq)?,
            }
        }
        if let Some(event) = event.filter(|_| !self.waiting.room.is_empty()) {
            self.hold_ended(&event);
        }
        Ok(Some(correction))
    }

    /// The event with the attributes that its customer had when it was decided about, and with what
    /// prices say that it costs when it happened, where it does not say so.
    fn completed(
        &self,
        event: &Event<'_>,
        current: &Current,
    ) -> Result<Event<'static>, CorrectError> {
        let mut amended = event.clone().into_owned();
        let Some(stored) = current.stored() else { return Ok(amended) };
        let at = stored.timestamp();
        for (name, value) in stored.event().attributes() {
            if !amended.has_property(name) {
                amended.add_attribute(name.to_owned().into(), Arc::clone(value));
            }
        }
        amended.check_room()?;
        match self.price(&amended, || at)? {
            Some(cost) => Ok(amended.priced(cost).into_owned()),
            None => Ok(amended),
        }
    }

    /// Corrects by the rules in force, from the start again where they change.
    fn correct_once(
        &self,
        ledger: &Ledger,
        (id, target): (EventId, u64),
        wanted: &Wanted<'_, '_>,
        reason: &str,
        now: ClockReading,
    ) -> Result<Option<Made>, CorrectError> {
        let amended = wanted.amended;
        loop {
            let snapshot = self.snapshot.load_full();
            let current = found(ledger, id, target)?;
            if wanted.of.is_some_and(|entry| entry != current.ordinal) {
                return Ok(None);
            }
            if let Some(known) = known(ledger, id, &current, wanted)? {
                return Ok(Some(known));
            }
            let stored = current.stored().ok_or(CorrectError::NotFound { id })?;
            let times = (stored.timestamp(), stored.decided_at(), stored.counted());
            let event = stored.event();
            if let Some(amended) = amended {
                is_same_act(&event, amended, times.0)?;
            }
            ledger.check_out(&current).map_err(|why| why.into_error(id))?;
            let corrected = Corrected {
                target,
                is_void: amended.is_none(),
                reason: reason.into(),
                at: times.0,
            };
            let asked = Asked { id, current: &current, times, event: &event, amended, corrected };
            if let Some(kept) = self.correct_by(ledger, &snapshot, &asked, now)? {
                return made(ledger, id, kept, event.clone().into_owned()).map(Some);
            }
            // The rules are being changed: look again.
            std::thread::yield_now();
        }
    }

    /// Corrects by a rule set; nothing where it is not the one in force any more.
    fn correct_by(
        &self,
        ledger: &Ledger,
        snapshot: &Snapshot,
        asked: &Asked<'_, '_, '_>,
        now: ClockReading,
    ) -> Result<Option<KeptEntry>, CorrectError> {
        let Asked { id, current, times, event, amended, .. } = *asked;
        let (timestamp, decided_at, counted) = times;
        let timeline = self.table.timeline();
        let at = timeline.at(now.moment, Some(timestamp));
        let hashes = DimensionHashes::new(event, &self.hasher);
        let mut matches = Matches::default();
        snapshot.index.find(&hashes, &at, &mut matches);
        let new = amended.map(|amended| DimensionHashes::new(amended, &self.hasher));
        if let Some(new) = &new {
            let mut others = Matches::default();
            snapshot.index.find(new, &at, &mut others);
            has_same_keys(snapshot, &matches, &others)?;
        }
        let correcting = Correcting {
            event: asked.corrected.target,
            current: current.ordinal,
            taken: Taken {
                decided: timeline.moment(decided_at),
                dated: timeline.moment(timestamp.min(decided_at)),
                counted,
            },
            taken_at: decided_at,
            costs: costs::costs(ledger, snapshot, &matches, asked, timeline.timestamp(now.moment)),
            unknown: std::cell::Cell::new(None),
        };
        let recorded = self.known_use(snapshot);
        let refunds = recorded.as_ref().map(|it| Refunds::look(it, &correcting, &matches));
        let recorded = recorded.map(|it| Recorded { refunds: refunds.as_ref(), ..it });
        let request = Request {
            counters: &snapshot.counters,
            intent: Intent::Correct,
            rows: &matches.rows,
            history: recorded.as_ref().map(|recorded| recorded as &dyn History),
        };
        let mut verdict = Verdict::at(at);
        verdict.ask_all(matches.rules(), |_| Cost { units: 0, counts: true });
        let mut kept = None;
        let mut keep = |charged: &Charged<'_>| {
            charged.name(asked.corrected.target);
            kept = self.keep_correction(ledger, asked, new.as_ref(), charged, snapshot);
        };
        let decided = self.table.correct(&request, &mut verdict, &correcting, Some(&mut keep));
        if let Some(rule) = correcting.unknown.get() {
            let figure = snapshot.rule(rule).map_or("", |compiled| compiled.rule.name()).into();
            return Err(CorrectError::NotRecorded { id, figure });
        }
        debug_assert_eq!(kept.is_some(), decided.is_ok(), "a correction of now is made");
        Ok(kept)
    }

    /// Keeps a correction: in the log and the sums, and in the queue of the store where there is
    /// one. Runs under the locks of the decision.
    fn keep_correction(
        &self,
        ledger: &Ledger,
        asked: &Asked<'_, '_, '_>,
        amended: Option<&DimensionHashes<'_, '_>>,
        charged: &Charged<'_>,
        rules: &Snapshot,
    ) -> Option<KeptEntry> {
        let Asked { current, corrected, .. } = asked;
        let corrected =
            Corrected { at: self.table.timeline().timestamp(charged.at.now), ..corrected.clone() };
        let Some(pipeline) = &self.pipeline else {
            let (entry, ()) = ledger.correct(current, amended, corrected.clone(), |_| ())?;
            return Some((entry, corrected, None));
        };
        let at = charged.at;
        let revision = |rule| rules.rule(rule).map_or(0, |rule| rule.revision());
        let holds = charged.held;
        let holds = holds.map(|change| HoldsOut { settles: None, change, revision: &revision });
        let what = |out: &mut Vec<u8>| {
            let Corrected { target, is_void, reason, .. } = &corrected;
            put_corrected((*target, current.ordinal), *is_void, reason, out);
            if let Some(before) = current.stored().filter(|_| !is_void) {
                out.extend_from_slice(Packed::again(&before, ledger.hasher()).bytes());
            }
        };
        let head = Head::of_correction(at, what, holds, |out| {
            encode_charges(charged, revision, out);
        });
        let put = |packed: &Packed| pipeline.put_correction(&head, packed, at.now.0);
        let (entry, seq) = ledger.correct(current, amended, corrected.clone(), put)?;
        Some((entry, corrected, seq))
    }
}

/// What a correction left in the log, and the number of its record.
type KeptEntry = (u64, Corrected, Option<u64>);

/// The answer to a correction that was made now.
fn made(
    ledger: &Ledger,
    id: EventId,
    (entry, corrected, seq): KeptEntry,
    event: Event<'static>,
) -> Result<Made, CorrectError> {
    let correction = ledger.correction(entry, &corrected);
    let correction = correction.ok_or(CorrectError::Dropped { id })?;
    Ok(Made { correction, seq, event: Some(event) })
}

/// A correction that was made.
struct Made {
    correction: Correction,
    /// The number of its record, where it was made now and has one.
    seq: Option<u64>,
    /// The event, where it was corrected now.
    event: Option<Event<'static>>,
}

/// What an event is to be from now on.
struct Wanted<'a, 'n> {
    /// `None` of one that is voided.
    amended: Option<&'a Event<'n>>,
    /// It came with a cost that prices say: one with another such cost is another.
    is_restated: bool,
    /// The entry that stands for the event, where that is told.
    of: Option<u64>,
}

/// What is asked for, of an event as it is.
struct Asked<'a, 'e, 'n> {
    id: EventId,
    current: &'a Current,
    /// When it happened, when it was decided about, and how it was counted.
    times: (Timestamp, Timestamp, HowCounted),
    event: &'a Event<'e>,
    amended: Option<&'a Event<'n>>,
    /// But for its time.
    corrected: Corrected,
}

/// What the event of an ordinal is now.
fn found(ledger: &Ledger, id: EventId, target: u64) -> Result<Current, CorrectError> {
    ledger.current(target).map_err(|why| match why {
        NoCurrent::Unknown => CorrectError::NotFound { id },
        NoCurrent::Dropped => CorrectError::Dropped { id },
        NoCurrent::Erased => CorrectError::Erased { id },
    })
}

/// The correction that was made before, where the same is asked for.
fn known(
    ledger: &Ledger,
    id: EventId,
    current: &Current,
    wanted: &Wanted<'_, '_>,
) -> Result<Option<Made>, CorrectError> {
    let Some((entry, corrected)) = &current.correction else { return Ok(None) };
    let is_same = match wanted.amended {
        Some(_) if corrected.is_void => return Err(CorrectError::Voided { id }),
        None => corrected.is_void,
        Some(event) => current.stored().is_some_and(|stored| {
            let has_cost = || stored.amount(&ValueName::CostCents) == event.cost_cents;
            stored.is_same_request(event) && (!wanted.is_restated || has_cost())
        }),
    };
    if !is_same {
        return Ok(None);
    }
    let correction = ledger.correction(*entry, corrected).ok_or(CorrectError::Dropped { id })?;
    Ok(Some(Made { correction, seq: None, event: None }))
}

/// Checks that an amendment is of the same customer and time.
fn is_same_act(
    event: &Event<'_>,
    amended: &Event<'_>,
    timestamp: Timestamp,
) -> Result<(), CorrectError> {
    let moved = |field: &'static str, value: &str, rule| {
        Err(CorrectError::Invalid { field, value: excerpt(value), rule })
    };
    if event.customer_id != amended.customer_id {
        let rule = "must be that of the event: void it, and record another";
        return moved("customer_id", &amended.customer_id, rule);
    }
    match amended.happened_at().filter(|at| *at != timestamp) {
        Some(at) => moved("timestamp", &at.to_string(), "must be that of the event, or not be set"),
        None => Ok(()),
    }
}

/// Checks that the same rules count both under the same keys.
fn has_same_keys(
    rules: &Snapshot,
    before: &Matches<'_>,
    after: &Matches<'_>,
) -> Result<(), CorrectError> {
    let keys = |matches: &Matches<'_>| -> Vec<(u32, Option<(u64, u32)>)> {
        let row = |row: u32| matches.rows.get(row as usize).map(|it| (it.hash, it.group));
        let mut keys: Vec<_> =
            matches.rules().iter().map(|found| (found.rule, row(found.row))).collect();
        keys.sort_unstable();
        keys
    };
    let (before, after) = (keys(before), keys(after));
    let other =
        before.iter().chain(&after).find(|key| !(before.contains(key) && after.contains(key)));
    other.map_or(Ok(()), |(rule, _)| {
        let rule = rules.rule(*rule).map_or("", |compiled| compiled.rule.name()).into();
        Err(CorrectError::OtherKey { rule })
    })
}

fn check_reason(reason: &str) -> Result<(), CorrectError> {
    let rule = if reason.len() > MAX_REASON_BYTES {
        "must be at most 1024 bytes long"
    } else if reason.chars().any(char::is_control) {
        "must not hold control characters"
    } else {
        return Ok(());
    };
    Err(CorrectError::Invalid { field: "reason", value: excerpt(reason), rule })
}

impl Kept {
    fn into_error(self, id: EventId) -> CorrectError {
        match self {
            Self::AmongOthers(dimension) => {
                CorrectError::AmongOthers { id, dimension: dimension.as_str().into() }
            }
            Self::Gauge(figure) => CorrectError::NotRecorded { id, figure },
        }
    }
}
