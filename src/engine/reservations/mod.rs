//! Reservations: what a call takes before its cost is known.

use std::sync::Arc;
use std::time::Duration;

use super::time::ClockReading;
use super::{Core, Engine, TrackError};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::decision::{Decision, Outcome, ReservationId};
use crate::event::{Event, EventError};
use crate::idempotency::CustomerKey;
use crate::log::EventId;
use crate::reservations::{
    Entry, Grant, Hold, KeyStatus, MAX_HOLD, ReservationQuery, ReservationState, ReservationStatus,
};

mod check;
mod guard;
mod steps;
mod up_to;

pub use self::guard::Reservation;
use self::up_to::Less;

/// The answer of [`Engine::reserve`].
#[derive(Debug)]
#[must_use = "a reservation that is dropped is given back"]
#[expect(clippy::exhaustive_enums, reason = "who acts on it handles all three")]
pub enum Reserved {
    /// All rules have room, and what was asked for is held.
    Held(Reservation),
    /// A rule refuses, and nothing is held. The decision says which and how long to wait.
    Refused(Decision),
    /// The idempotency key was here before, and nothing new is held.
    Replayed(KeyStatus),
}

/// Why a call about a reservation could not answer. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReservationError {
    /// The event cannot be judged, or the store takes nothing.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// A hold lasts too long, or no time at all.
    #[error("hold: {length:?} must be at least 1ns and at most 24 hours")]
    Length {
        /// The length that was given.
        length: Duration,
    },
    /// No reservation of the engine has the id, or it is known no more: it is kept as long as
    /// idempotency keys are.
    #[error("reservation: {id} must be the id of a reservation that this engine knows")]
    NotFound {
        /// The id that was given.
        id: ReservationId,
    },
    /// The reservation has ended, and not in a way that the call can go on from.
    #[error("reservation: {id} is {state}, and cannot be {verb} any more")]
    Ended {
        /// The reservation.
        id: ReservationId,
        /// How it ended.
        state: ReservationState,
        /// What was to be done: `committed`, `released`, `extended` or `grown`.
        verb: &'static str,
    },
    /// The reservation was committed with another event.
    #[error(
        "reservation: {id} was committed with another event{}: a repeated commit must have the \
         same type, model, provider, tokens, cost, latency, properties, values and attachments",
        first.map(|first| format!(", {first}")).unwrap_or_default()
    )]
    Conflict {
        /// The reservation.
        id: ReservationId,
        /// The event that it was committed with; `None` where events are not kept.
        first: Option<EventId>,
    },
}

impl From<EventError> for ReservationError {
    fn from(why: EventError) -> Self {
        Self::Track(why.into())
    }
}

/// The reservations of an engine, to look at.
#[derive(Clone, Debug)]
pub struct Reservations {
    engine: Engine,
}

impl Reservations {
    /// Returns the reservations that are asked for, the oldest first. Each is as it stands when it
    /// is looked at. O(known reservations), and O(open ones) of a customer's that are held.
    ///
    /// ```
    /// use limitry::reservations::{ReservationQuery, ReservationState};
    /// use limitry::{Engine, Event, Hold, Reserved};
    ///
    /// let engine = Engine::builder().build()?;
    /// let call = Event::new("cust_123", "model_call");
    /// let Reserved::Held(open) = engine.reserve(&call, Hold::default())? else { panic!() };
    /// let held = ReservationQuery::new().customer("cust_123").state(ReservationState::Held);
    /// assert_eq!(engine.reservations().list(&held)[0].id, open.id());
    /// open.release()?;
    /// assert_eq!(engine.reservations().list(&held), []);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn list(&self, query: &ReservationQuery) -> Vec<ReservationStatus> {
        let core = &self.engine.core;
        let now = core.read_clock().moment;
        let customer = query.customer_id.as_deref();
        let customer = customer.filter(|_| query.state == Some(ReservationState::Held));
        let known = match customer {
            Some(customer) => core.reservations.open_of(customer),
            None => core.reservations.list(),
        };
        let known = known.iter().filter(|entry| query.has_reached(entry.id));
        let all = known.map(|entry| core.status_of(entry, now));
        all.filter(|status| query.wants(status)).take(query.most()).collect()
    }

    /// Returns how many a query finds.
    #[must_use]
    pub fn count(&self, query: &ReservationQuery) -> usize {
        self.list(query).len()
    }
}

