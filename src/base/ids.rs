//! The names that engines give: a prefix, and 128 bits as 26 digits and letters.

/// Digits and lower case letters without i, l, o and u, which are easily misread.
const ALPHABET: [u8; 32] = *b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;
/// Prefixes are four letters.
const LENGTH: usize = 4 + DIGITS;

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
        // The runs of the alphabet, each with the digit that it begins with.
        let (from, first) = match byte {
            b'0'..=b'9' => (b'0', 0),
            b'a'..=b'h' => (b'a', 10),
            b'j'..=b'k' => (b'j', 18),
            b'm'..=b'n' => (b'm', 20),
            b'p'..=b't' => (b'p', 22),
            b'v'..=b'z' => (b'v', 27),
            _ => return None,
        };
        let digit = byte.wrapping_sub(from).wrapping_add(first);
        // Of the first of 26 digits two bits are beyond the 128.
        (value >> 123 == 0).then(|| (value << 5) | u128::from(digit))
    })
}
