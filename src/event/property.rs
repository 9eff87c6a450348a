//! The values of properties.

use std::borrow::Cow;
use std::sync::Arc;

/// The value of a property: a string is a dimension that rules can filter and partition by, any
/// other JSON value is kept with the event and is not a dimension.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PropertyValue<'a> {
    /// A string: a dimension under its own key.
    Text(Cow<'a, str>),
    /// A number, a bool, null, a list or an object: kept, not a dimension. A string that is set as
    /// one is [`Text`](Self::Text).
    Json(Box<serde_json::Value>),
    /// An attribute of the customer under the name of its dimension, such as `customer_plan`: a
    /// dimension that the engine has looked up, and that was not given with the event. What is set
    /// as a property is [`Text`](Self::Text).
    #[non_exhaustive]
    Attribute(Arc<str>),
}

// An event is moved about: looking attributes up makes none larger.
const _: () = assert!(size_of::<PropertyValue<'_>>() == size_of::<Cow<'_, str>>());

impl PropertyValue<'_> {
    /// The value as a dimension, if it is one.
    #[inline]
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Attribute(text) => Some(text),
            Self::Json(_) => None,
        }
    }

    pub(crate) fn is_attribute(&self) -> bool {
        matches!(self, Self::Attribute(_))
    }
}

impl<'a> From<&'a str> for PropertyValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for PropertyValue<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for PropertyValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for PropertyValue<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<serde_json::Value> for PropertyValue<'_> {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::String(text) => Self::from(text),
            json => Self::Json(Box::new(json)),
        }
    }
}

macro_rules! property_from_json {
    ($($number:ty),*) => {$(
        impl From<$number> for PropertyValue<'_> {
            fn from(value: $number) -> Self {
                Self::Json(Box::new(value.into()))
            }
        }
    )*};
}
property_from_json!(bool, i32, u32, i64, u64, f64);
