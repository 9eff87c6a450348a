//! Texts of users as messages show them, and types that are texts as data.

/// A value cut short where it is long, as it is.
pub(crate) fn excerpt(value: &str) -> Box<str> {
    const SHOWN: usize = 80;
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push_str("...");
    }
    shown.into()
}

/// A value cut short and escaped, fit for one line of a log however long or odd it is.
pub(crate) fn excerpt_of_line(value: &str) -> Box<str> {
    const SHOWN: usize = 48;
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown.into()
}

/// Lets serde read a type as the text that its `FromStr` reads.
macro_rules! read_as_text {
    ($name:ident) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use read_as_text;

/// Lets serde read a type as the text that its `FromStr` reads, and print what its `Display` does:
/// where the type has a `word` for most of what it is, those without the formatter.
macro_rules! as_text {
    ($name:ident by words) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.word() {
                    Some(word) => serializer.serialize_str(word),
                    None => serializer.collect_str(self),
                }
            }
        }

        $crate::base::text::read_as_text!($name);
    };
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        $crate::base::text::read_as_text!($name);
    };
}
pub(crate) use as_text;