impl Engine {
    /// Decides about an act whose cost is known only afterwards, as [`track`](Self::track) does
    /// about one that is known, and holds what it is estimated to cost: for everybody else it
    /// counts as used at once. Nothing is recorded until it is [committed](Reservation::commit)
    /// with the event that happened.
    ///
    /// - A commit with less than was held gives the rest back in the same step; one with more is
    ///   charged in full ([`is_overrun`](Decision::is_overrun)).
    /// - A hold expires by itself, without a thread, and is given back. A commit after that still
    ///   records.
    /// - In a rate limit a hold is a take at its instant, and giving back never mints: a bucket
    ///   is no fuller than committed use alone would have left it, less what is still held. In
    ///   quotas it stands beside what is used, in the period of the reserve. A quota of a `max` or
    ///   `latest` meter judges the estimate and holds nothing.
    /// - A customer may have 1 000 open ones ([`max_reservations`]).
    /// - Idempotency keys are shared with `track`: a key that was used is
    ///   [`Reserved::Replayed`], which holds nothing and has no guard.
    ///
    /// Linearizable with every other call. With its commit it costs some five and a half times what
    /// `track` does with the same rules, and more where it goes
    /// [step by step](crate::guide::reservations).
    /// With four rules it takes some 1.8 kilobytes while it is open, and with its recorded event
    /// 1.4 for as long as it is known.
    ///
    /// ```
    /// use limitry::{Engine, Event, Hold, Metric, Period, Quota, Reserved};
    /// use std::time::Duration;
    ///
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 10_000, Period::Day);
    /// let tokens = tokens.per("customer_id");
    /// let engine = Engine::builder().quota(tokens).build()?;
    /// let estimate = Event::new("cust_123", "model_call").input_tokens(150).output_tokens(4_096);
    /// match engine.reserve(&estimate, Hold::lasting(Duration::from_secs(300)))? {
    ///     Reserved::Refused(decision) => println!("{decision}"),
    ///     Reserved::Replayed(status) => println!("{status:?}"),
    ///     Reserved::Held(reservation) => {
    ///         // ... the call of the model ...
    ///         let call = Event::new("cust_123", "model_call");
    ///         let actual = call.input_tokens(150).output_tokens(421);
    ///         let decision = reservation.commit(&actual)?;
    ///         let quota = decision.quotas().next().expect("it matches");
    ///         assert_eq!((quota.used, quota.held), (571.into(), 0.into()));
    ///     }
    /// }
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `track`; an amount is below zero; the hold is 0 or longer than 24 hours. A refusal is
    /// not an error.
    ///
    /// [`max_reservations`]: crate::EngineBuilder::max_reservations
    pub fn reserve(&self, event: &Event<'_>, hold: Hold) -> Result<Reserved, ReservationError> {
        self.reserve_by(event, hold, Less::Nothing)
    }

    fn reserve_by(
        &self,
        event: &Event<'_>,
        hold: Hold,
        less: Less<'_>,
    ) -> Result<Reserved, ReservationError> {
        let (reserved, seq) = self.reserve_at_once_by(event, hold, less)?;
        if let Reserved::Refused(decision) = &reserved {
            self.core.note_refusal(event, decision);
        }
        // Where that fails the guard is dropped, and nothing is held.
        self.core.acknowledge(seq)?;
        Ok(reserved)
    }

    /// What `reserve` answers as it is in memory, or where an amount is given `reserve_amount`, and
    /// the sequence number of the record that the answer goes by.
    pub(super) fn reserve_at_once(
        &self,
        event: &Event<'_>,
        hold: Hold,
        amount: Option<(&str, Amount)>,
    ) -> Result<(Reserved, Option<u64>), ReservationError> {
        let less = amount.map_or(Less::Nothing, |(name, amount)| Less::To(Grant { name, amount }));
        self.reserve_at_once_by(event, hold, less)
    }

    fn reserve_at_once_by(
        &self,
        event: &Event<'_>,
        hold: Hold,
        less: Less<'_>,
    ) -> Result<(Reserved, Option<u64>), ReservationError> {
        let core = &self.core;
        let mut made = None;
        let decision = core.reserve(event, hold, less, &mut made)?;
        let seq = decision.seq();
        let reserved = match decision.outcome() {
            Outcome::Refused => Reserved::Refused(decision),
            Outcome::Replayed => Reserved::Replayed(core.key_status(decision)),
            Outcome::Admitted => match made {
                Some(made) => Reserved::Held(Reservation::new(self.clone(), made, decision, hold)),
                // The key of an event that was let in while this call waited for it.
                None => Reserved::Replayed(core.key_status(decision)),
            },
        };
        if matches!(reserved, Reserved::Held(_)) {
            core.is_put(seq)?;
        }
        Ok((reserved, seq))
    }

    /// Commits a reservation by its id: records the event that happened, charges it in full, and
    /// gives back what was held beyond it, all in one step. See [`Reservation::commit`].
    ///
    /// # Errors
    /// As [`Reservation::commit`]; there is no such reservation.
    pub fn commit(
        &self,
        id: ReservationId,
        actual: &Event<'_>,
    ) -> Result<Decision, ReservationError> {
        self.core.commit(id, Some(actual))
    }

    /// Lets a reservation expire so long from now, by its id. See [`Reservation::extend`].
    ///
    /// # Errors
    /// As [`Reservation::extend`]; there is no such reservation.
    pub fn extend(&self, id: ReservationId, by: Duration) -> Result<Timestamp, ReservationError> {
        let until = self.core.extend(id, by)?;
        Ok(self.core.table.timeline().timestamp(until))
    }

    /// Reserves more for a reservation, by its id. See [`Reservation::grow`].
    ///
    /// # Errors
    /// As [`Reservation::grow`]; there is no such reservation.
    pub fn grow(&self, id: ReservationId, more: &Event<'_>) -> Result<Decision, ReservationError> {
        self.core.grow(id, more)
    }

    /// Gives back all that a reservation holds, by its id. See [`Reservation::release`].
    ///
    /// # Errors
    /// As [`Reservation::release`]; there is no such reservation.
    pub fn release(&self, id: ReservationId) -> Result<ReservationStatus, ReservationError> {
        self.core.release(id)
    }

    /// Returns how a reservation stands; `None` of one that this engine does not know, or not any
    /// more: it is kept as long as idempotency keys are.
    #[must_use]
    pub fn reservation(&self, id: ReservationId) -> Option<ReservationStatus> {
        let now = self.core.read_clock().moment;
        Some(self.core.status_of(&*self.core.reservations.get(id)?, now))
    }

    /// Returns the engine's reservations, to list them.
    #[must_use]
    pub fn reservations(&self) -> Reservations {
        Reservations { engine: self.clone() }
    }
}

