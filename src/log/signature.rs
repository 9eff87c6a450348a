//! Which dimensions an event has, in 64 bits.
//!
//! A signature is a superimposed code: each dimension with its value sets three bits by a hash. An
//! event whose signature lacks a bit of a filter's mask does not match the filter. Of the events
//! that do not match, a few in a hundred pass all the same, and are unpacked to be told apart.

use super::stored::Stored;
use crate::event::Dimension;

/// A filter of the log: dimension = value pairs that must all hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairFilter {
    mask: u64,
    pairs: Box<[(Dimension, Box<str>)]>,
}

impl PairFilter {
    /// Compiles a filter for the log whose hasher this is.
    pub(crate) fn new(hasher: &ahash::RandomState, pairs: &[(Dimension, Box<str>)]) -> Self {
        let bits = pairs.iter().map(|(dimension, value)| bits(hasher, dimension.as_str(), value));
        Self { mask: bits.fold(0, std::ops::BitOr::bitor), pairs: pairs.into() }
    }

    /// Whether every event matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether an event of this signature can match. Never says no of one that does.
    #[inline]
    pub(crate) fn may_match(&self, signature: u64) -> bool {
        signature & self.mask == self.mask
    }

    /// Whether the event matches.
    pub(crate) fn matches(&self, event: &Stored<'_>) -> bool {
        self.pairs.iter().all(|(dimension, value)| event.dimension(dimension) == Some(&**value))
    }
}

/// The signature of an event that has these dimensions. A property of a built-in's name may be
/// among them: what it sets does no harm.
pub(super) fn signature<'e>(
    hasher: &ahash::RandomState,
    dimensions: impl Iterator<Item = (&'e str, &'e str)>,
) -> u64 {
    dimensions.fold(0, |signature, (name, value)| signature | bits(hasher, name, value))
}

/// Three bits of 64, or fewer where they fall together.
fn bits(hasher: &ahash::RandomState, dimension: &str, value: &str) -> u64 {
    let hash = hasher.hash_one((dimension, value));
    let bit = |shift: u32| 1_u64.unbounded_shl(u32::try_from((hash >> shift) & 63).unwrap_or(0));
    bit(0) | bit(6) | bit(12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    fn filter(hasher: &ahash::RandomState, pairs: &[(&str, &str)]) -> PairFilter {
        let pair = |(name, value): &(&str, &str)| (Dimension::parse(name), Box::from(*value));
        PairFilter::new(hasher, &pairs.iter().map(pair).collect::<Vec<_>>())
    }

    #[test]
    fn what_an_event_has_may_match_and_most_that_it_lacks_may_not() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let event = Event::new("cust_1", "model_call").model("gpt-4").property("team", "eng");
        let signature = signature(&hasher, event.dimensions());
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
