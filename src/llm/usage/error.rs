//! Why a body says nothing of what a call used.

/// Why the usage of a call cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// It is no JSON, or not of the shape that the provider documents.
    #[error("usage: {reason}")]
    #[non_exhaustive]
    Json {
        /// What the reader said: the field or the place, and what was expected.
        reason: Box<str>,
    },
    /// A count is no number of units.
    #[error("{field}: {value} must be a whole number from 0 to 18446744073709551615")]
    #[non_exhaustive]
    Count {
        /// The field, by the names that the provider gives it.
        field: &'static str,
        /// What is there.
        value: Box<str>,
    },
    /// A part is larger than the count that it is a part of.
    #[error("{field}: {part} must be at most {whole}, which is all of {of}")]
    #[non_exhaustive]
    Part {
        /// The part, or the first of several, which are more than the whole together.
        field: &'static str,
        /// How much it is.
        part: u64,
        /// What it is a part of.
        of: &'static str,
        /// How much that is.
        whole: u64,
    },
    /// A cost is none.
    #[error("{field}: {value} must be a number of dollars from 0 on")]
    #[non_exhaustive]
    Cost {
        /// The field.
        field: &'static str,
        /// What is there.
        value: Box<str>,
    },
}
