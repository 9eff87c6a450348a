//! The one type of time.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::NANOS_PER_SECOND;
use super::date_text::{self, DateText};
use crate::base::text::excerpt_of_line;

const NANOS_A_SECOND: i64 = 1_000_000_000;

/// An instant, exact to the nanosecond: any that Unix time says in 64 bit seconds.
///
/// It is the one type of time here, in and out. It comes `From` chrono's [`DateTime`] of any zone
/// and from [`SystemTime`], goes back with `TryFrom`, and is read from and printed as RFC 3339
/// text. Where an instant is taken, anything that is one may be given.
///
/// `+` and `-` a [`Duration`] stop at the ends of the line, and the difference of two instants is
/// zero where the first is the earlier: nothing about it panics. The `checked_` methods say `None`
/// in their place.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use chrono::DateTime;
/// use limitry::Timestamp;
///
/// let noon: Timestamp = "2024-01-15T13:00:00+01:00".parse()?;
/// assert_eq!(noon.to_string(), "2024-01-15T12:00:00Z");
/// let later = noon + Duration::from_millis(1_500);
/// assert_eq!((later - noon, noon - later), (Duration::from_millis(1_500), Duration::ZERO));
/// assert_eq!(noon.checked_since(later), None);
///
/// let in_berlin = DateTime::parse_from_rfc3339("2024-01-15T13:00:00+01:00")?;
/// assert_eq!(Timestamp::from(in_berlin), noon);
/// assert_eq!(Timestamp::from(SystemTime::try_from(noon)?), noon);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Leap seconds do not exist on this time line (as in Unix time): an instant inside one, which
/// `chrono` writes as a second with more than 999 999 999 nanoseconds, is read as the last
/// nanosecond of the second before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since the Unix epoch; one number, so that adding and comparing are one step.
    nanos: i128,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self { nanos: 0 };
    /// The earliest instant that can be said.
    pub const MIN: Self = Self::new(i64::MIN, 0);
    /// The latest instant that can be said.
    pub const MAX: Self = Self::new(i64::MAX, 999_999_999);

    /// Makes an instant; nanoseconds above 999 999 999 are clamped to that.
    #[must_use]
    pub const fn new(unix_seconds: i64, nanos: u32) -> Self {
        let nanos = if nanos > 999_999_999 { 999_999_999 } else { nanos };
        // 64 bit seconds in nanoseconds take 94 bits.
        let seconds = (unix_seconds as i128).saturating_mul(NANOS_PER_SECOND as i128);
        Self { nanos: seconds.saturating_add(nanos as i128) }
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    #[must_use]
    #[inline]
    pub fn unix_seconds(self) -> i64 {
        self.split().0
    }

    /// Returns the nanoseconds into the second, 0 to 999 999 999.
    #[must_use]
    #[inline]
    pub fn subsec_nanos(self) -> u32 {
        self.split().1
    }

    /// The whole seconds, rounded down, and the nanoseconds after them.
    #[inline]
    pub(crate) fn split(self) -> (i64, u32) {
        // From 1677 to 2262: a division of 128 bits takes ten times as long.
        if let Ok(nanos) = i64::try_from(self.nanos) {
            let into = u32::try_from(nanos.rem_euclid(NANOS_A_SECOND)).unwrap_or(0);
            return (nanos.div_euclid(NANOS_A_SECOND), into);
        }
        let per_second = i128::from(NANOS_PER_SECOND);
        let into = u32::try_from(self.nanos.rem_euclid(per_second)).unwrap_or(0);
        // The constructors keep to 64 bit seconds.
        (i64::try_from(self.nanos.div_euclid(per_second)).unwrap_or(i64::MAX), into)
    }

    /// Returns the instant `duration` later; `None` past the end of the line.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = self.nanos.checked_add(i128::try_from(duration.as_nanos()).ok()?)?;
        (nanos <= Self::MAX.nanos).then_some(Self { nanos })
    }

    /// Returns the instant `duration` earlier; `None` before the start of the line.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let nanos = self.nanos.checked_sub(i128::try_from(duration.as_nanos()).ok()?)?;
        (nanos >= Self::MIN.nanos).then_some(Self { nanos })
    }

    /// Returns how long after `earlier` this instant is; `None` when it is before it.
    #[must_use]
    pub fn checked_since(self, earlier: Self) -> Option<Duration> {
        (self >= earlier).then(|| self.saturating_since(earlier))
    }

    /// Returns the instant `duration` earlier, or [`Timestamp::MIN`] before the start of the line.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).unwrap_or(Self::MIN)
    }

    /// Returns the instant `duration` later, or [`Timestamp::MAX`] past the end of the line.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        Self { nanos: self.nanos.saturating_add(nanos) }.min(Self::MAX)
    }

    /// Returns how long after `earlier` this instant is; zero when it is not after it.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let nanos = u128::try_from(self.nanos.saturating_sub(earlier.nanos)).unwrap_or(0);
        let per_second = u128::from(NANOS_PER_SECOND);
        let seconds = u64::try_from(nanos.div_euclid(per_second)).unwrap_or(u64::MAX);
        Duration::new(seconds, u32::try_from(nanos.rem_euclid(per_second)).unwrap_or(0))
    }

    /// The nanoseconds from `earlier` to this instant; 0 when it is not after it.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Self) -> u64 {
        let nanos = self.line_since(earlier);
        u64::try_from(nanos).unwrap_or(if nanos < 0 { 0 } else { u64::MAX })
    }

    /// The same; none where it is before, or longer than 64 bits can say.
    #[inline]
    pub(super) fn checked_nanos_since(self, earlier: Self) -> Option<u64> {
        u64::try_from(self.line_since(earlier)).ok()
    }

    /// The nanoseconds from `earlier` to this instant, or back. Both take 94 bits at most.
    #[inline]
    fn line_since(self, earlier: Self) -> i128 {
        self.nanos.wrapping_sub(earlier.nanos)
    }

    #[inline]
    pub(crate) fn saturating_add_nanos(self, nanos: u64) -> Self {
        Self { nanos: self.nanos.saturating_add(i128::from(nanos)) }.min(Self::MAX)
    }

    /// Whether chrono and RFC 3339 can say it: years -262143 to 262142.
    #[inline]
    pub(crate) fn is_a_date(self) -> bool {
        (Self::new(-8_334_601_228_800, 0)..=Self::new(8_210_266_876_799, 999_999_999))
            .contains(&self)
    }

    pub(crate) fn unix_nanos(self) -> i128 {
        self.nanos
    }

    /// The instant of [`unix_nanos`](Self::unix_nanos).
    pub(crate) fn from_unix_nanos(nanos: i128) -> Self {
        Self { nanos }.clamp(Self::MIN, Self::MAX)
    }

    /// How far into a span of `length` nanoseconds, counted from the Unix epoch, this is.
    pub(crate) fn into_span(self, length: u64) -> u64 {
        let into = self.nanos.checked_rem_euclid(i128::from(length)).unwrap_or(0);
        u64::try_from(into).unwrap_or(0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// The instant so much later, or [`Timestamp::MAX`].
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.saturating_add(duration);
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// The instant so much earlier, or [`Timestamp::MIN`].
    fn sub(self, duration: Duration) -> Self {
        self.saturating_sub(duration)
    }
}

impl SubAssign<Duration> for Timestamp {
    fn sub_assign(&mut self, duration: Duration) {
        *self = self.saturating_sub(duration);
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// How long after `earlier` this instant is; zero when it is not after it.
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl<Z: TimeZone> From<DateTime<Z>> for Timestamp {
    fn from(instant: DateTime<Z>) -> Self {
        Self::new(instant.timestamp(), instant.timestamp_subsec_nanos())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(instant: SystemTime) -> Self {
        match instant.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::UNIX_EPOCH.saturating_add(after),
            Err(before) => Self::UNIX_EPOCH.saturating_sub(before.duration()),
        }
    }
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = TimestampRangeError;

    /// # Errors
    /// The system's type cannot say the instant.
    fn try_from(instant: Timestamp) -> Result<Self, Self::Error> {
        let system = match instant.checked_since(Timestamp::UNIX_EPOCH) {
            Some(after) => UNIX_EPOCH.checked_add(after),
            None => UNIX_EPOCH.checked_sub(Timestamp::UNIX_EPOCH.saturating_since(instant)),
        };
        system.ok_or(TimestampRangeError(instant))
    }
}

impl TryFrom<Timestamp> for DateTime<Utc> {
    type Error = TimestampRangeError;

    /// # Errors
    /// The instant lies outside the 262 000 years before or after year 0 that `chrono` can say.
    fn try_from(instant: Timestamp) -> Result<Self, Self::Error> {
        Self::from_timestamp(instant.unix_seconds(), instant.subsec_nanos())
            .ok_or(TimestampRangeError(instant))
    }
}

/// A [`Timestamp`] that the type which it should become cannot say: chrono's `DateTime`, the
/// system's time, or RFC 3339 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is outside the range of the type that it should become")]
pub struct TimestampRangeError(Timestamp);

/// A text that is no [`Timestamp`]; `value` is the text, cut after 48 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not an instant in RFC 3339, such as 2024-01-15T10:30:00Z")]
pub struct TimestampParseError {
    value: Box<str>,
}

impl FromStr for Timestamp {
    type Err = TimestampParseError;

    /// Reads an instant in RFC 3339 with any offset.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(instant) = date_text::read(text) {
            return Ok(instant.into());
        }
        let invalid = |_| TimestampParseError { value: excerpt_of_line(text) };
        text.parse::<DateTime<Utc>>().map(Self::from).map_err(invalid)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, or the Unix seconds where a calendar cannot say the year.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::try_from(*self) {
            Ok(instant) => match DateText::of(&instant) {
                Some(text) => f.write_str(text.as_str()),
                None => f.write_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            },
            Err(_) => write!(f, "Unix second {}.{:09}", self.unix_seconds(), self.subsec_nanos()),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    /// An RFC 3339 string in UTC.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let instant = DateTime::<Utc>::try_from(*self).map_err(serde::ser::Error::custom)?;
        match DateText::of(&instant) {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => instant.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// An RFC 3339 string with any offset.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TimestampVisitor)
    }
}

struct TimestampVisitor;

impl de::Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instant such as \"2024-01-15T10:30:00Z\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_carries_into_the_seconds_and_stops_at_the_end() {
        let start = Timestamp::new(-1, 999_999_999);
        assert_eq!(start.saturating_add(Duration::from_nanos(1)), Timestamp::UNIX_EPOCH);
        assert_eq!(start.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::from_nanos(1)), Timestamp::MAX);
    }

    #[test]
    fn a_difference_borrows_from_the_seconds_and_is_never_negative() {
        let (a, b) = (Timestamp::new(5, 100), Timestamp::new(7, 50));
        assert_eq!(b.saturating_since(a), Duration::new(1, 999_999_950));
        assert_eq!(a.saturating_since(b), Duration::ZERO);
        let line = Timestamp::MAX.saturating_since(Timestamp::MIN);
        assert_eq!(line, Duration::new(u64::MAX, 999_999_999));
    }

    #[test]
    fn operators_stop_at_the_ends_and_the_checked_ones_say_so() {
        let (second, nano) = (Duration::from_secs(1), Duration::from_nanos(1));
        let noon: Timestamp = "2024-01-15T12:00:00Z".parse().expect("an instant");
        assert_eq!((noon + second).to_string(), "2024-01-15T12:00:01Z");
        assert_eq!((noon - nano).to_string(), "2024-01-15T11:59:59.999999999Z");
        assert_eq!(((noon + second) - noon, noon - (noon + second)), (second, Duration::ZERO));
        let mut moved = noon;
        moved += second;
        moved -= nano;
        assert_eq!(moved, noon + Duration::from_nanos(999_999_999));
        assert_eq!(moved.checked_since(noon), Some(Duration::from_nanos(999_999_999)));
        assert_eq!(
            (noon.checked_since(moved), noon.checked_since(noon)),
            (None, Some(Duration::ZERO))
        );
        assert_eq!(
            (Timestamp::MAX + nano, Timestamp::MIN - nano),
            (Timestamp::MAX, Timestamp::MIN)
        );
        assert_eq!(
            (Timestamp::MAX.checked_add(nano), Timestamp::MIN.checked_sub(nano)),
            (None, None)
        );
        assert_eq!(Timestamp::MAX.checked_sub(nano).map(|at| at + nano), Some(Timestamp::MAX));
        let line = Timestamp::MAX - Timestamp::MIN;
        assert_eq!(Timestamp::MIN.checked_add(line), Some(Timestamp::MAX));
        assert_eq!(Timestamp::MAX.checked_sub(line), Some(Timestamp::MIN));
        assert_eq!(Timestamp::MIN + Duration::MAX, Timestamp::MAX);
    }

    #[test]
    fn instants_come_from_chrono_and_the_system_and_go_back() {
        let text = "2024-01-15T13:00:00.5+01:00";
        let fixed = DateTime::parse_from_rfc3339(text).expect("an instant");
        let noon = Timestamp::new(1_705_320_000, 500_000_000);
        assert_eq!((Timestamp::from(fixed), text.parse()), (noon, Ok(noon)));
        assert_eq!(DateTime::<Utc>::try_from(noon), Ok(fixed.to_utc()));
        for at in [noon, Timestamp::UNIX_EPOCH, Timestamp::new(-1, 999_999_999)] {
            let system = SystemTime::try_from(at).expect("the system can say it");
            assert_eq!(Timestamp::from(system), at);
        }
        let beyond = DateTime::<Utc>::try_from(Timestamp::MAX).expect_err("far from now");
        assert!(beyond.to_string().contains("9223372036854775807"), "{beyond}");
        for (date, beside) in [
            (
                DateTime::<Utc>::MIN_UTC,
                Timestamp::from(DateTime::<Utc>::MIN_UTC) - Duration::from_nanos(1),
            ),
            (
                DateTime::<Utc>::MAX_UTC,
                Timestamp::from(DateTime::<Utc>::MAX_UTC) + Duration::from_nanos(1),
            ),
        ] {
            assert!(Timestamp::from(date).is_a_date() && !beside.is_a_date());
            assert!(DateTime::<Utc>::try_from(beside).is_err());
        }
    }

    #[test]
    fn texts_are_instants_both_ways_or_errors_that_quote_them() {
        for text in
            ["2024-01-15T12:00:00Z", "1969-12-31T23:59:59.000000001Z", "0000-02-29T00:00:00Z"]
        {
            let at: Timestamp = text.parse().expect("an instant");
            assert_eq!(at.to_string(), text);
            let json = serde_json::to_string(&at).expect("prints");
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("reads"), at);
        }
        for text in ["", "yesterday", "1705320000", "2024-01-15", "2024-02-30T00:00:00Z"] {
            let why = text.parse::<Timestamp>().expect_err("no instant").to_string();
            assert!(why.starts_with(&format!("`{text}` is not an instant")), "{why}");
        }
        let long = "9".repeat(1_000_000).parse::<Timestamp>().expect_err("no instant").to_string();
        assert!(long.len() < 200, "{}", long.len());
    }

    #[test]
    fn a_leap_second_reads_as_the_end_of_the_second_before() {
        let text = "2016-12-31T23:59:60.500Z";
        let instant: DateTime<Utc> = text.parse().expect("chrono reads leap seconds");
        assert_eq!(Timestamp::from(instant), Timestamp::new(1_483_228_799, 999_999_999));
    }

    #[test]
    fn an_instant_is_its_seconds_and_nanoseconds_wherever_it_lies() {
        let [first, last] = [i64::MIN, i64::MAX].map(i128::from);
        let ends = [Timestamp::MIN.nanos, first, 0, last, Timestamp::MAX.nanos];
        let steps = [-1_000_000_001, -1_000_000_000, -1, 0, 1, 999_999_999, 1_000_000_000];
        for nanos in ends.into_iter().flat_map(|end| steps.map(|step| end + step)) {
            let instant = Timestamp::from_unix_nanos(nanos);
            let (seconds, into) = (instant.unix_seconds(), instant.subsec_nanos());
            assert_eq!(Timestamp::new(seconds, into), instant, "{nanos}");
            assert!(into < 1_000_000_000, "{nanos}: {into}");
        }
    }

    #[test]
    fn the_ends_of_the_line_have_a_text() {
        assert_eq!(Timestamp::MAX.to_string(), "Unix second 9223372036854775807.999999999");
        assert_eq!(Timestamp::UNIX_EPOCH.to_string(), "1970-01-01T00:00:00Z");
    }
}
