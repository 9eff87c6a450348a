//! The checksum that every value carries.
//!
//! The checksum is seeded with the table and the key, so that an unchanged value in the wrong place
//! is found out like a changed one.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of the checksum, which a value begins with.
const CHECKSUM: usize = 8;

/// Makes a buffer ready for a value: room for the checksum, behind which the content is put.
pub(super) fn start(value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&[0; CHECKSUM]);
}

/// Writes the checksum into a value whose content is complete.
pub(super) fn seal(table: &str, key: u64, value: &mut [u8]) {
    if let Some((place, content)) = value.split_first_chunk_mut::<CHECKSUM>() {
        *place = checksum(table, key, content).to_le_bytes();
    }
}

/// The content of a value; `None` where it is not what was sealed.
pub(super) fn unseal<'v>(table: &str, key: u64, value: &'v [u8]) -> Option<&'v [u8]> {
    let (found, content) = value.split_first_chunk::<CHECKSUM>()?;
    (u64::from_le_bytes(*found) == checksum(table, key, content)).then_some(content)
}

fn checksum(table: &str, key: u64, content: &[u8]) -> u64 {
    xxh3_64_with_seed(content, xxh3_64(table.as_bytes()) ^ key.rotate_left(32))
}

/// A size in 64 bits, which every target's sizes fit.
pub(super) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
