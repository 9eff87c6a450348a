//! What one rule is asked for in a decision, and what it says.

use std::num::NonZeroU32;

use smallvec::SmallVec;

use crate::counters::algorithms::Reading;
use crate::counters::cell::Wide;
use crate::counters::saved::StoredCharge;
use crate::rules::Cost;

/// A rule that matches an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// The index of the rule in the rule set.
    pub(crate) rule: u32,
    /// The index of the rule's row among those of the request.
    pub(crate) row: u32,
    /// Whether it has a say; without one another rule of its policy judges, and it only counts.
    pub(crate) judges: bool,
}

/// What one rule is asked for, and what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    /// The index of the rule in the rule set.
    pub(crate) rule: u32,
    /// The index of the rule's row among those of the request.
    pub(crate) row: u32,
    pub(super) cost: Wide,
    pub(super) counts: Counts,
    /// Whether the cost fits.
    pub(crate) fits: bool,
    pub(super) part: Part,
    /// The counter's state after the event where it counted the event, else without it.
    pub(crate) reading: Reading,
    /// The cell that holds the state, by its place in the row.
    pub(super) cell: Option<NonZeroU32>,
    pub(super) told: Told,
}

// A decision moves a few of these: keep them small.
const _: () = assert!(size_of::<Charge>() == 72);

/// What a rule is to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It judges, by the key's own counter.
    Judges,
    /// It judges, and the key found no room for its counter.
    Crowded,
    /// Another rule of its policy judges: it counts what is let in, and has no say.
    Loses,
    /// The same, and the key found no room for its counter: it counts nothing.
    Misses,
}

impl Part {
    /// Whether the rule has a say. One that has not stands in no answer.
    #[inline]
    pub(crate) fn judges(self) -> bool {
        matches!(self, Self::Judges | Self::Crowded)
    }

    /// Whether the key found no room for the rule's counter.
    pub(crate) fn found_no_room(self) -> bool {
        matches!(self, Self::Crowded | Self::Misses)
    }
}

/// Whether the event changes a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    No,
    /// Where it is let in and the rule counts it.
    Yes,
    /// It was let in and counted, and the counter is to be written into a wider cell.
    Outgrown,
    /// It was let in and counted, and the counter written.
    Written,
}

/// Whether the reading is what is recorded, and not what a counter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    No,
    /// The counter starts from it.
    Open,
    /// The period takes no more late events: there is no counter to write.
    Closed,
    /// The counter shall start from it although the event is refused.
    Kept,
}

/// The charges of a decision. Eight lie inline: more rules that match cost an allocation.
pub(crate) type Charges = SmallVec<[Charge; 8]>;

impl Charge {
    /// What is asked of a rule that judges, or that has lost to another of its policy.
    pub(crate) fn new(found: Match, cost: Cost) -> Self {
        let Match { rule, row, judges } = found;
        let Cost { units, counts } = cost;
        let cost = units.into();
        let counts = if counts { Counts::Yes } else { Counts::No };
        let part = if judges { Part::Judges } else { Part::Loses };
        let (fits, reading, cell, told) = (true, Reading::NONE, None, Told::No);
        Self { rule, row, cost, counts, fits, part, reading, cell, told }
    }

    /// Whether the rule has a say. One that has not stands in no answer.
    #[inline]
    pub(crate) fn judges(&self) -> bool {
        self.part.judges()
    }

    /// Whether the key found no room for the counter of a rule that judges.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.part == Part::Crowded
    }

    /// A take of nothing, that keeps what was told.
    pub(super) fn kept(&self) -> Self {
        Self { cost: Wide::ZERO, counts: Counts::No, fits: true, told: Told::Kept, ..*self }
    }

    /// A charge of long ago, of the rule that has an index now.
    pub(crate) fn restored(rule: u32, saved: &StoredCharge) -> Self {
        let StoredCharge { cost, fits, part, written, reading, .. } = *saved;
        let new = Self::new(Match { rule, row: 0, judges: part.judges() }, cost);
        let counts = if written { Counts::Written } else { new.counts };
        Self { counts, fits, part, reading, ..new }
    }

    #[cfg(test)]
    pub(crate) fn write(&mut self) {
        self.counts = Counts::Written;
    }

    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// Whether the rule's counter was written.
    pub(crate) fn is_written(&self) -> bool {
        self.counts == Counts::Written
    }

    /// What the event brings.
    #[inline]
    pub(crate) fn cost(&self) -> Cost {
        Cost { units: self.cost.get(), counts: self.counts != Counts::No }
    }
}
