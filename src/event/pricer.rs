//! What an event costs, where it does not say so.

use std::fmt;

use super::Event;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::text::excerpt;

/// Knows what events cost: a price list.
///
/// An engine that has one ([`prices`](crate::EngineBuilder::prices)) asks it for every event
/// without a cost, before anything is locked, and counts, records and stores the event with what it
/// says. The feature `llm` has one for calls of models.
pub trait Pricer: fmt::Debug + Send + Sync + 'static {
    /// Returns what the event costs in cents when it happens at this time; `None` where it is of a
    /// kind that has no price, and stays without a cost. `cost_cents` of the event is not set.
    ///
    /// It is called once or more for an event, by every thread, and should be quick: what it says
    /// of the same event at the same time should be the same.
    ///
    /// # Errors
    /// The event should have a price, and none is known. The call that was given the event fails
    /// with it, and nothing is counted.
    fn price(&self, event: &Event<'_>, at: Timestamp) -> Result<Option<Amount>, PriceError>;
}

/// Why an event has no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} {reason}")]
#[non_exhaustive]
pub struct PriceError {
    /// What of the event has no price: `model`, or the name of a value.
    pub field: Box<str>,
    /// What the event has there, cut short when it is long.
    pub value: Box<str>,
    /// Why it has none.
    pub reason: Box<str>,
}

impl PriceError {
    /// Says which field of an event, with which value, has no price, and why.
    #[must_use]
    pub fn new(field: &str, value: &str, reason: &str) -> Self {
        Self { field: field.into(), value: excerpt(value), reason: reason.into() }
    }
}
