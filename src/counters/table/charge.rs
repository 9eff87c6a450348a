//! What one rule is asked for in a decision, and what it says.

use std::num::NonZeroU32;
use std::slice::IterMut;

use crate::counters::algorithms::{Judged, Passed, Reading};
use crate::counters::cell::Wide;
use crate::counters::stored::StoredCharge;
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
    /// The index of the counter's row among those of the request, and behind them those that keys
    /// without room share.
    pub(crate) row: u32,
    pub(super) cost: Wide,
    pub(super) counts: Counts,
    /// Whether the cost fits.
    pub(crate) fits: bool,
    pub(super) role: Role,
    pub(super) source: UseSource,
    /// The counter's state after the event where it counted the event, else without it.
    pub(crate) reading: Reading,
    /// Where the cell that holds the state, or may hold it, lies in the row.
    pub(super) cell: Option<NonZeroU32>,
}

// A decision moves a few of these: keep them small.
const _: () = assert!(size_of::<Charge>() == 72);

/// What a rule is to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Judges,
    /// Another rule of its policy judges: it counts what is let in, and stands in no answer.
    Counts,
}

/// Whether the event changes a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    No,
    /// Not, because its value is known, or is not to be counted: what it would cost is there.
    KnownValue,
    /// Where it is let in and the rule counts it.
    Yes,
    /// It is counted in the reading, which is to be written where the event is let in.
    Passed,
    /// It was let in and counted, and the counter is to be written into a wider cell.
    Outgrown,
    /// It was let in and counted, and the counter written.
    Written,
}

/// From where the use is known that a reading says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UseSource {
    /// The key's counter.
    Cell,
    /// What is recorded, which the key's counter starts from.
    HistorySeedsCell,
    /// The same, although the event is refused.
    HistorySeedsCellAlone,
    /// What is recorded: the period takes no more late events, and has no counter to write.
    HistoryOnly,
    /// The key found no room for a counter. A rule that judges goes by the one that such keys
    /// share, or by none; one that only counts leaves the event out.
    NoRoom,
}

/// The charges of a decision. The list is used again for the next one.
pub(crate) type Charges = Vec<Charge>;

/// The next charge, if it is of this row: the charges of a row lie side by side.
#[inline]
pub(super) fn next_of<'c>(charges: &mut IterMut<'c, Charge>, row: u32) -> Option<&'c mut Charge> {
    charges.as_slice().first().filter(|charge| charge.row == row)?;
    charges.next()
}

impl Charge {
    /// Of nothing: what is to be filled in.
    pub(super) const NONE: Self = Self {
        rule: 0,
        row: 0,
        cost: Wide::ZERO,
        counts: Counts::No,
        fits: true,
        role: Role::Judges,
        source: UseSource::Cell,
        reading: Reading::NONE,
        cell: None,
    };

    /// What is asked of a rule that judges, or that has lost to another of its policy.
    pub(crate) fn new(found: Match, cost: Cost) -> Self {
        let mut charge = Self::NONE;
        charge.ask(found, cost);
        charge
    }

    /// Asks a rule. The reading and the cell are those of before.
    #[inline]
    pub(super) fn ask(&mut self, found: Match, cost: Cost) {
        let Match { rule, row, judges } = found;
        (self.rule, self.row, self.cost) = (rule, row, cost.units.into());
        self.counts = if cost.counts { Counts::Yes } else { Counts::No };
        self.role = if judges { Role::Judges } else { Role::Counts };
        (self.fits, self.source) = (true, UseSource::Cell);
    }

    /// Asks for another cost.
    pub(super) fn costs(&mut self, cost: Cost) {
        self.cost = cost.units.into();
        self.counts = if cost.counts { Counts::Yes } else { Counts::No };
    }

    /// Costs nothing where its value is known, and else what it did before.
    pub(super) fn knows_value(&mut self, known: bool) {
        match (self.counts, known) {
            (Counts::Yes, true) => self.counts = Counts::KnownValue,
            (Counts::KnownValue, false) => self.counts = Counts::Yes,
            _ => {}
        }
    }

    pub(super) fn is_of_known_value(&self) -> bool {
        self.counts == Counts::KnownValue
    }

