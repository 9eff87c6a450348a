//! Numbers in as many bytes as they need, seven bits a byte, the lowest first.

/// Appends a number: below 128 one byte, and ten at the most.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(byte @ 0..0x80) => out.push(byte),
        _ => put_long_varint(out, number),
    }
}

fn put_long_varint(out: &mut Vec<u8>, number: u64) {
    let room = out.capacity().saturating_sub(out.len());
    if number > EIGHT_GROUPS || room < size_of::<u64>() {
        return put_by_groups(out, number);
    }
    let (groups, length) = groups(number);
    let end = out.len().saturating_add(length);
    // Eight bytes are one write; those that are none of the number's go again.
    out.extend_from_slice(&groups);
    out.truncate(end);
}

#[cold]
fn put_by_groups(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(first_group(rest) | 0x80);
        rest >>= 7;
    }
    out.push(first_group(rest));
}

/// The lowest seven bits.
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is wanted")]
fn first_group(number: u64) -> u8 {
    number as u8 & 0x7f
}

/// The greatest number of eight groups.
const EIGHT_GROUPS: u64 = u64::MAX >> 8;

/// The groups of seven bits of a number that has at most eight, and how many it has.
#[inline]
fn groups(number: u64) -> ([u8; 8], usize) {
    // Moved apart by halves: two groups of 28 bits, four of 14, eight of 7. Most have one of 28.
    let apart = if number < 1 << 28 {
        number
    } else {
        (number & 0x0fff_ffff) | ((number << 4) & 0x0fff_ffff_0000_0000)
    };
    let apart = (apart & 0x3fff_0000_3fff) | ((apart << 2) & 0x3fff_0000_3fff_0000);
    let apart = (apart & 0x7f_007f_007f_007f) | ((apart << 1) & 0x7f00_7f00_7f00_7f00);
    // In each byte the highest bit says that another one follows.
    let log = (number | 1).ilog2();
    // A seventh, rounded down, up to 63.
    let last = (log.wrapping_mul(9).wrapping_add(9)) >> 6;
    let before_last = 1_u64.wrapping_shl(last << 3).wrapping_sub(1);
    let bytes = (apart | (before_last & 0x8080_8080_8080_8080)).to_le_bytes();
    (bytes, (last as usize).wrapping_add(1))
}

/// A few numbers of a value, put together on the stack and appended at once: as many bytes as fit
/// into `ROOM`, of which the last eight are room to write into.
#[derive(Debug)]
pub(crate) struct Numbers<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Numbers<ROOM> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }

    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.put([byte], 1);
    }

    /// A number in all of its bytes.
    #[inline]
    pub(crate) fn word(&mut self, number: u64) {
        self.put(number.to_le_bytes(), size_of::<u64>());
    }

    /// As [`put_varint`].
    #[inline]
    pub(crate) fn varint(&mut self, number: u64) {
        match u8::try_from(number) {
            Ok(byte @ 0..0x80) => self.byte(byte),
            Err(_) if number > EIGHT_GROUPS => self.longest_varint(number),
            _ => {
                let (groups, length) = groups(number);
                self.put(groups, length);
            }
        }
    }

    #[cold]
    fn longest_varint(&mut self, number: u64) {
        self.byte(first_group(number) | 0x80);
        self.varint(number >> 7);
    }

    /// As [`put_signed`].
    #[inline]
    pub(crate) fn signed(&mut self, number: i64) {
        self.varint(zigzag(number));
    }

    /// As [`put_wide`].
    #[inline]
    pub(crate) fn wide(&mut self, number: i128) {
        match u64::try_from(zigzag_wide(number)) {
            Ok(number) => self.varint(number),
            Err(_) => self.widest(zigzag_wide(number)),
        }
    }

    #[cold]
    fn widest(&mut self, number: u128) {
        let mut rest = number;
        while rest >= 0x80 {
            self.byte(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.byte(u8::try_from(rest).unwrap_or(0));
    }

    #[inline]
    fn put<const SIZE: usize>(&mut self, bytes: [u8; SIZE], length: usize) {
        let place = self.bytes.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut);
        debug_assert!(place.is_some(), "there is room for all that is put together");
        if let Some(place) = place {
            *place = bytes;
            self.length = self.length.wrapping_add(length);
        }
    }

    /// Appends what was put together, and begins again.
    #[inline]
    pub(crate) fn append_to(&mut self, out: &mut Vec<u8>) {
        let end = out.len().wrapping_add(self.length);
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
        self.length = 0;
    }
}

/// A number that may be negative as one that is small where it is near 0.
#[inline]
fn zigzag(number: i64) -> u64 {
    (number << 1).cast_unsigned() ^ (number >> 63).cast_unsigned()
}

/// Appends a number that may be negative: small where it is near 0.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, zigzag(number));
}

/// Appends a number of 128 bits that may be negative.
#[inline]
pub(crate) fn put_wide(out: &mut Vec<u8>, number: i128) {
    match u64::try_from(zigzag_wide(number)) {
        Ok(number) => put_varint(out, number),
        Err(_) => put_widest(out, number),
    }
}

#[cold]
fn put_widest(out: &mut Vec<u8>, number: i128) {
    let mut number = zigzag_wide(number);
    loop {
        if let Ok(rest) = u64::try_from(number) {
            return put_varint(out, rest);
        }
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
}

/// The same as [`zigzag`] of 128 bits.
#[inline]
fn zigzag_wide(number: i128) -> u128 {
    (number << 1).cast_unsigned() ^ (number >> 127).cast_unsigned()
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
