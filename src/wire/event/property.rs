//! Reading the value of a property or an attachment, no deeper and no longer than one may be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::base::reading::raw::NUMBER;
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
