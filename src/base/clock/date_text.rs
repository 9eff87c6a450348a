//! Instants as text in the form in which nearly all come and go: `2024-01-15T10:30:00.123Z`.
//!
//! chrono reads and prints any RFC 3339, in some thousand instructions; every line of an export
//! has an instant. Here the digits alone are taken apart and put together: which days and hours
//! there are is chrono's. What has another form is left to it as a whole.

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};

/// The longest: 2024-01-15T10:30:00.123456789Z.
const LONGEST: usize = 30;
/// The last year of four digits.
const LAST_YEAR: u32 = 9_999;

/// Reads a year of four digits, seconds with at most nine decimal places, and a `Z`. `None` of any
/// other text, which may be an instant all the same.
pub(super) fn read(text: &str) -> Option<DateTime<Utc>> {
    let (date, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', time @ ..] = *date else {
        return None;
    };
    let [h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    let nanos = match rest {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] => {
            let missing = 9_usize.checked_sub(digits.len())?;
            let power = 10_u32.checked_pow(u32::try_from(missing).ok()?)?;
            (!digits.is_empty()).then(|| number(digits))??.checked_mul(power)?
        }
        _ => return None,
    };
    let year = i32::try_from(number(&[y1, y2, y3, y4])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(&[o1, o2])?, number(&[d1, d2])?)?;
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    Some(date.and_hms_nano_opt(hour, minute, second, nanos)?.and_utc())
}

/// The number of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number.wrapping_mul(10).wrapping_add(u32::from(digit)))
    })
}

/// A printed instant.
pub(super) struct DateText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl DateText {
    /// Prints an instant with as many of none, three, six and nine decimal places as it takes;
    /// `None` where the year has not got four digits.
    pub(super) fn of(at: &DateTime<Utc>) -> Option<Self> {
        let year = u32::try_from(at.year()).ok().filter(|year| *year <= LAST_YEAR)?;
        let ([y1, y2], [y3, y4]) = (two(year / 100), two(year));
        let ([o1, o2], [d1, d2]) = (two(at.month()), two(at.day()));
        let ([h1, h2], [m1, m2], [s1, s2]) = (two(at.hour()), two(at.minute()), two(at.second()));
        let nanos = at.nanosecond();
        let ([a1, a2, a3], [b1, b2, b3]) = (three(nanos / 1_000_000), three(nanos / 1_000));
        let [c1, c2, c3] = three(nanos);
        let mut bytes = [
            y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2,
            b'.', a1, a2, a3, b1, b2, b3, c1, c2, c3, b'Z',
        ];
        let length = match nanos {
            0 => 20,
            _ if nanos.is_multiple_of(1_000_000) => 24,
            _ if nanos.is_multiple_of(1_000) => 27,
            _ => LONGEST,
        };
        if let Some([.., end]) = bytes.get_mut(..length) {
            *end = b'Z';
        }
        Some(Self { bytes, length })
    }

    pub(super) fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.length).and_then(|text| str::from_utf8(text).ok());
        // They are digits.
        text.unwrap_or_default()
    }
}

/// The last two digits of a number.
fn two(number: u32) -> [u8; 2] {
    [digit(number / 10), digit(number)]
}

fn three(number: u32) -> [u8; 3] {
    [digit(number / 100), digit(number / 10), digit(number)]
}

/// The last digit.
fn digit(number: u32) -> u8 {
    u8::try_from(number % 10).unwrap_or(0).wrapping_add(b'0')
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat, Utc};
    use proptest::prelude::*;

    use super::{DateText, read};

    fn printed(at: &DateTime<Utc>) -> Option<String> {
        DateText::of(at).map(|text| text.as_str().to_owned())
    }

    proptest! {
        /// As chrono prints it and as chrono reads it; beyond four digits it is chrono's alone.
        #[test]
        fn an_instant_is_printed_and_read_as_chrono_does(
            seconds in prop_oneof![-62_167_219_200_i64..253_402_300_800, -1_i64 << 42..1 << 42],
            nanos in 0_u32..1_000_000_000,
            unit in prop::sample::select(vec![1_u32, 1_000, 1_000_000, 1_000_000_000]),
        ) {
            let at = DateTime::<Utc>::from_timestamp(seconds, nanos / unit * unit).expect("a date");
            let by_chrono = at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            let has_four_digits = (-62_167_219_200..253_402_300_800).contains(&seconds);
            prop_assert_eq!(printed(&at), has_four_digits.then(|| by_chrono.clone()));
            prop_assert_eq!(read(&by_chrono), has_four_digits.then_some(at));
        }

        /// Whatever is read here, chrono reads as the same.
        #[test]
        fn what_is_read_is_what_chrono_reads(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?Z",
        ) {
            if let Some(at) = read(&text) {
                prop_assert_eq!(text.parse::<DateTime<Utc>>().ok(), Some(at));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9TZ:.+ -]{0,32}|.{0,32}") {
            if let Some(at) = read(&text) {
                prop_assert_eq!(text.parse::<DateTime<Utc>>().ok(), Some(at));
            }
        }
    }

    #[test]
    fn what_has_another_form_is_left_to_chrono() {
        for text in [
            "2024-01-15T10:30:00+00:00",
            "2024-01-15t10:30:00z",
            "2024-01-15 10:30:00Z",
            "2024-01-15T10:30:60Z",
            "2024-01-15T10:30:00.Z",
            "2024-01-15T10:30:00.1234567890Z",
            "2024-02-30T10:30:00Z",
            "2024-01-15T24:00:00Z",
            "2024-01-15T10:30Z",
            "12024-01-15T10:30:00Z",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
