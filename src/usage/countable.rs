//! What is read of an event to count it, whether it is just coming or comes from the log.

use super::columns::FIXED_VALUES;
use super::row::FIXED;
use crate::base::amount::Amount;
use crate::event::{Dimension, DimensionHashes, ValueName};
use crate::log::Stored;

/// An event that can be counted.
pub(crate) trait Countable {
    fn dimension(&self, dimension: &Dimension) -> Option<&str>;

    /// The value of a dimension, and its hash by this hasher.
    fn hashed(&self, dimension: &Dimension, hasher: &ahash::RandomState) -> Option<(&str, u64)> {
        self.dimension(dimension).map(|value| (value, hasher.hash_one(value)))
    }

    /// The value of a built-in name that is a whole number.
    fn whole(&self, name: &ValueName) -> Option<u64>;

    /// The values of the built-in names, in the order of the fixed sums; 0 for the cost.
    fn wholes(&self) -> [u64; FIXED] {
        FIXED_VALUES.map(|name| self.whole(&name).unwrap_or(0))
    }

    fn cost_cents(&self) -> Option<Amount>;

    /// The named values that are not built in.
    fn named(&self) -> impl Iterator<Item = (&str, Amount)>;

    /// The value of any name.
    fn amount(&self, name: &ValueName) -> Option<Amount> {
        match name {
            ValueName::Other(name) => {
                self.named().find(|(known, _)| **known == **name).map(|(_, amount)| amount)
            }
            ValueName::CostCents => self.cost_cents(),
            built_in => self.whole(built_in).map(Amount::from),
        }
    }
}

/// An event that is just coming, whose hashes are by the ledger's hasher.
impl Countable for DimensionHashes<'_, '_> {
    #[inline]
    fn dimension(&self, dimension: &Dimension) -> Option<&str> {
        dimension.of(self.event())
    }

    #[inline]
    fn hashed(&self, dimension: &Dimension, _: &ahash::RandomState) -> Option<(&str, u64)> {
        self.of(dimension)
    }

    #[inline]
    fn whole(&self, name: &ValueName) -> Option<u64> {
        name.whole(self.event())
    }

    #[inline]
    fn wholes(&self) -> [u64; FIXED] {
        let event = self.event();
        let total = event.tokens().flatten();
        let whole = [event.input_tokens, event.output_tokens, total, None, event.latency_ms];
        whole.map(|value| value.unwrap_or(0))
    }

    #[inline]
    fn cost_cents(&self) -> Option<Amount> {
        self.event().cost_cents
    }

    #[inline]
    fn named(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.event().values.iter().map(|(name, amount)| (&**name, *amount))
    }
}

impl Countable for Stored<'_> {
    fn dimension(&self, dimension: &Dimension) -> Option<&str> {
        Stored::dimension(self, dimension)
    }

    fn whole(&self, name: &ValueName) -> Option<u64> {
        Stored::amount(self, name).and_then(|amount| u64::try_from(amount).ok())
    }

    fn cost_cents(&self) -> Option<Amount> {
        Stored::amount(self, &ValueName::CostCents)
    }

    fn named(&self) -> impl Iterator<Item = (&str, Amount)> {
        // The names live as long as the segment, which is longer than asked for.
        self.values().map(|(name, amount): (&str, Amount)| (name, amount))
    }
}
