//! From an instant to the bounds of its period: pure arithmetic, no clock, no state.
//!
//! How time is cut has two sides. How long periods are, their [`Unit`], is a rule's. Whose midnight
//! they go by and on which day they start, the [`Calendar`], is a customer's.
//!
//! The invariant: for one unit of one [`Calendar`], every `i64` second lies in exactly one period,
//! and periods abut, the end of one being the start of the next. Nothing here fails or panics. The
//! tests in `tests.rs` hold it to that.
//!
//! Minutes and hours are those of UTC in every zone, so that they are all of one length. Days,
//! weeks, months and years go by the dates of a time zone: `zone` turns an instant into a date
//! and back, and with the zone's clock changes a day may have 23 or 25 hours. Weeks start on
//! Monday. Months and years start on a day of choice, the *anchor*; where a month is too short
//! for it, on the month's last day, and in the next month on the day of choice again.
//!
//! What is to come has its place: **several units a period** multiply the `length` of
//! [`even_period`] and the `step` of [`Calendar::months`]. Both already count from the fixed
//! origins that groups need: 1970-01-01, Monday 1970-01-05 for weeks, January of year 0 for
//! months and years.
//!
//! At the edges of what can be said:
//!
//! - A period of even length (in UTC also a day or a week) that is cut by either end of `i64`
//!   starts at `i64::MIN`, or has no end.
//! - What goes by dates reaches as far as `chrono` has them, about 262 000 years either side of
//!   year 0. The first period starts at `i64::MIN` and the last never ends, so that they hold
//!   all the instants beyond.
//! - The zones' rules are those that the IANA database had when `chrono-tz` was made. From 2100
//!   on a zone keeps its last offset.

use std::num::NonZeroU32;

use chrono::{Datelike, Days, NaiveDate};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

mod cycle;
mod time_zone;
mod zone;

#[cfg(test)]
mod tests;

pub(crate) use self::cycle::Cycle;
pub use self::time_zone::{TimeZone, TimeZoneParseError};

const MINUTE_SECONDS: i64 = 60;
const HOUR_SECONDS: i64 = 60 * 60;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
#[cfg(test)]
const WEEK_SECONDS: i64 = 7 * DAY_SECONDS;

/// 1970-01-01 by the days of [`Datelike::num_days_from_ce`].
const EPOCH_DAY: i64 = 719_163;

/// 1970-01-05, the first Monday of the epoch, in days from it.
const FIRST_MONDAY: i64 = 4;

const WEEK_DAYS: i64 = 7;
const YEAR_MONTHS: i64 = 12;

/// How long a calendar period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// From the full minute, in UTC.
    Minute,
    /// From the full hour, in UTC.
    Hour,
    /// From midnight.
    Day,
    /// From the anchor's weekday, midnight; without an anchor from Monday.
    Week,
    /// From the anchor's day of the month, midnight; without an anchor from the first.
    Month,
    /// From the anchor's month and day, midnight; without an anchor from 1 January.
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

/// Whose periods they are: the zone that they go by, and a date on which one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calendar {
    zone: Tz,
    anchor: Option<NaiveDate>,
}

// Each row of a decision carries one.
const _: () = assert!(size_of::<Calendar>() <= 8);

impl Calendar {
    /// In UTC, with weeks that start on Monday, and months and years on their first day.
    pub(crate) const UTC: Self = Self { zone: Tz::UTC, anchor: None };

    /// The zone whose wall clock it goes by.
    pub(crate) const fn zone(self) -> Tz {
        self.zone
    }

    /// The same by the wall clock of a zone, for days, weeks, months and years.
    pub(crate) const fn in_zone(self, zone: Tz) -> Self {
        Self { zone, ..self }
    }

    /// The same with periods that run from the date `anchor`: weeks, months and years, and several
    /// days.
    pub(crate) const fn anchored(self, anchor: NaiveDate) -> Self {
        Self { anchor: Some(anchor), ..self }
    }

    /// Gives the period of so many units that an instant, in Unix seconds, lies in.
    ///
    /// Total: every `i64` has an answer, see the module for the edges. A few integer operations
    /// for minutes, hours, and in UTC for days and weeks; otherwise a date conversion each way,
    /// with a binary search of the zone's clock changes for each.
    fn period_of_several(self, unit: Unit, every: NonZeroU32, unix_seconds: i64) -> PeriodBounds {
        let every = i64::from(every.get());
        let even = |seconds: i64, origin: i64| {
            let length = every.saturating_mul(seconds);
            even_period(unix_seconds, length, origin.rem_euclid(length))
        };
        match unit {
            Unit::Minute => even(MINUTE_SECONDS, 0),
            Unit::Hour => even(HOUR_SECONDS, 0),
            Unit::Day | Unit::Week if self.zone == Tz::UTC => {
                let (days, first) = self.days(unit);
                even(days.saturating_mul(DAY_SECONDS), first.saturating_mul(DAY_SECONDS))
            }
            Unit::Day | Unit::Week | Unit::Month | Unit::Year => {
                self.dated_period(unit, every, unix_seconds)
            }
            Unit::AllTime => PeriodBounds { start: i64::MIN, end: None },
        }
    }

