//! Which dimensions an event has, in 64 bits.
//!
//! A signature is a superimposed code: each dimension with its value sets three bits by the hash of
//! the value, mixed with the dimension's *seed*. An event whose signature lacks a bit of a filter's
//! mask does not match the filter. Of the events that do not match, a few in a hundred pass all the
//! same, and are unpacked to be told apart.

use super::stored::Stored;
use crate::event::{Dimension, DimensionHashes, mix};
use crate::rules::Condition;

/// A filter of the log: what must hold of an event's dimensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairFilter {
    /// What the values that events must have set in their signatures.
    mask: u64,
    conditions: Box<[(Dimension, Condition)]>,
}

impl PairFilter {
    /// Compiles a filter for the log whose hasher this is.
    pub(crate) fn new(hasher: &ahash::RandomState, conditions: &[(Dimension, Condition)]) -> Self {
        let bits = conditions.iter().filter_map(|(dimension, condition)| {
            let value = hasher.hash_one(condition.value()?);
            Some(bits(seed(hasher, dimension.as_str()), value))
        });
        Self { mask: bits.fold(0, std::ops::BitOr::bitor), conditions: conditions.into() }
    }

    /// Whether every event matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether an event of this signature can match. Never says no of one that does.
    #[inline]
    pub(crate) fn may_match(&self, signature: u64) -> bool {
        signature & self.mask == self.mask
    }

    /// Whether the event matches.
    pub(crate) fn matches(&self, event: &Stored<'_>) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|(dimension, condition)| condition.is_met_by(event.dimension(dimension)))
    }
}

/// The signature of an event that has these dimensions.
pub(super) fn signature<'e>(
    hasher: &ahash::RandomState,
    dimensions: impl Iterator<Item = (&'e str, &'e str)>,
) -> u64 {
    dimensions.fold(0, |signature, (name, value)| {
        signature | bits(seed(hasher, name), hasher.hash_one(value))
    })
}

/// What the built-in dimensions set in the signature of an event, whose values may have been hashed
/// before. Never 0, because every event has a customer.
pub(crate) fn signature_of_built_in(hashes: &DimensionHashes<'_, '_>) -> u64 {
    BUILT_IN.iter().fold(0, |signature, (dimension, seed)| {
        hashes.of(dimension).map_or(signature, |(_, hash)| signature | bits(*seed, hash))
    })
}

/// What an event's other dimensions set in its signature. A property of a built-in's name may be
/// among them: what it sets does no harm.
#[inline]
pub(crate) fn signature_of_properties(hashes: &DimensionHashes<'_, '_>) -> u64 {
    hashes
        .properties()
        .fold(0, |signature, (key, hash)| signature | bits(seed(hashes.hasher(), key), hash))
}

/// The signature of an event.
#[cfg(test)]
pub(super) fn signature_of(hashes: &DimensionHashes<'_, '_>) -> u64 {
    signature_of_built_in(hashes) | signature_of_properties(hashes)
}

const BUILT_IN: [(Dimension, u64); 4] = [
    (Dimension::CustomerId, 0x9e37_79b9_7f4a_7c15),
    (Dimension::EventType, 0xbf58_476d_1ce4_e5b9),
    (Dimension::Model, 0x94d0_49bb_1331_11eb),
    (Dimension::Provider, 0xd6e8_feb8_6659_fd93),
];

/// What tells the same value of one dimension from that of another.
fn seed(hasher: &ahash::RandomState, name: &str) -> u64 {
    let built_in = BUILT_IN.iter().find(|(dimension, _)| dimension.as_str() == name);
    built_in.map_or_else(|| hasher.hash_one(name), |(_, seed)| *seed)
}

/// Three bits of 64, or fewer where they fall together.
#[inline]
fn bits(seed: u64, hash: u64) -> u64 {
    let hash = mix(seed, hash);
    let bit = |shift: u32| 1_u64.unbounded_shl(u32::try_from((hash >> shift) & 63).unwrap_or(0));
    bit(0) | bit(6) | bit(12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn filter(hasher: &ahash::RandomState, pairs: &[(&str, &str)]) -> PairFilter {
        let pair = |(name, value): &(&str, &str)| (Dimension::parse(name), Condition::from(*value));
        PairFilter::new(hasher, &pairs.iter().map(pair).collect::<Vec<_>>())
    }

    /// What a property of a built-in dimension's name sets does no harm.
    #[test]
    fn properties_beyond_those_with_a_place_are_there_too() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut event = Event::new("same", "same").provider("same").property("model", "same");
        for number in 0..9 {
            event = event.property(format!("p{number}"), "same");
        }
        let signature = signature_of(&DimensionHashes::new(&event, &hasher));
        let has = [("customer_id", "same"), ("provider", "same"), ("p0", "same"), ("p8", "same")];
        assert!(filter(&hasher, &has).may_match(signature));
    }

    #[test]
    fn what_an_event_has_may_match_and_most_that_it_lacks_may_not() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let event = Event::new("cust_1", "model_call").model("gpt-4").property("team", "eng");
        let signature = signature_of(&DimensionHashes::new(&event, &hasher));
        let has = [("customer_id", "cust_1"), ("model", "gpt-4"), ("team", "eng")];
        assert!(filter(&hasher, &has).may_match(signature));
        assert!(filter(&hasher, &[]).may_match(signature));
        let lacks = |number: &u32| {
            let customer = format!("cust_x{number}");
            !filter(&hasher, &[("customer_id", &customer)]).may_match(signature)
        };
        let told = (0..1_000).filter(lacks).count();
        assert!(told > 950, "{told} of 1 000 are told apart");
    }
}
