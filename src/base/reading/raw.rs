//! Numbers as they are written, before a reader makes floats of them.
//!
//! `1e-400` is 0 as a float, `1e400` is none at all, and a float keeps 15 digits of a longer
//! number. `serde_json` hands over a value as its text where it is asked by a name of its own, that
//! of its `RawValue`. A reader of another format, and one of a `serde_json::Value`, which holds
//! floats already, hands over what it has.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Unexpected, Visitor,
};

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

/// The text of a value, where the map is one that stands for it. It is borrowed where the reader
/// has it as it stands.
pub(crate) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    match map.next_key_seed(IsRaw)? {
        Some(true) => map.next_value::<Text<'de>>().map(|text| Some(text.0)),
        _ => Ok(None),
    }
}

/// Tells the name of a value that is its text from any other.
struct IsRaw;

impl<'de> DeserializeSeed<'de> for IsRaw {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsRaw {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == RAW || name == NUMBER)
    }
}

/// A text, borrowed where the reader has it as it is.
pub(crate) struct Text<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text))
    }
}

/// A value by its text.
pub(crate) enum Token<'a> {
    Number(Cow<'a, str>),
    Text(String),
    Other(Unexpected<'static>),
}

impl<'a> Token<'a> {
    pub(crate) fn of(json: Cow<'a, str>) -> Self {
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
