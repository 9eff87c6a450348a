//! Between a format's reader and a type that is read: knows the path, and names what is wrong.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::{Path, Problem};

/// A format's reader at a path.
pub(super) struct AtPath<'p, D> {
    inner: D,
    path: &'p Path<'p>,
    /// Where the text that is read is kept, where it is the key of a map.
    key: Option<&'p mut String>,
}

impl<'p, D> AtPath<'p, D> {
    pub(super) fn new(inner: D, path: &'p Path<'p>) -> Self {
        Self { inner, path, key: None }
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(
            self,
            $($name: $type,)*
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            let path = self.path;
            let visitor = VisitorAtPath { visitor, path, key: self.key, by_names: false };
            let read = self.inner.$method($($name,)* visitor);
            read.map_err(|error| Problem::of_reader(error, path))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AtPath<'_, D> {
    type Error = Problem<D::Error>;

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    /// What serde derives takes a list for fields in their order, which no user means.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let (path, by_names) = (self.path, self.inner.is_human_readable());
        let visitor = VisitorAtPath { visitor, path, key: self.key, by_names };
        let read = self.inner.deserialize_struct(name, fields, visitor);
        read.map_err(|error| Problem::of_reader(error, path))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

struct VisitorAtPath<'p, V> {
    visitor: V,
    path: &'p Path<'p>,
    key: Option<&'p mut String>,
    /// Fields have their names: a list of them is none.
    by_names: bool,
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            let path = self.path;
            self.visitor.$method(value).map_err(|problem: Problem<E>| problem.at(path))
        }
    )*};
}

macro_rules! visit_text {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: Error>(self, text: $type) -> Result<V::Value, E> {
            if let Some(key) = self.key {
                key.push_str(text);
            }
            let visited = self.visitor.$method(text);
            visited.map_err(|problem: Problem<E>| problem.of(text).at(self.path))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for VisitorAtPath<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    visit_text! {
        visit_str(&str);
        visit_borrowed_str(&'de str);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        let path = self.path;
        self.visitor.visit_none().map_err(|problem: Problem<E>| problem.at(path))
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        let path = self.path;
        self.visitor.visit_unit().map_err(|problem: Problem<E>| problem.at(path))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let path = self.path;
        self.visitor.visit_some(AtPath::new(inner, path)).map_err(|problem| problem.at(path))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let path = self.path;
        let visited = self.visitor.visit_newtype_struct(AtPath::new(inner, path));
        visited.map_err(|problem| problem.at(path))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let path = self.path;
        if self.by_names {
            let no_list = Problem::<A::Error>::invalid_type(Unexpected::Seq, &self.visitor);
            return Err(no_list.at(path));
        }
        let items = SeqAtPath { inner, path, index: 0 };
        self.visitor.visit_seq(items).map_err(|problem| problem.at(path))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let path = self.path;
        let entries = MapAtPath { inner, path, key: String::new() };
        self.visitor.visit_map(entries).map_err(|problem| problem.at(path))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let path = self.path;
        self.visitor.visit_enum(EnumAtPath { inner, path }).map_err(|problem| problem.at(path))
    }
}

/// A seed whose value stands at a path.
struct SeedAtPath<'p, S> {
    seed: S,
    path: &'p Path<'p>,
    key: Option<&'p mut String>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for SeedAtPath<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let path = self.path;
        let at_path = AtPath { inner, path, key: self.key };
        self.seed.deserialize(at_path).map_err(|problem| problem.at(path))
    }
}

struct SeqAtPath<'p, A> {
    inner: A,
    path: &'p Path<'p>,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for SeqAtPath<'_, A> {
    type Error = Problem<A::Error>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        let path = Path::Index(self.path, self.index);
        self.index = self.index.saturating_add(1);
        let item = SeedAtPath { seed, path: &path, key: None };
        self.inner.next_element_seed(item).map_err(Problem::Located)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct MapAtPath<'p, A> {
    inner: A,
    path: &'p Path<'p>,
    key: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for MapAtPath<'_, A> {
    type Error = Problem<A::Error>;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        self.key.clear();
        let key = SeedAtPath { seed, path: self.path, key: Some(&mut self.key) };
        self.inner.next_key_seed(key).map_err(Problem::Located)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let path = Path::Key(self.path, &self.key);
        let value = SeedAtPath { seed, path: &path, key: None };
        self.inner.next_value_seed(value).map_err(Problem::Located)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct EnumAtPath<'p, A> {
    inner: A,
    path: &'p Path<'p>,
}

impl<'de, 'p, A: EnumAccess<'de>> EnumAccess<'de> for EnumAtPath<'p, A> {
    type Error = Problem<A::Error>;
    type Variant = VariantAtPath<'p, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Self::Error> {
        let path = self.path;
        let name = SeedAtPath { seed, path, key: None };
        let (value, inner) = self.inner.variant_seed(name).map_err(Problem::Located)?;
        Ok((value, VariantAtPath { inner, path }))
    }
}

struct VariantAtPath<'p, A> {
    inner: A,
    path: &'p Path<'p>,
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for VariantAtPath<'_, A> {
    type Error = Problem<A::Error>;

    fn unit_variant(self) -> Result<(), Self::Error> {
        self.inner.unit_variant().map_err(Problem::Located)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let value = SeedAtPath { seed, path: self.path, key: None };
        self.inner.newtype_variant_seed(value).map_err(Problem::Located)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = VisitorAtPath { visitor, path: self.path, key: None, by_names: false };
        self.inner.tuple_variant(len, visitor).map_err(Problem::Located)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let visitor = VisitorAtPath { visitor, path: self.path, key: None, by_names: false };
        self.inner.struct_variant(fields, visitor).map_err(Problem::Located)
    }
}
