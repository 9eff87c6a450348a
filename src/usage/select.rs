//! Which series answer a question, and the folding of their rows.

use smallvec::SmallVec;

use super::cells::Column;
use super::dictionary::{MISSING, OTHER, ValueId};
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
    pub(crate) group_by: Vec<Dimension>,
}

/// A group of a breakdown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Group {
    /// The events that have these values of the dimensions that are grouped by, and lack those
    /// without one; all events where nothing is grouped.
    Values(Values),
    /// The events of the values that came when there was no room for another.
    Other,
}

/// Of each dimension that is grouped by.
pub(crate) type Values = SmallVec<[Option<Box<str>>; 1]>;

impl Group {
    /// The group of all events, where nothing is grouped.
    fn all() -> Self {
        Self::Values(Values::new())
    }
}

/// The folds of a group by plan, of those alone that have any events: in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals(SmallVec<[(u32, Total); 1]>);

impl Totals {
    pub(super) fn get(&self, plan: usize) -> Option<&Total> {
        let index = self.place(plan).ok()?;
        self.0.get(index).map(|(_, total)| total)
    }

    /// The fold of a plan, an empty one where there was none.
    pub(super) fn of_plan(&mut self, plan: usize) -> Option<&mut Total> {
        let index = match self.place(plan) {
            Ok(index) => index,
            Err(index) => {
                self.0.insert(index, (u32::try_from(plan).ok()?, Total::default()));
                index
            }
        };
        self.0.get_mut(index).map(|(_, total)| total)
    }

    /// Where a plan's fold is, or would be. Folds are made plan by plan: mostly it is the last.
    fn place(&self, plan: usize) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if *last as usize == plan => Ok(self.0.len().saturating_sub(1)),
            Some((last, _)) if *last as usize > plan => {
                self.0.binary_search_by_key(&plan, |(known, _)| *known as usize)
            }
            _ => Err(self.0.len()),
        }
    }

    /// The folds that there are, each with the number of its plan.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Total)> {
        self.0.iter().map(|(plan, total)| (*plan as usize, total))
    }

    pub(super) fn has_events(&self) -> bool {
        self.iter().any(|(_, total)| total.events > 0)
    }

    /// All of it as one.
    pub(super) fn sum(&self) -> Total {
        let mut sum = Total::default();
        self.iter().for_each(|(_, total)| sum.add(total));
        sum
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (plan, total) in other.iter() {
            if let Some(known) = self.of_plan(plan) {
                known.add(total);
            }
        }
    }
}

/// Folds by group and by plan.
pub(super) type Grouped = Vec<(Group, Totals)>;

/// The series that answer a question, each with its group.
struct Selection {
    groups: Vec<Group>,
    series: Vec<(u32, usize)>,
}

