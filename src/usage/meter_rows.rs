//! A meter's figures by windows and groups.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::answer::Coverage;
use super::interval::MAX_POINTS;
use super::meter::{Figure, Figures};
use super::question::Answer;
use super::select::{Group, Totals};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::log::QueryError;
use crate::rules::{Aggregation, Meter};

/// The answer of a meter by groups of events and windows of time.
///
/// Serializes as `{meterId, meterName, aggregation, data, rest}`, with `covers` where not all of
/// the range is [covered](Coverage).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterRows {
    /// The meter.
    pub meter_id: String,
    /// Its name.
    pub meter_name: String,
    /// How the figures were made.
    pub aggregation: Aggregation,
    /// One row a group that has events, the highest value first, then by the group's values. One
    /// row of all events, always, where nothing is grouped.
    pub rows: Vec<MeterRow>,
    /// The figures of the events of all other groups together; `None` where there are none.
    pub rest: Option<MeterRow>,
    /// The time that they are about, from the first covered instant to the last.
    pub covers: Coverage,
}

/// The figures of one group of events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterRow {
    /// The value of each dimension that is grouped by; `None` for events that lack it. Empty for
    /// the rest.
    pub group: BTreeMap<String, Option<String>>,
    /// The figure over the whole range.
    pub value: Amount,
    /// The figure of each window, also where nothing happened, in order; none where no interval
    /// was asked for.
    pub windows: Vec<MeterWindow>,
}

/// The figure of one window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterWindow {
    /// The start of the window, which may lie before that of the range.
    pub start: Timestamp,
    /// The first instant behind it, which may lie behind the end of the range.
    pub end: Timestamp,
    /// The figure of the part of the window that is in the range; 0 where no event has the value.
    pub value: Amount,
    /// Whether it is about all of that part; serialized as `partial: true` where not.
    pub is_complete: bool,
}

/// How the rows of a meter are made of an answer.
#[derive(Debug)]
pub(crate) struct Rows<'q> {
    pub(crate) figure: &'q Figure,
    /// The dimensions that are grouped by.
    pub(crate) group_by: &'q [String],
    /// Whether figures of keys are added up.
    pub(crate) sums_keys: bool,
    /// The windows, whole; none where there is one range alone.
    pub(crate) windows: &'q [Range<Timestamp>],
    /// The ranges that were asked for.
    pub(crate) ranges: &'q [Range<Timestamp>],
    /// How many groups have a row of their own.
    pub(crate) most: usize,
}

type Groups<'a> = Vec<(&'a Group, &'a Totals)>;

impl Rows<'_> {
    pub(crate) fn of(&self, meter: &Meter, answer: &Answer) -> Result<MeterRows, QueryError> {
        let (mut rows, others) = self.by_group(answer)?;
        let shown = self.most.min(rows.len());
        let is_rest = shown < rows.len() || !others.is_empty();
        let lists = shown.saturating_add(usize::from(is_rest));
        if lists.saturating_mul(self.windows.len().max(1)) > MAX_POINTS {
            return Err(QueryError::TooManyPoints { max: MAX_POINTS });
        }
        let hidden = rows.split_off(shown);
        let rest = if is_rest {
            let groups = hidden.into_iter().flat_map(|(_, _, groups)| groups).chain(others);
            let figures = self.figures(answer, &groups.collect::<Vec<_>>())?;
            Some(self.row(BTreeMap::new(), &figures, answer))
        } else {
            None
        };
        let named = |values: &[Option<Box<str>>]| {
            let values = values.iter().map(|value| value.as_deref().map(str::to_owned));
            self.group_by.iter().cloned().zip(values).collect()
        };
        let rows = rows.into_iter();
        Ok(MeterRows {
            meter_id: meter.known_id().to_owned(),
            meter_name: meter.name.clone(),
            aggregation: meter.aggregation,
            rows: rows.map(|(key, figures, _)| self.row(named(key), &figures, answer)).collect(),
            rest,
            covers: answer.coverage_of(self.ranges),
        })
    }

    /// The figures of each group, the highest first, and what is of none.
    #[expect(clippy::type_complexity, reason = "it is taken apart where it is made")]
    fn by_group<'a>(
        &self,
        answer: &'a Answer,
    ) -> Result<(Vec<(&'a [Option<Box<str>>], Figures, Groups<'a>)>, Groups<'a>), QueryError> {
        let (mut by_group, mut others) = (BTreeMap::<_, Groups<'a>>::new(), Groups::new());
        if self.group_by.is_empty() {
            by_group.insert(&[][..], Groups::new());
        }
        for (group, totals) in answer.groups().filter(|(_, totals)| totals.has_events()) {
            match group {
                Group::Values(values) => {
                    let key = values.get(..self.group_by.len()).unwrap_or_default();
                    by_group.entry(key).or_default().push((group, totals));
                }
                Group::Other => others.push((group, totals)),
            }
        }
        let mut rows = Vec::with_capacity(by_group.len());
        for (key, groups) in by_group {
            rows.push((key, self.figures(answer, &groups)?, groups));
        }
        // The order of equals is that of their values.
        rows.sort_by_key(|(_, figures, _)| Reverse(figures.value));
        Ok((rows, others))
    }

    fn figures(&self, answer: &Answer, groups: &Groups<'_>) -> Result<Figures, QueryError> {
        self.figure.figures(answer, groups, self.group_by.len(), self.sums_keys)
    }

    fn row(
        &self,
        group: BTreeMap<String, Option<String>>,
        figures: &Figures,
        answer: &Answer,
    ) -> MeterRow {
        let covered = answer.covers().zip(self.ranges).map(|(covered, asked)| covered == asked);
        let windows = self.windows.iter().zip(covered).enumerate();
        let windows = windows.map(|(index, (window, is_complete))| MeterWindow {
            start: window.start,
            end: window.end,
            value: figures.by_range.get(&index).copied().unwrap_or_default(),
            is_complete,
        });
        MeterRow { group, value: figures.value, windows: windows.collect() }
    }
}
