//! An amount as plain data: what serde reads and prints.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{Amount, from_wide};
use crate::base::reading::raw::{self, Token};

/// How many significant decimal digits any `f64` carries unharmed, also through the quick float
/// readers of many JSON libraries.
const FLOAT_DIGITS: usize = 15;

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i128(self.0);
        }
        if let Some(units) = self.whole_units() {
            return match i64::try_from(units) {
                Ok(units) => serializer.serialize_i64(units),
                Err(_) => serializer.serialize_u64(units),
            };
        }
        if let Some(whole) = self.whole() {
            return match i64::try_from(whole) {
                Ok(units) => serializer.serialize_i64(units),
                Err(_) => serializer.collect_str(self),
            };
        }
        let text = self.to_string();
        // A leading zero is counted too: such a number has seven digits at most.
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        match text.parse::<f64>() {
            Ok(value) if digits <= FLOAT_DIGITS => serializer.serialize_f64(value),
            _ => serializer.serialize_str(&text),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i128::deserialize(deserializer).map(Self);
        }
        raw::visit(deserializer, AmountVisitor)
    }
}

struct AmountVisitor;

impl<'de> Visitor<'de> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a string with a decimal number, of at most six decimal places")
    }

    fn visit_i64<E: de::Error>(self, units: i64) -> Result<Amount, E> {
        Ok(Amount::from(units))
    }

    fn visit_u64<E: de::Error>(self, units: u64) -> Result<Amount, E> {
        Ok(Amount::from(units))
    }

    fn visit_i128<E: de::Error>(self, units: i128) -> Result<Amount, E> {
        from_wide(units).map_err(E::custom)
    }

    fn visit_u128<E: de::Error>(self, units: u128) -> Result<Amount, E> {
        from_wide(units).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Amount, E> {
        Amount::try_from(value).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amount, A::Error> {
        match raw::text(&mut map)?.map(Token::of) {
            Some(Token::Number(text)) => self.visit_str(&text),
            Some(Token::Text(text)) => self.visit_str(&text),
            Some(Token::Other(found)) => Err(de::Error::invalid_type(found, &self)),
            None => Err(de::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, any: D) -> Result<Amount, D::Error> {
        any.deserialize_any(self)
    }
}
