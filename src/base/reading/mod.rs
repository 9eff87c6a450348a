//! Reading what comes over the wire, so that an error names the field, the value and the rule.
//!
//! serde says what is wrong with a value, and not where it stands: "invalid type: integer `7`,
//! expected a string". [`read`] puts itself between a format's reader and the types that are read.
//! It knows the path to each value, and says it in the words in which the rest of the crate says
//! what is wrong: "rateLimits[2].name: 7 must be a string".

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Expected, Unexpected};

use crate::base::suggest::hint;
use crate::base::text::excerpt;

mod at_path;
pub(crate) mod raw;

use self::at_path::AtPath;

/// Reads a value; errors say its path.
pub(crate) fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    read_by(PhantomData::<T>, deserializer)
}

/// The same with a seed.
pub(crate) fn read_by<'de, S: DeserializeSeed<'de>, D: Deserializer<'de>>(
    seed: S,
    deserializer: D,
) -> Result<S::Value, D::Error> {
    let path = Path::Root;
    seed.deserialize(AtPath::new(deserializer, &path)).map_err(|problem| problem.at(&path))
}

/// A type that is read as `Fields` are.
pub(crate) trait Body: Sized {
    /// The fields as serde derives their reading; errors do not say their path yet.
    type Fields: Into<Self>;
}

/// Reads a list of bodies that is part of another one.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Body<Fields: Deserialize<'de>>,
    D: Deserializer<'de>,
{
    let fields = Vec::<T::Fields>::deserialize(deserializer)?;
    Ok(fields.into_iter().map(Into::into).collect())
}

/// Reads a body that is part of another one.
pub(crate) fn part<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Body<Fields: Deserialize<'de>>,
    D: Deserializer<'de>,
{
    T::Fields::deserialize(deserializer).map(Into::into)
}

/// The same of one that may be left out.
pub(crate) fn optional_part<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Body<Fields: Deserialize<'de>>,
    D: Deserializer<'de>,
{
    Ok(Option::<T::Fields>::deserialize(deserializer)?.map(Into::into))
}

