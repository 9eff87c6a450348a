//! What a call asks of the counters, and the answer.

use std::cell::Cell;

use smallvec::SmallVec;

use super::charge::{Charge, Charges, Match};
use super::crossings::Crossing;
use super::hold::HeldChange;
use super::starts::Start;
use crate::base::calendar::Calendar;
use crate::counters::algorithms::periods::UseAhead;
use crate::counters::counter::CounterSet;
use crate::counters::history::History;
use crate::counters::row::RowKey;
use crate::counters::time::{At, Moment};
use crate::rules::{Cost, Units};

/// What a call wants of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Judge and change nothing.
    Check,
    /// Say where the rules stand, whatever an event brings.
    Standing,
    /// Charge every rule, or none.
    Track,
    /// The same, and hold what was charged.
    Reserve,
    /// Charge every rule, whatever it says.
    Record,
    /// The same of what a reservation was for, beyond what it held.
    Commit,
    /// Charge one rule with what an operator gives back or takes, whatever it says.
    Adjust,
    /// Charge every rule with what a correction makes of an event, whatever it says.
    Correct,
}

impl Intent {
    /// Whether it changes nothing.
    #[inline]
    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Self::Check | Self::Standing)
    }

    /// Whether it counts whatever the rules say.
    #[inline]
    pub(crate) fn is_forced(self) -> bool {
        matches!(self, Self::Record | Self::Commit | Self::Adjust | Self::Correct)
    }
}

/// Where the row of a key is found: in which group of rules, and by which values of the group's
/// partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowAddress<'r> {
    /// The hash of the group and the values.
    pub(crate) hash: u64,
    pub(crate) group: u32,
    pub(crate) values: &'r [&'r str],
}

impl<'r> RowAddress<'r> {
    #[inline]
    pub(super) fn key(&self) -> RowKey<'r> {
        RowKey::Partition { group: self.group, values: self.values }
    }
}

/// The addresses of a request's rows. Nothing is allocated for up to four, of up to eight values
/// together.
#[derive(Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "on the stack, where a box would be an allocation")]
pub(crate) enum RowAddresses<'e> {
    #[default]
    None,
    /// One row of one value, the everyday case: without lists, there is nothing to drop.
    One {
        hash: u64,
        group: u32,
        values: [&'e str; 1],
    },
    Many(RowLists<'e>),
}

/// The addresses of any number of rows.
#[derive(Debug, Default)]
pub(crate) struct RowLists<'e> {
    rows: SmallVec<[RowHead; 4]>,
    /// The values of all, one row's after the other's.
    values: SmallVec<[&'e str; 8]>,
}

/// An address without its values, which begin where those of the row before end.
#[derive(Clone, Copy, Debug)]
struct RowHead {
    hash: u64,
    group: u32,
    first: usize,
    end: usize,
}

impl<'e> RowAddresses<'e> {
    /// Adds any rows.
    #[inline]
    pub(crate) fn lists(&mut self) -> &mut RowLists<'e> {
        match self {
            Self::Many(lists) => return lists,
            Self::None => *self = Self::Many(RowLists::default()),
            Self::One { hash, group, values: [value] } => {
                let mut lists = RowLists::default();
                lists.push_value(value);
                lists.push(*hash, *group);
                *self = Self::Many(lists);
            }
        }
        let Self::Many(lists) = self else { unreachable!("it was just set") };
        lists
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One { .. } => 1,
            Self::Many(lists) => lists.rows.len(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<RowAddress<'_>> {
        match self {
            Self::Many(lists) => lists.get(row),
            Self::One { hash, group, values } if row == 0 => {
                Some(RowAddress { hash: *hash, group: *group, values })
            }
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = RowAddress<'_>> {
        (0..self.len()).map_while(|row| self.get(row))
    }
}

impl<'e> RowLists<'e> {
    /// Adds a value of the row that is [added](Self::push) next.
    #[inline]
    pub(crate) fn push_value(&mut self, value: &'e str) {
        self.values.push(value);
    }

    /// Adds the row of the values that were added since the last one.
    #[inline]
    pub(crate) fn push(&mut self, hash: u64, group: u32) {
        let first = self.rows.last().map_or(0, |row| row.end);
        self.rows.push(RowHead { hash, group, first, end: self.values.len() });
    }

    /// Forgets the values that were added since the last row.
    pub(crate) fn drop_values(&mut self) {
        self.values.truncate(self.rows.last().map_or(0, |row| row.end));
    }

    /// Takes back the last row.
    pub(crate) fn pop(&mut self) {
        self.rows.pop();
        self.drop_values();
    }

    #[inline]
    fn get(&self, row: usize) -> Option<RowAddress<'_>> {
        let RowHead { hash, group, first, end } = *self.rows.get(row)?;
        Some(RowAddress { hash, group, values: self.values.get(first..end)? })
    }
}

/// What one call asks of the counters, beside the charges.
#[derive(Debug)]
pub(crate) struct Request<'r, 'e> {
    pub(crate) counters: &'r CounterSet,
    pub(crate) intent: Intent,
    /// The rows of the charges.
    pub(crate) rows: &'r RowAddresses<'e>,
    /// What is recorded, where something is.
    pub(crate) history: Option<&'r dyn History>,
}

impl Request<'_, '_> {
    /// The calendar of a row's key. Keys that share a row have their own, and so the row that of
    /// nobody.
    pub(super) fn calendar(&self, row: u32) -> Calendar {
        match self.rows.get(row as usize) {
            Some(address) => self.counters.calendar_of(address.group, address.values),
            None => self.counters.calendar(),
        }
    }
}

/// What a decision has changed, for the caller's step that runs under the same locks.
#[derive(Debug)]
pub(crate) struct Committed<'c> {
    pub(crate) at: &'c At,
    pub(crate) charges: &'c [Charge],
    /// What counters started from whose keys had none of their own; almost always nothing.
    pub(crate) starts: &'c [Start],
    /// What it did to holds, where somebody keeps that.
    pub(crate) held: Option<&'c HeldChange>,
    /// The thresholds that it was the first to reach; almost always none.
    pub(crate) crossings: &'c [Crossing],
    /// For the number of the event that is recorded, where somebody wants it.
    pub(crate) event: Option<&'c Cell<Option<u64>>>,
}

