//! Prices as lists write them: numbers or texts, to exact rates.

use super::error::PriceBookError;
use super::rates::Kind;
use crate::llm::decimal::Decimal;
use crate::llm::usage::Dollars;

/// So many digits of a number are told apart: what floats add behind them is dust.
const SIGNIFICANT: u32 = 12;
/// A dollar is `10^15` of the units of a rate, and a millionth of a dollar `10^9`.
const OF_DOLLAR: i32 = 15;
const OF_MILLIONTH: i32 = 9;

/// What a price is of.
#[derive(Clone, Copy)]
pub(super) enum Per {
    One,
    Thousand,
    Million,
}

/// The rate of a price; `Err` says what is wrong with it.
pub(super) fn rate(dollars: &Dollars, per: Per) -> Result<Option<u64>, &'static str> {
    let dollars = match dollars {
        Dollars::Missing => return Ok(None),
        Dollars::Bad(_) => return Err("must be a number of dollars from 0 on"),
        Dollars::Of(dollars) => *dollars,
    };
    let power = match per {
        Per::One => OF_DOLLAR,
        Per::Thousand => OF_DOLLAR.saturating_sub(3),
        Per::Million => OF_MILLIONTH,
    };
    let (rate, is_exact) = dollars.without_dust(SIGNIFICANT).scaled(power).ok_or(TOO_LARGE)?;
    if !is_exact {
        return Err("must be a multiple of 0.0000000000001 cents a unit");
    }
    u64::try_from(rate).map(Some).map_err(|_| TOO_LARGE)
}

const TOO_LARGE: &str = "must be at most 18446 dollars a unit";

/// How a price is shown in an error.
pub(super) fn shown(dollars: &Dollars) -> String {
    match dollars {
        Dollars::Missing => "nothing".to_owned(),
        Dollars::Bad(value) => value.to_string(),
        Dollars::Of(dollars) => dollars.to_string(),
    }
}

/// The rate of a price in a book, with an error that names it.
pub(super) fn named(
    dollars: &Dollars,
    kind: Kind,
    of: &str,
) -> Result<Option<u64>, PriceBookError> {
    let per = if kind.is_tokens() { Per::Million } else { Per::One };
    rate(dollars, per).map_err(|reason| {
        let field = format!("price of {of}: {}", kind.as_str());
        PriceBookError::new(&field, &shown(dollars), reason)
    })
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (digits, exponent) = self.parts();
        write!(f, "{digits}e{exponent}")
    }
}