/// Defines a struct whose fields serde prints, and reads with errors that say their path.
///
/// What serde's derive reads cannot be caught on its way. So the fields are read into a struct of
/// the same fields, through [`read`], and are then taken over.
macro_rules! body {
    (
        $(#[doc = $doc:literal])*
        #[derive($($derived:ident),* $(,)?)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        $($rest:tt)*
    ) => {
        $crate::base::reading::body! {
            $(#[doc = $doc])*
            #[derive($($derived),*)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            $($rest)*
            default
        }
    };
    (
        $(#[doc = $doc:literal])*
        #[derive($($derived:ident),* $(,)?)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        $(#[$other:ident])*
        pub struct $name:ident {
            $($(#[$attribute:meta])* $visible:vis $field:ident: $type:ty,)*
        }
        $($default:ident)?
    ) => {
        $(#[doc = $doc])*
        #[derive($($derived,)* serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        $(#[$other])*
        pub struct $name {
            $($(#[$attribute])* $visible $field: $type,)*
        }

        const _: () = {
            #[derive(serde::Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields $(, $default)?)]
            pub(crate) struct Fields {
                $($(#[$attribute])* $field: $type,)*
            }

            $(
                impl Default for Fields {
                    fn $default() -> Self {
                        <$name>::$default().into()
                    }
                }
            )?

            impl From<$name> for Fields {
                fn from(body: $name) -> Self {
                    Self { $($field: body.$field,)* }
                }
            }

            impl From<Fields> for $name {
                fn from(fields: Fields) -> Self {
                    Self { $($field: fields.$field,)* }
                }
            }

            impl $crate::base::reading::Body for $name {
                type Fields = Fields;
            }

            impl<'de> serde::Deserialize<'de> for $name {
                fn deserialize<D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    $crate::base::reading::read::<Fields, D>(deserializer).map(Into::into)
                }
            }
        };
    };
}
pub(crate) use body;

/// Where a value stands in what is read.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    Root,
    Key(&'p Self, &'p str),
    Index(&'p Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Path::Root, key) => f.write_str(&excerpt(key)),
            Self::Key(within, key) => write!(f, "{within}.{}", excerpt(key)),
            Self::Index(within, index) => write!(f, "{within}[{index}]"),
        }
    }
}

/// What is wrong: an error of the format's reader, which may say its path already, or one that does
/// not yet.
#[derive(Debug)]
pub(crate) enum Problem<E> {
    Located(E),
    /// Says the value and the rule.
    Rule(String),
    /// Says what the type's own reading says.
    Other(String),
}

/// What follows in a text that names a place itself, by what a path ends with or by all of it.
fn after_end_of<'t>(path: &str, text: &'t str) -> Option<&'t str> {
    let ends = path.match_indices('.').filter_map(|(dot, _)| path.get(dot.saturating_add(1)..));
    let mut rests = std::iter::once(path).chain(ends).filter_map(|end| text.strip_prefix(end));
    rests.find(|rest| rest.starts_with([':', '.', '[']))
}

impl<E: de::Error> Problem<E> {
    /// The error of the value at a path.
    fn at(self, path: &Path<'_>) -> E {
        match (self, path) {
            (Self::Located(error), _) => error,
            (Self::Rule(text) | Self::Other(text), Path::Root) => E::custom(text),
            (Self::Rule(text), path) => E::custom(format_args!("{path}: {text}")),
            (Self::Other(text), path) => {
                // What a type says of itself may begin with the name that the path ends with.
                if let Some(rest) = after_end_of(&path.to_string(), &text) {
                    return E::custom(format_args!("{path}{rest}"));
                }
                let of_key = match path {
                    Path::Key(_, key) => text.strip_prefix(key),
                    _ => None,
                };
                let text = of_key.and_then(|text| text.strip_prefix(' ')).unwrap_or(&text);
                E::custom(format_args!("{path}: {text}"))
            }
        }
    }

    /// What a format's reader says of the value at a path by itself, without asking the type.
    fn of_reader(error: E, path: &Path<'_>) -> Self {
        match plain_type_error(&error.to_string()) {
            Some(text) => Self::Located(Self::Rule(text).at(path)),
            None => Self::Located(error),
        }
    }

    /// Says the value too, where the type's own reading did not.
    fn of(self, value: &str) -> Self {
        match self {
            Self::Other(text) if !text.contains(&*excerpt(value)) => {
                Self::Rule(format!("{:?}: {text}", excerpt(value)))
            }
            other => other,
        }
    }
}

impl<E: de::Error> fmt::Display for Problem<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Located(error) => fmt::Display::fmt(error, f),
            Self::Rule(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

impl<E: de::Error> std::error::Error for Problem<E> {}

impl<E: de::Error> de::Error for Problem<E> {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Other(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Rule(format!("{} must be {}", Shown(&found), plain(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        // Of two styles the last is the one that is printed, of fields the first.
        let (listed, hint) = listed(variant, expected, true);
        let variant = excerpt(variant);
        Self::Rule(format!("unknown variant `{variant}`, expected one of {listed}{hint}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let (listed, hint) = listed(field, expected, false);
        Self::Rule(format!("unknown field `{}`, expected one of {listed}{hint}", excerpt(field)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Rule(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Rule(format!("duplicate field `{field}`"))
    }
}

/// The names that there are, and the one that was probably meant. Of names that differ in their
/// style alone, which serde gives one after the other, one counts: the first or the last.
fn listed(given: &str, names: &[&'static str], last: bool) -> (String, String) {
    let letters = |name: &str| name.replace('_', "").to_lowercase();
    let mut kept: Vec<&str> = Vec::new();
    for name in names {
        match kept.last_mut() {
            Some(before) if letters(before) == letters(name) => {
                *before = if last { name } else { before };
            }
            _ => kept.push(name),
        }
    }
    let listed: Vec<_> = kept.iter().map(|name| format!("`{name}`")).collect();
    (listed.join(", "), hint(given, &kept))
}

/// A value that was found where it must not be, as JSON shows it.
struct Shown<'a>(&'a Unexpected<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(value) => write!(f, "{value}"),
            Unexpected::Unsigned(value) => write!(f, "{value}"),
            Unexpected::Signed(value) => write!(f, "{value}"),
            Unexpected::Float(value) => write!(f, "{value:?}"),
            Unexpected::Char(value) => write!(f, "{value:?}"),
            Unexpected::Str(text) => write!(f, "{:?}", excerpt(text)),
            Unexpected::Unit | Unexpected::Option => f.write_str("null"),
            Unexpected::Seq => f.write_str("a list"),
            Unexpected::Map => f.write_str("an object"),
            Unexpected::Other(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}

/// The words of serde for a value of a wrong type, in those of users; the place in the text, where
/// a reader says it, stays at the end.
fn plain_type_error(text: &str) -> Option<String> {
    let told = text.strip_prefix("invalid type: ").or(text.strip_prefix("invalid value: "))?;
    let (found, expected) = told.rsplit_once(", expected ")?;
    let place = expected.find(" at line ").unwrap_or(expected.len());
    let (expected, place) = expected.split_at_checked(place)?;
    let quoted = ["integer `", "floating point `", "boolean `", "character `"];
    let bare = quoted.iter().find_map(|kind| found.strip_prefix(kind)?.strip_suffix('`'));
    let found = match found {
        "null" | "unit value" | "Option value" => "null",
        "sequence" => "a list",
        "map" => "an object",
        _ => bare.or(found.strip_prefix("string ")).unwrap_or(found),
    };
    Some(format!("{} must be {}{place}", excerpt(found), plain(expected)))
}

/// What serde expects, in the words of users.
fn plain(expected: &str) -> &str {
    match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 18446744073709551615",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

#[cfg(test)]
mod tests;
