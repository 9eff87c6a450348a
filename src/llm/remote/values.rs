//! What the values of headers say: counts, lengths of time, instants. `Ok(None)` is a value by
//! which the provider says that it does not know.

use std::time::Duration;

use chrono::DateTime;

use crate::Timestamp;
use crate::llm::decimal::Decimal;

/// What is further away is a mistake: the longest window of any provider is a month.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
const NANOS: u128 = 1_000_000_000;

/// When a limit is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    After(Duration),
    /// By the provider's clock.
    At(Timestamp),
}

impl Reset {
    /// How long after the response that is. What the provider's clock showed then says it without
    /// asking ours; a date is whole seconds, rounded down, so that the wait is never too short.
    pub(super) fn since(self, date: Option<Timestamp>, received: Timestamp) -> Duration {
        match self {
            Self::After(length) => length,
            Self::At(instant) => instant.saturating_since(date.unwrap_or(received)).min(LONGEST),
        }
    }
}

/// `30000`, `30,000`, and `-1` for what is not known.
pub(super) fn count(text: &str) -> Result<Option<u64>, &'static str> {
    const RULE: &str = "must be a whole number from 0 to 18446744073709551615, or -1";
    if text == "-1" {
        return Ok(None);
    }
    let (first, groups) = text.split_once(',').map_or((text, None), |(a, b)| (a, Some(b)));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mut of_thousands = groups.into_iter().flat_map(|groups| groups.split(','));
    let fits = is_number(first)
        && (groups.is_none() || (1..=3).contains(&first.len()))
        && of_thousands.all(|group| group.len() == 3 && is_number(group));
    let number = || text.replace(',', "").parse().ok();
    fits.then(number).flatten().map(Some).ok_or(RULE)
}

/// Seconds, `1.5`, from now on.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    Decimal::parse(text)?.scaled(9).and_then(|(nanos, _)| length(nanos))
}

/// Milliseconds, `20`, from now on.
pub(super) fn milliseconds(text: &str) -> Option<Duration> {
    Decimal::parse(text)?.scaled(6).and_then(|(nanos, _)| length(nanos))
}

fn length(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos.div_euclid(NANOS)).ok()?;
    let rest = u32::try_from(nanos.rem_euclid(NANOS)).ok()?;
    Some(Duration::new(seconds, rest)).filter(|length| *length <= LONGEST)
}

/// `6m0s`, `23h47m36.648s`, `20ms`: Go's way, each unit of which a fraction may have.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'))?;
        let (number, behind) = rest.split_at_checked(end)?;
        let end = behind.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, behind) = behind.split_at_checked(end.unwrap_or(behind.len()))?;
        let (power, times) = match unit {
            "d" => (9, 86_400),
            "h" => (9, 3_600),
            "m" => (9, 60),
            "s" => (9, 1),
            "ms" => (6, 1),
            // The micro sign, and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => (3, 1),
            "ns" => (0, 1),
            _ => return None,
        };
        let (part, _) = Decimal::parse(number)?.scaled(power)?;
        nanos = nanos.checked_add(part.checked_mul(times)?)?;
        rest = behind;
    }
    (!text.is_empty()).then(|| length(nanos)).flatten()
}

/// A length of time in Go's way or in seconds, an instant in RFC 3339 or as Unix seconds or
/// milliseconds, and `-1` for what is not known.
pub(super) fn reset(text: &str) -> Result<Option<Reset>, &'static str> {
    const RULE: &str =
        "must be a time of at most 366 days, such as 6m0s or 20, or an instant in RFC 3339, or -1";
    // No wait takes thirty years: so large a number is an instant.
    const INSTANT: i64 = 1_000_000_000;
    if text == "-1" {
        return Ok(None);
    }
    if let Some(number) = text.parse::<i64>().ok().filter(|number| *number >= INSTANT) {
        let seconds = number.div_euclid(1_000);
        let is_millis = seconds >= INSTANT;
        let nanos = u32::try_from(number.rem_euclid(1_000)).unwrap_or(0).saturating_mul(1_000_000);
        let seconds = if is_millis { seconds } else { number };
        let instant = Timestamp::new(seconds, if is_millis { nanos } else { 0 });
        return Ok(Some(Reset::At(instant)));
    }
    if let Some(length) = seconds(text).or_else(|| go_duration(text)) {
        return Ok(Some(Reset::After(length)));
    }
    text.parse().map(|instant| Some(Reset::At(instant))).map_err(|_| RULE)
}

