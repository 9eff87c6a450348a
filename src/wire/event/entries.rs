//! Reading the entries of an event's objects: properties, dimensions and values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::number::of_value;
use super::property::{JsonSeed, PropertySeed};
use crate::base::amount::Amount;
use crate::base::reading::raw::Text;
use crate::base::text::excerpt;
use crate::event::bounds::{self, JsonBudget, MAX_PROPERTIES};
use crate::event::{Event, check_amount};

/// Reads an object, or null where that is as good as none.
pub(super) struct Entries<V> {
    pub(super) visitor: V,
    pub(super) or_null: bool,
}

impl<'de, V: Visitor<'de, Value = ()>> DeserializeSeed<'de> for Entries<V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.or_null {
            deserializer.deserialize_option(self)
        } else {
            deserializer.deserialize_map(self.visitor)
        }
    }
}

impl<'de, V: Visitor<'de, Value = ()>> Visitor<'de> for Entries<V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.visitor)
    }
}

/// What is said of an entry that breaks a rule: its key is its value.
fn broken<E: Error>(key: &str, rule: &str) -> E {
    E::custom(format_args!("{:?} {rule}", excerpt(key)))
}

pub(super) struct Properties<'e, 'a>(pub(super) &'e mut Event<'a>);

impl<'de> Visitor<'de> for Properties<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut budget = JsonBudget::of_properties();
        let mut place = 0_usize;
        while let Some(Text(key)) = map.next_key()? {
            let known = self.0.properties.iter().position(|(known, _)| *known == key);
            let fits = known.is_some() || self.0.properties.len() < MAX_PROPERTIES;
            let taken = if fits { Ok(()) } else { Err(bounds::PROPERTIES_RULE) };
            let taken = taken.and_then(|()| budget.comma(place)).and_then(|()| budget.key(&key));
            taken.map_err(|rule| broken(&key, rule))?;
            let mut rule = None;
            let seed = PropertySeed(JsonSeed::new(&mut budget, &mut rule));
            let value = map.next_value_seed(seed).map_err(|why| at_key(&key, rule, why))?;
            match known.and_then(|known| self.0.properties.get_mut(known)) {
                Some((_, known)) => *known = value,
                None => self.0.properties.push((key, value)),
            }
            place = place.saturating_add(1);
        }
        Ok(())
    }
}

/// The value of an entry, within a budget.
fn json<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: &str,
    budget: &mut JsonBudget,
) -> Result<Value, A::Error> {
    let mut rule = None;
    let value = map.next_value_seed(JsonSeed::new(budget, &mut rule));
    value.map_err(|why| at_key(key, rule, why))
}

/// What is told of a value deep within names a path that nobody wants to read.
fn at_key<E: Error>(key: &str, rule: Option<&'static str>, why: E) -> E {
    rule.map_or(why, |rule| broken(key, rule))
}

pub(super) struct Attached<'e, 'a>(pub(super) &'e mut Event<'a>);

impl<'de> Visitor<'de> for Attached<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut budget = JsonBudget::of_properties();
        let mut attached = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let place = attached.len();
            let fits = place < MAX_PROPERTIES || attached.contains_key(&key);
            let taken = if fits { Ok(()) } else { Err(bounds::ATTACHED_RULE) };
            let taken = taken.and_then(|()| budget.comma(place)).and_then(|()| budget.key(&key));
            taken.map_err(|rule| broken(&key, rule))?;
            let value = json(&mut map, &key, &mut budget)?;
            attached.insert(key, value);
        }
        self.0.set_attached(attached);
        Ok(())
    }
}

pub(super) struct Dimensions<'e, 'a>(pub(super) &'e mut Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Visitor<'de> for Dimensions<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // The model and the provider may be among them.
        let most = MAX_PROPERTIES.saturating_add(2);
        while let Some(Text(key)) = map.next_key()? {
            let known = self.0.iter().position(|(known, _)| *known == key);
            if known.is_none() && self.0.len() >= most {
                return Err(broken(&key, bounds::PROPERTIES_RULE));
            }
            let Text(value) = map.next_value()?;
            match known.and_then(|known| self.0.get_mut(known)) {
                Some((_, known)) => *known = value,
                None => self.0.push((key, value)),
            }
        }
        Ok(())
    }
}

pub(super) struct Values<'e, 'a>(pub(super) &'e mut Event<'a>);

impl<'de> Visitor<'de> for Values<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            if !self.0.has_room_for(&name) {
                return Err(broken(&name, bounds::VALUES_RULE));
            }
            map.next_value_seed(Named { event: &mut *self.0, name })?;
        }
        Ok(())
    }
}

/// The value of a name.
struct Named<'e, 'a> {
    event: &'e mut Event<'a>,
    name: Cow<'a, str>,
}

impl<'de> DeserializeSeed<'de> for Named<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let amount = Amount::deserialize(deserializer)?;
        let set = check_amount(&self.name, amount).and_then(|()| {
            self.event.set_value(self.name, amount);
            self.event.take_problem().map_or(Ok(()), Err)
        });
        set.map_err(of_value)
    }
}
