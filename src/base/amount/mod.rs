//! Exact quantities: decimal fixed point with six digits after the point.
//!
//! An [`Amount`] is a whole number of millionths in an `i128`. Nothing is ever rounded without
//! being asked: text or a number that needs a seventh digit is an error, and a sum out of range is
//! `None`. Floats are read by their shortest decimal form and never computed with.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

mod data;

mod parse;

use self::parse::{Digits, from_float, parse};
use super::text::excerpt_of_line;

/// How many digits an amount keeps after the point.
const FRACTION_DIGITS: u8 = 6;

/// The millionths in one unit: ten to the power of [`FRACTION_DIGITS`].
const UNIT: i128 = 1_000_000;

const _: () = assert!(UNIT == 10_i128.pow(6) && FRACTION_DIGITS == 6);

/// An exact decimal number with up to six digits after the point.
///
/// It is `Copy`, 16 bytes, and reaches about 1.7e32 either side of zero. Made from integers with
/// `From`, from text with [`str::parse`], from floats with `TryFrom`. Nothing about it panics.
///
/// In text formats (JSON, TOML, YAML) it is read from an integer, a float or a string. It is
/// written as
///
/// - an integer where it is whole and fits an `i64` or a `u64`,
/// - a float where it is not whole and has at most 15 significant digits, which a float keeps,
/// - a string such as `"12345678901234.123456"` otherwise, so that no digit is lost.
///
/// In binary formats it is its millionths, as an `i128`.
///
/// From JSON text every digit of a number is read. Another format, or a `serde_json::Value` in
/// between, may round a number to a float before an amount can see it: send one with more digits
/// than a float keeps as a string.
///
/// # As money
///
/// Costs are in cents, so the sixth digit is a hundred-millionth of a dollar. Price lists of model
/// providers are per million tokens, most in whole cents: there one token costs a whole number of
/// millionths of a cent, and every call is exact. Finer prices ($0.0375 a million tokens) and what
/// some providers report (in ten-billionths of a dollar) can need a seventh or eighth digit. Then
/// it is the caller who rounds the cost of a call, once:
/// [`from_f64_rounded_up`](Self::from_f64_rounded_up) adds less than a millionth of a cent, which
/// is less than a cent in a million calls. An amount itself, and what is made of amounts in sums,
/// limits, statuses and stores, is never rounded.
///
/// # Examples
///
/// ```
/// # use limitry::Amount;
/// let tenth: Amount = "0.1".parse()?;
/// assert_eq!(tenth, Amount::try_from(0.1)?);
/// assert_eq!(tenth.millionths(), 100_000);
///
/// let sum = Amount::from(200_u64).checked_add(tenth);
/// assert_eq!(sum.map(|sum| sum.to_string()).as_deref(), Some("200.1"));
/// # Ok::<(), limitry::amount::AmountError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