/// `Wed, 21 Oct 2015 07:28:00 GMT`.
pub(super) fn http_date(text: &str) -> Result<Timestamp, &'static str> {
    let date = DateTime::parse_from_rfc2822(text).map(Timestamp::from);
    date.map_err(|_| "must be a date such as Wed, 21 Oct 2015 07:28:00 GMT")
}

/// Seconds, or a date.
pub(super) fn retry_after(text: &str) -> Result<Reset, &'static str> {
    if let Some(length) = seconds(text) {
        return Ok(Reset::After(length));
    }
    let date = http_date(text).map(Reset::At);
    date.map_err(|_| "must be seconds, at most 366 days of them, or a date as HTTP writes one")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Reset, count, http_date, milliseconds, reset, retry_after};
    use crate::Timestamp;

    #[test]
    fn lengths_and_instants_are_read_as_providers_write_them() {
        let after = |nanos: u64| Ok(Some(Reset::After(Duration::from_nanos(nanos))));
        let at = |text: &str| Ok(Some(Reset::At(text.parse().expect("an instant"))));
        for (text, expected) in [
            ("1s", after(1_000_000_000)),
            ("6m0s", after(360_000_000_000)),
            ("20ms", after(20_000_000)),
            ("2m59.56s", after(179_560_000_000)),
            ("23h47m36.648s", after(85_656_648_000_000)),
            ("7.66s", after(7_660_000_000)),
            ("1d2h", after(93_600_000_000_000)),
            ("0s", after(0)),
            ("0", after(0)),
            ("52", after(52_000_000_000)),
            ("0.5", after(500_000_000)),
            ("12\u{b5}s", after(12_000)),
            ("0.1ns", after(1)),
            ("-1", Ok(None)),
            ("2026-01-27T14:13:20Z", at("2026-01-27T14:13:20Z")),
            ("2026-01-27T14:13:20.5+01:00", at("2026-01-27T13:13:20.5Z")),
            ("1769523200", at("2026-01-27T14:13:20Z")),
            ("1769523200500", at("2026-01-27T14:13:20.5Z")),
        ] {
            assert_eq!(reset(text), expected, "{text}");
        }
        let long = "9".repeat(40);
        for text in
            ["", "s", "1", "m", "-2", "-1s", "1x", "1s2", "367d", "1e99", "2026-01-27", &long]
        {
            assert_eq!(reset(text).is_ok(), text == "1", "{text}");
        }
    }

    #[test]
    fn counts_waits_and_dates_are_read() {
        for (text, expected) in [("30000", Some(30_000)), ("1,030,000", Some(1_030_000))] {
            assert_eq!(count(text), Ok(expected), "{text}");
        }
        assert_eq!((count("-1"), count("0")), (Ok(None), Ok(Some(0))));
        for text in ["", "-2", "1.5", "30000, 30000", "3000,000", ",000", "1,00", "0x1", "+1"] {
            assert!(count(text).is_err(), "{text}");
        }
        let noon = Timestamp::new(1_445_412_480, 0);
        assert_eq!(http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Ok(noon));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Ok(Reset::At(noon)));
        assert_eq!(retry_after("0.25"), Ok(Reset::After(Duration::from_millis(250))));
        assert_eq!(milliseconds("1500.5"), Some(Duration::from_micros(1_500_500)));
        for text in ["", "soon", "-3", "1e99", "2015-10-21"] {
            assert!(retry_after(text).is_err(), "{text}");
        }
    }
}
