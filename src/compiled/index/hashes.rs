//! The hashes of an event's dimensions, and what rules and rows are found by.

use crate::event::{Dimension, Event};

/// Looks up dimensions and their hashes; the customer's, which most rules want, once.
pub(super) struct Hashes<'e, 'a, 'i> {
    pub(super) event: &'e Event<'a>,
    pub(super) hasher: &'i ahash::RandomState,
    customer: Option<u64>,
}

impl<'e, 'a, 'i> Hashes<'e, 'a, 'i> {
    pub(super) fn new(event: &'e Event<'a>, hasher: &'i ahash::RandomState) -> Self {
        Self { event, hasher, customer: None }
    }

    #[inline]
    pub(super) fn of(&mut self, dimension: &Dimension) -> Option<(&'e str, u64)> {
        let value = dimension.of(self.event)?;
        let hash = match (dimension, self.customer) {
            (Dimension::CustomerId, Some(hash)) => hash,
            (Dimension::CustomerId, None) => *self.customer.insert(self.hasher.hash_one(value)),
            _ => self.hasher.hash_one(value),
        };
        Some((value, hash))
    }
}

/// The hash that rows are found by: of a group and the values of its partition.
pub(crate) fn row_hash(hasher: &ahash::RandomState, group: u32, values: &[&str]) -> u64 {
    let of_group = mix(!0, u64::from(group));
    values.iter().fold(of_group, |hash, value| mix(hash, hasher.hash_one(*value)))
}

/// Folds a hash into another: the two halves of a wide product, of which every bit of both
/// changes every bit.
#[inline]
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let wide =
        u128::from(a ^ 0x243f_6a88_85a3_08d3).wrapping_mul(u128::from(b ^ 0x1319_8a2e_0370_7344));
    let [low, high] = [wide, wide >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or(0)
}
