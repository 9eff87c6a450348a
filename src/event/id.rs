//! The names of recorded events.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::base::ids::{self, Name};
use crate::base::text::read_as_text;

/// The name of a recorded event, `evt_` and 26 letters and digits.
///
/// Names are unique among all engines: 64 random bits a log, and the event's number in it. Within
/// one log they sort in the order in which the events were recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

const PREFIX: &str = "evt_";

impl EventId {
    pub(crate) fn new(log: u64, ordinal: u64) -> Self {
        Self((u128::from(log) << 64) | u128::from(ordinal))
    }

    /// Its text.
    pub(crate) fn name(self) -> Name {
        ids::print(PREFIX, self.0)
    }

    /// The event's ordinal in its log.
    pub(crate) fn ordinal(self) -> u64 {
        u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or(u64::MAX)
    }

    /// The event's ordinal in the log of this name; `None` where another log named it.
    pub(crate) fn ordinal_in(self, log: u64) -> Option<u64> {
        let ordinal = self.0 & u128::from(u64::MAX);
        u64::try_from(ordinal).ok().filter(|ordinal| Self::new(log, *ordinal) == self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name().as_str())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`EventId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event id {text:?} must be `evt_` and 26 letters and digits as the engine made them")]
pub struct EventIdParseError {
    text: String,
}

impl FromStr for EventId {
    type Err = EventIdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = ids::parse(PREFIX, text).map(Self);
        id.ok_or_else(|| EventIdParseError { text: text.to_owned() })
    }
}

read_as_text!(EventId);

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_reads_as_what_it_was_and_sorts_in_order(log: u64, a: u64, b: u64) {
            let (first, second) = (EventId::new(log, a), EventId::new(log, b));
            prop_assert_eq!(first.to_string().parse(), Ok(first));
            prop_assert_eq!(first.to_string().len(), 30);
            prop_assert_eq!(first.to_string() < second.to_string(), a < b);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<EventId>();
        }
    }
}