impl Amount {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);
    /// The smallest amount, about -1.7e32.
    pub const MIN: Self = Self(i128::MIN);
    /// The largest amount, about 1.7e32.
    pub const MAX: Self = Self(i128::MAX);

    /// Makes an amount from a number of millionths: 12.5 is 12 500 000 of them.
    #[must_use]
    pub const fn from_millionths(millionths: i128) -> Self {
        Self(millionths)
    }

    /// Gives the amount in millionths.
    #[must_use]
    pub const fn millionths(self) -> i128 {
        self.0
    }

    /// Tells whether the amount is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Adds exactly; `None` where the sum is out of range.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Subtracts exactly; `None` where the difference is out of range.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Adds, and stays at [`MAX`](Self::MAX) or [`MIN`](Self::MIN) where the sum is out of range.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Subtracts, and stays at [`MAX`](Self::MAX) or [`MIN`](Self::MIN) where the difference is out
    /// of range.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads a float that may carry noise, rounded up at the sixth digit after the point: for sums
    /// and products that were computed in floats, such as a cost out of a price list.
    ///
    /// Rounded is the shortest decimal form of the float, towards what is larger, so that nothing
    /// is charged too low: `37.0 * 0.15 / 1e6`, which is 0.00000555, is 0.000006, and `0.1 + 0.2`,
    /// which is 0.30000000000000004, is 0.300001. A float that needs no seventh digit stays what
    /// it is, as with `TryFrom`.
    ///
    /// ```
    /// # use limitry::Amount;
    /// let dollars = 37.0 * 0.15 / 1e6;
    /// assert!(Amount::try_from(dollars).is_err());
    /// assert_eq!(Amount::from_f64_rounded_up(dollars)?.to_string(), "0.000006");
    /// let cents = 100.0 * dollars;
    /// assert_eq!(Amount::from_f64_rounded_up(cents)?.to_string(), "0.000555");
    /// # Ok::<(), limitry::amount::AmountError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AmountError::NotFinite`] for NaN and the infinities, and [`AmountError::OutOfRange`] where
    /// it is too large.
    pub fn from_f64_rounded_up(value: f64) -> Result<Self, AmountError> {
        from_float(value.is_finite(), value, Digits::RoundedUp)
    }

    /// Gives the whole units, rounded down; 0 for a negative amount, `u64::MAX` for a larger one.
    #[must_use]
    pub fn to_u64_floor(self) -> u64 {
        saturate(self.0.div_euclid(UNIT))
    }

    /// Gives the whole units, rounded up; 0 for a negative amount, `u64::MAX` for a larger one.
    #[must_use]
    pub fn to_u64_ceil(self) -> u64 {
        // Both terms are far from the ends of i128 after the division.
        let floor = self.0.div_euclid(UNIT);
        saturate(floor.saturating_add(i128::from(self.0.rem_euclid(UNIT) != 0)))
    }

    /// Gives the whole units where there is no fraction and they are from 0 to `u64::MAX`.
    #[inline]
    pub(crate) fn whole_units(self) -> Option<u64> {
        const SMALL_UNIT: u64 = 1_000_000;
        match u64::try_from(self.0) {
            Ok(small) => (small.rem_euclid(SMALL_UNIT) == 0).then(|| small.div_euclid(SMALL_UNIT)),
            Err(_) => self.whole().and_then(|whole| u64::try_from(whole).ok()),
        }
    }

    /// Gives the whole units where there is no fraction.
    const fn whole(self) -> Option<i128> {
        if self.0.rem_euclid(UNIT) == 0 { Some(self.0.div_euclid(UNIT)) } else { None }
    }
}

fn saturate(units: i128) -> u64 {
    u64::try_from(units).unwrap_or(if units < 0 { 0 } else { u64::MAX })
}

impl fmt::Display for Amount {
    /// Writes the shortest decimal form: `12.5`, `200`, `-0.000001`. Width, fill, zero padding and
    /// `+` work as for integers. Allocates one small string, for a whole number none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(units) = self.whole_units() {
            return fmt::Display::fmt(&units, f);
        }
        let magnitude = self.0.unsigned_abs();
        let unit = UNIT.unsigned_abs();
        let mut text = format!("{}", magnitude.div_euclid(unit));
        let fraction = magnitude.rem_euclid(unit);
        if fraction != 0 {
            let digits = format!("{fraction:0width$}", width = usize::from(FRACTION_DIGITS));
            text.push('.');
            text.push_str(digits.trim_end_matches('0'));
        }
        f.pad_integral(!self.is_negative(), "", &text)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({self})")
    }
}

/// Why something is not an [`Amount`].
///
/// `value` is what was given, cut after 48 characters and with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// Not written as a decimal number.
    #[error("`{value}` is not a decimal number such as 12, -0.5 or 1.2e3")]
    #[non_exhaustive]
    Syntax {
        /// What was given.
        value: Box<str>,
    },
    /// Would need a seventh digit after the point.
    #[error(
        "`{value}` has more than six digits after the decimal point, and none is rounded away \
         unasked: `Amount::from_f64_rounded_up` rounds a float up at the sixth"
    )]
    #[non_exhaustive]
    TooPrecise {
        /// What was given.
        value: Box<str>,
    },
    /// Too far from zero.
    #[error("`{value}` is out of range: an amount reaches about 1.7e32 either side of zero")]
    #[non_exhaustive]
    OutOfRange {
        /// What was given.
        value: Box<str>,
    },
    /// Not whole, negative or too large, where a `u64` is wanted.
    #[error("`{value}` is not a whole number from 0 to 18446744073709551615")]
    #[non_exhaustive]
    NotWhole {
        /// What was given.
        value: Box<str>,
    },
    /// A float that stands for no number.
    #[error("`{value}` is not a finite number")]
    #[non_exhaustive]
    NotFinite {
        /// What was given: `NaN`, `inf` or `-inf`.
        value: Box<str>,
    },
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads a decimal number: a sign or none, digits, then a point with digits and an exponent,
    /// each where wanted: `12`, `-0.000001`, `1.25e3`. Spaces and separators are not taken.
    ///
    /// Linear in the length of the text; allocates for an error only.
    ///
    /// # Errors
    ///
    /// [`AmountError::Syntax`] for any other text, [`AmountError::TooPrecise`] where the number
    /// needs more than six digits after the point (`1.1000000` and `10e-7` do not), and
    /// [`AmountError::OutOfRange`] where it is too large.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.as_bytes(), Digits::Exact).map_err(|problem| problem.of(text))
    }
}

