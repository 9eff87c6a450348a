//! Reading the fields of an event.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::Draft;
use super::entries::{Attached, Dimensions, Entries, Properties, Values};
use super::number::{Cost, CostOfBody, Whole};
use crate::event::Event;

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

/// Reads the fields of an event.
pub(super) struct Form<'a> {
    fields: &'static [&'static str],
    /// In a line null is as good as nothing, for every field.
    is_line: bool,
    event: PhantomData<fn() -> Event<'a>>,
}

impl<'de, 'a> Visitor<'de> for Form<'a> {
    type Value = Draft<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft<'a>, A::Error> {
        let mut draft = Draft {
            event: Event::new("", ""),
            id: None,
            customer_id: None,
            event_type: None,
            dimensions: Vec::new(),
        };
        let mut seen = Vec::with_capacity(self.fields.len());
        while let Some(name) = map.next_key_seed(OneOf(self.fields))? {
            // They are two names of one field.
            let field = if self.is_line && name == "timestamp" { "createdAt" } else { name };
            if seen.contains(&field) {
                return Err(Error::duplicate_field(field));
            }
            seen.push(field);
            self.field(field, &mut draft, &mut map)?;
        }
        Ok(draft)
    }
}

impl<'a> Form<'a> {
    pub(super) fn new(fields: &'static [&'static str], is_line: bool) -> Self {
        Self { fields, is_line, event: PhantomData }
    }

    fn field<'de, A: MapAccess<'de>>(
        &self,
        field: &str,
        draft: &mut Draft<'a>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let event = &mut draft.event;
        let whole = |number: Option<Whole>| number.map(|number| number.0);
        match field {
            "id" => draft.id = map.next_value()?,
            "customerId" => draft.customer_id = self.needed(map)?,
            "eventType" => draft.event_type = self.needed(map)?,
            "model" => event.model = map.next_value::<Option<String>>()?.map(Cow::Owned),
            "provider" => event.provider = map.next_value::<Option<String>>()?.map(Cow::Owned),
            "inputTokens" => event.input_tokens = whole(map.next_value()?),
            "outputTokens" => event.output_tokens = whole(map.next_value()?),
            "totalTokens" => event.total_tokens = whole(map.next_value()?),
            "latencyMs" => event.latency_ms = whole(map.next_value()?),
            "costCents" if self.is_line => {
                event.cost_cents = map.next_value::<Option<Cost>>()?.map(|cost| cost.0);
            }
            "costCents" => {
                event.cost_cents = map.next_value::<Option<CostOfBody>>()?.map(|cost| cost.0);
            }
            "idempotencyKey" => {
                event.idempotency_key = map.next_value::<Option<String>>()?.map(Cow::Owned);
            }
            "properties" => self.entries(map, Properties(event))?,
            "attached" => self.entries(map, Attached(event))?,
            "dimensions" => self.entries(map, Dimensions(&mut draft.dimensions))?,
            "values" => self.entries(map, Values(event))?,
            _ => event.timestamp = map.next_value()?,
        }
        Ok(())
    }

    /// A text that a body must have.
    fn needed<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<Option<String>, A::Error> {
        if self.is_line { map.next_value() } else { map.next_value().map(Some) }
    }

    /// The entries of a field that is an object.
    fn entries<'de, A: MapAccess<'de>, V: Visitor<'de, Value = ()>>(
        &self,
        map: &mut A,
        visitor: V,
    ) -> Result<(), A::Error> {
        map.next_value_seed(Entries { visitor, or_null: self.is_line })
    }
}
