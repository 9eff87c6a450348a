//! From a question to its answer, out of the roll-ups and, where they end, the events.
//!
//! The first half runs under the recording's lock and takes what it needs: folds of rows, and the
//! segments of the log that the rest has to look through. The second half looks through them when
//! the lock is free. Both are of one instant: an event is in all of the answer or in none of it.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::cells::Fold;
use super::columns::Columns;
use super::held::HeldColumn;
use super::plan::{Plan, start_of};
use super::question::{Answer, Question};
use super::rollups::Rollups;
use super::row::{Row, Total};
use super::select::{Group, Grouped, Totals};
use crate::base::clock::Timestamp;
use crate::log::{Corrections, MemoryLog, PackedEvent, PairFilter, Segment, Stored};

/// A part of the log to look through: segments, and the ranges with their plans.
#[derive(Debug)]
struct LogPart {
    segments: Vec<Arc<Segment>>,
    ranges: Vec<(Range<Timestamp>, usize)>,
}

/// An answer that lacks what is in the log.
#[derive(Debug)]
pub(crate) struct PartialAnswer {
    answer: Answer,
    parts: Vec<LogPart>,
    corrections: Arc<Corrections>,
}

impl PartialAnswer {
    /// Takes from the roll-ups and the log what answers the question.
    pub(crate) fn of(rollups: &Rollups, log: &MemoryLog, question: &Question<'_>) -> Self {
        let columns = Arc::clone(&rollups.columns);
        let now = start_of(rollups.current.saturating_add(1));
        let kind = rollups.kind_of(question.selector).filter(|_| question.without.is_none());
        let Some(kind) = kind else {
            return Self::of_events(log, now, question, columns);
        };
        // What the roll-ups never had, and what a fold lacks that a meter asked for late.
        let mut lacks = Cow::Borrowed(&rollups.uncounted);
        for (value, fold) in question.folds {
            if let Some((_, of_fold)) = columns.find(value, *fold)
                && !of_fold.is_empty()
            {
                lacks.to_mut().merge(of_fold);
            }
        }
        let floors = rollups.floors(kind, log.dropped());
        let held = held(question, &columns);
        let rests = question.ranges.iter().map(|range| lacks.longest_rest(range, now));
        let plans: Vec<Plan> = if held.is_some() {
            let before = before(question);
            let first = if before.is_empty() {
                Plan::starting(before.start)
            } else {
                floors.plan(lacks.rest_after(&before))
            };
            let fine = rests.map(|rest| {
                let events = log.dropped().rest_after(&rest).start;
                floors.fine_plan(&rest, events)
            });
            [first].into_iter().chain(fine).collect()
        } else {
            rests.map(|rest| floors.plan(rest)).collect()
        };
        let column = held.map(|held| held.column);
        let groups = rollups.fold(question.selector, kind, &plans, column).filter(|groups| {
            !question.tells_all_apart || groups.iter().all(|(group, _)| *group != Group::Other)
        });
        match groups {
            Some(groups) => {
                let parts = edges(&plans, log);
                let corrections = Arc::clone(log.corrections());
                Self { answer: Answer { groups, plans, columns, held }, parts, corrections }
            }
            None => Self::of_events(log, now, question, columns),
        }
    }

    /// Takes everything from the log.
    fn of_events(
        log: &MemoryLog,
        now: Timestamp,
        question: &Question<'_>,
        columns: Arc<Columns>,
    ) -> Self {
        let held = held(question, &columns);
        let ranges = question.ranges.iter();
        let plans = ranges.map(|range| Plan::of_events(range, log.dropped(), now));
        let before = held.map(|_| Plan::end_of_events(&before(question), log.dropped()));
        let plans: Vec<Plan> = before.into_iter().chain(plans).collect();
        let ranges: Vec<_> =
            (0..).zip(&plans).map(|(at, plan)| (plan.covers.clone(), at)).collect();
        let start = plans.first().map_or(Timestamp::MAX, |plan| plan.covers.start);
        let end = plans.last().map_or(Timestamp::MIN, |plan| plan.covers.end);
        let parts = vec![LogPart { segments: log.overlapping(start, end), ranges }];
        let corrections = Arc::clone(log.corrections());
        let answer = Answer { groups: Vec::new(), plans, columns, held };
        Self { answer, parts, corrections }
    }

