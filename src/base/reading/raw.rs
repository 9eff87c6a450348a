//! Numbers as they are written, before a reader makes floats of them.
//!
//! `1e-400` is 0 as a float, `1e400` is none at all, and a float keeps 15 digits of a longer
//! number. `serde_json` hands over a value as its text where it is asked by a name of its own, that
//! of its `RawValue`. A reader of another format, and one of a `serde_json::Value`, which holds
//! floats already, hands over what it has.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

use crate::event::bounds::{MAX_UNITS, WHOLE_RULE};

/// The name of `serde_json`'s `RawValue`.
const RAW: &str = "$serde_json::private::RawValue";
/// The key under which `serde_json` hands over the text of a number, unasked, once some crate of
/// the build has turned its feature `arbitrary_precision` on.
pub(crate) const NUMBER: &str = "$serde_json::private::Number";

/// Has a value visited: its text by [`visit_map`], or what the reader makes of it.
///
/// The visitor's `visit_newtype_struct` must ask its reader for any value.
pub(crate) fn visit<'de, V: Visitor<'de>, D: Deserializer<'de>>(
    deserializer: D,
    visitor: V,
) -> Result<V::Value, D::Error> {
    deserializer.deserialize_newtype_struct(RAW, visitor)
}

/// The text of a value, where the map is one that stands for it.
pub(crate) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<String>, A::Error> {
    let key = map.next_key::<String>()?;
    match key.as_deref() {
        Some(RAW | NUMBER) => map.next_value().map(Some),
        _ => Ok(None),
    }
}

/// A value by its text.
pub(crate) enum Token {
    Number(String),
    Text(String),
    Other(Unexpected<'static>),
}

impl Token {
    pub(crate) fn of(json: String) -> Self {
        match json.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Self::Number(json),
            Some(b'"') => match serde_json::from_str(&json) {
                Ok(text) => Self::Text(text),
                Err(_) => Self::Other(Unexpected::Other("a text")),
            },
            Some(b'[') => Self::Other(Unexpected::Seq),
            Some(b't') => Self::Other(Unexpected::Bool(true)),
            Some(b'f') => Self::Other(Unexpected::Bool(false)),
            Some(b'n') => Self::Other(Unexpected::Unit),
            _ => Self::Other(Unexpected::Map),
        }
    }
}

/// A whole number from 0 to 10^15.
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        visit(deserializer, WholeVisitor)
    }
}

struct WholeVisitor;

impl WholeVisitor {
    fn refuse<E: de::Error>(shown: impl fmt::Display) -> E {
        E::invalid_value(Unexpected::Other(&shown.to_string()), &Self)
    }
}

impl<'de> Visitor<'de> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WHOLE_RULE.trim_start_matches("must be "))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
        if number <= MAX_UNITS { Ok(Whole(number)) } else { Err(Self::refuse(number)) }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
        u64::try_from(number).map_or_else(|_| Err(Self::refuse(number)), |of| self.visit_u64(of))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Whole, A::Error> {
        let Some(json) = text(&mut map)? else {
            return Err(de::Error::invalid_type(Unexpected::Map, &self));
        };
        match Token::of(json) {
            Token::Number(number) => match number.parse() {
                Ok(units) => self.visit_u64(units),
                Err(_) => Err(Self::refuse(crate::error::excerpt(&number))),
            },
            Token::Text(text) => Err(de::Error::invalid_type(Unexpected::Str(&text), &self)),
            Token::Other(found) => Err(de::Error::invalid_type(found, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, any: D) -> Result<Whole, D::Error> {
        any.deserialize_any(self)
    }
}