    /// The same of one unit.
    #[cfg(test)]
    pub(crate) fn period_of(self, unit: Unit, unix_seconds: i64) -> PeriodBounds {
        self.period_of_several(unit, NonZeroU32::MIN, unix_seconds)
    }

    /// How many days a day or a week has, and a day on which one starts, from the epoch.
    fn days(self, unit: Unit) -> (i64, i64) {
        let (days, first) = if unit == Unit::Day { (1, 0) } else { (WEEK_DAYS, FIRST_MONDAY) };
        (days, self.anchor.map_or(first, day_of))
    }

    /// Finds the period by the dates of the zone.
    fn dated_period(self, unit: Unit, every: i64, unix_seconds: i64) -> PeriodBounds {
        let mut date = zone::date_at(unix_seconds, self.zone);
        loop {
            let (first, next) = self.dates(unit, every, date);
            let end = next.map(|next| zone::beginning_of(next, self.zone));
            match next {
                // The wall clock was set back over midnight and shows the date before once more.
                Some(next) if end.is_some_and(|end| end <= unix_seconds) => date = next,
                _ => {
                    let first = first.filter(|first| *first > NaiveDate::MIN);
                    let start =
                        first.map_or(i64::MIN, |first| zone::beginning_of(first, self.zone));
                    return PeriodBounds { start, end };
                }
            }
        }
    }

    /// Gives the first date of the period that holds a date, and that of the next period; none
    /// where `chrono` ends.
    fn dates(
        self,
        unit: Unit,
        every: i64,
        date: NaiveDate,
    ) -> (Option<NaiveDate>, Option<NaiveDate>) {
        match unit {
            Unit::Month => self.months(date, every),
            Unit::Year => self.months(date, every.saturating_mul(YEAR_MONTHS)),
            _ => {
                let (days, first) = self.days(unit);
                let step = every.saturating_mul(days);
                let into = day_of(date).saturating_sub(first).rem_euclid(step);
                let left = step.saturating_sub(into);
                let first = date.checked_sub_days(Days::new(into.unsigned_abs()));
                (first, date.checked_add_days(Days::new(left.unsigned_abs())))
            }
        }
    }

    /// As [`dates`](Self::dates), for periods of `step` > 0 whole months, counted from the
    /// anchor's month; without an anchor from January of year 0.
    fn months(self, date: NaiveDate, step: i64) -> (Option<NaiveDate>, Option<NaiveDate>) {
        debug_assert!(step > 0);
        let month = month_of(date);
        let into = month.saturating_sub(self.anchor.map_or(0, month_of)).rem_euclid(step);
        let mut starting = month.saturating_sub(into);
        let mut first = self.first_in(starting);
        if first.is_some_and(|first| date < first) {
            // Before the anchor's day it is still the period that started a step earlier.
            starting = starting.saturating_sub(step);
            first = self.first_in(starting);
        }
        (first, self.first_in(starting.saturating_add(step)))
    }

    /// Gives the start of the period that starts in a month, counted from January of year 0: on the
    /// anchor's day, or the last of a month that is shorter; none where `chrono` ends.
    fn first_in(self, month: i64) -> Option<NaiveDate> {
        let year = i32::try_from(month.div_euclid(YEAR_MONTHS)).ok()?;
        let month0 = u32::try_from(month.rem_euclid(YEAR_MONTHS)).ok()?;
        let on = |day| NaiveDate::from_ymd_opt(year, month0.saturating_add(1), day);
        let day = self.anchor.map_or(1, |anchor| anchor.day());
        on(day).or_else(|| on(on(1)?.num_days_in_month().into()))
    }
}

/// A date in days from the epoch.
fn day_of(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce()).saturating_sub(EPOCH_DAY)
}

/// The month of a date, counted from January of year 0.
fn month_of(date: NaiveDate) -> i64 {
    let years = i64::from(date.year()).saturating_mul(YEAR_MONTHS);
    years.saturating_add(date.month0().into())
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
