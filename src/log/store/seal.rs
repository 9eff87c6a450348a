//! The sum that every value carries, and plain numbers in bytes.
//!
//! The sum is seeded with the table and the key: a whole value in the wrong place is as wrong as a
//! changed one.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::clock::Timestamp;
pub(super) use crate::log::segment::index;

/// Bytes of the sum, which a value begins with.
const SUM: usize = 8;

/// Empties a buffer for a value: room for the sum, and the content behind it.
pub(super) fn start(value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&[0; SUM]);
}

/// Writes the sum into a value whose content is whole.
pub(super) fn seal(table: &str, key: u64, value: &mut [u8]) {
    if let Some((place, content)) = value.split_first_chunk_mut::<SUM>() {
        *place = sum(table, key, content).to_le_bytes();
    }
}

/// The content of a value; `None` where it is not what was sealed.
pub(super) fn unseal<'v>(table: &str, key: u64, value: &'v [u8]) -> Option<&'v [u8]> {
    let (found, content) = value.split_first_chunk::<SUM>()?;
    (u64::from_le_bytes(*found) == sum(table, key, content)).then_some(content)
}

fn sum(table: &str, key: u64, content: &[u8]) -> u64 {
    xxh3_64_with_seed(content, xxh3_64(table.as_bytes()) ^ key.rotate_left(32))
}

/// Reads numbers from the front of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'r> {
    pub(super) rest: &'r [u8],
}

impl<'r> Reader<'r> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*found)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn timestamp(&mut self) -> Option<Timestamp> {
        let seconds = self.array().map(i64::from_le_bytes)?;
        Some(Timestamp::new(seconds, self.u32()?))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'r [u8]> {
        let (found, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(found)
    }
}

pub(super) fn put_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    out.extend_from_slice(&timestamp.unix_seconds().to_le_bytes());
    out.extend_from_slice(&timestamp.subsec_nanos().to_le_bytes());
}

/// Every target's sizes fit 64 bits.
pub(super) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
