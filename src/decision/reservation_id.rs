//! The names of reservations.

use std::fmt;
use std::str::FromStr;

use crate::base::ids;
use crate::base::text::as_text;

/// The name of a reservation, `res_` and 26 letters and digits: unique among all engines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(u128);

const PREFIX: &str = "res_";

impl ReservationId {
    pub(crate) fn new(engine: u64, number: u64) -> Self {
        Self((u128::from(engine) << 64) | u128::from(number))
    }

    /// What the names begin with that its engine gave from its opening on.
    pub(crate) fn engine(self) -> u64 {
        u64::try_from(self.0 >> 64).unwrap_or(0)
    }

    /// The number that it is of in its engine.
    pub(crate) fn number(self) -> u64 {
        u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or(0)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ids::print(PREFIX, self.0).as_str())
    }
}

impl fmt::Debug for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`ReservationId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reservation id {text:?} must be `res_` and 26 letters and digits as the engine made them")]
pub struct ReservationIdParseError {
    text: String,
}

impl FromStr for ReservationId {
    type Err = ReservationIdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = ids::parse(PREFIX, text).map(Self);
        id.ok_or_else(|| ReservationIdParseError { text: text.to_owned() })
    }
}

as_text!(ReservationId);
