//! The product's three APIs.

use serde::{Deserialize, Serialize};

/// Which of the product's three APIs a key speaks, and in whose words an endpoint of webhooks is
/// told. As data it is 1, 2 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[non_exhaustive]
pub enum Generation {
    /// `track`, quotas, rate limits, usage: keys that begin with `lm_` or `lmtry_sk_`. Its events
    /// are `{"event": "quota.threshold_exceeded", "quota": .., "customerId": .., "usage": ..}`.
    First,
    /// Events, meters, limits, balances: keys that begin with `limitry_sk_` or `limitry_pat_`. Its
    /// events are `{"id": .., "event": .., "timestamp": .., "data": ..}`.
    Second,
    /// Checks, reservations, subjects: keys that begin with `lim_`. Its events are
    /// `{"id": .., "type": .., "createdAt": .., "data": ..}`.
    Third,
}

impl From<Generation> for u8 {
    fn from(generation: Generation) -> Self {
        match generation {
            Generation::First => 1,
            Generation::Second => 2,
            Generation::Third => 3,
        }
    }
}

impl TryFrom<u8> for Generation {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::First),
            2 => Ok(Self::Second),
            3 => Ok(Self::Third),
            _ => Err(format!("generation {number} must be 1, 2 or 3")),
        }
    }
}
