//! Which series answer a question, and the folding of their rows.

use super::dictionary::{Dictionary, MISSING, ValueId};
use super::level::Bucket;
use super::plan::{Piece, Plan, minute_of};
use super::rollups::Rollups;
use super::row::{Row, Total};
use super::series::{ALL, Key, Kind, OTHER_TUPLES};
use crate::event::Dimension;
use crate::rules::{Condition, Filter};

/// What a question is about: what must hold of events, and what to group them by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) filter: Filter,
    pub(crate) group_by: Option<Dimension>,
}

/// A group of a breakdown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Group {
    /// The events that have this value; all events where nothing is grouped.
    Value(Box<str>),
    /// The events that lack the dimension.
    Missing,
    /// The events of the values that came when there was no room for another.
    Other,
}

impl Group {
    /// The group of all events, where nothing is grouped.
    fn all() -> Self {
        Self::Value("".into())
    }
}

/// Folds by group and by plan.
pub(super) type Grouped = Vec<(Group, Vec<Total>)>;

/// The series that answer a question, each with its group.
struct Selection {
    groups: Vec<Group>,
    series: Vec<(u32, usize)>,
}

impl Selection {
    fn push(&mut self, group: Group, series: impl IntoIterator<Item = u32>) {
        let index = self.groups.len();
        self.groups.push(group);
        self.series.extend(series.into_iter().map(|series| (series, index)));
    }
}

impl Rollups {
    /// Which rows a question is for; `None` where it names a dimension that is not declared.
    pub(super) fn kind_of(&self, selector: &Selector) -> Option<Kind> {
        let Selector { filter, group_by } = selector;
        let named = filter.iter().map(|(dimension, _)| dimension).chain(group_by);
        if !named.clone().all(|dimension| self.index_of(dimension).is_some()) {
            return None;
        }
        let first = named.clone().next();
        let is_one = named.skip(1).all(|dimension| Some(dimension) == first);
        Some(if is_one { Kind::Values } else { Kind::Tuples })
    }

    /// Folds what the rows of the selector's [kind](Self::kind_of) have for each plan, without the
    /// plans' edges; `None` where only the events can tell, because some of those asked for may be
    /// among the others. The plans are in the order of time.
    pub(super) fn fold(&self, selector: &Selector, kind: Kind, plans: &[Plan]) -> Option<Grouped> {
        let selection = self.select(selector, plans)?;
        let totals = self.fold_series(kind, &selection.series, selection.groups.len(), plans);
        Some(selection.groups.into_iter().zip(totals).collect())
    }

    fn select(&self, selector: &Selector, plans: &[Plan]) -> Option<Selection> {
        // The values that each dimension may have.
        let mut filter: Vec<(usize, Vec<ValueId>)> = Vec::new();
        for (dimension, condition) in &selector.filter {
            let index = self.index_of(dimension)?;
            let values = self.values_meeting(index, condition)?;
            // Of several values one may be new.
            let is_whole = condition.value().is_some()
                && values.first().is_some_and(|value| self.is_whole(index, *value));
            if !is_whole && self.may_have_events(Kind::Values, self.others_of(index), plans) {
                return None;
            }
            match filter.iter_mut().find(|(other, _)| *other == index) {
                Some((_, known)) => known.retain(|value| values.binary_search(value).is_ok()),
                None => filter.push((index, values)),
            }
        }
        let is_known = filter.iter().all(|(_, values)| !values.is_empty());
        let group_by = match &selector.group_by {
            Some(dimension) => Some(self.index_of(dimension)?),
            None => None,
        };
        let mut selection = Selection { groups: Vec::new(), series: Vec::new() };
        if !is_known {
            // Nobody has that value: no series, and no group but that of all.
            if group_by.is_none() {
                selection.push(Group::all(), None);
            }
            return Some(selection);
        }
        match (filter.as_slice(), group_by) {
            ([], None) => selection.push(Group::all(), [ALL]),
            ([(index, values)], None) => {
                let series = values.iter().filter_map(|value| self.series_of(*index, *value));
                selection.push(Group::all(), series);
            }
            ([], Some(index)) => {
                let dictionary = self.dictionaries.get(index)?;
                for (value, known) in dictionary.ids() {
                    selection.push(group(dictionary, value), known.series());
                }
            }
            ([(filtered, values)], Some(index)) if *filtered == index => {
                let dictionary = self.dictionaries.get(index)?;
                for value in values {
                    selection.push(group(dictionary, *value), self.series_of(index, *value));
                }
            }
            _ => {
                if self.may_have_events(Kind::Tuples, Some(OTHER_TUPLES), plans) {
                    return None;
                }
                self.select_tuples(&filter, group_by, &mut selection)?;
            }
        }
        Some(selection)
    }

    /// The values of a dimension that meet a condition, in ascending order.
    fn values_meeting(&self, index: usize, condition: &Condition) -> Option<Vec<ValueId>> {
        let dictionary = self.dictionaries.get(index)?;
        Some(match condition.value() {
            Some(text) => dictionary.find(text).into_iter().collect(),
            None => dictionary.meeting(condition),
        })
    }

