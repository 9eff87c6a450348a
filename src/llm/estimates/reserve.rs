//! Reservations of what is estimated.

use std::time::Duration;

use super::{Estimate, EstimateSource, Estimator, OUTPUT, model};
use crate::errors::ReservationError;
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
        let estimate = estimator.estimate(event);
        let learned = estimate.output_tokens.filter(|_| estimate.source != EstimateSource::Given);
        let reserved = match learned {
            Some(tokens) => self.reserve_amount(event, &Metric::value(OUTPUT), tokens, hold)?,
            None => self.reserve(event, hold)?,
        };
        Ok(match reserved {
            Reserved::Held(reservation) => ReservedEstimate::Held(EstimatedReservation {
                reservation,
                estimate,
                estimator: estimator.clone(),
                model: model(event).into(),
            }),
            Reserved::Refused(decision) => ReservedEstimate::Refused(decision),
            Reserved::Replayed(status) => ReservedEstimate::Replayed(status),
        })
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