impl TryFrom<f64> for Amount {
    type Error = AmountError;

    /// Reads a float by its shortest decimal form, so that `0.1` is exactly 0.1. Allocates for an
    /// error only.
    ///
    /// # Errors
    ///
    /// [`AmountError::NotFinite`] for NaN and the infinities, [`AmountError::TooPrecise`] where the
    /// shortest form has more than six digits after the point (`0.1 + 0.2` has), and
    /// [`AmountError::OutOfRange`] where it is too large.
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        from_float(value.is_finite(), value, Digits::Exact)
    }
}

impl TryFrom<f32> for Amount {
    type Error = AmountError;

    /// Reads a float by the shortest decimal form of the `f32`, so that `0.1_f32` is exactly 0.1.
    /// Allocates for an error only.
    ///
    /// # Errors
    ///
    /// As for `f64`.
    fn try_from(value: f32) -> Result<Self, Self::Error> {
        from_float(value.is_finite(), value, Digits::Exact)
    }
}

impl TryFrom<Amount> for u64 {
    type Error = AmountError;

    /// Gives the whole units. Allocates for an error only.
    ///
    /// # Errors
    ///
    /// [`AmountError::NotWhole`] where the amount has a fraction, is negative or does not fit.
    fn try_from(amount: Amount) -> Result<Self, Self::Error> {
        amount
            .whole_units()
            .ok_or_else(|| AmountError::NotWhole { value: excerpt_of_line(&amount.to_string()) })
    }
}

/// Becomes an exact [`Amount`], or says why it cannot.
///
/// Implemented for the integers up to 64 bits, floats, text and [`Amount`] itself. Implement it for
/// a money or decimal type of your own to pass it wherever an amount is taken.
pub trait IntoAmount {
    /// Converts to an amount without rounding.
    ///
    /// # Errors
    ///
    /// As `TryFrom` and [`FromStr`] of [`Amount`]; integers of a fixed width never fail.
    fn into_amount(self) -> Result<Amount, AmountError>;
}

impl IntoAmount for Amount {
    fn into_amount(self) -> Result<Amount, AmountError> {
        Ok(self)
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Amount {
            /// Makes an amount of so many whole units.
            fn from(units: $integer) -> Self {
                // Sixty-four bits times a million is less than half the width of an i128.
                Self(i128::from(units).saturating_mul(UNIT))
            }
        }

        impl PartialEq<$integer> for Amount {
            fn eq(&self, units: &$integer) -> bool {
                *self == Self::from(*units)
            }
        }

        impl PartialEq<Amount> for $integer {
            fn eq(&self, amount: &Amount) -> bool {
                Amount::from(*self) == *amount
            }
        }

        impl PartialOrd<$integer> for Amount {
            fn partial_cmp(&self, units: &$integer) -> Option<Ordering> {
                self.partial_cmp(&Self::from(*units))
            }
        }

        impl PartialOrd<Amount> for $integer {
            fn partial_cmp(&self, amount: &Amount) -> Option<Ordering> {
                Amount::from(*self).partial_cmp(amount)
            }
        }

        impl IntoAmount for $integer {
            fn into_amount(self) -> Result<Amount, AmountError> {
                Ok(Amount::from(self))
            }
        }
    )*};
}

from_integers!(u8, u16, u32, u64, i8, i16, i32, i64);

/// Makes an amount of so many whole units, where it fits.
fn from_wide<T: TryInto<i128> + fmt::Display + Copy>(units: T) -> Result<Amount, AmountError> {
    let wide: Option<i128> = units.try_into().ok();
    wide.and_then(|wide| wide.checked_mul(UNIT))
        .map(Amount)
        .ok_or_else(|| AmountError::OutOfRange { value: excerpt_of_line(&units.to_string()) })
}

