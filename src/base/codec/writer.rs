//! Numbers in as many bytes as they need, seven bits a byte, the lowest first.

/// Appends a number: below 128 one byte, and ten at the most.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(low_bits(number)),
        0x80..0x4000 => out.extend_from_slice(&groups::<2>(number)),
        _ => put_long_varint(out, number),
    }
}

fn put_long_varint(out: &mut Vec<u8>, number: u64) {
    match number.checked_ilog2().unwrap_or(0).div_euclid(7) {
        ..=2 => out.extend_from_slice(&groups::<3>(number)),
        3 => out.extend_from_slice(&groups::<4>(number)),
        4 => out.extend_from_slice(&groups::<5>(number)),
        5 => out.extend_from_slice(&groups::<6>(number)),
        6 => out.extend_from_slice(&groups::<7>(number)),
        7 => out.extend_from_slice(&groups::<8>(number)),
        8 => out.extend_from_slice(&groups::<9>(number)),
        9.. => out.extend_from_slice(&groups::<10>(number)),
    }
}

/// The groups of seven bits of a number that has so many, the lowest first: one write for all.
#[inline]
fn groups<const COUNT: usize>(number: u64) -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    for (place, byte) in (0_u32..).zip(&mut bytes) {
        *byte = low_bits(number.unbounded_shr(place.saturating_mul(7))) | 0x80;
    }
    if let Some(last) = bytes.last_mut() {
        *last &= 0x7f;
    }
    bytes
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is wanted")]
fn low_bits(number: u64) -> u8 {
    (number as u8) & 0x7f
}

/// Appends a number that may be negative: small where it is near 0.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, (number << 1).cast_unsigned() ^ (number >> 63).cast_unsigned());
}

/// Appends a number of 128 bits that may be negative.
#[inline]
pub(crate) fn put_wide(out: &mut Vec<u8>, number: i128) {
    let mut number = (number << 1).cast_unsigned() ^ (number >> 127).cast_unsigned();
    loop {
        // Mostly the first time.
        if let Ok(rest) = u64::try_from(number) {
            return put_varint(out, rest);
        }
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
}

/// Appends the number of things, and then each of them.
pub(crate) fn put_list<T>(
    out: &mut Vec<u8>,
    things: impl ExactSizeIterator<Item = T>,
    mut put: impl FnMut(T, &mut Vec<u8>),
) {
    put_varint(out, things.len() as u64);
    things.for_each(|thing| put(thing, out));
}

/// Appends a text: its length in bytes, and the bytes.
#[inline]
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
