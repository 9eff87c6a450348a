//! Deliveries: an event on its way to an endpoint, and what became of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How long deliveries are kept, in seconds: 30 days.
const KEPT_SECONDS: i64 = 30 * 86_400;

/// An event that is sent to an endpoint, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivery {
    /// Its id, `dlv_` and 32 digits: the same for the same alert and endpoint, also where a crash
    /// has lost that it was sent.
    pub id: String,
    /// The event's id, the same in every delivery of it.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// What became of it.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempts: u32,
    /// The status of the last attempt; `None` where there was no answer.
    pub last_status: Option<u16>,
    /// Why the last attempt has failed.
    pub last_error: Option<String>,
    /// When that was.
    pub last_attempt_at: Option<Timestamp>,
    /// When it is tried next; `None` where it is not.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryStatus {
    /// It is tried, or tried again.
    Pending,
    /// The receiver has taken it.
    Delivered,
    /// It is tried no more.
    Failed,
}

/// A page of deliveries, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// A delivery as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryRow {
    pub(super) delivery: Delivery,
    /// What is sent, to be sent again when it is asked for.
    #[serde(with = "shared")]
    pub(super) body: Arc<str>,
    /// Of a test: it is tried once, and says nothing of the endpoint.
    pub(super) is_test: bool,
}

impl DeliveryRow {
    /// Whether it is kept no longer.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let age = now.unix_seconds().saturating_sub(self.delivery.created_at.unix_seconds());
        age >= KEPT_SECONDS && !self.is_pending()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.delivery.status == DeliveryStatus::Pending
    }

    /// Ends it: it is tried no more.
    pub(super) fn give_up(&mut self) {
        self.delivery.status = DeliveryStatus::Failed;
        self.delivery.next_attempt_at = None;
    }
}

/// A shared text, as data.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        Ok(String::deserialize(from)?.into())
    }
}
