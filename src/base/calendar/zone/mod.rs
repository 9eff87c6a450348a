//! Dates on the wall clock of a time zone, and the instants at which they begin: the only two
//! ways between instants and dates.
//!
//! A date begins at the first instant at which the wall clock shows its midnight or anything
//! later. That holds where clocks are set at midnight: a midnight that they jump over is the
//! instant of the jump, one that they show twice is the first of the two, and a date that is left
//! out altogether begins with the next one and is empty. Beginnings never run back, which wall
//! clocks do.

use chrono::{DateTime, NaiveDate, NaiveTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};

#[cfg(test)]
mod tests;

/// Gives the date that the wall clock shows at an instant, or the first or last date there is.
pub(super) fn date_at(unix_seconds: i64, zone: Tz) -> NaiveDate {
    let shown = DateTime::from_timestamp(unix_seconds, 0).and_then(|instant| {
        let utc = instant.naive_utc();
        if zone == Tz::UTC {
            return Some(utc);
        }
        utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
    });
    match shown {
        Some(shown) => shown.date(),
        None if unix_seconds < 0 => NaiveDate::MIN,
        None => NaiveDate::MAX,
    }
}

/// Gives the Unix second at which a date begins.
pub(super) fn beginning_of(date: NaiveDate, zone: Tz) -> i64 {
    let midnight = date.and_time(NaiveTime::MIN);
    let in_utc = midnight.and_utc().timestamp();
    if zone == Tz::UTC {
        return in_utc;
    }
    if let Some(offset) = zone.offset_from_local_datetime(&midnight).earliest() {
        return in_utc.saturating_sub(i64::from(offset.fix().local_minus_utc()));
    }
    // The clock jumps over midnight: the date begins where it lands, as every jump does.
    let landing = GapInfo::new(&midnight, &zone).and_then(|gap| gap.end);
    landing.map_or(in_utc, |landing| landing.timestamp())
}
