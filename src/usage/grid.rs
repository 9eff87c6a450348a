//! How the resolutions cut time: minutes, parts of hours, and days, all of UTC.
//!
//! Days of a time zone begin at its midnight. That is a full hour of UTC in most zones, a half hour
//! in some (India, Iran, central Australia, Newfoundland), and a quarter past an hour in three
//! (Nepal, Chatham, Eucla), all the year round. So that days of every zone are made of whole
//! buckets, the sums by the hour are kept by the half hour, and in those few half hours of a day by
//! the quarter. A series that is always busy has 54 rows a day of that resolution where hours alone
//! would be 24; one that has an event an hour has as many as before.
//!
//! Every offset that a zone has had since 1972 is a multiple of a quarter hour, and every midnight
//! since then lies on a bucket's start. Before, there are offsets to the second.

const HALF_HOUR: i64 = 30;
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// The quarters of a day that are a zone's midnight, in minutes: those of Guyana until 1991, of
/// Chatham in summer and in winter, of Eucla in summer and in winter, and of Nepal.
const QUARTERS: [i64; 6] =
    [3 * HOUR + 45, 10 * HOUR + 15, 11 * HOUR + 15, 14 * HOUR + 15, 15 * HOUR + 15, 18 * HOUR + 15];
/// How many parts a day has.
const PARTS: i64 = 54;

/// What a bucket of a resolution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Minute,
    /// A part of an hour: a half or a quarter of it.
    Part,
    Day,
}

/// The resolutions, in their order.
pub(super) const UNITS: [Unit; 3] = [Unit::Minute, Unit::Part, Unit::Day];

/// The buckets of a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    unit: Unit,
    /// Before this minute, which is a full hour, all of an hour is in the bucket of its first
    /// part: what was summed up before hours had parts.
    pub(super) coarse: i64,
}

impl Grid {
    pub(super) const fn of(unit: Unit) -> Self {
        Self { unit, coarse: i64::MIN }
    }

    /// How many minutes a bucket has in which retention is counted: minutes, hours or days.
    pub(super) const fn kept_by(self) -> i64 {
        match self.unit {
            Unit::Minute => 1,
            Unit::Part => HOUR,
            Unit::Day => DAY,
        }
    }

    /// The bucket that a minute is in.
    #[inline]
    pub(super) fn bucket_of(self, minute: i64) -> i64 {
        match self.unit {
            Unit::Minute => minute,
            Unit::Part if minute < self.coarse => part(round_down(minute, HOUR)),
            Unit::Part => part(minute),
            Unit::Day => minute.div_euclid(DAY),
        }
    }

    /// The first minute of a bucket.
    pub(super) fn start(self, bucket: i64) -> i64 {
        match self.unit {
            Unit::Minute => bucket,
            Unit::Part => {
                let into = start_of_part(bucket.rem_euclid(PARTS));
                bucket.div_euclid(PARTS).saturating_mul(DAY).saturating_add(into)
            }
            Unit::Day => bucket.saturating_mul(DAY),
        }
    }

    /// The start of the bucket that a minute is in.
    pub(super) fn start_before(self, minute: i64) -> i64 {
        self.start(self.bucket_of(minute))
    }

    /// The first minute behind the bucket that a minute is in.
    pub(super) fn end_after(self, minute: i64) -> i64 {
        if self.unit == Unit::Part && minute < self.coarse {
            return round_down(minute, HOUR).saturating_add(HOUR);
        }
        self.start(self.bucket_of(minute).saturating_add(1))
    }

    /// The bucket that format 1 gives a number to: that of an hour, where this has parts of it.
    pub(super) fn of_whole_hours(self, number: i64) -> i64 {
        match self.unit {
            Unit::Part if number > i64::MIN => part(number.saturating_mul(HOUR)),
            _ => number,
        }
    }

    pub(super) fn is_of_minutes(self) -> bool {
        self.unit == Unit::Minute
    }

    pub(super) fn is_of_parts(self) -> bool {
        self.unit == Unit::Part
    }

