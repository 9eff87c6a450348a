//! What a call asks of the counters, and the answer.

use smallvec::SmallVec;

use super::charge::{Charge, Charges, Match};
use super::starts::Start;
use crate::base::calendar::Calendar;
use crate::counters::algorithms::periods::UseAhead;
use crate::counters::counter::CounterSet;
use crate::counters::history::History;
use crate::counters::row::RowKey;
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// What a call wants of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Judge and change nothing.
    Check,
    /// Say where the rules stand, whatever an event brings.
    Standing,
    /// Charge every rule, or none.
    Track,
    /// Charge every rule, whatever it says.
    Record,
}

impl Intent {
    /// Whether it changes nothing.
    #[inline]
    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Self::Check | Self::Standing)
    }
}

/// Where the row of a key is found: in which group of rules, and by which values of the group's
/// partition.
#[derive(Debug)]
pub(crate) struct RowAddress<'e> {
    /// The hash of the group and the values.
    pub(crate) hash: u64,
    pub(crate) group: u32,
    pub(crate) values: KeyValues<'e>,
    /// Whose midnights and days the key's periods go by. Bounds that were decided by it are in the
    /// cells, so that it is asked for periods alone that have none.
    pub(crate) calendar: Calendar,
}

impl RowAddress<'_> {
    #[inline]
    pub(super) fn key(&self) -> RowKey<'_> {
        RowKey::Partition { group: self.group, values: self.values.as_slice() }
    }
}

/// The values of a key's partition; most have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyValues<'e> {
    One(&'e str),
    Several(SmallVec<[&'e str; 2]>),
}

impl<'e> KeyValues<'e> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[&'e str] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

impl<'e> FromIterator<&'e str> for KeyValues<'e> {
    fn from_iter<I: IntoIterator<Item = &'e str>>(values: I) -> Self {
        let values: SmallVec<[&str; 2]> = values.into_iter().collect();
        match values.as_slice() {
            [value] => Self::One(value),
            _ => Self::Several(values),
        }
    }
}

/// What one call asks of the counters, beside what it costs.
#[derive(Debug)]
pub(crate) struct Request<'r, 'e> {
    pub(crate) counters: &'r CounterSet,
    pub(crate) intent: Intent,
    /// The rules that match, in the order of their rows.
    pub(crate) matches: &'r [Match],
    /// The rows of the matches.
    pub(crate) rows: &'r [RowAddress<'e>],
    /// What is recorded, where something is.
    pub(crate) history: Option<&'r dyn History>,
}

impl Request<'_, '_> {
    /// The calendar of a row's key. Keys that share a row have their own, and so the row that of
    /// nobody.
    #[inline]
    pub(super) fn calendar(&self, row: u32) -> Calendar {
        self.rows.get(row as usize).map_or(Calendar::UTC, |address| address.calendar)
    }

    /// The rules that are asked: what changes nothing is nothing to those that only count.
    #[inline]
    pub(super) fn asked(&self) -> impl Iterator<Item = &Match> {
        let changes = !self.intent.is_read_only();
        self.matches.iter().filter(move |found| found.judges || changes)
    }
}

/// What a decision has changed, for the caller's step that runs under the same locks.
#[derive(Debug)]
pub(crate) struct Committed<'c> {
    pub(crate) at: &'c At,
    pub(crate) charges: &'c [Charge],
    /// What counters started from whose keys had none of their own; almost always nothing.
    pub(crate) starts: &'c [Start],
    /// Of the counters that are watched.
    #[cfg_attr(not(test), expect(dead_code, reason = "alerts will read them"))]
    pub(crate) crossings: &'c [Crossing],
}

/// From where to where a charge has moved a watched counter.
///
/// Charges of a counter come one after the other, by the lock of its row. So each begins where the
/// one before it ended, or where the counter has drained or begun anew to since; and as long as it
/// does not fall, a threshold lies between `before` and `after` of exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    /// The index of the rule in the rule set.
    pub(crate) rule: u32,
    /// The index of the row among those of the request; `None` of the one that keys share which
    /// found no room.
    pub(crate) row: Option<u32>,
    /// What was used at the instant of the decision, before it and after: the figure of a status,
    /// in counted units.
    pub(crate) before: Units,
    pub(crate) after: Units,
    /// The limit that is watched.
    pub(crate) limit: Units,
}

/// How a request is decided: filled where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The instant of the decision: the time by the clock's reading, and then that or a later one.
    pub(crate) at: At,
    pub(crate) allowed: bool,
    /// What each rule was asked for and says: one for each match, but for those that only count
    /// where nothing is changed.
    pub(crate) charges: Charges,
    /// Of an event that was refused, the later periods in which rules have seen use; only rules
    /// that have.
    pub(crate) ahead: Vec<(u32, UseAhead)>,
}

impl Verdict {
    /// A decision that is to be made.
    pub(crate) fn at(at: At) -> Self {
        Self { at, allowed: false, charges: Charges::new(), ahead: Vec::new() }
    }
}

/// Why a request was not decided. Nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecided {
    /// The rule set is not the current one any more.
    Stale,
    /// The event falls in a closed period of this rule.
    TooLate { rule: u32, now: Moment },
}

/// The rule set of a request is not the current one any more.
#[derive(Debug)]
pub(super) struct Stale;

impl From<Stale> for Undecided {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}