    /// Selects tuples by way of the condition that fewest of them meet.
    fn select_tuples(
        &self,
        filter: &[(usize, Vec<ValueId>)],
        group_by: Option<usize>,
        selection: &mut Selection,
    ) -> Option<()> {
        let tuples_of = |(index, values): &'_ (usize, Vec<ValueId>)| {
            let dictionary = self.dictionaries.get(*index);
            let values = values.iter().filter_map(move |value| dictionary?.get(*value));
            values.map(|value| value.tuples.as_slice()).collect::<Vec<_>>()
        };
        let candidates = filter.iter().map(tuples_of);
        let candidates =
            candidates.min_by_key(|it| it.iter().map(|tuples| tuples.len()).sum::<usize>())?;
        let mut found: Vec<(ValueId, u32)> = Vec::new();
        for number in candidates.into_iter().flatten() {
            let Some(Key::Tuple(tuple)) = self.series.get(*number as usize).map(|it| &it.key)
            else {
                continue;
            };
            let has = |(index, values): &(usize, Vec<ValueId>)| {
                tuple.get(*index).is_some_and(|value| values.binary_search(value).is_ok())
            };
            if filter.iter().all(has) {
                let value = group_by.and_then(|index| tuple.get(index)).copied();
                found.push((value.unwrap_or(MISSING), *number));
            }
        }
        let Some(index) = group_by else {
            selection.push(Group::all(), found.into_iter().map(|(_, number)| number));
            return Some(());
        };
        let dictionary = self.dictionaries.get(index)?;
        found.sort_unstable();
        for series in found.chunk_by(|(a, _), (b, _)| a == b) {
            let value = series.first().map_or(MISSING, |(value, _)| *value);
            selection.push(group(dictionary, value), series.iter().map(|(_, number)| *number));
        }
        Some(())
    }

    fn index_of(&self, dimension: &Dimension) -> Option<usize> {
        self.dictionaries.iter().position(|known| known.dimension == *dimension)
    }

    pub(super) fn is_whole(&self, index: usize, value: ValueId) -> bool {
        self.dictionaries.get(index).is_some_and(|known| known.is_whole(value))
    }

    fn series_of(&self, index: usize, value: ValueId) -> Option<u32> {
        self.dictionaries.get(index)?.get(value)?.series()
    }

    /// Whether a series may have events in the days that the plans touch.
    fn may_have_events(&self, kind: Kind, series: Option<u32>, plans: &[Plan]) -> bool {
        let (Some(series), Some(first), Some(last)) = (series, plans.first(), plans.last()) else {
            return false;
        };
        let [.., days] = self.levels(kind);
        let start = days.bucket_of(minute_of(first.covers.start));
        let end = days.bucket_of(minute_of(last.covers.end)).saturating_add(1);
        days.range(start..end).any(|bucket| bucket.row(series).is_some())
    }

    fn fold_series(
        &self,
        kind: Kind,
        series: &[(u32, usize)],
        groups: usize,
        plans: &[Plan],
    ) -> Vec<Vec<Total>> {
        let mut totals = vec![vec![Total::default(); plans.len()]; groups];
        let mut merge = |group: usize, plan: usize, row: &Row| {
            if let Some(total) = totals.get_mut(group).and_then(|group| group.get_mut(plan)) {
                total.merge(row);
            }
        };
        let by_number = self.group_by_number(series);
        let mut fold = |plan: usize, bucket: &Bucket, rows: &[Row]| {
            // Going through a bucket is quicker than looking up many of its rows.
            if let Some(groups) = &by_number
                && rows.len() < series.len().saturating_mul(LOOK_UP_COST)
            {
                for row in rows {
                    if let Some(Some(group)) = groups.get(row.series as usize) {
                        merge(*group as usize, plan, row);
                    }
                }
                return;
            }
            for (number, group) in series {
                if let Some(row) = bucket.row_of(rows, *number) {
                    merge(*group, plan, row);
                }
            }
        };
        for (index, plan) in plans.iter().enumerate() {
            for Piece { level: number, buckets } in &plan.pieces {
                let Some(level) = self.levels(kind).get(*number) else { continue };
                for bucket in level.range(buckets.clone()) {
                    fold(index, bucket, bucket.rows());
                }
                if *number > 0 {
                    let minutes = level.grid.start(buckets.start)..level.grid.start(buckets.end);
                    for bucket in self.unfolded(kind, minutes) {
                        fold(index, bucket, bucket.unfolded_rows());
                    }
                }
            }
        }
        totals
    }

    /// The groups by the numbers of their series, where these are many.
    fn group_by_number(&self, series: &[(u32, usize)]) -> Option<Vec<Option<u32>>> {
        const MANY: usize = 16;
        if series.len() < MANY {
            return None;
        }
        let mut groups = vec![None; self.series.len()];
        for (number, group) in series {
            if let Some(known) = groups.get_mut(*number as usize) {
                *known = u32::try_from(*group).ok();
            }
        }
        Some(groups)
    }
}

/// How many rows can be gone through in the time of one look-up.
const LOOK_UP_COST: usize = 20;

fn group(dictionary: &Dictionary, value: ValueId) -> Group {
    match dictionary.text(value) {
        Some(text) => Group::Value(text.into()),
        None if value == MISSING => Group::Missing,
        None => Group::Other,
    }
}