    /// The first full hour behind the start of a bucket.
    pub(super) fn hour_after(self, bucket: i64) -> i64 {
        round_down(self.start(bucket), HOUR).saturating_add(HOUR)
    }

    /// The first minute from this one on at which a bucket starts.
    pub(super) fn start_from(self, minute: i64) -> i64 {
        let start = self.start_before(minute);
        if start == minute { minute } else { self.end_after(minute) }
    }
}

#[inline]
fn round_down(minute: i64, length: i64) -> i64 {
    minute.saturating_sub(minute.rem_euclid(length))
}

/// The part that a minute is in, counted over all days.
#[inline]
fn part(minute: i64) -> i64 {
    let (day, into) = (minute.div_euclid(DAY), minute.rem_euclid(DAY));
    let quarters = QUARTERS
        .iter()
        .fold(0_i64, |quarters, quarter| quarters.saturating_add(i64::from(*quarter <= into)));
    let part = into.div_euclid(HALF_HOUR).saturating_add(quarters);
    day.saturating_mul(PARTS).saturating_add(part)
}

/// The minute of the day at which a part of it starts.
fn start_of_part(part: i64) -> i64 {
    let mut quarters = 0_i64;
    for quarter in QUARTERS {
        let its_part = quarter.div_euclid(HALF_HOUR).saturating_add(quarters).saturating_add(1);
        if its_part == part {
            return quarter;
        }
        quarters = quarters.saturating_add(i64::from(its_part < part));
    }
    part.saturating_sub(quarters).saturating_mul(HALF_HOUR)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Offset, TimeZone};

    use super::*;

    #[test]
    fn buckets_abut_and_every_minute_is_in_one() {
        for unit in UNITS {
            for coarse in [i64::MIN, 3 * HOUR] {
                let grid = Grid { unit, coarse };
                for minute in -3 * DAY..3 * DAY {
                    let (start, end) = (grid.start_before(minute), grid.end_after(minute));
                    assert!((start..end).contains(&minute), "{grid:?} {minute}");
                    assert_eq!(grid.bucket_of(start), grid.bucket_of(minute));
                    assert_eq!(grid.start_before(end), end);
                    assert!(grid.bucket_of(end) > grid.bucket_of(minute));
                    let from = if start == minute { minute } else { end };
                    assert_eq!(grid.start_from(minute), from);
                }
            }
        }
        assert_eq!(Grid::of(Unit::Part).bucket_of(DAY), 54);
    }

    #[test]
    fn before_the_coarse_minute_hours_are_whole() {
        let grid = Grid { coarse: 2 * HOUR, ..Grid::of(Unit::Part) };
        assert_eq!((grid.start_before(59), grid.end_after(10)), (0, HOUR));
        assert_eq!((grid.start_before(119), grid.end_after(119)), (HOUR, 2 * HOUR));
        assert_eq!((grid.start_before(150), grid.end_after(130)), (150, 150));
    }

    /// Looks at every zone of the database twice a month from 1972 on: its midnights are those of
    /// its offsets.
    #[test]
    fn midnight_of_every_zone_is_the_start_of_a_part() {
        let grid = Grid::of(Unit::Part);
        for zone in chrono_tz::TZ_VARIANTS {
            for half_month in 0..26 * 70 {
                // The 8th of January 1972: Liberia kept its local time up to the day before.
                let at = DateTime::from_timestamp(63_676_800 + half_month * 14 * 86_400, 0);
                let at = at.expect("an instant").naive_utc();
                let offset = zone.offset_from_utc_datetime(&at).fix().local_minus_utc();
                // Kiritimati was 10 hours and 40 minutes behind until 1979.
                if zone == chrono_tz::Pacific::Kiritimati && offset == -38_400 {
                    continue;
                }
                let midnight = i64::from(-offset).rem_euclid(86_400);
                assert_eq!(midnight % 60, 0, "{zone} {at}");
                let minute = midnight.div_euclid(60);
                assert_eq!(grid.start_before(minute), minute, "{zone} at {at}");
            }
        }
    }
}