impl Core {
    fn reserve(
        &self,
        event: &Event<'_>,
        hold: Hold,
        less: Less<'_>,
        made: &mut Option<Made>,
    ) -> Result<Decision, ReservationError> {
        event.validate()?;
        check::not_below_zero(event)?;
        let lasting = nanos(hold.length())?;
        self.admit()?;
        let now = self.read_clock();
        let go_on = |event: &Event<'_>| self.reserve_as_it_is(event, (lasting, now), less, made);
        match less {
            // What is held has a cost of its own.
            Less::To(grant) if self.prices.is_some() => {
                let lowered = grant.lowered(event);
                let cost = self.price(&lowered, || self.table.timeline().timestamp(now.moment))?;
                self.complete_by(event, cost, go_on)
            }
            _ => self.complete(event, now, go_on),
        }
    }

    fn reserve_as_it_is(
        &self,
        event: &Event<'_>,
        (lasting, now): (u64, ClockReading),
        less: Less<'_>,
        made: &mut Option<Made>,
    ) -> Result<Decision, ReservationError> {
        let mut decide = |key| {
            let asking = Asking { lasting, now, key };
            match less {
                Less::Nothing => self.hold(event, asking, None, made),
                Less::UpTo(up_to) => self.hold_up_to(event, up_to, asking, made),
                Less::To(grant) => self.hold_amount(event, grant, asking, made),
            }
        };
        let decision = match CustomerKey::of(event) {
            None => decide(None)?,
            Some(key) => self.by_key(key, event, now.moment, decide)?,
        };
        Ok(decision)
    }

    /// What the values that a reservation grows by cost, where the engine has prices. Dimensions
    /// are those of the reserve, which never change; the caller's code runs under no lock.
    fn cost_of_more(
        &self,
        entry: &Entry,
        more: &Event<'_>,
    ) -> Result<Option<Amount>, ReservationError> {
        if self.prices.is_none() || more.cost_cents.is_some() {
            return Ok(None);
        }
        let estimate = entry.state.lock().estimate.clone();
        let estimate = estimate.event();
        // One that is another's is refused for that.
        if check::grows(more, &estimate).is_err() {
            return Ok(None);
        }
        let more = check::with_values_of(&estimate, more);
        Ok(self.price(&more, || entry.timestamp)?)
    }

    /// What a key was used for, by its first answer, and how that stands now.
    fn key_status(&self, decision: Decision) -> KeyStatus {
        let entry = decision.reservation_id().and_then(|id| self.reservations.get(id));
        match entry {
            Some(entry) => {
                KeyStatus::Reserved(self.status_of(&entry, self.read_clock().moment).into())
            }
            None => KeyStatus::Decided(decision),
        }
    }

    fn entry(&self, id: ReservationId) -> Result<Arc<Entry>, ReservationError> {
        self.reservations.get(id).ok_or(ReservationError::NotFound { id })
    }
}

/// How a reservation is asked for, beside the event that is held.
#[derive(Clone, Copy)]
struct Asking {
    lasting: u64,
    now: ClockReading,
    /// The hash under which the store keeps the idempotency key.
    key: Option<u64>,
}

/// Where less may be granted: the event that was asked for, and what is granted.
type Granted<'g, 'e> = (&'g Event<'e>, Grant<'g>);

/// A reservation that was made.
struct Made {
    id: ReservationId,
    expires_at: Timestamp,
    /// How much of the metric that was asked for, or that was to be held.
    granted: Option<Amount>,
}

/// The length of a hold in nanoseconds.
fn nanos(length: Duration) -> Result<u64, ReservationError> {
    let nanos = u64::try_from(length.as_nanos()).ok();
    let nanos = nanos.filter(|nanos| *nanos > 0 && length <= MAX_HOLD);
    nanos.ok_or(ReservationError::Length { length })
}
