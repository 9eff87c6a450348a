//! The period of a quota.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::duration_text;
use crate::base::calendar::Unit;
use crate::base::suggest;
use crate::base::text::as_text;

/// The period that a quota's number is for.
///
/// Calendar periods are those of UTC, or of the [time zone](crate::Quota::time_zone) of the quota:
/// hours and days as on the clock, weeks from Monday, months from the 1st, years from 1 January, or
/// each from an [anchor](crate::Quota::anchor). Reads and prints `hour`, `day`, `week`, `month`,
/// `year` (also reads `annual`), `all_time`, `concurrent`, and `rolling:` with a length, such as
/// `rolling:30d`; a length alone, such as `30d`, is a rolling period too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday, or from the anchor's weekday.
    Week,
    /// From the 1st to the 1st, or from the anchor's day.
    Month,
    /// From 1 January to 1 January, or from the anchor's day and month.
    Year,
    /// One period without end.
    AllTime,
    /// Any span of this length, made by [`Period::rolling`].
    Rolling(Duration),
    /// No time at all: how many reservations are open, see
    /// [`Quota::concurrent`](crate::Quota::concurrent).
    Concurrent,
}

/// What a period is made of.
pub(crate) enum Shape {
    Calendar(Unit),
    Rolling(Duration),
    Slots,
}

impl Period {
    /// Makes a rolling period: never more than the limit in any span of `length`.
    ///
    /// The period ends now, and an event counts in it by its own timestamp: it leaves when that is
    /// `length` ago, to the nanosecond. An event that is older than the period adds nothing, and so
    /// is never refused by the quota; one that is dated ahead counts at once, and until its
    /// timestamp is `length` ago.
    ///
    /// Uses are kept with their own times, up to 62 instants of them. Of more, neighbours are
    /// merged within the cells of a fixed grid, a sixtieth of the length each (rounded up to a
    /// nanosecond): 24 minutes for a rolling day, 12 hours for rolling 30 days. Use may then leave
    /// late by less than a cell, never early. Amounts below zero are merged apart from the others
    /// and leave early instead, so that the figure is never too low; and of many events that are
    /// dated ahead some may stay for as long as the last of them. The bytes a key are those of
    /// [`Algorithm::SlidingWindow`](crate::rules::Algorithm::SlidingWindow), twice that with many
    /// amounts below zero. What was recorded before the quota came into being is told in pieces of
    /// a sixtieth, and leaves late by less than two. A rule set takes 1 nanosecond to 100 years.
    #[must_use]
    pub const fn rolling(length: Duration) -> Self {
        Self::Rolling(length)
    }

    pub(crate) fn shape(self) -> Shape {
        Shape::Calendar(match self {
            Self::Hour => Unit::Hour,
            Self::Day => Unit::Day,
            Self::Week => Unit::Week,
            Self::Month => Unit::Month,
            Self::Year => Unit::Year,
            Self::AllTime => Unit::AllTime,
            Self::Rolling(length) => return Shape::Rolling(length),
            Self::Concurrent => return Shape::Slots,
        })
    }

    /// The word of one that a word alone names.
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Hour => Some("hour"),
            Self::Day => Some("day"),
            Self::Week => Some("week"),
            Self::Month => Some("month"),
            Self::Year => Some("year"),
            Self::AllTime => Some("all_time"),
            Self::Concurrent => Some("concurrent"),
            Self::Rolling(_) => None,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Rolling(length) = self {
            f.write_str("rolling:")?;
            return duration_text::print(*length, "d", f);
        }
        f.write_str(self.word().unwrap_or_default())
    }
}

/// A text that is no [`Period`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "period {text:?} must be `hour`, `day`, `week`, `month`, `year`, `all_time`, `concurrent`, or \
     of a rolling period the length such as `30d`{}",
    hint(text)
)]
pub struct PeriodParseError {
    text: String,
}

/// The end of a message about a text that is no period.
fn hint(text: &str) -> String {
    let words = ["hour", "day", "week", "month", "year", "all_time", "concurrent"];
    match text.strip_suffix("ly").unwrap_or(text) {
        "dai" => "; did you mean `day`?".to_owned(),
        "lifetime" | "total" | "forever" | "ever" => "; did you mean `all_time`?".to_owned(),
        "minute" => "; a rolling minute is written `1m`".to_owned(),
        "rolling" => "; a rolling period has a length: `rolling:30d`".to_owned(),
        word => suggest::hint(word, &words),
    }
}

impl FromStr for Period {
    type Err = PeriodParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rolling = || {
            let length = text
                .strip_prefix("rolling")
                .map_or(text, |length| length.strip_prefix([':', ' ', '_', '-']).unwrap_or(length));
            duration_text::parse(length)
        };
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            "year" | "annual" => Ok(Self::Year),
            "all_time" | "allTime" => Ok(Self::AllTime),
            "concurrent" => Ok(Self::Concurrent),
            _ => rolling()
                .map(Self::Rolling)
                .ok_or_else(|| PeriodParseError { text: text.to_owned() }),
        }
    }
}

as_text!(Period by words);
