//! At which figures of a rule an alert fires.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, U64Deserializer};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Units;
use crate::base::amount::Amount;
use crate::base::codec::{Codec, Malformed, Reader, put_varint, put_wide};

/// How many thresholds a rule may have.
pub(super) const MAX_THRESHOLDS: usize = 16;
/// The highest percentage of a limit that a threshold may be.
pub(super) const MAX_PERCENT: u32 = 1_000;

/// What a stored threshold is.
const PERCENT: u8 = 0;
const AMOUNT: u8 = 1;

/// A figure of a rule at which an alert fires: see [`Quota::alert_at`](crate::Quota::alert_at).
///
/// As data a percentage is a number and an amount an object: `[80, 100, {"amount": 5000}]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Threshold {
    /// So much of the limit, in percent: 1 to 1000.
    Percent(u32),
    /// This much, whatever the limit: more than 0.
    Amount(Amount),
}

impl Threshold {
    /// Makes one of a percentage of the limit: 1 to 1000. Above 100 it is reached where a rule lets
    /// use go over its limit, as a soft one does.
    #[must_use]
    pub fn percent(percent: u32) -> Self {
        Self::Percent(percent)
    }

    /// Makes one of an amount, whatever the limit is, for rules without one, too.
    #[must_use]
    pub fn amount(amount: impl Into<Amount>) -> Self {
        Self::Amount(amount.into())
    }

    /// The least use that reaches it, in counted units: of `amount` in units of its own, and of a
    /// limit in counted units.
    pub(crate) fn units(self, limit: Units, amount: impl FnOnce(Amount) -> Units) -> Units {
        let units = match self {
            Self::Percent(percent) => {
                let hundredfold = limit.saturating_mul(percent.into());
                let (whole, rest) = (hundredfold.div_euclid(100), hundredfold.rem_euclid(100));
                whole.saturating_add((rest > 0).into())
            }
            Self::Amount(exact) => amount(exact),
        };
        units.max(1)
    }
}

impl Codec<'_> for Threshold {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Percent(percent) => {
                out.push(PERCENT);
                put_varint(out, (*percent).into());
            }
            Self::Amount(amount) => {
                out.push(AMOUNT);
                put_wide(out, amount.millionths());
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::decode(from)? {
            PERCENT => Ok(Self::Percent(from.varint_u32()?)),
            AMOUNT => Ok(Self::Amount(Amount::from_millionths(from.wide()?))),
            _ => Err(from.malformed("a threshold")),
        }
    }
}

/// `80%`, or the amount.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Amount(amount) => amount.fmt(f),
        }
    }
}

/// A threshold that is not a plain number.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Named {
    Percent(u32),
    Amount(Amount),
}

impl From<Threshold> for Named {
    fn from(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Percent(percent) => Self::Percent(percent),
            Threshold::Amount(amount) => Self::Amount(amount),
        }
    }
}

impl From<Named> for Threshold {
    fn from(named: Named) -> Self {
        match named {
            Named::Percent(percent) => Self::Percent(percent),
            Named::Amount(amount) => Self::Amount(amount),
        }
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Percent(percent) if serializer.is_human_readable() => {
                percent.serialize(serializer)
            }
            threshold => Named::from(*threshold).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(ThresholdVisitor)
        } else {
            Named::deserialize(deserializer).map(Into::into)
        }
    }
}

struct ThresholdVisitor;

impl<'de> Visitor<'de> for ThresholdVisitor {
    type Value = Threshold;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole percentage, such as 80, or an amount, as {\"amount\": 5000}")
    }

    fn visit_u64<E: de::Error>(self, percent: u64) -> Result<Threshold, E> {
        u32::deserialize(U64Deserializer::new(percent)).map(Threshold::Percent)
    }

    fn visit_i64<E: de::Error>(self, percent: i64) -> Result<Threshold, E> {
        match u64::try_from(percent) {
            Ok(percent) => self.visit_u64(percent),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(percent), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Threshold, A::Error> {
        Named::deserialize(MapAccessDeserializer::new(map)).map(Into::into)
    }
}

/// Reads a list of thresholds, of which `null` is none.
pub(super) fn listed<'de, T: From<Vec<Threshold>>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let list = Option::<Vec<Threshold>>::deserialize(deserializer)?;
    Ok(T::from(list.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_reached_by_the_least_use_that_is_as_much() {
        let at = |percent, limit| Threshold::percent(percent).units(limit, |_| 0);
        assert_eq!((at(80, 100), at(80, 99), at(80, 101)), (80, 80, 81));
        assert_eq!((at(1, 1), at(100, 7), at(150, 7), at(50, 0)), (1, 7, 11, 1));
        assert!(at(1_000, i128::MAX) > 0);
        let exact = Threshold::amount(5).units(100, |amount| amount.millionths());
        assert_eq!(exact, 5_000_000);
    }

    #[test]
    fn thresholds_are_numbers_or_say_what_they_are() {
        let read = |text: &str| serde_json::from_str::<Threshold>(text);
        for (text, threshold) in
            [("80", Threshold::percent(80)), (r#"{"amount":5000}"#, Threshold::amount(5_000))]
        {
            assert_eq!(read(text).expect("a threshold"), threshold);
            assert_eq!(serde_json::to_string(&threshold).expect("a text"), text);
            let bytes = postcard::to_stdvec(&threshold).expect("bytes");
            assert_eq!(postcard::from_bytes::<Threshold>(&bytes), Ok(threshold));
        }
        assert_eq!(read(r#"{"percent": 80}"#).expect("a threshold"), Threshold::percent(80));
        for text in ["-1", "8.5", "99999999999", "null", r#"{"amount": 1, "percent": 2}"#, "{}"] {
            read(text).expect_err(text);
        }
    }
}
