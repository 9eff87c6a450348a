//! Reading what providers send: a field of another type than is documented stands for itself, so
//! that the error can name it; one that is null or missing is not there.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::super::decimal::Decimal;
use super::UsageError;
use crate::Amount;

/// How many items of a list are read, such as choices or modalities.
const MAX_ITEMS: usize = 256;
/// How deep usage lies in what else has its shape: `response.usage`.
const MAX_DEPTH: u8 = 4;
/// The longest name of a model or tier that is kept, in bytes: longer ones are in no event.
const MAX_TEXT: usize = 256;
/// How much of a value an error shows, in characters.
const SHOWN: usize = 48;
/// The key under which `serde_json` hands over the text of a number, once some crate of the build
/// has turned its feature `arbitrary_precision` on.
const NUMBER: &str = "$serde_json::private::Number";

/// Reads a body.
pub(super) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, UsageError> {
    let wrong = |why: &dyn fmt::Display| UsageError::Json { reason: why.to_string().into() };
    // Once for all of it: of bytes each text would be looked at again.
    let text = std::str::from_utf8(json).map_err(|why| wrong(&why))?;
    serde_json::from_str(text).map_err(|why| wrong(&why))
}

/// What is known so far, to which a later chunk adds: of each field the newest that is there.
pub(super) trait Fold {
    fn fold(&mut self, newer: Self);
}

impl<T: Fold> Fold for Option<T> {
    fn fold(&mut self, newer: Self) {
        match (self.as_mut(), newer) {
            (Some(own), Some(newer)) => own.fold(newer),
            (None, newer) => *self = newer,
            (Some(_), None) => {}
        }
    }
}

/// An object of the same shape within one.
#[derive(Clone, Debug)]
pub(super) struct Nested<T>(pub(super) Box<T>);

impl<T: Fold> Fold for Nested<T> {
    fn fold(&mut self, newer: Self) {
        self.0.fold(*newer.0);
    }
}

thread_local! {
    /// How many nested objects are being read.
    static DEPTH: Cell<u8> = const { Cell::new(0) };
}

/// A nested object that is being read.
struct Level;

impl Level {
    /// Reading takes stack: no provider nests them deeper.
    fn enter<E: de::Error>() -> Result<Self, E> {
        let depth = DEPTH.get();
        if depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("usage: must be at most {MAX_DEPTH} objects deep")));
        }
        DEPTH.set(depth.saturating_add(1));
        Ok(Self)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _level = Level::enter()?;
        Box::<T>::deserialize(deserializer).map(Self)
    }
}

