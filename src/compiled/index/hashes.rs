//! The hash that rows are found by.

use crate::event::mix;

/// The hash that rows are found by: of a group and the values of its partition.
pub(crate) fn row_hash(hasher: &ahash::RandomState, group: u32, values: &[&str]) -> u64 {
    let of_group = mix(!0, u64::from(group));
    values.iter().fold(of_group, |hash, value| mix(hash, hasher.hash_one(*value)))
}
