//! The buckets of a time series.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use chrono::NaiveDate;
use chrono_tz::Tz;

use crate::base::calendar::{Calendar, Cycle, PeriodBounds, Unit};
use crate::base::clock::Timestamp;
use crate::base::suggest::hint;
use crate::base::text::{as_text, excerpt};
use crate::log::QueryError;

/// The most points of an answer: a year by hours eleven times over.
pub(super) const MAX_POINTS: usize = 100_000;

/// How long the buckets of a time series are.
///
/// Minutes and hours are those of UTC. Days, weeks and months are those of a time zone's wall
/// clock, UTC where none is given: a day has 23 or 25 hours where clocks change. Reads and prints
/// `minute`, `hour`, `day`, `week`, `month`.
///
/// ```
/// use limitry::usage::Interval;
///
/// assert_eq!("week".parse(), Ok(Interval::Week));
/// assert_eq!(Interval::Hour.to_string(), "hour");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Interval {
    /// From full minute to full minute.
    Minute,
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the 1st to the 1st, or from the day of the month of an anchor.
    Month,
}

impl Interval {
    const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The calendar's unit of the buckets.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Minute => Unit::Minute,
            Self::Hour => Unit::Hour,
            Self::Day => Unit::Day,
            Self::Week => Unit::Week,
            Self::Month => Unit::Month,
        }
    }

    /// The buckets that a range has a part in, in order. They are whole: the first and the last
    /// may reach beyond the range.
    pub(crate) fn points(
        self,
        range: &Range<Timestamp>,
        zone: Tz,
        anchor: Option<NaiveDate>,
    ) -> Result<Vec<Range<Timestamp>>, QueryError> {
        let anchor = anchor.filter(|_| self == Self::Month);
        let cycle = Cycle { zone: Some(zone), anchor, ..self.unit().into() };
        let at = |second| Timestamp::new(second, 0);
        let mut points = Vec::new();
        let mut second = range.start.unix_seconds();
        loop {
            let PeriodBounds { start, end } = cycle.period_of(Calendar::UTC, second);
            if points.len() >= MAX_POINTS {
                return Err(QueryError::TooManyPoints { max: MAX_POINTS });
            }
            points.push(at(start)..end.map_or(Timestamp::MAX, at));
            match end {
                Some(end) if at(end) < range.end => second = end,
                _ => return Ok(points),
            }
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no [`Interval`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interval {text:?} must be `minute`, `hour`, `day`, `week` or `month`{hint}")]
pub struct IntervalParseError {
    text: String,
    hint: String,
}

impl FromStr for Interval {
    type Err = IntervalParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|interval| interval.as_str() == text);
        named.ok_or_else(|| {
            let hint = hint(text, &Self::ALL.map(Self::as_str));
            IntervalParseError { text: excerpt(text).into(), hint }
        })
    }
}

as_text!(Interval);

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use chrono_tz::Tz;

    use super::Interval;
    use crate::base::clock::Timestamp;

    #[test]
    fn every_interval_reads_what_it_prints() {
        for interval in Interval::ALL {
            assert_eq!(interval.to_string().parse(), Ok(interval));
            let json = serde_json::to_string(&interval).unwrap();
            assert_eq!(json, format!("\"{interval}\""));
            assert_eq!(serde_json::from_str::<Interval>(&json).unwrap(), interval);
        }
        let error = "year".parse::<Interval>().unwrap_err();
        let text = "interval \"year\" must be `minute`, `hour`, `day`, `week` or `month`";
        assert_eq!(error.to_string(), text);
        let error = serde_json::from_str::<Interval>("\"Day\"").unwrap_err().to_string();
        assert!(error.contains("`month`; did you mean `day`?"), "{error}");
    }

    #[test]
    fn buckets_go_by_the_zone_and_the_anchor() {
        let anchor = NaiveDate::from_ymd_opt(2024, 1, 15);
        // On the day on which New York's clocks go forward.
        let noon = "2024-03-10T12:00:00Z".parse::<Timestamp>().unwrap();
        let lengths = Interval::ALL.map(|interval| {
            let points = interval.points(&(noon..noon), Tz::America__New_York, anchor).unwrap();
            points[0].end.unix_seconds() - points[0].start.unix_seconds()
        });
        let hour = 3_600;
        assert_eq!(lengths, [60, hour, 23 * hour, (7 * 24 - 1) * hour, (29 * 24 - 1) * hour]);
    }
}