    /// Looks through the events.
    pub(crate) fn complete(self, question: &Question<'_>, hasher: &ahash::RandomState) -> Answer {
        let Self { mut answer, parts, corrections } = self;
        let is_corrected = !corrections.is_empty() || question.without.is_some();
        let is_left_out = |ordinal| corrections.hides(ordinal) || question.without == Some(ordinal);
        let filter = PairFilter::new(hasher, &question.selector.filter);
        let mut groups = Groups::new(std::mem::take(&mut answer.groups));
        for part in &parts {
            for event in part.segments.iter().flat_map(|segment| segment.events()) {
                if is_corrected && is_left_out(event.ordinal) {
                    continue;
                }
                let Some((plan, stored)) = part.find(&event, &filter) else { continue };
                let at = stored.timestamp();
                let addend = answer.columns.addend(&stored, at, event.ordinal);
                let mut row = Row::default();
                row.add(&addend);
                let group_by = question.selector.group_by.iter();
                let values: SmallVec<[Option<&str>; 4]> =
                    group_by.map(|dimension| stored.dimension(dimension)).collect();
                let total = groups.total(&values, plan);
                if let Some(total) = total {
                    total.merge(&row);
                    if let Some(held) = answer.held.filter(|_| plan > 0) {
                        total.note(&row, held.column);
                    }
                }
            }
        }
        answer.groups = groups.grouped;
        answer
    }
}

impl LogPart {
    /// The event and the plan that it counts in, if it does.
    fn find<'s>(
        &self,
        event: &PackedEvent<'s>,
        filter: &PairFilter,
    ) -> Option<(usize, Stored<'s>)> {
        if !filter.may_match(event.signature) {
            return None;
        }
        let at = event.timestamp()?;
        let next = self.ranges.partition_point(|(range, _)| range.start <= at);
        let (range, plan) = self.ranges.get(next.checked_sub(1)?)?;
        let stored = if at < range.end { event.read()? } else { return None };
        filter.matches(&stored).then_some((*plan, stored))
    }
}

/// What is asked of readings, where they are kept.
fn held(question: &Question<'_>, columns: &Columns) -> Option<HeldColumn> {
    let held = question.held?;
    let (column, _) = columns.find(held.value, Fold::Latest)?;
    Some(HeldColumn { column, now: held.now })
}

/// What is before the ranges of a question.
fn before(question: &Question<'_>) -> Range<Timestamp> {
    Timestamp::MIN..question.ranges.first().map_or(Timestamp::MIN, |first| first.start)
}

fn edges(plans: &[Plan], log: &MemoryLog) -> Vec<LogPart> {
    let mut parts = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        for edge in &plan.edges {
            let segments = log.overlapping(edge.start, edge.end);
            parts.push(LogPart { segments, ranges: vec![(edge.clone(), index)] });
        }
    }
    parts
}

/// The groups, to be found by their values.
struct Groups {
    grouped: Grouped,
    by_values: HashTable<usize>,
    hasher: ahash::RandomState,
    /// Where values go that have no group.
    other: Option<usize>,
}

impl Groups {
    fn new(grouped: Grouped) -> Self {
        let hasher = ahash::RandomState::new();
        let mut groups = Self { grouped, by_values: HashTable::new(), hasher, other: None };
        for index in 0..groups.grouped.len() {
            groups.note(index);
        }
        groups
    }

    /// Makes a group one that is found.
    fn note(&mut self, index: usize) {
        let Self { grouped, by_values, hasher, other } = self;
        let hash_of = |index: &usize| match grouped.get(*index) {
            Some((Group::Values(values), _)) => hash(hasher, values.iter().map(Option::as_deref)),
            _ => 0,
        };
        match grouped.get(index) {
            Some((Group::Values(_), _)) => {
                by_values.insert_unique(hash_of(&index), index, hash_of);
            }
            _ => *other = Some(index),
        }
    }

    fn total(&mut self, values: &[Option<&str>], plan: usize) -> Option<&mut Total> {
        let is_it = |index: &usize| match self.grouped.get(*index) {
            Some((Group::Values(known), _)) => {
                known.iter().map(Option::as_deref).eq(values.iter().copied())
            }
            _ => false,
        };
        let known = self.by_values.find(hash(&self.hasher, values.iter().copied()), is_it).copied();
        // What is missing has been told apart always.
        let other = self.other.filter(|_| values.iter().any(Option::is_some));
        let index = known.or(other).unwrap_or_else(|| {
            let values = values.iter().map(|value| value.map(Box::from)).collect();
            let index = self.grouped.len();
            self.grouped.push((Group::Values(values), Totals::default()));
            self.note(index);
            index
        });
        self.grouped.get_mut(index)?.1.of_plan(plan)
    }
}

fn hash<'v>(hasher: &ahash::RandomState, values: impl Iterator<Item = Option<&'v str>>) -> u64 {
    let mut hash = hasher.build_hasher();
    values.for_each(|value| value.hash(&mut hash));
    hash.finish()
}
