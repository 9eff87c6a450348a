//! A reservation in the hand of who made it.

use std::time::Duration;

use super::{Made, ReservationError};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::decision::{Decision, ReservationId};
use crate::engine::Engine;
use crate::event::Event;
use crate::reservations::{Hold, ReservationStatus};

/// What is held for an act, until it is committed, released or dropped.
///
/// Dropping it gives all back, or charges what was reserved where [`Hold::charge_on_drop`] says so.
/// One whose guard is given up ([`into_id`](Self::into_id)), or whose process is gone, is left to
/// its expiry. Another task or process may do the same by its [`id`](Self::id) on the [`Engine`].
///
/// It keeps the engine open, is `Send + Sync + 'static`, and borrows nothing.
#[derive(Debug)]
#[must_use = "what it holds is given back when it is dropped"]
pub struct Reservation {
    engine: Engine,
    id: ReservationId,
    decision: Decision,
    expires_at: Timestamp,
    granted: Option<Amount>,
    hold: Hold,
    /// Nothing is to be done when it is dropped.
    is_done: bool,
}

impl Reservation {
    pub(super) fn new(
        engine: Engine,
        Made { id, expires_at, granted }: Made,
        decision: Decision,
        hold: Hold,
    ) -> Self {
        Self { engine, id, decision, expires_at, granted, hold, is_done: false }
    }

    /// Returns its name, by which it can be committed, extended and released elsewhere.
    #[must_use]
    pub fn id(&self) -> ReservationId {
        self.id
    }

    /// Returns the decision that made it: where every matching rule stood with it.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns when it expires, as far as this guard knows: it may have been extended elsewhere.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns how much was granted of the metric that
    /// [`reserve_up_to`](Engine::reserve_up_to) was asked for, or that
    /// [`reserve_amount`](Engine::reserve_amount) held; `None` of another reservation.
    #[must_use]
    pub fn granted(&self) -> Option<Amount> {
        self.granted
    }

    /// Records the event that happened and charges it in full, and gives back what was held beyond
    /// it, all in one step. Where more happened than was held the decision says so
    /// ([`is_overrun`](Decision::is_overrun)), and what is beyond the hold is taken now, as
    /// [`record`](Engine::record) does: it refuses nothing.
    ///
    /// The event carries the time of the reserve, and counts in quotas in that period, however long
    /// ago. Rules that match only what happened (another model) are charged as by `record`; those
    /// that match only the estimate get all of it back. One that has expired is recorded as well.
    /// The same commit again answers the same again, as a replay, and counts once.
    ///
    /// # Errors
    /// A field of the event breaks its rule; it is of another customer, or has a timestamp or an
    /// idempotency key other than that of the reserve; the reservation was released, or committed
    /// with another event. Nothing is changed then, and the hold is left to its expiry: try again
    /// with [`Engine::commit`].
    pub fn commit(mut self, actual: &Event<'_>) -> Result<Decision, ReservationError> {
        self.is_done = true;
        self.engine.commit(self.id, actual)
    }

    /// Lets it expire so long from now, and never earlier than it would: the heartbeat of a long
    /// call. Returns when that is.
    ///
    /// # Errors
    /// It is not open any more; the length is 0 or more than 24 hours.
    pub fn extend(&mut self, by: Duration) -> Result<Timestamp, ReservationError> {
        self.expires_at = self.engine.extend(self.id, by)?;
        Ok(self.expires_at)
    }

    /// Reserves more: the values of `more` are added to what is held, and no event and no slot. A
    /// refusal is a value: what was held before stays so. For streams whose length nobody knows.
    ///
    /// The dimensions are those of the reserve; `more` has its customer and type, and others only
    /// with the same values. In rate limits it is a take now, in quotas it is held in the period of
    /// the reserve.
    ///
    /// # Errors
    /// A field of `more` breaks its rule, is another one's, or below zero; the reservation is not
    /// open any more.
    pub fn grow(&mut self, more: &Event<'_>) -> Result<Decision, ReservationError> {
        self.engine.grow(self.id, more)
    }

    /// Gives up the guard and returns the name: what is held stays so until it is ended by that, or
    /// expires. For who goes on elsewhere, or after a restart.
    #[must_use = "by it the reservation is found again"]
    pub fn into_id(mut self) -> ReservationId {
        self.is_done = true;
        self.id
    }

    /// Gives all back. Of one that is released or has expired it does nothing.
    ///
    /// # Errors
    /// It was committed.
    pub fn release(mut self) -> Result<ReservationStatus, ReservationError> {
        self.is_done = true;
        self.engine.release(self.id)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // What ended elsewhere meanwhile is an error, and nothing to do. Nobody is there to be told
        // that what was given back is durable.
        let core = &self.engine.core;
        if self.hold.charges_on_drop() {
            let _ = core.commit(self.id, None);
        } else {
            core.wait_for_room();
            let _ = core.release_at_once(self.id);
        }
    }
}
