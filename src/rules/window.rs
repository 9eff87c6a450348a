//! The window of a rate limit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::duration_text;
use crate::base::suggest;
use crate::base::text::read_as_text;

/// The length of time that a rate limit's number is for.
///
/// Reads `second`, `minute`, `hour`, `day`, `week`, or a whole number with a unit: `1s`, `30s`,
/// `5m`, `2h`, `7d`, `250ms`, `10 minutes`. Displays the short form (`1h`), as statuses do;
/// serializes the product's name where there is one (`hour`), as the rule's own body does.
///
/// ```
/// use std::time::Duration;
/// use limitry::Window;
///
/// assert_eq!(Window::every(Duration::from_secs(60)), Window::Minute);
/// assert_eq!("5m".parse(), Ok(Window::every(Duration::from_secs(300))));
/// assert_eq!(Window::Hour.to_string(), "1h");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// One second.
    Second,
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day of 24 hours. Windows are not those of a calendar: a quota has days of a calendar.
    Day,
    /// Any other length, made by [`Window::every`].
    Every(Duration),
}

impl Window {
    /// Makes a window of any length; a rule set takes 1 nanosecond to 100 years.
    #[must_use]
    pub const fn every(length: Duration) -> Self {
        match (length.as_secs(), length.subsec_nanos()) {
            (1, 0) => Self::Second,
            (60, 0) => Self::Minute,
            (3_600, 0) => Self::Hour,
            (86_400, 0) => Self::Day,
            _ => Self::Every(length),
        }
    }

    /// Returns the length.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3_600),
            Self::Day => Duration::from_secs(86_400),
            Self::Every(length) => length,
        }
    }

    /// How one that has a name is shown.
    pub(crate) fn shown(self) -> Option<&'static str> {
        match self {
            Self::Second => Some("1s"),
            Self::Minute => Some("1m"),
            Self::Hour => Some("1h"),
            Self::Day => Some("1d"),
            Self::Every(_) => None,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Every(length) = self {
            return duration_text::print(*length, "d", f);
        }
        f.write_str(self.shown().unwrap_or_default())
    }
}

/// A text that is no [`Window`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "window {text:?} must be `second`, `minute`, `hour`, `day`, or a whole number with a unit such \
     as 30s, 5m, 2h or 7d{}",
    hint(text)
)]
pub struct WindowParseError {
    text: String,
}

/// The end of a message about a text that is no window.
fn hint(text: &str) -> String {
    match text.strip_suffix("ly").unwrap_or(text) {
        "month" | "year" | "annual" => {
            "; a quota has months and years, a window a length such as 30d".to_owned()
        }
        "dai" => "; did you mean `day`?".to_owned(),
        word => suggest::hint(word, &["second", "minute", "hour", "day", "week"]),
    }
}

impl FromStr for Window {
    type Err = WindowParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "second" => Ok(Self::Second),
            "minute" => Ok(Self::Minute),
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "week" => Ok(Self::every(Duration::from_secs(604_800))),
            _ => duration_text::parse(text)
                .map(Self::every)
                .ok_or_else(|| WindowParseError { text: text.to_owned() }),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Second => serializer.serialize_str("second"),
            Self::Minute => serializer.serialize_str("minute"),
            Self::Hour => serializer.serialize_str("hour"),
            Self::Day => serializer.serialize_str("day"),
            Self::Every(_) => serializer.collect_str(self),
        }
    }
}

read_as_text!(Window);
