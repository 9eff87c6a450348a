//! How values are written to the journal and read back: encoding and decoding stand beside each
//! type, as its [`Codec`].
//!
//! What is stored is input. A decoder never panics, reads nothing beyond its bytes, and says what
//! was wrong and where. It is told the format of its bytes ([`Reader::version`]) and reads every
//! format that there ever was; an encoder writes the newest.

mod reader;
mod writer;

pub(crate) use self::reader::{Malformed, Reader};
pub(crate) use self::writer::{Numbers, put_list, put_signed, put_text, put_varint, put_wide};

/// A type that the journal stores. What borrows from the bytes has their lifetime.
pub(crate) trait Codec<'b>: Sized {
    /// Appends the value, in the newest format.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes a value from the front of the bytes.
    fn decode(from: &mut Reader<'b>) -> Result<Self, Malformed>;

    /// The value as bytes of their own.
    #[cfg(test)]
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads a value that is all of the bytes.
    fn decode_all(from: Reader<'b>) -> Result<Self, Malformed> {
        let mut from = from;
        let value = Self::decode(&mut from)?;
        from.end()?;
        Ok(value)
    }
}

/// Plain numbers, little endian, in all their bytes.
macro_rules! plain {
    ($($number:ty),*) => {$(
        impl Codec<'_> for $number {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                from.array(stringify!($number)).map(Self::from_le_bytes)
            }
        }
    )*};
}

plain!(u8, u16, u32, u64, i64, i128);

impl Codec<'_> for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    #[inline]
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::decode(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.malformed("a yes or no")),
        }
    }
}

/// A text is its length in bytes, as a varint, and the bytes.
impl<'b> Codec<'b> for &'b str {
    fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, self);
    }

    fn decode(from: &mut Reader<'b>) -> Result<Self, Malformed> {
        from.text()
    }
}

impl<'b, T: Codec<'b>> Codec<'b> for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    #[inline]
    fn decode(from: &mut Reader<'b>) -> Result<Self, Malformed> {
        if bool::decode(from)? { T::decode(from).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::format::Version;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(Version::NEWEST, bytes)
    }

    #[test]
    fn values_come_back_and_take_what_they_need() {
        let mut out = Vec::new();
        7_u8.encode(&mut out);
        (-9_i128).encode(&mut out);
        "a text".encode(&mut out);
        Some(5_u32).encode(&mut out);
        None::<u64>.encode(&mut out);
        let mut from = reader(&out);
        assert_eq!(u8::decode(&mut from), Ok(7));
        assert_eq!(i128::decode(&mut from), Ok(-9));
        assert_eq!(<&str>::decode(&mut from), Ok("a text"));
        assert_eq!(Option::<u32>::decode(&mut from), Ok(Some(5)));
        assert_eq!(Option::<u64>::decode(&mut from), Ok(None));
        assert_eq!(from.end(), Ok(()));
    }

    /// However a number is written, it is seven bits a byte.
    #[test]
    fn numbers_of_every_length_are_the_same_bytes() {
        for bits in 0..64 {
            for number in [1_u64 << bits, (1 << bits) - 1, 0xa5a5_a5a5_a5a5_a5a5 >> bits] {
                let (mut due, mut rest) = (Vec::new(), number);
                while rest >= 0x80 {
                    due.push((rest & 0x7f) as u8 | 0x80);
                    rest >>= 7;
                }
                due.push(rest as u8);
                let mut found = Vec::new();
                put_varint(&mut found, number);
                assert_eq!(found, due, "{number}");
                let mut numbers = Numbers::<24>::new();
                numbers.varint(number);
                numbers.byte(9);
                numbers.append_to(&mut found);
                assert_eq!(found, [&due[..], &due, &[9]].concat(), "{number}");
                for number in [i128::from(number), -i128::from(number) << 60, i128::MIN] {
                    let (mut due, mut found) = (Vec::new(), Vec::new());
                    put_wide(&mut due, number);
                    put_signed(&mut due, number as i64);
                    let mut numbers = Numbers::<40>::new();
                    numbers.wide(number);
                    numbers.signed(number as i64);
                    numbers.append_to(&mut found);
                    assert_eq!(found, due, "{number}");
                }
                assert_eq!(reader(&found).varint(), Ok(number));
            }
        }
    }

    #[test]
    fn what_is_wrong_says_what_and_where() {
        let mut from = reader(&[1, 2, 3]);
        assert_eq!(u16::decode(&mut from), Ok(0x0201));
        let error = u64::decode(&mut from).expect_err("one byte is left");
        assert_eq!(error.to_string(), "u64 at byte 2: 8 bytes are expected, 1 is there");
        let error = u16::decode_all(reader(&[1, 2, 3])).expect_err("one byte is too much");
        assert_eq!(error.to_string(), "the end at byte 2: 1 byte is left");
        let error = bool::decode(&mut reader(&[2])).expect_err("is neither");
        assert_eq!(error.to_string(), "a yes or no at byte 1: is no such value");
        let error = <&str>::decode(&mut reader(&[1, 0xff])).expect_err("is no text");
        assert_eq!(error.to_string(), "a text at byte 2: is not UTF-8");
    }
}
