//! The checksum that every value carries.
//!
//! The checksum is seeded with the store, the table and the key, so that an unchanged value in the
//! wrong place, or out of another store, is found out like a changed one.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of the checksum, which a value begins with.
pub(in crate::journal) const CHECKSUM: usize = 8;

/// Makes a buffer ready for a value: room for the checksum, behind which the content is put.
pub(in crate::journal) fn start(value: &mut Vec<u8>) {
    value.clear();
    value.extend_from_slice(&[0; CHECKSUM]);
}

/// The table that a value belongs to: its name, and that of the store which it is in.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct TableId<'h> {
    pub(in crate::journal) name: &'h str,
    /// The store's random number; 0 for values that are not bound to theirs: those that a store of
    /// format 1 has, and what is read before the number is known.
    pub(in crate::journal) store: u64,
}

impl<'h> TableId<'h> {
    /// A table whose values are not bound to the store.
    pub(in crate::journal) fn of_any_store(table: &'h str) -> Self {
        Self { name: table, store: 0 }
    }

    /// Writes the checksum into a value whose content is complete.
    pub(in crate::journal) fn seal(self, key: u64, value: &mut [u8]) {
        if let Some((checksum, content)) = value.split_first_chunk_mut::<CHECKSUM>() {
            *checksum = self.checksum(key, content).to_le_bytes();
        }
    }

    /// The content of a value; `None` where it is not what was sealed.
    pub(in crate::journal) fn unseal(self, key: u64, value: &[u8]) -> Option<&[u8]> {
        let (found, content) = value.split_first_chunk::<CHECKSUM>()?;
        (u64::from_le_bytes(*found) == self.checksum(key, content)).then_some(content)
    }

    fn checksum(self, key: u64, content: &[u8]) -> u64 {
        let seed = xxh3_64_with_seed(self.name.as_bytes(), self.store) ^ key.rotate_left(32);
        xxh3_64_with_seed(content, seed)
    }
}

/// What stands for a key that is bytes where values are sealed.
pub(in crate::journal) fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, 0)
}

/// A size in 64 bits, which every target's sizes fit.
pub(in crate::journal) fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
