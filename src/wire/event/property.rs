//! Reading the value of a property or an attachment, no deeper and no longer than one may be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::base::reading::raw::NUMBER;
use crate::event::PropertyValue;
use crate::event::bounds::JsonBudget;

/// Reads a value, taking its bytes from the budget of JSON.
pub(super) struct JsonSeed<'r> {
    budget: &'r mut JsonBudget,
    /// The rule that was broken, if one was.
    broken: &'r mut Option<&'static str>,
}

impl<'r> JsonSeed<'r> {
    pub(super) fn new(budget: &'r mut JsonBudget, broken: &'r mut Option<&'static str>) -> Self {
        Self { budget, broken }
    }
}

impl<'de> DeserializeSeed<'de> for JsonSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Json { budget: self.budget, broken: self.broken, depth: 0 }.deserialize(deserializer)
    }
}

/// Reads the value of a property, taking its bytes from the budget as [`JsonSeed`] does. A text is
/// borrowed where it stands as it is.
pub(super) struct PropertySeed<'r>(pub(super) JsonSeed<'r>);

impl<'de> DeserializeSeed<'de> for PropertySeed<'_> {
    type Value = PropertyValue<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let Self(JsonSeed { budget, broken }) = self;
        deserializer.deserialize_any(Property(Json { budget, broken, depth: 0 }))
    }
}

struct Property<'r>(Json<'r>);

impl<'de> Visitor<'de> for Property<'_> {
    type Value = PropertyValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_borrowed_str<E: Error>(mut self, text: &'de str) -> Result<Self::Value, E> {
        self.0.take(|budget| budget.text(text))?;
        Ok(text.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(mut self, text: String) -> Result<Self::Value, E> {
        self.0.take(|budget| budget.text(&text))?;
        Ok(text.into())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.0.visit_bool(value).map(Into::into)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.0.visit_i64(value).map(Into::into)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.0.visit_u64(value).map(Into::into)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.0.visit_f64(value).map(Into::into)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        self.0.visit_none().map(Into::into)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.0.visit_unit().map(Into::into)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, any: D) -> Result<Self::Value, D::Error> {
        any.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.0.visit_seq(items).map(Into::into)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        self.0.visit_map(entries).map(Into::into)
    }
}

/// A value that lies in `depth` lists and objects.
struct Json<'r> {
    budget: &'r mut JsonBudget,
    broken: &'r mut Option<&'static str>,
    depth: usize,
}

impl Json<'_> {
    fn take<E: Error>(
        &mut self,
        take: impl FnOnce(&mut JsonBudget) -> Result<(), &'static str>,
    ) -> Result<(), E> {
        take(self.budget).map_err(|rule| {
            *self.broken = Some(rule);
            E::custom(rule)
        })
    }

    fn scalar<E: Error>(mut self, value: Value) -> Result<Value, E> {
        let depth = self.depth;
        self.take(|budget| budget.json(&value, depth))?;
        Ok(value)
    }

    fn within(&mut self) -> Json<'_> {
        let depth = self.depth.saturating_add(1);
        Json { budget: &mut *self.budget, broken: &mut *self.broken, depth }
    }
}

impl<'de> DeserializeSeed<'de> for Json<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.scalar(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.scalar(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.scalar(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.scalar(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.scalar(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        self.scalar(text.into())
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.scalar(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        self.deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.depth;
        self.take(|budget| budget.open(depth))?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.within())? {
            let place = list.len();
            self.take(|budget| budget.comma(place))?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.depth;
        let mut object = Map::new();
        let mut place = 0;
        while let Some(key) = entries.next_key::<String>()? {
            if place == 0 {
                if key == NUMBER {
                    let number: Number = entries.next_value()?;
                    return self.scalar(Value::Number(number));
                }
                self.take(|budget| budget.open(depth))?;
            }
            self.take(|budget| budget.comma(place).and_then(|()| budget.key(&key)))?;
            object.insert(key, entries.next_value_seed(self.within())?);
            place = place.saturating_add(1);
        }
        if place == 0 {
            self.take(|budget| budget.open(depth))?;
        }
        Ok(Value::Object(object))
    }
}
