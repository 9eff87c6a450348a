//! The names that engines give: a prefix, and 128 bits as 26 digits and letters.

/// Digits and lower case letters without i, l, o and u, which are easily misread.
const ALPHABET: [u8; 32] = *b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;
/// Prefixes are four letters.
const LENGTH: usize = 4 + DIGITS;
/// In place of a byte's digit where it is none.
const NO_DIGIT: u8 = 32;

/// The digit that each byte stands for.
const VALUES: [u8; 256] = {
    let (mut values, mut digit) = ([NO_DIGIT; 256], 0_u8);
    while digit < 32 {
        values[ALPHABET[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// A printed name.
#[derive(Clone, Copy)]
pub(crate) struct Name([u8; LENGTH]);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        // They are letters and digits.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The name of a number, with a prefix of four letters. Of two with one prefix the higher number's
/// is the higher text.
pub(crate) fn print(prefix: &str, number: u128) -> Name {
    let (mut bytes, mut left) = ([0; LENGTH], number);
    for byte in bytes.iter_mut().rev().take(DIGITS) {
        let digit = usize::try_from(left & 31).unwrap_or(0);
        *byte = ALPHABET.get(digit).copied().unwrap_or(0);
        left >>= 5;
    }
    debug_assert_eq!(prefix.len(), 4, "{prefix}");
    bytes.iter_mut().zip(prefix.bytes()).for_each(|(byte, of)| *byte = of);
    Name(bytes)
}

/// The number that a name is of.
pub(crate) fn parse(prefix: &str, text: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == DIGITS)?;
    digits.bytes().try_fold(0_u128, |value, byte| {
        let digit = VALUES.get(usize::from(byte)).copied().filter(|digit| *digit < NO_DIGIT)?;
        // Of the first of 26 digits two bits are beyond the 128.
        (value >> 123 == 0).then(|| (value << 5) | u128::from(digit))
    })
}
