//! Plain numbers and runs of bytes, taken from the front of what was stored.
//!
//! Numbers are little endian. What is stored is input: each answers `None` where there are not so
//! many bytes, and takes none then.

/// Takes so many bytes.
#[inline]
pub(crate) fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

#[inline]
pub(crate) fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[inline]
pub(crate) fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    take_array(bytes).map(u8::from_le_bytes)
}

#[inline]
pub(crate) fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take_array(bytes).map(u16::from_le_bytes)
}

#[inline]
pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take_array(bytes).map(u32::from_le_bytes)
}

#[inline]
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take_array(bytes).map(u64::from_le_bytes)
}

#[inline]
pub(crate) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    take_array(bytes).map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_from_the_front_and_only_whole() {
        let mut bytes = &[1, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 8][..];
        assert_eq!(take_u8(&mut bytes), Some(1));
        assert_eq!(take_u32(&mut bytes), Some(2));
        assert_eq!(take_u64(&mut bytes), Some(3));
        assert_eq!((take_u32(&mut bytes), take(&mut bytes, 3)), (None, None));
        assert_eq!((take(&mut bytes, 2), bytes), (Some(&[9, 8][..]), &[][..]));
        assert_eq!((take_u8(&mut bytes), take(&mut bytes, 0)), (None, Some(&[][..])));
    }
}
