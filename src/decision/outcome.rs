//! The three things that a decision can be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a decision says to do: go ahead, answer a retry, or wait.
///
/// It serializes as it prints: `admitted`, `replayed`, `refused`.
///
/// ```
/// use limitry::{Engine, Event, Outcome};
///
/// let engine = Engine::builder().build()?;
/// let call = Event::new("cust_123", "model_call").idempotency_key("req_1");
/// let mut calls_of_the_model = 0;
/// for _ in 0..3 {
///     match engine.track(&call)?.outcome() {
///         Outcome::Admitted => calls_of_the_model += 1,
///         Outcome::Replayed => {} // it was made for the first of them
///         Outcome::Refused => {}  // `retry_after` says how long to wait
///     }
/// }
/// assert_eq!(calls_of_the_model, 1);
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "who acts on it handles all three")]
pub enum Outcome {
    /// The event is let in, and was counted by this call: do what it stands for. Of
    /// [`check`](crate::Engine::check): it would be.
    Admitted,
    /// The first answer to an idempotency key, given again: the event was let in and counted
    /// before, and whoever got that answer has acted on it. Do not act a second time.
    Replayed,
    /// A rule refuses the event, and nothing was counted.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admitted => "admitted",
            Self::Replayed => "replayed",
            Self::Refused => "refused",
        })
    }
}
