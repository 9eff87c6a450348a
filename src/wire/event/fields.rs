//! Reading the fields of an event.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::Draft;
use super::entries::{Attached, Dimensions, Entries, Properties, Values};
use super::number::{Cost, CostOfBody, PlainWhole, Whole};
use crate::base::reading::raw::Text;

/// Reads a name that is one of those that are known.
pub(super) struct OneOf(pub(super) &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for OneOf {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for OneOf {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'static str, E> {
        let known = self.0.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| E::unknown_field(name, self.0))
    }
}

/// What the fields of an event are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The body of a request.
    Body,
    /// A body whose whole numbers are plain digits; any other number is an error, which may be none
    /// in a body.
    PlainBody,
    /// A line of an export: null is as good as nothing, for every field.
    Line,
    /// The same of a line.
    PlainLine,
}

impl Form {
    fn is_line(self) -> bool {
        matches!(self, Self::Line | Self::PlainLine)
    }

    pub(super) fn names(self) -> &'static [&'static str] {
        if self.is_line() { LINE } else { BODY }
    }
}

/// A field of an event.
#[derive(Clone, Copy)]
enum Field {
    Id,
    CustomerId,
    EventType,
    Model,
    Provider,
    InputTokens,
    OutputTokens,
    TotalTokens,
    LatencyMs,
    CostCents,
    Properties,
    Attached,
    Dimensions,
    Values,
    IdempotencyKey,
    Timestamp,
    /// Another name of the timestamp.
    CreatedAt,
}

/// The fields of a line by name: those of a body, and what a recorded event has besides.
pub(super) const LINE: &[&str] = &[
    "id",
    "customerId",
    "eventType",
    "model",
    "provider",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "latencyMs",
    "costCents",
    "properties",
    "attached",
    "dimensions",
    "values",
    "idempotencyKey",
    "timestamp",
    "createdAt",
];

/// The fields of a body.
const BODY: &[&str] = match LINE {
    [_id, body @ .., _created_at] => body,
    _ => LINE,
};

impl Field {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "customerId" => Self::CustomerId,
            "eventType" => Self::EventType,
            "model" => Self::Model,
            "provider" => Self::Provider,
            "inputTokens" => Self::InputTokens,
            "outputTokens" => Self::OutputTokens,
            "totalTokens" => Self::TotalTokens,
            "latencyMs" => Self::LatencyMs,
            "costCents" => Self::CostCents,
            "properties" => Self::Properties,
            "attached" => Self::Attached,
            "dimensions" => Self::Dimensions,
            "values" => Self::Values,
            "idempotencyKey" => Self::IdempotencyKey,
            "timestamp" => Self::Timestamp,
            "createdAt" => Self::CreatedAt,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        LINE.get(self as usize).copied().unwrap_or_default()
    }
}

/// Reads the name of a field of a form.
struct FieldOf(Form);

impl<'de> DeserializeSeed<'de> for FieldOf {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldOf {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
        let is_known =
            |field: &Field| self.0.is_line() || !matches!(field, Field::Id | Field::CreatedAt);
        let known = Field::of(name).filter(is_known);
        known.ok_or_else(|| E::unknown_field(name, self.0.names()))
    }
}

/// Reads the fields of an event to where they stay. Texts are borrowed where they stand as they
/// are.
pub(super) struct Fields<'d, 'a> {
    pub(super) draft: &'d mut Draft<'a>,
    pub(super) form: Form,
}

impl<'de> DeserializeSeed<'de> for Fields<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_struct("Event", self.form.names(), self)
    }
}

impl<'de> Visitor<'de> for Fields<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Fields { draft, form } = self;
        let mut seen = 0_u32;
        while let Some(name) = map.next_key_seed(FieldOf(form))? {
            // In a line they are two names of one field.
            let field = match name {
                Field::Timestamp if form.is_line() => Field::CreatedAt,
                name => name,
            };
            let bit = 1_u32.wrapping_shl(field as u32);
            if seen & bit != 0 {
                return Err(Error::duplicate_field(field.name()));
            }
            seen |= bit;
            form.read(field, draft, &mut map)?;
        }
        Ok(())
    }
}

impl Form {
    fn read<'de, A: MapAccess<'de>>(
        self,
        field: Field,
        draft: &mut Draft<'de>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let event = &mut draft.event;
        match field {
            Field::Id => draft.id = text(map)?,
            Field::CustomerId => draft.customer_id = self.needed(map)?,
            Field::EventType => draft.event_type = self.needed(map)?,
            Field::Model => event.model = text(map)?,
            Field::Provider => event.provider = text(map)?,
            Field::InputTokens => event.input_tokens = self.whole(map)?,
            Field::OutputTokens => event.output_tokens = self.whole(map)?,
            Field::TotalTokens => event.total_tokens = self.whole(map)?,
            Field::LatencyMs => event.latency_ms = self.whole(map)?,
            Field::CostCents if self.is_line() => {
                event.cost_cents = map.next_value::<Option<Cost>>()?.map(|cost| cost.0);
            }
            Field::CostCents => {
                event.cost_cents = map.next_value::<Option<CostOfBody>>()?.map(|cost| cost.0);
            }
            Field::Properties => self.entries(map, Properties(event))?,
            Field::Attached => self.entries(map, Attached(event))?,
            Field::Dimensions => self.entries(map, Dimensions(&mut draft.dimensions))?,
            Field::Values => self.entries(map, Values(event))?,
            Field::IdempotencyKey => event.idempotency_key = text(map)?,
            Field::Timestamp | Field::CreatedAt => event.timestamp = map.next_value()?,
        }
        Ok(())
    }

    /// A text that a body must have.
    fn needed<'de, A: MapAccess<'de>>(
        self,
        map: &mut A,
    ) -> Result<Option<Cow<'de, str>>, A::Error> {
        if self.is_line() { text(map) } else { map.next_value::<Text<'de>>().map(|it| Some(it.0)) }
    }

    fn whole<'de, A: MapAccess<'de>>(self, map: &mut A) -> Result<Option<u64>, A::Error> {
        if matches!(self, Self::PlainBody | Self::PlainLine) {
            return Ok(map.next_value::<Option<PlainWhole>>()?.map(|number| number.0));
        }
        Ok(map.next_value::<Option<Whole>>()?.map(|number| number.0))
    }

    /// The entries of a field that is an object.
    fn entries<'de, A: MapAccess<'de>, V: Visitor<'de, Value = ()>>(
        self,
        map: &mut A,
        visitor: V,
    ) -> Result<(), A::Error> {
        map.next_value_seed(Entries { visitor, or_null: self.is_line() })
    }
}

/// A text, or nothing.
fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Option<Text<'de>>>()?.map(|text| text.0))
}
