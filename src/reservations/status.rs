//! How reservations stand, as they are shown.

use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::words::words;
use crate::decision::{Decision, ReservationId};
use crate::event::Event;
use crate::log::EventId;

/// What has become of a reservation.
///
/// It prints and serializes as a word: `held`, `committed`, `released`, `expired`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "these are the ways in which one can end")]
pub enum ReservationState {
    /// It is open: what it holds counts as used.
    Held,
    /// What happened was recorded, in time or after it had expired.
    Committed,
    /// All was given back.
    Released,
    /// Its time was over, and all was given back. It can be committed still.
    Expired,
}

words! { ReservationState, "state":
Held = "held", Committed = "committed", Released = "released", Expired = "expired" }

/// A reservation, and what has become of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReservationStatus {
    /// Its name.
    pub id: ReservationId,
    /// What has become of it.
    pub state: ReservationState,
    /// What is reserved: the event that it was made for, with all that it has grown by.
    pub estimate: Event<'static>,
    /// When the act happens: the timestamp of the event that will be recorded.
    pub timestamp: Timestamp,
    /// When it expires, or has expired. Of one that has ended otherwise, when it would have.
    pub expires_at: Timestamp,
    /// The recorded event of one that was committed; `None` where events are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
}

/// What an idempotency key was used for before.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "keys are shared by these two")]
pub enum KeyStatus {
    /// A reservation, and how it stands.
    Reserved(Box<ReservationStatus>),
    /// An event that was tracked or recorded, with the first answer. Also a reservation that is not
    /// known any more, with the decision that made it.
    Decided(Decision),
}
