//! An event as the log keeps it: packed, and unpacked when it is asked for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::EventId;
use crate::amount::Amount;
use crate::clock::Timestamp;
use crate::event::{Event, Fields, PropertyValue};

/// An event of the log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// Its name.
    pub id: EventId,
    /// When it happened: its own timestamp, or the time at which it was recorded.
    pub timestamp: Timestamp,
    /// The event; its idempotency key is not kept here.
    pub event: Event<'static>,
}

/// The packed form. Strings are borrowed both ways, so packing allocates nothing.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored<'a> {
    timestamp: (i64, u32),
    #[serde(borrow)]
    texts: (&'a str, &'a str, Option<&'a str>, Option<&'a str>),
    numbers: [Option<u64>; 5],
    #[serde(borrow)]
    properties: Vec3<(&'a str, StoredValue<'a>)>,
    #[serde(borrow)]
    values: Vec3<(&'a str, i128)>,
}

type Vec3<T> = smallvec::SmallVec<[T; 3]>;

#[derive(Serialize, Deserialize)]
enum StoredValue<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Json(String),
}

impl<'a> Stored<'a> {
    pub(super) fn of(event: &'a Event<'_>, timestamp: Timestamp) -> Self {
        let fields = event.fields();
        let value = |value: &'a PropertyValue<'_>| match value {
            PropertyValue::Text(text) => StoredValue::Text(Cow::Borrowed(text)),
            PropertyValue::Json(json) => StoredValue::Json(json.to_string()),
        };
        Self {
            timestamp: (timestamp.unix_seconds(), timestamp.subsec_nanos()),
            texts: fields.texts,
            numbers: fields.numbers,
            properties: fields.properties.iter().map(|(key, v)| (&**key, value(v))).collect(),
            values: fields.values.iter().map(|(name, v)| (&**name, v.millionths())).collect(),
        }
    }

    pub(super) fn unpack(self, id: EventId) -> RecordedEvent {
        let (seconds, nanos) = self.timestamp;
        let own = |text: &str| Cow::Owned(text.to_owned());
        let value = |value| match value {
            StoredValue::Text(text) => PropertyValue::Text(own(&text)),
            StoredValue::Json(json) => serde_json::from_str::<serde_json::Value>(&json)
                .map_or_else(|_| PropertyValue::Text(Cow::Owned(json.clone())), Into::into),
        };
        let properties: Vec<_> =
            self.properties.into_iter().map(|(key, v)| (own(key), value(v))).collect();
        let values: Vec<_> = self
            .values
            .into_iter()
            .map(|(name, millionths)| (own(name), Amount::from_millionths(millionths)))
            .collect();
        let event = Event::from_fields(&Fields {
            texts: self.texts,
            numbers: self.numbers,
            properties: &properties,
            values: &values,
        });
        RecordedEvent { id, timestamp: Timestamp::new(seconds, nanos), event }
    }
}
