//! What is recorded of a rule's use beside its counters.

use std::fmt;

use super::time::Moment;
use crate::rules::Units;

/// Knows what recorded events have used of a rule.
///
/// It is asked under the locks of the decision, so that every event of the key is recorded and
/// counted or neither: where a quota by the calendar has no count of its own. That is so in a
/// period that takes no more late events, whose counters are dropped, and for a counter that came
/// into being after events that it counts.
pub(crate) trait History: fmt::Debug {
    /// What the events that a rule matches, of the key with these values of its partition, have
    /// used from the second `start` to before the second `end`; `None` where that is not known
    /// exactly.
    fn used(&self, rule: u32, start: i64, end: Option<i64>, values: &[&str]) -> Option<Used>;

    /// The same without an event, by the ordinal that it is counted by; `within` is the first
    /// second, and the one before which it ends.
    fn used_without(
        &self,
        rule: u32,
        within: (i64, Option<i64>),
        values: &[&str],
        ordinal: u64,
    ) -> Option<Used>;

    /// Whether nothing of what the key had used at a moment is used any more, because it has begun
    /// anew at it or since; also where that is not known.
    fn has_begun_anew(&self, rule: u32, values: &[&str], taken: Moment) -> bool;

    /// How much refunds and operators have given back to the key since a use of it was taken, at
    /// the most; `None` where that is not known.
    fn given_back(&self, rule: u32, values: &[&str], since: &Since) -> Option<Units>;

    /// What `used` says, from a moment on, in pieces of time that are no longer than `piece`
    /// nanoseconds: what each has used, at its end or at `now`. What is dated ahead of that comes
    /// in pieces of its own, of 24 minutes.
    fn uses(
        &self,
        rule: u32,
        start: Moment,
        now: Moment,
        piece: u64,
        values: &[&str],
    ) -> Option<Vec<(Moment, Units)>>;
}

/// Since when it is asked what was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// The use is that of the event with this ordinal.
    pub(crate) event: u64,
    /// When it was taken, at the earliest.
    pub(crate) taken: Moment,
    /// It was taken before the event was recorded, so that events between count as well.
    pub(crate) is_before: bool,
}

impl Since {
    /// The ordinal from which on events may have given something back since.
    pub(crate) fn first(&self) -> u64 {
        if self.is_before { 0 } else { self.event }
    }
}

/// The figure of a quota in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// In counted units.
    pub(crate) units: Units,
    /// The instant of the event that a latest amount is of; the earliest there is for others.
    pub(crate) latest: Moment,
}

impl Used {
    pub(super) const NOTHING: Self = Self { units: 0, latest: Moment(0) };

    /// What events have used together.
    pub(super) fn sum(units: Units) -> Self {
        Self { units, ..Self::NOTHING }
    }
}
