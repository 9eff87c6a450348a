//! Reservations of what is estimated.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Estimate, EstimateSource, Estimator, OUTPUT, model};
use crate::errors::{ReservationError, WaitError};
use crate::handles::WaitReserve;
use crate::reservations::{KeyStatus, ReservationStatus};
use crate::{Decision, Engine, Event, Hold, Metric, Outcome, Reservation, Reserved, Timestamp};

/// What an engine reserves by an [`Estimator`].
pub trait ReserveEstimated {
    /// Reserves as [`Engine::reserve`] does, and in place of the event's `output_tokens`, which are
    /// the most that may come out, those that the estimator says, where they are fewer. A total
    /// that the event states is lowered by as much; prices are asked for what is reserved, and a
    /// cost that the event states stays.
    ///
    /// It holds less idle, so that more calls run at once under the same limits: for calls that are
    /// given a high `max_tokens` and mostly answer briefly. What passes its estimate is charged in
    /// full at the commit, and [`is_overrun`](Decision::is_overrun) tells of it: limits can be
    /// passed by that much, so where none may ever be, reserve the maximum. A stream that comes
    /// near its estimate can [grow](EstimatedReservation::grow), or be cut off where there is no
    /// room.
    ///
    /// A retry by the idempotency key is one whatever the estimate is by then.
    ///
    /// # Errors
    /// As [`Engine::reserve`].
    fn reserve_estimated(
        &self,
        event: &Event<'_>,
        estimator: &Estimator,
        hold: Hold,
    ) -> Result<ReservedEstimate, ReservationError>;

    /// Waits until there is room for what the estimator says, and reserves that:
    /// [`reserve_estimated`](Self::reserve_estimated) once the rules let it in, in the order and by
    /// the cost of [`Engine::wait_reserve`]. It is estimated when this is called, and not again.
    ///
    /// # Errors
    /// As [`Engine::wait_reserve`].
    fn wait_reserve_estimated<'e, 'a>(
        &self,
        event: &'e Event<'a>,
        estimator: &Estimator,
        hold: Hold,
    ) -> WaitReserveEstimated<'e, 'a>;

    /// Waits as [`wait_reserve_estimated`](Self::wait_reserve_estimated) does, and answers the
    /// refusal at the deadline, as [`Engine::wait_until`] does.
    ///
    /// # Errors
    /// As [`Engine::wait_reserve`].
    fn wait_reserve_estimated_until<'e, 'a>(
        &self,
        event: &'e Event<'a>,
        estimator: &Estimator,
        hold: Hold,
        deadline: Timestamp,
    ) -> WaitReserveEstimated<'e, 'a>;

    /// Waits as [`wait_reserve_estimated`](Self::wait_reserve_estimated) does, and blocks the
    /// thread.
    ///
    /// # Errors
    /// As [`Engine::wait_reserve`].
    fn wait_reserve_estimated_blocking(
        &self,
        event: &Event<'_>,
        estimator: &Estimator,
        hold: Hold,
    ) -> Result<ReservedEstimate, WaitError>;
}

/// An event that waits for room for what is estimated:
/// [`wait_reserve_estimated`](ReserveEstimated::wait_reserve_estimated). As [`WaitReserve`] is.
#[derive(Debug)]
#[must_use = "nothing is waited for, and nothing held, before it is polled"]
pub struct WaitReserveEstimated<'e, 'a> {
    wait: WaitReserve<'e, 'a>,
    estimated: Estimated,
}

impl Future for WaitReserveEstimated<'_, '_> {
    type Output = Result<ReservedEstimate, WaitError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { wait, estimated } = self.get_mut();
        Pin::new(wait).poll(task).map_ok(|reserved| estimated.clone().of(reserved))
    }
}

/// The answer of [`reserve_estimated`](ReserveEstimated::reserve_estimated).
#[derive(Debug)]
#[must_use = "a reservation that is dropped is given back"]
#[expect(clippy::exhaustive_enums, reason = "who acts on it handles all three")]
pub enum ReservedEstimate {
    /// All rules have room, and what is estimated is held.
    Held(EstimatedReservation),
    /// A rule refuses, and nothing is held.
    Refused(Decision),
    /// The idempotency key was here before, and nothing new is held.
    Replayed(KeyStatus),
}

/// A [`Reservation`] of what is estimated, whose commit teaches the estimator. Dropping it does
/// what dropping a reservation does, and teaches nothing.
#[derive(Debug)]
#[must_use = "what it holds is given back when it is dropped"]
pub struct EstimatedReservation {
    reservation: Reservation,
    estimate: Estimate,
    estimator: Estimator,
    model: Box<str>,
}