macro_rules! into_amount {
    ($($type:ty => $convert:expr),* $(,)?) => {$(
        impl IntoAmount for $type {
            fn into_amount(self) -> Result<Amount, AmountError> {
                $convert(self)
            }
        }
    )*};
}

into_amount! {
    usize => from_wide,
    isize => from_wide,
    f64 => Amount::try_from,
    f32 => Amount::try_from,
    &str => str::parse,
    &String => |text: &String| text.parse(),
    String => |text: String| text.parse(),
}

#[cfg(test)]
mod tests {
    //! Goal: no digit is ever lost, on the way in, in sums, or on the way out. Method: worked
    //! cases, the extremes, and random amounts and texts through every door.

    #![allow(
        clippy::arithmetic_side_effects,
        clippy::cast_precision_loss,
        clippy::float_arithmetic,
        clippy::float_cmp,
        reason = "an overflow here fails the test, as it should; floats are meant bit for bit"
    )]

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::de::value::{self, MapDeserializer};
    use serde_json::json;

    use super::*;
    use crate::base::reading::raw;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    fn parse_error(text: &str) -> AmountError {
        text.parse::<Amount>().unwrap_err()
    }

    fn via_json(amount: Amount) -> (String, Amount) {
        let text = serde_json::to_string(&amount).unwrap();
        let back = serde_json::from_str(&text).unwrap();
        (text, back)
    }

    #[test]
    fn a_tenth_added_ten_times_is_one() {
        for tenth in [amount("0.1"), Amount::try_from(0.1).unwrap()] {
            let mut sum = Amount::ZERO;
            for _ in 0..10 {
                sum = sum.checked_add(tenth).unwrap();
            }
            assert_eq!(sum, 1);
        }
    }

    #[test]
    fn text_is_read_exactly() {
        for (text, millionths) in [
            ("0", 0),
            ("-0", 0),
            ("0.000000000000", 0),
            ("0e999999999999999999999999", 0),
            ("-0.0e-999999999999999999999999", 0),
            ("12.5", 12_500_000),
            ("+12.5", 12_500_000),
            ("-0.000001", -1),
            ("007", 7_000_000),
            ("200", 200_000_000),
            ("1e3", 1_000_000_000),
            ("1E+3", 1_000_000_000),
            ("1.5e-5", 15),
            ("10e-7", 1),
            ("1.1000000", 1_100_000),
            ("1234567e-6", 1_234_567),
            ("0.0000000000001e7", 1),
            ("10000000000000000000000000000000000000000000000000e-50", 100_000),
            ("10203.040506", 10_203_040_506),
        ] {
            assert_eq!(amount(text).millionths(), millionths, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_decimal_number_is_refused_by_name() {
        for text in [
            "",
            " ",
            "-",
            "+",
            ".",
            "e",
            ".5",
            "5.",
            "1.e3",
            "1e",
            "1e+",
            "1e1.5",
            "--1",
            "+-1",
            " 1",
            "1 ",
            "1_000",
            "1,5",
            "0x10",
            "NaN",
            "inf",
            "-Infinity",
            "1.2.3",
            "1e3e3",
            "\0",
            "\u{661}",
            "ten",
        ] {
            assert!(matches!(parse_error(text), AmountError::Syntax { .. }), "{text:?}");
        }
        assert_eq!(
            parse_error("1,5").to_string(),
            "`1,5` is not a decimal number such as 12, -0.5 or 1.2e3"
        );
    }

    #[test]
    fn a_seventh_digit_after_the_point_is_refused_and_said() {
        for text in ["0.0000001", "1.2345678", "-1e-7", "1e-999999999999999999999", "15e-7"] {
            assert!(matches!(parse_error(text), AmountError::TooPrecise { .. }), "{text}");
        }
        assert_eq!(
            parse_error("0.1234567").to_string(),
            "`0.1234567` has more than six digits after the decimal point, \
             and none is rounded away unasked: `Amount::from_f64_rounded_up` rounds a float up \
             at the sixth"
        );
    }

    #[test]
    fn what_is_too_large_is_refused_and_said() {
        for text in [
            "1e33",
            "-1e33",
            "1e999999999999999999999",
            "170141183460469231731687303715884.105728",
            "-170141183460469231731687303715884.105729",
            "340282366920938463463374607431768.211456",
            "9999999999999999999999999999999999999999999999999999999999",
        ] {
            assert!(matches!(parse_error(text), AmountError::OutOfRange { .. }), "{text}");
        }
        assert_eq!(
            parse_error("1e33").to_string(),
            "`1e33` is out of range: an amount reaches about 1.7e32 either side of zero"
        );
    }

    #[test]
    fn an_error_quotes_little_of_a_long_or_odd_text() {
        let AmountError::Syntax { value } = parse_error(&"\n\u{7}x".repeat(1_000_000)) else {
            panic!("must be a matter of syntax");
        };
        assert!(value.starts_with("\\n\\u{7}x"));
        assert!(value.ends_with("..."));
        assert!(value.len() < 48 * 10);
        assert!(!value.contains(char::is_control));
    }

    #[test]
    fn the_extremes_are_printed_and_read() {
        for (extreme, text) in [
            (Amount::MAX, "170141183460469231731687303715884.105727"),
            (Amount::MIN, "-170141183460469231731687303715884.105728"),
            (Amount::from(u64::MAX), "18446744073709551615"),
            (Amount::from(i64::MIN), "-9223372036854775808"),
        ] {
            assert_eq!(extreme.to_string(), text);
            assert_eq!(amount(text), extreme);
            assert_eq!(via_json(extreme).1, extreme);
        }
    }

    #[test]
    fn sums_out_of_range_are_none() {
        let step = Amount::from_millionths(1);
        assert_eq!(Amount::MAX.checked_add(step), None);
        assert_eq!(Amount::MIN.checked_sub(step), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::MIN), None);
        assert_eq!(Amount::MAX.checked_add(Amount::MIN), Some(amount("-0.000001")));
        assert_eq!(Amount::MIN.checked_sub(Amount::MIN), Some(Amount::ZERO));
    }

    #[test]
    fn whole_units_are_rounded_as_asked_and_saturate() {
        for (text, floor, ceil) in [
            ("0", 0, 0),
            ("0.000001", 0, 1),
            ("0.999999", 0, 1),
            ("1", 1, 1),
            ("12.5", 12, 13),
            ("-0.000001", 0, 0),
            ("-1.5", 0, 0),
            ("18446744073709551614.5", u64::MAX - 1, u64::MAX),
            ("18446744073709551615", u64::MAX, u64::MAX),
            ("18446744073709551615.1", u64::MAX, u64::MAX),
            ("1e32", u64::MAX, u64::MAX),
        ] {
            assert_eq!(amount(text).to_u64_floor(), floor, "{text}");
            assert_eq!(amount(text).to_u64_ceil(), ceil, "{text}");
        }
        assert_eq!((Amount::MIN.to_u64_floor(), Amount::MIN.to_u64_ceil()), (0, 0));
        assert_eq!((Amount::MAX.to_u64_floor(), Amount::MAX.to_u64_ceil()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn floats_are_read_by_their_shortest_form() {
        for (value, text) in [
            (0.1, "0.1"),
            (-0.0, "0"),
            (1e-6, "0.000001"),
            (0.000_25, "0.00025"),
            (12.5, "12.5"),
            (1e32, "100000000000000000000000000000000"),
            (9_007_199_254_740_993.0, "9007199254740992"),
        ] {
            assert_eq!(Amount::try_from(value).unwrap(), amount(text), "{value}");
        }
        assert_eq!(Amount::try_from(0.1_f32).unwrap(), amount("0.1"));
        assert_eq!(Amount::try_from(-2.5_f32).unwrap(), amount("-2.5"));
    }

    #[test]
    fn floats_that_are_no_exact_amount_are_refused_and_said() {
        for value in [0.1 + 0.2, 1e-7, f64::MIN_POSITIVE, 5e-324, 1.0 / 3.0] {
            let error = Amount::try_from(value).unwrap_err();
            assert!(matches!(error, AmountError::TooPrecise { .. }), "{value}: {error}");
        }
        for value in [f64::MAX, f64::MIN, 1e33, 2e32] {
            let error = Amount::try_from(value).unwrap_err();
            assert!(matches!(error, AmountError::OutOfRange { .. }), "{value}: {error}");
        }
        for (value, text) in [
            (f64::NAN, "`NaN` is not a finite number"),
            (f64::INFINITY, "`inf` is not a finite number"),
            (f64::NEG_INFINITY, "`-inf` is not a finite number"),
        ] {
            assert_eq!(Amount::try_from(value).unwrap_err().to_string(), text);
        }
        assert!(matches!(
            Amount::try_from(f32::NAN).unwrap_err(),
            AmountError::NotFinite { value } if &*value == "NaN"
        ));
        assert_eq!(
            Amount::try_from(0.1_f64 + 0.2).unwrap_err().to_string(),
            "`3.0000000000000004e-1` has more than six digits after the decimal point, \
             and none is rounded away unasked: `Amount::from_f64_rounded_up` rounds a float up \
             at the sixth"
        );
    }

    #[test]
    fn a_float_with_noise_is_rounded_up_where_that_is_asked_for() {
        let up = |value: f64| Amount::from_f64_rounded_up(value).unwrap().millionths();
        for (value, millionths) in [
            (0.1 + 0.2, 300_001),
            (37.0 * 0.15 / 1e6, 6),
            (0.3, 300_000),
            (1e-300, 1),
            (f64::MIN_POSITIVE, 1),
            (0.000_001, 1),
            (0.000_000_999_999, 1),
            (0.000_001_000_1, 2),
            (12.0, 12_000_000),
            (0.0, 0),
            (-0.0, 0),
            // Towards what is larger: no more is given back than was meant.
            (-0.1 - 0.2, -300_000),
            (-1e-9, 0),
            (-0.000_001_9, -1),
            (-0.3, -300_000),
            (1e20, 100_000_000_000_000_000_000_000_000),
        ] {
            assert_eq!(up(value), millionths, "{value:e}");
        }
        let refused = |value: f64| Amount::from_f64_rounded_up(value).unwrap_err();
        assert!(matches!(refused(f64::NAN), AmountError::NotFinite { .. }));
        assert!(matches!(refused(f64::NEG_INFINITY), AmountError::NotFinite { .. }));
        assert!(matches!(refused(1e300), AmountError::OutOfRange { .. }));
        let exact = Amount::try_from(0.1_f64 + 0.2).unwrap_err().to_string();
        assert!(exact.contains("`Amount::from_f64_rounded_up`"), "{exact}");
    }

    #[test]
    fn everything_that_counts_becomes_an_amount() {
        fn converted(value: impl IntoAmount) -> Amount {
            value.into_amount().unwrap()
        }
        let text = String::from("7");
        for seven in [
            converted(7_u8),
            converted(7_u16),
            converted(7_u32),
            converted(7_u64),
            converted(7_usize),
            converted(7_i8),
            converted(7_i16),
            converted(7),
            converted(7_i64),
            converted(7_isize),
            converted(7.0),
            converted(7.0_f32),
            converted("7"),
            converted(&text),
            converted(text),
            converted(Amount::from(7_u8)),
        ] {
            assert_eq!(seven, 7);
        }
        assert_eq!(converted(usize::MAX).to_string(), usize::MAX.to_string());
        assert_eq!(converted(isize::MIN).to_string(), isize::MIN.to_string());
        assert!("seven".into_amount().is_err());
        assert!(f64::NAN.into_amount().is_err());
    }

    #[test]
    fn amounts_compare_with_every_integer_from_both_sides() {
        let half = amount("2.5");
        assert!(half > 2_u8 && half < 3_i64 && 2_u64 < half && 3_i32 > half);
        assert!(amount("-7") == -7_i8 && -7_i16 == amount("-7") && amount("7") != -7);
        assert!(amount("7") == 7_u16 && amount("7") == 7_u32 && amount("7") == 7);
    }

    #[test]
    fn sums_that_saturate_stay_at_the_ends() {
        let one = Amount::from(1);
        assert_eq!(Amount::MAX.saturating_add(one), Amount::MAX);
        assert_eq!(Amount::MIN.saturating_sub(one), Amount::MIN);
        assert_eq!(amount("0.1").saturating_add(amount("0.2")), amount("0.3"));
        assert_eq!(amount("0.1").saturating_sub(amount("0.2")), amount("-0.1"));
    }

    #[test]
    fn order_goes_by_size_also_against_whole_units() {
        let sorted = ["-2", "-1.5", "-0.000001", "0", "0.000001", "1", "1.000001"].map(amount);
        assert!(sorted.is_sorted());
        assert!(sorted[2].is_negative() && !sorted[3].is_negative());
        assert!(amount("1.000001") > 1 && amount("0.999999") < 1 && amount("-1") < 0);
        assert_eq!(Amount::default(), Amount::ZERO);
    }

    #[test]
    fn printing_is_shortest_and_pads_like_an_integer() {
        for text in ["0", "200", "12.5", "-12.5", "0.000001", "-0.1", "100.01"] {
            assert_eq!(amount(text).to_string(), text);
        }
        assert_eq!(format!("{:>8}|{:<6}|", amount("12.5"), amount("-1")), "    12.5|-1    |");
        assert_eq!(format!("{:08}|{:+}", amount("-12.5"), amount("3")), "-00012.5|+3");
        assert_eq!(format!("{:?}", amount("-12.5")), "Amount(-12.5)");
    }

    #[test]
    fn json_keeps_every_digit() {
        for (text, json) in [
            ("0", "0"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551616", r#""18446744073709551616""#),
            ("-9223372036854775809", r#""-9223372036854775809""#),
            ("12.5", "12.5"),
            ("-0.1", "-0.1"),
            ("123456789.123456", "123456789.123456"),
            ("1234567890.123456", r#""1234567890.123456""#),
        ] {
            assert_eq!(via_json(amount(text)), (json.to_owned(), amount(text)));
        }
        assert_eq!(serde_json::to_value(amount("0.25")).unwrap(), json!(0.25));
    }

    #[test]
    fn only_whole_amounts_from_zero_become_integers() {
        for (text, units) in [("0", 0), ("7.0", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(u64::try_from(amount(text)), Ok(units));
        }
        for text in ["-1", "0.5", "-0.000001", "18446744073709551616"] {
            let error = u64::try_from(amount(text)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{text}` is not a whole number from 0 to 18446744073709551615")
            );
        }
    }

    #[test]
    fn json_numbers_and_strings_are_read_and_all_else_is_refused() {
        for (json, text) in [
            ("3", "3"),
            ("-3", "-3"),
            ("0.1", "0.1"),
            ("1e3", "1000"),
            ("1e20", "100000000000000000000"),
            (r#""12.5""#, "12.5"),
            (r#""\u0031""#, "1"),
        ] {
            assert_eq!(serde_json::from_str::<Amount>(json).unwrap(), amount(text), "{json}");
        }
        for json in ["null", "true", "[1]", "{}", r#"{"a":1}"#, r#"{"a":"1"}"#, r#""x""#, "1e-7"] {
            assert!(serde_json::from_str::<Amount>(json).is_err(), "{json}");
        }
        let error = serde_json::from_value::<Amount>(json!("0.1234567")).unwrap_err();
        assert_eq!(error.to_string(), parse_error("0.1234567").to_string());
    }

    #[test]
    fn a_number_that_comes_as_its_text_is_read() {
        let read = |key: &'static str, number: &'static str| {
            let entries = [(key, number)].into_iter();
            Amount::deserialize(MapDeserializer::<_, value::Error>::new(entries))
        };
        assert_eq!(read(raw::NUMBER, "123456789012.000001"), Ok(amount("123456789012.000001")));
        assert!(read(raw::NUMBER, "1e-7").is_err());
        assert!(read("number", "1").is_err());
    }

    #[test]
    fn wide_integers_are_units_and_may_be_out_of_range() {
        use serde::de::IntoDeserializer;
        use serde::de::value::{Error, I128Deserializer, U128Deserializer};

        let signed = |units: i128| -> Result<Amount, Error> {
            let wide: I128Deserializer<Error> = units.into_deserializer();
            Amount::deserialize(wide)
        };
        let unsigned = |units: u128| -> Result<Amount, Error> {
            let wide: U128Deserializer<Error> = units.into_deserializer();
            Amount::deserialize(wide)
        };
        assert_eq!(signed(-5), Ok(amount("-5")));
        assert_eq!(unsigned(5), Ok(amount("5")));
        assert!(signed(i128::MIN).is_err() && unsigned(u128::MAX).is_err());
        assert!(unsigned(1 << 127).is_err());
    }

    /// Amounts of every length: a uniform i128 would nearly always have 39 digits.
    fn any_amount() -> impl Strategy<Value = Amount> {
        let digits = (any::<i128>(), 0_u32..39).prop_map(|(n, cut)| n / 10_i128.pow(cut));
        let round = (any::<i64>(), 0_u32..20).prop_map(|(n, up)| i128::from(n) * 10_i128.pow(up));
        let edges = proptest::sample::select(&[i128::MIN, -1, 0, 1, UNIT, i128::MAX][..]);
        prop_oneof![6 => digits, 2 => round, 1 => edges].prop_map(Amount::from_millionths)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(4_096)))]

        #[test]
        fn any_amount_is_printed_and_read_back(amount in any_amount()) {
            let text = amount.to_string();
            prop_assert_eq!(text.parse::<Amount>(), Ok(amount));
            prop_assert!(!text.contains('.') || !text.ends_with(['0', '.']), "{}", text);
            // The same number by another spelling.
            let spelled = format!("{}e-6", amount.millionths());
            prop_assert_eq!(spelled.parse::<Amount>(), Ok(amount));
        }

        #[test]
        fn any_amount_survives_json_and_binary(amount in any_amount()) {
            let (text, back) = via_json(amount);
            prop_assert_eq!(back, amount, "{}", text);
            let bytes = postcard::to_stdvec(&amount).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Amount>(&bytes), Ok(amount));
            // Also by way of a tree, as events with free properties are read.
            let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::from_value::<Amount>(tree).unwrap(), amount);
            // And the text itself says this amount, whoever reads it.
            prop_assert_eq!(text.trim_matches('"').parse::<Amount>(), Ok(amount));
        }

        #[test]
        fn any_float_is_read_as_it_prints_or_refused(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(Amount::try_from(value).ok(), value.to_string().parse().ok());
        }

        #[test]
        fn a_float_rounded_up_is_the_next_amount(value in -1e9_f64..1e9) {
            let up = Amount::from_f64_rounded_up(value).unwrap();
            match Amount::try_from(value) {
                Ok(exact) => prop_assert_eq!(up, exact),
                Err(_) => {
                    let up = up.millionths() as f64;
                    prop_assert!((value * 1e6 - up) < 0.01 && up - value * 1e6 < 1.01);
                }
            }
        }

        #[test]
        fn any_float_of_few_digits_is_exact(digits in -1_000_000_000_i64..1_000_000_000) {
            let text = format!("{digits}e-6");
            let value: f64 = text.parse().unwrap();
            prop_assert_eq!(Amount::try_from(value), Ok(Amount(i128::from(digits))));
        }

        #[test]
        fn rounding_brackets_the_amount(units in 0_u64..u64::MAX, part in 0_i128..UNIT) {
            let amount = Amount(i128::from(units) * UNIT + part);
            prop_assert_eq!(amount.to_u64_floor(), units);
            prop_assert_eq!(amount.to_u64_ceil(), units + u64::from(part > 0));
            prop_assert!(amount >= amount.to_u64_floor() && amount <= amount.to_u64_ceil());
        }

        #[test]
        fn sums_agree_with_their_differences(a in any_amount(), b in any_amount()) {
            prop_assert_eq!(a.checked_add(b), b.checked_add(a));
            if let Some(sum) = a.checked_add(b) {
                prop_assert_eq!(sum.checked_sub(b), Some(a));
                prop_assert_eq!(sum.millionths(), a.millionths() + b.millionths());
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Amount>().map_err(|error| error.to_string());
        }

        #[test]
        fn no_text_of_number_parts_panics_or_disagrees_with_floats(text in "[-+.eE0-9]{0,40}") {
            // Rust's floats take a superset of this grammar.
            let float = text.parse::<f64>();
            match text.parse::<Amount>() {
                Ok(amount) => {
                    let spelled: f64 = amount.to_string().parse().unwrap();
                    prop_assert!(float.is_ok_and(|float| float == spelled), "{}", text);
                }
                Err(AmountError::Syntax { .. }) => {
                    let dangling = text.starts_with(['.', '+', '-']) || text.contains('.');
                    prop_assert!(float.is_err() || dangling, "{}", text);
                }
                Err(_) => prop_assert!(float.is_ok(), "{}", text),
            }
        }
    }
}