/// Defines what is read of an object, each field of which may be missing, and its [`Fold`]; `own`
/// fields are none of the object's. A derived reader would keep an `Option` of each field beside a
/// default of each: these are written where they stay.
macro_rules! fields {
    (
        #[expecting = $expecting:literal]
        $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }
        $(own { $own:ident: $own_type:ty, })?
    ) => {
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
            $(pub(super) $own: $own_type,)?
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(field_identifier)]
                #[allow(non_camel_case_types, reason = "the fields as they are called")]
                enum Key {
                    $($(#[$attribute])* $field,)*
                    #[serde(other)]
                    Other,
                }

                #[derive(Default)]
                struct Seen {
                    $($field: bool,)*
                }

                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut entries: A,
                    ) -> Result<$name, A::Error> {
                        let (mut read, mut seen) = ($name::default(), Seen::default());
                        while let Some(key) = entries.next_key::<Key>()? {
                            match key {
                                $(Key::$field => {
                                    if std::mem::replace(&mut seen.$field, true) {
                                        let field = stringify!($field);
                                        return Err(serde::de::Error::duplicate_field(field));
                                    }
                                    read.$field = entries.next_value()?;
                                })*
                                Key::Other => {
                                    entries.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(read)
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }

        impl $crate::llm::usage::read::Fold for $name {
            fn fold(&mut self, newer: Self) {
                $(self.$field.fold(newer.$field);)*
                $(self.$own.fold(newer.$own);)?
            }
        }
    };
}
pub(super) use fields;

/// A number of tokens, or of other units.
#[derive(Clone, Debug, Default)]
pub(super) enum Count {
    #[default]
    Missing,
    Of(u64),
    /// What is there is none, as text.
    Bad(Box<str>),
}

impl Count {
    /// The number, where it is there.
    pub(super) fn get(&self, field: &'static str) -> Result<Option<u64>, UsageError> {
        match self {
            Self::Missing => Ok(None),
            Self::Of(number) => Ok(Some(*number)),
            Self::Bad(value) => Err(UsageError::Count { field, value: value.clone() }),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Missing)
    }

    /// This one, or another where this one is missing.
    pub(super) fn or<'c>(&'c self, other: &'c Self) -> &'c Self {
        if self.is_there() { self } else { other }
    }

    fn of_text(text: &str) -> Self {
        match text.parse() {
            Ok(number) => Self::Of(number),
            // `43.0` is whole: a float is shown without a fraction where it has none.
            Err(_) => text.parse::<f64>().map_or_else(|_| Self::bad(text), Self::of_float),
        }
    }

    fn of_float(value: f64) -> Self {
        let text = value.to_string();
        text.parse().map_or_else(|_| Self::bad(&text), Self::Of)
    }

    fn bad(value: &str) -> Self {
        Self::Bad(value.chars().take(SHOWN).collect::<String>().into())
    }
}

impl Fold for Count {
    fn fold(&mut self, newer: Self) {
        if newer.is_there() {
            *self = newer;
        }
    }
}

/// What becomes of any value of JSON: never an error.
trait Any: Sized + Default {
    fn whole(value: u64) -> Self;
    fn float(value: f64) -> Self;
    fn text(value: &str) -> Self;
    fn number(value: &str) -> Self;
    fn other(value: &'static str) -> Self;
}

struct AnyVisitor<T>(PhantomData<T>);

fn any<'de, T: Any, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(AnyVisitor(PhantomData))
}

impl<'de, T: Any> Visitor<'de> for AnyVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::number(&value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<T, E> {
        Ok(T::float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::text(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<T, E> {
        Ok(T::other(if value { "true" } else { "false" }))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<T, A::Error> {
        let mut read = T::other("an object");
        while let Some(key) = entries.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == NUMBER {
                read = T::number(&entries.next_value::<String>()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(read)
    }
}

impl Any for Count {
    fn whole(value: u64) -> Self {
        Self::Of(value)
    }

    fn float(value: f64) -> Self {
        Self::of_float(value)
    }

    fn text(value: &str) -> Self {
        Self::bad(&format!("{:?}", value.chars().take(SHOWN).collect::<String>()))
    }

    fn number(value: &str) -> Self {
        Self::of_text(value)
    }

    fn other(value: &'static str) -> Self {
        Self::bad(value)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any(deserializer)
    }
}

/// A short text, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(pub(super) Option<Box<str>>);

impl Text {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Fold for Text {
    fn fold(&mut self, newer: Self) {
        if newer.0.is_some() {
            *self = newer;
        }
    }
}

impl Any for Text {
    fn whole(_: u64) -> Self {
        Self(None)
    }

    fn float(_: f64) -> Self {
        Self(None)
    }

    fn text(value: &str) -> Self {
        let fits = !value.is_empty() && value.len() <= MAX_TEXT;
        Self((fits && !value.contains(char::is_control)).then(|| value.into()))
    }

    fn number(_: &str) -> Self {
        Self(None)
    }

    fn other(_: &'static str) -> Self {
        Self(None)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any(deserializer)
    }
}

/// Whether there is anything but null and false.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence(pub(super) bool);

impl Fold for Presence {
    fn fold(&mut self, newer: Self) {
        self.0 |= newer.0;
    }
}

impl Any for Presence {
    fn whole(_: u64) -> Self {
        Self(true)
    }

    fn float(_: f64) -> Self {
        Self(true)
    }

    fn text(_: &str) -> Self {
        Self(true)
    }

    fn number(_: &str) -> Self {
        Self(true)
    }

    fn other(value: &'static str) -> Self {
        Self(value != "false")
    }
}

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any(deserializer)
    }
}

/// What a provider says that a call cost, in dollars.
#[derive(Clone, Debug, Default)]
pub(in crate::llm) enum Dollars {
    #[default]
    Missing,
    Of(Decimal),
    Bad(Box<str>),
}

impl Dollars {
    /// The cost in cents, rounded up at a millionth.
    pub(super) fn cents(&self, field: &'static str) -> Result<Option<Amount>, UsageError> {
        let bad = |value: &str| UsageError::Cost { field, value: value.into() };
        match self {
            Self::Missing => Ok(None),
            Self::Of(dollars) => match cents(*dollars) {
                Some(cents) => Ok(Some(cents)),
                None => Err(bad("a number beyond any cost")),
            },
            Self::Bad(value) => Err(bad(value)),
        }
    }
}

/// Dollars as cents, rounded up at a millionth.
pub(super) fn cents(dollars: Decimal) -> Option<Amount> {
    // A cent has two digits of a dollar, an amount six more.
    let (millionths, _) = dollars.scaled(8)?;
    i128::try_from(millionths).ok().map(Amount::from_millionths)
}

impl Fold for Dollars {
    fn fold(&mut self, newer: Self) {
        if !matches!(newer, Self::Missing) {
            *self = newer;
        }
    }
}

impl Any for Dollars {
    fn whole(value: u64) -> Self {
        Self::Of(Decimal::whole(value))
    }

    fn float(value: f64) -> Self {
        Decimal::of_float(value).map_or_else(|| Self::other("below 0"), Self::Of)
    }

    fn text(value: &str) -> Self {
        Self::number(value)
    }

    fn number(value: &str) -> Self {
        let shown = || Self::Bad(value.chars().take(SHOWN).collect::<String>().into());
        Decimal::parse(value).map_or_else(shown, Self::Of)
    }

    fn other(value: &'static str) -> Self {
        Self::Bad(value.into())
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any(deserializer)
    }
}

/// A list of at most [`MAX_ITEMS`].
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Fold for List<T> {
    fn fold(&mut self, newer: Self) {
        *self = newer;
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element()? {
            if read.len() >= MAX_ITEMS {
                return Err(de::Error::custom(format_args!(
                    "a list of choices, modalities or iterations has at most {MAX_ITEMS} items"
                )));
            }
            read.push(item);
        }
        Ok(List(read))
    }
}

/// How many items of a list hold an image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Images(pub(super) u64);

impl Fold for Images {
    fn fold(&mut self, newer: Self) {
        self.0 = self.0.max(newer.0);
    }
}

impl<'de> Deserialize<'de> for Images {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ImagesVisitor)
    }
}

struct ImagesVisitor;

fields! {
    #[expecting = "data: an item that is an object"]
    DataItem {
        b64_json: Presence,
        url: Presence,
    }
}

impl<'de> Visitor<'de> for ImagesVisitor {
    type Value = Images;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data: a list")
    }

    fn visit_unit<E>(self) -> Result<Images, E> {
        Ok(Images(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Images, A::Error> {
        let mut images = 0_u64;
        while let Some(item) = items.next_element::<DataItem>()? {
            images = images.saturating_add(u64::from(item.b64_json.0 || item.url.0));
        }
        Ok(Images(images))
    }
}
