//! The hashes of an event's dimensions, each of which is made once a call.

use std::cell::Cell;

use super::{Dimension, Event};

/// How many properties have a place for their hash: most events have no more. The hash of another
/// one is made each time.
const PROPERTIES: usize = 4;
const FIRST_PROPERTY: usize = 4;
const PLACES: usize = FIRST_PROPERTY + PROPERTIES;

/// The dimensions of an event with the hashes of their values. A call makes one and hands it from
/// the index to the recording, so that what finds rules, rows and values shares the hashes.
#[derive(Debug)]
pub(crate) struct DimensionHashes<'e, 'a> {
    event: &'e Event<'a>,
    hasher: &'e ahash::RandomState,
    /// Which of the hashes are there: a bit each.
    known: Cell<u32>,
    hashes: [Cell<u64>; PLACES],
}

impl<'e, 'a> DimensionHashes<'e, 'a> {
    /// Hashes by this hasher, which is the engine's.
    #[inline]
    pub(crate) fn new(event: &'e Event<'a>, hasher: &'e ahash::RandomState) -> Self {
        Self { event, hasher, known: Cell::new(0), hashes: [const { Cell::new(0) }; PLACES] }
    }

    #[inline]
    pub(crate) fn event(&self) -> &'e Event<'a> {
        self.event
    }

    /// The value of a dimension, and its hash.
    #[inline]
    pub(crate) fn of(&self, dimension: &Dimension) -> Option<(&'e str, u64)> {
        let (place, value): (_, &'e str) = match dimension {
            Dimension::CustomerId => (0, &self.event.customer_id),
            Dimension::EventType => (1, &self.event.event_type),
            Dimension::Model => (2, self.event.model.as_deref()?),
            Dimension::Provider => (3, self.event.provider.as_deref()?),
            Dimension::Property(key) => return self.of_property(key),
        };
        Some((value, self.hash(place, value)))
    }

    #[inline(never)]
    fn of_property(&self, key: &str) -> Option<(&'e str, u64)> {
        let mut properties = (FIRST_PROPERTY..).zip(&self.event.properties);
        properties.find_map(|(place, (known, value))| {
            let text = value.text().filter(|_| known == key)?;
            Some((text, self.hash(place, text)))
        })
    }

    /// The properties that are dimensions, by key, and the hashes of their values.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&'e str, u64)> {
        let properties = (FIRST_PROPERTY..).zip(&self.event.properties);
        properties
            .filter_map(|(place, (key, value))| Some((&**key, self.hash(place, value.text()?))))
    }

    #[inline]
    pub(crate) fn hasher(&self) -> &'e ahash::RandomState {
        self.hasher
    }

    /// The hash of a value that is none of the event's.
    pub(crate) fn of_other(&self, value: &str) -> u64 {
        self.hasher.hash_one(value)
    }

    #[inline]
    fn hash(&self, place: usize, value: &str) -> u64 {
        let bit = 1_u32.unbounded_shl(u32::try_from(place).unwrap_or(u32::MAX));
        match self.hashes.get(place) {
            Some(known) if self.known.get() & bit != 0 => known.get(),
            Some(known) => {
                known.set(self.hasher.hash_one(value));
                self.known.set(self.known.get() | bit);
                known.get()
            }
            None => self.hasher.hash_one(value),
        }
    }
}

/// Folds a hash into another: the two halves of a wide product, of which every bit of both
/// changes every bit.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let wide =
        u128::from(a ^ 0x243f_6a88_85a3_08d3).wrapping_mul(u128::from(b ^ 0x1319_8a2e_0370_7344));
    let [low, high] = [wide, wide >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_the_hash_of_its_value_however_often_it_is_asked() {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let mut event = Event::new("cust_1", "model_call").model("gpt-4").property("model", "x");
        for number in 0..7 {
            event = event.property(format!("p{number}"), format!("value {number}"));
        }
        event = event.property("n", 7);
        let hashes = DimensionHashes::new(&event, &hasher);
        let names = ["customer_id", "event_type", "model", "provider", "n", "p0", "p3", "p6", "no"];
        for name in names.into_iter().chain(names) {
            let expected = event.dimension(name).map(|value| (value, hasher.hash_one(value)));
            assert_eq!(hashes.of(&Dimension::parse(name)), expected, "{name}");
        }
        assert_eq!(hashes.of_other("x"), hasher.hash_one("x"));
    }
}
