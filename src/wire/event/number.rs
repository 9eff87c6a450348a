//! Reading the numbers of an event: tokens, latency and cost.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

use crate::base::amount::Amount;
use crate::base::reading::raw::{self, Token};
use crate::base::text::excerpt;
use crate::event::bounds::{MAX_UNITS, WHOLE_RULE};
use crate::event::{EventError, check_amount};

/// A whole number from 0 to 10^15.
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        raw::visit(deserializer, WholeVisitor)
    }
}

/// The same in plain digits: a number that is written in another way is an error, whatever it is.
pub(super) struct PlainWhole(pub(super) u64);

impl<'de> Deserialize<'de> for PlainWhole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor).map(|number| Self(number.0))
    }
}

struct WholeVisitor;

impl WholeVisitor {
    fn refuse<E: Error>(shown: impl fmt::Display) -> E {
        E::invalid_value(Unexpected::Other(&shown.to_string()), &Self)
    }
}

impl<'de> Visitor<'de> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WHOLE_RULE.trim_start_matches("must be "))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        if number <= MAX_UNITS { Ok(Whole(number)) } else { Err(Self::refuse(number)) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        u64::try_from(number).map_or_else(|_| Err(Self::refuse(number)), |of| self.visit_u64(of))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Whole, A::Error> {
        let Some(json) = raw::text(&mut map)? else {
            return Err(Error::invalid_type(Unexpected::Map, &self));
        };
        match Token::of(json) {
            Token::Number(number) => match number.parse() {
                Ok(units) => self.visit_u64(units),
                Err(_) => Err(Self::refuse(excerpt(&number))),
            },
            Token::Text(text) => Err(Error::invalid_type(Unexpected::Str(&text), &self)),
            Token::Other(found) => Err(Error::invalid_type(found, &self)),
        }
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, any: D) -> Result<Whole, D::Error> {
        any.deserialize_any(self)
    }
}

/// A cost in cents, or what is given back.
pub(super) struct Cost(pub(super) Amount);

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cents = Amount::deserialize(deserializer)?;
        check_amount("costCents", cents).map_err(of_value)?;
        Ok(Self(cents))
    }
}

/// A cost in cents as the first generation of the product takes it.
pub(super) struct CostOfBody(pub(super) Amount);

impl<'de> Deserialize<'de> for CostOfBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Cost(cents) = Cost::deserialize(deserializer)?;
        if cents.is_negative() {
            let rule = "must not be negative; a refund is `cost_cents` in `values`";
            return Err(Error::custom(format_args!("{cents} {rule}")));
        }
        Ok(Self(cents))
    }
}

/// What is said of a value that breaks a rule, where its field is known.
pub(super) fn of_value<E: Error>(problem: EventError) -> E {
    match problem {
        EventError::Invalid { value, rule, .. } => {
            let expected = rule.trim_start_matches("must be ");
            E::invalid_value(Unexpected::Other(&value), &expected)
        }
        other => E::custom(other),
    }
}
