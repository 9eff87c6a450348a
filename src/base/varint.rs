//! Numbers in as many bytes as they need, seven bits a byte, the lowest first.

/// The most bytes of a number.
const MOST: usize = 10;
/// Appends a number: below 128 one byte, and ten at the most.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

/// Takes a number from the front; `None` where there is none.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (place, byte) in (0_u32..).zip(bytes.iter().take(MOST)) {
        let shift = place.saturating_mul(7);
        let part = u64::from(byte & 0x7f);
        let placed = part.checked_shl(shift)?;
        // The tenth byte has room for one bit.
        if placed >> shift != part {
            return None;
        }
        number |= placed;
        if *byte < 0x80 {
            *bytes = bytes.get(place as usize..)?.get(1..)?;
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_take_what_they_need() {
        for (number, length) in
            [(0, 1), (127, 1), (128, 2), (u64::from(u32::MAX), 5), (u64::MAX, 10)]
        {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(bytes.len(), length, "{number}");
            bytes.push(7);
            let mut rest = &*bytes;
            assert_eq!((take(&mut rest), rest), (Some(number), &[7][..]));
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(take(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
