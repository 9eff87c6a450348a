//! The names that engines give: a prefix, and 128 bits as 26 digits and letters.

/// Digits and lower case letters without i, l, o and u, which are easily misread.
const ALPHABET: [u8; 32] = *b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: u32 = 26;

/// The name of a number. Of two with one prefix the higher number's is the higher text.
pub(crate) fn print(prefix: &str, number: u128) -> String {
    let digit = |place: u32| {
        let value = usize::try_from(number.unbounded_shr(place.saturating_mul(5)) & 31);
        ALPHABET.get(value.unwrap_or(0)).map_or('0', |byte| char::from(*byte))
    };
    let mut text = String::with_capacity(30);
    text.push_str(prefix);
    text.extend((0..DIGITS).rev().map(digit));
    text
}

/// The number that a name is of.
pub(crate) fn parse(prefix: &str, text: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == DIGITS as usize)?;
    digits.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        value.checked_mul(32)?.checked_add(u128::try_from(digit).ok()?)
    })
}
