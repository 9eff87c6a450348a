//! What a filter asks of one dimension.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::event::{Dimension, text_rule};

/// The most values that one condition may name.
pub(crate) const MAX_VALUES: usize = 64;

/// A whole filter: what must hold of an event.
pub(crate) type Filter = Vec<(Dimension, Condition)>;

/// What a filter asks of one dimension: a value, one of several, a prefix, or whether it is there.
///
/// A text is the value itself, and a list of texts is one of them:
///
/// ```
/// use limitry::{Condition, Engine, Event, RateLimit, Window};
///
/// let engine = Engine::builder()
///     .rate_limit(
///         RateLimit::new("All of gpt-4o", 1, Window::Minute)
///             .filter("model", Condition::prefix("gpt-4o"))
///             .filter("team_id", ["red", "blue"])
///             .filter("trace", Condition::Absent),
///     )
///     .build()?;
/// let call = |model| Event::new("cust_123", "call").model(model).property("team_id", "red");
/// assert!(engine.track(&call("gpt-4o-mini"))?.is_allowed());
/// assert!(!engine.track(&call("gpt-4o"))?.is_allowed());
/// assert!(engine.track(&call("gpt-4"))?.is_allowed());
/// # Ok::<(), limitry::Error>(())
/// ```
///
/// As data: `"gpt-4o"`, `["gpt-4o", "o3"]`, `{"prefix": "gpt-4o"}`, `{"not": "o3"}` or
/// `{"not": ["o3", "o4"]}`, `{"present": true}` and `{"present": false}`, which is absent.
///
/// A dimension that an event lacks meets no condition but [`Absent`](Self::Absent). What a rule
/// makes of such an event else is its [`OnMissing`](crate::rules::OnMissing).
///
/// What a decision costs follows the rules that match. Rules are found by values, by each one of
/// several, and by a prefix at the cost of a look-up for each length that prefixes of the dimension
/// have. `NoneOf` and `Absent` are looked at in the rules that are found by their other conditions
/// (and by having the dimension that `NoneOf` is about), one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Condition {
    /// This value.
    Is(String),
    /// One of these values: 1 to 64. All the lists of a rule's filter, with that of its meter,
    /// have at most 256 combinations.
    OneOf(BTreeSet<String>),
    /// A value that begins with this text.
    Prefix(String),
    /// A value that is none of these: 1 to 64.
    NoneOf(BTreeSet<String>),
    /// Any value.
    Present,
    /// No value: the event does not have the dimension, or has something else than a string under
    /// its name.
    Absent,
}

impl Condition {
    /// One of these values.
    pub fn one_of<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Self {
        Self::OneOf(values.into_iter().map(Into::into).collect())
    }

    /// A value that begins with this text.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self::Prefix(prefix.into())
    }

    /// A value that is not this one.
    pub fn not(value: impl Into<String>) -> Self {
        Self::none_of([value])
    }

    /// A value that is none of these.
    pub fn none_of<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Self {
        Self::NoneOf(values.into_iter().map(Into::into).collect())
    }

    /// Returns whether an event meets the condition whose dimension has this value, or none.
    #[must_use]
    pub fn is_met_by(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return *self == Self::Absent };
        match self {
            Self::Is(wanted) => value == wanted,
            Self::OneOf(values) => values.contains(value),
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::NoneOf(values) => !values.contains(value),
            Self::Present => true,
            Self::Absent => false,
        }
    }

    /// The only value that meets it.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Is(value) => Some(value),
            Self::OneOf(values) if values.len() == 1 => values.first().map(String::as_str),
            _ => None,
        }
    }

    /// The same condition in the form that most of the engine knows.
    pub(crate) fn simplified(&self) -> Self {
        self.value().map_or_else(|| self.clone(), Self::from)
    }

    /// Whether no value can be looked for: it says only what the dimension is not.
    pub(super) fn finds_nothing(&self) -> bool {
        matches!(self, Self::NoneOf(_) | Self::Absent)
    }

    /// How many values a look-up of it goes by.
    pub(super) fn alternatives(&self) -> usize {
        match self {
            Self::OneOf(values) => values.len(),
            _ => 1,
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Is(value) | Self::Prefix(value) => broken(value),
            Self::OneOf(values) | Self::NoneOf(values) => {
                if (1..=MAX_VALUES).contains(&values.len()) {
                    values.iter().find_map(|value| broken(value))
                } else {
                    let number = values.len();
                    Some(format!("a list of {number} must be one of 1 to {MAX_VALUES} values"))
                }
            }
            Self::Present | Self::Absent => None,
        }
    }
}

