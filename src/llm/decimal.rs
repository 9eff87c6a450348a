//! Decimal numbers as lists of prices write them, exactly.

/// The most digits that are read: what is beyond is no price.
const MAX_DIGITS: usize = 38;

/// A number that is not below zero: `digits * 10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// Reads `12`, `0.5`, `.5`, `1.5e-07`; `None` for any other text, and for what is below zero.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = fraction.trim_end_matches('0');
        let places = i32::try_from(fraction.len()).ok()?;
        let all = whole.bytes().chain(fraction.bytes());
        let mut digits = 0_u128;
        let mut seen = number.len() > usize::from(number.contains('.'));
        let mut significant = 0_usize;
        for byte in all {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            significant = significant.saturating_add(usize::from(digit > 0 || significant > 0));
            seen &= significant <= MAX_DIGITS;
            digits = digits.checked_mul(10)?.checked_add(u128::from(digit))?;
        }
        seen.then_some(Self { digits, exponent: exponent.checked_sub(places)? })
    }

    /// Reads a float by the shortest text that stands for it.
    pub(super) fn of_float(value: f64) -> Option<Self> {
        Self::parse(&format!("{value:e}"))
    }

    pub(super) const fn whole(digits: u64) -> Self {
        Self { digits: digits as u128, exponent: 0 }
    }

    /// The number times `10^power`.
    pub(super) const fn shifted(self, power: i32) -> Self {
        Self { digits: self.digits, exponent: self.exponent.saturating_add(power) }
    }

    /// Rounded, half up, to so many significant digits: what floats add beyond them is dust.
    pub(super) fn without_dust(mut self, significant: u32) -> Self {
        let Some(most) = 10_u128.checked_pow(significant) else { return self };
        let (mut dropped, mut divisor) = (0_i32, 1_u128);
        while self.digits.checked_div(divisor).is_some_and(|digits| digits >= most) {
            let Some(next) = divisor.checked_mul(10) else { return self };
            (dropped, divisor) = (dropped.saturating_add(1), next);
        }
        let half = divisor.checked_div(2).unwrap_or(0);
        self.digits = self.digits.saturating_add(half).checked_div(divisor).unwrap_or(0);
        self.exponent = self.exponent.saturating_add(dropped);
        self
    }

    /// The digits, and the power of ten that they are of.
    pub(super) const fn parts(self) -> (u128, i32) {
        (self.digits, self.exponent)
    }

    /// The number times `10^power`, rounded up to a whole one; `None` where it does not fit. The
    /// second is whether nothing was rounded.
    pub(super) fn scaled(self, power: i32) -> Option<(u128, bool)> {
        if self.digits == 0 {
            return Some((0, true));
        }
        let power = self.exponent.checked_add(power)?;
        let factor = 10_u128.checked_pow(power.unsigned_abs());
        if power >= 0 {
            return Some((self.digits.checked_mul(factor?)?, true));
        }
        let Some(divisor) = factor else { return Some((1, false)) };
        let rest = self.digits.checked_rem(divisor)?;
        let up = u128::from(rest > 0);
        Some((self.digits.checked_div(divisor)?.checked_add(up)?, rest == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn scaled(text: &str, power: i32) -> Option<(u128, bool)> {
        Decimal::parse(text)?.scaled(power)
    }

    #[test]
    fn what_lists_write_is_read_exactly() {
        for (text, power, scaled_to) in [
            ("1.5e-07", 15, Some((150_000_000, true))),
            ("0.00000015", 15, Some((150_000_000, true))),
            ("1.15e-9", 15, Some((1_150_000, true))),
            (".5", 1, Some((5, true))),
            ("5.", 0, Some((5, true))),
            ("2.50", 1, Some((25, true))),
            ("1e-16", 15, Some((1, false))),
            ("0e-999", 15, Some((0, true))),
            ("1e-99999", 15, Some((1, false))),
            ("1e99999", 15, None),
            ("0.15", 1, Some((2, false))),
        ] {
            assert_eq!(scaled(text, power), scaled_to, "{text}");
        }
        let long = "1".repeat(39);
        for text in ["", ".", "-1", "+1", "1e", "e5", "1.2.3", "0x1", "NaN", "inf", " 1", &long] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn floats_are_read_by_their_shortest_text_without_dust() {
        let read = |value: f64| Decimal::of_float(value).map(|it| it.without_dust(12).scaled(15));
        assert_eq!(read(1.000_000_000_000_000_1e-7), Some(Some((100_000_000, true))));
        assert_eq!(read(1.5e-7), Some(Some((150_000_000, true))));
        assert_eq!(read(0.1 + 0.2), Some(Some((300_000_000_000_000, true))));
        assert_eq!(read(f64::NAN), None);
        assert_eq!(read(-1.0), None);
    }
}
