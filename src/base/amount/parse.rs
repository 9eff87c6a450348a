//! Reading amounts: decimal text, and floats by the shortest text that stands for them.

use std::fmt;

use super::{Amount, AmountError, FRACTION_DIGITS};
use crate::base::text::excerpt_of_line;

/// What keeps digits from being an amount; it becomes an error once the value is at hand.
#[derive(Clone, Copy)]
pub(super) enum DigitsProblem {
    Syntax,
    TooPrecise,
    OutOfRange,
}

impl DigitsProblem {
    pub(super) fn of(self, given: &str) -> AmountError {
        let value = excerpt_of_line(given);
        match self {
            Self::Syntax => AmountError::Syntax { value },
            Self::TooPrecise => AmountError::TooPrecise { value },
            Self::OutOfRange => AmountError::OutOfRange { value },
        }
    }
}

/// What becomes of digits after the sixth.
#[derive(Clone, Copy)]
pub(super) enum Digits {
    /// There are none, or it is an error.
    Exact,
    /// They are rounded away, towards the larger amount.
    RoundedUp,
}

pub(super) fn parse(text: &[u8], digits: Digits) -> Result<Amount, DigitsProblem> {
    let (negative, rest) = split_sign(text);
    let (whole, rest) = split_digits(rest)?;
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => split_digits(rest)?,
        None => (&[][..], rest),
    };
    let exponent = match rest.split_first() {
        None => 0,
        Some((b'e' | b'E', rest)) => parse_exponent(rest)?,
        Some(_) => return Err(DigitsProblem::Syntax),
    };
    millionths((negative, whole, fraction, exponent), digits).map(Amount)
}

/// Puts `whole.fraction * 10^exponent`, in digits, together as millionths.
fn millionths(
    (negative, whole, fraction, exponent): (bool, &[u8], &[u8], i64),
    digits: Digits,
) -> Result<i128, DigitsProblem> {
    // None once the digits themselves are out of range.
    let mut magnitude = Some(0_u128);
    // Zeros wait until a digit follows them, so that trailing ones need no room.
    let mut zeros: i64 = 0;
    for digit in whole.iter().chain(fraction) {
        if *digit == b'0' {
            zeros = zeros.saturating_add(1);
            continue;
        }
        let value = u128::from(digit.wrapping_sub(b'0'));
        magnitude = magnitude
            .and_then(|magnitude| shift(magnitude, zeros.saturating_add(1)))
            .and_then(|magnitude| magnitude.checked_add(value));
        zeros = 0;
    }
    if magnitude == Some(0) {
        return Ok(0);
    }
    // The last non-zero digit, in millionths, stands for ten to this power. No text has so many
    // digits that they could offset an exponent at which these sums saturate.
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let power = exponent
        .saturating_sub(fraction_digits)
        .saturating_add(zeros)
        .saturating_add(i64::from(FRACTION_DIGITS));
    let magnitude = match digits {
        _ if power >= 0 => magnitude.and_then(|magnitude| shift(magnitude, power)),
        Digits::Exact => return Err(DigitsProblem::TooPrecise),
        Digits::RoundedUp => {
            // What lies beyond the digits of a u128 is between two neighbours all the same.
            let divisor = shift(1, power.saturating_neg()).unwrap_or(u128::MAX);
            let up = u128::from(!negative);
            let floor = |magnitude: u128| magnitude.checked_div(divisor).unwrap_or(0);
            magnitude.map(|magnitude| floor(magnitude).saturating_add(up))
        }
    };
    let magnitude = magnitude.ok_or(DigitsProblem::OutOfRange)?;
    let signed = if negative {
        0_i128.checked_sub_unsigned(magnitude)
    } else {
        i128::try_from(magnitude).ok()
    };
    signed.ok_or(DigitsProblem::OutOfRange)
}

/// Multiplies by ten to a power; `None` where the result does not fit. Zero stays zero.
fn shift(magnitude: u128, power: i64) -> Option<u128> {
    if magnitude == 0 {
        return Some(0);
    }
    10_u128.checked_pow(u32::try_from(power).ok()?)?.checked_mul(magnitude)
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

/// Splits off the leading digits, of which there must be one or more.
fn split_digits(text: &[u8]) -> Result<(&[u8], &[u8]), DigitsProblem> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at_checked(count).filter(|_| count > 0).ok_or(DigitsProblem::Syntax)
}

/// Reads an exponent to its end; one beyond `i64` stops there, far beyond any amount.
fn parse_exponent(text: &[u8]) -> Result<i64, DigitsProblem> {
    let (negative, rest) = split_sign(text);
    let (digits, rest) = split_digits(rest)?;
    if !rest.is_empty() {
        return Err(DigitsProblem::Syntax);
    }
    let magnitude = digits.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit.wrapping_sub(b'0')))
    });
    Ok(if negative { magnitude.saturating_neg() } else { magnitude })
}

/// Room for a float's shortest form with an exponent, so that reading one allocates nothing.
struct FloatText {
    bytes: [u8; 32],
    length: usize,
}

impl FloatText {
    /// Writes a float; `None` only if it needed more room, which 24 bytes at most rule out.
    fn of(value: impl fmt::LowerExp) -> Option<Self> {
        let mut text = Self { bytes: [0; 32], length: 0 };
        fmt::write(&mut text, format_args!("{value:e}")).ok()?;
        Some(text)
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }
}

impl fmt::Write for FloatText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length.checked_add(part.len()).ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Reads a float by the shortest decimal form that stands for it.
pub(super) fn from_float(
    finite: bool,
    value: impl fmt::LowerExp + fmt::Display,
    digits: Digits,
) -> Result<Amount, AmountError> {
    if !finite {
        return Err(AmountError::NotFinite { value: excerpt_of_line(&value.to_string()) });
    }
    let read = |text: &str| parse(text.as_bytes(), digits).map_err(|problem| problem.of(text));
    let text = FloatText::of(&value);
    match text.as_ref().and_then(FloatText::as_str) {
        Some(text) => read(text),
        None => read(&value.to_string()),
    }
}
