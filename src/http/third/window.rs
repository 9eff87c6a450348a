//! The words for the time that a limit is for, and where the windows of the calendar begin.

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// What a limit's amount is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LimitWindow {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    /// For ever: credits.
    Total,
    /// At one time: open reservations.
    Concurrent,
}

/// Where a period begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    /// On the calendar's own bounds, in UTC.
    #[default]
    Calendar,
    /// On the subject's billing date.
    BillingDate,
    /// With the subject's first use.
    FirstUse,
}

/// What a caller does who cannot reach the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FailMode {
    #[default]
    Open,
    Closed,
}

pub(super) const WINDOWS: &str =
    "one of `minute`, `hour`, `day`, `week`, `month`, `year`, `total`, `concurrent`";
pub(super) const STARTS: &str = "one of `calendar`, `billing_date`, `first_use`";
pub(super) const FAIL_MODES: &str = "`open` or `closed`";

impl LimitWindow {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
            Self::Total => "total",
            Self::Concurrent => "concurrent",
        }
    }

    /// The length of one, of those that all have the same.
    pub(super) fn length(self) -> Option<Duration> {
        let seconds = match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
            Self::Month | Self::Year | Self::Total | Self::Concurrent => return None,
        };
        Some(Duration::from_secs(seconds))
    }

    /// Whether it comes to an end.
    pub(super) fn resets(self) -> bool {
        !matches!(self, Self::Total | Self::Concurrent)
    }

    /// How many of them a period may have: as many as there are in 100 years.
    pub(super) fn most(self) -> i64 {
        match self {
            Self::Minute => 52_596_000,
            Self::Hour => 876_600,
            Self::Day => 36_525,
            Self::Week => 5_217,
            Self::Month => 1_200,
            Self::Year => 100,
            Self::Total | Self::Concurrent => 1,
        }
    }

    /// The date that its periods run from by the calendar: those of several days from 1970-01-01,
    /// of weeks from a Monday, of months and years from the year 0.
    pub(super) fn origin(self) -> Option<NaiveDate> {
        match self {
            Self::Day => NaiveDate::from_ymd_opt(1970, 1, 1),
            Self::Week => NaiveDate::from_ymd_opt(1970, 1, 5),
            Self::Month | Self::Year => NaiveDate::from_ymd_opt(0, 1, 1),
            _ => None,
        }
    }

    /// When the calendar period began that an instant is in.
    pub(super) fn period_start(self, every: u32, now: Timestamp) -> Option<Timestamp> {
        if let Some(length) = self.length() {
            let length = i64::try_from(length.as_secs()).ok()?.checked_mul(every.into())?;
            // 1970-01-05 was a Monday.
            let origin = if self == Self::Week { 4 * 86_400 } else { 0 };
            let since = now.unix_seconds().checked_sub(origin)?.checked_rem_euclid(length)?;
            return Some(Timestamp::new(now.unix_seconds().checked_sub(since)?, 0));
        }
        let date = DateTime::<Utc>::try_from(now).ok()?.date_naive();
        let every = i32::try_from(every).ok()?;
        let (year, month) = match self {
            Self::Year => (date.year().checked_div_euclid(every)?.checked_mul(every)?, 1),
            Self::Month => {
                let months = date.year().checked_mul(12)?.checked_add_unsigned(date.month0())?;
                let first = months.checked_div_euclid(every)?.checked_mul(every)?;
                (first.div_euclid(12), u32::try_from(first.rem_euclid(12)).ok()?.checked_add(1)?)
            }
            _ => return None,
        };
        let first = NaiveDate::from_ymd_opt(year, month, 1)?.and_hms_opt(0, 0, 0)?;
        Some(first.and_utc().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_of_the_calendar_begin_where_it_says() {
        for (window, every, start) in [
            (LimitWindow::Minute, 5, "2024-05-15T10:35:00Z"),
            (LimitWindow::Hour, 6, "2024-05-15T06:00:00Z"),
            (LimitWindow::Day, 1, "2024-05-15T00:00:00Z"),
            (LimitWindow::Week, 1, "2024-05-13T00:00:00Z"),
            (LimitWindow::Month, 1, "2024-05-01T00:00:00Z"),
            (LimitWindow::Month, 3, "2024-04-01T00:00:00Z"),
            (LimitWindow::Year, 1, "2024-01-01T00:00:00Z"),
            (LimitWindow::Year, 3, "2022-01-01T00:00:00Z"),
        ] {
            let now = "2024-05-15T10:37:12Z".parse().expect("a time");
            let expected = Some(start.parse().expect("a time"));
            assert_eq!(window.period_start(every, now), expected, "{window:?} {every}");
        }
    }
}