impl Selection {
    fn push(&mut self, group: Group, series: impl IntoIterator<Item = u32>) {
        // Tuples may have values without room in several ways.
        let is_other = group == Group::Other;
        let known = is_other.then(|| self.groups.iter().position(|it| *it == group)).flatten();
        let index = known.unwrap_or(self.groups.len());
        if known.is_none() {
            self.groups.push(group);
        }
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
    /// among the others. The plans are in the order of time. Of all but the first one the readings
    /// of a column are kept, where one is told.
    pub(super) fn fold(
        &self,
        selector: &Selector,
        kind: Kind,
        plans: &[Plan],
        readings: Option<Column>,
    ) -> Option<Grouped> {
        let selection = self.select(selector, plans)?;
        let groups = selection.groups.len();
        let totals = self.fold_series(kind, &selection.series, groups, (plans, readings));
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
        let group_by = selector.group_by.iter().map(|dimension| self.index_of(dimension));
        let group_by: SmallVec<[usize; 2]> = group_by.collect::<Option<_>>()?;
        // One dimension, however often.
        let alone = group_by.first().filter(|first| group_by.iter().all(|index| index == *first));
        let mut selection = Selection { groups: Vec::new(), series: Vec::new() };
        if !is_known {
            // Nobody has that value: no series, and no group but that of all.
            if group_by.is_empty() {
                selection.push(Group::all(), None);
            }
            return Some(selection);
        }
        let group = |value| self.group(&group_by, |_| Some(value));
        match (filter.as_slice(), alone) {
            ([], None) if group_by.is_empty() => selection.push(Group::all(), [ALL]),
            ([(index, values)], None) if group_by.is_empty() => {
                let series = values.iter().filter_map(|value| self.series_of(*index, *value));
                selection.push(Group::all(), series);
            }
            ([], Some(index)) => {
                for (value, known) in self.dictionaries.get(*index)?.ids() {
                    selection.push(group(value), known.series());
                }
            }
            ([(filtered, values)], Some(index)) if filtered == index => {
                for value in values {
                    selection.push(group(*value), self.series_of(*index, *value));
                }
            }
            _ => {
                if self.may_have_events(Kind::Tuples, Some(OTHER_TUPLES), plans) {
                    return None;
                }
                self.select_tuples(&filter, &group_by, &mut selection);
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
        group_by: &[usize],
        selection: &mut Selection,
    ) {
        let tuples_of = |(index, values): &'_ (usize, Vec<ValueId>)| {
            let dictionary = self.dictionaries.get(*index);
            let values = values.iter().filter_map(move |value| dictionary?.get(*value));
            values.map(|value| value.tuples.as_slice()).collect::<Vec<_>>()
        };
        let candidates = filter.iter().map(tuples_of);
        let fewest =
            candidates.min_by_key(|it| it.iter().map(|tuples| tuples.len()).sum::<usize>());
        let mut found: Vec<(SmallVec<[ValueId; 2]>, u32)> = Vec::new();
        let mut look_at = |number: u32, key: &Key| {
            let Key::Tuple(tuple) = key else { return };
            let has = |(index, values): &(usize, Vec<ValueId>)| {
                tuple.get(*index).is_some_and(|value| values.binary_search(value).is_ok())
            };
            if filter.iter().all(has) {
                let value = |index: &usize| tuple.get(*index).copied().unwrap_or(MISSING);
                found.push((group_by.iter().map(value).collect(), number));
            }
        };
        match fewest {
            Some(tuples) => {
                for number in tuples.into_iter().flatten() {
                    if let Some(series) = self.series.get(*number as usize) {
                        look_at(*number, &series.key);
                    }
                }
            }
            None => (0..).zip(&self.series).for_each(|(number, it)| look_at(number, &it.key)),
        }
        if group_by.is_empty() {
            selection.push(Group::all(), found.into_iter().map(|(_, number)| number));
            return;
        }
        found.sort_unstable();
        for series in found.chunk_by(|(a, _), (b, _)| a == b) {
            let values = series.first().map_or(&[][..], |(values, _)| values);
            let group = self.group(group_by, |place| values.get(place).copied());
            selection.push(group, series.iter().map(|(_, number)| *number));
        }
    }

    /// The group of values of these dimensions, which are told by their places.
    fn group(&self, group_by: &[usize], value: impl Fn(usize) -> Option<ValueId>) -> Group {
        let mut values = Values::new();
        for (place, index) in group_by.iter().enumerate() {
            let value = value(place).unwrap_or(MISSING);
            if value == OTHER {
                return Group::Other;
            }
            let dictionary = self.dictionaries.get(*index);
            values.push(dictionary.and_then(|it| it.text(value)).map(Box::from));
        }
        Group::Values(values)
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
        (plans, readings): (&[Plan], Option<Column>),
    ) -> Vec<Totals> {
        let mut totals = vec![Totals::default(); groups];
        let mut merge = |group: usize, plan: usize, row: &Row| {
            if let Some(total) = totals.get_mut(group).and_then(|group| group.of_plan(plan)) {
                total.merge(row);
                if let Some(column) = readings.filter(|_| plan > 0) {
                    total.note(row, column);
                }
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
