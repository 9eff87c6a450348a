//! The name of a time zone.

use std::fmt;
use std::str::FromStr;

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::base::suggest;
use crate::base::text::{as_text, excerpt};

/// A time zone of the IANA database: its wall clock says when days, weeks, months and years begin.
///
/// Made of a [`Tz`](crate::time::Tz) or of its name. Reads and prints the name.
///
/// ```
/// use limitry::time::{TimeZone, Tz};
///
/// let zone: TimeZone = "Europe/Berlin".parse()?;
/// assert_eq!(zone, Tz::Europe__Berlin.into());
/// assert_eq!(zone.to_string(), "Europe/Berlin");
/// # Ok::<(), limitry::time::TimeZoneParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeZone(Tz);

impl From<Tz> for TimeZone {
    fn from(zone: Tz) -> Self {
        Self(zone)
    }
}

impl From<TimeZone> for Tz {
    fn from(TimeZone(zone): TimeZone) -> Self {
        zone
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A text that is no [`TimeZone`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time zone {text:?} must be a name of the IANA database such as Europe/Berlin{hint}")]
pub struct TimeZoneParseError {
    text: Box<str>,
    hint: String,
}

impl FromStr for TimeZone {
    type Err = TimeZoneParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| {
            let names: Vec<&str> = TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
            TimeZoneParseError { text: excerpt(text), hint: suggest::hint(text, &names) }
        })
    }
}

as_text!(TimeZone);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_says_which_was_meant() {
        let why = "Europe/Berlni".parse::<TimeZone>().expect_err("it is none").to_string();
        assert_eq!(
            why,
            "time zone \"Europe/Berlni\" must be a name of the IANA database such as \
             Europe/Berlin; did you mean `Europe/Berlin`?"
        );
        for text in ["", "GMT+25", "x", &"long".repeat(100)] {
            let why = text.parse::<TimeZone>().expect_err("it is none").to_string();
            assert!(!why.contains("did you mean"), "{why}");
        }
    }
}
