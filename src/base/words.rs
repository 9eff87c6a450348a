//! Choices that are written as one word.

use std::fmt;

use super::suggest::hint;

/// A text that is none of the words of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    pub(crate) what: &'static str,
    pub(crate) text: Box<str>,
    pub(crate) known: &'static [&'static str],
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, text, known } = self;
        write!(f, "{what}: {text:?} must be one of ")?;
        for (place, word) in known.iter().enumerate() {
            write!(f, "{}`{word}`", if place == 0 { "" } else { ", " })?;
        }
        f.write_str(&hint(text, known))
    }
}

impl std::error::Error for UnknownWord {}

/// Prints and reads the variants of a choice by the words that serde has for them.
macro_rules! words {
    ($name:ident, $what:literal: $($variant:ident = $word:literal),* $(,)?) => {
        impl $name {
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::base::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::base::words::UnknownWord {
                        what: $what,
                        text: text.into(),
                        known: &[$($word),*],
                    }),
                }
            }
        }
    };
}
pub(crate) use words;
