//! The parameters of queries.

use std::ops::RangeInclusive;

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, Required, SchemaFormat};

/// A parameter of a query.
pub(in crate::http) struct Param {
    name: &'static str,
    says: &'static str,
    is_needed: bool,
    schema: ObjectBuilder,
}

fn of(name: &'static str, says: &'static str, kind: Type) -> Param {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(kind));
    Param { name, says, is_needed: false, schema }
}

/// Any text.
pub(in crate::http) fn text(name: &'static str, says: &'static str) -> Param {
    of(name, says, Type::String)
}

/// A date and time of RFC 3339.
pub(in crate::http) fn date(name: &'static str, says: &'static str) -> Param {
    let mut param = text(name, says);
    param.schema = param.schema.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    param
}

/// A whole number.
pub(in crate::http) fn whole(
    name: &'static str,
    says: &'static str,
    bounds: RangeInclusive<u32>,
) -> Param {
    let mut param = any_whole(name, says);
    param.schema = param.schema.minimum(Some(*bounds.start())).maximum(Some(*bounds.end()));
    param
}

/// A whole number that has no bounds.
pub(in crate::http) fn any_whole(name: &'static str, says: &'static str) -> Param {
    of(name, says, Type::Integer)
}

/// One of several words.
pub(in crate::http) fn word(
    name: &'static str,
    says: &'static str,
    words: &'static [&'static str],
) -> Param {
    let mut param = text(name, says);
    param.schema = param.schema.enum_values(Some(words.iter().copied()));
    param
}

/// `true` or `false`.
pub(in crate::http) fn flag(name: &'static str, says: &'static str) -> Param {
    of(name, says, Type::Boolean)
}

impl Param {
    /// It must be given.
    pub(in crate::http) fn needed(mut self) -> Self {
        self.is_needed = true;
        self
    }

    pub(super) fn build(self) -> Parameter {
        let required = if self.is_needed { Required::True } else { Required::False };
        ParameterBuilder::new()
            .name(self.name)
            .description(Some(self.says))
            .parameter_in(ParameterIn::Query)
            .required(required)
            .schema(Some(self.schema.build()))
            .build()
    }
}
