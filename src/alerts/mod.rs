//! What fires when use reaches a threshold of a rule: [`Engine::alerts`](crate::Engine::alerts).

// A decision that is the first to reach a threshold notes the alert in the outbox, under its locks;
// nobody is woken there. Receivers take alerts in the order in which they were noted, and all of
// them stay in the same list as the history, until newer ones take their room.

mod alert;
mod outbox;
mod query;
#[cfg(feature = "webhooks")]
mod signing;
mod stored;
#[cfg(feature = "tokio")]
mod stream;

pub use self::alert::{Alert, AlertId, AlertIdParseError, AlertKind};
pub use self::outbox::{AlertIter, Delivered, NextAlert};
pub use self::query::{AlertPage, AlertQuery};
#[cfg(feature = "webhooks")]
pub use self::signing::{StandardWebhook, WebhookError};
#[cfg(feature = "tokio")]
pub use self::stream::AlertStream;

pub(crate) use self::outbox::Outbox;
pub(crate) use self::stored::{NotedAlert, RestoredAlerts};
