//! Numbers as they are written, before a reader makes floats of them.
//!
//! `1e-400` is 0 as a float, `1e400` is none at all, and a float keeps 15 digits of a longer
//! number. `serde_json` hands over a value as its text where it is asked by a name of its own, that
//! of its `RawValue`. A reader of another format, and one of a `serde_json::Value`, which holds
//! floats already, hands over what it has.

use serde::de::{Deserializer, MapAccess, Unexpected, Visitor};

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
