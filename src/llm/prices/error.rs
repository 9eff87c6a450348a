//! What is wrong with a list of prices.

/// Why a list of prices is no book.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} {reason}")]
#[non_exhaustive]
pub struct PriceBookError {
    /// Where it is wrong: the model and the field, or the list as a whole.
    pub field: Box<str>,
    /// What is there, cut short when it is long.
    pub value: Box<str>,
    /// What it must be.
    pub reason: Box<str>,
}

impl PriceBookError {
    pub(super) fn new(field: &str, value: &str, reason: &str) -> Self {
        let value = value.chars().take(48).collect::<String>().into();
        Self { field: field.into(), value, reason: reason.into() }
    }
}

/// What a list says of a model, and a book does not know how to take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedModel {
    /// The model, as the list calls it.
    pub model: Box<str>,
    /// What is not taken, and why: the whole model, or a field of it.
    pub reason: Box<str>,
}

impl SkippedModel {
    pub(super) fn new(model: &str, reason: impl Into<Box<str>>) -> Self {
        Self { model: model.into(), reason: reason.into() }
    }
}