    /// Writes what is recorded of a counter that an event leaves as it is.
    pub(super) fn seeds(&mut self) {
        (self.cost, self.counts) = (Wide::ZERO, Counts::No);
        self.source = UseSource::HistorySeedsCellAlone;
    }

    /// Whether it is to be counted by a rule that judges.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.counts == Counts::Yes && self.role == Role::Judges
    }

    /// Keeps how it went that a rule was asked in one go, beside its reading.
    #[inline]
    pub(super) fn passed(&mut self, Passed { fits, counts, cell, .. }: Passed) {
        (self.fits, self.cell) = (fits, cell);
        if counts {
            self.counts = Counts::Passed;
        }
    }

    /// Asks the same once more: it was not written what had [passed](Self::passed).
    #[inline]
    pub(super) fn ask_again(&mut self) {
        if self.counts == Counts::Passed {
            self.counts = Counts::Yes;
        }
    }

    #[inline]
    fn is_at(&mut self, cell: Option<usize>) {
        // A row's first cell lies behind its head.
        self.cell = cell.and_then(|cell| NonZeroU32::new(u32::try_from(cell).ok()?));
    }

    /// Whether its reading is to be written.
    #[inline]
    pub(super) fn is_passed(&self) -> bool {
        self.counts == Counts::Passed
    }

    /// Its counter was written.
    #[inline]
    pub(super) fn wrote(&mut self) {
        self.counts = Counts::Written;
    }

    /// The event fits, and its counter was written before all rules have judged: to be
    /// [undone](Self::undo) unless the event is let in.
    #[inline]
    pub(super) fn wrote_ahead(&mut self, cell: NonZeroU32) {
        (self.fits, self.cell) = (true, Some(cell));
        self.counts = Counts::Written;
    }

    /// Takes back that its counter was written; returns whether it was.
    pub(super) fn undo(&mut self) -> bool {
        let was_written = self.is_written();
        if was_written {
            self.counts = Counts::Passed;
        }
        was_written
    }

    /// Keeps what the counter says.
    #[inline]
    pub(super) fn judged(&mut self, judged: &Judged) {
        (self.reading, self.fits) = (judged.reading, judged.fits);
        self.is_at(judged.cell.or(judged.spare));
    }

    /// Whether the rule has a say. One that has not stands in no answer.
    #[inline]
    pub(crate) fn judges(&self) -> bool {
        self.role == Role::Judges
    }

    /// Lets it have a say, or not.
    pub(crate) fn set_judges(&mut self, judges: bool) {
        self.role = if judges { Role::Judges } else { Role::Counts };
    }

    /// Whether the key found no room for the rule's counter.
    pub(crate) fn found_no_room(&self) -> bool {
        self.source == UseSource::NoRoom
    }

    /// The same of a rule that judges.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.judges() && self.found_no_room()
    }

    /// A charge of nothing, that keeps what is recorded.
    pub(super) fn seeding(&self) -> Self {
        let source = UseSource::HistorySeedsCellAlone;
        Self { cost: Wide::ZERO, counts: Counts::No, fits: true, source, ..*self }
    }

    /// A charge of long ago, of the rule that has this index now.
    pub(crate) fn restored(rule: u32, stored: &StoredCharge) -> Self {
        let StoredCharge { cost, fits, role, crowded, written, reading, .. } = *stored;
        let new = Self::new(Match { rule, row: 0, judges: role == Role::Judges }, cost);
        let counts = if written { Counts::Written } else { new.counts };
        let source = if crowded { UseSource::NoRoom } else { UseSource::Cell };
        Self { counts, fits, source, reading, ..new }
    }

    #[cfg(test)]
    pub(crate) fn write(&mut self) {
        self.counts = Counts::Written;
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Whether the rule's counter was written.
    pub(crate) fn is_written(&self) -> bool {
        self.counts == Counts::Written
    }

    /// What the event brings.
    #[inline]
    pub(crate) fn cost(&self) -> Cost {
        if self.counts == Counts::KnownValue {
            return Cost::NOTHING;
        }
        Cost { units: self.cost.get(), counts: self.counts != Counts::No }
    }
}
