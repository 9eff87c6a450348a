//! The hash that rows are found by.

use crate::event::mix;

/// The hash that rows are found by: of a group and the values of its partition.
pub(crate) fn row_hash(hasher: &ahash::RandomState, group: u32, values: &[&str]) -> u64 {
    values.iter().fold(group_hash(group), |hash, value| mix(hash, hasher.hash_one(*value)))
}

/// The same of the group alone.
pub(super) fn group_hash(group: u32) -> u64 {
    mix(!0, group.into())
}
