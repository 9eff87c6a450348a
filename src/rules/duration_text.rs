//! Lengths of time as configuration writes them: `30s`, `5m`, `2h`, `30d`, `30 days`.

use std::fmt;
use std::time::Duration;

/// The units, the longest first; printing takes the first that divides the length.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// What people write beside the units that are printed.
const WORDS: [(&[&str], &str, u128); 5] = [
    (&["sec", "secs", "second", "seconds"], "s", 1),
    (&["min", "mins", "minute", "minutes"], "m", 1),
    (&["hr", "hrs", "hour", "hours"], "h", 1),
    (&["day", "days"], "d", 1),
    (&["w", "week", "weeks"], "d", 7),
];

/// Reads a whole number with a unit, a space between them or none.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let word = WORDS.iter().find(|(words, ..)| words.contains(&unit));
    let (unit, times) = word.map_or((unit, 1), |(_, unit, times)| (*unit, *times));
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let nanos = nanos.checked_mul(times)?;
    let nanos = number.parse::<u128>().ok()?.checked_mul(nanos)?;
    let seconds = u64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Prints a length in the longest unit that says it exactly, but no longer than `longest`.
pub(crate) fn print(length: Duration, longest: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let nanos = length.as_nanos();
    let usable = UNITS.iter().skip_while(|(name, _)| *name != longest);
    for (name, unit) in usable {
        if nanos != 0 && nanos.checked_rem(*unit) == Some(0) {
            return write!(f, "{}{name}", nanos.div_euclid(*unit));
        }
    }
    f.write_str("0s")
}

/// A length of time as text for serde.
pub(crate) mod length {
    use std::borrow::Cow;
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    struct Shown(Duration);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            super::print(self.0, "d", f)
        }
    }

    pub(crate) fn serialize<S: Serializer>(
        length: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Shown(*length))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        parse(&Cow::<'_, str>::deserialize(deserializer)?)
    }

    pub(super) fn parse<E: Error>(text: &str) -> Result<Duration, E> {
        let rule = "must be a whole number with a unit such as 30s, 5m, 2h or 7d";
        super::parse(text).ok_or_else(|| E::custom(format!("{text:?} {rule}")))
    }
}

/// The same of one that may be left out.
pub(crate) mod optional_length {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::de::{Deserialize, Deserializer};
    use serde::ser::Serializer;

    #[expect(clippy::ref_option, reason = "serde passes a reference")]
    pub(crate) fn serialize<S: Serializer>(
        length: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match length {
            Some(length) => super::length::serialize(length, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        text.map(|text| super::length::parse(&text)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Shown(Duration);

    impl fmt::Display for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            print(self.0, "d", f)
        }
    }

    #[test]
    fn the_forms_of_configuration_are_read() {
        for (text, seconds) in [
            ("30s", 30),
            ("5m", 300),
            ("2h", 7_200),
            ("1d", 86_400),
            ("30 days", 2_592_000),
            ("1week", 604_800),
            ("10 min", 600),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "5",
            "5  m",
            "5 ",
            "-5m",
            "1 month",
            "5x",
            "1.5h",
            "99999999999999999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(seconds in 0_u64..=u64::MAX, nanos in 0_u32..1_000_000_000) {
            let length = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&Shown(length).to_string()), Some(length));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
