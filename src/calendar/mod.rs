//! From an instant and a period to the bounds of that period: pure arithmetic, no clock, no state.
//!
//! The invariant: for one [`Calendar`], every `i64` second lies in exactly one period, and periods
//! abut, the end of one being the start of the next. Nothing here fails or panics. The tests in
//! `tests.rs` hold it to that.
//!
//! Today: UTC, weeks from Monday, one unit a period. What is to come has its place:
//!
//! - **Several units a period** multiply the `length` of [`even_period`] and the `step` of
//!   [`months_period`]. Both already count from the fixed origins that groups need: 1970-01-01,
//!   Monday 1970-01-05 for weeks, January of year 0 for months and years.
//! - **A time zone** enters at [`date_of`] and [`midnight_of`], the only two functions that turn
//!   an instant into a date and back. Days and weeks then go by dates too, hours stay in UTC.
//! - **An anchor** enters at [`month_start`], as the day of the month on which a period starts.
//!
//! At the edges of what can be said:
//!
//! - An hour, day or week cut by either end of `i64` starts at `i64::MIN`, or has no end.
//! - Months and years reach as far as `chrono` has dates, about 262 000 years either side of
//!   year 0. The first of them starts at `i64::MIN` and the last never ends, so that they hold
//!   all the instants beyond.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};

#[cfg(test)]
mod tests;

const HOUR_SECONDS: i64 = 60 * 60;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
const WEEK_SECONDS: i64 = 7 * DAY_SECONDS;

/// 1970-01-05T00:00:00Z, the first Monday of the epoch.
const WEEK_ORIGIN: i64 = 4 * DAY_SECONDS;

const YEAR_MONTHS: i64 = 12;

/// How long a calendar period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    /// From the full hour.
    Hour,
    /// From midnight.
    Day,
    /// From Monday, midnight.
    Week,
    /// From the first of the month, midnight.
    Month,
    /// From 1 January, midnight.
    Year,
    /// One period without a start or an end.
    AllTime,
}

/// One period, half-open: `start` is in it, `end` is not. Both are Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeriodBounds {
    /// First second of the period, `i64::MIN` where it has no beginning.
    pub(crate) start: i64,
    /// First second after the period, `None` where it never ends.
    pub(crate) end: Option<i64>,
}

#[cfg(test)]
impl PeriodBounds {
    /// Tells whether an instant, in Unix seconds, lies in this period.
    pub(crate) fn contains(&self, unix_seconds: i64) -> bool {
        self.start <= unix_seconds && self.end.is_none_or(|end| unix_seconds < end)
    }
}

/// How time is cut into periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calendar {
    unit: Unit,
}

impl Calendar {
    /// Makes the calendar whose periods are one unit long, in UTC.
    pub(crate) const fn new(unit: Unit) -> Self {
        Self { unit }
    }

    /// Gives the period that an instant, in Unix seconds, lies in.
    ///
    /// Total: every `i64` has an answer, see the module for the edges. A few integer operations
    /// for hours, days and weeks, a date conversion each way for months and years.
    pub(crate) fn period_of(self, unix_seconds: i64) -> PeriodBounds {
        match self.unit {
            Unit::Hour => even_period(unix_seconds, HOUR_SECONDS, 0),
            Unit::Day => even_period(unix_seconds, DAY_SECONDS, 0),
            Unit::Week => even_period(unix_seconds, WEEK_SECONDS, WEEK_ORIGIN),
            Unit::Month => months_period(unix_seconds, 1),
            Unit::Year => months_period(unix_seconds, YEAR_MONTHS),
            Unit::AllTime => PeriodBounds { start: i64::MIN, end: None },
        }
    }
}

/// Finds the period among those of `length` > 0 seconds that are laid end to end from `origin`,
/// which is in `0..length`.
fn even_period(unix_seconds: i64, length: i64, origin: i64) -> PeriodBounds {
    debug_assert!(length > 0 && (0..length).contains(&origin));
    // Reducing before taking the origin off keeps every step in range: elapsed is in 0..length.
    let elapsed = unix_seconds.rem_euclid(length).saturating_sub(origin).rem_euclid(length);
    PeriodBounds {
        start: unix_seconds.saturating_sub(elapsed),
        // From the instant, not from the start, which may have been cut off at i64::MIN.
        end: unix_seconds.checked_add(length.saturating_sub(elapsed)),
    }
}

/// Finds the period among those of `step` > 0 whole months, counted from January of year 0.
fn months_period(unix_seconds: i64, step: i64) -> PeriodBounds {
    debug_assert!(step > 0);
    let date = date_of(unix_seconds);
    let month =
        i64::from(date.year()).saturating_mul(YEAR_MONTHS).saturating_add(i64::from(date.month0()));
    let first = month.saturating_sub(month.rem_euclid(step));
    PeriodBounds {
        start: month_start(first)
            .filter(|date| *date > NaiveDate::MIN)
            .map_or(i64::MIN, midnight_of),
        end: month_start(first.saturating_add(step)).map(midnight_of),
    }
}

/// Gives the first day of a month, counted from January of year 0; none where `chrono` ends.
fn month_start(month: i64) -> Option<NaiveDate> {
    let year = i32::try_from(month.div_euclid(YEAR_MONTHS)).ok()?;
    let month0 = u32::try_from(month.rem_euclid(YEAR_MONTHS)).ok()?;
    NaiveDate::from_ymd_opt(year, month0.saturating_add(1), 1)
}

/// Gives the date of an instant, or the first or last date there is.
fn date_of(unix_seconds: i64) -> NaiveDate {
    match DateTime::from_timestamp(unix_seconds, 0) {
        Some(instant) => instant.date_naive(),
        None if unix_seconds < 0 => NaiveDate::MIN,
        None => NaiveDate::MAX,
    }
}

/// Gives the Unix second at which a date begins.
fn midnight_of(date: NaiveDate) -> i64 {
    date.and_time(NaiveTime::MIN).and_utc().timestamp()
}