fn broken(value: &str) -> Option<String> {
    text_rule(value).map(|rule| format!("{value:?} {rule}"))
}

macro_rules! from_texts {
    ($($type:ty)*) => {$(
        impl From<$type> for Condition {
            fn from(value: $type) -> Self {
                Self::Is(value.into())
            }
        }
    )*};
}

from_texts! { &str String &String Box<str> Cow<'_, str> }

impl<S: Into<String>, const N: usize> From<[S; N]> for Condition {
    fn from(values: [S; N]) -> Self {
        Self::one_of(values)
    }
}

impl<S: Into<String>> From<Vec<S>> for Condition {
    fn from(values: Vec<S>) -> Self {
        Self::one_of(values)
    }
}

/// As messages say it: `"gpt-4o"`, `one of "a", "b"`, `"gpt-4o"*`, `none of "a"`, `any value`, `no
/// value`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, values: &BTreeSet<String>| {
            values.iter().enumerate().try_for_each(|(place, value)| {
                write!(f, "{}{value:?}", if place == 0 { "" } else { ", " })
            })
        };
        match self {
            Self::Is(value) => write!(f, "{value:?}"),
            Self::OneOf(values) => {
                f.write_str("one of ")?;
                list(f, values)
            }
            Self::Prefix(prefix) => write!(f, "{prefix:?}*"),
            Self::NoneOf(values) => {
                f.write_str("none of ")?;
                list(f, values)
            }
            Self::Present => f.write_str("any value"),
            Self::Absent => f.write_str("no value"),
        }
    }
}

const FORMS: &[&str] = &["prefix", "not", "present"];

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Is(value) => return serializer.serialize_str(value),
            Self::OneOf(values) => return values.serialize(serializer),
            Self::Prefix(prefix) => ("prefix", Form::Text(prefix)),
            Self::NoneOf(values) => match values.first() {
                Some(value) if values.len() == 1 => ("not", Form::Text(value)),
                _ => ("not", Form::List(values)),
            },
            Self::Present => ("present", Form::Flag(true)),
            Self::Absent => ("present", Form::Flag(false)),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

/// What stands in the object of a condition.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Form<'c> {
    Text(&'c str),
    List(&'c BTreeSet<String>),
    Flag(bool),
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole)
    }
}

/// A condition in any form.
struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Condition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list of strings, or an object with `prefix`, `not` or `present`")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Condition, E> {
        Ok(Condition::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Condition, A::Error> {
        Values.visit_seq(list).map(Condition::OneOf)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Condition, A::Error> {
        let Some(form) = map.next_key::<String>()? else {
            return Err(A::Error::custom("{} must have one of `prefix`, `not`, `present`"));
        };
        let condition = match form.as_str() {
            "prefix" => Condition::Prefix(map.next_value()?),
            "not" => Condition::NoneOf(map.next_value::<OneOrMany>()?.0),
            "present" if map.next_value()? => Condition::Present,
            "present" => Condition::Absent,
            other => return Err(A::Error::unknown_field(other, FORMS)),
        };
        if let Some(second) = map.next_key::<String>()? {
            let text = format!("`{form}` stands beside `{second}`: give one of them");
            return Err(A::Error::custom(text));
        }
        Ok(condition)
    }
}

/// A text or a list of texts.
struct OneOrMany(BTreeSet<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Self)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = BTreeSet<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(BTreeSet::from([value.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = BTreeSet::new();
        while let Some(value) = list.next_element()? {
            values.insert(value);
        }
        Ok(values)
    }
}