impl Committed<'_> {
    /// Says the number of the event that is recorded.
    #[inline]
    pub(crate) fn name(&self, event: u64) {
        if let Some(of) = self.event {
            of.set(Some(event));
        }
    }
}

/// The caller's step, if it has one.
pub(crate) type Commit<'c, 'f> = Option<&'c mut (dyn FnMut(&Committed<'_>) + 'f)>;

/// What rules are asked for, and how that is decided: filled where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The instant of the decision: the time by the clock's reading, and then that or a later one.
    pub(crate) at: At,
    pub(crate) allowed: bool,
    /// What each rule is [asked](Self::ask) for and says, in the order of their rows.
    pub(crate) charges: Charges,
    /// Of an event that was refused, the later periods in which rules have seen use; only rules
    /// that have.
    pub(crate) ahead: Vec<(u32, UseAhead)>,
    /// How much open reservations hold of rules that judge: of those of which something is held.
    pub(crate) held: Vec<(u32, Units)>,
    /// How much of what is used of quotas is adjusted: of those of which something is.
    pub(crate) adjusted: Vec<(u32, Units)>,
}

impl Verdict {
    /// A decision that is to be made.
    pub(crate) fn at(at: At) -> Self {
        let (charges, ahead, held, adjusted) = Default::default();
        Self { at, allowed: false, charges, ahead, held, adjusted }
    }

    /// Asks rules for what an event costs each of them. What changes nothing is nothing to those
    /// that only count. The list of the decision before is used again where it is as long.
    #[inline]
    pub(crate) fn ask(&mut self, intent: Intent, matches: &[Match], cost: impl Fn(u32) -> Cost) {
        self.ask_where(!intent.is_read_only(), matches, cost);
    }

    /// The same of all rules, whatever is wanted of them: those that only count may judge at
    /// another instant.
    pub(crate) fn ask_all(&mut self, matches: &[Match], cost: impl Fn(u32) -> Cost) {
        self.ask_where(true, matches, cost);
    }

    #[inline]
    fn ask_where(&mut self, changes: bool, matches: &[Match], cost: impl Fn(u32) -> Cost) {
        let asked = || matches.iter().filter(|found| found.judges || changes);
        let count = if changes { matches.len() } else { asked().count() };
        if self.charges.len() != count {
            self.charges.clear();
            self.charges.resize(count, Charge::NONE);
        }
        for (found, charge) in asked().zip(&mut self.charges) {
            charge.ask(*found, cost(found.rule));
        }
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
pub(crate) struct Stale;

impl From<Stale> for Undecided {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}
