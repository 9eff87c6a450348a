//! What is read of an event to count it, whether it is just coming or comes from the log.

use crate::base::amount::Amount;
use crate::event::{Dimension, Event, ValueName};
use crate::log::Stored;

/// An event that can be counted.
pub(crate) trait Countable {
    fn dimension(&self, dimension: &Dimension) -> Option<&str>;

    /// The value of a built-in name that is a whole number.
    fn whole(&self, name: &ValueName) -> Option<u64>;

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

impl Countable for Event<'_> {
    #[inline]
    fn dimension(&self, dimension: &Dimension) -> Option<&str> {
        dimension.of(self)
    }

    #[inline]
    fn whole(&self, name: &ValueName) -> Option<u64> {
        name.whole(self)
    }

    #[inline]
    fn cost_cents(&self) -> Option<Amount> {
        ValueName::CostCents.amount(self)
    }

    #[inline]
    fn named(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.values.iter().map(|(name, amount)| (&**name, *amount))
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
