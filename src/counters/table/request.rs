//! What a call asks of the counters, and the answer.

use smallvec::SmallVec;

use super::charge::Charge;
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
    pub(crate) values: SmallVec<[&'e str; 2]>,
    /// Whose midnights and days the key's periods go by. Bounds that were decided by it are in the
    /// cells, so that it is asked for periods alone that have none.
    pub(crate) calendar: Calendar,
}

impl RowAddress<'_> {
    #[inline]
    pub(super) fn key(&self) -> RowKey<'_> {
        RowKey::Partition { group: self.group, values: &self.values }
    }
}

/// What one call asks of the counters, beside its charges.
#[derive(Debug)]
pub(crate) struct Request<'r, 'e> {
    pub(crate) counters: &'r CounterSet,
    pub(crate) intent: Intent,
    /// The time by the clock's reading: the decision goes by it or by a later one.
    pub(crate) at: At,
    /// The rows that the charges are of.
    pub(crate) rows: &'r [RowAddress<'e>],
    /// What is recorded, where something is.
    pub(crate) history: Option<&'r dyn History>,
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

/// How a request was decided.
#[derive(Debug)]
pub(crate) struct Verdict<R> {
    pub(crate) at: At,
    pub(crate) allowed: bool,
    /// Of an event that was refused, the later periods in which rules have seen use; only rules
    /// that have.
    pub(crate) ahead: Vec<(u32, UseAhead)>,
    /// What the caller's step returned; `None` where nothing was charged.
    pub(crate) committed: Option<R>,
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
