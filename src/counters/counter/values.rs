//! What counters are to rules that count different values.

use super::{Counter, CounterSet};
use crate::rules::{Measure, Rule, Units};

/// What a counter is to a rule that counts different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// It counts something else.
    None,
    /// It counts the events of a value, by which the value is known.
    Marked,
    /// It counts values, up to this figure.
    Counted { most: Units },
}

impl Counter {
    /// The same counter, of a rule that counts different values or marks them.
    pub(crate) fn of_values(mut self, is_marking: bool, rule: &Rule, measure: &Measure) -> Self {
        self.values = match (rule, measure.unique()) {
            (Rule::Quota(quota), Some(_)) => Values::Counted { most: quota.values_cap().into() },
            _ if is_marking => Values::Marked,
            _ => Values::None,
        };
        self
    }

    /// Whether it counts the events of a value, by which the value is known.
    #[inline]
    pub(in crate::counters) fn is_marking(&self) -> bool {
        self.values == Values::Marked
    }

    /// Whether it counts different values.
    pub(in crate::counters) fn counts_values(&self) -> bool {
        matches!(self.values, Values::Counted { .. })
    }

    /// Whether it counts no more values that are new.
    pub(in crate::counters) fn is_at_cap(&self, used: Units) -> bool {
        matches!(self.values, Values::Counted { most } if used >= most)
    }
}

impl CounterSet {
    /// The same set, of which some rules mark the values that others count.
    pub(crate) fn with_marks(self, marks: Vec<(u32, u32)>) -> Self {
        Self { marks: marks.into(), ..self }
    }

    /// Whether some rule counts different values.
    #[inline]
    pub(in crate::counters) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The rule that counts the values which another marks.
    pub(in crate::counters) fn counted_by(&self, marking: u32) -> Option<u32> {
        let place = self.marks.binary_search_by_key(&marking, |(marking, _)| *marking).ok()?;
        self.marks.get(place).map(|(_, counting)| *counting)
    }
}
