//! Limits as callers give them.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::base::amount::{Amount, AmountError, IntoAmount};

/// How a rule without a limit is written where there is no null.
const UNLIMITED: &str = "unlimited";

/// What was given as a limit and is none: setters never fail, so it waits for the check of the
/// rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitProblem {
    pub(super) field: &'static str,
    pub(super) why: AmountError,
}

/// Reads a limit; of several problems the first is kept.
pub(super) fn read_limit(
    field: &'static str,
    limit: impl IntoAmount,
    problem: &mut Option<LimitProblem>,
) -> Amount {
    limit.into_amount().unwrap_or_else(|why| {
        problem.get_or_insert(LimitProblem { field, why });
        Amount::ZERO
    })
}

/// Reads a limit, or that there is none: `null`, or `"unlimited"` where a format has no null. A
/// field that is missing is neither.
pub(super) fn limit_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Amount>, D::Error> {
    if !deserializer.is_human_readable() {
        return Option::deserialize(deserializer);
    }
    deserializer.deserialize_option(LimitVisitor)
}

/// The same of a change: a limit, or none from now on.
#[expect(clippy::option_option, reason = "not given, given as null, given")]
pub(super) fn given_limit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Amount>>, D::Error> {
    limit_or_none(deserializer).map(Some)
}

struct LimitVisitor;

impl LimitVisitor {
    fn amount<'de, E: de::Error>(
        given: impl IntoDeserializer<'de, E>,
    ) -> Result<Option<Amount>, E> {
        Amount::deserialize(given.into_deserializer()).map(Some)
    }
}

impl<'de> Visitor<'de> for LimitVisitor {
    type Value = Option<Amount>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of at most six decimal places, or null for no limit")
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, given: D) -> Result<Self::Value, D::Error> {
        given.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == UNLIMITED { Ok(None) } else { Self::amount(text) }
    }

    fn visit_i64<E: de::Error>(self, units: i64) -> Result<Self::Value, E> {
        Self::amount(units)
    }

    fn visit_u64<E: de::Error>(self, units: u64) -> Result<Self::Value, E> {
        Self::amount(units)
    }

    fn visit_i128<E: de::Error>(self, units: i128) -> Result<Self::Value, E> {
        Self::amount(units)
    }

    fn visit_u128<E: de::Error>(self, units: u128) -> Result<Self::Value, E> {
        Self::amount(units)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Self::amount(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Amount::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}
