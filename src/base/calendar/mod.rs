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

use chrono::{Datelike, Days, NaiveDate};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

mod zone;

#[cfg(test)]
mod tests;

const MINUTE_SECONDS: i64 = 60;
const HOUR_SECONDS: i64 = 60 * 60;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
const WEEK_SECONDS: i64 = 7 * DAY_SECONDS;

/// 1970-01-05T00:00:00Z, the first Monday of the epoch.
const WEEK_ORIGIN: i64 = 4 * DAY_SECONDS;

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
    /// From Monday, midnight.
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

/// Whose periods they are: the zone that they go by, and the day on which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calendar {
    zone: Tz,
    anchor: Anchor,
}

// Each row of a decision carries one.
const _: () = assert!(size_of::<Calendar>() <= 8);

/// The day on which months and years start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Anchor {
    /// From 0; months start in every one.
    month0: u8,
    /// From 1 to 31; a month that is shorter starts on its last day.
    day: u8,
}

impl Anchor {
    const FIRST: Self = Self { month0: 0, day: 1 };

    /// Gives the start of the period that starts in a month, counted from January of year 0; none
    /// where `chrono` ends.
    fn in_month(self, month: i64) -> Option<NaiveDate> {
        let year = i32::try_from(month.div_euclid(YEAR_MONTHS)).ok()?;
        let month0 = u32::try_from(month.rem_euclid(YEAR_MONTHS)).ok()?;
        let on = |day| NaiveDate::from_ymd_opt(year, month0.saturating_add(1), day);
        on(self.day.into()).or_else(|| on(on(1)?.num_days_in_month().into()))
    }
}

impl Calendar {
    /// In UTC, with months and years that start on their first day.
    pub(crate) const UTC: Self = Self { zone: Tz::UTC, anchor: Anchor::FIRST };

    /// The same by the wall clock of a zone, for days, weeks, months and years.
    pub(crate) const fn in_zone(self, zone: Tz) -> Self {
        Self { zone, ..self }
    }

    /// The same with months that start on the day of the month of `anchor`, and years that start
    /// on its month and day; other units have no anchor.
    pub(crate) fn anchored(self, anchor: NaiveDate) -> Self {
        let narrow = |number: u32| u8::try_from(number).unwrap_or(0);
        let anchor = Anchor { month0: narrow(anchor.month0()), day: narrow(anchor.day()) };
        Self { anchor, ..self }
    }

    /// Gives the period of a unit that an instant, in Unix seconds, lies in.
    ///
    /// Total: every `i64` has an answer, see the module for the edges. A few integer operations
    /// for minutes, hours, and in UTC for days and weeks; otherwise a date conversion each way,
    /// with a binary search of the zone's clock changes for each.
    pub(crate) fn period_of(self, unit: Unit, unix_seconds: i64) -> PeriodBounds {
        match unit {
            Unit::Minute => even_period(unix_seconds, MINUTE_SECONDS, 0),
            Unit::Hour => even_period(unix_seconds, HOUR_SECONDS, 0),
            Unit::Day if self.zone == Tz::UTC => even_period(unix_seconds, DAY_SECONDS, 0),
            Unit::Week if self.zone == Tz::UTC => {
                even_period(unix_seconds, WEEK_SECONDS, WEEK_ORIGIN)
            }
            Unit::Day | Unit::Week | Unit::Month | Unit::Year => {
                self.dated_period(unit, unix_seconds)
            }
            Unit::AllTime => PeriodBounds { start: i64::MIN, end: None },
        }
    }

    /// Finds the period by the dates of the zone.
    fn dated_period(self, unit: Unit, unix_seconds: i64) -> PeriodBounds {
        let mut date = zone::date_at(unix_seconds, self.zone);
        loop {
            let (first, next) = self.dates(unit, date);
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
    fn dates(self, unit: Unit, date: NaiveDate) -> (Option<NaiveDate>, Option<NaiveDate>) {
        let days = |first: Option<NaiveDate>, back: u32, length: u32| {
            let next = date.checked_add_days(Days::new(length.saturating_sub(back).into()));
            (first, next)
        };
        match unit {
            Unit::Day => days(Some(date), 0, 1),
            Unit::Week => {
                let back = date.weekday().num_days_from_monday();
                days(date.checked_sub_days(Days::new(back.into())), back, 7)
            }
            Unit::Year => self.months(date, YEAR_MONTHS),
            _ => self.months(date, 1),
        }
    }

    /// As [`dates`](Self::dates), for periods of `step` > 0 whole months, counted from the
    /// anchor's month of year 0.
    fn months(self, date: NaiveDate, step: i64) -> (Option<NaiveDate>, Option<NaiveDate>) {
        debug_assert!(step > 0);
        let years = i64::from(date.year()).saturating_mul(YEAR_MONTHS);
        let month = years.saturating_add(date.month0().into());
        let into = month.saturating_sub(self.anchor.month0.into()).rem_euclid(step);
        let mut starting = month.saturating_sub(into);
        let mut first = self.anchor.in_month(starting);
        if first.is_some_and(|first| date < first) {
            // Before the anchor's day it is still the period that started a step earlier.
            starting = starting.saturating_sub(step);
            first = self.anchor.in_month(starting);
        }
        (first, self.anchor.in_month(starting.saturating_add(step)))
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