impl ReserveEstimated for Engine {
    fn reserve_estimated(
        &self,
        event: &Event<'_>,
        estimator: &Estimator,
        hold: Hold,
    ) -> Result<ReservedEstimate, ReservationError> {
        let estimated = Estimated::new(event, estimator);
        let reserved = match estimated.learned() {
            Some(tokens) => self.reserve_amount(event, &Metric::value(OUTPUT), tokens, hold)?,
            None => self.reserve(event, hold)?,
        };
        Ok(estimated.of(reserved))
    }

    fn wait_reserve_estimated<'e, 'a>(
        &self,
        event: &'e Event<'a>,
        estimator: &Estimator,
        hold: Hold,
    ) -> WaitReserveEstimated<'e, 'a> {
        Estimated::new(event, estimator).waits(self.wait_reserve(event, hold))
    }

    fn wait_reserve_estimated_until<'e, 'a>(
        &self,
        event: &'e Event<'a>,
        estimator: &Estimator,
        hold: Hold,
        deadline: Timestamp,
    ) -> WaitReserveEstimated<'e, 'a> {
        let wait = self.wait_reserve_until(event, hold, deadline);
        Estimated::new(event, estimator).waits(wait)
    }

    fn wait_reserve_estimated_blocking(
        &self,
        event: &Event<'_>,
        estimator: &Estimator,
        hold: Hold,
    ) -> Result<ReservedEstimate, WaitError> {
        let WaitReserveEstimated { wait, estimated } =
            self.wait_reserve_estimated(event, estimator, hold);
        Ok(estimated.of(wait.block()?))
    }
}

/// What was estimated of an event, and who learns of what it takes.
#[derive(Clone, Debug)]
struct Estimated {
    estimate: Estimate,
    estimator: Estimator,
    model: Box<str>,
}

impl Estimated {
    fn new(event: &Event<'_>, estimator: &Estimator) -> Self {
        let estimate = estimator.estimate(event);
        Self { estimate, estimator: estimator.clone(), model: model(event).into() }
    }

    /// The tokens, where they are others than the event states.
    fn learned(&self) -> Option<u64> {
        let Estimate { output_tokens, source, .. } = self.estimate;
        output_tokens.filter(|_| source != EstimateSource::Given)
    }

    fn waits<'e, 'a>(self, wait: WaitReserve<'e, 'a>) -> WaitReserveEstimated<'e, 'a> {
        let wait = match self.learned() {
            Some(tokens) => wait.amount(&Metric::value(OUTPUT), tokens),
            None => wait,
        };
        WaitReserveEstimated { wait, estimated: self }
    }

    fn of(self, reserved: Reserved) -> ReservedEstimate {
        let Self { estimate, estimator, model } = self;
        match reserved {
            Reserved::Held(reservation) => ReservedEstimate::Held(EstimatedReservation {
                reservation,
                estimate,
                estimator,
                model,
            }),
            Reserved::Refused(decision) => ReservedEstimate::Refused(decision),
            Reserved::Replayed(status) => ReservedEstimate::Replayed(status),
        }
    }
}

impl EstimatedReservation {
    /// Returns what was reserved for the output.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// Returns the reservation.
    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Gives up the guard of the estimate for that of the reservation: for who goes on by its id,
    /// and [teaches](Estimator::learn) the estimator there.
    pub fn into_reservation(self) -> Reservation {
        self.reservation
    }

    /// [Commits](Reservation::commit) what happened, and teaches the estimator the event's
    /// `output_tokens`, once, as those of the customer and the model that were reserved for.
    ///
    /// # Errors
    /// As [`Reservation::commit`]; nothing is learned then.
    pub fn commit(self, actual: &Event<'_>) -> Result<Decision, ReservationError> {
        let decision = self.reservation.commit(actual)?;
        if decision.outcome() == Outcome::Admitted {
            self.estimator.learn_as(actual.customer_id(), &self.model, actual);
        }
        Ok(decision)
    }

    /// [Extends](Reservation::extend) it.
    ///
    /// # Errors
    /// As [`Reservation::extend`].
    pub fn extend(&mut self, by: Duration) -> Result<Timestamp, ReservationError> {
        self.reservation.extend(by)
    }

    /// [Reserves more](Reservation::grow), as where an answer comes near its estimate.
    ///
    /// # Errors
    /// As [`Reservation::grow`].
    pub fn grow(&mut self, more: &Event<'_>) -> Result<Decision, ReservationError> {
        self.reservation.grow(more)
    }

    /// [Gives all back](Reservation::release).
    ///
    /// # Errors
    /// As [`Reservation::release`].
    pub fn release(self) -> Result<ReservationStatus, ReservationError> {
        self.reservation.release()
    }
}
