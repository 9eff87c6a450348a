//! What is stored, read from the front.

use std::fmt;
use std::ops::BitOrAssign;

use crate::base::format::Version;

/// The most bytes of a number, and of one of 128 bits.
const MOST: usize = 10;
const MOST_OF_WIDE: usize = 19;

/// Stored bytes, with the format that they are in and how far they are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'b> {
    version: Version,
    bytes: &'b [u8],
    position: usize,
}

/// What could not be read, and why. It costs no allocation: most of who gets one has an error of
/// its own to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    what: &'static str,
    position: usize,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is not what it should be.
    Value,
    Utf8,
    Short {
        expected: usize,
        left: usize,
    },
    Trailing {
        left: usize,
    },
}

impl<'b> Reader<'b> {
    pub(crate) fn new(version: Version, bytes: &'b [u8]) -> Self {
        Self { version, bytes, position: 0 }
    }

    /// The format of the bytes.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// What is not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.position..).unwrap_or(&[])
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Nothing is left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        let left = self.rest().len();
        let trailing =
            Malformed { what: "the end", position: self.position, why: Why::Trailing { left } };
        if left == 0 { Ok(()) } else { Err(trailing) }
    }

    /// The error for what was just read and is not `what`.
    #[cold]
    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { what, position: self.position, why: Why::Value }
    }

    /// The error where what was just read does not hold for `what`.
    #[inline]
    pub(crate) fn require(&self, holds: bool, what: &'static str) -> Result<(), Malformed> {
        if holds { Ok(()) } else { Err(self.malformed(what)) }
    }

    /// Takes so many bytes.
    #[inline]
    pub(crate) fn bytes(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<&'b [u8], Malformed> {
        let Some((taken, _)) = self.rest().split_at_checked(count) else {
            return Err(self.short(count, what));
        };
        self.position = self.position.saturating_add(count);
        Ok(taken)
    }

    /// Takes all that is left.
    pub(crate) fn take_rest(&mut self) -> &'b [u8] {
        let rest = self.rest();
        self.position = self.bytes.len();
        rest
    }

    #[inline]
    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let Some((taken, _)) = self.rest().split_first_chunk() else {
            return Err(self.short(N, what));
        };
        self.position = self.position.saturating_add(N);
        Ok(*taken)
    }

    /// Takes a number in as many bytes as it needs.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        // As most are.
        if let Some(byte @ 0..0x80) = self.bytes.get(self.position).copied() {
            self.position = self.position.saturating_add(1);
            return Ok(byte.into());
        }
        // The tenth byte has room for one bit.
        self.groups((MOST, 1), "a number", |group, shift| u64::from(group).wrapping_shl(shift))
    }

    /// Takes a number in groups of seven bits, a byte each, the lowest first; `placed` moves a
    /// group to its place in the number. The last byte that there may be is at most `last`.
    #[inline]
    fn groups<N: From<u8> + BitOrAssign>(
        &mut self,
        (most, last): (usize, u8),
        what: &'static str,
        placed: impl Fn(u8, u32) -> N,
    ) -> Result<N, Malformed> {
        let mut number = N::from(0);
        for (index, byte) in (0_u32..).zip(self.rest().iter().take(most)) {
            let (group, length) = (byte & 0x7f, (index as usize).saturating_add(1));
            number |= placed(group, index.saturating_mul(7));
            if *byte < 0x80 {
                if length == most && group > last {
                    break;
                }
                self.position = self.position.saturating_add(length);
                return Ok(number);
            }
        }
        Err(self.malformed(what))
    }

    /// Takes a number that fits 32 bits.
    #[inline]
    pub(crate) fn varint_u32(&mut self) -> Result<u32, Malformed> {
        let number = self.varint()?;
        u32::try_from(number).map_err(|_| self.malformed("a number of 32 bits"))
    }

    /// Takes a number that is a length or a count of what follows: never more than there are bytes
    /// left, so that nobody makes room for what is not there.
    #[inline]
    pub(crate) fn length(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if length > self.rest().len() { Err(self.short(length, what)) } else { Ok(length) }
    }

    /// Takes a number of things, and then each of them.
    pub(crate) fn list<T, L: FromIterator<T>>(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<L, Malformed> {
        let count = self.length(what)?;
        (0..count).map(|_| item(self)).collect()
    }

    /// Takes a number that may be negative.
    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    /// Takes a number of 128 bits that may be negative.
    #[inline]
    pub(crate) fn wide(&mut self) -> Result<i128, Malformed> {
        // The last byte has room for two bits.
        let placed = |group, shift| u128::from(group).wrapping_shl(shift);
        let number = self.groups((MOST_OF_WIDE, 3), "a number of 128 bits", placed)?;
        Ok((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    /// Takes a text.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'b str, Malformed> {
        let length = self.length("a text")?;
        self.text_of(length)
    }

    /// Takes a text of so many bytes.
    #[inline]
    pub(crate) fn text_of(&mut self, length: usize) -> Result<&'b str, Malformed> {
        let bytes = self.bytes(length, "a text")?;
        let not_utf8 = Malformed { what: "a text", position: self.position, why: Why::Utf8 };
        str::from_utf8(bytes).map_err(|_| not_utf8)
    }

    #[cold]
    fn short(&self, expected: usize, what: &'static str) -> Malformed {
        let left = self.rest().len();
        Malformed { what, position: self.position, why: Why::Short { expected, left } }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, position, why } = self;
        write!(f, "{what} at byte {position}: ")?;
        let is = |count| if count == 1 { "is" } else { "are" };
        let bytes = |count| if count == 1 { "byte" } else { "bytes" };
        match *why {
            Why::Value => f.write_str("is no such value"),
            Why::Utf8 => f.write_str("is not UTF-8"),
            Why::Short { expected, left } => write!(
                f,
                "{expected} {} {} expected, {left} {} there",
                bytes(expected),
                is(expected),
                is(left)
            ),
            Why::Trailing { left } => write!(f, "{left} {} {} left", bytes(left), is(left)),
        }
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codec::{put_signed, put_varint, put_wide};

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(Version::NEWEST, bytes)
    }

    #[test]
    fn numbers_come_back_and_take_what_they_need() {
        for (number, length) in
            [(0, 1), (127, 1), (128, 2), (u64::from(u32::MAX), 5), (u64::MAX, 10)]
        {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(bytes.len(), length, "{number}");
            bytes.push(7);
            let mut from = reader(&bytes);
            assert_eq!((from.varint(), from.rest()), (Ok(number), &[7][..]));
        }
        for number in [0, -1, 1, i64::MIN, i64::MAX, -63, 64] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            assert_eq!(reader(&bytes).signed(), Ok(number));
        }
    }

    #[test]
    fn numbers_of_128_bits_come_back_and_take_what_they_need() {
        for (number, length) in [
            (0, 1),
            (-64, 1),
            (64, 2),
            (i128::from(i64::MAX), 10),
            (-(1 << 63) - 1, 10),
            (i128::MAX, 19),
            (i128::MIN, 19),
        ] {
            let mut bytes = Vec::new();
            put_wide(&mut bytes, number);
            assert_eq!(bytes.len(), length, "{number}");
            bytes.push(7);
            let mut from = reader(&bytes);
            assert_eq!((from.wide(), from.rest()), (Ok(number), &[7][..]));
        }
        let mut above = [0xff; 19];
        above[18] = 4;
        for bytes in [&[][..], &[0x80], &[0xff; 19], &above] {
            assert!(reader(bytes).wide().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_an_error_and_takes_nothing() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            let mut from = reader(bytes);
            assert!(from.varint().is_err(), "{bytes:?}");
            assert_eq!(from.rest(), bytes);
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_an_error() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert!(reader(&bytes).length("entries").is_err());
        assert_eq!(reader(&[2, 9, 9]).length("entries"), Ok(2));
    }
}
