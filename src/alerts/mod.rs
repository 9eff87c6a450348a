//! What fires when use reaches a threshold of a rule: [`Engine::alerts`](crate::Engine::alerts).

// A decision that is the first to reach a threshold notes the alert in the outbox, under its locks;
// nobody is woken there. Receivers take alerts in the order in which they were noted, and all of
// them stay in the same list as the history, until newer ones take their room.

mod alert;
mod outbox;
mod query;
mod stored;

pub use self::alert::{Alert, AlertId, AlertIdParseError, AlertKind};
pub use self::outbox::{AlertIter, Delivered, NextAlert};
pub use self::query::{AlertPage, AlertQuery};

pub(crate) use self::outbox::Outbox;
pub(crate) use self::stored::{NotedAlert, RestoredAlerts};
